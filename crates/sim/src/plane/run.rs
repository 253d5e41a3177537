//! One run of a control plane: a seed makes a world, its clients and its faults; then everything that was seen is checked.

use std::sync::Arc;
use std::time::Duration;

use env::{Rng, Task};
use kv::{Op, Txn};

use crate::client::Client;
use crate::image::EXPORT;
use crate::plane::image::{Home, PROVIDER, PlaneImage};
use crate::plane::nemesis::{Nemesis, heal};
use crate::plane::provider::Provider;
use crate::plane::{Flaw, PROXIES, Plane, SHARDS, ShardSeat, VIEWS, proxy, views};
use crate::run::{Report, alone, subject};
use crate::server::ServerOptions;
use crate::tenant::{CONFIGMAPS, GADGETS, Holders, Place, Territory, WIDGETS, Worker};
use crate::watcher::{Reached, Subject, Watcher};

/// Clients of one tenant, each with a connection to every proxy.
const WORKERS: usize = 2;
/// No run takes longer than this in its own time, unless something hangs.
const RUN_BOUND: Duration = Duration::from_secs(3600);

/// What a run is told.
#[derive(Clone)]
pub struct PlanePlan {
    pub seed: u64,
    /// Requests that clients send before the faults stop.
    pub requests: u64,
    pub faults: bool,
    pub server: ServerOptions,
    pub flaw: Option<Flaw>,
}

/// What one watcher watches, on which shard, and how far it has come.
struct Watched {
    shard: usize,
    prefix: String,
    reached: Reached,
}

// === impl PlanePlan ===

impl PlanePlan {
    pub fn new(seed: u64, requests: u64) -> Self {
        Self {
            seed,
            requests,
            faults: true,
            server: ServerOptions::default(),
            flaw: None,
        }
    }

    /// Runs in a runtime of its own.
    pub fn run(self, image: &PlaneImage) -> Report {
        alone(async || {
            let plane = Plane::new(self.seed, image, self.flaw, |rng| vary(rng, &self.server));
            let clock = plane.site.env().clock.clone();
            let finished = clock.timeout(RUN_BOUND, self.all(&plane, image)).await;
            let mut wrong = plane.site.violations();
            match finished {
                Ok(Ok(())) => {}
                Ok(Err(text)) => wrong.push(text),
                Err(_) => wrong.push(format!("the run is not over after {RUN_BOUND:?}")),
            }
            let mut seen = [0; 5];
            for shard in &plane.shards {
                let found = shard.ledger.check(&shard.history.lock());
                wrong.extend(found.into_iter().map(|text| format!("{}: {text}", shard.seat.name)));
                let counts = shard.ledger.counts();
                seen.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            }
            Report {
                suite: "plane",
                seed: self.seed,
                hash: plane.trace.hash(),
                requests: plane.site.sent(),
                faults: plane.world.faults().all(),
                seen,
                wrong,
                tail: plane.trace.tail(),
                took: clock.monotonic(),
            }
        })
    }

    /// First safety, then liveness: faults and work, then neither, until all is well.
    async fn all(&self, plane: &Plane, image: &PlaneImage) -> Result<(), String> {
        plane.serve().await?;
        let watched = watchers(plane, image);
        let nemesis = self.faults.then(|| plane.spawn("nemesis", Nemesis::new(plane).run()));
        for worker in self.workers(plane, image) {
            worker.join().await.map_err(|stopped| format!("a client: {stopped}"))?;
        }
        nemesis.iter().for_each(Task::abort);
        if plane.site.has_given_up() {
            return Ok(());
        }
        heal(plane);
        if self.flaw == Some(Flaw::WrittenTwice) {
            write_elsewhere(plane, image).await?;
        }
        plane.settle().await?;
        catch_up(plane, &watched).await?;
        plane.compare_stores().await
    }

    fn workers(&self, plane: &Plane, image: &PlaneImage) -> Vec<Task<()>> {
        let holders = plane.holders();
        let mut workers = Vec::new();
        for home in &image.homes {
            let territory = territory(home, image, &holders);
            for number in 0..WORKERS {
                let clients = plane.clients(&format!("{}{number}", home.tenant), home.tenant);
                let worker = Worker::new(clients, territory.clone());
                workers.push(plane.spawn("worker", worker.work(self.requests)));
            }
        }
        let provider = Provider {
            clients: plane.clients("pat", PROVIDER),
            segments: vec![image.provider.clone(), "root:provider".to_owned()],
        };
        workers.push(plane.spawn("provider", provider.work(self.requests)));
        for (at, shard) in SHARDS.into_iter().enumerate() {
            let view = view_of(image);
            let homes = image.homes.iter().filter(|home| home.shard == shard);
            let places = homes.map(|home| Place::viewed(&home.cluster, holders[shard].clone(), view.clone()));
            let territory = Territory::of(places.collect(), Vec::new(), Arc::clone(&holders));
            let doors = doors(plane, at).into_iter();
            let clients = doors.map(|(name, address)| provider_at(plane, &format!("pat@{name}"), &address));
            let worker = Worker::new(clients.collect(), territory);
            workers.push(plane.spawn("worker", worker.work(self.requests)));
        }
        workers
    }
}

