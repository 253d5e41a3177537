//! What clients were told, to be held to the store's history when a run is over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use machinery::object::ObjectExt;
use parking_lot::Mutex;
use serde_json::Value;

use crate::history::{Change, History, Kind, Version};

/// The annotation that names the operation which wrote a version.
pub const OPERATION: &str = "sim.example/operation";

/// Everything that clients did and saw. Cheap to clone.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// The newest revision that any finished operation showed.
    floor: u64,
    writes: Vec<Write>,
    gets: Vec<Get>,
    lists: Vec<List>,
    segments: Vec<Segment>,
    /// Prefixes whose objects may vanish without being asked for by name: of deleted clusters and unbound APIs.
    doomed: BTreeSet<String>,
}

/// How a write asks for what it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Create,
    /// With the resourceVersion that the object has to have.
    Update(u64),
    /// Adds content, keeps what it does not name.
    Patch,
    /// Takes away what its manager applied before.
    Apply,
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Done, at this revision; deletions are not told theirs.
    Acknowledged(Option<u64>),
    /// Answered that it was not done.
    Refused,
    /// It may have been done, or may not.
    Unknown,
}

#[derive(Debug)]
struct Write {
    key: String,
    asked: Asked,
    floor: u64,
    ceiling: u64,
    end: End,
}

#[derive(Debug)]
struct Get {
    key: String,
    floor: u64,
    ceiling: u64,
    found: Option<u64>,
}

#[derive(Debug)]
struct List {
    prefix: String,
    floor: u64,
    revision: u64,
    items: Vec<(String, u64)>,
}

/// A stretch of a watch without a gap: from a list, through any number of connections, until the server said that history
/// has been forgotten.
#[derive(Debug)]
pub struct Segment {
    pub prefix: String,
    pub from: u64,
    pub to: u64,
    pub changes: Vec<Change>,
}

/// An operation that was begun: what was finished before it has to be seen by it.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    pub id: u64,
    pub floor: u64,
}

// === impl Ledger ===

impl Ledger {
    /// A write begins. Until it ends its outcome is unknown.
    pub fn write(&self, key: &str, asked: Asked) -> Begun {
        let mut inner = self.0.lock();
        let floor = inner.floor;
        let id = inner.writes.len() as u64;
        inner.writes.push(Write {
            key: key.to_owned(),
            asked,
            floor,
            ceiling: u64::MAX,
            end: End::Unknown,
        });
        Begun { id, floor }
    }

    pub fn written(&self, begun: Begun, end: End, ceiling: u64) {
        let mut inner = self.0.lock();
        if let End::Acknowledged(Some(revision)) = end {
            inner.floor = inner.floor.max(revision);
        }
        if let Some(write) = usize::try_from(begun.id)
            .ok()
            .and_then(|index| inner.writes.get_mut(index))
        {
            write.end = end;
            write.ceiling = ceiling;
        }
    }

    /// What a read that begins now has to show at least.
    pub fn floor(&self) -> u64 {
        self.0.lock().floor
    }

    pub fn got(&self, key: &str, floor: u64, ceiling: u64, found: Option<u64>) {
        let mut inner = self.0.lock();
        inner.floor = inner.floor.max(found.unwrap_or(0));
        inner.gets.push(Get {
            key: key.to_owned(),
            floor,
            ceiling,
            found,
        });
    }

    pub fn listed(&self, prefix: &str, floor: u64, revision: u64, items: Vec<(String, u64)>) {
        let mut inner = self.0.lock();
        inner.floor = inner.floor.max(revision);
        inner.lists.push(List {
            prefix: prefix.to_owned(),
            floor,
            revision,
            items,
        });
    }

    pub fn watched(&self, segment: Segment) {
        self.0.lock().segments.push(segment);
    }

    /// Objects whose keys begin so, or hold `/<cluster>/`, may vanish from now on.
    pub fn doom(&self, part: &str) {
        self.0.lock().doomed.insert(part.to_owned());
    }

