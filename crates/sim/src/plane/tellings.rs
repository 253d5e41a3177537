//! What may happen to the stream by which a shard tells its index: it stops for a while, comes late, comes in another order
//! than things happened, is told again from earlier on, or is cut.
//!
//! What is told of one object stays in order, as the shard's promise is; what is told again is a stretch up to now, as a stream
//! has it that is taken up at an earlier revision.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ::fabric::serve::{Batches, Source};
use ::fabric::wire::index_entry::Entry as Told;
use ::fabric::wire::{
    IndexBatch, IndexEntry, IndexWatchRequest, LocateRequest, LocateResponse, ReplicateBatch, ReplicateWatchRequest,
    ResolveRequest, ResolveResponse,
};
use async_trait::async_trait;
use env::simulated::Faults;
use env::{Env, Rng};
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tonic::Status;

use crate::plane::{EARS, Flaw, papers};

/// What is wrong with a shard's tellings now. Cheap to clone.
#[derive(Clone)]
pub struct Tellings(Arc<Inner>);

struct Inner {
    flaw: Option<Flaw>,
    state: Mutex<State>,
    changed: Notify,
    faults: Faults,
    rng: Rng,
}

/// Who hears nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deaf {
    Everybody,
    /// Shards hear of each other.
    Proxies,
}

#[derive(Clone, Copy, Default)]
struct State {
    paused: Option<Deaf>,
    /// Each batch waits up to so long.
    delay: Duration,
    /// Probabilities, for each batch.
    shuffle: f64,
    repeat: f64,
    cut: f64,
}

/// A shard's side of the fabric, through which its [`Tellings`] go.
pub struct Unsteady {
    inner: Arc<dyn Source>,
    env: Env,
    tellings: Tellings,
}

/// One stream on its way.
struct Passing {
    batches: Batches,
    env: Env,
    tellings: Tellings,
    is_to_proxy: bool,
    /// The last entries that were told, oldest first.
    told: VecDeque<IndexEntry>,
    ended: bool,
}

/// Entries that may be told again.
const MEMORY: usize = 40;

// === impl Tellings ===

impl Tellings {
    pub fn new(faults: Faults, rng: Rng, flaw: Option<Flaw>) -> Self {
        Self(Arc::new(Inner {
            flaw,
            state: Mutex::default(),
            changed: Notify::new(),
            faults,
            rng,
        }))
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.state.lock());
        self.0.changed.notify_waiters();
    }

    /// Nothing is told until it is [healed](Self::heal).
    pub fn pause(&self, who: Deaf) {
        self.set(|state| state.paused = Some(who));
    }

    /// Every batch comes up to so much later.
    pub fn delay(&self, most: Duration) {
        self.set(|state| state.delay = most);
    }

    /// What is told of different objects comes in any order.
    pub fn shuffle(&self, rate: f64) {
        self.set(|state| state.shuffle = rate);
    }

    /// What was told is told again.
    pub fn repeat(&self, rate: f64) {
        self.set(|state| state.repeat = rate);
    }

    /// Streams end before their next batch.
    pub fn cut(&self, rate: f64) {
        self.set(|state| state.cut = rate);
    }

    pub fn heal(&self) {
        self.set(|state| *state = State::default());
    }

    async fn wait(&self, env: &Env, is_to_proxy: bool) {
        let late = self.0.state.lock().delay;
        if !late.is_zero() {
            self.0.faults.count("index/delayed");
            let spread = u64::try_from(late.as_nanos()).unwrap_or(u64::MAX);
            env.clock.sleep(Duration::from_nanos(self.0.rng.below(spread))).await;
        }
        let mut is_counted = false;
        loop {
            let changed = self.0.changed.notified();
            match self.0.state.lock().paused {
                Some(Deaf::Everybody) => {}
                Some(Deaf::Proxies) if is_to_proxy => {}
                Some(Deaf::Proxies) | None => return,
            }
            if !std::mem::replace(&mut is_counted, true) {
                self.0.faults.count("index/paused");
            }
            changed.await;
        }
    }

    fn happens(&self, rate: impl Fn(&State) -> f64, kind: &'static str) -> bool {
        let rate = rate(&self.0.state.lock());
        let happens = rate > 0.0 && self.0.rng.chance(rate);
        if happens {
            self.0.faults.count(kind);
        }
        happens
    }
}

// === impl Unsteady ===

impl Unsteady {
    pub fn new(inner: Arc<dyn Source>, env: &Env, tellings: &Tellings) -> Self {
        Self {
            inner,
            env: env.clone(),
            tellings: tellings.clone(),
        }
    }
}

