//! A store that forgets nothing that was not recorded: lives that end while they start are not, and what they compact would be missing
//! from the history for good.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kv::{Error, Kv, LeaseId, RangeRequest, RangeResponse, Revision, Status, Txn, TxnOutcome, Watch};

use crate::history::Shared as History;

/// See the module.
pub struct Recorded {
    pub inner: Arc<dyn Kv>,
    pub history: History,
}

#[async_trait]
impl Kv for Recorded {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        self.inner.range(request).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, Error> {
        self.inner.txn(txn).await
    }

    async fn watch(&self, from: Revision) -> Result<Box<dyn Watch>, Error> {
        self.inner.watch(from).await
    }

    async fn revision(&self) -> Result<Revision, Error> {
        self.inner.revision().await
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        // The next one will do; they come every few seconds.
        let is_recorded = revision.0 <= self.history.lock().last;
        match is_recorded {
            true => self.inner.compact(revision).await,
            false => Ok(()),
        }
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId, Error> {
        self.inner.lease_grant(ttl).await
    }

    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<(), Error> {
        self.inner.lease_keep_alive(lease).await
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), Error> {
        self.inner.lease_revoke(lease).await
    }

    async fn status(&self) -> Result<Status, Error> {
        self.inner.status().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
