//! Many seeds: whatever goes wrong in the world, clients are told the truth.

use sim::image::Image;
use sim::run::{Plan, runtime};
use sim::seeds::Seeds;

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

#[test]
fn clients_are_told_the_truth_whatever_goes_wrong() {
    let image = runtime().block_on(Image::make()).unwrap();
    Seeds::given(1, 200, 1000).run(&KINDS, |seed, requests| Plan::new(seed, requests).run(&image));
}
