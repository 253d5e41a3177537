//! Keeps a process running through all its lives, and ends each as it is told.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use controller::Effects;
use env::simulated::{Crash, Faults, Host};
use env::{Env, Rng};
use kv::{Guard, Kv};
use machinery::status::Result;
use parking_lot::Mutex;
use plan::Effect;
use tokio::sync::mpsc;

use crate::client::Site;
use crate::history::{self, Shared as History};
use crate::server::{Server, ServerOptions};

/// What a process does in one life.
#[async_trait]
pub trait Program: Send + Sync + 'static {
    /// Starts and serves, until it ends by itself: a start that fails ends the process.
    async fn live(&self, env: Env, reaper: Reaper) -> End;
    /// The life is over, or about to be: nobody finds it any more. `None`: it had not come to serve.
    fn leave(&self) -> Option<Box<dyn Serving>>;
    fn name(&self) -> &'static str;
}

/// A life that serves.
#[async_trait]
pub trait Serving: Send + Sync {
    /// Down in order, with everything written.
    async fn stop(self: Box<Self>);
}

/// How often a disk without power is noticed.
const POWER_PERIOD: Duration = Duration::from_millis(3);

/// A disk that fails now and then lets a start fail now and then, but not so often.
const FAILED_STARTS_MAX: u32 = 100;

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Crash(Crash),
    /// In order, as on SIGTERM.
    Stop,
}

/// The ways to end a life. Cheap to clone.
#[derive(Clone)]
pub struct Reaper {
    orders: mpsc::UnboundedSender<End>,
    /// How many effects of controllers may still be carried out before the process dies.
    fuse: Arc<Mutex<Option<u64>>>,
    faults: Faults,
}

pub struct Keeper {
    /// The process's machine, and what else stands for it in the network.
    hosts: Vec<Host>,
    site: Site,
    program: Arc<dyn Program>,
    rng: Rng,
    reaper: Reaper,
    orders: mpsc::UnboundedReceiver<End>,
}

/// Between the controllers and their effects: kills the process after one of them.
pub struct Fragile {
    pub inner: Arc<dyn Effects>,
    pub reaper: Reaper,
}

/// A shard that is alone.
pub struct Alone {
    pub host: Host,
    pub site: Site,
    pub history: History,
    pub options: ServerOptions,
}

// === impl Reaper ===

impl Reaper {
    pub fn end(&self, how: End) {
        // Without a keeper nothing runs that could be ended.
        let _nobody_listens = self.orders.send(how);
    }

    /// The process dies when the controllers have carried out so many more effects.
    pub fn end_after_effects(&self, count: u64) {
        *self.fuse.lock() = Some(count);
    }

    pub fn disarm(&self) {
        *self.fuse.lock() = None;
    }

    fn is_armed(&self) -> bool {
        self.fuse.lock().is_some()
    }

