//! The default store: an index in memory over a durable log on the local disk.
//!
//! A write goes through a queue to the one committer, which evaluates the guards of many requests in order, writes their
//! changes with one sync, and only then shows and acknowledges them. A read finds the versions it wants in the index and
//! their values among the recent batches or in the log. A watch is a place in history.
//!
//! Invariants
//! - Acknowledged is synced. What is not acknowledged is not visible either.
//! - A failed commit is taken back before its requests are answered, so that every answered error is definite.
//! - The index holds no values; memory grows with the number of keys and of versions since the last compaction.
//! - One process at a time: a lock file beside the log.
//! - When the disk is full, writes are refused and reads served; deletions and compaction go on while the reserve lasts.
//!
//! Read next: [`EmbeddedKv`], then `committer`, `draft`, `index`, `log`, `journal`.

mod backend;
mod committer;
mod draft;
mod index;
mod journal;
mod latest;
mod lease;
mod log;
mod opening;
mod pending;
mod reading;
mod recent;
mod row;
#[cfg(test)]
mod tests;
mod watch;

use crate::{Error, Kv, LeaseId, RangeRequest, RangeResponse, Revision, Status, Txn, TxnOutcome, Watch};
use async_trait::async_trait;
use committer::{Committer, Request};
use draft::{Answer, Work};
use env::Env;
use index::Index;
use latest::Latest;
use lease::Leases;
use log::Log;
use opening::Opened;
use parking_lot::{Mutex, RwLock};
use recent::Recent;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};
use watch::EmbeddedWatch;

/// Requests that wait for the committer; more wait for a place.
const QUEUE_REQUESTS_MAX: usize = 4096;
/// How often leases are looked at.
const EXPIRY_PERIOD: Duration = Duration::from_millis(250);

/// How an [`EmbeddedKv`] works. [`EmbeddedOptions::new`] has defaults for everything but the place.
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// The directory that holds the store; made if absent.
    pub dir: PathBuf,
    /// How long a call may take.
    pub timeout: Duration,
    /// Memory for the log's pages.
    pub cache_bytes: usize,
    /// Memory for the newest changes.
    pub recent_bytes: usize,
    /// Bytes of commits that are kept beside the log before it takes them over, and as much again while it does; 0: none.
    pub journal_bytes: usize,
    /// Puts are refused when the disk has less than this.
    pub reserve_bytes: u64,
    /// The fault that the durability tests have to catch: acknowledge without syncing. Not in release builds.
    #[cfg(all(feature = "simulation", debug_assertions))]
    pub skip_sync: bool,
}

/// The embedded store. [`Kv::close`] it before opening it again.
pub struct EmbeddedKv {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Request>,
}

struct Shared {
    env: Env,
    options: EmbeddedOptions,
    /// None while it is being opened anew, and after the end.
    log: Latest<Option<Arc<Log>>>,
    /// A reader met an error of the log.
    suspect: Notify,
    index: RwLock<Index>,
    recent: RwLock<Recent>,
    leases: Mutex<Leases>,
    published: Latest<Revision>,
    full: AtomicBool,
    closed: AtomicBool,
}

// === impl EmbeddedOptions ===

impl EmbeddedOptions {
    /// Defaults: 10 s, 64 MiB of pages, 32 MiB of changes, 2 MiB of journal, 64 MiB of reserve.
    pub fn new(dir: impl Into<PathBuf>) -> EmbeddedOptions {
        EmbeddedOptions {
            dir: dir.into(),
            timeout: Duration::from_secs(10),
            cache_bytes: 64 << 20,
            recent_bytes: 32 << 20,
            journal_bytes: 2 << 20,
            reserve_bytes: 64 << 20,
            #[cfg(all(feature = "simulation", debug_assertions))]
            skip_sync: false,
        }
    }

    fn skips_sync(&self) -> bool {
        #[cfg(all(feature = "simulation", debug_assertions))]
        return self.skip_sync;
        #[cfg(not(all(feature = "simulation", debug_assertions)))]
        false
    }
}

// === impl EmbeddedKv ===

impl EmbeddedKv {
    /// Opens the store, makes it if it is absent, recovers it after a crash. `InUse` when another process has it;
    /// `Unsupported` when another version wrote it; `Corrupt` when it does not make sense.
    pub async fn open(env: &Env, options: EmbeddedOptions) -> Result<EmbeddedKv, Error> {
        let opened = Opened::open(env, &options).await?;
        let (revision, log) = (opened.index.revision(), opened.log);
        let shared = Arc::new(Shared {
            env: env.clone(),
            log: Latest::new(Some(log.clone())),
            suspect: Notify::new(),
            index: RwLock::new(opened.index),
            recent: RwLock::new(Recent::new(revision, options.recent_bytes)),
            leases: Mutex::new(opened.leases),
            published: Latest::new(revision),
            full: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            options,
        });
        let (queue, requests) = mpsc::channel(QUEUE_REQUESTS_MAX);
        let committer = Committer::new(shared.clone(), requests, log, opened.lock);
        env.spawn.spawn("kv-committer", committer.run()).detach();
        let expiry = expire_leases(Arc::downgrade(&shared), queue.downgrade(), env.clone());
        env.spawn.spawn("kv-leases", expiry).detach();
        Ok(EmbeddedKv { shared, queue })
    }

