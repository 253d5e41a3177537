//! Nobody grants what they do not have: checks on roles and bindings as they are written.
//!
//! Kubernetes' `policybased` storages of RBAC, as a validating plugin: nothing can change the rules behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use machinery::object::{GroupResource, ObjectExt};
use machinery::status::{Result, Status};
use machinery::text::quote;
use machinery::user::{MASTERS, User};
use permit::{Access, Cluster, Scope, Verb};
use registry::{Admission, Attributes, Subresource};
use serde_json::Value;

use super::SharedAuthorizer;
use super::rbac::{Rule, covers};

/// What roles say and users have.
pub trait RuleSource: Send + Sync {
    /// All rules that the user has in a namespace of a cluster (cluster-wide ones included); empty: cluster-wide ones.
    fn rules(&self, user: &User, cluster: &Cluster, namespace: &str) -> Vec<Rule>;

    /// The rules of a role; `namespace` empty: of a ClusterRole. `None`: there is no such role.
    fn role_rules(&self, cluster: &Cluster, namespace: &str, name: &str) -> Option<Vec<Rule>>;
}

/// The plugin.
pub struct Escalation {
    rules: Arc<dyn RuleSource>,
    authorizer: SharedAuthorizer,
}

const GROUP: &str = "rbac.authorization.k8s.io";

// === impl Escalation ===

impl Escalation {
    pub fn new(rules: Arc<dyn RuleSource>, authorizer: SharedAuthorizer) -> Self {
        Self { rules, authorizer }
    }

    /// Roles: their rules are had, or verb `escalate`.
    async fn check_role(&self, attributes: &Attributes<'_>, object: &Value) -> Result<()> {
        let resource = attributes.def.names.plural.as_str();
        // The name of a role to be made is not in the request's URL, so not in what is asked either.
        let name = if attributes.old.is_some() { attributes.name } else { "" };
        if self.may(attributes, "escalate", GROUP, resource, name).await {
            return Ok(());
        }
        self.check_rules(attributes, &rules_of(object))?;
        let aggregates = |role: &Value| {
            let selectors = role.at(&["aggregationRule", "clusterRoleSelectors"]);
            selectors.and_then(Value::as_array).is_some_and(|list| !list.is_empty())
        };
        let is_aggregated = aggregates(object) || attributes.old.is_some_and(aggregates);
        if resource == "clusterroles" && is_aggregated && self.missing(attributes, &everything()).is_some() {
            let why = "must have cluster-admin privileges to use the aggregationRule";
            return Err(forbid(attributes, why));
        }
        Ok(())
    }

    /// Bindings: the rules of their role are had, or verb `bind` on it.
    async fn check_binding(&self, attributes: &Attributes<'_>, object: &Value) -> Result<()> {
        let part = |name: &str| object.str_at(&["roleRef", name]).unwrap_or_default();
        let (group, kind, name) = (part("apiGroup"), part("kind"), part("name"));
        let (resource, namespace) = match kind {
            "ClusterRole" => ("clusterroles", ""),
            "Role" => ("roles", attributes.namespace),
            // Refused where the object is validated.
            _ => return Ok(()),
        };
        if self.may(attributes, "bind", group, resource, name).await {
            return Ok(());
        }
        let rules = self.rules.role_rules(attributes.cluster, namespace, name);
        let rules = rules.ok_or_else(|| Status::not_found(&GroupResource::new(GROUP, resource), name))?;
        self.check_rules(attributes, &rules)
    }

    async fn may(&self, attributes: &Attributes<'_>, verb: &str, group: &str, resource: &str, name: &str) -> bool {
        let access = Access {
            scope: Some(Scope::One(attributes.cluster.clone())),
            verb: verb.to_owned(),
            is_resource: true,
            group: group.to_owned(),
            version: "*".to_owned(),
            resource: resource.to_owned(),
            // Where the binding is made, not where its role is: so one may be let bind a role in some namespaces.
            namespace: attributes.namespace.to_owned(),
            name: name.to_owned(),
            ..Access::default()
        };
        self.authorizer
            .authorize(&attributes.request.user, &access)
            .await
            .is_allowed()
    }

    fn check_rules(&self, attributes: &Attributes<'_>, rules: &[Rule]) -> Result<()> {
        let Some(missing) = self.missing(attributes, rules) else {
            return Ok(());
        };
        let user = &attributes.request.user;
        let why = format!(
            "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            quote(&user.name),
            quoted(&user.groups),
            missing.into_iter().collect::<Vec<_>>().join("\n"),
        );
        Err(forbid(attributes, &why))
    }

