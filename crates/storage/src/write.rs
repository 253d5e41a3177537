//! Writes: checked against the permit, guarded by revision and fence, acknowledged when this process has seen them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kv::{Guard, KeyValue, LeaseId, Op, Revision, Txn, TxnOutcome};
use machinery::object::ObjectExt;
use permit::{OutsidePermit, Permit, Scope, Verb};
use serde_json::Value;
use smallvec::SmallVec;

use crate::entry::canonical_body;
use crate::event::EventKind;
use crate::filter::may;
use crate::key::Parsed;
use crate::read::path_of;
use crate::store::Shared;
use crate::{Change, Entry, FenceAction, ObjectKey, ResourceKey, StorageError, Store, Write};

/// A pause before a write whose outcome is unknown is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// A write, ready for the store. The guards begin with the object's and the cluster's.
struct Prepared {
    resource: Arc<ResourceKey>,
    key: ObjectKey,
    path: SmallVec<[u8; 96]>,
    stored_key: Bytes,
    /// `None` for deletions.
    value: Option<Bytes>,
    is_create: bool,
    fence: FenceAction,
    /// Revision of the store at which the cluster's fence was seen; 0: absent.
    fence_seen: u64,
    ttl: Option<Duration>,
    txn: Txn,
}

// === impl Store ===

impl Store {
    /// Writes one object, and returns it as clients see it; for a deletion its last state, at the deletion's revision.
    ///
    /// # Guarantees
    /// When this returns, the write is durable, and caches, projections and watchers of this process have it.
    ///
    /// # Errors
    /// After `UnknownOutcome` the write may have happened or may yet happen; after any other error it did not.
    pub async fn write(
        &self,
        permit: &Permit,
        resource: &ResourceKey,
        write: Write,
    ) -> Result<Arc<Entry>, StorageError> {
        let shared = &self.shared;
        may_write(permit, resource, &write)?;
        if shared.closing.is_closed() {
            return Err(StorageError::Unavailable("the store is closed".into()));
        }
        let unknown = |_| StorageError::UnknownOutcome;
        let timeout = shared.options.write_timeout;
        shared
            .env
            .clock
            .timeout(timeout, shared.perform(permit, resource, write))
            .await
            .map_err(unknown)?
    }
}

impl Store {
    /// Writes several objects in one transaction: all or none. They are of different resources, so that a watch can resume
    /// between any two events, and none expires. Answers the visible revision.
    ///
    /// # Guarantees and errors
    /// As for one write; the error is that of one of them, whichever.
    pub async fn write_together(
        &self,
        permit: &Permit,
        writes: Vec<(ResourceKey, Write)>,
    ) -> Result<u64, StorageError> {
        let shared = &self.shared;
        for (index, (resource, write)) in writes.iter().enumerate() {
            may_write(permit, resource, write)?;
            let is_repeated = writes.iter().take(index).any(|(other, _)| other == resource);
            if is_repeated || write.ttl.is_some() || !permit.selector().is_everything() {
                let why = format!("{resource} cannot be written together with others here");
                return Err(StorageError::Corrupt(why.into()));
            }
        }
        if shared.closing.is_closed() {
            return Err(StorageError::Unavailable("the store is closed".into()));
        }
        let timeout = shared.options.write_timeout;
        shared
            .env
            .clock
            .timeout(timeout, shared.perform_together(writes))
            .await
            .map_err(|_| StorageError::UnknownOutcome)?
    }
}

/// The verbs under which a change may come: a patch writes, an update may create or, when the last finalizer goes, delete,
/// and a deletion may only mark.
fn may_write(permit: &Permit, resource: &ResourceKey, write: &Write) -> Result<(), StorageError> {
    let scope = Scope::One(write.key.cluster.clone());
    let (verb, others): (Verb, &[Verb]) = match &write.change {
        Change::Create(_) => (Verb::Create, &[]),
        Change::Update { object, .. } if object.deletion_timestamp().is_some() => {
            (Verb::Update, &[Verb::Patch, Verb::Delete, Verb::DeleteCollection])
        }
        Change::Update { .. } => (Verb::Update, &[Verb::Patch]),
        Change::Delete { .. } => (Verb::Delete, &[Verb::DeleteCollection, Verb::Update, Verb::Patch]),
    };
    may(permit, verb, others, resource, &scope)
}

