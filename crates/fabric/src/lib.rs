//! What kcp's processes say to each other: the index that front-proxies route by, look-ups where an index has a gap, and the
//! connections that both go over.
//!
//! Invariants
//! - An index is a cache; the shard that holds a cluster is the authority. Nothing is denied because an index does not know it.
//! - Every method is for peers alone: a certificate of a component, verified by the server's client CA.
//! - What a peer says is bounded: entries by the message limit, a look-up by hops and time, and what a shard is asked for names
//!   by questions a second.
//! - A dead, frozen or cut-off peer costs a caller a bounded time, and others nothing.
//!
//! Read next: [`routes`] (the index), [`peers`] (how it is kept), `names` (clusters that no index knows), [`replicas`] (what every shard has of the others), [`serve`]
//! (the shard's side), [`upstream`] (connections), [`client_tls`] (as whom they are made).
#![forbid(unsafe_code)]

pub mod client_tls;
pub mod delegation;
pub mod identity;
mod names;
pub mod peers;
pub mod replicas;
pub mod routes;
pub mod serve;
pub mod upstream;

pub use client_tls::{ClientTls, IdentityFiles};
pub use delegation::{DELEGATION_HEADER, Delegation};
pub use identity::{Identity, IdentityError};
pub use peers::{Destination, Listener, Lost, Peers};
pub use replicas::{Following, Member, Members, Receiving, Replicas, Telling};
pub use routes::{Route, Routes, ShardId};
pub use upstream::{Endpoint, Lane, Upstream, UpstreamError, UpstreamOptions};

pub use proto::fabric::v1 as wire;

/// Sent by proxies with what they have resolved to a cluster of the shard: 421 is the answer if it is not there, and nothing
/// was done.
pub const PROXY_HEADER: http::HeaderName = http::HeaderName::from_static("x-kcp-fabric-proxy");
