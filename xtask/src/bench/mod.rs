//! `cargo xtask bench` (`e2e/loadgen/bench`): every performance gate, of one shard and of a control plane of two, measured and judged.
//!
//! Builds a release, starts fresh servers on temporary directories, and drives them from outside with the load client of
//! `e2e/loadgen` (Go). CPU and memory come from `/proc`, so they hold on a busy machine; rates and latencies do not. Each
//! measurement is appended as one JSON line to `docs/benchmarks/<store>.jsonl`; the table judges the median of the runs.
//!
//! Read next: [`rows`], what is held against which gate; [`series`], in which order it is measured.

mod load;
mod plane;
mod processes;
mod report;
mod rows;
mod series;
mod shard;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};

use crate::tree::Tree;
use report::Report;
use rows::Series;

/// What to measure, and how often.
#[derive(Args, Clone, Debug)]
pub struct BenchOptions {
    /// Where the server keeps its objects; etcd is started here ($ETCD, PATH or .cache/bin) and its CPU and memory count
    #[arg(long, value_enum, default_value_t = StoreKind::Embedded)]
    pub store: StoreKind,
    /// How often each row is measured; the median counts
    #[arg(long, default_value_t = 5)]
    pub runs: usize,
    /// How often the long series are measured (10,000 workspaces and their deletion, a million objects); default: as --runs
    #[arg(long)]
    pub long_runs: Option<usize>,
    /// Series to measure; default: all of them
    #[arg(long, value_enum, value_delimiter = ',')]
    pub series: Vec<Series>,
    /// Workspaces of the large series (10,000 is what the gates mean; less is for trying out)
    #[arg(long, default_value_t = 10_000)]
    pub workspaces: usize,
    /// Objects of the opening series
    #[arg(long, default_value_t = 1_000_000)]
    pub objects: usize,
    /// Port of the servers that are started; further ones take those behind it
    #[arg(long, default_value_t = 16_555)]
    pub port: u16,
    /// Measure a server that runs already: its URL. Rows that need a fresh server or a restart are left out
    #[arg(long, requires = "token")]
    pub server: Option<String>,
    /// Bearer token of a user who may create workspaces in root, for --server
    #[arg(long)]
    pub token: Option<String>,
    /// Process ids whose CPU and memory count, with their children, for --server
    #[arg(long, default_value = "")]
    pub pids: String,
    /// Server binary to measure instead of building a release; the other programs are those beside it
    #[arg(long, value_name = "FILE")]
    pub binary: Option<PathBuf>,
    /// Where raw lines go, in the place of earlier ones of the same series; default: docs/benchmarks/<store>.jsonl, or
    /// server.jsonl for --server
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Where a server keeps its objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StoreKind {
    /// The server's own store.
    Embedded,
    /// A real etcd.
    Etcd,
}

/// The programs that a benchmark uses.
pub struct Programs {
    pub server: PathBuf,
    pub loadgen: PathBuf,
    pub etcd: Option<PathBuf>,
}

// === impl StoreKind ===

impl StoreKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Etcd => "etcd",
        }
    }
}

/// Measures, prints the table, and fails when a gate is missed.
pub fn run(tree: &Tree, options: &BenchOptions) -> anyhow::Result<()> {
    let series = options.chosen();
    let seconds: u64 = series
        .iter()
        .map(|one| one.seconds() * options.runs_of(*one) as u64)
        .sum();
    println!(
        "about {} minutes on two cores: {}",
        seconds.div_ceil(60),
        options.describe(&series)
    );
    let programs = Programs::get(tree, options, &series)?;
    // What store a given server has is not known here.
    let store = options.server.as_ref().map_or(options.store.name(), |_| "server");
    let output = options
        .output
        .clone()
        .unwrap_or_else(|| tree.root().join(format!("docs/benchmarks/{store}.jsonl")));
    let mut report = Report::create(&output, store, commit(tree), &series)?;
    for one in series {
        for run in 1..=options.runs_of(one) {
            println!("{} {run}/{}", one.name(), options.runs_of(one));
            report.begin(one, run);
            if let Err(error) = series::measure(one, tree, &programs, options, &mut report) {
                report.failed(one, &error)?;
            }
        }
    }
    println!("\n{}", report.table());
    println!("raw lines: {}", output.display());
    match report.missed() {
        0 => Ok(()),
        missed => bail!("{missed} gates missed"),
    }
}

// === impl BenchOptions ===

impl BenchOptions {
    fn chosen(&self) -> Vec<Series> {
        let all = Series::value_variants().iter().copied();
        all.filter(|one| self.series.is_empty() || self.series.contains(one))
            .filter(|one| self.server.is_none() || one.fits_any_server())
            .filter(|one| self.store == StoreKind::Embedded || !one.counts_bytes())
            .collect()
    }

    fn runs_of(&self, series: Series) -> usize {
        match series {
            _ if series.counts_bytes() => 1,
            _ if series.is_long() => self.long_runs.unwrap_or(self.runs),
            _ => self.runs,
        }
    }

    fn describe(&self, series: &[Series]) -> String {
        let texts = series
            .iter()
            .map(|one| format!("{} x {}", one.name(), self.runs_of(*one)));
        texts.collect::<Vec<_>>().join(", ")
    }
}

// === impl Programs ===

impl Programs {
    fn get(tree: &Tree, options: &BenchOptions, series: &[Series]) -> anyhow::Result<Self> {
        let loadgen = tree.target().join("loadgen");
        let mut go = Command::new("go");
        go.current_dir(tree.root().join("e2e/loadgen"))
            .args(["build", "-o"])
            .arg(&loadgen)
            .arg(".");
        succeed(&mut go, "the load client needs Go: put `go` on PATH")?;
        let server = match &options.binary {
            Some(given) => given.canonicalize().with_context(|| format!("{}", given.display()))?,
            None if options.server.is_some() => PathBuf::new(),
            None => {
                let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
                cargo
                    .current_dir(tree.root())
                    .args(["build", "--release", "--bins", "--package", "shard"]);
                if series.iter().any(|one| one.needs_all_programs()) {
                    cargo.args(
                        ["front-proxy", "cache-server", "virtual-workspaces"].map(|one| format!("--package={one}")),
                    );
                }
                succeed(&mut cargo, "the release does not build")?;
                tree.target().join("release/kcp")
            }
        };
        let etcd = match options.store {
            StoreKind::Embedded => None,
            StoreKind::Etcd => {
                let given = std::env::var_os("ETCD").map(PathBuf::from);
                let found = given.or_else(|| tree.program("etcd"));
                Some(found.context("etcd is missing: put it on PATH, name it in $ETCD, or run `cargo xtask setup`")?)
            }
        };
        Ok(Self { server, loadgen, etcd })
    }
}

fn succeed(command: &mut Command, otherwise: &'static str) -> anyhow::Result<()> {
    let status = command.status().context(otherwise)?;
    if !status.success() {
        bail!(otherwise);
    }
    Ok(())
}

fn commit(tree: &Tree) -> String {
    let mut git = Command::new("git");
    git.current_dir(tree.root()).args(["rev-parse", "--short", "HEAD"]);
    let output = git.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}
