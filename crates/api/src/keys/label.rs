//! Label keys (N).

/// On LogicalClusters and Workspaces: their phase (A.6).
pub const PHASE: &str = "tenancy.kcp.io/phase";
/// On Shards, set by operators; copied onto the Workspaces scheduled there (A.7).
pub const REGION: &str = "region";
/// On Shards: their name (A.7).
pub const SHARD_NAME: &str = "name";
/// On APIBindings: [`crate::hashes::export_label`] of the export (A.11).
pub const EXPORT: &str = "internal.apis.kcp.io/export";
/// Prefix of the key that marks objects claimed by an export (C.3).
pub const CLAIM_PREFIX: &str = "claimed.internal.apis.kcp.io/";
/// Prefix of the key on a LogicalCluster that still waits for an initializer (A.6).
pub const INITIALIZER_PREFIX: &str = "initializer.internal.kcp.io/";
/// Prefix of the key on a LogicalCluster that still waits for a terminator (A.6).
pub const TERMINATOR_PREFIX: &str = "terminator.internal.kcp.io/";
/// Kubernetes': on every namespace, its name.
pub const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
