//! CustomResourceDefinitions: names accepted or not, established, and their instances deleted before they go (Kubernetes'
//! naming, establishing and finalizing controllers; kcp's facts, B.5).

use std::sync::Arc;

use api::keys::{self, annotation};
use api::types::{Holder, ResourceLocks};
use machinery::object::ObjectExt;
use machinery::selector::LabelSelector;
use permit::{Cluster, Scope};
use plan::{Context, Controller, Effect, Key, Plan, ResourceRef, Seen, Trigger, View};
use serde_json::{Value, json};

use crate::binding::{crd_key, is_established};
use crate::refs;

pub const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";
const BATCH_MAX: usize = 500;

pub struct Crds;

impl Controller for Crds {
    fn name(&self) -> &'static str {
        "crd"
    }

    fn watches(&self) -> Vec<ResourceRef> {
        vec![refs::everything()]
    }

    fn keys(&self, trigger: &Trigger<'_>, view: &dyn View) -> Vec<Key> {
        if *trigger.resource == refs::crds() {
            if trigger.new.is_some() {
                return vec![Key::new(trigger.cluster, "", trigger.name)];
            }
            // Names were given back: others of the cluster may take them.
            return all_in(view, trigger.cluster, |crd| !is_established(crd));
        }
        if *trigger.resource == refs::bindings() && trigger.new.is_none() {
            return all_in(view, trigger.cluster, |crd| !is_established(crd));
        }
        // An instance is gone: its definition may go, too.
        let instance = trigger.new.is_none() && !trigger.cluster.is_system();
        if !instance {
            return Vec::new();
        }
        let name = format!("{}.{}", trigger.resource.resource, trigger.resource.group);
        let of = refs::crds().object(trigger.cluster, "", &name);
        let dying = view
            .get(&of)
            .found()
            .is_some_and(|crd| crd.deletion_timestamp().is_some());
        if dying {
            vec![Key::new(trigger.cluster, "", &name)]
        } else {
            Vec::new()
        }
    }

    fn plan(&self, key: &Key, view: &dyn View, context: &Context) -> Plan {
        let of = refs::crds().object(&key.cluster, "", &key.name);
        let Seen::Found(seen) = view.get(&of) else {
            return Plan::done();
        };
        if seen.deletion_timestamp().is_some() {
            return delete(key, view, &seen, context);
        }
        let mut want = Value::clone(&seen);
        let shared = [keys::cluster::BOUND_CRDS, keys::cluster::SYSTEM_CRDS].contains(&key.cluster.as_str());
        let conflict = if shared || is_established(&seen) {
            None
        } else {
            conflict(key, view, &seen)
        };
        let mut effects = Vec::new();
        match conflict {
            Some((reason, text)) => refuse(&mut want, &reason, &text, &context.now),
            None => {
                if !shared {
                    effects.extend(take_name(key, view, &seen));
                    want.add_finalizer(FINALIZER);
                }
                want = established(want, &context.now);
            }
        }
        if want != *seen {
            effects.push(Effect::Update { of, object: want });
        }
        Plan {
            effects,
            ..Plan::default()
        }
    }
}

fn all_in(view: &dyn View, cluster: &Cluster, wanted: fn(&Value) -> bool) -> Vec<Key> {
    let all = view.list(
        &refs::crds(),
        &Scope::One(cluster.clone()),
        "",
        &LabelSelector::everything(),
    );
    all.iter()
        .filter(|crd| wanted(crd))
        .map(|crd| Key::new(cluster, "", crd.name()))
        .collect()
}

/// The CRD as it stands when its names are accepted and it is served. Kubernetes waits five seconds before it serves a new
/// CRD, for the sake of several API servers that must agree; here all follow one log, so nothing is waited for.
pub fn established(mut crd: Value, now: &str) -> Value {
    let names = crd.at(&["spec", "names"]).cloned().unwrap_or_default();
    crd.set_at(&["status", "acceptedNames"], names);
    let stored: Vec<Value> = crd
        .at(&["spec", "versions"])
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|v| v.get("storage").and_then(Value::as_bool) == Some(true))
        .filter_map(|v| v.get("name").cloned())
        .collect();
    let mut versions = crd
        .at(&["status", "storedVersions"])
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    for version in stored {
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    crd.set_at(&["status", "storedVersions"], Value::Array(versions));
    set_condition(
        &mut crd,
        "NamesAccepted",
        "True",
        "NoConflicts",
        "no conflicts found",
        now,
    );
    let text = "the initial names have been accepted";
    set_condition(&mut crd, "Established", "True", "InitialNamesAccepted", text, now);
    crd
}

