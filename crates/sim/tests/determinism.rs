//! Law 7: with the same seed the same happens.

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
