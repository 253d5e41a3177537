//! Which resources exist: compiled in, the system's, bound, and of each cluster's own.
//!
//! Fed by the log. Per cluster there is nothing but entries in maps ordered by cluster: one for each CRD (compiled when it is
//! first asked for, shared by content) and one for each binding (equal ones shared).

mod binding;
mod crd;

use std::collections::BTreeMap;
use std::sync::Arc;

use api::keys::{cluster, group};
use parking_lot::RwLock;
use permit::{Cluster, Scope};
use registry::{DefinitionCache, ResourceDef};
use storage::{Applied, Projection, ResourceKey};
use virtual_workspaces::{CommonDefinitions, definition_of_schema};

use binding::Bindings;
pub use binding::{Bound, BoundResource, Conditions, conditions};
use crd::Crds;

/// See the module.
pub struct Definitions {
    cache: DefinitionCache,
    common: CommonDefinitions,
    /// Resources of root's exports, by group and plural: known from the start, bound anywhere or not.
    exported: RwLock<BTreeMap<(String, String), Arc<ResourceDef>>>,
    crds: RwLock<Crds>,
    bindings: RwLock<Bindings>,
}

// === impl Definitions ===

impl Definitions {
    pub fn new() -> Arc<Self> {
        let cache = DefinitionCache::default();
        Arc::new(Self {
            common: CommonDefinitions::new(&cache),
            cache,
            exported: RwLock::default(),
            crds: RwLock::default(),
            bindings: RwLock::default(),
        })
    }

    /// The identities of root's exports are known: their resources can be addressed.
    pub fn set_root_identities(&self, identities: &BTreeMap<String, String>) {
        let mut exported = BTreeMap::new();
        for export in api::exports::exports() {
            let name = machinery::object::ObjectExt::name(export);
            let Some(hash) = identities.get(name) else { continue };
            for schema in binding::schema_names(export)
                .into_iter()
                .filter_map(api::exports::schema)
            {
                if let Some(definition) = self.exported_definition(schema, hash) {
                    let key = (definition.group.to_string(), definition.names.plural.clone());
                    exported.insert(key, definition);
                }
            }
        }
        *self.exported.write() = exported;
    }

    fn exported_definition(&self, schema: &serde_json::Value, hash: &str) -> Option<Arc<ResourceDef>> {
        let mut definition = definition_of_schema(schema, hash)?;
        definition.home = cluster::ROOT.to_owned();
        Some(self.cache.definition(&definition))
    }

    /// Compiled in or the system's: the same in every cluster.
    pub fn common(&self, group: &str, resource: &str) -> Option<Arc<ResourceDef>> {
        self.common.find(group, resource)
    }

    pub fn all_common(&self) -> impl Iterator<Item = &Arc<ResourceDef>> {
        self.common.all()
    }

    /// A resource of one of root's exports.
    pub fn root_export(&self, group: &str, resource: &str) -> Option<Arc<ResourceDef>> {
        self.exported
            .read()
            .get(&(group.to_owned(), resource.to_owned()))
            .cloned()
    }

    /// Whether an identity is that of one of root's exports for this resource.
    pub fn is_root_identity(&self, resource: &ResourceKey) -> bool {
        let key = (resource.group.to_string(), resource.resource.to_string());
        self.exported.read().get(&key).is_some_and(|def| def.store == *resource)
    }

    /// What a cluster has by a binding. `Err`: the schema is missing on this shard (503).
    pub fn bound(&self, cluster: &Cluster, group: &str, resource: &str) -> Option<Result<Arc<ResourceDef>, Missing>> {
        let (bound, index) = self.bindings.read().find(cluster, group, resource)?;
        Some(self.definition_of(&bound, index))
    }

    /// Of any cluster of this shard, by identity.
    pub fn by_identity(&self, group: &str, resource: &str, hash: &str) -> Option<Arc<ResourceDef>> {
        if let Some(root) = self.root_export(group, resource).filter(|def| has_identity(def, hash)) {
            return Some(root);
        }
        let uid = self.bindings.read().schema_of(group, resource, hash)?;
        self.crds.read().bound(&uid, hash, false, &self.cache)
    }

