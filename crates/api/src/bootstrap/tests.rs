use std::collections::BTreeSet;

use serde_json::Map;

use super::*;

/// Objects of a fresh root as kcp answers them, without what differs from server to server and without status.
fn recorded(plural: &str) -> Vec<Value> {
    let all: Map<String, Value> = serde_json::from_str(include_str!("../../tests/golden/root.json")).unwrap();
    all[plural].as_array().unwrap().clone()
}

fn options() -> RootOptions {
    RootOptions {
        batteries: Batteries::default(),
        home_creator_groups: vec!["system:authenticated".to_owned()],
    }
}

fn all_root() -> Vec<BootstrapObject> {
    root_phase0(true).into_iter().chain(root(&options())).collect()
}

/// The objects of one resource in root, sorted by name, in the form of [`recorded`].
fn made(plural: &str) -> Vec<Value> {
    let mut objects: Vec<Value> = all_root()
        .into_iter()
        .filter(|o| o.resource == plural)
        .map(|o| o.object)
        .collect();
    for object in &mut objects {
        object.remove_at(&["status"]);
    }
    objects.sort_by(|a, b| a.name().cmp(b.name()));
    objects
}

/// Lists of built-ins have no apiVersion and kind in their items.
fn without_kind(mut objects: Vec<Value>) -> Vec<Value> {
    for object in &mut objects {
        object.remove_at(&["apiVersion"]);
        object.remove_at(&["kind"]);
    }
    objects
}

#[test]
fn root_has_kcps_rbac() {
    for plural in ["clusterroles", "clusterrolebindings"] {
        assert_eq!(without_kind(made(plural)), recorded(plural), "{plural}");
    }
}

#[test]
fn root_has_kcps_namespaces() {
    assert_eq!(without_kind(made("namespaces")), recorded("namespaces"));
}

#[test]
fn root_has_kcps_types() {
    assert_eq!(made("workspacetypes"), recorded("workspacetypes"));
}

#[test]
fn root_has_kcps_exports_but_for_the_identity() {
    let mut recorded = recorded("apiexports");
    for export in &mut recorded {
        export.remove_at(&["spec", "identity"]);
    }
    assert_eq!(made("apiexports"), recorded);
}

#[test]
fn root_binds_as_kcp_but_for_the_label_of_the_claims() {
    let mut recorded = recorded("apibindings");
    for binding in &mut recorded {
        let labels = binding["metadata"]["labels"].as_object_mut().unwrap();
        labels.retain(|key, _| !key.starts_with(label::CLAIM_PREFIX));
    }
    assert_eq!(made("apibindings"), recorded);
    let names = |cache| {
        root_phase0(cache)
            .into_iter()
            .filter(|o| o.resource == "apibindings")
            .count()
    };
    assert_eq!((names(true), names(false)), (4, 3));
}

#[test]
fn root_begins_with_its_logical_cluster() {
    let first = root_phase0(true).remove(0);
    assert_eq!(first.mode, BootstrapMode::CreateOnly);
    let recorded = recorded("logicalclusters").remove(0);
    assert_eq!(first.object["spec"], recorded["spec"]);
    assert_eq!(
        first.object["metadata"]["finalizers"],
        recorded["metadata"]["finalizers"]
    );
    for key in [annotation::WORKSPACE_TYPE, annotation::OWNER] {
        assert_eq!(first.object.annotation(key), recorded.annotation(key));
    }
}

#[test]
fn shard_objects_carry_their_name_as_label() {
    let url = "https://HOST:PORT".to_owned();
    let urls = ShardUrls {
        base: url.clone(),
        external: url.clone(),
        virtual_workspace: url,
    };
    assert_eq!(shard_object("root", &urls), recorded("shards").remove(0));
}

#[test]
fn system_admin_has_kcps_policy() {
    let recorded: Map<String, Value> =
        serde_json::from_str(include_str!("../../tests/golden/system-admin-names.json")).unwrap();
    for (plural, names) in recorded {
        let mut made: Vec<String> = policy()
            .into_iter()
            .filter(|o| o.resource == plural)
            .map(|o| match o.object.namespace() {
                "" => o.object.name().to_owned(),
                namespace => format!("{namespace}/{}", o.object.name()),
            })
            .collect();
        made.sort();
        let mut names: Vec<String> = serde_json::from_value(names).unwrap();
        names.sort();
        assert_eq!(made, names, "{plural}");
    }
}

#[test]
fn bindings_refer_to_roles_that_exist() {
    let policy = policy();
    let roles: BTreeSet<(&str, String, String)> = policy
        .iter()
        .chain(&root(&RootOptions {
            batteries: Batteries {
                metrics_viewer: true,
                ..Batteries::default()
            },
            ..options()
        }))
        .map(|o| (o.resource, o.object.namespace().to_owned(), o.object.name().to_owned()))
        .collect();
    for o in policy
        .iter()
        .chain(&root(&options()))
        .filter(|o| o.resource.ends_with("bindings"))
    {
        let name = o.object["roleRef"]["name"].as_str().unwrap().to_owned();
        let found = match o.object["roleRef"]["kind"].as_str().unwrap() {
            "Role" => roles.contains(&("roles", o.object.namespace().to_owned(), name)),
            _ => roles.contains(&("clusterroles", String::new(), name)),
        };
        assert!(found, "{}", o.object);
    }
}

