//! What views ask of the shard.

use std::sync::Arc;

use apiserver::auth::SharedAuthorizer;
use apiserver::auth::rbac::Rule;
use apiserver::stage::fairness::Flow;
use apiserver::{ServiceApi, ServiceRoute};
use async_trait::async_trait;
use machinery::status::Result;
use machinery::user::User;
use permit::{Access, Cluster, Scope};
use registry::{Backend, Resolved, ResourceDef, Surface};
use serde_json::Value;
use tenancy::ClusterFacts;

use crate::lifecycle::Ruled;

/// Facts for the views: from the shard's caches, or asked over the network. Errors: they are not to be had now (503).
/// Objects are in their storage version (exports and bindings: `v1alpha2`).
#[async_trait]
pub trait Shard: Send + Sync + 'static {
    /// An APIExport of this shard, or a replicated one of another.
    async fn export(&self, cluster: &Cluster, name: &str) -> Result<Option<Value>>;

    /// All exports with this `status.identityHash`, of any shard.
    async fn exports_by_identity(&self, hash: &str) -> Result<Vec<Value>>;

    /// A resource that a view shows. `None`: there is no such schema, or no such resource.
    async fn definition(&self, group: &str, resource: &str, of: &DefinitionOf) -> Result<Option<Arc<ResourceDef>>>;

    /// The APIBindings of a cluster of this shard.
    async fn bindings(&self, cluster: &Cluster) -> Result<Vec<Value>>;

    /// An APIResourceSchema of this shard, or a replicated one.
    async fn schema(&self, cluster: &Cluster, name: &str) -> Result<Option<Value>>;

    /// Phase and marks of a cluster of this shard.
    async fn cluster(&self, cluster: &Cluster) -> Result<Option<ClusterFacts>>;

    async fn logical_cluster(&self, cluster: &Cluster) -> Result<Option<Value>>;

    /// A WorkspaceType of this shard, or a replicated one.
    async fn workspace_type(&self, cluster: &Cluster, name: &str) -> Result<Option<Value>>;

    /// Whether a user may, in the cluster of `access`, which may be on another shard. `access.deep` is set: whether the user
    /// may enter that cluster does not matter.
    async fn allows(&self, user: &User, access: &Access) -> Result<bool>;

    /// Where the objects of a resource are. `of` is what [`Shard::definition`] found it by. The permit of a request counts
    /// as it is: that the user may has been decided by the view.
    fn backend(&self, resolved: &Resolved, of: &DefinitionOf) -> Arc<dyn Backend>;

    /// The server's own APIs in a cluster.
    fn content(&self, content: ClusterContent) -> ServiceRoute;

    /// The newest revision seen, for lists that no store makes.
    fn revision(&self) -> u64;
}

/// Which definition a view means by the name of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DefinitionOf {
    /// What is compiled in, or the system's.
    Common,
    /// Of any export with this identity.
    Identity(String),
    /// Of a schema in the cluster of an export, stored under the export's identity.
    Schema {
        cluster: Cluster,
        schema: String,
        identity: String,
    },
}

/// A request for the content of a cluster.
pub struct ClusterContent {
    pub cluster: Cluster,
    /// Below the cluster.
    pub path: String,
    /// As whom. The server's own authorizer decides.
    pub user: Arc<User>,
    /// What has to allow it, too.
    pub rules: Option<Vec<Rule>>,
    pub flow: Flow,
}

// === impl ClusterContent ===

impl ClusterContent {
    /// Served by the stages at hand.
    pub fn served(self, surface: Arc<dyn Surface>, authorizer: SharedAuthorizer) -> ServiceRoute {
        let authorizer = match self.rules {
            Some(rules) => Arc::new(Ruled {
                rules,
                inner: authorizer,
            }),
            None => authorizer,
        };
        ServiceRoute::Api(Box::new(ServiceApi {
            surface,
            scope: Scope::One(self.cluster),
            path: self.path,
            authorizer: Some(authorizer),
            user: Some(self.user),
            flow: self.flow,
        }))
    }
}
