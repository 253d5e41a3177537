//! The APIs of this shard's clusters.

use std::sync::Arc;

use machinery::status::{Result, Status};
use permit::Scope;
use registry::{Backend, Origin, Resolved, ResourceDef, Surface};
use sha2::{Digest, Sha256};

use crate::definitions::Definitions;

/// What is compiled in, what the system adds, what is bound, what is the cluster's own; in this order of precedence.
pub struct ShardSurface {
    definitions: Arc<Definitions>,
    objects: Arc<dyn Backend>,
    /// Kinds that are answered and not stored.
    reviews: Arc<dyn Backend>,
    /// Service accounts, whose subresource makes tokens.
    accounts: Arc<dyn Backend>,
    /// Workspaces, among them the users' homes.
    workspaces: Arc<dyn Backend>,
}

// === impl ShardSurface ===

impl ShardSurface {
    pub fn new(
        definitions: Arc<Definitions>,
        objects: Arc<dyn Backend>,
        reviews: Arc<dyn Backend>,
        accounts: Arc<dyn Backend>,
        workspaces: Arc<dyn Backend>,
    ) -> Self {
        Self {
            definitions,
            objects,
            reviews,
            accounts,
            workspaces,
        }
    }
}

impl Surface for ShardSurface {
    fn resolve(
        &self,
        scope: &Scope,
        group: &str,
        version: &str,
        resource: &str,
        identity: Option<&str>,
    ) -> Result<Option<Resolved>> {
        let def = match (identity, scope) {
            (Some(hash), Scope::All) => self.definitions.by_identity(group, resource, hash),
            (Some(hash), Scope::One(cluster)) => match self.definitions.bound(cluster, group, resource) {
                Some(Ok(def)) if is_of_identity(&def, hash) => Some(def),
                _ => None,
            },
            (None, scope) => match self.definitions.find(scope, group, resource) {
                Some(Ok(def)) => Some(def),
                Some(Err(missing)) => return Err(Status::service_unavailable(missing.to_string())),
                None => None,
            },
        };
        let resolved = def.and_then(|def| {
            Some(Resolved {
                version: served_version(&def, version)?,
                def,
            })
        });
        // Some groups have the same resource in several compiled-in versions, each with a definition of its own.
        Ok(resolved.or_else(|| self.other_common(group, version, resource)))
    }

    fn resources(&self, scope: &Scope) -> Vec<Arc<ResourceDef>> {
        let mut out: Vec<Arc<ResourceDef>> = self.definitions.all_common().cloned().collect();
        if let Some(cluster) = scope.cluster() {
            out.extend(self.definitions.particular(cluster));
        }
        out
    }

    fn backend(&self, resolved: &Resolved) -> Arc<dyn Backend> {
        match (&*resolved.def.group, resolved.def.names.plural.as_str()) {
            ("authorization.k8s.io" | "authentication.k8s.io", _) => self.reviews.clone(),
            ("", "serviceaccounts") => self.accounts.clone(),
            ("tenancy.kcp.io", "workspaces") => self.workspaces.clone(),
            _ => self.objects.clone(),
        }
    }

    fn content_key(&self, scope: &Scope) -> [u8; 32] {
        let mut hash = Sha256::new();
        let particular = scope
            .cluster()
            .map(|cluster| self.definitions.particular(cluster))
            .unwrap_or_default();
        for def in &particular {
            hash_definition(&mut hash, def);
        }
        hash.finalize().into()
    }
}

impl ShardSurface {
    fn other_common(&self, group: &str, version: &str, resource: &str) -> Option<Resolved> {
        self.definitions.all_common().find_map(|def| {
            let same = &*def.group == group && def.names.plural == resource;
            same.then(|| {
                Some(Resolved {
                    version: served_version(def, version)?,
                    def: def.clone(),
                })
            })?
        })
    }
}

fn served_version(def: &ResourceDef, version: &str) -> Option<usize> {
    def.served_version(version)
}

fn is_of_identity(def: &ResourceDef, hash: &str) -> bool {
    matches!(&def.store.segment, storage::Segment::Identity(own) if &**own == hash)
}

/// All that discovery and OpenAPI show of a definition.
fn hash_definition(hash: &mut Sha256, def: &ResourceDef) {
    let mut put = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    put(def.group.as_bytes());
    put(format!("{:?}{}{:?}", def.names, def.namespaced, def.origin as Origin).as_bytes());
    put(&[u8::from(def.terminating)]);
    put(def.storage_version_hash.as_bytes());
    for version in &def.versions {
        put(version.name.as_bytes());
        put(&[
            u8::from(version.served),
            u8::from(version.status),
            u8::from(version.scale.is_some()),
        ]);
        put(&version.schema.content);
    }
}
