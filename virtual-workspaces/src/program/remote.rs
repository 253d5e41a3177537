//! What views ask, asked of the shard over gRPC.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::keys::object;
use apiserver::{Elsewhere, ServiceRoute};
use async_trait::async_trait;
use env::Env;
use fabric::delegation;
use fabric::upstream::Calls;
use fabric::wire::find_request::What;
use fabric::wire::views_client::ViewsClient;
use fabric::wire::{AllowsRequest, AuthenticateRequest, FindRequest, Named};
use fabric::{Lane, Upstream};
use machinery::object::ObjectExt;
use machinery::status::{Result, Status};
use machinery::user::User;
use parking_lot::Mutex;
use permit::{Access, Cluster, Scope};
use registry::{Backend, DefinitionCache, Resolved, ResourceDef};
use serde_json::Value;
use tenancy::{ClusterFacts, ClusterIndex};

use super::content::Content;
use super::objects::Objects;
use crate::{ClusterContent, CommonDefinitions, DefinitionOf, Shard, definition_of_schema, exported_schema};

/// How long the shard may take to answer a question. Whoever waits hears of it within a second.
pub const ASK_TIMEOUT: Duration = Duration::from_millis(900);

/// Definitions that are kept: a few hundred bytes each, the schemas are shared by content.
const DEFINITIONS_MAX: usize = 4096;

/// Of one answer: as many bindings as a cluster can have.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The shard, from another process.
pub struct RemoteShard {
    env: Env,
    upstream: Upstream,
    common: CommonDefinitions,
    cache: DefinitionCache,
    /// By the schema's uid and the identity.
    defined: Mutex<BTreeMap<(String, String), Arc<ResourceDef>>>,
    /// The newest that an answer has told of.
    revision: AtomicU64,
}

// === impl RemoteShard ===

impl RemoteShard {
    pub fn new(env: &Env, upstream: Upstream) -> Arc<Self> {
        let cache = DefinitionCache::default();
        Arc::new(Self {
            env: env.clone(),
            upstream,
            common: CommonDefinitions::new(&cache),
            cache,
            defined: Mutex::default(),
            revision: AtomicU64::new(0),
        })
    }

    /// Whose a token is, as far as the shard knows.
    ///
    /// # Errors
    /// 503 if it cannot be asked.
    pub async fn authenticate(&self, token: &str) -> Result<Option<User>> {
        let request = AuthenticateRequest {
            token: token.to_owned(),
        };
        let mut client = self.client();
        let answer = self.bounded(client.authenticate(request)).await?;
        Ok(answer.user.map(delegation::user))
    }

    fn client(&self) -> ViewsClient<Calls> {
        ViewsClient::new(self.upstream.calls(Lane::Short)).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    async fn bounded<T>(&self, asking: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>) -> Result<T> {
        match self.env.clock.timeout(ASK_TIMEOUT, asking).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => {
                tracing::debug!(%status, "the shard does not answer a question");
                Err(unavailable("the shard that holds it cannot be asked"))
            }
            Err(_) => Err(unavailable("the shard that holds it does not answer")),
        }
    }

    async fn find(&self, what: What) -> Result<Vec<Value>> {
        let mut client = self.client();
        let answer = self.bounded(client.find(FindRequest { what: Some(what) })).await?;
        self.revision.fetch_max(answer.revision, Ordering::Relaxed);
        let read = |bytes: &Vec<u8>| {
            machinery::json::decode_stored(bytes)
                .map_err(|error| unavailable(&format!("the shard answers what cannot be read: {error}")))
        };
        answer.objects.iter().map(read).collect()
    }

    async fn find_one(&self, what: What) -> Result<Option<Value>> {
        Ok(self.find(what).await?.pop())
    }

    async fn of_schema(&self, cluster: &Cluster, name: &str, identity: &str) -> Result<Option<Arc<ResourceDef>>> {
        let Some(schema) = self.schema(cluster, name).await? else {
            return Ok(None);
        };
        let key = (schema.uid().to_owned(), identity.to_owned());
        if let Some(known) = self.defined.lock().get(&key) {
            return Ok(Some(known.clone()));
        }
        let Some(definition) = definition_of_schema(&schema, identity) else {
            return Ok(None);
        };
        let def = self.cache.definition(&definition);
        let mut defined = self.defined.lock();
        if defined.len() >= DEFINITIONS_MAX {
            defined.clear();
        }
        defined.insert(key, def.clone());
        Ok(Some(def))
    }
}

