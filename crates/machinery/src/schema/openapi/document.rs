//! The OpenAPI v3 document of a group and version.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::component::{component, list_component, model_name};
use super::{Published, ServedResource};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const SCALE: &str = "io.k8s.api.autoscaling.v1.Scale";
const REF: &str = "#/components/schemas/";

/// One operation to publish.
struct Operation<'a> {
    resource: &'a ServedResource<'a>,
    /// Without the subresource's name.
    verb: &'static str,
    /// `x-kubernetes-action`.
    action: &'static str,
    /// Component of the answer.
    answer: &'a str,
    /// Component of the body, if it takes one.
    body: Option<&'a str>,
    /// `Status` or `Scale`, appended to the operation's id.
    subresource: &'static str,
    /// All namespaces at once.
    everywhere: bool,
}

/// Builds the document of one group and version. `definitions` are components that may be referred to (metadata types and
/// schemas of built-in kinds); those that are reached are included.
pub fn document(resources: &[ServedResource<'_>], definitions: &Map<String, Value>) -> Value {
    let mut paths = BTreeMap::new();
    let mut schemas = BTreeMap::new();
    for resource in resources {
        let (name, list) = names(resource);
        if let Published::Custom(schema) = resource.schema {
            let (group, version) = (resource.group, resource.version);
            schemas.insert(name.clone(), component(schema, group, version, resource.kind));
            schemas.insert(list.clone(), list_component(&name, group, version, resource.list_kind));
        }
        add_paths(resource, &name, &list, &mut paths);
    }
    let mut paths: Map<String, Value> = paths.into_iter().collect();
    close(&mut schemas, &mut paths, definitions);
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes CRD Swagger", "version": "v0.1.0"},
        "paths": paths,
        "components": {"schemas": schemas.into_iter().collect::<Map<_, _>>()}
    })
}

/// The components of a kind and of its list.
fn names(resource: &ServedResource<'_>) -> (String, String) {
    match resource.schema {
        Published::Definition(name) => (name.to_owned(), format!("{name}List")),
        Published::Custom(_) => {
            let of = |kind: &str| model_name(resource.group, resource.version, kind);
            (of(resource.kind), of(resource.list_kind))
        }
    }
}

/// Adds what the components and paths refer to, and what that refers to.
fn close(schemas: &mut BTreeMap<String, Value>, paths: &mut Map<String, Value>, definitions: &Map<String, Value>) {
    let mut wanted = Vec::new();
    schemas
        .values()
        .chain(paths.values())
        .for_each(|value| references(value, &mut wanted));
    while let Some(name) = wanted.pop() {
        if schemas.contains_key(&name) {
            continue;
        }
        // What is nowhere defined still resolves, to an object of which nothing is known.
        let definition = definitions
            .get(&name)
            .cloned()
            .unwrap_or_else(|| json!({"type": "object"}));
        references(&definition, &mut wanted);
        schemas.insert(name, definition);
    }
}

fn references(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            if let Some(name) = members
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|text| text.strip_prefix(REF))
            {
                out.push(name.to_owned());
            }
            members.values().for_each(|member| references(member, out));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, out)),
        _ => {}
    }
}

