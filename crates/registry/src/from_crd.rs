//! Custom definitions: from a CustomResourceDefinition, or from anything that says the same, to a [`ResourceDef`].

use std::sync::Arc;

use machinery::object::ObjectExt;
use permit::Verbs;
use serde_json::Value;
use sha2::{Digest, Sha256};
use storage::ResourceKey;

use crate::custom::CustomResources;
use crate::{Column, Converter, DefinitionCache, Names, Origin, ResourceDef, Scale, Subresource, VersionDef};

/// What a custom resource is, wherever that was said.
#[derive(Clone)]
pub struct CustomDefinition {
    pub group: String,
    pub names: Names,
    pub namespaced: bool,
    pub versions: Vec<CustomVersion>,
    pub store: ResourceKey,
    pub origin: Origin,
    pub convert: Option<Arc<dyn Converter>>,
    /// Names need only be path segments.
    pub path_segment_names: bool,
    /// An object of this resource is what a cluster is: its creation opens the cluster for writes, its end closes it.
    pub fences_cluster: bool,
    /// Being deleted: no creates.
    pub terminating: bool,
    /// Objects may have been stored under an earlier schema.
    pub schema_changed: bool,
    /// The cluster of the defining object, which discovery's `storageVersionHash` is mixed with.
    pub home: String,
    /// Name of the defining object.
    pub defined_by: String,
}

#[derive(Clone, Debug, Default)]
pub struct CustomVersion {
    pub name: String,
    pub served: bool,
    pub storage: bool,
    pub deprecated: bool,
    pub deprecation_warning: Option<String>,
    /// `openAPIV3Schema`.
    pub schema: Arc<Value>,
    pub status: bool,
    pub scale: Option<Scale>,
    pub columns: Vec<Column>,
    pub selectable_fields: Vec<String>,
}

// === impl CustomDefinition ===

impl CustomDefinition {
    /// Reads a CRD: what `status` says of accepted names and of its end counts, whether it is established does not.
    /// `None` if it has no storage version.
    pub fn from_crd(crd: &Value, origin: Origin) -> Option<Self> {
        let spec = crd.get("spec")?;
        let group = spec.str_at(&["group"]).unwrap_or_default();
        let names = accepted_names(crd);
        let versions: Vec<CustomVersion> = list(spec, "versions").iter().map(CustomVersion::read).collect();
        versions.iter().find(|version| version.storage)?;
        Some(Self {
            store: ResourceKey::custom(group, &names.plural),
            group: group.to_owned(),
            names,
            namespaced: spec.str_at(&["scope"]) == Some("Namespaced"),
            versions,
            origin,
            convert: None,
            path_segment_names: crd.annotation("internal.kcp.io/validate-name") == Some("path-segment"),
            fences_cluster: false,
            terminating: crd.deletion_timestamp().is_some() || has_condition(crd, "Terminating"),
            schema_changed: crd.generation() > 1,
            home: crd.annotation("kcp.io/cluster").unwrap_or_default().to_owned(),
            defined_by: crd.name().to_owned(),
        })
    }

    /// Identifies the content: equal definitions have equal keys.
    pub(crate) fn content_key(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut put = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        };
        put(&self.group);
        put(&format!("{:?}", self.names));
        put(&format!("{}{:?}{:?}", self.store, self.store.segment, self.origin));
        let flags = [
            self.namespaced,
            self.path_segment_names,
            self.fences_cluster,
            self.terminating,
            self.schema_changed,
        ];
        put(&format!("{flags:?}"));
        // Converters are compiled in or belong to one definition: their identity is their address.
        put(&format!(
            "{:?}",
            self.convert.as_ref().map(|c| Arc::as_ptr(c).cast::<()>() as usize)
        ));
        put(&self.home);
        put(&self.defined_by);
        for version in &self.versions {
            put(&version.schema.to_string());
            let bare = CustomVersion {
                schema: Arc::default(),
                ..version.clone()
            };
            put(&format!("{bare:?}"));
        }
        hash.finalize().into()
    }

    pub(crate) fn build(&self, cache: &DefinitionCache) -> ResourceDef {
        let versions: Vec<VersionDef> = self.versions.iter().map(|version| version.build(cache)).collect();
        let storage_version = self
            .versions
            .iter()
            .position(|version| version.storage)
            .unwrap_or_default();
        let stored_as = self
            .versions
            .get(storage_version)
            .map(|v| v.name.as_str())
            .unwrap_or_default();
        let has_defaults = versions.iter().any(|v| {
            v.schema
                .compiled
                .as_ref()
                .is_some_and(|schema| schema.structural.has_defaults)
        });
        let mut subresources = Vec::new();
        if versions.iter().any(|v| v.status) {
            subresources.push(Subresource::Status);
        }
        if versions.iter().any(|v| v.scale.is_some()) {
            subresources.push(Subresource::Scale);
        }
        ResourceDef {
            group: self.group.as_str().into(),
            namespaced: self.namespaced,
            store: self.store.clone(),
            storage_version,
            stored_as: None,
            convert: self.convert.clone(),
            defaults_on_read: self.schema_changed && has_defaults,
            verbs: Verbs::ALL,
            subresources,
            strategy: Arc::new(CustomResources {
                path_segment_names: self.path_segment_names,
                fences_cluster: self.fences_cluster,
            }),
            origin: self.origin,
            terminating: self.terminating,
            storage_version_hash: storage_version_hash(&self.home, &self.group, stored_as, &self.names.kind),
            defined_by: self.defined_by.clone(),
            names: self.names.clone(),
            versions,
        }
    }
}

