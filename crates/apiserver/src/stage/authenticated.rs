//! Third stage: who asks.

use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use machinery::status::Status;
use machinery::user::{AUTHENTICATED, MASTERS, User};
use permit::{Access, Scope};

use super::fairness::Flow;
use super::resolved::Place;
use super::{Resolved, Target};
use crate::auth::{Authorizer, Credentials};
use crate::record::Record;
use crate::refusal::{Refusal, Result};
use crate::server::Connection;
use crate::stack::Stack;

/// A request of a known sender (who may be anonymous).
pub struct Authenticated<'r> {
    pub(super) target: Target<'r>,
    pub(super) place: Place,
    pub(super) user: Arc<User>,
}

/// Which seats a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    ReadOnly,
    Mutating,
    /// None.
    Exempt {
        mutating: bool,
    },
}

/// Replaces the sender by another user, where `Impersonate-*` headers ask for it.
#[async_trait]
pub trait Impersonator: Send + Sync {
    /// `None`: the request asks for nothing of the kind. `access` is what is asked for, for the texts and scopes.
    async fn impersonate(
        &self,
        user: &User,
        headers: &HeaderMap,
        access: &Access,
        authorizer: &dyn Authorizer,
    ) -> Result<Option<User>, Status>;
}

// === impl Authenticated ===

impl<'r> Authenticated<'r> {
    pub async fn new(
        resolved: Resolved<'r>,
        stack: &Stack,
        parts: &Parts,
        connection: &Connection,
        record: &mut Record,
    ) -> Result<Self> {
        let user = establish(stack, parts, connection, resolved.scope()).await;
        match &user {
            Ok(_) => stack.metrics.authentication_successes.inc(),
            Err(_) => stack.metrics.authentication_failures.inc(),
        }
        let user = user?;
        let mut user = Arc::new(user);
        record.user = Some(user.clone());
        let Resolved { target, place } = resolved;
        if let Some(impersonator) = &stack.impersonator
            && parts
                .headers
                .keys()
                .any(|name| name.as_str().starts_with("impersonate-"))
        {
            let scope = match &place {
                Place::Scope(scope) => Some(scope.clone()),
                _ => None,
            };
            let access = target.access(scope);
            let outcome = impersonator
                .impersonate(&user, &parts.headers, &access, &*stack.authorizer)
                .await;
            if let Some(other) = outcome.map_err(|status| Refusal::Forbidden(Box::new(status)))? {
                user = Arc::new(other);
                record.impersonated = Some(user.clone());
            }
        }
        Ok(Self { target, place, user })
    }

    pub fn user(&self) -> &Arc<User> {
        &self.user
    }

    /// Below the cluster.
    pub fn path(&self) -> &'r str {
        self.target.path
    }

    /// The clusters of the URL, if there are any to be had.
    pub fn scope(&self) -> Option<&Scope> {
        match &self.place {
            Place::Scope(scope) => Some(scope),
            _ => None,
        }
    }

    pub fn is_service(&self) -> bool {
        matches!(self.place, Place::Service)
    }

    pub fn is_mounted(&self) -> bool {
        matches!(self.place, Place::Mount(_))
    }

    /// The URL that serves the cluster instead.
    pub fn mount(&self) -> Option<&str> {
        match &self.place {
            Place::Mount(url) => Some(url),
            _ => None,
        }
    }

    /// Health checks must answer when nothing else does, and the server's masters must get in to help.
    pub fn load(&self) -> Load {
        self.load_of(&self.user)
    }

    /// The same, if another user asked.
    pub fn load_of(&self, user: &User) -> Load {
        let verb = self.target.info.resource.as_ref().and_then(|info| info.verb);
        match (
            verb.is_some_and(permit::Verb::is_mutating),
            self.is_health() || user.in_group(MASTERS),
        ) {
            (mutating, true) => Load::Exempt { mutating },
            (true, false) => Load::Mutating,
            (false, false) => Load::ReadOnly,
        }
    }

    /// Whose share of the seats this request takes.
    pub fn flow(&self) -> Flow {
        match &self.place {
            Place::Scope(Scope::One(cluster)) => Flow::from(cluster.as_str()),
            _ => Flow::from(format!("user:{}", self.user.name)),
        }
    }

    /// 403 for the path as a whole.
    pub(crate) fn forbidden(&self, reason: &str) -> Refusal {
        let access = Access {
            verb: self.target.info.verb.to_owned(),
            path: self.target.path.to_owned(),
            ..Access::default()
        };
        super::permitted::forbidden(&self.user, &access, reason)
    }

    pub(super) fn is_health(&self) -> bool {
        let path = self.target.path.trim_start_matches('/');
        let check = path.split('/').next().unwrap_or_default();
        matches!(check, "livez" | "readyz" | "healthz")
    }
}

async fn establish(stack: &Stack, parts: &Parts, connection: &Connection, scope: Option<&Scope>) -> Result<User> {
    let bearer_token = bearer_token(&parts.headers);
    let credentials = Credentials {
        peer_certificates: &connection.certificates,
        bearer_token,
        headers: &parts.headers,
        scope,
    };
    let mut refused = connection.certificate_refused || bearer_token.is_some();
    let mut unavailable = None;
    for authenticator in &stack.authenticators {
        match authenticator.authenticate(&credentials).await {
            Ok(Some(mut user)) => {
                if !user.is_anonymous() && !user.in_group(AUTHENTICATED) {
                    user.groups.push(AUTHENTICATED.to_owned());
                }
                return Ok(user);
            }
            Ok(None) => {}
            // Another credential of the request may hold; this one is not forgotten.
            Err(error) => {
                tracing::debug!(%error, "a credential does not hold");
                refused = true;
                unavailable = unavailable.or_else(|| (error.code == 503).then_some(error));
            }
        }
    }
    // Whether it holds is not known: clients throw away what is refused.
    if let Some(status) = unavailable {
        return Err(Refusal::from(status));
    }
    if refused || !stack.options.anonymous {
        return Err(Refusal::from(Status::unauthorized()));
    }
    Ok(User::anonymous())
}

/// The token of `Authorization: Bearer <token>`.
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let mut words = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split(' ');
    let scheme = words.next()?;
    let token = words.next()?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearer_is_read_as_kubernetes_reads_it() {
        let token = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, http::HeaderValue::from_static(text));
            bearer_token(&headers).map(str::to_owned)
        };
        assert_eq!(token("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(token("bearer abc def").as_deref(), Some("abc"));
        for none in ["Bearer", "Bearer ", "Basic abc", "abc"] {
            assert_eq!(token(none), None, "{none}");
        }
    }
}
