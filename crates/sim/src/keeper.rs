//! Keeps the server running through all its lives, and ends each as it is told.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use controller::Effects;
use env::Rng;
use env::simulated::{Crash, Faults, Host};
use kv::Guard;
use machinery::status::Result;
use parking_lot::Mutex;
use plan::Effect;
use tokio::sync::mpsc;

use crate::client::Site;
use crate::history::{self, Shared as History};
use crate::server::{Server, ServerOptions};

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
    host: Host,
    site: Site,
    history: History,
    options: ServerOptions,
    rng: Rng,
    reaper: Reaper,
    orders: mpsc::UnboundedReceiver<End>,
}

/// Between the controllers and their effects: kills the process after one of them.
struct Fragile {
    inner: Arc<dyn Effects>,
    reaper: Reaper,
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
    pub fn new(host: Host, site: Site, history: History, options: ServerOptions, rng: Rng) -> Self {
        let (sender, orders) = mpsc::unbounded_channel();
        let reaper = Reaper {
            orders: sender,
            fuse: Arc::default(),
            faults: site.faults().clone(),
        };
        Self {
            host,
            site,
            history,
            options,
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
        let mut failed_starts = 0;
        while failed_starts < FAILED_STARTS_MAX {
            let end = {
                let live = live(
                    self.host.clone(),
                    self.site.clone(),
                    self.history.clone(),
                    self.options.clone(),
                    self.reaper.clone(),
                );
                tokio::select! {
                    biased;
                    end = until_end(&mut self.orders, &self.host, &self.site) => end,
                    end = live => end,
                }
            };
            self.site.note("server", format_args!("ends: {end:?}"));
            let server = self.site.server();
            failed_starts = if server.is_some() { 0 } else { failed_starts + 1 };
            self.site.set_server(None);
            let how = match end {
                End::Crash(how) => how,
                End::Stop => {
                    if let Some(server) = server {
                        self.site.faults().count("host/stopped");
                        // A disk that hangs does not keep the process from being killed in the end.
                        let bound = Duration::from_secs(30);
                        let _either_way = self.site.env().clock.timeout(bound, server.stop()).await;
                    }
                    Crash::Process
                }
            };
            self.host.crash(how);
            while self.orders.try_recv().is_ok() {}
            self.site.sleep_ms(20 + self.rng.below(400)).await;
        }
        self.site
            .violation("server", format!("does not start after {failed_starts} attempts"));
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

/// One life, up to its end by itself: a start that fails ends the process.
async fn live(host: Host, site: Site, history: History, options: ServerOptions, reaper: Reaper) -> End {
    let env = host.env();
    let starting = {
        let (env, reaper) = (env.clone(), reaper.clone());
        async move { Server::start(&env, &options, |inner| Arc::new(Fragile { inner, reaper })).await }
    };
    let server = match env.spawn.spawn("start", starting).await {
        Ok(Ok(server)) => Arc::new(server),
        Ok(Err(error)) => {
            site.note("server", format_args!("does not start: {error:#}"));
            return End::Crash(Crash::Process);
        }
        Err(stopped) => {
            site.note("server", format_args!("does not start: {stopped}"));
            return End::Crash(Crash::Process);
        }
    };
    if let Err(text) = history::resume(&history, &server.kv).await {
        if host.disk().is_powered_off() || text.contains("cannot be read") {
            return End::Crash(Crash::Process);
        }
        site.violation("store", text);
    }
    let record = {
        let (env, kv, site) = (env.clone(), server.kv.clone(), site.clone());
        history::record(env, kv, history, move |text| site.violation("store", text))
    };
    env.spawn.spawn("recorder", record).detach();
    site.note(
        "server",
        format_args!("serves from revision {}", server.shard.store.revision()),
    );
    site.set_server(Some(server));
    std::future::pending().await
}