// === impl Shared ===

impl Shared {
    async fn perform(&self, permit: &Permit, resource: &ResourceKey, write: Write) -> Result<Arc<Entry>, StorageError> {
        self.check_selector(permit, resource, &write).await?;
        let mut prepared = self.prepare(resource, write).await?;
        let lease = self.lease_for(&prepared).await?;
        prepared.put_lease(lease);
        let revision = match self.commit(&prepared).await {
            Err(kv::Error::LeaseNotFound) => {
                lease.into_iter().for_each(|lease| self.leases.forget(lease));
                prepared.put_lease(self.lease_for(&prepared).await?);
                self.commit(&prepared).await?
            }
            outcome => outcome?,
        };
        let revision = revision?;
        // The write's own bound, not the reads': it has happened, and only this process is late.
        self.progress.reached(revision).await;
        self.written(&prepared, revision).await
    }

    async fn perform_together(&self, writes: Vec<(ResourceKey, Write)>) -> Result<u64, StorageError> {
        let mut together: Option<Prepared> = None;
        for (resource, write) in writes {
            let prepared = self.prepare(&resource, write).await?;
            match &mut together {
                None => together = Some(prepared),
                Some(first) => first.join(prepared),
            }
        }
        let Some(prepared) = together else {
            return Ok(self.visible());
        };
        let revision = self.commit(&prepared).await??;
        self.progress.reached(revision).await;
        Ok(self.to_visible(revision))
    }

    async fn lease_for(&self, prepared: &Prepared) -> Result<Option<LeaseId>, StorageError> {
        let Some(ttl) = prepared.ttl else { return Ok(None) };
        self.leases.lease(&*self.kv, &self.env.clock, ttl).await.map(Some)
    }

    /// What a selector of the permit hides cannot be written, nor can an object be written out of or into its view.
    async fn check_selector(&self, permit: &Permit, resource: &ResourceKey, write: &Write) -> Result<(), StorageError> {
        let by_update_only = matches!(write.change, Change::Delete { .. })
            && may(
                permit,
                Verb::Delete,
                &[Verb::DeleteCollection],
                resource,
                &Scope::One(write.key.cluster.clone()),
            )
            .is_err();
        if permit.selector().is_everything() && !by_update_only {
            return Ok(());
        }
        let outside = |verb: Verb| OutsidePermit {
            verb,
            resource: resource.to_string(),
            cluster: format!("{} (by its selector)", write.key.cluster),
        };
        let expected = match &write.change {
            Change::Create(object) | Change::Update { object, .. }
                if !permit.selector().matches(|key| object.label(key)) =>
            {
                return Err(outside(Verb::Update).into());
            }
            Change::Create(_) => return Ok(()),
            Change::Update { expected, .. } | Change::Delete { expected } => *expected,
        };
        self.fresh(crate::Consistency::AtLeast(expected)).await?;
        let current = self
            .cached(resource, &path_of(&write.key))
            .ok_or(StorageError::NotFound)?;
        if !current.labels_match(permit.selector()) {
            return Err(StorageError::NotFound);
        }
        if current.revision() != expected {
            return Err(StorageError::Conflict);
        }
        // An update may only finish a deletion that somebody else began.
        if by_update_only && !current.is_terminating() {
            Err(outside(Verb::Delete).into())
        } else {
            Ok(())
        }
    }

    pub(crate) fn cached(&self, resource: &ResourceKey, path: &[u8]) -> Option<Arc<Entry>> {
        let resource = self.catalog.get(resource)?;
        let objects = resource.objects.read();
        objects.get(path).cloned()
    }

