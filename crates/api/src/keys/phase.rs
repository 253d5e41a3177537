//! Values of `status.phase`.

/// Workspace and LogicalCluster (A.3, A.6).
pub mod workspace {
    /// Default: no shard chosen yet.
    pub const SCHEDULING: &str = "Scheduling";
    /// Initializers are at work.
    pub const INITIALIZING: &str = "Initializing";
    /// Open for use.
    pub const READY: &str = "Ready";
    /// A condition whose type begins with `Workspace` is False (D.4).
    pub const UNAVAILABLE: &str = "Unavailable";
    /// Access is stopped (D.12); only on LogicalClusters.
    pub const INACTIVE: &str = "Inactive";
    /// Deleted, terminators are at work.
    pub const TERMINATING: &str = "Terminating";
    /// Deleted, content is being removed.
    pub const DELETING: &str = "Deleting";
}

/// APIBinding (A.11). `""` before the first reconciliation.
pub mod binding {
    /// Schemas are being bound.
    pub const BINDING: &str = "Binding";
    /// Bound once; never goes back (E.4).
    pub const BOUND: &str = "Bound";
}

/// State of a permission claim in an APIBinding (A.11).
pub mod claim {
    /// The consumer agrees.
    pub const ACCEPTED: &str = "Accepted";
    /// The consumer refuses.
    pub const REJECTED: &str = "Rejected";
}

/// ClusterCachedResource (A.15).
pub mod cached_resource {
    /// Declared by the schema's enum.
    pub const SCHEDULING: &str = "Scheduling";
    /// Default.
    pub const INITIALIZING: &str = "Initializing";
    /// Replication runs.
    pub const READY: &str = "Ready";
    /// Cached copies are being removed.
    pub const DELETING: &str = "Deleting";
    /// All copies are gone.
    pub const DELETED: &str = "Deleted";
}

/// LogicalClusterMigration (A.16).
pub mod migration {
    /// Default.
    pub const PREPARING: &str = "Preparing";
    /// Entries are being copied.
    pub const MIGRATING: &str = "Migrating";
    /// The origin forgets the cluster.
    pub const ORIGIN_CLEANUP: &str = "OriginCleanup";
    /// The destination opens it.
    pub const DESTINATION_FINALIZE: &str = "DestinationFinalize";
    /// Done.
    pub const COMPLETED: &str = "Completed";
    /// Given up.
    pub const FAILED: &str = "Failed";
}

/// `status.virtualWorkspaces[].type` of a WorkspaceType (A.4).
pub mod virtual_workspace {
    /// URL for initializers.
    pub const INITIALIZING: &str = "initializing";
    /// URL for terminators.
    pub const TERMINATING: &str = "terminating";
}