fn refuse(crd: &mut Value, reason: &str, text: &str, now: &str) {
    let empty = json!({"plural": "", "kind": ""});
    crd.set_at(&["status", "acceptedNames"], empty);
    if crd.at(&["status", "storedVersions"]).is_none() {
        crd.set_at(&["status", "storedVersions"], json!([]));
    }
    set_condition(crd, "NamesAccepted", "False", reason, text, now);
    set_condition(
        crd,
        "Established",
        "False",
        "NotAccepted",
        "not all names are accepted",
        now,
    );
}

/// CRD conditions are Kubernetes' own: kept in order of appearance, with reason and message.
fn set_condition(crd: &mut Value, kind: &str, status: &str, reason: &str, message: &str, now: &str) {
    let mut list = crd
        .at(&["status", "conditions"])
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let known = list.iter().position(|c| c.str_at(&["type"]) == Some(kind));
    let mut entry =
        json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": now});
    if let Some(index) = known {
        if list[index].str_at(&["status"]) == Some(status)
            && let Some(time) = list[index].get("lastTransitionTime").cloned()
        {
            entry["lastTransitionTime"] = time;
        }
        list[index] = entry;
    } else {
        list.push(entry);
    }
    crd.set_at(&["status", "conditions"], Value::Array(list));
}

/// Whom a name belongs to already: another CRD of the cluster, or a binding.
fn conflict(key: &Key, view: &dyn View, crd: &Value) -> Option<(String, String)> {
    let scope = Scope::One(key.cluster.clone());
    let bound_crds = Cluster::well_known(keys::cluster::BOUND_CRDS);
    let mut others: Vec<Arc<Value>> = view
        .list(&refs::crds(), &scope, "", &LabelSelector::everything())
        .into_iter()
        .filter(|other| other.name() != key.name && is_established(other))
        .collect();
    for binding in view.list(&refs::bindings(), &scope, "", &LabelSelector::everything()) {
        let uids = crate::binding::bound_resources(&binding)
            .into_iter()
            .filter_map(|b| b.str_at(&["schema", "UID"]));
        others.extend(uids.filter_map(|uid| view.get(&refs::crds().object(&bound_crds, "", uid)).found()));
    }
    others.iter().find_map(|other| clash(crd, other))
}

/// The first name that `other` has already, as (reason, text).
fn clash(crd: &Value, other: &Value) -> Option<(String, String)> {
    if crd.str_at(&["spec", "group"]) != other.str_at(&["spec", "group"]) {
        return None;
    }
    let ours = |member: &str| crd.str_at(&["spec", "names", member]).unwrap_or_default();
    let theirs = |member: &str| other.str_at(&["spec", "names", member]).unwrap_or_default();
    let their_short = crate::workspace::names(other.at(&["spec", "names", "shortNames"]));
    let is_resource =
        |name: &str| name == theirs("plural") || name == theirs("singular") || their_short.contains(&name);
    let text = |name: &str| format!("{name:?} is already in use");
    let plain = [("plural", "PluralConflict"), ("singular", "SingularConflict")];
    for (member, reason) in plain {
        if is_resource(ours(member)) {
            return Some((reason.to_owned(), text(ours(member))));
        }
    }
    for name in crate::workspace::names(crd.at(&["spec", "names", "shortNames"])) {
        if is_resource(name) {
            return Some(("ShortNamesConflict".to_owned(), text(name)));
        }
    }
    for (member, reason) in [("kind", "KindConflict"), ("listKind", "ListKindConflict")] {
        if [theirs("kind"), theirs("listKind")].contains(&ours(member)) {
            return Some((reason.to_owned(), text(ours(member))));
        }
    }
    None
}

/// Holds the name in the cluster's lock map, so that no binding takes it.
fn take_name(key: &Key, view: &dyn View, crd: &Value) -> Option<Effect> {
    let of = refs::logical_clusters().object(&key.cluster, "", keys::object::LOGICAL_CLUSTER);
    let mut lc = Value::clone(&*view.get(&of).found()?);
    let mut locks = ResourceLocks::read(&lc).unwrap_or_default();
    let name = crd_key(crd);
    if locks
        .0
        .get(&name)
        .is_some_and(|holder| holder.crd && holder.expiry.is_none())
    {
        return None;
    }
    locks.0.insert(name, Holder::of_crd());
    lc.set_annotation(annotation::RESOURCE_BINDINGS, &locks.to_text());
    Some(Effect::Update { of, object: lc })
}

