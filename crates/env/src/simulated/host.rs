//! A simulated machine that can crash and start again.

use super::{Faults, Network, SimDisk, SimOptions};
use crate::{Clock, Env, Rng, Spawn};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// One machine: a disk, a clock, a name on the network. Cheap to clone.
#[derive(Clone)]
pub struct Host {
    inner: Arc<HostInner>,
}

struct HostInner {
    name: String,
    clock: Clock,
    rng: Rng,
    disk: SimDisk,
    network: Network,
    faults: Faults,
    tasks: Mutex<Tasks>,
}

/// How a host goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process is killed: the operating system keeps what was written.
    Process,
    /// Power is lost: what was not synced may be gone, in part or whole.
    Power,
}

/// The tasks of one life of a host, and the time its disk has charged. Part of a simulated [`Spawn`].
#[derive(Clone)]
pub struct Tasks {
    handles: Arc<Mutex<Vec<tokio::task::AbortHandle>>>,
    disk_nanos: Arc<AtomicU64>,
}

// === impl Host ===

impl Host {
    pub(super) fn new(name: &str, options: &SimOptions, rng: Rng, faults: Faults, network: Network) -> Host {
        let tasks = Tasks {
            handles: Arc::default(),
            disk_nanos: Arc::default(),
        };
        let disk = SimDisk::new(options, rng.fork(), faults.clone(), tasks.disk_nanos.clone());
        let clock = Clock::simulated(options.start);
        let tasks = Mutex::new(tasks);
        Host {
            inner: Arc::new(HostInner {
                name: name.to_owned(),
                clock,
                rng,
                disk,
                network,
                faults,
                tasks,
            }),
        }
    }

    /// The seams of the host's present life. After a crash, ask again.
    pub fn env(&self) -> Env {
        let host = &*self.inner;
        Env {
            clock: host.clock.clone(),
            rng: host.rng.clone(),
            disk: Arc::new(host.disk.mount()),
            net: Arc::new(host.network.attach(&host.name)),
            spawn: Spawn::simulated(host.tasks.lock().clone()),
        }
    }

    /// Its name on the network.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its disk, to break it.
    pub fn disk(&self) -> &SimDisk {
        &self.inner.disk
    }

    /// Ends everything that runs on the host. [`Host::env`] then gives the next life.
    pub fn crash(&self, how: Crash) {
        let host = &*self.inner;
        let mut tasks = host.tasks.lock();
        tasks.handles.lock().drain(..).for_each(|handle| handle.abort());
        tasks.handles = Arc::default();
        host.network.detach(&host.name);
        match how {
            Crash::Process => host.disk.restart(),
            Crash::Power => host.disk.power_loss(),
        }
        host.faults.count(match how {
            Crash::Process => "host/killed",
            Crash::Power => "host/power lost",
        });
    }

    /// How many tasks run on the host.
    pub fn tasks(&self) -> usize {
        let tasks = self.inner.tasks.lock();
        let mut handles = tasks.handles.lock();
        handles.retain(|handle| !handle.is_finished());
        handles.len()
    }

    /// Moves the host's wall clock forward.
    pub fn clock_forward(&self, by: Duration) {
        self.inner.faults.count("clock/forward");
        self.inner.clock.shift(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX));
    }

    /// Moves the host's wall clock back.
    pub fn clock_back(&self, by: Duration) {
        self.inner.faults.count("clock/back");
        self.inner
            .clock
            .shift(i64::try_from(by.as_nanos()).map_or(i64::MIN, |nanos| -nanos));
    }
}

// === impl Tasks ===

impl Tasks {
    pub(crate) fn add(&self, handle: tokio::task::AbortHandle) {
        let mut handles = self.handles.lock();
        // Sweeping only when the list doubles keeps the cost per task constant.
        if handles.len() == handles.capacity() {
            handles.retain(|handle| !handle.is_finished());
        }
        handles.push(handle);
    }

    pub(crate) async fn pay_disk_time(&self) {
        let nanos = self.disk_nanos.swap(0, Ordering::Relaxed);
        if nanos > 0 {
            tokio::time::sleep(Duration::from_nanos(nanos)).await;
        }
    }
}
