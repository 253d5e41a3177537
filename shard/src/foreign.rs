//! What is known of other shards' clusters, from the replicas that this shard keeps.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::fabric::Replicas;
use api::keys::{annotation, group, object};
use api::replicated;
use apiserver::auth::rbac::Rbac;
use compact_str::CompactString;
use machinery::object::ObjectExt;
use machinery::selector::LabelSelector;
use parking_lot::RwLock;
use permit::{Cluster, Scope};
use serde_json::Value;
use storage::{Applied, Projection};

use crate::facts::Places;

/// Register it as a projection of the replicas.
#[derive(Default)]
pub struct Foreign {
    pub rbac: Rbac,
    replicas: RwLock<Option<Arc<Replicas>>>,
    places: RwLock<Places>,
    /// Whether an export has a maximal permission policy.
    policies: RwLock<BTreeMap<(Cluster, CompactString), bool>>,
    /// Clusters that have something to share, by their recorded paths.
    paths: RwLock<Paths>,
}

#[derive(Default)]
struct Paths {
    clusters: BTreeMap<String, Cluster>,
    of: BTreeMap<Cluster, String>,
}

// === impl Foreign ===

impl Foreign {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn attach(&self, replicas: Arc<Replicas>) {
        *self.replicas.write() = Some(replicas);
    }

    /// Lets go of the replicas, which hold this as their projection.
    pub fn detach(&self) {
        if let Some(replicas) = self.replicas.write().take() {
            replicas.close();
        }
    }

    pub fn replicas(&self) -> Option<Arc<Replicas>> {
        self.replicas.read().clone()
    }

    pub fn object(&self, group: &str, resource: &str, of: &Cluster, name: &str) -> Option<Arc<Value>> {
        replicated::find(group, resource)?;
        self.replicas.read().as_ref()?.get(group, resource, of, name)
    }

    pub fn list(&self, group: &str, resource: &str, scope: &Scope, labels: &LabelSelector) -> Vec<Arc<Value>> {
        if replicated::find(group, resource).is_none() {
            return Vec::new();
        }
        let replicas = self.replicas.read();
        let listed = replicas
            .as_ref()
            .map(|replicas| replicas.list(group, resource, scope, labels));
        listed.unwrap_or_default()
    }

    /// The cluster of an export or type, by path or name.
    pub fn placed(&self, kind: &'static str, path: &str, name: &str) -> Option<Cluster> {
        self.places.read().find(kind, path, name)
    }

    pub fn has_policy(&self, cluster: &Cluster, export: &str) -> bool {
        let key = (cluster.clone(), CompactString::new(export));
        self.policies.read().get(&key).copied().unwrap_or_default()
    }

    /// The cluster that a path or name stands for, if it has something to share.
    pub fn cluster_at(&self, path: &str) -> Option<Cluster> {
        let paths = self.paths.read();
        let by_name = || {
            Cluster::parse(path)
                .ok()
                .filter(|cluster| paths.of.contains_key(cluster))
        };
        paths.clusters.get(path).cloned().or_else(by_name)
    }
}

// === impl Paths ===

impl Paths {
    fn put(&mut self, cluster: &Cluster, logical_cluster: Option<&Value>) {
        if let Some(old) = self.of.remove(cluster)
            && self.clusters.get(&old) == Some(cluster)
        {
            self.clusters.remove(&old);
        }
        let Some(logical_cluster) = logical_cluster else { return };
        let recorded = logical_cluster.annotation(annotation::PATH).unwrap_or(cluster.as_str());
        self.clusters.insert(recorded.to_owned(), cluster.clone());
        self.of.insert(cluster.clone(), recorded.to_owned());
    }
}

impl Projection for Foreign {
    fn apply(&self, change: &Applied<'_>) {
        let of = &change.key.cluster;
        match (&*change.resource.group, &*change.resource.resource) {
            (group::CORE, "logicalclusters") if change.key.name == object::LOGICAL_CLUSTER => {
                self.paths.write().put(of, change.new_tree().as_deref());
            }
            (group::TENANCY, "workspacetypes") => self.places.write().apply("workspacetypes", change),
            (group::APIS, "apiexports") => {
                self.places.write().apply("apiexports", change);
                let key = (of.clone(), change.key.name.clone());
                let policy = change
                    .new_tree()
                    .map(|export| export.at(&["spec", "maximalPermissionPolicy", "local"]).is_some());
                match policy {
                    Some(policy) => self.policies.write().insert(key, policy),
                    None => self.policies.write().remove(&key),
                };
            }
            _ => self.rbac.apply(change),
        }
    }
}
