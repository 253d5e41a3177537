use super::*;
use crate::testing::{Literals, cluster};

fn schema(name: &str, plural: &str, kind: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "group": "example.io", "scope": "Namespaced",
        "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"type": "object"}}]}})
}

fn world() -> Literals {
    let mut world = Literals::default();
    world.put(
        &refs::logical_clusters(),
        "cons",
        json!({"metadata": {"name": "cluster"}, "status": {"phase": "Ready"}}),
    );
    world.put(
        &refs::schemas(),
        "prov",
        schema("v1.widgets.example.io", "widgets", "Widget"),
    );
    let export = json!({"metadata": {"name": "e", "annotations": {"kcp.io/path": "root:prov"}},
        "spec": {"resources": [{"name": "widgets", "group": "example.io", "schema": "v1.widgets.example.io", "storage": {"crd": {}}}],
            "permissionClaims": [{"group": "", "resource": "configmaps", "verbs": ["get"]}]},
        "status": {"identityHash": "abc"}});
    world.put(&refs::exports(), "prov", export);
    world
}

fn bind(world: &mut Literals, name: &str) -> Value {
    let claim = json!({"group": "", "resource": "configmaps", "verbs": ["get"], "state": "Accepted", "selector": {"matchAll": true}});
    let binding = json!({"metadata": {"name": name}, "spec": {
        "reference": {"export": {"path": "root:prov", "name": "e"}}, "permissionClaims": [claim]}});
    world.put(&refs::bindings(), "cons", binding);
    world.settle(&Bindings, &Key::new(&cluster("cons"), "", name));
    world.object(&refs::bindings(), "cons", "", name).unwrap().clone()
}

#[test]
fn binds_in_one_step_and_points_to_the_schema() {
    let mut world = world();
    let binding = bind(&mut world, "b");
    assert_eq!(binding.str_at(&["status", "phase"]), Some("Bound"));
    let true_conditions = [
        "Ready",
        "APIExportValid",
        "BindingUpToDate",
        "InitialBindingCompleted",
        "PermissionClaimsApplied",
        "PermissionClaimsValid",
    ];
    for kind in true_conditions {
        assert!(conditions::is_true(&binding, kind), "{kind}");
    }
    let bound = bound_resources(&binding)[0];
    assert_eq!(bound.at(&["storageVersions"]).unwrap(), &json!(["v1"]));
    let uid = bound.str_at(&["schema", "UID"]).unwrap();
    assert!(is_established(
        world.object(&refs::crds(), "system:bound-crds", "", uid).unwrap()
    ));
    let lc = world.object(&refs::logical_clusters(), "cons", "", "cluster").unwrap();
    assert_eq!(
        lc.annotation(annotation::RESOURCE_BINDINGS),
        Some(r#"{"widgets.example.io":{"n":"b"}}"#)
    );
    assert_eq!(
        binding.at(&["status", "appliedPermissionClaims"]).unwrap()[0]["resource"],
        "configmaps"
    );
}

#[test]
fn the_second_owner_of_a_resource_is_told_who_has_it() {
    let mut world = world();
    bind(&mut world, "first");
    let second = bind(&mut world, "second");
    let condition = conditions::get(&second, condition::BINDING_UP_TO_DATE).unwrap();
    assert_eq!(condition.reason, "NamingConflicts");
    assert_eq!(
        condition.message,
        "Unable to bind APIs because they are bound by other APIBindings or CRDs: map[widgets.example.io:{first false}]"
    );
    assert_eq!(second.str_at(&["status", "phase"]), Some("Binding"));
}

#[test]
fn an_established_crd_keeps_its_name() {
    let mut world = world();
    let mut crd = schema("widgets.example.io", "widgets", "Widget");
    crd.set_at(
        &["status", "conditions"],
        json!([{"type": "Established", "status": "True"}]),
    );
    world.put(&refs::crds(), "cons", crd);
    let binding = bind(&mut world, "b");
    let condition = conditions::get(&binding, condition::BINDING_UP_TO_DATE).unwrap();
    assert!(
        condition.message.contains("widgets.example.io:{ true}"),
        "{}",
        condition.message
    );
}

#[test]
fn a_kind_of_another_resource_of_the_group_clashes() {
    let mut world = world();
    let mut crd = schema("gizmos.example.io", "gizmos", "Widget");
    crd.set_at(
        &["status", "conditions"],
        json!([{"type": "Established", "status": "True"}]),
    );
    world.put(&refs::crds(), "cons", crd);
    let condition = conditions::get(&bind(&mut world, "b"), condition::BINDING_UP_TO_DATE).unwrap();
    assert!(
        condition
            .message
            .starts_with("Unable to bind APIs: naming conflict with CustomResourceDefinition")
    );
}

#[test]
fn missing_exports_and_identities_are_named() {
    let mut world = world();
    world.objects.retain(|of, _| of.resource != refs::exports());
    let binding = bind(&mut world, "b");
    let condition = conditions::get(&binding, condition::API_EXPORT_VALID).unwrap();
    assert_eq!(
        (condition.reason.as_str(), condition.message.as_str()),
        ("APIExportNotFound", "APIExport root:prov|e not found")
    );
    assert_eq!(conditions::get(&binding, "Ready").unwrap().reason, "APIExportNotFound");
}

#[test]
fn claims_are_applied_once_the_objects_show_it() {
    let mut world = world();
    let mut object = json!({"metadata": {"name": "c", "namespace": "n"}});
    world.put(&refs::config_maps(), "cons", object.clone());
    let binding = bind(&mut world, "b");
    assert!(conditions::is_true(&binding, "InitialBindingCompleted"));
    assert!(!conditions::is_true(&binding, condition::PERMISSION_CLAIMS_APPLIED));
    assert_eq!(binding.at(&["status", "appliedPermissionClaims"]), None);
    let key = Key::new(&cluster("cons"), "", "b");
    // Nothing will tell that the label is there.
    let plan = Bindings.plan(&key, &world, &crate::testing::context());
    assert_eq!((plan.requeue, plan.requeue_max), (Some(LABELLING), Some(RETRY)));
    let label = hashes::claim_label_value("", "configmaps", "");
    object.set_label(&hashes::claim_label_key("prov", "e"), &label);
    world.put(&refs::config_maps(), "cons", object);
    world.settle(&Bindings, &key);
    let binding = world.object(&refs::bindings(), "cons", "", "b").unwrap();
    assert!(conditions::is_true(binding, condition::PERMISSION_CLAIMS_APPLIED));
}

#[test]
fn an_export_and_its_schemas_wake_who_refers_to_them_by_whatever_label() {
    let mut world = world();
    for (name, of) in [("by-name", "prov"), ("by-path", "root:prov"), ("another", "root:other")] {
        let binding = json!({"metadata": {"name": name, "labels": {label::EXPORT: hashes::export_label(of, "e")}}});
        world.put(&refs::bindings(), "cons", binding);
    }
    let woken = |resource: ResourceRef, name: &str| {
        let home = cluster("prov");
        let object = world.object(&resource, "prov", "", name).unwrap().clone();
        let event = crate::testing::Event(object);
        let trigger = Trigger {
            resource: &resource,
            cluster: &home,
            namespace: "",
            name,
            old: None,
            new: Some(&event),
        };
        let mut names: Vec<String> = Bindings
            .keys(&trigger, &world)
            .into_iter()
            .map(|key| key.name.to_string())
            .collect();
        names.sort();
        names
    };
    assert_eq!(woken(refs::exports(), "e"), ["by-name", "by-path"]);
    assert_eq!(woken(refs::schemas(), "v1.widgets.example.io"), ["by-name", "by-path"]);
}
