//! Role-based access control: the index of roles and bindings, and the evaluation of accesses on it.
//!
//! Follows Kubernetes' `rbac.RBACAuthorizer` and `validation.DefaultRuleResolver`. Roles and bindings of all clusters are in
//! one table each; equal rules and equal bindings are held once. A decision costs what the user's own bindings cost, however
//! many others there are.

mod index;
mod rule;

use std::sync::Arc;

use machinery::user::User;
use parking_lot::RwLock;
use permit::{Access, Cluster};
use storage::{Applied, Projection};

pub use index::RbacIndex;
pub use rule::{Rule, covers};

/// The index behind a lock, fed by the log. Register it as a projection of the store.
#[derive(Default)]
pub struct Rbac {
    index: RwLock<RbacIndex>,
}

// === impl Rbac ===

impl Rbac {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Whether bindings of `bindings_in` allow the access: cluster-wide ones, and those of the access's namespace. Roles
    /// are looked up in that cluster, then in `fallback` (where the roles are that all clusters have).
    pub fn allows(&self, user: &User, access: &Access, bindings_in: &Cluster, fallback: &Cluster) -> bool {
        let index = self.index.read();
        let mut allowed = false;
        index.visit(user, bindings_in, fallback, &access.namespace, &mut |_, rules| {
            allowed = rules.iter().any(|rule| rule.allows(access));
            !allowed
        });
        allowed
    }

    /// The same, of a cluster that is not here: the roles that all clusters have are in `base`.
    pub fn allows_over(
        &self,
        base: &Self,
        user: &User,
        access: &Access,
        bindings_in: &Cluster,
        fallback: &Cluster,
    ) -> bool {
        let (index, base) = (self.index.read(), base.index.read());
        let mut allowed = false;
        index.visit_over(
            &base,
            user,
            bindings_in,
            fallback,
            &access.namespace,
            &mut |_, rules| {
                allowed = rules.iter().any(|rule| rule.allows(access));
                !allowed
            },
        );
        allowed
    }

    /// All rules that a user has by bindings of a cluster.
    pub fn rules(&self, user: &User, bindings_in: &Cluster, fallback: &Cluster, namespace: &str) -> Vec<Rule> {
        let index = self.index.read();
        let mut found = Vec::new();
        index.visit(user, bindings_in, fallback, namespace, &mut |place, rules| {
            found.push((place, rules));
            true
        });
        // By namespace and name of the bindings, so that the answer is always the same.
        found.sort_unstable_by_key(|(place, _)| *place);
        found.iter().flat_map(|(_, rules)| rules.iter().cloned()).collect()
    }

    /// The rules of a role, for escalation checks. `namespace` empty: a ClusterRole.
    pub fn role_rules(&self, cluster: &Cluster, fallback: &Cluster, namespace: &str, name: &str) -> Option<Vec<Rule>> {
        self.index
            .read()
            .role(cluster, fallback, namespace, name)
            .map(|rules| rules.to_vec())
    }
}

impl Projection for Rbac {
    fn apply(&self, change: &Applied<'_>) {
        if &*change.resource.group == index::GROUP {
            self.index.write().apply(change);
        }
    }
}

#[cfg(test)]
mod tests;
