use api::keys::phase;
use serde_json::json;

use super::*;
use crate::testing::{Literals, cluster, context};

/// A cluster under deletion that says so, with a child that somebody else has to see to.
fn world() -> Literals {
    let mut world = barren();
    let child = json!({"metadata": {"name": "child", "finalizers": [finalizer::LOGICAL_CLUSTER]}});
    world.put(&refs::workspaces(), "abc", child);
    let mut lc = logical_cluster(&world).clone();
    lc.set_at(&["status", "phase"], json!(phase::workspace::DELETING));
    world.put(&refs::logical_clusters(), "abc", lc);
    world
}

/// One in which only the server's own finalizers are left.
fn barren() -> Literals {
    let mut world = Literals::default();
    let lc = json!({"metadata": {"name": "cluster", "deletionTimestamp": "2023-11-14T22:13:20Z",
        "finalizers": [finalizer::LOGICAL_CLUSTER_DELETION]}, "status": {"phase": "Ready"}});
    world.put(&refs::logical_clusters(), "abc", lc);
    for namespace in ["default", "kube-system"] {
        for name in ["a", "b"] {
            let object = json!({"metadata": {"name": name, "namespace": namespace}});
            world.put(&refs::config_maps(), "abc", object);
        }
        let object = json!({"metadata": {"name": "default", "namespace": namespace}});
        world.put(&refs::service_accounts(), "abc", object);
        let object = json!({"metadata": {"name": namespace}, "spec": {"finalizers": ["kubernetes"]}});
        world.put(&refs::namespaces(), "abc", object);
    }
    let binding = json!({"metadata": {"name": "b", "finalizers": [finalizer::API_BINDING]}});
    world.put(&refs::bindings(), "abc", binding);
    let object = json!({"metadata": {"name": "workspace-admin"}});
    world.put(&refs::cluster_role_bindings(), "abc", object);
    world
}

fn key() -> Key {
    Key::of_cluster(&cluster("abc"))
}

fn logical_cluster(world: &Literals) -> &Value {
    world.object(&refs::logical_clusters(), "abc", "", "cluster").unwrap()
}

fn has(world: &Literals, resource: &ResourceRef) -> bool {
    world.objects.keys().any(|of| of.resource == *resource)
}

fn run(world: &mut Literals) -> Plan {
    let plan = Deletion.plan(&key(), world, &context());
    world.carry_out(&plan.effects);
    plan
}

fn is_razed(plan: &Plan) -> bool {
    plan.effects
        .iter()
        .any(|e| matches!(e, Effect::Remove { of, .. } if of.resource == refs::logical_clusters()))
}

#[test]
fn what_nobody_holds_goes_in_one_plan_and_the_cluster_last() {
    let mut world = barren();
    let plan = run(&mut world);
    let removed: Vec<&ObjectRef> = plan
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Remove { of, .. } => Some(of),
            _ => None,
        })
        .collect();
    assert_eq!(removed.len(), 11);
    assert_eq!(removed.last().unwrap().resource, refs::logical_clusters());
    assert!(world.objects.is_empty(), "{:?}", world.objects);
    // In as few turns as there are objects of one resource: each resource at most once between two of the same.
    let of = |resource: &ResourceRef| removed.iter().filter(|of| of.resource == *resource).count();
    assert_eq!((of(&refs::config_maps()), of(&refs::namespaces())), (4, 2));
    let place = |resource: &ResourceRef| removed.iter().position(|of| of.resource == *resource).unwrap();
    assert!(place(&refs::config_maps()) < place(&refs::namespaces()));
    assert!(place(&refs::bindings()) < place(&refs::cluster_role_bindings()));
}

#[test]
fn a_crash_halfway_is_carried_on_from() {
    let effects = Deletion.plan(&key(), &barren(), &context()).effects;
    for done in 0..=effects.len() {
        let mut world = barren();
        world.carry_out(&effects[..done]);
        world.settle(&Deletion, &key());
        assert!(world.objects.is_empty(), "after {done} effects: {:?}", world.objects);
    }
}

#[test]
fn what_changed_since_the_look_is_looked_at_again() {
    let mut world = barren();
    let effects = Deletion.plan(&key(), &world, &context()).effects;
    let held = json!({"metadata": {"name": "a", "namespace": "default", "finalizers": ["x.io/keep"]}});
    world.put(&refs::config_maps(), "abc", held);
    let before = effects
        .iter()
        .position(|e| matches!(e, Effect::Remove { of, .. } if of.name == "a"))
        .unwrap();
    // The write of the changed object conflicts, which ends the run.
    world.carry_out(&effects[..before]);
    assert!(!is_razed(&run(&mut world)));
    assert!(world.object(&refs::config_maps(), "abc", "default", "a").is_some());
}

