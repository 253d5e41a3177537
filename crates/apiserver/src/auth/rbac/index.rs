//! Roles and bindings as evaluation needs them, ordered by cluster.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use compact_str::CompactString;
use machinery::object::ObjectExt;
use machinery::user::User;
use permit::Cluster;
use serde_json::Value;
use storage::Applied;

use super::rule::Rule;

pub(super) const GROUP: &str = "rbac.authorization.k8s.io";

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Subject {
    User(CompactString),
    Group(CompactString),
    /// `system:serviceaccount:<namespace>:<name>`, as its user name reads.
    Account(CompactString),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Binding {
    subjects: Vec<Subject>,
    role: CompactString,
    /// The role is a ClusterRole.
    cluster_role: bool,
}

type Place = (Cluster, CompactString, CompactString);

/// Not synchronised: the owner wraps it. Keys are (cluster, namespace or empty, name).
#[derive(Default)]
pub struct RbacIndex {
    roles: BTreeMap<Place, Arc<[Rule]>>,
    bindings: BTreeMap<Place, Arc<Binding>>,
    /// Contents that several roles or bindings share.
    known_rules: BTreeMap<Vec<u8>, Weak<[Rule]>>,
    known_bindings: BTreeMap<Binding, Weak<Binding>>,
    /// Contents added since the maps of known ones were last swept.
    added: usize,
}

// === impl RbacIndex ===

impl RbacIndex {
    pub(super) fn apply(&mut self, change: &Applied<'_>) {
        let place = (
            change.key.cluster.clone(),
            change.key.namespace.clone(),
            change.key.name.clone(),
        );
        let object = change.new.map(|entry| entry.to_value());
        match &*change.resource.resource {
            "roles" | "clusterroles" => match object {
                None => _ = self.roles.remove(&place),
                Some(object) => {
                    let rules = self.rules_of(&object);
                    self.roles.insert(place, rules);
                }
            },
            "rolebindings" | "clusterrolebindings" => match object {
                None => _ = self.bindings.remove(&place),
                Some(object) => {
                    let binding = self.binding_of(&object);
                    self.bindings.insert(place, binding);
                }
            },
            _ => {}
        }
        self.sweep();
    }

    /// Calls `each` with the rules of every binding that names the user, until it answers false. A role that is missing
    /// grants nothing.
    pub(super) fn visit(
        &self,
        user: &User,
        cluster: &Cluster,
        fallback: &Cluster,
        namespace: &str,
        each: &mut dyn FnMut(&[Rule]) -> bool,
    ) {
        let mut namespaces = vec![""];
        if !namespace.is_empty() {
            namespaces.push(namespace);
        }
        for namespace in namespaces {
            let first = (cluster.clone(), CompactString::new(namespace), CompactString::default());
            let here = |place: &Place| place.0 == *cluster && place.1 == namespace;
            for (_, binding) in self.bindings.range(first..).take_while(|(place, _)| here(place)) {
                if !binding.names(user) {
                    continue;
                }
                let role_namespace = if binding.cluster_role { "" } else { namespace };
                let Some(rules) = self.role(cluster, fallback, role_namespace, &binding.role) else {
                    continue;
                };
                if !each(rules) {
                    return;
                }
            }
        }
    }

    pub(super) fn role(&self, cluster: &Cluster, fallback: &Cluster, namespace: &str, name: &str) -> Option<&[Rule]> {
        let place = |cluster: &Cluster| (cluster.clone(), CompactString::new(namespace), CompactString::new(name));
        let own = self.roles.get(&place(cluster));
        own.or_else(|| self.roles.get(&place(fallback))).map(|rules| &**rules)
    }

    fn rules_of(&mut self, object: &Value) -> Arc<[Rule]> {
        let rules = object.get("rules").cloned().unwrap_or(Value::Null);
        let content = serde_json::to_vec(&rules).unwrap_or_default();
        if let Some(known) = self.known_rules.get(&content).and_then(Weak::upgrade) {
            return known;
        }
        // A rule that cannot be read grants nothing; the others still do.
        let rules: Arc<[Rule]> = rules
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|rule| serde_json::from_value(rule.clone()).ok())
            .collect();
        self.known_rules.insert(content, Arc::downgrade(&rules));
        self.added += 1;
        rules
    }

    fn binding_of(&mut self, object: &Value) -> Arc<Binding> {
        let subjects = object.get("subjects").and_then(Value::as_array).into_iter().flatten();
        let binding = Binding {
            subjects: subjects
                .filter_map(|subject| Subject::read(subject, object.namespace()))
                .collect(),
            role: object.str_at(&["roleRef", "name"]).unwrap_or_default().into(),
            cluster_role: object.str_at(&["roleRef", "kind"]) == Some("ClusterRole"),
        };
        if let Some(known) = self.known_bindings.get(&binding).and_then(Weak::upgrade) {
            return known;
        }
        let shared = Arc::new(binding.clone());
        self.known_bindings.insert(binding, Arc::downgrade(&shared));
        self.added += 1;
        shared
    }

    /// Contents that nobody has any more go, after as many additions as there are: amortised constant.
    fn sweep(&mut self) {
        if self.added > 64 && self.added > self.known_rules.len() + self.known_bindings.len() {
            self.known_rules.retain(|_, rules| rules.strong_count() > 0);
            self.known_bindings.retain(|_, binding| binding.strong_count() > 0);
            self.added = 0;
        }
    }
}

// === impl Binding, Subject ===

impl Binding {
    fn names(&self, user: &User) -> bool {
        self.subjects.iter().any(|subject| match subject {
            Subject::User(name) | Subject::Account(name) => *name == user.name,
            Subject::Group(name) => user.groups.iter().any(|group| group == name.as_str()),
        })
    }
}

impl Subject {
    /// `binding_namespace`: where an account without a namespace of its own is looked for.
    fn read(subject: &Value, binding_namespace: &str) -> Option<Self> {
        let name = subject.str_at(&["name"])?;
        match subject.str_at(&["kind"])? {
            "User" => Some(Self::User(name.into())),
            "Group" => Some(Self::Group(name.into())),
            "ServiceAccount" => {
                let namespace = subject.str_at(&["namespace"]).unwrap_or(binding_namespace);
                let known = !namespace.is_empty();
                known.then(|| Self::Account(format!("system:serviceaccount:{namespace}:{name}").into()))
            }
            _ => None,
        }
    }
}
