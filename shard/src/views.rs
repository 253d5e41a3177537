//! What virtual workspaces ask of the shard they run in.

use std::sync::Arc;

use api::keys::{group, object};
use apiserver::ServiceRoute;
use apiserver::auth::SharedAuthorizer;
use async_trait::async_trait;
use machinery::object::ObjectExt;
use machinery::selector::LabelSelector;
use machinery::status::Result;
use machinery::user::User;
use permit::{Access, Cluster, Scope};
use registry::{Backend, Resolved, ResourceDef, Surface};
use serde_json::Value;
use storage::{ResourceKey, Store};
use tenancy::ClusterFacts;
use virtual_workspaces::{ClusterContent, DefinitionOf};

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
    async fn export(&self, of: &Cluster, name: &str) -> Result<Option<Value>> {
        let found = self.facts.object(&exports_key(), of, "", name);
        Ok(found.map(Arc::unwrap_or_clone))
    }

    async fn exports_by_identity(&self, hash: &str) -> Result<Vec<Value>> {
        let mut exports = self
            .facts
            .list(&exports_key(), &Scope::All, &LabelSelector::everything());
        exports.retain(|export| export.str_at(&["status", "identityHash"]) == Some(hash));
        Ok(exports.into_iter().map(Arc::unwrap_or_clone).collect())
    }

    async fn definition(&self, group: &str, resource: &str, of: &DefinitionOf) -> Result<Option<Arc<ResourceDef>>> {
        Ok(self.known(group, resource, of))
    }

    async fn bindings(&self, of: &Cluster) -> Result<Vec<Value>> {
        let scope = Scope::One(of.clone());
        let bindings = self.facts.list(&bindings_key(), &scope, &LabelSelector::everything());
        Ok(bindings.into_iter().map(Arc::unwrap_or_clone).collect())
    }

    async fn schema(&self, of: &Cluster, name: &str) -> Result<Option<Value>> {
        Ok(self.schema_object(of, name).map(Arc::unwrap_or_clone))
    }

    async fn cluster(&self, of: &Cluster) -> Result<Option<ClusterFacts>> {
        Ok(self.facts.index.read().cluster(of).cloned())
    }

    async fn logical_cluster(&self, of: &Cluster) -> Result<Option<Value>> {
        let found = self
            .facts
            .object(&logical_clusters_key(), of, "", object::LOGICAL_CLUSTER);
        Ok(found.map(Arc::unwrap_or_clone))
    }

    async fn workspace_type(&self, of: &Cluster, name: &str) -> Result<Option<Value>> {
        let found = tenancy::types::TypeSource::workspace_type(&*self.facts, of.as_str(), name);
        Ok(found.map(Arc::unwrap_or_clone))
    }

    async fn allows(&self, user: &User, access: &Access) -> Result<bool> {
        Ok(self.authorizer.authorize(user, access).await.is_allowed())
    }

    fn backend(&self, resolved: &Resolved, _: &DefinitionOf) -> Arc<dyn Backend> {
        self.surface.backend(resolved)
    }

    fn content(&self, content: ClusterContent) -> ServiceRoute {
        content.served(self.surface.clone(), self.authorizer.clone())
    }

    fn revision(&self) -> u64 {
        self.store.revision()
    }
}

impl ShardViews {
    /// The definition that a view means.
    pub fn known(&self, group: &str, resource: &str, of: &DefinitionOf) -> Option<Arc<ResourceDef>> {
        match of {
            DefinitionOf::Common => self.definitions.common(group, resource),
            DefinitionOf::Identity(hash) => {
                let bound = self.definitions.by_identity(group, resource, hash);
                bound.or_else(|| self.exported(group, resource, hash))
            }
            DefinitionOf::Schema {
                cluster,
                schema,
                identity,
            } => {
                let schema = self.schema_object(cluster, schema)?;
                let def = self.definitions.of_schema(&schema, identity)?;
                (*def.group == *group && def.names.plural == resource).then_some(def)
            }
        }
    }

    /// Bound nowhere on this shard: as its export describes it.
    fn exported(&self, group: &str, resource: &str, hash: &str) -> Option<Arc<ResourceDef>> {
        let exports = self
            .facts
            .list(&exports_key(), &Scope::All, &LabelSelector::everything());
        let mut of_identity = exports
            .iter()
            .filter(|export| export.str_at(&["status", "identityHash"]) == Some(hash));
        of_identity.find_map(|export| {
            let (cluster, schema) = virtual_workspaces::exported_schema(export, group, resource)?;
            self.definitions
                .of_schema(&*self.schema_object(&cluster, schema)?, hash)
        })
    }

    fn schema_object(&self, of: &Cluster, name: &str) -> Option<Arc<Value>> {
        let schemas = ResourceKey::custom(group::APIS, "apiresourceschemas");
        self.facts.object(&schemas, of, "", name)
    }
}
