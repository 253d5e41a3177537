//! [`Registry`]: the pipelines that every object of every resource goes through, over `storage`.
//!
//! One operation a file: `create`, `update` (PUT and all patches), `delete`, `read`, `watch`, `scale`. What they share:
//! [`operation`] (who does what, and the steps with admission and validation), [`decode`] (a body is made fit its
//! schema), [`meta`] (the members of metadata that the server sets), [`rescue`] (the store's errors in Kubernetes' words).

mod change;
mod create;
mod decode;
mod delete;
mod fields;
mod meta;
mod operation;
mod read;
mod rescue;
mod scale;
mod together;
mod update;
mod watch;

use std::sync::Arc;

use async_trait::async_trait;
use env::Env;
use machinery::options::{DeleteOptions, GetOptions, ListOptions, WriteOptions};
use machinery::status::Result;
use serde_json::Value;
use storage::Store;
use tokio::sync::Semaphore;

use crate::{AdmissionChain, Backend, EventStream, Item, ItemList, Outcome, Patch, Request, Subresource, Target};

pub use together::{Step, Together};

#[cfg(test)]
mod tests;

/// Objects over storage. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    store: Store,
    env: Env,
    admission: AdmissionChain,
    /// Turns of deletions of collections.
    collections: Arc<Semaphore>,
}

// === impl Registry ===

impl Registry {
    pub fn new(store: Store, env: Env, admission: AdmissionChain) -> Self {
        Self {
            store,
            env,
            admission,
            collections: Arc::new(Semaphore::new(delete::COLLECTIONS_WIDTH)),
        }
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Time as metadata holds it.
    fn now(&self) -> String {
        machinery::time::format_seconds(self.env.clock.now().as_nanos().into())
    }
}

// === impl Backend for Registry ===

#[async_trait]
impl Backend for Registry {
    async fn get(&self, request: &Request, target: &Target, options: &GetOptions) -> Result<Item> {
        let item = self.read_one(request, target, options).await?;
        match target.subresource {
            Subresource::Scale => scale::of_item(&item, target),
            _ => Ok(item),
        }
    }

    async fn list(&self, request: &Request, target: &Target, options: &ListOptions) -> Result<ItemList> {
        self.read_list(request, target, options).await
    }

    async fn watch(&self, request: &Request, target: &Target, options: &ListOptions) -> Result<Box<dyn EventStream>> {
        self.begin_watch(request, target, options).await
    }

    async fn create(
        &self,
        request: &Request,
        target: &Target,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Outcome> {
        self.create_object(request, target, object, options).await
    }

    async fn update(
        &self,
        request: &Request,
        target: &Target,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Outcome> {
        self.update_object(request, target, change::Change::Put(object), options)
            .await
    }

    async fn patch(&self, request: &Request, target: &Target, patch: Patch, options: &WriteOptions) -> Result<Outcome> {
        let change = change::Change::of_patch(patch, target)?;
        self.update_object(request, target, change, options).await
    }

    async fn delete(&self, request: &Request, target: &Target, options: &DeleteOptions) -> Result<Outcome> {
        self.delete_object(request, target, options).await
    }

    async fn delete_collection(
        &self,
        request: &Request,
        target: &Target,
        list: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<ItemList> {
        self.delete_objects(request, target, list, options).await
    }
}
