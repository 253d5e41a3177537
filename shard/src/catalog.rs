//! Names of resources as controllers speak of them, and where their objects are.

use std::sync::Arc;

use controller::{Catalog, Holder};
use permit::{Cluster, Scope};
use plan::{Member, ResourceRef, Served};
use registry::{Origin, ResourceDef};
use storage::{ObjectKey, ResourceKey, Segment};

use crate::definitions::Definitions;
use crate::neighbours::Neighbours;
use crate::owners::OwnerIndex;

pub struct ShardCatalog {
    definitions: Arc<Definitions>,
    owners: Arc<OwnerIndex>,
    neighbours: Arc<Neighbours>,
}

// === impl ShardCatalog ===

impl ShardCatalog {
    pub fn new(definitions: Arc<Definitions>, owners: Arc<OwnerIndex>, neighbours: Arc<Neighbours>) -> Arc<Self> {
        Arc::new(Self {
            definitions,
            owners,
            neighbours,
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
}
