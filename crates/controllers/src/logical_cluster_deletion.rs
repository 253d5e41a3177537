//! kcp-logicalcluster-deletion: empties a logical cluster that is being deleted, then lets it go (kcp's facts, D.9).
//!
//! In three steps, so that whoever still works there keeps its rights to the end: content, then bindings (whose own
//! finalizer deletes the bound objects), then RBAC. Once the LogicalCluster object is gone its fence is closed, so what a
//! late writer managed to store before that is swept up without regard to finalizers.

use api::keys::{condition, finalizer, object::LOGICAL_CLUSTER};
use api::{conditions, conditions::Severity};
use machinery::object::ObjectExt;
use machinery::selector::LabelSelector;
use permit::Scope;
use plan::{Context, Controller, Effect, Key, Outline, Plan, ResourceRef, Seen, Trigger, View};
use serde_json::Value;

use crate::{refs, until_told};

/// Objects deleted in one run; the next run goes on.
const BATCH_MAX: usize = 500;

pub struct Deletion;

impl Controller for Deletion {
    fn name(&self) -> &'static str {
        "kcp-logicalcluster-deletion"
    }

    fn watches(&self) -> Vec<ResourceRef> {
        vec![refs::everything()]
    }

    /// Deletions in clusters that are being deleted, and the LogicalCluster itself.
    fn keys(&self, trigger: &Trigger<'_>, view: &dyn View) -> Vec<Key> {
        let key = || vec![Key::of_cluster(trigger.cluster)];
        if *trigger.resource == refs::logical_clusters() {
            let dying = trigger.new.is_none_or(|new| new.is_terminating());
            return if dying { key() } else { Vec::new() };
        }
        if trigger.new.is_some() || trigger.cluster.is_system() {
            return Vec::new();
        }
        let of = refs::logical_clusters().object(trigger.cluster, "", LOGICAL_CLUSTER);
        match view.get(&of) {
            Seen::Found(lc) if lc.deletion_timestamp().is_none() => Vec::new(),
            _ => key(),
        }
    }

    fn plan(&self, key: &Key, view: &dyn View, context: &Context) -> Plan {
        if key.cluster.is_system() {
            return Plan::done();
        }
        let of = refs::logical_clusters().object(&key.cluster, "", LOGICAL_CLUSTER);
        let seen = match view.get(&of) {
            Seen::Unknown => return Plan::done(),
            Seen::Absent => return sweep(key, view),
            Seen::Found(object) => object,
        };
        if seen.deletion_timestamp().is_none() || !seen.has_finalizer(finalizer::LOGICAL_CLUSTER_DELETION) {
            return Plan::done();
        }
        let contents = view.contents(&key.cluster);
        let left: Vec<&(ResourceRef, usize)> = contents
            .iter()
            .filter(|(r, _)| *r != refs::logical_clusters())
            .collect();
        let mut want = Value::clone(&seen);
        if left.is_empty() {
            conditions::mark_true(&mut want, condition::WORKSPACE_CONTENT_DELETED, &context.now);
            want.remove_finalizer(finalizer::LOGICAL_CLUSTER_DELETION);
            return Plan::effect(Effect::Update { of, object: want });
        }
        let mut effects = delete_next(key, view, &left);
        let reason = condition::reason::SOME_RESOURCES_REMAIN;
        // The text names counts: written when nothing else can be done, or every deletion would write it anew.
        let mut requeue = None;
        if effects.is_empty() {
            requeue = until_told(context);
        }
        if effects.is_empty() && requeue.is_none() {
            let text = remaining_text(key, view, &left);
            let kind = condition::WORKSPACE_CONTENT_DELETED;
            conditions::mark_false(&mut want, kind, reason, Severity::Info, &text, &context.now);
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

/// The order: everything of the cluster's own, then bindings, then RBAC.
fn stage(resource: &ResourceRef, bound: bool) -> u8 {
    let rbac = [refs::cluster_roles(), refs::cluster_role_bindings()];
    match resource {
        r if rbac.contains(r) => 2,
        r if *r == refs::bindings() => 1,
        _ if bound => 3,
        _ => 0,
    }
}

/// Deletes what is not being deleted yet of the first stage that still has objects. Bound objects are the bindings' to
/// delete, as long as there are any.
fn delete_next(key: &Key, view: &dyn View, left: &[&(ResourceRef, usize)]) -> Vec<Effect> {
    let staged = |wanted: u8| left.iter().filter(move |(r, _)| stage(r, is_bound(r)) == wanted);
    let all = |wanted: u8| delete_all(key, view, staged(wanted).map(|(r, _)| r).collect());
    // No binding is left at the third: bound objects that came between their binding's last look and its end are nobody
    // else's to delete. RBAC goes when they are gone, too: their finalizers' owners need their rights.
    for wanted in [0, 1, 3] {
        if staged(wanted).next().is_some() {
            return all(wanted);
        }
    }
    all(2)
}

/// Resources of the root's exports; those of others come with an identity.
fn is_bound(resource: &ResourceRef) -> bool {
    const BOUND_BY_ROOT: [&str; 3] = ["tenancy.kcp.io", "topology.kcp.io", "migration.kcp.io"];
    let is_shard = *resource == refs::shards();
    resource.identity.is_some() || is_shard || BOUND_BY_ROOT.contains(&&*resource.group)
}

fn delete_all(key: &Key, view: &dyn View, mut resources: Vec<&ResourceRef>) -> Vec<Effect> {
    resources.sort_by_key(|resource| **resource == refs::namespaces());
    let deletions = |resource: &&ResourceRef| {
        let outline = view.outline(resource, &key.cluster, "");
        outline.into_iter().filter_map(Outline::delete)
    };
    let mut each: Vec<_> = resources.iter().map(deletions).collect();
    // In turn, one of each resource, as neighbours share a transaction; content before its namespace.
    let mut effects = Vec::new();
    while effects.len() < BATCH_MAX {
        let before = effects.len();
        each.iter_mut().for_each(|deletions| effects.extend(deletions.next()));
        if effects.len() == before {
            break;
        }
    }
    effects
}

/// The cluster is closed: whatever is left has no owner any more. Finalizers do not hold it.
fn sweep(key: &Key, view: &dyn View) -> Plan {
    let mut effects = Vec::new();
    for (resource, _) in view.contents(&key.cluster) {
        let objects = view.outline(&resource, &key.cluster, "");
        for object in objects.into_iter().take(BATCH_MAX.saturating_sub(effects.len())) {
            effects.push(Effect::Purge { of: object.of });
        }
    }
    Plan {
        effects,
        ..Plan::default()
    }
}

fn remaining_text(key: &Key, view: &dyn View, left: &[&(ResourceRef, usize)]) -> String {
    let name = |r: &ResourceRef| format!("{}.{}", r.resource, r.group);
    let resources: Vec<String> = left
        .iter()
        .map(|(r, n)| format!("{} has {n} resource instances", name(r)))
        .collect();
    let mut finalizers: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    for (resource, _) in left {
        let objects = view.list(
            resource,
            &Scope::One(key.cluster.clone()),
            "",
            &LabelSelector::everything(),
        );
        for finalizer in objects
            .iter()
            .flat_map(|o| o.finalizers().into_iter().map(str::to_owned).collect::<Vec<_>>())
        {
            *finalizers.entry(finalizer).or_default() += 1;
        }
    }
    let mut text = format!("Some resources are remaining: {}", resources.join(", "));
    if !finalizers.is_empty() {
        let held: Vec<String> = finalizers
            .iter()
            .map(|(f, n)| format!("{f} in {n} resource instances"))
            .collect();
        let held = held.join(", ");
        text.push_str(&format!(
            "; Some content in the logical cluster has finalizers remaining: {held}"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{Literals, cluster, context};

    fn world() -> Literals {
        let mut world = Literals::default();
        let lc = json!({"metadata": {"name": "cluster", "deletionTimestamp": "2023-11-14T22:13:20Z",
            "finalizers": [finalizer::LOGICAL_CLUSTER_DELETION]}});
        world.put(&refs::logical_clusters(), "abc", lc);
        world.put(
            &refs::config_maps(),
            "abc",
            json!({"metadata": {"name": "c", "namespace": "default"}}),
        );
        let binding = json!({"metadata": {"name": "b", "finalizers": [finalizer::API_BINDING]}});
        world.put(&refs::bindings(), "abc", binding);
        world.put(&refs::workspaces(), "abc", json!({"metadata": {"name": "child"}}));
        world.put(
            &refs::cluster_role_bindings(),
            "abc",
            json!({"metadata": {"name": "workspace-admin"}}),
        );
        world
    }

    fn has(world: &Literals, resource: &ResourceRef) -> bool {
        world.objects.keys().any(|of| of.resource == *resource)
    }

    #[test]
    fn content_then_bindings_then_rbac() {
        let mut world = world();
        let key = Key::of_cluster(&cluster("abc"));
        let run = |world: &mut Literals| {
            let plan = Deletion.plan(&key, world, &context());
            world.carry_out(&plan.effects);
        };
        run(&mut world);
        assert!(!has(&world, &refs::config_maps()) && has(&world, &refs::bindings()));
        run(&mut world);
        run(&mut world);
        assert!(
            has(&world, &refs::cluster_role_bindings()),
            "bound objects and bindings are still there"
        );
        world
            .objects
            .retain(|of, _| of.resource != refs::bindings() && of.resource != refs::workspaces());
        run(&mut world);
        assert!(!has(&world, &refs::cluster_role_bindings()));
        run(&mut world);
        assert!(!has(&world, &refs::logical_clusters()));
    }

    /// A workspace that was made while its cluster was being deleted, just after the binding had looked for the last time.
    #[test]
    fn bound_objects_that_outlive_their_binding_are_deleted() {
        let mut world = world();
        let key = Key::of_cluster(&cluster("abc"));
        world
            .objects
            .retain(|of, _| of.resource != refs::config_maps() && of.resource != refs::bindings());
        for (left, what) in [
            (refs::cluster_role_bindings(), "rights go last"),
            (refs::logical_clusters(), "and then the cluster"),
        ] {
            assert!(has(&world, &left), "{what}");
            let plan = Deletion.plan(&key, &world, &context());
            world.carry_out(&plan.effects);
            assert!(!has(&world, &refs::workspaces()), "nobody else would delete it");
        }
        let plan = Deletion.plan(&key, &world, &context());
        world.carry_out(&plan.effects);
        assert!(!has(&world, &refs::logical_clusters()));
    }

    #[test]
    fn what_holds_it_is_named() {
        let mut world = world();
        let key = Key::of_cluster(&cluster("abc"));
        world
            .objects
            .retain(|of, _| of.resource != refs::config_maps() && of.resource != refs::workspaces());
        for _ in 0..3 {
            let plan = Deletion.plan(&key, &world, &context());
            world.carry_out(&plan.effects);
        }
        let lc = world.object(&refs::logical_clusters(), "abc", "", "cluster").unwrap();
        let condition = conditions::get(lc, condition::WORKSPACE_CONTENT_DELETED).unwrap();
        assert_eq!(
            condition.message,
            "Some resources are remaining: apibindings.apis.kcp.io has 1 resource instances, \
             clusterrolebindings.rbac.authorization.k8s.io has 1 resource instances; Some content in the logical cluster \
             has finalizers remaining: apis.kcp.io/apibinding-finalizer in 1 resource instances"
        );
    }

    #[test]
    fn leftovers_of_closed_clusters_are_swept() {
        let mut world = world();
        world.objects.retain(|of, _| of.resource == refs::config_maps());
        let plan = Deletion.plan(&Key::of_cluster(&cluster("abc")), &world, &context());
        assert!(matches!(plan.effects.as_slice(), [Effect::Purge { .. }]));
    }
}
