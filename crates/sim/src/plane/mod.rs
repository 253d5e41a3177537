//! A control plane in a simulated world: two shards with their stores, two front-proxies with their indexes, each on a machine
//! of its own that can crash, be cut off, and have its clock moved.
//!
//! Invariants
//! - Everything above TLS is what production runs; what TLS would show is in [`papers`].
//! - Whoever is a process here is a [`Seat`]: faults strike seats, and know nothing of what sits there. The cache server and
//!   the virtual workspaces, as programs of their own, are two more of them.
//!
//! Read next: [`Plane`], [`image`] (what runs begin with), [`run`], [`checks`], [`nemesis`].

pub mod checks;
pub mod image;
pub mod nemesis;
pub mod papers;
pub mod proxy;
pub mod run;
pub mod tellings;

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
use crate::plane::image::PlaneImage;
use crate::plane::papers::{Kind, Papers};
use crate::plane::proxy::{ProxyOptions, ProxyProgram, ProxyServer};
use crate::plane::tellings::Tellings;
use crate::server::{Member, Server, ServerOptions};
use crate::tenant::{Holder, Holders};
use crate::trace::Trace;

/// The first of them holds the cluster root.
pub const SHARDS: [&str; 2] = ["root", "beta"];
pub const PROXIES: [&str; 2] = ["east", "west"];
/// The machines that proxies hear shards through.
pub const EARS: [&str; 2] = ["east-ears", "west-ears"];

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
    keepers: Vec<Task<()>>,
    flaw: Option<Flaw>,
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
    /// A proxy takes everybody for the same user.
    UsersMixedUp,
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
    up: Arc<Mutex<Option<Arc<Server>>>>,
}

pub struct ProxySeat {
    pub seat: Seat,
    up: Arc<Mutex<Option<Arc<ProxyServer>>>>,
}

/// A shard that is kept running.
struct ShardProgram {
    name: &'static str,
    host: Host,
    site: Site,
    history: History,
    options: ServerOptions,
    up: Arc<Mutex<Option<Arc<Server>>>>,
}

// === impl Plane ===

impl Plane {
    /// Begins to run everything, and keeps it running until it is dropped.
    pub fn new(seed: u64, image: &PlaneImage, flaw: Option<Flaw>, options: impl Fn(&Rng) -> ServerOptions) -> Self {
        let world = World::new(seed, SimOptions::default());
        let trace = Trace::default();
        let site = Site::new(world.host(CLIENTS).env(), world.faults().clone(), trace.clone());
        let mut plane = Self {
            rng: world.rng(),
            world,
            site,
            trace,
            shards: Vec::new(),
            proxies: Vec::new(),
            keepers: Vec::new(),
            flaw,
        };
        for (name, disk) in SHARDS.iter().zip(&image.shards) {
            let host = plane.world.host(name);
            host.disk().load(disk);
            let options = options(&plane.rng);
            plane.add_shard(name, host, options, image.papers.clone());
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
        };
        let (history, up) = (History::default(), Arc::default());
        let program = Arc::new(ShardProgram {
            name,
            host: host.clone(),
            site: self.site.clone(),
            history: Arc::clone(&history),
            options: ServerOptions {
                member: Some(member),
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
        let up = Arc::default();
        let program = Arc::new(ProxyProgram {
            name,
            site: self.site.clone(),
            options: ProxyOptions {
                seeds: SHARDS.map(str::to_owned).to_vec(),
                ears: ears.clone(),
                flaw: self.flaw,
            },
            up: Arc::clone(&up),
        });
        let seat = self.keep(vec![host, ears], program);
        self.proxies.push(ProxySeat { seat, up });
    }

    fn keep(&mut self, hosts: Vec<Host>, program: Arc<dyn Program>) -> Seat {
        let name = program.name();
        let keeper = Keeper::new(hosts.clone(), self.site.clone(), program, self.rng.fork());
        let reaper = keeper.reaper();
        self.keepers.push(self.spawn("keeper", keeper.run()));
        Seat { name, hosts, reaper }
    }

    /// All processes.
    pub fn seats(&self) -> Vec<Seat> {
        let shards = self.shards.iter().map(|shard| shard.seat.clone());
        shards
            .chain(self.proxies.iter().map(|proxy| proxy.seat.clone()))
            .collect()
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
            self.shards.iter().all(|shard| shard.up().is_some()) && self.proxies.iter().all(is_told)
        })
        .await
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.keepers.iter().for_each(Task::abort);
    }
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
    let components = SHARDS.iter().chain(&EARS).map(|host| (host, Kind::Component));
    let all = components.chain(PROXIES.iter().map(|host| (host, Kind::Proxy)));
    let hosts: Vec<(String, Kind)> = all.map(|(host, kind)| ((*host).to_owned(), kind)).collect();
    Papers::new(&hosts)
}