fn delete(key: &Key, view: &dyn View, seen: &Value, context: &Context) -> Plan {
    let of = refs::crds().object(&key.cluster, "", &key.name);
    if !seen.has_finalizer(FINALIZER) {
        return Plan::done();
    }
    let mut want = seen.clone();
    let text = "CustomResource deletion is in progress";
    set_condition(
        &mut want,
        "Terminating",
        "True",
        "InstanceDeletionInProgress",
        text,
        &context.now,
    );
    if want != *seen {
        // Creates are refused from here on; only then are the instances counted.
        return Plan {
            effects: vec![Effect::Update { of, object: want }],
            requeue: Some(std::time::Duration::ZERO),
            ..Plan::default()
        };
    }
    let group = seen.str_at(&["spec", "group"]).unwrap_or_default();
    let plural = seen.str_at(&["spec", "names", "plural"]).unwrap_or_default();
    let resource = ResourceRef::new(group, plural);
    let scope = Scope::One(key.cluster.clone());
    let instances = if is_established(seen) {
        view.list(&resource, &scope, "", &LabelSelector::everything())
    } else {
        Vec::new()
    };
    if instances.is_empty() {
        want.remove_finalizer(FINALIZER);
        let mut effects = give_name_back(key, view, seen);
        effects.push(Effect::Update { of, object: want });
        return Plan {
            effects,
            ..Plan::default()
        };
    }
    let effects = instances
        .iter()
        .filter(|object| object.deletion_timestamp().is_none())
        .take(BATCH_MAX)
        .map(|object| Effect::Delete {
            of: resource.object(&key.cluster, object.namespace(), object.name()),
            uid: object.uid().to_owned(),
            resource_version: None,
        })
        .collect();
    Plan {
        effects,
        ..Plan::default()
    }
}

fn give_name_back(key: &Key, view: &dyn View, crd: &Value) -> Vec<Effect> {
    let of = refs::logical_clusters().object(&key.cluster, "", keys::object::LOGICAL_CLUSTER);
    let Some(lc) = view.get(&of).found() else {
        return Vec::new();
    };
    let Some(mut locks) = ResourceLocks::read(&lc) else {
        return Vec::new();
    };
    let name = crd_key(crd);
    if !locks.0.get(&name).is_some_and(|holder| holder.crd) {
        return Vec::new();
    }
    locks.0.remove(&name);
    let mut lc = Value::clone(&lc);
    lc.set_annotation(annotation::RESOURCE_BINDINGS, &locks.to_text());
    vec![Effect::Update { of, object: lc }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Literals, cluster};

    fn crd(name: &str, kind: &str) -> Value {
        let plural = name.split('.').next().unwrap();
        json!({"metadata": {"name": name}, "spec": {"group": "g.io", "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")},
            "versions": [{"name": "v1", "served": true, "storage": true}]}})
    }

    fn settle(world: &mut Literals, name: &str) -> Value {
        world.settle(&Crds, &Key::new(&cluster("abc"), "", name));
        world
            .object(&refs::crds(), "abc", "", name)
            .cloned()
            .unwrap_or_default()
    }

    #[test]
    fn accepted_and_established_at_once() {
        let mut world = Literals::default();
        world.put(
            &refs::logical_clusters(),
            "abc",
            json!({"metadata": {"name": "cluster"}}),
        );
        world.put(&refs::crds(), "abc", crd("foos.g.io", "Foo"));
        let seen = settle(&mut world, "foos.g.io");
        assert!(is_established(&seen) && seen.has_finalizer(FINALIZER));
        assert_eq!(seen.at(&["status", "storedVersions"]).unwrap(), &json!(["v1"]));
        let lc = world.object(&refs::logical_clusters(), "abc", "", "cluster").unwrap();
        assert_eq!(
            lc.annotation(annotation::RESOURCE_BINDINGS),
            Some(r#"{"foos.g.io":{"c":true}}"#)
        );
    }

    #[test]
    fn a_taken_kind_is_refused_with_its_name() {
        let mut world = Literals::default();
        world.put(&refs::crds(), "abc", crd("foos.g.io", "Foo"));
        settle(&mut world, "foos.g.io");
        world.put(&refs::crds(), "abc", crd("bars.g.io", "Foo"));
        let seen = settle(&mut world, "bars.g.io");
        assert!(!is_established(&seen));
        assert!(seen.to_string().contains(r#"\"foo\" is already in use"#), "{seen}");
    }

    #[test]
    fn instances_go_before_their_definition() {
        let mut world = Literals::default();
        world.put(&refs::crds(), "abc", crd("foos.g.io", "Foo"));
        settle(&mut world, "foos.g.io");
        let foos = ResourceRef::new("g.io", "foos");
        world.put(&foos, "abc", json!({"metadata": {"name": "x", "namespace": "n"}}));
        world.put(&foos, "other", json!({"metadata": {"name": "x", "namespace": "n"}}));
        let of = refs::crds().object(&cluster("abc"), "", "foos.g.io");
        world.carry_out(&[Effect::Delete {
            of: of.clone(),
            uid: String::new(),
            resource_version: None,
        }]);
        world.settle(&Crds, &Key::new(&cluster("abc"), "", "foos.g.io"));
        assert!(!world.objects.contains_key(&of));
        assert!(world.object(&foos, "abc", "n", "x").is_none());
        assert!(
            world.object(&foos, "other", "n", "x").is_some(),
            "only the CRD's own cluster is emptied"
        );
    }
}
