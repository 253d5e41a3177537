//! What goes wrong in a control plane, and when: by chance, and not the same kinds in every run.

use std::time::Duration;

use env::Rng;
use env::simulated::{Crash, Network};
use futures_util::future::join_all;

use crate::client::Site;
use crate::keeper::End;
use crate::nemesis::CLIENTS;
use crate::plane::tellings::{Deaf, Tellings};
use crate::plane::{CACHE, EARS, PROXIES, Plane, SHARDS, Seat, VIEWS};

/// Lives that a run ends at most: each start is worth many operations.
const ENDS_MAX: u32 = 5;
/// How long a sync takes when nothing is wrong.
const SYNC_DELAY: Duration = Duration::from_millis(5);
/// Probability that a request loses its connection when nothing is wrong.
const DROP_RATE: f64 = 0.01;
/// How long a chunk is under way.
const LATENCY: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(1));

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    PowerLoss,
    KillShard,
    KillProxy,
    KillViews,
    KillCache,
    CrashBetweenEffects,
    Stop,
    SlowDisk,
    FailingDisk,
    FullDisk,
    ClockJump,
    /// Nothing passes between two machines, in one direction or both.
    Partition,
    /// Every connection between two machines is reset.
    Reset,
    /// Everything takes long.
    SlowNetwork,
    /// A proxy hears nothing of a shard, and requests pass.
    Deaf,
    IndexPaused,
    IndexDelayed,
    IndexReordered,
    IndexRepeated,
    IndexCut,
}

/// Each hand strikes by itself, so that what it does meets what the others do; of a hand's kinds those that stand here more
/// than once are chosen more often. With the longest pause between two strikes, in milliseconds.
const HANDS: [(&[Fault], u64); 4] = [
    (
        &[
            Fault::PowerLoss,
            Fault::PowerLoss,
            Fault::PowerLoss,
            Fault::KillShard,
            Fault::KillShard,
            Fault::CrashBetweenEffects,
            Fault::CrashBetweenEffects,
            Fault::CrashBetweenEffects,
            Fault::Stop,
        ],
        900,
    ),
    (
        &[Fault::KillProxy, Fault::KillViews, Fault::KillCache, Fault::Stop],
        1000,
    ),
    (
        &[
            Fault::Partition,
            Fault::Partition,
            Fault::Reset,
            Fault::SlowNetwork,
            Fault::Deaf,
        ],
        400,
    ),
    (
        &[
            Fault::SlowDisk,
            Fault::FailingDisk,
            Fault::FailingDisk,
            Fault::FullDisk,
            Fault::ClockJump,
            Fault::ClockJump,
        ],
        500,
    ),
];

/// Of a hand for each shard's index.
const INDEX: (&[Fault], u64) = (
    &[
        Fault::IndexPaused,
        Fault::IndexDelayed,
        Fault::IndexReordered,
        Fault::IndexRepeated,
        Fault::IndexRepeated,
        Fault::IndexCut,
    ],
    200,
);

/// See the module.
#[derive(Clone)]
pub struct Nemesis {
    network: Network,
    site: Site,
    shards: Vec<Seat>,
    proxies: Vec<Seat>,
    views: Vec<Seat>,
    cache: Seat,
    /// What this hand may lay hold of.
    tellings: Vec<Tellings>,
    rng: Rng,
}

// === impl Nemesis ===

impl Nemesis {
    pub fn new(plane: &Plane) -> Self {
        plane.site.set_drop_rate(DROP_RATE);
        plane.world.network().set_weather(LATENCY, 0.003, 0.0003);
        Self {
            network: plane.world.network().clone(),
            site: plane.site.clone(),
            shards: plane.shards.iter().map(|shard| shard.seat.clone()).collect(),
            proxies: plane.proxies.iter().map(|proxy| proxy.seat.clone()).collect(),
            views: plane.views.iter().map(|views| views.seat.clone()).collect(),
            cache: plane.cache.seat.clone(),
            tellings: plane.shards.iter().map(|shard| shard.tellings.clone()).collect(),
            rng: plane.rng.fork(),
        }
    }