#[async_trait]
impl Source for Unsteady {
    async fn watch(&self, request: IndexWatchRequest) -> Result<Batches, Status> {
        let passing = Passing {
            batches: self.inner.watch(request).await?,
            env: self.env.clone(),
            tellings: self.tellings.clone(),
            is_to_proxy: papers::peer().is_some_and(|peer| EARS.contains(&peer.as_str())),
            told: VecDeque::new(),
            ended: false,
        };
        Ok(Box::pin(stream::unfold(passing, |mut passing| async move {
            let batch = passing.next().await?;
            Some((batch, passing))
        })))
    }

    async fn resolve(&self, request: ResolveRequest) -> Result<ResolveResponse, Status> {
        self.inner.resolve(request).await
    }

    async fn locate(&self, request: LocateRequest) -> Result<LocateResponse, Status> {
        self.inner.locate(request).await
    }

    async fn replicate(&self, request: ReplicateWatchRequest) -> Result<Batches<ReplicateBatch>, Status> {
        let batches = self.inner.replicate(request).await?;
        let spoil = match self.tellings.0.flaw {
            Some(Flaw::ReplicaMisplaced) => misplace,
            Some(Flaw::ReplicaKept) => keep_back,
            _ => return Ok(batches),
        };
        Ok(Box::pin(batches.map(move |batch| batch.map(spoil))))
    }
}

// === impl Passing ===

impl Passing {
    async fn next(&mut self) -> Option<Result<IndexBatch, Status>> {
        if self.ended {
            return None;
        }
        let mut batch = match self.batches.next().await? {
            Ok(batch) => batch,
            Err(status) => return Some(Err(status)),
        };
        self.tellings.wait(&self.env, self.is_to_proxy).await;
        if self.tellings.happens(|state| state.cut, "index/cut") {
            self.ended = true;
            return Some(Err(Status::unavailable("the stream was cut")));
        }
        if batch.entries.len() > 1 && self.tellings.happens(|state| state.shuffle, "index/reordered") {
            batch.entries = self.shuffled(std::mem::take(&mut batch.entries));
        }
        match self.tellings.0.flaw {
            Some(Flaw::DeletionDropped) => batch.entries.retain(|entry| !is_deletion(entry)),
            Some(Flaw::OldEventTaken) if !batch.begins_anew => batch.entries.extend(self.revived(&batch.entries)),
            _ => {}
        }
        self.told.extend(batch.entries.iter().cloned());
        self.told.drain(..self.told.len().saturating_sub(MEMORY));
        // From where a stream begins anew what was told before counts for nothing.
        let repeats = !batch.begins_anew && !self.told.is_empty();
        if repeats && self.tellings.happens(|state| state.repeat, "index/repeated") {
            let from = self.tellings.0.rng.below(self.told.len() as u64) as usize;
            batch.entries.extend(self.told.iter().skip(from).cloned());
        }
        Some(Ok(batch))
    }

    /// What was told of clusters that are gone with this batch, as if they were there.
    fn revived(&self, entries: &[IndexEntry]) -> Vec<IndexEntry> {
        let gone = entries.iter().filter(|entry| is_deletion(entry)).map(subject);
        let last = gone.filter_map(|gone| {
            self.told
                .iter()
                .rev()
                .find(|told| subject(told) == gone && !is_deletion(told))
        });
        last.cloned().collect()
    }

    /// In any order, but for what is told of the same object.
    fn shuffled(&self, entries: Vec<IndexEntry>) -> Vec<IndexEntry> {
        let rng = &self.tellings.0.rng;
        let mut left: Vec<IndexEntry> = entries;
        let mut shuffled = Vec::with_capacity(left.len());
        while !left.is_empty() {
            let chosen = rng.below(left.len() as u64) as usize;
            let subject = left.get(chosen).map(subject);
            let first = left.iter().position(|entry| Some(self::subject(entry)) == subject);
            shuffled.push(left.remove(first.unwrap_or(chosen)));
        }
        shuffled
    }
}

fn is_deletion(entry: &IndexEntry) -> bool {
    match &entry.entry {
        Some(Told::Cluster(cluster)) => cluster.gone,
        Some(Told::Workspace(workspace)) => workspace.gone,
        Some(Told::Shard(_)) | None => false,
    }
}

/// A batch whose first object is in a cluster that it is not of.
fn misplace(mut batch: ReplicateBatch) -> ReplicateBatch {
    if let Some(first) = batch.entries.first_mut() {
        "0elsewhere000000".clone_into(&mut first.cluster);
    }
    batch
}

/// A batch without what is gone.
fn keep_back(mut batch: ReplicateBatch) -> ReplicateBatch {
    batch.entries.retain(|entry| !entry.gone);
    batch
}

/// What an entry speaks of.
fn subject(entry: &IndexEntry) -> (u8, String, String) {
    match &entry.entry {
        Some(Told::Cluster(cluster)) => (0, cluster.name.clone(), String::new()),
        Some(Told::Workspace(workspace)) => (1, workspace.parent.clone(), workspace.name.clone()),
        Some(Told::Shard(shard)) => (2, shard.name.clone(), String::new()),
        None => (3, String::new(), String::new()),
    }
}
