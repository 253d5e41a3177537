//! Leases: how long each lives, and the keys that go with it.

use crate::Event;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// All leases. Deadlines are in monotonic time, so that a jump of the wall clock ends none.
#[derive(Default)]
pub(super) struct Leases {
    by_id: BTreeMap<i64, Lease>,
    by_key: BTreeMap<Bytes, i64>,
}

struct Lease {
    ttl: Duration,
    deadline: Duration,
    keys: BTreeSet<Bytes>,
}

// === impl Leases ===

impl Leases {
    /// Adds a lease that starts to run at `now`; after a restart every lease has its whole time again, as in etcd.
    pub(super) fn grant(&mut self, id: i64, ttl: Duration, now: Duration) {
        self.by_id.insert(
            id,
            Lease {
                ttl,
                deadline: now + ttl,
                keys: BTreeSet::new(),
            },
        );
    }

    pub(super) fn keep_alive(&mut self, id: i64, now: Duration) -> bool {
        let lease = self.by_id.get_mut(&id);
        lease.map(|lease| lease.deadline = now + lease.ttl).is_some()
    }

    pub(super) fn contains(&self, id: i64) -> bool {
        self.by_id.contains_key(&id)
    }

    pub(super) fn is_expired(&self, id: i64, now: Duration) -> bool {
        self.by_id.get(&id).is_some_and(|lease| lease.deadline <= now)
    }

    pub(super) fn keys(&self, id: i64) -> Vec<Bytes> {
        self.by_id
            .get(&id)
            .map(|lease| lease.keys.iter().cloned().collect())
            .unwrap_or_default()
    }

    pub(super) fn remove(&mut self, id: i64) {
        for key in self.by_id.remove(&id).map(|lease| lease.keys).unwrap_or_default() {
            self.by_key.remove(&key);
        }
    }

    /// Binds a key to the lease it was last put with, 0 for none.
    pub(super) fn attach(&mut self, key: &Bytes, id: i64) {
        if let Some(former) = self.by_key.remove(key)
            && let Some(lease) = self.by_id.get_mut(&former)
        {
            lease.keys.remove(key);
        }
        if let Some(lease) = self.by_id.get_mut(&id) {
            lease.keys.insert(key.clone());
            self.by_key.insert(key.clone(), id);
        }
    }

    pub(super) fn apply(&mut self, event: &Event) {
        match event {
            Event::Put { kv } if kv.lease != 0 || self.by_key.contains_key(&kv.key) => {
                // A copy: the event's key may be a slice of a buffer that holds the value too.
                self.attach(&Bytes::copy_from_slice(&kv.key), kv.lease);
            }
            Event::Put { .. } => {}
            Event::Delete { key, .. } => self.attach(key, 0),
        }
    }

    pub(super) fn expired(&self, now: Duration) -> Vec<i64> {
        self.by_id
            .iter()
            .filter(|(_, lease)| lease.deadline <= now)
            .map(|(id, _)| *id)
            .collect()
    }

    /// Leases with their seconds.
    pub(super) fn seconds(&self) -> BTreeMap<i64, u64> {
        self.by_id
            .iter()
            .map(|(id, lease)| (*id, lease.ttl.as_secs()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_key_belongs_to_the_lease_it_was_last_put_with() {
        let mut leases = Leases::default();
        leases.grant(1, SECOND, Duration::ZERO);
        leases.grant(2, SECOND, Duration::ZERO);
        let key = Bytes::from("key");
        leases.attach(&key, 1);
        leases.attach(&key, 2);
        assert_eq!((leases.keys(1), leases.keys(2)), (vec![], vec![key.clone()]));
        leases.attach(&key, 0);
        assert!(leases.keys(2).is_empty() && leases.by_key.is_empty());
    }

    #[test]
    fn expires_unless_kept_alive() {
        let mut leases = Leases::default();
        leases.grant(1, 2 * SECOND, Duration::ZERO);
        assert!(leases.keep_alive(1, SECOND) && !leases.keep_alive(2, SECOND));
        assert!(leases.expired(2 * SECOND).is_empty());
        assert_eq!(leases.expired(3 * SECOND), [1]);
    }
}
