//! What the journal holds and the tables do not have yet.

use super::journal::Recovered;
use super::log::{Commit, Compacted};
use super::row::RowId;
use crate::{Batch, Event, Revision};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Commits by generation of the journal. Their rows are shared with the recent batches.
pub(super) struct Pending {
    /// What the tables are about to take over.
    closed: Option<Arc<Closed>>,
    /// What they do not know of.
    open: Commit,
}

/// A generation that has ended.
pub(super) struct Closed {
    pub generation: u64,
    /// Its commits, as one.
    pub commit: Commit,
}

// === impl Pending ===

impl Pending {
    /// What a journal holds whose last generation is given.
    pub(super) fn recovered(recovered: Recovered, generation: u64) -> Pending {
        let mut pending = Pending {
            closed: None,
            open: Commit::default(),
        };
        if !recovered.closed.is_empty() {
            recovered.closed.iter().for_each(|commit| pending.add(commit));
            pending.close(generation - 1);
        }
        recovered.open.iter().for_each(|commit| pending.add(commit));
        pending
    }

    /// Takes up the next commit.
    pub(super) fn add(&mut self, commit: &Commit) {
        self.open.batches.extend(commit.batches.iter().cloned());
        self.open.leases.extend(&commit.leases);
        self.open.compacted = commit.compacted.or(self.open.compacted);
    }

    /// Ends a generation. The one before must have been taken over.
    pub(super) fn close(&mut self, generation: u64) {
        let commit = std::mem::take(&mut self.open);
        self.closed = Some(Arc::new(Closed { generation, commit }));
    }

    pub(super) fn closed(&self) -> Option<Arc<Closed>> {
        self.closed.clone()
    }

    pub(super) fn open(&self) -> &Commit {
        &self.open
    }

    /// The tables have what was closed. What is returned is to be dropped without the lock.
    #[must_use]
    pub(super) fn forget_closed(&mut self) -> Option<Arc<Closed>> {
        self.closed.take()
    }

    /// The tables have everything. What is returned is to be dropped without the lock.
    #[must_use]
    pub(super) fn forget(&mut self) -> (Option<Arc<Closed>>, Commit) {
        (self.closed.take(), std::mem::take(&mut self.open))
    }

    /// Leases that were granted, or ended, in the end.
    pub(super) fn leases(&self) -> BTreeMap<i64, Option<u64>> {
        let mut leases = self
            .closed
            .as_ref()
            .map(|closed| closed.commit.leases.clone())
            .unwrap_or_default();
        leases.extend(&self.open.leases);
        leases
    }

    pub(super) fn compacted(&self) -> Option<Compacted> {
        let closed = self.closed.as_ref().and_then(|closed| closed.commit.compacted);
        self.open.compacted.or(closed)
    }

    /// The newest; 0 when there is none.
    pub(super) fn revision(&self) -> Revision {
        self.batches(Revision::default())
            .last()
            .map(|batch| batch.revision)
            .unwrap_or_default()
    }

    pub(super) fn event(&self, row: RowId) -> Option<&Event> {
        self.parts().find_map(|commit| {
            let place = commit
                .batches
                .binary_search_by_key(&row.revision(), |batch| batch.revision);
            commit.batches.get(place.ok()?)?.events.get(row.index())
        })
    }

    /// The rows after one.
    pub(super) fn rows(&self, after: RowId) -> impl Iterator<Item = (RowId, &Event)> {
        self.batches(after.revision())
            .flat_map(|batch| {
                let numbered = batch.events.iter().enumerate();
                numbered.map(|(index, event)| (RowId::new(batch.revision, index), event))
            })
            .filter(move |(id, _)| *id > after)
    }

    /// The batches after a revision up to another.
    pub(super) fn after(&self, after: Revision, until: Revision) -> Vec<Arc<Batch>> {
        self.batches(after.next())
            .take_while(|batch| batch.revision <= until)
            .cloned()
            .collect()
    }

    /// Older first.
    fn parts(&self) -> impl Iterator<Item = &Commit> {
        let closed = self.closed.iter().map(|closed| &closed.commit);
        closed.chain(std::iter::once(&self.open))
    }

    /// From a revision on, in order.
    fn batches(&self, from: Revision) -> impl Iterator<Item = &Arc<Batch>> {
        self.parts().flat_map(move |commit| {
            let first = commit.batches.partition_point(|batch| batch.revision < from);
            commit.batches.iter().skip(first)
        })
    }
}
