//! Many runs, as many at a time as there are processors, and what they came to together.
//!
//! `KCP_SIM_SEEDS` says how many seeds, `KCP_SIM_START` which is the first, `KCP_SIM_REQUESTS` how much clients do in each.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::run::Report;

/// Which seeds are run.
#[derive(Clone, Copy, Debug)]
pub struct Seeds {
    start: u64,
    count: u64,
    requests: u64,
}

// === impl Seeds ===

impl Seeds {
    /// As the environment says, or else so many seeds from `start` on.
    pub fn given(start: u64, count: u64, requests: u64) -> Self {
        Self {
            start: number("KCP_SIM_START", start),
            count: number("KCP_SIM_SEEDS", count),
            requests: number("KCP_SIM_REQUESTS", requests),
        }
    }

    /// Runs all; `run` is told a seed and how many requests.
    ///
    /// # Panics
    /// If a run is not good, or if the runs met less often than every second one what they are to withstand.
    pub fn run(self, kinds: &[&str], run: impl Fn(u64, u64) -> Report + Sync) {
        let reports = self.reports(run);
        let mut faults: BTreeMap<&str, u64> = BTreeMap::new();
        let (mut seen, mut requests, mut hash) = ([0; 5], 0, 0u64);
        for report in &reports {
            for (kind, count) in &report.faults {
                *faults.entry(kind).or_default() += count;
            }
            seen.iter_mut().zip(report.seen).for_each(|(sum, count)| *sum += count);
            requests += report.requests;
            hash = hash.wrapping_add(report.hash);
        }
        let count = self.count;
        eprintln!("{count} seeds, {requests} requests");
        eprintln!("writes acknowledged, in doubt, gets, lists, watched changes: {seen:?}");
        eprintln!("faults: {faults:#?}");
        eprintln!("sum of the traces' hashes: {hash:016x}");
        let failed = reports.iter().filter(|report| !report.wrong.is_empty());
        let failed: Vec<u64> = failed.map(|report| report.seed).collect();
        assert!(
            failed.is_empty(),
            "{} of {count} seeds failed: {failed:?}",
            failed.len()
        );
        // Runs that met no faults show nothing.
        let of = |kind: &&&str| faults.get(**kind).copied().unwrap_or(0);
        let rare: Vec<_> = kinds.iter().filter(|kind| of(kind) < count / 2).collect();
        assert!(
            rare.is_empty() || count < 100,
            "hit less often than every second seed: {rare:?}"
        );
    }

    fn reports(self, run: impl Fn(u64, u64) -> Report + Sync) -> Vec<Report> {
        let next = AtomicU64::new(self.start);
        let reports: Mutex<Vec<Report>> = Mutex::default();
        std::thread::scope(|threads| {
            for _ in 0..std::thread::available_parallelism().map_or(2, usize::from).min(4) {
                threads.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= self.start + self.count {
                            return;
                        }
                        let report = run(seed, self.requests);
                        if let Some(text) = report.failure() {
                            eprintln!("{text}");
                        }
                        reports.lock().expect("no run panics").push(report);
                    }
                });
            }
        });
        reports.into_inner().expect("no run panics")
    }
}

fn number(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number"))
    })
}
