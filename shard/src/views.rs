//! What virtual workspaces ask of the shard they run in.

use std::sync::Arc;

use api::keys::{group, object};
use apiserver::auth::SharedAuthorizer;
use async_trait::async_trait;
use machinery::object::ObjectExt;
use machinery::selector::LabelSelector;
use machinery::user::User;
use permit::{Access, Cluster, Scope};
use registry::{ResourceDef, Surface};
use serde_json::Value;
use storage::{ResourceKey, Store};
use tenancy::ClusterFacts;

use crate::definitions::Definitions;
use crate::facts::{ShardFacts, bindings_key, exports_key, logical_clusters_key};

pub struct ShardViews {
    pub facts: Arc<ShardFacts>,
    pub definitions: Arc<Definitions>,
    pub store: Store,
    pub authorizer: SharedAuthorizer,
    pub surface: Arc<dyn Surface>,
}

#[async_trait]
impl virtual_workspaces::Shard for ShardViews {
    fn export(&self, of: &Cluster, name: &str) -> Option<Value> {
        let found = self.facts.object(&exports_key(), of, "", name);
        found.map(Arc::unwrap_or_clone)
    }

    fn exports_by_identity(&self, hash: &str) -> Vec<Value> {
        let mut exports = self
            .facts
            .list(&exports_key(), &Scope::All, &LabelSelector::everything());
        exports.retain(|export| export.str_at(&["status", "identityHash"]) == Some(hash));
        exports.into_iter().map(Arc::unwrap_or_clone).collect()
    }

    fn export_def(&self, of: &Cluster, schema: &str, identity_hash: &str) -> Option<Arc<ResourceDef>> {
        let schema = virtual_workspaces::Shard::schema(self, of, schema)?;
        self.definitions.of_schema(&schema, identity_hash)
    }

    fn claimed_def(&self, group: &str, resource: &str, identity_hash: &str) -> Option<Arc<ResourceDef>> {
        if identity_hash.is_empty() {
            return self.definitions.common(group, resource);
        }
        self.definitions.by_identity(group, resource, identity_hash)
    }

    fn bindings(&self, of: &Cluster) -> Vec<Value> {
        let scope = Scope::One(of.clone());
        let bindings = self.facts.list(&bindings_key(), &scope, &LabelSelector::everything());
        bindings.into_iter().map(Arc::unwrap_or_clone).collect()
    }

    fn schema(&self, of: &Cluster, name: &str) -> Option<Value> {
        self.facts
            .object(&ResourceKey::custom(group::APIS, "apiresourceschemas"), of, "", name)
            .map(Arc::unwrap_or_clone)
    }

    fn cluster(&self, of: &Cluster) -> Option<ClusterFacts> {
        self.facts.index.read().cluster(of).cloned()
    }

    fn logical_cluster(&self, of: &Cluster) -> Option<Value> {
        self.facts
            .object(&logical_clusters_key(), of, "", object::LOGICAL_CLUSTER)
            .map(Arc::unwrap_or_clone)
    }

    fn workspace_type(&self, of: &Cluster, name: &str) -> Option<Value> {
        tenancy::types::TypeSource::workspace_type(&*self.facts, of.as_str(), name).map(Arc::unwrap_or_clone)
    }

    async fn allows(&self, user: &User, access: &Access) -> bool {
        self.authorizer.authorize(user, access).await.is_allowed()
    }

    fn surface(&self) -> Arc<dyn Surface> {
        self.surface.clone()
    }

    fn authorizer(&self) -> SharedAuthorizer {
        self.authorizer.clone()
    }

    fn revision(&self) -> u64 {
        self.store.revision()
    }
}
