//! `/openapi/v3`: the index and the document of each group-version.
//!
//! A document's name is the hash of what it is made from, so the index is made without making the documents, and clusters
//! that serve the same APIs share them (law 1). `/openapi/v2` is not served: kubectl since 1.27 asks for it only where
//! there is no v3.

mod definitions;
mod document;
mod overview;

use std::sync::Arc;

use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, EXPIRES, HeaderValue, VARY};
use http::request::Parts;
use http::{HeaderMap, Response};
use machinery::object::GroupVersion;
use machinery::status::Status;
use permit::Scope;
use registry::ResourceDef;
use serde_json::{Map, json};

pub(crate) use definitions::Definitions;

use super::aggregate::Groups;
use super::documents::{Document, fingerprint};
use super::negotiate::Output;
use crate::body::Body;
use crate::gzip;
use crate::refusal::{APPLICATION_JSON, Refusal, Result};
use crate::stack::Stack;
use crate::stage::PermittedPath;

/// Changes when documents are made differently: clients keep them by hash for a year.
const MAKING: &str = "1";

/// What all of them are called where documents are kept: their content tells them apart.
const DOCUMENT: &str = "openapi";

const YEAR_SECONDS: i64 = 365 * 24 * 3600;

pub(super) async fn respond(
    stack: &Stack,
    request: &PermittedPath<'_>,
    parts: &Parts,
    rest: &str,
) -> Result<Response<Body>> {
    let (version, of) = rest.split_once('/').unwrap_or((rest, ""));
    if version == "v2" && of.is_empty() {
        return Err(Refusal::from(Status::no_such_resource()));
    }
    // kcp: nothing over all clusters.
    let (Some(scope @ Scope::One(_)), "v3") = (&request.api.scope, version) else {
        return Err(Refusal::no_such_path());
    };
    // JSON is the one form; its transforms mean nothing here.
    Output::negotiate(parts, &request.query)?;
    let surface = &request.api.surface;
    let overview = |groups: &Groups<'_>| overview::names(groups, request.api.is_service, &stack.options.pages);
    if of.is_empty() {
        let make = || {
            let defs = surface.resources(scope);
            Ok::<_, Refusal>(index(&defs, overview(&Groups::new(&defs))))
        };
        let kind = match request.api.is_service {
            true => "services/openapi/v3",
            false => "openapi/v3",
        };
        let index = stack.documents.get(surface.content_key(scope), kind, make)?;
        return Ok(send(&index, parts));
    }
    let found = group_version(of);
    let defs = match &found {
        Some(group_version) => of_version(surface.resources(scope), group_version),
        None => surface.resources(scope),
    };
    let hash = match &found {
        Some(group_version) if !defs.is_empty() => hash(group_version, &defs),
        Some(_) => return Err(Refusal::from(Status::no_such_resource())),
        None if overview(&Groups::new(&defs)).iter().any(|name| name == of) => overview_hash(of),
        None => return Err(Refusal::no_such_path()),
    };
    let asked = request.query.get("hash").filter(|hash| !hash.is_empty());
    if asked.as_ref().is_some_and(|asked| *asked != hash) {
        return Err(Refusal::Moved(url(of, &hash)));
    }
    let document = match stack.documents.kept(content_key(&hash), DOCUMENT) {
        Some(document) => document,
        None => {
            let (of, definitions, hash_of) = (of.to_owned(), stack.definitions.clone(), hash.clone());
            let compresses = gzip::is_accepted(&parts.headers);
            let make = move || {
                let document = match &found {
                    Some(group_version) => document::build(group_version, &defs, &definitions),
                    None => overview::build(&of, &definitions),
                };
                let document = Document::named(document.to_string(), &hash_of);
                if compresses && is_worth_compressing(&document) {
                    document.compressed(gzip::gzip);
                }
                document
            };
            // Large schemas take long: connections of the same thread could not even answer pings meanwhile.
            let made = stack.env.spawn.blocking(make).await;
            stack.documents.keep(content_key(&hash), DOCUMENT, made)
        }
    };
    let mut response = send(&document, parts);
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    if asked.is_some() {
        keep_forever(response.headers_mut(), stack.env.clock.now().as_secs());
    }
    Ok(response)
}

/// `api/v1`, `apis/<group>/<version>`.
fn group_version(of: &str) -> Option<GroupVersion> {
    let mut parts = of.split('/');
    let found = match (parts.next(), parts.next(), parts.next()) {
        (Some("api"), Some(version), None) => GroupVersion::new("", version),
        (Some("apis"), Some(group), Some(version)) => GroupVersion::new(group, version),
        _ => return None,
    };
    parts.next().is_none().then_some(found)
}

