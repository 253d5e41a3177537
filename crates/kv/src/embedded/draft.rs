//! Evaluates queued requests against the index, one after the other, into one commit.

use super::index::{Index, Version};
use super::lease::Leases;
use super::log::{Commit, Compacted};
use super::row::{CHANGES_MAX, Row, RowId};
use crate::{Batch, Error, Event, Guard, KeyValue, LeaseId, Op, Revision, Txn};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// What a caller wants done in the order of the queue.
#[derive(Debug)]
pub(super) enum Work {
    Txn(Txn),
    Grant {
        lease: i64,
        seconds: u64,
    },
    /// Ends a lease; `expired_at`: only if its time is up by then.
    Revoke {
        lease: i64,
        expired_at: Option<Duration>,
    },
    Compact(Revision),
    Close,
}

/// What became of it, once the commit is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Committed(Revision),
    /// The guards' keys as found, without values.
    Conflict {
        found: Vec<Option<Version>>,
        revision: Revision,
    },
    Done,
}

/// A commit in the making. Later requests see the changes of earlier ones.
pub(super) struct Draft<'a> {
    index: &'a Index,
    leases: &'a Leases,
    revision: Revision,
    changed: BTreeMap<Bytes, Version>,
    pub commit: Commit,
    /// Refuse what needs space.
    pub is_full: bool,
}

// === impl Work ===

impl Work {
    /// Bytes that it adds to a commit.
    pub(super) fn size(&self) -> usize {
        match self {
            Work::Txn(txn) => txn.size(),
            _ => 0,
        }
    }

    fn needs_space(&self) -> bool {
        match self {
            Work::Txn(txn) => txn.ops.iter().any(|op| matches!(op, Op::Put { .. })),
            Work::Grant { .. } => true,
            Work::Revoke { .. } | Work::Compact(_) | Work::Close => false,
        }
    }
}

// === impl Draft ===

impl<'a> Draft<'a> {
    pub(super) fn new(index: &'a Index, leases: &'a Leases, is_full: bool) -> Draft<'a> {
        let (revision, commit) = (index.revision(), Commit::default());
        Draft {
            index,
            leases,
            revision,
            changed: BTreeMap::new(),
            commit,
            is_full,
        }
    }

    pub(super) fn add(&mut self, work: &Work) -> Result<Answer, Error> {
        if self.is_full && work.needs_space() {
            return Err(Error::Full);
        }
        match work {
            Work::Txn(txn) => self.txn(txn),
            Work::Grant { lease, seconds } => {
                self.commit.leases.insert(*lease, Some(*seconds));
                Ok(Answer::Done)
            }
            Work::Revoke { lease, expired_at } => self.revoke(*lease, *expired_at),
            Work::Compact(at) => self.compact(*at),
            Work::Close => Ok(Answer::Done),
        }
    }

    fn current(&self, key: &[u8]) -> Option<Version> {
        match self.changed.get(key) {
            Some(version) => Some(*version).filter(Version::is_put),
            None => self.index.current(key),
        }
    }

    fn has_lease(&self, lease: i64) -> bool {
        match self.commit.leases.get(&lease) {
            Some(change) => change.is_some(),
            None => self.leases.contains(lease),
        }
    }

    fn txn(&mut self, txn: &Txn) -> Result<Answer, Error> {
        let found: Vec<Option<Version>> = txn.guards.iter().map(|guard| self.current(guard.key())).collect();
        let holds = |(Guard::ModRevision { revision, .. }, found): (&Guard, &Option<Version>)| {
            found.map_or(Revision(0), |version| version.row.revision()) == *revision
        };
        if !txn.guards.iter().zip(&found).all(holds) {
            return Ok(Answer::Conflict {
                found,
                revision: self.revision,
            });
        }
        let unknown_lease = |op: &Op| match op {
            Op::Put { lease: Some(lease), .. } => !self.has_lease(lease.0),
            _ => false,
        };
        if txn.ops.iter().any(unknown_lease) {
            return Err(Error::LeaseNotFound);
        }
        let revision = self.revision.next();
        let events = txn.ops.iter().filter_map(|op| self.event(op, revision)).collect();
        self.push(revision, events);
        Ok(Answer::Committed(self.revision))
    }

    /// What an operation changes; none when it deletes an absent key.
    fn event(&self, op: &Op, mod_revision: Revision) -> Option<Event> {
        let before = self.current(op.key());
        match op {
            Op::Delete { key } => before.map(|_| Event::Delete {
                key: key.clone(),
                mod_revision,
            }),
            Op::Put { key, value, lease } => {
                let create_revision = before.map_or(mod_revision, |before| before.create_revision);
                let version = before.map_or(0, |before| before.version) + 1;
                let lease = lease.map_or(0, |LeaseId(lease)| lease);
                let (key, value) = (key.clone(), value.clone());
                Some(Event::Put {
                    kv: KeyValue {
                        key,
                        value,
                        create_revision,
                        mod_revision,
                        version,
                        lease,
                    },
                })
            }
        }
    }

    fn push(&mut self, revision: Revision, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        self.revision = revision;
        for (index, event) in events.iter().enumerate() {
            let version = Version::of(RowId::new(revision, index), &Row::of(event));
            self.changed.insert(event.key().clone(), version);
        }
        self.commit.batches.push(Arc::new(Batch { revision, events }));
    }

    fn revoke(&mut self, lease: i64, expired_at: Option<Duration>) -> Result<Answer, Error> {
        if !self.has_lease(lease) {
            return Err(Error::LeaseNotFound);
        }
        if expired_at.is_some_and(|now| !self.leases.is_expired(lease, now)) {
            return Ok(Answer::Done);
        }
        let of_lease = |version: Option<Version>| version.is_some_and(|version| version.lease == lease);
        let mut keys: BTreeSet<Bytes> = self.leases.keys(lease).into_iter().collect();
        keys.extend(self.changed.keys().cloned());
        keys.retain(|key| of_lease(self.current(key)));
        for keys in keys.into_iter().collect::<Vec<_>>().chunks(CHANGES_MAX) {
            let mod_revision = self.revision.next();
            let delete = |key: &Bytes| Event::Delete {
                key: key.clone(),
                mod_revision,
            };
            self.push(mod_revision, keys.iter().map(delete).collect());
        }
        self.commit.leases.insert(lease, None);
        Ok(Answer::Done)
    }

    fn compact(&mut self, at: Revision) -> Result<Answer, Error> {
        let compacted = self
            .commit
            .compacted
            .map_or(self.index.compacted(), |compacted| compacted.at);
        if at <= compacted {
            return Err(Error::Compacted { at: compacted });
        }
        if at > self.revision {
            return Err(Error::FutureRevision {
                asked: at,
                current: self.revision,
            });
        }
        self.commit.compacted = Some(Compacted {
            at,
            revision: self.revision,
        });
        Ok(Answer::Done)
    }
}
