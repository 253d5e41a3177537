//! What this shard tells its peers: which clusters and workspaces it holds, and where a path leads.

use std::collections::VecDeque;
use std::sync::Arc;

use ::fabric::serve::{Batches, Source};
use ::fabric::wire::index_entry::Entry as Told;
use ::fabric::wire::resolve_response::Outcome;
use ::fabric::wire::{
    ClusterEntry, IndexBatch, IndexEntry, IndexWatchRequest, LocateRequest, LocateResponse, ReplicateBatch,
    ReplicateWatchRequest, ResolveRequest, ResolveResponse, WorkspaceEntry, locate_response,
};
use api::keys::{cluster, group, object};
use async_trait::async_trait;
use futures_util::stream;
use machinery::object::ObjectExt;
use machinery::selector::LabelSelector;
use permit::{Cluster, Permit, Scope};
use serde_json::Value;
use storage::{
    Consistency, Entry, EventKind, ObjectKey, ResourceKey, Store, WatchEvent, WatchItem, WatchRequest, WatchStart,
    Watcher,
};
use tenancy::Phase;
use tonic::Status;

use crate::facts::{ShardFacts, logical_clusters_key};
use crate::neighbours::shard_entry;
use crate::replicate::ReplicaSource;
use crate::shard::Shard;

/// The shard's side of the fabric.
pub struct ShardSource {
    name: String,
    store: Store,
    facts: Arc<ShardFacts>,
    /// Of this process: whoever comes back after a restart is told everything anew.
    incarnation: String,
    replicas: ReplicaSource,
}

/// Of which kind an object is, to the index.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    LogicalCluster,
    Workspace,
    Shard,
}

/// A stream of the index: cursors into the log, one a resource.
struct Telling {
    store: Store,
    /// Of the first batch.
    head: Option<IndexBatch>,
    sources: Vec<(Kind, Watcher)>,
    /// How many sources still tell what there was at the beginning.
    unfinished: usize,
    ended: bool,
}

/// Entries of one message: about 50 KiB.
const BATCH_MAX: usize = 500;

// === impl ShardSource ===

impl ShardSource {
    pub fn new(shard: &Shard) -> Self {
        let incarnation = format!("{:016x}", shard.env.rng.next_u64());
        let (store, definitions) = (shard.store.clone(), shard.definitions.clone());
        Self {
            replicas: ReplicaSource::new(&shard.name, store, definitions, incarnation.clone()),
            name: shard.name.clone(),
            store: shard.store.clone(),
            facts: shard.facts.clone(),
            incarnation,
        }
    }

    fn resources(&self) -> Vec<(Kind, ResourceKey)> {
        let mut resources = vec![(Kind::LogicalCluster, logical_clusters_key())];
        let exported = [
            (Kind::Workspace, group::TENANCY, "workspaces"),
            (Kind::Shard, group::CORE, "shards"),
        ];
        for (kind, group, resource) in exported {
            let definition = self.facts.definitions.root_export(group, resource);
            resources.extend(definition.map(|definition| (kind, definition.store.clone())));
        }
        resources
    }

    async fn cursors(&self, start: WatchStart) -> Result<Vec<(Kind, Watcher)>, Status> {
        let mut sources = Vec::new();
        for (kind, resource) in self.resources() {
            let request = WatchRequest {
                scope: Scope::All,
                namespace: String::new(),
                name: String::new(),
                labels: LabelSelector::everything(),
                fields: None,
                start,
                bookmarks: false,
            };
            let permit = Permit::internal(Scope::All);
            let watcher = self.store.watch(&permit, &resource, &request).await;
            sources.push((kind, watcher.map_err(|error| Status::unavailable(error.to_string()))?));
        }
        Ok(sources)
    }
}

#[async_trait]
impl Source for ShardSource {
    async fn watch(&self, request: IndexWatchRequest) -> Result<Batches, Status> {
        let resumes = request.after_revision > 0 && request.incarnation == self.incarnation;
        let start = match resumes {
            true => WatchStart::After(request.after_revision),
            false => WatchStart::Initial {
                consistency: Consistency::Latest,
                bookmark: true,
            },
        };
        let sources = self.cursors(start).await?;
        let head = IndexBatch {
            shard: self.name.clone(),
            incarnation: self.incarnation.clone(),
            begins_anew: !resumes,
            ..IndexBatch::default()
        };
        let telling = Telling {
            store: self.store.clone(),
            head: Some(head),
            unfinished: if resumes { 0 } else { sources.len() },
            sources,
            ended: false,
        };
        Ok(Box::pin(stream::unfold(telling, |mut telling| async move {
            let batch = telling.next().await?;
            Some((batch, telling))
        })))
    }

