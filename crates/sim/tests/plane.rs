//! A control plane of two shards and two front-proxies.

use sim::plane::image::PlaneImage;
use sim::plane::run::PlanePlan;
use sim::run::runtime;

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
