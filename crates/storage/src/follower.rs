//! The one who applies the store's changes to caches, projections, log and watchers, in the store's order.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kv::{Batch, Event as KvEvent, Revision, Watch, WatchItem};
use permit::Cluster;
use smallvec::SmallVec;

use crate::entry::EntryKey;
use crate::event::Event;
use crate::interest::Wake;
use crate::key::{Parsed, Path};
use crate::resource::Resource;
use crate::revision::Offsets;
use crate::store::Shared;
use crate::{Applied, Entry, ResourceKey, StorageError};

const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

pub(crate) struct Follower {
    shared: Arc<Shared>,
    backoff: Duration,
}

/// What a batch does to one object: its path, and its new value unless it is deleted.
type Change<'a> = (Path<'a>, Option<&'a [u8]>);

/// The same, with the value read.
type Read<'a> = (&'a [u8], Option<Arc<Entry>>);

// === impl Follower ===

impl Follower {
    /// Reads the initial state and makes it visible.
    pub(crate) async fn load(shared: Arc<Shared>) -> Result<Self, StorageError> {
        let snapshot = shared.read_snapshot().await?;
        shared.install(snapshot);
        Ok(Self {
            shared,
            backoff: BACKOFF_MIN,
        })
    }

    /// Runs until the store is closed, through all of its failures.
    pub(crate) async fn run(mut self) {
        while !self.shared.closing.is_closed() {
            let error = match self.shared.kv.watch(Revision(self.shared.progress.applied())).await {
                Ok(watch) => self.follow(watch).await,
                Err(error) => error,
            };
            if self.shared.closing.is_closed() {
                return;
            }
            tracing::warn!(%error, "the watch of the store ended");
            match error {
                kv::Error::Closed => return,
                kv::Error::Compacted { .. } => self.start_over().await,
                _ => self.pause().await,
            }
        }
    }

    async fn follow(&mut self, mut watch: Box<dyn Watch>) -> kv::Error {
        let shared = Arc::clone(&self.shared);
        loop {
            let item = tokio::select! {
                biased;
                () = shared.closing.closed() => return kv::Error::Closed,
                item = watch.next() => item,
            };
            match item {
                Ok(WatchItem::Batch(batch)) => shared.apply(&batch),
                Ok(WatchItem::Progress(Revision(revision))) => shared.progress.advance(revision),
                Err(error) => return error,
            }
            self.backoff = BACKOFF_MIN;
        }
    }

    /// What was missed cannot be told any more: reads everything anew, and applies the differences.
    async fn start_over(&mut self) {
        match self.shared.read_snapshot().await {
            Ok(snapshot) => self.shared.install(snapshot),
            Err(error) => {
                tracing::warn!(%error, "the store could not be read");
                self.pause().await;
            }
        }
    }

    async fn pause(&mut self) {
        let shared = &self.shared;
        tokio::select! {
            biased;
            () = shared.closing.closed() => {}
            () = shared.env.clock.sleep(self.backoff) => {}
        }
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
    }
}

/// Compacts to where the store was one period ago, every period.
pub(crate) async fn compact_periodically(shared: Arc<Shared>) {
    let mut interval = shared.env.clock.interval(shared.options.compaction_period);
    let mut before = shared.progress.applied();
    loop {
        tokio::select! {
            biased;
            () = shared.closing.closed() => return,
            () = interval.tick() => {}
        }
        if let Err(error) = shared.compact_to(before).await {
            tracing::warn!(%error, "the store could not be compacted");
        }
        before = shared.progress.applied();
    }
}

// === impl Shared: applying ===

