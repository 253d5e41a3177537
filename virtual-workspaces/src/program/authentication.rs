//! Who asks, and who may ask what beside the views: decided by the shard.

use std::sync::Arc;

use apiserver::auth::{Authenticator, Authorizer, Credentials, Resolution, Resolver, Rules};
use async_trait::async_trait;
use machinery::status::{Result, Status};
use machinery::user::{MASTERS, User};
use permit::{Access, Decision, Scope};

use super::remote::RemoteShard;
use crate::Shard as _;

/// Bearer tokens, known to the shard.
pub struct Tokens(pub Arc<RemoteShard>);

/// What the shard's authorizer says; health is everybody's.
pub struct ByShard(pub Arc<RemoteShard>);

/// There are no clusters here but within views.
pub struct NoClusters;

#[async_trait]
impl Authenticator for Tokens {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<User>> {
        match credentials.bearer_token {
            Some(token) => self.0.authenticate(token).await,
            None => Ok(None),
        }
    }
}

#[async_trait]
impl Authorizer for ByShard {
    async fn authorize(&self, user: &User, access: &Access) -> Decision {
        let is_health = |path: &str| matches!(path.split('/').nth(1), Some("healthz" | "livez" | "readyz"));
        if user.in_group(MASTERS) || !access.is_resource && is_health(&access.path) {
            return Decision::allow("");
        }
        match self.0.allows(user, access).await {
            Ok(true) => Decision::allow(""),
            Ok(false) => Decision::no_opinion(""),
            Err(status) => Decision::Unavailable { reason: status.message },
        }
    }

    async fn rules(&self, _: &User, _: &Scope, _: &str) -> Rules {
        Rules::default()
    }
}

impl Resolver for NoClusters {
    fn resolve(&self, _: &str, _: bool) -> Resolution {
        Resolution::Refused(Status::no_such_resource())
    }
}
