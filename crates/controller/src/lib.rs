//! The driver that runs controllers (crate `plan`): which keys are due, fetching what a plan needs, carrying effects out as
//! API writes, retries with back-off, the lease that lets one replica run them.
//!
//! Invariants
//! - A plan never runs on a view older than the last effect made for its key: writes return when this process's log has
//!   them, and a key is in one run at a time.
//! - Effects carry uid and resourceVersion of what the plan saw, and the lease's guard: a stale plan, or a driver that lost
//!   its lease, changes nothing.
//! - An event during a run causes another run. Nothing here is kept for a key that is not due.
//! - What another shard holds is that shard's controllers' business: such keys are dropped, and its objects are fetched.
//!
//! Read next: [`driver`], then [`queue`] and [`lease`].
#![forbid(unsafe_code)]

pub mod driver;
mod events;
mod identity;
pub mod lease;
pub mod queue;
mod view;

pub use driver::{Catalog, Driver, DriverOptions, Effects, Fetched, Holder, Remote};
pub use events::EventFeed;
pub use lease::{Lease, LeaseOptions};
pub use view::StoreView;
