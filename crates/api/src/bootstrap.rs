//! What a fresh shard contains before anybody asks for anything (C.4, D.8, G.6, H.4).
//!
//! The lists are in the order in which they are to be written, and the functions in the order in which they are to be
//! called: [`policy`], [`system_crds`], [`shard`], and on the root shard [`root_phase0`], the Shard object
//! ([`shard_object`]), [`root`]. Objects carry what admission would add (`kcp.io/path`, finalizers, the export label), so that
//! they are the same whether or not they are written through the API. What controllers fill (identities, bound resources,
//! URLs, conditions) is absent.

mod batteries;

use machinery::object::ObjectExt;
use serde_json::{Value, json};

pub use self::batteries::{Batteries, BatteriesError};
use crate::hashes::export_label;
use crate::keys::{annotation, api_version, cluster, finalizer, group, identity, label, namespace, object};
use crate::{exports, system};

/// An object of the bootstrap.
#[derive(Clone, Debug, PartialEq)]
pub struct BootstrapObject {
    /// Name of the logical cluster that it belongs to.
    pub cluster: &'static str,
    /// Group of its resource; the version is the object's.
    pub group: &'static str,
    /// Plural of its resource.
    pub resource: &'static str,
    /// With `apiVersion`, `kind`, `metadata.name`; without uid, resourceVersion and times.
    pub object: Value,
    pub mode: BootstrapMode,
}

/// What happens to an object that exists already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootstrapMode {
    /// It is made to look as here, at each start.
    Reconcile,
    /// It is left alone.
    CreateOnly,
}

/// The URLs of a shard (A.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardUrls {
    /// By which components reach it.
    pub base: String,
    /// By which its workspaces are announced.
    pub external: String,
    /// By which its virtual workspaces are announced.
    pub virtual_workspace: String,
}

/// What [`root`] is made by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootOptions {
    pub batteries: Batteries,
    /// Groups whose members get a home workspace when they ask for it (D.10).
    pub home_creator_groups: Vec<String>,
}

/// `system:admin`: its namespaces, and the RBAC that is evaluated for all clusters. On every shard.
pub fn policy() -> Vec<BootstrapObject> {
    let namespaces = [namespace::DEFAULT, namespace::KUBE_PUBLIC, namespace::KUBE_SYSTEM];
    let mut out: Vec<BootstrapObject> = namespaces
        .into_iter()
        .map(|name| namespace_of(cluster::SYSTEM_ADMIN, name, false))
        .collect();
    out.extend(rbac_of(cluster::SYSTEM_ADMIN, crate::data::parse("policy.json")));
    out
}

/// `system:system-crds`: the CRDs that every cluster serves. On every shard.
pub fn system_crds() -> Vec<BootstrapObject> {
    let of = |crd: &Value| BootstrapObject {
        cluster: cluster::SYSTEM_CRDS,
        group: group::APIEXTENSIONS,
        resource: "customresourcedefinitions",
        object: crd.clone(),
        mode: BootstrapMode::Reconcile,
    };
    system::crds().iter().map(of).collect()
}

/// `system:shard`: bindings to all root exports, for the shard's own use. On every shard.
pub fn shard() -> Vec<BootstrapObject> {
    let mut out = vec![BootstrapObject {
        cluster: cluster::SYSTEM_SHARD,
        group: group::CORE,
        resource: "logicalclusters",
        object: logical_cluster(json!({})),
        mode: BootstrapMode::CreateOnly,
    }];
    let names = [
        "shards.core.kcp.io",
        "tenancy.kcp.io",
        "topology.kcp.io",
        "cache.kcp.io",
        "migration.kcp.io",
    ];
    out.extend(names.map(|name| binding_of(cluster::SYSTEM_SHARD, cluster::SYSTEM_SHARD, name)));
    out.push(namespace_of(cluster::SYSTEM_SHARD, namespace::DEFAULT, true));
    out
}

