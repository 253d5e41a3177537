//! What `/proc` says of processes, by their ids separated by commas; and etcd.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context;

/// Resident memory of them all. What processes share, such as a program that two of them run, counts in each.
pub fn resident_mib(pids: &str) -> anyhow::Result<f64> {
    kib(pids, "status", "VmRSS:").map(|kib| kib / 1024.0)
}

/// The same, but what processes share is divided among them.
pub fn proportional_mib(pids: &str) -> anyhow::Result<f64> {
    kib(pids, "smaps_rollup", "Pss:").map(|kib| kib / 1024.0)
}

/// The sum of one line of a file of each.
fn kib(pids: &str, file: &str, name: &str) -> anyhow::Result<f64> {
    let mut kib = 0.0;
    for pid in pids.split(',') {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}")).context("the server's memory")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
        kib += value.with_context(|| format!("no {name} of process {pid}"))?;
    }
    Ok(kib)
}

/// Processor time that all of them have used.
pub fn cpu_seconds(pids: &str) -> anyhow::Result<f64> {
    /// `USER_HZ`, which Linux shows everywhere.
    const TICKS_PER_SECOND: f64 = 100.0;
    let mut ticks = 0.0;
    for pid in pids.split(',') {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("the server's processor time")?;
        // The name in parentheses may have spaces; user and system time are the 12th and 13th behind it.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        ticks += fields
            .skip(11)
            .take(2)
            .filter_map(|f| f.parse::<f64>().ok())
            .sum::<f64>();
    }
    Ok(ticks / TICKS_PER_SECOND)
}

/// An etcd of one member with its data and log below a directory, on a port and the one behind it.
pub fn start_etcd(binary: &Path, directory: &Path, name: &str, port: u16) -> anyhow::Result<Child> {
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let (client, peer) = (url(port), url(port + 1));
    let log = File::create(directory.join(format!("{name}.log")))?;
    Command::new(binary)
        .arg("--data-dir")
        .arg(directory.join(name))
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}"), "--log-level", "error"])
        .args(["--quota-backend-bytes", "8589934592"])
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("starting {}", binary.display()))
}