    async fn resolve(&self, request: ResolveRequest) -> Result<ResolveResponse, Status> {
        self.catch_up().await?;
        Ok(self.follow(&request))
    }

    async fn locate(&self, request: LocateRequest) -> Result<LocateResponse, Status> {
        self.catch_up().await?;
        let index = self.facts.index.read();
        let names = request.clusters.iter().filter_map(|name| Cluster::parse(name).ok());
        let held = names.filter(|name| index.cluster(name).is_some());
        let held = held.map(|cluster| locate_response::Held {
            epoch: self.store.epoch(&cluster).unwrap_or_default(),
            cluster: cluster.to_string(),
        });
        Ok(LocateResponse { held: held.collect() })
    }

    async fn replicate(&self, request: ReplicateWatchRequest) -> Result<Batches<ReplicateBatch>, Status> {
        self.replicas.watch(&request).await
    }
}

impl ShardSource {
    /// The caller has seen something that the caches here may not have yet.
    async fn catch_up(&self) -> Result<(), Status> {
        let permit = Permit::internal(Scope::All);
        let key = ObjectKey::new(Cluster::well_known(cluster::ROOT), "", object::LOGICAL_CLUSTER);
        match self
            .store
            .get(&permit, &logical_clusters_key(), &key, Consistency::Latest)
            .await
        {
            Ok(_) | Err(storage::StorageError::NotFound) => Ok(()),
            Err(error) => Err(Status::unavailable(error.to_string())),
        }
    }

    /// Follows names through the index, over the clusters that are here.
    fn follow(&self, request: &ResolveRequest) -> ResolveResponse {
        let index = self.facts.index.read();
        let unknown = ResolveResponse {
            outcome: Outcome::Unknown.into(),
            ..ResolveResponse::default()
        };
        let Some(mut at) = Cluster::parse(&request.cluster)
            .ok()
            .filter(|at| index.cluster(at).is_some())
        else {
            return unknown;
        };
        let found = |outcome: Outcome, followed: usize, cluster: &Cluster| ResolveResponse {
            outcome: outcome.into(),
            followed: u32::try_from(followed).unwrap_or(u32::MAX),
            cluster: cluster.to_string(),
            shard: self.name.clone(),
            epoch: self.store.epoch(cluster).unwrap_or_default(),
            ..ResolveResponse::default()
        };
        for (followed, name) in request.names.iter().enumerate() {
            let Some(child) = index.child(&at, name) else {
                return unknown;
            };
            if child.unavailable {
                return found(Outcome::Unavailable, followed, &at);
            }
            if let Some(url) = child.mount {
                return ResolveResponse {
                    mount_url: url.to_owned(),
                    ..found(Outcome::Mount, followed + 1, &at)
                };
            }
            let Some(next) = child.cluster else { return unknown };
            if index.cluster(next).is_none() {
                let shard = child.shard.unwrap_or_default();
                if shard.is_empty() || shard == self.name {
                    return unknown;
                }
                return ResolveResponse {
                    shard: shard.to_owned(),
                    epoch: 0,
                    ..found(Outcome::Elsewhere, followed + 1, next)
                };
            }
            at = next.clone();
        }
        found(Outcome::Found, request.names.len(), &at)
    }
}

// === impl Telling ===

impl Telling {
    /// What is there to tell, waiting if there is nothing.
    async fn next(&mut self) -> Option<Result<IndexBatch, Status>> {
        if self.ended {
            return None;
        }
        let mut batch = match self.head.take() {
            Some(head) => head,
            None => {
                let mut batch = IndexBatch::default();
                match self.wait().await {
                    Some((kind, item)) => self.take(kind, item, &mut batch),
                    None => self.ended = true,
                }
                batch
            }
        };
        self.fill(&mut batch);
        if self.ended {
            // Something was missed, or the store was closed: the peer comes again and is told everything.
            return Some(Err(Status::aborted("the index cannot be told from here on")));
        }
        batch.revision = match self.unfinished {
            0 => {
                let revisions = self.sources.iter_mut().map(|(_, watcher)| watcher.revision());
                revisions.min().unwrap_or_default()
            }
            _ => 0,
        };
        Some(Ok(batch))
    }

