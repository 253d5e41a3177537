//! The APIs of one shard's clusters, or of all shards', over what is kept.

use std::sync::Arc;

use async_trait::async_trait;
use fabric::Replicas;
use machinery::options::{DeleteOptions, GetOptions, ListOptions, WriteOptions};
use machinery::status::{Result, Status};
use permit::Scope;
use registry::{
    Backend, EventStream, Item, ItemList, Outcome, Patch, Registry, Request, Resolved, ResourceDef, Surface, Target,
};
use serde_json::Value;

use crate::definitions::Kept;

/// What is kept, as one.
pub struct Cache {
    pub resources: Vec<Kept>,
    pub objects: Registry,
    pub replicas: Arc<Replicas>,
}

/// The part that a path means.
#[derive(Clone)]
pub struct Part {
    cache: Arc<Cache>,
    /// `None`: of all shards.
    shard: Option<String>,
}

// === impl Cache ===

impl Cache {
    fn find(&self, group: &str, resource: &str) -> Option<&Kept> {
        let is_it = |kept: &&Kept| *kept.shown.group == *group && kept.shown.names.plural == resource;
        self.resources.iter().find(is_it)
    }
}

// === impl Part ===

impl Part {
    pub fn new(cache: &Arc<Cache>, shard: Option<&str>) -> Self {
        Self {
            cache: cache.clone(),
            shard: shard.map(str::to_owned),
        }
    }

    /// A shard's objects are those of a namespace; all shards' those of all namespaces.
    fn stored(&self, target: &Target, shard: &str) -> Result<Target> {
        let shown = &target.resolved.def;
        let kept = self.cache.find(&shown.group, &shown.names.plural);
        let kept = kept.ok_or_else(Status::no_such_resource)?;
        Ok(Target {
            resolved: Resolved {
                def: kept.stored.clone(),
                version: target.resolved.version,
            },
            subresource: target.subresource,
            namespace: shard.to_owned(),
            name: target.name.clone(),
        })
    }

    fn shard(&self) -> &str {
        self.shard.as_deref().unwrap_or_default()
    }
}

impl Surface for Part {
    fn resolve(
        &self,
        _: &Scope,
        group: &str,
        version: &str,
        resource: &str,
        identity: Option<&str>,
    ) -> Result<Option<Resolved>> {
        let kept = self.cache.find(group, resource).filter(|_| identity.is_none());
        Ok(kept.and_then(|kept| {
            Some(Resolved {
                version: kept.shown.served_version(version)?,
                def: kept.shown.clone(),
            })
        }))
    }

    fn resources(&self, _: &Scope) -> Vec<Arc<ResourceDef>> {
        self.cache.resources.iter().map(|kept| kept.shown.clone()).collect()
    }

    fn backend(&self, _: &Resolved) -> Arc<dyn Backend> {
        Arc::new(self.clone())
    }

    fn content_key(&self, _: &Scope) -> [u8; 32] {
        // Nothing is added or taken away while the process runs.
        [0; 32]
    }
}

#[async_trait]
impl Backend for Part {
    async fn get(&self, request: &Request, target: &Target, options: &GetOptions) -> Result<Item> {
        let objects = &self.cache.objects;
        if let Some(shard) = &self.shard {
            return objects.get(request, &self.stored(target, shard)?, options).await;
        }
        // A cluster is on one shard; the others have nothing of this name.
        let mut missing = Status::not_found(&target.resolved.def.group_resource(), &target.name);
        for shard in self.cache.replicas.origins() {
            match objects.get(request, &self.stored(target, &shard)?, options).await {
                Err(status) if status.is_not_found() => missing = status,
                found => return found,
            }
        }
        Err(missing)
    }

    async fn list(&self, request: &Request, target: &Target, options: &ListOptions) -> Result<ItemList> {
        let target = self.stored(target, self.shard())?;
        self.cache.objects.list(request, &target, options).await
    }

    async fn watch(&self, request: &Request, target: &Target, options: &ListOptions) -> Result<Box<dyn EventStream>> {
        let target = self.stored(target, self.shard())?;
        self.cache.objects.watch(request, &target, options).await
    }

    async fn create(&self, _: &Request, target: &Target, _: Value, _: &WriteOptions) -> Result<Outcome> {
        Err(read_only(target, "create"))
    }

    async fn update(&self, _: &Request, target: &Target, _: Value, _: &WriteOptions) -> Result<Outcome> {
        Err(read_only(target, "update"))
    }

    async fn patch(&self, _: &Request, target: &Target, _: Patch, _: &WriteOptions) -> Result<Outcome> {
        Err(read_only(target, "patch"))
    }

    async fn delete(&self, _: &Request, target: &Target, _: &DeleteOptions) -> Result<Outcome> {
        Err(read_only(target, "delete"))
    }

    async fn delete_collection(
        &self,
        _: &Request,
        target: &Target,
        _: &ListOptions,
        _: &DeleteOptions,
    ) -> Result<ItemList> {
        Err(read_only(target, "deletecollection"))
    }
}

/// Shards write, over the fabric.
fn read_only(target: &Target, verb: &str) -> Status {
    Status::method_not_allowed(&target.resolved.def.group_resource(), verb)
}
