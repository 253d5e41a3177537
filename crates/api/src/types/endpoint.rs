//! URLs of virtual workspaces, and the endpoint slice that each export gets (D.8, E.2, E.9).

use machinery::object::ObjectExt;
use serde_json::{Value, json};

use crate::keys::{annotation, api_version};

/// Which of the two virtual workspaces of a WorkspaceType.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    Initializing,
    Terminating,
}

/// Where a provider finds the objects of its consumers on one shard. `base` is the shard's `spec.virtualWorkspaceURL`;
/// clusters are named by name, never by path.
pub fn apiexport_url(base: &str, export_cluster: &str, export_name: &str) -> String {
    format!("{}/services/apiexport/{export_cluster}/{export_name}", trimmed(base))
}

/// Where the owner of an initializer or terminator finds the clusters that wait for it.
pub fn lifecycle_url(base: &str, lifecycle: Lifecycle, type_cluster: &str, type_name: &str) -> String {
    let service = match lifecycle {
        Lifecycle::Initializing => "initializingworkspaces",
        Lifecycle::Terminating => "terminatingworkspaces",
    };
    format!("{}/services/{service}/{type_cluster}:{type_name}", trimmed(base))
}

/// Where a cached resource is served.
pub fn replication_url(base: &str, slice_cluster: &str, slice_name: &str) -> String {
    format!("{}/services/replication/{slice_cluster}/{slice_name}", trimmed(base))
}

/// The slice that an export gets unless it has [`annotation::SKIP_ENDPOINT_SLICE`]: of its name, in its cluster, owned by it.
/// `export` is as read from storage.
pub fn default_endpoint_slice(export: &Value) -> Value {
    let mut reference = json!({"name": export.name()});
    if let Some(path) = export.annotation(annotation::PATH) {
        reference["path"] = json!(path);
    }
    json!({
        "apiVersion": api_version::APIS_V1ALPHA1,
        "kind": "APIExportEndpointSlice",
        "metadata": {
            "name": export.name(),
            "ownerReferences": [{
                "apiVersion": api_version::APIS_V1ALPHA1,
                "kind": "APIExport",
                "name": export.name(),
                "uid": export.uid(),
            }],
        },
        "spec": {"export": reference},
    })
}

fn trimmed(base: &str) -> &str {
    base.trim_end_matches('/')
}

// === impl Lifecycle ===

impl Lifecycle {
    /// `status.virtualWorkspaces[].type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initializing => crate::keys::phase::virtual_workspace::INITIALIZING,
            Self::Terminating => crate::keys::phase::virtual_workspace::TERMINATING,
        }
    }
}
