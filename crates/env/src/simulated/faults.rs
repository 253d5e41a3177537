//! Counts of injected faults.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How often each kind of fault was injected. Cheap to clone; clones share the counts.
#[derive(Clone, Default)]
pub struct Faults {
    counts: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

// === impl Faults ===

impl Faults {
    /// Counts one fault. Tests may count kinds of their own.
    pub fn count(&self, kind: &'static str) {
        *self.counts.lock().entry(kind).or_default() += 1;
    }

    /// How often a kind was injected.
    pub fn of(&self, kind: &str) -> u64 {
        self.counts.lock().get(kind).copied().unwrap_or(0)
    }

    /// All kinds that were injected.
    pub fn all(&self) -> BTreeMap<&'static str, u64> {
        self.counts.lock().clone()
    }
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.counts.lock().fmt(f)
    }
}
