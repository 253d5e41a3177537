//! kcp-permissionclaimlabel: puts claim labels on objects that were there before a claim, and takes them off when it ends
//! (kcp's facts, E.7). New writes are labelled by admission; here objects are only touched so that admission does the work.

use api::keys::label;
use machinery::object::ObjectExt;
use machinery::selector::LabelSelector;
use permit::Scope;
use plan::{Context, Controller, Effect, Key, Labelled, Plan, ResourceRef, Trigger, View};
use serde_json::Value;
use tenancy::claims::{labels_for, labels_for_binding};

use crate::refs;

const BATCH_MAX: usize = 500;

pub struct ClaimLabels;

impl Controller for ClaimLabels {
    fn name(&self) -> &'static str {
        "kcp-permissionclaimlabel"
    }

    fn watches(&self) -> Vec<ResourceRef> {
        vec![refs::bindings()]
    }

    /// Clusters whose claims changed, and those where it has become known whose they are.
    fn keys(&self, trigger: &Trigger<'_>, _: &dyn View) -> Vec<Key> {
        let claims = |binding: Option<&dyn Labelled>| {
            binding.map(Labelled::parse).map(|b| {
                let in_force: Vec<Value> = tenancy::claims::in_force(&b).into_iter().cloned().collect();
                let of = b.at(&["status", "apiExportClusterName"]).cloned();
                (in_force, of, b.deletion_timestamp().is_some())
            })
        };
        let (old, new) = (claims(trigger.old), claims(trigger.new));
        let none = |side: &Option<(Vec<Value>, _, _)>| side.as_ref().is_none_or(|(claims, ..)| claims.is_empty());
        if old == new || (none(&old) && none(&new)) {
            return Vec::new();
        }
        vec![Key::of_cluster(trigger.cluster)]
    }

    fn plan(&self, key: &Key, view: &dyn View, context: &Context) -> Plan {
        let scope = Scope::One(key.cluster.clone());
        let all = LabelSelector::everything();
        let bindings = view.list(&refs::bindings(), &scope, "", &all);
        let mut effects = Vec::new();
        let mut contents = view.contents(&key.cluster);
        // Begun elsewhere each time: a batch of objects that cannot be labelled does not keep the other resources from it.
        let begin = usize::from(context.seed[0]) % contents.len().max(1);
        contents.rotate_left(begin);
        for (resource, _) in contents {
            if effects.len() >= BATCH_MAX {
                continue;
            }
            let is_binding = resource == refs::bindings();
            for object in view.list(&resource, &scope, "", &all) {
                let mut wanted = match is_binding {
                    true => labels_for_binding(&bindings, &object),
                    false => labels_for(&bindings, &resource.group, &resource.resource, &object),
                };
                wanted.sort();
                if carried(&object) != wanted {
                    effects.push(Effect::Touch {
                        of: resource.object(&key.cluster, object.namespace(), object.name()),
                    });
                }
            }
        }
        let more = effects.len() >= BATCH_MAX;
        Plan {
            effects,
            requeue: more.then_some(std::time::Duration::ZERO),
            ..Plan::default()
        }
    }
}

pub(crate) fn carried(object: &Value) -> Vec<(String, String)> {
    let labels = object.at(&["metadata", "labels"]).and_then(Value::as_object);
    labels
        .into_iter()
        .flatten()
        .filter(|(key, _)| key.starts_with(label::CLAIM_PREFIX))
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{Event, Literals, cluster, context};

    #[test]
    fn only_objects_whose_label_is_wrong_are_touched() {
        let mut world = Literals::default();
        let claim = json!({"group": "", "resource": "configmaps", "verbs": ["*"], "state": "Accepted", "selector": {"matchAll": true}});
        let binding = json!({"metadata": {"name": "b"},
            "spec": {"reference": {"export": {"name": "e"}}, "permissionClaims": [claim]},
            "status": {"apiExportClusterName": "prov", "exportPermissionClaims": [{"group": "", "resource": "configmaps"}]}});
        world.put(&refs::bindings(), "abc", binding);
        world.put(
            &refs::config_maps(),
            "abc",
            json!({"metadata": {"name": "bare", "namespace": "n"}}),
        );
        let (key, value) = (
            api::hashes::claim_label_key("prov", "e"),
            api::hashes::claim_label_value("", "configmaps", ""),
        );
        let labelled = json!({"metadata": {"name": "right", "namespace": "n", "labels": {key.clone(): value}}});
        world.put(&refs::config_maps(), "abc", labelled);
        let leftover = json!({"metadata": {"name": "s", "namespace": "n", "labels": {key: "x"}}});
        world.put(&refs::secrets(), "abc", leftover);
        let plan = ClaimLabels.plan(&Key::of_cluster(&cluster("abc")), &world, &context());
        let mut touched: Vec<&str> = plan
            .effects
            .iter()
            .map(|e| {
                if let Effect::Touch { of } = e {
                    of.name.as_str()
                } else {
                    ""
                }
            })
            .collect();
        touched.sort_unstable();
        assert_eq!(touched, ["bare", "s"]);
    }

    /// Of objects that cannot be labelled there may be as many as a batch holds.
    #[test]
    fn every_resource_has_its_turn_before_a_full_batch_of_another() {
        let mut world = Literals::default();
        let labels = json!({api::hashes::claim_label_key("prov", "e"): "x"});
        for index in 0..BATCH_MAX {
            let stuck = json!({"metadata": {"name": format!("stuck{index}"), "namespace": "n", "labels": labels}});
            world.put(&refs::config_maps(), "abc", stuck);
        }
        let other = json!({"metadata": {"name": "other", "namespace": "n", "labels": labels}});
        world.put(&refs::secrets(), "abc", other);
        let has_turn = |seed: u8| {
            let context = Context {
                seed: [seed; 32],
                ..context()
            };
            let plan = ClaimLabels.plan(&Key::of_cluster(&cluster("abc")), &world, &context);
            let is_other = |effect: &Effect| matches!(effect, Effect::Touch { of } if of.name == "other");
            plan.effects.iter().any(is_other)
        };
        assert!((0..10).any(has_turn));
    }

    #[test]
    fn a_binding_whose_export_is_found_later_is_looked_at_again() {
        let binding = |status: Value| {
            let claim = json!({"group": "", "resource": "configmaps", "state": "Accepted"});
            Event(json!({"metadata": {"name": "b"}, "spec": {"permissionClaims": [claim]}, "status": status}))
        };
        let exported = json!([{"group": "", "resource": "configmaps"}]);
        // The export had no identity yet.
        let old = binding(json!({"exportPermissionClaims": exported}));
        let new = binding(json!({"exportPermissionClaims": exported, "apiExportClusterName": "prov"}));
        let (resource, of) = (refs::bindings(), cluster("abc"));
        let keys = |old: &Event, new: &Event| {
            let trigger = Trigger {
                resource: &resource,
                cluster: &of,
                namespace: "",
                name: "b",
                old: Some(old),
                new: Some(new),
            };
            ClaimLabels.keys(&trigger, &Literals::default())
        };
        assert_eq!(keys(&old, &new), [Key::of_cluster(&of)]);
        assert!(keys(&new, &new).is_empty());
    }
}
