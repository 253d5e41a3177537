//! One run: a seed makes a world, its clients and its faults; then everything that was seen is checked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use env::Task;

use crate::history;
use crate::image::{ADMIN, EXPORT, Image, TENANTS};
use crate::ledger::Ledger;
use crate::nemesis::{Nemesis, heal};
use crate::scene::Scene;
use crate::server::ServerOptions;
use crate::system_clock::{Began, Simulating};
use crate::tenant::{Api, CONFIGMAPS, GADGETS, Holder, Holders, Place, Territory, WIDGETS, Worker, list_url_of};
use crate::watcher::{Reached, Subject, Watcher};

/// Clients of one tenant.
const WORKERS: usize = 2;
/// No run takes longer than this in its own time, unless something hangs.
const RUN_BOUND: Duration = Duration::from_secs(3600);

/// What a run is told.
#[derive(Clone)]
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
    /// The test that it is of.
    pub suite: &'static str,
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

/// A runtime of simulations.
pub struct Simulation {
    runtime: tokio::runtime::Runtime,
    began: Began,
}

struct Run {
    scene: Scene,
    ledger: Ledger,
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
        alone(async || {
            let run = Run {
                scene: Scene::new(self.seed, image),
                ledger: Ledger::default(),
            };
            run.run(self, image).await
        })
    }
}

/// One thread, and a clock that jumps ahead when everything waits.
pub fn runtime() -> Simulation {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O can be made");
    let began = runtime.block_on(async { Began::now() });
    Simulation { runtime, began }
}

/// Runs on a thread of its own: what libraries keep for each thread is of no run before (hyper keeps the date of the last answer).
///
/// # Panics
/// If that does.
pub fn alone<T: Send>(run: impl AsyncFnOnce() -> T + Send) -> T {
    let ran = std::thread::scope(|threads| threads.spawn(|| runtime().block_on(run())).join());
    ran.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked))
}

// === impl Simulation ===

impl Simulation {
    /// Runs a future to its end; what libraries read of the system's clock meanwhile is simulated, too.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(async {
            let _simulating = Simulating::since(self.began.clone());
            future.await
        })
    }
}

// === impl Run ===

impl Run {
    async fn run(mut self, plan: Plan, image: &Image) -> Report {
        let clock = self.scene.site.env().clock.clone();
        let finished = clock.timeout(RUN_BOUND, self.all(&plan, image)).await;
        let scene = &self.scene;
        let mut wrong = scene.site.violations();
        match finished {
            Ok(Ok(())) => {}
            Ok(Err(text)) => wrong.push(text),
            Err(_) => wrong.push(format!("the run is not over after {RUN_BOUND:?}")),
        }
        wrong.extend(self.ledger.check(&scene.history.lock()));
        Report {
            suite: "seeds",
            seed: plan.seed,
            hash: scene.trace.hash(),
            requests: scene.site.sent(),
            faults: scene.world.faults().all(),
            seen: self.ledger.counts(),
            wrong,
            tail: scene.trace.tail(),
            took: clock.monotonic(),
        }
    }

    /// First safety, then liveness: faults and work, then neither, until all is well.
    async fn all(&mut self, plan: &Plan, image: &Image) -> Result<(), String> {
        let options = self.vary(&plan.server);
        let reaper = self.scene.start(options).await?;
        let scene = &self.scene;
        // Handing requests over is cheaper, so that more seeds fit.
        let uses_network = scene.rng.chance(0.5);
        if uses_network {
            scene.site.use_network();
        }
        let watchers = self.watchers(image);
        let nemesis = plan.faults.then(|| {
            let network = uses_network.then(|| scene.world.network().clone());
            let (host, site) = (scene.host.clone(), scene.site.clone());
            let nemesis = Nemesis::new(network, host, site, reaper.clone(), scene.rng.fork());
            scene.spawn("nemesis", nemesis.run())
        });
        for worker in self.workers(plan, image) {
            worker.join().await.map_err(|stopped| format!("a client: {stopped}"))?;
        }
        nemesis.iter().for_each(Task::abort);
        if scene.site.has_given_up() {
            return Ok(());
        }
        heal(scene.world.network(), &scene.host, &scene.site, &reaper);
        scene.settle().await?;
        self.catch_up(&watchers).await?;
        let server = scene.site.server().ok_or("the server is down without a reason")?;
        history::compare(&scene.history, &server.kv).await?;
        let (panics, text) = server.env.spawn.panics();
        if panics > 0 {
            return Err(format!("{panics} tasks panicked, at last {text:?}"));
        }
        Ok(())
    }

