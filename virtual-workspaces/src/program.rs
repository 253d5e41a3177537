//! The views as a process of their own, beside the shard whose objects they show.
//!
//! The same views and stages as within a shard, over another [`crate::Shard`]: what a view asks goes to the shard by gRPC
//! ([`remote`]), requests for objects go to its API over the same HTTP/2 connections ([`objects`]), and so does the content
//! of waiting clusters ([`content`]). With each request goes what the view has decided (`fabric::Delegation`), which the shard
//! applies as it applies a permit of a view within: labels are compared where the objects are.
//!
//! Invariants
//! - Nothing is kept but compiled definitions, which are found anew by their uid; a restart loses nothing.
//! - Without its shard nothing is served: 503 within [`remote::ASK_TIMEOUT`], open watches end.
//! - One process belongs to one shard, as one URL is announced for each.

mod authentication;
mod content;
mod objects;
mod options;
mod parameters;
mod remote;
mod start;
mod watch;

pub use options::ProgramOptions;
pub use remote::RemoteShard;
pub use start::{Parts, Running, impersonation};
