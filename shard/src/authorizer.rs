//! The shard's authorizer and resolver: the pure chain of `tenancy` over this shard's facts.

use std::sync::Arc;

use api::keys::cluster;
use apiserver::auth::{Authorizer, Resolution, Resolver, Rules};
use async_trait::async_trait;
use machinery::object::GroupResource;
use machinery::status::{Reason, Status};
use machinery::user::User;
use permit::{Access, Cluster, Decision, Scope};
use tenancy::authz::{Opinion, Step, authorize};
use tenancy::effective::effective_users;
use tenancy::{Phase, WorkspacePath};

use crate::facts::ShardFacts;

pub struct ShardAuthorizer {
    facts: Arc<ShardFacts>,
    always_allowed_paths: Vec<String>,
}

pub struct ShardResolver {
    facts: Arc<ShardFacts>,
}

// === impl ShardAuthorizer ===

impl ShardAuthorizer {
    pub fn new(facts: Arc<ShardFacts>, always_allowed_paths: Vec<String>) -> Arc<Self> {
        Arc::new(Self {
            facts,
            always_allowed_paths,
        })
    }

    fn decide(&self, user: &User, access: &Access) -> (Decision, Vec<Step>) {
        if self.is_inactive(access) {
            return (Decision::deny("logical cluster is marked inactive"), Vec::new());
        }
        let verdict = authorize(user, access, &self.always_allowed_paths, &*self.facts);
        let decision = match verdict.allowed {
            true => Decision::allow("access granted"),
            false => Decision::deny("access denied"),
        };
        (decision, verdict.trail)
    }

    /// A cluster that was marked inactive answers nothing but about itself (kcp's facts, D.12).
    fn is_inactive(&self, access: &Access) -> bool {
        let Some(Scope::One(of)) = &access.scope else {
            return false;
        };
        let inactive = self
            .facts
            .index
            .read()
            .cluster(of)
            .is_some_and(|facts| facts.phase == Phase::Inactive);
        let about_itself = access.path.starts_with("/openapi")
            || (access.group == api::keys::group::CORE && access.resource == "logicalclusters");
        inactive && !access.deep && !about_itself
    }
}

#[async_trait]
impl Authorizer for ShardAuthorizer {
    async fn authorize(&self, user: &User, access: &Access) -> Decision {
        self.decide(user, access).0
    }

    async fn authorize_noting(&self, user: &User, access: &Access, notes: &mut Vec<(String, String)>) -> Decision {
        let (decision, trail) = self.decide(user, access);
        for step in &trail {
            let opinion = match step.opinion {
                Opinion::Allow => "Allowed",
                Opinion::Deny => "Denied",
                Opinion::None => "NoOpinion",
            };
            let note = |what: &str| format!("request.auth.kcp.io/{}-{what}", step.name);
            notes.push((note("decision"), opinion.to_owned()));
            notes.push((note("reason"), step.reason.to_owned()));
        }
        decision
    }

    async fn rules(&self, user: &User, scope: &Scope, namespace: &str) -> Rules {
        let Some(of) = scope.cluster() else {
            return Rules::default();
        };
        let bootstrap = Cluster::well_known(cluster::SYSTEM_ADMIN);
        let mut rules = Rules::default();
        for user in effective_users(user, of) {
            for bindings_in in [&bootstrap, of] {
                for rule in self.facts.rbac.rules(&user, bindings_in, &bootstrap, namespace) {
                    let value = serde_json::to_value(&rule).unwrap_or_default();
                    let known = match rule.non_resource_urls.is_empty() {
                        true => &mut rules.resource,
                        false => &mut rules.non_resource,
                    };
                    // Whoever counts as several users has what they share once.
                    if !known.contains(&value) {
                        known.push(value);
                    }
                }
            }
        }
        rules
    }
}

// === impl ShardResolver ===

impl ShardResolver {
    pub fn new(facts: Arc<ShardFacts>) -> Arc<Self> {
        Arc::new(Self { facts })
    }
}

impl Resolver for ShardResolver {
    fn resolve(&self, segment: &str, _: bool) -> Resolution {
        if segment == "*" {
            return Resolution::All;
        }
        let segment = match segment.strip_prefix("user:") {
            Some(rest) => home_path(rest),
            None => segment.to_owned(),
        };
        let Ok(path) = WorkspacePath::parse(&segment) else {
            let text = format!("invalid cluster: {segment:?} does not match the regex");
            return Resolution::Refused(Status::new(400, Reason::BadRequest, text));
        };
        if path.as_str().len() > 63 && !path.as_str().contains(':') {
            let of = GroupResource::new("tenancy.kcp.io", "workspaces");
            return Resolution::Refused(Status::not_found(&of, path.as_str()));
        }
        match self.facts.index.read().resolve(&path) {
            tenancy::Resolution::Cluster(found) => Resolution::Cluster(found),
            tenancy::Resolution::Mount(url) => Resolution::Mount { url: url.to_string() },
            tenancy::Resolution::Unavailable { cluster } => Resolution::Unavailable {
                status: unavailable(path.as_str()),
                cluster,
            },
            tenancy::Resolution::Refused(status) => Resolution::Refused(status),
        }
    }
}

/// kcp's text, with the object that it is about: who may see that, may hear it.
fn unavailable(path: &str) -> Status {
    let mut status = Status::not_found(&GroupResource::new("tenancy.kcp.io", "workspaces"), path);
    (status.code, status.reason) = (503, Reason::ServiceUnavailable);
    status.message = "Not available.".to_owned();
    status
}

/// `user:<name>[:rest]` is the home cluster of that user.
fn home_path(rest: &str) -> String {
    let (user, below) = rest.split_once(':').map_or((rest, ""), |(user, below)| (user, below));
    let home = api::hashes::home_cluster_name(user);
    if below.is_empty() {
        home
    } else {
        format!("{home}:{below}")
    }
}