#[async_trait]
impl Shard for RemoteShard {
    async fn export(&self, cluster: &Cluster, name: &str) -> Result<Option<Value>> {
        self.find_one(What::Export(named(cluster, name))).await
    }

    async fn exports_by_identity(&self, hash: &str) -> Result<Vec<Value>> {
        self.find(What::Identity(hash.to_owned())).await
    }

    async fn definition(&self, group: &str, resource: &str, of: &DefinitionOf) -> Result<Option<Arc<ResourceDef>>> {
        match of {
            DefinitionOf::Common => Ok(self.common.find(group, resource)),
            DefinitionOf::Schema {
                cluster,
                schema,
                identity,
            } => {
                let def = self.of_schema(cluster, schema, identity).await?;
                Ok(def.filter(|def| *def.group == *group && def.names.plural == resource))
            }
            DefinitionOf::Identity(hash) => {
                for export in self.exports_by_identity(hash).await? {
                    let Some((cluster, schema)) = exported_schema(&export, group, resource) else {
                        continue;
                    };
                    if let Some(def) = self.of_schema(&cluster, schema, hash).await? {
                        return Ok(Some(def));
                    }
                }
                Ok(None)
            }
        }
    }

    async fn bindings(&self, cluster: &Cluster) -> Result<Vec<Value>> {
        self.find(What::BindingsOf(cluster.to_string())).await
    }

    async fn schema(&self, cluster: &Cluster, name: &str) -> Result<Option<Value>> {
        self.find_one(What::Schema(named(cluster, name))).await
    }

    async fn cluster(&self, cluster: &Cluster) -> Result<Option<ClusterFacts>> {
        let Some(object) = self.logical_cluster(cluster).await? else {
            return Ok(None);
        };
        let mut index = ClusterIndex::default();
        index.apply_logical_cluster(cluster, Some(&object));
        Ok(index.cluster(cluster).cloned())
    }

    async fn logical_cluster(&self, cluster: &Cluster) -> Result<Option<Value>> {
        let found = self.find_one(What::LogicalCluster(cluster.to_string())).await?;
        Ok(found.filter(|found| found.name() == object::LOGICAL_CLUSTER))
    }

    async fn workspace_type(&self, cluster: &Cluster, name: &str) -> Result<Option<Value>> {
        self.find_one(What::WorkspaceType(named(cluster, name))).await
    }

    async fn allows(&self, user: &User, access: &Access) -> Result<bool> {
        let request = AllowsRequest {
            user: Some(delegation::sender(user)),
            cluster: access.scope.as_ref().map(Scope::to_string).unwrap_or_default(),
            verb: access.verb.clone(),
            is_path: !access.is_resource,
            path: access.path.clone(),
            group: access.group.clone(),
            version: access.version.clone(),
            resource: access.resource.clone(),
            subresource: access.subresource.clone(),
            namespace: access.namespace.clone(),
            name: access.name.clone(),
            identity: access.identity.clone().unwrap_or_default(),
            deep: access.deep,
        };
        let mut client = self.client();
        Ok(self.bounded(client.allows(request)).await?.allowed)
    }

    fn backend(&self, _: &Resolved, of: &DefinitionOf) -> Arc<dyn Backend> {
        Arc::new(Objects::new(self.upstream.clone(), of.clone()))
    }

    fn content(&self, content: ClusterContent) -> ServiceRoute {
        let flow = content.flow.clone();
        ServiceRoute::Elsewhere(Elsewhere {
            forwarder: Arc::new(Content::new(self.upstream.clone(), content)),
            flow,
        })
    }

    fn revision(&self) -> u64 {
        self.revision.load(Ordering::Relaxed)
    }
}

fn named(cluster: &Cluster, name: &str) -> Named {
    Named {
        cluster: cluster.to_string(),
        name: name.to_owned(),
    }
}

/// Clients come again soon.
pub fn unavailable(why: &str) -> Status {
    Status::service_unavailable(why).retry_after(1)
}