    async fn prepare(&self, resource: &ResourceKey, write: Write) -> Result<Prepared, StorageError> {
        let Write {
            key,
            change,
            fence,
            guards,
            ttl,
        } = write;
        let path = path_of(&key);
        let stored_key = Bytes::from(self.layout.object(resource, &key));
        // What is written has to be found again under the same name.
        let is_storable = |path| matches!(path, Parsed::Object(parsed) if parsed.is_of(resource) && parsed.cluster_len == key.cluster.as_str().len() && parsed.namespace_len == key.namespace.len());
        if !is_storable(self.layout.parse(&stored_key)) {
            return Err(StorageError::Unstorable(
                format!("{resource}{key} is no key of an object").into(),
            ));
        }
        let is_create = matches!(change, Change::Create(_));
        let (object, expected) = match change {
            Change::Create(object) => (Some(object), 0),
            Change::Update { object, expected } => (Some(object), self.to_store(expected)),
            Change::Delete { expected } => (None, self.to_store(expected)),
        };
        if !is_create && expected == 0 {
            return Err(StorageError::Conflict);
        }
        let value = object
            .map(|object| stored_value(object, &key, self.options.copies))
            .transpose()?;
        let fence_seen = self.fence_for(&key, fence).await?;
        let fence_key = Bytes::from(self.layout.fence(&key.cluster));
        let mut ops = vec![match &value {
            Some(value) => Op::put(stored_key.clone(), value.clone()),
            None => Op::delete(stored_key.clone()),
        }];
        match fence {
            FenceAction::Hold | FenceAction::Closed => {}
            FenceAction::Open => ops.push(Op::put(fence_key.clone(), "1")),
            FenceAction::Close => ops.push(Op::delete(fence_key.clone())),
        }
        let compared = match self.options.skips_revision() && !is_create {
            true => Guard::unchanged("planted", Revision(0)),
            false => Guard::unchanged(stored_key.clone(), Revision(expected)),
        };
        let own = [compared, Guard::unchanged(fence_key, Revision(fence_seen))];
        let txn = Txn {
            guards: own.into_iter().chain(guards).collect(),
            ops,
        };
        let resource = Arc::new(resource.clone());
        Ok(Prepared {
            resource,
            key,
            path,
            stored_key,
            value,
            is_create,
            fence,
            fence_seen,
            ttl,
            txn,
        })
    }

    /// The revision at which the cluster's fence has to be.
    async fn fence_for(&self, key: &ObjectKey, action: FenceAction) -> Result<u64, StorageError> {
        if matches!(action, FenceAction::Open | FenceAction::Closed) {
            return Ok(0);
        }
        let seen = || self.fences.read().get(&key.cluster).copied();
        if let Some(seen) = seen() {
            return Ok(seen);
        }
        if !self.needs_fence(&key.cluster) {
            return Ok(0);
        }
        // Another replica may have opened it just now.
        self.catch_up().await?;
        seen().ok_or(StorageError::Fenced)
    }

    /// The revision of the store at which the write happened. The outer error is the store's. A write that may or may not
    /// have happened is sent again: its guards let it happen once.
    async fn commit(&self, prepared: &Prepared) -> Result<Result<u64, StorageError>, kv::Error> {
        let mut is_uncertain = false;
        loop {
            match self.kv.txn(prepared.txn.clone()).await {
                Ok(TxnOutcome::Committed(Revision(revision))) => return Ok(Ok(revision)),
                Ok(TxnOutcome::Conflict { current, revision }) if is_uncertain => {
                    self.progress.reached(revision.0).await;
                    let done = self.happened_at(prepared, current.first().and_then(Option::as_ref));
                    return Ok(done.ok_or(StorageError::UnknownOutcome));
                }
                Ok(TxnOutcome::Conflict { current, .. }) => return Ok(Err(prepared.refusal(&current))),
                Err(kv::Error::UnknownOutcome(_)) => is_uncertain = true,
                Err(kv::Error::Unavailable(_) | kv::Error::Timeout) if is_uncertain => {}
                Err(_) if is_uncertain => return Ok(Err(StorageError::UnknownOutcome)),
                Err(error) => return Err(error),
            }
            self.env.clock.sleep(RETRY_PAUSE).await;
        }
    }

