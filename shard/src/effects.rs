//! Carries controllers' effects out as writes through the registry, as the server itself.

use std::sync::Arc;

use api::keys::identity;
use async_trait::async_trait;
use controller::Effects;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use kv::Guard;
use machinery::object::ObjectExt;
use machinery::options::{DeleteOptions, WriteOptions};
use machinery::status::{Result, Status};
use machinery::user::{MASTERS, User};
use parking_lot::Mutex;
use permit::{Permit, Scope};
use plan::{Effect, ObjectRef};
use registry::{Backend, Patch, Registry, Request, Resolved, Step, Subresource, Target, Together};
use serde_json::{Value, json};
use storage::{Change, FenceAction, ObjectKey, ResourceKey, StorageError, Write};

use crate::catalog::ShardCatalog;

/// Transactions of one plan's deletions that are under way at a time.
const CROWD_WIDTH: usize = 8;

pub struct ShardEffects {
    registry: Registry,
    catalog: Arc<ShardCatalog>,
    user: Arc<User>,
}

fn delete_options(uid: &str, version: Option<&str>, policy: Option<&str>) -> Result<DeleteOptions> {
    let mut body = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
    if let Some(policy) = policy {
        body.set_at(&["propagationPolicy"], json!(policy));
    }
    if !uid.is_empty() {
        body.set_at(&["preconditions", "uid"], json!(uid));
    }
    if let Some(version) = version {
        body.set_at(&["preconditions", "resourceVersion"], json!(version));
    }
    DeleteOptions::parse(machinery::options::Query(&[]), Some(&body))
}

/// What is deleted, and how. `None`: the effect deletes nothing.
fn deletion(effect: &Effect) -> Result<Option<(&ObjectRef, DeleteOptions)>> {
    let (of, uid, version, policy) = match effect {
        Effect::Delete {
            of,
            uid,
            resource_version,
        } => (of, uid, resource_version, Some("Background")),
        Effect::Collect {
            of,
            uid,
            resource_version,
        } => (of, uid, resource_version, None),
        _ => return Ok(None),
    };
    Ok(Some((of, delete_options(uid, version.as_deref(), policy)?)))
}

