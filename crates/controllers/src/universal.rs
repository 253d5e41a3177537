//! kcp-workspacetypes-bootstrap-universal: owner of the initializer `root:universal`, makes the namespaces that every
//! workspace has (kcp's facts, D.6).

use api::keys::{initializer, namespace, object};
use machinery::object::ObjectExt;
use plan::{Context, Controller, Effect, Key, Plan, ResourceRef, Seen, Trigger, View};
use serde_json::{Value, json};

use crate::refs;
use crate::workspace::names;

pub struct Universal;

impl Controller for Universal {
    fn name(&self) -> &'static str {
        "kcp-workspacetypes-bootstrap-universal"
    }

    fn watches(&self) -> Vec<ResourceRef> {
        vec![refs::logical_clusters()]
    }

    fn keys(&self, trigger: &Trigger<'_>, _: &dyn View) -> Vec<Key> {
        let label = api::hashes::initializer_label(initializer::UNIVERSAL);
        let waits = trigger.new.is_some_and(|new| new.label(&label.key).is_some());
        if waits {
            vec![Key::of_cluster(trigger.cluster)]
        } else {
            Vec::new()
        }
    }

    fn plan(&self, key: &Key, view: &dyn View, _: &Context) -> Plan {
        let of = refs::logical_clusters().object(&key.cluster, "", object::LOGICAL_CLUSTER);
        let Seen::Found(lc) = view.get(&of) else {
            return Plan::done();
        };
        if lc.deletion_timestamp().is_some() || !has_initializer(&lc, initializer::UNIVERSAL) {
            return Plan::done();
        }
        let missing = NAMESPACES.iter().filter_map(|name| missing_namespace(key, name, view));
        let mut effects: Vec<Effect> = missing.collect();
        effects.push(Effect::Update {
            of,
            object: without_initializer(Value::clone(&lc), initializer::UNIVERSAL),
        });
        Plan {
            effects,
            ..Plan::default()
        }
    }
}

/// What every universal workspace has.
pub(crate) const NAMESPACES: [&str; 2] = [namespace::DEFAULT, namespace::KUBE_SYSTEM];

pub(crate) fn missing_namespace(key: &Key, name: &str, view: &dyn View) -> Option<Effect> {
    let of = refs::namespaces().object(&key.cluster, "", name);
    view.is_absent(&of).then(|| Effect::Create {
        of,
        object: api::types::namespace(name),
        adopt: true,
    })
}

pub(crate) fn has_initializer(lc: &Value, which: &str) -> bool {
    lc.str_at(&["status", "phase"]) == Some("Initializing")
        && names(lc.at(&["status", "initializers"])).contains(&which)
}

pub(crate) fn without_initializer(mut lc: Value, which: &str) -> Value {
    let left: Vec<&str> = names(lc.at(&["status", "initializers"]))
        .into_iter()
        .filter(|i| *i != which)
        .collect();
    let left = json!(left);
    lc.set_at(&["status", "initializers"], left);
    lc
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Literals, cluster};

    #[test]
    fn namespaces_first_then_the_initializer_goes() {
        let mut world = Literals::default();
        let lc = json!({"metadata": {"name": "cluster"}, "status": {"phase": "Initializing", "initializers": ["root:universal", "x:y"]}});
        world.put(&refs::logical_clusters(), "abc", lc);
        world.settle(&Universal, &Key::of_cluster(&cluster("abc")));
        assert!(world.object(&refs::namespaces(), "abc", "", "kube-system").is_some());
        let lc = world.object(&refs::logical_clusters(), "abc", "", "cluster").unwrap();
        assert_eq!(lc.at(&["status", "initializers"]).unwrap(), &json!(["x:y"]));
    }
}
