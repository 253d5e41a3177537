//! What bindings bring into clusters.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use compact_str::CompactString;
use machinery::object::ObjectExt;
use permit::Cluster;
use serde_json::Value;
use storage::Applied;

/// A binding as look-ups need it. Equal ones exist once: a fresh workspace's default bindings are those of all others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bound {
    pub export_cluster: String,
    pub export_name: String,
    pub resources: Vec<BoundResource>,
    pub terminating: bool,
    pub has_claims: bool,
    /// For metrics.
    pub phase: CompactString,
    pub conditions: Conditions,
}

/// Types of conditions and their statuses.
pub type Conditions = Vec<(CompactString, CompactString)>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BoundResource {
    pub group: String,
    pub resource: String,
    pub schema_uid: String,
    pub identity_hash: String,
}

/// By cluster and name.
#[derive(Default)]
pub(super) struct Bindings {
    slots: BTreeMap<(Cluster, CompactString), Arc<Bound>>,
    known: BTreeMap<Bound, Weak<Bound>>,
    /// (group, resource, identity) to schemas and how many bindings name them: what a wildcard needs.
    identities: BTreeMap<(String, String, String), BTreeMap<String, usize>>,
}

// === impl Bindings ===

impl Bindings {
    pub(super) fn apply(&mut self, change: &Applied<'_>) {
        let key = (change.key.cluster.clone(), change.key.name.clone());
        let bound = change.new_tree().map(|object| self.interned(Bound::read(&object)));
        let old = match &bound {
            Some(bound) => self.slots.insert(key, bound.clone()),
            None => self.slots.remove(&key),
        };
        if let (Some(new), Some(old)) = (&bound, &old)
            && Arc::ptr_eq(new, old)
        {
            return;
        }
        if let Some(new) = bound {
            self.count(&new, true);
        }
        if let Some(old) = old {
            self.count(&old, false);
            if Arc::strong_count(&old) == 1 {
                self.known.remove(&*old);
            }
        }
    }

    /// The binding that a resource of a cluster comes from, and the resource's place in it. The first by name wins, which
    /// the lock map of the cluster makes the only one.
    pub(super) fn find(&self, cluster: &Cluster, group: &str, resource: &str) -> Option<(Arc<Bound>, usize)> {
        self.of_cluster(cluster).find_map(|bound| {
            let index = bound
                .resources
                .iter()
                .position(|r| r.group == group && r.resource == resource)?;
            Some((bound.clone(), index))
        })
    }

    pub(super) fn all(&self, cluster: &Cluster) -> Vec<(Arc<Bound>, usize)> {
        self.of_cluster(cluster)
            .flat_map(|b| (0..b.resources.len()).map(move |index| (b.clone(), index)))
            .collect()
    }

    pub(super) fn has_claims(&self, cluster: &Cluster) -> bool {
        self.of_cluster(cluster).any(|bound| bound.has_claims)
    }

    pub(super) fn schema_of(&self, group: &str, resource: &str, hash: &str) -> Option<String> {
        let key = (group.to_owned(), resource.to_owned(), hash.to_owned());
        self.identities.get(&key)?.keys().next_back().cloned()
    }

    /// Every binding, all clusters together.
    pub(super) fn each(&self) -> impl Iterator<Item = &Arc<Bound>> {
        self.slots.values()
    }

    fn of_cluster(&self, cluster: &Cluster) -> impl Iterator<Item = &Arc<Bound>> {
        let first = (cluster.clone(), CompactString::default());
        self.slots
            .range(first..)
            .take_while(move |((c, _), _)| c == cluster)
            .map(|(_, bound)| bound)
    }

    fn interned(&mut self, bound: Bound) -> Arc<Bound> {
        if let Some(known) = self.known.get(&bound).and_then(Weak::upgrade) {
            return known;
        }
        let shared = Arc::new(bound.clone());
        self.known.insert(bound, Arc::downgrade(&shared));
        shared
    }

    fn count(&mut self, bound: &Bound, more: bool) {
        for resource in &bound.resources {
            let key = (
                resource.group.clone(),
                resource.resource.clone(),
                resource.identity_hash.clone(),
            );
            let schemas = self.identities.entry(key.clone()).or_default();
            let count = schemas.entry(resource.schema_uid.clone()).or_default();
            *count = if more { *count + 1 } else { count.saturating_sub(1) };
            if *count == 0 {
                schemas.remove(&resource.schema_uid);
            }
            if schemas.is_empty() {
                self.identities.remove(&key);
            }
        }
    }
}

// === impl Bound ===

impl Bound {
    fn read(binding: &Value) -> Self {
        let resources = binding.at(&["status", "boundResources"]).and_then(Value::as_array);
        let text = |value: &Value, path: &[&str]| value.str_at(path).unwrap_or_default().to_owned();
        Self {
            export_cluster: text(binding, &["status", "apiExportClusterName"]),
            export_name: text(binding, &["spec", "reference", "export", "name"]),
            resources: resources
                .into_iter()
                .flatten()
                .map(|r| BoundResource {
                    group: text(r, &["group"]),
                    resource: text(r, &["resource"]),
                    schema_uid: text(r, &["schema", "UID"]),
                    identity_hash: text(r, &["schema", "identityHash"]),
                })
                .collect(),
            terminating: binding.deletion_timestamp().is_some(),
            has_claims: tenancy::claims::accepted(binding).next().is_some(),
            phase: binding.str_at(&["status", "phase"]).unwrap_or_default().into(),
            conditions: conditions(binding),
        }
    }
}

/// The conditions of an object whose status is the system's alone: their types are few.
pub fn conditions(object: &Value) -> Conditions {
    let list = object.at(&["status", "conditions"]).and_then(Value::as_array);
    let member = |condition: &Value, name: &str| CompactString::new(condition.str_at(&[name]).unwrap_or_default());
    list.into_iter()
        .flatten()
        .map(|condition| (member(condition, "type"), member(condition, "status")))
        .collect()
}

/// Names of the schemas of an export's resources.
pub(super) fn schema_names(export: &Value) -> Vec<&str> {
    let resources = export.at(&["spec", "resources"]).and_then(Value::as_array);
    resources
        .into_iter()
        .flatten()
        .filter_map(|r| r.str_at(&["schema"]))
        .collect()
}