    async fn submit(&self, work: Work) -> Result<Answer, Error> {
        self.shared.check_open()?;
        submit(&self.shared, &self.queue, work).await
    }
}

/// Queues work and waits for its answer.
async fn submit(shared: &Shared, queue: &mpsc::Sender<Request>, work: Work) -> Result<Answer, Error> {
    let (answer, answered) = oneshot::channel();
    let taken = Arc::new(AtomicBool::new(false));
    let request = Request {
        work,
        taken: taken.clone(),
        answer,
    };
    let in_time = shared.env.clock.timeout(shared.options.timeout, async {
        queue.send(request).await.map_err(|_| Error::Closed)?;
        Ok(answered.await)
    });
    match in_time.await {
        Ok(Ok(Ok(answer))) => answer,
        Ok(Err(error)) => Err(error),
        // Nobody will answer. Unless the committer had begun with it, it did not happen.
        Ok(Ok(Err(_))) if !taken.swap(true, Ordering::AcqRel) => Err(Error::Closed),
        Err(_) if !taken.swap(true, Ordering::AcqRel) => Err(Error::Timeout),
        Ok(Ok(Err(_))) => Err(Error::UnknownOutcome("the store ended".to_owned())),
        Err(_) => Err(Error::UnknownOutcome("the disk did not answer in time".to_owned())),
    }
}

async fn expire_leases(shared: Weak<Shared>, queue: mpsc::WeakSender<Request>, env: Env) {
    loop {
        env.clock.sleep(EXPIRY_PERIOD).await;
        let (Some(shared), Some(queue)) = (shared.upgrade(), queue.upgrade()) else {
            return;
        };
        let now = env.clock.monotonic();
        let expired = shared.leases.lock().expired(now);
        for lease in expired {
            // What fails now is tried again in the next round.
            let _ = submit(
                &shared,
                &queue,
                Work::Revoke {
                    lease,
                    expired_at: Some(now),
                },
            )
            .await;
        }
    }
}

#[async_trait]
impl Kv for EmbeddedKv {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        self.shared.check_open()?;
        let reading = self.shared.range(&request);
        self.shared
            .env
            .clock
            .timeout(self.shared.options.timeout, reading)
            .await
            .map_err(|_| Error::Timeout)?
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, Error> {
        txn.check()?;
        loop {
            match self.submit(Work::Txn(txn.clone())).await? {
                Answer::Conflict { found, revision } => {
                    // A row may have been superseded and compacted meanwhile. Nothing has happened, so ask again.
                    if let Some(current) = self.shared.resolve(&found).await? {
                        return Ok(TxnOutcome::Conflict { current, revision });
                    }
                }
                Answer::Committed(revision) => return Ok(TxnOutcome::Committed(revision)),
                Answer::Done => {
                    return Err(Error::Corrupt(
                        "a transaction was answered as something else".to_owned(),
                    ));
                }
            }
        }
    }

    async fn watch(&self, from: Revision) -> Result<Box<dyn Watch>, Error> {
        self.shared.check_open()?;
        Ok(Box::new(EmbeddedWatch::new(self.shared.clone(), from)?))
    }

    async fn revision(&self) -> Result<Revision, Error> {
        self.shared.check_open()?;
        Ok(self.shared.index.read().revision())
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.submit(Work::Compact(revision)).await.map(drop)
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId, Error> {
        let seconds = u64::try_from(ttl.as_millis().div_ceil(1000))
            .unwrap_or(u64::MAX)
            .clamp(1, 1 << 32);
        // Random ids make it unlikely that a forgotten lease of long ago is taken for a new one.
        let lease = (self.shared.env.rng.next_u64() >> 1 | 1) as i64;
        self.submit(Work::Grant { lease, seconds })
            .await
            .map(|_| LeaseId(lease))
    }

    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<(), Error> {
        self.shared.check_open()?;
        let now = self.shared.env.clock.monotonic();
        match self.shared.leases.lock().keep_alive(lease.0, now) {
            true => Ok(()),
            false => Err(Error::LeaseNotFound),
        }
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), Error> {
        self.submit(Work::Revoke {
            lease: lease.0,
            expired_at: None,
        })
        .await
        .map(drop)
    }

    async fn status(&self) -> Result<Status, Error> {
        self.shared.check_open()?;
        let (size_bytes, in_use_bytes) = self.shared.read_log(Log::sizes).await?;
        let (revision, compacted) = {
            let index = self.shared.index.read();
            (index.revision(), index.compacted())
        };
        let full = self.shared.full.load(Ordering::Acquire);
        Ok(Status {
            version: "embedded".to_owned(),
            revision,
            compacted,
            size_bytes,
            in_use_bytes,
            full,
        })
    }

    async fn close(&self) {
        // Any error means that the committer has ended, or will once it has written what was queued before.
        let _ = self.submit(Work::Close).await;
        self.queue.closed().await;
    }
}

// === impl Shared ===

impl Shared {
    fn check_open(&self) -> Result<(), Error> {
        match self.closed.load(Ordering::Acquire) {
            true => Err(Error::Closed),
            false => Ok(()),
        }
    }

    /// The end: calls and watches answer `Closed`.
    fn shut(&self) {
        self.closed.store(true, Ordering::Release);
        self.log.set(None);
        self.published.touch();
    }
}
