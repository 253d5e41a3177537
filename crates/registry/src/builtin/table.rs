//! The compiled-in resources as data, and the definitions made of them.

use std::sync::Arc;

use machinery::apply::{Definitions, ObjectType};
use machinery::object::GroupVersion;
use permit::{Verb, Verbs};
use serde_json::Value;
use sha2::{Digest, Sha256};
use storage::ResourceKey;

use super::{converter_for, strategy_for};
use crate::shape::Shapes;
use crate::{Names, Origin, ResourceDef, SchemaBundle, VersionDef};

/// A compiled-in resource in its one version.
#[derive(Clone, Debug, Default)]
pub struct BuiltinResource {
    /// `""` is the core group.
    pub group: String,
    pub version: String,
    pub names: Names,
    pub namespaced: bool,
    /// As discovery prints them; what is unknown here (`proxy`) is ignored.
    pub verbs: Vec<String>,
    /// `status`, `finalize`, `approval`, `token`.
    pub subresources: Vec<String>,
    /// Group, version and resource that objects are stored as, if not as this one (events.k8s.io).
    pub stored_as: Option<(String, String, String)>,
    pub storage_version_hash: String,
    /// Name of the kind's definition, e.g. `io.k8s.api.core.v1.ConfigMap`.
    pub definition: String,
}

/// The definitions of compiled-in resources. `definitions` are the OpenAPI v3 components by name. Resources whose
/// definition is absent take any body.
pub fn builtin_defs(resources: &[BuiltinResource], definitions: &Value) -> Vec<Arc<ResourceDef>> {
    let shapes = Shapes::new(definitions);
    let entries = definitions.as_object().into_iter().flatten();
    let types = Arc::new(Definitions::new(
        entries.map(|(name, schema)| (name.clone(), schema.clone())),
    ));
    resources
        .iter()
        .map(|resource| Arc::new(definition(resource, definitions, &shapes, &types)))
        .collect()
}

fn definition(
    resource: &BuiltinResource,
    definitions: &Value,
    shapes: &Arc<Shapes>,
    types: &Arc<Definitions>,
) -> ResourceDef {
    let raw = definitions.get(&resource.definition).cloned().unwrap_or_default();
    let types = ObjectType::named(&resource.definition, types).unwrap_or_else(ObjectType::deduced);
    let schema = SchemaBundle {
        content: Sha256::digest(raw.to_string().as_bytes()).into(),
        raw: Arc::new(raw),
        compiled: None,
        shape: shapes.of(&resource.definition),
        types: Arc::new(types),
    };
    let version = VersionDef {
        name: resource.version.clone(),
        served: true,
        deprecated: false,
        deprecation_warning: None,
        schema: Arc::new(schema),
        columns: Arc::from([]),
        status: resource.subresources.iter().any(|name| name == "status"),
        scale: None,
        selectable_fields: Vec::new(),
    };
    let plural = resource.names.plural.as_str();
    let (group, stored) = (resource.group.as_str(), resource.stored_as.as_ref());
    let store = match stored {
        Some((group, _, resource)) => ResourceKey::builtin(group, resource),
        None => ResourceKey::builtin(group, plural),
    };
    ResourceDef {
        group: group.into(),
        names: resource.names.clone(),
        namespaced: resource.namespaced,
        store,
        versions: vec![version],
        storage_version: 0,
        stored_as: stored.map(|(group, version, _)| GroupVersion::new(group.as_str(), version.as_str())),
        convert: converter_for(group, plural),
        defaults_on_read: false,
        verbs: verbs(&resource.verbs),
        subresources: resource
            .subresources
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect(),
        strategy: strategy_for(group, plural),
        origin: Origin::Builtin,
        terminating: false,
        storage_version_hash: resource.storage_version_hash.clone(),
        defined_by: String::new(),
    }
}

fn verbs(names: &[String]) -> Verbs {
    let known: Vec<Verb> = Verb::EVERY
        .into_iter()
        .filter(|verb| names.iter().any(|name| name == verb.as_str()))
        .collect();
    Verbs::of(&known)
}