impl Shared {
    /// `None`, said aloud, for a value that is no object: the object is as if it were not there.
    pub(crate) fn read_entry(
        &self,
        resource: &Arc<ResourceKey>,
        path: &Path<'_>,
        value: &[u8],
        revision: u64,
    ) -> Option<Arc<Entry>> {
        let key = EntryKey {
            object: path.object,
            cluster_len: path.cluster_len,
            namespace_len: path.namespace_len,
        };
        match Entry::read(resource, key, value, revision, &self.segments) {
            Ok(entry) => Some(Arc::new(entry)),
            Err(error) => {
                self.unreadable.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%error, "a stored value is ignored");
                None
            }
        }
    }

    pub(crate) fn project(
        &self,
        resource: &ResourceKey,
        revision: u64,
        old: Option<&Arc<Entry>>,
        new: Option<&Arc<Entry>>,
    ) {
        let Some(entry) = new.or(old) else { return };
        let key = entry.key();
        let change = Applied {
            resource,
            key: &key,
            revision,
            old,
            new,
            trees: &self.trees,
        };
        self.projections.iter().for_each(|projection| projection.apply(&change));
    }

    /// Applies all changes of one revision, then makes it visible.
    pub(crate) fn apply(&self, batch: &Batch) {
        let Revision(store_revision) = batch.revision;
        if store_revision <= self.progress.applied() {
            return;
        }
        // Most batches change one object.
        let mut changes: Vec<(ResourceKey, Vec<Change<'_>>)> = Vec::with_capacity(1);
        for event in &batch.events {
            let (key, value, written) = match event {
                KvEvent::Put { kv } => (&kv.key, Some(&kv.value[..]), kv.mod_revision.0),
                KvEvent::Delete { key, mod_revision } => (key, None, mod_revision.0),
            };
            match self.layout.parse(key) {
                Parsed::Object(path) => match changes.iter_mut().find(|(resource, _)| path.is_of(resource)) {
                    Some((_, of_resource)) => of_resource.push((path, value)),
                    None => changes.push((path.resource_key(), vec![(path, value)])),
                },
                Parsed::Fence(cluster) => self.apply_fence(cluster, value.map(|_| written)),
                Parsed::Offsets => self.apply_offsets(value, written),
                Parsed::Other => {}
            }
        }
        let visible = self.to_visible(store_revision);
        let mut wakes = Vec::new();
        for (resource, of_resource) in changes {
            self.catalog.ensure(&resource, &self.log, |resource| {
                self.apply_to(resource, &of_resource, visible, &mut wakes);
            });
        }
        self.progress.advance(store_revision);
        self.projections.iter().for_each(|projection| projection.visible());
        wakes.iter().for_each(|wake| wake.notify());
    }

    fn apply_fence(&self, cluster: &str, put_at: Option<u64>) {
        let Ok(cluster) = Cluster::parse(cluster) else { return };
        let mut fences = self.fences.write();
        match put_at {
            Some(revision) => fences.insert(cluster, revision),
            None => fences.remove(&cluster),
        };
    }

    fn apply_offsets(&self, value: Option<&[u8]>, written: u64) {
        // Falling revisions would break every client: a deleted or damaged value leaves what is.
        match value.and_then(|value| Offsets::decode(value, written)) {
            Some(offsets) if offsets.newest() >= self.offsets.read().newest() => *self.offsets.write() = offsets,
            _ => tracing::error!("the offsets of revisions were damaged in the store; the known ones are kept"),
        }
    }

    /// All changes of one revision to one resource: to projections, cache, log, and those who wait.
    fn apply_to(&self, resource: &Arc<Resource>, changes: &[Change<'_>], visible: u64, wakes: &mut Vec<Arc<Wake>>) {
        let read = |value: &Option<&[u8]>, path: &Path<'_>| {
            value.and_then(|value| self.read_entry(&resource.key, path, value, visible))
        };
        let changes: SmallVec<[Read<'_>; 1]> = changes
            .iter()
            .map(|(path, value)| (path.object.as_bytes(), read(value, path)))
            .collect();
        if !self.projections.is_empty() {
            for (path, new) in &changes {
                let old = resource.objects.read().get(path).cloned();
                self.project(&resource.key, visible, old.as_ref(), new.as_ref());
            }
        }
        let mut appended = SmallVec::<[(u64, Arc<Event>); 1]>::with_capacity(changes.len());
        {
            // One lock for all of them: nobody may see half of a revision, nor objects that are ahead of the log, by which
            // readers at an older revision undo what is newer.
            let mut objects = resource.objects.write();
            for (path, new) in changes {
                let previous = match &new {
                    Some(new) => objects.insert(Arc::clone(new), &resource.indexed),
                    None => objects.remove(path, &resource.indexed),
                };
                if new.is_some() || previous.is_some() {
                    let event = Arc::new(Event::new(visible, new, previous, Arc::clone(self.log.held())));
                    appended.push((self.log.append(resource, Arc::clone(&event)), event));
                }
            }
            objects.latest = visible;
        }
        for (sequence, event) in appended {
            let (new, previous) = (event.new_entry(), event.previous());
            resource
                .interest
                .lock()
                .mark(sequence, new.map(|e| &**e), previous.map(|e| &**e), wakes);
        }
    }
}
