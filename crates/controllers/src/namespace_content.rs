//! What every namespace has: the ServiceAccount `default` and the ConfigMap `kube-root-ca.crt` (Kubernetes'
//! `serviceaccount` and `root-ca-cert-publisher`).

use std::sync::Arc;

use api::keys::object;
use api::types::{default_service_account, root_ca_config_map};
use machinery::object::ObjectExt;
use machinery::selector::LabelSelector;
use permit::{Cluster, Scope};
use plan::{Context, Controller, Effect, Key, ObjectRef, Plan, ResourceRef, Seen, Trigger, View};
use serde_json::{Value, json};

use crate::founding::is_unfounded;
use crate::{ShardInfo, refs};

const CA_MEMBER: &str = "ca.crt";

pub struct NamespaceContent {
    shard: Arc<ShardInfo>,
}

// === impl NamespaceContent ===

impl NamespaceContent {
    pub fn new(shard: Arc<ShardInfo>) -> Self {
        Self { shard }
    }
}

impl Controller for NamespaceContent {
    fn name(&self) -> &'static str {
        "serviceaccount"
    }

    fn watches(&self) -> Vec<ResourceRef> {
        vec![
            refs::namespaces(),
            refs::service_accounts(),
            refs::config_maps(),
            refs::logical_clusters(),
        ]
    }

    fn keys(&self, trigger: &Trigger<'_>, view: &dyn View) -> Vec<Key> {
        if trigger.cluster.is_system() {
            return Vec::new();
        }
        if *trigger.resource == refs::logical_clusters() {
            // Founding fills its own namespaces; others may have come meanwhile.
            let was_unfounded = trigger.old.is_some_and(|old| is_unfounded(&old.parse()));
            let founded = was_unfounded && trigger.new.is_some_and(|new| !is_unfounded(&new.parse()));
            return if founded {
                bare_namespaces(trigger.cluster, view)
            } else {
                Vec::new()
            };
        }
        if *trigger.resource == refs::namespaces() {
            let fresh = trigger.old.is_none() && trigger.new.is_some();
            let founding = || {
                let of = refs::logical_clusters().object(trigger.cluster, "", object::LOGICAL_CLUSTER);
                view.get(&of).found().is_some_and(|lc| is_unfounded(&lc))
            };
            return if fresh && !founding() {
                vec![Key::new(trigger.cluster, "", trigger.name)]
            } else {
                Vec::new()
            };
        }
        let ours = if *trigger.resource == refs::config_maps() {
            trigger.name == object::KUBE_ROOT_CA
        } else {
            trigger.name == object::DEFAULT_SERVICE_ACCOUNT && trigger.new.is_none()
        };
        let own_write = trigger.old.is_none();
        if ours && !own_write {
            vec![Key::new(trigger.cluster, "", trigger.namespace)]
        } else {
            Vec::new()
        }
    }

    fn plan(&self, key: &Key, view: &dyn View, _: &Context) -> Plan {
        let namespace = refs::namespaces().object(&key.cluster, "", &key.name);
        let Seen::Found(namespace) = view.get(&namespace) else {
            return Plan::done();
        };
        if namespace.deletion_timestamp().is_some() {
            return Plan::done();
        }
        Plan {
            effects: content(&self.shard, &key.cluster, &key.name, view),
            ..Plan::default()
        }
    }
}

/// What a namespace lacks of it.
pub(crate) fn content(shard: &ShardInfo, cluster: &Cluster, namespace: &str, view: &dyn View) -> Vec<Effect> {
    let mut effects = Vec::new();
    let account = default_account(cluster, namespace);
    if view.is_absent(&account) {
        effects.push(Effect::Create {
            of: account,
            object: default_service_account(namespace),
            adopt: true,
        });
    }
    let config_map = refs::config_maps().object(cluster, namespace, object::KUBE_ROOT_CA);
    match view.get(&config_map) {
        Seen::Absent => effects.push(Effect::Create {
            of: config_map,
            object: root_ca_config_map(namespace, &shard.ca_pem),
            adopt: true,
        }),
        Seen::Found(seen) if seen.str_at(&["data", CA_MEMBER]) != Some(&shard.ca_pem) => {
            let mut want = Value::clone(&seen);
            want.set_at(&["data"], json!({CA_MEMBER: shard.ca_pem}));
            effects.push(Effect::Update {
                of: config_map,
                object: want,
            });
        }
        _ => {}
    }
    effects
}

fn default_account(cluster: &Cluster, namespace: &str) -> ObjectRef {
    refs::service_accounts().object(cluster, namespace, object::DEFAULT_SERVICE_ACCOUNT)
}

/// The namespaces of a cluster that nobody has filled.
fn bare_namespaces(cluster: &Cluster, view: &dyn View) -> Vec<Key> {
    let scope = Scope::One(cluster.clone());
    let all = LabelSelector::everything();
    let namespaces = view.list(&refs::namespaces(), &scope, "", &all);
    namespaces
        .iter()
        .filter(|namespace| view.is_absent(&default_account(cluster, namespace.name())))
        .map(|namespace| Key::new(cluster, "", namespace.name()))
        .collect()
}
