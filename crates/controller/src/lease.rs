//! The lease that lets one replica of a shard run the controllers.
//!
//! A key of the store, attached to a store lease that the holder keeps alive. Its mod_revision is the fence: every effect
//! compares it, so a holder that was paused past its time writes nothing (Jepsen's finding on etcd locks: a lease alone
//! is not mutual exclusion).

use std::sync::Arc;
use std::time::Duration;

use env::Env;
use kv::{Guard, Kv, LeaseId, Op, Revision, Txn, TxnOutcome};
use parking_lot::RwLock;
use tokio::sync::Notify;

#[derive(Clone, Debug)]
pub struct LeaseOptions {
    /// Key in the store, outside of the objects' prefix.
    pub key: String,
    /// Who holds it, for operators.
    pub holder: String,
    /// How long it outlives its holder.
    pub ttl: Duration,
}

/// Held or not; see the module.
pub struct Lease {
    options: LeaseOptions,
    held: RwLock<Option<Revision>>,
    changed: Notify,
}

// === impl Lease ===

impl Lease {
    /// Begins to compete for the lease; ends when the returned task is aborted or dropped with the process.
    pub fn acquire(env: &Env, kv: Arc<dyn Kv>, options: LeaseOptions) -> (Arc<Self>, env::Task<()>) {
        let lease = Arc::new(Self {
            options,
            held: RwLock::new(None),
            changed: Notify::new(),
        });
        let task = env
            .spawn
            .spawn("controller lease", lease.clone().compete(env.clone(), kv));
        (lease, task)
    }

    /// The guard that every effect of the holder carries. `None`: not held.
    pub fn guard(&self) -> Option<Guard> {
        let revision = (*self.held.read())?;
        Some(Guard::ModRevision {
            key: self.options.key.clone().into_bytes().into(),
            revision,
        })
    }

    pub fn is_held(&self) -> bool {
        self.held.read().is_some()
    }

    /// Waits until the lease is held.
    pub async fn wait_held(&self) {
        self.wait(true).await;
    }

    /// Waits until the lease is lost.
    pub async fn wait_lost(&self) {
        self.wait(false).await;
    }

    async fn wait(&self, held: bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.is_held() == held {
                return;
            }
            changed.await;
        }
    }

    async fn compete(self: Arc<Self>, env: Env, kv: Arc<dyn Kv>) {
        let period = self.options.ttl / 3;
        loop {
            if let Some(id) = self.try_take(&kv).await {
                self.hold(&env, &kv, id, period).await;
            }
            env.clock.sleep(period).await;
        }
    }

    async fn try_take(&self, kv: &Arc<dyn Kv>) -> Option<LeaseId> {
        let id = kv.lease_grant(self.options.ttl).await.ok()?;
        let key: bytes::Bytes = self.options.key.clone().into_bytes().into();
        let value: bytes::Bytes = self.options.holder.clone().into_bytes().into();
        let txn = Txn {
            guards: vec![Guard::ModRevision {
                key: key.clone(),
                revision: Revision(0),
            }],
            ops: vec![Op::Put {
                key,
                value,
                lease: Some(id),
            }],
        };
        match kv.txn(txn).await {
            Ok(TxnOutcome::Committed(revision)) => {
                tracing::info!(holder = %self.options.holder, "controllers' lease taken");
                self.set(Some(revision));
                Some(id)
            }
            Ok(TxnOutcome::Conflict { .. }) | Err(_) => {
                // A lease without a key does no harm and expires; giving it back is a courtesy.
                let _best_effort = kv.lease_revoke(id).await;
                None
            }
        }
    }

    /// Keeps it alive until that fails for longer than its time.
    async fn hold(&self, env: &Env, kv: &Arc<dyn Kv>, id: LeaseId, period: Duration) {
        let mut confirmed = env.clock.monotonic();
        loop {
            env.clock.sleep(period).await;
            let bound = self
                .options
                .ttl
                .saturating_sub(env.clock.monotonic().saturating_sub(confirmed));
            match env.clock.timeout(bound, kv.lease_keep_alive(id)).await {
                Ok(Ok(_)) => confirmed = env.clock.monotonic(),
                Ok(Err(kv::Error::LeaseNotFound)) | Err(_) => break,
                Ok(Err(error)) => tracing::warn!(%error, "keeping the controllers' lease alive failed"),
            }
            if env.clock.monotonic().saturating_sub(confirmed) >= self.options.ttl {
                break;
            }
        }
        tracing::warn!(holder = %self.options.holder, "controllers' lease lost");
        self.set(None);
    }

    fn set(&self, revision: Option<Revision>) {
        *self.held.write() = revision;
        self.changed.notify_waiters();
    }
}
