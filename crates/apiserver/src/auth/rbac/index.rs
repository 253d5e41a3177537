//! Roles and bindings as evaluation needs them: found by whom they name, in one table for all clusters.

use std::collections::BTreeMap;
use std::hash::Hasher as _;
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

/// (cluster, namespace or empty, name) of a role or binding.
type Place = (Cluster, CompactString, CompactString);

/// Not synchronised: the owner wraps it.
#[derive(Default)]
pub struct RbacIndex {
    roles: Table<Arc<[Rule]>>,
    /// Each binding once for each of its subjects, so that a decision looks at the user's own bindings and at no others.
    bound: Table<Arc<Binding>>,
    /// Contents that several roles or bindings share.
    known_rules: BTreeMap<Vec<u8>, Weak<[Rule]>>,
    known_bindings: BTreeMap<Binding, Weak<Binding>>,
    /// Contents added since the maps of known ones were last swept.
    added: usize,
}

/// Values by hash: of what they are looked for by, then of their place. Whoever finds one compares, so that contents of one
/// hash are never taken for each other.
struct Table<T>(BTreeMap<[u64; 2], (Place, T)>);

// === impl RbacIndex ===

impl RbacIndex {
    pub(super) fn apply(&mut self, change: &Applied<'_>) {
        let place = (
            change.key.cluster.clone(),
            change.key.namespace.clone(),
            change.key.name.clone(),
        );
        let object = change.new_tree();
        match &*change.resource.resource {
            "roles" | "clusterroles" => self.put_role(place, object.as_deref()),
            "rolebindings" | "clusterrolebindings" => {
                let old = change.old_tree();
                self.put_binding(place, old.as_deref(), object.as_deref());
            }
            _ => {}
        }
        self.sweep();
    }

    pub(super) fn put_role(&mut self, place: Place, object: Option<&Value>) {
        let hash = hash_of(&[place.0.as_str(), &place.1, &place.2]);
        match object {
            None => self.roles.remove(hash, &place),
            Some(object) => {
                let rules = self.rules_of(object);
                self.roles.insert(hash, place, rules);
            }
        }
    }

    pub(super) fn put_binding(&mut self, place: Place, old: Option<&Value>, new: Option<&Value>) {
        for subject in old.into_iter().flat_map(subjects_of) {
            self.bound.remove(subject.hash_in(&place.0, &place.1), &place);
        }
        let Some(new) = new else { return };
        let binding = self.binding_of(new);
        for subject in &binding.subjects {
            let hash = subject.hash_in(&place.0, &place.1);
            self.bound.insert(hash, place.clone(), binding.clone());
        }
    }

    /// Calls `each` with the rules of every binding that names the user, until it answers false. A role that is missing
    /// grants nothing. Answers how many bindings were looked at.
    pub(super) fn visit<'a>(
        &'a self,
        user: &User,
        cluster: &Cluster,
        fallback: &Cluster,
        namespace: &str,
        each: &mut dyn FnMut(&'a Place, &'a [Rule]) -> bool,
    ) -> usize {
        self.visit_over(self, user, cluster, fallback, namespace, each)
    }

    /// The same, with the roles of `fallback` in another index.
    pub(super) fn visit_over<'a>(
        &'a self,
        base: &'a Self,
        user: &User,
        cluster: &Cluster,
        fallback: &Cluster,
        namespace: &str,
        each: &mut dyn FnMut(&'a Place, &'a [Rule]) -> bool,
    ) -> usize {
        let mut looked_at = 0;
        let namespaces = [Some(""), Some(namespace).filter(|namespace| !namespace.is_empty())];
        for namespace in namespaces.into_iter().flatten() {
            for subject in subjects_for(user) {
                for (place, binding) in self.bound.get(hash_in(cluster, namespace, subject)) {
                    looked_at += 1;
                    // A binding that names the user several times counts once.
                    let is_here = place.0 == *cluster && place.1 == namespace;
                    if !is_here || binding.first_for(user) != Some(subject) {
                        continue;
                    }
                    let role_namespace = if binding.cluster_role { "" } else { namespace };
                    let here = self.role_in(cluster, role_namespace, &binding.role);
                    let rules = here.or_else(|| base.role_in(fallback, role_namespace, &binding.role));
                    if rules.is_some_and(|rules| !each(place, rules)) {
                        return looked_at;
                    }
                }
            }
        }
        looked_at
    }

    pub(super) fn role(&self, cluster: &Cluster, fallback: &Cluster, namespace: &str, name: &str) -> Option<&[Rule]> {
        let here = self.role_in(cluster, namespace, name);
        here.or_else(|| self.role_in(fallback, namespace, name))
    }

    fn role_in(&self, cluster: &Cluster, namespace: &str, name: &str) -> Option<&[Rule]> {
        let mut found = self.roles.get(hash_of(&[cluster.as_str(), namespace, name]));
        let is_meant = |place: &Place| place.0 == *cluster && place.1 == namespace && place.2 == name;
        found.find(|(place, _)| is_meant(place)).map(|(_, rules)| &**rules)
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
        let binding = Binding {
            subjects: subjects_of(object).collect(),
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

// === impl Table ===

impl<T> Table<T> {
    fn insert(&mut self, hash: u64, place: Place, value: T) {
        self.0.insert([hash, place_hash(&place)], (place, value));
    }

    fn remove(&mut self, hash: u64, place: &Place) {
        self.0.remove(&[hash, place_hash(place)]);
    }

    fn get(&self, hash: u64) -> impl Iterator<Item = (&Place, &T)> {
        let found = self.0.range([hash, 0]..=[hash, u64::MAX]);
        found.map(|(_, (place, value))| (place, value))
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

fn place_hash((cluster, namespace, name): &Place) -> u64 {
    hash_of(&[cluster.as_str(), namespace, name])
}

/// The same on every machine and in every run.
fn hash_of(texts: &[&str]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    for text in texts {
        hasher.write(text.as_bytes());
        hasher.write_u8(0xff);
    }
    hasher.finish()
}

// === impl Binding, Subject ===

/// Whom a subject is compared with: a user's name, which accounts have too, or a group.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whom<'a> {
    User(&'a str),
    Group(&'a str),
}

fn subjects_for(user: &User) -> impl Iterator<Item = Whom<'_>> {
    let groups = user.groups.iter().map(|group| Whom::Group(group));
    std::iter::once(Whom::User(&user.name)).chain(groups)
}

fn subjects_of(binding: &Value) -> impl Iterator<Item = Subject> {
    let subjects = binding.get("subjects").and_then(Value::as_array).into_iter().flatten();
    subjects.filter_map(|subject| Subject::read(subject, binding.namespace()))
}

fn hash_in(cluster: &Cluster, namespace: &str, whom: Whom<'_>) -> u64 {
    let (kind, name) = match whom {
        Whom::User(name) => ("u", name),
        Whom::Group(name) => ("g", name),
    };
    hash_of(&[cluster.as_str(), namespace, kind, name])
}

impl Binding {
    /// The first of the subjects that means the user.
    fn first_for(&self, user: &User) -> Option<Whom<'_>> {
        let mut subjects = self.subjects.iter().map(Subject::whom);
        subjects.find(|whom| match whom {
            Whom::User(name) => *name == user.name,
            Whom::Group(name) => user.in_group(name),
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

    fn whom(&self) -> Whom<'_> {
        match self {
            Self::User(name) | Self::Account(name) => Whom::User(name),
            Self::Group(name) => Whom::Group(name),
        }
    }

    fn hash_in(&self, cluster: &Cluster, namespace: &str) -> u64 {
        hash_in(cluster, namespace, self.whom())
    }
}