    /// Counts: writes acknowledged, writes in doubt, gets, lists, changes watched.
    pub fn counts(&self) -> [usize; 5] {
        let inner = self.0.lock();
        let ended = |is: fn(&End) -> bool| inner.writes.iter().filter(|write| is(&write.end)).count();
        [
            ended(|end| matches!(end, End::Acknowledged(_))),
            ended(|end| *end == End::Unknown),
            inner.gets.len(),
            inner.lists.len(),
            inner.segments.iter().map(|segment| segment.changes.len()).sum(),
        ]
    }

    /// Everything that does not agree with the history, in words.
    pub fn check(&self, history: &History) -> Vec<String> {
        let inner = self.0.lock();
        let mut wrong = Vec::new();
        inner.check_versions(history, &mut wrong);
        inner.check_deletions(history, &mut wrong);
        inner.check_gets(history, &mut wrong);
        inner.check_lists(history, &mut wrong);
        inner.check_watches(history, &mut wrong);
        wrong
    }
}

// === impl Inner ===

impl Inner {
    /// Every version was asked for, once; everything acknowledged is there, in order, on top of what it was made from.
    fn check_versions(&self, history: &History, wrong: &mut Vec<String>) {
        let mut done: BTreeMap<u64, u64> = BTreeMap::new();
        let keys: BTreeSet<&str> = self.writes.iter().map(|write| write.key.as_str()).collect();
        for key in keys {
            let mut before: Option<(&Version, Value)> = None;
            for version in history.versions(key) {
                let object = parse(version);
                if let Some(object) = &object
                    && let Some(id) = operation(object)
                    && before.as_ref().is_none_or(|(_, old)| operation(old) != Some(id))
                {
                    if let Some(first) = done.insert(id, version.revision) {
                        wrong.push(format!(
                            "operation {id} on {key} happened at {first} and at {}",
                            version.revision
                        ));
                    }
                    self.check_version(id, key, version, object, before.as_ref(), wrong);
                }
                before = object.map(|object| (version, object));
            }
        }
        for (id, write) in self.writes.iter().enumerate() {
            if let End::Acknowledged(Some(revision)) = write.end {
                if done.get(&(id as u64)) != Some(&revision) {
                    wrong.push(format!("acknowledged and lost: operation {id}, {write:?}"));
                }
                if revision <= write.floor {
                    wrong.push(format!(
                        "operation {id} is older than what was finished before it began: {write:?}"
                    ));
                }
            }
        }
    }

    fn check_version(
        &self,
        id: u64,
        key: &str,
        version: &Version,
        object: &Value,
        before: Option<&(&Version, Value)>,
        wrong: &mut Vec<String>,
    ) {
        let Some(write) = usize::try_from(id).ok().and_then(|index| self.writes.get(index)) else {
            return wrong.push(format!("{key} at {} was written by nobody", version.revision));
        };
        if write.key != key {
            wrong.push(format!("operation {id} was for {}, and wrote {key}", write.key));
        }
        if write.end == End::Refused {
            wrong.push(format!(
                "operation {id} was refused, and happened at {}: {write:?}",
                version.revision
            ));
        }
        match (write.asked, before) {
            // An apply may create.
            (Asked::Create, None) | (Asked::Apply | Asked::Delete, _) => {}
            (Asked::Create, Some((old, _))) => {
                wrong.push(format!(
                    "operation {id} created {key} over the object of revision {}",
                    old.revision
                ));
            }
            (Asked::Update(expected), before) => {
                let found = before.map(|(old, _)| old.revision);
                if found != Some(expected) {
                    wrong.push(format!(
                        "lost update: operation {id} replaced {key} at {found:?}, but was made from {expected}"
                    ));
                }
            }
            (Asked::Patch, Some((old, was))) => {
                if !content(was)
                    .iter()
                    .all(|(k, v)| k == "last" || content(object).get(k) == Some(v))
                {
                    wrong.push(format!(
                        "lost update: operation {id} took content of {key} at {} away",
                        old.revision
                    ));
                }
            }
            (Asked::Patch, None) => wrong.push(format!("operation {id} patched {key}, which was not there")),
        }
    }

