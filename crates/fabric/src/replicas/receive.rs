//! Being told by shards, without knowing any: the cache server's side.
//!
//! Whoever tells is a component by its certificate, and says which shard it is. What a shard that is gone for good has told goes
//! when the list of shards, which the root shard tells as it tells everything, has it no more.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{Stream, stream};
use machinery::object::ObjectExt;
use machinery::selector::LabelSelector;
use parking_lot::Mutex;
use permit::Scope;
use storage::{StorageError, Store};
use tokio::sync::{Mutex as Turn, Notify, OwnedMutexGuard};
use tonic::{Status, Streaming};

use super::Replicas;
use super::follow::{advanced, is_shard_name};
use super::sink::Teller;
use crate::wire::{ReplicateBatch, ReplicateWatchRequest};

/// What a shard that tells is answered.
pub type Positions = Pin<Box<dyn Stream<Item = Result<ReplicateWatchRequest, Status>> + Send>>;

/// Keeps [`Replicas`] as shards tell them.
pub struct Receiving {
    replicas: Arc<Replicas>,
    /// By shard.
    tellers: Mutex<BTreeMap<String, State>>,
    /// The shard with which shards are registered has told all of them.
    knows_all: AtomicBool,
}

#[derive(Default)]
struct State {
    /// How many tell now: each of several processes of a shard does.
    streams: usize,
    /// Everything up to here is kept.
    position: ReplicateWatchRequest,
    /// How many ended beside others.
    endings: u64,
    /// Another one did.
    ended: Arc<Notify>,
    /// Whose batch is taken in. A stream may end meanwhile: what it has begun to write comes in yet, and before whatever the next
    /// one tells, which would not find it to take it back.
    turn: Arc<Turn<()>>,
}

/// One stream.
struct Receipt {
    incoming: Streaming<ReplicateBatch>,
    /// `None` while a batch is taken in.
    intake: Option<Intake>,
    /// Where it goes on was answered.
    is_answered: bool,
    shard: String,
    receiving: Arc<Receiving>,
    ended: Arc<Notify>,
    turn: Arc<Turn<()>>,
    /// The endings that there had been when it began.
    endings: u64,
    /// It ends so that everything is told anew.
    is_over: bool,
}

/// What takes a stream's batches in, whether or not the stream is there to hear of it.
struct Intake {
    receiving: Arc<Receiving>,
    store: Store,
    shard: String,
    /// Everything up to here is kept.
    position: ReplicateWatchRequest,
    teller: Option<Teller>,
    endings: u64,
}

// === impl Receiving ===

impl Receiving {
    pub fn new(replicas: Arc<Replicas>) -> Arc<Self> {
        Arc::new(Self {
            replicas,
            tellers: Mutex::default(),
            knows_all: AtomicBool::new(false),
        })
    }

    /// The shards that have told anything to this process, and whether they tell now.
    pub fn tellers(&self) -> Vec<(String, bool)> {
        let tellers = self.tellers.lock();
        let each = tellers.iter().map(|(shard, state)| (shard.clone(), state.streams > 0));
        each.collect()
    }

    /// How many tell for a shard now.
    fn streams(&self, shard: &str) -> usize {
        self.tellers.lock().get(shard).map_or(0, |state| state.streams)
    }

    /// See `Cache.Tell`.
    pub(crate) async fn receive(
        self: &Arc<Self>,
        mut incoming: Streaming<ReplicateBatch>,
    ) -> Result<Positions, Status> {
        let hello = incoming.message().await?;
        let shard = hello.map(|hello| hello.shard).unwrap_or_default();
        if !is_shard_name(&shard) {
            return Err(Status::invalid_argument("the shard does not say who it is"));
        }
        let store = self.replicas.store().await.map_err(unavailable)?;
        let (position, endings, ended, turn) = {
            let mut tellers = self.tellers.lock();
            let state = tellers.entry(shard.clone()).or_default();
            state.streams += 1;
            let (ended, turn) = (state.ended.clone(), state.turn.clone());
            (state.position.clone(), state.endings, ended, turn)
        };
        tracing::info!(shard, after = position.after_revision, "a shard tells");
        let intake = Intake {
            receiving: self.clone(),
            store,
            shard: shard.clone(),
            position,
            teller: None,
            endings,
        };
        let receipt = Receipt {
            incoming,
            intake: Some(intake),
            is_answered: false,
            shard,
            receiving: self.clone(),
            ended,
            turn,
            endings,
            is_over: false,
        };
        Ok(Box::pin(stream::unfold(receipt, |mut receipt| async move {
            let answer = receipt.next().await?;
            Some((answer, receipt))
        })))
    }

    /// Whoever registers the others has told all that it has: only then is it known who is no shard any more.
    fn completed(&self, store: &Store, shard: &str) {
        let shards = super::resource_key(api::keys::group::CORE, "shards");
        let all = LabelSelector::everything();
        if !self
            .replicas
            .entries(store, &shards, &Scope::All, shard, &all)
            .is_empty()
        {
            self.knows_all.store(true, Ordering::Relaxed);
        }
    }