fn add_paths(resource: &ServedResource<'_>, name: &str, list: &str, paths: &mut BTreeMap<String, Value>) {
    let base = match resource.group {
        "" => format!("/api/{}", resource.version),
        group => format!("/apis/{group}/{}", resource.version),
    };
    let plural = resource.plural;
    let status = format!("{META}.Status");
    let patch = format!("{META}.Patch");
    let options = format!("{META}.DeleteOptions");
    let operation = |verb, action, answer, body| Operation {
        resource,
        verb,
        action,
        answer,
        body,
        subresource: "",
        everywhere: false,
    };
    let root = if resource.namespaced {
        let all = Operation {
            everywhere: true,
            ..operation("list", "list", list, None)
        };
        insert(paths, format!("{base}/{plural}"), &[("get", all)]);
        format!("{base}/namespaces/{{namespace}}/{plural}")
    } else {
        format!("{base}/{plural}")
    };
    let collection = [
        ("get", operation("list", "list", list, None)),
        ("post", operation("create", "post", name, Some(name))),
        (
            "delete",
            operation("deleteCollection", "deletecollection", &status, None),
        ),
    ];
    insert(paths, root.clone(), &collection);
    let single = [
        ("get", operation("read", "get", name, None)),
        ("put", operation("replace", "put", name, Some(name))),
        ("delete", operation("delete", "delete", &status, Some(&options))),
        ("patch", operation("patch", "patch", name, Some(&patch))),
    ];
    insert(paths, format!("{root}/{{name}}"), &single);
    if resource.verbs.contains(&"watch") {
        watch_paths(resource, &base, paths);
    }
    let subresources = [
        (resource.subresources.status, "Status", name),
        (resource.subresources.scale, "Scale", SCALE),
    ];
    for (_, title, answer) in subresources.into_iter().filter(|(on, ..)| *on) {
        let operation = |verb, action, body| Operation {
            subresource: title,
            ..operation(verb, action, answer, body)
        };
        let operations = [
            ("get", operation("read", "get", None)),
            ("put", operation("replace", "put", Some(answer))),
            ("patch", operation("patch", "patch", Some(&patch))),
        ];
        insert(
            paths,
            format!("{root}/{{name}}/{}", title.to_ascii_lowercase()),
            &operations,
        );
    }
}

/// The old form of watches, `…/watch/…`, which built-in kinds publish.
fn watch_paths(resource: &ServedResource<'_>, base: &str, paths: &mut BTreeMap<String, Value>) {
    // Custom resources do not: their lists take `watch=true` only.
    let Published::Definition(_) = resource.schema else {
        return;
    };
    let event = format!("{META}.WatchEvent");
    let watch = |verb, action, everywhere| Operation {
        resource,
        verb,
        action,
        answer: &event,
        body: None,
        subresource: if action == "watchlist" { "List" } else { "" },
        everywhere,
    };
    let plural = resource.plural;
    let root = if resource.namespaced {
        insert(
            paths,
            format!("{base}/watch/{plural}"),
            &[("get", watch("watch", "watchlist", true))],
        );
        format!("{base}/watch/namespaces/{{namespace}}/{plural}")
    } else {
        format!("{base}/watch/{plural}")
    };
    insert(paths, root.clone(), &[("get", watch("watch", "watchlist", false))]);
    insert(
        paths,
        format!("{root}/{{name}}"),
        &[("get", watch("watch", "watch", false))],
    );
}

fn insert(paths: &mut BTreeMap<String, Value>, path: String, operations: &[(&str, Operation<'_>)]) {
    let mut item = Map::new();
    for (method, operation) in operations.iter().filter(|(_, operation)| operation.is_served()) {
        item.insert((*method).to_owned(), operation.json());
    }
    if item.is_empty() {
        return;
    }
    let mut parameters = Vec::new();
    for name in ["name", "namespace"] {
        if path.contains(&format!("{{{name}}}")) {
            parameters.push(json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "uniqueItems": true}}));
        }
    }
    parameters.push(query("pretty", "string"));
    item.insert("parameters".to_owned(), Value::Array(parameters));
    paths.insert(path, Value::Object(item));
}

fn query(name: &str, kind: &str) -> Value {
    json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}})
}

// === impl Operation ===

