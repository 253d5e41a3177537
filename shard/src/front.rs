//! What every connection's requests meet first: calls of peers go to the fabric, all others to the stages.

use std::sync::Arc;

use ::fabric::PROXY_HEADER;
use ::fabric::serve::Fabric;
use apiserver::auth::RequestHeader;
use apiserver::stage::split_cluster;
use apiserver::{Body, Connection, RequestBody, Service, Stack};
use http::{Request, Response, StatusCode};
use permit::Cluster;

use crate::facts::ShardFacts;

/// The service of a shard.
pub struct Front {
    pub stack: Arc<Stack>,
    /// `None`: no certificate makes a peer here.
    pub fabric: Option<Fabric>,
    /// Who speaks for others.
    pub proxies: Option<Arc<RequestHeader>>,
    pub facts: Arc<ShardFacts>,
}

// === impl Front ===

impl Service for Front {
    async fn serve(&self, request: Request<RequestBody>, connection: &Connection) -> Response<Body> {
        if Fabric::is_call(request.uri().path(), request.headers())
            && let Some(fabric) = &self.fabric
        {
            return fabric.serve(request, connection).await;
        }
        if self.is_misdirected(&request, connection) {
            return misdirected();
        }
        self.stack.serve(request, connection).await
    }
}

impl Front {
    /// A proxy's index was behind: what it asks for is not here (any more). Said to proxies alone: others are told no more
    /// than that they have no access.
    fn is_misdirected(&self, request: &Request<RequestBody>, connection: &Connection) -> bool {
        if !request.headers().contains_key(&PROXY_HEADER) {
            return false;
        }
        let is_proxy = self
            .proxies
            .as_ref()
            .is_some_and(|proxies| proxies.vouches_for(&connection.certificates).unwrap_or_default());
        let segment = split_cluster(request.uri().path()).map(|(segment, _)| segment);
        let named = segment.and_then(|segment| Cluster::parse(segment).ok());
        is_proxy && named.is_some_and(|named| !named.is_system() && self.facts.index.read().cluster(&named).is_none())
    }
}

fn misdirected() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::MISDIRECTED_REQUEST;
    response
}
