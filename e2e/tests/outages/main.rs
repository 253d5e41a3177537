//! Each process of a control plane of three shards and two front-proxies is killed, frozen, and asked to end, in turn and under
//! load: what lies elsewhere goes on, what is lost says so, nothing acknowledged is lost, and all heals by itself.
//!
//! Once with embedded stores, and once with an etcd for each shard; `KCP_OUTAGE_STORE=embedded` or `=etcd`: with these alone.
//! `KCP_OUTAGE_WORKSPACES` workspaces (30), each loss lasting `KCP_OUTAGE_SECONDS` (2) at least. `KCP_OUTAGE_ONLY`: the parts
//! and faults whose names have that in them; not set: one part of a kind, on etcds of shards alone. `KCP_OUTAGE_ONLY=` tries all.
//! `KCP_OUTAGE_RELEASE=1`: the programs (`KCP_BIN`) are those of a release on a machine of their own; more load, and nothing is added
//! to the bounds.

mod book;
mod chores;
mod load;
mod plane;
mod watches;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use book::{Book, Outcome, REFUSED_MAX, Verdict};
use chores::Times;
use e2e::Client;
use load::{Lane, Shared};
use parking_lot::Mutex;
use plane::{BOUND, Fault, Part, Place, Plane, SHARDS, Stores};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use watches::Watch;

const INTERVAL: Duration = Duration::from_millis(20);
/// Requests that every lane has to do before, within and after an outage.
const REQUESTS: usize = 20;

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(usual)
}

/// A control plane under load.
struct Trial {
    runtime: Runtime,
    plane: Plane,
    shared: Arc<Shared>,
    /// The administrator's, by proxy.
    clients: Arc<Vec<Client>>,
    lanes: Vec<JoinHandle<Lane>>,
    watches: Vec<Arc<Watch>>,
    round: usize,
    failures: Vec<String>,
}

#[test]
fn any_process_can_be_lost_under_load() {
    lose_each(Stores::Embedded);
}

#[test]
fn any_process_can_be_lost_under_load_on_etcds() {
    lose_each(Stores::Etcd);
}

fn lose_each(stores: Stores) {
    /// One control plane at a time: the bounds are those of a machine that is not busy with another one.
    static ALONE: Mutex<()> = Mutex::new(());
    if let Ok(only) = std::env::var("KCP_OUTAGE_STORE") {
        let is_one = Stores::ALL.iter().any(|stores| stores.name() == only);
        assert!(
            is_one,
            "KCP_OUTAGE_STORE={only}: none of {:?}",
            Stores::ALL.map(Stores::name)
        );
        if only != stores.name() {
            return;
        }
    }
    let _alone = ALONE.lock();
    let count = usize::try_from(number("KCP_OUTAGE_WORKSPACES", 30)).expect("a number of workspaces");
    let lasting = Duration::from_secs(number("KCP_OUTAGE_SECONDS", 2));
    let only = std::env::var("KCP_OUTAGE_ONLY").ok();
    let begun = Instant::now();
    let mut trial = Trial::start(stores, count);
    let (name, took) = (stores.name(), begun.elapsed());
    say(&format!("{count} workspaces are made after {took:.1?}, stores: {name}"));
    say(
        "| lost | others' requests | longest | lost part's 503 | longest, open then | longest, later | workspace | three bindings | ended in | healed in |",
    );
    for part in trial.plane.parts() {
        for fault in [Fault::Killed, Fault::Frozen, Fault::Ended] {
            let is_tried = match &only {
                Some(only) => format!("{part:?} {fault:?}").contains(only),
                None => is_one_of_its_kind(stores, &part, fault),
            };
            if is_tried {
                trial.lose(&part, fault, lasting);
            }
        }
    }
    trial.finish();
    say(&format!("all of it took {:.1?}", begun.elapsed()));
}

/// Enough for every change: what lies beside the way of requests is killed only, and of what is alike one is taken. On etcds only what
/// has one is tried.
fn is_one_of_its_kind(stores: Stores, part: &Part, fault: Fault) -> bool {
    match part {
        Part::Shard(shard) => *shard < 2,
        _ if stores == Stores::Etcd => false,
        Part::Proxy(proxy) => *proxy == 0,
        Part::Other(name) => fault == Fault::Killed && !["root/", "shard-2/"].iter().any(|of| name.starts_with(of)),
    }
}

#[expect(clippy::print_stdout, reason = "the figures are what it is run for")]
fn say(line: &str) {
    println!("{line}");
}

// === impl Trial ===

