//! The store below everything: a key-value space with one revision per write, after etcd's model.
//!
//! [`Kv`] is what storage needs of etcd and no more: ranges at a revision, transactions guarded by mod revisions, a watch of
//! the whole key space, compaction, leases. Three implementations behave alike, which one suite (`testing::suite`) shows:
//!
//! - [`model::ModelKv`]: the simplest correct one, in memory; the oracle of the tests.
//! - [`embedded::EmbeddedKv`]: the default: an index in memory over a durable log on the local disk.
//! - [`etcd::EtcdKv`]: a cluster of etcd members, for several replicas of a server.
//!
//! Invariants
//! - Every transaction that changes something gets one [`Revision`], greater than all before it, restarts included.
//! - A transaction that was answered with [`TxnOutcome::Committed`] is never lost; one answered with an error other than
//!   [`Error::UnknownOutcome`] never happened.
//! - A watch yields every revision after its start once, in order, with all its events together; or it ends with an error.
//! - Every call ends within a bounded time.
//! - A transaction above [`MAX_TXN_BYTES`] is refused by every implementation alike.
//!
//! Read next: [`Kv`], then `model`, the whole behaviour in one file, then `embedded`.
#![forbid(unsafe_code)]

pub mod embedded;
mod error;
pub mod etcd;
pub mod model;
#[cfg(feature = "testing")]
pub mod testing;
mod traits;
mod types;

pub use error::Error;
pub use traits::{Kv, Watch};
pub use types::{
    Batch, Event, Guard, KeyValue, LeaseId, MAX_TXN_BYTES, MAX_TXN_OPS, Op, RangeRequest, RangeResponse, Revision,
    Status, Txn, TxnOutcome, WatchItem, prefix_end,
};
