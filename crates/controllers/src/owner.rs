//! kcp-tenancy-logicalcluster: the owner of a workspace is its cluster-admin (kcp's facts, D.6).

use api::keys::{self, annotation, object};
use machinery::object::ObjectExt;
use plan::{Context, Controller, Effect, Key, Plan, ResourceRef, Seen, Trigger, View};
use serde_json::{Value, json};

use crate::refs;

pub struct Owners;

impl Controller for Owners {
    fn name(&self) -> &'static str {
        "kcp-tenancy-logicalcluster"
    }

    fn watches(&self) -> Vec<ResourceRef> {
        vec![refs::logical_clusters()]
    }

    fn keys(&self, trigger: &Trigger<'_>, _: &dyn View) -> Vec<Key> {
        // Once, when the cluster comes: whoever takes the binding away later means it.
        let fresh = trigger.old.is_none() && trigger.new.is_some();
        if fresh {
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
        let initializing = matches!(
            lc.str_at(&["status", "phase"]),
            None | Some("" | "Scheduling" | "Initializing")
        );
        let owner = lc
            .annotation(annotation::OWNER)
            .and_then(|text| serde_json::from_str::<Value>(text).ok());
        let name = owner.as_ref().and_then(|o| o.str_at(&["username"])).unwrap_or_default();
        let binding = refs::cluster_role_bindings().object(&key.cluster, "", object::WORKSPACE_ADMIN);
        if name.is_empty() || !initializing || lc.deletion_timestamp().is_some() || view.get(&binding) != Seen::Absent {
            return Plan::done();
        }
        let body = json!({
            "apiVersion": keys::api_version::RBAC_V1,
            "kind": "ClusterRoleBinding",
            "metadata": {
                "name": object::WORKSPACE_ADMIN,
                "annotations": {annotation::REPLICATE: "apis.kcp.io,tenancy.kcp.io"},
            },
            "roleRef": {"apiGroup": keys::group::RBAC, "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": keys::group::RBAC, "kind": "User", "name": name}],
        });
        Plan::effect(Effect::Create {
            of: binding,
            object: body,
            adopt: true,
        })
    }
}
