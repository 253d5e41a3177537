//! The store: what holds everything together, and its small questions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use env::Env;
use kv::{Guard, Kv, Op, Revision, Txn, TxnOutcome};
use parking_lot::RwLock;
use permit::Cluster;
use serde_json::Value;
use tokio::sync::Notify;

use crate::follower::{Follower, compact_periodically};
use crate::key::Layout;
use crate::lease::Leases;
use crate::log::Log;
use crate::objects::Span;
use crate::options::StoreOptions;
use crate::resource::Catalog;
use crate::revision::{Freshness, Offsets, Progress};
use crate::segment::Segments;
use crate::tree::Trees;
use crate::{Entry, Projection, ResourceKey, StorageError};

/// Objects over a [`Kv`]. Cheap to clone; the last clone's end stops what runs in the background.
#[derive(Clone)]
pub struct Store {
    pub(crate) shared: Arc<Shared>,
    _life: Arc<Life>,
}

/// What the store's calls and its background tasks have in common.
pub(crate) struct Shared {
    pub env: Env,
    pub kv: Arc<dyn Kv>,
    pub options: StoreOptions,
    pub layout: Layout,
    pub segments: Segments,
    pub catalog: Catalog,
    pub log: Log,
    pub progress: Progress,
    pub freshness: Freshness,
    pub offsets: RwLock<Offsets>,
    /// The revision of the store at which each cluster's fence was put.
    pub fences: RwLock<BTreeMap<Cluster, u64>>,
    pub leases: Leases,
    pub trees: Trees,
    pub projections: Vec<Arc<dyn Projection>>,
    pub closing: Closing,
    /// Stored values that could not be read as objects.
    pub unreadable: AtomicU64,
    /// Watchers under way.
    pub watchers: AtomicU64,
}

/// Tells background tasks and watchers to end.
#[derive(Default)]
pub(crate) struct Closing {
    closed: AtomicBool,
    notify: Notify,
}

/// Ends the background tasks with the last handle.
struct Life {
    shared: Arc<Shared>,
}

/// Figures for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The newest visible revision.
    pub revision: u64,
    pub objects: usize,
    pub resources: usize,
    pub watchers: usize,
    /// Events in the log, and the bytes they are charged with.
    pub log_events: usize,
    pub log_bytes: u64,
    /// Contents held once for several objects, and their bytes.
    pub shared_segments: usize,
    pub shared_bytes: usize,
    /// Clusters that have a fence.
    pub clusters: usize,
    /// Stored values that are no objects, seen since the start.
    pub unreadable: u64,
    /// How often an object was parsed for projections and plans.
    pub parses: u64,
}

// === impl Store ===

impl Store {
    /// Reads everything that is stored and begins to follow the store's changes. Ready for use when it returns.
    ///
    /// # Errors
    /// What the store answers to the first reads; nothing is retried here.
    pub async fn open(
        env: Env,
        kv: Arc<dyn Kv>,
        options: StoreOptions,
        projections: Vec<Arc<dyn Projection>>,
    ) -> Result<Self, StorageError> {
        let shared = Arc::new(Shared {
            layout: Layout::new(&options.prefix),
            segments: Segments::new(),
            catalog: Catalog::new(options.indexes.clone()),
            log: Log::new(options.log_bytes),
            progress: Progress::default(),
            freshness: Freshness::default(),
            offsets: RwLock::default(),
            fences: RwLock::default(),
            leases: Leases::default(),
            trees: Trees::default(),
            projections,
            closing: Closing::default(),
            unreadable: AtomicU64::new(0),
            watchers: AtomicU64::new(0),
            env,
            kv,
            options,
        });
        let follower = Follower::load(Arc::clone(&shared)).await?;
        shared.env.spawn.spawn("storage-follower", follower.run()).detach();
        if !shared.options.compaction_period.is_zero() {
            let compaction = compact_periodically(Arc::clone(&shared));
            shared.env.spawn.spawn("storage-compaction", compaction).detach();
        }
        Ok(Self {
            _life: Arc::new(Life {
                shared: Arc::clone(&shared),
            }),
            shared,
        })
    }

