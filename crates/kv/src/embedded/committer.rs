//! The one writer: takes requests off the queue, commits many with one sync, answers only then.

use super::Shared;
use super::backend::Doubt;
use super::draft::{Answer, Draft, Work};
use super::log::{Commit, Failure, Log, Numbers};
use crate::{Error, Revision};
use env::{DiskFile, Task};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Requests that one commit may hold.
const COMMIT_REQUESTS_MAX: usize = 256;
/// Bytes of transactions that one commit may hold.
const COMMIT_BYTES_MAX: usize = 4 << 20;
/// Rows that one step of compaction removes, between two commits.
const COMPACTION_STEP_ROWS: usize = 512;
/// How long the log stays untouched after a failure to open or to extend it.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// How often a full disk is looked at again.
const SPACE_PROBE_PERIOD: Duration = Duration::from_millis(100);

/// Something queued. Whoever sets `taken` first decides: the committer takes it, or the caller gives up.
pub(super) struct Request {
    pub work: Work,
    pub taken: Arc<AtomicBool>,
    pub answer: oneshot::Sender<Result<Answer, Error>>,
}

pub(super) struct Committer {
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Request>,
    log: Arc<Log>,
    /// Held as long as this process may write.
    lock: Box<dyn DiskFile>,
    /// The tables taking over a part of the journal; ended or not.
    taking_over: Option<Task<()>>,
    space: Space,
    closing: bool,
}

/// Whether there is space to write.
struct Space {
    room: u64,
    probed: Duration,
    /// The disk was found full in the middle of a commit: wait before the next attempt.
    blocked_until: Duration,
}

// === impl Committer ===

impl Committer {
    pub(super) fn new(
        shared: Arc<Shared>,
        queue: mpsc::Receiver<Request>,
        log: Arc<Log>,
        lock: Box<dyn DiskFile>,
    ) -> Committer {
        let space = Space {
            room: u64::MAX,
            probed: Duration::ZERO,
            blocked_until: Duration::ZERO,
        };
        Committer {
            shared,
            queue,
            log,
            lock,
            taking_over: None,
            space,
            closing: false,
        }
    }

    /// Works until the store is closed or nobody can send any more.
    pub(super) async fn run(mut self) {
        self.probe_space().await;
        while let Some(requests) = self.gather().await {
            self.closing |= requests.iter().any(|request| matches!(request.work, Work::Close));
            self.process(requests).await;
        }
        self.taken_over().await;
        let Committer {
            shared,
            queue,
            log,
            lock,
            ..
        } = self;
        shared.shut();
        // Settling and dropping the last handle write the state that makes the next opening quick.
        let ended = shared
            .env
            .spawn
            .blocking(move || (log.settle(), drop((log, lock))).0)
            .await;
        if let Err(failure) = ended {
            tracing::warn!(?failure, "the journal was left to the next opening");
        }
        // Whoever closes the store waits for this.
        drop(queue);
    }

    /// The next requests; none: the end. Meanwhile it compacts.
    async fn gather(&mut self) -> Option<Vec<Request>> {
        let first = loop {
            // A recovery in here may have taken the request to close.
            if self.closing {
                return None;
            }
            if self.compacts_now() {
                match self.queue.try_recv() {
                    Ok(first) => break first,
                    Err(mpsc::error::TryRecvError::Disconnected) => return None,
                    Err(mpsc::error::TryRecvError::Empty) => self.compaction_step().await,
                }
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                biased;
                () = self.shared.suspect.notified() => self.check_log().await,
                first = self.queue.recv() => break first?,
            }
        };
        let mut bytes = first.work.size();
        let mut requests = vec![first];
        while requests.len() < COMMIT_REQUESTS_MAX && bytes < COMMIT_BYTES_MAX {
            let Ok(request) = self.queue.try_recv() else { break };
            bytes += request.work.size();
            requests.push(request);
        }
        Some(requests)
    }