    /// Removes what is kept of shards that are registered no more.
    async fn collect(&self, store: &Store) -> Result<(), StorageError> {
        if !self.knows_all.load(Ordering::Relaxed) {
            return Ok(());
        }
        let all = LabelSelector::everything();
        let registered = self.replicas.list(api::keys::group::CORE, "shards", &Scope::All, &all);
        let registered: BTreeSet<&str> = registered.iter().map(|shard| shard.name()).collect();
        for shard in self.replicas.origins() {
            if registered.contains(&*shard) || self.streams(&shard) > 0 {
                continue;
            }
            if self.replicas.count(&shard) > 0 {
                tracing::info!(shard, "the shard is gone: so is what was kept of it");
                self.replicas.remove(store, &shard, |_, _| true).await?;
            }
            self.tellers.lock().remove(&shard);
        }
        Ok(())
    }
}

// === impl Receipt ===

impl Receipt {
    /// The next answer: where to begin, then what is kept. `None`: the shard has ended.
    async fn next(&mut self) -> Option<Result<ReplicateWatchRequest, Status>> {
        if !std::mem::replace(&mut self.is_answered, true) {
            let position = self.intake.as_ref().map(|intake| intake.position.clone());
            return Some(Ok(position.unwrap_or_default()));
        }
        loop {
            let ended = self.ended.clone();
            let other_ended = ended.notified();
            if self.is_overtaken() {
                return Some(Err(self.begin_anew()));
            }
            let next = tokio::select! {
                biased;
                () = other_ended => continue,
                next = self.incoming.message() => next,
            };
            let batch = match next {
                Ok(Some(batch)) => batch,
                Ok(None) => return None,
                Err(status) => return Some(Err(status)),
            };
            let leads = batch.revision > 0;
            match self.take(batch).await {
                Ok(position) if leads => return Some(Ok(position)),
                Ok(_) => {}
                Err(status) => return Some(Err(status)),
            }
        }
    }

    /// What a stream had still to say when its shard had given it up may have been taken in behind what a later one has told,
    /// and nobody would ever take it back. So whenever one ends beside others, these begin anew.
    fn is_overtaken(&self) -> bool {
        let tellers = self.receiving.tellers.lock();
        tellers
            .get(&self.shard)
            .is_some_and(|state| state.endings != self.endings)
    }

    fn begin_anew(&mut self) -> Status {
        self.is_over = true;
        if let Some(state) = self.receiving.tellers.lock().get_mut(&self.shard) {
            state.position = ReplicateWatchRequest::default();
        }
        Status::aborted("another stream of this shard has ended: everything is to be told anew")
    }

    /// Keeps one batch, to the end: in a task of its own, which a stream that is dropped leaves running.
    async fn take(&mut self, batch: ReplicateBatch) -> Result<ReplicateWatchRequest, Status> {
        let turn = self.turn.clone().lock_owned().await;
        let gone = || Status::unavailable("what is told cannot be taken in any more");
        let intake = self.intake.take().ok_or_else(gone)?;
        let spawn = &self.receiving.replicas.env.spawn;
        let taken = spawn.spawn("taking in", intake.take(batch, turn)).await;
        let intake = taken.map_err(|_| gone())??;
        let position = intake.position.clone();
        self.intake = Some(intake);
        Ok(position)
    }
}

// === impl Intake ===

impl Intake {
    async fn take(mut self, batch: ReplicateBatch, _turn: OwnedMutexGuard<()>) -> Result<Self, Status> {
        let (receiving, store) = (&self.receiving.clone(), &self.store.clone());
        let mut teller = match self.teller.take() {
            Some(teller) if batch.shard.is_empty() => teller,
            None if batch.shard == self.shard => {
                let teller = Teller::new(&receiving.replicas, store, &batch);
                match receiving.streams(&self.shard) > 1 {
                    true => teller.beside_another(),
                    false => teller,
                }
            }
            _ => return Err(Status::invalid_argument("the shard is another one than it said")),
        };
        let after = advanced(&self.position, &batch);
        let concerns_shards = batch.entries.iter().any(|entry| entry.resource == "shards");
        let completes = batch.complete;
        let taken = teller.take(&receiving.replicas, store, batch).await;
        taken.map_err(unavailable)?;
        self.teller = Some(teller);
        self.position = after;
        if let Some(state) = receiving.tellers.lock().get_mut(&self.shard)
            && state.endings == self.endings
        {
            state.position = self.position.clone();
        }
        if completes {
            receiving.completed(store, &self.shard);
        }
        if concerns_shards || completes {
            receiving.collect(store).await.map_err(unavailable)?;
        }
        Ok(self)
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        tracing::info!(shard = self.shard, "a shard does not tell any more");
        if let Some(state) = self.receiving.tellers.lock().get_mut(&self.shard) {
            state.streams = state.streams.saturating_sub(1);
            // One that ends for another's sake is no reason for a third.
            if state.streams > 0 && !self.is_over {
                state.endings += 1;
                state.position = ReplicateWatchRequest::default();
                state.ended.notify_waiters();
            }
        }
    }
}

fn unavailable(error: StorageError) -> Status {
    Status::unavailable(error.to_string())
}
