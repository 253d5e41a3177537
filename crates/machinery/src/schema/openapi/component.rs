//! A structural schema as an OpenAPI v3 component.

use serde_json::{Map, Value, json};

const OBJECT_META: &str = "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

/// Keywords that are published as they are, where they are not of the zero value.
const PLAIN: [&str; 27] = [
    "type",
    "format",
    "title",
    "description",
    "nullable",
    "default",
    "example",
    "externalDocs",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "multipleOf",
    "enum",
    "maxProperties",
    "minProperties",
    "required",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "x-kubernetes-validations",
];
const FLAGS: [&str; 3] = [
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
];

/// The name of a kind's component: the group's labels reversed, version, kind (`io.example.v1.Widget`).
pub fn model_name(group: &str, version: &str, kind: &str) -> String {
    let mut labels: Vec<&str> = group.split('.').collect();
    labels.reverse();
    format!("{}.{version}.{kind}", labels.join("."))
}

/// The component of a kind from its `openAPIV3Schema` (none: an object of which nothing is known).
pub fn component(schema: Option<&Value>, group: &str, version: &str, kind: &str) -> Value {
    let mut out = match schema {
        Some(schema) => publish(schema),
        None => json!({"type": "object"}),
    };
    if let Some(members) = out.as_object_mut() {
        if schema.is_some() {
            add_identity(members);
        }
        members.insert(
            "x-kubernetes-group-version-kind".to_owned(),
            kinds(group, version, kind),
        );
    }
    out
}

/// The component of a kind's list; `item` is the name of the kind's component.
pub fn list_component(item: &str, group: &str, version: &str, list_kind: &str) -> Value {
    json!({
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"allOf": [{"$ref": LIST_META}]},
            "items": {"type": "array", "items": {"$ref": format!("#/components/schemas/{item}")}}
        },
        "x-kubernetes-group-version-kind": kinds(group, version, list_kind)
    })
}

fn kinds(group: &str, version: &str, kind: &str) -> Value {
    json!([{"group": group, "version": version, "kind": kind}])
}

fn add_identity(members: &mut Map<String, Value>) {
    let properties = members.entry("properties").or_insert_with(|| json!({}));
    let Some(properties) = properties.as_object_mut() else {
        return;
    };
    for name in ["apiVersion", "kind"] {
        let described = properties
            .get(name)
            .and_then(|property| property.get("description"))
            .cloned();
        let mut property = Map::from_iter([("type".to_owned(), json!("string"))]);
        property.extend(described.map(|text| ("description".to_owned(), text)));
        properties.insert(name.to_owned(), Value::Object(property));
    }
    let described = properties
        .get("metadata")
        .and_then(|property| property.get("description"))
        .cloned();
    let mut metadata = Map::from_iter([("allOf".to_owned(), json!([{"$ref": OBJECT_META}]))]);
    metadata.extend(described.map(|text| ("description".to_owned(), text)));
    properties.insert("metadata".to_owned(), Value::Object(metadata));
}

/// A node with the keywords OpenAPI and Kubernetes' clients understand; everything else is left out.
fn publish(schema: &Value) -> Value {
    let Some(members) = schema.as_object() else {
        return json!({});
    };
    let mut out = Map::new();
    for keyword in PLAIN {
        if let Some(value) = members
            .get(keyword)
            .filter(|value| keyword == "default" || !is_zero(value))
        {
            out.insert(keyword.to_owned(), value.clone());
        }
    }
    for keyword in FLAGS {
        if members.get(keyword) == Some(&Value::Bool(true)) {
            out.insert(keyword.to_owned(), Value::Bool(true));
        }
    }
    if let Some(properties) = members
        .get("properties")
        .and_then(Value::as_object)
        .filter(|map| !map.is_empty())
    {
        let published = properties
            .iter()
            .map(|(name, property)| (name.clone(), publish(property)));
        out.insert("properties".to_owned(), Value::Object(published.collect()));
    }
    for keyword in ["items", "not"] {
        if let Some(nested) = members.get(keyword).filter(|nested| nested.is_object()) {
            out.insert(keyword.to_owned(), publish(nested));
        }
    }
    match members.get("additionalProperties") {
        Some(flag @ Value::Bool(_)) => {
            out.insert("additionalProperties".to_owned(), flag.clone());
        }
        Some(nested @ Value::Object(_)) => {
            out.insert("additionalProperties".to_owned(), publish(nested));
        }
        _ => {}
    }
    for keyword in ["allOf", "anyOf", "oneOf"] {
        if let Some(list) = members
            .get(keyword)
            .and_then(Value::as_array)
            .filter(|list| !list.is_empty())
        {
            out.insert(keyword.to_owned(), Value::Array(list.iter().map(publish).collect()));
        }
    }
    if members.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        unfold(&mut out);
    }
    if members.get("x-kubernetes-embedded-resource") == Some(&Value::Bool(true)) {
        add_identity(&mut out);
        require(&mut out, &["apiVersion", "kind"]);
    }
    Value::Object(out)
}

/// States that an int-or-string is an integer or a string, for clients that do not know the extension.
fn unfold(out: &mut Map<String, Value>) {
    let either = json!([{"type": "integer"}, {"type": "string"}]);
    let stated = out.get("anyOf") == Some(&either)
        || out
            .get("allOf")
            .and_then(|list| list.get(0))
            .and_then(|first| first.get("anyOf"))
            == Some(&either);
    if stated {
        return;
    }
    if !out.contains_key("anyOf") {
        out.insert("anyOf".to_owned(), either);
        return;
    }
    let list = out.entry("allOf").or_insert_with(|| json!([]));
    if let Some(list) = list.as_array_mut() {
        list.insert(0, json!({"anyOf": either}));
    }
}

fn require(out: &mut Map<String, Value>, names: &[&str]) {
    let list = out.entry("required").or_insert_with(|| json!([]));
    let Some(list) = list.as_array_mut() else { return };
    for name in names {
        if !list.iter().any(|have| have == name) {
            list.push(json!(name));
        }
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}
