//! The vocabulary of kcp's wire format: groups, clusters, namespaces, annotations, labels, finalizers, phases, condition
//! types and reasons, identities. Section numbers in the comments are those of kcp's facts.
//!
//! The values are what other programs match on; none may change.

pub mod annotation;
pub mod condition;
pub mod identity;
pub mod label;
pub mod phase;

/// API groups.
pub mod group {
    /// Workspaces, workspace types, per-workspace authentication (A.3–A.5).
    pub const TENANCY: &str = "tenancy.kcp.io";
    /// Logical clusters and shards (A.6, A.7).
    pub const CORE: &str = "core.kcp.io";
    /// Schemas, exports, bindings, endpoint slices (A.8–A.13).
    pub const APIS: &str = "apis.kcp.io";
    /// Partitions (A.14).
    pub const TOPOLOGY: &str = "topology.kcp.io";
    /// Cached resources (A.15).
    pub const CACHE: &str = "cache.kcp.io";
    /// Moving logical clusters between shards (A.16).
    pub const MIGRATION: &str = "migration.kcp.io";

    /// What the server means by resources of these groups is said by root's exports and by the server, nowhere else.
    pub const OWN: [&str; 6] = [TENANCY, CORE, APIS, TOPOLOGY, CACHE, MIGRATION];
    /// Kubernetes' RBAC group.
    pub const RBAC: &str = "rbac.authorization.k8s.io";
    /// Kubernetes' CustomResourceDefinitions.
    pub const APIEXTENSIONS: &str = "apiextensions.k8s.io";
    /// How schema names spell the core group (`""`), in schema and CRD names (A.8, A.12, B.1).
    pub const CORE_IN_NAMES: &str = "core";
}

/// The `apiVersion` values of kcp's groups.
pub mod api_version {
    /// The only version of tenancy.kcp.io.
    pub const TENANCY_V1ALPHA1: &str = "tenancy.kcp.io/v1alpha1";
    /// The only version of core.kcp.io.
    pub const CORE_V1ALPHA1: &str = "core.kcp.io/v1alpha1";
    /// First version of apis.kcp.io; the only one of schemas and endpoint slices (A.1).
    pub const APIS_V1ALPHA1: &str = "apis.kcp.io/v1alpha1";
    /// Storage version of APIExport and APIBinding (A.12).
    pub const APIS_V1ALPHA2: &str = "apis.kcp.io/v1alpha2";
    /// The only version of topology.kcp.io.
    pub const TOPOLOGY_V1ALPHA1: &str = "topology.kcp.io/v1alpha1";
    /// The only version of cache.kcp.io.
    pub const CACHE_V1ALPHA1: &str = "cache.kcp.io/v1alpha1";
    /// The only version of migration.kcp.io.
    pub const MIGRATION_V1ALPHA1: &str = "migration.kcp.io/v1alpha1";
    /// The version of RBAC objects.
    pub const RBAC_V1: &str = "rbac.authorization.k8s.io/v1";
}

/// Names of logical clusters that exist without a Workspace (C.4).
pub mod cluster {
    /// The root workspace: types, exports, shards, default RBAC.
    pub const ROOT: &str = "root";
    /// Per shard: the RBAC policy that is evaluated for all clusters, leases.
    pub const SYSTEM_ADMIN: &str = "system:admin";
    /// The CRDs served in every cluster.
    pub const SYSTEM_CRDS: &str = "system:system-crds";
    /// One CRD per bound schema, named by the schema's uid.
    pub const BOUND_CRDS: &str = "system:bound-crds";
    /// Per shard: the shard's own bindings to the root exports.
    pub const SYSTEM_SHARD: &str = "system:shard";
    /// CRDs of cached resources.
    pub const CACHED_CRDS: &str = "system:cached-crds";
    /// Stands for requests without a cluster.
    pub const SYSTEM: &str = "system";
    /// The cache server's cluster for its own CRDs.
    pub const CACHE_SERVER: &str = "system:cache:server";
}

/// Namespaces with a meaning (N).
pub mod namespace {
    /// In every workspace.
    pub const DEFAULT: &str = "default";
    /// In every workspace that the universal initializer made (D.6).
    pub const KUBE_SYSTEM: &str = "kube-system";
    /// In `system:admin` (C.4); may not be deleted (I.1).
    pub const KUBE_PUBLIC: &str = "kube-public";
    /// Identity secrets of exports (E.1).
    pub const KCP_SYSTEM: &str = "kcp-system";
}