    /// Strikes again and again, until it is dropped.
    pub async fn run(self) {
        let hand = |tellings: &[Tellings]| Self {
            rng: self.rng.fork(),
            tellings: tellings.to_vec(),
            ..self.clone()
        };
        let mut hands = Vec::new();
        for (kinds, pause) in HANDS {
            hands.push(hand(&[]).work(kinds, pause));
        }
        for tellings in &self.tellings {
            let (kinds, pause) = INDEX;
            hands.push(hand(std::slice::from_ref(tellings)).work(kinds, pause));
        }
        join_all(hands).await;
    }

    async fn work(self, all: &[Fault], pause: u64) {
        // Leaving kinds out lets the others reach states that all together would not.
        let kinds: Vec<Fault> = all.iter().copied().filter(|_| self.rng.chance(0.75)).collect();
        self.site.note("nemesis", format_args!("{kinds:?}"));
        let mut ends = 0;
        while !kinds.is_empty() {
            let pause = 20 + self.rng.below(pause);
            self.site.sleep_ms(pause).await;
            let fault = *choose(&self.rng, &kinds);
            let is_end = matches!(
                fault,
                Fault::PowerLoss | Fault::KillShard | Fault::CrashBetweenEffects | Fault::Stop
            );
            if is_end && ends >= ENDS_MAX {
                continue;
            }
            ends += u32::from(is_end);
            self.site.note("nemesis", format_args!("{fault:?}"));
            self.strike(fault).await;
        }
    }

    async fn strike(&self, fault: Fault) {
        let length = 20 + self.rng.below(700);
        let shard = choose(&self.rng, &self.shards);
        let faults = self.site.faults();
        match fault {
            Fault::PowerLoss => {
                let seat = if self.rng.chance(0.2) { &self.cache } else { shard };
                if let Some(host) = seat.hosts.first() {
                    host.disk().power_loss_after(self.rng.below(30));
                }
            }
            Fault::KillShard => {
                faults.count("shard/killed");
                shard.reaper.end(End::Crash(Crash::Process));
            }
            Fault::KillProxy => {
                faults.count("proxy/killed");
                choose(&self.rng, &self.proxies).reaper.end(End::Crash(Crash::Process));
            }
            Fault::KillViews => {
                faults.count("views/killed");
                choose(&self.rng, &self.views).reaper.end(End::Crash(Crash::Process));
            }
            Fault::KillCache => {
                faults.count("cache/killed");
                self.cache.reaper.end(End::Crash(Crash::Process));
            }
            Fault::CrashBetweenEffects => shard.reaper.end_after_effects(1 + self.rng.below(6)),
            Fault::Stop => choose(&self.rng, &self.all()).reaper.end(End::Stop),
            Fault::SlowDisk | Fault::FailingDisk | Fault::FullDisk => {
                let seat = if self.rng.chance(0.2) { &self.cache } else { shard };
                self.strike_disk(fault, seat, length).await;
            }
            Fault::ClockJump => {
                let all = self.all();
                // Now and then by so much that everything that is told by the wall clock has run out, or lies ahead.
                let most = if self.rng.chance(0.2) { 3_600_000 } else { 10_000 };
                let by = Duration::from_millis(self.rng.below(most));
                if let Some(host) = choose(&self.rng, &all).hosts.first() {
                    match self.rng.chance(0.5) {
                        true => host.clock_forward(by),
                        false => host.clock_back(by),
                    }
                }
            }
            Fault::Partition | Fault::Reset | Fault::SlowNetwork | Fault::Deaf => {
                self.strike_network(fault, length).await;
            }
            Fault::IndexPaused
            | Fault::IndexDelayed
            | Fault::IndexReordered
            | Fault::IndexRepeated
            | Fault::IndexCut => self.strike_index(fault, length).await,
        }
    }

    fn all(&self) -> Vec<&Seat> {
        let seats = self.shards.iter().chain(&self.proxies).chain(&self.views);
        seats.chain([&self.cache]).collect()
    }

