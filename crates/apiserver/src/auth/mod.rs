//! Who asks, and whether they may: the seams that a server fills in, and what Kubernetes has in them.
//!
//! Authentication: [`ClientCertificates`], [`TokenTable`], [`RequestHeader`], [`ServiceAccountTokens`], asked in turn by
//! the stage or, where no request is at hand, by a [`Chain`]. Then [`Impersonation`]. Authorization is the server's own
//! ([`Authorizer`]); [`rbac`] is what it is mostly made of, [`Escalation`] keeps people from granting what they do not
//! have. [`ReviewBackend`] and [`AccountBackend`] serve the kinds that ask about all this.
//!
//! Invariants
//! - Credentials are never logged and never kept as they came: tokens are held by their hash.
//! - An authenticator answers `Ok(None)` for what is not its own, so that another may know it; a credential of its own that
//!   does not hold is an error, which counts unless another credential of the same request does hold.
//! - Time comes as a function ([`Now`]); there is no other clock here.

mod ca_bundle;
mod chain;
mod escalation;
mod impersonation;
pub mod jwt;
pub mod rbac;
mod request_header;
mod review;
pub mod service_account;
mod token;
mod x509;

#[cfg(test)]
pub(crate) mod testing;

use std::sync::Arc;

use async_trait::async_trait;
use machinery::status::{Reason, Result, Status};
use machinery::user::User;
use permit::Scope;
pub use permit::{Access, Decision};

pub use ca_bundle::{CaBundle, CaError};
pub use chain::{Audienced, Chain};
pub use escalation::{Escalation, RuleSource};
pub use impersonation::{Impersonation, ImpersonationOptions};
pub use request_header::{RequestHeader, RequestHeaderOptions};
pub use review::{AccountBackend, ReviewBackend};
pub use service_account::{ServiceAccountTokens, TokenIssuer};
pub use token::{TokenFileError, TokenTable, hash_token};
pub use x509::ClientCertificates;

/// Unix seconds, whenever asked.
pub type Now = Arc<dyn Fn() -> i64 + Send + Sync>;

/// `Extra` of users: which credential was used.
pub const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

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

    /// The same, where the credential is to be good for one of the `wanted` audiences. Who knows no audiences leaves
    /// [`Audienced::audiences`] empty.
    async fn authenticate_for(&self, credentials: &Credentials<'_>, _wanted: &[String]) -> Result<Option<Audienced>> {
        let user = self.authenticate(credentials).await?;
        Ok(user.map(|user| Audienced { user, audiences: None }))
    }
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
    /// Answered as it is (400, 404, 429 …).
    Refused(machinery::status::Status),
    /// There, and not to be had now. Said to those who may use the cluster, if it is known, or may see it from its parent.
    Unavailable {
        status: machinery::status::Status,
        cluster: Option<permit::Cluster>,
    },
    /// Everything below is served by another URL.
    Mount {
        url: String,
    },
}

pub type SharedAuthorizer = Arc<dyn Authorizer>;

/// The wall clock of an environment as [`Now`].
pub fn now(clock: &env::Clock) -> Now {
    let clock = clock.clone();
    Arc::new(move || clock.now().as_secs())
}

/// Why a credential does not hold. Clients are told no more than `Unauthorized`; the text is for logs and TokenReviews.
pub fn refused(why: impl Into<String>) -> Status {
    Status::new(401, Reason::Unauthorized, why)
}

/// A part of a header's name that carries a key of `extra`: lower case, `%`-escapes undone; taken as it is if they are no
/// escapes.
pub(crate) fn extra_key(part: &str) -> String {
    let lower = part.to_ascii_lowercase();
    let is_escaped = |(at, _): (usize, &str)| {
        let digits = lower.as_bytes().get(at + 1..at + 3);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !lower.match_indices('%').all(is_escaped) {
        return lower;
    }
    let decoded = percent_encoding::percent_decode_str(&lower).decode_utf8();
    decoded.map_or_else(|_| lower.clone(), std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_extra_are_unescaped_if_they_are_escaped() {
        assert_eq!(extra_key("Acme.io%2FProject"), "acme.io/project");
        assert_eq!(extra_key("100%"), "100%");
        assert_eq!(extra_key("a%zz"), "a%zz");
    }
}
