//! Tenancy as pure rules: paths and the index that resolves them, effective users, the chain of authorizers, workspace
//! types, admission. Facts come in through small traits that the shard implements over its caches.
//!
//! Invariants
//! - Pure: no I/O, no clock, no tokio; a rule can be tested with facts made of literals.
//! - Paths and names are different types: [`WorkspacePath`] is what people write, [`permit::Cluster`] is what storage knows.
//! - Deny when in doubt: a missing fact never allows anything.
//!
//! Read next: [`path`], [`index`], [`authz`], [`admission`].
#![forbid(unsafe_code)]

pub mod admission;
pub mod authz;
pub mod claims;
pub mod effective;
pub mod index;
pub mod path;
pub mod types;

pub use index::{ChildFacts, ClusterFacts, ClusterIndex, Phase, Resolution};
pub use path::WorkspacePath;
