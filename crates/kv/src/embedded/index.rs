//! Every key's short history, in memory: what exists at which revision, and in which row of the log.

use super::row::{Row, RowId};
use crate::{Batch, Error, RangeRequest, Revision};
use smallvec::SmallVec;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

/// One version of a key. A deletion is a version with `version` 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Version {
    pub row: RowId,
    pub create_revision: Revision,
    pub version: u64,
    pub lease: i64,
}

/// A version and its key, as the log has them.
pub(super) struct Loaded {
    pub key: Box<[u8]>,
    pub version: Version,
}

/// The index. Values are not in it.
#[derive(Default)]
pub(super) struct Index {
    keys: BTreeMap<Box<[u8]>, SmallVec<[Version; 1]>>,
    /// Rows that no read at or after the revision beside them shows. Ascending by that revision.
    superseded: VecDeque<(Revision, RowId)>,
    revision: Revision,
    compacted: Revision,
}

/// A part of a range, as [`Index::scan`] found it.
#[derive(Default)]
pub(super) struct Found {
    /// Versions, with their keys if those were asked for.
    pub versions: Vec<(Version, Option<Box<[u8]>>)>,
    pub count: u64,
    /// Where to go on; none: the range is done.
    pub rest: Option<Box<[u8]>>,
}

/// Notes that a new version takes the place of the last.
fn supersede(superseded: &mut VecDeque<(Revision, RowId)>, history: &[Version], version: &Version) {
    // A deletion is already among the superseded since it happened.
    if let Some(last) = history.last().filter(|last| last.is_put()) {
        superseded.push_back((version.row.revision(), last.row));
    }
}

// === impl Loaded ===

impl Loaded {
    pub(super) fn new(row: RowId, content: Row<'_>) -> Loaded {
        Loaded {
            key: content.key.into(),
            version: Version::of(row, &content),
        }
    }
}

// === impl Version ===

impl Version {
    pub(super) fn of(row: RowId, content: &Row<'_>) -> Version {
        let Row {
            create_revision,
            version,
            lease,
            ..
        } = *content;
        Version {
            row,
            create_revision: Revision(create_revision),
            version,
            lease,
        }
    }

    pub(super) fn is_put(&self) -> bool {
        self.version > 0
    }
}

// === impl Index ===

impl Index {
    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn compacted(&self) -> Revision {
        self.compacted
    }

    /// Takes up rows of the log. All come after those loaded before.
    pub(super) fn load(&mut self, mut rows: Vec<Loaded>) {
        // In the order of keys neighbours are found in the same parts of the map, which is what loading spends its time on.
        rows.sort_unstable_by(|one, other| (&one.key, one.version.row).cmp(&(&other.key, other.version.row)));
        let before = self.superseded.len();
        for Loaded { key, version } in rows {
            self.reach(version.row.revision());
            match self.keys.entry(key) {
                Entry::Vacant(vacant) => vacant.insert(SmallVec::new()).push(version),
                Entry::Occupied(mut known) => {
                    let history = known.get_mut();
                    supersede(&mut self.superseded, history, &version);
                    history.push(version);
                }
            }
            if !version.is_put() {
                self.superseded.push_back((version.row.revision(), version.row));
            }
        }
        self.superseded.make_contiguous()[before..].sort_unstable();
    }

    /// Fixes the revision after loading; it never goes back.
    pub(super) fn reach(&mut self, revision: Revision) {
        self.revision = self.revision.max(revision);
    }

    pub(super) fn apply(&mut self, batch: &Batch) {
        for (index, event) in batch.events.iter().enumerate() {
            let row = RowId::new(batch.revision, index);
            self.push(event.key(), Version::of(row, &Row::of(event)));
        }
    }

    fn push(&mut self, key: &[u8], version: Version) {
        let revision = version.row.revision();
        self.reach(revision);
        match self.keys.get_mut(key) {
            Some(history) => {
                supersede(&mut self.superseded, history, &version);
                history.push(version);
            }
            None => {
                self.keys.insert(key.into(), SmallVec::from_buf([version]));
            }
        }
        // Behind what it deletes: were it removed first, in a step of its own, that would be there again.
        if !version.is_put() {
            self.superseded.push_back((revision, version.row));
        }
    }

