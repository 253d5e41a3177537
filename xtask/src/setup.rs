//! `cargo xtask setup`: what a machine needs beyond Rust, git and a C compiler.

use std::process::Command;

use anyhow::{Context, bail};

use crate::tree::Tree;

/// Installs protoc and make when they are missing (Debian and its relatives, as root), and gets etcd and kubectl into
/// `.cache/bin`.
pub fn run(tree: &Tree) -> anyhow::Result<()> {
    // The build of the etcd client compiles etcd's .proto files.
    if tree.program("protoc").is_none() && std::env::var_os("PROTOC").is_none() {
        install(tree, "protoc", "protobuf-compiler")?;
    }
    // The allocator's build is make's.
    if tree.program("make").is_none() {
        install(tree, "make", "make")?;
    }
    let script = tree.root().join("xtask/scripts/get-etcd");
    let status = Command::new(&script)
        .status()
        .with_context(|| format!("starting {}", script.display()))?;
    if !status.success() {
        bail!("etcd 3.5.13 or later is missing: put it on PATH or name it in $ETCD, and run this again");
    }
    if tree.program("kubectl").is_none() {
        bail!(
            "kubectl is missing: put it on PATH or into {}, and run this again",
            tree.programs().display()
        );
    }
    Ok(())
}

fn install(tree: &Tree, program: &str, package: &str) -> anyhow::Result<()> {
    let installs = tree.program("apt-get").is_some() && is_root();
    if !installs {
        bail!("{program} is missing: install it (on Debian: `sudo apt-get install {package}`) and run this again");
    }
    apt_get(&["update"])?;
    apt_get(&["install", "-y", "--no-install-recommends", package])
}

fn apt_get(arguments: &[&str]) -> anyhow::Result<()> {
    let status = Command::new("apt-get")
        .arg("-qq")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .context("starting apt-get")?;
    if !status.success() {
        bail!("`apt-get {}` failed: {status}", arguments.join(" "));
    }
    Ok(())
}

fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
