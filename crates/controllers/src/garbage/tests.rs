use std::collections::BTreeMap;

use plan::Served;
use serde_json::json;

use super::*;
use crate::testing::{Event, Literals, cluster, context};

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
    world.carry_out(&[Effect::Collect {
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

/// What changes is told to the controller, and nothing else leads to a run of it.
fn told(world: &mut Literals, change: impl FnOnce(&mut Literals)) {
    let mut keys = Vec::new();
    changed(world, &mut keys, change);
    for _ in 0..100 {
        let Some(key) = keys.pop() else { return };
        let plan = GarbageCollector.plan(&key, world, &context());
        changed(world, &mut keys, |world| world.carry_out(&plan.effects));
        keys.extend(plan.requeue.map(|_| key));
    }
    panic!("the garbage collector does not settle");
}

fn changed(world: &mut Literals, keys: &mut Vec<Key>, change: impl FnOnce(&mut Literals)) {
    let before = world.objects.clone();
    change(world);
    let mut all: BTreeMap<&ObjectRef, (Option<Event>, Option<Event>)> = BTreeMap::new();
    for (of, object) in &before {
        all.entry(of).or_default().0 = Some(Event(object.clone()));
    }
    for (of, object) in &world.objects {
        all.entry(of).or_default().1 = Some(Event(object.clone()));
    }
    for (of, (old, new)) in all {
        if old.as_ref().map(|event| &event.0) != new.as_ref().map(|event| &event.0) {
            let trigger = Trigger {
                resource: &of.resource,
                cluster: &of.cluster,
                namespace: &of.namespace,
                name: &of.name,
                old: old.as_ref().map(|event| event as _),
                new: new.as_ref().map(|event| event as _),
            };
            keys.extend(GarbageCollector.keys(&trigger, world));
        }
    }
}

fn config_map(name: &str) -> ObjectRef {
    refs::config_maps().object(&cluster("abc"), "n", name)
}

/// A config map whose uid is its name, with such owners, each of which it blocks or not.
fn put(world: &mut Literals, name: &str, owners: &[(&str, bool)]) {
    let references: Vec<Value> = owners
        .iter()
        .map(|(owner, blocks)| {
            json!({"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": owner, "blockOwnerDeletion": blocks})
        })
        .collect();
    let mut object = json!({"metadata": {"name": name, "namespace": "n", "uid": name}});
    if !references.is_empty() {
        object.set_at(&["metadata", "ownerReferences"], Value::Array(references));
    }
    world.put(&refs::config_maps(), "abc", object);
}

fn delete(world: &mut Literals, name: &str, policy: Option<&str>) {
    let of = config_map(name);
    let uid = world.objects[&of].uid().to_owned();
    if let Some(policy) = policy {
        let mut object = world.objects[&of].clone();
        object.add_finalizer(policy);
        world.put(&refs::config_maps(), "abc", object);
    }
    world.carry_out(&[Effect::Collect {
        of,
        uid,
        resource_version: None,
    }]);
}

fn names(world: &Literals) -> Vec<&str> {
    let left = world.objects.keys().filter(|of| of.resource == refs::config_maps());
    left.map(|of| &*of.name).collect()
}

fn owner_names<'a>(world: &'a Literals, name: &str) -> Vec<&'a str> {
    let owners = dependant::owners(&world.objects[&config_map(name)]);
    owners.into_iter().filter_map(|owner| owner.str_at(&["name"])).collect()
}

/// Without the objects that the other tests begin with.
fn empty() -> Literals {
    Literals {
        served: world().served,
        ..Literals::default()
    }
}

#[test]
fn who_has_another_owner_loses_the_reference_to_the_one_that_is_gone() {
    let mut world = empty();
    put(&mut world, "a", &[]);
    put(&mut world, "b", &[]);
    put(&mut world, "child", &[("a", false), ("b", false)]);
    told(&mut world, |world| delete(world, "a", None));
    assert_eq!(names(&world), ["b", "child"]);
    assert_eq!(owner_names(&world, "child"), ["b"]);
    told(&mut world, |world| delete(world, "b", None));
    assert!(names(&world).is_empty());
}

#[test]
fn who_has_another_owner_does_not_die_with_one_that_waits_for_its_dependants() {
    let mut world = empty();
    put(&mut world, "going", &[]);
    put(&mut world, "staying", &[]);
    put(&mut world, "child", &[("going", true), ("staying", false)]);
    told(&mut world, |world| delete(world, "going", Some(FOREGROUND)));
    assert_eq!(names(&world), ["child", "staying"]);
    assert_eq!(owner_names(&world, "child"), ["staying"]);
}

#[test]
fn an_owner_whose_dependants_are_orphaned_goes_without_another_event() {
    let mut world = empty();
    put(&mut world, "owner", &[]);
    put(&mut world, "one", &[("owner", true)]);
    put(&mut world, "two", &[("owner", false)]);
    told(&mut world, |world| delete(world, "owner", Some(ORPHAN)));
    assert_eq!(names(&world), ["one", "two"]);
    assert!(owner_names(&world, "one").is_empty() && owner_names(&world, "two").is_empty());
}

#[test]
fn what_waits_when_the_server_starts_is_carried_on() {
    for policy in [FOREGROUND, ORPHAN] {
        let mut world = empty();
        put(&mut world, "owner", &[]);
        put(&mut world, "child", &[("owner", true)]);
        delete(&mut world, "owner", Some(policy));
        let objects = std::mem::take(&mut world.objects);
        told(&mut world, |world| world.objects = objects);
        let left: &[&str] = if policy == ORPHAN { &["child"] } else { &[] };
        assert_eq!(names(&world), left, "{policy}");
    }
}

#[test]
fn a_reference_that_is_made_later_counts_as_one_from_the_beginning() {
    let mut world = empty();
    put(&mut world, "child", &[]);
    told(&mut world, |world| put(world, "child", &[("never", false)]));
    assert!(names(&world).is_empty());
}

#[test]
fn an_owner_waits_for_the_dependants_of_its_dependants() {
    let mut world = empty();
    put(&mut world, "a", &[]);
    put(&mut world, "b", &[("a", true)]);
    put(&mut world, "c", &[("b", true)]);
    let mut held = world.objects[&config_map("c")].clone();
    held.add_finalizer("acme.io/held");
    world.put(&refs::config_maps(), "abc", held);
    told(&mut world, |world| delete(world, "a", Some(FOREGROUND)));
    assert_eq!(names(&world), ["a", "b", "c"]);
    told(&mut world, |world| {
        let mut freed = world.objects[&config_map("c")].clone();
        freed.remove_finalizer("acme.io/held");
        world.carry_out(&[Effect::Update {
            of: config_map("c"),
            object: freed,
        }]);
    });
    assert!(names(&world).is_empty());
}

#[test]
fn owners_in_a_circle_do_not_wait_for_each_other() {
    let mut world = empty();
    put(&mut world, "a", &[("b", true)]);
    put(&mut world, "b", &[("a", true)]);
    told(&mut world, |world| delete(world, "a", Some(FOREGROUND)));
    assert!(names(&world).is_empty());
}

#[test]
fn only_dependants_that_block_are_waited_for() {
    let mut world = empty();
    put(&mut world, "owner", &[]);
    put(&mut world, "child", &[("owner", false)]);
    let mut held = world.objects[&config_map("child")].clone();
    held.add_finalizer("acme.io/held");
    world.put(&refs::config_maps(), "abc", held);
    told(&mut world, |world| delete(world, "owner", Some(FOREGROUND)));
    assert_eq!(names(&world), ["child"]);
    assert!(world.objects[&config_map("child")].deletion_timestamp().is_some());
}

/// With a definition go its objects, and then their kind is served no more.
#[test]
fn dependants_of_a_kind_that_is_gone_with_its_objects_are_collected() {
    let sheriffs = ResourceRef::new("acme.io", "sheriffs");
    let of = |kind: &str| json!([{"apiVersion": "acme.io/v1", "kind": kind, "name": "s", "uid": "s"}]);
    let mut world = empty();
    world.put(
        &sheriffs,
        "abc",
        json!({"metadata": {"name": "s", "namespace": "n", "uid": "s"}}),
    );
    put(&mut world, "child", &[]);
    put(&mut world, "stranger", &[]);
    let child = world.objects.get_mut(&config_map("child")).unwrap();
    child.set_at(&["metadata", "ownerReferences"], of("Sheriff"));
    let stranger = world.objects.get_mut(&config_map("stranger")).unwrap();
    stranger.set_at(
        &["metadata", "ownerReferences"],
        json!([{"apiVersion": "other.io/v1", "kind": "X", "name": "s", "uid": "s"}]),
    );
    told(&mut world, |world| {
        world.objects.remove(&sheriffs.object(&cluster("abc"), "n", "s"));
    });
    assert_eq!(names(&world), ["stranger"]);
}

#[test]
fn a_dependant_that_asks_for_its_own_to_be_orphaned_is_heard() {
    let mut world = empty();
    put(&mut world, "a", &[]);
    put(&mut world, "b", &[("a", false)]);
    put(&mut world, "c", &[("b", false)]);
    let mut asking = world.objects[&config_map("b")].clone();
    asking.add_finalizer(ORPHAN);
    world.put(&refs::config_maps(), "abc", asking);
    told(&mut world, |world| delete(world, "a", None));
    assert_eq!(names(&world), ["c"]);
    assert!(owner_names(&world, "c").is_empty());
}

#[test]
fn all_dependants_of_such_a_kind_are_collected_however_many_they_are() {
    let sheriffs = ResourceRef::new("acme.io", "sheriffs");
    let mut world = empty();
    world.put(
        &sheriffs,
        "abc",
        json!({"metadata": {"name": "s", "namespace": "n", "uid": "s"}}),
    );
    for at in 0..=BATCH_MAX {
        put(&mut world, &format!("child-{at}"), &[]);
        let child = world.objects.get_mut(&config_map(&format!("child-{at}"))).unwrap();
        child.set_at(
            &["metadata", "ownerReferences"],
            json!([{"apiVersion": "acme.io/v1", "kind": "Sheriff", "name": "s", "uid": "s"}]),
        );
    }
    told(&mut world, |world| {
        world.objects.remove(&sheriffs.object(&cluster("abc"), "n", "s"));
    });
    assert_eq!(names(&world), [""; 0]);
}

/// As names of roles may have one.
#[test]
fn an_owner_with_a_bar_in_its_name_is_the_one_of_that_name() {
    for policy in [None, Some(FOREGROUND), Some(ORPHAN)] {
        let mut world = empty();
        put(&mut world, "a|b", &[]);
        world.objects.get_mut(&config_map("a|b")).unwrap()["metadata"]["uid"] = json!("u");
        put(&mut world, "child", &[("u", true)]);
        world.objects.get_mut(&config_map("child")).unwrap()["metadata"]["ownerReferences"][0]["name"] = json!("a|b");
        told(&mut world, |world| delete(world, "a|b", policy));
        let left: &[&str] = if policy == Some(ORPHAN) { &["child"] } else { &[] };
        assert_eq!(names(&world), left, "{policy:?}");
    }
}