    /// The key's newest version, unless it is absent.
    pub(super) fn current(&self, key: &[u8]) -> Option<Version> {
        self.keys.get(key)?.last().filter(|version| version.is_put()).copied()
    }

    /// Keys in order with their newest version, for what is done once at opening.
    pub(super) fn all_current(&self) -> impl Iterator<Item = (&[u8], Version)> {
        let current = |history: &SmallVec<[Version; 1]>| history.last().filter(|version| version.is_put()).copied();
        self.keys
            .iter()
            .filter_map(move |(key, history)| Some((&**key, current(history)?)))
    }

    /// The revision that a read is at, or why it cannot be.
    pub(super) fn readable(&self, asked: Option<Revision>) -> Result<Revision, Error> {
        match asked {
            None => Ok(self.revision),
            Some(asked) if asked > self.revision => Err(Error::FutureRevision {
                asked,
                current: self.revision,
            }),
            Some(asked) if asked < self.compacted => Err(Error::Compacted { at: self.compacted }),
            Some(asked) => Ok(asked),
        }
    }

    /// Looks at up to `visits` keys of a range, from `start` on, and keeps up to `wanted` versions of them.
    pub(super) fn scan(
        &self,
        request: &RangeRequest,
        at: Revision,
        start: &[u8],
        wanted: usize,
        visits: usize,
    ) -> Found {
        let end = match request.end.is_empty() {
            true => Bound::Unbounded,
            false => Bound::Excluded(&request.end[..]),
        };
        let mut found = Found::default();
        for (visited, (key, history)) in self.keys.range::<[u8], _>((Bound::Included(start), end)).enumerate() {
            if visited == visits {
                found.rest = Some(key.clone());
                break;
            }
            let version = history.iter().rev().find(|version| version.row.revision() <= at);
            let Some(version) = version.filter(|version| version.is_put()) else {
                continue;
            };
            found.count += 1;
            if found.versions.len() < wanted {
                found.versions.push((*version, request.keys_only.then(|| key.clone())));
            }
        }
        found
    }

    /// Moves the point of compaction; what it makes superfluous comes out of [`Index::superfluous`].
    pub(super) fn compact(&mut self, at: Revision) {
        self.compacted = self.compacted.max(at);
    }

    /// Up to `max` rows that can be removed, oldest first; they stay until [`Index::forget`].
    pub(super) fn superfluous(&self, max: usize) -> Vec<RowId> {
        let due = self.superseded.iter().take_while(|(since, _)| *since <= self.compacted);
        due.take(max).map(|(_, row)| *row).collect()
    }

    pub(super) fn has_superfluous(&self) -> bool {
        self.superseded
            .front()
            .is_some_and(|(since, _)| *since <= self.compacted)
    }

