//! What a resource is.

use std::sync::Arc;

use machinery::object::{GroupResource, GroupVersion, GroupVersionKind};
use permit::Verbs;
use storage::ResourceKey;

use crate::Strategy;

/// A resource as it is served: one for all clusters in which it has the same content.
pub struct ResourceDef {
    pub group: Arc<str>,
    pub names: Names,
    pub namespaced: bool,
    /// Where its objects live.
    pub store: ResourceKey,
    /// Ordered as discovery prints them; at least one.
    pub versions: Vec<VersionDef>,
    /// Index into `versions` of the version that objects are stored in.
    pub storage_version: usize,
    pub verbs: Verbs,
    pub strategy: Arc<dyn Strategy>,
    pub origin: Origin,
    /// The definition is being deleted: creates are refused, everything else goes on.
    pub terminating: bool,
    /// `storageVersionHash` of discovery.
    pub storage_version_hash: String,
    /// Name of the CRD or schema object that defines it, for error texts; empty for compiled-in resources.
    pub defined_by: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub plural: String,
    pub singular: String,
    pub kind: String,
    pub list_kind: String,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
}

/// Where a definition comes from; decides CRD-like behaviour (strict resourceVersions, patch types) and priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    Builtin,
    /// Served in every cluster from the system's own definitions.
    System,
    /// Brought in by a binding.
    Bound,
    /// A CustomResourceDefinition of the cluster itself.
    Local,
}

pub struct VersionDef {
    pub name: String,
    pub served: bool,
    pub deprecated: bool,
    pub deprecation_warning: Option<String>,
    pub schema: Arc<SchemaBundle>,
    pub columns: Arc<[Column]>,
    pub status: bool,
    pub scale: Option<Scale>,
    pub selectable_fields: Vec<String>,
}

/// A column of `additionalPrinterColumns`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: String,
    pub format: String,
    pub description: String,
    pub json_path: String,
    pub priority: i32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    pub spec_replicas_path: String,
    pub status_replicas_path: String,
    pub label_selector_path: Option<String>,
}

/// Everything made from one schema, held once by content: compiled validation and CEL, types for apply and strategic
/// merge, the OpenAPI component. Lazily built parts are in the bundle, never in a cluster.
pub struct SchemaBundle {
    /// Hash of the schema's canonical JSON.
    pub content: [u8; 32],
    /// The raw `openAPIV3Schema` (structural, or an OpenAPI definition for compiled-in kinds).
    pub raw: serde_json::Value,
    /// Prune, default, validate; `None` for compiled-in kinds, which their strategies validate.
    pub compiled: Option<machinery::schema::CompiledSchema>,
    /// Types for server-side apply and strategic merge patch.
    pub types: std::sync::OnceLock<Arc<machinery::apply::TypeRef>>,
}

/// The part of an object that a request addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subresource {
    Main,
    Status,
    Scale,
    /// `namespaces/{n}/finalize`.
    Finalize,
    /// `certificatesigningrequests/{n}/approval`.
    Approval,
    /// `serviceaccounts/{n}/token`.
    Token,
}

// === impl ResourceDef ===

impl ResourceDef {
    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(&*self.group, self.names.plural.as_str())
    }

    pub fn group_version(&self, version: usize) -> GroupVersion {
        GroupVersion::new(&*self.group, self.versions[version].name.as_str())
    }

    pub fn group_version_kind(&self, version: usize) -> GroupVersionKind {
        GroupVersionKind::new(&*self.group, self.versions[version].name.as_str(), self.names.kind.as_str())
    }

    /// Index of a served version.
    pub fn served_version(&self, name: &str) -> Option<usize> {
        self.versions.iter().position(|v| v.served && v.name == name)
    }

    /// Custom resources follow the CRD rules of Kubernetes: no unconditional update, no strategic merge patch.
    pub fn is_custom(&self) -> bool {
        self.origin != Origin::Builtin
    }
}

impl Subresource {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Main => "",
            Self::Status => "status",
            Self::Scale => "scale",
            Self::Finalize => "finalize",
            Self::Approval => "approval",
            Self::Token => "token",
        }
    }
}
