//! The garbage collector: dependants whose owners are all gone are deleted; foreground and orphan deletions are carried
//! through (Kubernetes' `garbagecollector`). Owners are looked up in the dependant's own cluster.
//!
//! Not here: the event `OwnerRefInvalidNamespace` that Kubernetes records about owners in another namespace.

use std::sync::Arc;
use std::time::Duration;

use machinery::object::ObjectExt;
use permit::Cluster;
use plan::{Context, Controller, Effect, Key, ObjectRef, Plan, ResourceRef, Seen, Trigger, View};
use serde_json::Value;

use crate::refs;

mod dependant;
#[cfg(test)]
mod tests;

use dependant::Judge;

pub const FOREGROUND: &str = "foregroundDeletion";
pub const ORPHAN: &str = "orphan";
const BATCH_MAX: usize = 500;

pub struct GarbageCollector;

/// An owner as a key: `resource|group|identity|namespace` and `name|uid`. A name may have a bar in it (a ClusterRole's may), no
/// other part of an owner that there is.
struct Owner {
    resource: ResourceRef,
    namespace: String,
    name: String,
    uid: String,
}

// === impl GarbageCollector ===

impl Controller for GarbageCollector {
    fn name(&self) -> &'static str {
        "garbage-collector"
    }

    fn watches(&self) -> Vec<ResourceRef> {
        vec![refs::everything()]
    }

    /// Keys are owners: that are gone, are going with a policy, lost a dependant, or were named anew.
    fn keys(&self, trigger: &Trigger<'_>, view: &dyn View) -> Vec<Key> {
        let this = |uid: &str| Owner::of(trigger.resource, trigger.namespace, trigger.name, uid).key(trigger.cluster);
        let mut keys = Vec::new();
        match (trigger.old, trigger.new) {
            (Some(old), None) => {
                let uid = old.uid();
                if view.has_dependants(trigger.cluster, &uid) {
                    keys.push(this(&uid));
                }
                if old.is_owned() {
                    keys.extend(owner_keys(&old.parse(), trigger, view));
                }
            }
            (old, Some(new)) => {
                // Seen for the first time it may have been going for long: this server may have started anew.
                if new.is_terminating() {
                    let now = new.parse();
                    let waits = now.has_finalizer(FOREGROUND) || now.has_finalizer(ORPHAN);
                    keys.extend(waits.then(|| this(now.uid())));
                }
                let was_owned = old.is_some_and(|old| old.is_owned());
                if was_owned || new.is_owned() {
                    let before = old.filter(|old| old.is_owned()).map(|old| old.parse());
                    keys.extend(changed_owner_keys(before.as_deref(), &new.parse(), trigger, view));
                }
            }
            (None, None) => {}
        }
        keys
    }

    fn plan(&self, key: &Key, view: &dyn View, _: &Context) -> Plan {
        let owner = Owner::read(key);
        let of = owner.resource.object(&key.cluster, &owner.namespace, &owner.name);
        let found = match view.get(&of) {
            Seen::Found(object) => Some(object).filter(|object| object.uid() == owner.uid),
            Seen::Absent => None,
            Seen::Unknown => return Plan::default(),
        };
        // An owner that stays is asked about with each dependant that is made: those it has are not to be read then.
        if found
            .as_ref()
            .is_some_and(|object| object.deletion_timestamp().is_none())
        {
            return Plan::default();
        }
        let dependants = view.dependants(&key.cluster, &owner.uid);
        let judge = Judge::new(view, &key.cluster, found.is_none().then_some(&owner));
        let effects = match found {
            Some(object) if object.has_finalizer(ORPHAN) => orphan(of, &object, dependants, &owner.uid),
            Some(object) if object.has_finalizer(FOREGROUND) => foreground(of, &object, dependants, &owner.uid, &judge),
            Some(_) => Vec::new(),
            None => judge.effects(&dependants, BATCH_MAX),
        };
        // There may be more, and nothing tells of them: of owners whose kind is not served any more no change is heard.
        let requeue = (effects.len() >= BATCH_MAX).then_some(Duration::ZERO);
        Plan {
            effects,
            requeue,
            ..Plan::default()
        }
    }
}

