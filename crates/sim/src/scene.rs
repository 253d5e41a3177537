//! A world with one server in it that is kept running, and clients' machines: what runs and tests are played on.

use std::sync::Arc;
use std::time::Duration;

use env::simulated::{Host, SimOptions, World};
use env::{Rng, Task};

use crate::client::{Client, Site};
use crate::health::{leftovers, owned, unsettled};
use crate::history::Shared as History;
use crate::image::Image;
use crate::keeper::{Alone, Keeper, Reaper};
use crate::nemesis::CLIENTS;
use crate::server::ServerOptions;
use crate::trace::Trace;

/// How long everything may take to become well when the faults have stopped.
const SETTLE_BOUND: Duration = Duration::from_secs(180);

/// See the module.
pub struct Scene {
    pub world: World,
    pub host: Host,
    pub site: Site,
    pub history: History,
    pub trace: Trace,
    pub rng: Rng,
    reaper: Option<(Reaper, Task<()>)>,
}

// === impl Scene ===

impl Scene {
    /// Nothing runs yet.
    pub fn new(seed: u64, image: &Image) -> Self {
        let world = World::new(seed, SimOptions::default());
        let trace = Trace::default();
        let site = Site::new(world.host(CLIENTS).env(), world.faults().clone(), trace.clone());
        let host = world.host("shard");
        host.disk().load(&image.disk);
        Self {
            rng: world.rng(),
            world,
            host,
            site,
            history: History::default(),
            trace,
            reaper: None,
        }
    }

    /// Starts the server, and keeps it running until the scene is dropped.
    pub async fn start(&mut self, options: ServerOptions) -> Result<Reaper, String> {
        let program = Arc::new(Alone {
            host: self.host.clone(),
            site: self.site.clone(),
            history: self.history.clone(),
            options: ServerOptions {
                history: Some(self.history.clone()),
                ..options
            },
        });
        let keeper = Keeper::new(vec![self.host.clone()], self.site.clone(), program, self.rng.fork());
        let reaper = keeper.reaper();
        self.reaper = Some((reaper.clone(), self.spawn("keeper", keeper.run())));
        self.until("the server serves", || self.site.server().is_some()).await?;
        Ok(reaper)
    }

    pub fn client(&self, name: &str, token: &str) -> Client {
        Client::new(&self.site, name, token, self.rng.fork())
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

    /// Convergence: everything becomes what it was asked to be, and nothing is left of what was deleted.
    pub async fn settle(&self) -> Result<(), String> {
        let driver = || self.site.server().and_then(|server| server.shard.driver.clone());
        let is_idle = || driver().is_some_and(|driver| driver.is_idle());
        let is_settled = || is_idle() && unsettled(&self.history.lock()).is_empty();
        if let Err(text) = self.until("all is well", is_settled).await {
            let depths = driver().map(|driver| driver.depths()).unwrap_or_default();
            let waiting: Vec<_> = depths.into_iter().filter(|(_, count)| *count > 0).collect();
            let unsettled = unsettled(&self.history.lock());
            return Err(format!(
                "{text}: idle {}, waiting {waiting:?}, {unsettled:#?}",
                is_idle()
            ));
        }
        let history = self.history.lock();
        match leftovers(&history, &owned(&history)) {
            left if left.is_empty() => Ok(()),
            left => Err(format!("left behind: {left:#?}")),
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some((_, keeping)) = &self.reaper {
            keeping.abort();
        }
    }
}
