//! Condition types and the reasons they are False for. How they are set: [`crate::conditions`].

/// Summary of a binding or a type (A.4, A.11).
pub const READY: &str = "Ready";

// Workspace and LogicalCluster (A.3)

/// A shard was found.
pub const WORKSPACE_SCHEDULED: &str = "WorkspaceScheduled";
/// No initializer remains.
pub const WORKSPACE_INITIALIZED: &str = "WorkspaceInitialized";
/// Nothing remains of a deleted cluster (D.9).
pub const WORKSPACE_CONTENT_DELETED: &str = "WorkspaceContentDeleted";
/// The mount object reports ready (D.11).
pub const WORKSPACE_MOUNT_READY: &str = "WorkspaceMountReady";
/// Default bindings of the type, at initialization (D.7).
pub const API_BINDINGS_INITIALIZED: &str = "APIBindingsInitialized";
/// Default bindings of the type, for its life (A.3).
pub const API_BINDINGS_RECONCILED: &str = "APIBindingsReconciled";
/// URLs of a type's or export's virtual workspaces are in status (A.4, A.10).
pub const VIRTUAL_WORKSPACE_URLS_READY: &str = "VirtualWorkspaceURLsReady";

// APIExport, APIBinding, endpoint slices (A.10, A.11, A.13)

/// The identity secret fits the hash.
pub const IDENTITY_VALID: &str = "IdentityValid";
/// The referenced export exists and is usable.
pub const API_EXPORT_VALID: &str = "APIExportValid";
/// All schemas were established once.
pub const INITIAL_BINDING_COMPLETED: &str = "InitialBindingCompleted";
/// The bound schemas are the export's present ones.
pub const BINDING_UP_TO_DATE: &str = "BindingUpToDate";
/// Instances of a deleted binding are gone.
pub const BINDING_RESOURCE_DELETE_SUCCESS: &str = "BindingResourceDeleteSuccess";
/// The accepted claims are among the exported ones.
pub const PERMISSION_CLAIMS_VALID: &str = "PermissionClaimsValid";
/// Claimed objects are labelled.
pub const PERMISSION_CLAIMS_APPLIED: &str = "PermissionClaimsApplied";
/// The partition of a slice exists.
pub const PARTITION_VALID: &str = "PartitionValid";

// Topology, cache, migration (A.14–A.16)

/// The selector of a PartitionSet is valid.
pub const PARTITION_SET_VALID: &str = "PartitionSetValid";
/// The partitions of a PartitionSet exist.
pub const PARTITIONS_READY: &str = "PartitionsReady";
/// The cached resource exists and is cluster-scoped.
pub const RESOURCE_VALID: &str = "ResourceValid";
/// Objects are being copied to the cache server.
pub const REPLICATION_STARTED: &str = "ReplicationStarted";
/// Migration: the origin closes the cluster.
pub const ORIGIN_PREPARING: &str = "OriginPreparing";
/// Migration: the origin is closed.
pub const ORIGIN_READY: &str = "OriginReady";
/// Migration: copying began.
pub const MIGRATION_STARTED: &str = "MigrationStarted";
/// Migration: all entries are at the destination.
pub const DATA_COPIED: &str = "DataCopied";
/// Migration: the origin holds nothing more.
pub const ORIGIN_CLEANED: &str = "OriginCleaned";
/// Migration: done.
pub const COMPLETED: &str = "Completed";

/// Reasons.
pub mod reason {
    // WorkspaceScheduled (D.3)
    /// No shard fits.
    pub const UNSCHEDULABLE: &str = "Unschedulable";
    /// The shard that holds the logical cluster does not answer (not kcp's, which has no word for it).
    pub const SHARD_UNAVAILABLE: &str = "ShardUnavailable";
    /// Scheduling failed for another cause.
    pub const UNKNOWN: &str = "Unknown";

    // WorkspaceInitialized (D.4, D.5)
    /// Initializers remain.
    pub const INITIALIZER_EXISTS: &str = "InitializerExists";
    /// The LogicalCluster is gone.
    pub const WORKSPACE_DISAPPEARED: &str = "WorkspaceDisappeared";

    // APIBindingsInitialized, APIBindingsReconciled (A.3, D.7)
    /// Bindings exist and are not bound yet.
    pub const WAITING_ON_API_BINDINGS: &str = "WaitingOnAPIBindings";
    /// Types cannot be resolved.
    pub const WORKSPACE_TYPES_INVALID: &str = "WorkspaceTypesInvalid";
    /// Bindings could not be made.
    pub const API_BINDING_ERRORS: &str = "APIBindingErrors";

