use std::sync::atomic::{AtomicUsize, Ordering};

use env::Spawn;

use super::*;

fn fairness(seats: usize, flow_seats: usize) -> (Arc<Fairness>, Clock) {
    let clock = Clock::real();
    let options = SeatOptions {
        flow_seats,
        wait_max: Duration::from_secs(1),
        flow_queue: 10_000,
        ..SeatOptions::new(seats)
    };
    let options = FairnessOptions {
        read_only: options.clone(),
        mutating: options,
    };
    (Arc::new(Fairness::new(options, &clock, &Metrics::new())), clock)
}

const WORK: Duration = Duration::from_millis(10);

/// Latencies of `requests` requests of one flow, one after the other, each some work.
async fn victim(fairness: &Fairness, clock: &Clock, requests: u64) -> Vec<Duration> {
    let mut latencies = Vec::new();
    for round in 0..requests {
        let begun = clock.monotonic();
        let seat = fairness.seat("victim".into(), false).await.unwrap();
        clock.sleep(WORK).await;
        drop(seat);
        latencies.push(clock.monotonic() - begun);
        clock.sleep(Duration::from_millis(7 + round % 13)).await;
    }
    latencies.sort();
    latencies
}

#[tokio::test(start_paused = true)]
async fn a_tenant_at_ten_times_its_share_does_not_slow_others() {
    let (fairness, clock) = fairness(20, 10);
    let spawn = Spawn::real();
    let alone = victim(&fairness, &clock, 200).await;
    let stop = Arc::new(AtomicUsize::new(0));
    // 10 × the seats that one flow may have, all the time.
    for index in 0..100u64 {
        let (fairness, clock, stop) = (fairness.clone(), clock.clone(), stop.clone());
        let task = async move {
            clock.sleep(Duration::from_micros(97 * index)).await;
            while stop.load(Ordering::Relaxed) == 0 {
                let seat = fairness.seat("hog".into(), false).await;
                clock.sleep(WORK).await;
                drop(seat);
            }
        };
        spawn.spawn("hog", task).detach();
    }
    clock.sleep(Duration::from_secs(1)).await;
    let beside = victim(&fairness, &clock, 200).await;
    stop.store(1, Ordering::Relaxed);
    let p99 = |sorted: &[Duration]| sorted[sorted.len() * 99 / 100];
    assert!(
        p99(&beside) < p99(&alone).mul_f64(1.5),
        "{:?} beside {:?}",
        p99(&beside),
        p99(&alone)
    );
}

#[tokio::test(start_paused = true)]
async fn seats_are_shared_by_the_time_they_are_used() {
    // One flow's requests are ten times as long as the other's: both get the same seat time, not the same number.
    let (fairness, clock) = fairness(1, 1);
    let spawn = Spawn::real();
    let used: [Arc<AtomicUsize>; 2] = Default::default();
    for (flow, work) in [(0, 10), (1, 1)] {
        for _ in 0..5 {
            let (fairness, clock, used) = (fairness.clone(), clock.clone(), used[flow].clone());
            let task = async move {
                while let Ok(seat) = fairness.seat(Flow::new(format!("flow-{flow}")), true).await {
                    clock.sleep(Duration::from_millis(work)).await;
                    used.fetch_add(work as usize, Ordering::Relaxed);
                    drop(seat);
                }
            };
            spawn.spawn("flow", task).detach();
        }
    }
    clock.sleep(Duration::from_secs(10)).await;
    let [long, short] = used.map(|used| used.load(Ordering::Relaxed) as f64);
    assert!((0.8..1.25).contains(&(long / short)), "{long} and {short} ms");
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_and_a_long_wait_are_answered_with_429() {
    let clock = Clock::real();
    let options = SeatOptions {
        flow_queue: 1,
        wait_max: Duration::from_secs(1),
        ..SeatOptions::new(1)
    };
    let options = FairnessOptions {
        read_only: options.clone(),
        mutating: options,
    };
    let metrics = Metrics::new();
    let fairness = Fairness::new(options, &clock, &metrics);
    let held = fairness.seat("a".into(), false).await.unwrap();
    let (waited, refused) = tokio::join!(fairness.seat("a".into(), false), fairness.seat("a".into(), false));
    for outcome in [waited, refused] {
        let status = outcome.err().unwrap();
        assert_eq!((status.code, status.retry_after_seconds()), (429, 1));
    }
    assert_eq!(
        metrics.rejected.with(&["queue-full"]).get() + metrics.rejected.with(&["time-out"]).get(),
        2
    );
    assert_eq!(metrics.in_queue.get(), 0);
    drop(held);
    assert!(fairness.seat("a".into(), false).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn law_1_an_idle_cluster_has_no_flow() {
    let (fairness, clock) = fairness(2, 1);
    for index in 0..100 {
        drop(
            fairness
                .seat(Flow::new(format!("cluster-{index}")), index % 2 == 0)
                .await
                .unwrap(),
        );
    }
    assert_eq!(fairness.flows(), 0);
    // Clients that go away while they wait leave nothing behind, either.
    let held = [
        fairness.seat("a".into(), false).await,
        fairness.seat("b".into(), false).await,
    ];
    for _ in 0..10 {
        let waiting = fairness.seat("c".into(), false);
        assert!(clock.timeout(Duration::from_millis(1), waiting).await.is_err());
    }
    assert_eq!(fairness.flows(), 2);
    drop(held);
    assert_eq!(fairness.flows(), 0);
}

#[tokio::test(start_paused = true)]
async fn seats_are_never_lost_or_doubled() {
    let (fairness, clock) = fairness(3, 2);
    let spawn = Spawn::real();
    let (busy, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for index in 0..60u64 {
        let (fairness, clock, busy, most) = (fairness.clone(), clock.clone(), busy.clone(), most.clone());
        let task = async move {
            for round in 0..20 {
                let bound = Duration::from_micros((index * 131 + round * 17) % 3000);
                let flow = Flow::new(format!("f{}", index % 7));
                if let Ok(Ok(seat)) = clock.timeout(bound, fairness.seat(flow, false)).await {
                    most.fetch_max(busy.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                    clock.sleep(Duration::from_micros(300)).await;
                    busy.fetch_sub(1, Ordering::Relaxed);
                    drop(seat);
                }
            }
        };
        spawn.spawn("client", task).detach();
    }
    clock.sleep(Duration::from_secs(60)).await;
    assert_eq!(most.load(Ordering::Relaxed), 3);
    assert_eq!(fairness.flows(), 0);
    let state = fairness.read_only.state.lock();
    assert_eq!((state.used, state.waiting, state.ready.len()), (0, 0, 0));
}
