use crate::testing::{Literals, cluster, context};

use super::*;

fn shard() -> Arc<ShardInfo> {
    Arc::new(ShardInfo {
        name: "root".to_owned(),
        external_url: "https://front:6443".to_owned(),
        virtual_workspace_url: "https://front:6443".to_owned(),
        ca_pem: String::new(),
    })
}

fn world() -> Literals {
    let mut world = Literals::default();
    let shard = json!({"metadata": {"name": "root", "labels": {"name": "root", "region": "eu"}},
        "spec": {"externalURL": "https://front:6443"}});
    world.put(&refs::shards(), "root", shard);
    world.put(
        &refs::logical_clusters(),
        "root",
        json!({"metadata": {"name": "cluster"}}),
    );
    let universal = json!({"metadata": {"name": "universal", "annotations": {"kcp.io/path": "root"}},
        "spec": {"initializer": true, "defaultAPIBindings": [{"path": "root", "export": "tenancy.kcp.io"}]}});
    world.put(&refs::workspace_types(), "root", universal);
    let workspace = json!({"metadata": {"name": "team", "annotations": {
            "experimental.tenancy.kcp.io/owner": "{\"username\":\"alice\",\"groups\":[\"dev\"]}"}},
        "spec": {"type": {"name": "universal", "path": "root"}}});
    world.put(&refs::workspaces(), "root", workspace);
    world
}

fn key() -> Key {
    Key::new(&cluster("root"), "", "team")
}

fn team(world: &Literals) -> Value {
    world.object(&refs::workspaces(), "root", "", "team").unwrap().clone()
}

fn logical_cluster(world: &Literals) -> (String, Value) {
    let name = team(world)
        .annotation(annotation::SCHEDULED_CLUSTER)
        .unwrap()
        .to_owned();
    let object = world
        .object(&refs::logical_clusters(), &name, "", "cluster")
        .unwrap()
        .clone();
    (name, object)
}

fn set_phase(world: &mut Literals, phase: &str) {
    let (name, mut object) = logical_cluster(world);
    object.set_at(&["status", "phase"], json!(phase));
    world.put(&refs::logical_clusters(), &name, object);
}

