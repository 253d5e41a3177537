//! The simplest correct store: every version of every key in memory. It is the oracle of the conformance suite and serves
//! tests of what lies above; what it does is what the other implementations have to do.

use crate::{
    Batch, Error, Event, Guard, KeyValue, Kv, LeaseId, Op, RangeRequest, RangeResponse, Revision, Status, Txn,
    TxnOutcome, Watch, WatchItem,
};
use async_trait::async_trait;
use bytes::Bytes;
use env::{Clock, Env, Rng};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How often expired leases are looked for.
const EXPIRY_PERIOD: Duration = Duration::from_millis(200);

/// A store in memory, gone when it is dropped.
pub struct ModelKv {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    revision: tokio::sync::watch::Sender<Revision>,
    clock: Clock,
    rng: Rng,
}

struct State {
    revision: Revision,
    compacted: Revision,
    keys: BTreeMap<Bytes, Vec<Version>>,
    log: BTreeMap<Revision, Arc<Batch>>,
    leases: BTreeMap<LeaseId, Lease>,
    closed: bool,
}

/// A key's state since a revision; none: absent.
struct Version {
    since: Revision,
    kv: Option<KeyValue>,
}

struct Lease {
    ttl: Duration,
    expires: Duration,
}

struct ModelWatch {
    shared: Arc<Shared>,
    changed: tokio::sync::watch::Receiver<Revision>,
    delivered: Revision,
    announced: bool,
}

// === impl ModelKv ===

impl ModelKv {
    /// An empty store.
    pub fn new(env: &Env) -> ModelKv {
        let state = State {
            revision: Revision(1),
            compacted: Revision(0),
            keys: BTreeMap::new(),
            log: BTreeMap::new(),
            leases: BTreeMap::new(),
            closed: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            revision: tokio::sync::watch::Sender::new(Revision(1)),
            clock: env.clock.clone(),
            rng: env.rng.clone(),
        });
        env.spawn
            .spawn(
                "model-kv-leases",
                expire_leases(Arc::downgrade(&shared), env.clock.clone()),
            )
            .detach();
        ModelKv { shared }
    }
}

async fn expire_leases(shared: Weak<Shared>, clock: Clock) {
    loop {
        clock.sleep(EXPIRY_PERIOD).await;
        let Some(shared) = shared.upgrade() else { return };
        let now = clock.monotonic();
        let mut state = shared.state.lock();
        let expired = state.leases.iter().filter(|(_, lease)| lease.expires <= now);
        for lease in expired.map(|(id, _)| *id).collect::<Vec<_>>() {
            state.revoke(lease);
        }
        shared.publish(&state);
    }
}

#[async_trait]
impl Kv for ModelKv {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        self.shared.open()?.range(&request)
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, Error> {
        txn.check()?;
        let mut state = self.shared.open()?;
        let outcome = state.txn(&txn);
        self.shared.publish(&state);
        outcome
    }

    async fn watch(&self, from: Revision) -> Result<Box<dyn Watch>, Error> {
        let state = self.shared.open()?;
        if from < state.compacted {
            return Err(Error::Compacted { at: state.compacted });
        }
        let changed = self.shared.revision.subscribe();
        Ok(Box::new(ModelWatch {
            shared: self.shared.clone(),
            changed,
            delivered: from,
            announced: false,
        }))
    }

    async fn revision(&self) -> Result<Revision, Error> {
        Ok(self.shared.open()?.revision)
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.shared.open()?.compact(revision)
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId, Error> {
        let ttl = Duration::from_secs(ttl.as_millis().div_ceil(1000).max(1) as u64);
        let id = LeaseId((self.shared.rng.next_u64() >> 1) as i64 | 1);
        let expires = self.shared.clock.monotonic() + ttl;
        self.shared.open()?.leases.insert(id, Lease { ttl, expires });
        Ok(id)
    }

    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<(), Error> {
        let mut state = self.shared.open()?;
        let lease = state.leases.get_mut(&lease).ok_or(Error::LeaseNotFound)?;
        lease.expires = self.shared.clock.monotonic() + lease.ttl;
        Ok(())
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), Error> {
        let mut state = self.shared.open()?;
        match state.revoke(lease) {
            true => self.shared.publish(&state),
            false => return Err(Error::LeaseNotFound),
        }
        Ok(())
    }

    async fn status(&self) -> Result<Status, Error> {
        let state = self.shared.open()?;
        let (revision, compacted) = (state.revision, state.compacted);
        Ok(Status {
            version: "model".to_owned(),
            revision,
            compacted,
            ..Status::default()
        })
    }

    async fn close(&self) {
        let mut state = self.shared.state.lock();
        state.closed = true;
        state.leases.clear();
        self.shared.revision.send_modify(|_| {});
    }
}

// === impl Shared ===

impl Shared {
    fn open(&self) -> Result<parking_lot::MutexGuard<'_, State>, Error> {
        let state = self.state.lock();
        match state.closed {
            true => Err(Error::Closed),
            false => Ok(state),
        }
    }

    /// Called with the state still locked, so that watchers see revisions in order.
    fn publish(&self, state: &State) {
        self.revision
            .send_if_modified(|seen| std::mem::replace(seen, state.revision) != state.revision);
    }
}

// === impl State ===

impl State {
    fn at(versions: &[Version], revision: Revision) -> Option<&KeyValue> {
        versions
            .iter()
            .rev()
            .find(|version| version.since <= revision)?
            .kv
            .as_ref()
    }

    fn current(&self, key: &Bytes) -> Option<&KeyValue> {
        self.keys.get(key)?.last()?.kv.as_ref()
    }

    fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Error> {
        let revision = request.revision.unwrap_or(self.revision);
        if revision > self.revision {
            return Err(Error::FutureRevision {
                asked: revision,
                current: self.revision,
            });
        }
        if revision < self.compacted {
            return Err(Error::Compacted { at: self.compacted });
        }
        let mut response = RangeResponse {
            revision: self.revision,
            ..RangeResponse::default()
        };
        if request.is_empty() {
            return Ok(response);
        }
        let end = match request.end.is_empty() {
            true => Bound::Unbounded,
            false => Bound::Excluded(&request.end),
        };
        let versions = self
            .keys
            .range::<Bytes, _>((Bound::Included(&request.start), end))
            .map(|(_, versions)| versions);
        for kv in versions.filter_map(|versions| State::at(versions, revision)) {
            response.count += 1;
            if request.count_only {
                continue;
            }
            if request.limit > 0 && response.kvs.len() == request.limit {
                response.more = true;
                continue;
            }
            let value = if request.keys_only {
                Bytes::new()
            } else {
                kv.value.clone()
            };
            response.kvs.push(KeyValue { value, ..kv.clone() });
        }
        Ok(response)
    }

    fn txn(&mut self, txn: &Txn) -> Result<TxnOutcome, Error> {
        let holds = |Guard::ModRevision { key, revision }: &Guard| {
            self.current(key).map_or(Revision(0), |kv| kv.mod_revision) == *revision
        };
        if !txn.guards.iter().all(holds) {
            let current = txn
                .guards
                .iter()
                .map(|guard| self.current(guard.key()).cloned())
                .collect();
            return Ok(TxnOutcome::Conflict {
                current,
                revision: self.revision,
            });
        }
        let unknown_lease = |op: &Op| match op {
            Op::Put { lease: Some(lease), .. } => !self.leases.contains_key(lease),
            _ => false,
        };
        if txn.ops.iter().any(unknown_lease) {
            return Err(Error::LeaseNotFound);
        }
        let revision = self.revision.next();
        let events: Vec<Event> = txn.ops.iter().filter_map(|op| self.event(op, revision)).collect();
        self.commit(revision, events);
        Ok(TxnOutcome::Committed(self.revision))
    }

    /// What an operation changes; none when it deletes an absent key.
    fn event(&self, op: &Op, revision: Revision) -> Option<Event> {
        let before = self.current(op.key());
        match op {
            Op::Delete { key } => before.map(|_| Event::Delete {
                key: key.clone(),
                mod_revision: revision,
            }),
            Op::Put { key, value, lease } => {
                let kv = KeyValue {
                    key: key.clone(),
                    value: value.clone(),
                    create_revision: before.map_or(revision, |kv| kv.create_revision),
                    mod_revision: revision,
                    version: before.map_or(0, |kv| kv.version) + 1,
                    lease: lease.map_or(0, |lease| lease.0),
                };
                Some(Event::Put { kv })
            }
        }
    }

    fn commit(&mut self, revision: Revision, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        self.revision = revision;
        for event in &events {
            let kv = match event {
                Event::Put { kv } => Some(kv.clone()),
                Event::Delete { .. } => None,
            };
            self.keys
                .entry(event.key().clone())
                .or_default()
                .push(Version { since: revision, kv });
        }
        self.log.insert(revision, Arc::new(Batch { revision, events }));
    }

    fn revoke(&mut self, lease: LeaseId) -> bool {
        let known = self.leases.remove(&lease).is_some();
        let attached = self
            .keys
            .keys()
            .filter(|key| self.current(key).is_some_and(|kv| kv.lease == lease.0));
        let keys: BTreeSet<Bytes> = attached.cloned().collect();
        let mod_revision = self.revision.next();
        let events = keys
            .into_iter()
            .map(|key| Event::Delete { key, mod_revision })
            .collect();
        self.commit(mod_revision, events);
        known
    }

    fn compact(&mut self, revision: Revision) -> Result<(), Error> {
        if revision <= self.compacted {
            return Err(Error::Compacted { at: self.compacted });
        }
        if revision > self.revision {
            return Err(Error::FutureRevision {
                asked: revision,
                current: self.revision,
            });
        }
        self.compacted = revision;
        self.log.retain(|at, _| *at > revision);
        self.keys.retain(|_, versions| {
            let superseded = versions
                .partition_point(|version| version.since <= revision)
                .saturating_sub(1);
            versions.drain(..superseded);
            if versions
                .first()
                .is_some_and(|first| first.since <= revision && first.kv.is_none())
            {
                versions.remove(0);
            }
            !versions.is_empty()
        });
        Ok(())
    }
}

// === impl ModelWatch ===

#[async_trait]
impl Watch for ModelWatch {
    async fn next(&mut self) -> Result<WatchItem, Error> {
        loop {
            self.changed.borrow_and_update();
            {
                let state = self.shared.open()?;
                if self.delivered < state.compacted {
                    return Err(Error::Compacted { at: state.compacted });
                }
                let after = (Bound::Excluded(self.delivered), Bound::Unbounded);
                if let Some((revision, batch)) = state.log.range(after).next() {
                    self.delivered = *revision;
                    return Ok(WatchItem::Batch(batch.clone()));
                }
                if !self.announced && self.delivered <= state.revision {
                    self.announced = true;
                    return Ok(WatchItem::Progress(state.revision));
                }
            }
            self.changed.changed().await.map_err(|_| Error::Closed)?;
        }
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::testing::suite::Subject;

    async fn model() -> Subject {
        let (env, host) = Env::simulated(1, env::simulated::SimOptions::default());
        Subject {
            kv: Arc::new(ModelKv::new(&env)),
            env,
            keep: Box::new(host),
        }
    }

    crate::kv_suite!(tokio::test(start_paused = true), model());
}
