//! What views ask of the shard.

use std::sync::Arc;

use apiserver::auth::SharedAuthorizer;
use async_trait::async_trait;
use machinery::user::User;
use permit::{Access, Cluster};
use registry::{ResourceDef, Surface};
use serde_json::Value;
use tenancy::ClusterFacts;

/// Facts for the views, from the shard's caches: nothing here waits but [`Shard::allows`]. Objects are in their storage
/// version (exports and bindings: `v1alpha2`).
#[async_trait]
pub trait Shard: Send + Sync + 'static {
    /// An APIExport of this shard, or a replicated one of another.
    fn export(&self, cluster: &Cluster, name: &str) -> Option<Value>;

    /// All exports with this `status.identityHash`, of any shard.
    fn exports_by_identity(&self, hash: &str) -> Vec<Value>;

    /// The resource that an APIResourceSchema of the export's cluster describes, stored under the identity. `None`: the
    /// schema is not there.
    fn export_def(&self, cluster: &Cluster, schema: &str, identity_hash: &str) -> Option<Arc<ResourceDef>>;

    /// What a claim is about: compiled in or the system's (no hash), or of any export with that identity.
    fn claimed_def(&self, group: &str, resource: &str, identity_hash: &str) -> Option<Arc<ResourceDef>>;

    /// The APIBindings of a cluster of this shard.
    fn bindings(&self, cluster: &Cluster) -> Vec<Value>;

    /// An APIResourceSchema of this shard, or a replicated one.
    fn schema(&self, cluster: &Cluster, name: &str) -> Option<Value>;

    /// Phase and marks of a cluster of this shard.
    fn cluster(&self, cluster: &Cluster) -> Option<ClusterFacts>;

    fn logical_cluster(&self, cluster: &Cluster) -> Option<Value>;

    /// A WorkspaceType of this shard, or a replicated one.
    fn workspace_type(&self, cluster: &Cluster, name: &str) -> Option<Value>;

    /// Whether a user may, in the cluster of `access`, which may be on another shard. `access.deep` is set: whether the user
    /// may enter that cluster does not matter.
    async fn allows(&self, user: &User, access: &Access) -> bool;

    /// The server's own APIs: the backends of the views' resources, and the content of clusters in their lifecycle.
    fn surface(&self) -> Arc<dyn Surface>;

    /// The server's own authorizer, for content.
    fn authorizer(&self) -> SharedAuthorizer;

    /// The newest revision seen, for lists that no store makes.
    fn revision(&self) -> u64;
}