    async fn wait(&mut self) -> Option<(Kind, WatchItem)> {
        let waiting = self.sources.iter_mut().map(|(kind, watcher)| {
            let kind = *kind;
            Box::pin(async move { watcher.next().await.map(|item| (kind, item)) })
        });
        futures_util::future::select_all(waiting).await.0
    }

    fn fill(&mut self, batch: &mut IndexBatch) {
        let mut ready = VecDeque::new();
        for (kind, watcher) in &mut self.sources {
            while batch.entries.len() + ready.len() < BATCH_MAX
                && let Some(item) = watcher.ready()
            {
                ready.push_back((*kind, item));
            }
        }
        for (kind, item) in ready {
            self.take(kind, item, batch);
        }
    }

    fn take(&mut self, kind: Kind, item: WatchItem, batch: &mut IndexBatch) {
        match item {
            WatchItem::Event(event) => batch.entries.extend(self.entry(kind, &event)),
            WatchItem::Bookmark { initial_end: true, .. } => {
                self.unfinished = self.unfinished.saturating_sub(1);
                batch.complete = self.unfinished == 0;
            }
            WatchItem::Bookmark { .. } => {}
            WatchItem::Expired { .. } => self.ended = true,
        }
    }

    fn entry(&self, kind: Kind, event: &WatchEvent) -> Option<IndexEntry> {
        let gone = event.kind == EventKind::Deleted;
        let entry = &event.entry;
        let told = match kind {
            Kind::LogicalCluster if entry.name() == object::LOGICAL_CLUSTER => {
                // A name that is used again has a fence, and by it an epoch, that is younger than the end of the one before.
                let epoch = match gone {
                    true => event.revision(),
                    false => self.store.epoch(&entry.cluster()).unwrap_or_default(),
                };
                Told::Cluster(cluster_entry(entry, &self.store.tree(entry), gone, epoch))
            }
            Kind::LogicalCluster => return None,
            Kind::Workspace => Told::Workspace(workspace_entry(entry, gone)),
            // Shards are what root says.
            Kind::Shard if entry.cluster_name() != cluster::ROOT => return None,
            Kind::Shard => {
                let shard = (!gone).then(|| self.store.tree(entry));
                Told::Shard(shard_entry(entry.name(), shard.as_deref()))
            }
        };
        Some(IndexEntry { entry: Some(told) })
    }
}

fn cluster_entry(entry: &Entry, object: &Value, gone: bool, epoch: u64) -> ClusterEntry {
    let text = |path: &[&str]| object.str_at(path).unwrap_or_default().to_owned();
    let is_owned = object.str_at(&["spec", "owner", "resource"]) == Some("workspaces");
    let owner = |member: &str| match is_owned {
        true => text(&["spec", "owner", member]),
        false => String::new(),
    };
    ClusterEntry {
        name: entry.cluster_name().to_owned(),
        gone,
        epoch,
        owner_cluster: owner("cluster"),
        owner_name: owner("name"),
        phase: text(&["status", "phase"]),
    }
}

fn workspace_entry(entry: &Entry, gone: bool) -> WorkspaceEntry {
    let mut told = WorkspaceEntry {
        parent: entry.cluster_name().to_owned(),
        name: entry.name().to_owned(),
        gone,
        ..WorkspaceEntry::default()
    };
    if gone {
        return told;
    }
    let workspace: Value = entry.to_value();
    let text = |path: &[&str]| workspace.str_at(path).unwrap_or_default().to_owned();
    told.cluster = text(&["spec", "cluster"]);
    told.unavailable = Phase::parse(&text(&["status", "phase"])) == Phase::Unavailable;
    if workspace.at(&["spec", "mount"]).is_some() {
        told.mount_url = text(&["spec", "URL"]);
    }
    told
}
