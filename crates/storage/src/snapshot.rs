//! Reading everything that is stored, when a store is opened and after a gap in its changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kv::{KeyValue, Kv, RangeRequest, Revision};
use permit::Cluster;
use tokio::sync::mpsc;

use crate::key::Parsed;
use crate::objects::{Objects, Span};
use crate::resource::Resource;
use crate::revision::Offsets;
use crate::store::Shared;
use crate::{Entry, ResourceKey, StorageError};

/// Pages that are read ahead of the one that is taken in.
const PAGES_AHEAD: usize = 2;

/// How many pages' keys are asked for at a time. A store counts a whole range whatever the limit, so asking it for each page
/// of what is left would take a time that grows with the square of what is stored. The keys show where pages end.
const PAGES_PER_SCAN: usize = 25;

/// Everything that is stored, at one revision.
pub(crate) struct Snapshot {
    store_revision: u64,
    offsets: Offsets,
    fences: BTreeMap<Cluster, u64>,
    /// Ascending within each resource.
    entries: BTreeMap<ResourceKey, Vec<Arc<Entry>>>,
}

/// Reads ranges of the store page by page, on a task of its own.
struct Pages {
    kv: Arc<dyn Kv>,
    revision: Revision,
    page: usize,
    /// `None` is the end: a reader that is gone without it has not read everything.
    sender: mpsc::Sender<Result<Option<Vec<KeyValue>>, StorageError>>,
}

// === impl Pages ===

impl Pages {
    async fn run(self, spans: Vec<(Vec<u8>, Vec<u8>)>) {
        for (start, end) in spans {
            if let Err(error) = self.read(start.into(), end.into()).await {
                let _gone_is_fine = self.sender.send(Err(error)).await;
                return;
            }
        }
        let _gone_is_fine = self.sender.send(Ok(None)).await;
    }

    /// Ends early when nobody takes the pages any more.
    async fn read(&self, mut start: Bytes, end: Bytes) -> Result<(), StorageError> {
        loop {
            let scan = RangeRequest {
                start,
                end: end.clone(),
                keys_only: true,
                ..RangeRequest::default()
            };
            let scan = self
                .kv
                .range(scan.at(self.revision).limited(self.page * PAGES_PER_SCAN))
                .await?;
            let Some(last) = scan.kvs.last() else { return Ok(()) };
            start = [&last.key[..], &[0]].concat().into();
            let mut bounds: Vec<Bytes> = scan.kvs.iter().step_by(self.page).map(|kv| kv.key.clone()).collect();
            bounds.push(start.clone());
            for bound in bounds.windows(2) {
                let [start, end] = bound else { continue };
                let page = RangeRequest {
                    start: start.clone(),
                    end: end.clone(),
                    ..RangeRequest::default()
                };
                let page = self.kv.range(page.at(self.revision)).await?;
                if self.sender.send(Ok(Some(page.kvs))).await.is_err() {
                    return Ok(());
                }
            }
            if !scan.more {
                return Ok(());
            }
        }
    }
}

// === impl Shared ===

impl Shared {
    pub(crate) async fn read_snapshot(&self) -> Result<Snapshot, StorageError> {
        let Revision(store_revision) = self.kv.revision().await?;
        let at = Revision(store_revision);
        let offsets = self.kv.range(RangeRequest::key(self.layout.offsets()).at(at)).await?;
        let offsets = match offsets.kvs.first() {
            Some(kv) => Offsets::decode(&kv.value, kv.mod_revision.0).ok_or_else(Self::damaged_offsets)?,
            None => Offsets::default(),
        };
        let mut snapshot = Snapshot {
            store_revision,
            offsets,
            fences: BTreeMap::new(),
            entries: BTreeMap::new(),
        };
        let (sender, mut pages) = mpsc::channel(PAGES_AHEAD);
        let reader = Pages {
            kv: Arc::clone(&self.kv),
            revision: at,
            page: self.options.load_page.max(1),
            sender,
        };
        let spans = vec![self.layout.fences(), self.layout.objects()];
        self.env.spawn.spawn("storage-load", reader.run(spans)).detach();
        let unread = || StorageError::Unavailable("the reader of the store ended early".into());
        while let Some(page) = pages.recv().await.ok_or_else(unread)?? {
            self.read_page(&page, &mut snapshot);
            // A long load must not hold up the other tasks of its thread.
            tokio::task::yield_now().await;
        }
        Ok(snapshot)
    }

