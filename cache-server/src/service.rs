//! `/services/cache/shards/{shard}/clusters/{cluster}/…`: which objects a path means (kcp's facts, H.3).

use std::sync::Arc;

use apiserver::{Refusal, ServiceApi, ServiceRoute, Services};
use async_trait::async_trait;
use compact_str::CompactString;
use http::StatusCode;
use http::request::Parts;
use machinery::status::Status;
use machinery::user::User;
use permit::{Cluster, Scope};

use crate::surface::{Cache, Part};

/// Routes to parts of a [`Cache`].
pub struct CacheService(pub Arc<Cache>);

/// A path taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Route<'p> {
    /// `None`: all shards.
    shard: Option<&'p str>,
    scope: Option<Scope>,
    below: &'p str,
}

pub const PREFIX: &str = "/services/cache";
pub const SHARD_REQUIRED: &str = "a shard name is required";

// === impl CacheService ===

#[async_trait]
impl Services for CacheService {
    async fn route(&self, user: &Arc<User>, path: &str, _: &Parts) -> ServiceRoute {
        let route = match Route::parse(path.strip_prefix(PREFIX).unwrap_or(path)) {
            Ok(route) => route,
            Err(refusal) => return ServiceRoute::Refused(refusal),
        };
        let Some(scope) = route.scope else {
            return ServiceRoute::Refused(Refusal::no_such_path());
        };
        ServiceRoute::Api(Box::new(ServiceApi {
            surface: Arc::new(Part::new(&self.0, route.shard)),
            scope,
            path: route.below.to_owned(),
            authorizer: None,
            user: None,
            flow: CompactString::from(format!("user:{}", user.name)),
        }))
    }

    fn names(&self) -> Vec<&'static str> {
        vec!["cache"]
    }
}

// === impl Route ===

impl<'p> Route<'p> {
    /// `path` is what follows `/services/cache`. Refused in kcp's words.
    fn parse(path: &'p str) -> Result<Self, Refusal> {
        let bad = |text: String| Err(Refusal::from(Status::bad_request(text)));
        let Some(rest) = path.strip_prefix("/shards/") else {
            return bad(SHARD_REQUIRED.to_owned());
        };
        let Some(at) = rest.find('/') else {
            return bad(format!("unable to parse shard: no `/` found in path {rest}"));
        };
        let (shard, rest) = rest.split_at(at);
        if shard.is_empty() {
            return bad(SHARD_REQUIRED.to_owned());
        }
        if shard != "*" && !is_shard(shard) {
            return bad(format!("invalid shard: {shard:?} does not match the regex"));
        }
        let (scope, below) = split_cluster(rest)?;
        let is_of_server = below.trim_matches('/') == "metrics";
        if is_of_server {
            // Of the whole server, wherever it is asked for.
            let text = "shard-level endpoint not available at shard or workspace scope";
            return Err(Refusal::plain(StatusCode::NOT_IMPLEMENTED, text));
        }
        // Groups are known, and not listed.
        if matches!(
            below
                .trim_matches('/')
                .split_once('/')
                .unwrap_or((below.trim_matches('/'), "")),
            ("apis", "") | ("api", _)
        ) {
            return Err(Refusal::no_such_path());
        }
        Ok(Self {
            shard: (shard != "*").then_some(shard),
            scope,
            below,
        })
    }
}

/// `/clusters/<* or name>/…`.
fn split_cluster(rest: &str) -> Result<(Option<Scope>, &str), Refusal> {
    let Some(named) = rest.strip_prefix("/clusters/") else {
        return Ok((None, rest));
    };
    let (name, below) = match named.find('/') {
        Some(at) => named.split_at(at),
        None => (named, "/"),
    };
    if name == "*" {
        return Ok((Some(Scope::All), below));
    }
    match Cluster::parse(name) {
        Ok(cluster) => Ok((Some(Scope::One(cluster)), below)),
        // A path is not resolved here: whoever asks knows the cluster's name.
        Err(error) => Err(Refusal::from(Status::bad_request(format!(
            "invalid cluster: {name:?}: {error}"
        )))),
    }
}

/// kcp's `^[a-z0-9-:]{0,61}$`.
fn is_shard(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b':');
    name.len() <= 61 && name.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str) -> Result<Route<'_>, u16> {
        Route::parse(path).map_err(|refusal| refusal.code())
    }

    #[test]
    fn shards_and_clusters_are_named_or_all() {
        let route = |path| parse(path).unwrap();
        let exports = "/apis/apis.kcp.io/v1alpha2/apiexports";
        let all = format!("/shards/*/clusters/*{exports}");
        let expected = Route {
            shard: None,
            scope: Some(Scope::All),
            below: exports,
        };
        assert_eq!(route(&all), expected);
        let one = format!("/shards/amber/clusters/root{exports}");
        let expected = Route {
            shard: Some("amber"),
            scope: Some(Scope::One(Cluster::well_known("root"))),
            below: exports,
        };
        assert_eq!(route(&one), expected);
        assert_eq!(route("/shards/amber/version").scope, None);
    }

    #[test]
    fn what_is_no_path_is_refused_as_kcp_does() {
        for (path, code) in [
            ("", 400),
            ("/apis", 400),
            ("/clusters/root/apis", 400),
            ("/shards/amber", 400),
            ("/shards//clusters/root/api", 400),
            ("/shards/Amber/clusters/root/api", 400),
            ("/shards/amber/clusters/root:org/apis", 400),
            ("/shards/amber/clusters/root/metrics", 501),
            ("/shards/amber/metrics", 501),
            ("/shards/amber/clusters/root/apis", 404),
            ("/shards/amber/clusters/root/apis/", 404),
            ("/shards/amber/clusters/root/api/v1", 404),
        ] {
            assert_eq!(parse(path), Err(code), "{path}");
        }
        let long = format!("/shards/{}/clusters/root/api", "a".repeat(62));
        assert_eq!(parse(&long), Err(400));
    }
}
