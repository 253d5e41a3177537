//! A control plane in a simulated world: two shards with their stores and their virtual workspaces as programs beside them, two
//! front-proxies with their indexes, a cache server, each on a machine of its own that can crash, be cut off, and have its clock
//! moved.
//!
//! Invariants
//! - Everything above TLS is what production runs; what TLS would show is in [`papers`].
//! - Whoever is a process here is a [`Seat`]: faults strike seats, and know nothing of what sits there.
//!
//! Read next: [`Plane`], [`image`] (what runs begin with), [`run`], [`checks`], [`nemesis`].

pub mod cache;
pub mod checks;
pub mod image;
pub mod nemesis;
pub mod papers;
pub mod process;
pub mod provider;
pub mod proxy;
pub mod run;
pub mod tellings;
pub mod truth;
pub mod views;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use env::simulated::{Host, SimOptions, World};
use env::{Env, Rng, Task};
use parking_lot::Mutex;

use crate::client::{Client, Site};
use crate::history::Shared as History;
use crate::keeper::{End, Fragile, Keeper, Program, Reaper, Serving, come_up};
use crate::ledger::Ledger;
use crate::nemesis::CLIENTS;
use crate::plane::cache::{CacheLife, CacheStart};
use crate::plane::image::PlaneImage;
use crate::plane::papers::{Kind, Papers};
use crate::plane::process::{Process, Start, Up};
use crate::plane::proxy::{ProxyOptions, ProxyServer};
use crate::plane::tellings::Tellings;
use crate::plane::truth::Truth;
use crate::plane::views::{ViewsLife, ViewsStart};
use crate::server::{Member, Server, ServerOptions};
use crate::tenant::{Holder, Holders};
use crate::trace::Trace;

/// The first of them holds the cluster root.
pub const SHARDS: [&str; 2] = ["root", "beta"];
pub const PROXIES: [&str; 2] = ["east", "west"];
/// The machines that proxies hear shards through.
pub const EARS: [&str; 2] = ["east-ears", "west-ears"];
/// The programs of virtual workspaces, in the order of [`SHARDS`].
pub const VIEWS: [&str; 2] = ["root-views", "beta-views"];
pub const CACHE: &str = "cache";

/// How long everything may take to become well when the faults have stopped.
pub const SETTLE_BOUND: Duration = Duration::from_secs(180);

/// See the module.
pub struct Plane {
    pub world: World,
    pub site: Site,
    pub trace: Trace,
    pub rng: Rng,
    pub shards: Vec<ShardSeat>,
    pub proxies: Vec<ProxySeat>,
    pub views: Vec<ViewsSeat>,
    pub cache: CacheSeat,
    keepers: Vec<Task<()>>,
    flaw: Option<Flaw>,
    /// As it was read last.
    truth: Mutex<Option<Arc<Truth>>>,
}

/// Faults put in on purpose, which the checkers have to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// What an index told before a cluster was deleted is believed after it.
    OldEventTaken,
    /// An index does not tell what is gone.
    DeletionDropped,
    /// Shards do not say that a proxy's index led it astray.
    StaleRouteKept,
    /// What another shard has told is kept in another cluster's place.
    ReplicaMisplaced,
    /// Those who keep what others have told are not told what is gone.
    ReplicaKept,
    /// A proxy takes everybody for the same user.
    UsersMixedUp,
    /// Both programs of virtual workspaces ask the same shard.
    ViewsMixedUp,
    /// A proxy gives an answer a second time, however long ago the first was.
    AnswersKept,
    /// A shard holds an object of a cluster that is another's.
    WrittenTwice,
}

/// A process, and the machines that it is known by in the network.
#[derive(Clone)]
pub struct Seat {
    pub name: &'static str,
    pub hosts: Vec<Host>,
    pub reaper: Reaper,
}

pub struct ShardSeat {
    pub seat: Seat,
    pub history: History,
    pub ledger: Ledger,
    pub tellings: Tellings,
    up: Up<Server>,
}

pub struct ProxySeat {
    pub seat: Seat,
    up: Up<ProxyServer>,
}

pub struct ViewsSeat {
    pub seat: Seat,
    up: Up<ViewsLife>,
}

pub struct CacheSeat {
    pub seat: Seat,
    pub history: History,
    up: Up<CacheLife>,
}

/// A shard that is kept running.
struct ShardProgram {
    name: &'static str,
    host: Host,
    site: Site,
    history: History,
    options: ServerOptions,
    up: Up<Server>,
}

// === impl Plane ===

