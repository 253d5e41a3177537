//! The checkers find what they are there for: bugs put in on purpose. And a run depends on its seed alone.
#![cfg(debug_assertions)]

use sim::image::Image;
use sim::run::{Plan, runtime};
use sim::server::Bug;

/// Runs seeds with a bug until it is found; what was found.
fn find(bug: Bug, seeds_max: u64) -> String {
    let image = runtime().block_on(Image::make()).unwrap();
    for seed in 1..=seeds_max {
        let mut plan = Plan::new(seed, 1000);
        plan.server.bug = Some(bug);
        let report = plan.run(&image);
        if !report.wrong.is_empty() {
            eprintln!("{bug:?}: found with seed {seed}, {} violations", report.wrong.len());
            return report.wrong.join("\n");
        }
    }
    panic!("{bug:?} is not found in {seeds_max} seeds");
}

#[test]
fn an_update_over_a_newer_version_is_found() {
    let found = find(Bug::RevisionNotCompared, 30);
    // A write over what another one has deleted shows as an object that comes back from nowhere, and one over what was
    // acknowledged meanwhile as the loss of that.
    let shown = ["lost update", "which was not there", "acknowledged and lost"];
    assert!(shown.iter().any(|text| found.contains(text)), "{found}");
}

#[test]
fn a_dropped_watch_event_is_found() {
    let found = find(Bug::EventDropped, 5);
    assert!(found.contains("a watch of"), "{found}");
}

#[test]
fn a_missing_sync_is_found() {
    let found = find(Bug::SyncLeftOut, 20);
    assert!(
        ["acknowledged and lost", "was seen before it", "does not start after"]
            .iter()
            .any(|text| found.contains(text)),
        "{found}"
    );
}
