//! The index of this shard's logical clusters and workspaces: resolves paths, and answers what authorizers and admission
//! ask about a cluster on every request.
//!
//! Fed by the log (one event of a LogicalCluster or Workspace at a time, in order), so an answer is as fresh as the
//! object that it stands for. One map entry a cluster and one a workspace; what many clusters have alike is interned.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use compact_str::CompactString;
use machinery::object::ObjectExt;
use machinery::status::Status;
use permit::Cluster;
use serde_json::Value;

use crate::path::WorkspacePath;

/// Phases of Workspaces and LogicalClusters. The order is that of a life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    #[default]
    None,
    Scheduling,
    Initializing,
    Ready,
    Unavailable,
    Inactive,
    Terminating,
    Deleting,
}

/// What is known of a logical cluster without reading its object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterFacts {
    pub phase: Phase,
    pub deleting: bool,
    /// Marked inactive by annotation.
    pub inactive: bool,
    /// Annotation `authorization.kcp.io/required-groups`.
    pub required_groups: Option<Arc<str>>,
    /// Annotation `internal.tenancy.kcp.io/type`, e.g. `root:universal`.
    pub workspace_type: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Child {
    cluster: Option<Cluster>,
    phase: Phase,
    /// URL of a mounted workspace.
    mount: Option<Arc<str>>,
    /// The shard that holds `cluster`, as the Workspace says.
    shard: Option<Arc<str>>,
}

/// Where a Workspace leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildFacts<'a> {
    pub cluster: Option<&'a Cluster>,
    pub phase: Phase,
    pub unavailable: bool,
    pub mount: Option<&'a str>,
    pub shard: Option<&'a str>,
}

/// What a path stands for on this shard.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolution {
    Cluster(Cluster),
    Mount(Arc<str>),
    /// There, and not to be had now (503). Who may use the cluster may hear that.
    Unavailable {
        cluster: Option<Cluster>,
    },
    /// 404: the answer to those who may know.
    Refused(Status),
}

/// See the module. Not synchronised: the owner wraps it.
#[derive(Debug, Default)]
pub struct ClusterIndex {
    clusters: BTreeMap<Cluster, ClusterFacts>,
    children: BTreeMap<(Cluster, CompactString), Child>,
    strings: BTreeSet<Arc<str>>,
}

// === impl Phase ===

impl Phase {
    pub fn parse(text: &str) -> Self {
        match text {
            "Scheduling" => Self::Scheduling,
            "Initializing" => Self::Initializing,
            "Ready" => Self::Ready,
            "Unavailable" => Self::Unavailable,
            "Inactive" => Self::Inactive,
            "Terminating" => Self::Terminating,
            "Deleting" => Self::Deleting,
            _ => Self::None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Scheduling => "Scheduling",
            Self::Initializing => "Initializing",
            Self::Ready => "Ready",
            Self::Unavailable => "Unavailable",
            Self::Inactive => "Inactive",
            Self::Terminating => "Terminating",
            Self::Deleting => "Deleting",
        }
    }
}

// === impl ClusterIndex ===

impl ClusterIndex {
    /// A LogicalCluster was written (`Some`) or is gone.
    pub fn apply_logical_cluster(&mut self, cluster: &Cluster, object: Option<&Value>) {
        let Some(object) = object else {
            self.clusters.remove(cluster);
            self.drop_unused_strings();
            return;
        };
        let annotation = |key: &str| object.annotation(key).filter(|v| !v.is_empty());
        let facts = ClusterFacts {
            phase: Phase::parse(object.str_at(&["status", "phase"]).unwrap_or_default()),
            deleting: object.deletion_timestamp().is_some(),
            inactive: ["core.kcp.io/inactive", "internal.kcp.io/inactive"]
                .iter()
                .any(|key| object.annotation(key) == Some("true")),
            required_groups: annotation("authorization.kcp.io/required-groups").map(|v| self.intern(v)),
            workspace_type: annotation("internal.tenancy.kcp.io/type").map(|v| self.intern(v)),
        };
        self.clusters.insert(cluster.clone(), facts);
    }

