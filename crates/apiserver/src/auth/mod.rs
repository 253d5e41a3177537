//! Who asks, and whether they may: the seams that a server fills in.

use std::sync::Arc;

use async_trait::async_trait;
use machinery::status::Result;
use machinery::user::User;
use permit::Scope;
pub use permit::{Access, Decision};

/// What a request presents about its sender. Secrets are never logged: no `Debug`.
pub struct Credentials<'a> {
    /// Verified client certificate chain (DER), leaf first.
    pub peer_certificates: &'a [rustls_pki_types::CertificateDer<'static>],
    pub bearer_token: Option<&'a str>,
    pub headers: &'a http::HeaderMap,
    pub scope: Option<&'a Scope>,
}

/// Establishes identity. The chain asks each in turn.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// `Ok(None)`: nothing here that concerns me. `Err`: a credential that is mine and does not hold (401).
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<User>>;
}

/// Decides accesses. Everything that is not allowed is denied.
#[async_trait]
pub trait Authorizer: Send + Sync {
    async fn authorize(&self, user: &User, access: &Access) -> Decision;

    /// The same, leaving annotations (key, value) for the audit log: what each step decided, and why.
    async fn authorize_noting(&self, user: &User, access: &Access, _notes: &mut Vec<(String, String)>) -> Decision {
        self.authorize(user, access).await
    }

    /// Rules for SelfSubjectRulesReview: (resource rules, non-resource rules, incomplete).
    async fn rules(&self, user: &User, scope: &Scope, namespace: &str) -> Rules;
}

#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub resource: Vec<serde_json::Value>,
    pub non_resource: Vec<serde_json::Value>,
    pub incomplete: bool,
    pub evaluation_error: String,
}

/// Turns the cluster segment of a URL (path or name) into a cluster.
pub trait Resolver: Send + Sync {
    fn resolve(&self, segment: &str, user_agent_is_peer: bool) -> Resolution;
}

/// What a cluster segment stands for.
pub enum Resolution {
    Cluster(permit::Cluster),
    /// `*`.
    All,
    /// Answered as it is (400, 404, 429, 503 …).
    Refused(machinery::status::Status),
    /// Everything below is served by another URL.
    Mount {
        url: String,
    },
}

pub type SharedAuthorizer = Arc<dyn Authorizer>;
