//! Carries controllers' effects out as writes through the registry, as the server itself.

use std::sync::Arc;

use api::keys::identity;
use async_trait::async_trait;
use controller::{Effects, Fetched, Lease, Remote};
use machinery::object::ObjectExt;
use machinery::options::{DeleteOptions, WriteOptions};
use machinery::status::{Result, Status};
use machinery::user::{MASTERS, User};
use parking_lot::Mutex;
use permit::{Permit, Scope};
use plan::{Effect, ObjectRef};
use registry::{Backend, Patch, Registry, Request, Resolved, Subresource, Target};
use serde_json::{Value, json};
use storage::{Change, FenceAction, ObjectKey, StorageError, Write};

use crate::catalog::ShardCatalog;

pub struct ShardEffects {
    registry: Registry,
    catalog: Arc<ShardCatalog>,
    user: Arc<User>,
}

/// Who writes: trusted, with everything within one cluster.
pub fn system_request(permit: Permit, user: Arc<User>, agent: &str, guards: Vec<kv::Guard>) -> Request {
    Request {
        permit,
        user,
        agent: agent.to_owned(),
        warnings: Mutex::default(),
        duplicates: Vec::new(),
        guards,
        trusted: true,
        deep: false,
    }
}

// === impl ShardEffects ===

impl ShardEffects {
    pub fn new(registry: Registry, catalog: Arc<ShardCatalog>) -> Arc<Self> {
        let user = Arc::new(User::new(identity::BOOTSTRAPPER, &[MASTERS]));
        Arc::new(Self {
            registry,
            catalog,
            user,
        })
    }

    fn target(&self, of: &ObjectRef, subresource: Subresource) -> Result<Target> {
        let Some(def) = self.catalog.definition(&of.resource, &of.cluster) else {
            return Err(Status::service_unavailable(format!(
                "{} is not served here",
                of.resource.group_resource()
            )));
        };
        let version = def.storage_version;
        let (namespace, name) = (of.namespace.clone(), of.name.clone());
        Ok(Target {
            resolved: Resolved { def, version },
            subresource,
            namespace,
            name,
        })
    }

    fn request(&self, of: &ObjectRef, controller: &str, guards: Vec<kv::Guard>) -> Request {
        system_request(
            Permit::internal(Scope::One(of.cluster.clone())),
            self.user.clone(),
            controller,
            guards,
        )
    }

    /// Creates an object; `Ok(false)` if it is there already.
    pub async fn create(&self, of: &ObjectRef, object: Value, manager: &str, guards: Vec<kv::Guard>) -> Result<bool> {
        let target = Target {
            name: String::new(),
            ..self.target(of, Subresource::Main)?
        };
        let request = self.request(of, manager, guards);
        match self
            .registry
            .create(&request, &target, object, &WriteOptions::default())
            .await
        {
            Ok(_) => Ok(true),
            Err(status) if status.is_already_exists() => Ok(false),
            Err(status) => Err(status),
        }
    }

    /// Replaces an object, status included.
    pub async fn replace(&self, of: &ObjectRef, object: Value, manager: &str, guards: Vec<kv::Guard>) -> Result<()> {
        let target = self.target(of, Subresource::Whole)?;
        let request = self.request(of, manager, guards);
        self.registry
            .update(&request, &target, object, &WriteOptions::default())
            .await
            .map(drop)
    }

    async fn delete(
        &self,
        of: &ObjectRef,
        uid: &str,
        version: Option<&str>,
        manager: &str,
        guards: Vec<kv::Guard>,
    ) -> Result<()> {
        let target = self.target(of, Subresource::Main)?;
        let request = self.request(of, manager, guards);
        let mut body = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"});
        if !uid.is_empty() {
            body.set_at(&["preconditions", "uid"], json!(uid));
        }
        if let Some(version) = version {
            body.set_at(&["preconditions", "resourceVersion"], json!(version));
        }
        let options = DeleteOptions::parse(machinery::options::Query(&[]), Some(&body))?;
        match self.registry.delete(&request, &target, &options).await {
            Err(status) if status.is_not_found() => Ok(()),
            // Another object of that name: ours is gone.
            Err(status) if status.is_conflict() && version.is_none() => Ok(()),
            other => other.map(drop),
        }
    }

    /// Removes what a closed cluster left behind.
    async fn purge(&self, of: &ObjectRef, guards: Vec<kv::Guard>) -> Result<()> {
        let Some(resource) = controller::Catalog::store_key(&*self.catalog, &of.resource) else {
            return Ok(());
        };
        let permit = Permit::internal(Scope::One(of.cluster.clone()));
        let key = ObjectKey::new(of.cluster.clone(), &of.namespace, &of.name);
        let Some(entry) = self.registry.store().peek(&permit, &resource, &key) else {
            return Ok(());
        };
        let change = Change::Delete {
            expected: entry.revision(),
        };
        let write = Write {
            key,
            change,
            fence: FenceAction::Closed,
            guards,
            ttl: None,
        };
        match self.registry.store().write(&permit, &resource, write).await {
            // The cluster lives again under this name: the object is its new owner's.
            Ok(_) | Err(StorageError::Fenced | StorageError::NotFound) => Ok(()),
            Err(error) => Err(Status::internal(error)),
        }
    }
}

#[async_trait]
impl Effects for ShardEffects {
    async fn carry_out(&self, controller: &'static str, effect: &Effect, lease: &Lease) -> Result<()> {
        let Some(guard) = lease.guard() else {
            return Err(Status::service_unavailable("the controllers' lease is lost"));
        };
        let guards = vec![guard];
        match effect {
            Effect::Create { of, object, adopt } => {
                let created = self.create(of, object.clone(), controller, guards).await?;
                if created || *adopt {
                    return Ok(());
                }
                Err(Status::already_exists(&of.resource.group_resource(), &of.name))
            }
            Effect::Update { of, object } => match self.replace(of, object.clone(), controller, guards).await {
                // Gone meanwhile: the next run sees it.
                Err(status) if status.is_not_found() => Ok(()),
                other => other,
            },
            Effect::Delete {
                of,
                uid,
                resource_version,
            } => {
                self.delete(of, uid, resource_version.as_deref(), controller, guards)
                    .await
            }
            Effect::Touch { of } => {
                let target = self.target(of, Subresource::Main)?;
                let request = self.request(of, controller, guards);
                let patch = Patch::Merge(json!({}));
                match self
                    .registry
                    .patch(&request, &target, patch, &WriteOptions::default())
                    .await
                {
                    Err(status) if status.is_not_found() => Ok(()),
                    other => other.map(drop),
                }
            }
            Effect::Purge { of } => self.purge(of, guards).await,
            Effect::Disconnect { cluster } => {
                self.registry.store().disconnect(cluster);
                Ok(())
            }
        }
    }
}

/// Without other shards nothing is anywhere else.
pub struct NoRemote;

#[async_trait]
impl Remote for NoRemote {
    async fn fetch(&self, _: &ObjectRef) -> Result<Fetched> {
        Ok(Fetched::Absent)
    }
}
