use serde_json::json;

use super::*;
use crate::testing::{Literals, cluster};

fn marks(world: &Literals, resource: &ResourceRef, of: &str, name: &str) -> Option<String> {
    let object = world.object(resource, of, "", name).unwrap();
    object.annotation(annotation::REPLICATE).map(str::to_owned)
}

fn world(of: &str) -> Literals {
    let mut world = Literals::default();
    world.put(&refs::logical_clusters(), of, json!({"metadata": {"name": "cluster"}}));
    let everything = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
        {"nonResourceURLs": ["*"], "verbs": ["*"]}]);
    let admin = json!({"metadata": {"name": "cluster-admin"}, "rules": everything});
    world.put(&refs::cluster_roles(), "system:admin", admin);
    let binding = json!({"metadata": {"name": "workspace-admin"},
        "roleRef": {"kind": "ClusterRole", "name": "cluster-admin"}, "subjects": [{"kind": "User", "name": "u"}]});
    world.put(&refs::cluster_role_bindings(), of, binding);
    world
}

fn settle(world: &mut Literals, of: &str) {
    let of = cluster(of);
    world.settle(&MarkedClusters, &Key::of_cluster(&of));
    for (name, resource) in [
        (ROLES, refs::cluster_roles()),
        (BINDINGS, refs::cluster_role_bindings()),
    ] {
        for object in world.outline(&resource, &of, "") {
            world.settle(&MarkedRbac, &Key::new(&of, name, &object.of.name));
        }
    }
}

#[test]
fn a_workspace_that_offers_nothing_is_not_replicated() {
    let mut world = world("abc");
    settle(&mut world, "abc");
    assert_eq!(marks(&world, &refs::logical_clusters(), "abc", "cluster"), None);
    assert_eq!(
        marks(&world, &refs::cluster_role_bindings(), "abc", "workspace-admin"),
        None
    );
}

#[test]
fn what_binds_is_replicated_as_long_as_there_is_an_export() {
    let mut world = world("abc");
    let binder = json!({"metadata": {"name": "binder"}, "rules": [{"apiGroups": ["apis.kcp.io"],
        "resources": ["apiexports"], "resourceNames": ["e"], "verbs": ["bind"]}]});
    world.put(&refs::cluster_roles(), "abc", binder);
    let reader = json!({"metadata": {"name": "reader"}, "rules": [{"apiGroups": [""], "resources": ["secrets"],
        "verbs": ["get"]}]});
    world.put(&refs::cluster_roles(), "abc", reader);
    let export = refs::exports();
    world.put(&export, "abc", json!({"metadata": {"name": "e"}}));
    settle(&mut world, "abc");
    let apis = Some("apis.kcp.io".to_owned());
    assert_eq!(marks(&world, &refs::logical_clusters(), "abc", "cluster"), apis);
    assert_eq!(marks(&world, &refs::cluster_roles(), "abc", "binder"), apis);
    assert_eq!(
        marks(&world, &refs::cluster_roles(), "abc", "reader"),
        None,
        "it shares nothing"
    );
    let admin = marks(&world, &refs::cluster_role_bindings(), "abc", "workspace-admin");
    assert_eq!(admin.as_deref(), Some("apis.kcp.io,core.kcp.io,tenancy.kcp.io"));

    world.objects.remove(&export.object(&cluster("abc"), "", "e"));
    settle(&mut world, "abc");
    for (resource, name) in [
        (refs::logical_clusters(), "cluster"),
        (refs::cluster_roles(), "binder"),
        (refs::cluster_role_bindings(), "workspace-admin"),
    ] {
        assert_eq!(marks(&world, &resource, "abc", name), None, "{name}");
    }
}

#[test]
fn policies_for_users_of_bound_apis_are_replicated_with_their_roles() {
    let mut world = world("abc");
    world.put(&refs::exports(), "abc", json!({"metadata": {"name": "e"}}));
    let role = json!({"metadata": {"name": "limits"}, "rules": [{"apiGroups": ["g.io"], "resources": ["things"],
        "verbs": ["get"]}]});
    world.put(&refs::cluster_roles(), "abc", role);
    let binding = json!({"metadata": {"name": "limits"}, "roleRef": {"kind": "ClusterRole", "name": "limits"},
        "subjects": [{"kind": "Group", "name": "apis.kcp.io:binding:system:authenticated"}]});
    world.put(&refs::cluster_role_bindings(), "abc", binding);
    settle(&mut world, "abc");
    let apis = Some("apis.kcp.io".to_owned());
    assert_eq!(marks(&world, &refs::cluster_roles(), "abc", "limits"), apis);
    assert_eq!(marks(&world, &refs::cluster_role_bindings(), "abc", "limits"), apis);
}

/// What was recorded of kcp's root.
#[test]
fn the_marks_of_root_are_kcps() {
    let mut world = Literals::default();
    let options = api::bootstrap::RootOptions {
        batteries: Default::default(),
        home_creator_groups: vec!["system:authenticated".to_owned()],
    };
    for object in api::bootstrap::policy()
        .into_iter()
        .chain(api::bootstrap::root(&options))
    {
        let resource = ResourceRef::new(object.group, object.resource);
        world.put(&resource, object.cluster, object.object);
    }
    world.put(&refs::exports(), "root", json!({"metadata": {"name": "e"}}));
    world.put(&refs::workspace_types(), "root", json!({"metadata": {"name": "t"}}));
    let root = cluster("root");
    let mut seen = 0;
    for (name, resource) in [
        (ROLES, refs::cluster_roles()),
        (BINDINGS, refs::cluster_role_bindings()),
    ] {
        for object in world.outline(&resource, &root, "") {
            let before = marks(&world, &resource, "root", &object.of.name);
            world.settle(&MarkedRbac, &Key::new(&root, name, &object.of.name));
            assert_eq!(
                marks(&world, &resource, "root", &object.of.name),
                before,
                "{}",
                object.of.name
            );
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn other_reasons_are_kept() {
    let mut world = world("abc");
    let role = json!({"metadata": {"name": "user", "annotations": {"internal.kcp.io/replicate": "mine"}},
        "rules": [{"apiGroups": ["tenancy.kcp.io"], "resources": ["workspacetypes"], "verbs": ["use"]}]});
    world.put(&refs::cluster_roles(), "abc", role);
    world.put(&refs::workspace_types(), "abc", json!({"metadata": {"name": "t"}}));
    settle(&mut world, "abc");
    let marked = marks(&world, &refs::cluster_roles(), "abc", "user");
    assert_eq!(marked.as_deref(), Some("mine,tenancy.kcp.io"));
}