impl Trial {
    fn start(stores: Stores, count: usize) -> Self {
        let plane = Plane::start(stores);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let clients = Arc::new(vec![plane.client(0), plane.client(1)]);
        let shared = Shared::new();
        let furnishing = Arc::new(plane.client(0));
        let places = runtime.block_on(plane::furnish(&furnishing, count));
        let mut trial = Self {
            runtime,
            plane,
            shared,
            clients,
            lanes: Vec::new(),
            watches: Vec::new(),
            round: 0,
            failures: Vec::new(),
        };
        for (shard, places) in places.into_iter().enumerate() {
            trial.load(shard, Arc::new(places));
        }
        trial
    }

    fn load(&mut self, shard: usize, places: Arc<Vec<Place>>) {
        let token = self.runtime.block_on(plane::token(&self.clients[0], &places[0]));
        for proxy in 0..2 {
            let both = |make: &dyn Fn(Client) -> Client| [0, 1].map(|proxy| make(self.plane.client(proxy)));
            let lane = Lane {
                shard,
                proxy,
                clients: both(&|client| client),
                janes: both(&|client| client.acting_as("jane")),
                eves: both(&|client| client.acting_as("eve")),
                robots: both(&|client| client.with_token(&token)),
                places: places.clone(),
                shared: self.shared.clone(),
                kept: BTreeMap::new(),
                created: BTreeMap::new(),
            };
            let watch = Watch::new(shard, proxy, &places[0], &self.shared);
            self.runtime.spawn(watch.clone().run(self.plane.client(proxy)));
            self.watches.push(watch);
            self.lanes.push(self.runtime.spawn(lane.run()));
        }
    }

    fn book(&self) -> &Book {
        &self.shared.book
    }

    fn wait_until(&self, what: &str, holds: impl Fn() -> bool) {
        let begun = Instant::now();
        while !holds() {
            if begun.elapsed() > BOUND {
                self.report(&[format!("not within {BOUND:?}: {what}")]);
            }
            std::thread::sleep(INTERVAL);
        }
    }

    fn report(&self, failures: &[String]) -> ! {
        panic!("{}\n{}", failures.join("\n"), self.plane.last_words());
    }

    /// Whether every lane that `concerns` has done so many requests that were begun after a moment.
    fn have_done(&self, since: Instant, count: usize, concerns: impl Fn(usize, usize) -> bool) -> bool {
        let lanes = (0..SHARDS.len()).flat_map(|shard| [(shard, 0), (shard, 1)]);
        lanes
            .filter(|(shard, proxy)| concerns(*shard, *proxy))
            .all(|(shard, proxy)| {
                let is_its = |record: &book::Record| {
                    record.shard == shard
                        && record.proxy == proxy
                        && record.outcome == Outcome::Done
                        && record.begun > since
                };
                self.book().count(is_its) >= count
            })
    }

    /// One outage from beginning to end.
    fn lose(&mut self, part: &Part, fault: Fault, lasting: Duration) {
        self.round += 1;
        let settled = Instant::now();
        self.wait_until("all lanes are served", || {
            self.have_done(settled, REQUESTS / 2, |_, _| true)
        });
        // What was asked just now may be open still.
        let struck = Instant::now();
        if let Part::Proxy(proxy) = part {
            self.shared.lost_proxy.store(*proxy, Ordering::Relaxed);
        }
        self.plane.strike(part, fault);
        let (times, ended) = self.endure(part, fault, struck, lasting);
        let relieved = Instant::now();
        self.plane.relieve(part, fault);
        let healed = self.heal(part, relieved);
        self.shared.lost_proxy.store(usize::MAX, Ordering::Relaxed);
        self.wait_until("all lanes are served", || {
            self.have_done(healed, REQUESTS / 2, |_, _| true)
        });
        self.wait_until("every watch has told everything", || {
            self.watches.iter().all(|watch| watch.missing() == 0)
        });
        let chores = self
            .runtime
            .spawn(chores::all(self.clients.clone(), None, self.round * 2 + 1));
        if let Err(error) = self.runtime.block_on(chores) {
            self.report(&[format!("after {part:?} was {fault:?}: {error}")]);
        }
        self.judge(part, fault, struck, relieved, healed, &times, ended);
    }

