//! Opening: the lock, the log, and the index that is built from it.

use super::EmbeddedOptions;
use super::backend::Doubt;
use super::index::{Index, Loaded};
use super::lease::Leases;
use super::log::{Failure, Log};
use super::row::RowId;
use crate::Error;
use bytes::Bytes;
use env::{Disk, DiskFile, Env};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const LOCK_FILE: &str = "kv.lock";
const LOCK_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Rows that are read while those before are taken up into the index.
const LOAD_ROWS: usize = 32 * 1024;

/// What opening finds.
pub(super) struct Opened {
    pub lock: Box<dyn DiskFile>,
    pub log: Arc<Log>,
    pub index: Index,
    pub leases: Leases,
}

// === impl Opened ===

impl Opened {
    pub(super) async fn open(env: &Env, options: &EmbeddedOptions) -> Result<Opened, Error> {
        let lock = lock(env, options).await?;
        let (opening_env, opening_options) = (env.clone(), options.clone());
        let opened = env
            .spawn
            .blocking(move || Log::open(&*opening_env.disk, &opening_options, &Doubt::default()));
        let log = opened.await.map_err(|failure| failure.to_error())?;
        let log = Arc::new(log);
        let mut index = load(env, &log).await.map_err(|failure| failure.to_error())?;
        let (numbers, leases) = (log.numbers(), log.leases());
        let (numbers, granted) = numbers
            .and_then(|numbers| Ok((numbers, leases?)))
            .map_err(|failure| failure.to_error())?;
        index.reach(numbers.revision);
        index.compact(numbers.compacted);
        let (mut leases, now) = (Leases::default(), env.clock.monotonic());
        for (lease, seconds) in granted {
            leases.grant(lease, Duration::from_secs(seconds), now);
        }
        let leased = index.all_current().filter(|(_, version)| version.lease != 0);
        leased.for_each(|(key, version)| leases.attach(&Bytes::copy_from_slice(key), version.lease));
        Ok(Opened {
            lock,
            log,
            index,
            leases,
        })
    }
}

/// Takes the lock. A process that was killed may hold it until its last write to the disk is done, so this waits a while.
async fn lock(env: &Env, options: &EmbeddedOptions) -> Result<Box<dyn DiskFile>, Error> {
    let end = env.clock.monotonic() + options.timeout;
    loop {
        let (disk, dir) = (env.disk.clone(), options.dir.clone());
        let locked = env.spawn.blocking(move || try_lock(&*disk, &dir)).await;
        match locked.map_err(|error| Failure::from(error).to_error())? {
            Some(lock) => return Ok(lock),
            None if env.clock.monotonic() >= end => return Err(Error::InUse(options.dir.display().to_string())),
            None => env.clock.sleep(LOCK_RETRY_DELAY).await,
        }
    }
}

fn try_lock(disk: &dyn Disk, dir: &Path) -> io::Result<Option<Box<dyn DiskFile>>> {
    disk.create_dir_all(dir)?;
    let lock = disk.open(&dir.join(LOCK_FILE))?;
    Ok(lock.try_lock()?.then_some(lock))
}

/// Reads the log and builds the index from it, side by side: each takes about half of the time.
async fn load(env: &Env, log: &Arc<Log>) -> Result<Index, Failure> {
    let (mut index, mut rows, mut after) = (Index::default(), Vec::new(), RowId(0));
    loop {
        let log = log.clone();
        let reading = env.spawn.blocking(move || log.load(after, LOAD_ROWS));
        let building = env.spawn.blocking(move || {
            index.load(rows);
            index
        });
        let (read, built): (Result<Vec<Loaded>, Failure>, Index) = tokio::join!(reading, building);
        (index, rows) = (built, read?);
        match rows.last() {
            Some(last) => after = last.version.row,
            None => return Ok(index),
        }
    }
}
