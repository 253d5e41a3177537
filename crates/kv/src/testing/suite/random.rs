//! Random requests, answered as the model answers them.

use super::Subject;
use crate::model::ModelKv;
use crate::{Error, Guard, Kv, Op, RangeRequest, RangeResponse, Revision, Txn, TxnOutcome};
use bytes::Bytes;

/// Requests in one run.
const REQUESTS: usize = 400;
/// Runs that differ in nothing but their seed.
const SEEDS: [u64; 2] = [1, 2];
const KEYS: [&str; 6] = ["a", "a/b", "a/c", "b", "b\u{ff}", "c"];

/// A generator of numbers (splitmix64), so that a run can be repeated whatever it runs in.
struct Dice(u64);

/// The store and the model, after the same writes. Revisions of a store that ran before are shifted.
struct Pair<'a> {
    subject: &'a Subject,
    model: ModelKv,
    /// Added to the model's revisions.
    shift: u64,
}

// === impl Dice ===

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn key(&mut self) -> Bytes {
        Bytes::from(KEYS[self.roll(KEYS.len() as u64) as usize])
    }
}

/// Answers are equal if all of them is; of errors the kind.
fn assert_same<T: PartialEq + std::fmt::Debug>(found: Result<T, Error>, expected: Result<T, Error>, what: &str) {
    match (&found, &expected) {
        (Err(one), Err(other)) if std::mem::discriminant(one) == std::mem::discriminant(other) => {}
        _ => assert_eq!(found, expected, "{what}"),
    }
}

/// Transactions, ranges, compactions, watches.
pub async fn behaves_as_the_model(subject: &Subject) {
    for seed in SEEDS {
        let before = subject
            .kv
            .range(RangeRequest {
                keys_only: true,
                ..RangeRequest::default()
            })
            .await
            .unwrap();
        for kv in before.kvs {
            subject.commit(vec![Op::delete(kv.key)]).await;
        }
        let shift = subject.kv.revision().await.unwrap().0 - 1;
        let pair = Pair {
            subject,
            model: ModelKv::new(&subject.env),
            shift,
        };
        pair.run(Dice(seed), seed).await;
    }
}

// === impl Pair ===

impl Pair<'_> {
    async fn run(&self, mut dice: Dice, seed: u64) {
        for step in 0..REQUESTS {
            let what = format!("seed {seed}, step {step}");
            match dice.roll(20) {
                0..12 => self.write(&mut dice, &what).await,
                12..19 => self.read(&mut dice, &what).await,
                _ => self.compact(&mut dice, &what).await,
            }
        }
        self.compare_history(seed).await;
    }

    fn shifted(&self, revision: Revision) -> Revision {
        match revision {
            Revision(0) => revision,
            Revision(revision) => Revision(revision + self.shift),
        }
    }

    /// The model's key-values as the store has them.
    fn adapted(&self, mut kv: crate::KeyValue) -> crate::KeyValue {
        kv.create_revision = self.shifted(kv.create_revision);
        kv.mod_revision = self.shifted(kv.mod_revision);
        kv
    }

    async fn write(&self, dice: &mut Dice, what: &str) {
        let mut txn = Txn::default();
        for _ in 0..dice.roll(3) {
            let key = dice.key();
            let current = self.model.get(key.clone()).await.expect("the model reads");
            let current = current.map_or(Revision(0), |kv| kv.mod_revision);
            let revision = if dice.roll(5) == 0 {
                Revision(dice.roll(9))
            } else {
                current
            };
            txn.guards.push(Guard::unchanged(key, revision));
        }
        for _ in 0..dice.roll(4) {
            let key = dice.key();
            txn.ops.push(match dice.roll(3) {
                0 => Op::delete(key),
                _ => Op::put(key, dice.roll(1000).to_string()),
            });
        }
        let expected = self.model.txn(txn.clone()).await.map(|outcome| match outcome {
            TxnOutcome::Committed(revision) => TxnOutcome::Committed(self.shifted(revision)),
            TxnOutcome::Conflict { current, revision } => TxnOutcome::Conflict {
                current: current.into_iter().map(|kv| kv.map(|kv| self.adapted(kv))).collect(),
                revision: self.shifted(revision),
            },
        });
        for Guard::ModRevision { revision, .. } in &mut txn.guards {
            *revision = self.shifted(*revision);
        }
        assert_same(self.subject.kv.txn(txn).await, expected, what);
    }

    async fn read(&self, dice: &mut Dice, what: &str) {
        let mut request = match dice.roll(4) {
            0 => RangeRequest::key(dice.key()),
            1 => RangeRequest::prefix(dice.key()),
            2 => RangeRequest {
                start: dice.key(),
                end: dice.key(),
                ..RangeRequest::default()
            },
            _ => RangeRequest::default(),
        };
        request.limit = dice.roll(5) as usize;
        request.keys_only = dice.roll(4) == 0;
        request.count_only = dice.roll(6) == 0;
        let newest = self.model.revision().await.expect("the model has a revision").0;
        request.revision = (dice.roll(2) == 0).then(|| Revision(1 + dice.roll(newest + 1)));
        let expected = self.model.range(request.clone()).await.map(|response| RangeResponse {
            kvs: response.kvs.into_iter().map(|kv| self.adapted(kv)).collect(),
            revision: self.shifted(response.revision),
            ..response
        });
        request.revision = request.revision.map(|revision| self.shifted(revision));
        assert_same(self.subject.kv.range(request).await, expected, what);
    }

    async fn compact(&self, dice: &mut Dice, what: &str) {
        let newest = self.model.revision().await.expect("the model has a revision").0;
        let point = Revision(2 + dice.roll(newest + 1));
        let expected = self.model.compact(point).await;
        assert_same(self.subject.kv.compact(self.shifted(point)).await, expected, what);
    }

    async fn compare_history(&self, seed: u64) {
        let status = self.model.status().await.expect("the model has a status");
        let from = status.compacted.max(Revision(1));
        let clock = &self.subject.env.clock;
        let mut watch = self.model.watch(from).await.expect("the model watches");
        let found = self
            .subject
            .history(self.shifted(from), self.shifted(status.revision))
            .await;
        for batch in found {
            let next = async {
                loop {
                    if let crate::WatchItem::Batch(batch) = watch.next().await.expect("the model goes on") {
                        return batch;
                    }
                }
            };
            let expected = clock.timeout(super::PATIENCE, next).await.expect("in time");
            assert_eq!(batch.revision, self.shifted(expected.revision), "seed {seed}");
            let keys = |batch: &crate::Batch| batch.events.iter().map(|event| event.key().clone()).collect::<Vec<_>>();
            assert_eq!(keys(&batch), keys(&expected), "seed {seed}");
        }
    }
}
