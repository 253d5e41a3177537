//! The resources that every logical cluster has by itself, as Kubernetes' generic control plane does (B.1), and the OpenAPI
//! definitions of their kinds.

use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::describe::describe_definition;
use crate::keys::group;

/// A built-in resource, in one version.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BuiltinResource {
    /// `""` is the core group.
    pub group: String,
    pub version: String,
    pub plural: String,
    pub singular: String,
    pub kind: String,
    /// `None` for what cannot be listed (reviews).
    pub list_kind: Option<String>,
    #[serde(default)]
    pub short_names: Vec<String>,
    #[serde(default)]
    pub categories: Vec<String>,
    pub namespaced: bool,
    /// Alphabetical, as discovery prints them.
    pub verbs: Vec<String>,
    #[serde(default)]
    pub subresources: Vec<BuiltinSubresource>,
    /// Where objects are kept; `None` for what is answered and forgotten (reviews).
    pub storage: Option<BuiltinStorage>,
    /// `storageVersionHash` of discovery; empty for what is not stored.
    #[serde(default)]
    pub storage_version_hash: String,
    /// Name of the kind's definition.
    pub schema: String,
}

/// A subresource of a built-in resource.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BuiltinSubresource {
    /// `status`, `finalize`, `approval`, `token`.
    pub name: String,
    /// Alphabetical.
    pub verbs: Vec<String>,
    /// Where it has a kind of its own (`serviceaccounts/token`).
    #[serde(flatten)]
    pub own_kind: Option<OwnKind>,
}

/// The kind of a subresource that differs from its resource's.
#[derive(Clone, Debug, Deserialize)]
pub struct OwnKind {
    pub group: String,
    pub version: String,
    pub kind: String,
    /// Name of the kind's definition.
    pub schema: String,
}

/// The key space of a resource. Both kinds of events share one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct BuiltinStorage {
    pub group: String,
    pub resource: String,
}

/// The groups, in the order of `/apis` (B.3); `""`, which `/api` serves, comes first.
pub const GROUPS: [&str; 9] = [
    "",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "rbac.authorization.k8s.io",
    "admissionregistration.k8s.io",
    "events.k8s.io",
    "apiextensions.k8s.io",
];

static RESOURCES: LazyLock<Vec<BuiltinResource>> = LazyLock::new(|| crate::data::parse("builtin-resources.json"));

static DEFINITIONS: LazyLock<Value> = LazyLock::new(|| {
    let mut definitions: Map<String, Value> = crate::data::parse("builtin-definitions.json");
    for resource in resources() {
        describe_definition(&mut definitions, &resource.schema, &resource.group, &resource.kind);
    }
    Value::Object(definitions)
});

/// All of them: groups in the order of [`GROUPS`], plurals sorted within.
pub fn resources() -> &'static [BuiltinResource] {
    &RESOURCES
}

/// One of them.
pub fn resource(group: &str, version: &str, plural: &str) -> Option<&'static BuiltinResource> {
    RESOURCES
        .iter()
        .find(|r| r.group == group && r.version == version && r.plural == plural)
}

/// OpenAPI v3 components by name, e.g. `io.k8s.api.core.v1.ConfigMap`. References are `#/components/schemas/<name>` and all
/// resolve in here. Beside the kinds and their lists: `DeleteOptions`, `Patch`, `Status`, `WatchEvent`, the kinds of
/// discovery, `ObjectMeta`, `ListMeta`, `Scale` and version `Info`.
pub fn definitions() -> &'static Value {
    &DEFINITIONS
}

/// One component.
pub fn definition(name: &str) -> Option<&'static Value> {
    DEFINITIONS.get(name)
}

/// Whether an export may claim the resource without an identity hash (E.7): the built-ins but the reviews of oneself, and
/// LogicalClusters. (Group apis.kcp.io needs no hash either, by a rule of its own.)
pub fn is_claimable(group: &str, resource: &str) -> bool {
    let is_builtin = RESOURCES.iter().any(|r| r.group == group && r.plural == resource);
    (is_builtin && !resource.starts_with("selfsubject")) || (group == group::CORE && resource == "logicalclusters")
}

// === impl BuiltinResource ===

impl BuiltinResource {
    /// `v1`, `rbac.authorization.k8s.io/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Name of the list's definition, where there is a list.
    pub fn list_schema(&self) -> Option<String> {
        self.list_kind.as_ref().map(|_| format!("{}List", self.schema))
    }

    pub fn subresource(&self, name: &str) -> Option<&BuiltinSubresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }
}

#[cfg(test)]
mod tests;
