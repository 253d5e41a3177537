//! Virtual services: other APIs under `/services/…`, served by the same stages and handlers with another [`Surface`].

use std::sync::Arc;

use async_trait::async_trait;
use http::request::Parts;
use machinery::user::User;
use permit::Scope;
use registry::Surface;

use crate::auth::SharedAuthorizer;
use crate::refusal::Refusal;
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
    /// No service has this path: 403, as kcp says it; 404 for those who may see everything.
    Unknown,
    Refused(Refusal),
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
