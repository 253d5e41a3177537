//! What other shards hold and every shard needs: kept durably, and looked up where a cluster is on another shard.
//!
//! Replicas are in the shard's own store (`kv`), under a prefix of their own and with a cache and log of their own
//! ([`storage::Store`]): so nothing that reads the shard's objects (lists, wildcards, counts, the contents of a cluster, quota,
//! views) can come across one, and needs no rule to leave them out. It is opened when there is another shard, or something is
//! left of one; a shard that is alone pays nothing.
//!
//! Invariants
//! - An object is as its shard encoded it, but for the annotations that name its shard, its uid and its resourceVersion there.
//! - The place of the namespace in a key is the name of the shard: all that is replicated is cluster-scoped, and two shards
//!   that tell of the same cluster (one was moved, or lies) never overwrite each other.
//! - What a shard told at an older revision never replaces what it told at a newer one, unless its store is an older one.
//! - What cannot be kept is left out, and nothing that is told with it or after it.
//! - What a shard that tells everything anew does not tell is removed; so is everything of a shard that is no member.
//!
//! Read next: [`sink`](self), then `follow`, which takes the streams. The cache server asks nobody: `receive` is told, by
//! shards whose `tell` knows it.

mod follow;
mod receive;
mod sink;
mod tell;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock, Weak};

use api::keys::annotation;
use compact_str::CompactString;
use env::Env;
use kv::{Kv, RangeRequest};
use machinery::selector::LabelSelector;
use parking_lot::RwLock;
use permit::{Cluster, Permit, Scope};
use serde_json::Value;
use storage::{Applied, Entry, ObjectKey, Projection, ResourceKey, StorageError, Store, StoreOptions};
use telemetry::metrics::{Counter, Sample};

pub(crate) use follow::MESSAGE_MAX;
pub use follow::{Following, Member, Members};
pub(crate) use receive::Positions;
pub use receive::Receiving;
pub use tell::Telling;

/// See the module.
pub struct Replicas {
    env: Env,
    kv: Arc<dyn Kv>,
    options: StoreOptions,
    projections: Vec<Arc<dyn Projection>>,
    store: RwLock<Option<Store>>,
    opening: tokio::sync::Mutex<()>,
    /// Shards that something is kept of.
    shards: Arc<Origins>,
    unkept: Unkept,
}

/// Told, but not kept, since this process began.
#[derive(Default)]
struct Unkept {
    unreadable: Counter,
    unstorable: Counter,
}

#[derive(Default)]
struct Origins {
    known: RwLock<BTreeSet<CompactString>>,
}

/// Told to a projection as if the object were this shard's own, which knows no shards in keys.
struct Unsharded {
    projection: Arc<dyn Projection>,
    replicas: Arc<OnceLock<Weak<Replicas>>>,
}

/// Bytes of events: watchers of replicas are few, and begin anew cheaply.
const LOG_BYTES: usize = 4 << 20;

// === impl Replicas ===

