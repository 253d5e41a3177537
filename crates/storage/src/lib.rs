//! Objects over [`kv::Kv`]: one ordered log of events per shard, caches per resource, lists with continue, watches.
//!
//! A write goes to the store and is acknowledged when this process has seen it come back in the store's own order; so the
//! caches, the watch hub, the projections and the writer agree, and other replicas' writes take the same way.
//!
//! Invariants
//! - Everything takes a [`permit::Permit`]; clusters, resource, verbs and selector of it are applied here.
//! - Caches hold canonical bytes, no parsed trees ([`Entry`]). Logs and histories are bounded in bytes.
//! - Nothing is kept per cluster: caches and indexes are per resource, ordered by cluster.
//! - A watcher is a cursor into its resource's log and is woken only by events that can match it.
#![forbid(unsafe_code)]

mod error;
mod key;
mod request;

pub use error::StorageError;
pub use key::{ObjectKey, ResourceKey, Segment};
pub use request::{Change, Consistency, FenceAction, FieldPredicate, ListRequest, WatchRequest, WatchStart, Write};