/// Finalizers (N).
pub mod finalizer {
    /// On the owner of a logical cluster, i.e. the Workspace (D.3).
    pub const LOGICAL_CLUSTER: &str = "core.kcp.io/logicalcluster";
    /// On the LogicalCluster; put there by admission, removed when its content is gone (D.9).
    pub const LOGICAL_CLUSTER_DELETION: &str = "core.kcp.io/logicalcluster-deletion";
    /// On the LogicalCluster while `status.terminators` is not empty (D.5).
    pub const HAS_TERMINATORS: &str = "kcp.io/has-terminators";
    /// On APIBindings: their instances go first (E.6).
    pub const API_BINDING: &str = "apis.kcp.io/apibinding-finalizer";
    /// On ClusterCachedResources (A.15).
    pub const CLUSTER_CACHED_RESOURCE: &str = "cache.kcp.io/clustercachedresource";
}

/// Names of single objects (N, A.6).
pub mod object {
    /// The name of the one LogicalCluster of a logical cluster.
    pub const LOGICAL_CLUSTER: &str = "cluster";
    /// ClusterRoleBinding of a workspace's owner to cluster-admin (D.6).
    pub const WORKSPACE_ADMIN: &str = "workspace-admin";
    /// ConfigMap with the serving CA in each namespace (B.1).
    pub const KUBE_ROOT_CA: &str = "kube-root-ca.crt";
    /// ConfigMap of a non-root shard (system:shard/default) with the identities of root's exports (C.4).
    pub const IDENTITY_CACHE: &str = "apiexport-identity-cache";
    /// ServiceAccount in each namespace (B.1).
    pub const DEFAULT_SERVICE_ACCOUNT: &str = "default";
    /// The name under which the home workspace is read (D.10).
    pub const HOME_WORKSPACE: &str = "~";
    /// The member of an identity secret's `data` (E.1).
    pub const IDENTITY_SECRET_KEY: &str = "key";
}

/// Workspace initializers and terminators that are not a type's (A.6, D.6).
pub mod initializer {
    /// Owned by the controller of default API bindings.
    pub const API_BINDINGS: &str = "system:apibindings";
    /// Owned by the controller that makes the namespaces of a universal workspace.
    pub const UNIVERSAL: &str = "root:universal";
}

/// Field managers of the server's own writes (N).
pub mod field_manager {
    /// Controllers and bootstrap.
    pub const KCP: &str = "kcp";
    /// Status of APIBindings, by server-side apply (E.4).
    pub const API_BINDING: &str = "kcp-apibinding";
    /// The lock annotation on LogicalClusters, by server-side apply (E.5).
    pub const BINDING_LOCKS: &str = "apibinding-reconciler-locks";
}

/// Verbs that only kcp's authorizers ask for (N).
pub mod verb {
    /// On nonResourceURL `/`: to enter a workspace (G.4).
    pub const ACCESS: &str = "access";
    /// On workspacetypes: to make a workspace of it (D.2).
    pub const USE: &str = "use";
    /// On workspacetypes: to act as its initializer (F.3).
    pub const INITIALIZE: &str = "initialize";
    /// On workspacetypes: to act as its terminator (F.4).
    pub const TERMINATE: &str = "terminate";
    /// On apiexports: to bind it (E.3).
    pub const BIND: &str = "bind";
}

/// HTTP headers of kcp (N).
pub mod header {
    /// `true` on a SubjectAccessReview by a system:masters user: skips the outer authorizers (G.5).
    pub const DEEP_SUBJECT_ACCESS_REVIEW: &str = "x-kcp-internal-deep-subjectaccessreview";
    /// Loop protection of virtual storage: at most [`MAX_VIRTUAL_RESOURCE_HOPS`] (E.9).
    pub const VIRTUAL_RESOURCE_HOPS: &str = "x-kcp-virtual-resource-hops";
    /// Suppresses the ServiceAccount rewrite of the URL (C.5).
    pub const SHARDED_REQUEST: &str = "x-kubernetes-sharded-request";
    /// Asks for the built-in part of /api/v1's discovery alone (B.3).
    pub const API_V1_PASSTHROUGH: &str = "x-kcp-api-v1-discovery-passthrough";
    /// See [`VIRTUAL_RESOURCE_HOPS`].
    pub const MAX_VIRTUAL_RESOURCE_HOPS: u32 = 4;
}
