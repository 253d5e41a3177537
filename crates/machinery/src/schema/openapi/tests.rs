use serde_json::{Map, json};

use super::*;

fn definitions() -> Map<String, Value> {
    let json = json!({
        "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta": {"type": "object", "properties": {
            "creationTimestamp": {"allOf": [{"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.Time"}]}}},
        "io.k8s.apimachinery.pkg.apis.meta.v1.Time": {"type": "string", "format": "date-time"},
        "unused": {}
    });
    json.as_object().cloned().unwrap_or_default()
}

fn widget(schema: &Value) -> ServedResource<'_> {
    ServedResource {
        group: "example.io",
        version: "v1",
        kind: "Widget",
        list_kind: "WidgetList",
        plural: "widgets",
        namespaced: true,
        schema: Published::Custom(Some(schema)),
        subresources: Subresources {
            status: true,
            scale: false,
        },
        verbs: &ALL_VERBS,
    }
}

#[test]
fn patch_tells_kubectl_what_the_server_can() {
    let schema = json!({"type": "object"});
    let document = document(&[widget(&schema)], &definitions());
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(
        paths.keys().collect::<Vec<_>>(),
        [
            "/apis/example.io/v1/namespaces/{namespace}/widgets",
            "/apis/example.io/v1/namespaces/{namespace}/widgets/{name}",
            "/apis/example.io/v1/namespaces/{namespace}/widgets/{name}/status",
            "/apis/example.io/v1/widgets",
        ]
    );
    let patch = &paths["/apis/example.io/v1/namespaces/{namespace}/widgets/{name}"]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "example.io", "version": "v1", "kind": "Widget"})
    );
    assert_eq!(patch["x-kubernetes-action"], "patch");
    assert_eq!(patch["operationId"], "patchExampleIoV1NamespacedWidget");
    let names: Vec<&str> = patch["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|parameter| parameter["name"].as_str())
        .collect();
    assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
    let all = &paths["/apis/example.io/v1/widgets"]["get"];
    assert_eq!(all["operationId"], "listExampleIoV1WidgetForAllNamespaces");
}

#[test]
fn every_reference_resolves_and_nothing_else_is_carried() {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object"}}});
    let document = document(&[widget(&schema)], &definitions());
    let schemas = document["components"]["schemas"].as_object().unwrap();
    assert!(schemas.contains_key("io.example.v1.Widget") && schemas.contains_key("io.example.v1.WidgetList"));
    assert!(schemas.contains_key("io.k8s.apimachinery.pkg.apis.meta.v1.Time"));
    assert!(!schemas.contains_key("unused"));
    let text = document.to_string();
    for part in text.split("\"#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name}");
    }
}

#[test]
fn components_keep_extensions_and_state_identity() {
    let schema = json!({"type": "object", "description": "d", "$schema": "x", "properties": {
    "apiVersion": {"type": "string", "description": "v"}, "metadata": {"type": "object"},
    "spec": {"type": "object", "x-kubernetes-validations": [{"rule": "true"}], "properties": {
        "port": {"x-kubernetes-int-or-string": true},
        "list": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "raw": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}
    }}}});
    let component = component(Some(&schema), "example.io", "v1", "Widget");
    assert_eq!(
        component["x-kubernetes-group-version-kind"],
        json!([{"group": "example.io", "version": "v1", "kind": "Widget"}])
    );
    assert!(component.get("$schema").is_none());
    let properties = &component["properties"];
    assert_eq!(properties["apiVersion"], json!({"type": "string", "description": "v"}));
    assert_eq!(properties["kind"], json!({"type": "string"}));
    assert!(
        properties["metadata"]["allOf"][0]["$ref"]
            .as_str()
            .unwrap()
            .ends_with("ObjectMeta")
    );
    let spec = &properties["spec"];
    assert_eq!(spec["x-kubernetes-validations"], json!([{"rule": "true"}]));
    assert_eq!(
        spec["properties"]["port"]["anyOf"],
        json!([{"type": "integer"}, {"type": "string"}])
    );
    assert_eq!(spec["properties"]["raw"]["required"], json!(["apiVersion", "kind"]));
}

#[test]
fn only_served_verbs_become_operations() {
    let mut resource = widget(&Value::Null);
    resource.schema = Published::Custom(None);
    resource.verbs = &["get", "list"];
    resource.namespaced = false;
    resource.subresources = Subresources::default();
    let document = document(&[resource], &definitions());
    let collection = document["paths"]["/apis/example.io/v1/widgets"].as_object().unwrap();
    assert_eq!(collection.keys().collect::<Vec<_>>(), ["get", "parameters"]);
}

#[test]
fn shipped_definitions_resolve() {
    let definitions: Value =
        serde_json::from_str(include_str!("../../../../api/data/builtin-definitions.json")).unwrap();
    let definitions = definitions.as_object().unwrap();
    let schema = json!({"type": "object"});
    let mut custom = widget(&schema);
    custom.subresources.scale = true;
    let mut built_in = widget(&schema);
    (built_in.group, built_in.kind, built_in.plural) = ("", "ConfigMap", "configmaps");
    built_in.schema = Published::Definition("io.k8s.api.core.v1.ConfigMap");
    for resource in [custom, built_in] {
        let document = document(&[resource], definitions);
        let schemas = document["components"]["schemas"].as_object().unwrap();
        assert!(
            schemas
                .keys()
                .filter(|name| name.starts_with("io.k8s"))
                .all(|name| definitions.contains_key(name))
        );
    }
}
