//! Objects over [`kv::Kv`]: one ordered log of events per shard, caches per resource, lists with continue, watches.
//!
//! A write goes to the store and is acknowledged when this process has seen it come back in the store's own order; so the
//! caches, the watch hub, the projections and the writer agree, and other replicas' writes take the same way.
//!
//! Invariants
//! - Everything takes a [`permit::Permit`]; clusters, resource, verbs and selector of it are applied here.
//! - Caches hold canonical bytes, no parsed trees ([`Entry`]); what is parsed is shared while it is news (`tree`). Logs and
//!   histories are bounded in bytes.
//! - Nothing is kept per cluster but its fence: caches and indexes are per resource, ordered by cluster.
//! - A watcher is a cursor into its resource's log and is woken only by events that can match it.
//! - Locks are taken in the order catalog, objects, log, ring, interest, and never across an await.
//!
//! Read next: [`Store`], then `follower`, which applies the store's changes, `snapshot`, which it begins with, `write`,
//! `read`, `watch`; `entry` for what an object is in memory.
#![forbid(unsafe_code)]

mod entry;
mod error;
mod event;
mod filter;
mod follower;
mod interest;
mod key;
mod lease;
mod log;
mod objects;
mod options;
mod peek;
mod projection;
mod read;
mod request;
mod resource;
mod revision;
mod scan;
mod segment;
mod snapshot;
mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod tree;
mod watch;
mod write;

pub use entry::Entry;
pub use error::StorageError;
pub use event::{Event, EventKind};
pub use key::{Layout, ObjectKey, ResourceKey, Segment};
#[cfg(all(feature = "planted", debug_assertions))]
pub use options::Planted;
pub use options::{IndexSpec, StoreOptions};
pub use projection::{Applied, Projection};
pub use read::ListResult;
pub use request::{Change, Consistency, FenceAction, FieldPredicate, ListRequest, WatchRequest, WatchStart, Write};
pub use store::{Stats, Store};
pub use watch::{WatchEvent, WatchItem, Watcher};
