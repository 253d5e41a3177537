//! kcp-logicalcluster: the phases of a LogicalCluster, the labels by which views find it, its URL (kcp's facts, D.5).

use std::sync::Arc;

use api::keys::{annotation, condition, finalizer, label, object::LOGICAL_CLUSTER, phase::workspace as phase};
use api::{conditions, conditions::Severity, hashes};
use machinery::object::ObjectExt;
use plan::{Context, Controller, Effect, Key, Plan, ResourceRef, Seen, Trigger, View};
use serde_json::{Value, json};

use crate::workspace::{names, reduce_owner};
use crate::{ShardInfo, founding, refs};

pub struct LogicalClusters {
    shard: Arc<ShardInfo>,
}

// === impl LogicalClusters ===

impl LogicalClusters {
    pub fn new(shard: Arc<ShardInfo>) -> Self {
        Self { shard }
    }
}

impl Controller for LogicalClusters {
    fn name(&self) -> &'static str {
        "kcp-logicalcluster"
    }

    fn watches(&self) -> Vec<ResourceRef> {
        vec![refs::logical_clusters()]
    }

    fn keys(&self, trigger: &Trigger<'_>, _: &dyn View) -> Vec<Key> {
        trigger
            .new
            .map(|_| Key::of_cluster(trigger.cluster))
            .into_iter()
            .collect()
    }

    fn plan(&self, key: &Key, view: &dyn View, context: &Context) -> Plan {
        let of = refs::logical_clusters().object(&key.cluster, "", LOGICAL_CLUSTER);
        let Seen::Found(seen) = view.get(&of) else {
            return Plan::done();
        };
        if is_left_to_deletion(&seen) {
            return Plan::done();
        }
        let mut want = Value::clone(&seen);
        if want.annotation(annotation::SHARD) != Some(&self.shard.name) {
            want.set_annotation(annotation::SHARD, &self.shard.name);
        }
        let mut effects = Vec::new();
        if founding::is_unfounded(&want) {
            begin(&mut want);
            effects = founding::found(key, &mut want, &self.shard, view, context);
        }
        move_phase(&mut want, &context.now);
        let url = format!(
            "{}/clusters/{}",
            self.shard.external_url.trim_end_matches('/'),
            key.cluster
        );
        want.set_at(&["status", "URL"], json!(url));
        let phase_now = want.str_at(&["status", "phase"]).unwrap_or_default().to_owned();
        want.set_label(label::PHASE, &phase_now);
        set_lifecycle_labels(&mut want);
        if names(want.at(&["status", "terminators"])).is_empty() {
            want.remove_finalizer(finalizer::HAS_TERMINATORS);
        } else if want.deletion_timestamp().is_none() {
            want.add_finalizer(finalizer::HAS_TERMINATORS);
        }
        if phase_now == phase::READY {
            reduce_owner(&mut want);
        }
        if want == *seen {
            return Plan::done();
        }
        effects.push(Effect::Update { of, object: want });
        Plan {
            effects,
            ..Plan::default()
        }
    }
}

/// Being deleted, and nobody is to do anything before its content goes: from here on it is the deletion's alone, which most
/// often needs a single look, and says that it is under way when it takes longer.
pub(crate) fn is_left_to_deletion(seen: &Value) -> bool {
    seen.deletion_timestamp().is_some()
        && seen.has_finalizer(finalizer::LOGICAL_CLUSTER_DELETION)
        && !seen.has_finalizer(finalizer::HAS_TERMINATORS)
        && names(seen.at(&["status", "terminators"])).is_empty()
        && !founding::is_unfounded(seen)
}

/// It says that it is being deleted.
pub(crate) fn is_closing(seen: &Value) -> bool {
    matches!(
        seen.str_at(&["status", "phase"]),
        Some(phase::DELETING | phase::TERMINATING)
    )
}

/// Says so.
pub(crate) fn close(want: &mut Value) {
    want.set_at(&["status", "phase"], json!(phase::DELETING));
    want.set_label(label::PHASE, phase::DELETING);
}

/// The status starts with what the spec says.
fn begin(want: &mut Value) {
    want.set_at(&["status", "phase"], json!(phase::INITIALIZING));
    for member in ["initializers", "terminators"] {
        if let Some(list) = want.at(&["spec", member]).cloned() {
            want.set_at(&["status", member], list);
        }
    }
}

fn move_phase(want: &mut Value, now: &str) {
    let kind = condition::WORKSPACE_INITIALIZED;
    let phase_now = want.str_at(&["status", "phase"]).unwrap_or_default().to_owned();
    if want.deletion_timestamp().is_some() {
        let terminating = !names(want.at(&["status", "terminators"])).is_empty();
        want.set_at(
            &["status", "phase"],
            json!(if terminating {
                phase::TERMINATING
            } else {
                phase::DELETING
            }),
        );
        return;
    }
    match phase_now.as_str() {
        phase::INITIALIZING => initialize(want, kind, now),
        phase::READY if is_inactive(want) => want.set_at(&["status", "phase"], json!(phase::INACTIVE)),
        phase::INACTIVE if !is_inactive(want) => want.set_at(&["status", "phase"], json!(phase::READY)),
        _ => {}
    }
}