    /// A Workspace was written (`Some`) or is gone.
    pub fn apply_workspace(&mut self, parent: &Cluster, name: &str, object: Option<&Value>) {
        let key = (parent.clone(), CompactString::new(name));
        let Some(object) = object else {
            self.children.remove(&key);
            return;
        };
        let cluster = object.str_at(&["spec", "cluster"]).and_then(|c| Cluster::parse(c).ok());
        let is_mount = object.at(&["spec", "mount"]).is_some();
        let url = object
            .str_at(&["spec", "URL"])
            .filter(|url| is_mount && !url.is_empty());
        let child = Child {
            cluster,
            phase: Phase::parse(object.str_at(&["status", "phase"]).unwrap_or_default()),
            mount: url.map(Arc::from),
            shard: object
                .annotation("core.kcp.io/shard")
                .filter(|name| !name.is_empty())
                .map(|name| self.intern(name)),
        };
        self.children.insert(key, child);
    }

    pub fn cluster(&self, cluster: &Cluster) -> Option<&ClusterFacts> {
        self.clusters.get(cluster)
    }

    /// How many clusters there are.
    pub fn len(&self) -> usize {
        self.clusters.len()
    }

    pub fn is_empty(&self) -> bool {
        self.clusters.is_empty()
    }

    pub fn clusters(&self) -> impl Iterator<Item = (&Cluster, &ClusterFacts)> {
        self.clusters.iter()
    }

