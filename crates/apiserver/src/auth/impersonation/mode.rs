//! The ways of impersonating, each with verbs of its own.

use machinery::status::{Result, Status};
use machinery::user::{ANONYMOUS, AUTHENTICATED, MASTERS, UNAUTHENTICATED, User};
use permit::{Access, Decision};

use crate::auth::Authorizer;
use crate::auth::service_account::{account_groups, split_account_user_name};
use crate::stage::forbidden_status;

/// In the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// `system:node:<name>`, by name alone.
    Node,
    /// `system:serviceaccount:<namespace>:<name>`, by name alone.
    Account,
    /// Everybody else.
    UserInfo,
    /// Kubernetes' verb `impersonate`, which is for everything that the impersonated user may do.
    Legacy,
}

/// One run of a mode.
struct Check<'a> {
    mode: Mode,
    verb: String,
    requester: &'a User,
    /// What is asked for, for its place.
    access: &'a Access,
    authorizer: &'a dyn Authorizer,
}

const NODE_PREFIX: &str = "system:node:";
const NODES: &str = "system:nodes";
const AUTHENTICATION: &str = "authentication.k8s.io";
/// From so many on, one is asked for all of them first.
const MANY: usize = 4;

// === impl Mode ===

impl Mode {
    pub const EVERY: [Self; 4] = [Self::Node, Self::Account, Self::UserInfo, Self::Legacy];

    pub fn fits(self, wanted: &User) -> bool {
        let by_name_alone = wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        let is_node = node_name(&wanted.name).is_some();
        let is_account = split_account_user_name(&wanted.name).is_some();
        match self {
            Self::Node => is_node && by_name_alone,
            Self::Account => is_account && by_name_alone,
            Self::UserInfo => !is_node && !is_account,
            Self::Legacy => true,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Node => "arbitrary-node",
            Self::Account => "serviceaccount",
            Self::UserInfo => "user-info",
            Self::Legacy => "",
        }
    }

    /// The impersonated user, if `requester` may act as it and, in the constrained modes, do this while acting as it.
    pub async fn check(
        self,
        wanted: &User,
        requester: &User,
        access: &Access,
        authorizer: &dyn Authorizer,
    ) -> Result<User> {
        let verb = match self {
            Self::Legacy => "impersonate".to_owned(),
            constrained => format!("impersonate:{}", constrained.name()),
        };
        let check = Check {
            mode: self,
            verb,
            requester,
            access,
            authorizer,
        };
        check.run(wanted).await
    }
}

fn node_name(user: &str) -> Option<&str> {
    let name = user.strip_prefix(NODE_PREFIX)?;
    machinery::names::dns1123_subdomain(name).is_empty().then_some(name)
}

// === impl Check ===

