//! kcp-apiexportendpointslice and its URLs: is the export there, which shards are selected, and this shard's own URL, as
//! long as it has consumers (kcp's facts, E.2).

use std::sync::Arc;

use api::conditions::{self, Severity};
use api::keys::{annotation, condition, label};
use api::{hashes, types::apiexport_url};
use machinery::object::ObjectExt;
use machinery::selector::{LabelSelector, Requirement};
use permit::{Cluster, Scope};
use plan::{Context, Controller, Effect, Key, ObjectRef, Plan, ResourceRef, Seen, Trigger, View};
use serde_json::{Value, json};
use tenancy::types;

use crate::{ShardInfo, refs};

pub struct EndpointSlices {
    shard: Arc<ShardInfo>,
}

// === impl EndpointSlices ===

impl EndpointSlices {
    pub fn new(shard: Arc<ShardInfo>) -> Self {
        Self { shard }
    }
}

impl Controller for EndpointSlices {
    fn name(&self) -> &'static str {
        "kcp-apiexportendpointslice"
    }

    /// Whether an export has consumers here is known here alone: each shard adds its own URL, wherever the slice is.
    fn spans_shards(&self) -> bool {
        true
    }

    fn watches(&self) -> Vec<ResourceRef> {
        vec![
            refs::endpoint_slices(),
            refs::exports(),
            refs::bindings(),
            refs::partitions(),
        ]
    }

    fn keys(&self, trigger: &Trigger<'_>, view: &dyn View) -> Vec<Key> {
        if *trigger.resource == refs::endpoint_slices() {
            return trigger
                .new
                .map(|_| Key::new(trigger.cluster, "", trigger.name))
                .into_iter()
                .collect();
        }
        // Only the first and the last consumer matter, so a change of a binding does not.
        let is_binding = *trigger.resource == refs::bindings();
        if is_binding && trigger.old.is_some() && trigger.new.is_some() {
            return Vec::new();
        }
        let slices = view.list(&refs::endpoint_slices(), &Scope::All, "", &LabelSelector::everything());
        let concerned = |slice: &&Arc<Value>| {
            if !is_binding {
                return true;
            }
            let exported = trigger.new.or(trigger.old).and_then(|b| b.label(label::EXPORT));
            find_export(slice, view).is_some_and(|(cluster, export)| {
                exported.as_deref() == Some(&*hashes::export_label(cluster.as_str(), export.name()))
            })
        };
        slices
            .iter()
            .filter(concerned)
            .filter_map(|slice| key_of(slice))
            .collect()
    }

    fn plan(&self, key: &Key, view: &dyn View, context: &Context) -> Plan {
        let of = refs::endpoint_slices().object(&key.cluster, "", &key.name);
        let Seen::Found(seen) = view.get(&of) else {
            return Plan::done();
        };
        if !view.is_here(&key.cluster) {
            return self.plan_elsewhere(of, &seen, view);
        }
        let mut want = Value::clone(&seen);
        let now = &context.now;
        let partition = self.partition(&mut want, key, view, context);
        match find_export(&seen, view) {
            None => {
                let (path, name) = (reference(&seen, "path"), reference(&seen, "name"));
                let shown = if path.is_empty() { key.cluster.as_str() } else { path };
                let text = format!("Error getting APIExport {shown}|{name}");
                let reason = condition::reason::API_EXPORT_NOT_FOUND;
                conditions::mark_false(
                    &mut want,
                    condition::API_EXPORT_VALID,
                    reason,
                    Severity::Error,
                    &text,
                    now,
                );
            }
            Some((cluster, export)) => {
                conditions::mark_true(&mut want, condition::API_EXPORT_VALID, now);
                if let Some(selects_us) = partition {
                    self.set_url(&mut want, &cluster, export.name(), selects_us, view);
                }
            }
        }
        if want == *seen {
            Plan::done()
        } else {
            Plan::effect(Effect::Update { of, object: want })
        }
    }
}

