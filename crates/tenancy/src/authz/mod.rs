//! The chain of authorizers of a shard (kcp's facts, G.4), as one pure function over [`Facts`].
//!
//! Order: always-allowed groups and paths, then required groups, content, system CRDs, maximal permission policy, and RBAC
//! with the bindings of `system:admin` and of the cluster. Each step may end the walk; what it thought stands in the
//! verdict's trail, for the audit log. Clients see only "access denied".

mod policy;

use std::borrow::Cow;

use machinery::user::{MASTERS, User};
use permit::{Access, Cluster, Scope};

use crate::effective::{effective_users, is_in_scope, is_service_account};
use crate::index::{ClusterFacts, Phase};

pub use policy::{POLICY_PREFIX, prefixed_user};

pub const KCP_ADMIN: &str = "system:kcp:admin";
pub const BOOTSTRAPPER: &str = "system:kcp:tenancy:workspace-bootstrapper";
pub const LOGICAL_CLUSTER_ADMIN: &str = "system:kcp:logical-cluster-admin";
pub const EXTERNAL_LOGICAL_CLUSTER_ADMIN: &str = "system:kcp:external-logical-cluster-admin";
pub const INITIALIZER_PREFIX: &str = "system:kcp:initializer:";
pub const TERMINATOR_PREFIX: &str = "system:kcp:terminator:";

/// The export that a resource of a cluster is bound from, as far as authorization needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundFrom {
    pub export_cluster: Cluster,
    /// The export has `maximalPermissionPolicy.local`.
    pub has_local_policy: bool,
}

/// What the chain asks of the shard. All of it from caches.
pub trait Facts {
    fn cluster(&self, cluster: &Cluster) -> Option<ClusterFacts>;

    /// RBAC: bindings of `bindings_in` (roles of that cluster, else of `system:admin`). The access's own cluster does not
    /// matter; user and groups are compared as they are.
    fn rbac_allows(&self, user: &User, access: &Access, bindings_in: &Cluster) -> bool;

    /// By group and resource (and identity, when the URL had one).
    fn bound_from(&self, cluster: &Cluster, group: &str, resource: &str) -> Option<BoundFrom>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opinion {
    Allow,
    Deny,
    None,
}

/// One step's opinion, for the audit annotations `request.auth.kcp.io/<step>-decision` and `-reason`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub name: &'static str,
    pub opinion: Opinion,
    pub reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub allowed: bool,
    pub trail: Vec<Step>,
}

/// Decides an access. `always_allowed_paths` end in `*` for prefixes.
pub fn authorize(user: &User, access: &Access, always_allowed_paths: &[String], facts: &dyn Facts) -> Verdict {
    let mut chain = Chain {
        user,
        access,
        facts,
        // As many as there are steps.
        trail: Vec::with_capacity(8),
    };
    let opinion = chain.decide(always_allowed_paths);
    Verdict {
        allowed: opinion == Opinion::Allow,
        trail: chain.trail,
    }
}

struct Chain<'a> {
    user: &'a User,
    access: &'a Access,
    facts: &'a dyn Facts,
    trail: Vec<Step>,
}

// === impl Chain ===