    /// A Workspace of a cluster.
    pub fn child(&self, parent: &Cluster, name: &str) -> Option<ChildFacts<'_>> {
        let child = self.children.get(&(parent.clone(), CompactString::new(name)))?;
        Some(ChildFacts {
            cluster: child.cluster.as_ref(),
            phase: child.phase,
            unavailable: child.phase == Phase::Unavailable,
            mount: child.mount.as_deref(),
            shard: child.shard.as_deref(),
        })
    }

    pub fn workspaces_count(&self) -> usize {
        self.children.len()
    }

    /// The phase of every workspace.
    pub fn workspace_phases(&self) -> impl Iterator<Item = Phase> {
        self.children.values().map(|child| child.phase)
    }

    /// The shard that holds the cluster of every workspace, where it says so.
    pub fn workspace_shards(&self) -> impl Iterator<Item = Option<&Arc<str>>> {
        self.children.values().map(|child| child.shard.as_ref())
    }

    /// Resolves a path as kcp's shards do (facts C.2): one segment and `system:…` are names, taken without a look-up (what
    /// a stranger may learn of them is the authorizer's business); longer paths go through the workspaces.
    pub fn resolve(&self, path: &WorkspacePath) -> Resolution {
        if let Some(cluster) = path.as_cluster() {
            return Resolution::Cluster(cluster);
        }
        let not_found = || {
            let of = machinery::object::GroupResource::new("tenancy.kcp.io", "workspaces");
            Resolution::Refused(Status::not_found(&of, path.as_str()))
        };
        let mut segments = path.segments();
        let Some(first) = segments.next().and_then(|name| self.first_cluster(name)) else {
            return not_found();
        };
        let mut cluster = first;
        for name in segments {
            let Some(child) = self.children.get(&(cluster.clone(), CompactString::new(name))) else {
                return not_found();
            };
            match child {
                Child {
                    phase: Phase::Unavailable,
                    cluster,
                    ..
                } => {
                    let cluster = cluster.clone();
                    return Resolution::Unavailable { cluster };
                }
                Child { mount: Some(url), .. } => return Resolution::Mount(url.clone()),
                Child {
                    cluster: Some(next), ..
                } if self.clusters.contains_key(next) => cluster = next.clone(),
                Child { .. } => return not_found(),
            }
        }
        Resolution::Cluster(cluster)
    }

    fn first_cluster(&self, name: &str) -> Option<Cluster> {
        let cluster = Cluster::parse(name).ok()?;
        self.clusters.contains_key(&cluster).then_some(cluster)
    }

    fn intern(&mut self, text: &str) -> Arc<str> {
        if let Some(found) = self.strings.get(text) {
            return found.clone();
        }
        let new: Arc<str> = text.into();
        self.strings.insert(new.clone());
        new
    }

    /// Strings that only the index's own set holds any more go. Amortised: types are few, so the set stays small.
    fn drop_unused_strings(&mut self) {
        if self.strings.len() > 64 && self.strings.len() > self.clusters.len() {
            self.strings.retain(|s| Arc::strong_count(s) > 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cluster(name: &str) -> Cluster {
        Cluster::parse(name).unwrap()
    }

    fn path(text: &str) -> WorkspacePath {
        WorkspacePath::parse(text).unwrap()
    }

    fn index() -> ClusterIndex {
        let mut index = ClusterIndex::default();
        for name in ["root", "org1", "team1", "other"] {
            index.apply_logical_cluster(&cluster(name), Some(&json!({"status": {"phase": "Ready"}})));
        }
        index.apply_workspace(&cluster("root"), "org", Some(&json!({"spec": {"cluster": "org1"}})));
        index.apply_workspace(&cluster("org1"), "team", Some(&json!({"spec": {"cluster": "team1"}})));
        index.apply_workspace(&cluster("other"), "child", Some(&json!({"spec": {"cluster": "team1"}})));
        index
    }

    #[test]
    fn resolves_through_workspaces_from_any_root() {
        let index = index();
        assert_eq!(
            index.resolve(&path("root:org:team")),
            Resolution::Cluster(cluster("team1"))
        );
        assert_eq!(index.resolve(&path("org1:team")), Resolution::Cluster(cluster("team1")));
        assert_eq!(
            index.resolve(&path("other:child")),
            Resolution::Cluster(cluster("team1"))
        );
    }

    #[test]
    fn names_are_taken_without_a_lookup() {
        assert_eq!(
            index().resolve(&path("unknown")),
            Resolution::Cluster(cluster("unknown"))
        );
    }

    #[test]
    fn unknown_paths_are_not_found() {
        let Resolution::Refused(status) = index().resolve(&path("root:org:nope")) else {
            panic!("resolved")
        };
        assert_eq!(status.message, r#"workspaces.tenancy.kcp.io "root:org:nope" not found"#);
        assert!(matches!(index().resolve(&path("nope:org")), Resolution::Refused(s) if s.code == 404));
    }

    #[test]
    fn deleted_clusters_are_not_found_at_once() {
        let mut index = index();
        index.apply_logical_cluster(&cluster("org1"), None);
        assert!(matches!(index.resolve(&path("root:org")), Resolution::Refused(s) if s.code == 404));
    }

    #[test]
    fn unavailable_workspaces_answer_503() {
        let mut index = index();
        let object = json!({"spec": {"cluster": "org1"}, "status": {"phase": "Unavailable"}});
        index.apply_workspace(&cluster("root"), "org", Some(&object));
        let cluster = Some(cluster("org1"));
        assert_eq!(
            index.resolve(&path("root:org:team")),
            Resolution::Unavailable { cluster }
        );
    }

    #[test]
    fn equal_annotations_are_held_once() {
        let mut index = ClusterIndex::default();
        let object = json!({"metadata": {"annotations": {"internal.tenancy.kcp.io/type": "root:universal"}}});
        for name in ["c1", "c2"] {
            index.apply_logical_cluster(&cluster(name), Some(&object));
        }
        let one = index.cluster(&cluster("c1")).unwrap().workspace_type.clone().unwrap();
        let two = index.cluster(&cluster("c2")).unwrap().workspace_type.clone().unwrap();
        assert!(Arc::ptr_eq(&one, &two));
    }
}
