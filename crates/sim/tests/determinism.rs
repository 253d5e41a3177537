//! Law 7: with the same seed the same happens.

use std::time::{Duration, Instant, SystemTime};

use sim::image::Image;
use sim::run::{Plan, runtime};

#[test]
fn law_7_the_same_seed_gives_the_same_trace() {
    let image = runtime().block_on(Image::make()).unwrap();
    let mut hashes = std::collections::BTreeSet::new();
    for seed in 1..=4 {
        let (first, second) = (Plan::new(seed, 1000).run(&image), Plan::new(seed, 1000).run(&image));
        assert_eq!(first.hash, second.hash, "seed {seed}\n{}\n{}", first.tail, second.tail);
        assert_eq!((first.faults, first.seen), (second.faults, second.seen), "seed {seed}");
        hashes.insert(first.hash);
    }
    assert_eq!(hashes.len(), 4, "another seed is another run");
}

/// Libraries that know of no seam ask the operating system: hyper for the date of an answer, h2 for how long ago a stream was reset.
#[test]
fn who_asks_the_system_for_the_time_is_told_the_simulated() {
    const HOUR: Duration = Duration::from_secs(3600);
    let began = Instant::now();
    let read = || {
        runtime().block_on(async {
            let (began, date) = (Instant::now(), SystemTime::now());
            tokio::time::sleep(HOUR).await;
            (began.elapsed(), date, SystemTime::now())
        })
    };
    let (passed, date, later) = read();
    assert_eq!((passed, later), (HOUR, date + HOUR));
    assert_eq!(read(), (passed, date, later), "whenever it is run");
    // Only where something is simulated.
    assert!(began.elapsed() < HOUR && SystemTime::now() > later);
}