    /// A schema of an export, bound anywhere on this shard or not.
    pub fn of_schema(&self, schema: &serde_json::Value, hash: &str) -> Option<Arc<ResourceDef>> {
        let uid = machinery::object::ObjectExt::uid(schema);
        let known = self.crds.read().bound(uid, hash, false, &self.cache);
        known.or_else(|| {
            let definition = definition_of_schema(schema, hash)?;
            Some(self.cache.definition(&definition))
        })
    }

    /// A CRD of the cluster's own, if it is established.
    pub fn local(&self, cluster: &Cluster, group: &str, resource: &str) -> Option<Arc<ResourceDef>> {
        self.crds.read().local(cluster, group, resource, &self.cache)
    }

    /// The binding that a resource of a cluster comes from.
    pub fn binding_of(&self, cluster: &Cluster, group: &str, resource: &str) -> Option<Arc<Bound>> {
        self.bindings
            .read()
            .find(cluster, group, resource)
            .map(|(bound, _)| bound)
    }

    /// Whether any binding of the cluster accepts claims: what spares most writes a look at the bindings.
    /// For every binding of the shard; the lock is held meanwhile.
    pub fn each_binding(&self, mut seen: impl FnMut(&Bound)) {
        self.bindings.read().each().for_each(|bound| seen(bound));
    }

    pub fn has_claims(&self, cluster: &Cluster) -> bool {
        self.bindings.read().has_claims(cluster)
    }

    /// All bound and local resources of a scope; bound ones first, as they have precedence.
    pub fn particular(&self, cluster: &Cluster) -> Vec<Arc<ResourceDef>> {
        let bound = self.bindings.read().all(cluster);
        let mut out: Vec<Arc<ResourceDef>> = Vec::new();
        for (bound, index) in bound {
            if let Ok(def) = self.definition_of(&bound, index) {
                out.push(def);
            }
        }
        out.extend(self.crds.read().all(cluster, &self.cache));
        let mut seen: Vec<(String, String)> = Vec::new();
        out.retain(|def| {
            let key = (def.group.to_string(), def.names.plural.clone());
            let is_common = self.common(&key.0, &key.1).is_some();
            let fresh = !is_common && !seen.contains(&key);
            seen.push(key);
            fresh
        });
        out
    }

    /// Looks a resource up as the server serves it in a scope.
    pub fn find(&self, scope: &Scope, group: &str, resource: &str) -> Option<Result<Arc<ResourceDef>, Missing>> {
        if let Some(def) = self.common(group, resource) {
            return Some(Ok(def));
        }
        let cluster = scope.cluster()?;
        self.bound(cluster, group, resource)
            .or_else(|| self.local(cluster, group, resource).map(Ok))
    }

    fn definition_of(&self, bound: &Bound, index: usize) -> Result<Arc<ResourceDef>, Missing> {
        let Some(resource) = bound.resources.get(index) else {
            return Err(Missing::default());
        };
        let crds = self.crds.read();
        let found = crds.bound(
            &resource.schema_uid,
            &resource.identity_hash,
            bound.terminating,
            &self.cache,
        );
        found.ok_or_else(|| Missing {
            name: registry_name(&resource.group, &resource.resource),
        })
    }

    /// Schemas and definitions that are in use, for metrics and tests.
    pub fn cached(&self) -> (usize, usize) {
        self.cache.len()
    }
}

/// A bound resource whose schema this shard does not hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{name} is currently unavailable")]
pub struct Missing {
    pub name: String,
}

impl Projection for Definitions {
    fn apply(&self, change: &Applied<'_>) {
        match (&*change.resource.group, &*change.resource.resource) {
            (group::APIEXTENSIONS, "customresourcedefinitions") => self.crds.write().apply(change),
            (group::APIS, "apibindings") => self.bindings.write().apply(change),
            _ => {}
        }
    }
}

fn registry_name(group: &str, resource: &str) -> String {
    machinery::object::GroupResource::new(group, resource).to_string()
}

fn has_identity(def: &ResourceDef, hash: &str) -> bool {
    matches!(&def.store.segment, storage::Segment::Identity(own) if &**own == hash)
}
