//! What this shard tells its peers to keep: exports, types, and who may use them (`api::replicated`).

use std::sync::Arc;

use ::fabric::serve::Batches;
use ::fabric::wire::{ReplicateBatch, ReplicateEntry, ReplicateWatchRequest};
use api::keys::annotation;
use api::replicated::{self, Replicated};
use futures_util::stream;
use machinery::selector::LabelSelector;
use permit::{Permit, Scope};
use storage::{
    Consistency, Entry, EventKind, FieldPredicate, ResourceKey, Store, WatchEvent, WatchItem, WatchRequest, WatchStart,
    Watcher,
};
use tonic::Status;

use crate::definitions::Definitions;

/// Tells of the objects of one store.
pub struct ReplicaSource {
    shard: String,
    store: Store,
    definitions: Arc<Definitions>,
    /// Of this process: whoever comes back after a restart is told everything anew.
    incarnation: String,
}

/// One stream: cursors into the log, one a resource.
struct Telling {
    /// Of the first batch.
    head: Option<ReplicateBatch>,
    sources: Vec<(Replicated, Watcher)>,
    /// How many sources still tell what there was at the beginning.
    unfinished: usize,
    is_over: bool,
}

/// One message, about: a schema alone may have a megabyte.
const BATCH_BYTES: usize = 256 << 10;
const BATCH_ENTRIES: usize = 500;

// === impl ReplicaSource ===

impl ReplicaSource {
    pub fn new(shard: &str, store: Store, definitions: Arc<Definitions>, incarnation: String) -> Self {
        Self {
            shard: shard.to_owned(),
            store,
            definitions,
            incarnation,
        }
    }

    fn resources(&self) -> impl Iterator<Item = (Replicated, ResourceKey)> {
        replicated::RESOURCES.iter().filter_map(|of| {
            let common = self.definitions.common(of.group, of.resource);
            let definition = common.or_else(|| self.definitions.root_export(of.group, of.resource))?;
            Some((*of, definition.store.clone()))
        })
    }

    pub async fn watch(&self, request: &ReplicateWatchRequest) -> Result<Batches<ReplicateBatch>, Status> {
        let resumes = request.after_revision > 0 && request.incarnation == self.incarnation;
        let start = match resumes {
            true => WatchStart::After(request.after_revision),
            // Nothing older than what was ever told.
            false => WatchStart::Initial {
                consistency: Consistency::Latest,
                bookmark: true,
            },
        };
        let permit = Permit::internal(Scope::All);
        let mut sources = Vec::new();
        for (of, resource) in self.resources() {
            let request = WatchRequest {
                scope: Scope::All,
                namespace: String::new(),
                name: String::new(),
                labels: LabelSelector::everything(),
                fields: Some(told(of)),
                start,
                bookmarks: false,
            };
            let watcher = self.store.watch(&permit, &resource, &request).await;
            sources.push((of, watcher.map_err(|error| Status::unavailable(error.to_string()))?));
        }
        let head = ReplicateBatch {
            shard: self.shard.clone(),
            incarnation: self.incarnation.clone(),
            begins_anew: !resumes,
            newest: self.store.revision(),
            ..ReplicateBatch::default()
        };
        let telling = Telling {
            head: Some(head),
            unfinished: if resumes { 0 } else { sources.len() },
            sources,
            is_over: false,
        };
        Ok(Box::pin(stream::unfold(telling, |mut telling| async move {
            let batch = telling.next().await?;
            Some((batch, telling))
        })))
    }
}

/// Which objects of a resource are told. What leaves the set is told as gone, as from any watch. System clusters are each
/// shard's own.
fn told(of: Replicated) -> FieldPredicate {
    Arc::new(move |entry: &Entry| {
        let is_tenants = !entry.cluster_name().starts_with("system:");
        is_tenants && (!of.marked || is_marked(entry))
    })
}

/// Without parsing most of them: that the annotation is nowhere is quickly seen.
fn is_marked(entry: &Entry) -> bool {
    let name = format!("\"{}\":", annotation::REPLICATE);
    entry.mentions(name.as_bytes()) && replicated::is_marked(&entry.to_value())
}

// === impl Telling ===

impl Telling {
    /// What is there to tell, waiting if there is nothing.
    async fn next(&mut self) -> Option<Result<ReplicateBatch, Status>> {
        if self.is_over {
            return None;
        }
        let mut batch = self.head.take().unwrap_or_default();
        let mut len = 0;
        if batch.shard.is_empty() {
            match self.wait().await {
                Some((of, item)) => self.take(of, item, &mut batch, &mut len),
                None => self.is_over = true,
            }
        }
        self.fill(&mut batch, &mut len);
        if self.is_over {
            // Something was missed, or the store was closed: the peer comes again and is told everything.
            return Some(Err(Status::aborted("replicas cannot be told from here on")));
        }
        if self.unfinished == 0 {
            let revisions = self.sources.iter_mut().map(|(_, watcher)| watcher.revision());
            batch.revision = revisions.min().unwrap_or_default();
        }
        Some(Ok(batch))
    }

    async fn wait(&mut self) -> Option<(Replicated, WatchItem)> {
        let waiting = self.sources.iter_mut().map(|(of, watcher)| {
            let of = *of;
            Box::pin(async move { watcher.next().await.map(|item| (of, item)) })
        });
        futures_util::future::select_all(waiting).await.0
    }

    fn fill(&mut self, batch: &mut ReplicateBatch, len: &mut usize) {
        for index in 0..self.sources.len() {
            while batch.entries.len() < BATCH_ENTRIES && *len < BATCH_BYTES {
                let Some((of, watcher)) = self.sources.get_mut(index) else {
                    return;
                };
                let of = *of;
                let Some(item) = watcher.ready() else { break };
                self.take(of, item, batch, len);
            }
        }
    }

    fn take(&mut self, of: Replicated, item: WatchItem, batch: &mut ReplicateBatch, len: &mut usize) {
        match item {
            WatchItem::Event(event) => {
                let entry = told_entry(of, &event);
                *len += entry.object.len();
                batch.entries.push(entry);
            }
            WatchItem::Bookmark { initial_end: true, .. } => {
                self.unfinished = self.unfinished.saturating_sub(1);
                batch.complete = self.unfinished == 0;
            }
            WatchItem::Bookmark { .. } => {}
            WatchItem::Expired { .. } => self.is_over = true,
        }
    }
}

fn told_entry(of: Replicated, event: &WatchEvent) -> ReplicateEntry {
    let entry = &event.entry;
    let gone = event.kind == EventKind::Deleted;
    ReplicateEntry {
        group: of.group.to_owned(),
        resource: of.resource.to_owned(),
        cluster: entry.cluster_name().to_owned(),
        namespace: entry.namespace().to_owned(),
        name: entry.name().to_owned(),
        gone,
        revision: event.revision(),
        uid: entry.uid().to_owned(),
        object: if gone { Vec::new() } else { entry.encode() },
    }
}
