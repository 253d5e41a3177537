//! kcp-apibindingdeletion: deletes the objects of a binding that is being deleted, then gives its names back (kcp's facts,
//! E.6).

use std::sync::Arc;
use std::time::Duration;

use api::conditions::{self, Severity};
use api::keys::{self, annotation, condition, finalizer};
use api::types::ResourceLocks;
use machinery::object::ObjectExt;
use machinery::selector::LabelSelector;
use permit::Scope;
use plan::{Context, Controller, Effect, Key, Outline, Plan, ResourceRef, Seen, Trigger, View};
use serde_json::Value;

use crate::binding::{bound_resources, find_export};
use crate::{refs, until_told};

const BATCH_MAX: usize = 500;

pub struct BindingDeletion;

impl Controller for BindingDeletion {
    fn name(&self) -> &'static str {
        "kcp-apibindingdeletion"
    }

    fn watches(&self) -> Vec<ResourceRef> {
        vec![refs::everything()]
    }

    fn keys(&self, trigger: &Trigger<'_>, view: &dyn View) -> Vec<Key> {
        let is_dying = |binding: &Value| binding.deletion_timestamp().is_some();
        if *trigger.resource == refs::bindings() {
            let dying = trigger.new.is_some_and(|new| new.is_terminating());
            return if dying {
                vec![Key::new(trigger.cluster, "", trigger.name)]
            } else {
                Vec::new()
            };
        }
        if trigger.new.is_some() || trigger.cluster.is_system() {
            return Vec::new();
        }
        let bindings = view.outline(&refs::bindings(), trigger.cluster, "");
        if !bindings.iter().any(|binding| binding.is_terminating) {
            return Vec::new();
        }
        let all = view.list(
            &refs::bindings(),
            &Scope::One(trigger.cluster.clone()),
            "",
            &LabelSelector::everything(),
        );
        let binds = |binding: &&Arc<Value>| {
            is_dying(binding)
                && bound_resources(binding).iter().any(|bound| {
                    bound.str_at(&["resource"]) == Some(&trigger.resource.resource)
                        && bound.str_at(&["group"]) == Some(&trigger.resource.group)
                })
        };
        all.iter()
            .filter(binds)
            .map(|binding| Key::new(trigger.cluster, "", binding.name()))
            .collect()
    }

    fn plan(&self, key: &Key, view: &dyn View, context: &Context) -> Plan {
        let of = refs::bindings().object(&key.cluster, "", &key.name);
        let Seen::Found(seen) = view.get(&of) else {
            return Plan::done();
        };
        if seen.deletion_timestamp().is_none() || !seen.has_finalizer(finalizer::API_BINDING) {
            return Plan::done();
        }
        let bound: Vec<ResourceRef> = bound_resources(&seen)
            .into_iter()
            .filter(|bound| !is_adopted(bound, key, view))
            .map(|bound| {
                let member = |path: &[&str]| bound.str_at(path).unwrap_or_default();
                let resource = ResourceRef::new(member(&["group"]), member(&["resource"]));
                resource.with_identity(member(&["schema", "identityHash"]))
            })
            .collect();
        let (mut effects, mut remaining) = (Vec::new(), Vec::new());
        for resource in &bound {
            let objects = view.outline(resource, &key.cluster, "");
            if !objects.is_empty() {
                let name = resource.group_resource();
                remaining.push(format!("{name} has {} resource instances", objects.len()));
            }
            let room = BATCH_MAX.saturating_sub(effects.len());
            effects.extend(objects.into_iter().filter_map(Outline::delete).take(room));
        }
        let mut want = Value::clone(&seen);
        let kind = condition::BINDING_RESOURCE_DELETE_SUCCESS;
        if remaining.is_empty() {
            conditions::mark_true(&mut want, kind, &context.now);
            want.remove_finalizer(finalizer::API_BINDING);
            effects.extend(give_names_back(key, view));
            effects.push(Effect::Update { of, object: want });
            return Plan {
                effects,
                ..Plan::default()
            };
        }
        let mut requeue = None;
        if effects.is_empty() {
            requeue = until_told(context);
        } else if effects.len() >= BATCH_MAX {
            requeue = Some(Duration::ZERO);
        }
        if effects.is_empty() && requeue.is_none() {
            let held = finalizers(key, view, &bound);
            let (reason, text) = why_not(&remaining, &held);
            conditions::mark_false(&mut want, kind, reason, Severity::Error, &text, &context.now);
            if want != *seen {
                effects.push(Effect::Update { of, object: want });
            }
        }
        Plan {
            effects,
            requeue,
            ..Plan::default()
        }
    }
}