/// `root`, first part: its LogicalCluster, kcp's schemas and exports, and root's own bindings to them (all but
/// migration.kcp.io, A.1). `cache_apis`: the feature gate CacheAPIs, without which root does not bind cache.kcp.io.
pub fn root_phase0(cache_apis: bool) -> Vec<BootstrapObject> {
    let annotations = json!({
        annotation::WORKSPACE_TYPE: "root:root",
        // Initialization acts as the owner, so there must be one.
        annotation::OWNER: json!({"username": identity::BOOTSTRAPPER_OWNER}).to_string(),
    });
    let in_root = |group, resource, object, mode| BootstrapObject {
        cluster: cluster::ROOT,
        group,
        resource,
        object,
        mode,
    };
    let mut out = vec![in_root(
        group::CORE,
        "logicalclusters",
        logical_cluster(annotations),
        BootstrapMode::CreateOnly,
    )];
    // Where identity secrets of exports are kept (E.1); the controller makes it when it is missing.
    out.push(namespace_of(cluster::ROOT, namespace::KCP_SYSTEM, false));
    let schemas = exports::schemas().iter();
    // A schema never changes (A.8), so there is nothing to reconcile.
    out.extend(schemas.map(|s| in_root(group::APIS, "apiresourceschemas", s.clone(), BootstrapMode::CreateOnly)));
    let exports = exports::exports().iter();
    out.extend(exports.map(|e| in_root(group::APIS, "apiexports", e.clone(), BootstrapMode::Reconcile)));
    let cache = cache_apis.then_some("cache.kcp.io");
    let names = ["shards.core.kcp.io", "tenancy.kcp.io", "topology.kcp.io"]
        .into_iter()
        .chain(cache);
    out.extend(names.map(|name| binding_of(cluster::ROOT, cluster::ROOT, name)));
    out
}

/// `root`, second part: namespace default, RBAC, workspace types, and what the batteries bring.
pub fn root(options: &RootOptions) -> Vec<BootstrapObject> {
    let mut out = vec![namespace_of(cluster::ROOT, namespace::DEFAULT, true)];
    let mut rbac: Vec<Value> = crate::data::parse("root-rbac.json");
    for object in &mut rbac {
        if object.name() == "system:kcp:configured-group:home-clusterworkspace-create" {
            let groups = options.home_creator_groups.iter();
            object["subjects"] = groups.map(|name| subject("Group", name)).collect();
        }
    }
    out.extend(rbac_of(cluster::ROOT, rbac));
    out.extend(workspace_types(options.batteries));
    if options.batteries.metrics_viewer {
        out.extend(metrics_viewer());
    }
    out
}

/// The Shard object of a shard, in root. Labels and annotations that an operator added are to be kept (H.2), so an update
/// replaces no more than this object says.
pub fn shard_object(name: &str, urls: &ShardUrls) -> Value {
    json!({
        "apiVersion": api_version::CORE_V1ALPHA1,
        "kind": "Shard",
        "metadata": {"name": name, "labels": {label::SHARD_NAME: name}},
        "spec": {"baseURL": urls.base, "externalURL": urls.external, "virtualWorkspaceURL": urls.virtual_workspace},
    })
}

/// A namespace of a system cluster or root, as the namespace storage makes it.
fn namespace_of(cluster: &'static str, name: &str, create_only: bool) -> BootstrapObject {
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {label::NAMESPACE_NAME: name}},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    });
    if create_only {
        object.set_annotation(annotation::CREATE_ONLY, "true");
    }
    // Namespaces have nothing that a later version of this list would change.
    BootstrapObject {
        cluster,
        group: "",
        resource: "namespaces",
        object,
        mode: BootstrapMode::CreateOnly,
    }
}

fn rbac_of(cluster: &'static str, objects: Vec<Value>) -> impl Iterator<Item = BootstrapObject> {
    objects.into_iter().map(move |object| {
        let resource = match object.kind() {
            "ClusterRole" => "clusterroles",
            "ClusterRoleBinding" => "clusterrolebindings",
            "Role" => "roles",
            _ => "rolebindings",
        };
        BootstrapObject {
            cluster,
            group: group::RBAC,
            resource,
            object,
            mode: BootstrapMode::Reconcile,
        }
    })
}

