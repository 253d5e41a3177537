//! What the server puts into a new workspace (B.1, D.6).

use serde_json::{Value, json};

use crate::keys::{annotation, api_version, group, label, object};

/// A Namespace of a universal workspace: made once, never overwritten.
pub fn namespace(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "labels": {label::NAMESPACE_NAME: name},
            "annotations": {annotation::CREATE_ONLY: "true"},
        },
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    })
}

/// ServiceAccount `default` of a namespace.
pub fn default_service_account(namespace: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": object::DEFAULT_SERVICE_ACCOUNT, "namespace": namespace},
    })
}

/// ConfigMap `kube-root-ca.crt` of a namespace. `ca` is a PEM bundle.
pub fn root_ca_config_map(namespace: &str, ca: &str) -> Value {
    let what = "The CA that signed the certificate of the API server.";
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": object::KUBE_ROOT_CA,
            "namespace": namespace,
            "annotations": {"kubernetes.io/description": what},
        },
        "data": {"ca.crt": ca},
    })
}

/// ClusterRoleBinding `workspace-admin`: the owner of a workspace is its cluster-admin.
///
/// It carries the reasons for which such a binding is copied to the cache server: cluster-admin may do everything, hence
/// also what provider APIs and types ask for (H.3).
pub fn workspace_admin(user: &str) -> Value {
    json!({
        "apiVersion": api_version::RBAC_V1,
        "kind": "ClusterRoleBinding",
        "metadata": {
            "name": object::WORKSPACE_ADMIN,
            "annotations": {annotation::REPLICATE: format!("{},{}", group::APIS, group::TENANCY)},
        },
        "roleRef": {"apiGroup": group::RBAC, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": group::RBAC, "kind": "User", "name": user}],
    })
}
