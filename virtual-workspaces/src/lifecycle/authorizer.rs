//! Who may act as an initializer or terminator: who has the verb on its type.

use std::sync::Arc;

use api::keys::group;
use apiserver::auth::{Authorizer, Rules};
use async_trait::async_trait;
use machinery::status::Result;
use machinery::user::{MASTERS, User};
use permit::{Access, Decision, Scope};

use super::{Role, Who};
use crate::Shard;

pub(super) struct EntryAuthorizer {
    pub shard: Arc<dyn Shard>,
    pub role: &'static Role,
    pub user: Arc<User>,
    pub who: Who,
}

/// Whether a user may act as `who`. The server's own have no type on which anybody could be given the verb.
pub(super) async fn may_act(shard: &dyn Shard, role: &Role, user: &User, who: &Who) -> Result<bool> {
    let Some(cluster) = &who.cluster else {
        return Ok(user.in_group(MASTERS));
    };
    let access = Access {
        scope: Some(Scope::One(cluster.clone())),
        verb: role.verb.to_owned(),
        is_resource: true,
        group: group::TENANCY.to_owned(),
        version: "v1alpha1".to_owned(),
        resource: "workspacetypes".to_owned(),
        name: who.type_name.clone(),
        deep: true,
        ..Access::default()
    };
    shard.allows(user, &access).await
}

// === impl EntryAuthorizer ===

#[async_trait]
impl Authorizer for EntryAuthorizer {
    async fn authorize(&self, _: &User, access: &Access) -> Decision {
        match may_act(&*self.shard, self.role, &self.user, &self.who).await {
            Ok(true) => {}
            Ok(false) => return Decision::no_opinion(format!("no permission to act as this {}", self.role.noun)),
            Err(status) => {
                return Decision::Unavailable { reason: status.message };
            }
        }
        match access.is_resource {
            true => Decision::Allow {
                reason: String::new(),
                selector: self.role.selector(&self.who),
            },
            false => Decision::allow(""),
        }
    }

    async fn rules(&self, _: &User, _: &Scope, _: &str) -> Rules {
        Rules::default()
    }
}
