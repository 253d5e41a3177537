//! What goes wrong, and when: by chance, and not the same kinds in every run.

use std::time::Duration;

use env::Rng;
use env::simulated::{Crash, Host};

use crate::client::Site;
use crate::keeper::{End, Reaper};

/// Lives that a run ends at most: each start is worth many operations.
const ENDS_MAX: u32 = 4;
/// How long a sync takes when nothing is wrong.
const SYNC_DELAY: Duration = Duration::from_millis(5);
/// Probability that a request loses its connection when nothing is wrong.
const DROP_RATE: f64 = 0.015;

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
}

const ALL: [Fault; 9] = [
    Fault::PowerLoss,
    Fault::Kill,
    Fault::CrashBetweenEffects,
    Fault::Stop,
    Fault::SlowDisk,
    Fault::FailingDisk,
    Fault::FullDisk,
    Fault::ClockJump,
    Fault::DropStorm,
];

pub struct Nemesis {
    host: Host,
    site: Site,
    reaper: Reaper,
    rng: Rng,
    kinds: Vec<Fault>,
    ends: u32,
}

// === impl Nemesis ===

impl Nemesis {
    pub fn new(host: Host, site: Site, reaper: Reaper, rng: Rng) -> Self {
        // Leaving kinds out lets the others reach states that all together would not.
        let mut kinds: Vec<Fault> = ALL.into_iter().filter(|_| rng.chance(0.75)).collect();
        if kinds.is_empty() {
            kinds.push(Fault::PowerLoss);
        }
        site.set_drop_rate(DROP_RATE);
        Self {
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
            Fault::DropStorm => {
                self.site.set_drop_rate(0.3);
                self.site.sleep_ms(length).await;
                self.site.set_drop_rate(DROP_RATE);
            }
        }
    }
}

/// The end of all faults.
pub fn heal(host: &Host, site: &Site, reaper: &Reaper) {
    let disk = host.disk();
    disk.set_sync_delay(SYNC_DELAY);
    disk.set_error_rate(0.0);
    disk.set_capacity(u64::MAX);
    disk.power_loss_after(u64::MAX);
    reaper.disarm();
    site.set_drop_rate(0.0);
    site.note("nemesis", format_args!("leaves"));
}