impl Check<'_> {
    async fn run(&self, wanted: &User) -> Result<User> {
        if self.mode != Mode::Legacy {
            self.action().await?;
        }
        let mut user = wanted.clone();
        self.name(&mut user).await?;
        if !wanted.uid.is_empty() {
            self.ask(&self.about(AUTHENTICATION, "uids", &wanted.uid)).await?;
        }
        self.groups(&wanted.groups).await?;
        self.extra(wanted).await?;
        let group = match user.name == ANONYMOUS {
            true => Some(UNAUTHENTICATED),
            false => Some(AUTHENTICATED).filter(|_| !user.in_group(UNAUTHENTICATED)),
        };
        if let Some(group) = group.filter(|group| !user.in_group(group)) {
            user.groups.push(group.to_owned());
        }
        Ok(user)
    }

    /// Whether this very access may be made in this mode.
    async fn action(&self) -> Result<()> {
        let verb = format!("impersonate-on:{}:{}", self.mode.name(), self.access.verb);
        let access = Access {
            verb,
            ..self.access.clone()
        };
        self.ask(&access).await
    }

    async fn name(&self, user: &mut User) -> Result<()> {
        let mut access = self.about(self.user_group(), "users", &user.name);
        if self.mode == Mode::Node
            && let Some(name) = node_name(&user.name)
        {
            access.resource = "nodes".to_owned();
            access.name = name.to_owned();
            user.groups = vec![NODES.to_owned()];
        }
        if let Some((namespace, name)) = split_account_user_name(&user.name) {
            access.resource = "serviceaccounts".to_owned();
            access.namespace = namespace.to_owned();
            access.name = name.to_owned();
            // Groups that are not asked for are known: those of the account.
            if user.groups.is_empty() {
                user.groups = account_groups(namespace);
            }
        }
        self.ask(&access).await
    }

    async fn groups(&self, groups: &[String]) -> Result<()> {
        let about = |name: &str| self.about(self.user_group(), "groups", name);
        if self.mode != Mode::Legacy {
            if groups.iter().any(String::is_empty) {
                return Err(self.refuse(&about(""), "impersonating the empty string group is not allowed"));
            }
            if groups.iter().any(|group| group == MASTERS) {
                return Err(self.refuse(&about(MASTERS), "impersonating the system:masters group is not allowed"));
            }
            if groups.len() >= MANY && self.ask(&about("*")).await.is_ok() {
                return Ok(());
            }
        }
        for group in groups {
            self.ask(&about(group)).await?;
        }
        Ok(())
    }

    async fn extra(&self, wanted: &User) -> Result<()> {
        let about = |key: &str, value: &str| Access {
            subresource: key.to_owned(),
            ..self.about(AUTHENTICATION, "userextras", value)
        };
        if self.mode != Mode::Legacy {
            if let Some(why) = wanted.extra.iter().find_map(|(key, values)| extra_error(key, values)) {
                return Err(self.refuse(&about("", ""), &why));
            }
            let count: usize = wanted.extra.values().map(Vec::len).sum();
            if count >= MANY && self.ask(&about("*", "*")).await.is_ok() {
                return Ok(());
            }
        }
        for (key, values) in &wanted.extra {
            for value in values {
                self.ask(&about(key, value)).await?;
            }
        }
        Ok(())
    }

    /// Users and groups are of the core group to the old verb, of authentication's to the new ones.
    fn user_group(&self) -> &'static str {
        match self.mode {
            Mode::Legacy => "",
            _ => AUTHENTICATION,
        }
    }

    fn about(&self, group: &str, resource: &str, name: &str) -> Access {
        Access {
            scope: self.access.scope.clone(),
            verb: self.verb.clone(),
            is_resource: true,
            group: group.to_owned(),
            version: "v1".to_owned(),
            resource: resource.to_owned(),
            name: name.to_owned(),
            ..Access::default()
        }
    }

    async fn ask(&self, access: &Access) -> Result<()> {
        match self.authorizer.authorize(self.requester, access).await {
            Decision::Allow { .. } => Ok(()),
            Decision::Deny { .. } | Decision::NoOpinion { .. } | Decision::Unavailable { .. } => {
                Err(self.refuse(access, "access denied"))
            }
        }
    }

    fn refuse(&self, access: &Access, why: &str) -> Status {
        forbidden_status(self.requester, access, why)
    }
}

/// What is wrong with a key or its values (Kubernetes' `validateExtra`; keys are lower case already).
fn extra_error(key: &str, values: &[String]) -> Option<String> {
    if key.is_empty() {
        return Some("impersonating the empty string key in extra is not allowed".to_owned());
    }
    let is_domain_path = key.split_once('/').is_some_and(|(domain, path)| {
        machinery::names::dns1123_subdomain(domain).is_empty()
            && !path.is_empty()
            && !path.contains(['%', '?', '#', ' '])
    });
    if !is_domain_path {
        return Some(format!(
            "impersonating an invalid key in extra is not allowed: extra.key: Invalid value: {}: must be a domain-prefixed \
             path (such as \"acme.io/foo\")",
            machinery::text::quote(key)
        ));
    }
    let has_empty = values.iter().any(String::is_empty);
    has_empty.then(|| "impersonating the empty string value in extra is not allowed".to_owned())
}
