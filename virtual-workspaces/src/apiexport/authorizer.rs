//! Who may do what in an export's view: the consumer's binding, the provider's right to its export's content, and the policy
//! of the export that a claimed resource comes from (kcp's facts, F.2 and E.8).

use std::sync::Arc;

use api::keys::group;
use apiserver::auth::{Authorizer, Rules};
use async_trait::async_trait;
use machinery::object::ObjectExt;
use machinery::selector::LabelSelector;
use machinery::status::Status;
use machinery::user::User;
use permit::{Access, Cluster, Decision, Scope};
use serde_json::Value;
use tenancy::Phase;
use tenancy::authz::prefixed_user;
use tenancy::claims::{ClaimKey, accepted};
use tenancy::effective::{CLUSTER_NAME, SCOPES, is_service_account};

use super::READ_ONLY;
use super::export::{Claim, Export, Subject, is_bindings};
use crate::Shard;

pub(super) struct ExportAuthorizer {
    pub shard: Arc<dyn Shard>,
    /// Who asked. (Who acts has a warrant, which is no answer to whether it may.)
    pub user: Arc<User>,
    pub export: Arc<Export>,
}

/// Why the walk ended.
enum Denial {
    /// A step's opinion, for the audit log.
    Step(&'static str, String),
    /// A step could not be taken.
    Unavailable(Status),
}

/// What a step says: `Err` is its objection.
type Opinion = machinery::status::Result<Result<(), String>>;

const BOUND_API: &str = "virtual.apiexport.boundapi.authorization.kcp.io";
const CONTENT: &str = "virtual.apiexport.content.authorization.kcp.io";
const POLICY: &str = "virtual.apiexport.maxpermissionpolicy.authorization.kcp.io";

/// What the content of an export is guarded by: the request's verb on `apiexports/content`.
pub(super) fn content_access(cluster: &Cluster, export: &str, verb: String) -> Access {
    Access {
        scope: Some(Scope::One(cluster.clone())),
        verb,
        is_resource: true,
        group: group::APIS.to_owned(),
        version: "v1alpha1".to_owned(),
        resource: "apiexports".to_owned(),
        subresource: "content".to_owned(),
        name: export.to_owned(),
        deep: true,
        ..Access::default()
    }
}

/// Resources whose status is written by the system's controllers alone.
pub(super) fn has_closed_status(group: &str, resource: &str) -> bool {
    group == group::APIS && matches!(resource, "apibindings" | "apiexports")
}

// === impl Denial ===

impl From<Status> for Denial {
    fn from(status: Status) -> Self {
        Self::Unavailable(status)
    }
}

// === impl ExportAuthorizer ===

impl ExportAuthorizer {
    async fn decide(&self, access: &Access) -> Result<LabelSelector, Denial> {
        let subject = self
            .export
            .subject(&access.group, &access.resource, access.identity.as_deref());
        if access.is_resource {
            match &access.scope {
                Some(Scope::One(cluster)) => {
                    let opinion = self.bound(access, &subject, cluster).await?;
                    opinion.map_err(|why| Denial::Step(BOUND_API, why))?;
                }
                Some(Scope::All) => {}
                None => return Err(Denial::Step(BOUND_API, "no cluster".to_owned())),
            }
        }
        let content = content_access(&self.export.cluster, &self.export.name, access.verb.clone());
        if !self.shard.allows(&self.user, &content).await? {
            return Err(Denial::Step(CONTENT, "no permission on apiexports/content".to_owned()));
        }
        if !access.is_resource {
            return Ok(LabelSelector::everything());
        }
        if let Subject::Claimed(claim) = &subject {
            let opinion = self.policies(access, claim).await?;
            opinion.map_err(|why| Denial::Step(POLICY, why))?;
        }
        Ok(self.export.selector(&subject, &access.group, &access.resource))
    }

