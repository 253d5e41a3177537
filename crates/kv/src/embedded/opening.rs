//! Opening: the lock, the log, and the index that is built from it.

use super::index::{Index, Loaded};
use super::lease::Leases;
use super::log::{Failure, Log};
use super::row::RowId;
use super::{EmbeddedOptions, LOG_FILE};
use crate::Error;
use bytes::Bytes;
use env::{DiskFile, Env};
use std::io;
use std::sync::Arc;
use std::time::Duration;

const LOCK_FILE: &str = "kv.lock";

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
        let (opening_env, opening_options) = (env.clone(), options.clone());
        let opened = env.spawn.blocking(move || {
            let lock = lock(&opening_env, &opening_options).map_err(|error| Failure::from(error).to_error())?;
            let lock = lock.ok_or_else(|| Error::InUse(opening_options.dir.display().to_string()))?;
            let (path, cache_bytes) = (opening_options.dir.join(LOG_FILE), opening_options.cache_bytes);
            let log = Log::open(&*opening_env.disk, &path, cache_bytes, opening_options.skips_sync());
            log.map(|log| (lock, log)).map_err(|failure| failure.to_error())
        });
        let (lock, log) = opened.await?;
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

fn lock(env: &Env, options: &EmbeddedOptions) -> io::Result<Option<Box<dyn DiskFile>>> {
    env.disk.create_dir_all(&options.dir)?;
    let lock = env.disk.open(&options.dir.join(LOCK_FILE))?;
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
