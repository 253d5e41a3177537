//! The binary `cache-server`: what every shard offers to the others, in one place, to be read (kcp's facts, H.3).
//!
//! Shards tell it (`fabric::Telling`, where their `--cache-kubeconfig` leads); it knows none of them, and has no credentials for
//! any. What it keeps is in a store of its own and is served below `/services/cache/shards/{name|*}/clusters/{name|*}/…`. Unlike
//! kcp's, no shard reads it: shards have replicas of their own. It is for those who want to see all shards at once.
//!
//! Invariants
//! - No shard waits for it: dead, frozen or cut off, it disturbs nobody, and catches up when it is back.
//! - Only components (client certificates of group `system:masters`) tell or read anything.
//! - It serves what it is told, and takes no writes over REST: two ways to change a replica would be at odds.
//! - An object is as its shard has it, but for the annotations that say where it is from.
//!
//! Read next: [`start`] (what is put together), [`service`] (paths), [`surface`] (APIs and objects).
#![forbid(unsafe_code)]

pub mod access;
mod certificate;
pub mod definitions;
pub mod front;
pub mod options;
pub mod service;
pub mod start;
mod store;
pub mod surface;
