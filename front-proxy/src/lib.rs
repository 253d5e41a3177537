//! The front-proxy: one address for all shards. Stateless; any number of them run side by side.
//!
//! Invariants
//! - Who asks is established here, and told to shards in headers that nobody else can set: what a client sends of them is
//!   taken off, whatever else happens.
//! - Authentication comes before resolution: without valid credentials nobody learns which paths exist.
//! - A user of a workspace's own issuer is known by the shard that holds the workspace, which the index alone says.
//! - What no shard is known for goes to a shard all the same, which refuses it as it refuses anybody without access: known
//!   and unknown paths look alike.
//! - A shard that is dead, frozen or cut off costs its own requests a bounded time, and others nothing.
//!
//! Read next: [`proxy`] (the way of a request), [`mapping`] (paths that are not of a cluster), [`identity`] (headers),
//! [`start`].
#![forbid(unsafe_code)]

pub mod accounts;
pub mod guesses;
pub mod identity;
pub mod mapping;
pub mod options;
pub mod proxy;
mod review;
pub mod start;
pub mod workspace_users;