    /// What is gone was deleted by somebody, and what was deleted is gone.
    fn check_deletions(&self, history: &History, wrong: &mut Vec<String>) {
        let deletes: Vec<&Write> = self
            .writes
            .iter()
            .filter(|write| write.asked == Asked::Delete)
            .collect();
        let keys: BTreeSet<&str> = self.writes.iter().map(|write| write.key.as_str()).collect();
        for key in keys {
            if self.doomed.iter().any(|part| key.contains(part.as_str())) {
                continue;
            }
            for version in history.versions(key).iter().filter(|version| version.value.is_none()) {
                let asked = deletes
                    .iter()
                    .any(|delete| delete.key == key && delete.end != End::Refused && version.revision > delete.floor);
                if !asked {
                    wrong.push(format!("{key} was deleted at {} by nobody", version.revision));
                }
            }
        }
        for delete in deletes
            .iter()
            .filter(|delete| matches!(delete.end, End::Acknowledged(_)))
        {
            let is_its = |version: &&Version| version.revision > delete.floor && version.revision <= delete.ceiling;
            let versions = history.versions(&delete.key);
            let gone = versions.iter().filter(is_its).any(|version| {
                // Objects with finalizers are marked first.
                version.value.is_none() || parse(version).is_some_and(|object| object.deletion_timestamp().is_some())
            });
            let was_terminating = history
                .at(&delete.key, delete.floor)
                .and_then(parse)
                .is_some_and(|object| object.deletion_timestamp().is_some());
            if !gone && !was_terminating {
                wrong.push(format!("acknowledged and lost: {delete:?}"));
            }
        }
    }

    /// A get shows the object as it was at some moment between its beginning and its end.
    fn check_gets(&self, history: &History, wrong: &mut Vec<String>) {
        for get in &self.gets {
            let at_begin = history.at(&get.key, get.floor).map(|version| version.revision);
            let during = history
                .versions(&get.key)
                .iter()
                .filter(|version| version.revision > get.floor && version.revision <= get.ceiling);
            let mut possible = during.map(|version| version.value.as_ref().map(|_| version.revision));
            if at_begin != get.found && !possible.any(|state| state == get.found) {
                wrong.push(format!("stale or never so: {get:?}, it was {at_begin:?}"));
            }
        }
    }

    /// A list shows exactly the writes up to its revision, which is not before any that finished before it began.
    fn check_lists(&self, history: &History, wrong: &mut Vec<String>) {
        for list in &self.lists {
            if list.revision < list.floor {
                wrong.push(format!(
                    "a list of {} at {} after {} was seen",
                    list.prefix, list.revision, list.floor
                ));
            }
            let expected = history.state(&list.prefix, list.revision);
            if expected != list.items {
                wrong.push(format!(
                    "a list of {} at {} shows {:?}, it was {expected:?}",
                    list.prefix, list.revision, list.items
                ));
            }
        }
    }

    /// Ordered, unique, without gaps, and nothing that did not happen.
    fn check_watches(&self, history: &History, wrong: &mut Vec<String>) {
        for segment in &self.segments {
            let expected = history.changes(&segment.prefix, segment.from, segment.to);
            if expected == segment.changes {
                continue;
            }
            let at = expected
                .iter()
                .zip(&segment.changes)
                .take_while(|(a, b)| a == b)
                .count();
            wrong.push(format!(
                "a watch of {} over ({}, {}] shows {:?} as number {at}, it was {:?}",
                segment.prefix,
                segment.from,
                segment.to,
                segment.changes.get(at),
                expected.get(at)
            ));
        }
    }
}

// === impl Kind ===

impl Kind {
    /// The type of a watch event.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "ADDED" => Some(Self::Added),
            "MODIFIED" => Some(Self::Modified),
            "DELETED" => Some(Self::Deleted),
            _ => None,
        }
    }
}

fn parse(version: &Version) -> Option<Value> {
    serde_json::from_slice(version.value.as_ref()?).ok()
}

fn operation(object: &Value) -> Option<u64> {
    object.annotation(OPERATION)?.parse().ok()
}

/// The part of an object that the workload adds to: `data` of ConfigMaps, `spec` of the others.
fn content(object: &Value) -> serde_json::Map<String, Value> {
    let part = object.get("data").or_else(|| object.get("spec"));
    part.and_then(Value::as_object).cloned().unwrap_or_default()
}
