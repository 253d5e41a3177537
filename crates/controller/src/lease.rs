//! The lease that lets one replica of a shard run the controllers.
//!
//! A key of the store, attached to a store lease that the holder keeps alive. Its mod_revision is the fence: every effect
//! compares it, so a holder that was paused past its time writes nothing (Jepsen's finding on etcd locks: a lease alone
//! is not mutual exclusion).

use std::sync::Arc;
use std::time::Duration;

use env::Env;
use kv::{Guard, Kv, LeaseId, Op, RangeRequest, Revision, Txn, TxnOutcome};
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
    env: Env,
    kv: Arc<dyn Kv>,
    state: RwLock<State>,
    changed: Notify,
}

/// From taking the lease to losing it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Tenure {
    revision: Revision,
    id: LeaseId,
}

#[derive(Default)]
struct State {
    held: Option<Tenure>,
    /// Given back for good: it is not competed for any more.
    is_released: bool,
}

/// How often who does not hold it looks whether it is free.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// How long giving it back may take: a store that does not answer lets it expire.
const RELEASE_MAX: Duration = Duration::from_secs(2);

// === impl Lease ===

impl Lease {
    /// Begins to compete for the lease; ends when the returned task is aborted or dropped with the process.
    pub fn acquire(env: &Env, kv: Arc<dyn Kv>, options: LeaseOptions) -> (Arc<Self>, env::Task<()>) {
        let lease = Arc::new(Self {
            options,
            env: env.clone(),
            kv,
            state: RwLock::default(),
            changed: Notify::new(),
        });
        let task = env.spawn.spawn("controller lease", lease.clone().compete());
        (lease, task)
    }

    /// The guard that every effect of this tenure carries: a later tenure, of this holder too, has another. `None`: not
    /// held.
    pub fn guard(&self) -> Option<Guard> {
        let tenure = self.state.read().held?;
        Some(Guard::ModRevision {
            key: self.options.key.clone().into_bytes().into(),
            revision: tenure.revision,
        })
    }

    pub fn is_held(&self) -> bool {
        self.state.read().held.is_some()
    }

    /// Waits until the lease is held; the guard of its tenure.
    pub async fn wait_held(&self) -> Guard {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(guard) = self.guard() {
                return guard;
            }
            changed.await;
        }
    }

    /// Waits until the tenure of this guard is over. (It may be held again by then: under another guard.)
    pub async fn wait_lost(&self, guard: &Guard) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.guard().as_ref() != Some(guard) {
                return;
            }
            changed.await;
        }
    }

    /// Gives it back, so that the next holder need not wait for its end. It is not taken again.
    pub async fn release(&self) {
        let tenure = {
            let mut state = self.state.write();
            state.is_released = true;
            state.held.take()
        };
        self.changed.notify_waiters();
        let Some(tenure) = tenure else { return };
        let revoked = self.env.clock.timeout(RELEASE_MAX, self.kv.lease_revoke(tenure.id));
        match revoked.await {
            Ok(Ok(())) => tracing::info!(holder = %self.options.holder, "controllers' lease given back"),
            Ok(Err(error)) => tracing::warn!(%error, "giving the controllers' lease back failed"),
            Err(_) => tracing::warn!("giving the controllers' lease back took too long"),
        }
    }

    async fn compete(self: Arc<Self>) {
        let period = self.options.ttl / 3;
        while !self.state.read().is_released {
            if self.is_free().await
                && let Some(tenure) = self.try_take().await
            {
                self.hold(tenure, period).await;
            }
            self.env.clock.sleep(period.min(LOOK_PERIOD)).await;
        }
    }

    /// A read is all that waiting costs the store.
    async fn is_free(&self) -> bool {
        let key = RangeRequest::key(self.options.key.clone().into_bytes());
        self.kv.range(key).await.is_ok_and(|found| found.kvs.is_empty())
    }

    async fn try_take(&self) -> Option<Tenure> {
        let id = self.kv.lease_grant(self.options.ttl).await.ok()?;
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
        if let Ok(TxnOutcome::Committed(revision)) = self.kv.txn(txn).await {
            let tenure = Tenure { revision, id };
            if self.begin(tenure) {
                tracing::info!(holder = %self.options.holder, "controllers' lease taken");
                return Some(tenure);
            }
        }
        // A lease without a key does no harm and expires; giving it back is a courtesy.
        let _best_effort = self.kv.lease_revoke(id).await;
        None
    }

    /// False if the lease was given up while it was taken.
    fn begin(&self, tenure: Tenure) -> bool {
        let mut state = self.state.write();
        if state.is_released {
            return false;
        }
        state.held = Some(tenure);
        drop(state);
        self.changed.notify_waiters();
        true
    }

    /// Keeps it alive until that fails for longer than its time.
    async fn hold(&self, tenure: Tenure, period: Duration) {
        let clock = &self.env.clock;
        let mut confirmed = clock.monotonic();
        loop {
            clock.sleep(period).await;
            if self.state.read().held != Some(tenure) {
                return;
            }
            let bound = self
                .options
                .ttl
                .saturating_sub(clock.monotonic().saturating_sub(confirmed));
            match clock.timeout(bound, self.kv.lease_keep_alive(tenure.id)).await {
                Ok(Ok(_)) => confirmed = clock.monotonic(),
                Ok(Err(kv::Error::LeaseNotFound)) | Err(_) => break,
                Ok(Err(error)) => tracing::warn!(%error, "keeping the controllers' lease alive failed"),
            }
            if clock.monotonic().saturating_sub(confirmed) >= self.options.ttl {
                break;
            }
        }
        tracing::warn!(holder = %self.options.holder, "controllers' lease lost");
        self.state.write().held = None;
        self.changed.notify_waiters();
    }
}
