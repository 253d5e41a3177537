//! What plans see: the caches of this shard, and the objects fetched for this run.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use machinery::object::ObjectExt;
use machinery::selector::LabelSelector;
use permit::{Cluster, Permit, Scope};
use plan::{Labelled, Member, ObjectRef, Outline, ResourceRef, Seen, Served, View};
use serde_json::Value;
use storage::{Entry, ObjectKey, ResourceKey, Store};

use crate::driver::{Catalog, Fetched, Holder};

/// The view of one run.
pub struct StoreView<'a> {
    store: &'a Store,
    catalog: &'a dyn Catalog,
    fetched: &'a BTreeMap<ObjectRef, Fetched>,
    permit: Permit,
    /// What was looked for and is, or may be, on another shard.
    missed: RefCell<BTreeSet<ObjectRef>>,
    /// The cluster that is worked on, whose objects are this shard's or nobody's.
    own: Option<&'a Cluster>,
}

/// What was told of another shard's object, as triggers see it.
pub(crate) struct Told(Arc<Value>);

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
            missed: RefCell::default(),
            own: None,
        }
    }

    /// Without what other shards have told of a cluster: whoever works on it must not take a replica for the object.
    #[must_use]
    pub fn of(mut self, own: &'a Cluster) -> Self {
        self.own = Some(own);
        self
    }

    /// What has to be fetched before anything that was planned on this view is worth something.
    pub(crate) fn into_missed(self) -> BTreeSet<ObjectRef> {
        self.missed.into_inner()
    }

    fn miss(&self, object: &ObjectRef) {
        self.missed.borrow_mut().insert(object.clone());
    }

    fn replica(&self, object: &ObjectRef) -> Option<Arc<Value>> {
        let is_own = self.own == Some(&object.cluster);
        (!is_own).then(|| self.catalog.replica(object)).flatten()
    }

    fn replicas(&self, resource: &ResourceRef, scope: &Scope, labels: &LabelSelector) -> Vec<Arc<Value>> {
        let is_own = scope.cluster().is_some() && scope.cluster() == self.own;
        match is_own {
            true => Vec::new(),
            false => self.catalog.replicas(resource, scope, labels),
        }
    }

    fn holder(&self, object: &ObjectRef) -> Holder {
        match &object.shard {
            Some(shard) if self.catalog.is_own_shard(shard) => Holder::Here,
            Some(_) => Holder::Elsewhere,
            None => self.catalog.holder(&object.cluster),
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
        let holder = self.holder(object);
        let entry = (holder != Holder::Elsewhere).then(|| self.entry(object)).flatten();
        match (entry, holder) {
            (Some(entry), _) => Seen::Found(self.store.tree(&entry)),
            (None, Holder::Here) => Seen::Absent,
            (None, Holder::Elsewhere | Holder::Unknown) => {
                // What was told is as good as what could be fetched, and there without its shard.
                if let Some(replica) = self.replica(object) {
                    return Seen::Found(replica);
                }
                self.miss(object);
                Seen::Unknown
            }
        }
    }

    fn is_absent(&self, object: &ObjectRef) -> bool {
        if let Some(fetched) = self.fetched.get(object) {
            return *fetched == Fetched::Absent;
        }
        match self.holder(object) {
            Holder::Here => self.entry(object).is_none(),
            Holder::Elsewhere | Holder::Unknown => self.get(object) == Seen::Absent,
        }
    }

    fn is_here(&self, cluster: &Cluster) -> bool {
        self.catalog.holder(cluster) == Holder::Here
    }

    fn members(&self) -> Vec<Member> {
        self.catalog.members()
    }

    fn list(&self, resource: &ResourceRef, scope: &Scope, namespace: &str, labels: &LabelSelector) -> Vec<Arc<Value>> {
        let Some(key) = self.catalog.store_key(resource) else {
            return Vec::new();
        };
        let entries = self.store.peek_list(&self.permit, &key, scope, namespace, labels);
        let mut found: Vec<Arc<Value>> = entries.iter().map(|entry| self.store.tree(entry)).collect();
        found.extend(self.replicas(resource, scope, labels));
        found
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
                resource_version: entry.revision().to_string(),
                is_terminating: entry.is_terminating(),
                is_held: entry.is_held(),
            })
            .collect()
    }

    fn any(&self, resource: &ResourceRef, scope: &Scope, namespace: &str, labels: &LabelSelector) -> bool {
        let Some(key) = self.catalog.store_key(resource) else {
            return false;
        };
        let is_here = self.store.peek_any(&self.permit, &key, scope, namespace, labels);
        is_here || !self.replicas(resource, scope, labels).is_empty()
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

// === impl Told ===

impl Told {
    pub(crate) fn new(object: Value) -> Self {
        Self(Arc::new(object))
    }
}

impl Labelled for Told {
    fn label(&self, key: &str) -> Option<String> {
        ObjectExt::label(&*self.0, key).map(str::to_owned)
    }

    fn is_terminating(&self) -> bool {
        self.0.deletion_timestamp().is_some()
    }

    fn is_owned(&self) -> bool {
        self.0.at(&["metadata", "ownerReferences"]).is_some()
    }

    fn uid(&self) -> String {
        ObjectExt::uid(&*self.0).to_owned()
    }

    fn parse(&self) -> Arc<Value> {
        self.0.clone()
    }
}
