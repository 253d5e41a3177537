//! kcp-logicalcluster-deletion: empties a logical cluster that is being deleted, then lets it go (kcp's facts, D.9).
//!
//! Where nobody's finalizer holds anything, nobody has work to do there: all of it is taken away in one plan, the
//! LogicalCluster last. Else in three steps, so that whoever still works there keeps its rights to the end: content, then
//! bindings (whose own finalizer deletes the bound objects), then RBAC. Once the LogicalCluster object is gone its fence is
//! closed, so what a late writer managed to store before that is swept up without regard to finalizers.

use std::time::Duration;

use api::keys::{condition, finalizer, object::LOGICAL_CLUSTER};
use api::{conditions, conditions::Severity};
use machinery::object::ObjectExt;
use machinery::selector::LabelSelector;
use permit::Scope;
use plan::{Context, Controller, Effect, Key, ObjectRef, Outline, Plan, ResourceRef, Seen, Trigger, View};
use serde_json::Value;

use crate::{logical_cluster, refs, until_told};

/// Objects deleted in one run; the next run goes on.
const BATCH_MAX: usize = 500;
/// The one that every namespace is born with.
const NAMESPACE_FINALIZER: &str = "kubernetes";

pub struct Deletion;

impl Controller for Deletion {
    fn name(&self) -> &'static str {
        "kcp-logicalcluster-deletion"
    }

    fn watches(&self) -> Vec<ResourceRef> {
        vec![refs::everything()]
    }

    /// Deletions in clusters that are being deleted, the LogicalCluster itself, and whatever is there without one: who died
    /// between the cluster's end and the sweep behind it has left nothing else to tell of it.
    fn keys(&self, trigger: &Trigger<'_>, view: &dyn View) -> Vec<Key> {
        let key = || vec![Key::of_cluster(trigger.cluster)];
        if *trigger.resource == refs::logical_clusters() {
            let dying = trigger.new.is_none_or(|new| new.is_terminating());
            return if dying { key() } else { Vec::new() };
        }
        if trigger.cluster.is_system() {
            return Vec::new();
        }
        let of = refs::logical_clusters().object(trigger.cluster, "", LOGICAL_CLUSTER);
        if trigger.new.is_some() {
            return if view.is_absent(&of) { key() } else { Vec::new() };
        }
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
        if let Some(effects) = raze(&seen, key, view, &left) {
            return Plan {
                effects,
                ..Plan::default()
            };
        }
        if !logical_cluster::is_closing(&seen) && logical_cluster::is_left_to_deletion(&seen) {
            return close(of, want);
        }
        let mut effects = delete_next(key, view, &left);
        let reason = condition::reason::SOME_RESOURCES_REMAIN;
        // The text names counts: written when nothing else can be done, or every deletion would write it anew.
        let mut requeue = None;
        if effects.is_empty() {
            requeue = until_told(context);
        } else if effects.len() >= BATCH_MAX {
            // Perhaps all of them were marked only, and nobody hears of it.
            requeue = Some(Duration::ZERO);
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

/// Says that the deletion has begun, where it takes its time; then goes on.
fn close(of: ObjectRef, mut want: Value) -> Plan {
    logical_cluster::close(&mut want);
    Plan::effect(Effect::Update { of, object: want })
}

/// Takes everything away, if it is not too much and nobody but the server's own controllers holds anything of it, and these
/// would find nothing left to do. What comes too late for this look is swept up.
fn raze(lc: &Value, key: &Key, view: &dyn View, left: &[&(ResourceRef, usize)]) -> Option<Vec<Effect>> {
    let count: usize = left.iter().map(|(_, count)| count).sum();
    let is_last = lc.finalizers() == [finalizer::LOGICAL_CLUSTER_DELETION] && logical_cluster::is_left_to_deletion(lc);
    if !is_last || count > BATCH_MAX {
        return None;
    }
    let mut each = Vec::with_capacity(left.len());
    for (resource, _) in left {
        let objects = view.outline(resource, &key.cluster, "");
        if *resource == refs::crds() || objects.iter().any(|object| object.is_held && !is_free(object, view)) {
            return None;
        }
        each.push(objects);
    }
    let last = |objects: &Vec<Outline>| objects.first().map_or(0, |object| teardown_order(&object.of.resource));
    each.sort_by_key(last);
    // One of each resource in turn, as neighbours share a transaction, in as few turns as there are of the largest; the
    // rarer ones, which the others are in or rest on, in the last of them.
    let turns = each.iter().map(Vec::len).max().unwrap_or_default();
    let mut rest: Vec<_> = each
        .into_iter()
        .map(|objects| (turns - objects.len(), objects.into_iter()))
        .collect();
    let mut effects = Vec::with_capacity(count + 1);
    for turn in 0..turns {
        let due = rest.iter_mut().filter(|(first, _)| *first <= turn);
        effects.extend(due.filter_map(|(_, objects)| objects.next()).map(Outline::remove));
    }
    effects.push(Effect::Remove {
        of: refs::logical_clusters().object(&key.cluster, "", LOGICAL_CLUSTER),
        resource_version: lc.resource_version().to_owned(),
    });
    Some(effects)
}

/// Content, then what it is in, what it is bound by, and who may touch it.
fn teardown_order(resource: &ResourceRef) -> u8 {
    match stage(resource, false) {
        0 if *resource == refs::namespaces() => 1,
        0 => 0,
        stage => stage + 1,
    }
}

/// Held by this server's own finalizers only, which wait for nothing but content that goes with it.
fn is_free(object: &Outline, view: &dyn View) -> bool {
    let resource = &object.of.resource;
    let own = match () {
        () if *resource == refs::namespaces() => NAMESPACE_FINALIZER,
        () if *resource == refs::bindings() => finalizer::API_BINDING,
        () => return false,
    };
    let Seen::Found(object) = view.get(&object.of) else {
        return false;
    };
    let of_spec = object.at(&["spec", "finalizers"]).and_then(Value::as_array);
    let mut all = of_spec.into_iter().flatten().map(|f| f.as_str().unwrap_or_default());
    all.all(|f| f == own) && object.finalizers().iter().all(|f| *f == own)
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
        outline.into_iter().filter_map(Outline::let_go)
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
mod tests;
