//! What the journal holds and the tables do not have yet.

use super::log::Commit;
use super::row::RowId;
use crate::{Batch, Event, Revision};
use std::sync::Arc;

/// Commits, as one. Their rows are shared with the recent batches.
#[derive(Default)]
pub(super) struct Pending(Commit);

// === impl Pending ===

impl Pending {
    pub(super) fn of(commits: Vec<Commit>) -> Pending {
        let mut pending = Pending::default();
        commits.iter().for_each(|commit| pending.add(commit));
        pending
    }

    /// Takes up the next commit.
    pub(super) fn add(&mut self, commit: &Commit) {
        self.0.batches.extend(commit.batches.iter().cloned());
        self.0.leases.extend(&commit.leases);
        self.0.compacted = commit.compacted.or(self.0.compacted);
    }

    pub(super) fn commit(&self) -> &Commit {
        &self.0
    }

    /// The newest; 0 when there is none.
    pub(super) fn revision(&self) -> Revision {
        self.0.batches.last().map(|batch| batch.revision).unwrap_or_default()
    }

    pub(super) fn event(&self, row: RowId) -> Option<&Event> {
        let revision = row.revision();
        let place = self.0.batches.binary_search_by_key(&revision, |batch| batch.revision);
        self.0.batches.get(place.ok()?)?.events.get(row.index())
    }

    /// The rows after one.
    pub(super) fn rows(&self, after: RowId) -> impl Iterator<Item = (RowId, &Event)> {
        let first = self
            .0
            .batches
            .partition_point(|batch| batch.revision < after.revision());
        let batches = self.0.batches.iter().skip(first);
        batches
            .flat_map(|batch| {
                let numbered = batch.events.iter().enumerate();
                numbered.map(|(index, event)| (RowId::new(batch.revision, index), event))
            })
            .filter(move |(id, _)| *id > after)
    }

    /// The batches after a revision up to another.
    pub(super) fn after(&self, after: Revision, until: Revision) -> Vec<Arc<Batch>> {
        let batches = self.0.batches.iter();
        batches
            .filter(|batch| after < batch.revision && batch.revision <= until)
            .cloned()
            .collect()
    }
}
