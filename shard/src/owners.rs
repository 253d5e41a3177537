//! Who is owned by whom: objects by the uid of their owners, for the garbage collector. One entry a reference; most objects
//! have none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use machinery::object::ObjectExt;
use parking_lot::RwLock;
use permit::Cluster;
use serde_json::Value;
use storage::{Applied, Entry, ObjectKey, Projection, ResourceKey};

#[derive(Default)]
pub struct OwnerIndex {
    by_uid: RwLock<ByUid>,
}

/// The dependants of an owner, which is named by its cluster and uid.
type ByUid = BTreeMap<(Cluster, String), BTreeSet<(ResourceKey, ObjectKey)>>;

// === impl OwnerIndex ===

impl OwnerIndex {
    pub fn dependants(&self, cluster: &Cluster, uid: &str) -> Vec<(ResourceKey, ObjectKey)> {
        let found = self.by_uid.read();
        found
            .get(&(cluster.clone(), uid.to_owned()))
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    pub fn has_dependants(&self, cluster: &Cluster, uid: &str) -> bool {
        self.by_uid.read().contains_key(&(cluster.clone(), uid.to_owned()))
    }
}

/// The uids of an object's owners.
fn owner_uids(entry: Option<&Arc<Entry>>, tree: impl FnOnce() -> Option<Arc<Value>>) -> BTreeSet<String> {
    if !entry.is_some_and(|entry| entry.is_owned()) {
        return BTreeSet::new();
    }
    let Some(object) = tree() else { return BTreeSet::new() };
    let references = object.at(&["metadata", "ownerReferences"]).and_then(Value::as_array);
    let uids = references.into_iter().flatten().filter_map(|r| r.str_at(&["uid"]));
    uids.map(str::to_owned).collect()
}

impl Projection for OwnerIndex {
    fn apply(&self, change: &Applied<'_>) {
        let old = owner_uids(change.old, || change.old_tree());
        let new = owner_uids(change.new, || change.new_tree());
        if old == new {
            return;
        }
        let place = (change.resource.clone(), change.key.clone());
        let mut by_uid = self.by_uid.write();
        for uid in old.difference(&new) {
            let key = (change.key.cluster.clone(), uid.clone());
            if let Some(places) = by_uid.get_mut(&key) {
                places.remove(&place);
                if places.is_empty() {
                    by_uid.remove(&key);
                }
            }
        }
        for uid in new.difference(&old) {
            by_uid
                .entry((change.key.cluster.clone(), uid.clone()))
                .or_default()
                .insert(place.clone());
        }
    }
}
