//! What storage holds of one resource, and the catalog of all.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock, RwLockWriteGuard};

use crate::ResourceKey;
use crate::interest::Interest;
use crate::log::{Log, Ring};
use crate::objects::Objects;
use crate::options::IndexSpec;

/// The cache, the log and the watchers of one resource. It is there while any of them is not empty.
pub(crate) struct Resource {
    pub key: Arc<ResourceKey>,
    /// Prefixes of the label keys that are indexed.
    pub indexed: Vec<Box<str>>,
    pub objects: RwLock<Objects>,
    pub ring: RwLock<Ring>,
    pub interest: Mutex<Interest>,
}

/// All resources that have objects, events or watchers.
pub(crate) struct Catalog {
    resources: RwLock<BTreeMap<ResourceKey, Arc<Resource>>>,
    indexes: Vec<IndexSpec>,
}

// === impl Resource ===

impl Resource {
    fn is_idle(&self) -> bool {
        self.objects.read().is_empty() && self.ring.read().is_empty() && self.interest.lock().len() == 0
    }
}

// === impl Catalog ===

impl Catalog {
    pub(crate) fn new(indexes: Vec<IndexSpec>) -> Self {
        Self {
            resources: RwLock::default(),
            indexes,
        }
    }

    // Reads are recursive: projections may look while the one who applies the log holds the catalog for reading.

    pub(crate) fn get(&self, key: &ResourceKey) -> Option<Arc<Resource>> {
        self.resources.read_recursive().get(key).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Resource>> {
        self.resources.read_recursive().values().cloned().collect()
    }

    /// The resource, made if need be, and what `with` makes of it before it can be swept away.
    pub(crate) fn ensure<T>(&self, key: &ResourceKey, log: &Log, with: impl FnOnce(&Arc<Resource>) -> T) -> T {
        if let Some(resource) = self.resources.read().get(key) {
            return with(resource);
        }
        let mut resources = self.resources.write();
        let resource = Arc::clone(resources.entry(key.clone()).or_insert_with(|| self.create(key, log)));
        // Held on for reading, so that it is not swept away before `with` has put something into it.
        let _resources = RwLockWriteGuard::downgrade(resources);
        with(&resource)
    }

    fn create(&self, key: &ResourceKey, log: &Log) -> Arc<Resource> {
        let is_declared = |spec: &&IndexSpec| *spec.group == *key.group && *spec.resource == *key.resource;
        let indexed = self
            .indexes
            .iter()
            .filter(is_declared)
            .map(|spec| spec.label_key_prefix.as_str().into());
        Arc::new(Resource {
            key: Arc::new(key.clone()),
            indexed: indexed.collect(),
            objects: RwLock::default(),
            ring: RwLock::new(Ring::starting_at(log.floor())),
            interest: Mutex::default(),
        })
    }

    /// Drops the resources of which nothing is left. Only for the one who applies the log: nobody else adds objects.
    pub(crate) fn sweep(&self) {
        if self.resources.read().values().any(|resource| resource.is_idle()) {
            self.resources.write().retain(|_, resource| !resource.is_idle());
        }
    }
}
