//! What every implementation has to do. Each function is one rule, and gets a store of its own that nothing was written to.

mod compaction;
mod concurrency;
mod leases;
mod random;
mod ranges;
mod txns;
mod watches;

use crate::{Batch, Kv, Op, Revision, Txn, TxnOutcome, Watch, WatchItem};
use bytes::Bytes;
pub use compaction::*;
pub use concurrency::*;
use env::Env;
pub use leases::*;
pub use random::*;
pub use ranges::*;
use std::sync::Arc;
use std::time::Duration;
pub use txns::*;
pub use watches::*;

/// How long something that has to happen may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A store to test.
pub struct Subject {
    /// The store.
    pub kv: Arc<dyn Kv>,
    /// What it runs in.
    pub env: Env,
    /// Whatever has to live as long.
    pub keep: Box<dyn std::any::Any + Send + Sync>,
}

/// Defines a test for each rule of the suite: the attribute of the tests, then an expression of a future of a
/// [`Subject`](crate::testing::suite::Subject).
#[macro_export]
macro_rules! kv_suite {
    ($attribute:meta, $subject:expr) => {
        $crate::kv_suite!(@each $attribute, $subject;
            starts_empty_at_revision_one, counts_versions_of_a_key, refuses_writes_whose_guard_fails,
            guards_look_at_keys_that_are_not_written, changes_several_keys_at_one_revision,
            changes_nothing_when_a_guard_of_several_fails, deleting_an_absent_key_changes_nothing,
            a_transaction_without_operations_changes_nothing, refuses_invalid_transactions,
            refuses_what_is_too_large_and_takes_what_just_fits,
            lists_in_order_of_keys, cuts_at_the_limit_and_counts_all, lists_at_a_revision, lists_keys_or_counts_alone,
            refuses_future_revisions, lists_more_than_fits_one_message,
            compaction_forgets_the_past_and_keeps_the_present, compaction_keeps_what_the_point_itself_shows,
            compaction_refuses_points_that_make_no_sense, compaction_works_through_many_versions,
            watches_history_then_what_happens, watches_all_changes_of_a_revision_together, resumes_a_watch_anywhere,
            refuses_to_watch_what_was_compacted, watch_reaches_the_revision, watch_from_the_future_waits,
            ends_calls_and_watches_when_closed,
            deletes_keys_with_their_lease, keeps_leases_alive, detaches_keys_put_without_the_lease, refuses_unknown_leases,
            increments_from_many_tasks, watchers_see_the_same_history_under_load,
            behaves_as_the_model
        );
    };
    (@each $attribute:meta, $subject:expr; $($rule:ident),* $(,)?) => {$(
        #[$attribute]
        async fn $rule() {
            let subject: $crate::testing::suite::Subject = $subject.await;
            $crate::testing::suite::$rule(&subject).await;
        }
    )*};
}

// === impl Subject ===

impl Subject {
    /// Commits changes and returns their revision.
    pub async fn commit(&self, ops: Vec<Op>) -> Revision {
        match self.kv.txn(Txn::unguarded(ops)).await {
            Ok(TxnOutcome::Committed(revision)) => revision,
            other => panic!("{other:?}"),
        }
    }

    async fn put(&self, key: &'static str, value: &'static str) -> Revision {
        self.commit(vec![Op::put(key, value)]).await
    }

    async fn delete(&self, key: &'static str) -> Revision {
        self.commit(vec![Op::delete(key)]).await
    }

    async fn value(&self, key: &'static str) -> Option<Bytes> {
        self.kv.get(Bytes::from(key)).await.expect("a read").map(|kv| kv.value)
    }

    /// The next batch of a watch, skipping progress.
    pub async fn batch(&self, watch: &mut Box<dyn Watch>) -> Arc<Batch> {
        loop {
            match self.item(watch).await {
                WatchItem::Batch(batch) => return batch,
                WatchItem::Progress(_) => {}
            }
        }
    }

    async fn item(&self, watch: &mut Box<dyn Watch>) -> WatchItem {
        let next = self.env.clock.timeout(PATIENCE, watch.next());
        next.await
            .expect("the watch yields in time")
            .expect("the watch goes on")
    }

    /// Every batch after `from` up to `until`, which the watch has to reach.
    async fn history(&self, from: Revision, until: Revision) -> Vec<Arc<Batch>> {
        let mut watch = self.kv.watch(from).await.expect("a watch");
        let (mut batches, mut reached): (Vec<Arc<Batch>>, Revision) = (Vec::new(), from);
        while reached < until {
            match self.item(&mut watch).await {
                WatchItem::Batch(batch) => {
                    assert!(batch.revision > reached, "{} comes after {reached}", batch.revision);
                    reached = batch.revision;
                    batches.push(batch);
                }
                WatchItem::Progress(revision) => {
                    assert!(revision >= reached, "progress {revision} comes after {reached}");
                    reached = revision;
                }
            }
        }
        batches
    }
}
