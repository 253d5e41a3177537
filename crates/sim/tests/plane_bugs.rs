//! The checkers of a control plane find what they are there for: flaws put in on purpose. One more is found by
//! `consistency.rs`: a proxy that is not told that its index is behind.

use sim::plane::Flaw;
use sim::plane::image::PlaneImage;
use sim::plane::run::PlanePlan;
use sim::run::runtime;

/// Runs seeds with each flaw until it is found, as one of `texts` says it.
fn finds(flaw: Flaw, texts: &[&str]) {
    let image = runtime().block_on(PlaneImage::make()).unwrap();
    for seed in 1..=6 {
        let mut plan = PlanePlan::new(seed, 400);
        (plan.flaw, plan.faults) = (Some(flaw), false);
        let report = plan.run(&image);
        if report.wrong.is_empty() {
            continue;
        }
        let found = report.wrong.join("\n");
        eprintln!("{flaw:?}: found with seed {seed}, {} violations", report.wrong.len());
        assert!(texts.iter().any(|text| found.contains(text)), "{found}");
        return;
    }
    panic!("{flaw:?} is not found");
}

#[test]
fn an_old_event_that_is_taken_is_found() {
    finds(Flaw::OldEventTaken, &["finds"]);
}

#[test]
fn a_dropped_deletion_is_found() {
    finds(Flaw::DeletionDropped, &["finds"]);
}

#[test]
fn a_misplaced_replica_is_found() {
    finds(Flaw::ReplicaMisplaced, &["keeps", "does not keep"]);
}

#[test]
fn users_that_are_mixed_up_are_found() {
    finds(Flaw::UsersMixedUp, &["of another tenant was answered with"]);
}

#[test]
fn a_replica_that_is_kept_is_found() {
    finds(Flaw::ReplicaKept, &["cache keeps", "root keeps"]);
}

#[test]
fn an_answer_that_is_given_again_is_found() {
    finds(Flaw::AnswersKept, &["stale or never so"]);
}

#[test]
fn a_second_writer_of_a_cluster_is_found() {
    finds(Flaw::WrittenTwice, &["was written by"]);
}

#[test]
fn views_of_another_shard_are_found() {
    finds(Flaw::ViewsMixedUp, &["a list of provider.example/gadgets/"]);
}
