//! The lease that lets one replica of a shard run the controllers.
//!
//! A key of the store, attached to a store lease that the holder keeps alive. Its mod_revision is the fence: every effect
//! compares it, so a holder that was paused past its time writes nothing (Jepsen's finding on etcd locks: a lease alone
//! is not mutual exclusion).
//!
//! Who comes waits until the key is gone: the holder may live, and be paused. That would keep a shard without controllers for as long
//! as the lease lasts whenever its process was killed and started again. So the value tells who the holder is over all his starts,
//! and who can prove that it was a process before him (`identity`) puts the key anew, comparing its revision. The fence of
//! what the dead one still has under way is gone with that.
//!
//! The proof fails where a root directory was copied with its file, or where locks of files are none. The fence holds all the same:
//! whoever was taken from writes nothing. And nobody takes by his identity again once he has held the lease, so that two with one
//! identity take from each other once for each start, and not for ever.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use env::Env;
use kv::{Guard, KeyValue, Kv, LeaseId, Op, Revision, Txn, TxnOutcome};
use parking_lot::RwLock;
use tokio::sync::Notify;

use crate::identity::HolderIdentity;

#[derive(Clone, Debug)]
pub struct LeaseOptions {
    /// Key in the store, outside of the objects' prefix.
    pub key: String,
    /// Who holds it: another one with each start, without a slash.
    pub holder: String,
    /// Where it stands who that is over all starts; made at the first, and locked by one process at a time. `None`: nobody that
    /// was there before.
    pub identity_file: Option<PathBuf>,
    /// How long it outlives its holder.
    pub ttl: Duration,
}

/// Held or not; see the module.
pub struct Lease {
    options: LeaseOptions,
    env: Env,
    kv: Arc<dyn Kv>,
    /// Once its file could be locked.
    identity: OnceLock<HolderIdentity>,
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
    /// At any time since this process began.
    has_held: bool,
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
            identity: OnceLock::new(),
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
        let mut is_told = false;
        while !self.state.read().is_released {
            self.identify(&mut is_told).await;
            if let Some(before) = self.find_over().await
                && let Some(tenure) = self.try_take(before).await
            {
                self.hold(tenure, period).await;
            }
            self.env.clock.sleep(period.min(LOOK_PERIOD)).await;
        }
    }

    /// Takes the identity if nobody has it. Without it this is one more that waits.
    async fn identify(&self, is_told: &mut bool) {
        let Some(file) = &self.options.identity_file else {
            return;
        };
        if self.identity.get().is_some() {
            return;
        }
        let why = match HolderIdentity::take(&self.env, file.clone()).await {
            Ok(Some(identity)) => {
                let _first = self.identity.set(identity);
                return;
            }
            Ok(None) => "another process runs on this directory".to_owned(),
            Err(error) => error.to_string(),
        };
        // It is tried each time, and told once.
        if !std::mem::replace(is_told, true) {
            let file = file.display();
            tracing::warn!(%file, %why, "a holder of the controllers' lease that has died is waited for until it expires");
        }
    }

    /// What the key is if nobody acts on it any more: `None` inside, not there. A read is all that waiting costs the store.
    async fn find_over(&self) -> Option<Option<KeyValue>> {
        let key = self.options.key.clone().into_bytes();
        let found = self.kv.get(key.into()).await.ok()?;
        let is_over = found.as_ref().is_none_or(|found| self.is_over(&found.value));
        is_over.then_some(found)
    }

    /// Whether who wrote this is known to hold it no more.
    fn is_over(&self, value: &[u8]) -> bool {
        let mut parts = value.splitn(2, |byte| *byte == b'/');
        let (holder, identity) = (parts.next().unwrap_or_default(), parts.next());
        // A tenure of this process that has ended here and not in the store, or that it never heard of.
        if holder == self.options.holder.as_bytes() {
            return true;
        }
        let own = self.identity.get().map(|own| own.name().as_bytes());
        own.is_some() && own == identity && !self.state.read().has_held
    }

    async fn try_take(&self, before: Option<KeyValue>) -> Option<Tenure> {
        let id = self.kv.lease_grant(self.options.ttl).await.ok()?;
        let key: bytes::Bytes = self.options.key.clone().into_bytes().into();
        let holder = &self.options.holder;
        let value = match self.identity.get() {
            Some(identity) => format!("{holder}/{}", identity.name()),
            None => holder.clone(),
        };
        let txn = Txn {
            guards: vec![Guard::ModRevision {
                key: key.clone(),
                revision: before.as_ref().map_or(Revision(0), |before| before.mod_revision),
            }],
            ops: vec![Op::Put {
                key,
                value: value.into_bytes().into(),
                lease: Some(id),
            }],
        };
        if let Ok(TxnOutcome::Committed(revision)) = self.kv.txn(txn).await {
            let tenure = Tenure { revision, id };
            let before = before.map(|before| LeaseId(before.lease));
            if self.begin(tenure) {
                tracing::info!(%holder, is_from_before = before.is_some(), "controllers' lease taken");
                // Who lives after all, and was taken from, hears of it by this. Without it he writes nothing, too.
                if let Some(before) = before {
                    let revoked = self.kv.lease_revoke(before);
                    let _best_effort = self.env.clock.timeout(RELEASE_MAX, revoked).await;
                }
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
        state.has_held = true;
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