impl EndpointSlices {
    /// This shard's own URL in a slice of another one, which sees to all else.
    fn plan_elsewhere(&self, of: ObjectRef, seen: &Arc<Value>, view: &dyn View) -> Plan {
        let is_true = |kind: &str| conditions::is_true(seen, kind);
        if !is_true(condition::API_EXPORT_VALID) || !is_true(condition::PARTITION_VALID) {
            return Plan::done();
        }
        let Some((cluster, export)) = find_export(seen, view) else {
            return Plan::done();
        };
        let selector = seen.str_at(&["status", "shardSelector"]).unwrap_or_default();
        let selector = LabelSelector::parse(selector).unwrap_or_else(|_| LabelSelector::nothing());
        let mut want = Value::clone(seen);
        let selects_us = self.is_selected(&selector, view);
        self.set_url(&mut want, &cluster, export.name(), selects_us, view);
        match want == **seen {
            true => Plan::done(),
            false => Plan::effect(Effect::Update { of, object: want }),
        }
    }

    fn is_selected(&self, selector: &LabelSelector, view: &dyn View) -> bool {
        if selector.is_everything() {
            return true;
        }
        let root = Cluster::well_known("root");
        let shard = view.get(&refs::shards().object(&root, "", &self.shard.name)).found();
        selector.matches(|key| shard.as_ref().and_then(|s| s.label(key)))
    }

    /// Whether the partition (if any) selects this shard; `None` if it cannot be told.
    fn partition(&self, want: &mut Value, key: &Key, view: &dyn View, context: &Context) -> Option<bool> {
        let name = want.str_at(&["spec", "partition"]).unwrap_or_default().to_owned();
        if name.is_empty() {
            want.remove_at(&["status", "shardSelector"]);
            conditions::mark_true(want, condition::PARTITION_VALID, &context.now);
            return Some(true);
        }
        let Seen::Found(partition) = view.get(&refs::partitions().object(&key.cluster, "", &name)) else {
            let reason = condition::reason::PARTITION_INVALID_REFERENCE;
            let text = format!("partitions.topology.kcp.io {name:?} not found");
            conditions::mark_false(
                want,
                condition::PARTITION_VALID,
                reason,
                Severity::Error,
                &text,
                &context.now,
            );
            return None;
        };
        let selector = partition.at(&["spec", "selector"]).cloned().unwrap_or_default();
        let parsed =
            machinery::selector::LabelSelector::from_json(Some(&selector)).unwrap_or_else(|_| LabelSelector::nothing());
        want.set_at(&["status", "shardSelector"], json!(parsed.to_string()));
        conditions::mark_true(want, condition::PARTITION_VALID, &context.now);
        Some(self.is_selected(&parsed, view))
    }

    fn set_url(&self, want: &mut Value, cluster: &Cluster, export: &str, selects_us: bool, view: &dyn View) {
        let url = apiexport_url(&self.shard.virtual_workspace_url, cluster.as_str(), export);
        let ours = |endpoint: &Value| endpoint.str_at(&["url"]) == Some(&url);
        let mut urls = want
            .at(&["status", "endpoints"])
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let consumed = has_consumers(view, cluster, export);
        if !consumed {
            urls.retain(|endpoint| !ours(endpoint));
        } else if selects_us && !urls.iter().any(ours) {
            urls.push(json!({"url": url}));
        }
        if urls.is_empty() {
            want.remove_at(&["status", "endpoints"]);
        } else {
            want.set_at(&["status", "endpoints"], Value::Array(urls));
        }
    }
}

fn has_consumers(view: &dyn View, cluster: &Cluster, export: &str) -> bool {
    let exported = Requirement::equals(label::EXPORT, hashes::export_label(cluster.as_str(), export));
    view.any(&refs::bindings(), &Scope::All, "", &LabelSelector::of(vec![exported]))
}

fn reference<'a>(slice: &'a Value, member: &str) -> &'a str {
    slice.str_at(&["spec", "export", member]).unwrap_or_default()
}

