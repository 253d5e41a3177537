//! Brings a fresh store to what a shard starts with, and an old one up to date (kcp's facts, H.4). Idempotent: each step
//! looks before it writes, so a start that was cut off is finished by the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::bootstrap::{BootstrapMode, BootstrapObject, RootOptions, ShardUrls};
use api::keys::{cluster, group, namespace};
use api::types::{identity_key, identity_secret, secret_key};
use machinery::object::ObjectExt;
use machinery::status::{Result, Status};
use permit::Cluster;
use plan::{ObjectRef, ResourceRef};
use serde_json::Value;

use crate::definitions::Definitions;
use crate::effects::ShardEffects;
use crate::facts::{ShardFacts, exports_key};

const MANAGER: &str = "kcp";

pub struct Bootstrap {
    pub env: env::Env,
    pub effects: Arc<ShardEffects>,
    pub facts: Arc<ShardFacts>,
    pub definitions: Arc<Definitions>,
    pub shard_name: String,
    pub urls: ShardUrls,
    pub root: RootOptions,
    pub cache_apis: bool,
}

// === impl Bootstrap ===

impl Bootstrap {
    /// Everything, in order. The root shard's.
    pub async fn run(&self) -> Result<()> {
        self.run_common().await?;
        let root = Cluster::well_known(cluster::ROOT);
        let phase0 = api::bootstrap::root_phase0(self.cache_apis);
        let (before, after): (Vec<_>, Vec<_>) = phase0
            .into_iter()
            .partition(|o| matches!(o.resource, "logicalclusters" | "namespaces" | "apiresourceschemas"));
        self.write_all(before).await?;
        let identities = self.identities(&root).await?;
        self.definitions.set_root_identities(&identities);
        self.write_all(after).await?;
        self.write_all(api::bootstrap::shard()).await?;
        let shard = api::bootstrap::shard_object(&self.shard_name, &self.urls);
        let of = ResourceRef::new(group::CORE, "shards").object(&root, "", &self.shard_name);
        self.write(&of, shard, BootstrapMode::Reconcile).await?;
        self.write_all(api::bootstrap::root(&self.root)).await
    }

    /// What every shard has before anything else.
    pub async fn run_common(&self) -> Result<()> {
        self.write_all(api::bootstrap::policy()).await?;
        self.write_all(api::bootstrap::system_crds()).await
    }

    /// The rest of a shard that is not root: bindings to the exports of root, whose identities are known from there.
    pub async fn run_member(&self, identities: &BTreeMap<String, String>) -> Result<()> {
        self.definitions.set_root_identities(identities);
        self.write_all(api::bootstrap::shard()).await
    }

    /// The identity of each of root's exports: the key in its Secret, made if it is not there. Resources of these exports
    /// are stored under it, so it comes before any of them.
    async fn identities(&self, root: &Cluster) -> Result<BTreeMap<String, String>> {
        let mut identities = BTreeMap::new();
        for export in api::exports::exports() {
            let name = export.name();
            let of = ResourceRef::new("", "secrets").object(root, namespace::KCP_SYSTEM, name);
            let secrets = storage::ResourceKey::builtin("", "secrets");
            let found = self.facts.object(&secrets, root, namespace::KCP_SYSTEM, name);
            let secret = match found {
                Some(secret) => Arc::unwrap_or_clone(secret),
                None => {
                    let mut random = [0; 32];
                    self.env.rng.fill(&mut random);
                    let secret = identity_secret(name, &identity_key(&random));
                    self.effects.create(&of, secret.clone(), MANAGER, Vec::new()).await?;
                    secret
                }
            };
            let Some(key) = secret_key(&secret) else {
                return Err(Status::internal(format!(
                    "identity secret of export root:{name} has no key"
                )));
            };
            identities.insert(name.to_owned(), api::hashes::identity_hash(&key));
        }
        Ok(identities)
    }

    async fn write_all(&self, objects: Vec<BootstrapObject>) -> Result<()> {
        // One after the other would wait for the disk once an object; what does not depend on each other goes together.
        let mut pending: Vec<(ObjectRef, Value, BootstrapMode)> = Vec::new();
        for object in objects {
            let in_cluster = Cluster::well_known(object.cluster);
            let resource = ResourceRef::new(object.group, object.resource);
            let of = resource.object(&in_cluster, object.object.namespace(), object.object.name());
            // What opens a cluster, or a namespace, must be there before what is in it.
            let alone = matches!(object.resource, "logicalclusters" | "namespaces");
            if alone {
                self.write_together(std::mem::take(&mut pending)).await?;
                self.write(&of, object.object, object.mode).await?;
            } else {
                pending.push((of, object.object, object.mode));
            }
        }
        self.write_together(pending).await
    }

    async fn write_together(&self, objects: Vec<(ObjectRef, Value, BootstrapMode)>) -> Result<()> {
        let writes = objects
            .into_iter()
            .map(|(of, object, mode)| async move { self.write(&of, object, mode).await });
        futures_util::future::try_join_all(writes).await.map(drop)
    }

    async fn write(&self, of: &ObjectRef, object: Value, mode: BootstrapMode) -> Result<()> {
        let existing = self.existing(of);
        let Some(existing) = existing else {
            return self.effects.create(of, object, MANAGER, Vec::new()).await.map(drop);
        };
        if mode == BootstrapMode::CreateOnly {
            return Ok(());
        }
        let wanted = overlaid(existing.clone(), &object);
        if wanted == existing {
            return Ok(());
        }
        self.effects.replace(of, wanted, MANAGER, Vec::new()).await
    }

    fn existing(&self, of: &ObjectRef) -> Option<Value> {
        let known = &self.definitions;
        let (group, resource) = (&*of.resource.group, &*of.resource.resource);
        let key = if (group, resource) == (group::APIS, "apiexports") {
            exports_key()
        } else {
            known
                .common(group, resource)
                .or_else(|| known.root_export(group, resource))?
                .store
                .clone()
        };
        let found = self.facts.object(&key, &of.cluster, &of.namespace, &of.name);
        found.map(Arc::unwrap_or_clone)
    }
}

/// The existing object with what the bootstrap says. Labels and annotations that an operator added stay, and so do members
/// of spec that the bootstrap does not name (an export's identity).
pub fn overlaid(mut existing: Value, wanted: &Value) -> Value {
    for member in ["labels", "annotations"] {
        let entries = wanted.at(&["metadata", member]).and_then(Value::as_object);
        for (key, value) in entries.into_iter().flatten() {
            existing.set_at(&["metadata", member, key], value.clone());
        }
    }
    let members = wanted.as_object().into_iter().flatten();
    for (key, value) in members.filter(|(key, _)| !matches!(key.as_str(), "metadata" | "status" | "spec")) {
        existing.set_at(&[key], value.clone());
    }
    let spec = wanted.get("spec").and_then(Value::as_object);
    for (key, value) in spec.into_iter().flatten() {
        existing.set_at(&["spec", key], value.clone());
    }
    existing
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_operators_added_stays() {
        let existing = json!({"metadata": {"labels": {"region": "eu"}}, "spec": {"identity": {"x": 1}, "a": 1}, "status": {"y": 2}});
        let wanted = json!({"metadata": {"labels": {"name": "root"}}, "spec": {"a": 2}});
        let merged = overlaid(existing, &wanted);
        assert_eq!(merged["metadata"]["labels"], json!({"region": "eu", "name": "root"}));
        assert_eq!(merged["spec"], json!({"identity": {"x": 1}, "a": 2}));
        assert_eq!(merged["status"], json!({"y": 2}));
    }
}