    /// Descriptions of what the user does not have of these rules.
    fn missing(&self, attributes: &Attributes<'_>, rules: &[Rule]) -> Option<BTreeSet<String>> {
        let user = &attributes.request.user;
        let owned = self.rules.rules(user, attributes.cluster, attributes.namespace);
        let missing = covers(&owned, rules);
        let described: BTreeSet<String> = compact(missing).iter().map(describe).collect();
        (!described.is_empty()).then_some(described)
    }
}

#[async_trait]
impl Admission for Escalation {
    fn name(&self) -> &'static str {
        "rbac.authorization.k8s.io/Escalation"
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<()> {
        let is_write = matches!(attributes.verb, Verb::Create | Verb::Update | Verb::Patch);
        let is_exempt = attributes.request.trusted || attributes.request.user.in_group(MASTERS);
        if *attributes.def.group != *GROUP || !is_write || is_exempt || attributes.subresource != Subresource::Main {
            return Ok(());
        }
        let Some(object) = attributes.object.as_deref() else {
            return Ok(());
        };
        // Who may only collect garbage, may: owners and finalizers grant nothing.
        if attributes.old.is_some_and(|old| content(old) == content(object)) {
            return Ok(());
        }
        match attributes.def.names.plural.as_str() {
            "roles" | "clusterroles" => self.check_role(attributes, object).await,
            "rolebindings" | "clusterrolebindings" => self.check_binding(attributes, object).await,
            _ => Ok(()),
        }
    }
}

fn forbid(attributes: &Attributes<'_>, why: &str) -> Status {
    Status::forbidden(&attributes.def.group_resource(), attributes.name, why)
}

/// An object but for what the collector of garbage and the server write.
fn content(object: &Value) -> Value {
    const OTHERS: [&str; 5] = [
        "ownerReferences",
        "finalizers",
        "managedFields",
        "resourceVersion",
        "generation",
    ];
    let mut object = object.clone();
    object.meta_mut().retain(|name, _| !OTHERS.contains(&name.as_str()));
    object
}

/// Rules that cannot be read grant nothing.
fn rules_of(role: &Value) -> Vec<Rule> {
    let rules = role.get("rules").and_then(Value::as_array).into_iter().flatten();
    rules
        .filter_map(|rule| serde_json::from_value(rule.clone()).ok())
        .collect()
}

/// cluster-admin's.
fn everything() -> [Rule; 2] {
    let all = || vec!["*".to_owned()];
    let resources = Rule {
        verbs: all(),
        api_groups: all(),
        resources: all(),
        ..Rule::default()
    };
    let urls = Rule {
        verbs: all(),
        non_resource_urls: all(),
        ..Rule::default()
    };
    [resources, urls]
}

/// Rules about one resource that differ in their verb only are one.
fn compact(rules: Vec<Rule>) -> Vec<Rule> {
    let mut others = Vec::new();
    // By group, resource and name.
    let mut simple: BTreeMap<[Vec<String>; 3], Rule> = BTreeMap::new();
    for rule in rules {
        let is_simple = rule.non_resource_urls.is_empty() && rule.api_groups.len() == 1 && rule.resources.len() == 1;
        if !is_simple || rule.resource_names.len() > 1 {
            others.push(rule);
            continue;
        }
        let key = [
            rule.api_groups.clone(),
            rule.resources.clone(),
            rule.resource_names.clone(),
        ];
        match simple.get_mut(&key) {
            Some(known) => known.verbs.extend(rule.verbs),
            None => _ = simple.insert(key, rule),
        }
    }
    others.extend(simple.into_values());
    others
}

/// `{APIGroups:[""], Resources:["pods"], Verbs:["get"]}`.
fn describe(rule: &Rule) -> String {
    let parts = [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.non_resource_urls),
        ("ResourceNames", &rule.resource_names),
        ("Verbs", &rule.verbs),
    ];
    let parts = parts.into_iter().filter(|(_, items)| !items.is_empty());
    let parts: Vec<String> = parts.map(|(name, items)| format!("{name}:{}", quoted(items))).collect();
    format!("{{{}}}", parts.join(", "))
}

/// Go's `%q` of a list.
fn quoted(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| quote(item)).collect();
    format!("[{}]", items.join(" "))
}

#[cfg(test)]
mod tests;
