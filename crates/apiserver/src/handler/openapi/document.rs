//! The OpenAPI v3 document of one group-version.
//!
//! What clients take from it: the schemas of kinds (explain, client-side apply), and which parameters a patch of a kind
//! takes; kubectl validates on the server only where it finds `fieldValidation` there, and offers `--dry-run=server` only
//! where it finds `dryRun`.

use std::sync::Arc;

use machinery::object::{GroupVersion, GroupVersionKind};
use permit::Verb;
use registry::{ResourceDef, Subresource};
use serde_json::{Map, Value, json};

use super::definitions::{DELETE_OPTIONS, Definitions, LIST_META, OBJECT_META, PATCH, SCALE, STATUS, reference};
use crate::handler::aggregate;

/// A document in the making.
struct Builder<'a> {
    of: &'a GroupVersion,
    definitions: &'a Definitions,
    paths: Map<String, Value>,
    schemas: Map<String, Value>,
}

/// One resource of it.
struct Resource<'a> {
    def: &'a ResourceDef,
    kind: GroupVersionKind,
    /// Names of the components.
    schema: String,
    list_schema: String,
}

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";

pub(super) fn build(of: &GroupVersion, defs: &[Arc<ResourceDef>], definitions: &Definitions) -> Value {
    let mut builder = Builder {
        of,
        definitions,
        paths: Map::new(),
        schemas: Map::new(),
    };
    for def in defs {
        if let Some(version) = def.served_version(&of.version) {
            builder.add(def, version);
        }
    }
    for name in [OBJECT_META, LIST_META, DELETE_OPTIONS, STATUS, PATCH] {
        definitions.include(name, &mut builder.schemas);
    }
    json!({
        "openapi": "3.0.0",
        "info": { "title": "Kubernetes", "version": "v1" },
        "paths": builder.paths,
        "components": { "schemas": builder.schemas },
    })
}

// === impl Builder ===

impl Builder<'_> {
    fn add(&mut self, def: &ResourceDef, version: usize) {
        let kind = def.group_version_kind(version);
        let (schema, list_schema) = self.add_schemas(def, version, &kind);
        let resource = Resource {
            def,
            kind,
            schema,
            list_schema,
        };
        let plural = &def.names.plural;
        let root = match self.of.group.is_empty() {
            true => format!("/api/{}", self.of.version),
            false => format!("/apis/{}", self.of),
        };
        let base = match def.namespaced {
            true => format!("{root}/namespaces/{{namespace}}/{plural}"),
            false => format!("{root}/{plural}"),
        };
        self.add_path(base.clone(), resource.collection(true));
        if def.namespaced {
            self.add_path(format!("{root}/{plural}"), resource.collection(false));
        }
        let named = format!("{base}/{{name}}");
        self.add_path(named.clone(), resource.object());
        for subresource in [
            Subresource::Approval,
            Subresource::Finalize,
            Subresource::Scale,
            Subresource::Status,
            Subresource::Token,
        ] {
            if aggregate::has(def, version, subresource) {
                if subresource == Subresource::Scale {
                    self.definitions.include(SCALE, &mut self.schemas);
                }
                self.add_path(
                    format!("{named}/{}", subresource.as_str()),
                    resource.subresource(subresource),
                );
            }
        }
    }

    fn add_path(&mut self, path: String, mut operations: Map<String, Value>) {
        if operations.is_empty() {
            return;
        }
        let mut parameters = Vec::new();
        for name in ["namespace", "name"] {
            if path.contains(&format!("{{{name}}}")) {
                parameters
                    .push(json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
            }
        }
        parameters.push(query_parameter("pretty", "string"));
        operations.insert("parameters".to_owned(), Value::Array(parameters));
        self.paths.insert(path, Value::Object(operations));
    }

    /// The components of the kind and its list.
    fn add_schemas(&mut self, def: &ResourceDef, version: usize, kind: &GroupVersionKind) -> (String, String) {
        let list_kind = match def.names.list_kind.as_str() {
            "" => format!("{}List", kind.kind),
            given => given.to_owned(),
        };
        let of_list = GroupVersionKind::new(kind.group.as_str(), kind.version.as_str(), list_kind);
        if let Some(name) = self.definitions.name(kind) {
            self.definitions.include(name, &mut self.schemas);
            let list = self.definitions.name(&of_list).map(str::to_owned);
            let list = list.unwrap_or_else(|| component_name(&of_list));
            self.add_list(&list, &of_list, name);
            return (name.to_owned(), list);
        }
        let (name, list) = (component_name(kind), component_name(&of_list));
        let raw = def
            .versions
            .get(version)
            .map(|version| Value::clone(&version.schema.raw));
        let schema = published(raw.unwrap_or_default(), kind);
        self.definitions.include_references(&schema, &mut self.schemas);
        self.schemas.insert(name.clone(), schema);
        self.add_list(&list, &of_list, &name);
        (name, list)
    }

    fn add_list(&mut self, name: &str, kind: &GroupVersionKind, of: &str) {
        let schema = json!({
            "type": "object", "required": ["items"],
            "properties": {
                "apiVersion": { "type": "string" }, "kind": { "type": "string" },
                "items": { "type": "array", "items": reference(of) },
                "metadata": reference(LIST_META),
            },
            "x-kubernetes-group-version-kind": [kind_value(kind)],
        });
        self.schemas.entry(name.to_owned()).or_insert(schema);
    }
}

// === impl Resource ===

