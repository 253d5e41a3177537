//! What authorizers and admission ask about clusters, from this shard's caches.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::keys::{annotation, cluster, group, object};
use apiserver::auth::rbac::Rbac;
use compact_str::CompactString;
use machinery::object::ObjectExt;
use machinery::selector::LabelSelector;
use machinery::user::User;
use parking_lot::{Mutex, RwLock};
use permit::{Access, Cluster, Permit, Scope};
use serde_json::Value;
use storage::{Applied, Entry, ObjectKey, Projection, ResourceKey, Store};
use tenancy::authz::{BoundFrom, Facts};
use tenancy::types::TypeSource;
use tenancy::{ClusterFacts, ClusterIndex, Phase, WorkspacePath};

use crate::definitions::{Conditions, Definitions, conditions};
use crate::foreign::Foreign;

/// The index of clusters, and the store once it is open.
pub struct ShardFacts {
    pub index: RwLock<ClusterIndex>,
    pub rbac: Arc<Rbac>,
    pub definitions: Arc<Definitions>,
    exports: RwLock<BTreeMap<(Cluster, CompactString), ExportFacts>>,
    places: RwLock<Places>,
    /// Clusters that were closed, and how, since the last event was visible.
    closed: Mutex<Vec<(Cluster, Phase)>>,
    store: RwLock<Option<Store>>,
    /// What other shards have told.
    pub foreign: Arc<Foreign>,
}

/// What is known of an export without reading it.
struct ExportFacts {
    has_local_policy: bool,
    conditions: Conditions,
}

