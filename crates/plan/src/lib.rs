//! What a controller is: a pure function from what is seen to what is to be done.
//!
//! `plan(key, view, context) -> {needs, effects, requeue}`: level-triggered, idempotent, without I/O. The driver (crate
//! `controller`) owns queues, fetching, retries and leases; a plan can be run in a test with a view made of literals.
//!
//! Invariants
//! - Pure: no clock, no randomness, no I/O; time and seed come in [`Context`].
//! - A plan decides on the view alone, never on which event led to it.
#![forbid(unsafe_code)]

mod plan;

pub use plan::{
    Context, Controller, Effect, Key, Labelled, Member, ObjectRef, Outline, Plan, ResourceRef, Seen, Served, Trigger,
    View,
};
