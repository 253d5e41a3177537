//! The objects of an export's view: the shard's own, with what a claim asks for on the way in.

use std::sync::Arc;

use api::keys::group;
use async_trait::async_trait;
use machinery::object::GroupResource;
use machinery::options::{DeleteOptions, GetOptions, ListOptions, WriteOptions};
use machinery::status::{Reason, Result, Status};
use permit::Scope;
use registry::{Backend, EventStream, Item, ItemList, Outcome, Patch, Request, Subresource, Target};
use serde_json::Value;
use tenancy::claims::{ClaimKey, accepted, in_force};

use super::claim::Accepted;
use super::export::{Claim, Export, is_review};
use crate::Shard;

pub(super) struct Content {
    pub inner: Arc<dyn Backend>,
    pub shard: Arc<dyn Shard>,
    pub export: Arc<Export>,
    /// The export's, for a claimed resource.
    pub claim: Option<Claim>,
}

// === impl Content ===

impl Content {
    /// Marked clusters are closed to everybody, on every way in (kcp's facts, D.12).
    async fn check_open(&self, request: &Request) -> Result<()> {
        let Scope::One(cluster) = request.permit.scope() else {
            return Ok(());
        };
        if !self.shard.cluster(cluster).await?.is_some_and(|facts| facts.inactive) {
            return Ok(());
        }
        let of = GroupResource::new(group::CORE, "logicalclusters");
        Err(Status::forbidden(
            &of,
            cluster.as_str(),
            "logical cluster is marked inactive",
        ))
    }

    /// kcp: over all clusters there is no namespace, which is another in each of them.
    async fn check_collection(&self, request: &Request, target: &Target) -> Result<()> {
        self.check_open(request).await?;
        if *request.permit.scope() != Scope::All || target.namespace.is_empty() {
            return Ok(());
        }
        let namespace = &target.namespace;
        let rule = "cross-cluster LIST and WATCH are required to be cross-namespace";
        let text = format!("{rule}, not scoped to namespace {namespace}");
        Err(Status::new(400, Reason::Unknown, text))
    }

    /// The consumer's side of the claim that a write comes by.
    async fn accepted(&self, request: &Request, target: &Target) -> Result<Option<Accepted>> {
        let (Some(claim), Scope::One(cluster)) = (&self.claim, request.permit.scope()) else {
            return Ok(None);
        };
        let def = &target.resolved.def;
        if target.subresource != Subresource::Main || is_review(&def.group) {
            return Ok(None);
        }
        let of = def.group_resource();
        let missing = |why: &str| Status::forbidden(&of, &target.name, why);
        let binding = self.export.binding_in(&*self.shard, cluster).await?;
        let binding = binding.ok_or_else(|| missing("could not find suitable apibinding in target logical cluster"))?;
        let theirs = accepted(&binding).find(|theirs| ClaimKey::read(theirs) == claim.key);
        let theirs = theirs.ok_or_else(|| missing("the permission claim is not accepted"))?;
        // Until the binding has seen the claim in the export nothing is labelled by it, and nothing could be read back.
        if !in_force(&binding)
            .iter()
            .any(|theirs| ClaimKey::read(theirs) == claim.key)
        {
            return Err(missing("the permission claim is not applied yet"));
        }
        Ok(Some(Accepted {
            of,
            claim: theirs.clone(),
        }))
    }
}

#[async_trait]
impl Backend for Content {
    async fn get(&self, request: &Request, target: &Target, options: &GetOptions) -> Result<Item> {
        self.check_open(request).await?;
        self.inner.get(request, target, options).await
    }

    async fn list(&self, request: &Request, target: &Target, options: &ListOptions) -> Result<ItemList> {
        self.check_collection(request, target).await?;
        self.inner.list(request, target, options).await
    }

    async fn watch(&self, request: &Request, target: &Target, options: &ListOptions) -> Result<Box<dyn EventStream>> {
        self.check_collection(request, target).await?;
        self.inner.watch(request, target, options).await
    }

    async fn create(
        &self,
        request: &Request,
        target: &Target,
        mut object: Value,
        options: &WriteOptions,
    ) -> Result<Outcome> {
        self.check_open(request).await?;
        if let Some(accepted) = self.accepted(request, target).await? {
            accepted.fit(&mut object)?;
        }
        self.inner.create(request, target, object, options).await
    }

    async fn update(
        &self,
        request: &Request,
        target: &Target,
        mut object: Value,
        options: &WriteOptions,
    ) -> Result<Outcome> {
        self.check_open(request).await?;
        if let Some(accepted) = self.accepted(request, target).await? {
            accepted.fit(&mut object)?;
        }
        self.inner.update(request, target, object, options).await
    }

    async fn patch(
        &self,
        request: &Request,
        target: &Target,
        mut patch: Patch,
        options: &WriteOptions,
    ) -> Result<Outcome> {
        self.check_open(request).await?;
        if let Some(accepted) = self.accepted(request, target).await? {
            patch = accepted.fit_patch(patch, &target.name)?;
        }
        self.inner.patch(request, target, patch, options).await
    }

    async fn delete(&self, request: &Request, target: &Target, options: &DeleteOptions) -> Result<Outcome> {
        self.check_open(request).await?;
        self.inner.delete(request, target, options).await
    }

    async fn delete_collection(
        &self,
        request: &Request,
        target: &Target,
        list: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<ItemList> {
        self.check_collection(request, target).await?;
        self.inner.delete_collection(request, target, list, options).await
    }
}
