//! The garbage collector: dependants whose owners are all gone are deleted; foreground and orphan deletions are carried
//! through (Kubernetes' `garbagecollector`). Owners are looked up in the dependant's own cluster.

use std::sync::Arc;

use machinery::object::{GroupVersion, ObjectExt};
use permit::Cluster;
use plan::{Context, Controller, Effect, Key, ObjectRef, Plan, ResourceRef, Seen, Served, Trigger, View};
use serde_json::Value;

use crate::refs;

pub const FOREGROUND: &str = "foregroundDeletion";
pub const ORPHAN: &str = "orphan";
const BATCH_MAX: usize = 500;

pub struct GarbageCollector;

impl Controller for GarbageCollector {
    fn name(&self) -> &'static str {
        "garbage-collector"
    }

    fn watches(&self) -> Vec<ResourceRef> {
        vec![refs::everything()]
    }

    /// Keys are owners: that are gone, are going with a policy, lost a dependant, or were named by something new.
    fn keys(&self, trigger: &Trigger<'_>, view: &dyn View) -> Vec<Key> {
        let this = |uid: &str| Owner::of(trigger.resource, trigger.namespace, trigger.name, uid).key(trigger.cluster);
        match (trigger.old, trigger.new) {
            (Some(old), None) => {
                let uid = old.uid();
                let mut keys = Vec::new();
                if view.has_dependants(trigger.cluster, &uid) {
                    keys.push(this(&uid));
                }
                if old.is_owned() {
                    keys.extend(owner_keys(&old.parse(), trigger, view));
                }
                keys
            }
            (None, Some(new)) if new.is_owned() => owner_keys(&new.parse(), trigger, view),
            (Some(_), Some(new)) if new.is_terminating() => {
                let now = new.parse();
                let waits = now.has_finalizer(FOREGROUND) || now.has_finalizer(ORPHAN);
                if waits { vec![this(now.uid())] } else { Vec::new() }
            }
            _ => Vec::new(),
        }
    }

    fn plan(&self, key: &Key, view: &dyn View, _: &Context) -> Plan {
        let owner = Owner::read(key);
        let of = owner.resource.object(&key.cluster, &owner.namespace, &owner.name);
        let dependants = view.dependants(&key.cluster, &owner.uid);
        let found = view.get(&of).found().filter(|object| object.uid() == owner.uid);
        let effects = match found {
            Some(object) if object.deletion_timestamp().is_some() && object.has_finalizer(ORPHAN) => {
                orphan(of, &object, dependants, &owner.uid)
            }
            Some(object) if object.deletion_timestamp().is_some() && object.has_finalizer(FOREGROUND) => {
                foreground(of, &object, dependants, &owner.uid)
            }
            Some(_) => Vec::new(),
            None if dependants.is_empty() => Vec::new(),
            None => collect(dependants, view, &view.served(&key.cluster)),
        };
        Plan {
            effects,
            ..Plan::default()
        }
    }
}

/// An owner as a key: `resource|group|identity|namespace` and `name|uid` (no part has a bar in it).
struct Owner {
    resource: ResourceRef,
    namespace: String,
    name: String,
    uid: String,
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
        let (name, uid) = key.name.split_once('|').unwrap_or((&key.name, ""));
        Self::of(&reference, namespace, name, uid)
    }
}

/// The owners that an object names, as far as their kind is served.
fn owner_keys(object: &Value, trigger: &Trigger<'_>, view: &dyn View) -> Vec<Key> {
    let served = view.served(trigger.cluster);
    let key = |owner: &&Value| {
        let known = served_kind(owner, &served)?;
        let namespace = if known.namespaced { trigger.namespace } else { "" };
        let member = |name: &str| owner.str_at(&[name]).unwrap_or_default();
        Some(Owner::of(&known.resource, namespace, member("name"), member("uid")).key(trigger.cluster))
    };
    owners(object).iter().filter_map(key).collect()
}

fn served_kind<'a>(owner: &Value, served: &'a [Served]) -> Option<&'a Served> {
    let member = |name: &str| owner.str_at(&[name]).unwrap_or_default();
    let gv = GroupVersion::parse(member("apiVersion"));
    served
        .iter()
        .find(|s| *s.resource.group == *gv.group && s.kind == member("kind"))
}

fn owners(object: &Value) -> Vec<&Value> {
    object
        .at(&["metadata", "ownerReferences"])
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .collect()
}

/// Takes the owner's reference off every dependant, then lets the owner go.
fn orphan(of: ObjectRef, owner: &Value, dependants: Vec<(ObjectRef, Arc<Value>)>, uid: &str) -> Vec<Effect> {
    if dependants.is_empty() {
        let mut owner = owner.clone();
        owner.remove_finalizer(ORPHAN);
        return vec![Effect::Update { of, object: owner }];
    }
    dependants
        .into_iter()
        .take(BATCH_MAX)
        .map(|(of, object)| Effect::Update {
            of,
            object: without_owner(&object, uid),
        })
        .collect()
}

fn without_owner(object: &Value, uid: &str) -> Value {
    let kept: Vec<Value> = owners(object)
        .into_iter()
        .filter(|o| o.str_at(&["uid"]) != Some(uid))
        .cloned()
        .collect();
    let mut object = object.clone();
    if kept.is_empty() {
        object.remove_at(&["metadata", "ownerReferences"]);
    } else {
        object.set_at(&["metadata", "ownerReferences"], Value::Array(kept));
    }
    object
}

