//! Where objects live in the store. The layout is kcp's (its facts, C.8), so that its etcd can be read one day.

use std::cmp::Ordering;
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
///
/// Ordered as the store orders the keys (bytes of `cluster/namespace/name`), which is the order of lists.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectKey {
    pub cluster: Cluster,
    pub namespace: CompactString,
    pub name: CompactString,
}

/// The keys of one store: objects under `<prefix>/`, fences under `<prefix>-fences/`, what storage keeps for itself
/// under `<prefix>-storage/`.
#[derive(Clone, Debug)]
pub struct Layout {
    prefix: Arc<str>,
}

/// What a key of the store is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed<'a> {
    Object(Path<'a>),
    /// The fence of a cluster.
    Fence(&'a str),
    /// The offsets between the store's revision and the visible one.
    Offsets,
    /// Somebody else's.
    Other,
}

/// An object's key, taken apart without copying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Path<'a> {
    pub group: &'a str,
    pub resource: &'a str,
    /// `customresources`, an identity, or empty.
    pub segment: &'a str,
    /// `cluster/name` or `cluster/namespace/name`.
    pub object: &'a str,
    pub cluster_len: usize,
    /// 0: cluster-scoped.
    pub namespace_len: usize,
}

const CUSTOM: &str = "customresources";
const IDENTITY_LEN: usize = 64;

// === impl ResourceKey ===

impl ResourceKey {
    pub fn builtin(group: &str, resource: &str) -> Self {
        Self {
            group: group.into(),
            resource: resource.into(),
            segment: Segment::Builtin,
        }
    }

    pub fn custom(group: &str, resource: &str) -> Self {
        Self {
            group: group.into(),
            resource: resource.into(),
            segment: Segment::Custom,
        }
    }

    pub fn identity(group: &str, resource: &str, hash: &str) -> Self {
        Self {
            group: group.into(),
            resource: resource.into(),
            segment: Segment::Identity(hash.into()),
        }
    }

    fn segment_str(&self) -> &str {
        match &self.segment {
            Segment::Builtin => "",
            Segment::Custom => CUSTOM,
            Segment::Identity(hash) => hash,
        }
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
        Self {
            cluster,
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    fn ordered_bytes(&self) -> impl Iterator<Item = u8> + '_ {
        let namespace = (!self.namespace.is_empty()).then(|| self.namespace.bytes().chain([b'/']));
        self.cluster
            .as_str()
            .bytes()
            .chain([b'/'])
            .chain(namespace.into_iter().flatten())
            .chain(self.name.bytes())
    }
}

impl Ord for ObjectKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.ordered_bytes().cmp(other.ordered_bytes())
    }
}

impl PartialOrd for ObjectKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
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

// === impl Layout ===

impl Layout {
    /// `prefix` is that of `--etcd-prefix`, e.g. `/registry`; a slash at its end is dropped.
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.trim_end_matches('/').into(),
        }
    }

    /// The range of all objects: start, and the first key behind it.
    pub(crate) fn objects(&self) -> (Vec<u8>, Vec<u8>) {
        let start = format!("{}/", self.prefix).into_bytes();
        let end = behind(&start);
        (start, end)
    }

    pub(crate) fn fences(&self) -> (Vec<u8>, Vec<u8>) {
        let start = format!("{}-fences/", self.prefix).into_bytes();
        let end = behind(&start);
        (start, end)
    }

    pub(crate) fn offsets(&self) -> Vec<u8> {
        format!("{}-storage/offsets", self.prefix).into_bytes()
    }

    /// The key of a cluster's fence: for guards of writes that depend on the cluster.
    pub fn fence(&self, cluster: &Cluster) -> Vec<u8> {
        format!("{}-fences/{cluster}", self.prefix).into_bytes()
    }

    /// The prefix of all keys of a resource, ending in a slash.
    pub fn resource(&self, resource: &ResourceKey) -> Vec<u8> {
        format!("{}/{resource}", self.prefix).into_bytes()
    }

    /// The key of an object.
    pub fn object(&self, resource: &ResourceKey, object: &ObjectKey) -> Vec<u8> {
        format!("{}/{resource}{object}", self.prefix).into_bytes()
    }

    pub(crate) fn parse<'a>(&self, key: &'a [u8]) -> Parsed<'a> {
        let below = key
            .strip_prefix(self.prefix.as_bytes())
            .and_then(|rest| std::str::from_utf8(rest).ok());
        let Some(below) = below else { return Parsed::Other };
        if let Some(path) = below.strip_prefix('/') {
            return Path::parse(path).map_or(Parsed::Other, Parsed::Object);
        }
        match below.strip_prefix("-fences/") {
            Some(cluster) if Cluster::parse(cluster).is_ok() => Parsed::Fence(cluster),
            None if below == "-storage/offsets" => Parsed::Offsets,
            _ => Parsed::Other,
        }
    }
}

