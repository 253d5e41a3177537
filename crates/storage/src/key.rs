//! Where objects live in the store. The layout is kcp's (its facts, C.8), so that its etcd can be read one day.

use std::fmt;
use std::sync::Arc;

use compact_str::CompactString;
use permit::Cluster;

/// What stands between the resource and the cluster in a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// Nothing: compiled-in resources.
    Builtin,
    /// `customresources`: instances of a cluster's own or of the system's CRDs.
    Custom,
    /// The identity hash (64 hex digits) of the export that a resource is bound from.
    Identity(Arc<str>),
}

/// A resource in the store: one contiguous key range, ordered by cluster, one cache, one log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceKey {
    pub group: Arc<str>,
    pub resource: Arc<str>,
    pub segment: Segment,
}

/// An object within a resource. `namespace` is empty for cluster-scoped resources.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    pub cluster: Cluster,
    pub namespace: CompactString,
    pub name: CompactString,
}

// === impl ResourceKey ===

impl ResourceKey {
    pub fn builtin(group: &str, resource: &str) -> Self {
        Self { group: group.into(), resource: resource.into(), segment: Segment::Builtin }
    }

    pub fn custom(group: &str, resource: &str) -> Self {
        Self { group: group.into(), resource: resource.into(), segment: Segment::Custom }
    }

    pub fn identity(group: &str, resource: &str, hash: &str) -> Self {
        Self { group: group.into(), resource: resource.into(), segment: Segment::Identity(hash.into()) }
    }
}

/// The key's prefix below the store's own: `core/configmaps/`, `example.io/widgets/customresources/`.
impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = if self.group.is_empty() { "core" } else { &self.group };
        write!(f, "{group}/{}/", self.resource)?;
        match &self.segment {
            Segment::Builtin => Ok(()),
            Segment::Custom => f.write_str("customresources/"),
            Segment::Identity(hash) => write!(f, "{hash}/"),
        }
    }
}

// === impl ObjectKey ===

impl ObjectKey {
    pub fn new(cluster: Cluster, namespace: &str, name: &str) -> Self {
        Self { cluster, namespace: namespace.into(), name: name.into() }
    }
}

/// `cluster/name` or `cluster/namespace/name`: the part of the key below the resource's prefix.
impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{}/{}", self.cluster, self.name)
        } else {
            write!(f, "{}/{}/{}", self.cluster, self.namespace, self.name)
        }
    }
}