    fn read_page(&self, kvs: &[KeyValue], snapshot: &mut Snapshot) {
        let mut last: Option<(Arc<ResourceKey>, Vec<Arc<Entry>>)> = None;
        for kv in kvs {
            let path = match self.layout.parse(&kv.key) {
                Parsed::Object(path) => path,
                Parsed::Fence(cluster) => {
                    snapshot
                        .fences
                        .extend(Cluster::parse(cluster).ok().map(|cluster| (cluster, kv.mod_revision.0)));
                    continue;
                }
                Parsed::Offsets | Parsed::Other => continue,
            };
            if !last.as_ref().is_some_and(|(key, _)| path.is_of(key)) {
                if let Some((key, entries)) = last.take() {
                    snapshot
                        .entries
                        .entry(ResourceKey::clone(&key))
                        .or_default()
                        .extend(entries);
                }
                let key = path.resource_key();
                last = Some((
                    self.catalog
                        .ensure(&key, &self.log, |resource| Arc::clone(&resource.key)),
                    Vec::new(),
                ));
            }
            if let Some((key, entries)) = &mut last {
                let revision = snapshot.offsets.visible(kv.mod_revision.0);
                entries.extend(self.read_entry(key, &path, &kv.value, revision));
            }
        }
        if let Some((key, entries)) = last {
            snapshot
                .entries
                .entry(ResourceKey::clone(&key))
                .or_default()
                .extend(entries);
        }
    }

    /// Makes a snapshot the state of the caches. Logs start anew; projections see the differences.
    pub(crate) fn install(&self, mut snapshot: Snapshot) {
        let visible = snapshot.offsets.visible(snapshot.store_revision);
        *self.offsets.write() = snapshot.offsets;
        *self.fences.write() = snapshot.fences;
        for resource in self.catalog.all() {
            snapshot.entries.entry(ResourceKey::clone(&resource.key)).or_default();
        }
        // First: a log that has a gap must not be used to undo, for readers at an older revision, what the objects got.
        self.log.cut(&self.catalog.all(), visible);
        for (key, entries) in snapshot.entries {
            self.catalog.ensure(&key, &self.log, |resource| {
                self.project_differences(resource, &entries, visible);
                *resource.objects.write() = Objects::from_sorted(entries, visible, &resource.indexed);
            });
        }
        // Marked before the revision is visible: a watcher that saw the revision without its mark would announce, by a
        // bookmark, that it has seen what it missed.
        let mut wakes = Vec::new();
        for resource in self.catalog.all() {
            resource.interest.lock().mark_all(&mut wakes);
        }
        self.progress.advance(snapshot.store_revision);
        self.projections.iter().for_each(|projection| projection.visible());
        wakes.iter().for_each(|wake| wake.notify());
        self.catalog.sweep();
    }

    fn project_differences(&self, resource: &Arc<Resource>, entries: &[Arc<Entry>], visible: u64) {
        if self.projections.is_empty() {
            return;
        }
        let objects = resource.objects.read();
        let span = Span::all();
        let mut old = objects.range(&span).peekable();
        let project = |old: Option<&Arc<Entry>>, new: Option<&Arc<Entry>>| {
            let revision = new.map_or(visible, |new| new.revision());
            if old.map(|old| old.revision()) != new.map(|new| new.revision()) {
                self.project(&resource.key, revision, old, new);
            }
        };
        for new in entries {
            while let Some(gone) = old.next_if(|old| old.path() < new.path()) {
                project(Some(gone), None);
            }
            project(old.next_if(|old| old.path() == new.path()), Some(new));
        }
        old.for_each(|gone| project(Some(gone), None));
    }
}