    /// What has to go on, does. How long that took, and how long the process to end.
    fn endure(&self, part: &Part, fault: Fault, struck: Instant, lasting: Duration) -> (Times, Duration) {
        let chores = chores::all(self.clients.clone(), Some(part.clone()), self.round * 2);
        let chores = self.runtime.spawn(chores);
        let ended = match fault {
            Fault::Ended => self.plane.wait_for_end(part),
            Fault::Killed | Fault::Frozen => Duration::ZERO,
        };
        let concerns = |shard: usize, proxy: usize| *part != Part::Shard(shard) && *part != Part::Proxy(proxy);
        self.wait_until("others go on", || self.have_done(struck, REQUESTS, concerns));
        if let Part::Shard(lost) = part {
            self.wait_until("the lost part says so", || {
                [0, 1].iter().all(|proxy| {
                    let is_it = |record: &book::Record| {
                        record.shard == *lost && record.proxy == *proxy && record.outcome == Outcome::Unavailable
                    };
                    self.book().count(is_it) >= 5
                })
            });
        }
        let times = match self.runtime.block_on(chores) {
            Ok(times) => times,
            Err(error) => self.report(&[format!("while {part:?} is {fault:?}: {error}")]),
        };
        self.wait_until("it has lasted", || struck.elapsed() >= lasting);
        (times, ended)
    }

    /// Waits until every lane is served again; when that was.
    fn heal(&self, part: &Part, relieved: Instant) -> Instant {
        let is_lost = |shard: usize, proxy: usize| *part == Part::Shard(shard) || *part == Part::Proxy(proxy);
        self.wait_until("what was lost is served again", || self.have_done(relieved, 1, is_lost));
        let lanes = (0..SHARDS.len()).flat_map(|shard| [(shard, 0), (shard, 1)]);
        let first = |(shard, proxy): (usize, usize)| {
            self.book().first(|record| {
                record.shard == shard
                    && record.proxy == proxy
                    && record.outcome == Outcome::Done
                    && record.begun > relieved
            })
        };
        let lost = lanes.filter(|(shard, proxy)| is_lost(*shard, *proxy));
        lost.filter_map(first).max().unwrap_or(relieved)
    }

    #[expect(clippy::too_many_arguments, reason = "one line of the table")]
    fn judge(
        &mut self,
        part: &Part,
        fault: Fault,
        struck: Instant,
        relieved: Instant,
        healed: Instant,
        times: &Times,
        ended: Duration,
    ) {
        let records = self.book().take();
        let mut verdict = Verdict::of(&records, part, fault, struck, healed);
        for watch in &self.watches {
            let (shard, proxy) = (watch.shard, watch.proxy);
            let is_lost = *part == Part::Shard(shard) || *part == Part::Proxy(proxy);
            let cuts = watch.cuts_since(struck);
            match cuts.first() {
                Some((after, how)) if !is_lost => verdict.failures.push(format!(
                    "the watch on shard {shard} through proxy {proxy} was cut after {after:?}: {how}"
                )),
                Some((after, _)) if matches!(part, Part::Shard(_)) && *after > REFUSED_MAX + book::slack() + ended => {
                    verdict
                        .failures
                        .push(format!("the watch on shard {shard} hung for {after:?}"))
                }
                None if is_lost && matches!(part, Part::Shard(_)) => {
                    verdict
                        .failures
                        .push(format!("the watch on shard {shard} was never cut"));
                }
                _ => {}
            }
        }
        let millis = |time: Duration| format!("{} ms", time.as_millis());
        say(&format!(
            "| {part:?} {fault:?} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            verdict.others,
            millis(verdict.others_longest),
            verdict.refused,
            millis(verdict.open_longest),
            millis(verdict.refused_longest),
            millis(times.workspace),
            millis(times.binding),
            millis(ended),
            millis(healed - relieved),
        ));
        for failure in &verdict.failures {
            say(&format!("  {failure}"));
            self.failures.push(format!("{part:?} {fault:?}: {failure}"));
        }
    }

    fn finish(mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        let lanes = std::mem::take(&mut self.lanes);
        let mut verified = 0;
        for lane in lanes {
            let lane = self.runtime.block_on(lane).expect("no lane panicked");
            let (looked_at, wrong) = self.runtime.block_on(lane.verify(&self.clients[0]));
            verified += looked_at;
            self.failures.extend(wrong);
        }
        let mut events = 0;
        for watch in &self.watches {
            let (wrong, seen) = watch.wrong();
            events += seen;
            self.failures.extend(wrong);
        }
        say(&format!(
            "{} requests, {} writes acknowledged, {verified} objects found as acknowledged, {events} events watched, {} failures",
            self.shared.asked.load(Ordering::Relaxed),
            self.shared.acknowledged.load(Ordering::Relaxed),
            self.failures.len(),
        ));
        if !self.failures.is_empty() {
            self.report(&self.failures);
        }
    }
}