    fn strikes(&self) -> bool {
        let mut fuse = self.fuse.lock();
        match &mut *fuse {
            Some(0 | 1) => {
                *fuse = None;
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }
}

// === impl Fragile ===

#[async_trait]
impl Effects for Fragile {
    async fn carry_out(&self, controller: &'static str, effects: &[Effect], tenure: &Guard) -> Result<()> {
        // Armed, it stands between any two effects, also those that would share a transaction.
        if !self.reaper.is_armed() {
            return self.inner.carry_out(controller, effects, tenure).await;
        }
        for effect in effects {
            self.inner
                .carry_out(controller, std::slice::from_ref(effect), tenure)
                .await?;
            if self.reaper.strikes() {
                self.reaper.faults.count("controllers/crashed between effects");
                self.reaper.end(End::Crash(Crash::Process));
                std::future::pending::<()>().await;
            }
        }
        Ok(())
    }
}

// === impl Keeper ===

impl Keeper {
    pub fn new(hosts: Vec<Host>, site: Site, program: Arc<dyn Program>, rng: Rng) -> Self {
        let (sender, orders) = mpsc::unbounded_channel();
        let reaper = Reaper {
            orders: sender,
            fuse: Arc::default(),
            faults: site.faults().clone(),
        };
        Self {
            hosts,
            site,
            program,
            rng,
            reaper,
            orders,
        }
    }

    pub fn reaper(&self) -> Reaper {
        self.reaper.clone()
    }

    /// Life after life.
    pub async fn run(mut self) {
        let Some(host) = self.hosts.first().cloned() else {
            return;
        };
        let (program, name) = (self.program.clone(), self.program.name());
        let mut failed_starts = 0;
        while failed_starts < FAILED_STARTS_MAX {
            let end = {
                let live = program.live(host.env(), self.reaper.clone());
                tokio::select! {
                    biased;
                    end = until_end(&mut self.orders, &host, &self.site) => end,
                    end = live => end,
                }
            };
            self.site.note(name, format_args!("ends: {end:?}"));
            let serving = program.leave();
            failed_starts = if serving.is_some() { 0 } else { failed_starts + 1 };
            let how = match end {
                End::Crash(how) => how,
                End::Stop => {
                    if let Some(serving) = serving {
                        self.site.faults().count("host/stopped");
                        // A disk that hangs does not keep the process from being killed in the end.
                        let bound = Duration::from_secs(30);
                        let _either_way = self.site.env().clock.timeout(bound, serving.stop()).await;
                    }
                    Crash::Process
                }
            };
            self.hosts.iter().for_each(|host| host.crash(how));
            while self.orders.try_recv().is_ok() {}
            self.site.sleep_ms(20 + self.rng.below(400)).await;
        }
        self.site
            .violation(name, format!("does not start after {failed_starts} attempts"));
        self.site.give_up();
    }
}

async fn until_end(orders: &mut mpsc::UnboundedReceiver<End>, host: &Host, site: &Site) -> End {
    loop {
        tokio::select! {
            biased;
            Some(end) = orders.recv() => return end,
            () = site.env().clock.sleep(POWER_PERIOD) => {}
        }
        if host.disk().is_powered_off() {
            return End::Crash(Crash::Power);
        }
    }
}

// === impl Alone ===

#[async_trait]
impl Program for Alone {
    async fn live(&self, env: Env, reaper: Reaper) -> End {
        let starting = {
            let (env, options) = (env.clone(), self.options.clone());
            async move { Server::start(&env, &options, |inner| Arc::new(Fragile { inner, reaper })).await }
        };
        match come_up(&env, &self.host, &self.site, &self.history, self.name(), starting).await {
            Ok(server) => self.site.set_server(Some(server)),
            Err(end) => return end,
        }
        std::future::pending().await
    }

    fn leave(&self) -> Option<Box<dyn Serving>> {
        let server = self.site.server()?;
        self.site.set_server(None);
        Some(Box::new(server))
    }

    fn name(&self) -> &'static str {
        "server"
    }
}

#[async_trait]
impl Serving for Arc<Server> {
    async fn stop(self: Box<Self>) {
        Server::stop(&self).await;
    }
}

/// Starts a shard, holds its store to what was seen in earlier lives, and records this one.
pub async fn come_up(
    env: &Env,
    host: &Host,
    site: &Site,
    history: &History,
    name: &'static str,
    starting: impl Future<Output = anyhow::Result<Server>> + Send + 'static,
) -> std::result::Result<Arc<Server>, End> {
    let server = match env.spawn.spawn("start", starting).await {
        Ok(Ok(server)) => Arc::new(server),
        Ok(Err(error)) => {
            site.note(name, format_args!("does not start: {error:#}"));
            return Err(End::Crash(Crash::Process));
        }
        Err(stopped) => {
            site.note(name, format_args!("does not start: {stopped}"));
            return Err(End::Crash(Crash::Process));
        }
    };
    if let Err(error) = remember(env, host, site, history, name, &server.kv).await {
        site.note(name, format_args!("does not start: {error:#}"));
        return Err(End::Crash(Crash::Process));
    }
    let revision = server.shard.store.revision();
    site.note(name, format_args!("serves from revision {revision}"));
    Ok(server)
}

/// Holds a store to what was seen in earlier lives, and records this one. An error: the store cannot be read now.
pub async fn remember(
    env: &Env,
    host: &Host,
    site: &Site,
    history: &History,
    name: &'static str,
    kv: &Arc<dyn Kv>,
) -> anyhow::Result<()> {
    if let Err(text) = history::resume(history, kv).await {
        if host.disk().is_powered_off() || text.contains("cannot be read") {
            anyhow::bail!(text);
        }
        site.violation(name, text);
    }
    let record = {
        let (env, kv, site, history) = (env.clone(), kv.clone(), site.clone(), history.clone());
        history::record(env, kv, history, move |text| site.violation("store", text))
    };
    env.spawn.spawn("recorder", record).detach();
    Ok(())
}
