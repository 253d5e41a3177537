use serde_json::{Value, json};

use super::*;
use crate::testing::definitions;

fn fitted(name: &str, mut object: Value) -> (Result<Value, String>, Vec<String>) {
    let shape = Shapes::new(&definitions()).of(name).unwrap();
    let mut strict = StrictErrors::default();
    let result = shape.fit(&mut object, &mut strict);
    (
        result.map(|()| object).map_err(|e| e.to_string()),
        strict.texts().to_vec(),
    )
}

#[test]
fn unknown_members_go_at_every_depth() {
    let (object, strict) = fitted(
        "io.k8s.api.rbac.v1.Role",
        json!({"metadata": {"name": "r", "x": 1}, "rules": [{"verbs": ["get"], "y": 1}], "z": 1}),
    );
    assert_eq!(
        object.unwrap(),
        json!({"metadata": {"name": "r"}, "rules": [{"verbs": ["get"]}]})
    );
    assert_eq!(
        strict,
        [
            "unknown field \"metadata.x\"",
            "unknown field \"z\"",
            "unknown field \"rules[0].y\""
        ]
    );
}

#[test]
fn empty_and_null_optionals_go() {
    let (object, _) = fitted(
        "io.k8s.api.core.v1.ConfigMap",
        json!({"data": {}, "binaryData": null, "immutable": false}),
    );
    assert_eq!(object.unwrap(), json!({"immutable": false}));
}

#[test]
fn times_are_written_as_go_writes_them() {
    let lease = json!({"spec": {"renewTime": "2026-01-02T03:04:05+01:00", "leaseDurationSeconds": 3}});
    let (object, _) = fitted("io.k8s.api.coordination.v1.Lease", lease);
    assert_eq!(object.unwrap()["spec"]["renewTime"], "2026-01-02T02:04:05.000000Z");
}

#[test]
fn texts_name_struct_field_and_type() {
    let text = |name: &str, object: Value| fitted(name, object).0.unwrap_err();
    assert_eq!(
        text("io.k8s.api.rbac.v1.Role", json!({"rules": [{"verbs": "get"}]})),
        "json: cannot unmarshal string into Go struct field PolicyRule.rules.verbs of type []string"
    );
    assert_eq!(
        text(
            "io.k8s.api.coordination.v1.Lease",
            json!({"spec": {"leaseDurationSeconds": 5_000_000_000i64}})
        ),
        "json: cannot unmarshal number 5000000000 into Go struct field LeaseSpec.spec.leaseDurationSeconds of type int32"
    );
    assert_eq!(
        text("io.k8s.api.core.v1.ConfigMap", json!({"data": ["x"]})),
        "json: cannot unmarshal array into Go struct field ConfigMap.data of type map[string]string"
    );
}

#[test]
fn schemas_in_definitions_recurse() {
    let crd = json!({"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": {
        "type": "object", "properties": {"a": {"type": "array", "items": {"type": "string", "typo": 1}}}, "default": {"any": [1]},
    }}}]}});
    let (object, strict) = fitted(
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
        crd,
    );
    let schema = &object.unwrap()["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    assert_eq!(schema["properties"]["a"]["items"], json!({"type": "string"}));
    assert_eq!(schema["default"], json!({"any": [1]}));
    assert_eq!(strict.len(), 1);
}
