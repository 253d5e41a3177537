//! Several authenticators as one.

use std::sync::Arc;

use async_trait::async_trait;
use machinery::status::{Result, Status};
use machinery::user::{AUTHENTICATED, UNAUTHENTICATED, User};

use permit::Scope;

use super::{Authenticator, Credentials, refused};

/// Asks each in turn: the first that knows the sender wins, and what others found wrong counts only if none does
/// (Kubernetes' union without "fail on error").
pub struct Chain {
    members: Vec<Arc<dyn Authenticator>>,
    /// Without credentials: `system:anonymous`.
    anonymous: bool,
    /// What this server itself is called by tokens. Credentials that know no audiences are for these.
    audiences: Vec<String>,
}

/// A user, and what the credential is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audienced {
    pub user: User,
    /// Those of the wanted audiences that the credential is good for. `None`: it says nothing about audiences.
    pub audiences: Option<Vec<String>>,
}

// === impl Chain ===

impl Chain {
    pub fn new(members: Vec<Arc<dyn Authenticator>>, audiences: Vec<String>, anonymous: bool) -> Self {
        Self {
            members,
            anonymous,
            audiences,
        }
    }

    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// For TokenReview: who has this token where it is asked, if it is good for one of `wanted`. Errors: 401, with the reasons
    /// of all.
    pub async fn review(&self, token: &str, wanted: &[String], scope: Option<&Scope>) -> Result<Audienced> {
        let headers = http::HeaderMap::new();
        let credentials = Credentials {
            peer_certificates: &[],
            bearer_token: Some(token),
            headers: &headers,
            scope,
        };
        let mut errors = Vec::new();
        for member in &self.members {
            match member.authenticate_for(&credentials, wanted).await {
                Ok(Some(mut found)) => {
                    let known = found
                        .audiences
                        .take()
                        .unwrap_or_else(|| intersection(wanted, &self.audiences));
                    // A credential that is for this server alone is nobody's elsewhere.
                    if known.is_empty() && !wanted.is_empty() {
                        continue;
                    }
                    add_authenticated(&mut found.user);
                    found.audiences = Some(known);
                    return Ok(found);
                }
                Ok(None) => {}
                Err(error) => errors.push(error.message),
            }
        }
        Err(aggregate(errors))
    }
}

#[async_trait]
impl Authenticator for Chain {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<User>> {
        let mut errors = Vec::new();
        for member in &self.members {
            match member.authenticate(credentials).await {
                Ok(Some(mut user)) => {
                    add_authenticated(&mut user);
                    return Ok(Some(user));
                }
                Ok(None) => {}
                Err(error) => errors.push(error.message),
            }
        }
        // A token that nobody knows is a wrong one, not an absent one.
        if credentials.bearer_token.is_some() || !errors.is_empty() {
            return Err(aggregate(errors));
        }
        Ok(self.anonymous.then(User::anonymous))
    }
}

/// Texts of all that went wrong, as Kubernetes aggregates them.
fn aggregate(errors: Vec<String>) -> Status {
    match errors.as_slice() {
        [] => refused("invalid bearer token"),
        [one] => refused(one.as_str()),
        many => refused(format!("[{}]", many.join(", "))),
    }
}

/// Kubernetes' "authenticated" group adder.
fn add_authenticated(user: &mut User) {
    if !user.is_anonymous() && !user.in_group(AUTHENTICATED) && !user.in_group(UNAUTHENTICATED) {
        user.groups.push(AUTHENTICATED.to_owned());
    }
}

pub(super) fn intersection(wanted: &[String], offered: &[String]) -> Vec<String> {
    wanted
        .iter()
        .filter(|audience| offered.contains(audience))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::TokenTable;
    use crate::auth::testing::bearer;

    struct Failing;

    #[async_trait]
    impl Authenticator for Failing {
        async fn authenticate(&self, _credentials: &Credentials<'_>) -> Result<Option<User>> {
            Err(refused("certificate expired"))
        }
    }

    fn chain(anonymous: bool) -> Chain {
        let mut table = TokenTable::new();
        table.insert("secret", User::new("jane", &["dev"]));
        let members: Vec<Arc<dyn Authenticator>> = vec![Arc::new(Failing), Arc::new(table)];
        Chain::new(members, vec!["https://here".to_owned()], anonymous)
    }

    #[tokio::test]
    async fn one_that_knows_the_sender_outweighs_errors_of_others() {
        let headers = http::HeaderMap::new();
        let found = chain(true)
            .authenticate(&bearer("secret", &headers))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(found, User::new("jane", &["dev", AUTHENTICATED]));
        let error = chain(true).authenticate(&bearer("wrong", &headers)).await.unwrap_err();
        assert_eq!(error.code, 401);
    }

    #[tokio::test]
    async fn nobody_is_anonymous_with_a_wrong_token() {
        let headers = http::HeaderMap::new();
        let chain = |anonymous| Chain::new(Vec::new(), Vec::new(), anonymous);
        let error = chain(true).authenticate(&bearer("wrong", &headers)).await.unwrap_err();
        assert_eq!(error.message, "invalid bearer token");
        let none = Credentials {
            bearer_token: None,
            ..bearer("", &headers)
        };
        assert_eq!(chain(true).authenticate(&none).await.unwrap(), Some(User::anonymous()));
        assert_eq!(chain(false).authenticate(&none).await.unwrap(), None);
    }

    #[tokio::test]
    async fn tokens_without_audiences_are_for_this_server() {
        let wanted = |name: &str| vec![name.to_owned()];
        let found = chain(true)
            .review("secret", &wanted("https://here"), None)
            .await
            .unwrap();
        assert_eq!(found.audiences, Some(wanted("https://here")));
        assert!(chain(true).review("secret", &wanted("elsewhere"), None).await.is_err());
    }
}
