//! What every connection's requests meet first: what shards tell goes to the fabric, everything else below the service.

use std::sync::Arc;
use std::time::Duration;

use apiserver::{Body, Connection, RequestBody, Service, Stack};
use env::Clock;
use fabric::serve::Fabric;
use http::uri::PathAndQuery;
use http::{Request, Response, Uri};

use crate::service::PREFIX;

/// The service of a cache server.
pub struct Front {
    pub stack: Arc<Stack>,
    pub fabric: Fabric,
    pub clock: Clock,
    /// `--synthetic-delay`.
    pub delay: Duration,
}

// === impl Front ===

impl Service for Front {
    async fn serve(&self, mut request: Request<RequestBody>, connection: &Connection) -> Response<Body> {
        if !self.delay.is_zero() {
            self.clock.sleep(self.delay).await;
        }
        if Fabric::is_call(request.uri().path(), request.headers()) {
            return self.fabric.serve(request, connection).await;
        }
        if let Some(path) = meant(request.uri()) {
            *request.uri_mut() = Uri::from(path);
        }
        self.stack.serve(request, connection).await
    }
}

/// The path that a request stands for, where that is another one. kcp leaves out the service's prefix before it looks at anything
/// else: health may be asked below it, and shards without it.
fn meant(uri: &Uri) -> Option<PathAndQuery> {
    let path = uri.path();
    let below = path.strip_prefix(PREFIX);
    let meant = match below {
        Some(below) if is_own(below) => below.to_owned(),
        Some(_) => return None,
        None if is_own(path) => return None,
        None => format!("{PREFIX}{path}"),
    };
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    PathAndQuery::try_from(format!("{meant}{query}")).ok()
}

/// Paths of the server itself, beside those of shards.
fn is_own(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    matches!(first, "livez" | "readyz" | "healthz" | "metrics" | "version")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_of_the_service_may_be_there_or_not() {
        for (asked, other) in [
            ("/livez?verbose", None),
            ("/services/cache/livez?verbose", Some("/livez?verbose")),
            ("/metrics", None),
            ("/version", None),
            ("/services/cache/shards/a/clusters/*/apis/x", None),
            (
                "/shards/a/clusters/*/apis/x?limit=1",
                Some("/services/cache/shards/a/clusters/*/apis/x?limit=1"),
            ),
            ("/apis", Some("/services/cache/apis")),
            ("/services/other", Some("/services/cache/services/other")),
            ("/clusters/root/apis", Some("/services/cache/clusters/root/apis")),
        ] {
            let uri = Uri::try_from(asked).unwrap();
            assert_eq!(meant(&uri).as_ref().map(PathAndQuery::as_str), other, "{asked}");
        }
    }
}