/// Some shards forget history sooner than others.
fn vary(rng: &Rng, options: &ServerOptions) -> ServerOptions {
    let mut options = options.clone();
    if rng.chance(0.3) {
        options.compaction = Duration::from_millis(500 + rng.below(3000));
    }
    if rng.chance(0.3) {
        options.log_bytes = 16 << 10;
    }
    options
}

/// Where the provider's view of a shard's consumers is to be had: at the shard, at the program beside it, and of the root shard
/// through proxies, which lead `/services/` there.
fn doors(plane: &Plane, shard: usize) -> Vec<(String, String)> {
    let own = plane.shards[shard].seat.name;
    let mut doors = vec![
        (own.to_owned(), format!("{own}:6443")),
        (VIEWS[shard].to_owned(), format!("{}{}", VIEWS[shard], views::PORT)),
    ];
    if own == SHARDS[0] {
        let proxies = PROXIES.iter();
        doors.extend(proxies.map(|proxy| ((*proxy).to_owned(), format!("{proxy}{}", proxy::PORT))));
    }
    doors
}

fn provider_at(plane: &Plane, name: &str, address: &str) -> Client {
    Client::at(address, &plane.site, name, PROVIDER, plane.rng.fork())
}

/// What URLs of the provider's view begin with.
fn view_of(image: &PlaneImage) -> String {
    format!("/services/apiexport/{}/{EXPORT}", image.provider)
}

fn territory(home: &Home, image: &PlaneImage, holders: &Holders) -> Territory {
    let place = Place::home(&home.cluster, Some(home.path.clone()), holders[home.shard].clone());
    let foreign = image.homes.iter().filter(|other| other.tenant != home.tenant);
    // By name and by path.
    let foreign = foreign.flat_map(|other| [other.cluster.clone(), other.path.clone()]);
    Territory::new(place, foreign.collect(), Arc::clone(holders))
}

fn watchers(plane: &Plane, image: &PlaneImage) -> Vec<Watched> {
    let mut watched = Vec::new();
    let mut watch = |shard: usize, seat: &ShardSeat, client: Client, subject: Subject| {
        let prefix = subject.prefix();
        let (watcher, reached) = Watcher::new(client, seat.ledger.clone(), subject);
        plane.spawn("watcher", watcher.run()).detach();
        watched.push(Watched { shard, prefix, reached });
    };
    for home in &image.homes {
        for (at, api) in [CONFIGMAPS, WIDGETS, GADGETS].into_iter().enumerate() {
            let proxy = PROXIES[at % PROXIES.len()];
            let name = format!("{}/{}", home.tenant, api.resource);
            let client = plane.client(proxy, &name, home.tenant);
            let segment = if at == 0 { &home.path } else { &home.cluster };
            let subject = subject(api, &home.cluster, segment);
            let (shard, seat) = find(plane, home.shard);
            watch(shard, seat, client, subject);
        }
    }
    // What the provider sees of all who use its API, shard by shard, wherever that is to be had.
    for (shard, seat) in plane.shards.iter().enumerate() {
        for (name, address) in doors(plane, shard) {
            let client = provider_at(plane, &format!("provider@{name}"), &address);
            let all = Subject {
                url: format!("{}/clusters/*{}/gadgets", view_of(image), GADGETS.prefix),
                resource: GADGETS.key.to_owned(),
                cluster: None,
            };
            watch(shard, seat, client, all);
        }
    }
    watched
}

/// An object of a tenant's in the other shard's store.
async fn write_elsewhere(plane: &Plane, image: &PlaneImage) -> Result<(), String> {
    let home = image.homes.iter().find(|home| home.shard == SHARDS[1]);
    let (home, root) = home.zip(plane.shards[0].up()).ok_or("root is down")?;
    let put = Op::Put {
        key: format!("/registry/core/configmaps/{}/default/astray", home.cluster).into(),
        value: "{}".into(),
        lease: None,
    };
    let txn = Txn {
        guards: Vec::new(),
        ops: vec![put],
    };
    root.kv.txn(txn).await.map(drop).map_err(|error| error.to_string())
}

fn find<'a>(plane: &'a Plane, name: &str) -> (usize, &'a ShardSeat) {
    let mut all = plane.shards.iter().enumerate();
    all.find(|(_, shard)| shard.seat.name == name)
        .expect("homes are on shards that there are")
}

/// No watch stays silent about what has happened.
async fn catch_up(plane: &Plane, watched: &[Watched]) -> Result<(), String> {
    for Watched { shard, prefix, reached } in watched {
        let shard = &plane.shards[*shard];
        let shows_all = || {
            let history = shard.history.lock();
            let newest = history
                .changes(prefix, 0, u64::MAX)
                .last()
                .map_or(0, |change| change.revision);
            reached.revision().is_some_and(|to| to >= newest)
        };
        let what = format!("the watch of {prefix} on {} shows all", shard.seat.name);
        plane.until(&what, shows_all).await?;
        reached
            .take()
            .into_iter()
            .for_each(|segment| shard.ledger.watched(segment));
    }
    Ok(())
}
