//! Annotation keys (N).

/// On every object that comes from storage: the name of its logical cluster (C.6). Writes to it are overwritten.
pub const CLUSTER: &str = "kcp.io/cluster";
/// Canonical path: on LogicalClusters, and by admission on exports, bindings, types and cached resources (C.6).
pub const PATH: &str = "kcp.io/path";
/// On objects read from the cache server: the shard they were copied from (H.3).
pub const CACHE_SHARD: &str = "kcp.io/shard";
/// On PartialObjectMetadata of wildcard requests: the object's own apiVersion (C.7).
pub const ORIGINAL_API_VERSION: &str = "kcp.io/original-api-version";

/// The name of the shard that a Workspace's or LogicalCluster's cluster lives on (A.6, D.3).
pub const SHARD: &str = "core.kcp.io/shard";
/// `"true"` on a LogicalCluster stops all access to it (D.12).
pub const INACTIVE: &str = "core.kcp.io/inactive";
/// Older spelling of [`INACTIVE`], honoured too (A.6).
pub const INACTIVE_LEGACY: &str = "internal.kcp.io/inactive";
/// On a LogicalCluster: how many objects it may hold, decimal; 0 or less is unlimited (D.12).
pub const MAX_TOTAL_OBJECTS: &str = "core.kcp.io/max-total-objects";
/// On a Shard, any value: nothing is scheduled there (A.7).
pub const UNSCHEDULABLE: &str = "experimental.core.kcp.io/unschedulable";
/// On a Shard: which store has its name, by the uid of that store's cluster `system:shard` (not kcp's).
pub const SHARD_STORE: &str = "internal.kcp.io/shard-store";
/// On a Shard: how often that store was started, decimal (not kcp's).
pub const SHARD_STARTS: &str = "internal.kcp.io/shard-starts";
/// On a Shard: what stands on it, as JSON, told by itself for operators (not kcp's).
pub const SHARD_SERVES: &str = "internal.kcp.io/shard-serves";
/// On a LogicalCluster: path of the migration in progress (A.6).
pub const MIGRATING: &str = "internal.kcp.io/migrating";
/// Comma-separated set of reasons to copy the object to the cache server (H.3).
pub const REPLICATE: &str = "internal.kcp.io/replicate";

/// On audit events: the cluster that a request went to (G.9).
pub const AUDIT_CLUSTER: &str = "tenancy.kcp.io/workspace";
/// On a LogicalCluster: `<type path>:<type name>` (A.6).
pub const WORKSPACE_TYPE: &str = "internal.tenancy.kcp.io/type";
/// On a Workspace: hash of the shard's name (C.3).
pub const SHARD_HASH: &str = "internal.tenancy.kcp.io/shard";
/// On a Workspace: the cluster name that the scheduler chose, before `spec.cluster` is set (D.3).
pub const SCHEDULED_CLUSTER: &str = "internal.tenancy.kcp.io/cluster";
/// On a Workspace: shards that were chosen and did not answer, `<shard>/<cluster>/<seconds since the epoch>`, comma separated.
/// Ours.
pub const ABANDONED: &str = "internal.tenancy.kcp.io/abandoned";
/// JSON UserInfo of the creator; only `username` remains once Ready (A.6, D.3).
pub const OWNER: &str = "experimental.tenancy.kcp.io/owner";
/// Groups that a user must have to enter: `a,b;c` is (a and b) or c (D.12).
pub const REQUIRED_GROUPS: &str = "authorization.kcp.io/required-groups";

