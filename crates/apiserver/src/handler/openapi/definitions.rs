//! The OpenAPI components of compiled-in kinds.

use std::collections::BTreeMap;
use std::sync::Arc;

use machinery::object::GroupVersionKind;
use serde_json::{Map, Value, json};

/// Components by name, and the names by kind. What documents refer to and is not among them is made up here.
pub(crate) struct Definitions {
    components: Arc<Value>,
    by_kind: BTreeMap<(String, String, String), String>,
}

pub(super) const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
pub(super) const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
pub(super) const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
pub(super) const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
pub(super) const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
pub(super) const SCALE: &str = "io.k8s.api.autoscaling.v1.Scale";

const PREFIX: &str = "#/components/schemas/";

// === impl Definitions ===

impl Definitions {
    pub fn new(components: Arc<Value>) -> Self {
        let mut by_kind = BTreeMap::new();
        for (name, schema) in components.as_object().into_iter().flatten() {
            let kinds = schema.get("x-kubernetes-group-version-kind").and_then(Value::as_array);
            // Kinds of every group (DeleteOptions) have a long list; they are not resources.
            for kind in kinds.into_iter().flatten().take(4) {
                let text = |key: &str| kind.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
                by_kind
                    .entry((text("group"), text("version"), text("kind")))
                    .or_insert_with(|| name.clone());
            }
        }
        Self { components, by_kind }
    }

    /// The name of a compiled-in kind's component.
    pub fn name(&self, of: &GroupVersionKind) -> Option<&str> {
        let key = (of.group.clone(), of.version.clone(), of.kind.clone());
        self.by_kind.get(&key).map(String::as_str)
    }

    /// Puts a component and all that it refers to among `schemas`.
    pub fn include(&self, name: &str, schemas: &mut Map<String, Value>) {
        let mut missing = vec![name.to_owned()];
        while let Some(name) = missing.pop() {
            if schemas.contains_key(&name) {
                continue;
            }
            let schema = self.components.get(&name).cloned().unwrap_or_else(|| fallback(&name));
            references(&schema, &mut missing);
            schemas.insert(name, schema);
        }
    }

    /// Puts what a schema refers to among `schemas`.
    pub fn include_references(&self, schema: &Value, schemas: &mut Map<String, Value>) {
        let mut names = Vec::new();
        references(schema, &mut names);
        names.iter().for_each(|name| self.include(name, schemas));
    }
}

pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("{PREFIX}{name}") })
}

fn references(schema: &Value, names: &mut Vec<String>) {
    match schema {
        Value::Object(members) => {
            for (key, value) in members {
                match (key.as_str(), value) {
                    ("$ref", Value::String(target)) => names.extend(target.strip_prefix(PREFIX).map(str::to_owned)),
                    _ => references(value, names),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, names)),
        _ => {}
    }
}

/// Shapes of meta kinds that the data does not have.
fn fallback(name: &str) -> Value {
    let text = || json!({ "type": "string" });
    let number = || json!({ "type": "integer", "format": "int64" });
    let properties = match name {
        LIST_META => json!({
            "continue": text(), "remainingItemCount": number(), "resourceVersion": text(), "selfLink": text(),
        }),
        DELETE_OPTIONS => json!({
            "apiVersion": text(), "kind": text(), "gracePeriodSeconds": number(),
            "orphanDependents": { "type": "boolean" }, "propagationPolicy": text(),
            "dryRun": { "type": "array", "items": text() },
            "preconditions": { "type": "object", "properties": { "uid": text(), "resourceVersion": text() } },
        }),
        STATUS => json!({
            "apiVersion": text(), "kind": text(), "code": number(), "message": text(), "reason": text(),
            "status": text(), "metadata": { "type": "object" }, "details": { "type": "object" },
        }),
        SCALE => json!({
            "apiVersion": text(), "kind": text(), "metadata": reference(OBJECT_META),
            "spec": { "type": "object", "properties": { "replicas": { "type": "integer", "format": "int32" } } },
            "status": { "type": "object", "properties": {
                "replicas": { "type": "integer", "format": "int32" }, "selector": text(),
            } },
        }),
        _ => return json!({ "type": "object" }),
    };
    json!({ "type": "object", "properties": properties })
}