#[test]
fn schedules_and_becomes_ready_with_its_cluster() {
    let mut world = world();
    let controller = Workspaces::new(shard());
    world.settle(&controller, &key());
    let (name, object) = logical_cluster(&world);
    assert_eq!(
        object.at(&["spec", "initializers"]).unwrap(),
        &json!(["root:universal", "system:apibindings"])
    );
    assert_eq!(object.str_at(&["spec", "createdBy", "username"]), Some("alice"));
    assert_eq!(object.annotation(annotation::PATH), Some("root:team"));
    assert_eq!(
        team(&world).str_at(&["status", "phase"]),
        Some("Scheduling"),
        "there is nothing to mirror before its controller has looked at the cluster"
    );

    set_phase(&mut world, "Initializing");
    world.settle(&controller, &key());
    let workspace = team(&world);
    assert_eq!(
        workspace.str_at(&["spec", "URL"]),
        Some("https://front:6443/clusters/root:team")
    );
    assert_eq!(workspace.str_at(&["spec", "cluster"]), Some(name.as_str()));
    assert_eq!(workspace.str_at(&["status", "phase"]), Some("Initializing"));
    assert_eq!(workspace.label(label::REGION), Some("eu"));
    assert!(workspace.has_finalizer(finalizer::LOGICAL_CLUSTER));

    set_phase(&mut world, "Ready");
    world.settle(&controller, &key());
    let workspace = team(&world);
    assert_eq!(workspace.str_at(&["status", "phase"]), Some("Ready"));
    assert_eq!(workspace.label(label::PHASE), Some("Ready"));
    assert_eq!(workspace.annotation(annotation::OWNER), Some(r#"{"username":"alice"}"#));
    assert!(conditions::is_true(&workspace, condition::WORKSPACE_INITIALIZED));
}

#[test]
fn the_name_is_written_down_before_the_cluster_exists() {
    let world = world();
    let plan = Workspaces::new(shard()).plan(&key(), &world, &context());
    let [Effect::Update { object, .. }, Effect::Create { of, .. }] = plan.effects.as_slice() else {
        panic!("{plan:?}");
    };
    assert_eq!(
        object.annotation(annotation::SCHEDULED_CLUSTER),
        Some(of.cluster.as_str())
    );
}

#[test]
fn a_cluster_that_is_ready_at_once_is_mirrored_in_one_write() {
    let mut world = world();
    let controller = Workspaces::new(shard());
    world.settle(&controller, &key());
    set_phase(&mut world, "Ready");
    let plan = controller.plan(&key(), &world, &context());
    assert_eq!(plan.effects.len(), 1);
    world.carry_out(&plan.effects);
    assert_eq!(team(&world).str_at(&["status", "phase"]), Some("Ready"));
}

#[test]
fn a_cluster_of_somebody_else_is_not_taken() {
    let mut world = world();
    let controller = Workspaces::new(shard());
    let plan = controller.plan(&key(), &world, &context());
    world.carry_out(&plan.effects);
    let name = team(&world)
        .annotation(annotation::SCHEDULED_CLUSTER)
        .unwrap()
        .to_owned();
    let other = json!({"metadata": {"name": "cluster"}, "spec": {"owner": {"uid": "somebody"}}});
    world.put(&refs::logical_clusters(), &name, other);
    let fresh = Context {
        seed: [9; 32],
        ..context()
    };
    let plan = controller.plan(&key(), &world, &fresh);
    world.carry_out(&plan.effects);
    assert_ne!(
        team(&world).annotation(annotation::SCHEDULED_CLUSTER),
        Some(name.as_str())
    );
}

#[test]
fn a_cluster_that_is_no_tenants_is_not_taken_either() {
    for cluster in ["root", "system:admin"] {
        let mut world = world();
        let mut object = team(&world);
        object.set_annotation(annotation::SCHEDULED_CLUSTER, cluster);
        world.put(&refs::workspaces(), "root", object);
        let plan = Workspaces::new(shard()).plan(&key(), &world, &context());
        world.carry_out(&plan.effects);
        assert_ne!(team(&world).annotation(annotation::SCHEDULED_CLUSTER), Some(cluster));
    }
}

#[test]
fn without_a_fitting_shard_it_says_so() {
    let mut world = world();
    let mut workspace = team(&world);
    workspace.set_at(
        &["spec", "location"],
        json!({"selector": {"matchLabels": {"region": "us"}}}),
    );
    world.put(&refs::workspaces(), "root", workspace);
    world.settle(&Workspaces::new(shard()), &key());
    let workspace = team(&world);
    let condition = conditions::get(&workspace, condition::WORKSPACE_SCHEDULED).unwrap();
    assert_eq!(condition.reason, "Unschedulable");
    assert_eq!(condition.message, "No available shards to schedule the workspace");
    assert_eq!(workspace.str_at(&["status", "phase"]), Some("Unavailable"));
}

#[test]
fn deletion_waits_for_the_cluster() {
    let mut world = world();
    let controller = Workspaces::new(shard());
    world.settle(&controller, &key());
    set_phase(&mut world, "Ready");
    let (name, mut object) = logical_cluster(&world);
    object.add_finalizer(finalizer::LOGICAL_CLUSTER_DELETION);
    world.put(&refs::logical_clusters(), &name, object);
    world.settle(&controller, &key());
    let of = refs::workspaces().object(&cluster("root"), "", "team");
    world.carry_out(&[Effect::Delete {
        of: of.clone(),
        uid: String::new(),
        resource_version: None,
    }]);
    world.settle(&controller, &key());
    let phase_of = |world: &Literals| team(world).str_at(&["status", "phase"]).map(str::to_owned);
    assert_eq!(
        phase_of(&world).as_deref(),
        Some("Ready"),
        "most often it is over before anybody looks"
    );
    let (name, mut object) = logical_cluster(&world);
    object.set_at(&["status", "phase"], json!("Deleting"));
    world.put(&refs::logical_clusters(), &name, object);
    world.settle(&controller, &key());
    assert_eq!(phase_of(&world).as_deref(), Some("Deleting"));
    let (name, mut object) = logical_cluster(&world);
    object.remove_finalizer(finalizer::LOGICAL_CLUSTER_DELETION);
    let lc = refs::logical_clusters().object(&cluster(&name), "", "cluster");
    world.carry_out(&[Effect::Update { of: lc, object }]);
    world.settle(&controller, &key());
    assert!(!world.objects.contains_key(&of));
}

#[test]
fn other_finalizers_come_first() {
    let mut world = world();
    let mut workspace = team(&world);
    workspace.add_finalizer(finalizer::LOGICAL_CLUSTER);
    workspace.add_finalizer("example.io/mine");
    workspace.set_at(&["metadata", "deletionTimestamp"], json!(context().now));
    world.put(&refs::workspaces(), "root", workspace);
    assert!(
        Workspaces::new(shard())
            .plan(&key(), &world, &context())
            .effects
            .is_empty()
    );
}

/// A world with a second shard, which alone fits.
fn world_of_two() -> Literals {
    let mut world = world();
    let beta = json!({"metadata": {"name": "beta", "labels": {"name": "beta", "region": "us"}},
        "spec": {"externalURL": "https://beta-front:6443/"}});
    world.put(&refs::shards(), "root", beta);
    let mut workspace = team(&world);
    workspace.set_at(
        &["spec", "location"],
        json!({"selector": {"matchLabels": {"region": "us"}}}),
    );
    world.put(&refs::workspaces(), "root", workspace);
    world
}

#[test]
fn a_cluster_is_made_on_the_shard_that_was_written_down() {
    let mut world = world_of_two();
    let controller = Workspaces::new(shard());
    let plan = controller.plan(&key(), &world, &context());
    let [Effect::Update { of: own, object }, Effect::Create { of, .. }] = plan.effects.as_slice() else {
        panic!("{plan:?}");
    };
    assert_eq!(object.annotation(annotation::SHARD), Some("beta"));
    assert_eq!((own.shard.as_deref(), of.shard.as_deref()), (None, Some("beta")));
    world.carry_out(&plan.effects);
    set_phase(&mut world, "Ready");
    world.settle(&controller, &key());
    let workspace = team(&world);
    assert_eq!(workspace.str_at(&["status", "phase"]), Some("Ready"));
    assert_eq!(workspace.label(label::REGION), Some("us"));
    let url = workspace.str_at(&["spec", "URL"]);
    assert_eq!(url, Some("https://beta-front:6443/clusters/root:team"), "its shard's");
}

#[test]
fn what_another_shard_holds_is_fetched_from_it() {
    let mut world = world_of_two();
    let controller = Workspaces::new(shard());
    world.carry_out(&controller.plan(&key(), &world, &context()).effects);
    let name = team(&world)
        .annotation(annotation::SCHEDULED_CLUSTER)
        .unwrap()
        .to_owned();
    let of = refs::logical_clusters()
        .object(&cluster(&name), "", "cluster")
        .on("beta");
    world.foreign.insert(of.clone());
    assert_eq!(controller.plan(&key(), &world, &context()), Plan::need(of));
}

#[test]
fn a_dead_shard_is_waited_for_and_nothing_is_made_twice() {
    let mut world = world_of_two();
    let controller = Workspaces::new(shard());
    world.carry_out(&controller.plan(&key(), &world, &context()).effects);
    let (name, _) = logical_cluster(&world);
    world.dead.insert("beta".to_owned());
    world.settle(&controller, &key());
    let condition = conditions::get(&team(&world), condition::WORKSPACE_SCHEDULED).unwrap();
    assert_eq!(condition.message, "chosen shard \"beta\" cannot be reached");
    world.dead.clear();
    set_phase(&mut world, "Ready");
    world.settle(&controller, &key());
    assert_eq!(team(&world).str_at(&["status", "phase"]), Some("Ready"));
    assert_eq!(team(&world).str_at(&["spec", "cluster"]), Some(&*name));
    // Once Ready, it stays so without its shard.
    world.dead.insert("beta".to_owned());
    assert_eq!(controller.plan(&key(), &world, &context()), Plan::done());
}

/// A world with two more shards, both of which fit; one was chosen and did not answer.
fn world_with_a_lost_choice(controller: &Workspaces) -> (Literals, ObjectRef) {
    let mut world = world_of_two();
    let gamma = json!({"metadata": {"name": "gamma", "labels": {"name": "gamma", "region": "us"}}});
    world.put(&refs::shards(), "root", gamma);
    world.carry_out(&controller.plan(&key(), &world, &context()).effects);
    let (name, made) = logical_cluster(&world);
    let lost = team(&world).annotation(annotation::SHARD).unwrap().to_owned();
    world.dead.insert(lost.clone());
    let later = Context {
        seed: [9; 32],
        ..context()
    };
    let effects = controller.plan(&key(), &world, &later).effects;
    world.carry_out(&effects);
    assert_ne!(team(&world).annotation(annotation::SHARD), Some(&*lost));
    let (another, _) = logical_cluster(&world);
    assert_ne!(another, name);
    assert_eq!(made.str_at(&["spec", "owner", "uid"]), Some(team(&world).uid()));
    let of = refs::logical_clusters().object(&cluster(&name), "", "cluster");
    (world, of.on(&lost))
}

#[test]
fn a_shard_that_is_lost_before_anything_was_seen_of_it_is_given_up() {
    let controller = Workspaces::new(shard());
    let (mut world, begun) = world_with_a_lost_choice(&controller);
    let unshared = ObjectRef {
        shard: None,
        ..begun.clone()
    };
    set_phase(&mut world, "Ready");
    world.settle(&controller, &key());
    assert_eq!(team(&world).str_at(&["status", "phase"]), Some("Ready"), "without it");
    assert!(world.objects.contains_key(&unshared), "nobody can say");
    let waiting = controller.plan(&key(), &world, &context());
    assert!(waiting.requeue.is_some() && waiting.effects.is_empty(), "{waiting:?}");

    // It is back, and has what was begun: that goes.
    world.dead.clear();
    world.foreign.insert(begun.clone());
    assert_eq!(controller.plan(&key(), &world, &context()), Plan::need(begun));
    world.foreign.clear();
    world.settle(&controller, &key());
    assert!(!world.objects.contains_key(&unshared));
    // What was on its way may arrive yet.
    assert!(team(&world).annotation(annotation::ABANDONED).is_some());
    let later = Context {
        now_seconds: context().now_seconds + 60,
        ..context()
    };
    world.carry_out(&controller.plan(&key(), &world, &later).effects);
    assert_eq!(team(&world).annotation(annotation::ABANDONED), None);
    assert_eq!(controller.plan(&key(), &world, &later), Plan::done());
    assert_eq!(team(&world).str_at(&["status", "phase"]), Some("Ready"));
}

#[test]
fn what_was_begun_elsewhere_goes_before_the_workspace_does() {
    let controller = Workspaces::new(shard());
    let (mut world, begun) = world_with_a_lost_choice(&controller);
    let of = refs::workspaces().object(&cluster("root"), "", "team");
    world.carry_out(&[Effect::Delete {
        of: of.clone(),
        uid: String::new(),
        resource_version: None,
    }]);
    world.settle(&controller, &key());
    assert!(world.objects.contains_key(&of), "its shard is away");
    world.dead.clear();
    let later = Context {
        now_seconds: context().now_seconds + 60,
        ..context()
    };
    for _ in 0..5 {
        world.carry_out(&controller.plan(&key(), &world, &later).effects);
    }
    assert!(!world.objects.contains_key(&of));
    let unshared = ObjectRef { shard: None, ..begun };
    assert!(!world.objects.contains_key(&unshared));
}

#[test]
fn deletion_waits_for_a_dead_shard_and_says_so() {
    let mut world = world_of_two();
    let controller = Workspaces::new(shard());
    world.carry_out(&controller.plan(&key(), &world, &context()).effects);
    set_phase(&mut world, "Ready");
    world.settle(&controller, &key());
    let of = refs::workspaces().object(&cluster("root"), "", "team");
    world.carry_out(&[Effect::Delete {
        of: of.clone(),
        uid: String::new(),
        resource_version: None,
    }]);
    world.dead.insert("beta".to_owned());
    world.settle(&controller, &key());
    let workspace = team(&world);
    assert_eq!(
        workspace.label(label::PHASE),
        Some("Deleting"),
        "by which it is found again"
    );
    let condition = conditions::get(&workspace, condition::WORKSPACE_CONTENT_DELETED).unwrap();
    assert_eq!(condition.reason, "ShardUnavailable");

    let (resource, root) = (refs::shards(), cluster("root"));
    let back = Trigger {
        resource: &resource,
        cluster: &root,
        namespace: "",
        name: "beta",
        old: None,
        new: None,
    };
    assert_eq!(controller.keys(&back, &world), [key()]);
    world.dead.clear();
    world.settle(&controller, &key());
    assert!(!world.objects.contains_key(&of));
}

/// Its end may come while the other shard is lost: whoever is told everything anew hears nothing of what is no more.
#[test]
fn a_deletion_on_another_shard_is_looked_at_again_without_being_told() {
    let mut world = world_of_two();
    let controller = Workspaces::new(shard());
    world.carry_out(&controller.plan(&key(), &world, &context()).effects);
    let (name, mut object) = logical_cluster(&world);
    object.add_finalizer(finalizer::LOGICAL_CLUSTER_DELETION);
    world.put(&refs::logical_clusters(), &name, object);
    set_phase(&mut world, "Ready");
    world.settle(&controller, &key());
    let of = refs::workspaces().object(&cluster("root"), "", "team");
    world.carry_out(&[Effect::Delete {
        of: of.clone(),
        uid: String::new(),
        resource_version: None,
    }]);
    world.settle(&controller, &key());
    assert_eq!(team(&world).label(label::PHASE), Some("Ready"));
    let waiting = controller.plan(&key(), &world, &context());
    assert!(waiting.effects.is_empty(), "{waiting:?}");
    assert_eq!(waiting.requeue, Some(LOOKS_AGAIN));
    world.objects.retain(|of, _| of.cluster.as_str() != name);
    world.settle(&controller, &key());
    assert!(!world.objects.contains_key(&of));
}