impl Plane {
    /// Begins to run everything, and keeps it running until it is dropped.
    pub fn new(seed: u64, image: &PlaneImage, flaw: Option<Flaw>, options: impl Fn(&Rng) -> ServerOptions) -> Self {
        let world = World::new(seed, SimOptions::default());
        let trace = Trace::default();
        let site = Site::new(world.host(CLIENTS).env(), world.faults().clone(), trace.clone());
        let rng = world.rng();
        let mut keepers = Vec::new();
        let cache = CacheSeat::new(&world, &site, &rng, &mut keepers, &image.papers);
        let mut plane = Self {
            rng,
            world,
            site,
            trace,
            shards: Vec::new(),
            proxies: Vec::new(),
            views: Vec::new(),
            cache,
            keepers,
            flaw,
            truth: Mutex::default(),
        };
        for (name, disk) in SHARDS.iter().zip(&image.shards) {
            let host = plane.world.host(name);
            host.disk().load(disk);
            let options = options(&plane.rng);
            plane.add_shard(name, host, options, image.papers.clone());
        }
        for (name, shard) in VIEWS.into_iter().zip(SHARDS) {
            let up = Up::default();
            let host = plane.world.host(name);
            let shard = match flaw {
                Some(Flaw::ViewsMixedUp) => SHARDS[0],
                _ => shard,
            };
            let seat = plane.process(name, vec![host], ViewsStart { shard }, &up);
            plane.views.push(ViewsSeat { seat, up });
        }
        for (name, ears) in PROXIES.into_iter().zip(EARS) {
            plane.add_proxy(name, ears);
        }
        plane
    }

    fn add_shard(&mut self, name: &'static str, host: Host, options: ServerOptions, papers: Papers) {
        let tellings = Tellings::new(self.world.faults().clone(), self.rng.fork(), self.flaw);
        let member = Member {
            name: name.to_owned(),
            flaw: self.flaw,
            papers,
            tellings: tellings.clone(),
            cache: Some(cache::URL.to_owned()),
        };
        let (history, up) = (History::default(), Arc::default());
        let program = Arc::new(ShardProgram {
            name,
            host: host.clone(),
            site: self.site.clone(),
            history: Arc::clone(&history),
            options: ServerOptions {
                member: Some(member),
                history: Some(Arc::clone(&history)),
                ..options
            },
            up: Arc::clone(&up),
        });
        let seat = self.keep(vec![host], program);
        self.shards.push(ShardSeat {
            seat,
            history,
            ledger: Ledger::default(),
            tellings,
            up,
        });
    }

    fn add_proxy(&mut self, name: &'static str, ears: &str) {
        let (host, ears) = (self.world.host(name), self.world.host(ears));
        proxy::write_users(&host.env(), &image::USERS).expect("a fresh disk takes a file");
        let up = Up::default();
        let options = ProxyOptions {
            seeds: SHARDS.map(str::to_owned).to_vec(),
            ears: ears.clone(),
            flaw: self.flaw,
        };
        let seat = self.process(name, vec![host, ears], options, &up);
        self.proxies.push(ProxySeat { seat, up });
    }

    fn process<S: Start>(&mut self, name: &'static str, hosts: Vec<Host>, start: S, up: &Up<S::Running>) -> Seat
    where
        Arc<S::Running>: Serving,
    {
        let program = Arc::new(Process {
            name,
            site: self.site.clone(),
            start,
            up: up.clone(),
        });
        self.keep(hosts, program)
    }

    fn keep(&mut self, hosts: Vec<Host>, program: Arc<dyn Program>) -> Seat {
        keep(&self.site, &self.rng, &mut self.keepers, hosts, program)
    }

    /// All processes.
    pub fn seats(&self) -> Vec<Seat> {
        let shards = self.shards.iter().map(|shard| &shard.seat);
        let proxies = self.proxies.iter().map(|proxy| &proxy.seat);
        let views = self.views.iter().map(|views| &views.seat);
        let all = shards.chain(proxies).chain(views).chain([&self.cache.seat]);
        all.cloned().collect()
    }

    /// A connection to a proxy.
    pub fn client(&self, proxy: &str, name: &str, token: &str) -> Client {
        let address = format!("{proxy}{}", proxy::PORT);
        Client::at(&address, &self.site, name, token, self.rng.fork())
    }

    /// One to each.
    pub fn clients(&self, name: &str, token: &str) -> Vec<Client> {
        let of = |proxy: &&str| self.client(proxy, &format!("{name}@{proxy}"), token);
        PROXIES.iter().map(of).collect()
    }

    /// What workers know of the shards.
    pub fn holders(&self) -> Holders {
        let holder = |shard: &ShardSeat| {
            let up = shard.up.clone();
            let revision = move || up.lock().as_ref().map_or(u64::MAX, |up| up.shard.store.revision());
            let holder = Holder {
                ledger: shard.ledger.clone(),
                revision: Arc::new(revision),
            };
            (shard.seat.name.to_owned(), holder)
        };
        Arc::new(self.shards.iter().map(holder).collect::<BTreeMap<_, _>>())
    }

    /// On the clients' machine.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.site.env().spawn.spawn(name, future)
    }

