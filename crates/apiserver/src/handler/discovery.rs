//! `/api`, `/apis` and below: which APIs there are.

use std::sync::Arc;

use http::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, VARY};
use http::request::Parts;
use machinery::discovery::{ApiGroupDiscoveryList, ApiGroupList, ApiVersions, ServerAddress};
use machinery::object::GroupVersion;
use machinery::status::Status;
use permit::{Scope, Verb};
use registry::{ResourceDef, Subresource};
use serde::Serialize;

use super::aggregate::{self, Groups};
use super::documents::Document;
use super::negotiate::{DiscoveryOutput, Format};
use super::resource::formatted;
use crate::body::Body;
use crate::refusal::{Refusal, Result};
use crate::stack::Stack;
use crate::stage::PermittedPath;

const AGGREGATED: HeaderValue =
    HeaderValue::from_static("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");

/// Whether a subresource is served with a verb.
pub(super) fn serves(def: &ResourceDef, version: usize, subresource: Subresource, verb: Verb) -> bool {
    aggregate::has(def, version, subresource) && aggregate::subresource_verbs(subresource).contains(&verb)
}

/// `first` is `api` or `apis`, `rest` what follows.
pub(super) fn respond(
    stack: &Stack,
    request: &PermittedPath<'_>,
    parts: &Parts,
    first: &str,
    rest: &str,
) -> Result<Response<Body>> {
    // Without a cluster only system:masters get here: they see what all clusters have.
    let scope = request.api.scope.clone().unwrap_or(Scope::All);
    let output = match DiscoveryOutput::negotiate(parts, &request.query)? {
        // Only the roots have the aggregated form; below them it is not understood.
        DiscoveryOutput::Aggregated if !rest.is_empty() => {
            return Err(Refusal::from(Status::not_acceptable(&super::negotiate::MEDIA_TYPES)));
        }
        // Services have the plain form alone, as kcp's virtual workspaces do.
        DiscoveryOutput::Aggregated if request.api.is_service => DiscoveryOutput::Plain(Format::Json),
        output => output,
    };
    let surface = &request.api.surface;
    let content = surface.content_key(&scope);
    let name = match output {
        DiscoveryOutput::Aggregated => format!("{first}?aggregated"),
        DiscoveryOutput::Plain(_) => format!("{first}/{rest}"),
    };
    let make = || {
        let defs = surface.resources(&scope);
        let address = ServerAddress::for_all(stack.options.external_address.as_str());
        make(&defs, &address, first, rest, output)
    };
    let document = stack.documents.get(content, &name, make)?;
    match output {
        DiscoveryOutput::Aggregated => Ok(aggregated(&document, parts)),
        DiscoveryOutput::Plain(format) => {
            let mut response = Response::new(Body::full(match format {
                Format::Json => document.body.clone(),
                format => formatted(document.body.to_vec(), format)?,
            }));
            response.headers_mut().insert(CONTENT_TYPE, format.content_type());
            Ok(response)
        }
    }
}

fn aggregated(document: &Document, parts: &Parts) -> Response<Body> {
    let mut response = document
        .if_unchanged(parts)
        .unwrap_or_else(|| Response::new(Body::full(document.body.clone())));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, AGGREGATED);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public"));
    headers.insert(ETAG, document.etag());
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    response
}

fn make(
    defs: &[Arc<ResourceDef>],
    address: &ServerAddress,
    first: &str,
    rest: &str,
    output: DiscoveryOutput,
) -> Result<Document> {
    let groups = Groups::new(defs);
    let is_core = first == "api";
    if output == DiscoveryOutput::Aggregated {
        let shown = groups.names().filter(|name| name.is_empty() == is_core);
        return Ok(document(&ApiGroupDiscoveryList::new(
            shown.map(|name| groups.aggregated(name)).collect(),
        )));
    }
    match (is_core, rest.split_once('/').unwrap_or((rest, ""))) {
        (true, ("", _)) => {
            let versions = match groups.versions("") {
                none if none.is_empty() => vec!["v1".to_owned()],
                versions => versions,
            };
            Ok(document(&ApiVersions::new(versions, vec![address.clone()])))
        }
        (true, (version, "")) => resources(&groups, &GroupVersion::new("", version)),
        (false, ("", _)) => {
            let named = groups.names().filter(|name| !name.is_empty());
            Ok(document(&ApiGroupList::new(
                named.filter_map(|name| groups.group(name, address)).collect(),
            )))
        }
        (false, (group, "")) => groups
            .group(group, address)
            .map(|group| document(&group))
            .ok_or_else(Refusal::no_such_path),
        (false, (group, version)) => resources(&groups, &GroupVersion::new(group, version)),
        (true, _) => Err(Refusal::no_such_path()),
    }
}

fn resources(groups: &Groups<'_>, of: &GroupVersion) -> Result<Document> {
    match groups.resources(of) {
        Some(list) => Ok(document(&list)),
        // Kubernetes' own groups answer with a Status, unknown and custom ones in plain text.
        None if of.group.is_empty() || groups.is_builtin(&of.group) => Err(Refusal::from(Status::no_such_resource())),
        None => Err(Refusal::no_such_path()),
    }
}

fn document(of: &impl Serialize) -> Document {
    let mut body = serde_json::to_vec(of).unwrap_or_default();
    body.push(b'\n');
    Document::new(body)
}
