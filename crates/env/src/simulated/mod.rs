//! A world of hosts in one thread: time that passes when all are idle, disks that forget, a network that cuts.
//!
//! Needs tokio's current-thread runtime with paused time (`#[tokio::test(start_paused = true)]`). With the same seed and
//! options the world makes the same choices in the same order.
//!
//! Invariants
//! - Every injected fault is counted in [`Faults`], so that a test can show that it met what it claims to withstand.
//! - A crashed host's tasks, connections, listeners and open files are dead before [`Host::crash`] returns; what still
//!   holds one of them gets errors.
//!
//! Read next: [`World`], [`Host`], [`SimDisk`], [`Network`].

mod disk;
mod faults;
mod host;
mod network;
mod stream;
#[cfg(test)]
mod tests;

use crate::{Rng, Timestamp};
pub use disk::{DiskImage, SimDisk};
pub use faults::Faults;
pub use host::{Crash, Host, Tasks};
pub use network::Network;
use std::sync::Arc;
use std::time::Duration;

/// What a simulated world is like. The default is fast and faultless.
#[derive(Clone, Debug)]
pub struct SimOptions {
    /// Wall time at the start.
    pub start: Timestamp,
    /// How long a sync of the disk takes.
    pub sync_delay: Duration,
    /// Bytes that fit on each host's disk.
    pub disk_capacity: u64,
    /// Probability that one read, write or sync of a disk fails.
    pub disk_error_rate: f64,
    /// The least and the greatest time a chunk of bytes is under way between two hosts.
    pub latency: (Duration, Duration),
    /// Probability that a chunk is lost and sent again, which TCP shows as a delay of 200 ms.
    pub loss_rate: f64,
    /// Probability, for each chunk, that the connection is reset.
    pub reset_rate: f64,
}

/// Hosts and the network between them. Cheap to clone.
#[derive(Clone)]
pub struct World {
    inner: Arc<WorldInner>,
}

struct WorldInner {
    options: SimOptions,
    rng: Rng,
    faults: Faults,
    network: Network,
}

// === impl SimOptions ===

impl Default for SimOptions {
    fn default() -> SimOptions {
        SimOptions {
            start: Timestamp::from_secs(1_767_225_600),
            sync_delay: Duration::from_millis(5),
            disk_capacity: u64::MAX,
            disk_error_rate: 0.0,
            latency: (Duration::from_micros(100), Duration::from_millis(1)),
            loss_rate: 0.0,
            reset_rate: 0.0,
        }
    }
}

// === impl World ===

impl World {
    /// A world without hosts.
    pub fn new(seed: u64, options: SimOptions) -> World {
        let rng = Rng::seeded(seed);
        let faults = Faults::default();
        let network = Network::new(rng.fork(), &options, faults.clone());
        World {
            inner: Arc::new(WorldInner {
                options,
                rng,
                faults,
                network,
            }),
        }
    }

    /// A new host. Its name is the host part of the addresses it listens on.
    pub fn host(&self, name: &str) -> Host {
        let WorldInner {
            options,
            rng,
            faults,
            network,
        } = &*self.inner;
        Host::new(name, options, rng.fork(), faults.clone(), network.clone())
    }

    /// The network, to cut and to heal.
    pub fn network(&self) -> &Network {
        &self.inner.network
    }

    /// What went wrong so far.
    pub fn faults(&self) -> &Faults {
        &self.inner.faults
    }

    /// Numbers for the schedule of a test, apart from those of the hosts.
    pub fn rng(&self) -> Rng {
        self.inner.rng.fork()
    }
}
