//! What follows the log inside this process.

use std::sync::Arc;

use serde_json::Value;

use crate::tree::Trees;
use crate::{Entry, ObjectKey, ResourceKey};

/// Something derived from objects (an index of clusters, of bindings) that is as new as the store's caches.
///
/// # Guarantees
/// - Called for every object of the initial load, then for every change, in the log's order, never twice at a time.
/// - When a revision is visible to readers and writers, every projection has applied it.
/// - After a gap in the log the differences are applied, without what lay between.
///
/// # Duties
/// To be quick and not to block: every write waits for it. Of the store only what does not wait may be called (`peek`); it
/// shows the state before the change.
pub trait Projection: Send + Sync {
    fn apply(&self, change: &Applied<'_>);

    /// What was applied is in the caches, and visible: from now on whoever is told of it also finds it.
    fn visible(&self) {}
}

/// One change of one object. `old` is absent for what is new, `new` for what is gone.
#[derive(Clone, Copy)]
pub struct Applied<'a> {
    pub resource: &'a ResourceKey,
    pub key: &'a ObjectKey,
    pub revision: u64,
    pub old: Option<&'a Arc<Entry>>,
    pub new: Option<&'a Arc<Entry>>,
    pub(crate) trees: &'a Trees,
}

// === impl Applied ===

impl<'a> Applied<'a> {
    /// The same change of what others know by another key, under which there may be something else in its place.
    #[must_use]
    pub fn under(&self, key: &'a ObjectKey, instead: Option<&'a Arc<Entry>>) -> Self {
        Self {
            key,
            new: self.new.or(instead),
            ..*self
        }
    }
    /// The object as it was before, parsed; shared with the other projections and the plans that look at it.
    pub fn old_tree(&self) -> Option<Arc<Value>> {
        self.old.map(|entry| self.trees.of(entry))
    }

    pub fn new_tree(&self) -> Option<Arc<Value>> {
        self.new.map(|entry| self.trees.of(entry))
    }
}