    /// When an earlier attempt happened, to judge by what is there now and by the log.
    fn happened_at(&self, prepared: &Prepared, current: Option<&KeyValue>) -> Option<u64> {
        match (&prepared.value, current) {
            (Some(value), Some(current)) if current.value == *value => Some(current.mod_revision.0),
            (None, None) => {
                let resource = self.catalog.get(&prepared.resource)?;
                let ring = resource.ring.read();
                let is_ours = |event: &&Arc<crate::Event>| {
                    event.kind() == EventKind::Deleted
                        && event.subject().is_some_and(|s| s.path() == &prepared.path[..])
                };
                ring.events_after(0)
                    .filter(is_ours)
                    .last()
                    .map(|event| self.to_store(event.revision()))
            }
            _ => None,
        }
    }

    /// The entry that a write made: from the cache, or from the log if others wrote since, or from what was sent.
    async fn written(&self, prepared: &Prepared, store_revision: u64) -> Result<Arc<Entry>, StorageError> {
        let revision = self.to_visible(store_revision);
        if let Some(resource) = self.catalog.get(&prepared.resource) {
            let cached = resource.objects.read().get(&prepared.path).cloned();
            if let Some(entry) = cached.filter(|entry| entry.revision() == revision && prepared.value.is_some()) {
                return Ok(entry);
            }
            let ring = resource.ring.read();
            let is_ours = |event: &&Arc<crate::Event>| event.subject().is_some_and(|s| s.path() == &prepared.path[..]);
            if let Some(event) = ring.events_after(revision.saturating_sub(1)).find(is_ours)
                && event.revision() == revision
                && let Some(entry) = event.new_entry().or_else(|| event.departed())
            {
                return Ok(Arc::clone(entry));
            }
        }
        let unread = || StorageError::Corrupt("what was written cannot be read".into());
        let kv = match &prepared.value {
            Some(value) => {
                let (key, value) = (prepared.stored_key.clone(), value.clone());
                KeyValue {
                    key,
                    value,
                    mod_revision: Revision(store_revision),
                    ..KeyValue::default()
                }
            }
            None => {
                let request = kv::RangeRequest::key(prepared.stored_key.clone()).at(Revision(store_revision - 1));
                self.kv.range(request).await?.kvs.pop().ok_or_else(unread)?
            }
        };
        let entry = self.read_stored(&prepared.resource, &kv).ok_or_else(unread)?;
        Ok(if entry.revision() == revision {
            entry
        } else {
            Arc::new(entry.at_revision(revision))
        })
    }
}

fn stored_value(mut object: Value, key: &ObjectKey, is_copy: bool) -> Result<Bytes, StorageError> {
    let namespace = if is_copy { "" } else { key.namespace.as_str() };
    if object.name() != key.name || object.namespace() != namespace {
        return Err(StorageError::Unstorable(
            format!("an object is not the one that its key {key} names").into(),
        ));
    }
    Ok(canonical_body(&mut object, key.cluster.as_str()).into())
}

// === impl Prepared ===

impl Prepared {
    fn put_lease(&mut self, granted: Option<LeaseId>) {
        if let Some(Op::Put { lease, .. }) = self.txn.ops.first_mut() {
            *lease = granted;
        }
    }

    /// Takes another write into this one's transaction, which stands for both from now on.
    fn join(&mut self, other: Self) {
        for guard in other.txn.guards {
            if !self.txn.guards.contains(&guard) {
                self.txn.guards.push(guard);
            }
        }
        self.txn.ops.extend(other.txn.ops);
    }

    /// Why the guards did not hold.
    fn refusal(&self, current: &[Option<KeyValue>]) -> StorageError {
        let found = |index: usize| current.get(index).and_then(Option::as_ref);
        let fence_at = found(1).map_or(0, |kv| kv.mod_revision.0);
        match found(0) {
            // The one who opens a cluster is told that it is there rather than that it is fenced.
            Some(_) if self.is_create && self.fence == FenceAction::Open => StorageError::AlreadyExists,
            _ if fence_at != self.fence_seen => StorageError::Fenced,
            Some(_) if self.is_create => StorageError::AlreadyExists,
            None if !self.is_create => StorageError::NotFound,
            _ => StorageError::Conflict,
        }
    }
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.resource, self.key)
    }
}
