//! A whole shard, or a control plane of two shards and two front-proxies, in a simulated world (law 7): one thread, a clock
//! that jumps, disks that forget and fail, clients that are cut off, and checkers that hold everything the clients were told to
//! the stores' own history.
//!
//! Invariants
//! - A run depends on its seed alone: the same seed gives the same trace.
//! - The checkers know nothing of how the server works; they compare answers with the history that the store tells.
//! - Nothing of this crate is in a release build.
//!
//! Read next: [`run`], from a seed to a report; [`tenant`], the workload; [`ledger`], the checkers; [`nemesis`], the faults;
//! [`plane`], several shards.
// But for the system's clock, which is a function of the C library.
#![deny(unsafe_code)]

pub mod client;
pub mod health;
pub mod history;
pub mod image;
pub mod keeper;
pub mod ledger;
pub mod link;
pub mod nemesis;
pub mod plane;
mod recorded;
pub mod run;
pub mod scene;
pub mod seeds;
pub mod server;
mod system_clock;
pub mod tenant;
pub mod trace;
pub mod watcher;
