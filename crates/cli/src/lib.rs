//! The kubectl plugins of kcp: `kubectl ws`, `kubectl create workspace`, `kubectl kcp`.
//!
//! Invariants
//! - Nothing in a kubeconfig is lost: files are trees, of which only the entries meant are changed.
//! - A switch of workspaces is written only after the server let the user in.
//! - Results go to standard output, notes and progress to standard error; `--short` prints the path and nothing else.
//! - Commands reach servers through [`server::Server`] and time and files through `env::Env`, so that their tests need
//!   neither.
//!
//! Read next: [`workspace`], [`apis`] and `shards` for the commands, [`kubeconfig`] and [`path`] for what they work on, [`run()`] for
//! the way there.
#![forbid(unsafe_code)]

pub mod apis;
pub mod arguments;
pub mod connection;
#[cfg(test)]
mod fake;
pub mod kubeconfig;
pub mod output;
pub mod path;
mod run;
pub mod server;
pub mod session;
mod shards;
mod wait;
pub mod workspace;

pub use run::{Program, run};
