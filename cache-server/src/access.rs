//! Who may do what here: components everything that there is, everybody the paths that need no permission.

use apiserver::auth::{Authenticator, Authorizer, Credentials, Resolution, Resolver, Rules};
use async_trait::async_trait;
use machinery::status::Status;
use machinery::user::{MASTERS, User};
use permit::{Access, Decision, Scope};

/// kcp's authorization of a cache server that stands alone (H.3).
pub struct Components {
    /// Paths that anybody may get; a trailing `*` stands for any end.
    pub always_allowed_paths: Vec<String>,
}

/// Whoever is no component is nobody in particular, whatever else is presented: kcp's cache server knows no other credentials, so
/// that it forbids (403) where others would not know who asks (401).
pub struct Anybody;

/// There are no clusters outside the service.
pub struct NoClusters;

// === impl Components ===

#[async_trait]
impl Authorizer for Components {
    async fn authorize(&self, user: &User, access: &Access) -> Decision {
        if user.in_group(MASTERS) {
            return Decision::allow("a component");
        }
        // Of the server's own paths alone: below a shard nothing is for everybody.
        let is_own = access.scope.is_none() && !access.is_resource;
        match is_own
            && self
                .always_allowed_paths
                .iter()
                .any(|allowed| fits(allowed, &access.path))
        {
            true => Decision::allow("a path for everybody"),
            false => Decision::deny("only for components of the control plane"),
        }
    }

    async fn rules(&self, _: &User, _: &Scope, _: &str) -> Rules {
        Rules::default()
    }
}

fn fits(allowed: &str, path: &str) -> bool {
    let (allowed, path) = (allowed.trim_start_matches('/'), path.trim_start_matches('/'));
    match allowed.strip_suffix('*') {
        Some(beginning) => path.starts_with(beginning),
        None => path == allowed,
    }
}

#[async_trait]
impl Authenticator for Anybody {
    async fn authenticate(&self, _: &Credentials<'_>) -> machinery::status::Result<Option<User>> {
        Ok(Some(User::anonymous()))
    }
}

impl Resolver for NoClusters {
    fn resolve(&self, _: &str, _: bool) -> Resolution {
        Resolution::Refused(Status::bad_request(crate::service::SHARD_REQUIRED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str, scope: Option<Scope>) -> Access {
        Access {
            scope,
            verb: "get".to_owned(),
            path: path.to_owned(),
            ..Access::default()
        }
    }

    #[tokio::test]
    async fn strangers_get_the_paths_that_are_for_everybody_and_nothing_else() {
        let components = Components {
            always_allowed_paths: vec!["/livez".to_owned(), "/healthz/*".to_owned()],
        };
        let stranger = User::new("stranger", &["system:authenticated"]);
        let allowed = async |access: Access| components.authorize(&stranger, &access).await.is_allowed();
        assert!(allowed(path("/livez", None)).await);
        assert!(allowed(path("/healthz/etcd", None)).await);
        assert!(!allowed(path("/livez/etcd", None)).await);
        assert!(!allowed(path("/metrics", None)).await);
        assert!(!allowed(path("/livez", Some(Scope::All))).await);
        let exports = Access {
            scope: Some(Scope::All),
            is_resource: true,
            path: "/livez".to_owned(),
            ..Access::default()
        };
        assert!(!allowed(exports.clone()).await);
        let component = User::new("shard", &[MASTERS]);
        assert!(components.authorize(&component, &exports).await.is_allowed());
    }
}
