//! `Impersonate-*`: acting as somebody else, for those who may.
//!
//! Follows Kubernetes' constrained impersonation (KEP-5284): the modes are tried in turn, the last being the old
//! `impersonate` verb, and the first mode's refusal is what the client sees. Of the modes only `associated-node` is absent:
//! it is for agents bound to a node, and there are no nodes.

mod mode;
mod wanted;

use async_trait::async_trait;
use http::HeaderMap;
use machinery::object::GroupResource;
use machinery::status::{Result, Status};
use machinery::user::{MASTERS, User};
use permit::Access;

use super::Authorizer;
use crate::stage::Impersonator;
use mode::Mode;

/// Checks who may act as whom. One per server.
#[derive(Clone, Debug, Default)]
pub struct Impersonation {
    options: ImpersonationOptions,
}

#[derive(Clone, Debug, Default)]
pub struct ImpersonationOptions {
    /// Groups that only their members (and system:masters) may ask for, whatever else they are allowed.
    pub protected_groups: Vec<String>,
    /// Key of `extra` by which impersonated users are confined to the cluster of the request (`cluster:<name>`), unless
    /// system:masters asks: nobody gets into another cluster by being somebody else. Empty: they are not confined.
    pub scopes_extra: String,
}

// === impl Impersonation ===

impl Impersonation {
    pub fn new(options: ImpersonationOptions) -> Self {
        Self { options }
    }

    /// kcp's gatekeeper: no way to more power than one has, not even for who may impersonate everybody.
    fn check_groups(&self, requester: &User, wanted: &[String]) -> Result<()> {
        let protected = &self.options.protected_groups;
        let is_beyond = |group: &&String| protected.contains(group) && !requester.in_group(group);
        if requester.in_group(MASTERS) || !wanted.iter().any(|group| is_beyond(&group)) {
            return Ok(());
        }
        let why = "impersonation is not allowed for the requestor";
        Err(Status::forbidden(&GroupResource::new("", ""), "", why))
    }

    fn confine(&self, mut user: User, requester: &User, access: &Access) -> User {
        let key = &self.options.scopes_extra;
        if key.is_empty() || requester.in_group(MASTERS) {
            return user;
        }
        // Without a cluster the scope is of no cluster: the user counts nowhere as itself.
        let cluster = access.scope.as_ref().map(ToString::to_string).unwrap_or_default();
        user.extra
            .entry(key.clone())
            .or_default()
            .push(format!("cluster:{cluster}"));
        user
    }
}

#[async_trait]
impl Impersonator for Impersonation {
    async fn impersonate(
        &self,
        user: &User,
        headers: &HeaderMap,
        access: &Access,
        authorizer: &dyn Authorizer,
    ) -> Result<Option<User>> {
        let wanted = wanted::read(headers)?;
        self.check_groups(user, &wanted.groups)?;
        if wanted.name.is_empty() {
            return match wanted::is_nobody(&wanted) {
                true => Ok(None),
                false => Err(wanted::without_name(&wanted)),
            };
        }
        let mut first = None;
        for mode in Mode::EVERY {
            if !mode.fits(&wanted) {
                continue;
            }
            match mode.check(&wanted, user, access, authorizer).await {
                Ok(other) => return Ok(Some(self.confine(other, user, access))),
                Err(status) => _ = first.get_or_insert(status),
            }
        }
        // The last mode fits everybody.
        Err(first.unwrap_or_else(|| Status::internal("all impersonation modes failed")))
    }
}

#[cfg(test)]
mod tests;