/// The first key behind all that begin with `prefix`.
pub(crate) fn behind(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

// === impl Path ===

impl<'a> Path<'a> {
    /// `path`: the key below the store's prefix.
    fn parse(path: &'a str) -> Option<Self> {
        let (group, rest) = path.split_once('/')?;
        let (resource, rest) = rest.split_once('/')?;
        let (first, below) = rest.split_once('/')?;
        // An identity is longer than a cluster's name can be, and no cluster of ours is called `customresources`.
        let is_segment = first == CUSTOM || first.len() == IDENTITY_LEN;
        let (segment, object) = if is_segment { (first, below) } else { ("", rest) };
        let mut parts = object.split('/');
        let cluster = parts.next()?;
        let (namespace, name) = match (parts.next()?, parts.next(), parts.next()) {
            (name, None, None) => ("", name),
            (namespace, Some(name), None) => (namespace, name),
            _ => return None,
        };
        let named = !group.is_empty() && !resource.is_empty() && !name.is_empty();
        if !named || Cluster::parse(cluster).is_err() {
            return None;
        }
        let group = if group == "core" { "" } else { group };
        Some(Self {
            group,
            resource,
            segment,
            object,
            cluster_len: cluster.len(),
            namespace_len: namespace.len(),
        })
    }

    pub(crate) fn is_of(&self, resource: &ResourceKey) -> bool {
        *resource.resource == *self.resource && resource.segment_str() == self.segment && *resource.group == *self.group
    }

    pub(crate) fn resource_key(&self) -> ResourceKey {
        match self.segment {
            "" => ResourceKey::builtin(self.group, self.resource),
            CUSTOM => ResourceKey::custom(self.group, self.resource),
            identity => ResourceKey::identity(self.group, self.resource, identity),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(cluster: &str, namespace: &str, name: &str) -> ObjectKey {
        ObjectKey::new(Cluster::parse(cluster).unwrap(), namespace, name)
    }

    #[test]
    fn keys_are_read_back_as_they_were_written() {
        let layout = Layout::new("/registry/");
        let hash = "ab".repeat(32);
        let resources = [
            ResourceKey::builtin("", "configmaps"),
            ResourceKey::custom("example.io", "widgets"),
            ResourceKey::identity("example.io", "widgets", &hash),
        ];
        for resource in &resources {
            for key in [object("root", "", "x"), object("system:admin", "default", "kube:y")] {
                let stored = layout.object(resource, &key);
                let Parsed::Object(path) = layout.parse(&stored) else {
                    panic!("{stored:?}")
                };
                assert!(path.is_of(resource));
                assert_eq!(path.resource_key(), *resource);
                assert_eq!(path.object, key.to_string());
                assert_eq!(
                    (path.cluster_len, path.namespace_len),
                    (key.cluster.as_str().len(), key.namespace.len())
                );
            }
        }
    }

    #[test]
    fn foreign_keys_are_nobodys_objects() {
        let layout = Layout::new("/registry");
        for key in [
            "/other/core/configmaps/root/x",
            "/registry/core/configmaps/root",
            "/registry/core/configmaps/UP/x",
            "/registry/core/configmaps/root/a/b/c",
            "/registry/core/configmaps/root/ns/",
            "/registryx/a/b/root/c",
            "",
        ] {
            assert_eq!(layout.parse(key.as_bytes()), Parsed::Other, "{key}");
        }
        assert_eq!(layout.parse(b"/registry-fences/root"), Parsed::Fence("root"));
        assert_eq!(layout.parse(&layout.offsets()), Parsed::Offsets);
    }

    #[test]
    fn order_is_that_of_the_stores_keys() {
        let mut keys = [
            object("a-b", "", "x"),
            object("ab", "", "x"),
            object("ab", "n", "x"),
            object("ab", "n-1", "x"),
        ];
        let mut texts: Vec<String> = keys.iter().map(ObjectKey::to_string).collect();
        keys.sort();
        texts.sort();
        assert_eq!(keys.iter().map(ObjectKey::to_string).collect::<Vec<_>>(), texts);
    }
}
