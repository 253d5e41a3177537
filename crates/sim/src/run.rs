//! One run: a seed makes a world, its clients and its faults; then everything that was seen is checked.

use std::collections::BTreeMap;
use std::time::Duration;

use env::simulated::{SimOptions, World};
use env::{Rng, Task};

use crate::client::{Client, Site};
use crate::health::{leftovers, unsettled};
use crate::history::{self, Shared as History};
use crate::image::{ADMIN, EXPORT, Image, TENANTS};
use crate::keeper::Keeper;
use crate::ledger::Ledger;
use crate::nemesis::{Nemesis, heal};
use crate::server::ServerOptions;
use crate::tenant::{Api, CONFIGMAPS, GADGETS, Territory, WIDGETS, Worker, list_url_of};
use crate::trace::Trace;
use crate::watcher::{Reached, Subject, Watcher};

/// Clients of one tenant.
const WORKERS: usize = 2;
/// How long everything may take to become well when the faults have stopped.
const SETTLE_BOUND: Duration = Duration::from_secs(180);
/// No run takes longer than this in its own time, unless something hangs.
const RUN_BOUND: Duration = Duration::from_secs(3600);

/// What a run is told.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    /// Requests that clients send before the faults stop.
    pub requests: u64,
    pub faults: bool,
    pub server: ServerOptions,
}

/// What a run came to.
#[derive(Debug)]
pub struct Report {
    pub seed: u64,
    /// Of everything that clients asked and got and of every fault.
    pub hash: u64,
    pub requests: u64,
    pub faults: BTreeMap<&'static str, u64>,
    /// See [`Ledger::counts`].
    pub seen: [usize; 5],
    /// Everything that was wrong; empty: the run is good.
    pub wrong: Vec<String>,
    /// The last lines of the trace.
    pub tail: String,
    /// Simulated time.
    pub took: Duration,
}

struct Run {
    world: World,
    site: Site,
    history: History,
    ledger: Ledger,
    trace: Trace,
    rng: Rng,
}

// === impl Plan ===

impl Plan {
    pub fn new(seed: u64, requests: u64) -> Self {
        Self {
            seed,
            requests,
            faults: true,
            server: ServerOptions::default(),
        }
    }

    /// Runs in a runtime of its own.
    pub fn run(self, image: &Image) -> Report {
        runtime().block_on(async { Run::new(self.seed).run(self, image).await })
    }
}

/// One thread, and a clock that jumps ahead when everything waits.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O can be made")
}

// === impl Run ===

impl Run {
    fn new(seed: u64) -> Self {
        let world = World::new(seed, SimOptions::default());
        let trace = Trace::default();
        let site = Site::new(world.host("clients").env(), world.faults().clone(), trace.clone());
        Self {
            rng: world.rng(),
            world,
            site,
            history: History::default(),
            ledger: Ledger::default(),
            trace,
        }
    }

    async fn run(self, plan: Plan, image: &Image) -> Report {
        let clock = self.site.env().clock.clone();
        let finished = clock.timeout(RUN_BOUND, self.all(&plan, image)).await;
        let mut wrong = self.site.violations();
        match finished {
            Ok(Ok(())) => {}
            Ok(Err(text)) => wrong.push(text),
            Err(_) => wrong.push(format!("the run is not over after {RUN_BOUND:?}")),
        }
        wrong.extend(self.ledger.check(&self.history.lock()));
        Report {
            seed: plan.seed,
            hash: self.trace.hash(),
            requests: self.site.sent(),
            faults: self.world.faults().all(),
            seen: self.ledger.counts(),
            wrong,
            tail: self.trace.tail(),
            took: clock.monotonic(),
        }
    }

    /// First safety, then liveness: faults and work, then neither, until all is well.
    async fn all(&self, plan: &Plan, image: &Image) -> Result<(), String> {
        let host = self.world.host("shard");
        host.disk().load(&image.disk);
        let keeper = Keeper::new(
            host.clone(),
            self.site.clone(),
            self.history.clone(),
            plan.server.clone(),
            self.rng.fork(),
        );
        let reaper = keeper.reaper();
        let keeping = self.spawn("keeper", keeper.run());
        self.until("the server serves", || self.site.server().is_some()).await?;
        let watchers = self.watchers(image);
        let nemesis = plan.faults.then(|| {
            let nemesis = Nemesis::new(host.clone(), self.site.clone(), reaper.clone(), self.rng.fork());
            self.spawn("nemesis", nemesis.run())
        });
        for worker in self.workers(plan, image) {
            worker.join().await.map_err(|stopped| format!("a client: {stopped}"))?;
        }
        nemesis.iter().for_each(Task::abort);
        if self.site.has_given_up() {
            return Ok(());
        }
        heal(&host, &self.site, &reaper);
        self.settle(&watchers).await?;
        let server = self.site.server().ok_or("the server is down without a reason")?;
        history::compare(&self.history, &server.kv).await?;
        let (panics, text) = server.env.spawn.panics();
        if panics > 0 {
            return Err(format!("{panics} tasks panicked, at last {text:?}"));
        }
        for (_, reached) in &watchers {
            reached
                .take()
                .into_iter()
                .for_each(|segment| self.ledger.watched(segment));
        }
        keeping.abort();
        Ok(())
    }

