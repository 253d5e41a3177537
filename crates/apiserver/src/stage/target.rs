//! First stage: what the URL says. Syntax only; nothing is looked up.

use std::borrow::Cow;

use http::Method;
use http::request::Parts;
use machinery::object::GroupResource;
use machinery::status::Status;
use percent_encoding::percent_decode_str;
use permit::Verb;

use crate::query::Query;

/// A request as its URL and method describe it.
#[derive(Debug)]
pub struct Target<'r> {
    /// What stands behind `/clusters/`: a path, a name or `*`; decoded. `None`: no cluster in the URL.
    pub(super) segment: Option<&'r str>,
    /// Below the cluster, with a leading `/`; for services the path from `/services/` on.
    pub(super) path: &'r str,
    /// The path belongs to a virtual service: the cluster segment, if any, means nothing.
    pub(super) is_service: bool,
    pub(super) info: RequestInfo<'r>,
    pub(super) query: Query<'r>,
}

/// The URL below the cluster, taken apart the way Kubernetes' `RequestInfo` is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestInfo<'r> {
    /// `None`: not a resource; then only `path` and `verb` say anything.
    pub resource: Option<ResourceInfo<'r>>,
    pub path: &'r str,
    /// Verb for the authorizer: of resources `get`, `list`, …; else the method in lower case.
    pub verb: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceInfo<'r> {
    /// Absent for methods that no verb stands for.
    pub verb: Option<Verb>,
    pub group: &'r str,
    pub version: &'r str,
    /// Without the identity.
    pub resource: &'r str,
    /// What stands behind the `:` of the resource segment.
    pub identity: Option<&'r str>,
    pub subresource: &'r str,
    pub namespace: &'r str,
    /// Of the URL; or, for list and watch, the one that the field selector asks for.
    pub name: Cow<'r, str>,
    /// The name stands in the URL.
    pub is_named: bool,
    /// Segments behind the subresource.
    pub has_more: bool,
}

/// The path of a request, decoded as Go decodes it (before it is split).
pub fn decode_path(raw: &str) -> Result<Cow<'_, str>, Status> {
    if !raw.contains('%') {
        return Ok(Cow::Borrowed(raw));
    }
    let decoded = percent_decode_str(raw).decode_utf8();
    let decoded = decoded.map_err(|_| Status::bad_request("the path of the request is not valid UTF-8"))?;
    if decoded.contains('\0') {
        return Err(Status::bad_request("the path of the request contains a NUL byte"));
    }
    Ok(decoded)
}

// === impl Target ===

impl<'r> Target<'r> {
    /// `path` is the decoded path of `parts`.
    pub fn parse(parts: &'r Parts, path: &'r str) -> Result<Self, Status> {
        let query = Query::new(parts.uri.query().unwrap_or_default());
        let (segment, below) = match split_cluster(path) {
            Some((segment, below)) => (Some(segment), below),
            None => (None, path),
        };
        let is_service = below
            .strip_prefix("/services")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let info = RequestInfo::parse(&parts.method, below, &query)?;
        Ok(Self {
            segment,
            path: below,
            is_service,
            info,
            query,
        })
    }

    pub fn info(&self) -> &RequestInfo<'r> {
        &self.info
    }

    pub fn query(&self) -> &Query<'r> {
        &self.query
    }

    pub fn has_cluster(&self) -> bool {
        self.segment.is_some()
    }

    /// The same request with another path: a service has said which API is meant.
    pub(super) fn within(&self, method: &Method, path: &'r str) -> Result<Self, Status> {
        let info = RequestInfo::parse(method, path, &self.query)?;
        Ok(Self {
            segment: None,
            path,
            is_service: false,
            info,
            query: self.query,
        })
    }
}

/// `/clusters/<segment><rest>`; the rest begins with `/`. `/clusters//…` has no segment.
pub fn split_cluster(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix("/clusters/")?;
    let (segment, below) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    (!segment.is_empty()).then_some((segment, below))
}

// === impl RequestInfo ===

