//! What goes wrong, and when: by chance, and not the same kinds in every run.

use std::time::Duration;

use env::Rng;
use env::simulated::{Crash, Host, Network};

use crate::client::Site;
use crate::keeper::{End, Reaper};

/// Lives that a run ends at most: each start is worth many operations.
const ENDS_MAX: u32 = 4;
/// How long a sync takes when nothing is wrong.
const SYNC_DELAY: Duration = Duration::from_millis(5);
/// Probability that a request loses its connection when nothing is wrong.
const DROP_RATE: f64 = 0.015;

/// How long a chunk is under way.
const LATENCY: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(1));

/// The clients' host.
pub const CLIENTS: &str = "clients";

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    PowerLoss,
    Kill,
    CrashBetweenEffects,
    Stop,
    SlowDisk,
    FailingDisk,
    FullDisk,
    ClockJump,
    DropStorm,
    /// Nothing passes between clients and server, in one direction or both.
    Partition,
    /// Every connection is reset.
    Reset,
}

/// Some stand here more than once: they are chosen more often.
const ALL: [Fault; 15] = [
    Fault::PowerLoss,
    Fault::PowerLoss,
    Fault::PowerLoss,
    Fault::CrashBetweenEffects,
    Fault::Partition,
    Fault::Kill,
    Fault::CrashBetweenEffects,
    Fault::Stop,
    Fault::SlowDisk,
    Fault::FailingDisk,
    Fault::FullDisk,
    Fault::ClockJump,
    Fault::DropStorm,
    Fault::Partition,
    Fault::Reset,
];

pub struct Nemesis {
    /// None: the clients use none.
    network: Option<Network>,
    host: Host,
    site: Site,
    reaper: Reaper,
    rng: Rng,
    kinds: Vec<Fault>,
    ends: u32,
}

// === impl Nemesis ===

impl Nemesis {
    pub fn new(network: Option<Network>, host: Host, site: Site, reaper: Reaper, rng: Rng) -> Self {
        // Leaving kinds out lets the others reach states that all together would not.
        let mut kinds: Vec<Fault> = ALL.into_iter().filter(|_| rng.chance(0.75)).collect();
        if network.is_none() {
            kinds.retain(|kind| !matches!(kind, Fault::Partition | Fault::Reset));
        }
        if kinds.is_empty() {
            kinds.push(Fault::PowerLoss);
        }
        site.set_drop_rate(DROP_RATE);
        if let Some(network) = &network {
            network.set_weather(LATENCY, 0.005, 0.0005);
        }
        Self {
            network,
            host,
            site,
            reaper,
            rng,
            kinds,
            ends: 0,
        }
    }

    /// Strikes again and again, until it is dropped.
    pub async fn run(mut self) {
        self.site.note("nemesis", format_args!("{:?}", self.kinds));
        loop {
            let pause = 100 + self.rng.below(900);
            self.site.sleep_ms(pause).await;
            let Some(fault) = self
                .kinds
                .get(self.rng.below(self.kinds.len() as u64) as usize)
                .copied()
            else {
                return;
            };
            if matches!(
                fault,
                Fault::PowerLoss | Fault::Kill | Fault::CrashBetweenEffects | Fault::Stop
            ) {
                if self.ends == ENDS_MAX {
                    continue;
                }
                self.ends += 1;
            }
            self.site.note("nemesis", format_args!("{fault:?}"));
            self.strike(fault).await;
        }
    }

    async fn strike(&mut self, fault: Fault) {
        let disk = self.host.disk().clone();
        let length = 100 + self.rng.below(1500);
        match fault {
            Fault::PowerLoss => disk.power_loss_after(1 + self.rng.below(150)),
            Fault::Kill => self.reaper.end(End::Crash(Crash::Process)),
            Fault::CrashBetweenEffects => self.reaper.end_after_effects(1 + self.rng.below(6)),
            Fault::Stop => self.reaper.end(End::Stop),
            Fault::SlowDisk => {
                self.site.faults().count("disk/slow");
                // Now and then so slow that the store gives up waiting.
                let delay = if self.rng.chance(0.2) { 15_000 } else { 2000 };
                disk.set_sync_delay(Duration::from_millis(50 + self.rng.below(delay)));
                self.site.sleep_ms(length).await;
                disk.set_sync_delay(SYNC_DELAY);
            }
            Fault::FailingDisk => {
                self.site.faults().count("disk/failing");
                disk.set_error_rate(0.002 * (1 + self.rng.below(20)) as f64);
                self.site.sleep_ms(length).await;
                disk.set_error_rate(0.0);
            }
            Fault::FullDisk => {
                self.site.faults().count("disk/filled");
                disk.set_capacity(disk.used() + (self.rng.below(3) << 19));
                self.site.sleep_ms(length).await;
                disk.set_capacity(u64::MAX);
            }
            Fault::ClockJump => {
                let by = Duration::from_millis(self.rng.below(10_000));
                if self.rng.chance(0.5) {
                    self.host.clock_forward(by);
                } else {
                    self.host.clock_back(by);
                }
            }
            Fault::Partition | Fault::Reset => self.strike_network(fault, length).await,
            Fault::DropStorm => {
                self.site.set_drop_rate(0.3);
                self.site.sleep_ms(length).await;
                self.site.set_drop_rate(DROP_RATE);
            }
        }
    }

    async fn strike_network(&self, fault: Fault, length: u64) {
        let Some(network) = &self.network else { return };
        let (server, clients) = (self.host.name(), CLIENTS);
        if fault == Fault::Reset {
            return network.reset(server, clients);
        }
        match self.rng.below(3) {
            0 => network.partition(server, clients),
            1 => network.cut_one_way(server, clients),
            _ => network.cut_one_way(clients, server),
        }
        self.site.sleep_ms(length).await;
        network.heal();
    }
}

/// The end of all faults.
pub fn heal(network: &Network, host: &Host, site: &Site, reaper: &Reaper) {
    network.heal();
    network.set_weather(LATENCY, 0.0, 0.0);
    let disk = host.disk();
    disk.set_sync_delay(SYNC_DELAY);
    disk.set_error_rate(0.0);
    disk.set_capacity(u64::MAX);
    disk.power_loss_after(u64::MAX);
    reaper.disarm();
    site.set_drop_rate(0.0);
    site.note("nemesis", format_args!("leaves"));
}
