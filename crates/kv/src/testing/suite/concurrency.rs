//! Many at once.

use super::Subject;
use crate::{Guard, Kv, Op, Revision, Txn, TxnOutcome};
use bytes::Bytes;
use std::sync::Arc;

const TASKS: u64 = 8;
const ROUNDS: u64 = 25;

fn number(value: &[u8]) -> u64 {
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .expect("a number")
}

/// Adds one to a number, however often that takes, and returns the revisions of the successes.
async fn increment(kv: Arc<dyn Kv>, key: &'static str, times: u64) -> Vec<Revision> {
    let mut successes = Vec::new();
    let mut current = kv.get(Bytes::from(key)).await.expect("a read");
    while (successes.len() as u64) < times {
        let revision = current.as_ref().map_or(Revision(0), |kv| kv.mod_revision);
        let next = current.as_ref().map_or(0, |kv| number(&kv.value)) + 1;
        let txn = Txn {
            guards: vec![Guard::unchanged(key, revision)],
            ops: vec![Op::put(key, next.to_string())],
        };
        match kv.txn(txn).await.expect("a write") {
            TxnOutcome::Committed(revision) => {
                successes.push(revision);
                current = kv.get(Bytes::from(key)).await.expect("a read");
            }
            TxnOutcome::Conflict { current: found, .. } => current = found.into_iter().next().flatten(),
        }
    }
    successes
}

/// No increment is lost, none counts twice, every revision has one owner.
pub async fn increments_from_many_tasks(subject: &Subject) {
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            subject
                .env
                .spawn
                .spawn("increment", increment(subject.kv.clone(), "counter", ROUNDS))
        })
        .collect();
    let mut revisions = Vec::new();
    for task in tasks {
        let own = task.join().await.expect("the task ends well");
        assert!(own.is_sorted(), "a task's later write has a later revision");
        revisions.extend(own);
    }
    revisions.sort_unstable();
    let expected: Vec<Revision> = (2..2 + TASKS * ROUNDS).map(Revision).collect();
    assert_eq!(revisions, expected);
    let counter = subject.kv.get("counter".into()).await.unwrap().expect("the counter");
    assert_eq!(
        (number(&counter.value), counter.version),
        (TASKS * ROUNDS, TASKS * ROUNDS)
    );
}

/// Watches that begin at any time agree on what happened and in which order.
pub async fn watchers_see_the_same_history_under_load(subject: &Subject) {
    let writers: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .map(|key| {
            subject
                .env
                .spawn
                .spawn("writer", increment(subject.kv.clone(), key, ROUNDS))
        })
        .collect();
    let last = Revision(1 + 3 * ROUNDS);
    let live = subject.history(Revision(0), last).await;
    for writer in writers {
        writer.join().await.expect("the task ends well");
    }
    assert_eq!(
        live.iter().map(|batch| batch.revision.0).collect::<Vec<_>>(),
        (2..=last.0).collect::<Vec<_>>()
    );
    assert_eq!(subject.history(Revision(0), last).await, live);
}