    /// The newest visible revision.
    pub fn revision(&self) -> u64 {
        self.shared.visible()
    }

    /// The keys of this store: for guards.
    pub fn layout(&self) -> &Layout {
        &self.shared.layout
    }

    pub fn kv(&self) -> &Arc<dyn Kv> {
        &self.shared.kv
    }

    /// The epoch of a cluster: the visible revision at which its fence was put, so that a name used again gets a new and
    /// greater one. `None` while it has no fence.
    pub fn epoch(&self, cluster: &Cluster) -> Option<u64> {
        let fence = self.shared.fences.read().get(cluster).copied()?;
        Some(self.shared.offsets.read().visible(fence))
    }

    /// A guard that holds as long as the cluster's fence is what this process sees now.
    pub fn fence_guard(&self, cluster: &Cluster) -> Guard {
        let seen = self.shared.fences.read().get(cluster).copied().unwrap_or(0);
        Guard::unchanged(self.shared.layout.fence(cluster), Revision(seen))
    }

    /// Resources that have objects, in order.
    pub fn resources(&self) -> Vec<ResourceKey> {
        let with_objects = |resource: &Arc<crate::resource::Resource>| !resource.objects.read().is_empty();
        self.shared
            .catalog
            .all()
            .iter()
            .filter(|r| with_objects(r))
            .map(|r| ResourceKey::clone(&r.key))
            .collect()
    }

    /// How many objects a cluster has, of each resource of which it has any.
    pub fn objects_in(&self, cluster: &Cluster) -> Vec<(ResourceKey, usize)> {
        let span = Span::under(format!("{cluster}/").as_bytes());
        let count = |resource: &Arc<crate::resource::Resource>| {
            let count = resource.objects.read().count(&span);
            (count > 0).then(|| (ResourceKey::clone(&resource.key), count))
        };
        self.shared.catalog.all().iter().filter_map(count).collect()
    }

    /// How many objects a resource has, all clusters together.
    pub fn count(&self, resource: &ResourceKey) -> usize {
        self.shared
            .catalog
            .get(resource)
            .map_or(0, |resource| resource.objects.read().len())
    }

    pub fn stats(&self) -> Stats {
        let resources = self.shared.catalog.all();
        let (shared_segments, shared_bytes) = self.shared.segments.usage();
        Stats {
            revision: self.revision(),
            objects: resources.iter().map(|resource| resource.objects.read().len()).sum(),
            resources: resources.len(),
            watchers: usize::try_from(self.shared.watchers.load(Ordering::Relaxed)).unwrap_or(usize::MAX),
            log_events: self.shared.log.len(),
            log_bytes: self.shared.log.held_bytes(),
            shared_segments,
            shared_bytes,
            clusters: self.shared.fences.read().len(),
            unreadable: self.shared.unreadable.load(Ordering::Relaxed),
            parses: self.shared.trees.parses(),
        }
    }

    /// An object as a tree, resourceVersion included; shared with whoever else looks at this version of it about now.
    pub fn tree(&self, entry: &Arc<Entry>) -> Arc<Value> {
        self.shared.trees.of(entry)
    }

    /// Nobody is about to look at objects: gives back what [`Store::tree`] holds.
    pub fn forget_trees(&self) {
        self.shared.trees.clear();
    }

    /// Ends the watches within one cluster, but for those of the resources `spared`: the cluster is being taken down.
    pub fn disconnect(&self, cluster: &Cluster, spared: impl Fn(&ResourceKey) -> bool) {
        let prefix = format!("{cluster}/");
        for resource in self.shared.catalog.all() {
            if !spared(&resource.key) {
                resource.interest.lock().end(prefix.as_bytes());
            }
        }
    }

    /// Ends the watches that show objects of one cluster, those over all clusters included, whose clients list again: the
    /// cluster must not be followed any more, because it was closed, or because it is moving to another shard.
    pub fn disconnect_wide(&self, cluster: &Cluster) {
        self.disconnect(cluster, |_| false);
        for resource in self.shared.catalog.all() {
            resource.interest.lock().end_wide();
        }
    }