impl Resource<'_> {
    fn collection(&self, in_namespace: bool) -> Map<String, Value> {
        let mut operations = Map::new();
        let serves = |verb| self.def.verbs.contains(verb);
        if serves(Verb::List) {
            let parameters = LIST_PARAMETERS
                .iter()
                .map(|(name, kind)| query_parameter(name, kind))
                .collect();
            operations.insert(
                "get".to_owned(),
                self.operation("list", parameters, None, &self.list_schema),
            );
        }
        // Over all namespaces one can only list.
        if in_namespace && serves(Verb::Create) {
            let operation = self.operation("post", write_parameters(false), Some(&self.schema), &self.schema);
            operations.insert("post".to_owned(), operation);
        }
        if in_namespace && serves(Verb::DeleteCollection) {
            let operation = self.operation("deletecollection", delete_parameters(), Some(DELETE_OPTIONS), STATUS);
            operations.insert("delete".to_owned(), operation);
        }
        operations
    }

    fn object(&self) -> Map<String, Value> {
        let mut operations = Map::new();
        let serves = |verb| self.def.verbs.contains(verb);
        if serves(Verb::Get) {
            let parameters = vec![query_parameter("resourceVersion", "string")];
            operations.insert("get".to_owned(), self.operation("get", parameters, None, &self.schema));
        }
        self.add_writes(&mut operations, serves(Verb::Update), serves(Verb::Patch), &self.schema);
        if serves(Verb::Delete) {
            let operation = self.operation("delete", delete_parameters(), Some(DELETE_OPTIONS), STATUS);
            operations.insert("delete".to_owned(), operation);
        }
        operations
    }

    fn subresource(&self, subresource: Subresource) -> Map<String, Value> {
        let mut operations = Map::new();
        let schema = if subresource == Subresource::Scale {
            SCALE
        } else {
            &self.schema
        };
        let verbs = aggregate::subresource_verbs(subresource);
        let serves = |verb| verbs.contains(&verb);
        if serves(Verb::Get) {
            operations.insert("get".to_owned(), self.operation("get", Vec::new(), None, schema));
        }
        if serves(Verb::Create) {
            let operation = self.operation("post", write_parameters(false), Some(schema), schema);
            operations.insert("post".to_owned(), operation);
        }
        self.add_writes(&mut operations, serves(Verb::Update), serves(Verb::Patch), schema);
        operations
    }

    fn add_writes(&self, operations: &mut Map<String, Value>, update: bool, patch: bool, schema: &str) {
        if update {
            let operation = self.operation("put", write_parameters(false), Some(schema), schema);
            operations.insert("put".to_owned(), operation);
        }
        if patch {
            let mut operation = self.operation("patch", write_parameters(true), None, schema);
            let mut types = vec![
                "application/apply-patch+yaml",
                "application/json-patch+json",
                "application/merge-patch+json",
            ];
            if self.def.takes_strategic_patch() {
                types.push("application/strategic-merge-patch+json");
            }
            let content: Map<String, Value> = types
                .into_iter()
                .map(|kind| (kind.to_owned(), json!({ "schema": reference(PATCH) })))
                .collect();
            operation["requestBody"] = json!({ "content": content });
            operations.insert("patch".to_owned(), operation);
        }
    }

    fn operation(&self, action: &str, parameters: Vec<Value>, body: Option<&str>, answer: &str) -> Value {
        let content = |schema: &str| {
            let media = json!({ "schema": reference(schema) });
            json!({ JSON: media.clone(), YAML: media })
        };
        let mut operation = json!({
            "parameters": parameters,
            "responses": {
                "200": { "description": "OK", "content": content(answer) },
                "401": { "description": "Unauthorized" },
            },
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": kind_value(&self.kind),
        });
        if let Some(schema) = body {
            operation["requestBody"] = json!({ "content": content(schema) });
        }
        operation
    }
}

const LIST_PARAMETERS: [(&str, &str); 10] = [
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];

fn write_parameters(is_patch: bool) -> Vec<Value> {
    let mut parameters: Vec<Value> = ["dryRun", "fieldManager", "fieldValidation"]
        .iter()
        .map(|name| query_parameter(name, "string"))
        .collect();
    if is_patch {
        parameters.push(query_parameter("force", "boolean"));
    }
    parameters
}

fn delete_parameters() -> Vec<Value> {
    [
        ("dryRun", "string"),
        ("gracePeriodSeconds", "integer"),
        ("orphanDependents", "boolean"),
        ("propagationPolicy", "string"),
    ]
    .iter()
    .map(|(name, kind)| query_parameter(name, kind))
    .collect()
}

fn query_parameter(name: &str, kind: &str) -> Value {
    json!({ "name": name, "in": "query", "schema": { "type": kind, "uniqueItems": true } })
}

fn kind_value(kind: &GroupVersionKind) -> Value {
    json!({ "group": kind.group, "kind": kind.kind, "version": kind.version })
}

/// A custom resource's schema with what every object has.
fn published(mut schema: Value, kind: &GroupVersionKind) -> Value {
    if !schema.is_object() {
        schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    }
    let properties = &mut schema["properties"];
    if !properties.is_object() {
        *properties = json!({});
    }
    for name in ["apiVersion", "kind"] {
        if properties.get(name).is_none() {
            properties[name] = json!({ "type": "string" });
        }
    }
    properties["metadata"] = reference(OBJECT_META);
    schema["x-kubernetes-group-version-kind"] = json!([kind_value(kind)]);
    schema
}

/// `stable.example.com/v1 CronTab` → `com.example.stable.v1.CronTab`.
fn component_name(kind: &GroupVersionKind) -> String {
    let mut parts: Vec<&str> = kind.group.split('.').filter(|part| !part.is_empty()).rev().collect();
    parts.extend([kind.version.as_str(), kind.kind.as_str()]);
    parts.join(".")
}
