//! A control plane of two shards with their virtual workspaces, two front-proxies and a cache server.

use sim::plane::image::PlaneImage;
use sim::plane::run::PlanePlan;
use sim::run::runtime;
use sim::seeds::Seeds;

/// Each of them is met at least 100 times in 200 seeds, which is asked of 100 seeds and more: faults, and what a provider does for
/// others to keep.
const KINDS: [&str; 29] = [
    "shard/killed",
    "proxy/killed",
    "views/killed",
    "cache/killed",
    "provider/changed",
    "host/power lost",
    "host/stopped",
    "controllers/crashed between effects",
    "disk/write lost",
    "disk/write torn",
    "disk/slow",
    "disk/failing",
    "disk/write error",
    "disk/filled",
    "clock/forward",
    "clock/back",
    "connection/dropped",
    "connection/watch dropped",
    "net/partition",
    "net/cut one way",
    "net/chunk lost",
    "net/reset",
    "net/slow",
    "proxy/deaf",
    "index/paused",
    "index/delayed",
    "index/reordered",
    "index/repeated",
    "index/cut",
];

#[test]
fn a_control_plane_tells_the_truth_whatever_goes_wrong() {
    let image = runtime().block_on(PlaneImage::make()).unwrap();
    Seeds::given(0, 200, 360).run(&KINDS, |seed, requests| PlanePlan::new(seed, requests).run(&image));
}

/// Law 7, for all processes together.
#[test]
fn law_7_the_same_seed_gives_the_same_trace_of_a_whole_control_plane() {
    let image = runtime().block_on(PlaneImage::make()).unwrap();
    for faults in [false, true] {
        let run = || {
            let mut plan = PlanePlan::new(1, 300);
            plan.faults = faults;
            plan.run(&image)
        };
        let began = std::time::Instant::now();
        let first = run();
        eprintln!(
            "{:?} {:?} {} {:?}",
            began.elapsed(),
            first.took,
            first.requests,
            first.faults
        );
        assert!(first.wrong.is_empty(), "{}", first.failure().unwrap_or_default());
        let second = run();
        assert_eq!(first.hash, second.hash, "{}\n{}", first.tail, second.tail);
    }
}
