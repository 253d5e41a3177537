use serde_json::json;

use super::*;

/// The resource lists of an empty workspace as kcp answers them, by group, without descriptions.
fn recorded() -> Map<String, Value> {
    serde_json::from_str(include_str!("../../tests/golden/discovery.json")).unwrap()
}

/// A resource list made from the data, in the form of discovery.
fn discovery_of(group: &str) -> Vec<Value> {
    let mut out = Vec::new();
    for r in resources().iter().filter(|r| r.group == group) {
        let mut entry = json!({
            "name": r.plural, "singularName": r.singular, "namespaced": r.namespaced, "kind": r.kind, "verbs": r.verbs,
        });
        if !r.short_names.is_empty() {
            entry["shortNames"] = json!(r.short_names);
        }
        if !r.categories.is_empty() {
            entry["categories"] = json!(r.categories);
        }
        if !r.storage_version_hash.is_empty() {
            entry["storageVersionHash"] = json!(r.storage_version_hash);
        }
        out.push(entry);
        for s in &r.subresources {
            let kind = s.own_kind.as_ref().map_or(&r.kind, |own| &own.kind);
            let mut entry = json!({
                "name": format!("{}/{}", r.plural, s.name), "singularName": "", "namespaced": r.namespaced,
                "kind": kind, "verbs": s.verbs,
            });
            if let Some(own) = &s.own_kind {
                entry["group"] = json!(own.group);
                entry["version"] = json!(own.version);
            }
            out.push(entry);
        }
    }
    out
}

#[test]
fn resources_are_those_of_a_kcp_workspace() {
    let recorded = recorded();
    assert_eq!(recorded.len(), GROUPS.len());
    for group in GROUPS {
        assert_eq!(&json!(discovery_of(group)), &recorded[group], "{group}");
    }
}

#[test]
fn groups_come_in_the_order_of_discovery() {
    let mut order: Vec<&str> = resources().iter().map(|r| r.group.as_str()).collect();
    order.dedup();
    assert_eq!(order, GROUPS);
}

#[test]
fn every_reference_resolves() {
    fn check(value: &Value) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(target)) = members.get("$ref") {
                    let name = target.strip_prefix("#/components/schemas/").unwrap();
                    assert!(definition(name).is_some(), "{target}");
                }
                members.values().for_each(check);
            }
            Value::Array(items) => items.iter().for_each(check),
            _ => {}
        }
    }
    check(definitions());
}

#[test]
fn every_kind_has_a_definition_that_names_it() {
    for r in resources() {
        let names = &definition(&r.schema).unwrap()["x-kubernetes-group-version-kind"];
        let own = json!({"group": r.group, "version": r.version, "kind": r.kind});
        assert!(names.as_array().unwrap().contains(&own), "{}", r.schema);
        if let Some(list) = r.list_schema() {
            assert!(definition(&list).is_some(), "{list}");
        }
        for own in r.subresources.iter().filter_map(|s| s.own_kind.as_ref()) {
            assert!(definition(&own.schema).is_some(), "{}", own.schema);
        }
    }
}

#[test]
fn definitions_know_how_lists_merge() {
    let account = definition("io.k8s.api.core.v1.ServiceAccount").unwrap();
    let secrets = &account["properties"]["secrets"];
    assert_eq!(secrets["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(secrets["x-kubernetes-patch-strategy"], "merge");
    assert_eq!(secrets["x-kubernetes-list-type"], "map");
}

#[test]
fn both_kinds_of_events_are_stored_in_one_place() {
    let core = resource("", "v1", "events").unwrap();
    let own = resource("events.k8s.io", "v1", "events").unwrap();
    assert_eq!(core.storage, own.storage);
    assert_eq!(core.storage_version_hash, own.storage_version_hash);
}

#[test]
fn reviews_are_not_stored() {
    for r in resources() {
        assert_eq!(r.storage.is_none(), r.verbs == ["create"], "{}", r.plural);
        assert_eq!(r.storage.is_some(), !r.storage_version_hash.is_empty(), "{}", r.plural);
    }
}

#[test]
fn reviews_of_oneself_are_not_claimable() {
    for (group, resource) in [
        ("", "configmaps"),
        ("authorization.k8s.io", "subjectaccessreviews"),
        ("core.kcp.io", "logicalclusters"),
    ] {
        assert!(is_claimable(group, resource), "{resource}");
    }
    for (group, resource) in [
        ("authorization.k8s.io", "selfsubjectaccessreviews"),
        ("apps", "deployments"),
        ("core.kcp.io", "shards"),
    ] {
        assert!(!is_claimable(group, resource), "{resource}");
    }
}
