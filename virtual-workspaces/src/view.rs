//! One view, and the request that it routes.

use std::sync::Arc;

use apiserver::stage::RequestInfo;
use apiserver::{Query, Refusal, ServiceApi, ServiceRoute};
use async_trait::async_trait;
use compact_str::CompactString;
use http::Method;
use http::request::Parts;
use machinery::status::{Cause, Status};
use machinery::user::User;
use permit::{Cluster, Scope, Verb};

use crate::Routed;
use crate::surface::{Nobody, Nothing};

/// A virtual workspace.
#[async_trait]
pub trait View: Send + Sync {
    /// The first segment below `/services/`; names the readiness check, too.
    fn name(&self) -> &'static str;

    /// Says which API a path means. Nothing is authorized yet: who may not know of something gets [`Call::denied`].
    async fn route(&self, call: &Call<'_>) -> Routed;
}

/// A request to a view.
pub struct Call<'a> {
    /// Authenticated, after impersonation.
    pub user: &'a Arc<User>,
    /// Decoded, from `/services/` on.
    pub path: &'a str,
    /// What stands behind `/services/<view>/`; empty if nothing does.
    pub rest: &'a str,
    pub method: &'a Method,
    pub query: Query<'a>,
}

// === impl Call ===

impl<'a> Call<'a> {
    pub fn new(user: &'a Arc<User>, path: &'a str, rest: &'a str, request: &'a Parts) -> Self {
        Self {
            user,
            path,
            rest,
            method: &request.method,
            query: Query::new(request.uri.query().unwrap_or_default()),
        }
    }

    /// The path within the view's API, taken apart.
    pub fn info(&self, below: &'a str) -> Result<RequestInfo<'a>, Refusal> {
        Ok(RequestInfo::parse(self.method, below, &self.query)?)
    }

    /// The answer to who may not see what the path means: 403 in the words of the API, as if it were there.
    pub fn denied(&self, scope: Scope, below: &str) -> ServiceRoute {
        ServiceRoute::Api(Box::new(ServiceApi {
            surface: Arc::new(Nothing),
            scope,
            path: below.to_owned(),
            authorizer: Some(Arc::new(Nobody)),
            user: None,
            flow: CompactString::from(format!("user:{}", self.user.name)),
        }))
    }
}

/// The first segment of a path without leading `/`, and what stands behind it (without `/`). `None`: there is none.
pub fn split_segment(path: &str) -> Option<(&str, &str)> {
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    (!first.is_empty()).then_some((first, rest))
}

/// `clusters/<* or name>[/…]`: the scope, and the path below with its leading `/`. `None` for workspace paths and whatever
/// else is no name.
pub fn split_clusters(rest: &str) -> Option<(Scope, &str)> {
    let rest = rest.strip_prefix("clusters/")?;
    let (segment, below) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    if segment == "*" {
        return Some((Scope::All, below));
    }
    Some((Scope::One(plain_cluster(segment)?), below))
}

/// A cluster by its name. What has a `:` in it is a path, system clusters included.
pub(crate) fn plain_cluster(name: &str) -> Option<Cluster> {
    Cluster::parse(name).ok().filter(|cluster| !cluster.is_system())
}

/// What no view has, over one cluster or all of them. Not said to those who may not know what the path means.
pub(crate) fn refuse_what_views_lack(info: &RequestInfo<'_>, scope: &Scope) -> Result<(), Refusal> {
    refuse_beyond_wildcard(info, scope)?;
    refuse_other_subresources(info)
}

/// Over all clusters a view lists and watches, nothing else: kcp's answer, in the form in which its client found it.
fn refuse_beyond_wildcard(info: &RequestInfo<'_>, scope: &Scope) -> Result<(), Refusal> {
    let is_read = |verb: Option<Verb>| matches!(verb, Some(Verb::List | Verb::Watch));
    match &info.resource {
        Some(resource) if *scope == Scope::All && !is_read(resource.verb) => {
            Err(Refusal::from(Status::no_such_resource().with_cause(Cause {
                reason: "UnexpectedServerResponse".to_owned(),
                message: "404 page not found".to_owned(),
                ..Cause::default()
            })))
        }
        _ => Ok(()),
    }
}

/// Views have main resources and their status; every other subresource is a right of its own that no view hands out.
pub(crate) fn refuse_other_subresources(info: &RequestInfo<'_>) -> Result<(), Refusal> {
    match &info.resource {
        Some(resource) if !matches!(resource.subresource, "" | "status") => {
            Err(Refusal::from(Status::no_such_resource()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_are_named_not_described_by_paths() {
        assert_eq!(split_clusters("clusters/*/api"), Some((Scope::All, "/api")));
        let one = Scope::One(Cluster::well_known("abc"));
        assert_eq!(split_clusters("clusters/abc"), Some((one, "/")));
        for bad in [
            "clusters/root:org/api",
            "clusters/system:admin",
            "clusters//api",
            "clusters/",
            "apis",
            "",
        ] {
            assert_eq!(split_clusters(bad), None, "{bad}");
        }
    }
}
