//! `/`: the paths that there are.

use http::Response;
use machinery::object::GroupVersion;
use permit::Scope;
use serde_json::json;

use super::aggregate::Groups;
use crate::body::Body;
use crate::refusal::Result;
use crate::stack::Stack;
use crate::stage::PermittedPath;

const FIXED: [&str; 7] = [
    "/api",
    "/apis",
    "/apis/",
    "/openapi/v3",
    "/openapi/v3/",
    "/version",
    "/metrics",
];

pub(super) fn respond(stack: &Stack, request: &PermittedPath<'_>) -> Result<Response<Body>> {
    let scope = request.api.scope.clone().unwrap_or(Scope::All);
    let defs = request.api.surface.resources(&scope);
    let groups = Groups::new(&defs);
    let mut paths: Vec<String> = FIXED.iter().map(|path| (*path).to_owned()).collect();
    for name in groups.names() {
        let prefix = if name.is_empty() { "/api" } else { "/apis" };
        if !name.is_empty() {
            paths.push(format!("/apis/{name}"));
        }
        paths.extend(
            groups
                .versions(name)
                .into_iter()
                .map(|version| format!("{prefix}/{}", GroupVersion::new(name, version))),
        );
    }
    paths.extend(stack.health.paths());
    paths.sort();
    let body = serde_json::to_vec_pretty(&json!({ "paths": paths })).unwrap_or_default();
    Ok(super::json(body))
}