impl Replicas {
    /// Opens what is kept, if there is anything. `options` are those of the shard's own store; `projections` see replicas as
    /// they would see the shard's own objects.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn new(
        env: &Env,
        kv: Arc<dyn Kv>,
        options: StoreOptions,
        projections: Vec<Arc<dyn Projection>>,
    ) -> Result<Arc<Self>, StorageError> {
        let options = StoreOptions {
            prefix: format!("{}-replicas", options.prefix.trim_end_matches('/')),
            log_bytes: LOG_BYTES,
            // The shard's own store compacts for both.
            compaction_period: std::time::Duration::ZERO,
            ..options
        };
        let replicas = Self::over(env, kv, options, projections);
        let first = RangeRequest::prefix(format!("{}/", replicas.options.prefix).into_bytes());
        if !replicas.kv.range(first.limited(1)).await?.kvs.is_empty() {
            replicas.store().await?;
        }
        Ok(replicas)
    }

    /// Of a process that keeps nothing else: in a store of their own, opened at once.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn alone(env: &Env, kv: Arc<dyn Kv>, options: StoreOptions) -> Result<Arc<Self>, StorageError> {
        let replicas = Self::over(env, kv, options, Vec::new());
        replicas.store().await?;
        Ok(replicas)
    }

    fn over(env: &Env, kv: Arc<dyn Kv>, options: StoreOptions, projections: Vec<Arc<dyn Projection>>) -> Arc<Self> {
        let shards = Arc::new(Origins::default());
        let mut all: Vec<Arc<dyn Projection>> = vec![shards.clone()];
        let known = Arc::new(OnceLock::new());
        for projection in projections {
            let replicas = known.clone();
            all.push(Arc::new(Unsharded { projection, replicas }));
        }
        let replicas = Arc::new(Self {
            env: env.clone(),
            kv,
            options: StoreOptions {
                copies: true,
                ..options
            },
            projections: all,
            store: RwLock::default(),
            opening: tokio::sync::Mutex::default(),
            shards,
            unkept: Unkept::default(),
        });
        // Once: it was made above.
        let _first = known.set(Arc::downgrade(&replicas));
        replicas
    }

    /// The store, opened if it was not yet.
    pub async fn store(&self) -> Result<Store, StorageError> {
        if let Some(store) = self.opened() {
            return Ok(store);
        }
        let _one = self.opening.lock().await;
        if let Some(store) = self.opened() {
            return Ok(store);
        }
        let (options, projections) = (self.options.clone(), self.projections.clone());
        let store = Store::open(self.env.clone(), self.kv.clone(), options, projections).await?;
        *self.store.write() = Some(store.clone());
        Ok(store)
    }

    /// The store, if there is anything in it or will be.
    pub fn opened(&self) -> Option<Store> {
        self.store.read().clone()
    }

    /// Stops following the store, and lets go of it.
    pub fn close(&self) {
        if let Some(store) = self.store.write().take() {
            store.close();
        }
    }

    /// One object, from whichever shard has told of it.
    pub fn get(&self, group: &str, resource: &str, of: &Cluster, name: &str) -> Option<Arc<Value>> {
        let store = self.opened()?;
        let entry = self.find(&store, &resource_key(group, resource), of, name, "")?;
        Some(store.tree(&entry))
    }

    fn find(
        &self,
        store: &Store,
        resource: &ResourceKey,
        of: &Cluster,
        name: &str,
        but_of_shard: &str,
    ) -> Option<Arc<Entry>> {
        let permit = Permit::internal(Scope::One(of.clone()));
        let known = self.shards.known.read();
        let mut others = known.iter().filter(|shard| **shard != but_of_shard);
        others.find_map(|shard| store.peek(&permit, resource, &ObjectKey::new(of.clone(), shard, name)))
    }

    /// The objects of a scope, in the order of clusters.
    pub fn list(&self, group: &str, resource: &str, scope: &Scope, labels: &LabelSelector) -> Vec<Arc<Value>> {
        let Some(store) = self.opened() else {
            return Vec::new();
        };
        let entries = self.entries(&store, &resource_key(group, resource), scope, "", labels);
        entries.iter().map(|entry| store.tree(entry)).collect()
    }

    /// Shards that something is kept of.
    pub fn origins(&self) -> Vec<String> {
        self.shards.known.read().iter().map(|name| name.to_string()).collect()
    }

    /// How many objects are kept of a shard.
    pub fn count(&self, shard: &str) -> usize {
        let Some(store) = self.opened() else { return 0 };
        let all = LabelSelector::everything();
        let of = |resource: &ResourceKey| self.entries(&store, resource, &Scope::All, shard, &all).len();
        store.resources().iter().map(of).sum()
    }

    /// What shards told and this process could not keep: two series, whoever told what.
    pub fn samples(&self) -> Vec<Sample> {
        let Unkept { unreadable, unstorable } = &self.unkept;
        let of = |(reason, count): (&str, &Counter)| Sample {
            name: "kcp_replicas_unkept_total",
            help: "Objects that other shards told of and that could not be kept here, by reason.",
            kind: "counter",
            labels: vec![("reason", reason.to_owned())],
            value: count.get() as f64,
        };
        [("unreadable", unreadable), ("unstorable", unstorable)].map(of).into()
    }

    fn entries(
        &self,
        store: &Store,
        resource: &ResourceKey,
        scope: &Scope,
        shard: &str,
        labels: &LabelSelector,
    ) -> Vec<Arc<Entry>> {
        store.peek_list(&Permit::internal(scope.clone()), resource, scope, shard, labels)
    }
}

/// Where replicas of a resource are, whatever they are at home.
pub fn resource_key(group: &str, resource: &str) -> ResourceKey {
    ResourceKey::builtin(group, resource)
}

/// The revision at which the object was so on its shard.
pub fn original_revision(entry: &Entry) -> u64 {
    let text = entry.short_text(annotation::ORIGINAL_RESOURCE_VERSION);
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

impl Projection for Origins {
    fn apply(&self, change: &Applied<'_>) {
        // Never removed: a name costs a few bytes, and one that is gone finds nothing.
        let shard = &change.key.namespace;
        if change.new.is_some() && !self.known.read().contains(shard) {
            self.known.write().insert(shard.clone());
        }
    }
}

impl Projection for Unsharded {
    fn apply(&self, change: &Applied<'_>) {
        let told = change.key;
        let key = ObjectKey::new(told.cluster.clone(), "", &told.name);
        let instead = match change.new {
            Some(_) => None,
            // A cluster that has moved is told of by the other shard already.
            None => self.replicas.get().and_then(Weak::upgrade).and_then(|replicas| {
                let store = replicas.opened()?;
                replicas.find(&store, change.resource, &told.cluster, &told.name, &told.namespace)
            }),
        };
        self.projection.apply(&change.under(&key, instead.as_ref()));
    }

    fn visible(&self) {
        self.projection.visible();
    }
}