    /// Some worlds forget history sooner than others.
    fn vary(&self, options: &ServerOptions) -> ServerOptions {
        let (rng, mut options) = (&self.scene.rng, options.clone());
        if rng.chance(0.5) {
            options.compaction = Duration::from_millis(500 + rng.below(3000));
        }
        if rng.chance(0.5) {
            options.log_bytes = 16 << 10;
        }
        options
    }

    fn workers(&self, plan: &Plan, image: &Image) -> Vec<Task<()>> {
        let mut workers = Vec::new();
        let site = self.scene.site.clone();
        let holder = Holder {
            ledger: self.ledger.clone(),
            revision: Arc::new(move || site.server().map_or(u64::MAX, |server| server.shard.store.revision())),
        };
        let holders: Holders = Arc::new([("root".to_owned(), holder.clone())].into());
        for (tenant, home) in TENANTS.iter().zip(&image.homes) {
            let foreign = image.homes.iter().filter(|other| *other != home);
            let place = Place::home(home, None, holder.clone());
            let territory = Territory::new(place, foreign.cloned().collect(), holders.clone());
            for number in 0..WORKERS {
                let client = self.scene.client(&format!("{tenant}{number}"), tenant);
                let worker = Worker::new(vec![client], territory.clone());
                workers.push(self.scene.spawn("worker", worker.work(plan.requests)));
            }
        }
        workers
    }

    /// The prefix of what each one watches, and how far it has come.
    fn watchers(&self, image: &Image) -> Vec<(String, Reached)> {
        let mut watchers = Vec::new();
        let mut watch = |name: &str, token: &str, subject: Subject| {
            let client = self.scene.client(name, token);
            let prefix = subject.prefix();
            let (watcher, reached) = Watcher::new(client, self.ledger.clone(), subject);
            self.scene.spawn("watcher", watcher.run()).detach();
            watchers.push((prefix, reached));
        };
        for (tenant, home) in TENANTS.iter().zip(&image.homes) {
            for api in [CONFIGMAPS, WIDGETS, GADGETS] {
                let name = format!("{tenant}/{}", api.resource);
                watch(&name, tenant, subject(api, home, home));
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

    /// No watch stays silent about what has happened.
    async fn catch_up(&self, watchers: &[(String, Reached)]) -> Result<(), String> {
        for (prefix, reached) in watchers {
            let shows_all = || {
                let history = self.scene.history.lock();
                let newest = history
                    .changes(prefix, 0, u64::MAX)
                    .last()
                    .map_or(0, |change| change.revision);
                reached.revision().is_some_and(|to| to >= newest)
            };
            let what = format!("the watch of {prefix} shows all");
            self.scene.until(&what, shows_all).await?;
            reached
                .take()
                .into_iter()
                .for_each(|segment| self.ledger.watched(segment));
        }
        Ok(())
    }
}

/// Objects of an API in a cluster, called so in the URL.
pub fn subject(api: Api, home: &str, segment: &str) -> Subject {
    Subject {
        url: list_url_of(segment, api),
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
        let Self { suite, seed, tail, .. } = self;
        let wrong = self.wrong.iter().take(12).map(|text| format!("  - {text}\n"));
        Some(format!(
            "seed {seed}: {} violations\n{}the last of the trace:\n{tail}\
             again: KCP_SIM_START={seed} KCP_SIM_SEEDS=1 cargo test -p sim --test {suite}\n",
            self.wrong.len(),
            wrong.collect::<String>(),
        ))
    }
}
