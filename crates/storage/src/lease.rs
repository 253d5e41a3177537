//! Leases of objects with a time to live (events). One lease serves many objects, as in Kubernetes.

use std::time::Duration;

use env::Clock;
use kv::{Kv, LeaseId};
use parking_lot::Mutex;

use crate::StorageError;

/// A lease is given out for this long, or a twentieth of the time to live if that is less.
const REUSE_MAX: Duration = Duration::from_secs(60);

/// Objects of one lease expire in one transaction, so their number is bounded (Kubernetes: 1,000).
const OBJECTS_MAX: u32 = 1000;

#[derive(Default)]
pub(crate) struct Leases {
    current: Mutex<Option<Current>>,
}

#[derive(Clone)]
struct Current {
    lease: LeaseId,
    ttl: Duration,
    /// On the monotonic clock.
    until: Duration,
    objects: u32,
}

// === impl Leases ===

impl Leases {
    /// A lease under which an object lives at least `ttl`, and little longer.
    pub(crate) async fn lease(&self, kv: &dyn Kv, clock: &Clock, ttl: Duration) -> Result<LeaseId, StorageError> {
        let now = clock.monotonic();
        if let Some(current) = self.current.lock().as_mut()
            && current.ttl == ttl
            && current.until > now
            && current.objects < OBJECTS_MAX
        {
            current.objects += 1;
            return Ok(current.lease);
        }
        let reuse = REUSE_MAX.min(ttl / 20);
        let lease = kv.lease_grant(ttl + reuse).await?;
        *self.current.lock() = Some(Current {
            lease,
            ttl,
            until: now + reuse,
            objects: 1,
        });
        Ok(lease)
    }

    /// The store does not know this lease any more.
    pub(crate) fn forget(&self, lease: LeaseId) {
        let mut current = self.current.lock();
        if current.as_ref().is_some_and(|current| current.lease == lease) {
            *current = None;
        }
    }
}