/// Exports and types by kind and name, to the clusters that have one with their recorded paths: both are few, and looked for
/// by path.
#[derive(Default)]
pub struct Places(BTreeMap<(&'static str, CompactString), Vec<(Cluster, String)>>);

// === impl ShardFacts ===

impl ShardFacts {
    pub fn new(definitions: Arc<Definitions>) -> Arc<Self> {
        Arc::new(Self {
            index: RwLock::default(),
            rbac: Rbac::new(),
            definitions,
            exports: RwLock::default(),
            places: RwLock::default(),
            closed: Mutex::default(),
            store: RwLock::default(),
            foreign: Foreign::new(),
        })
    }

    /// The store is open: objects can be read.
    pub fn attach(&self, store: Store) {
        *self.store.write() = Some(store);
    }

    /// Lets go of the store, which holds these facts as its projection: neither would ever be freed.
    pub fn detach(&self) {
        *self.store.write() = None;
        self.foreign.detach();
    }

    /// Whether this shard holds a cluster.
    pub fn is_here(&self, cluster: &Cluster) -> bool {
        cluster.is_system() || self.index.read().cluster(cluster).is_some()
    }

    /// An object of this shard, or what another one has told of it, if it is that one's.
    pub fn object(
        &self,
        resource: &ResourceKey,
        in_cluster: &Cluster,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<Value>> {
        if let Some(entry) = self.entry(resource, in_cluster, namespace, name) {
            let store = self.store.read();
            return Some(store.as_ref()?.tree(&entry));
        }
        let foreign = self
            .foreign
            .object(&resource.group, &resource.resource, in_cluster, name)?;
        (!self.is_here(in_cluster)).then_some(foreign)
    }

    /// What other shards have told of their own.
    pub fn foreign_object(&self, group: &str, resource: &str, of: &Cluster, name: &str) -> Option<Arc<Value>> {
        let found = self.foreign.object(group, resource, of, name)?;
        (!self.is_here(of)).then_some(found)
    }

    /// The same for all of a scope.
    pub fn foreign_list(&self, group: &str, resource: &str, scope: &Scope, labels: &LabelSelector) -> Vec<Arc<Value>> {
        let mut found = self.foreign.list(group, resource, scope, labels);
        found.retain(|object| tenancy::types::cluster_of(object).is_some_and(|cluster| !self.is_here(&cluster)));
        found
    }

    fn entry(&self, resource: &ResourceKey, of: &Cluster, namespace: &str, name: &str) -> Option<Arc<Entry>> {
        let key = ObjectKey::new(of.clone(), namespace, name);
        let permit = Permit::internal(Scope::One(of.clone()));
        let store = self.store.read();
        store.as_ref()?.peek(&permit, resource, &key)
    }

    pub fn list(&self, resource: &ResourceKey, scope: &Scope, labels: &LabelSelector) -> Vec<Arc<Value>> {
        let store = self.store.read();
        let Some(store) = store.as_ref() else {
            return Vec::new();
        };
        let entries = store.peek_list(&Permit::internal(scope.clone()), resource, scope, "", labels);
        let mut found: Vec<Arc<Value>> = entries.iter().map(|entry| store.tree(entry)).collect();
        found.extend(self.foreign_list(&resource.group, &resource.resource, scope, labels));
        found
    }

    /// Whether the store has anything in a cluster.
    pub fn has_objects(&self, of: &Cluster) -> bool {
        let store = self.store.read();
        store.as_ref().is_some_and(|store| !store.objects_in(of).is_empty())
    }

    /// The cluster that a path or name stands for, if it exists here.
    pub fn cluster_at_path(&self, path: &str) -> Option<Cluster> {
        let path = WorkspacePath::parse(path).ok()?;
        let index = self.index.read();
        match index.resolve(&path) {
            tenancy::Resolution::Cluster(found) if found.is_system() || index.cluster(&found).is_some() => Some(found),
            _ => self.foreign.cluster_at(path.as_str()),
        }
    }

    /// An export or a type by the path or name of its cluster. The path is the recorded one, so that it is found, too, while
    /// its Workspace is on another shard.
    fn placed(&self, kind: &'static str, path: &str, name: &str) -> Option<Cluster> {
        let here = self.places.read().find(kind, path, name);
        here.or_else(|| self.foreign.placed(kind, path, name))
    }

    pub fn export_at(&self, path: &str, name: &str) -> Option<Arc<Value>> {
        let place = self.placed("apiexports", path, name)?;
        self.object(&exports_key(), &place, "", name)
    }

    /// For every export of the shard; the lock is held meanwhile.
    pub fn each_export(&self, mut seen: impl FnMut(&Conditions)) {
        self.exports.read().values().for_each(|facts| seen(&facts.conditions));
    }

    fn apply_logical_cluster(&self, of: &Cluster, object: Option<&Value>) {
        let mut index = self.index.write();
        let phase = |index: &ClusterIndex| index.cluster(of).map(|facts| facts.phase);
        let before = phase(&index);
        index.apply_logical_cluster(of, object);
        // Taken away in one go, without ever saying that it is being deleted.
        if object.is_none() && before.is_some_and(|before| before != Phase::Deleting) {
            self.closed.lock().push((of.clone(), Phase::Deleting));
        }
        if let Some(now @ (Phase::Inactive | Phase::Deleting)) = phase(&index)
            && before != Some(now)
        {
            self.closed.lock().push((of.clone(), now));
        }
    }

    fn types_key(&self) -> Option<ResourceKey> {
        Some(
            self.definitions
                .root_export(group::TENANCY, "workspacetypes")?
                .store
                .clone(),
        )
    }
}

// === impl Places ===

impl Places {
    pub fn find(&self, kind: &'static str, path: &str, name: &str) -> Option<Cluster> {
        let found = self.0.get(&(kind, CompactString::new(name)))?;
        let by_name = found.iter().find(|(cluster, _)| cluster.as_str() == path);
        by_name
            .or_else(|| found.iter().find(|(_, recorded)| recorded == path))
            .map(|(cluster, _)| cluster.clone())
    }

    pub fn apply(&mut self, kind: &'static str, change: &Applied<'_>) {
        let key = (kind, change.key.name.clone());
        let known = self.0.entry(key.clone()).or_default();
        known.retain(|(cluster, _)| *cluster != change.key.cluster);
        if let Some(object) = change.new_tree() {
            let path = object.annotation(annotation::PATH).unwrap_or_default().to_owned();
            known.push((change.key.cluster.clone(), path));
            known.sort();
        }
        if known.is_empty() {
            self.0.remove(&key);
        }
    }
}

pub fn exports_key() -> ResourceKey {
    ResourceKey::custom(group::APIS, "apiexports")
}

pub fn bindings_key() -> ResourceKey {
    ResourceKey::custom(group::APIS, "apibindings")
}

pub fn logical_clusters_key() -> ResourceKey {
    ResourceKey::custom(group::CORE, "logicalclusters")
}

impl Projection for ShardFacts {
    fn apply(&self, change: &Applied<'_>) {
        let (of, name) = (&change.key.cluster, &*change.key.name);
        let object = || change.new_tree();
        match (&*change.resource.group, &*change.resource.resource) {
            (group::CORE, "logicalclusters") if name == object::LOGICAL_CLUSTER => {
                self.apply_logical_cluster(of, object().as_deref());
            }
            (group::TENANCY, "workspaces") => self.index.write().apply_workspace(of, name, object().as_deref()),
            (group::TENANCY, "workspacetypes") => self.places.write().apply("workspacetypes", change),
            (group::APIS, "apiexports") => {
                self.places.write().apply("apiexports", change);
                let key = (of.clone(), CompactString::new(name));
                match object() {
                    Some(export) => {
                        let facts = ExportFacts {
                            has_local_policy: export.at(&["spec", "maximalPermissionPolicy", "local"]).is_some(),
                            conditions: conditions(&export),
                        };
                        self.exports.write().insert(key, facts);
                    }
                    None => drop(self.exports.write().remove(&key)),
                }
            }
            _ => {}
        }
    }

    /// Open watches of what was closed end, at every replica (kcp's facts, D.5): of an inactive cluster the wildcards' too,
    /// of one that is deleted only its own, but those on the LogicalCluster. Wildcards see its objects deleted.
    fn visible(&self) {
        let closed = std::mem::take(&mut *self.closed.lock());
        let store = self.store.read();
        let Some(store) = store.as_ref() else { return };
        for (cluster, phase) in closed {
            match phase {
                Phase::Inactive => store.disconnect_wide(&cluster),
                _ => store.disconnect(&cluster, |resource| *resource == logical_clusters_key()),
            }
        }
    }
}

impl Facts for ShardFacts {
    fn cluster(&self, of: &Cluster) -> Option<ClusterFacts> {
        self.index.read().cluster(of).cloned()
    }

    fn rbac_allows(&self, user: &User, access: &Access, bindings_in: &Cluster) -> bool {
        let fallback = Cluster::well_known(cluster::SYSTEM_ADMIN);
        if self.rbac.allows(user, access, bindings_in, &fallback) {
            return true;
        }
        // Bindings of another shard's cluster, with roles that every shard has.
        let foreign = &self.foreign.rbac;
        !self.is_here(bindings_in) && foreign.allows_over(&self.rbac, user, access, bindings_in, &fallback)
    }

    fn bound_from(&self, of: &Cluster, group: &str, resource: &str) -> Option<BoundFrom> {
        let bound = self.definitions.binding_of(of, group, resource)?;
        let export_cluster = Cluster::parse(&bound.export_cluster).ok()?;
        let key = (export_cluster.clone(), CompactString::new(&bound.export_name));
        let own = self.exports.read().get(&key).map(|facts| facts.has_local_policy);
        let has_local_policy = match own {
            Some(own) => own,
            None => !self.is_here(&key.0) && self.foreign.has_policy(&key.0, &key.1),
        };
        Some(BoundFrom {
            export_cluster,
            has_local_policy,
        })
    }
}

impl TypeSource for ShardFacts {
    fn workspace_type(&self, path: &str, name: &str) -> Option<Arc<Value>> {
        let place = self.placed("workspacetypes", path, name)?;
        self.object(&self.types_key()?, &place, "", name)
    }
}

impl tenancy::admission::World for ShardFacts {
    fn logical_cluster(&self, of: &Cluster) -> Option<Arc<Value>> {
        self.object(&logical_clusters_key(), of, "", object::LOGICAL_CLUSTER)
    }

    fn export(&self, from: &Cluster, path: &str, name: &str) -> Option<Arc<Value>> {
        if path.is_empty() {
            return self.object(&exports_key(), from, "", name);
        }
        self.export_at(path, name)
    }

    fn cluster_at(&self, path: &str) -> Option<Cluster> {
        self.cluster_at_path(path)
    }

    fn bindings(&self, of: &Cluster) -> Vec<Arc<Value>> {
        self.list(&bindings_key(), &Scope::One(of.clone()), &LabelSelector::everything())
    }

    fn bindings_with_claims(&self, of: &Cluster) -> Vec<Arc<Value>> {
        if self.definitions.has_claims(of) {
            tenancy::admission::World::bindings(self, of)
        } else {
            Vec::new()
        }
    }

    fn namespace_terminates(&self, of: &Cluster, name: &str) -> Option<bool> {
        let namespaces = ResourceKey::builtin("", "namespaces");
        Some(self.entry(&namespaces, of, "", name)?.is_terminating())
    }
}