fn logical_cluster(annotations: Value) -> Value {
    let mut metadata = json!({"name": object::LOGICAL_CLUSTER, "finalizers": [finalizer::LOGICAL_CLUSTER_DELETION]});
    if annotations.as_object().is_some_and(|members| !members.is_empty()) {
        metadata["annotations"] = annotations;
    }
    json!({
        "apiVersion": api_version::CORE_V1ALPHA1,
        "kind": "LogicalCluster",
        "metadata": metadata,
        "spec": {"directlyDeletable": false},
    })
}

/// A binding to an export of root, named like it. Created only: what it refers to cannot change.
fn binding_of(cluster: &'static str, path: &str, export: &str) -> BootstrapObject {
    let object = json!({
        "apiVersion": api_version::APIS_V1ALPHA2,
        "kind": "APIBinding",
        "metadata": {
            "name": export,
            "annotations": {annotation::PATH: path},
            "labels": {label::EXPORT: export_label(cluster::ROOT, export)},
            "finalizers": [finalizer::API_BINDING],
        },
        "spec": {"reference": {"export": {"name": export, "path": cluster::ROOT}}},
    });
    BootstrapObject {
        cluster,
        group: group::APIS,
        resource: "apibindings",
        object,
        mode: BootstrapMode::CreateOnly,
    }
}

fn workspace_types(batteries: Batteries) -> Vec<BootstrapObject> {
    let mut types: Vec<Value> = crate::data::parse("workspacetypes.json");
    if !batteries.workspace_types {
        types.retain(|object| object.annotation(annotation::BATTERY).is_none());
        for object in types.iter_mut().filter(|object| object.name() == "root") {
            // There is no organization then; the schema's default applies.
            object["spec"]["defaultChildWorkspaceType"] = json!({"name": "universal", "path": "root"});
        }
    }
    let of = |object: Value| {
        let create_only = object.annotation(annotation::CREATE_ONLY).is_some();
        let mode = if create_only {
            BootstrapMode::CreateOnly
        } else {
            BootstrapMode::Reconcile
        };
        BootstrapObject {
            cluster: cluster::ROOT,
            group: group::TENANCY,
            resource: "workspacetypes",
            object,
            mode,
        }
    };
    types.into_iter().map(of).collect()
}

/// Battery metrics-viewer: a ServiceAccount with a token that may read /metrics; the user of that name may as well.
fn metrics_viewer() -> Vec<BootstrapObject> {
    let battery = json!({annotation::BATTERY: "metrics-viewer"});
    let named = |name: &str| json!({"name": name, "annotations": battery});
    let in_default = |name: &str| json!({"name": name, "namespace": namespace::DEFAULT, "annotations": battery});
    let mut token = in_default("metrics");
    token["annotations"]["kubernetes.io/service-account.name"] = json!("metrics");
    let role = json!({
        "apiVersion": api_version::RBAC_V1, "kind": "ClusterRole", "metadata": named("metrics-viewer"),
        "rules": [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}],
    });
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": in_default("metrics")});
    let binding = json!({
        "apiVersion": api_version::RBAC_V1, "kind": "ClusterRoleBinding", "metadata": named("metrics-viewer"),
        "roleRef": {"apiGroup": group::RBAC, "kind": "ClusterRole", "name": "metrics-viewer"},
        "subjects": [
            {"kind": "ServiceAccount", "name": "metrics", "namespace": namespace::DEFAULT},
            subject("User", "metrics-viewer"),
        ],
    });
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token", "metadata": token,
    });
    let in_root = |group, resource, object| BootstrapObject {
        cluster: cluster::ROOT,
        group,
        resource,
        object,
        mode: BootstrapMode::Reconcile,
    };
    // The secret is filled by the token controller, so it is not written again.
    let secret = BootstrapObject {
        mode: BootstrapMode::CreateOnly,
        ..in_root("", "secrets", secret)
    };
    vec![
        in_root(group::RBAC, "clusterroles", role),
        in_root("", "serviceaccounts", account),
        in_root(group::RBAC, "clusterrolebindings", binding),
        secret,
    ]
}

fn subject(kind: &str, name: &str) -> Value {
    json!({"apiGroup": group::RBAC, "kind": kind, "name": name})
}

#[cfg(test)]
mod tests;
