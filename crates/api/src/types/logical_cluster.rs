//! The LogicalCluster of a new workspace (D.3), and its owner annotation.

use machinery::object::ObjectExt;
use machinery::user::User;
use serde_json::{Value, json};

use crate::keys::{annotation, api_version, object};

/// What the scheduler makes a LogicalCluster of.
#[derive(Clone, Debug, PartialEq)]
pub struct NewLogicalCluster<'a> {
    /// The Workspace that owns it, as read from storage.
    pub workspace: &'a Value,
    /// Name of the shard that it is made on.
    pub shard: &'a str,
    /// Canonical path of the workspace.
    pub path: &'a str,
    /// Of the type and all that it extends, in order.
    pub initializers: Vec<String>,
    pub terminators: Vec<String>,
}

/// What a WorkspaceType with `initializer` or `terminator` is called in LogicalClusters (A.6): by the *name* of its cluster.
pub fn initializer_name(type_cluster: &str, type_name: &str) -> String {
    format!("{type_cluster}:{type_name}")
}

/// `spec.createdBy` from the text of an owner annotation. `None` if it is no user.
pub fn created_by(owner: &str) -> Option<Value> {
    let user: User = serde_json::from_str(owner).ok()?;
    let mut out = json!(user);
    // Unlike a UserInfo, createdBy always names the user.
    out["username"] = json!(user.name);
    Some(out)
}

/// The owner annotation of a workspace that is Ready: the name alone (D.3). `None` if the text is no user, and then the
/// annotation goes.
pub fn reduced_owner(owner: &str) -> Option<String> {
    let user: User = serde_json::from_str(owner).ok()?;
    Some(
        json!(User {
            name: user.name,
            ..User::default()
        })
        .to_string(),
    )
}

// === impl NewLogicalCluster ===

impl NewLogicalCluster<'_> {
    /// The object for the new cluster. A workspace whose owner annotation is absent or unreadable gets no `createdBy`.
    pub fn to_value(&self) -> Value {
        let workspace = self.workspace;
        let text = |path: &[&str]| workspace.str_at(path).unwrap_or_default();
        let workspace_type = format!(
            "{}:{}",
            text(&["spec", "type", "path"]),
            text(&["spec", "type", "name"])
        );
        let mut out = json!({
            "apiVersion": api_version::CORE_V1ALPHA1,
            "kind": "LogicalCluster",
            "metadata": {
                "name": object::LOGICAL_CLUSTER,
                "annotations": {
                    annotation::WORKSPACE_TYPE: workspace_type.trim_start_matches(':'),
                    annotation::SHARD: self.shard,
                    annotation::PATH: self.path,
                },
            },
            "spec": {
                "directlyDeletable": false,
                "owner": {
                    "apiVersion": api_version::TENANCY_V1ALPHA1,
                    "resource": "workspaces",
                    "name": workspace.name(),
                    "cluster": workspace.annotation(annotation::CLUSTER).unwrap_or_default(),
                    "uid": workspace.uid(),
                },
            },
        });
        if let Some(owner) = workspace
            .annotation(annotation::OWNER)
            .filter(|owner| !owner.is_empty())
        {
            out.set_annotation(annotation::OWNER, owner);
            if let Some(user) = created_by(owner) {
                out.set_at(&["spec", "createdBy"], user);
            }
        }
        if let Some(groups) = workspace.annotation(annotation::REQUIRED_GROUPS) {
            out.set_annotation(annotation::REQUIRED_GROUPS, groups);
        }
        set_list(&mut out, "initializers", &self.initializers);
        set_list(&mut out, "terminators", &self.terminators);
        out
    }
}

pub(super) fn set_list(object: &mut Value, member: &str, list: &[String]) {
    if !list.is_empty() {
        object.set_at(&["spec", member], json!(list));
    }
}
