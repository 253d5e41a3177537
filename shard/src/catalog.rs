//! Names of resources as controllers speak of them, and where their objects are.

use std::sync::Arc;

use api::keys::{annotation, group};
use api::replicated;
use controller::{Catalog, Holder};
use machinery::object::ObjectExt;
use machinery::selector::LabelSelector;
use permit::{Cluster, Scope};
use plan::{Member, ObjectRef, ResourceRef, Served};
use registry::{Origin, ResourceDef};
use serde_json::{Value, json};
use storage::{ObjectKey, ResourceKey, Segment};

use crate::definitions::Definitions;
use crate::facts::ShardFacts;
use crate::neighbours::Neighbours;
use crate::owners::OwnerIndex;

pub struct ShardCatalog {
    definitions: Arc<Definitions>,
    owners: Arc<OwnerIndex>,
    neighbours: Arc<Neighbours>,
    facts: Arc<ShardFacts>,
}

// === impl ShardCatalog ===

impl ShardCatalog {
    pub fn new(
        definitions: Arc<Definitions>,
        owners: Arc<OwnerIndex>,
        neighbours: Arc<Neighbours>,
        facts: Arc<ShardFacts>,
    ) -> Arc<Self> {
        Arc::new(Self {
            definitions,
            owners,
            neighbours,
            facts,
        })
    }

    /// The definition by which objects of a resource are written in a cluster.
    pub fn definition(&self, resource: &ResourceRef, cluster: &Cluster) -> Option<Arc<ResourceDef>> {
        let (group, name) = (&*resource.group, &*resource.resource);
        if let Some(hash) = &resource.identity {
            return self.definitions.by_identity(group, name, hash);
        }
        let common = self
            .definitions
            .common(group, name)
            .or_else(|| self.definitions.root_export(group, name));
        common.or_else(|| self.definitions.find(&Scope::One(cluster.clone()), group, name)?.ok())
    }
}

impl Catalog for ShardCatalog {
    fn store_key(&self, resource: &ResourceRef) -> Option<ResourceKey> {
        let (group, name) = (&*resource.group, &*resource.resource);
        if let Some(hash) = &resource.identity {
            return Some(ResourceKey::identity(group, name, hash));
        }
        let known = self
            .definitions
            .common(group, name)
            .or_else(|| self.definitions.root_export(group, name));
        // What is none of these is of some cluster's own.
        Some(known.map_or_else(|| ResourceKey::custom(group, name), |def| def.store.clone()))
    }

    fn resource_ref(&self, resource: &ResourceKey) -> ResourceRef {
        let plain = ResourceRef::new(&resource.group, &resource.resource);
        match &resource.segment {
            Segment::Identity(hash) if !self.definitions.is_root_identity(resource) => plain.with_identity(hash),
            _ => plain,
        }
    }

    fn served(&self, cluster: &Cluster) -> Vec<Served> {
        let particular = self.definitions.particular(cluster);
        let all = self.definitions.all_common().chain(&particular);
        all.map(|def| Served {
            resource: self.resource_ref(&def.store),
            version: def
                .versions
                .get(def.storage_version)
                .map(|v| v.name.clone())
                .unwrap_or_default(),
            kind: def.names.kind.clone(),
            namespaced: def.namespaced,
            bound: def.origin == Origin::Bound,
        })
        .collect()
    }

    fn dependants(&self, cluster: &Cluster, uid: &str) -> Vec<(ResourceKey, ObjectKey)> {
        self.owners.dependants(cluster, uid)
    }

    fn has_dependants(&self, cluster: &Cluster, uid: &str) -> bool {
        self.owners.has_dependants(cluster, uid)
    }

    fn holder(&self, cluster: &Cluster) -> Holder {
        self.neighbours.holder(cluster)
    }

    fn is_own_shard(&self, name: &str) -> bool {
        self.neighbours.is_own(name)
    }

    fn members(&self) -> Vec<Member> {
        self.neighbours.members()
    }

    fn replica(&self, object: &ObjectRef) -> Option<Arc<Value>> {
        let (group, resource) = (&*object.resource.group, &*object.resource.resource);
        is_planned_on(&object.resource).then_some(())?;
        let found = self
            .facts
            .foreign_object(group, resource, &object.cluster, &object.name)?;
        Some(as_at_home(&object.resource, found))
    }

    fn replicas(&self, resource: &ResourceRef, scope: &Scope, labels: &LabelSelector) -> Vec<Arc<Value>> {
        if !is_planned_on(resource) {
            return Vec::new();
        }
        let found = self
            .facts
            .foreign_list(&resource.group, &resource.resource, scope, labels);
        found.into_iter().map(|object| as_at_home(resource, object)).collect()
    }
}

/// Logical clusters and RBAC are told for decisions about users; a plan that is about one of another shard wants it as it is now.
fn is_planned_on(resource: &ResourceRef) -> bool {
    replicated::find(&resource.group, &resource.resource).is_some_and(|of| !of.marked)
}

/// A replica as its shard shows the object, where somebody may write it there: with its own resourceVersion, and without what
/// was noted on the copy. All others are read only, and shared as they are.
fn as_at_home(resource: &ResourceRef, replica: Arc<Value>) -> Arc<Value> {
    if (&*resource.group, &*resource.resource) != (group::APIS, "apiexportendpointslices") {
        return replica;
    }
    let mut object = Value::clone(&replica);
    let version = object
        .annotation(annotation::ORIGINAL_RESOURCE_VERSION)
        .map(str::to_owned);
    object.set_at(&["metadata", "resourceVersion"], json!(version.unwrap_or_default()));
    for noted in [
        annotation::CACHE_SHARD,
        annotation::ORIGINAL_UID,
        annotation::ORIGINAL_RESOURCE_VERSION,
    ] {
        object.remove_at(&["metadata", "annotations", noted]);
    }
    Arc::new(object)
}
