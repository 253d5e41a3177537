//! Many seeds: whatever goes wrong in the world, clients are told the truth.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use sim::image::Image;
use sim::run::{Plan, Report, runtime};

fn number(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number"))
    })
}

/// Each of them is met at least 100 times in 200 seeds.
const KINDS: [&str; 15] = [
    "host/power lost",
    "disk/write lost",
    "disk/write torn",
    "disk/slow",
    "disk/failing",
    "disk/read error",
    "disk/write error",
    "disk/filled",
    "connection/dropped",
    "connection/watch dropped",
    "net/partition",
    "net/reset",
    "controllers/crashed between effects",
    "host/killed",
    "host/stopped",
];

/// `KCP_SIM_SEEDS` says how many seeds, `KCP_SIM_START` which is the first, `KCP_SIM_REQUESTS` how much clients do.
#[test]
fn clients_are_told_the_truth_whatever_goes_wrong() {
    let image = runtime().block_on(Image::make()).unwrap();
    let (seeds, start) = (number("KCP_SIM_SEEDS", 200), number("KCP_SIM_START", 1));
    let requests = number("KCP_SIM_REQUESTS", 1000);
    let next = AtomicU64::new(start);
    let reports: Mutex<Vec<Report>> = Mutex::default();
    let began = std::time::Instant::now();
    std::thread::scope(|threads| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from).min(4) {
            threads.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= start + seeds {
                        return;
                    }
                    let report = Plan::new(seed, requests).run(&image);
                    if let Some(text) = report.failure() {
                        eprintln!("{text}");
                    }
                    reports.lock().unwrap().push(report);
                }
            });
        }
    });
    let reports = reports.into_inner().unwrap();
    let mut faults: BTreeMap<&str, u64> = BTreeMap::new();
    let mut seen = [0; 5];
    for report in &reports {
        report
            .faults
            .iter()
            .for_each(|(kind, count)| *faults.entry(kind).or_default() += count);
        seen.iter_mut().zip(report.seen).for_each(|(sum, count)| *sum += count);
    }
    let requests: u64 = reports.iter().map(|report| report.requests).sum();
    eprintln!("{seeds} seeds, {requests} requests, in {:?}", began.elapsed());
    eprintln!("writes acknowledged, in doubt, gets, lists, watched changes: {seen:?}");
    eprintln!("faults: {faults:#?}");
    let hash = reports.iter().fold(0, |sum: u64, report| sum.wrapping_add(report.hash));
    eprintln!("sum of the traces' hashes: {hash:016x}");
    let failed: Vec<u64> = reports
        .iter()
        .filter(|report| !report.wrong.is_empty())
        .map(|report| report.seed)
        .collect();
    assert!(
        failed.is_empty(),
        "{} of {seeds} seeds failed: {failed:?}",
        failed.len()
    );
    // A run that met no faults shows nothing.
    let of = |kind: &&str| faults.get(*kind).copied().unwrap_or(0);
    let rare: Vec<_> = KINDS.iter().filter(|kind| of(kind) < seeds / 2).collect();
    assert!(
        rare.is_empty() || seeds < 100,
        "hit less often than every second seed: {rare:?}"
    );
}
