//! Users, groups and user extras (G, N).

/// Everything everywhere.
pub const MASTERS: &str = "system:masters";
/// Kubernetes' group of everybody who authenticated.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Kubernetes' group of everybody who did not.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Kubernetes' user without credentials.
pub const ANONYMOUS: &str = "system:anonymous";
/// Cluster-admin of every workspace that exists (G.6).
pub const KCP_ADMIN_GROUP: &str = "system:kcp:admin";
/// Bootstraps workspaces (G.6).
pub const WORKSPACE_BOOTSTRAPPER_GROUP: &str = "system:kcp:tenancy:workspace-bootstrapper";
/// The scheduler, on the target shard (G.6).
pub const LOGICAL_CLUSTER_ADMIN_GROUP: &str = "system:kcp:logical-cluster-admin";
/// Controllers, across shards, through the front proxy (G.6).
pub const EXTERNAL_LOGICAL_CLUSTER_ADMIN_GROUP: &str = "system:kcp:external-logical-cluster-admin";
/// ClusterRole: may enter (G.6).
pub const WORKSPACE_ACCESS_ROLE: &str = "system:kcp:workspace:access";
/// Prefix of the group of an initializer (F.3).
pub const INITIALIZER_GROUP_PREFIX: &str = "system:kcp:initializer:";
/// Prefix of the group of a terminator (F.4).
pub const TERMINATOR_GROUP_PREFIX: &str = "system:kcp:terminator:";
/// Prefix of the group made from an effective scope (G.3).
pub const CLUSTER_GROUP_PREFIX: &str = "system:cluster:";
/// Prefix of users and groups in the check of a maximal permission policy (E.8).
pub const BINDING_PREFIX: &str = "apis.kcp.io:binding:";
/// Prefix of the user that a foreign ServiceAccount is: `<prefix><cluster>:<namespace>:<name>` (G.2).
pub const GLOBAL_SERVICE_ACCOUNT_PREFIX: &str = "system:kcp:serviceaccount:";

/// The user that bootstraps (H.4).
pub const BOOTSTRAPPER: &str = "system:kcp:bootstrapper";
/// The same, as root's owner annotation and its workspace-admin binding spell it (G.6).
pub const BOOTSTRAPPER_OWNER: &str = "system:kcp-bootstrapper";
/// The user that virtual workspaces act as beside the caller (F.2).
pub const REST_SERVICE_ACCOUNT: &str = "system:serviceaccount:default:rest";
/// User of battery admin, group [`MASTERS`] (G.1).
pub const SHARD_ADMIN: &str = "shard-admin";
/// User of battery admin, group [`KCP_ADMIN_GROUP`] (G.1).
pub const KCP_ADMIN: &str = "kcp-admin";
/// User of battery user, no groups (G.1).
pub const USER: &str = "user";

/// Keys of user extras (N).
pub mod extra {
    /// Home cluster of a ServiceAccount (G.2).
    pub const CLUSTER_NAME: &str = "authentication.kcp.io/cluster-name";
    /// `cluster:<name>` entries that bound where the user counts (G.3).
    pub const SCOPES: &str = "authentication.kcp.io/scopes";
    /// JSON users that are evaluated beside (G.3).
    pub const WARRANT: &str = "authorization.kcp.io/warrant";
    /// Tells an authorization webhook the cluster (N).
    pub const AUTHORIZATION_CLUSTER_NAME: &str = "authorization.kcp.io/cluster-name";
    /// Prefix of an entry of [`SCOPES`].
    pub const SCOPE_CLUSTER_PREFIX: &str = "cluster:";
}