    // WorkspaceMountReady (D.11)
    /// The reference cannot be read.
    pub const MOUNT_ANNOTATION_INVALID: &str = "MountAnnotationInvalid";
    /// The mount object does not exist.
    pub const MOUNT_OBJECT_NOT_FOUND: &str = "MountObjectNotFound";
    /// The mount object is not Ready.
    pub const MOUNT_OBJECT_NOT_READY: &str = "MountObjectNotReady";

    // WorkspaceContentDeleted, BindingResourceDeleteSuccess (D.9, E.6)
    /// Objects remain.
    pub const SOME_RESOURCES_REMAIN: &str = "SomeResourcesRemain";
    /// Objects with finalizers remain.
    pub const SOME_FINALIZERS_REMAIN: &str = "SomeFinalizersRemain";
    /// Instances of a binding could not be deleted.
    pub const RESOURCE_DELETION_FAILED: &str = "ResourceDeletionFailed";
    /// The cluster's resources could not be listed.
    pub const DISCOVERY_FAILED: &str = "DiscoveryFailed";
    /// A group-version could not be read.
    pub const GROUP_VERSION_PARSING_FAILED: &str = "GroupVersionParsingFailed";
    /// Content could not be deleted.
    pub const CONTENT_DELETION_FAILED: &str = "ContentDeletionFailed";

    // VirtualWorkspaceURLsReady (A.4)
    /// URLs could not be computed.
    pub const ERROR_GENERATING_URLS: &str = "ErrorGeneratingURLs";

    // IdentityValid (E.1)
    /// The secret does not fit the hash.
    pub const IDENTITY_VERIFICATION_FAILED: &str = "IdentityVerificationFailed";
    /// The secret could not be made.
    pub const IDENTITY_GENERATION_FAILED: &str = "IdentityGenerationFailed";

    // APIExportValid, InitialBindingCompleted, BindingUpToDate (A.11, E.4)
    /// The reference is missing or unusable.
    pub const API_EXPORT_INVALID_REFERENCE: &str = "APIExportInvalidReference";
    /// The export does not exist.
    pub const API_EXPORT_NOT_FOUND: &str = "APIExportNotFound";
    /// A schema is no valid CRD.
    pub const API_RESOURCE_SCHEMA_INVALID: &str = "APIResourceSchemaInvalid";
    /// Something of the server's own.
    pub const INTERNAL_ERROR: &str = "InternalError";
    /// The export has no identity yet.
    pub const MISSING_IDENTITY_HASH: &str = "MissingIdentityHash";
    /// The binding's cluster has no LogicalCluster.
    pub const LOGICAL_CLUSTER_NOT_FOUND: &str = "LogicalClusterNotFound";
    /// CRDs are not established yet.
    pub const WAITING_FOR_ESTABLISHED: &str = "WaitingForEstablished";
    /// Names are taken (E.5).
    pub const NAMING_CONFLICTS: &str = "NamingConflicts";

    // PermissionClaimsValid (E.7)
    /// Claims that the export does not have.
    pub const INVALID_PERMISSION_CLAIMS: &str = "InvalidPermissionClaims";
    /// Verbs or selectors differ.
    pub const PERMISSION_CLAIMS_MISMATCH: &str = "PermissionClaimsMismatch";

    // Slices, topology, cache (A.13–A.15)
    /// The partition does not exist.
    pub const PARTITION_INVALID_REFERENCE: &str = "PartitionInvalidReference";
    /// The selector of a PartitionSet cannot be read.
    pub const INVALID_SELECTOR: &str = "InvalidSelector";
    /// Partitions could not be made.
    pub const ERROR_GENERATING_PARTITIONS: &str = "ErrorGeneratingPartitions";
    /// Nothing serves the cached resource.
    pub const NO_RESOURCES: &str = "NoResources";
    /// The cached resource is being deleted.
    pub const DELETING: &str = "Deleting";
    /// The cached resource is namespaced.
    pub const RESOURCE_NOT_CLUSTER_SCOPED: &str = "ResourceNotClusterScoped";
    /// The referenced cached resource does not exist.
    pub const CLUSTER_CACHED_RESOURCE_NOT_FOUND: &str = "ClusterCachedResourceNotFound";
}
