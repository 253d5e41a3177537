//! The garbage collector: dependants whose owners are all gone are deleted; foreground and orphan deletions are carried
//! through (Kubernetes' `garbagecollector`). Owners are looked up in the dependant's own cluster.

use machinery::object::{GroupVersion, ObjectExt};
use machinery::selector::LabelSelector;
use permit::Scope;
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

    /// A cluster is looked at when something that may own has gone or is going, or something came that names an owner.
    /// The key names the owner by uid; dependants are found by it.
    fn keys(&self, trigger: &Trigger<'_>, _: &dyn View) -> Vec<Key> {
        let key = |uid: &str| Key::new(trigger.cluster, "", uid);
        match (trigger.old, trigger.new) {
            (Some(old), None) => {
                let gone = old.parse();
                let mut keys = vec![key(gone.uid())];
                keys.extend(owners(&gone).iter().map(|owner| key(owner.str_at(&["uid"]).unwrap_or_default())));
                keys
            }
            (None, Some(new)) => {
                let fresh = new.parse();
                owners(&fresh).iter().map(|owner| key(owner.str_at(&["uid"]).unwrap_or_default())).collect()
            }
            (Some(_), Some(new)) => {
                let now = new.parse();
                let going = now.deletion_timestamp().is_some() && (now.has_finalizer(FOREGROUND) || now.has_finalizer(ORPHAN));
                if going { vec![key(now.uid())] } else { Vec::new() }
            }
            (None, None) => Vec::new(),
        }
    }

    fn plan(&self, key: &Key, view: &dyn View, _: &Context) -> Plan {
        let contents = view.contents(&key.cluster);
        let scope = Scope::One(key.cluster.clone());
        let everything = LabelSelector::everything();
        let (mut owner, mut dependants) = (None, Vec::new());
        for (resource, _) in &contents {
            for object in view.list(resource, &scope, "", &everything) {
                if object.uid() == key.name {
                    owner = Some((resource.object(&key.cluster, object.namespace(), object.name()), object));
                } else if owners(&object).iter().any(|o| o.str_at(&["uid"]) == Some(&key.name)) {
                    dependants.push((resource.object(&key.cluster, object.namespace(), object.name()), object));
                }
            }
        }
        let served = view.served(&key.cluster);
        let effects = match owner {
            Some((of, object)) if object.deletion_timestamp().is_some() && object.has_finalizer(ORPHAN) => {
                orphan(of, object, dependants, &key.name)
            }
            Some((of, object)) if object.deletion_timestamp().is_some() && object.has_finalizer(FOREGROUND) => {
                foreground(of, object, dependants, &key.name)
            }
            Some(_) => Vec::new(),
            None => collect(dependants, view, &served),
        };
        Plan { effects, ..Plan::default() }
    }
}

fn owners(object: &Value) -> Vec<&Value> {
    object.at(&["metadata", "ownerReferences"]).and_then(Value::as_array).into_iter().flatten().collect()
}

/// Takes the owner's reference off every dependant, then lets the owner go.
fn orphan(of: ObjectRef, mut owner: Value, dependants: Vec<(ObjectRef, Value)>, uid: &str) -> Vec<Effect> {
    if dependants.is_empty() {
        owner.remove_finalizer(ORPHAN);
        return vec![Effect::Update { of, object: owner }];
    }
    dependants.into_iter().take(BATCH_MAX).map(|(of, object)| Effect::Update { of, object: without_owner(object, uid) }).collect()
}

fn without_owner(mut object: Value, uid: &str) -> Value {
    let kept: Vec<Value> = owners(&object).into_iter().filter(|o| o.str_at(&["uid"]) != Some(uid)).cloned().collect();
    if kept.is_empty() {
        object.remove_at(&["metadata", "ownerReferences"]);
    } else {
        object.set_at(&["metadata", "ownerReferences"], Value::Array(kept));
    }
    object
}

/// Deletes the dependants; the owner goes when none that blocks it is left.
fn foreground(of: ObjectRef, mut owner: Value, dependants: Vec<(ObjectRef, Value)>, uid: &str) -> Vec<Effect> {
    let blocks = |object: &Value| {
        owners(object).iter().any(|o| {
            o.str_at(&["uid"]) == Some(uid) && o.get("blockOwnerDeletion").and_then(Value::as_bool) == Some(true)
        })
    };
    if !dependants.iter().any(|(_, object)| blocks(object)) {
        owner.remove_finalizer(FOREGROUND);
        let mut effects = delete_all(dependants);
        effects.push(Effect::Update { of, object: owner });
        return effects;
    }
    delete_all(dependants)
}

fn delete_all(dependants: Vec<(ObjectRef, Value)>) -> Vec<Effect> {
    dependants
        .into_iter()
        .filter(|(_, object)| object.deletion_timestamp().is_none())
        .take(BATCH_MAX)
        .map(|(of, object)| Effect::Delete { of, uid: object.uid().to_owned(), resource_version: None })
        .collect()
}

/// Deletes dependants none of whose owners exists. Owners that cannot be looked up count as existing.
fn collect(dependants: Vec<(ObjectRef, Value)>, view: &dyn View, served: &[Served]) -> Vec<Effect> {
    let orphaned = |(of, object): &(ObjectRef, Value)| !owners(object).iter().any(|o| may_exist(o, of, view, served));
    delete_all(dependants.into_iter().filter(orphaned).collect())
}

fn may_exist(owner: &Value, dependant: &ObjectRef, view: &dyn View, served: &[Served]) -> bool {
    let member = |name: &str| owner.str_at(&[name]).unwrap_or_default();
    let gv = GroupVersion::parse(member("apiVersion"));
    let Some(known) = served.iter().find(|s| *s.resource.group == *gv.group && s.kind == member("kind")) else {
        return true;
    };
    if known.namespaced && dependant.namespace.is_empty() {
        // A cluster-scoped object cannot have a namespaced owner; Kubernetes leaves it alone and says so in an event.
        return true;
    }
    let namespace = if known.namespaced { dependant.namespace.as_str() } else { "" };
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
        let mut world = Literals { served: vec![served], ..Literals::default() };
        world.put(&refs::config_maps(), "abc", json!({"metadata": {"name": "owner", "namespace": "n", "uid": "u1"}}));
        let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "u1", "blockOwnerDeletion": true});
        let dependant = json!({"metadata": {"name": "dep", "namespace": "n", "ownerReferences": [owner]}});
        world.put(&refs::secrets(), "abc", dependant);
        world
    }

    fn key() -> Key {
        Key::new(&cluster("abc"), "", "u1")
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
        world.carry_out(&[Effect::Delete { of, uid: "u1".to_owned(), resource_version: None }]);
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
        assert!(dependant(&world).unwrap().at(&["metadata", "ownerReferences"]).is_none());
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
        world.put(&refs::config_maps(), "abc", json!({"metadata": {"name": "owner", "namespace": "n", "uid": "u2"}}));
        world.settle(&GarbageCollector, &key());
        assert!(dependant(&world).is_none());
    }
}