#[test]
fn namespaces_precede_what_is_in_them() {
    for list in [policy(), shard(), root_phase0(true), all_root()] {
        let mut seen = BTreeSet::new();
        for o in &list {
            if o.resource == "namespaces" {
                seen.insert(o.object.name());
            }
            let namespace = o.object.namespace();
            assert!(namespace.is_empty() || seen.contains(namespace), "{}", o.object);
        }
    }
}

#[test]
fn home_workspaces_are_for_the_configured_groups() {
    let subjects = |groups: &[&str]| {
        let home_creator_groups = groups.iter().map(|g| (*g).to_owned()).collect();
        let list = root(&RootOptions {
            home_creator_groups,
            ..options()
        });
        let name = "system:kcp:configured-group:home-clusterworkspace-create";
        list.into_iter().find(|o| o.object.name() == name).unwrap().object["subjects"].clone()
    };
    assert_eq!(subjects(&[]), json!([]));
    assert_eq!(
        subjects(&["team"]),
        json!([{"apiGroup": group::RBAC, "kind": "Group", "name": "team"}])
    );
}

#[test]
fn batteries_decide_what_is_optional() {
    let none = root(&RootOptions {
        batteries: Batteries::NONE,
        ..options()
    });
    let types: Vec<&str> = none
        .iter()
        .filter(|o| o.resource == "workspacetypes")
        .map(|o| o.object.name())
        .collect();
    assert_eq!(types, ["home", "root", "universal"]);
    let root_type = none
        .iter()
        .find(|o| o.resource == "workspacetypes" && o.object.name() == "root")
        .unwrap();
    assert_eq!(
        root_type.object["spec"]["defaultChildWorkspaceType"]["name"],
        "universal"
    );
    assert!(none.iter().all(|o| o.object.annotation(annotation::BATTERY).is_none()));

    let metrics = root(&RootOptions {
        batteries: Batteries {
            metrics_viewer: true,
            ..Batteries::NONE
        },
        ..options()
    });
    assert_eq!(metrics.len(), none.len() + 4);
}

#[test]
fn create_only_is_said_on_the_object_too() {
    for o in all_root().iter().chain(&shard()) {
        if o.object.annotation(annotation::CREATE_ONLY).is_some() {
            assert_eq!(o.mode, BootstrapMode::CreateOnly, "{}", o.object.name());
        }
    }
}

#[test]
fn exports_pin_schemas_that_exist() {
    for export in exports::exports() {
        for resource in export["spec"]["resources"].as_array().unwrap() {
            let schema = exports::schema(resource["schema"].as_str().unwrap()).unwrap();
            assert_eq!(schema["spec"]["group"], resource["group"]);
            assert_eq!(schema["spec"]["names"]["plural"], resource["name"]);
        }
    }
    assert!(exports::exported_schema("tenancy.kcp.io", "workspaces").is_some());
    assert!(exports::exported_schema("core.kcp.io", "logicalclusters").is_none());
    assert_eq!(
        (exports::schemas().len(), exports::exports().len(), system::crds().len()),
        (12, 5, 8)
    );
}

#[test]
fn kcps_own_resources_are_named_as_in_discovery() {
    let recorded: Map<String, Value> =
        serde_json::from_str(include_str!("../../tests/golden/discovery-kcp.json")).unwrap();
    for (group_version, resources) in recorded {
        let (group, version) = group_version.split_once('/').unwrap();
        for entry in resources.as_array().unwrap() {
            let name = entry["name"].as_str().unwrap();
            let (plural, sub) = name.split_once('/').map_or((name, None), |(p, s)| (p, Some(s)));
            let own = system::crds()
                .iter()
                .find(|c| c["spec"]["group"] == group && c["spec"]["names"]["plural"] == plural);
            let object = own.or_else(|| exports::exported_schema(group, plural)).unwrap();
            assert_eq!(object["spec"]["names"]["kind"], entry["kind"], "{name}");
            assert_eq!(object["spec"]["scope"] == "Namespaced", entry["namespaced"], "{name}");
            let versions = object["spec"]["versions"].as_array().unwrap();
            let found = versions
                .iter()
                .find(|v| v["name"] == version && v["served"] == true)
                .unwrap();
            match sub {
                Some(sub) => assert!(found["subresources"].get(sub).is_some(), "{name}"),
                None => {
                    let names = &object["spec"]["names"];
                    assert_eq!(names["singular"], entry["singularName"], "{name}");
                    assert_eq!(names.get("shortNames"), entry.get("shortNames"), "{name}");
                    assert_eq!(names.get("categories"), entry.get("categories"), "{name}");
                    let hash = system::storage_version_hash(group, plural);
                    // Discovery has it only with the version that is stored.
                    if found["storage"] == true {
                        assert_eq!(hash, entry["storageVersionHash"].as_str(), "{name}");
                    }
                }
            }
        }
    }
}
