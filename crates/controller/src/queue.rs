//! Keys that are due, in order of time; each at most once, and never in two runs at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use plan::Key;

/// First back-off of a failing key; doubles up to [`BACKOFF_MAX`].
const BACKOFF_FIRST: Duration = Duration::from_millis(5);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Work of one controller. Times are durations since the process began.
#[derive(Debug, Default)]
pub struct Queue {
    due: BTreeSet<(Duration, Key)>,
    at: BTreeMap<Key, Duration>,
    /// Keys in a run; true if they became due meanwhile.
    running: BTreeMap<Key, Option<Duration>>,
    failures: BTreeMap<Key, u32>,
    /// Since when the runs of a key have asked for another one after a time that grows.
    waiting: BTreeMap<Key, Duration>,
}

/// When a key runs again though nothing failed: after `least`, or as long as it has asked for this already, up to `most`.
#[derive(Clone, Copy, Debug)]
pub struct Again {
    pub least: Duration,
    pub most: Duration,
}

// === impl Queue ===

impl Queue {
    /// Makes a key due at a time, or earlier if it was due earlier already.
    pub fn add(&mut self, key: Key, at: Duration) {
        if let Some(again) = self.running.get_mut(&key) {
            *again = Some(again.map_or(at, |known| known.min(at)));
            return;
        }
        if let Some(known) = self.at.get(&key).copied() {
            if known <= at {
                return;
            }
            self.due.remove(&(known, key.clone()));
        }
        self.at.insert(key.clone(), at);
        self.due.insert((at, key));
    }

    /// The next key that is due, taken into a run.
    pub fn take(&mut self, now: Duration) -> Option<Key> {
        let (at, _) = self.due.first()?;
        if *at > now {
            return None;
        }
        let (_, key) = self.due.pop_first()?;
        self.at.remove(&key);
        self.running.insert(key.clone(), None);
        Some(key)
    }

    /// When the next key will be due.
    pub fn next_due(&self) -> Option<Duration> {
        self.due.first().map(|(at, _)| *at)
    }

    /// A run ended well. `again` asks for another after that time.
    pub fn succeeded(&mut self, key: &Key, now: Duration, again: Option<Again>) {
        self.failures.remove(key);
        let growing = again.filter(|again| again.least < again.most);
        let waited = match growing {
            Some(_) => now.saturating_sub(*self.waiting.entry(key.clone()).or_insert(now)),
            None => {
                self.waiting.remove(key);
                Duration::ZERO
            }
        };
        self.finish(key, again.map(|again| now + waited.min(again.most).max(again.least)));
    }

    /// A run failed: it is tried again with back-off (jittered by `random`), or sooner when an event came.
    pub fn failed(&mut self, key: &Key, now: Duration, random: u64) -> Duration {
        let count = self.failures.entry(key.clone()).or_default();
        *count += 1;
        let doubled = BACKOFF_FIRST.saturating_mul(1u32 << (*count - 1).min(16));
        let base = doubled.min(BACKOFF_MAX);
        let jitter = base.mul_f64((random % 1000) as f64 / 4000.0);
        let after = base + jitter;
        self.finish(key, Some(now + after));
        after
    }

    fn finish(&mut self, key: &Key, again: Option<Duration>) {
        let event = self.running.remove(key).flatten();
        let at = match (event, again) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        if let Some(at) = at {
            self.add(key.clone(), at);
        }
    }

    pub fn len(&self) -> usize {
        self.due.len()
    }

    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    /// Nothing due now or running.
    pub fn is_idle(&self, now: Duration) -> bool {
        self.running.is_empty() && self.next_due().is_none_or(|at| at > now)
    }

    /// Forgets what is due: the driver lost its lease. Keys in a run stay, until the run ends: they are not to be taken into
    /// another one when the lease is held again.
    pub fn clear(&mut self) {
        let running = std::mem::take(&mut self.running).into_keys();
        *self = Self {
            running: running.map(|key| (key, None)).collect(),
            ..Self::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use permit::Cluster;

    use super::*;

    fn key(name: &str) -> Key {
        Key::new(&Cluster::well_known("root"), "", name)
    }

    const NOW: Duration = Duration::from_secs(100);

    #[test]
    fn a_key_is_due_once() {
        let mut queue = Queue::default();
        queue.add(key("a"), NOW);
        queue.add(key("a"), NOW + Duration::from_secs(1));
        assert_eq!(queue.take(NOW), Some(key("a")));
        assert_eq!(queue.take(NOW), None);
    }

    #[test]
    fn an_event_during_a_run_causes_another_run() {
        let mut queue = Queue::default();
        queue.add(key("a"), NOW);
        queue.take(NOW);
        queue.add(key("a"), NOW);
        assert_eq!(queue.take(NOW), None, "in one run at a time");
        queue.succeeded(&key("a"), NOW, None);
        assert_eq!(queue.take(NOW), Some(key("a")));
    }

    #[test]
    fn a_run_that_outlives_the_lease_is_the_only_one_of_its_key() {
        let mut queue = Queue::default();
        queue.add(key("a"), NOW);
        queue.take(NOW);
        queue.clear();
        queue.add(key("a"), NOW);
        assert_eq!(queue.take(NOW), None, "the run of before is not over");
        queue.succeeded(&key("a"), NOW, None);
        assert_eq!(queue.take(NOW), Some(key("a")));
    }

    #[test]
    fn failures_back_off_and_success_forgets_them() {
        let mut queue = Queue::default();
        let mut after = Duration::ZERO;
        for _ in 0..40 {
            queue.add(key("a"), NOW);
            queue.take(NOW);
            after = queue.failed(&key("a"), NOW, 0);
        }
        assert_eq!(after, BACKOFF_MAX);
        queue.add(key("a"), NOW);
        queue.take(NOW);
        queue.succeeded(&key("a"), NOW, None);
        assert!(queue.failures.is_empty() && queue.is_empty());
    }

    #[test]
    fn who_asks_on_and_on_is_run_ever_less_often() {
        let (least, most) = (Duration::from_millis(100), Duration::from_secs(5));
        let (mut queue, mut now, mut runs) = (Queue::default(), NOW, 0);
        queue.add(key("a"), now);
        let run = |queue: &mut Queue, now, most| {
            assert_eq!(queue.take(now), Some(key("a")));
            queue.succeeded(&key("a"), now, Some(Again { least, most }));
            queue.next_due().unwrap() - now
        };
        while now < NOW + Duration::from_secs(60) {
            let after = run(&mut queue, now, most);
            assert!((least..=most).contains(&after));
            assert!(after <= least.max(now - NOW), "never longer than it has waited");
            (now, runs) = (now + after, runs + 1);
        }
        assert!(runs < 20, "{runs} runs in a minute");
        assert_eq!(run(&mut queue, now, least), least, "who asks for no more gets no more");
        now += least;
        assert_eq!(run(&mut queue, now, most), least, "and begins anew");
    }

    #[test]
    fn earlier_wins() {
        let mut queue = Queue::default();
        queue.add(key("a"), NOW + Duration::from_secs(9));
        queue.add(key("a"), NOW);
        assert_eq!(queue.next_due(), Some(NOW));
        assert_eq!(queue.len(), 1);
    }
}
