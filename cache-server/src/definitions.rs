//! What is served: the replicated resources, without their schemas.
//!
//! As in kcp every cluster has all of them; objects are neither validated nor converted (a read in another version than the
//! stored one changes `apiVersion` alone), and status is part of the object.

use std::sync::Arc;

use api::replicated::{self, Replicated};
use machinery::object::ObjectExt;
use permit::{Verb, Verbs};
use registry::{CustomDefinition, CustomVersion, DefinitionCache, Names, Origin, ResourceDef, VersionDef};
use serde_json::{Value, json};
use storage::ResourceKey;

/// A replicated resource.
pub struct Kept {
    /// As clients see it: of a cluster, to be read.
    pub shown: Arc<ResourceDef>,
    /// As it is stored: what is a namespace there is a shard here.
    pub stored: Arc<ResourceDef>,
}

const READS: [Verb; 3] = [Verb::Get, Verb::List, Verb::Watch];

/// All of them, sorted by group and name.
pub fn kept() -> Vec<Kept> {
    let cache = DefinitionCache::default();
    let schema = Arc::new(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}));
    let all = replicated::RESOURCES.iter().filter_map(|of| {
        let mut definition = definition_of(of)?;
        definition.store = ResourceKey::builtin(of.group, of.resource);
        definition.namespaced = true;
        for version in &mut definition.versions {
            version.schema = schema.clone();
            (version.status, version.scale) = (false, None);
        }
        let stored = cache.definition(&definition);
        Some(Kept {
            shown: Arc::new(shown(&stored)),
            stored,
        })
    });
    all.collect()
}

/// From wherever it is defined: root's exports, the system's own definitions, or what is compiled in.
fn definition_of(of: &Replicated) -> Option<CustomDefinition> {
    let is_it = |crd: &&Value| {
        let (group, plural) = (crd.str_at(&["spec", "group"]), crd.str_at(&["spec", "names", "plural"]));
        group == Some(of.group) && plural == Some(of.resource)
    };
    if let Some(crd) = api::system::crds().iter().find(is_it) {
        return CustomDefinition::from_crd(crd, Origin::System);
    }
    if let Some(schema) = api::exports::exported_schema(of.group, of.resource) {
        return CustomDefinition::from_crd(&api::types::bound_crd(schema).ok()?, Origin::System);
    }
    let mut builtins = api::builtin::resources().iter();
    let builtin = builtins.find(|builtin| builtin.group == of.group && builtin.plural == of.resource)?;
    Some(CustomDefinition {
        group: builtin.group.clone(),
        names: Names {
            plural: builtin.plural.clone(),
            singular: builtin.singular.clone(),
            kind: builtin.kind.clone(),
            list_kind: builtin.list_kind.clone().unwrap_or_default(),
            short_names: builtin.short_names.clone(),
            categories: builtin.categories.clone(),
        },
        namespaced: builtin.namespaced,
        versions: vec![CustomVersion {
            name: builtin.version.clone(),
            served: true,
            storage: true,
            ..CustomVersion::default()
        }],
        store: ResourceKey::builtin(of.group, of.resource),
        origin: Origin::System,
        convert: None,
        path_segment_names: true,
        fences_cluster: false,
        terminating: false,
        schema_changed: false,
        home: String::new(),
        defined_by: String::new(),
    })
}

fn shown(stored: &ResourceDef) -> ResourceDef {
    let versions = stored.versions.iter().map(|version| VersionDef {
        name: version.name.clone(),
        served: version.served,
        deprecated: version.deprecated,
        deprecation_warning: version.deprecation_warning.clone(),
        schema: version.schema.clone(),
        columns: version.columns.clone(),
        status: false,
        scale: None,
        selectable_fields: version.selectable_fields.clone(),
    });
    ResourceDef {
        group: stored.group.clone(),
        names: stored.names.clone(),
        namespaced: false,
        store: stored.store.clone(),
        versions: versions.collect(),
        storage_version: stored.storage_version,
        stored_as: None,
        convert: None,
        defaults_on_read: false,
        verbs: Verbs::of(&READS),
        subresources: Vec::new(),
        strategy: stored.strategy.clone(),
        origin: stored.origin,
        terminating: false,
        storage_version_hash: stored.storage_version_hash.clone(),
        defined_by: stored.defined_by.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_replicated_resource_is_served() {
        let names: Vec<_> = kept()
            .iter()
            .map(|kept| (kept.shown.group.to_string(), kept.shown.names.plural.clone()))
            .collect();
        let all = replicated::RESOURCES
            .iter()
            .map(|of| (of.group.to_owned(), of.resource.to_owned()));
        assert_eq!(names, all.collect::<Vec<_>>());
    }

    /// Else objects would be shown in a version that is not theirs.
    #[test]
    fn objects_are_stored_in_the_version_that_shards_store_them_in() {
        for kept in kept() {
            let def = &kept.shown;
            let stored = &def.versions[def.storage_version].name;
            let newest = def.versions.iter().map(|version| &version.name).max().unwrap();
            assert_eq!(stored, newest, "{}", def.names.plural);
            assert!(!def.namespaced && def.subresources.is_empty());
        }
    }
}
