//! Home workspaces: `GET workspaces/~` in root answers with a Workspace that is nowhere stored, and makes its logical
//! cluster when it is asked for first (kcp's facts, D.10).

use std::sync::Arc;

use api::keys::{cluster, group, object};
use api::types::{HomeCluster, home_workspace};
use apiserver::auth::SharedAuthorizer;
use async_trait::async_trait;
use machinery::object::{GroupResource, ObjectExt};
use machinery::options::{DeleteOptions, GetOptions, ListOptions, WriteOptions};
use machinery::status::{Result, Status};
use permit::{Access, Cluster, Scope};
use plan::ResourceRef;
use registry::{Backend, EventStream, Item, ItemList, Outcome, Patch, Request, Target};
use serde_json::Value;
use tenancy::types::{self, TypeSource};

use crate::effects::ShardEffects;
use crate::facts::{ShardFacts, logical_clusters_key};

/// The backend of Workspaces: `~` of root is answered here, everything else by the inner one.
pub struct HomeBackend {
    pub inner: Arc<dyn Backend>,
    pub facts: Arc<ShardFacts>,
    pub effects: Arc<ShardEffects>,
    pub authorizer: SharedAuthorizer,
    pub shard_name: String,
}

// === impl HomeBackend ===

impl HomeBackend {
    async fn home(&self, request: &Request) -> Result<Value> {
        let name = api::hashes::home_cluster_name(&request.user.name);
        let home = Cluster::parse(&name).map_err(Status::internal)?;
        let found = self
            .facts
            .object(&logical_clusters_key(), &home, "", object::LOGICAL_CLUSTER);
        let Some(found) = found else {
            self.require(request).await?;
            self.make(request, &home).await?;
            return Err(creating());
        };
        let made_for = found.str_at(&["spec", "createdBy", "username"]);
        if made_for.is_some_and(|name| name != request.user.name) {
            return Err(denied(request));
        }
        if found.str_at(&["status", "phase"]) != Some("Ready") {
            return Err(creating());
        }
        Ok(home_workspace(&found))
    }

    /// Who may have a home: verb create on workspaces `~` in root.
    async fn require(&self, request: &Request) -> Result<()> {
        let access = Access {
            scope: Some(Scope::One(Cluster::well_known(cluster::ROOT))),
            verb: "create".to_owned(),
            is_resource: true,
            group: group::TENANCY.to_owned(),
            version: "v1alpha1".to_owned(),
            resource: "workspaces".to_owned(),
            name: object::HOME_WORKSPACE.to_owned(),
            ..Access::default()
        };
        if self.authorizer.authorize(&request.user, &access).await.is_allowed() {
            return Ok(());
        }
        Err(denied(request))
    }

    async fn make(&self, request: &Request, home: &Cluster) -> Result<()> {
        let Some(concrete) = self.facts.workspace_type(cluster::ROOT, "home") else {
            return Err(Status::service_unavailable("workspace type root:home is not there yet"));
        };
        let aliases = types::aliases(&*self.facts, &concrete).map_err(Status::internal)?;
        let object = HomeCluster {
            user: &request.user,
            shard: &self.shard_name,
            initializers: types::initializers(&aliases),
            terminators: types::terminators(&aliases),
        };
        let of = ResourceRef::new(group::CORE, "logicalclusters").object(home, "", object::LOGICAL_CLUSTER);
        // Somebody else's request of the same user may have been first.
        self.effects
            .create(&of, object.to_value(), "kcp", Vec::new())
            .await
            .map(drop)
    }
}

fn denied(request: &Request) -> Status {
    let why = format!(
        "User {:?} cannot create resource \"workspaces\" in API group \"tenancy.kcp.io\" at the cluster scope: \
         workspace access not permitted",
        request.user.name
    );
    Status::forbidden(
        &GroupResource::new(group::TENANCY, "workspaces"),
        object::HOME_WORKSPACE,
        why,
    )
}

fn creating() -> Status {
    Status::too_many_requests("Creating the home workspace", 1)
}

#[async_trait]
impl Backend for HomeBackend {
    async fn get(&self, request: &Request, target: &Target, options: &GetOptions) -> Result<Item> {
        let in_root = request
            .permit
            .scope()
            .cluster()
            .is_some_and(|c| c.as_str() == cluster::ROOT);
        if in_root && target.name == object::HOME_WORKSPACE {
            return Ok(Item::Built(Arc::new(self.home(request).await?)));
        }
        self.inner.get(request, target, options).await
    }

    async fn list(&self, request: &Request, target: &Target, options: &ListOptions) -> Result<ItemList> {
        self.inner.list(request, target, options).await
    }

    async fn watch(&self, request: &Request, target: &Target, options: &ListOptions) -> Result<Box<dyn EventStream>> {
        self.inner.watch(request, target, options).await
    }

    async fn create(
        &self,
        request: &Request,
        target: &Target,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Outcome> {
        self.inner.create(request, target, object, options).await
    }

    async fn update(
        &self,
        request: &Request,
        target: &Target,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Outcome> {
        self.inner.update(request, target, object, options).await
    }

    async fn patch(&self, request: &Request, target: &Target, patch: Patch, options: &WriteOptions) -> Result<Outcome> {
        self.inner.patch(request, target, patch, options).await
    }

    async fn delete(&self, request: &Request, target: &Target, options: &DeleteOptions) -> Result<Outcome> {
        self.inner.delete(request, target, options).await
    }

    async fn delete_collection(
        &self,
        request: &Request,
        target: &Target,
        list: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<ItemList> {
        self.inner.delete_collection(request, target, list, options).await
    }
}