    /// Ends all watches and stops following. Reads serve what was seen; the store itself is left open.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Forgets history at or before a visible revision, here and in the store.
    pub async fn compact_to(&self, revision: u64) -> Result<(), StorageError> {
        self.shared.compact_to(self.shared.to_store(revision)).await
    }

    /// Sees to it that every later revision is above `visible`: before a cluster is taken in whose objects have seen
    /// revisions up to there on another shard.
    pub async fn raise_revision(&self, visible: u64) -> Result<(), StorageError> {
        let key = self.shared.layout.offsets();
        loop {
            let current = self.shared.kv.get(key.clone().into()).await?;
            let written = current.as_ref().map_or(Revision(0), |kv| kv.mod_revision);
            let offsets = match &current {
                None => Offsets::default(),
                Some(kv) => Offsets::decode(&kv.value, kv.mod_revision.0).ok_or_else(Shared::damaged_offsets)?,
            };
            let Revision(store) = self.shared.kv.revision().await?;
            let offset = visible.saturating_sub(store).max(offsets.newest());
            if offset == offsets.newest() {
                return self.shared.wait_for_store(store).await;
            }
            let value = offsets.encode_raised(offset);
            let txn = Txn {
                guards: vec![Guard::unchanged(key.clone(), written)],
                ops: vec![Op::put(key.clone(), value)],
            };
            if let TxnOutcome::Committed(Revision(at)) = self.shared.kv.txn(txn).await? {
                return self.shared.wait_for_store(at).await;
            }
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({}@{})", self.shared.options.prefix, self.revision())
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.shared.close();
    }
}

// === impl Shared ===

impl Shared {
    pub(crate) fn visible(&self) -> u64 {
        self.offsets.read().visible(self.progress.applied())
    }

    pub(crate) fn to_visible(&self, store: u64) -> u64 {
        self.offsets.read().visible(store)
    }

    pub(crate) fn to_store(&self, visible: u64) -> u64 {
        self.offsets.read().store(visible)
    }

    pub(crate) fn damaged_offsets() -> StorageError {
        StorageError::Corrupt("the offsets of revisions cannot be read".into())
    }

    /// Waits, for a bounded time, until a revision of the store is applied here.
    pub(crate) async fn wait_for_store(&self, revision: u64) -> Result<(), StorageError> {
        if self.progress.applied() >= revision {
            return Ok(());
        }
        let reached = self.progress.reached(revision);
        self.env
            .clock
            .timeout(self.options.read_wait, reached)
            .await
            .map_err(|_| StorageError::Timeout)
    }

    /// Waits until everything is applied that was written before this call, by anybody.
    pub(crate) async fn catch_up(&self) -> Result<(), StorageError> {
        let asked = self
            .env
            .clock
            .timeout(self.options.read_wait, self.freshness.revision(&self.kv));
        let revision = asked.await.map_err(|_| StorageError::Timeout)??;
        self.wait_for_store(revision).await
    }

    pub(crate) fn needs_fence(&self, cluster: &Cluster) -> bool {
        !self.options.copies
            && !cluster.is_system()
            && !self.options.unfenced.iter().any(|name| name == cluster.as_str())
    }

    pub(crate) async fn compact_to(&self, store: u64) -> Result<(), StorageError> {
        self.log.trim(self.to_visible(store));
        self.catalog.sweep();
        match self.kv.compact(Revision(store)).await {
            // Another replica was first.
            Ok(()) | Err(kv::Error::Compacted { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn close(&self) {
        self.closing.close();
        for resource in self.catalog.all() {
            resource.interest.lock().end(b"");
        }
    }
}

// === impl Closing ===

impl Closing {
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.notify.notify_waiters();
    }

    pub(crate) async fn closed(&self) {
        let notified = self.notify.notified();
        tokio::pin!(notified);
        // Enabled before the flag is read, so that a close in between is not missed.
        notified.as_mut().enable();
        if !self.is_closed() {
            notified.await;
        }
    }
}
