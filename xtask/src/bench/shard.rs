//! One shard on a temporary directory, perhaps with an etcd beside it.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tempfile::TempDir;

use super::{Programs, processes};

/// A running server. Dropping it kills the processes and removes what they wrote.
pub struct Shard {
    directory: TempDir,
    port: u16,
    flags: Vec<String>,
    binary: PathBuf,
    server: Child,
    etcd: Option<Child>,
}

/// Tokens of the users that a benchmark works as.
pub const USER: &str = "bench-user-0123456789";
pub const ADMIN: &str = "bench-admin-0123456789";

/// The start of a store of a million objects on a busy machine.
const START_MAX: Duration = Duration::from_secs(300);

// === impl Shard ===

impl Shard {
    /// Starts a server on an empty directory; it may not be ready yet.
    pub fn start(programs: &Programs, port: u16, flags: &[&str]) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("bench-").tempdir()?;
        fs::write(
            directory.path().join("tokens.csv"),
            format!("{USER},bench,bench\n{ADMIN},admin,admin,system:masters\n"),
        )?;
        let mut flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let mut etcd = None;
        if let Some(binary) = &programs.etcd {
            etcd = Some(processes::start_etcd(binary, directory.path(), "etcd", port + 1)?);
            flags.push(format!("--etcd-servers=http://127.0.0.1:{}", port + 1));
        }
        let server = start_server(&programs.server, directory.path(), port, &flags)?;
        Ok(Self {
            directory,
            port,
            flags,
            binary: programs.server.clone(),
            server,
            etcd,
        })
    }

    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Everything whose CPU and memory counts.
    pub fn pids(&self) -> String {
        let etcd = self
            .etcd
            .as_ref()
            .map(|etcd| format!(",{}", etcd.id()))
            .unwrap_or_default();
        format!("{}{etcd}", self.server.id())
    }

    /// Kills the server as a power cut does and starts it on the same directory.
    pub fn kill_and_restart(&mut self) -> anyhow::Result<()> {
        self.server.kill()?;
        self.server.wait()?;
        self.server = start_server(&self.binary, self.directory.path(), self.port, &self.flags)?;
        Ok(())
    }

    /// The longest that a start may take, for whoever waits for readiness.
    pub fn start_seconds_max() -> String {
        START_MAX.as_secs().to_string()
    }

    /// Fails, with the end of its log, when the server is gone.
    pub fn check(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.server.try_wait()? {
            let log = fs::read_to_string(self.directory.path().join("server.log")).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(20).collect();
            bail!(
                "the server ended with {status}:\n{}",
                tail.into_iter().rev().collect::<Vec<_>>().join("\n")
            );
        }
        Ok(())
    }

    /// Resident memory of all processes.
    pub fn resident_mib(&self) -> anyhow::Result<f64> {
        processes::resident_mib(&self.pids())
    }

    /// Processor time that all processes have used.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        processes::cpu_seconds(&self.pids())
    }

    /// Bytes that the store takes on disk, as blocks.
    pub fn stored_bytes(&self) -> anyhow::Result<u64> {
        let store = if self.etcd.is_some() { "etcd" } else { "kcp" };
        used(&self.directory.path().join(store))
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        for process in std::iter::once(&mut self.server).chain(&mut self.etcd) {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn start_server(binary: &Path, directory: &Path, port: u16, flags: &[String]) -> anyhow::Result<Child> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(directory.join("server.log"))?;
    Command::new(binary)
        .arg("start")
        .arg("--root-directory")
        .arg(directory.join("kcp"))
        .args(["--bind-address", "127.0.0.1", "--secure-port", &port.to_string()])
        .arg("--token-auth-file")
        .arg(directory.join("tokens.csv"))
        .args(flags)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("starting {}", binary.display()))
}

fn used(directory: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))? {
        let entry = entry?;
        bytes += match entry.file_type()?.is_dir() {
            true => used(&entry.path())?,
            // A file may be gone since the directory was read.
            false => entry.metadata().map_or(0, |file| file.blocks() * 512),
        };
    }
    Ok(bytes)
}

/// Asks again until it holds.
pub fn until(seconds: u64, mut holds: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<f64> {
    let began = Instant::now();
    while !holds()? {
        if began.elapsed().as_secs() > seconds {
            bail!("not within {seconds} s");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(began.elapsed().as_secs_f64())
}
