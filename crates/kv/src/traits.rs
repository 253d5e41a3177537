//! What storage asks of a store.

use crate::{Error, KeyValue, LeaseId, RangeRequest, RangeResponse, Revision, Status, Txn, TxnOutcome, WatchItem};
use async_trait::async_trait;
use bytes::Bytes;
use std::time::Duration;

/// A key-value space with revisions. Every call ends within a bounded time; dropping a call's future is safe, but leaves
/// open whether a write happened.
#[async_trait]
pub trait Kv: Send + Sync + 'static {
    /// Reads keys at one revision, linearizably when none is given. `Compacted` or `FutureRevision` when that revision
    /// is not there.
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error>;

    /// Changes keys if the guards hold. Durable when this returns.
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, Error>;

    /// Every change after `from`, of all keys. `Compacted` if `from` is before the compacted revision; a `from` in the
    /// future waits for it.
    async fn watch(&self, from: Revision) -> Result<Box<dyn Watch>, Error>;

    /// The store's revision, not older than any write that was finished before the call. Every open watch reaches it
    /// soon, with events or with progress.
    async fn revision(&self) -> Result<Revision, Error>;

    /// Forgets what was superseded at or before `revision`: later reads below it fail, the disk space is reclaimed in the
    /// background. Compacting again at or below an earlier point answers `Compacted`; above the store's revision,
    /// `FutureRevision`.
    async fn compact(&self, revision: Revision) -> Result<(), Error>;

    /// A lease that expires unless it is kept alive every `ttl` (rounded up to whole seconds).
    async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId, Error>;

    /// Starts the lease's time anew.
    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<(), Error>;

    /// Ends a lease and deletes its keys, at one revision.
    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), Error>;

    /// What the store says of itself.
    async fn status(&self) -> Result<Status, Error>;

    /// Finishes accepted writes and lets go of everything. Later calls, and watches, answer `Closed`.
    async fn close(&self);

    /// The newest state of one key.
    async fn get(&self, key: Bytes) -> Result<Option<KeyValue>, Error> {
        Ok(self.range(RangeRequest::key(key)).await?.kvs.pop())
    }
}

/// Changes, as they happen. Every revision comes once, in order.
#[async_trait]
pub trait Watch: Send {
    /// The next changes, or progress. Waits as long as there are none. Cancel safe. After an error the watch is over;
    /// `Compacted` tells a reader that was too slow.
    async fn next(&mut self) -> Result<WatchItem, Error>;
}
