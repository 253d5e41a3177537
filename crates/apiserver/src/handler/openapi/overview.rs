//! The OpenAPI v3 documents of what is no group-version: discovery itself, the version, and the server's pages.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::definitions::{Definitions, reference};
use crate::handler::aggregate::Groups;
use crate::stack::Page;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

/// Names of these documents. Kubernetes describes the groups that it serves by itself; a service's are all its own.
pub(super) fn names(groups: &Groups<'_>, is_service: bool, pages: &BTreeMap<String, Page>) -> Vec<String> {
    let mut names: Vec<String> = ["api", "apis", "version"].map(str::to_owned).to_vec();
    let described = |name: &&str| !name.is_empty() && (is_service || groups.is_builtin(name));
    names.extend(groups.names().filter(described).map(|name| format!("apis/{name}")));
    if !is_service {
        names.extend(pages.keys().map(|path| path.trim_start_matches('/').to_owned()));
    }
    names
}

/// One of them: what a GET of the path answers.
pub(super) fn build(name: &str, definitions: &Definitions) -> Value {
    let (operation, answer) = match name {
        "api" => ("getCoreAPIVersions".to_owned(), Some(format!("{META}APIVersions"))),
        "apis" => ("getAPIVersions".to_owned(), Some(format!("{META}APIGroupList"))),
        "version" => (
            "getCodeVersion".to_owned(),
            Some("io.k8s.apimachinery.pkg.version.Info".to_owned()),
        ),
        _ => match name.strip_prefix("apis/") {
            Some(group) => (format!("get{}APIGroup", camel(group)), Some(format!("{META}APIGroup"))),
            None => (format!("get{}", camel(name)), None),
        },
    };
    let mut schemas = Map::new();
    let schema = match &answer {
        Some(answer) => {
            definitions.include(answer, &mut schemas);
            reference(answer)
        }
        None => json!({ "type": "string" }),
    };
    let path = format!("/{name}/");
    let get = json!({
        "operationId": operation,
        "responses": {
            "200": { "description": "OK", "content": { "application/json": { "schema": schema } } },
            "401": { "description": "Unauthorized" },
        },
    });
    json!({
        "openapi": "3.0.0",
        "info": { "title": "Kubernetes", "version": "v1" },
        "paths": { path: { "get": get } },
        "components": { "schemas": schemas },
    })
}

/// `coordination.k8s.io` to `Coordination`, as Kubernetes names operations; other groups keep all their parts.
fn camel(group: &str) -> String {
    let group = group.strip_suffix(".k8s.io").unwrap_or(group);
    let parts = group.split(|char: char| !char.is_ascii_alphanumeric());
    parts
        .map(|part| {
            let mut chars = part.chars();
            let first = chars.next().map(|first| first.to_ascii_uppercase());
            first.into_iter().chain(chars).collect::<String>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_named_as_kubernetes_names_them() {
        for (group, name) in [
            ("coordination.k8s.io", "Coordination"),
            ("rbac.authorization.k8s.io", "RbacAuthorization"),
            ("example.io", "ExampleIo"),
        ] {
            assert_eq!(camel(group), name);
        }
    }
}
