//! What becomes of an object, by its owners: Kubernetes' `attemptToDeleteItem`.

use std::sync::Arc;

use machinery::object::{GroupVersion, ObjectExt};
use permit::Cluster;
use plan::{Effect, ObjectRef, Seen, Served, View};
use serde_json::{Value, json};

use super::{FOREGROUND, Owner};

/// Decides about dependants in one cluster.
pub(super) struct Judge<'a> {
    view: &'a dyn View,
    served: Vec<Served>,
    /// The owner that is known to be gone. Its kind may not be served any more: its definition may have been what was deleted.
    gone: Option<&'a Owner>,
}

/// How an owner stands that an object names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Solid,
    /// Being deleted, once its dependants are.
    Waiting,
    Gone,
    /// It cannot be looked up, so that nothing is done about its dependants.
    Unknown,
}

// === impl Judge ===

impl<'a> Judge<'a> {
    pub fn new(view: &'a dyn View, cluster: &Cluster, gone: Option<&'a Owner>) -> Self {
        Self {
            view,
            served: view.served(cluster),
            gone,
        }
    }

    /// What is to be done about dependants, about so many at most.
    pub fn effects(&self, dependants: &[(ObjectRef, Arc<Value>)], most: usize) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (of, object) in dependants {
            if effects.len() >= most {
                break;
            }
            effects.extend(self.about(of, object));
        }
        effects
    }

    fn about(&self, of: &ObjectRef, object: &Value) -> Vec<Effect> {
        if object.deletion_timestamp().is_some() {
            return Vec::new();
        }
        let standings: Vec<(&str, Standing)> = owners(object)
            .into_iter()
            .map(|owner| (member(owner, "uid"), self.standing(owner, of)))
            .collect();
        let any = |standing: Standing| standings.iter().any(|(_, it)| *it == standing);
        if any(Standing::Unknown) || standings.is_empty() {
            return Vec::new();
        }
        if any(Standing::Solid) {
            let is_lost = |uid: &str| !standings.iter().any(|(of, it)| *of == uid && *it == Standing::Solid);
            let uids = standings.iter().map(|(uid, _)| *uid);
            let lost: Vec<&str> = uids.filter(|uid| is_lost(uid)).collect();
            let kept = || Effect::Update {
                of: of.clone(),
                object: without_owners(object, &lost),
            };
            return (!lost.is_empty()).then(kept).into_iter().collect();
        }
        if any(Standing::Waiting) && self.view.has_dependants(&of.cluster, object.uid()) {
            return self.foreground(of, object);
        }
        // As it was read: with another owner by now it may stay. What its finalizers ask for, it is deleted by.
        vec![Effect::Collect {
            of: of.clone(),
            uid: object.uid().to_owned(),
            resource_version: Some(object.resource_version().to_owned()),
        }]
    }

    /// Who waits for its dependants waits for theirs, too. In a circle nobody would ever go.
    fn foreground(&self, of: &ObjectRef, object: &Value) -> Vec<Effect> {
        let mut held = object.clone();
        held.add_finalizer(FOREGROUND);
        let dependants = self.view.dependants(&of.cluster, object.uid());
        let waits = |object: &Value| object.deletion_timestamp().is_some() && object.has_finalizer(FOREGROUND);
        if dependants.iter().any(|(_, object)| waits(object)) {
            let mut references: Vec<Value> = owners(object).into_iter().cloned().collect();
            for reference in &mut references {
                if is_blocking(reference) {
                    reference.set_at(&["blockOwnerDeletion"], json!(false));
                }
            }
            held.set_at(&["metadata", "ownerReferences"], Value::Array(references));
        }
        vec![
            Effect::Update {
                of: of.clone(),
                object: held,
            },
            Effect::Collect {
                of: of.clone(),
                uid: object.uid().to_owned(),
                resource_version: None,
            },
        ]
    }

    fn standing(&self, owner: &Value, dependant: &ObjectRef) -> Standing {
        let Some(known) = served_kind(owner, &self.served) else {
            let group = GroupVersion::parse(member(owner, "apiVersion")).group;
            let is_gone = |gone: &&Owner| gone.uid == member(owner, "uid") && *gone.resource.group == *group;
            return match self.gone.filter(is_gone) {
                Some(_) => Standing::Gone,
                None => Standing::Unknown,
            };
        };
        if known.namespaced && dependant.namespace.is_empty() {
            // A cluster-scoped object cannot have a namespaced owner; Kubernetes leaves it alone and says so in an event.
            return Standing::Unknown;
        }
        let namespace = if known.namespaced {
            dependant.namespace.as_str()
        } else {
            ""
        };
        let of = known
            .resource
            .object(&dependant.cluster, namespace, member(owner, "name"));
        match self.view.get(&of) {
            Seen::Unknown => Standing::Unknown,
            Seen::Found(object) if object.uid() == member(owner, "uid") => {
                let waits = object.deletion_timestamp().is_some() && object.has_finalizer(FOREGROUND);
                if waits { Standing::Waiting } else { Standing::Solid }
            }
            Seen::Found(_) | Seen::Absent => Standing::Gone,
        }
    }
}

pub(super) fn served_kind<'a>(owner: &Value, served: &'a [Served]) -> Option<&'a Served> {
    let gv = GroupVersion::parse(member(owner, "apiVersion"));
    served
        .iter()
        .find(|s| *s.resource.group == *gv.group && s.kind == member(owner, "kind"))
}

pub(super) fn owners(object: &Value) -> Vec<&Value> {
    object
        .at(&["metadata", "ownerReferences"])
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .collect()
}

/// Whether an owner that waits for its dependants waits for this one.
pub(super) fn blocks(object: &Value, uid: &str) -> bool {
    owners(object)
        .into_iter()
        .any(|owner| member(owner, "uid") == uid && is_blocking(owner))
}

pub(super) fn without_owners(object: &Value, uids: &[&str]) -> Value {
    let kept: Vec<Value> = owners(object)
        .into_iter()
        .filter(|owner| !uids.contains(&member(owner, "uid")))
        .cloned()
        .collect();
    let mut object = object.clone();
    if kept.is_empty() {
        object.remove_at(&["metadata", "ownerReferences"]);
    } else {
        object.set_at(&["metadata", "ownerReferences"], Value::Array(kept));
    }
    object
}

fn is_blocking(owner: &Value) -> bool {
    owner.get("blockOwnerDeletion").and_then(Value::as_bool) == Some(true)
}

fn member<'a>(owner: &'a Value, name: &str) -> &'a str {
    owner.str_at(&[name]).unwrap_or_default()
}
