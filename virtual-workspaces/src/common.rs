//! The resources that every server has: compiled in, and the system's; and how schemas become resources.

use std::sync::{Arc, LazyLock};

use api::keys::{annotation, cluster, group};
use machinery::object::{GroupVersion, ObjectExt};
use machinery::status::{Result, Status};
use permit::Cluster;
use registry::builtin::{BuiltinResource, builtin_defs};
use registry::{Converter, CustomDefinition, DefinitionCache, Names, Origin, ResourceDef};
use serde_json::Value;
use storage::ResourceKey;

/// The same in every cluster.
pub struct CommonDefinitions {
    builtins: Vec<Arc<ResourceDef>>,
    system: Vec<Arc<ResourceDef>>,
}

/// The compiled-in conversion of apis.kcp.io.
struct Apis;

static APIS: LazyLock<Arc<dyn Converter>> = LazyLock::new(|| Arc::new(Apis));

// === impl CommonDefinitions ===

impl CommonDefinitions {
    pub fn new(cache: &DefinitionCache) -> Self {
        let system = api::system::crds().iter().filter_map(|crd| {
            let mut definition = CustomDefinition::from_crd(crd, Origin::System)?;
            definition.home = cluster::SYSTEM_CRDS.to_owned();
            if definition.group == group::APIS && api::convert::converts(group::APIS, &definition.names.kind) {
                definition.convert = Some(APIS.clone());
            }
            definition.fences_cluster = definition.group == group::CORE && definition.names.plural == "logicalclusters";
            Some(cache.definition(&definition))
        });
        Self {
            system: system.collect(),
            builtins: builtins(),
        }
    }

    pub fn find(&self, group: &str, resource: &str) -> Option<Arc<ResourceDef>> {
        let is = |def: &&Arc<ResourceDef>| &*def.group == group && def.names.plural == resource;
        self.all().find(is).cloned()
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<ResourceDef>> {
        self.builtins.iter().chain(&self.system)
    }
}

/// What an APIResourceSchema describes, stored under an identity.
pub fn definition_of_schema(schema: &Value, identity: &str) -> Option<CustomDefinition> {
    let crd = api::types::bound_crd(schema).ok()?;
    let mut definition = CustomDefinition::from_crd(&crd, Origin::Bound)?;
    definition.store = ResourceKey::identity(&definition.group, &definition.names.plural, identity);
    // Where it will be once it is bound: it is the same before.
    definition.home = cluster::BOUND_CRDS.to_owned();
    Some(definition)
}

/// The schema of a resource of an export, and the cluster that both are in.
pub fn exported_schema<'e>(export: &'e Value, group: &str, resource: &str) -> Option<(Cluster, &'e str)> {
    let home = Cluster::parse(export.annotation(annotation::CLUSTER)?).ok()?;
    let resources = export.at(&["spec", "resources"])?.as_array()?;
    let is_it = |r: &&Value| r.str_at(&["group"]).unwrap_or_default() == group && r.str_at(&["name"]) == Some(resource);
    Some((home, resources.iter().find(is_it)?.str_at(&["schema"])?))
}

fn builtins() -> Vec<Arc<ResourceDef>> {
    let resources = api::builtin::resources().iter().map(|r| BuiltinResource {
        group: r.group.clone(),
        version: r.version.clone(),
        names: Names {
            plural: r.plural.clone(),
            singular: r.singular.clone(),
            kind: r.kind.clone(),
            list_kind: r.list_kind.clone().unwrap_or_default(),
            short_names: r.short_names.clone(),
            categories: r.categories.clone(),
        },
        namespaced: r.namespaced,
        verbs: r.verbs.clone(),
        subresources: r.subresources.iter().map(|s| s.name.clone()).collect(),
        stored_as: stored_as(r),
        storage_version_hash: r.storage_version_hash.clone(),
        definition: r.schema.clone(),
    });
    builtin_defs(&resources.collect::<Vec<_>>(), api::builtin::definitions())
}

/// Only what is stored as another resource's: both kinds of events share core's.
fn stored_as(resource: &api::builtin::BuiltinResource) -> Option<(String, String, String)> {
    let storage = resource.storage.as_ref()?;
    let same = storage.group == resource.group && storage.resource == resource.plural;
    (!same).then(|| (storage.group.clone(), "v1".to_owned(), storage.resource.clone()))
}

// === impl Apis ===

impl Converter for Apis {
    fn convert(&self, object: &mut Value, to: &GroupVersion) -> Result<()> {
        let converted = api::convert::convert(std::mem::take(object), &to.version).map_err(Status::from)?;
        *object = converted;
        Ok(())
    }
}
