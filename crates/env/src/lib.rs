//! The seams (law 7): time, randomness, disk, network and tasks reach the rest of the workspace only through [`Env`].
//!
//! In production an `Env` is the operating system ([`Env::real`]). In simulation (feature `simulation`, module
//! `simulated`) it is a host of a world that runs in one thread, whose clock jumps ahead when everything is idle, whose
//! disk forgets what was not synced and whose network delays and cuts.
//!
//! Invariants
//! - Nothing here is global: two hosts of one simulated world share nothing but the network.
//! - With the same seed a simulated world makes the same choices in the same order, provided that its users keep to
//!   `biased` selects and to ordered maps.
//! - [`Disk`] is synchronous. Its calls belong inside [`Spawn::blocking`], which also charges a simulated disk's delays
//!   to the caller.
//!
//! Read next: [`Clock`], [`Disk`], [`Net`], [`Spawn`], then `simulated`.
#![forbid(unsafe_code)]

use std::sync::Arc;

mod clock;
pub mod disk;
pub mod net;
mod rng;
#[cfg(feature = "simulation")]
pub mod simulated;
mod spawn;

pub use clock::{Clock, Elapsed, Interval, Timestamp};
pub use disk::{Disk, DiskFile};
pub use net::{Accepted, Listener, Net, Stream};
pub use rng::Rng;
pub use spawn::{Spawn, Stopped, Task};

/// Everything a component may know of the outside. Cheap to clone.
#[derive(Clone)]
pub struct Env {
    /// Wall time, monotonic time, sleeping.
    pub clock: Clock,
    /// Randomness.
    pub rng: Rng,
    /// Files.
    pub disk: Arc<dyn Disk>,
    /// Connections.
    pub net: Arc<dyn Net>,
    /// Tasks.
    pub spawn: Spawn,
}

// === impl Env ===

impl Env {
    /// The operating system's clock, randomness, files, TCP and tokio's tasks.
    pub fn real() -> Env {
        Env {
            clock: Clock::real(),
            rng: Rng::real(),
            disk: Arc::new(disk::RealDisk),
            net: Arc::new(net::RealNet),
            spawn: Spawn::real(),
        }
    }

    /// One simulated host with a network of its own; for several hosts see `simulated::World`.
    ///
    /// Must be called inside a tokio runtime of one thread with paused time.
    #[cfg(feature = "simulation")]
    pub fn simulated(seed: u64, options: simulated::SimOptions) -> (Env, simulated::Host) {
        let world = simulated::World::new(seed, options);
        let host = world.host("host");
        (host.env(), host)
    }
}

impl std::fmt::Debug for Env {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Env")
    }
}
