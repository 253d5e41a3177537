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

use crate::partition_set::are_labels_news;
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
            refs::shards(),
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
        let is_shard = *trigger.resource == refs::shards();
        if is_shard && (trigger.name != self.shard.name || !are_labels_news(trigger)) {
            return Vec::new();
        }
        // Only the first and the last consumer matter, so a change of a binding does not, but for what it is a consumer of.
        let is_binding = *trigger.resource == refs::bindings();
        let exported = |o: &dyn plan::Labelled| o.label(label::EXPORT);
        if is_binding
            && let (Some(old), Some(new)) = (trigger.old, trigger.new)
            && exported(old) == exported(new)
        {
            return Vec::new();
        }
        let is_partition = *trigger.resource == refs::partitions();
        let scope = match is_partition {
            true => Scope::One(trigger.cluster.clone()),
            false => Scope::All,
        };
        let concerned = |slice: &&Arc<Value>| match partition_of(slice) {
            _ if is_binding => find_export(slice, view).is_some_and(|(cluster, export)| {
                let label = hashes::export_label(cluster.as_str(), export.name());
                let sides = trigger.new.into_iter().chain(trigger.old);
                sides.filter_map(exported).any(|of| of == label)
            }),
            name if is_partition => name == trigger.name,
            name if is_shard => !name.is_empty(),
            _ => reference(slice, "name") == trigger.name,
        };
        let slices = view.list(&refs::endpoint_slices(), &scope, "", &LabelSelector::everything());
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
        match find_export(&seen, view) {
            None => {
                let (path, name) = (reference(&seen, "path"), reference(&seen, "name"));
                let shown = if path.is_empty() { key.cluster.as_str() } else { path };
                let text = format!("Error getting APIExport {shown}|{name}");
                let reason = condition::reason::API_EXPORT_NOT_FOUND;
                mark_false(&mut want, condition::API_EXPORT_VALID, reason, &text, context);
                want.remove_at(&["status", "endpoints"]);
            }
            Some((cluster, export)) => {
                conditions::mark_true(&mut want, condition::API_EXPORT_VALID, &context.now);
                if let Some(selector) = select(&mut want, key, view, context) {
                    let selects_us = self.is_selected(&selector, view);
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

    /// By the Shard's labels as this shard has heard of them last: with root gone it still has.
    fn is_selected(&self, selector: &LabelSelector, view: &dyn View) -> bool {
        if selector.is_everything() {
            return true;
        }
        let own = view.members().into_iter().find(|member| member.name == self.shard.name);
        own.is_some_and(|own| selector.matches(|key| own.labels.get(key).map(String::as_str)))
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

/// Which shards the slice's partition selects, all without one; written down for the other shards, which do not see partitions.
/// `None`: it cannot be told, and the slice says why. Without its partition it announces nothing.
fn select(want: &mut Value, key: &Key, view: &dyn View, context: &Context) -> Option<LabelSelector> {
    let name = partition_of(want).to_owned();
    let reason = condition::reason::PARTITION_INVALID_REFERENCE;
    let selector = match name.as_str() {
        "" => LabelSelector::everything(),
        name => {
            let Seen::Found(partition) = view.get(&refs::partitions().object(&key.cluster, "", name)) else {
                let text = format!("partition.topology.kcp.io {name:?} not found");
                mark_false(want, condition::PARTITION_VALID, reason, &text, context);
                want.remove_at(&["status", "endpoints"]);
                return None;
            };
            match partition
                .at(&["spec", "selector"])
                .filter(|selector| !selector.is_null())
            {
                // In effect so with kcp: what selects nothing and what selects everything are written down alike.
                None => LabelSelector::everything(),
                some => match LabelSelector::from_json(some) {
                    Ok(selector) => selector,
                    Err(why) => {
                        mark_false(want, condition::PARTITION_VALID, reason, &why.to_string(), context);
                        return None;
                    }
                },
            }
        }
    };
    match selector.is_everything() {
        true => _ = want.remove_at(&["status", "shardSelector"]),
        false => want.set_at(&["status", "shardSelector"], json!(selector.to_string())),
    }
    conditions::mark_true(want, condition::PARTITION_VALID, &context.now);
    Some(selector)
}

fn mark_false(want: &mut Value, kind: &str, reason: &str, text: &str, context: &Context) {
    conditions::mark_false(want, kind, reason, Severity::Error, text, &context.now);
}

fn partition_of(slice: &Value) -> &str {
    slice.str_at(&["spec", "partition"]).unwrap_or_default()
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
mod tests;