    async fn process(&mut self, mut requests: Vec<Request>) {
        requests.retain(|request| !request.taken.swap(true, Ordering::AcqRel));
        let is_full = self.is_full().await;
        let (commit, answers) = self.evaluate(&requests, is_full);
        let commit = Arc::new(commit);
        if let Err(failure) = self.write(commit.clone()).await {
            tracing::warn!(?failure, "a commit failed");
            self.recover(&failure).await;
            let error = failure.to_error();
            requests
                .into_iter()
                .for_each(|request| drop(request.answer.send(Err(error.clone()))));
            return;
        }
        self.shared.apply(&commit);
        for (request, answer) in requests.into_iter().zip(answers) {
            // A caller that gave up has no use for the answer.
            let _ = request.answer.send(answer);
        }
        // Between two commits, so that compaction goes on under load and no commit waits for more than one step.
        if self.compacts_now() {
            self.compaction_step().await;
        }
    }

    fn evaluate(&self, requests: &[Request], is_full: bool) -> (Commit, Vec<Result<Answer, Error>>) {
        let (index, leases) = (self.shared.index.read(), self.shared.leases.lock());
        let mut draft = Draft::new(&index, &leases, is_full);
        let answers = requests.iter().map(|request| draft.add(&request.work)).collect();
        (draft.commit, answers)
    }

    async fn write(&mut self, commit: Arc<Commit>) -> Result<(), Failure> {
        if commit.is_empty() {
            return Ok(());
        }
        let (log, shared) = (self.log.clone(), self.shared.clone());
        let (written, room) = self
            .shared
            .env
            .spawn
            .blocking(move || (log.commit(&commit), shared.room(&log)))
            .await;
        self.space.note(room, self.now());
        if written? {
            self.take_over();
        }
        Ok(())
    }

    /// Has the tables take over what the journal has closed, beside the commits that follow.
    fn take_over(&mut self) {
        let (log, shared, before) = (self.log.clone(), self.shared.clone(), self.taking_over.take());
        let taking_over = async move {
            if let Some(before) = before {
                let _ = before.join().await;
            }
            if let Err(failure) = shared.env.spawn.blocking(move || log.take_over()).await {
                tracing::warn!(?failure, "the journal was not taken over");
                // The generation stays in the journal. Whether the log can still be used is for the committer to find out.
                shared.suspect.notify_one();
            }
        };
        self.taking_over = Some(self.shared.env.spawn.spawn("kv-journal", taking_over));
    }

    /// Waits until nothing is taken over any more.
    async fn taken_over(&mut self) {
        if let Some(task) = self.taking_over.take() {
            // Its panic is counted, and the log tells its failures to whoever uses it next.
            let _ = task.join().await;
        }
    }

    fn now(&self) -> Duration {
        self.shared.env.clock.monotonic()
    }

    // --- space

    async fn probe_space(&mut self) {
        let (log, shared) = (self.log.clone(), self.shared.clone());
        let room = self.shared.env.spawn.blocking(move || shared.room(&log)).await;
        self.space.note(room, self.now());
    }

    async fn is_full(&mut self) -> bool {
        let reserve = self.shared.options.reserve_bytes;
        if self.space.is_short(reserve) && self.now() >= self.space.probed + SPACE_PROBE_PERIOD {
            self.probe_space().await;
        }
        let is_full = self.space.is_short(reserve) || self.is_blocked();
        if self.shared.full.swap(is_full, Ordering::AcqRel) != is_full {
            match is_full {
                true => tracing::error!(room_bytes = self.space.room, "the disk is full: writes are refused"),
                false => tracing::info!(
                    room_bytes = self.space.room,
                    "the disk has space again: writes are accepted"
                ),
            }
        }
        is_full
    }

    fn is_blocked(&self) -> bool {
        self.now() < self.space.blocked_until
    }

    // --- compaction

    fn compacts_now(&self) -> bool {
        !self.is_blocked() && self.shared.index.read().has_superfluous()
    }

    async fn compaction_step(&mut self) {
        let rows = self.shared.index.read().superfluous(COMPACTION_STEP_ROWS);
        let log = self.log.clone();
        let removing = move || log.remove(&rows).map(|removed| (rows, removed));
        match self.shared.env.spawn.blocking(removing).await {
            Ok((rows, removed)) => self.shared.index.write().forget(&rows, &removed),
            Err(failure) => {
                tracing::warn!(?failure, "a step of compaction failed");
                self.recover(&failure).await;
            }
        }
    }

    // --- failures

