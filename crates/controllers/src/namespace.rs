//! The namespace controller: empties a namespace that is being deleted, then finalizes it (Kubernetes' `namespace`).

use std::time::Duration;

use machinery::object::ObjectExt;
use plan::{Context, Controller, Effect, Key, Outline, Plan, ResourceRef, Seen, Trigger, View};
use serde_json::{Value, json};

use crate::refs;

/// Objects deleted in one run; the next run goes on.
const BATCH_MAX: usize = 500;

pub struct Namespaces;

impl Controller for Namespaces {
    fn name(&self) -> &'static str {
        "namespace"
    }

    fn watches(&self) -> Vec<ResourceRef> {
        vec![refs::everything()]
    }

    /// The namespace itself while it is being deleted, and deletions in it.
    fn keys(&self, trigger: &Trigger<'_>, _: &dyn View) -> Vec<Key> {
        if *trigger.resource == refs::namespaces() {
            let dying = trigger.new.is_some_and(|new| new.is_terminating());
            return if dying {
                vec![Key::new(trigger.cluster, "", trigger.name)]
            } else {
                Vec::new()
            };
        }
        if trigger.namespace.is_empty() || trigger.new.is_some() {
            return Vec::new();
        }
        vec![Key::new(trigger.cluster, "", trigger.namespace)]
    }

    fn plan(&self, key: &Key, view: &dyn View, _: &Context) -> Plan {
        let of = refs::namespaces().object(&key.cluster, "", &key.name);
        let Seen::Found(seen) = view.get(&of) else {
            return Plan::done();
        };
        if seen.deletion_timestamp().is_none() {
            return Plan::done();
        }
        let (mut effects, mut left) = (Vec::new(), 0usize);
        for (resource, _) in view.contents(&key.cluster) {
            let objects = view.outline(&resource, &key.cluster, &key.name);
            left += objects.len();
            let room = BATCH_MAX.saturating_sub(effects.len());
            effects.extend(objects.into_iter().filter_map(Outline::delete).take(room));
        }
        let requeue = (effects.len() >= BATCH_MAX).then_some(Duration::ZERO);
        let mut want = Value::clone(&seen);
        want.set_at(&["status", "phase"], json!("Terminating"));
        if left == 0 {
            let finalizers = want
                .at(&["spec", "finalizers"])
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            let kept: Vec<Value> = finalizers
                .into_iter()
                .filter(|f| f.as_str() != Some("kubernetes"))
                .collect();
            want.set_at(&["spec", "finalizers"], Value::Array(kept));
        }
        if want != *seen {
            effects.push(Effect::Update { of, object: want });
        }
        Plan {
            effects,
            requeue,
            ..Plan::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Literals, cluster, context};

    #[test]
    fn content_goes_before_the_namespace() {
        let mut world = Literals::default();
        let namespace = json!({"metadata": {"name": "n", "deletionTimestamp": "2023-11-14T22:13:20Z"},
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Terminating"}});
        world.put(&refs::namespaces(), "abc", namespace);
        world.put(
            &refs::config_maps(),
            "abc",
            json!({"metadata": {"name": "c", "namespace": "n"}}),
        );
        world.put(
            &refs::config_maps(),
            "abc",
            json!({"metadata": {"name": "c", "namespace": "other"}}),
        );
        let key = Key::new(&cluster("abc"), "", "n");
        let plan = Namespaces.plan(&key, &world, &context());
        assert!(matches!(plan.effects.as_slice(), [Effect::Delete { of, .. }] if of.namespace == "n"));
        world.carry_out(&plan.effects);
        let plan = Namespaces.plan(&key, &world, &context());
        let [Effect::Update { object, .. }] = plan.effects.as_slice() else {
            panic!("{plan:?}")
        };
        assert_eq!(object.at(&["spec", "finalizers"]).unwrap(), &json!([]));
    }
}