    /// Drops the oldest superfluous rows, which are no longer in the log; those that were removed just now with their keys.
    pub(super) fn forget(&mut self, rows: &[RowId], removed: &[(RowId, Box<[u8]>)]) {
        self.superseded.drain(..rows.len().min(self.superseded.len()));
        // What many changes at once had grown does not stay as large once they are compacted.
        if self.superseded.len() < self.superseded.capacity() / 4 {
            self.superseded.shrink_to(self.superseded.len() * 2);
        }
        for (row, key) in removed {
            let Some(history) = self.keys.get_mut(key) else {
                continue;
            };
            history.retain(|version| version.row != *row);
            if history.is_empty() {
                self.keys.remove(key);
            } else if history.len() == 1 {
                history.shrink_to_fit();
            }
        }
        if removed.len() == rows.len() {
            return;
        }
        // The others had gone in an attempt that was told to have failed. Who knew their keys is gone, too, so all keys are
        // looked through: a version that stayed could become the newest of its key once those after it are removed.
        let known: BTreeSet<RowId> = removed.iter().map(|(row, _)| *row).collect();
        let gone: BTreeSet<RowId> = rows.iter().filter(|row| !known.contains(row)).copied().collect();
        self.keys.retain(|_, history| {
            history.retain(|version| !gone.contains(&version.row));
            !history.is_empty()
        });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(changes: &[(u64, &str, u64)]) -> Index {
        let mut index = Index::default();
        for (revision, key, version) in changes {
            let (row, create_revision) = (RowId::first(Revision(*revision)), Revision(1));
            index.push(
                key.as_bytes(),
                Version {
                    row,
                    create_revision,
                    version: *version,
                    lease: 0,
                },
            );
        }
        index
    }

    fn rows(index: &Index, at: u64) -> Vec<u64> {
        let found = index.scan(&RangeRequest::default(), Revision(at), b"", usize::MAX, usize::MAX);
        found
            .versions
            .iter()
            .map(|(version, _)| version.row.revision().0)
            .collect()
    }

    #[test]
    fn shows_each_revision_as_it_was() {
        let index = index(&[(2, "a", 1), (3, "b", 1), (4, "a", 2), (5, "b", 0), (6, "b", 1)]);
        assert_eq!(
            [2, 3, 4, 5, 6].map(|at| rows(&index, at)),
            [vec![2], vec![2, 3], vec![4, 3], vec![4], vec![4, 6]]
        );
        assert_eq!(
            index.current(b"b").map(|version| version.row.revision()),
            Some(Revision(6))
        );
    }

    #[test]
    fn compaction_frees_what_was_superseded_and_no_more() {
        let mut index = index(&[(2, "a", 1), (3, "b", 1), (4, "a", 2), (5, "b", 0), (6, "c", 1)]);
        index.compact(Revision(5));
        let rows_due: Vec<u64> = index.superfluous(9).iter().map(|row| row.revision().0).collect();
        assert_eq!(rows_due, [2, 3, 5], "a deletion goes after what it deleted");
        let keys = [(2, "a"), (3, "b"), (5, "b")];
        let removed = keys.map(|(revision, key)| (RowId::first(Revision(revision)), key.as_bytes().into()));
        index.forget(&index.superfluous(9), &removed);
        assert!(!index.has_superfluous());
        assert_eq!((index.len(), rows(&index, 5)), (2, vec![4]));
        assert!(matches!(
            index.readable(Some(Revision(4))),
            Err(Error::Compacted { at: Revision(5) })
        ));
    }

    /// As after an attempt whose success was never told: the rows are not there, and nobody says whose they were.
    #[test]
    fn rows_that_had_gone_before_are_forgotten_with_those_removed_now() {
        let mut index = index(&[(2, "a", 1), (3, "a", 2), (4, "a", 0), (5, "b", 1)]);
        index.compact(Revision(4));
        let due = index.superfluous(9);
        let removed = [3, 4].map(|revision| (RowId::first(Revision(revision)), b"a"[..].into()));
        index.forget(&due, &removed);
        assert_eq!((index.len(), rows(&index, 5)), (1, vec![5]));
    }

    #[test]
    fn scan_continues_where_it_stopped() {
        let index = index(&[(2, "a", 1), (3, "b", 1), (4, "c", 1)]);
        let first = index.scan(&RangeRequest::default(), Revision(9), b"", 1, 2);
        assert_eq!(
            (first.versions.len(), first.count, first.rest.as_deref()),
            (1, 2, Some(&b"c"[..]))
        );
    }

    #[test]
    fn compacted_changes_leave_no_room_behind() {
        let mut index = index(&[]);
        for revision in 1..=10_000 {
            let row = RowId::first(Revision(revision));
            let (create_revision, version, lease) = (Revision(1), revision, 0);
            let version = Version {
                row,
                create_revision,
                version,
                lease,
            };
            index.push(b"key", version);
        }
        index.compact(Revision(10_000));
        while index.has_superfluous() {
            let rows = index.superfluous(1000);
            let removed: Vec<_> = rows.iter().map(|row| (*row, (*b"key").into())).collect();
            index.forget(&rows, &removed);
        }
        assert!(index.superseded.capacity() < 100, "{}", index.superseded.capacity());
    }
}