// === impl CustomVersion ===

impl CustomVersion {
    /// Reads an entry of a CRD's `spec.versions`.
    pub fn read(version: &Value) -> Self {
        let flag = |name: &str| version.get(name) == Some(&Value::Bool(true));
        let text = |value: &Value, name: &str| value.str_at(&[name]).unwrap_or_default().to_owned();
        let column = |column: &Value| Column {
            name: text(column, "name"),
            kind: text(column, "type"),
            format: text(column, "format"),
            description: text(column, "description"),
            json_path: text(column, "jsonPath"),
            priority: column
                .get("priority")
                .and_then(Value::as_i64)
                .and_then(|n| i32::try_from(n).ok())
                .unwrap_or(0),
        };
        Self {
            name: text(version, "name"),
            served: flag("served"),
            storage: flag("storage"),
            deprecated: flag("deprecated"),
            deprecation_warning: version.str_at(&["deprecationWarning"]).map(str::to_owned),
            schema: Arc::new(version.at(&["schema", "openAPIV3Schema"]).cloned().unwrap_or_default()),
            status: version.at(&["subresources", "status"]).is_some(),
            scale: version.at(&["subresources", "scale"]).map(|scale| Scale {
                spec_replicas_path: text(scale, "specReplicasPath"),
                status_replicas_path: text(scale, "statusReplicasPath"),
                label_selector_path: scale.str_at(&["labelSelectorPath"]).map(str::to_owned),
            }),
            columns: list(version, "additionalPrinterColumns").iter().map(column).collect(),
            selectable_fields: list(version, "selectableFields")
                .iter()
                .map(|field| text(field, "jsonPath"))
                .collect(),
        }
    }

    fn build(&self, cache: &DefinitionCache) -> VersionDef {
        VersionDef {
            name: self.name.clone(),
            served: self.served,
            deprecated: self.deprecated,
            deprecation_warning: self.deprecation_warning.clone(),
            schema: cache.schema(&self.schema),
            columns: self.columns.clone().into(),
            status: self.status,
            scale: self.scale.clone(),
            selectable_fields: self.selectable_fields.clone(),
        }
    }
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value
        .get(field)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

fn has_condition(crd: &Value, kind: &str) -> bool {
    let list = crd.at(&["status", "conditions"]).and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .any(|c| c.str_at(&["type"]) == Some(kind) && c.str_at(&["status"]) == Some("True"))
}

/// The names the naming controller accepted; before it has, those asked for.
fn accepted_names(crd: &Value) -> Names {
    let accepted = crd
        .at(&["status", "acceptedNames"])
        .filter(|n| !n.str_at(&["plural"]).unwrap_or_default().is_empty());
    let Some(names) = accepted.or_else(|| crd.at(&["spec", "names"])) else {
        return Names::default();
    };
    Names::read(names)
}

// === impl Names ===

impl Names {
    /// Reads `CustomResourceDefinitionNames`.
    pub fn read(names: &Value) -> Self {
        let text = |name: &str| names.str_at(&[name]).unwrap_or_default().to_owned();
        let texts = |name: &str| {
            list(names, name)
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect()
        };
        let kind = text("kind");
        let or = |given: String, made: String| if given.is_empty() { made } else { given };
        Self {
            plural: text("plural"),
            singular: or(text("singular"), kind.to_lowercase()),
            list_kind: or(text("listKind"), format!("{kind}List")),
            kind,
            short_names: texts("shortNames"),
            categories: texts("categories"),
        }
    }
}

/// Discovery's `storageVersionHash`: kcp mixes in the cluster of the definition (B.3).
pub fn storage_version_hash(cluster: &str, group: &str, version: &str, kind: &str) -> String {
    let digest = Sha256::digest(format!("{cluster}/{group}/{version}/{kind}").as_bytes());
    crate::shape::base64_text(digest.get(..8).unwrap_or_default())
}
