//! `cargo xtask test`: what a change has to pass.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};
use regex::Regex;

use crate::tidy;
use crate::tree::Tree;

/// Counts of one run, summed over all test programs.
#[derive(Default)]
struct Totals {
    programs: u64,
    passed: u64,
    failed: u64,
    ignored: u64,
}

/// Tidy, formatting, then every test of the workspace with the server's binary, etcd and kubectl at hand. Prints totals.
pub fn run(tree: &Tree) -> anyhow::Result<()> {
    let started = Instant::now();
    tidy::run(tree)?;
    cargo(tree, &["fmt", "--all", "--", "--check"]).context("`cargo fmt --all` mends this")?;
    // The end-to-end tests start the servers' binaries and a plugin's, which cargo builds for their own packages' tests only.
    cargo(
        tree,
        &[
            "build",
            "--package",
            "shard",
            "--package",
            "front-proxy",
            "--package",
            "cache-server",
            "--package",
            "virtual-workspaces",
            "--package",
            "cli",
            "--bins",
        ],
    )?;
    let (totals, succeeded) = tests(tree)?;
    println!(
        "total: {} passed, {} failed, {} ignored in {} test programs, {} s",
        totals.passed,
        totals.failed,
        totals.ignored,
        totals.programs,
        started.elapsed().as_secs()
    );
    if !succeeded {
        bail!("tests failed");
    }
    if totals.passed == 0 {
        bail!("no test ran");
    }
    Ok(())
}

fn cargo(tree: &Tree, arguments: &[&str]) -> anyhow::Result<()> {
    let status = command(tree).args(arguments).status().context("starting cargo")?;
    if !status.success() {
        bail!("`cargo {}` failed", arguments.join(" "));
    }
    Ok(())
}

fn command(tree: &Tree) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(tree.root());
    command
}

/// Runs all tests, goes on after a failing program, and passes their output through.
fn tests(tree: &Tree) -> anyhow::Result<(Totals, bool)> {
    let mut command = command(tree);
    command
        .args(["test", "--workspace", "--no-fail-fast"])
        .stdout(Stdio::piped());
    command
        .env("PATH", tree.path_variable()?)
        .env("KCP_BIN", tree.target().join("debug/kcp"));
    // Without Helm the chart's tests take what was rendered, if it was rendered from what is there.
    for (variable, name) in [("ETCD", "etcd"), ("HELM", "helm")] {
        if std::env::var_os(variable).is_none()
            && let Some(program) = tree.program(name)
        {
            command.env(variable, program);
        }
    }
    let mut child = command.spawn().context("starting cargo")?;
    let output = child.stdout.take().context("the output of cargo")?;
    let summary =
        Regex::new(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored").context("the pattern")?;
    let mut totals = Totals::default();
    for line in BufReader::new(output).lines() {
        let line = line.context("reading the output of cargo")?;
        println!("{line}");
        if let Some(counts) = summary.captures(&line) {
            let count = |index: usize| counts[index].parse().unwrap_or(0);
            totals.programs += 1;
            totals.passed += count(1);
            totals.failed += count(2);
            totals.ignored += count(3);
        }
    }
    let status = child.wait().context("waiting for cargo")?;
    Ok((totals, status.success()))
}
