//! What is done with a request that may be done.

mod aggregate;
mod discovery;
mod documents;
mod index;
mod input;
mod negotiate;
mod openapi;
mod resource;
mod watch;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use permit::Verb;

use crate::body::{Body, RequestBody};
use crate::gzip;
use crate::record::Record;
use crate::refusal::{Refusal, Result};
use crate::stack::Stack;
use crate::stage::{Permitted, PermittedPath, Target};
pub(crate) use documents::Documents;
pub use negotiate::{Format, Input, Output, Transform};
pub(crate) use openapi::Definitions;

/// Answers a permitted request.
pub(crate) async fn serve(
    stack: &Stack,
    request: Permitted<'_>,
    parts: &Parts,
    body: RequestBody,
    record: &mut Record,
) -> Result<Response<Body>> {
    let response = match request {
        Permitted::Resource(request) => resource::serve(stack, request, parts, body, record).await?,
        Permitted::Path(request) => path(stack, &request, parts).await?,
    };
    let is_plain = !response.headers().contains_key(http::header::CONTENT_ENCODING);
    if parts.method != Method::GET || !is_plain || !gzip::is_accepted(&parts.headers) {
        return Ok(response);
    }
    let (mut head, body) = response.into_parts();
    let body = gzip::compress(body, &mut head.headers, &stack.env.spawn).await;
    Ok(Response::from_parts(head, body))
}

/// What is not a resource.
async fn path(stack: &Stack, request: &PermittedPath<'_>, parts: &Parts) -> Result<Response<Body>> {
    let path = request.path.trim_matches('/');
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return Err(Refusal::plain(StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed"));
    }
    match first {
        "" => index::respond(stack, request),
        "api" | "apis" => discovery::respond(stack, request, parts, first, rest),
        "openapi" => openapi::respond(stack, request, parts, rest).await,
        "version" if rest.is_empty() => Ok(json(stack.options.version.to_json())),
        "livez" | "readyz" | "healthz" => stack.health.respond(path, &request.query).await,
        "metrics" if rest.is_empty() => {
            let mut response = Response::new(Body::full(stack.metrics.registry.encode()));
            let kind = HeaderValue::from_static(telemetry::metrics::CONTENT_TYPE);
            response.headers_mut().insert(CONTENT_TYPE, kind);
            Ok(response)
        }
        _ => match stack.options.pages.get(request.path) {
            Some(page) => {
                let mut response = Response::new(Body::full(page.body.clone()));
                response.headers_mut().insert(CONTENT_TYPE, page.content_type.clone());
                Ok(response)
            }
            None => Err(Refusal::no_such_path()),
        },
    }
}

/// Metrics are of the whole server: not to be had below a cluster. Said before anything else, as kcp does.
pub(crate) fn refuse_shard_paths(target: &Target<'_>) -> Result<()> {
    if target.has_cluster() && target.info().path.trim_matches('/') == "metrics" {
        let text = "shard-level endpoint not available at workspace scope";
        return Err(Refusal::plain(StatusCode::NOT_IMPLEMENTED, text));
    }
    Ok(())
}

/// Notes what metrics and audit need of the URL.
pub(crate) fn note_target(target: &Target<'_>, record: &mut Record) {
    let info = target.info();
    let Some(resource) = &info.resource else {
        record.verb = match info.verb {
            "get" => "GET",
            "head" => "HEAD",
            "post" => "POST",
            _ => "OTHER",
        };
        record.subresource = match info.path.trim_start_matches('/').split('/').next().unwrap_or_default() {
            "api" => "/api",
            "apis" => "/apis",
            "openapi" => "/openapi",
            "version" => "/version",
            "metrics" => "/metrics",
            "livez" => "/livez",
            "readyz" => "/readyz",
            "healthz" => "/healthz",
            "" => "/",
            _ => "other",
        };
        return;
    };
    record.verb = resource.verb.map_or("OTHER", verb_name);
    record.is_mutating = resource.verb.is_some_and(Verb::is_mutating);
    record.is_watch = resource.verb == Some(Verb::Watch);
    record.metrics_scope = match (resource.name.is_empty(), resource.namespace.is_empty()) {
        (false, _) => "resource",
        (true, false) => "namespace",
        (true, true) => "cluster",
    };
    record.subresource = match resource.subresource {
        "" => "",
        "status" => "status",
        "scale" => "scale",
        "finalize" => "finalize",
        "approval" => "approval",
        "token" => "token",
        _ => "other",
    };
    record.dry_run = record.is_mutating && target.query().get("dryRun").is_some();
}

/// As Kubernetes' metrics name it.
fn verb_name(verb: Verb) -> &'static str {
    match verb {
        Verb::Get => "GET",
        Verb::List => "LIST",
        Verb::Watch => "WATCH",
        Verb::Create => "POST",
        Verb::Update => "PUT",
        Verb::Patch => "PATCH",
        Verb::Delete => "DELETE",
        Verb::DeleteCollection => "DELETECOLLECTION",
    }
}

/// The answer to HEAD: everything but the body.
pub(crate) fn drop_body(response: &mut Response<Body>) {
    let body = std::mem::replace(response.body_mut(), Body::empty());
    if let Some(len) = body.len() {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(len));
    }
}

fn json(body: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::full(body));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, crate::refusal::APPLICATION_JSON);
    response
}
