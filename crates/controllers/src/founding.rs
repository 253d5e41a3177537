//! What a fresh logical cluster begins with, planned at once (kcp's facts, D.6, D.7).
//!
//! The owner's rights, the namespaces of universal workspaces with what is in each, and the default bindings, bound: all of
//! it is known when the LogicalCluster appears, so one plan makes it and then writes the LogicalCluster once, without the
//! initializers that this settles. Until that last write the cluster counts as not founded and the plan runs again, so a
//! crash in between leaves nothing out. What cannot be settled here keeps its initializer, whose controller then takes over
//! ([`crate::universal`], [`crate::default_binding`]).

use api::keys::{annotation, initializer, phase::workspace as phase};
use api::types::ResourceLocks;
use machinery::object::ObjectExt;
use plan::{Context, Effect, Key, View};
use serde_json::Value;

use crate::binding::initial_locks;
use crate::universal::{NAMESPACES, missing_namespace, without_initializer};
use crate::workspace::names;
use crate::{ShardInfo, default_binding, namespace_content, owner};

/// Nobody has looked at it yet.
pub(crate) fn is_unfounded(lc: &Value) -> bool {
    let phase_now = lc.str_at(&["status", "phase"]).unwrap_or_default();
    matches!(phase_now, "" | phase::SCHEDULING) && lc.deletion_timestamp().is_none()
}

/// Everything to be made before `lc`, whose status has its initializers already, is written.
pub(crate) fn found(key: &Key, lc: &mut Value, shard: &ShardInfo, view: &dyn View, context: &Context) -> Vec<Effect> {
    let waits_for = |lc: &Value, initializer: &str| names(lc.at(&["status", "initializers"])).contains(&initializer);
    let mut effects: Vec<Effect> = owner::admin_binding(key, lc, view).into_iter().collect();
    let mut bindings = Vec::new();
    if waits_for(lc, initializer::API_BINDINGS)
        && let Some(bound) = default_binding::bound_at_once(key, lc, view, context)
    {
        bindings = bound;
        settle(lc, initializer::API_BINDINGS);
    }
    let mut bindings = bindings.into_iter();
    if waits_for(lc, initializer::UNIVERSAL) {
        // Neighbours share a transaction unless they are of one resource, or one is the other's namespace.
        for name in NAMESPACES {
            effects.extend(missing_namespace(key, name, view));
            effects.extend(bindings.next());
            effects.extend(namespace_content::content(shard, &key.cluster, name, view));
        }
        settle(lc, initializer::UNIVERSAL);
    }
    effects.extend(bindings);
    // Bindings wait for the map (kcp's facts, E.5); whatever holds names already is in it.
    if ResourceLocks::read(lc).is_none() {
        let locks = initial_locks(view, &key.cluster);
        lc.set_annotation(annotation::RESOURCE_BINDINGS, &locks.to_text());
    }
    effects
}