/// Deletes the dependants; the owner goes when none that blocks it is left.
fn foreground(of: ObjectRef, owner: &Value, dependants: Vec<(ObjectRef, Arc<Value>)>, uid: &str) -> Vec<Effect> {
    let blocks = |object: &Value| {
        owners(object).iter().any(|o| {
            o.str_at(&["uid"]) == Some(uid) && o.get("blockOwnerDeletion").and_then(Value::as_bool) == Some(true)
        })
    };
    if !dependants.iter().any(|(_, object)| blocks(object)) {
        let mut owner = owner.clone();
        owner.remove_finalizer(FOREGROUND);
        let mut effects = delete_all(dependants);
        effects.push(Effect::Update { of, object: owner });
        return effects;
    }
    delete_all(dependants)
}

fn delete_all(dependants: Vec<(ObjectRef, Arc<Value>)>) -> Vec<Effect> {
    dependants
        .into_iter()
        .filter(|(_, object)| object.deletion_timestamp().is_none())
        .take(BATCH_MAX)
        .map(|(of, object)| Effect::Delete {
            of,
            uid: object.uid().to_owned(),
            resource_version: None,
        })
        .collect()
}

/// Deletes dependants none of whose owners exists. Owners that cannot be looked up count as existing.
fn collect(dependants: Vec<(ObjectRef, Arc<Value>)>, view: &dyn View, served: &[Served]) -> Vec<Effect> {
    let orphaned =
        |(of, object): &(ObjectRef, Arc<Value>)| !owners(object).iter().any(|o| may_exist(o, of, view, served));
    delete_all(dependants.into_iter().filter(orphaned).collect())
}

fn may_exist(owner: &Value, dependant: &ObjectRef, view: &dyn View, served: &[Served]) -> bool {
    let member = |name: &str| owner.str_at(&[name]).unwrap_or_default();
    let Some(known) = served_kind(owner, served) else {
        return true;
    };
    if known.namespaced && dependant.namespace.is_empty() {
        // A cluster-scoped object cannot have a namespaced owner; Kubernetes leaves it alone and says so in an event.
        return true;
    }
    let namespace = if known.namespaced {
        dependant.namespace.as_str()
    } else {
        ""
    };
    match view.get(&known.resource.object(&dependant.cluster, namespace, member("name"))) {
        Seen::Found(object) => object.uid() == member("uid"),
        Seen::Absent => false,
        Seen::Unknown => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{Literals, cluster};

    fn world() -> Literals {
        let served = Served {
            resource: refs::config_maps(),
            version: "v1".to_owned(),
            kind: "ConfigMap".to_owned(),
            namespaced: true,
            bound: false,
        };
        let mut world = Literals {
            served: vec![served],
            ..Literals::default()
        };
        world.put(
            &refs::config_maps(),
            "abc",
            json!({"metadata": {"name": "owner", "namespace": "n", "uid": "u1"}}),
        );
        let owner =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "u1", "blockOwnerDeletion": true});
        let dependant = json!({"metadata": {"name": "dep", "namespace": "n", "ownerReferences": [owner]}});
        world.put(&refs::secrets(), "abc", dependant);
        world
    }

    fn key() -> Key {
        Owner::of(&refs::config_maps(), "n", "owner", "u1").key(&cluster("abc"))
    }

    fn dependant(world: &Literals) -> Option<&Value> {
        world.object(&refs::secrets(), "abc", "n", "dep")
    }

    fn delete_owner(world: &mut Literals, finalizer: Option<&str>) {
        let of = refs::config_maps().object(&cluster("abc"), "n", "owner");
        let mut owner = world.objects[&of].clone();
        if let Some(finalizer) = finalizer {
            owner.add_finalizer(finalizer);
            world.put(&refs::config_maps(), "abc", owner);
        }
        world.carry_out(&[Effect::Delete {
            of,
            uid: "u1".to_owned(),
            resource_version: None,
        }]);
    }

    #[test]
    fn dependants_live_with_their_owner() {
        let mut world = world();
        world.settle(&GarbageCollector, &key());
        assert!(dependant(&world).is_some());
        delete_owner(&mut world, None);
        world.settle(&GarbageCollector, &key());
        assert!(dependant(&world).is_none());
    }

    #[test]
    fn orphans_lose_the_reference_and_stay() {
        let mut world = world();
        delete_owner(&mut world, Some(ORPHAN));
        world.settle(&GarbageCollector, &key());
        assert!(
            dependant(&world)
                .unwrap()
                .at(&["metadata", "ownerReferences"])
                .is_none()
        );
        assert!(world.object(&refs::config_maps(), "abc", "n", "owner").is_none());
    }

    #[test]
    fn foreground_waits_for_the_dependants() {
        let mut world = world();
        delete_owner(&mut world, Some(FOREGROUND));
        world.settle(&GarbageCollector, &key());
        assert!(dependant(&world).is_none());
        assert!(world.object(&refs::config_maps(), "abc", "n", "owner").is_none());
    }

    #[test]
    fn an_owner_of_the_same_name_is_another() {
        let mut world = world();
        delete_owner(&mut world, None);
        world.put(
            &refs::config_maps(),
            "abc",
            json!({"metadata": {"name": "owner", "namespace": "n", "uid": "u2"}}),
        );
        world.settle(&GarbageCollector, &key());
        assert!(dependant(&world).is_none());
    }
}
