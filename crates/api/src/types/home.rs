//! Home workspaces: a LogicalCluster without a Workspace, and the Workspace that is shown for it (D.10).

use machinery::object::ObjectExt;
use machinery::user::User;
use serde_json::{Value, json};

use super::logical_cluster::set_list;
use crate::hashes::home_cluster_name;
use crate::keys::{annotation, api_version, object};

/// What a home LogicalCluster is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct HomeCluster<'a> {
    pub user: &'a User,
    /// Name of the shard that it is made on.
    pub shard: &'a str,
    /// Of type root:home and all that it extends, in order.
    pub initializers: Vec<String>,
    pub terminators: Vec<String>,
}

/// The Workspace that `workspaces/~` answers, from the LogicalCluster. It is nowhere stored.
pub fn home_workspace(logical_cluster: &Value) -> Value {
    let mut status = json!({});
    for member in ["phase", "conditions", "initializers", "terminators"] {
        if let Some(value) = logical_cluster.at(&["status", member]) {
            status[member] = value.clone();
        }
    }
    let created = logical_cluster
        .at(&["metadata", "creationTimestamp"])
        .cloned()
        .unwrap_or(Value::Null);
    json!({
        "apiVersion": api_version::TENANCY_V1ALPHA1,
        "kind": "Workspace",
        "metadata": {"name": object::LOGICAL_CLUSTER, "creationTimestamp": created},
        "spec": {
            "cluster": logical_cluster.annotation(annotation::CLUSTER).unwrap_or_default(),
            "URL": logical_cluster.str_at(&["status", "URL"]).unwrap_or_default(),
        },
        "status": status,
    })
}

// === impl HomeCluster ===

impl HomeCluster<'_> {
    /// Name of the cluster that it belongs into.
    pub fn cluster(&self) -> String {
        home_cluster_name(&self.user.name)
    }

    pub fn to_value(&self) -> Value {
        let mut created_by = json!(self.user);
        created_by["username"] = json!(self.user.name);
        let mut out = json!({
            "apiVersion": api_version::CORE_V1ALPHA1,
            "kind": "LogicalCluster",
            "metadata": {
                "name": object::LOGICAL_CLUSTER,
                "annotations": {
                    annotation::WORKSPACE_TYPE: "root:home",
                    annotation::SHARD: self.shard,
                    annotation::PATH: format!("user:{}", self.user.name),
                    annotation::OWNER: json!(self.user).to_string(),
                },
            },
            "spec": {"directlyDeletable": false, "createdBy": created_by},
        });
        set_list(&mut out, "initializers", &self.initializers);
        set_list(&mut out, "terminators", &self.terminators);
        out
    }
}