/// Who writes: trusted, with everything within one cluster.
pub fn system_request(permit: Permit, user: Arc<User>, agent: &str, guards: Vec<Guard>) -> Request {
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

    /// Of an object that is to be. Whole: what a plan says of the status is part of it.
    fn new_target(&self, of: &ObjectRef) -> Result<Target> {
        Ok(Target {
            name: String::new(),
            ..self.target(of, Subresource::Whole)?
        })
    }

    fn request(&self, of: &ObjectRef, controller: &str, guards: Vec<Guard>) -> Request {
        system_request(
            Permit::internal(Scope::One(of.cluster.clone())),
            self.user.clone(),
            controller,
            guards,
        )
    }

    /// Creates an object; `Ok(false)` if it is there already.
    pub async fn create(&self, of: &ObjectRef, object: Value, manager: &str, guards: Vec<Guard>) -> Result<bool> {
        let target = self.new_target(of)?;
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
    pub async fn replace(&self, of: &ObjectRef, object: Value, manager: &str, guards: Vec<Guard>) -> Result<()> {
        let target = self.target(of, Subresource::Whole)?;
        let request = self.request(of, manager, guards);
        self.registry
            .update(&request, &target, object, &WriteOptions::default())
            .await
            .map(drop)
    }

    /// Of either kind of deletion.
    async fn delete(&self, effect: &Effect, manager: &str, guards: Vec<Guard>) -> Result<()> {
        let Some((of, options)) = deletion(effect)? else {
            return Ok(());
        };
        let target = self.target(of, Subresource::Main)?;
        let request = self.request(of, manager, guards);
        match self.registry.delete(&request, &target, &options).await {
            Err(status) if status.is_not_found() => Ok(()),
            // Another object of that name: ours is gone.
            Err(status) if status.is_conflict() && options.preconditions.resource_version.is_none() => Ok(()),
            other => other.map(drop),
        }
    }

    /// Removes what a closed cluster left behind.
    async fn purge(&self, of: &ObjectRef, guards: Vec<Guard>) -> Result<()> {
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

impl ShardEffects {
    /// What takes an object away. `None`: its resource is not known, or has no such object.
    fn removal(&self, of: &ObjectRef, version: &str, guards: &[kv::Guard]) -> Result<Option<(ResourceKey, Write)>> {
        let Some(resource) = controller::Catalog::store_key(&*self.catalog, &of.resource) else {
            return Ok(None);
        };
        let expected = version.parse().map_err(Status::internal)?;
        // The end of a LogicalCluster is that of its cluster: from then on nobody writes there.
        let ends_cluster = of.resource == controllers::refs::logical_clusters();
        let write = Write {
            key: ObjectKey::new(of.cluster.clone(), &of.namespace, &of.name),
            change: Change::Delete { expected },
            fence: if ends_cluster {
                FenceAction::Close
            } else {
                FenceAction::Hold
            },
            guards: guards.to_vec(),
            ttl: None,
        };
        Ok(Some((resource, write)))
    }

    /// One object a resource, of one cluster, in one transaction if none of them changed.
    async fn remove_together(&self, effects: &[Effect], guards: &[kv::Guard]) -> Result<Together> {
        let mut writes = Vec::with_capacity(effects.len());
        let mut permit = None;
        for effect in effects {
            let Effect::Remove { of, resource_version } = effect else {
                return Ok(Together::Apart);
            };
            permit.get_or_insert_with(|| Permit::internal(Scope::One(of.cluster.clone())));
            writes.extend(self.removal(of, resource_version, guards)?);
        }
        let Some(permit) = permit.filter(|_| !writes.is_empty()) else {
            return Ok(Together::Written);
        };
        match self.registry.store().write_together(&permit, writes).await {
            Ok(_) => Ok(Together::Written),
            Err(error) if is_refusal(&error) => Ok(Together::Apart),
            Err(error) => Err(Status::service_unavailable(error.to_string()).retry_after(1)),
        }
    }

    async fn remove(&self, of: &ObjectRef, version: &str, guards: &[kv::Guard]) -> Result<()> {
        let Some((resource, write)) = self.removal(of, version, guards)? else {
            return Ok(());
        };
        let permit = Permit::internal(Scope::One(of.cluster.clone()));
        match self.registry.store().write(&permit, &resource, write).await {
            // The cluster has ended: what is left is swept up.
            Ok(_) | Err(StorageError::NotFound | StorageError::Fenced) => Ok(()),
            Err(StorageError::Conflict) => Err(Status::modified(&of.resource.group_resource(), &of.name)),
            Err(error) => Err(Status::service_unavailable(error.to_string()).retry_after(1)),
        }
    }

    async fn carry_out_together(
        &self,
        controller: &'static str,
        effects: &[Effect],
        guards: &[Guard],
    ) -> Result<Together> {
        let mut steps = Vec::with_capacity(effects.len());
        let mut request = None;
        for effect in effects {
            let of = match effect {
                Effect::Create { of, object, .. } => {
                    steps.push(Step::Create(self.new_target(of)?, object.clone()));
                    of
                }
                Effect::Update { of, object } => {
                    steps.push(Step::Update(self.target(of, Subresource::Whole)?, object.clone()));
                    of
                }
                Effect::Delete { .. } | Effect::Collect { .. } => {
                    let Some((of, options)) = deletion(effect)? else {
                        continue;
                    };
                    steps.push(Step::Delete(self.target(of, Subresource::Main)?, options));
                    of
                }
                Effect::Remove { .. } => return self.remove_together(effects, guards).await,
                Effect::Touch { .. } | Effect::Purge { .. } => return Ok(Together::Apart),
            };
            request.get_or_insert_with(|| self.request(of, controller, guards.to_vec()));
        }
        match request {
            Some(request) => self.registry.write_together(&request, steps).await,
            None => Ok(Together::Written),
        }
    }

    async fn carry_out_one(&self, controller: &'static str, effect: &Effect, guards: Vec<Guard>) -> Result<()> {
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
            Effect::Delete { .. } | Effect::Collect { .. } => self.delete(effect, controller, guards).await,
            Effect::Touch { of } => {
                let target = self.target(of, Subresource::Main)?;
                self.touch(controller, of, &target, guards).await
            }
            Effect::Remove { of, resource_version } => self.remove(of, resource_version, &guards).await,
            Effect::Purge { of } => self.purge(of, guards).await,
        }
    }
}

impl ShardEffects {
    async fn touch(&self, controller: &'static str, of: &ObjectRef, target: &Target, guards: Vec<Guard>) -> Result<()> {
        let request = self.request(of, controller, guards);
        let (patch, options) = (Patch::Merge(json!({})), WriteOptions::default());
        match self.registry.patch(&request, target, patch, &options).await {
            Err(status) if status.is_not_found() => Ok(()),
            other => other.map(drop),
        }
    }

    /// None of them waits for another: an object that cannot be written as it is (what admission adds may make it too large)
    /// fails the run, but only after those behind it had their turn. Without a store the rest is for the next run.
    async fn touch_all(&self, controller: &'static str, touches: &[Effect], tenure: &Guard) -> Result<()> {
        let mut outcome = Ok(());
        for effect in touches {
            let Effect::Touch { of } = effect else { continue };
            let one = match self.target(of, Subresource::Main) {
                Ok(target) => self.touch(controller, of, &target, vec![tenure.clone()]).await,
                // Of this resource alone.
                Err(status) => {
                    outcome = outcome.and(Err(status));
                    continue;
                }
            };
            let is_over = matches!(&one, Err(status) if matches!(status.code, 503 | 504));
            outcome = outcome.and(one);
            if is_over {
                break;
            }
        }
        outcome
    }

    /// Effects that may share a transaction.
    async fn carry_out_neighbours(&self, controller: &'static str, now: &[Effect], tenure: &Guard) -> Result<()> {
        let guards = vec![tenure.clone()];
        if now.len() > 1 && self.carry_out_together(controller, now, &guards).await? == Together::Written {
            return Ok(());
        }
        for effect in now {
            self.carry_out_one(controller, effect, guards.clone()).await?;
        }
        Ok(())
    }

    /// Deletions that need not wait for each other, many at a time. After a failure none is begun any more.
    async fn carry_out_crowd(&self, controller: &'static str, crowd: &[Effect], tenure: &Guard) -> Result<()> {
        let (mut groups, mut under_way, mut outcome) = (groups(crowd), FuturesUnordered::new(), Ok(()));
        loop {
            while outcome.is_ok() && under_way.len() < CROWD_WIDTH {
                let Some(group) = groups.next() else { break };
                under_way.push(self.carry_out_neighbours(controller, group, tenure));
            }
            match under_way.next().await {
                Some(one) => outcome = outcome.and(one),
                None => return outcome,
            }
        }
    }
}

#[async_trait]
impl Effects for ShardEffects {
    async fn carry_out(&self, controller: &'static str, effects: &[Effect], tenure: &Guard) -> Result<()> {
        let mut rest = effects;
        while !rest.is_empty() {
            let (touches, later) = rest.split_at(touches(rest));
            if !touches.is_empty() {
                self.touch_all(controller, touches, tenure).await?;
                rest = later;
                continue;
            }
            let (crowd, later) = rest.split_at(crowd(rest));
            if crowd.is_empty() {
                let (now, later) = rest.split_at(neighbours(rest));
                self.carry_out_neighbours(controller, now, tenure).await?;
                rest = later;
            } else {
                self.carry_out_crowd(controller, crowd, tenure).await?;
                rest = later;
            }
        }
        Ok(())
    }
}

fn is_refusal(error: &StorageError) -> bool {
    matches!(
        error,
        StorageError::Conflict | StorageError::NotFound | StorageError::Fenced | StorageError::TooLarge
    )
}

/// How many of the first effects are touches.
fn touches(effects: &[Effect]) -> usize {
    effects
        .iter()
        .take_while(|effect| matches!(effect, Effect::Touch { .. }))
        .count()
}

/// How many of the first effects are deletions that go in any order. A namespace waits for its content, and a cluster's last
/// transaction for the rest of it.
fn crowd(effects: &[Effect]) -> usize {
    let mut len = 0;
    for group in groups(effects) {
        let waits = |effect: &Effect| match effect {
            Effect::Delete { of, .. } | Effect::Collect { of, .. } => of.resource == controllers::refs::namespaces(),
            Effect::Remove { of, .. } => of.resource == controllers::refs::logical_clusters(),
            _ => true,
        };
        if group.iter().any(waits) {
            break;
        }
        len += group.len();
    }
    len
}

/// Effects cut into neighbours.
fn groups(effects: &[Effect]) -> impl Iterator<Item = &[Effect]> {
    let mut rest = effects;
    std::iter::from_fn(move || {
        let (now, later) = rest.split_at_checked(neighbours(rest))?;
        rest = later;
        (!now.is_empty()).then_some(now)
    })
}

/// How many of the first effects may share a transaction: of one cluster, one object a resource, and no object beside the
/// namespace that it is in, which admission has to find. What is taken away asks nobody; it goes with its like only.
fn neighbours(effects: &[Effect]) -> usize {
    let is_removal = |effect: &Effect| matches!(effect, Effect::Remove { .. });
    let removals = effects.first().is_some_and(is_removal);
    let mut taken: Vec<&ObjectRef> = Vec::new();
    for effect in effects {
        let (Effect::Create { of, .. }
        | Effect::Update { of, .. }
        | Effect::Delete { of, .. }
        | Effect::Collect { of, .. }
        | Effect::Remove { of, .. }) = effect
        else {
            break;
        };
        let is_namespace_of = |other: &ObjectRef| {
            other.resource.group.is_empty() && &*other.resource.resource == "namespaces" && other.name == of.namespace
        };
        let apart = |other: &&ObjectRef| {
            other.cluster != of.cluster || other.resource == of.resource || (!removals && is_namespace_of(other))
        };
        if is_removal(effect) != removals || taken.iter().any(apart) {
            break;
        }
        taken.push(of);
    }
    taken.len().max(1)
}

#[cfg(test)]
mod tests;