    /// Whether the consumer has invited the provider to do this.
    async fn bound(&self, access: &Access, subject: &Subject<'_>, cluster: &Cluster) -> Opinion {
        let denied = |why: &str| Ok(Err(why.to_owned()));
        let Some(binding) = self.export.binding_in(&*self.shard, cluster).await? else {
            return denied("could not find suitable APIBinding in target logical cluster");
        };
        match self.shard.cluster(cluster).await?.map(|facts| facts.phase) {
            None => return denied("LogicalCluster not found"),
            Some(Phase::None | Phase::Scheduling | Phase::Unavailable) => {
                return denied("not permitted in this phase");
            }
            Some(_) => {}
        }
        if has_closed_status(&access.group, &access.resource) && access.subresource == "status" {
            return denied("apibinding/apiexport status updates are not permitted");
        }
        match subject {
            Subject::Own { .. } if is_bound(&binding, &access.group, &access.resource) => Ok(Ok(())),
            Subject::Claimed(claim) if is_accepted(&binding, claim, &access.verb) => Ok(Ok(())),
            // Bindings may be read even where a claim on them is not accepted: the labels show those to this export alone.
            Subject::Bindings | Subject::Claimed(_) if is_bindings(&access.group, &access.resource) => {
                match READ_ONLY.iter().any(|verb| verb.as_str() == access.verb) {
                    true => Ok(Ok(())),
                    false => denied("write access to APIBinding is not allowed from virtual workspace"),
                }
            }
            _ => denied("failed to find suitable reason to allow access in APIBinding"),
        }
    }

    /// Several exports may share an identity: all that have a policy must agree.
    async fn policies(&self, access: &Access, claim: &Claim) -> Opinion {
        let identity = claim.stored_identity();
        if identity.is_empty() {
            return Ok(Ok(()));
        }
        let exports = self.shard.exports_by_identity(identity).await?;
        if exports.is_empty() {
            return Ok(Err(format!(
                "no API export providing claimed resources found for identity hash {identity:?}"
            )));
        }
        let local = |export: &&Value| export.at(&["spec", "maximalPermissionPolicy", "local"]).is_some();
        for export in exports.iter().filter(local) {
            let home = export.annotation(api::keys::annotation::CLUSTER).unwrap_or_default();
            let Ok(cluster) = Cluster::parse(home) else {
                return Ok(Err(format!("the cluster of API export {:?} is unknown", export.name())));
            };
            let reviewed = Access {
                scope: Some(Scope::One(cluster.clone())),
                deep: true,
                identity: None,
                ..access.clone()
            };
            if !self.shard.allows(&self.policy_user(&cluster), &reviewed).await? {
                return Ok(Err(format!(
                    "policy of API export {:?} in {cluster} does not allow",
                    export.name()
                )));
            }
        }
        Ok(Ok(()))
    }

    /// As whom the caller counts in another export's policy. Scopes of service accounts say where they come from, which the
    /// prefixed name does already.
    fn policy_user(&self, cluster: &Cluster) -> User {
        let mut user = prefixed_user(&self.user, cluster);
        if is_service_account(&self.user) {
            user.extra.remove(SCOPES);
            user.extra.remove(CLUSTER_NAME);
        }
        user
    }
}

fn is_bound(binding: &Value, group: &str, resource: &str) -> bool {
    let list = binding.at(&["status", "boundResources"]).and_then(Value::as_array);
    list.into_iter().flatten().any(|bound| {
        bound.str_at(&["group"]).unwrap_or_default() == group && bound.str_at(&["resource"]) == Some(resource)
    })
}

fn is_accepted(binding: &Value, claim: &Claim, verb: &str) -> bool {
    accepted(binding).any(|theirs| ClaimKey::read(theirs) == claim.key && claim.allows(theirs, verb))
}

#[async_trait]
impl Authorizer for ExportAuthorizer {
    async fn authorize(&self, user: &User, access: &Access) -> Decision {
        self.authorize_noting(user, access, &mut Vec::new()).await
    }

    async fn authorize_noting(&self, _: &User, access: &Access, notes: &mut Vec<(String, String)>) -> Decision {
        let mut note = |step: &str, decision: &str, reason: &str| {
            notes.push((format!("request.auth.kcp.io/{step}-decision"), decision.to_owned()));
            notes.push((format!("request.auth.kcp.io/{step}-reason"), reason.to_owned()));
        };
        match self.decide(access).await {
            Ok(selector) => {
                note(BOUND_API, "Allowed", "access granted");
                Decision::Allow {
                    reason: "access granted".to_owned(),
                    selector,
                }
            }
            Err(Denial::Step(step, why)) => {
                note(step, "Denied", &why);
                Decision::deny(why)
            }
            Err(Denial::Unavailable(status)) => Decision::Unavailable { reason: status.message },
        }
    }

    async fn rules(&self, _: &User, _: &Scope, _: &str) -> Rules {
        Rules::default()
    }
}