    pub async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) -> Result<(), String> {
        let clock = &self.site.env().clock;
        let end = clock.monotonic() + SETTLE_BOUND;
        while !holds() {
            if clock.monotonic() > end {
                return Err(format!("not within {SETTLE_BOUND:?}: {what}"));
            }
            clock.sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Until every process serves, and every proxy knows both shards.
    pub async fn serve(&self) -> Result<(), String> {
        let is_told = |proxy: &ProxySeat| {
            let up = proxy.up();
            up.is_some_and(|up| up.proxy.peers.reached().len() == SHARDS.len() && up.proxy.peers.is_everything_told())
        };
        self.until("everything serves", || {
            let shards = self.shards.iter().all(|shard| shard.up().is_some());
            let views = self.views.iter().all(|views| views.up().is_some());
            shards && views && self.cache.up().is_some() && self.proxies.iter().all(is_told)
        })
        .await
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.keepers.iter().for_each(Task::abort);
    }
}

fn keep(site: &Site, rng: &Rng, keepers: &mut Vec<Task<()>>, hosts: Vec<Host>, program: Arc<dyn Program>) -> Seat {
    let name = program.name();
    let keeper = Keeper::new(hosts.clone(), site.clone(), program, rng.fork());
    let reaper = keeper.reaper();
    keepers.push(site.env().spawn.spawn("keeper", keeper.run()));
    Seat { name, hosts, reaper }
}

// === impl ShardSeat ===

impl ShardSeat {
    /// Its present life, while it serves.
    pub fn up(&self) -> Option<Arc<Server>> {
        self.up.lock().clone()
    }
}

// === impl ProxySeat ===

impl ProxySeat {
    pub fn up(&self) -> Option<Arc<ProxyServer>> {
        self.up.lock().clone()
    }
}

// === impl ViewsSeat ===

impl ViewsSeat {
    pub fn up(&self) -> Option<Arc<ViewsLife>> {
        self.up.lock().clone()
    }
}

// === impl CacheSeat ===

impl CacheSeat {
    fn new(world: &World, site: &Site, rng: &Rng, keepers: &mut Vec<Task<()>>, papers: &Papers) -> Self {
        let (host, history, up) = (world.host(CACHE), History::default(), Up::default());
        let start = CacheStart {
            host: host.clone(),
            site: site.clone(),
            history: history.clone(),
            papers: papers.clone(),
        };
        let program = Arc::new(Process {
            name: CACHE,
            site: site.clone(),
            start,
            up: up.clone(),
        });
        let seat = keep(site, rng, keepers, vec![host], program);
        Self { seat, history, up }
    }

    pub fn up(&self) -> Option<Arc<CacheLife>> {
        self.up.lock().clone()
    }
}

// === impl ShardProgram ===

#[async_trait]
impl Program for ShardProgram {
    async fn live(&self, env: Env, reaper: Reaper) -> End {
        let starting = {
            let (env, options) = (env.clone(), self.options.clone());
            async move { Server::start(&env, &options, |inner| Arc::new(Fragile { inner, reaper })).await }
        };
        match come_up(&env, &self.host, &self.site, &self.history, self.name, starting).await {
            Ok(server) => *self.up.lock() = Some(server),
            Err(end) => return end,
        }
        std::future::pending().await
    }

    fn leave(&self) -> Option<Box<dyn Serving>> {
        let server = self.up.lock().take()?;
        Some(Box::new(server))
    }

    fn name(&self) -> &'static str {
        self.name
    }
}

/// Certificates for all machines that have any.
fn papers() -> anyhow::Result<Papers> {
    let components = SHARDS
        .iter()
        .chain(&EARS)
        .chain(&VIEWS)
        .map(|host| (host, Kind::Component));
    let all = components.chain(PROXIES.iter().map(|host| (host, Kind::Proxy)));
    let hosts: Vec<(String, Kind)> = all.map(|(host, kind)| ((*host).to_owned(), kind)).collect();
    Papers::new(&hosts)
}