impl Operation<'_> {
    fn is_served(&self) -> bool {
        let verb = match self.action {
            "post" => "create",
            "put" => "update",
            "watchlist" => "watch",
            other => other,
        };
        // Subresources have verbs of their own, all of those published.
        matches!(self.subresource, "Status" | "Scale") || self.resource.verbs.contains(&verb)
    }

    fn json(&self) -> Value {
        let resource = self.resource;
        let mut responses = Map::new();
        let answer = json!({"description": "OK", "content": content(self.answer, answers(self.action))});
        let codes: &[&str] = match self.action {
            "post" => &["200", "201", "202"],
            "put" | "patch" => &["200", "201"],
            "delete" => &["200", "202"],
            _ => &["200"],
        };
        for code in codes {
            let mut response = answer.clone();
            response["description"] = json!(match *code {
                "201" => "Created",
                "202" => "Accepted",
                _ => "OK",
            });
            responses.insert((*code).to_owned(), response);
        }
        responses.insert("401".to_owned(), json!({"description": "Unauthorized"}));
        let kind = if self.subresource == "Scale" {
            json!({"group": "autoscaling", "version": "v1", "kind": "Scale"})
        } else {
            json!({"group": resource.group, "version": resource.version, "kind": resource.kind})
        };
        let mut out = json!({
            "operationId": self.id(),
            "tags": [tag(resource.group, resource.version)],
            "responses": responses,
            "x-kubernetes-action": self.action,
            "x-kubernetes-group-version-kind": kind
        });
        let parameters = parameters(self.action);
        if !parameters.is_empty() {
            out["parameters"] = Value::Array(parameters);
        }
        if let Some(body) = self.body {
            let required = self.action != "delete";
            let mut request = json!({"content": content(body, bodies(self.action))});
            if required {
                request["required"] = json!(true);
            }
            out["requestBody"] = request;
        }
        out
    }

    fn id(&self) -> String {
        let resource = self.resource;
        let namespaced = if resource.namespaced && !self.everywhere {
            "Namespaced"
        } else {
            ""
        };
        let everywhere = if self.everywhere { "ForAllNamespaces" } else { "" };
        let (prefix, collection) = match self.verb {
            "deleteCollection" => ("delete", "Collection"),
            verb => (verb, ""),
        };
        let version = camel(&[group_label(resource.group), resource.version.to_owned()].join("."));
        format!(
            "{prefix}{version}{collection}{namespaced}{}{}{everywhere}",
            resource.kind, self.subresource
        )
    }
}

/// The group as it stands in ids and tags: the core group has the name `core`, groups of Kubernetes lose `.k8s.io`.
fn group_label(group: &str) -> String {
    match group {
        "" => "core".to_owned(),
        group => group.strip_suffix(".k8s.io").unwrap_or(group).to_owned(),
    }
}

fn camel(text: &str) -> String {
    let words = text.split(['.', '-']).filter(|word| !word.is_empty());
    words
        .map(|word| {
            let mut chars = word.chars();
            chars.next().map_or_else(String::new, |first| {
                first.to_ascii_uppercase().to_string() + chars.as_str()
            })
        })
        .collect()
}

/// `exampleIo_v1alpha1`.
fn tag(group: &str, version: &str) -> String {
    let name = camel(&group_label(group));
    let mut chars = name.chars();
    let lower = chars
        .next()
        .map_or_else(String::new, |first| first.to_ascii_lowercase().to_string());
    format!("{lower}{}_{version}", chars.as_str())
}

fn parameters(action: &str) -> Vec<Value> {
    let list: &[(&str, &str)] = match action {
        "get" => &[("resourceVersion", "string")],
        "list" | "deletecollection" | "watchlist" | "watch" => &[
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
        ],
        "post" | "put" => &[
            ("dryRun", "string"),
            ("fieldManager", "string"),
            ("fieldValidation", "string"),
        ],
        "patch" => &[
            ("dryRun", "string"),
            ("fieldManager", "string"),
            ("fieldValidation", "string"),
            ("force", "boolean"),
        ],
        "delete" => &[
            ("dryRun", "string"),
            ("gracePeriodSeconds", "integer"),
            ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
            ("orphanDependents", "boolean"),
            ("propagationPolicy", "string"),
        ],
        _ => &[],
    };
    list.iter().map(|(name, kind)| query(name, kind)).collect()
}

fn answers(action: &str) -> &'static [&'static str] {
    match action {
        "list" | "watchlist" | "watch" => &["application/json", "application/json;stream=watch", "application/yaml"],
        _ => &["application/json", "application/yaml"],
    }
}

fn bodies(action: &str) -> &'static [&'static str] {
    match action {
        "patch" => &[
            "application/apply-patch+yaml",
            "application/json-patch+json",
            "application/merge-patch+json",
        ],
        _ => &["application/json", "application/yaml"],
    }
}

fn content(component: &str, types: &[&str]) -> Value {
    let reference = format!("{REF}{component}");
    types
        .iter()
        .map(|media| ((*media).to_owned(), json!({"schema": {"$ref": reference}})))
        .collect::<Map<_, _>>()
        .into()
}