impl Chain<'_> {
    fn decide(&mut self, always_allowed_paths: &[String]) -> Opinion {
        if self.user.in_group(MASTERS) {
            return self.note("00-groups", Opinion::Allow, "member of system:masters");
        }
        if !self.access.is_resource && path_is_listed(always_allowed_paths, &self.access.path) {
            return self.note("00-paths", Opinion::Allow, "always allowed path");
        }
        let root = Cluster::well_known("root");
        // Of the whole shard: asked for without a cluster, or in the name of root, which may lie on another shard.
        let metrics_at_root = !self.access.is_resource
            && self.access.path == "/metrics"
            && !matches!(&self.access.scope, Some(scope) if *scope != Scope::One(root.clone()));
        let cluster = match &self.access.scope {
            Some(Scope::One(cluster)) => cluster.clone(),
            None if metrics_at_root => root,
            None | Some(Scope::All) => {
                return self.note("01-requiredgroups", Opinion::None, "no single cluster");
            }
        };
        if metrics_at_root {
            return self.rbac(&cluster);
        }
        self.required_groups(&cluster)
    }

    fn required_groups(&mut self, cluster: &Cluster) -> Opinion {
        const STEP: &str = "01-requiredgroups";
        if self.access.deep {
            return self.delegate(STEP, "delegating due to deep SAR request", |chain| {
                chain.content(cluster)
            });
        }
        if cluster.is_system() {
            return self.note(STEP, Opinion::None, "system cluster");
        }
        let users = effective_users(self.user, cluster);
        let has = |group: &str| users.iter().any(|user| user.in_group(group));
        if has(LOGICAL_CLUSTER_ADMIN) || is_service_account(self.user) {
            return self.delegate(
                STEP,
                "delegating due to logical cluster admin or service account access",
                |chain| chain.content(cluster),
            );
        }
        let Some(facts) = self.facts.cluster(cluster) else {
            return self.note(STEP, Opinion::None, "LogicalCluster not found");
        };
        if !has(EXTERNAL_LOGICAL_CLUSTER_ADMIN)
            && let Some(required) = &facts.required_groups
            && !satisfies(required, has)
            && !has(KCP_ADMIN)
            && !has(BOOTSTRAPPER)
        {
            return self.note(STEP, Opinion::Deny, "user is not a member of the required groups");
        }
        self.delegate(STEP, "delegating due to required groups satisfied", |chain| {
            chain.content(cluster)
        })
    }

    fn content(&mut self, cluster: &Cluster) -> Opinion {
        const STEP: &str = "02-content";
        if self.access.deep {
            return self.delegate(STEP, "delegating due to deep SAR request", |chain| {
                chain.system_crds(cluster)
            });
        }
        if cluster.is_system() {
            return self.note(STEP, Opinion::None, "system cluster");
        }
        let users = effective_users(self.user, cluster);
        if users.iter().any(|user| user.in_group(LOGICAL_CLUSTER_ADMIN)) {
            return self.delegate(STEP, "delegating due to logical cluster admin access", |chain| {
                chain.system_crds(cluster)
            });
        }
        let Some(facts) = self.facts.cluster(cluster) else {
            return self.note(STEP, Opinion::Deny, "LogicalCluster not found");
        };
        if matches!(facts.phase, Phase::None | Phase::Scheduling | Phase::Unavailable) {
            return self.note(STEP, Opinion::None, "not permitted in this phase");
        }
        let in_lifecycle = matches!(facts.phase, Phase::Initializing | Phase::Terminating | Phase::Deleting);
        let lifecycle_group = |g: &String| g.starts_with(INITIALIZER_PREFIX) || g.starts_with(TERMINATOR_PREFIX);
        if in_lifecycle && self.user.groups.iter().any(lifecycle_group) {
            return self.note(STEP, Opinion::Allow, "lifecycle controller");
        }
        if is_service_account(self.user) && is_in_scope(self.user, cluster) {
            return self.delegate(STEP, "delegating due to local service account access", |chain| {
                chain.system_crds(cluster)
            });
        }
        let entry = Access {
            scope: Some(Scope::One(cluster.clone())),
            verb: "access".to_owned(),
            path: "/".to_owned(),
            ..Access::default()
        };
        if !self.may_enter(&entry, cluster) {
            return self.note(STEP, Opinion::None, "no verb=access permission on /");
        }
        self.delegate(STEP, "delegating due to user logical cluster access", |chain| {
            chain.system_crds(cluster)
        })
    }

    /// The status subresources of bindings and exports belong to the system's controllers, for reading too.
    fn system_crds(&mut self, cluster: &Cluster) -> Opinion {
        const STEP: &str = "03-systemcrd";
        let access = self.access;
        let closed = access.is_resource
            && access.group == "apis.kcp.io"
            && access.subresource == "status"
            && matches!(access.resource.as_str(), "apibindings" | "apiexports");
        if closed {
            return self.note(
                STEP,
                Opinion::Deny,
                "apibinding/apiexport status updates are not permitted",
            );
        }
        self.delegate(STEP, "delegating due to no system CRD status", |chain| {
            chain.max_permission_policy(cluster)
        })
    }

    fn max_permission_policy(&mut self, cluster: &Cluster) -> Opinion {
        const STEP: &str = "04-maxpermissionpolicy";
        let access = self.access;
        if access.deep {
            return self.delegate(STEP, "delegating due to deep SAR request", |chain| chain.rbac(cluster));
        }
        let bound = match access.is_resource {
            true => self.facts.bound_from(cluster, &access.group, &access.resource),
            false => None,
        };
        let why = match bound {
            None => "delegating due to no relevant binding found",
            Some(bound) if !bound.has_local_policy => "delegating due to no maximal permission policy in the export",
            Some(bound) if self.policy_allows(cluster, &bound.export_cluster) => {
                "delegating due to maximal permission policy allows"
            }
            Some(_) => return self.note(STEP, Opinion::None, "maximal permission policy does not allow"),
        };
        self.delegate(STEP, why, |chain| chain.rbac(cluster))
    }

    fn policy_allows(&self, cluster: &Cluster, export_cluster: &Cluster) -> bool {
        effective_users(self.user, cluster).iter().any(|user| {
            let prefixed = prefixed_user(user, cluster);
            self.facts.rbac_allows(&prefixed, self.access, export_cluster)
        })
    }

    /// The bindings of `system:admin`, then those of the cluster; each leaves its own note.
    fn rbac(&mut self, cluster: &Cluster) -> Opinion {
        let users = effective_users(self.user, cluster);
        let bootstrap = Cluster::well_known("system:admin");
        for (step, bindings_in) in [("05-bootstrap", &bootstrap), ("05-local", cluster)] {
            if self.rbac_allows(&users, self.access, bindings_in) {
                return self.note(step, Opinion::Allow, "RBAC allows");
            }
            self.note(step, Opinion::None, "no RBAC policy matched");
        }
        Opinion::None
    }

    fn may_enter(&self, entry: &Access, cluster: &Cluster) -> bool {
        let users = effective_users(self.user, cluster);
        let bootstrap = Cluster::well_known("system:admin");
        self.rbac_allows(&users, entry, &bootstrap) || self.rbac_allows(&users, entry, cluster)
    }

    fn rbac_allows(&self, users: &[Cow<'_, User>], access: &Access, bindings_in: &Cluster) -> bool {
        users
            .iter()
            .any(|user| self.facts.rbac_allows(user, access, bindings_in))
    }

    /// Leaves the decision to what comes next; the step is noted with what that came to, as kcp does.
    fn delegate(&mut self, name: &'static str, why: &'static str, next: impl FnOnce(&mut Self) -> Opinion) -> Opinion {
        let at = self.trail.len();
        self.note(name, Opinion::None, why);
        let opinion = next(self);
        if let Some(step) = self.trail.get_mut(at) {
            step.opinion = opinion;
        }
        opinion
    }

    fn note(&mut self, name: &'static str, opinion: Opinion, reason: &'static str) -> Opinion {
        self.trail.push(Step { name, opinion, reason });
        opinion
    }
}

/// `a,b;c` = (a and b) or c.
fn satisfies(required: &str, has: impl Fn(&str) -> bool) -> bool {
    required.split(';').any(|clause| clause.split(',').all(&has))
}

fn path_is_listed(listed: &[String], path: &str) -> bool {
    listed.iter().any(|entry| match entry.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => {
            path == entry
                || path
                    .strip_prefix(entry.as_str())
                    .is_some_and(|rest| rest.starts_with('/'))
        }
    })
}

#[cfg(test)]
mod tests;