// === impl Owner ===

impl Owner {
    fn of(resource: &ResourceRef, namespace: &str, name: &str, uid: &str) -> Self {
        let (namespace, name, uid) = (namespace.to_owned(), name.to_owned(), uid.to_owned());
        Self {
            resource: resource.clone(),
            namespace,
            name,
            uid,
        }
    }

    fn key(&self, cluster: &Cluster) -> Key {
        let identity = self.resource.identity.as_deref().unwrap_or_default();
        let place = format!(
            "{}|{}|{identity}|{}",
            self.resource.resource, self.resource.group, self.namespace
        );
        Key::new(cluster, &place, &format!("{}|{}", self.name, self.uid))
    }

    fn read(key: &Key) -> Self {
        let mut place = key.namespace.splitn(4, '|');
        let mut part = || place.next().unwrap_or_default();
        let (resource, group, identity, namespace) = (part(), part(), part(), part());
        let mut reference = ResourceRef::new(group, resource);
        if !identity.is_empty() {
            reference = reference.with_identity(identity);
        }
        let (name, uid) = key.name.rsplit_once('|').unwrap_or((&key.name, ""));
        Self::of(&reference, namespace, name, uid)
    }
}

/// The owners that an object names, as far as their kind is served.
fn owner_keys(object: &Value, trigger: &Trigger<'_>, view: &dyn View) -> Vec<Key> {
    let served = view.served(trigger.cluster);
    let key = |owner: &&Value| {
        let known = dependant::served_kind(owner, &served)?;
        let namespace = if known.namespaced { trigger.namespace } else { "" };
        let member = |name: &str| owner.str_at(&[name]).unwrap_or_default();
        Some(Owner::of(&known.resource, namespace, member("name"), member("uid")).key(trigger.cluster))
    };
    dependant::owners(object).iter().filter_map(key).collect()
}

/// The owners of now, and those of before: one may have waited for this dependant.
fn changed_owner_keys(before: Option<&Value>, now: &Value, trigger: &Trigger<'_>, view: &dyn View) -> Vec<Key> {
    let references = |object: &Value| object.at(&["metadata", "ownerReferences"]).cloned();
    match before {
        Some(before) if references(before) == references(now) => Vec::new(),
        before => {
            let mut keys = owner_keys(now, trigger, view);
            keys.extend(before.into_iter().flat_map(|before| owner_keys(before, trigger, view)));
            keys
        }
    }
}

/// Takes the owner's reference off every dependant, then lets the owner go.
fn orphan(of: ObjectRef, owner: &Value, dependants: Vec<(ObjectRef, Arc<Value>)>, uid: &str) -> Vec<Effect> {
    let is_last = dependants.len() <= BATCH_MAX;
    let freed = dependants
        .into_iter()
        .take(BATCH_MAX)
        .map(|(of, object)| Effect::Update {
            of,
            object: dependant::without_owners(&object, &[uid]),
        });
    let mut effects: Vec<Effect> = freed.collect();
    effects.extend(is_last.then(|| released(of, owner, ORPHAN)));
    effects
}

/// Deletes the dependants that block the owner, unless others own them, too; the owner goes when none of them is left. Those
/// that do not block it are collected once it is gone.
fn foreground(
    of: ObjectRef,
    owner: &Value,
    mut dependants: Vec<(ObjectRef, Arc<Value>)>,
    uid: &str,
    judge: &Judge<'_>,
) -> Vec<Effect> {
    dependants.retain(|(_, object)| dependant::blocks(object, uid));
    if dependants.is_empty() {
        return vec![released(of, owner, FOREGROUND)];
    }
    judge.effects(&dependants, BATCH_MAX)
}

/// The owner without the finalizer that held it.
fn released(of: ObjectRef, owner: &Value, finalizer: &str) -> Effect {
    let mut object = owner.clone();
    object.remove_finalizer(finalizer);
    Effect::Update { of, object }
}
