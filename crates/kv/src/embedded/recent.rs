//! The newest batches, kept in memory up to a number of bytes: watchers and most reads are served from here.

use super::row::RowId;
use crate::{Batch, Event, Revision};
use std::collections::VecDeque;
use std::sync::Arc;

/// Every batch after `floor`.
pub(super) struct Recent {
    batches: VecDeque<Arc<Batch>>,
    floor: Revision,
    bytes: usize,
    bytes_max: usize,
}

/// What there is after a revision.
pub(super) enum After {
    /// The next batch.
    Batch(Arc<Batch>),
    /// Nothing yet.
    Nothing,
    /// The next batch is no longer here; the log has it.
    TooOld,
}

// === impl Recent ===

impl Recent {
    /// Empty, for a store at `revision`.
    pub(super) fn new(revision: Revision, bytes_max: usize) -> Recent {
        Recent {
            batches: VecDeque::new(),
            floor: revision,
            bytes: 0,
            bytes_max,
        }
    }

    pub(super) fn push(&mut self, batch: Arc<Batch>) {
        self.bytes += weight(&batch);
        self.batches.push_back(batch);
        while self.bytes > self.bytes_max && self.batches.len() > 1 {
            self.pop();
        }
    }

    /// Forgets the batches up to a revision. Those that were made under load lie all over the memory that it took, and keep
    /// as many pages of it from the system. To be dropped without the lock: they may be very many.
    #[must_use]
    pub(super) fn forget(&mut self, revision: Revision) -> VecDeque<Arc<Batch>> {
        let count = self.batches.partition_point(|batch| batch.revision <= revision);
        if count == 0 {
            return VecDeque::new();
        }
        let kept = self.batches.split_off(count);
        let forgotten = std::mem::replace(&mut self.batches, kept);
        let total = |batches: &VecDeque<Arc<Batch>>| batches.iter().map(|batch| weight(batch)).sum::<usize>();
        self.bytes = match forgotten.len() < self.batches.len() {
            true => self.bytes - total(&forgotten),
            false => total(&self.batches),
        };
        self.floor = forgotten.back().map_or(self.floor, |newest| newest.revision);
        forgotten
    }

    fn pop(&mut self) {
        if let Some(oldest) = self.batches.pop_front() {
            self.bytes -= weight(&oldest);
            self.floor = oldest.revision;
        }
    }

    pub(super) fn after(&self, revision: Revision) -> After {
        if revision < self.floor {
            return After::TooOld;
        }
        let next = self.batches.partition_point(|batch| batch.revision <= revision);
        self.batches.get(next).cloned().map_or(After::Nothing, After::Batch)
    }

    pub(super) fn event(&self, row: RowId) -> Option<&Event> {
        let revision = row.revision();
        if revision <= self.floor {
            return None;
        }
        let place = self
            .batches
            .binary_search_by_key(&revision, |batch| batch.revision)
            .ok()?;
        self.batches[place].events.get(row.index())
    }
}

fn weight(batch: &Batch) -> usize {
    batch.events.iter().map(Event::weight).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(revision: u64) -> Arc<Batch> {
        let revision = Revision(revision);
        Arc::new(Batch {
            revision,
            events: vec![Event::Delete {
                key: "key".into(),
                mod_revision: revision,
            }],
        })
    }

    #[test]
    fn what_is_forgotten_is_asked_of_the_log() {
        let mut recent = Recent::new(Revision(1), 1 << 20);
        (2..=6).for_each(|revision| recent.push(batch(revision)));
        assert_eq!(recent.forget(Revision(4)).len(), 3);
        assert_eq!(recent.bytes, 2 * weight(&batch(0)));
        assert!(matches!(recent.after(Revision(3)), After::TooOld));
        assert!(matches!(recent.after(Revision(4)), After::Batch(next) if next.revision == Revision(5)));
        assert!(recent.event(RowId::first(Revision(4))).is_none());
        assert_eq!(recent.forget(Revision(9)).len(), 2);
        assert_eq!((recent.bytes, recent.forget(Revision(9)).len()), (0, 0));
        assert!(matches!(recent.after(Revision(6)), After::Nothing));
        recent.push(batch(10));
        assert!(matches!(recent.after(Revision(6)), After::Batch(next) if next.revision == Revision(10)));
    }

    #[test]
    fn what_is_kept_is_counted_whichever_part_is_the_smaller() {
        for forgotten in [0, 1, 3, 5] {
            let mut recent = Recent::new(Revision(1), 1 << 20);
            (2..=6).for_each(|revision| recent.push(batch(revision)));
            drop(recent.forget(Revision(1 + forgotten)));
            assert_eq!(recent.bytes, (5 - forgotten as usize) * weight(&batch(0)));
            assert_eq!(recent.floor, Revision(1 + forgotten));
        }
    }

    #[test]
    fn keeps_the_newest_within_its_bytes() {
        let mut recent = Recent::new(Revision(1), 3 * weight(&batch(0)));
        (2..=6).for_each(|revision| recent.push(batch(revision)));
        assert!(matches!(recent.after(Revision(2)), After::TooOld));
        assert!(matches!(recent.after(Revision(3)), After::Batch(next) if next.revision == Revision(4)));
        assert!(matches!(recent.after(Revision(6)), After::Nothing));
        assert!(recent.event(RowId::first(Revision(3))).is_none());
        assert_eq!(recent.event(RowId::first(Revision(4))), batch(4).events.first());
        assert!(recent.event(RowId::new(Revision(4), 1)).is_none());
    }
}
