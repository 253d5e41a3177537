//! `cargo xtask setup`: what a machine needs beyond Rust, git and a C compiler.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::tree::Tree;

/// Installs protoc and make when they are missing (Debian and its relatives, as root), and gets etcd and kubectl into
/// `.cache/bin`.
pub fn run(tree: &Tree) -> anyhow::Result<()> {
    // The build of the etcd client compiles etcd's .proto files, which import protobuf's own: a package apart in Debian.
    let protoc = |tree: &Tree| {
        std::env::var_os("PROTOC")
            .map(PathBuf::from)
            .or_else(|| tree.program("protoc"))
    };
    if protoc(tree).is_none() {
        install(tree, "protoc", "protobuf-compiler")?;
    }
    if protoc(tree).is_some_and(|protoc| !has_own_files(&protoc)) {
        install(tree, "google/protobuf/descriptor.proto", "libprotobuf-dev")?;
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

/// Whether this protoc finds the files that come with it, beside itself or where `$PROTOC_INCLUDE` says.
fn has_own_files(protoc: &Path) -> bool {
    let mut command = Command::new(protoc);
    if let Some(directory) = std::env::var_os("PROTOC_INCLUDE") {
        command.arg("--proto_path").arg(directory);
    }
    command
        .args(["--descriptor_set_out=/dev/null", "google/protobuf/descriptor.proto"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
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