#[test]
fn who_holds_something_is_waited_for() {
    let foreign = |resource: ResourceRef, object: Value| {
        let mut world = barren();
        world.put(&resource, "abc", object);
        !is_razed(&Deletion.plan(&key(), &world, &context()))
    };
    let keep = "x.io/keep";
    assert!(foreign(
        refs::config_maps(),
        json!({"metadata": {"name": "c", "namespace": "default", "finalizers": [keep]}})
    ));
    assert!(foreign(
        refs::namespaces(),
        json!({"metadata": {"name": "n"}, "spec": {"finalizers": ["kubernetes", keep]}})
    ));
    assert!(foreign(
        refs::namespaces(),
        json!({"metadata": {"name": "n", "finalizers": [keep]}})
    ));
    assert!(foreign(
        refs::bindings(),
        json!({"metadata": {"name": "n", "finalizers": [finalizer::API_BINDING, keep]}})
    ));
    assert!(foreign(refs::crds(), json!({"metadata": {"name": "n"}})));
    let lc = |path: &[&str], value: Value| {
        let mut lc = logical_cluster(&barren()).clone();
        lc.set_at(path, value);
        foreign(refs::logical_clusters(), lc)
    };
    assert!(lc(
        &["metadata", "finalizers"],
        json!([finalizer::LOGICAL_CLUSTER_DELETION, keep])
    ));
    assert!(lc(
        &["metadata", "finalizers"],
        json!([finalizer::LOGICAL_CLUSTER_DELETION, finalizer::HAS_TERMINATORS])
    ));
    assert!(lc(&["status", "terminators"], json!(["root:somebody"])));
}

#[test]
fn a_deletion_that_takes_longer_says_so() {
    let mut world = world();
    let mut lc = logical_cluster(&world).clone();
    lc.set_at(&["status", "phase"], json!(phase::workspace::READY));
    world.put(&refs::logical_clusters(), "abc", lc);
    run(&mut world);
    assert_eq!(logical_cluster(&world).str_at(&["status", "phase"]), Some("Deleting"));
    run(&mut world);
    assert!(!has(&world, &refs::config_maps()), "and goes on");
}

#[test]
fn content_then_bindings_then_rbac() {
    let mut world = world();
    run(&mut world);
    assert!(!has(&world, &refs::config_maps()) && has(&world, &refs::bindings()));
    run(&mut world);
    run(&mut world);
    assert!(
        has(&world, &refs::cluster_role_bindings()),
        "bound objects and bindings are still there"
    );
    world
        .objects
        .retain(|of, _| of.resource != refs::bindings() && of.resource != refs::workspaces());
    run(&mut world);
    assert!(world.objects.is_empty(), "nobody needs rights any more");
}

/// A workspace that was made while its cluster was being deleted, just after the binding had looked for the last time.
#[test]
fn bound_objects_that_outlive_their_binding_are_deleted() {
    let mut world = world();
    let bound = [
        refs::workspaces(),
        refs::logical_clusters(),
        refs::cluster_role_bindings(),
    ];
    world.objects.retain(|of, _| bound.contains(&of.resource));
    run(&mut world);
    let child = world.object(&refs::workspaces(), "abc", "", "child").unwrap();
    assert!(child.deletion_timestamp().is_some(), "nobody else would delete it");
    assert!(has(&world, &refs::cluster_role_bindings()), "rights go last");
    world.objects.retain(|of, _| of.resource != refs::workspaces());
    run(&mut world);
    assert!(world.objects.is_empty());
}

#[test]
fn what_holds_it_is_named() {
    let mut world = world();
    let left = [
        refs::bindings(),
        refs::logical_clusters(),
        refs::cluster_role_bindings(),
    ];
    world.objects.retain(|of, _| left.contains(&of.resource));
    let binding = json!({"metadata": {"name": "b", "finalizers": [finalizer::API_BINDING, "x.io/keep"]}});
    world.put(&refs::bindings(), "abc", binding);
    for _ in 0..3 {
        run(&mut world);
    }
    let condition = conditions::get(logical_cluster(&world), condition::WORKSPACE_CONTENT_DELETED).unwrap();
    assert_eq!(
        condition.message,
        "Some resources are remaining: apibindings.apis.kcp.io has 1 resource instances, \
         clusterrolebindings.rbac.authorization.k8s.io has 1 resource instances; Some content in the logical cluster \
         has finalizers remaining: apis.kcp.io/apibinding-finalizer in 1 resource instances, x.io/keep in 1 resource instances"
    );
}

#[test]
fn more_than_a_batch_goes_on_by_itself() {
    let mut world = world();
    for number in 0..BATCH_MAX + 1 {
        let object =
            json!({"metadata": {"name": format!("n{number}"), "namespace": "default", "finalizers": ["x.io/keep"]}});
        world.put(&refs::config_maps(), "abc", object);
    }
    let plan = run(&mut world);
    assert_eq!(
        plan.requeue,
        Some(Duration::ZERO),
        "no deletion may be the last of its kind"
    );
}

#[test]
fn leftovers_of_closed_clusters_are_swept() {
    let mut world = world();
    world.objects.retain(|of, _| of.resource == refs::service_accounts());
    let plan = Deletion.plan(&key(), &world, &context());
    assert!(matches!(
        plan.effects.as_slice(),
        [Effect::Purge { .. }, Effect::Purge { .. }]
    ));
}
