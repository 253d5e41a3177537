//! What every namespace has: the ServiceAccount `default` and the ConfigMap `kube-root-ca.crt` (Kubernetes'
//! `serviceaccount` and `root-ca-cert-publisher`).

use std::sync::Arc;

use api::keys::object;
use machinery::object::ObjectExt;
use plan::{Context, Controller, Effect, Key, Plan, ResourceRef, Seen, Trigger, View};
use serde_json::json;

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
        vec![refs::namespaces(), refs::service_accounts(), refs::config_maps()]
    }

    fn keys(&self, trigger: &Trigger<'_>, _: &dyn View) -> Vec<Key> {
        if trigger.cluster.is_system() {
            return Vec::new();
        }
        if *trigger.resource == refs::namespaces() {
            let fresh = trigger.old.is_none() && trigger.new.is_some();
            return if fresh {
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
        let mut effects = Vec::new();
        let account = refs::service_accounts().object(&key.cluster, &key.name, object::DEFAULT_SERVICE_ACCOUNT);
        if view.get(&account) == Seen::Absent {
            let body = json!({"apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": {"name": object::DEFAULT_SERVICE_ACCOUNT, "namespace": key.name}});
            effects.push(Effect::Create {
                of: account,
                object: body,
                adopt: true,
            });
        }
        let config_map = refs::config_maps().object(&key.cluster, &key.name, object::KUBE_ROOT_CA);
        match view.get(&config_map) {
            Seen::Absent => {
                let body = json!({
                    "apiVersion": "v1", "kind": "ConfigMap",
                    "metadata": {"name": object::KUBE_ROOT_CA, "namespace": key.name, "annotations": {
                        "kubernetes.io/description": "The CA that this server's certificate is signed by."}},
                    "data": {CA_MEMBER: self.shard.ca_pem},
                });
                effects.push(Effect::Create {
                    of: config_map,
                    object: body,
                    adopt: true,
                });
            }
            Seen::Found(mut seen) if seen.str_at(&["data", CA_MEMBER]) != Some(&self.shard.ca_pem) => {
                seen.set_at(&["data"], json!({CA_MEMBER: self.shard.ca_pem}));
                effects.push(Effect::Update {
                    of: config_map,
                    object: seen,
                });
            }
            _ => {}
        }
        Plan {
            effects,
            ..Plan::default()
        }
    }
}
