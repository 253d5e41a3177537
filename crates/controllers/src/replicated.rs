//! kcp's replicate controllers: which logical clusters and which of their RBAC every shard has to know (kcp's facts, H.3).
//!
//! As kcp, but for one thing: RBAC is marked only in clusters that have exports or types to share. kcp's `cluster-admin`
//! matches every rule, so that it copies the `workspace-admin` binding of every workspace to every shard; nobody ever asks for
//! it where there is nothing to bind. That binding has kcp's marks from the beginning all the same, for those who compare; it
//! is told once it has `core.kcp.io`, too, which it gets here ([`api::replicated::is_marked`]).

use std::collections::BTreeSet;

use api::keys::{annotation, group, object};
use api::replicated::with_reason;
use machinery::object::ObjectExt;
use machinery::selector::LabelSelector;
use permit::{Cluster, Scope};
use plan::{Context, Controller, Effect, Key, ObjectRef, Plan, ResourceRef, Seen, Trigger, View};
use serde_json::{Value, json};
use tenancy::authz::POLICY_PREFIX;

use crate::refs;

/// kcp-{apis,tenancy}-replicate-logicalcluster.
pub struct MarkedClusters;

/// kcp-{apis,core,tenancy}-replicate-clusterrole and -clusterrolebinding. A key's namespace is the resource.
pub struct MarkedRbac;

/// What a cluster has that others may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Offers {
    exports: bool,
    types: bool,
}

/// Why an object is replicated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Reasons {
    apis: bool,
    core: bool,
    tenancy: bool,
}

const ROLES: &str = "clusterroles";
const BINDINGS: &str = "clusterrolebindings";

// === impl MarkedClusters ===

impl Controller for MarkedClusters {
    fn name(&self) -> &'static str {
        "kcp-replicate-logicalcluster"
    }

    fn watches(&self) -> Vec<ResourceRef> {
        vec![refs::logical_clusters(), refs::exports(), refs::workspace_types()]
    }

    fn keys(&self, trigger: &Trigger<'_>, view: &dyn View) -> Vec<Key> {
        // Whether there are any is what counts; a fresh cluster has none.
        let changes = trigger.old.is_some() != trigger.new.is_some();
        let is_cluster = *trigger.resource == refs::logical_clusters();
        if !changes || (is_cluster && !Offers::of(trigger.cluster, view).any()) {
            return Vec::new();
        }
        vec![Key::of_cluster(trigger.cluster)]
    }

    fn plan(&self, key: &Key, view: &dyn View, _: &Context) -> Plan {
        let of = refs::logical_clusters().object(&key.cluster, "", object::LOGICAL_CLUSTER);
        let Seen::Found(seen) = view.get(&of) else {
            return Plan::done();
        };
        let offers = Offers::of(&key.cluster, view);
        let reasons = Reasons {
            apis: offers.exports,
            tenancy: offers.types,
            core: false,
        };
        reasons.mark(of, &seen)
    }
}

// === impl MarkedRbac ===

impl Controller for MarkedRbac {
    fn name(&self) -> &'static str {
        "kcp-replicate-rbac"
    }

    fn watches(&self) -> Vec<ResourceRef> {
        vec![
            refs::cluster_roles(),
            refs::cluster_role_bindings(),
            refs::exports(),
            refs::workspace_types(),
        ]
    }

    fn keys(&self, trigger: &Trigger<'_>, view: &dyn View) -> Vec<Key> {
        let of = trigger.cluster;
        if *trigger.resource == refs::exports() || *trigger.resource == refs::workspace_types() {
            if trigger.old.is_some() == trigger.new.is_some() {
                return Vec::new();
            }
            let all = |resource: &ResourceRef, name: &str| {
                let objects = view.outline(resource, of, "");
                let keys = objects.into_iter().map(|object| Key::new(of, name, &object.of.name));
                keys.collect::<Vec<_>>()
            };
            let mut keys = all(&refs::cluster_roles(), ROLES);
            keys.extend(all(&refs::cluster_role_bindings(), BINDINGS));
            return keys;
        }
        if of.is_system() || !Offers::of(of, view).any() {
            return Vec::new();
        }
        let own = trigger
            .new
            .map(|_| Key::new(of, &trigger.resource.resource, trigger.name));
        let mut keys: BTreeSet<Key> = own.into_iter().collect();
        if *trigger.resource == refs::cluster_roles() {
            let bindings = bindings_of(view, of, trigger.name);
            keys.extend(bindings.iter().map(|binding| Key::new(of, BINDINGS, binding.name())));
        } else {
            let bindings = [trigger.old, trigger.new].into_iter().flatten();
            let roles = bindings.filter_map(|binding| role_of(&binding.parse()).map(str::to_owned));
            keys.extend(roles.map(|role| Key::new(of, ROLES, &role)));
        }
        keys.into_iter().collect()
    }

    fn plan(&self, key: &Key, view: &dyn View, _: &Context) -> Plan {
        let resource = match key.namespace.as_str() {
            ROLES => refs::cluster_roles(),
            _ => refs::cluster_role_bindings(),
        };
        let of = resource.object(&key.cluster, "", &key.name);
        let Seen::Found(seen) = view.get(&of) else {
            return Plan::done();
        };
        let offers = Offers::of(&key.cluster, view);
        let reasons = if !offers.any() {
            Reasons::default()
        } else if key.namespace == ROLES {
            let bindings = bindings_of(view, &key.cluster, &key.name);
            let mut reasons = Reasons::of_role(&seen);
            reasons.apis |= bindings.iter().any(|binding| names_bound_users(binding));
            reasons
        } else {
            let role = role_of(&seen).and_then(|name| find_role(view, &key.cluster, name));
            let mut reasons = role.map_or_else(Reasons::default, |role| Reasons::of_role(&role));
            reasons.apis |= names_bound_users(&seen);
            reasons
        };
        reasons.mark(of, &seen)
    }
}

