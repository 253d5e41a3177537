//! Tasks for people who work on this repository: `cargo xtask setup`, `cargo xtask tidy`, `cargo xtask test`, `cargo xtask
//! bench`.
//!
//! Invariants
//! - Depends on nothing of the workspace, so that it can be built on a machine that lacks what the workspace needs.
//! - Changes nothing outside the repository, except that `setup` installs the one system package that a build needs.
//!
//! Read next: [`test`], which is what a change has to pass, then `tidy/rules.rs`.
#![forbid(unsafe_code)]

mod bench;
mod setup;
mod test;
mod tidy;
mod tree;

use clap::Parser;

/// What contributors run.
#[derive(Parser)]
#[command(name = "xtask")]
enum Task {
    /// Gets what building and testing need: protoc, make, and etcd and kubectl into .cache/bin.
    Setup,
    /// Checks the rules that neither the compiler nor clippy knows.
    Tidy,
    /// Runs tidy, the format check and every test, and prints totals.
    Test,
    /// Measures a release against the performance gates, prints the table, fails when one is missed.
    Bench(bench::BenchOptions),
}

fn main() -> anyhow::Result<()> {
    let tree = tree::Tree::find()?;
    match Task::parse() {
        Task::Setup => setup::run(&tree),
        Task::Tidy => tidy::run(&tree),
        Task::Test => test::run(&tree),
        Task::Bench(options) => bench::run(&tree, &options),
    }
}
