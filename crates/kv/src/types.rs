//! The vocabulary of [`crate::Kv`].

use crate::Error;
use bytes::Bytes;
use std::sync::Arc;

/// The greatest size of a transaction, as [`Txn::size`] counts it: etcd's default limit.
pub const MAX_TXN_BYTES: usize = 1536 * 1024;

/// The greatest number of guards, and of operations, in a transaction: etcd's default limit.
pub const MAX_TXN_OPS: usize = 128;

/// Charged for each guard and operation on top of keys and values. It covers etcd's encoding of them and a key prefix, so
/// that what passes here is never refused by an etcd of default configuration.
const TXN_ITEM_BYTES: usize = 128;

/// A point in the history of a store. An empty store is at 1; 0 stands for "never".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Revision(pub u64);

/// A lease's name; never 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LeaseId(pub i64);

/// A key with its value and history.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value; empty when only keys were asked for.
    pub value: Bytes,
    /// When the key was put for the first time since it was last absent.
    pub create_revision: Revision,
    /// When the key was last put.
    pub mod_revision: Revision,
    /// How often the key was put since `create_revision`; the first is 1.
    pub version: u64,
    /// The lease that the key is deleted with; 0 for none.
    pub lease: i64,
}

/// A condition of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Guard {
    /// The key was last put at this revision; 0: the key is absent.
    ModRevision {
        /// The key.
        key: Bytes,
        /// What its mod revision has to be.
        revision: Revision,
    },
}

/// A change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// Puts a value.
    Put {
        /// The key; not empty.
        key: Bytes,
        /// Its new value.
        value: Bytes,
        /// The lease that the key is deleted with from now on.
        lease: Option<LeaseId>,
    },
    /// Deletes a key. Deleting an absent key changes nothing.
    Delete {
        /// The key.
        key: Bytes,
    },
}

/// Changes that happen together, or not at all if any guard fails. No key may be written twice.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Txn {
    /// All must hold.
    pub guards: Vec<Guard>,
    /// All happen at one revision.
    pub ops: Vec<Op>,
}

/// How a transaction ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TxnOutcome {
    /// It happened at this revision. If it changed nothing, this is the store's revision, at which others wrote.
    Committed(Revision),
    /// A guard failed; nothing happened.
    Conflict {
        /// What the guards' keys held, in the guards' order.
        current: Vec<Option<KeyValue>>,
        /// The store's revision when the guards were evaluated.
        revision: Revision,
    },
}

/// Which keys to read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RangeRequest {
    /// The first key.
    pub start: Bytes,
    /// The key after the last; empty: no end.
    pub end: Bytes,
    /// At which revision; none: the newest, after every write finished before the call.
    pub revision: Option<Revision>,
    /// The greatest number of keys to return; 0: no limit.
    pub limit: usize,
    /// Leaves values empty.
    pub keys_only: bool,
    /// Returns the count alone.
    pub count_only: bool,
}

/// What a range holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RangeResponse {
    /// Ascending by key.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit cut some off.
    pub more: bool,
    /// How many keys the whole range has, whatever the limit.
    pub count: u64,
    /// The store's revision at the time of the read.
    pub revision: Revision,
}

/// One change, as a watch shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A key was put. It is new if `create_revision` is `mod_revision`.
    Put {
        /// What it holds since.
        kv: KeyValue,
    },
    /// A key was deleted.
    Delete {
        /// The key.
        key: Bytes,
        /// When.
        mod_revision: Revision,
    },
}

/// All changes of one revision, in the order of the transaction's operations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    /// The revision.
    pub revision: Revision,
    /// Never empty.
    pub events: Vec<Event>,
}

/// What a watch yields.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WatchItem {
    /// The changes of the next revision that has any in this key space.
    Batch(Arc<Batch>),
    /// Everything up to this revision has been delivered.
    Progress(Revision),
}

/// What a store says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// What it is: `model`, `embedded`, or etcd's version.
    pub version: String,
    /// Its revision.
    pub revision: Revision,
    /// The oldest revision that can be read, as far as it is known; 0 when nothing was compacted.
    pub compacted: Revision,
    /// Bytes that it takes on disk.
    pub size_bytes: u64,
    /// Bytes of those in use.
    pub in_use_bytes: u64,
    /// Whether it refuses writes for want of space.
    pub full: bool,
}

/// The first key after all that begin with `prefix`; empty when there is none.
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    match prefix.iter().rposition(|byte| *byte != u8::MAX) {
        Some(last) => {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            end.into()
        }
        None => Bytes::new(),
    }
}

// === impl Revision ===

impl Revision {
    /// The one after.
    pub fn next(self) -> Revision {
        Revision(self.0.saturating_add(1))
    }
}

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

// === impl Guard ===

impl Guard {
    /// The key it looks at.
    pub fn key(&self) -> &Bytes {
        let Guard::ModRevision { key, .. } = self;
        key
    }

    /// The guard that holds while the key is as `revision` left it.
    pub fn unchanged(key: impl Into<Bytes>, revision: Revision) -> Guard {
        Guard::ModRevision {
            key: key.into(),
            revision,
        }
    }

