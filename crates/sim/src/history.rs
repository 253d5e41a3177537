//! The store's own history, recorded through all lives of the server: the truth that clients' observations are held to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use env::Env;
use kv::{Batch, Event, Kv, RangeRequest, Revision, WatchItem};
use parking_lot::Mutex;

/// Every version of every key since the beginning of the run. Keys of objects are written `group/resource/cluster/…`.
#[derive(Default)]
pub struct History {
    begun: bool,
    /// The newest revision that was recorded.
    pub last: u64,
    versions: BTreeMap<String, Vec<Version>>,
}

/// What a key was from a revision on.
#[derive(Clone, Debug)]
pub struct Version {
    pub revision: u64,
    /// `None`: deleted.
    pub value: Option<Bytes>,
}

/// What a watch has to show of one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Added,
    Modified,
    Deleted,
}

/// One change of a key: what a watch shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub revision: u64,
    pub key: String,
    pub kind: Kind,
}

/// A history that a task fills while others read it.
pub type Shared = Arc<Mutex<History>>;

// === impl History ===

impl History {
    /// The state of a key at a revision; `None`: absent.
    pub fn at(&self, key: &str, revision: u64) -> Option<&Version> {
        self.last_at(key, revision).filter(|version| version.value.is_some())
    }

    fn last_at(&self, key: &str, revision: u64) -> Option<&Version> {
        let versions = self.versions.get(key)?;
        let after = versions.partition_point(|version| version.revision <= revision);
        versions.get(after.checked_sub(1)?)
    }

    /// Bytes of all keys and values that are recorded.
    pub fn bytes(&self) -> usize {
        let of = |version: &Version| size_of::<Version>() + version.value.as_ref().map_or(0, Bytes::len);
        let versions = |(key, versions): (&String, &Vec<Version>)| key.len() + versions.iter().map(of).sum::<usize>();
        self.versions.iter().map(versions).sum()
    }

    /// All versions of a key.
    pub fn versions(&self, key: &str) -> &[Version] {
        self.versions.get(key).map_or(&[], Vec::as_slice)
    }

    /// The keys that begin so, in order.
    pub fn keys<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.versions
            .range(prefix.to_owned()..)
            .map(|(key, _)| key.as_str())
            .take_while(move |key| key.starts_with(prefix))
    }

    /// What is there under a prefix at a revision: keys with the revision of their version, in order.
    pub fn state(&self, prefix: &str, revision: u64) -> Vec<(String, u64)> {
        self.keys(prefix)
            .filter_map(|key| Some((key.to_owned(), self.at(key, revision)?.revision)))
            .collect()
    }

    /// What a watch of a prefix has to show of the revisions in `(from, to]`.
    pub fn changes(&self, prefix: &str, from: u64, to: u64) -> Vec<Change> {
        let mut changes = Vec::new();
        for key in self.keys(prefix) {
            let mut before: Option<&Version> = None;
            for version in self.versions(key) {
                let was_there = before.is_some_and(|before| before.value.is_some());
                let kind = match (was_there, version.value.is_some()) {
                    (false, true) => Kind::Added,
                    (true, true) => Kind::Modified,
                    (_, false) => Kind::Deleted,
                };
                if version.revision > from && version.revision <= to {
                    changes.push(Change {
                        revision: version.revision,
                        key: key.to_owned(),
                        kind,
                    });
                }
                before = Some(version);
            }
        }
        changes.sort_by(|a, b| (a.revision, &a.key).cmp(&(b.revision, &b.key)));
        changes
    }

    fn apply(&mut self, batch: &Batch) -> Result<(), String> {
        let Revision(revision) = batch.revision;
        if revision <= self.last {
            return Err(format!("the store tells revision {revision} after {}", self.last));
        }
        self.last = revision;
        for event in &batch.events {
            let value = match event {
                Event::Put { kv } => Some(kv.value.clone()),
                Event::Delete { .. } => None,
            };
            let version = Version { revision, value };
            self.versions.entry(path(event.key())).or_default().push(version);
        }
        Ok(())
    }
}

