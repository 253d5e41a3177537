//! Revisions: the visible ones and the store's, how far this process has come, and how far the store is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kv::{Kv, Revision};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::StorageError;

/// What is added to the store's revisions to get the visible ones: steps that only grow, each from the revision of the
/// store at which it was written. Objects keep the resourceVersion that they had.
///
/// A cluster moved in from another shard must not see its revision fall, so the offset can be raised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offsets {
    /// (first revision of the store, offset), ascending.
    steps: Vec<(u64, u64)>,
}

/// The newest revision of the store that was applied here, and those who wait for one.
#[derive(Default)]
pub(crate) struct Progress {
    applied: AtomicU64,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    by_revision: BTreeMap<(u64, u64), oneshot::Sender<()>>,
    next_id: u64,
}

/// A place in the line; leaves it when dropped.
struct Place<'a> {
    progress: &'a Progress,
    id: (u64, u64),
}

/// Asks the store for its revision, once for all readers that came before the question was sent.
#[derive(Default)]
pub(crate) struct Freshness {
    arrivals: AtomicU64,
    answered: tokio::sync::Mutex<Answer>,
}

#[derive(Default)]
struct Answer {
    /// Arrivals that the answer is good for.
    arrivals: u64,
    revision: Option<Result<u64, StorageError>>,
}

// === impl Offsets ===

impl Default for Offsets {
    fn default() -> Self {
        Self { steps: vec![(0, 0)] }
    }
}

impl Offsets {
    /// The one place where a revision of the store becomes a visible one.
    pub(crate) fn visible(&self, store: u64) -> u64 {
        let step = self.steps.iter().rev().find(|(from, _)| *from <= store);
        store + step.map_or(0, |(_, offset)| *offset)
    }

    /// The newest revision of the store that is visible at or below `visible`, which may lie in the future.
    pub(crate) fn store(&self, visible: u64) -> u64 {
        let mut below = u64::MAX;
        for (from, offset) in self.steps.iter().rev() {
            if visible >= from + offset {
                return (visible - offset).min(below);
            }
            below = from.saturating_sub(1);
        }
        0
    }

    pub(crate) fn newest(&self) -> u64 {
        self.steps.last().map_or(0, |(_, offset)| *offset)
    }

    /// The value to store for a further step: the earlier ones, and the new offset, which holds from the revision at which
    /// it is written.
    pub(crate) fn encode_raised(&self, offset: u64) -> String {
        let mut text = String::new();
        for (from, offset) in self.steps.iter().skip(1) {
            text.push_str(&format!("{from}:{offset},"));
        }
        text.push_str(&format!("{offset}"));
        text
    }

    /// Reads a stored value that was written at `written`.
    pub(crate) fn decode(value: &[u8], written: u64) -> Option<Self> {
        let mut offsets = Self::default();
        for part in std::str::from_utf8(value).ok()?.split(',') {
            let step = match part.split_once(':') {
                Some((from, offset)) => (from.parse().ok()?, offset.parse().ok()?),
                None => (written, part.parse().ok()?),
            };
            let last = offsets.steps.last()?;
            if step.0 < last.0 || step.1 < last.1 {
                return None;
            }
            offsets.steps.push(step);
        }
        Some(offsets)
    }
}

// === impl Progress ===

impl Progress {
    pub(crate) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// Makes a revision visible, and wakes those who waited for it.
    pub(crate) fn advance(&self, revision: u64) {
        if self.applied.fetch_max(revision, Ordering::AcqRel) >= revision {
            return;
        }
        let mut waiting = self.waiting.lock();
        while let Some(first) = waiting.by_revision.first_entry()
            && first.key().0 <= revision
        {
            let _gone_is_fine = first.remove().send(());
        }
    }

    /// Returns when `revision` is applied. To be bounded by the caller.
    pub(crate) async fn reached(&self, revision: u64) {
        if self.applied() >= revision {
            return;
        }
        let (sender, receiver) = oneshot::channel();
        let place = {
            let mut waiting = self.waiting.lock();
            // Checked again under the lock, which `advance` takes after it has stored the new revision.
            if self.applied() >= revision {
                return;
            }
            waiting.next_id += 1;
            let id = (revision, waiting.next_id);
            waiting.by_revision.insert(id, sender);
            Place { progress: self, id }
        };
        let _sent_or_closing = receiver.await;
        drop(place);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.progress.waiting.lock().by_revision.remove(&self.id);
    }
}

// === impl Freshness ===

impl Freshness {
    /// A revision of the store that is not older than any write finished before this call.
    pub(crate) async fn revision(&self, kv: &Arc<dyn Kv>) -> Result<u64, StorageError> {
        let arrival = self.arrivals.fetch_add(1, Ordering::AcqRel) + 1;
        let mut answer = self.answered.lock().await;
        if answer.arrivals >= arrival
            && let Some(revision) = &answer.revision
        {
            return revision.clone();
        }
        let arrivals = self.arrivals.load(Ordering::Acquire);
        let revision = kv
            .revision()
            .await
            .map(|Revision(revision)| revision)
            .map_err(StorageError::from);
        *answer = Answer {
            arrivals,
            revision: Some(revision.clone()),
        };
        revision
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_only_grow_and_can_be_undone() {
        let offsets = Offsets::decode(b"100:50,900", 200).unwrap();
        assert_eq!(offsets.steps, [(0, 0), (100, 50), (200, 900)]);
        assert_eq!(
            [99, 100, 199, 200].map(|store| offsets.visible(store)),
            [99, 150, 249, 1100]
        );
        for store in 0..300 {
            assert_eq!(offsets.store(offsets.visible(store)), store);
        }
        assert_eq!([120, 1099, 5000].map(|visible| offsets.store(visible)), [99, 199, 4100]);
        assert_eq!(offsets.encode_raised(1000), "100:50,200:900,1000");
        assert_eq!(Offsets::decode(b"100:50,40", 200), None, "a falling offset is refused");
        assert_eq!(Offsets::decode(b"x", 200), None);
    }

    #[test]
    fn visible_revisions_never_decrease() {
        let offsets = Offsets::decode(b"5:3,9:3,10", 12).unwrap();
        assert!((0..50).all(|store| offsets.visible(store) < offsets.visible(store + 1)));
    }

    #[tokio::test]
    async fn waiters_are_woken_by_their_revision_and_leave_no_trace() {
        let progress = Progress::default();
        progress.advance(3);
        progress.reached(3).await;
        let mut waiting = Box::pin(progress.reached(5));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        progress.advance(4);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        progress.advance(5);
        assert!(futures_util::poll!(&mut waiting).is_ready());
        let mut cancelled = Box::pin(progress.reached(100));
        assert!(futures_util::poll!(&mut cancelled).is_pending());
        drop(cancelled);
        drop(waiting);
        assert!(progress.waiting.lock().by_revision.is_empty());
    }
}
