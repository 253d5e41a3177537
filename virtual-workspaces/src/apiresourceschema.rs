//! `apiresourceschema`: the schemas of the exports that a cluster has bound, for who may read its bindings (kcp's facts, F.5).
//!
//! `/services/apiresourceschema/<consumer>[/clusters/<* or the same>]/apis/apis.kcp.io/v1alpha1/apiresourceschemas`; read
//! only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll};

use api::keys::{group, phase};
use apiserver::auth::{Authorizer, Rules};
use apiserver::{ServiceApi, ServiceRoute};
use async_trait::async_trait;
use compact_str::CompactString;
use machinery::object::ObjectExt;
use machinery::options::{DeleteOptions, GetOptions, ListOptions, WriteOptions};
use machinery::status::{Result, Status};
use machinery::user::User;
use permit::{Access, Cluster, Decision, Scope, Verb, Verbs};
use registry::{Backend, EventStream, Item, ItemList, Outcome, Patch, Request, Target, WatchEvent};
use serde_json::Value;

use crate::surface::{Nothing, Single, shown};
use crate::view::{plain_cluster, refuse_other_subresources, split_segment};
use crate::{Call, DefinitionOf, Routed, Shard, View};

/// The view `apiresourceschema`.
pub struct ApiResourceSchemas {
    shard: Arc<dyn Shard>,
}

/// Schemas of the exports bound in a cluster, which may be on other shards.
struct BoundSchemas {
    shard: Arc<dyn Shard>,
    consumer: Cluster,
}

struct ReaderOfBindings {
    shard: Arc<dyn Shard>,
    consumer: Cluster,
}

/// Ends at once.
struct Ended {
    revision: u64,
}

const READ_ONLY: [Verb; 3] = [Verb::Get, Verb::List, Verb::Watch];

// === impl ApiResourceSchemas ===

impl ApiResourceSchemas {
    pub fn new(shard: Arc<dyn Shard>) -> Self {
        Self { shard }
    }
}

#[async_trait]
impl View for ApiResourceSchemas {
    fn name(&self) -> &'static str {
        "apiresourceschema"
    }

    async fn route(&self, call: &Call<'_>) -> Routed {
        let Some((consumer, below)) = split_consumer(call.rest) else {
            return Ok(ServiceRoute::Unknown);
        };
        let scope = Scope::One(consumer.clone());
        if let Err(refusal) = refuse_other_subresources(&call.info(below)?) {
            return match may_read_bindings(&*self.shard, call.user, &consumer).await? {
                true => Err(refusal),
                false => Ok(call.denied(scope, below)),
            };
        }
        let common = DefinitionOf::Common;
        let Some(def) = self
            .shard
            .definition(group::APIS, "apiresourceschemas", &common)
            .await?
        else {
            return Ok(call.denied(scope, below));
        };
        let (shard, flow) = (&self.shard, CompactString::from(consumer.as_str()));
        let backend = BoundSchemas {
            shard: shard.clone(),
            consumer: consumer.clone(),
        };
        let surface = Single {
            shown: shown(&def, Verbs::of(&READ_ONLY), false),
            def,
            backend: Arc::new(backend),
        };
        Ok(ServiceRoute::Api(Box::new(ServiceApi {
            surface: Arc::new(surface),
            scope,
            path: below.to_owned(),
            authorizer: Some(Arc::new(ReaderOfBindings {
                shard: shard.clone(),
                consumer,
            })),
            user: None,
            flow,
        })))
    }
}

/// The consumer, and the path within the API. Clients that think in clusters add one, which must be the same or `*`.
fn split_consumer(rest: &str) -> Option<(Cluster, &str)> {
    let (name, _) = split_segment(rest)?;
    let consumer = plain_cluster(name)?;
    let below = rest.get(name.len()..).filter(|below| !below.is_empty()).unwrap_or("/");
    let Some(inner) = below.strip_prefix("/clusters/") else {
        return Some((consumer, below));
    };
    let (segment, below) = match inner.find('/') {
        Some(at) => inner.split_at(at),
        None => (inner, "/"),
    };
    (segment == "*" || segment == name).then_some((consumer, below))
}

async fn may_read_bindings(shard: &dyn Shard, user: &User, consumer: &Cluster) -> Result<bool> {
    let needed = Access {
        scope: Some(Scope::One(consumer.clone())),
        verb: Verb::Get.as_str().to_owned(),
        is_resource: true,
        group: group::APIS.to_owned(),
        version: "v1alpha2".to_owned(),
        resource: "apibindings".to_owned(),
        deep: true,
        ..Access::default()
    };
    shard.allows(user, &needed).await
}

// === impl ReaderOfBindings ===

