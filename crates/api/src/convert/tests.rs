use serde_json::json;

use super::*;

const V1: &str = "v1alpha1";
const V2: &str = "v1alpha2";

fn recorded(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn export(version: &str) -> Value {
    recorded(match version {
        V1 => include_str!("../../tests/golden/apiexport-v1alpha1.json"),
        _ => include_str!("../../tests/golden/apiexport-v1alpha2.json"),
    })
}

fn binding(version: &str) -> Value {
    recorded(match version {
        V1 => include_str!("../../tests/golden/apibinding-bound-v1alpha1.json"),
        _ => include_str!("../../tests/golden/apibinding-bound-v1alpha2.json"),
    })
}

/// The schema of v1alpha2 fills in empty groups and hashes, which conversion leaves to it.
fn without_defaults(mut object: Value) -> Value {
    for path in [
        ["spec", "permissionClaims"],
        ["status", "exportPermissionClaims"],
        ["status", "appliedPermissionClaims"],
    ] {
        let Some(claims) = object.get_mut(path[0]).and_then(|v| v.get_mut(path[1])) else {
            continue;
        };
        for claim in claims.as_array_mut().unwrap() {
            claim.as_object_mut().unwrap().retain(|_, value| value != "");
        }
    }
    object
}

fn v1_export(claims: Value, schemas: Value) -> Value {
    json!({
        "apiVersion": "apis.kcp.io/v1alpha1", "kind": "APIExport", "metadata": {"name": "e"},
        "spec": {"latestResourceSchemas": schemas, "permissionClaims": claims},
    })
}

fn v1_binding(claims: Value) -> Value {
    json!({
        "apiVersion": "apis.kcp.io/v1alpha1", "kind": "APIBinding", "metadata": {"name": "b"},
        "spec": {"reference": {"export": {"name": "e"}}, "permissionClaims": claims},
    })
}

#[test]
fn shows_exports_in_v1alpha1_as_kcp_does() {
    assert_eq!(convert(export(V2), V1).unwrap(), export(V1));
}

#[test]
fn shows_bindings_in_v1alpha1_as_kcp_does() {
    assert_eq!(convert(binding(V2), V1).unwrap(), binding(V1));
}

#[test]
fn exports_come_back_from_v1alpha1() {
    let mut back = convert(export(V1), V2).unwrap();
    let kept = back.annotation("apis.v1alpha2.kcp.io/v1alpha1-permission-claims");
    assert_eq!(kept, Some(r#"[{"resource":"configmaps"},{"resource":"secrets"}]"#));
    back.remove_annotation("apis.v1alpha2.kcp.io/v1alpha1-permission-claims");
    assert_eq!(back, without_defaults(export(V2)));
}

#[test]
fn bindings_come_back_from_v1alpha1() {
    let mut back = convert(binding(V1), V2).unwrap();
    let kept = back.annotation("apis.v1alpha2.kcp.io/v1alpha1-status-export-permission-claims");
    assert_eq!(kept, Some(r#"[{"resource":"configmaps"},{"resource":"secrets"}]"#));
    back.remove_annotation("apis.v1alpha2.kcp.io/v1alpha1-status-export-permission-claims");
    assert_eq!(back, without_defaults(binding(V2)));
}

#[test]
fn old_exports_come_back_from_v1alpha2() {
    let claims = json!([
        {"resource": "configmaps", "all": true},
        {"group": "g.io", "resource": "things", "identityHash": "abc", "resourceSelector": [{"name": "x", "namespace": "y"}]},
    ]);
    let old = v1_export(claims, json!(["v1.widgets.example.io", "v1.pods.core"]));
    let new = convert(old.clone(), V2).unwrap();
    let resources = json!([
        {"name": "widgets", "group": "example.io", "schema": "v1.widgets.example.io", "storage": {"crd": {}}},
        {"name": "pods", "group": "", "schema": "v1.pods.core", "storage": {"crd": {}}},
    ]);
    assert_eq!(new["spec"]["resources"], resources);
    assert_eq!(new["spec"].get("latestResourceSchemas"), None);
    let claims = json!([
        {"resource": "configmaps", "verbs": ["*"]},
        {"group": "g.io", "resource": "things", "verbs": ["*"], "identityHash": "abc"},
    ]);
    assert_eq!(new["spec"]["permissionClaims"], claims);
    assert_eq!(convert(new, V1).unwrap(), old);
}

#[test]
fn old_bindings_come_back_from_v1alpha2() {
    let mut old = v1_binding(json!([
        {"resource": "configmaps", "all": true, "state": "Accepted"},
        {"resource": "secrets", "resourceSelector": [{"name": "x"}], "state": "Rejected"},
    ]));
    old["status"] = json!({
        "exportPermissionClaims": [{"resource": "configmaps", "all": true}],
        "appliedPermissionClaims": [{"resource": "secrets", "resourceSelector": [{"name": "x"}]}],
    });
    let new = convert(old.clone(), V2).unwrap();
    let claims = json!([
        {"resource": "configmaps", "verbs": ["*"], "selector": {"matchAll": true}, "state": "Accepted"},
        {"resource": "secrets", "verbs": ["*"], "selector": {"matchAll": true}, "state": "Rejected"},
    ]);
    assert_eq!(new["spec"]["permissionClaims"], claims);
    assert_eq!(convert(new, V1).unwrap(), old);
}

#[test]
fn virtual_storage_survives_v1alpha1() {
    let storage =
        json!({"virtual": {"identityHash": "h", "reference": {"apiGroup": "cache.kcp.io", "kind": "K", "name": "n"}}});
    let resources = json!([
        {"name": "a", "group": "g.io", "schema": "v1.a.g.io", "storage": {"crd": {}}},
        {"name": "b", "group": "g.io", "schema": "v1.b.g.io", "storage": storage},
    ]);
    let new = json!({
        "apiVersion": "apis.kcp.io/v1alpha2", "kind": "APIExport", "metadata": {"name": "e"},
        "spec": {"resources": resources},
    });
    let old = convert(new.clone(), V1).unwrap();
    assert_eq!(old["spec"], json!({"latestResourceSchemas": ["v1.a.g.io"]}));
    assert_eq!(convert(old, V2).unwrap(), new);
}

#[test]
fn selectors_survive_v1alpha1() {
    let selector = json!({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "k", "operator": "Exists"}]});
    let mut new =
        v1_binding(json!([{"resource": "secrets", "verbs": ["get"], "selector": selector, "state": "Accepted"}]));
    new["apiVersion"] = json!("apis.kcp.io/v1alpha2");
    let old = convert(new.clone(), V1).unwrap();
    assert_eq!(
        old["spec"]["permissionClaims"],
        json!([{"resource": "secrets", "state": "Accepted"}])
    );
    let kept = old
        .annotation("apis.v1alpha2.kcp.io/acceptable-permission-claims")
        .unwrap();
    let expected = concat!(
        r#"[{"resource":"secrets","verbs":["get"],"selector":{"matchLabels":{"a":"b"},"#,
        r#""matchExpressions":[{"key":"k","operator":"Exists"}]},"state":"Accepted"}]"#
    );
    assert_eq!(kept, expected);
    assert_eq!(convert(old, V2).unwrap(), new);
}

#[test]
fn refuses_schema_names_without_group() {
    let error = convert(v1_export(json!([]), json!(["foo"])), V2).unwrap_err();
    let status = Status::from(error);
    assert_eq!((status.code, status.reason), (500, Reason::Unknown));
    assert_eq!(
        status.message,
        "failed to convert v1alpha1 APIExport to v1alpha2: invalid schema \"foo\": must have at least 3 dot-separated segments"
    );
}

#[test]
fn refuses_annotations_that_are_no_claims() {
    let mut object = v1_binding(json!([]));
    object.set_annotation("apis.v1alpha2.kcp.io/acceptable-permission-claims", "{");
    let message = convert(object, V2).unwrap_err().to_string();
    assert!(
        message.starts_with("failed to convert v1alpha1 APIBinding to v1alpha2: failed to decode claims from JSON:")
    );
}

#[test]
fn leaves_wrong_types_to_validation() {
    let object = v1_export(json!("text"), json!(7));
    let converted = convert(object.clone(), V2).unwrap();
    assert_eq!(converted["spec"], object["spec"]);
    for object in [
        json!(null),
        json!({"apiVersion": "apis.kcp.io/v1alpha1", "kind": "APIBinding"}),
        json!([]),
    ] {
        assert!(convert(object, V2).is_ok());
    }
}

#[test]
fn other_kinds_change_their_api_version_alone() {
    let object =
        json!({"apiVersion": "apis.kcp.io/v1alpha1", "kind": "APIConversion", "spec": {"permissionClaims": []}});
    let converted = convert(object.clone(), V2).unwrap();
    assert_eq!(converted["apiVersion"], "apis.kcp.io/v1alpha2");
    assert_eq!(converted["spec"], object["spec"]);
    assert!(converts("apis.kcp.io", "APIBinding") && !converts("apis.kcp.io", "APIConversion"));
}

#[test]
fn reads_null_as_an_empty_list() {
    let mut object = v1_binding(json!([{"resource": "secrets", "resourceSelector": null, "state": "Accepted"}]));
    let kept =
        r#"[{"resource":"secrets","verbs":null,"selector":{"matchLabels":null,"matchAll":true},"state":"Accepted"}]"#;
    object.set_annotation("apis.v1alpha2.kcp.io/acceptable-permission-claims", kept);
    object.set_annotation("apis.v1alpha2.kcp.io/status-export-permission-claims", "null");
    let new = convert(object, V2).unwrap();
    let claims = json!([{"resource": "secrets", "verbs": ["*"], "selector": {"matchAll": true}, "state": "Accepted"}]);
    assert_eq!(new["spec"]["permissionClaims"], claims);
    assert_eq!(new["metadata"], json!({"name": "b"}));
}