fn key_of(object: &Value) -> Option<Key> {
    let cluster = Cluster::parse(object.annotation(annotation::CLUSTER)?).ok()?;
    Some(Key::new(&cluster, "", object.name()))
}

fn find_export(slice: &Value, view: &dyn View) -> Option<(Cluster, Arc<Value>)> {
    let own = Cluster::parse(slice.annotation(annotation::CLUSTER)?).ok()?;
    crate::binding::find_export(view, &own, reference(slice, "path"), reference(slice, "name"))
        .and_then(|export| Some((types::cluster_of(&export)?, export)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Literals, cluster};

    /// A consumer here of an export whose slice, with a partition or none, is on another shard.
    fn world(selector: Option<&str>) -> Literals {
        let mut world = Literals {
            elsewhere: [cluster("prov")].into(),
            ..Literals::default()
        };
        world.put(&refs::exports(), "prov", json!({"metadata": {"name": "e"}}));
        let mut slice = json!({"metadata": {"name": "e"}, "spec": {"export": {"path": "prov", "name": "e"}},
            "status": {"endpoints": [{"url": "https://other/services/apiexport/prov/e"}], "conditions": [
                {"type": "APIExportValid", "status": "True"}, {"type": "PartitionValid", "status": "True"}]}});
        if let Some(selector) = selector {
            slice.set_at(&["spec", "partition"], json!("p"));
            slice.set_at(&["status", "shardSelector"], json!(selector));
        }
        world.put(&refs::endpoint_slices(), "prov", slice);
        let shard = json!({"metadata": {"name": "blue", "labels": {"region": "west"}}});
        world.put(&refs::shards(), "root", shard);
        let exported = hashes::export_label("prov", "e");
        let consumer = json!({"metadata": {"name": "b", "labels": {label::EXPORT: exported}}});
        world.put(&refs::bindings(), "abc", consumer);
        world
    }

    fn urls(world: &mut Literals) -> Vec<String> {
        let info = ShardInfo {
            name: "blue".to_owned(),
            external_url: String::new(),
            virtual_workspace_url: "https://blue".to_owned(),
            ca_pem: String::new(),
        };
        world.settle(
            &EndpointSlices::new(Arc::new(info)),
            &Key::new(&cluster("prov"), "", "e"),
        );
        let slice = world.object(&refs::endpoint_slices(), "prov", "", "e").unwrap();
        let endpoints = slice.at(&["status", "endpoints"]).and_then(Value::as_array);
        let urls = endpoints.into_iter().flatten().filter_map(|e| e.str_at(&["url"]));
        urls.map(str::to_owned).collect()
    }

    const OTHER: &str = "https://other/services/apiexport/prov/e";
    const OWN: &str = "https://blue/services/apiexport/prov/e";

    #[test]
    fn a_shard_adds_its_own_url_to_a_slice_of_another_one_as_long_as_it_has_consumers() {
        let mut world = world(None);
        assert_eq!(urls(&mut world), [OTHER, OWN]);
        world.objects.retain(|of, _| of.resource != refs::bindings());
        assert_eq!(urls(&mut world), [OTHER], "others' are theirs");
    }

    #[test]
    fn a_partition_of_another_shards_slice_selects_by_what_is_written_there() {
        assert_eq!(urls(&mut world(Some("region=west"))), [OTHER, OWN]);
        assert_eq!(urls(&mut world(Some("region=east"))), [OTHER]);
    }

    #[test]
    fn an_invalid_slice_of_another_shard_is_left_alone() {
        let mut world = world(None);
        let of = refs::endpoint_slices().object(&cluster("prov"), "", "e");
        let slice = world.objects.get_mut(&of).unwrap();
        slice.set_at(
            &["status", "conditions"],
            json!([{"type": "APIExportValid", "status": "False"}]),
        );
        assert_eq!(urls(&mut world), [OTHER]);
    }
}