    /// A reader met an error. If the log is unusable since, it is opened anew.
    async fn check_log(&mut self) {
        let log = self.log.clone();
        if let Err(failure) = self.shared.env.spawn.blocking(move || log.numbers()).await {
            tracing::warn!(?failure, "the log is unusable");
            self.recover(&failure).await;
        }
    }

    /// Opens the log anew and takes back what a failed commit may have left in it, so that its requests can be told
    /// that they had no effect. Until that is done, new requests are refused and reads wait.
    async fn recover(&mut self, failure: &Failure) {
        if matches!(failure, Failure::Full) {
            self.space.blocked_until = self.now() + RETRY_DELAY;
            self.shared.full.store(true, Ordering::Release);
        }
        self.shared.log.set(None);
        self.log.retire();
        // Nothing of it may still write when the log is opened anew.
        self.taken_over().await;
        let (stored, doubt) = (self.log.stored(), self.log.doubt());
        let mut error = failure.to_error();
        loop {
            let (shared, doubt) = (self.shared.clone(), doubt.clone());
            let reopening = move || shared.reopen_log(stored, &doubt);
            match self.shared.env.spawn.blocking(reopening).await {
                Ok(log) => {
                    self.log = log.clone();
                    self.shared.log.set(Some(log));
                    return;
                }
                Err(failure) => {
                    tracing::warn!(?failure, "the log cannot be opened");
                    error = match failure {
                        // Space is what is missing, whatever the way in which that shows.
                        _ if error == Error::Full => Error::Full,
                        failure => failure.to_error(),
                    };
                }
            }
            if !self.refuse_until(self.now() + RETRY_DELAY, &error).await {
                return;
            }
        }
    }

    /// Refuses requests for a while. False when the store has to end.
    async fn refuse_until(&mut self, end: Duration, error: &Error) -> bool {
        loop {
            tokio::select! {
                biased;
                request = self.queue.recv() => match request {
                    Some(request) if matches!(request.work, Work::Close) => {
                        self.closing = true;
                        drop(request.answer.send(Ok(Answer::Done)));
                        return false;
                    }
                    Some(request) => drop(request.answer.send(Err(error.clone()))),
                    None => return false,
                },
                () = self.shared.env.clock.sleep_until(end) => return true,
            }
        }
    }
}

// === impl Space ===

impl Space {
    fn note(&mut self, room: u64, now: Duration) {
        self.room = room;
        self.probed = now;
    }

    fn is_short(&self, reserve: u64) -> bool {
        self.room < reserve
    }
}

// === impl Shared ===

impl Shared {
    /// Makes a durable commit visible, then tells the watchers.
    fn apply(&self, commit: &Commit) {
        {
            let mut leases = self.leases.lock();
            let now = self.env.clock.monotonic();
            for (lease, seconds) in &commit.leases {
                match seconds {
                    Some(seconds) => leases.grant(*lease, Duration::from_secs(*seconds), now),
                    None => leases.remove(*lease),
                }
            }
            let events = commit.batches.iter().flat_map(|batch| &batch.events);
            events.for_each(|event| leases.apply(event));
        }
        let mut recent = self.recent.write();
        let mut index = self.index.write();
        for batch in &commit.batches {
            index.apply(batch);
            recent.push(batch.clone());
        }
        let mut forgotten = VecDeque::new();
        if let Some(compacted) = commit.compacted {
            index.compact(compacted.at);
            forgotten = recent.forget(compacted.at);
        }
        let revision = index.revision();
        // What is forgotten last: to free that many small pieces takes long, and every reader would wait.
        drop((index, recent));
        drop(forgotten);
        self.publish(revision);
    }

    fn publish(&self, revision: Revision) {
        if self.published.get().0 != revision {
            self.published.set(revision);
        }
    }

    fn room(&self, log: &Log) -> u64 {
        log.room(&*self.env.disk, &self.options.dir)
    }

    /// Opens the log and brings it back to what was acknowledged.
    fn reopen_log(&self, stored: u64, doubt: &Doubt) -> Result<Arc<Log>, Failure> {
        let log = Log::open(&*self.env.disk, &self.options, doubt)?;
        let known = {
            let index = self.index.read();
            Numbers {
                compacted: index.compacted(),
                revision: index.revision(),
            }
        };
        log.truncate(known, &self.leases.lock().seconds())?;
        log.set_stored(stored);
        Ok(Arc::new(log))
    }
}
