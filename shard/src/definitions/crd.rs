//! CustomResourceDefinitions: of clusters, and the one for each bound schema.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::keys::cluster;
use compact_str::CompactString;
use parking_lot::Mutex;
use permit::Cluster;
use registry::{CustomDefinition, DefinitionCache, Origin, ResourceDef};
use serde_json::Value;
use storage::{Applied, Entry, ResourceKey};

/// By cluster and name.
#[derive(Default)]
pub(super) struct Crds {
    slots: BTreeMap<(Cluster, CompactString), Slot>,
}

/// A CRD, and what was made of it so far.
struct Slot {
    entry: Arc<Entry>,
    /// Of a cluster's own; made when first asked for.
    local: Mutex<Option<Option<Arc<ResourceDef>>>>,
    /// Of a bound schema: one for each identity it is bound under (and for bindings that are being deleted).
    bound: Mutex<Vec<(String, bool, Arc<ResourceDef>)>>,
}

// === impl Crds ===

impl Crds {
    pub(super) fn apply(&mut self, change: &Applied<'_>) {
        let key = (change.key.cluster.clone(), change.key.name.clone());
        match change.new {
            Some(entry) => {
                self.slots.insert(
                    key,
                    Slot {
                        entry: entry.clone(),
                        local: Mutex::default(),
                        bound: Mutex::default(),
                    },
                );
            }
            None => _ = self.slots.remove(&key),
        }
    }

    pub(super) fn local(
        &self,
        cluster: &Cluster,
        group: &str,
        resource: &str,
        cache: &DefinitionCache,
    ) -> Option<Arc<ResourceDef>> {
        let name = match group {
            "" => format!("{resource}.core"),
            group => format!("{resource}.{group}"),
        };
        self.slots
            .get(&(cluster.clone(), CompactString::new(name)))?
            .local(cache)
    }

    pub(super) fn all(&self, cluster: &Cluster, cache: &DefinitionCache) -> Vec<Arc<ResourceDef>> {
        if cluster.as_str() == cluster::BOUND_CRDS || cluster.as_str() == cluster::SYSTEM_CRDS {
            return Vec::new();
        }
        let first = (cluster.clone(), CompactString::default());
        let here = self.slots.range(first..).take_while(|((c, _), _)| c == cluster);
        here.filter_map(|(_, slot)| slot.local(cache)).collect()
    }

    /// The definition of a bound schema under an identity.
    pub(super) fn bound(
        &self,
        uid: &str,
        hash: &str,
        terminating: bool,
        cache: &DefinitionCache,
    ) -> Option<Arc<ResourceDef>> {
        let home = Cluster::well_known(cluster::BOUND_CRDS);
        self.slots
            .get(&(home, CompactString::new(uid)))?
            .bound(hash, terminating, cache)
    }
}

// === impl Slot ===

impl Slot {
    fn local(&self, cache: &DefinitionCache) -> Option<Arc<ResourceDef>> {
        let mut made = self.local.lock();
        made.get_or_insert_with(|| {
            let crd = self.entry.to_value();
            if !api::conditions::is_true(&crd, "Established") {
                return None;
            }
            CustomDefinition::from_crd(&crd, Origin::Local).map(|definition| cache.definition(&definition))
        })
        .clone()
    }

    fn bound(&self, hash: &str, terminating: bool, cache: &DefinitionCache) -> Option<Arc<ResourceDef>> {
        let mut made = self.bound.lock();
        if let Some((_, _, def)) = made.iter().find(|(h, t, _)| h == hash && *t == terminating) {
            return Some(def.clone());
        }
        let def = cache.definition(&bound_definition(&self.entry.to_value(), hash, terminating)?);
        made.push((hash.to_owned(), terminating, def.clone()));
        Some(def)
    }
}

fn bound_definition(crd: &Value, hash: &str, terminating: bool) -> Option<CustomDefinition> {
    let mut definition = CustomDefinition::from_crd(crd, Origin::Bound)?;
    definition.store = ResourceKey::identity(&definition.group, &definition.names.plural, hash);
    definition.terminating |= terminating;
    Some(definition)
}