impl<'r> RequestInfo<'r> {
    pub fn parse(method: &Method, path: &'r str, query: &Query<'r>) -> Result<Self, Status> {
        let plain = |resource| Self {
            resource,
            path,
            verb: method_name(method),
        };
        let trimmed = path.trim_matches('/');
        let mut parts = trimmed.split('/');
        let (group, version) = match parts.next() {
            Some("api") => ("", parts.next()),
            Some("apis") => (parts.next().unwrap_or_default(), parts.next()),
            _ => return Ok(plain(None)),
        };
        let (Some(version), Some(first)) = (version, parts.next()) else {
            return Ok(plain(None));
        };
        let (by_prefix, first) = match first {
            "watch" => match parts.next() {
                Some(first) => (true, first),
                None => return Err(Status::bad_request("unable to determine kind and namespace from url")),
            },
            first => (false, first),
        };
        let mut info = ResourceInfo::from_segments(first, parts)?;
        info.group = group;
        info.version = version;
        let verb = match by_prefix {
            true => Some(Verb::Watch),
            false => info.verb_of(method, query),
        };
        info.verb = verb;
        info.take_selected_name(query);
        Ok(Self {
            resource: Some(info),
            path,
            verb: verb.map_or("", Verb::as_str),
        })
    }
}

fn method_name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "get",
        "HEAD" => "head",
        "POST" => "post",
        "PUT" => "put",
        "PATCH" => "patch",
        "DELETE" => "delete",
        "OPTIONS" => "options",
        _ => "unknown",
    }
}

// === impl ResourceInfo ===

impl<'r> ResourceInfo<'r> {
    /// `[namespaces/{ns}/]{resource}[/{name}[/{subresource}]]`; `status` and `finalize` of a namespace are its own.
    fn from_segments(first: &'r str, mut parts: impl Iterator<Item = &'r str>) -> Result<Self, Status> {
        let mut namespace = "";
        let mut name = parts.next();
        let mut subresource = parts.next();
        let mut resource = first;
        if first == "namespaces"
            && let Some(of) = name
        {
            namespace = of;
            if let Some(inner) = subresource
                && !matches!(inner, "status" | "finalize")
            {
                resource = inner;
                name = parts.next();
                subresource = parts.next();
            }
        }
        let (resource, identity) = match resource.split_once(':') {
            // kcp's words and code.
            Some((resource, "")) => {
                return Err(Status::internal(format!(
                    "invalid resource {resource:?}: missing identity"
                )));
            }
            Some((resource, identity)) => (resource, Some(identity)),
            None => (resource, None),
        };
        // `namespaces//configmaps` is no path of Kubernetes': neither all namespaces nor one.
        let has_more = parts.next().is_some() || first == "namespaces" && resource != first && namespace.is_empty();
        // A trailing slash was trimmed; an empty segment in between stays one, and names nothing.
        let is_named = name.is_some_and(|name| !name.is_empty());
        Ok(Self {
            verb: None,
            group: "",
            version: "",
            resource,
            identity,
            subresource: subresource.unwrap_or_default(),
            namespace,
            name: Cow::Borrowed(name.unwrap_or_default()),
            is_named,
            has_more,
        })
    }

    fn verb_of(&self, method: &Method, query: &Query<'_>) -> Option<Verb> {
        match *method {
            Method::GET | Method::HEAD if self.is_named => Some(Verb::Get),
            Method::GET | Method::HEAD if query.is_true("watch") => Some(Verb::Watch),
            Method::GET | Method::HEAD => Some(Verb::List),
            Method::POST => Some(Verb::Create),
            Method::PUT => Some(Verb::Update),
            Method::PATCH => Some(Verb::Patch),
            Method::DELETE if self.is_named => Some(Verb::Delete),
            Method::DELETE => Some(Verb::DeleteCollection),
            _ => None,
        }
    }

    /// A list or watch of `metadata.name=x` is, for the authorizer, one of the object `x`.
    fn take_selected_name(&mut self, query: &Query<'r>) {
        if self.is_named || !matches!(self.verb, Some(Verb::List | Verb::Watch)) {
            return;
        }
        let Some(selector) = query.get("fieldSelector") else {
            return;
        };
        let wanted = selector.split(',').find_map(|term| {
            let value = term.trim().strip_prefix("metadata.name")?.strip_prefix('=')?;
            Some(value.strip_prefix('=').unwrap_or(value).to_owned())
        });
        if let Some(name) = wanted.filter(|name| !name.is_empty() && path_segment_error(name).is_none()) {
            self.name = Cow::Owned(name);
        }
    }

    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(self.group, self.resource)
    }
}

/// Why a text cannot be a name in a URL, in Kubernetes' words.
pub fn path_segment_error(name: &str) -> Option<&'static str> {
    match name {
        "." => Some("may not be '.'"),
        ".." => Some("may not be '..'"),
        _ if name.contains('/') => Some("may not contain '/'"),
        _ if name.contains('%') => Some("may not contain '%'"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