    fn spawn<F>(&self, name: &'static str, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.site.env().spawn.spawn(name, future)
    }

    fn workers(&self, plan: &Plan, image: &Image) -> Vec<Task<()>> {
        let mut workers = Vec::new();
        for (tenant, home) in TENANTS.iter().zip(&image.homes) {
            let foreign = image.homes.iter().filter(|other| *other != home);
            let territory = Territory::new(home, foreign.cloned().collect());
            for number in 0..WORKERS {
                let client = Client::new(&self.site, &format!("{tenant}{number}"), tenant, self.rng.fork());
                let worker = Worker::new(client, self.ledger.clone(), territory.clone());
                workers.push(self.spawn("worker", worker.work(plan.requests)));
            }
        }
        workers
    }

    /// The prefix of what each one watches, and how far it has come.
    fn watchers(&self, image: &Image) -> Vec<(String, Reached)> {
        let mut watchers = Vec::new();
        let mut watch = |name: &str, token: &str, subject: Subject| {
            let client = Client::new(&self.site, name, token, self.rng.fork());
            let prefix = subject.prefix();
            let (watcher, reached) = Watcher::new(client, self.ledger.clone(), subject);
            self.spawn("watcher", watcher.run()).detach();
            watchers.push((prefix, reached));
        };
        for (tenant, home) in TENANTS.iter().zip(&image.homes) {
            for api in [CONFIGMAPS, WIDGETS, GADGETS] {
                let name = format!("{tenant}/{}", api.resource);
                watch(&name, tenant, subject(api, home));
            }
        }
        // What the provider sees of all who use its API.
        let url = format!(
            "/services/apiexport/{}/{EXPORT}/clusters/*{}/gadgets",
            image.provider, GADGETS.prefix
        );
        let all = Subject {
            url,
            resource: GADGETS.key.to_owned(),
            cluster: None,
        };
        watch("provider", ADMIN, all);
        watchers
    }

    async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) -> Result<(), String> {
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

    /// Convergence: everything becomes what it was asked to be, nothing is left of what was deleted, and every watch shows
    /// all of it.
    async fn settle(&self, watchers: &[(String, Reached)]) -> Result<(), String> {
        let is_idle = || {
            let server = self.site.server();
            server.is_some_and(|server| server.shard.driver.as_ref().is_some_and(controller::Driver::is_idle))
        };
        let is_settled = || is_idle() && unsettled(&self.history.lock()).is_empty();
        if let Err(text) = self.until("all is well", is_settled).await {
            let depths = self
                .site
                .server()
                .and_then(|server| Some(server.shard.driver.as_ref()?.depths()));
            let waiting: Vec<_> = depths.into_iter().flatten().filter(|(_, count)| *count > 0).collect();
            return Err(format!(
                "{text}: idle {}, waiting {waiting:?}, {:#?}",
                is_idle(),
                unsettled(&self.history.lock())
            ));
        }
        let left = leftovers(&self.history.lock());
        if !left.is_empty() {
            return Err(format!("left behind: {left:#?}"));
        }
        for (prefix, reached) in watchers {
            let shows_all = || {
                let history = self.history.lock();
                let newest = history
                    .changes(prefix, 0, u64::MAX)
                    .last()
                    .map_or(0, |change| change.revision);
                reached.revision().is_some_and(|to| to >= newest)
            };
            self.until(&format!("the watch of {prefix} shows all"), shows_all)
                .await?;
        }
        Ok(())
    }
}

fn subject(api: Api, home: &str) -> Subject {
    Subject {
        url: list_url_of(home, api),
        resource: api.key.to_owned(),
        cluster: Some(home.to_owned()),
    }
}

// === impl Report ===

impl Report {
    /// Why it failed, for people.
    pub fn failure(&self) -> Option<String> {
        if self.wrong.is_empty() {
            return None;
        }
        let Self { seed, tail, .. } = self;
        let wrong = self.wrong.iter().take(12).map(|text| format!("  - {text}\n"));
        Some(format!(
            "seed {seed}: {} violations\n{}the last of the trace:\n{tail}\
             again: KCP_SIM_START={seed} KCP_SIM_SEEDS=1 cargo test -p sim --test seeds\n",
            self.wrong.len(),
            wrong.collect::<String>(),
        ))
    }
}