fn initialize(want: &mut Value, kind: &str, now: &str) {
    let left: Vec<String> = names(want.at(&["status", "initializers"]))
        .into_iter()
        .map(str::to_owned)
        .collect();
    if left.is_empty() {
        want.remove_at(&["status", "initializers"]);
        want.set_at(&["status", "phase"], json!(phase::READY));
        conditions::mark_true(want, kind, now);
        return;
    }
    let text = format!("Initializers still exist: [{}]", left.join(" "));
    conditions::mark_false(
        want,
        kind,
        condition::reason::INITIALIZER_EXISTS,
        Severity::Info,
        &text,
        now,
    );
}

fn is_inactive(object: &Value) -> bool {
    [annotation::INACTIVE, annotation::INACTIVE_LEGACY]
        .iter()
        .any(|key| object.annotation(key) == Some("true"))
}

/// One label a remaining initializer and terminator: the lifecycle views select by them.
fn set_lifecycle_labels(want: &mut Value) {
    let initializers = names(want.at(&["status", "initializers"]))
        .into_iter()
        .map(hashes::initializer_label);
    let terminators = names(want.at(&["status", "terminators"]))
        .into_iter()
        .map(hashes::terminator_label);
    let wanted: Vec<(String, String)> = initializers.chain(terminators).map(|l| (l.key, l.value)).collect();
    let is_lifecycle =
        |key: &str| key.starts_with(label::INITIALIZER_PREFIX) || key.starts_with(label::TERMINATOR_PREFIX);
    let carried: Vec<String> = want
        .at(&["metadata", "labels"])
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, _)| key.clone())
        .filter(|key| is_lifecycle(key))
        .collect();
    for key in carried.iter().filter(|key| !wanted.iter().any(|(k, _)| k == *key)) {
        want.remove_label(key);
    }
    for (key, value) in &wanted {
        want.set_label(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Literals, cluster};

    fn controller() -> LogicalClusters {
        LogicalClusters::new(Arc::new(ShardInfo {
            name: "root".to_owned(),
            external_url: "https://front".to_owned(),
            virtual_workspace_url: String::new(),
            ca_pem: String::new(),
        }))
    }

    fn world(spec: Value) -> Literals {
        let mut world = Literals::default();
        world.put(
            &refs::logical_clusters(),
            "abc",
            json!({"metadata": {"name": "cluster"}, "spec": spec}),
        );
        world
    }

    fn object(world: &Literals) -> Value {
        world
            .object(&refs::logical_clusters(), "abc", "", "cluster")
            .unwrap()
            .clone()
    }

    #[test]
    fn initializers_hold_it_and_label_it() {
        let mut world = world(json!({"initializers": ["root:universal", "root:someones", "system:apibindings"]}));
        let key = Key::of_cluster(&cluster("abc"));
        world.settle(&controller(), &key);
        let seen = object(&world);
        assert_eq!(seen.str_at(&["status", "phase"]), Some("Initializing"));
        assert_eq!(seen.str_at(&["status", "URL"]), Some("https://front/clusters/abc"));
        let left = json!(["root:someones"]);
        assert_eq!(seen.at(&["status", "initializers"]), Some(&left), "its own are settled");
        assert!(seen.label(&hashes::initializer_label("root:someones").key).is_some());
        assert!(seen.label(&hashes::initializer_label("root:universal").key).is_none());

        let mut released = seen;
        released.remove_at(&["status", "initializers"]);
        world.put(&refs::logical_clusters(), "abc", released);
        world.settle(&controller(), &key);
        let seen = object(&world);
        assert_eq!(seen.str_at(&["status", "phase"]), Some("Ready"));
        assert_eq!(
            seen.at(&["metadata", "labels"]).unwrap(),
            &json!({"tenancy.kcp.io/phase": "Ready"})
        );
    }

    #[test]
    fn a_dying_cluster_is_left_to_its_deletion_once_its_terminators_are_through() {
        let mut world = world(json!({"terminators": ["root:someone"]}));
        let key = Key::of_cluster(&cluster("abc"));
        world.settle(&controller(), &key);
        let mut dying = object(&world);
        dying.set_at(&["metadata", "deletionTimestamp"], json!("2023-11-14T22:13:20Z"));
        dying.add_finalizer(finalizer::LOGICAL_CLUSTER_DELETION);
        world.put(&refs::logical_clusters(), "abc", dying);
        world.settle(&controller(), &key);
        assert_eq!(object(&world).str_at(&["status", "phase"]), Some("Terminating"));

        let mut through = object(&world);
        through.remove_at(&["status", "terminators"]);
        world.put(&refs::logical_clusters(), "abc", through);
        world.settle(&controller(), &key);
        let seen = object(&world);
        assert_eq!(seen.str_at(&["status", "phase"]), Some("Deleting"));
        assert_eq!(seen.finalizers(), [finalizer::LOGICAL_CLUSTER_DELETION]);
        assert!(is_left_to_deletion(&seen));
    }
}