/// Of the cluster's own, or one that all clusters have.
fn find_role(view: &dyn View, of: &Cluster, name: &str) -> Option<std::sync::Arc<Value>> {
    let own = view.get(&refs::cluster_roles().object(of, "", name)).found();
    let shared = Cluster::well_known(api::keys::cluster::SYSTEM_ADMIN);
    own.or_else(|| view.get(&refs::cluster_roles().object(&shared, "", name)).found())
}

fn bindings_of(view: &dyn View, of: &Cluster, role: &str) -> Vec<std::sync::Arc<Value>> {
    let scope = Scope::One(of.clone());
    let mut bindings = view.list(&refs::cluster_role_bindings(), &scope, "", &LabelSelector::everything());
    bindings.retain(|binding| role_of(binding) == Some(role));
    bindings
}

fn role_of(binding: &Value) -> Option<&str> {
    let is_cluster_role = binding.str_at(&["roleRef", "kind"]) == Some("ClusterRole");
    binding.str_at(&["roleRef", "name"]).filter(|_| is_cluster_role)
}

/// Subjects as maximal permission policies name them (E.8).
fn names_bound_users(binding: &Value) -> bool {
    let subjects = binding.get("subjects").and_then(Value::as_array).into_iter().flatten();
    let mut people = subjects.filter(|s| matches!(s.str_at(&["kind"]), Some("User" | "Group")));
    people.any(|s| s.str_at(&["name"]).is_some_and(|name| name.starts_with(POLICY_PREFIX)))
}

// === impl Offers ===

impl Offers {
    fn of(cluster: &Cluster, view: &dyn View) -> Self {
        let (scope, all) = (Scope::One(cluster.clone()), LabelSelector::everything());
        Self {
            exports: view.any(&refs::exports(), &scope, "", &all),
            types: view.any(&refs::workspace_types(), &scope, "", &all),
        }
    }

    fn any(self) -> bool {
        self.exports || self.types
    }
}

// === impl Reasons ===

impl Reasons {
    fn of_role(role: &Value) -> Self {
        let rules = || role.get("rules").and_then(Value::as_array).into_iter().flatten();
        Self {
            apis: rules().any(shares_apis),
            tenancy: rules().any(shares_types),
            core: rules().any(lets_in),
        }
    }

    /// Other reasons that the object gives stay as they are.
    fn mark(self, of: ObjectRef, seen: &Value) -> Plan {
        if seen.deletion_timestamp().is_some() {
            return Plan::done();
        }
        let before = seen.annotation(annotation::REPLICATE).unwrap_or_default();
        let mut after = before.to_owned();
        for (reason, is_given) in [
            (group::APIS, self.apis),
            (group::CORE, self.core),
            (group::TENANCY, self.tenancy),
        ] {
            after = with_reason(&after, reason, is_given).unwrap_or_default();
        }
        if after == before {
            return Plan::done();
        }
        let mut want = seen.clone();
        if after.is_empty() {
            want.remove_at(&["metadata", "annotations", annotation::REPLICATE]);
        } else {
            want.set_at(&["metadata", "annotations", annotation::REPLICATE], json!(after));
        }
        Plan::effect(Effect::Update { of, object: want })
    }
}

fn has(rule: &Value, member: &str, wanted: &[&str]) -> bool {
    let items = rule.get(member).and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).any(|item| wanted.contains(&item))
}

/// `bind` on exports, or anything on their content.
fn shares_apis(rule: &Value) -> bool {
    let binds = has(rule, "resources", &["apiexports", "*"]) && has(rule, "verbs", &["bind", "*"]);
    has(rule, "apiGroups", &[group::APIS, "*"]) && (binds || has(rule, "resources", &["apiexports/content", "*"]))
}

fn shares_types(rule: &Value) -> bool {
    has(rule, "apiGroups", &[group::TENANCY, "*"])
        && has(rule, "resources", &["workspacetypes", "*"])
        && has(rule, "verbs", &["use", "initialize", "terminate", "*"])
}

/// `access` on `/`: who may enter the cluster.
fn lets_in(rule: &Value) -> bool {
    has(rule, "nonResourceURLs", &["/", "*", "/*"]) && has(rule, "verbs", &["access", "*"])
}

#[cfg(test)]
mod tests;
