//! Reads of what the caches hold now, without waiting: for plans and projections, which run on this process's own log.

use std::sync::Arc;

use machinery::selector::LabelSelector;
use permit::{Permit, Scope, Verb};

use crate::filter::{Filter, may_read};
use crate::read::path_of;
use crate::{Entry, ObjectKey, ResourceKey, Store};

impl Store {
    /// One object as the cache has it. `None` also for what the permit does not cover.
    pub fn peek(&self, permit: &Permit, resource: &ResourceKey, key: &ObjectKey) -> Option<Arc<Entry>> {
        may_read(permit, Verb::Get, resource, &Scope::One(key.cluster.clone())).ok()?;
        let resource = self.shared.catalog.get(resource)?;
        let entry = resource.objects.read().get(&path_of(key)).cloned()?;
        entry.labels_match(permit.selector()).then_some(entry)
    }

    /// The objects of a resource as the cache has them, in the order of their keys. Empty for what the permit does not
    /// cover.
    pub fn peek_list(
        &self,
        permit: &Permit,
        resource: &ResourceKey,
        scope: &Scope,
        namespace: &str,
        labels: &LabelSelector,
    ) -> Vec<Arc<Entry>> {
        if may_read(permit, Verb::List, resource, scope).is_err() {
            return Vec::new();
        }
        let filter = Filter::new(permit, scope, namespace, "", labels, None);
        self.shared.peek_page(resource, &filter)
    }

    /// Whether [`Store::peek_list`] would answer anything; stops at the first.
    pub fn peek_any(
        &self,
        permit: &Permit,
        resource: &ResourceKey,
        scope: &Scope,
        namespace: &str,
        labels: &LabelSelector,
    ) -> bool {
        if may_read(permit, Verb::List, resource, scope).is_err() {
            return false;
        }
        let filter = Filter::new(permit, scope, namespace, "", labels, None);
        self.shared.peek_any(resource, &filter)
    }
}
