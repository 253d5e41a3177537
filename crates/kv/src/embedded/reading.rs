//! Reads: versions from the index, their values from memory or from the log.

use super::Shared;
use super::index::Version;
use super::log::{Failure, Log};
use super::row::RowId;
use crate::{Error, Event, KeyValue, RangeRequest, RangeResponse, Revision};
use bytes::Bytes;
use std::sync::Arc;

/// Keys that a range looks at before it lets a commit in between.
const SCAN_KEYS: usize = 1024;
/// Rows that are read from the log at a time.
const READ_ROWS: usize = 1024;
/// A range is read again when compaction removed rows under it, but not for ever.
const RANGE_ATTEMPTS: usize = 5;

/// A version, with its key if only keys are wanted.
type Found = (Version, Option<Box<[u8]>>);

// === impl Shared ===

impl Shared {
    pub(super) async fn range(self: &Arc<Self>, request: &RangeRequest) -> Result<RangeResponse, Error> {
        for _ in 0..RANGE_ATTEMPTS {
            let (at, revision) = {
                let index = self.index.read();
                (index.readable(request.revision)?, index.revision())
            };
            let (found, count) = self.find(request, at).await;
            let more = !request.count_only && count > found.len() as u64;
            let kvs = match request.keys_only {
                true => Some(found.into_iter().map(|(version, key)| version.key_value(key)).collect()),
                false => {
                    self.load(found.iter().map(|(version, _)| version.row).collect())
                        .await?
                }
            };
            // Compaction that passed the revision meanwhile may have taken versions away before they were found.
            let compacted = self.index.read().compacted();
            match kvs {
                Some(kvs) if at >= compacted => {
                    return Ok(RangeResponse {
                        kvs,
                        more,
                        count,
                        revision,
                    });
                }
                _ if request.revision.is_some() => return Err(Error::Compacted { at: compacted }),
                _ => {}
            }
        }
        Err(Error::Unavailable("compaction was faster than the read".to_owned()))
    }

    /// The versions that a range holds at a revision, with their keys if only those are wanted, and the count of all.
    async fn find(&self, request: &RangeRequest, at: Revision) -> (Vec<Found>, u64) {
        let (mut versions, mut count) = (Vec::new(), 0);
        if request.is_empty() {
            return (versions, count);
        }
        let limit = match (request.count_only, request.limit) {
            (true, _) => 0,
            (false, 0) => usize::MAX,
            (false, limit) => limit,
        };
        let mut start: Box<[u8]> = request.start[..].into();
        loop {
            let found = self
                .index
                .read()
                .scan(request, at, &start, limit - versions.len(), SCAN_KEYS);
            versions.extend(found.versions);
            count += found.count;
            match found.rest {
                Some(rest) => start = rest,
                None => return (versions, count),
            }
            tokio::task::yield_now().await;
        }
    }

    /// The contents of rows, in the same order; none if any is gone.
    async fn load(self: &Arc<Self>, rows: Vec<RowId>) -> Result<Option<Vec<KeyValue>>, Error> {
        let mut kvs: Vec<Option<KeyValue>> = {
            let recent = self.recent.read();
            rows.iter().map(|row| recent.event(*row).and_then(put)).collect()
        };
        let mut missing: Vec<usize> = (0..rows.len()).filter(|place| kvs[*place].is_none()).collect();
        // Neighbours in the log share pages.
        missing.sort_unstable_by_key(|place| rows[*place]);
        for places in missing.chunks(READ_ROWS) {
            let wanted: Vec<RowId> = places.iter().map(|place| rows[*place]).collect();
            let events = self.read_log(move |log| log.read(&wanted)).await?;
            for (place, event) in places.iter().zip(events) {
                kvs[*place] = event.as_ref().and_then(put);
            }
        }
        Ok(kvs.into_iter().collect())
    }

    /// The contents of versions that a conflict found; none if any is gone.
    pub(super) async fn resolve(
        self: &Arc<Self>,
        found: &[Option<Version>],
    ) -> Result<Option<Vec<Option<KeyValue>>>, Error> {
        let rows = found.iter().flatten().map(|version| version.row).collect();
        let Some(kvs) = self.load(rows).await? else {
            return Ok(None);
        };
        let mut kvs = kvs.into_iter();
        Ok(Some(
            found
                .iter()
                .map(|version| version.as_ref().and_then(|_| kvs.next()))
                .collect(),
        ))
    }

    /// Reads the log. If it has failed, waits within the time allowed until it is open again.
    pub(super) async fn read_log<T, F>(self: &Arc<Self>, read: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Fn(&Log) -> Result<T, Failure> + Send + Sync + 'static,
    {
        let read = Arc::new(read);
        let reading = async {
            loop {
                self.check_open()?;
                let (log, seen) = self.log.get();
                if let Some(log) = log {
                    let read = read.clone();
                    match self.env.spawn.blocking(move || read(&log)).await {
                        Ok(content) => return Ok(content),
                        Err(Failure::Io(_) | Failure::Full) => self.suspect.notify_one(),
                        Err(failure) => return Err(failure.to_error()),
                    }
                }
                self.log.changed(seen).await;
            }
        };
        let in_time = self.env.clock.timeout(self.options.timeout, reading).await;
        in_time.unwrap_or_else(|_| Err(Error::Unavailable("the disk does not answer".to_owned())))
    }
}

fn put(event: &Event) -> Option<KeyValue> {
    match event {
        Event::Put { kv } => Some(kv.clone()),
        Event::Delete { .. } => None,
    }
}

// === impl Version ===

impl Version {
    fn key_value(&self, key: Option<Box<[u8]>>) -> KeyValue {
        KeyValue {
            key: key.map(Bytes::from).unwrap_or_default(),
            value: Bytes::new(),
            create_revision: self.create_revision,
            mod_revision: self.row.revision(),
            version: self.version,
            lease: self.lease,
        }
    }
}
