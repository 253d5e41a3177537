//! The driver that runs controllers (crate `plan`): which keys are due, fetching what a plan needs, carrying effects out as
//! API writes, retries with back-off, the lease that lets one replica run them, metrics.
//!
//! Invariants
//! - A plan never runs on a view older than the last effect made for its key.
//! - Effects carry uid and resourceVersion of what the plan saw, and the lease's guard: a stale plan, or a driver that lost
//!   its lease, changes nothing.
//! - A key is in one run at a time; an event during a run causes another run.
#![forbid(unsafe_code)]
