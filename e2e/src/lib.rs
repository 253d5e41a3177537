//! The server as its users meet it: the real binary in a process of its own, driven by the real kubectl.
//!
//! Invariants
//! - Every [`Server`] has its own port and root directory, and ends with its test.
//! - Waiting is bounded, and what was waited for is observed, never assumed after some time.
//!
//! Read next: [`Server`], [`Kubectl`], then `tests/scenario.rs`.
#![forbid(unsafe_code)]

mod chart;
mod client;
mod etcd;
mod kubectl;
mod second_proxy;
mod server;

pub use chart::Chart;
pub use client::{Broken, Client, Reply, Watching};
pub use etcd::{Etcd, EtcdTls};
pub use kubectl::{Answer, Kubectl};
pub use second_proxy::SecondProxy;
pub use server::{Server, Shard};

/// What to run when a program that tests need is missing.
const SETUP: &str = "cargo run -p xtask -- setup";
