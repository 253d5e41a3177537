//! kcp-workspacetype: announces the lifecycle virtual workspaces of a type, one pair a shard (kcp's facts, D.8).

use api::conditions;
use api::keys::{annotation, cluster, condition, phase};
use api::types::{Lifecycle, lifecycle_url};
use machinery::object::ObjectExt;
use machinery::selector::LabelSelector;
use permit::{Cluster, Scope};
use plan::{Context, Controller, Effect, Key, Plan, ResourceRef, Seen, Trigger, View};
use serde_json::{Value, json};

use crate::refs;

pub struct WorkspaceTypes;

impl Controller for WorkspaceTypes {
    fn name(&self) -> &'static str {
        "kcp-workspacetype"
    }

    fn watches(&self) -> Vec<ResourceRef> {
        vec![refs::workspace_types(), refs::shards()]
    }

    fn keys(&self, trigger: &Trigger<'_>, view: &dyn View) -> Vec<Key> {
        if *trigger.resource == refs::workspace_types() {
            return trigger
                .new
                .map(|_| Key::new(trigger.cluster, "", trigger.name))
                .into_iter()
                .collect();
        }
        let all = view.list(&refs::workspace_types(), &Scope::All, "", &LabelSelector::everything());
        all.iter()
            .filter_map(|t| {
                Some(Key::new(
                    &Cluster::parse(t.annotation(annotation::CLUSTER)?).ok()?,
                    "",
                    t.name(),
                ))
            })
            .collect()
    }

    fn plan(&self, key: &Key, view: &dyn View, context: &Context) -> Plan {
        let of = refs::workspace_types().object(&key.cluster, "", &key.name);
        let Seen::Found(seen) = view.get(&of) else {
            return Plan::done();
        };
        let root = Cluster::well_known(cluster::ROOT);
        let shards = view.list(&refs::shards(), &Scope::One(root), "", &LabelSelector::everything());
        let mut urls: Vec<Value> = Vec::new();
        for shard in &shards {
            let base = shard.str_at(&["spec", "virtualWorkspaceURL"]).unwrap_or_default();
            for (kind, lifecycle) in [
                (phase::virtual_workspace::INITIALIZING, Lifecycle::Initializing),
                (phase::virtual_workspace::TERMINATING, Lifecycle::Terminating),
            ] {
                let url = lifecycle_url(base, lifecycle, key.cluster.as_str(), &key.name);
                urls.push(json!({"type": kind, "url": url}));
            }
        }
        let mut want = Value::clone(&seen);
        if urls.is_empty() {
            want.remove_at(&["status", "virtualWorkspaces"]);
        } else {
            want.set_at(&["status", "virtualWorkspaces"], Value::Array(urls));
        }
        conditions::mark_true(&mut want, condition::VIRTUAL_WORKSPACE_URLS_READY, &context.now);
        conditions::set_summary(&mut want, &[condition::VIRTUAL_WORKSPACE_URLS_READY], &context.now);
        if want == *seen {
            Plan::done()
        } else {
            Plan::effect(Effect::Update { of, object: want })
        }
    }
}
