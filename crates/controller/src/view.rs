//! What plans see: the caches of this shard, and the objects fetched for this run.

use std::collections::BTreeMap;
use std::sync::Arc;

use machinery::selector::LabelSelector;
use permit::{Cluster, Permit, Scope};
use plan::{Labelled, ObjectRef, Outline, ResourceRef, Seen, Served, View};
use serde_json::Value;
use storage::{Entry, ObjectKey, ResourceKey, Store};

use crate::driver::{Catalog, Fetched};

/// The view of one run.
pub struct StoreView<'a> {
    store: &'a Store,
    catalog: &'a dyn Catalog,
    fetched: &'a BTreeMap<ObjectRef, Fetched>,
    permit: Permit,
}

/// An entry as triggers see it.
pub(crate) struct Seeing<'a> {
    pub entry: &'a Arc<Entry>,
    pub store: &'a Store,
}

// === impl StoreView ===

impl<'a> StoreView<'a> {
    pub fn new(store: &'a Store, catalog: &'a dyn Catalog, fetched: &'a BTreeMap<ObjectRef, Fetched>) -> Self {
        Self {
            store,
            catalog,
            fetched,
            permit: Permit::internal(Scope::All),
        }
    }

    fn entry(&self, object: &ObjectRef) -> Option<Arc<Entry>> {
        let resource = self.catalog.store_key(&object.resource)?;
        let key = ObjectKey::new(object.cluster.clone(), &object.namespace, &object.name);
        self.store.peek(&self.permit, &resource, &key)
    }
}

impl View for StoreView<'_> {
    fn get(&self, object: &ObjectRef) -> Seen {
        if let Some(fetched) = self.fetched.get(object) {
            return match fetched {
                Fetched::Object(value) => Seen::Found(Arc::clone(value)),
                Fetched::Absent => Seen::Absent,
            };
        }
        if !self.catalog.is_local(&object.cluster) {
            return Seen::Unknown;
        }
        match self.entry(object) {
            Some(entry) => Seen::Found(self.store.tree(&entry)),
            None => Seen::Absent,
        }
    }

    fn is_absent(&self, object: &ObjectRef) -> bool {
        match self.fetched.get(object) {
            Some(fetched) => *fetched == Fetched::Absent,
            None => self.catalog.is_local(&object.cluster) && self.entry(object).is_none(),
        }
    }

    fn list(&self, resource: &ResourceRef, scope: &Scope, namespace: &str, labels: &LabelSelector) -> Vec<Arc<Value>> {
        let Some(resource) = self.catalog.store_key(resource) else {
            return Vec::new();
        };
        let entries = self.store.peek_list(&self.permit, &resource, scope, namespace, labels);
        entries.iter().map(|entry| self.store.tree(entry)).collect()
    }

    fn outline(&self, resource: &ResourceRef, cluster: &Cluster, namespace: &str) -> Vec<Outline> {
        let Some(key) = self.catalog.store_key(resource) else {
            return Vec::new();
        };
        let (scope, all) = (Scope::One(cluster.clone()), LabelSelector::everything());
        let entries = self.store.peek_list(&self.permit, &key, &scope, namespace, &all);
        entries
            .iter()
            .map(|entry| Outline {
                of: resource.object(cluster, entry.namespace(), entry.name()),
                uid: entry.uid().to_owned(),
                is_terminating: entry.is_terminating(),
            })
            .collect()
    }

    fn any(&self, resource: &ResourceRef, scope: &Scope, namespace: &str, labels: &LabelSelector) -> bool {
        let Some(resource) = self.catalog.store_key(resource) else {
            return false;
        };
        self.store.peek_any(&self.permit, &resource, scope, namespace, labels)
    }

    fn dependants(&self, cluster: &Cluster, uid: &str) -> Vec<(ObjectRef, Arc<Value>)> {
        let found = self.catalog.dependants(cluster, uid);
        let read = |(resource, key): (ResourceKey, ObjectKey)| {
            let entry = self.store.peek(&self.permit, &resource, &key)?;
            let of = self
                .catalog
                .resource_ref(&resource)
                .object(cluster, &key.namespace, &key.name);
            Some((of, self.store.tree(&entry)))
        };
        found.into_iter().filter_map(read).collect()
    }

    fn has_dependants(&self, cluster: &Cluster, uid: &str) -> bool {
        self.catalog.has_dependants(cluster, uid)
    }

    fn contents(&self, cluster: &Cluster) -> Vec<(ResourceRef, usize)> {
        let counts = self.store.objects_in(cluster);
        let mut out: Vec<(ResourceRef, usize)> = counts
            .into_iter()
            .map(|(resource, count)| (self.catalog.resource_ref(&resource), count))
            .collect();
        out.sort();
        out
    }

    fn served(&self, cluster: &Cluster) -> Vec<Served> {
        self.catalog.served(cluster)
    }
}

impl Labelled for Seeing<'_> {
    fn label(&self, key: &str) -> Option<String> {
        self.entry.label(key).map(str::to_owned)
    }

    fn is_terminating(&self) -> bool {
        self.entry.is_terminating()
    }

    fn is_owned(&self) -> bool {
        self.entry.is_owned()
    }

    fn uid(&self) -> String {
        self.entry.uid().to_owned()
    }

    fn parse(&self) -> Arc<Value> {
        self.store.tree(self.entry)
    }
}