fn of_version(defs: Vec<Arc<ResourceDef>>, of: &GroupVersion) -> Vec<Arc<ResourceDef>> {
    defs.into_iter()
        .filter(|def| *def.group == *of.group && def.served_version(&of.version).is_some())
        .collect()
}

fn index(defs: &[Arc<ResourceDef>], overview: Vec<String>) -> Document {
    let groups = Groups::new(defs);
    let mut paths = Map::new();
    for name in overview {
        let url = url(&name, &overview_hash(&name));
        paths.insert(name, json!({ "serverRelativeURL": url }));
    }
    for name in groups.names() {
        for version in groups.versions(name) {
            let of = GroupVersion::new(name, version);
            let key = if name.is_empty() {
                format!("api/{}", of.version)
            } else {
                format!("apis/{of}")
            };
            let hash = hash(&of, &of_version(defs.to_vec(), &of));
            let url = url(&key, &hash);
            paths.insert(key, json!({ "serverRelativeURL": url }));
        }
    }
    Document::new(json!({ "paths": paths }).to_string())
}

/// Without the cluster's prefix: client-go puts its own before it, just because this does not have it.
fn url(of: &str, hash: &str) -> String {
    format!("/openapi/v3/{of}?hash={hash}")
}

/// Of everything that a document is made from.
fn hash(of: &GroupVersion, defs: &[Arc<ResourceDef>]) -> String {
    let mut input = format!("{MAKING}\n{of}\n");
    for def in defs {
        let Some(version) = def
            .served_version(&of.version)
            .and_then(|index| def.versions.get(index))
        else {
            continue;
        };
        let names = &def.names;
        let subresources: Vec<&str> = def
            .subresources
            .iter()
            .map(|subresource| subresource.as_str())
            .collect();
        input.push_str(&format!(
            "{} {} {} {} {:?} {} {} {subresources:?} {:?}\n",
            names.plural,
            names.kind,
            names.list_kind,
            def.namespaced,
            def.verbs,
            version.status,
            version.scale.is_some(),
            version.schema.content,
        ));
    }
    fingerprint(input.as_bytes())
}

fn overview_hash(name: &str) -> String {
    fingerprint(format!("{MAKING}\n{name}\n").as_bytes())
}

fn content_key(hash: &str) -> [u8; 32] {
    let mut key = [0; 32];
    key.iter_mut().zip(hash.bytes()).for_each(|(to, from)| *to = from);
    key
}

fn is_worth_compressing(document: &Document) -> bool {
    document.body.len() > 16 * 1024
}

fn send(document: &Document, parts: &Parts) -> Response<Body> {
    let mut response = match document.if_unchanged(parts) {
        Some(unchanged) => unchanged,
        None if gzip::is_accepted(&parts.headers) && is_worth_compressing(document) => {
            let mut response = Response::new(Body::full(document.compressed(gzip::gzip)));
            response
                .headers_mut()
                .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            response
        }
        None => Response::new(Body::full(document.body.clone())),
    };
    response.headers_mut().insert(CONTENT_TYPE, APPLICATION_JSON);
    response.headers_mut().insert(ETAG, document.etag());
    response
}

/// The URL names the content, so what is behind it never changes.
fn keep_forever(headers: &mut HeaderMap, now_seconds: i64) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
    if let Ok(date) = HeaderValue::try_from(http_date(now_seconds.saturating_add(YEAR_SECONDS))) {
        headers.insert(EXPIRES, date);
    }
}

/// `Sun, 22 Nov 2026 17:01:15 GMT`.
fn http_date(seconds: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    // RFC 3339 has all the numbers: `2026-11-22T17:01:15Z`.
    let text = machinery::time::format_seconds(i128::from(seconds) * 1_000_000_000);
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
    let month: usize = part(5..7).parse().unwrap_or(1);
    let weekday = usize::try_from(seconds.div_euclid(86_400).rem_euclid(7)).unwrap_or_default();
    format!(
        "{}, {} {} {} {} GMT",
        DAYS.get(weekday).copied().unwrap_or_default(),
        part(8..10),
        MONTHS.get(month.saturating_sub(1)).copied().unwrap_or_default(),
        part(0..4),
        part(11..19),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_http() {
        assert_eq!(http_date(1_795_366_875), "Sun, 22 Nov 2026 17:01:15 GMT");
        assert_eq!(http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
    }

    #[test]
    fn paths_name_group_versions() {
        assert_eq!(group_version("api/v1"), Some(GroupVersion::new("", "v1")));
        assert_eq!(group_version("apis/g.io/v1"), Some(GroupVersion::new("g.io", "v1")));
        for none in ["api", "apis/g", "api/v1/x", "apis/g/v1/x", "version"] {
            assert_eq!(group_version(none), None, "{none}");
        }
    }
}
