//! Randomness.

#[cfg(feature = "simulation")]
use parking_lot::Mutex;
#[cfg(feature = "simulation")]
use rand::{RngCore, SeedableRng, rngs::SmallRng};
#[cfg(feature = "simulation")]
use std::sync::Arc;

/// A source of random numbers: the operating system's, fit for secrets; in simulation a seeded one. Cheap to clone;
/// clones share their state.
#[derive(Clone)]
pub struct Rng {
    source: Source,
}

#[derive(Clone)]
enum Source {
    System,
    #[cfg(feature = "simulation")]
    Seeded(Arc<Mutex<SmallRng>>),
}

// === impl Rng ===

impl Rng {
    /// The operating system's randomness.
    pub fn real() -> Rng {
        Rng { source: Source::System }
    }

    /// Reproducible numbers.
    #[cfg(feature = "simulation")]
    pub fn seeded(seed: u64) -> Rng {
        Rng {
            source: Source::Seeded(Arc::new(Mutex::new(SmallRng::seed_from_u64(seed)))),
        }
    }

    /// A source whose numbers do not depend on how often this one is asked later.
    #[cfg(feature = "simulation")]
    pub fn fork(&self) -> Rng {
        Rng::seeded(self.next_u64())
    }

    /// Fills `bytes` with random data.
    pub fn fill(&self, bytes: &mut [u8]) {
        match &self.source {
            Source::System => rand::TryRngCore::try_fill_bytes(&mut rand::rngs::OsRng, bytes)
                .expect("the operating system gives randomness"),
            #[cfg(feature = "simulation")]
            Source::Seeded(rng) => rng.lock().fill_bytes(bytes),
        }
    }

    /// A random number.
    pub fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A random number below `bound`, evenly spread; 0 when `bound` is 0.
    pub fn below(&self, bound: u64) -> u64 {
        // The high half of a 128-bit product: even to within bound/2^64.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// True with the given probability.
    pub fn chance(&self, probability: f64) -> bool {
        // 53 bits: every step of an f64 in [0, 1).
        ((self.next_u64() >> 11) as f64) < probability * (1u64 << 53) as f64
    }
}

impl std::fmt::Debug for Rng {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rng")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_gives_same_numbers() {
        let (a, b) = (Rng::seeded(7), Rng::seeded(7));
        assert!((0..100).all(|_| a.next_u64() == b.next_u64()));
        assert_ne!(Rng::seeded(8).next_u64(), Rng::seeded(9).next_u64());
    }

    #[test]
    fn below_and_chance_keep_their_bounds() {
        let rng = Rng::seeded(1);
        assert!((0..1000).all(|_| rng.below(10) < 10));
        assert_eq!(rng.below(0), 0);
        assert!((0..1000).all(|_| !rng.chance(0.0)));
        assert!((0..1000).all(|_| rng.chance(1.0)));
        let hits = (0..10_000).filter(|_| rng.chance(0.25)).count();
        assert!((2_200..2_800).contains(&hits), "{hits}");
    }

    #[test]
    fn real_randomness_differs() {
        assert_ne!(Rng::real().next_u64(), Rng::real().next_u64());
    }
}
