//! Writing what is told.

use std::collections::BTreeSet;
use std::future::ready;
use std::sync::Arc;

use api::keys::annotation;
use api::replicated;
use futures_util::{Stream, StreamExt as _, stream};
use machinery::object::ObjectExt;
use machinery::selector::LabelSelector;
use permit::{Cluster, Permit, Scope};
use serde_json::Value;
use storage::{Change, Consistency, Entry, FenceAction, ObjectKey, ResourceKey, StorageError, Store, Write};

use super::{Replicas, original_revision, resource_key};
use crate::wire::{ReplicateBatch, ReplicateEntry};

/// Writes under way at a time: stores commit what comes together with one sync.
const WRITES: usize = 64;

/// How often a write is tried that another replica of this shard, which follows the same peers, was faster at.
const TRIES: usize = 8;

/// What one shard tells, from the beginning of a stream to its end.
pub(super) struct Teller {
    pub shard: String,
    /// Until everything has been told: what was.
    told: Option<BTreeSet<(ResourceKey, ObjectKey)>>,
    /// The shard's newest revision when it began to tell.
    newest: u64,
    /// The shard's store is older than what is kept here: what is told counts, whatever its revision.
    went_back: bool,
}

/// An entry that makes sense.
struct Told {
    resource: ResourceKey,
    key: ObjectKey,
    revision: u64,
    uid: String,
    /// `None`: gone.
    object: Option<Value>,
}

// === impl Teller ===

impl Teller {
    /// From the first batch of a stream.
    pub(super) fn new(replicas: &Replicas, store: &Store, head: &ReplicateBatch) -> Self {
        let newest = replicas.newest(store, &head.shard);
        let went_back = head.begins_anew && head.newest < newest;
        if went_back {
            tracing::warn!(shard = head.shard, "a shard came back with an older store");
        }
        Self {
            shard: head.shard.clone(),
            told: head.begins_anew.then(BTreeSet::new),
            newest: head.newest,
            went_back,
        }
    }

    /// Of a shard that tells by another process, too: one may be behind the other, and the store is none older.
    pub(super) fn beside_another(mut self) -> Self {
        self.went_back = false;
        self
    }

    /// Keeps what a batch tells. When this returns it is durable.
    pub(super) async fn take(
        &mut self,
        replicas: &Replicas,
        store: &Store,
        batch: ReplicateBatch,
    ) -> Result<(), StorageError> {
        let mut batches: Vec<Vec<Told>> = vec![Vec::new()];
        let mut seen = BTreeSet::new();
        for entry in batch.entries {
            let place = format!("{}/{} {}/{}", entry.group, entry.resource, entry.cluster, entry.name);
            let told = match Told::read(&self.shard, entry) {
                Ok(told) => told,
                Err(why) => {
                    tracing::warn!(shard = self.shard, place, why, "a shard tells what cannot be");
                    replicas.unkept.unreadable.inc();
                    continue;
                }
            };
            if let Some(all) = &mut self.told
                && told.object.is_some()
            {
                all.insert((told.resource.clone(), told.key.clone()));
            }
            // Changes of one object come after each other; all others together.
            if !seen.insert((told.resource.clone(), told.key.clone())) {
                batches.push(Vec::new());
                seen.clear();
                seen.insert((told.resource.clone(), told.key.clone()));
            }
            if let Some(last) = batches.last_mut() {
                last.push(told);
            }
        }
        for told in batches {
            write_all(replicas, store, told, self.went_back).await?;
        }
        if batch.complete
            && let Some(told) = self.told.take()
        {
            let is_older = |entry: &Entry| self.went_back || original_revision(entry) <= self.newest;
            replicas
                .remove(store, &self.shard, |place, entry| {
                    !told.contains(place) && is_older(entry)
                })
                .await?;
            self.went_back = false;
        }
        Ok(())
    }

    pub(super) fn is_whole(&self) -> bool {
        self.told.is_none()
    }
}

// === impl Told ===

impl Told {
    fn read(shard: &str, entry: ReplicateEntry) -> Result<Self, &'static str> {
        if replicated::find(&entry.group, &entry.resource).is_none() {
            return Err("this is not replicated");
        }
        let cluster = Cluster::parse(&entry.cluster).map_err(|_| "there is no such cluster")?;
        if cluster.is_system() || !entry.namespace.is_empty() {
            return Err("this is nobody else's");
        }
        if entry.name.is_empty() || entry.name.contains('/') || entry.revision == 0 {
            return Err("it has no name or no revision");
        }
        let object = match entry.gone {
            true => None,
            false => {
                let object: Value = machinery::json::decode_stored(&entry.object).map_err(|_| "it cannot be read")?;
                if object.name() != entry.name || object.uid() != entry.uid || !object.namespace().is_empty() {
                    return Err("it is another object");
                }
                Some(marked(object, shard, entry.revision))
            }
        };
        Ok(Self {
            resource: resource_key(&entry.group, &entry.resource),
            key: ObjectKey::new(cluster, shard, &entry.name),
            revision: entry.revision,
            uid: entry.uid,
            object,
        })
    }
}