#[async_trait]
impl Authorizer for ReaderOfBindings {
    async fn authorize(&self, user: &User, access: &Access) -> Decision {
        if !READ_ONLY.iter().any(|verb| verb.as_str() == access.verb) {
            return Decision::deny("only read-only access is allowed to apiresourceschemas");
        }
        match may_read_bindings(&*self.shard, user, &self.consumer).await {
            Ok(true) => Decision::allow(""),
            Ok(false) => Decision::no_opinion("no permission to read apibindings of the consumer"),
            Err(status) => Decision::Unavailable { reason: status.message },
        }
    }

    async fn rules(&self, _: &User, _: &Scope, _: &str) -> Rules {
        Rules::default()
    }
}

// === impl BoundSchemas ===

impl BoundSchemas {
    /// Names of schemas, with the cluster that each is in. kcp: of two exports with a schema of one name one is shown.
    async fn names(&self) -> Result<BTreeMap<String, Cluster>> {
        let mut names = BTreeMap::new();
        for binding in self.shard.bindings(&self.consumer).await? {
            let is_bound = binding.str_at(&["status", "phase"]) == Some(phase::binding::BOUND);
            let cluster = binding
                .str_at(&["status", "apiExportClusterName"])
                .and_then(|name| Cluster::parse(name).ok());
            let export = binding.str_at(&["spec", "reference", "export", "name"]);
            let (true, Some(cluster), Some(export)) = (is_bound, cluster, export) else {
                continue;
            };
            let Some(export) = self.shard.export(&cluster, export).await? else {
                continue;
            };
            let resources = export
                .at(&["spec", "resources"])
                .and_then(Value::as_array)
                .into_iter()
                .flatten();
            let schemas = resources.filter_map(|resource| resource.str_at(&["schema"]));
            names.extend(schemas.map(|schema| (schema.to_owned(), cluster.clone())));
        }
        Ok(names)
    }
}

fn matches(schema: &Value, options: &ListOptions) -> bool {
    let field = |path: &str| (path == "metadata.name").then(|| schema.name().into());
    options.label_selector.matches(|key| schema.label(key)) && options.field_selector.matches(field)
}

#[async_trait]
impl Backend for BoundSchemas {
    async fn get(&self, _: &Request, target: &Target, _: &GetOptions) -> Result<Item> {
        let found = match self.names().await?.get(&target.name) {
            Some(cluster) => self.shard.schema(cluster, &target.name).await?,
            None => None,
        };
        let missing = || Status::not_found(&target.resolved.def.group_resource(), &target.name);
        found.map(|schema| Item::Built(Arc::new(schema))).ok_or_else(missing)
    }

    /// Sorted by name, whole: there is no token by which it could go on.
    async fn list(&self, _: &Request, _: &Target, options: &ListOptions) -> Result<ItemList> {
        options
            .field_selector
            .check_supported(&["metadata.name", "metadata.namespace"])?;
        let mut items = Vec::new();
        for (name, cluster) in self.names().await? {
            let schema = self.shard.schema(&cluster, &name).await?;
            let shown = schema.filter(|schema| matches(schema, options));
            items.extend(shown.map(|schema| Item::Built(Arc::new(schema))));
        }
        Ok(ItemList {
            items,
            revision: self.shard.revision(),
            continue_token: None,
            remaining: None,
        })
    }

    /// kcp: an empty stream. Schemas do not change, and clients list again.
    async fn watch(&self, _: &Request, _: &Target, _: &ListOptions) -> Result<Box<dyn EventStream>> {
        Ok(Box::new(Ended {
            revision: self.shard.revision(),
        }))
    }

    async fn create(
        &self,
        request: &Request,
        target: &Target,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Outcome> {
        Nothing.create(request, target, object, options).await
    }

    async fn update(
        &self,
        request: &Request,
        target: &Target,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Outcome> {
        Nothing.update(request, target, object, options).await
    }

    async fn patch(&self, request: &Request, target: &Target, patch: Patch, options: &WriteOptions) -> Result<Outcome> {
        Nothing.patch(request, target, patch, options).await
    }

    async fn delete(&self, request: &Request, target: &Target, options: &DeleteOptions) -> Result<Outcome> {
        Nothing.delete(request, target, options).await
    }

    async fn delete_collection(
        &self,
        request: &Request,
        target: &Target,
        list: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<ItemList> {
        Nothing.delete_collection(request, target, list, options).await
    }
}

// === impl Ended ===

impl EventStream for Ended {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<WatchEvent>> {
        Poll::Ready(None)
    }

    fn revision(&mut self) -> u64 {
        self.revision
    }
}

#[cfg(test)]
mod tests;