/// On a LogicalCluster: JSON map of who owns which resource name (E.5).
pub const RESOURCE_BINDINGS: &str = "internal.apis.kcp.io/resource-bindings";
/// On an APIExport, any value: no endpoint slice is made for it (E.2).
pub const SKIP_ENDPOINT_SLICE: &str = "apiexports.apis.kcp.io/skip-endpointslice";
/// Prefix: annotations of an export that are copied to all its bindings (E.4).
pub const EXTRA_PREFIX: &str = "extra.apis.kcp.io/";
/// On a bound CRD, empty value (E.4).
pub const BOUND_CRD: &str = "apis.kcp.io/bound-crd";
/// On a bound CRD: the cluster of its schema (E.4).
pub const SCHEMA_CLUSTER: &str = "apis.kcp.io/schema-cluster";
/// On a bound CRD: the name of its schema (E.4).
pub const SCHEMA_NAME: &str = "apis.kcp.io/schema-name";
/// On an in-memory CRD: the identity hash, i.e. the storage prefix (B.2).
pub const IDENTITY: &str = "apis.kcp.io/identity";
/// On an in-memory CRD: `virtual:<identity hash>` for virtual storage (B.2).
pub const SCHEMA_STORAGE: &str = "apis.kcp.io/schema-storage";
/// On an in-memory CRD that serves PartialObjectMetadata for all identities (B.2).
pub const PARTIAL_METADATA: &str = "crd.kcp.io/partial-metadata";
/// `path-segment` on a bound CRD: names need not be DNS names (B.5).
pub const VALIDATE_NAME: &str = "internal.kcp.io/validate-name";
/// Kubernetes': approval of a protected community group (I.2).
pub const API_APPROVED: &str = "api-approved.kubernetes.io";

/// On a cached object: the uid it has on its shard (H.3).
pub const ORIGINAL_UID: &str = "cache.kcp.io/original-resource-UID";
/// On a cached object: the resourceVersion it has on its shard (H.3).
pub const ORIGINAL_RESOURCE_VERSION: &str = "cache.kcp.io/original-resource-version";
/// On a ClusterCachedResource (A.15).
pub const CACHED_KIND: &str = "cache.kcp.io/resource-kind";
/// On a ClusterCachedResource: `Cluster` or `Namespaced` (A.15).
pub const CACHED_SCOPE: &str = "cache.kcp.io/resource-scope";

/// `"true"` on an object of the bootstrap: made once, never overwritten (H.4).
pub const CREATE_ONLY: &str = "bootstrap.kcp.io/create-only";
/// On an object of the bootstrap: the battery that it belongs to (H.4).
pub const BATTERY: &str = "bootstrap.kcp.io/battery";

/// What v1alpha1 cannot say of v1alpha2 objects, and the reverse, kept as JSON (A.12).
pub mod conversion {
    /// On a v1alpha1 APIExport: resources with other storage than CRDs.
    pub const RESOURCE_SCHEMAS: &str = "apis.v1alpha2.kcp.io/resource-schemas";
    /// On a v1alpha1 APIExport: claims with other verbs than `*`.
    pub const PERMISSION_CLAIMS: &str = "apis.v1alpha2.kcp.io/permission-claims";
    /// On a v1alpha2 APIExport or APIBinding: the claims as v1alpha1 said them.
    pub const V1ALPHA1_PERMISSION_CLAIMS: &str = "apis.v1alpha2.kcp.io/v1alpha1-permission-claims";
    /// On a v1alpha1 APIBinding: claims with verbs or selectors.
    pub const ACCEPTABLE_PERMISSION_CLAIMS: &str = "apis.v1alpha2.kcp.io/acceptable-permission-claims";
    /// On a v1alpha1 APIBinding: `status.exportPermissionClaims` with other verbs than `*`.
    pub const STATUS_EXPORT_CLAIMS: &str = "apis.v1alpha2.kcp.io/status-export-permission-claims";
    /// On a v1alpha1 APIBinding: `status.appliedPermissionClaims` with verbs or selectors.
    pub const STATUS_APPLIED_CLAIMS: &str = "apis.v1alpha2.kcp.io/status-applied-permission-claims";
    /// On a v1alpha2 APIBinding: `status.exportPermissionClaims` as v1alpha1 said them.
    pub const V1ALPHA1_STATUS_EXPORT_CLAIMS: &str = "apis.v1alpha2.kcp.io/v1alpha1-status-export-permission-claims";
    /// On a v1alpha2 APIBinding: `status.appliedPermissionClaims` as v1alpha1 said them.
    pub const V1ALPHA1_STATUS_APPLIED_CLAIMS: &str = "apis.v1alpha2.kcp.io/v1alpha1-status-applied-permission-claims";
}
