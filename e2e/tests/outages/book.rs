//! What was asked, and what came of it.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use e2e::{Broken, Reply};
use parking_lot::Mutex;

use crate::plane::{Fault, Part};

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// 503 with a reason.
    Unavailable,
    /// Another answer than it should be.
    Wrong(String),
    /// None.
    Broken(String),
}

#[derive(Clone, Debug)]
pub struct Record {
    pub begun: Instant,
    pub took: Duration,
    pub shard: usize,
    pub proxy: usize,
    pub what: &'static str,
    pub outcome: Outcome,
}

/// Everything since it was last emptied.
#[derive(Default)]
pub struct Book(Mutex<Vec<Record>>);

/// What an outage was like.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Requests that had nothing to do with the lost process.
    pub others: usize,
    pub others_longest: Duration,
    /// Requests of the lost part while it was lost, that were answered 503.
    pub refused: usize,
    /// The longest of those that were begun before the loss was known.
    pub open_longest: Duration,
    pub refused_longest: Duration,
    /// What should not have been.
    pub failures: Vec<String>,
}

/// How long it may take until a loss is known, and requests that were open then are answered; and those that are begun later.
pub const REFUSED_MAX: Duration = Duration::from_millis(1_000);
/// How long others' requests may take.
const OTHERS_MAX: Duration = Duration::from_millis(1_000);
/// Failures that are told of one outage.
const TOLD_MAX: usize = 12;

/// Whether the programs are those of a release on a machine of their own: more load, and the bounds are held to as they are.
pub fn is_release() -> bool {
    static GIVEN: LazyLock<bool> = LazyLock::new(|| std::env::var_os("KCP_OUTAGE_RELEASE").is_some());
    *GIVEN
}

/// What debug programs on a busy machine may add.
pub fn slack() -> Duration {
    Duration::from_millis(if is_release() { 0 } else { 1_500 })
}

// === impl Outcome ===

impl Outcome {
    /// Of an answer that is as it should be if it is one of success.
    pub fn of(what: &str, answered: &Result<Reply, Broken>) -> Self {
        match answered {
            Ok(reply) if reply.is_ok() => Self::Done,
            Ok(reply) => {
                let status = reply.json();
                let has_reason = status["kind"] == "Status" && status["reason"] == "ServiceUnavailable";
                let has_text = status["message"].as_str().is_some_and(|text| !text.is_empty());
                match reply.code == 503 && has_reason && has_text {
                    true => Self::Unavailable,
                    false => Self::Wrong(format!("{what}: {} {status}", reply.code)),
                }
            }
            Err(broken) => Self::Broken(format!("{what}: {broken:?}")),
        }
    }
}

// === impl Book ===

impl Book {
    pub fn note(&self, record: Record) {
        self.0.lock().push(record);
    }

    /// Reads without taking anything out.
    pub fn count(&self, counts: impl Fn(&Record) -> bool) -> usize {
        self.0.lock().iter().filter(|record| counts(record)).count()
    }

    /// When the first of these came to its end.
    pub fn first(&self, is_it: impl Fn(&Record) -> bool) -> Option<Instant> {
        let ends = |record: &Record| record.begun + record.took;
        self.0.lock().iter().filter(|record| is_it(record)).map(ends).min()
    }

    pub fn take(&self) -> Vec<Record> {
        std::mem::take(&mut *self.0.lock())
    }
}

// === impl Record ===

impl Record {
    pub fn is_of(&self, part: &Part) -> bool {
        match part {
            Part::Shard(shard) => self.shard == *shard,
            Part::Proxy(proxy) => self.proxy == *proxy,
            Part::Other(_) => false,
        }
    }
}

impl Verdict {
    /// Of the requests from `struck` on. The lost part may be so until it is healed.
    pub fn of(records: &[Record], part: &Part, fault: Fault, struck: Instant, healed: Instant) -> Self {
        let mut verdict = Self::default();
        for record in records {
            let ended = record.begun + record.took;
            if ended < struck || record.begun > healed || !record.is_of(part) {
                verdict.other(record);
                continue;
            }
            match (&record.outcome, part) {
                (Outcome::Done, _) => {}
                // Whoever asks at a proxy that is gone is told by the connection, and by 503 until it is ready again.
                (Outcome::Broken(_) | Outcome::Unavailable, Part::Proxy(_)) => {}
                (Outcome::Unavailable, Part::Shard(_)) => verdict.refused(record, fault, struck),
                (other, _) => verdict.fail(record, format!("of the lost part: {other:?}")),
            }
        }
        let told = verdict.failures.len();
        verdict.failures.truncate(TOLD_MAX);
        if told > TOLD_MAX {
            verdict.failures.push(format!("and {} more", told - TOLD_MAX));
        }
        verdict
    }

    fn other(&mut self, record: &Record) {
        self.others += 1;
        self.others_longest = self.others_longest.max(record.took);
        if record.outcome != Outcome::Done {
            self.fail(record, format!("of others: {:?}", record.outcome));
        } else if record.took > OTHERS_MAX + slack() * 2 {
            self.fail(record, format!("others waited {:?}", record.took));
        }
    }

    fn refused(&mut self, record: &Record, fault: Fault, struck: Instant) {
        self.refused += 1;
        // Nobody can know at once that a process does not go on.
        let is_open = record.begun < struck || (fault == Fault::Frozen && record.begun < struck + REFUSED_MAX);
        let longest = match is_open {
            true => &mut self.open_longest,
            false => &mut self.refused_longest,
        };
        *longest = (*longest).max(record.took);
        if record.took > REFUSED_MAX + slack() {
            self.fail(record, format!("its refusal took {:?}", record.took));
        }
    }

    fn fail(&mut self, record: &Record, why: String) {
        let Record { shard, proxy, what, .. } = record;
        self.failures
            .push(format!("{what} on shard {shard} through proxy {proxy}: {why}"));
    }
}
