//! What a resource is.

use std::sync::Arc;

use machinery::apply::ObjectType;
use machinery::object::{GroupResource, GroupVersion, GroupVersionKind};
use machinery::schema::CompiledSchema;
use permit::Verbs;
use serde_json::Value;
use storage::ResourceKey;

use crate::shape::Shape;
use crate::{Converter, Strategy};

/// A resource as it is served: one for all clusters in which it has the same content.
pub struct ResourceDef {
    pub group: Arc<str>,
    pub names: Names,
    pub namespaced: bool,
    /// Where its objects live.
    pub store: ResourceKey,
    /// Ordered as discovery prints them; at least one.
    pub versions: Vec<VersionDef>,
    /// Index into `versions` of the version that objects are stored in (the nearest of shape, if `stored_as` is set).
    pub storage_version: usize,
    /// The `apiVersion` of stored objects, where the store is another resource's (events).
    pub stored_as: Option<GroupVersion>,
    /// How versions differ beyond `apiVersion` and what their schemas prune and default.
    pub convert: Option<Arc<dyn Converter>>,
    /// Objects may have been stored under another schema: reads apply this one's defaults.
    pub defaults_on_read: bool,
    pub verbs: Verbs,
    /// What there is beside the object itself.
    pub subresources: Vec<Subresource>,
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
    /// JSON paths (`.spec.colour`) of `selectableFields`.
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
    pub raw: Arc<Value>,
    /// Prune, default, validate; `None` for compiled-in kinds, which their strategies validate.
    pub compiled: Option<CompiledSchema>,
    /// What Go's types do to a body of a compiled-in kind; `None` for custom resources.
    pub shape: Option<Shape>,
    /// Types for server-side apply and strategic merge patch; built on first use.
    pub types: Arc<ObjectType>,
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
    /// Main resource and status in one write: for the server's own components alone ([`crate::Request::trusted`]); no URL
    /// names it.
    Whole,
}

// === impl ResourceDef ===

impl ResourceDef {
    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(&*self.group, self.names.plural.as_str())
    }

    pub fn group_version(&self, version: usize) -> GroupVersion {
        GroupVersion::new(&*self.group, self.versions[version].name.as_str())
    }

    /// What stored objects say they are.
    pub fn storage_group_version(&self) -> GroupVersion {
        self.stored_as
            .clone()
            .unwrap_or_else(|| self.group_version(self.storage_version))
    }

    /// A version whose objects read as they are stored, byte for byte.
    pub fn reads_as_stored(&self, version: usize) -> bool {
        version == self.storage_version && self.stored_as.is_none() && !self.defaults_on_read
    }

    pub fn group_version_kind(&self, version: usize) -> GroupVersionKind {
        GroupVersionKind::new(
            &*self.group,
            self.versions[version].name.as_str(),
            self.names.kind.as_str(),
        )
    }

    /// Index of a served version.
    pub fn served_version(&self, name: &str) -> Option<usize> {
        self.versions.iter().position(|v| v.served && v.name == name)
    }

    /// Custom resources follow the CRD rules of Kubernetes: no unconditional update, no strategic merge patch.
    pub fn is_custom(&self) -> bool {
        self.origin != Origin::Builtin
    }

    /// kcp: kinds of Kubernetes' own groups that come as CRDs (deployments.apps) take strategic merge patches, too.
    pub fn takes_strategic_patch(&self) -> bool {
        !self.is_custom() || is_kubernetes_group(&self.group)
    }
}

/// Groups of the scheme that kcp compiles in.
fn is_kubernetes_group(group: &str) -> bool {
    const DOTLESS: [&str; 6] = ["", "apps", "autoscaling", "batch", "extensions", "policy"];
    const DOMAIN: [&str; 14] = [
        "admissionregistration",
        "apiserverinternal",
        "authentication",
        "authorization",
        "certificates",
        "coordination",
        "discovery",
        "events",
        "flowcontrol.apiserver",
        "internal.apiserver",
        "networking",
        "node",
        "rbac.authorization",
        "storage",
    ];
    DOTLESS.contains(&group)
        || group
            .strip_suffix(".k8s.io")
            .is_some_and(|name| DOMAIN.contains(&name) || name == "scheduling" || name == "resource")
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
            Self::Whole => "",
        }
    }
}

/// From the segment of a URL.
impl std::str::FromStr for Subresource {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let all = [
            Self::Main,
            Self::Status,
            Self::Scale,
            Self::Finalize,
            Self::Approval,
            Self::Token,
        ];
        all.into_iter()
            .find(|subresource| subresource.as_str() == text)
            .ok_or(())
    }
}