/// The finalizers of all objects of some resources.
fn finalizers(key: &Key, view: &dyn View, of: &[ResourceRef]) -> Vec<String> {
    let scope = Scope::One(key.cluster.clone());
    of.iter()
        .flat_map(|resource| view.list(resource, &scope, "", &LabelSelector::everything()))
        .flat_map(|object| object.finalizers().into_iter().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

fn why_not(remaining: &[String], held: &[String]) -> (&'static str, String) {
    if held.is_empty() {
        let text = format!("Some resources are remaining: {}", remaining.join(", "));
        return (condition::reason::SOME_RESOURCES_REMAIN, text);
    }
    let mut counts: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    for finalizer in held {
        *counts.entry(finalizer).or_default() += 1;
    }
    let texts: Vec<String> = counts
        .iter()
        .map(|(f, n)| format!("{f} in {n} resource instances"))
        .collect();
    let text = format!(
        "Some content in the workspace has finalizers remaining: {}",
        texts.join(", ")
    );
    (condition::reason::SOME_FINALIZERS_REMAIN, text)
}

/// Another binding of the cluster is to the same objects: its export has the resource by the same schema and identity. It
/// need not be bound yet: as long as this binding holds the names, it cannot be.
fn is_adopted(bound: &Value, key: &Key, view: &dyn View) -> bool {
    let all = view.list(
        &refs::bindings(),
        &Scope::One(key.cluster.clone()),
        "",
        &LabelSelector::everything(),
    );
    all.iter()
        .filter(|other| other.name() != key.name && other.deletion_timestamp().is_none())
        .any(|other| is_successor(other, bound, key, view))
}

fn is_successor(other: &Value, bound: &Value, key: &Key, view: &dyn View) -> bool {
    let reference = |member: &str| {
        let path = ["spec", "reference", "export", member];
        other.str_at(&path).unwrap_or_default().to_owned()
    };
    let Some(export) = find_export(view, &key.cluster, &reference("path"), &reference("name")) else {
        return false;
    };
    let hash = bound.str_at(&["schema", "identityHash"]);
    if hash.is_none() || export.str_at(&["status", "identityHash"]) != hash {
        return false;
    }
    let Some(home) = tenancy::types::cluster_of(&export) else {
        return false;
    };
    let resources = export.at(&["spec", "resources"]).and_then(Value::as_array);
    resources.into_iter().flatten().any(|resource| {
        let schema = resource.str_at(&["schema"]).unwrap_or_default();
        resource.str_at(&["group"]).unwrap_or_default() == bound.str_at(&["group"]).unwrap_or_default()
            && resource.str_at(&["name"]) == bound.str_at(&["resource"])
            && view
                .get(&refs::schemas().object(&home, "", schema))
                .found()
                .is_some_and(|schema| Some(schema.uid()) == bound.str_at(&["schema", "UID"]))
    })
}

fn give_names_back(key: &Key, view: &dyn View) -> Option<Effect> {
    let of = refs::logical_clusters().object(&key.cluster, "", keys::object::LOGICAL_CLUSTER);
    let lc = view.get(&of).found()?;
    if lc.deletion_timestamp().is_some() {
        // Nobody will ask for names any more; one write less for each binding of a dying workspace.
        return None;
    }
    let mut locks = ResourceLocks::read(&lc)?;
    let before = locks.0.len();
    locks.0.retain(|_, holder| holder.crd || holder.binding != key.name);
    if locks.0.len() == before {
        return None;
    }
    let mut lc = Value::clone(&lc);
    lc.set_annotation(annotation::RESOURCE_BINDINGS, &locks.to_text());
    Some(Effect::Update { of, object: lc })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{Literals, cluster, context};

    fn world() -> Literals {
        let mut world = Literals::default();
        let locks = r#"{"foos.g.io":{"c":true},"widgets.example.io":{"n":"b"}}"#;
        let lc = json!({"metadata": {"name": "cluster", "annotations": {annotation::RESOURCE_BINDINGS: locks}}});
        world.put(&refs::logical_clusters(), "abc", lc);
        let binding = json!({
            "metadata": {"name": "b", "finalizers": [finalizer::API_BINDING], "deletionTimestamp": "2023-11-14T22:13:20Z"},
            "status": {"boundResources": [{"group": "example.io", "resource": "widgets",
                "schema": {"name": "s", "UID": "u", "identityHash": "h"}, "storageVersions": ["v1"]}]}});
        world.put(&refs::bindings(), "abc", binding);
        let widgets = ResourceRef::new("example.io", "widgets").with_identity("h");
        world.put(&widgets, "abc", json!({"metadata": {"name": "w", "namespace": "n"}}));
        world
    }

    #[test]
    fn objects_go_then_names_then_the_binding() {
        let mut world = world();
        world.settle(&BindingDeletion, &Key::new(&cluster("abc"), "", "b"));
        assert!(
            !world
                .objects
                .keys()
                .any(|of| &*of.resource.resource == "widgets" || of.name == "b")
        );
        let lc = world.object(&refs::logical_clusters(), "abc", "", "cluster").unwrap();
        assert_eq!(
            lc.annotation(annotation::RESOURCE_BINDINGS),
            Some(r#"{"foos.g.io":{"c":true}}"#)
        );
    }

    #[test]
    fn held_objects_are_named() {
        let mut world = world();
        let widgets = ResourceRef::new("example.io", "widgets").with_identity("h");
        let held = json!({"metadata": {"name": "w", "namespace": "n", "finalizers": ["x.io/keep"]}});
        world.put(&widgets, "abc", held);
        world.settle(&BindingDeletion, &Key::new(&cluster("abc"), "", "b"));
        let binding = world.object(&refs::bindings(), "abc", "", "b").unwrap();
        let condition = conditions::get(binding, condition::BINDING_RESOURCE_DELETE_SUCCESS).unwrap();
        assert_eq!(condition.reason, "SomeFinalizersRemain");
    }

    /// A provider with an export of the identity `h` that has the schema of this uid, and a second binding to it.
    fn with_successor(uid: &str) -> Literals {
        let mut world = world();
        let export = json!({"metadata": {"name": "e"}, "status": {"identityHash": "h"},
            "spec": {"resources": [{"group": "example.io", "name": "widgets", "schema": "s"}]}});
        world.put(&refs::exports(), "prov", export);
        world.put(&refs::schemas(), "prov", json!({"metadata": {"name": "s", "uid": uid}}));
        // It holds no names, so nothing is bound.
        let other = json!({"metadata": {"name": "other"},
            "spec": {"reference": {"export": {"path": "prov", "name": "e"}}}});
        world.put(&refs::bindings(), "abc", other);
        world
    }

    #[test]
    fn objects_that_another_binding_is_to_stay() {
        let deletes = |world: &Literals| {
            let plan = BindingDeletion.plan(&Key::new(&cluster("abc"), "", "b"), world, &context());
            plan.effects.iter().any(|e| matches!(e, Effect::Delete { .. }))
        };
        assert!(!deletes(&with_successor("u")));
        assert!(deletes(&with_successor("another schema")));
    }
}
