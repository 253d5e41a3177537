//! Small surfaces and authorizers that views share.

use std::sync::Arc;

use api::hashes;
use apiserver::auth::{Authorizer, Rules};
use async_trait::async_trait;
use machinery::options::{DeleteOptions, GetOptions, ListOptions, WriteOptions};
use machinery::status::{Result, Status};
use machinery::user::User;
use permit::{Access, Decision, Scope, Verb, Verbs};
use registry::{
    Backend, EventStream, Item, ItemList, Origin, Outcome, Patch, Request, Resolved, ResourceDef, Subresource, Surface,
    Target, VersionDef,
};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// No resource at all.
pub struct Nothing;

/// Allows nobody anything.
pub(crate) struct Nobody;

/// A surface of one resource.
pub(crate) struct Single {
    pub def: Arc<ResourceDef>,
    /// What discovery shows of it.
    pub shown: Arc<ResourceDef>,
    pub backend: Arc<dyn Backend>,
}

// === impl Nothing ===

impl Surface for Nothing {
    fn resolve(&self, _: &Scope, _: &str, _: &str, _: &str, _: Option<&str>) -> Result<Option<Resolved>> {
        Ok(None)
    }

    fn resources(&self, _: &Scope) -> Vec<Arc<ResourceDef>> {
        Vec::new()
    }

    fn backend(&self, _: &Resolved) -> Arc<dyn Backend> {
        Arc::new(Nothing)
    }

    fn content_key(&self, _: &Scope) -> [u8; 32] {
        content_key(&[])
    }
}

/// 404 for everything.
#[async_trait]
impl Backend for Nothing {
    async fn get(&self, _: &Request, _: &Target, _: &GetOptions) -> Result<Item> {
        Err(Status::no_such_resource())
    }

    async fn list(&self, _: &Request, _: &Target, _: &ListOptions) -> Result<ItemList> {
        Err(Status::no_such_resource())
    }

    async fn watch(&self, _: &Request, _: &Target, _: &ListOptions) -> Result<Box<dyn EventStream>> {
        Err(Status::no_such_resource())
    }

    async fn create(&self, _: &Request, _: &Target, _: Value, _: &WriteOptions) -> Result<Outcome> {
        Err(Status::no_such_resource())
    }

    async fn update(&self, _: &Request, _: &Target, _: Value, _: &WriteOptions) -> Result<Outcome> {
        Err(Status::no_such_resource())
    }

    async fn patch(&self, _: &Request, _: &Target, _: Patch, _: &WriteOptions) -> Result<Outcome> {
        Err(Status::no_such_resource())
    }

    async fn delete(&self, _: &Request, _: &Target, _: &DeleteOptions) -> Result<Outcome> {
        Err(Status::no_such_resource())
    }

    async fn delete_collection(&self, _: &Request, _: &Target, _: &ListOptions, _: &DeleteOptions) -> Result<ItemList> {
        Err(Status::no_such_resource())
    }
}

// === impl Nobody ===

#[async_trait]
impl Authorizer for Nobody {
    async fn authorize(&self, _: &User, _: &Access) -> Decision {
        Decision::deny("nothing is here for this user")
    }

    async fn rules(&self, _: &User, _: &Scope, _: &str) -> Rules {
        Rules::default()
    }
}

// === impl Single ===

impl Surface for Single {
    fn resolve(
        &self,
        _: &Scope,
        group: &str,
        version: &str,
        resource: &str,
        identity: Option<&str>,
    ) -> Result<Option<Resolved>> {
        if *self.def.group != *group || self.def.names.plural != resource || identity.is_some() {
            return Ok(None);
        }
        Ok(resolved(self.def.clone(), version))
    }

    fn resources(&self, _: &Scope) -> Vec<Arc<ResourceDef>> {
        vec![self.shown.clone()]
    }

    fn backend(&self, _: &Resolved) -> Arc<dyn Backend> {
        self.backend.clone()
    }

    fn content_key(&self, _: &Scope) -> [u8; 32] {
        content_key(std::slice::from_ref(&self.shown))
    }
}

/// A definition in one of its served versions.
pub(crate) fn resolved(def: Arc<ResourceDef>, version: &str) -> Option<Resolved> {
    let version = def.served_version(version)?;
    Some(Resolved { def, version })
}

/// A definition as discovery of a view shows it: fewer verbs, and of the subresources at most status.
pub(crate) fn shown(def: &ResourceDef, verbs: Verbs, with_status: bool) -> Arc<ResourceDef> {
    let versions = def.versions.iter().map(|version| VersionDef {
        name: version.name.clone(),
        served: version.served,
        deprecated: version.deprecated,
        deprecation_warning: version.deprecation_warning.clone(),
        schema: version.schema.clone(),
        columns: version.columns.clone(),
        status: version.status && with_status,
        scale: None,
        selectable_fields: version.selectable_fields.clone(),
    });
    let is_kept = |subresource: &&Subresource| with_status && **subresource == Subresource::Status;
    // The system's own are stored in no cluster in particular: a view shows what they would have there.
    let storage_version_hash = match (def.origin, def.versions.get(def.storage_version)) {
        (Origin::System, Some(version)) => hashes::storage_version_hash("", &def.group, &version.name, &def.names.kind),
        _ => def.storage_version_hash.clone(),
    };
    Arc::new(ResourceDef {
        group: def.group.clone(),
        names: def.names.clone(),
        namespaced: def.namespaced,
        store: def.store.clone(),
        versions: versions.collect(),
        storage_version: def.storage_version,
        stored_as: def.stored_as.clone(),
        convert: def.convert.clone(),
        defaults_on_read: def.defaults_on_read,
        verbs: def.verbs.intersection(verbs),
        subresources: def.subresources.iter().filter(is_kept).copied().collect(),
        strategy: def.strategy.clone(),
        origin: def.origin,
        terminating: def.terminating,
        storage_version_hash,
        defined_by: def.defined_by.clone(),
    })
}

/// The content of discovery and OpenAPI documents over these definitions. Unlike those of a cluster's own surface: the same
/// definitions are shown otherwise there.
pub(crate) fn content_key(defs: &[Arc<ResourceDef>]) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut put = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    put(b"view");
    for def in defs {
        put(format!("{}/{}{:?}{:?}", def.group, def.store, def.names, def.origin).as_bytes());
        put(def.storage_version_hash.as_bytes());
        let verbs: Vec<u8> = Verb::EVERY
            .iter()
            .map(|verb| u8::from(def.verbs.contains(*verb)))
            .collect();
        put(&verbs);
        put(&[u8::from(def.namespaced), u8::from(def.subresources.is_empty())]);
        for version in &def.versions {
            put(version.name.as_bytes());
            put(&version.schema.content);
            put(&[
                u8::from(version.served),
                u8::from(version.status),
                u8::from(version.deprecated),
            ]);
        }
    }
    hash.finalize().into()
}