    /// The guard that holds while there is no such key.
    pub fn absent(key: impl Into<Bytes>) -> Guard {
        Guard::unchanged(key, Revision(0))
    }
}

// === impl Op ===

impl Op {
    /// A put without a lease.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Op {
        Op::Put {
            key: key.into(),
            value: value.into(),
            lease: None,
        }
    }

    /// A deletion.
    pub fn delete(key: impl Into<Bytes>) -> Op {
        Op::Delete { key: key.into() }
    }

    /// The key it changes.
    pub fn key(&self) -> &Bytes {
        match self {
            Op::Put { key, .. } | Op::Delete { key } => key,
        }
    }
}

// === impl Txn ===

impl Txn {
    /// A transaction without guards.
    pub fn unguarded(ops: Vec<Op>) -> Txn {
        Txn {
            guards: Vec::new(),
            ops,
        }
    }

    /// Bytes of keys and values plus a charge for each guard and operation.
    pub fn size(&self) -> usize {
        // Twice for a guard's key: to compare it, and to read it if the comparison fails.
        let guards = self.guards.iter().map(|guard| 2 * guard.key().len() + TXN_ITEM_BYTES);
        let ops = self.ops.iter().map(|op| match op {
            Op::Put { key, value, .. } => key.len() + value.len() + TXN_ITEM_BYTES,
            Op::Delete { key } => key.len() + TXN_ITEM_BYTES,
        });
        guards.chain(ops).sum()
    }

    /// Refuses what no implementation takes.
    pub fn check(&self) -> Result<(), Error> {
        let (items, size) = (self.guards.len().max(self.ops.len()), self.size());
        if items > MAX_TXN_OPS {
            return Err(Error::TooLarge {
                size: items,
                limit: MAX_TXN_OPS,
            });
        }
        if size > MAX_TXN_BYTES {
            return Err(Error::TooLarge {
                size,
                limit: MAX_TXN_BYTES,
            });
        }
        let mut keys: Vec<&Bytes> = self.ops.iter().map(Op::key).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::Invalid("a key is written twice"));
        }
        let guarded = self.guards.iter().map(Guard::key);
        match keys.into_iter().chain(guarded).any(|key| key.is_empty()) {
            true => Err(Error::Invalid("a key is empty")),
            false => Ok(()),
        }
    }
}

// === impl RangeRequest ===

impl RangeRequest {
    /// One key.
    pub fn key(key: impl Into<Bytes>) -> RangeRequest {
        let start = key.into();
        let end = [&start[..], &[0]].concat().into();
        RangeRequest {
            start,
            end,
            ..RangeRequest::default()
        }
    }

    /// Every key that begins with `prefix`.
    pub fn prefix(prefix: impl Into<Bytes>) -> RangeRequest {
        let start = prefix.into();
        let end = prefix_end(&start);
        RangeRequest {
            start,
            end,
            ..RangeRequest::default()
        }
    }

    /// The same range at a revision.
    pub fn at(self, revision: Revision) -> RangeRequest {
        RangeRequest {
            revision: Some(revision),
            ..self
        }
    }

    /// The same range cut after some keys.
    pub fn limited(self, limit: usize) -> RangeRequest {
        RangeRequest { limit, ..self }
    }

    /// True when no key can be in it.
    pub fn is_empty(&self) -> bool {
        !self.end.is_empty() && self.end <= self.start
    }
}

// === impl Event ===

impl Event {
    /// The key that changed.
    pub fn key(&self) -> &Bytes {
        match self {
            Event::Put { kv } => &kv.key,
            Event::Delete { key, .. } => key,
        }
    }

    /// Roughly the memory it takes, in bytes.
    pub fn weight(&self) -> usize {
        match self {
            Event::Put { kv } => kv.key.len() + kv.value.len() + 160,
            Event::Delete { key, .. } => key.len() + 160,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_end_follows_every_key_of_the_prefix() {
        assert_eq!(prefix_end(b"a/"), "a0");
        assert_eq!(prefix_end(b"a\xff\xff"), "b");
        assert_eq!(prefix_end(b"\xff"), "");
        assert_eq!(prefix_end(b""), "");
    }

    #[test]
    fn refuses_what_no_store_takes() {
        let put = |size: usize| Txn::unguarded(vec![Op::put("k", vec![0; size])]);
        assert!(put(MAX_TXN_BYTES - 1 - TXN_ITEM_BYTES).check().is_ok());
        assert!(matches!(
            put(MAX_TXN_BYTES - TXN_ITEM_BYTES).check(),
            Err(Error::TooLarge { .. })
        ));
        let many = Txn::unguarded((0..129).map(|index| Op::delete(format!("{index}"))).collect());
        assert!(matches!(many.check(), Err(Error::TooLarge { size: 129, limit: 128 })));
        let twice = Txn::unguarded(vec![Op::put("k", ""), Op::delete("k")]);
        assert!(matches!(twice.check(), Err(Error::Invalid(_))));
        let empty = Txn {
            guards: vec![Guard::absent("")],
            ops: Vec::new(),
        };
        assert!(matches!(empty.check(), Err(Error::Invalid(_))));
    }
}