fn settle(lc: &mut Value, initializer: &str) {
    *lc = without_initializer(std::mem::take(lc), initializer);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use plan::Controller;
    use serde_json::json;

    use super::*;
    use crate::logical_cluster::LogicalClusters;
    use crate::refs;
    use crate::testing::{Literals, cluster, context};

    fn controller() -> LogicalClusters {
        LogicalClusters::new(Arc::new(ShardInfo {
            name: "root".to_owned(),
            external_url: "https://front".to_owned(),
            virtual_workspace_url: String::new(),
            ca_pem: "pem".to_owned(),
        }))
    }

    fn schema(name: &str, group: &str, plural: &str) -> Value {
        json!({"metadata": {"name": name}, "spec": {"group": group, "scope": "Cluster",
            "names": {"plural": plural, "singular": plural, "kind": plural, "listKind": format!("{plural}List")},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"type": "object"}}]}})
    }

    fn world() -> Literals {
        let mut world = Literals::default();
        for (export, group) in [
            ("tenancy.kcp.io", "tenancy.kcp.io"),
            ("topology.kcp.io", "topology.kcp.io"),
        ] {
            let schema_name = format!("v1.things.{group}");
            world.put(&refs::schemas(), "root", schema(&schema_name, group, "things"));
            let object = json!({"metadata": {"name": export, "annotations": {"kcp.io/path": "root"}},
                "spec": {"resources": [{"name": "things", "group": group, "schema": schema_name}]},
                "status": {"identityHash": "abc"}});
            world.put(&refs::exports(), "root", object);
        }
        let universal = json!({"metadata": {"name": "universal", "annotations": {"kcp.io/path": "root"}},
            "spec": {"initializer": true, "defaultAPIBindings": [
                {"path": "root", "export": "tenancy.kcp.io"}, {"path": "root", "export": "topology.kcp.io"}]}});
        world.put(&refs::workspace_types(), "root", universal);
        let lc = json!({"metadata": {"name": "cluster", "annotations": {
                "internal.tenancy.kcp.io/type": "root:universal",
                "experimental.tenancy.kcp.io/owner": "{\"username\":\"alice\"}"}},
            "spec": {"initializers": ["root:universal", "system:apibindings"]}});
        world.put(&refs::logical_clusters(), "abc", lc);
        world
    }

    fn key() -> Key {
        Key::of_cluster(&cluster("abc"))
    }

    /// Names of the objects in the cluster, by resource.
    fn content(world: &Literals) -> Vec<String> {
        let here = world.objects.keys().filter(|of| of.cluster == cluster("abc"));
        here.map(|of| format!("{}/{}/{}", of.resource.resource, of.namespace, of.name))
            .collect()
    }

    #[test]
    fn a_universal_cluster_is_ready_in_one_plan() {
        let mut world = world();
        let plan = controller().plan(&key(), &world, &context());
        world.carry_out(&plan.effects);
        assert_eq!(content(&world).len(), 10, "{:?}", content(&world));
        let lc = world.object(&refs::logical_clusters(), "abc", "", "cluster").unwrap();
        assert_eq!(lc.str_at(&["status", "phase"]), Some("Ready"));
        let locks = lc.annotation("internal.apis.kcp.io/resource-bindings").unwrap();
        assert!(locks.contains("things.tenancy.kcp.io") && locks.contains("things.topology.kcp.io"));
        let bindings = world.objects.iter().filter(|(of, _)| of.resource == refs::bindings());
        for (of, binding) in bindings {
            assert_eq!(binding.str_at(&["status", "phase"]), Some("Bound"));
            let again = crate::binding::Bindings.plan(&Key::new(&of.cluster, "", &of.name), &world, &context());
            assert_eq!(again, plan::Plan::done(), "its controller has nothing to add");
        }
    }

    #[test]
    fn a_crash_between_any_two_effects_leaves_nothing_out() {
        let mut whole = world();
        whole.settle(&controller(), &key());
        let effects = controller().plan(&key(), &world(), &context()).effects;
        for done in 0..effects.len() {
            let mut world = world();
            world.carry_out(&effects[..done]);
            world.settle(&controller(), &key());
            assert_eq!(content(&world), content(&whole), "after {done} effects");
            let lc = world.object(&refs::logical_clusters(), "abc", "", "cluster").unwrap();
            assert_eq!(lc.str_at(&["status", "phase"]), Some("Ready"), "after {done} effects");
        }
    }

    #[test]
    fn what_cannot_be_settled_keeps_its_initializer() {
        let mut world = world();
        world.objects.retain(|of, _| of.name != "topology.kcp.io");
        world.settle(&controller(), &key());
        let lc = world.object(&refs::logical_clusters(), "abc", "", "cluster").unwrap();
        assert_eq!(lc.at(&["status", "initializers"]), Some(&json!(["system:apibindings"])));
        assert_eq!(lc.str_at(&["status", "phase"]), Some("Initializing"));
        let locks = lc.annotation("internal.apis.kcp.io/resource-bindings");
        assert_eq!(locks, Some("{}"), "no name is taken for nothing");
        assert!(world.object(&refs::namespaces(), "abc", "", "default").is_some());
    }

    #[test]
    fn a_founded_cluster_is_not_founded_again() {
        let mut world = world();
        world.settle(&controller(), &key());
        world
            .objects
            .retain(|of, _| of.resource != refs::cluster_role_bindings());
        world.settle(&controller(), &key());
        let bindings = refs::cluster_role_bindings();
        assert!(
            world.object(&bindings, "abc", "", "workspace-admin").is_none(),
            "who takes it away means it"
        );
    }
}