/// With the annotations by which it is known whose it is (kcp's facts, H.3).
fn marked(mut object: Value, shard: &str, revision: u64) -> Value {
    let uid = object.uid().to_owned();
    object.set_annotation(annotation::CACHE_SHARD, shard);
    object.set_annotation(annotation::ORIGINAL_UID, &uid);
    object.set_annotation(annotation::ORIGINAL_RESOURCE_VERSION, &revision.to_string());
    object
}

async fn write_all(replicas: &Replicas, store: &Store, told: Vec<Told>, went_back: bool) -> Result<(), StorageError> {
    let writes = told.into_iter().map(|told| keep(replicas, store, told, went_back));
    finished(stream::iter(writes).buffer_unordered(WRITES)).await
}

/// One that fails does not cancel the others, which would come in behind what is told next.
async fn finished(outcomes: impl Stream<Item = Result<(), StorageError>>) -> Result<(), StorageError> {
    outcomes
        .fold(Ok(()), |all: Result<(), StorageError>, one| ready(all.and(one)))
        .await
}

/// Writes what can be stored. What cannot be, at this attempt or any other, is left out, or this one object of a tenant would
/// stop all that its shard tells after it. A replica is some 200 bytes larger than the object, which may have been as large
/// as can be; what is kept of it stays as it was until the shard tells of a smaller one, or that it is gone.
async fn keep(replicas: &Replicas, store: &Store, told: Told, went_back: bool) -> Result<(), StorageError> {
    let place = (told.resource.clone(), told.key.clone());
    match write(store, told, went_back).await {
        Err(error @ (StorageError::TooLarge | StorageError::Unstorable(_))) => {
            let (resource, key) = place;
            tracing::warn!(shard = %key.namespace, %resource, %key, %error, "an object of a shard cannot be kept");
            replicas.unkept.unstorable.inc();
            Ok(())
        }
        outcome => outcome,
    }
}

async fn write(store: &Store, told: Told, went_back: bool) -> Result<(), StorageError> {
    let permit = Permit::internal(Scope::One(told.key.cluster.clone()));
    let mut outcome = Ok(());
    for attempt in 0..TRIES {
        let held = match attempt {
            0 => store.peek(&permit, &told.resource, &told.key),
            // Somebody was faster: what is there now may not have come here yet.
            _ => match store.get(&permit, &told.resource, &told.key, Consistency::Latest).await {
                Err(StorageError::NotFound) => None,
                found => Some(found?),
            },
        };
        let known = held.as_ref().map_or(0, |held| original_revision(held));
        if known > told.revision && !went_back {
            return Ok(());
        }
        let is_same = |uid: &str| known == told.revision && uid == told.uid;
        let change = match (held, &told.object) {
            (None, None) => return Ok(()),
            (Some(held), Some(_)) if is_same(held.uid()) => return Ok(()),
            (Some(held), Some(object)) => Change::Update {
                object: object.clone(),
                expected: held.revision(),
            },
            (Some(held), None) => Change::Delete {
                expected: held.revision(),
            },
            (None, Some(object)) => Change::Create(object.clone()),
        };
        outcome = store
            .write(&permit, &told.resource, plain(told.key.clone(), change))
            .await
            .map(drop);
        match outcome {
            Err(StorageError::Conflict | StorageError::NotFound | StorageError::AlreadyExists) => {}
            outcome => return outcome,
        }
    }
    outcome
}

fn plain(key: ObjectKey, change: Change) -> Write {
    Write {
        key,
        change,
        fence: FenceAction::Hold,
        guards: Vec::new(),
        ttl: None,
    }
}

// === impl Replicas ===

impl Replicas {
    /// The newest revision that is known of a shard.
    fn newest(&self, store: &Store, shard: &str) -> u64 {
        let all = LabelSelector::everything();
        let resources = store.resources();
        let entries = resources
            .iter()
            .flat_map(|resource| self.entries(store, resource, &Scope::All, shard, &all));
        entries.map(|entry| original_revision(&entry)).max().unwrap_or_default()
    }

    /// Removes what is kept of a shard and is not wanted.
    pub(super) async fn remove(
        &self,
        store: &Store,
        shard: &str,
        unwanted: impl Fn(&(ResourceKey, ObjectKey), &Entry) -> bool,
    ) -> Result<(), StorageError> {
        let all = LabelSelector::everything();
        let mut gone = Vec::new();
        for resource in store.resources() {
            for entry in self.entries(store, &resource, &Scope::All, shard, &all) {
                let place = (resource.clone(), entry.key());
                if unwanted(&place, &entry) {
                    gone.push((place, Arc::clone(&entry)));
                }
            }
        }
        let deletions = gone.into_iter().map(|((resource, key), entry)| async move {
            let permit = Permit::internal(Scope::One(key.cluster.clone()));
            let change = Change::Delete {
                expected: entry.revision(),
            };
            match store.write(&permit, &resource, plain(key, change)).await {
                // Another replica of this shard was faster, or it was told of again.
                Ok(_) | Err(StorageError::Conflict | StorageError::NotFound) => Ok(()),
                Err(error) => Err(error),
            }
        });
        finished(stream::iter(deletions).buffer_unordered(WRITES)).await
    }
}