/// Begins a life: what the store holds has to be what was recorded before, and perhaps more.
pub async fn resume(history: &Shared, kv: &Arc<dyn Kv>) -> Result<(), String> {
    let all = kv.range(RangeRequest::default()).await;
    let all = all.map_err(|error| format!("the store cannot be read: {error}"))?;
    let mut history = history.lock();
    if !history.begun {
        history.begun = true;
        history.last = all.revision.0;
        for kv in all.kvs {
            let version = Version {
                revision: kv.mod_revision.0,
                value: Some(kv.value),
            };
            history.versions.insert(path(&kv.key), vec![version]);
        }
        return Ok(());
    }
    if all.revision.0 < history.last {
        return Err(format!(
            "the store is at revision {} after a restart, but {} was seen before it",
            all.revision.0, history.last
        ));
    }
    // Of what was recorded nothing may be missing, unless it was changed after the recording ended.
    let found: BTreeMap<String, u64> = all.kvs.iter().map(|kv| (path(&kv.key), kv.mod_revision.0)).collect();
    for (key, versions) in &history.versions {
        let Some(newest) = versions.last() else { continue };
        let now = found.get(key).copied();
        let kept = match &newest.value {
            Some(_) => now.is_none_or(|now| now == newest.revision || now > history.last),
            None => now.is_none_or(|now| now > history.last),
        };
        if !kept {
            return Err(format!(
                "{key} was at revision {} before a restart, and is at {now:?} after it",
                newest.revision
            ));
        }
    }
    Ok(())
}

/// Records until the life ends. What the store tells wrongly goes to `wrong`.
pub async fn record(env: Env, kv: Arc<dyn Kv>, history: Shared, wrong: impl Fn(String) + Send) {
    loop {
        let from = history.lock().last;
        let mut watch = match kv.watch(Revision(from)).await {
            Ok(watch) => watch,
            Err(kv::Error::Closed) => return,
            Err(kv::Error::Compacted { .. }) => return wrong(format!("revision {from} is compacted while it is read")),
            Err(_) => {
                env.clock.sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        // An end by an error of the disk is followed by another try.
        while let Ok(item) = watch.next().await {
            if let WatchItem::Batch(batch) = item
                && let Err(text) = history.lock().apply(&batch)
            {
                return wrong(text);
            }
        }
        env.clock.sleep(Duration::from_millis(5)).await;
    }
}

/// At the end, with nothing going on: the state that the history leads to is the state that the store holds.
pub async fn compare(history: &Shared, kv: &Arc<dyn Kv>) -> Result<(), String> {
    let all = kv.range(RangeRequest::default()).await;
    let all = all.map_err(|error| format!("the store cannot be read: {error}"))?;
    let history = history.lock();
    let found: Vec<(String, u64)> = {
        let mut found: Vec<_> = all.kvs.iter().map(|kv| (path(&kv.key), kv.mod_revision.0)).collect();
        found.sort();
        found
    };
    let recorded = history.state("", all.revision.0);
    if found == recorded {
        return Ok(());
    }
    let differs = found.iter().zip(&recorded).find(|(a, b)| a != b);
    Err(format!(
        "the store holds {} keys, its history {}: first difference {differs:?}",
        found.len(),
        recorded.len()
    ))
}

/// `/registry/<group>/<resource>/[customresources/|<identity>/]<cluster>/…` without what clients do not see.
fn path(key: &[u8]) -> String {
    let key = String::from_utf8_lossy(key);
    let Some(object) = key.strip_prefix("/registry/") else {
        return key.into_owned();
    };
    let mut parts: Vec<&str> = object.split('/').collect();
    if parts
        .get(2)
        .is_some_and(|part| *part == "customresources" || part.len() == 64)
    {
        parts.remove(2);
    }
    parts.join("/")
}
