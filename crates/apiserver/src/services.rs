//! Virtual services: other APIs under `/services/…`, served by the same stages and handlers with another [`Surface`].

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::Response;
use http::request::Parts;
use machinery::status::Status;
use machinery::user::User;
use permit::Scope;
use registry::Surface;

use crate::auth::SharedAuthorizer;
use crate::body::Body;
use crate::refusal::Refusal;
use crate::server::Connection;
use crate::stage::fairness::Flow;

/// The services of a server.
#[async_trait]
pub trait Services: Send + Sync {
    /// Says which API a path means. `path` begins with `/services/`; the user is authenticated, nothing is authorized yet.
    async fn route(&self, user: &Arc<User>, path: &str, request: &Parts) -> ServiceRoute;

    /// Names for the readiness checks.
    fn names(&self) -> Vec<&'static str> {
        Vec::new()
    }
}

pub enum ServiceRoute {
    Api(Box<ServiceApi>),
    /// Another server has what the path means, and answers.
    Elsewhere(Elsewhere),
    /// No service has this path: 403, as kcp says it; 404 for those who may see everything.
    Unknown,
    Refused(Refusal),
}

/// A request that another server answers.
pub struct Elsewhere {
    pub forwarder: Arc<dyn Forwarder>,
    /// Whose share of the seats the request takes here.
    pub flow: Flow,
}

/// Passes a request on, and its answer back.
#[async_trait]
pub trait Forwarder: Send + Sync {
    /// `body` is the whole of it.
    async fn forward(&self, request: &Parts, body: Bytes) -> Result<Response<Body>, Status>;
}

/// What the server's own components ask for on behalf of users: other processes that serve views of this one's objects.
#[async_trait]
pub trait Delegates: Send + Sync {
    /// As what a request is to be served. `None`: it is an ordinary one. `sender` is known, nothing is authorized yet;
    /// `below` is the path below the cluster.
    async fn route(
        &self,
        sender: &Arc<User>,
        scope: &Scope,
        below: &str,
        request: &Parts,
        connection: &Connection,
    ) -> Result<Option<ServiceApi>, Refusal>;
}

/// APIs of a service.
pub struct ServiceApi {
    pub surface: Arc<dyn Surface>,
    pub scope: Scope,
    /// The path within the API: `/api/v1/…`, `/apis/…`, `/openapi/…`.
    pub path: String,
    /// Decides instead of the server's own authorizer.
    pub authorizer: Option<SharedAuthorizer>,
    /// Acts instead of who asked (who has been checked by `route`).
    pub user: Option<Arc<User>>,
    /// Whose share of the seats the request takes.
    pub flow: Flow,
}