    async fn strike_disk(&self, fault: Fault, seat: &Seat, length: u64) {
        let Some(disk) = seat.hosts.first().map(|host| host.disk()) else {
            return;
        };
        match fault {
            Fault::SlowDisk => {
                self.site.faults().count("disk/slow");
                disk.set_sync_delay(Duration::from_millis(50 + self.rng.below(700)));
            }
            Fault::FailingDisk => {
                self.site.faults().count("disk/failing");
                disk.set_error_rate(0.01 * (1 + self.rng.below(12)) as f64);
            }
            _ => {
                self.site.faults().count("disk/filled");
                disk.set_capacity(disk.used() + (self.rng.below(3) << 19));
            }
        }
        self.site.sleep_ms(length).await;
        disk.set_sync_delay(SYNC_DELAY);
        disk.set_error_rate(0.0);
        disk.set_capacity(u64::MAX);
    }

    async fn strike_network(&self, fault: Fault, length: u64) {
        let network = &self.network;
        let (one, other) = self.two(fault);
        match (fault, self.rng.below(3)) {
            (Fault::Reset, _) => return network.reset(one, other),
            (Fault::SlowNetwork, _) => {
                self.site.faults().count("net/slow");
                let most = Duration::from_millis(10 + self.rng.below(250));
                network.set_weather((Duration::from_millis(1), most), 0.02, 0.001);
            }
            (_, 0) => network.partition(one, other),
            (_, _) => {
                self.site.faults().count("net/cut one way");
                network.cut_one_way(one, other);
            }
        }
        if fault == Fault::Deaf {
            self.site.faults().count("proxy/deaf");
        }
        self.site.sleep_ms(length).await;
        network.heal();
        network.set_weather(LATENCY, 0.003, 0.0003);
    }

    /// Two machines that have to do with each other, in either order.
    fn two(&self, fault: Fault) -> (&'static str, &'static str) {
        let rng = &self.rng;
        let at = rng.below(SHARDS.len() as u64) as usize;
        let shard = SHARDS[at];
        let pair = match (fault, rng.below(6)) {
            (Fault::Deaf, _) => (shard, *choose(rng, &EARS)),
            (_, 0) => (SHARDS[0], SHARDS[1]),
            (_, 1) => (CLIENTS, *choose(rng, &PROXIES)),
            (_, 2) => (shard, VIEWS[at]),
            (_, 3) => (shard, CACHE),
            (_, _) => (shard, *choose(rng, &PROXIES)),
        };
        match rng.chance(0.5) {
            true => pair,
            false => (pair.1, pair.0),
        }
    }

    async fn strike_index(&self, fault: Fault, length: u64) {
        let tellings = choose(&self.rng, &self.tellings);
        match fault {
            Fault::IndexPaused => tellings.pause(*choose(&self.rng, &[Deaf::Everybody, Deaf::Proxies])),
            Fault::IndexDelayed => tellings.delay(Duration::from_millis(50 + self.rng.below(500))),
            Fault::IndexReordered => {
                // Together, so that there is something to reorder.
                tellings.delay(Duration::from_millis(100));
                tellings.shuffle(0.9);
            }
            Fault::IndexRepeated => tellings.repeat(0.9),
            _ => tellings.cut(0.3),
        }
        self.site.sleep_ms(length).await;
        tellings.heal();
    }
}

/// The end of all faults.
pub fn heal(plane: &Plane) {
    let network = plane.world.network();
    network.heal();
    network.set_weather(LATENCY, 0.0, 0.0);
    plane.shards.iter().for_each(|shard| shard.tellings.heal());
    let seats = plane.seats();
    for disk in seats.iter().flat_map(|seat| &seat.hosts).map(|host| host.disk()) {
        disk.set_sync_delay(SYNC_DELAY);
        disk.set_error_rate(0.0);
        disk.set_capacity(u64::MAX);
        disk.power_loss_after(u64::MAX);
    }
    seats.iter().for_each(|seat| seat.reaper.disarm());
    plane.site.set_drop_rate(0.0);
    plane.site.note("nemesis", format_args!("leaves"));
}

fn choose<'a, T>(rng: &Rng, all: &'a [T]) -> &'a T {
    &all[rng.below(all.len() as u64) as usize]
}
