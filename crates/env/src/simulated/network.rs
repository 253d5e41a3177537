//! A network of named hosts that delays, cuts and heals.

use super::stream::{self, Link, SimStream};
use super::{Faults, SimOptions};
use crate::Rng;
use crate::net::{Accepted, DIAL_TIMEOUT, Listener, Net, Stream};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// Where a listener of a host without a port of its own starts to look for one.
const FIRST_FREE_PORT: u16 = 20_000;

/// The wire between the hosts of a world, and the ways to break it. Cheap to clone.
#[derive(Clone)]
pub struct Network {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    healed: Notify,
    rng: Rng,
    faults: Faults,
}

struct State {
    weather: Weather,
    listeners: BTreeMap<String, mpsc::UnboundedSender<Accepted>>,
    links: Vec<Weak<Link>>,
    lives: BTreeMap<String, u64>,
    /// Directions in which nothing passes.
    cut: BTreeSet<(String, String)>,
    next_port: u16,
    next_client: u64,
}

/// What happens to chunks under way.
#[derive(Clone, Debug)]
pub(super) struct Weather {
    pub latency: (Duration, Duration),
    pub loss_rate: f64,
    pub reset_rate: f64,
}

/// What happens to one chunk.
pub(super) enum Fate {
    Arrives(Duration),
    Reset,
}

/// The network as one life of a host sees it.
pub(super) struct Attached {
    network: Network,
    host: String,
    life: u64,
}

struct SimListener {
    network: Network,
    address: String,
    host: String,
    life: u64,
    incoming: tokio::sync::Mutex<mpsc::UnboundedReceiver<Accepted>>,
}

// === impl Network ===

impl Network {
    pub(super) fn new(rng: Rng, options: &SimOptions, faults: Faults) -> Network {
        let SimOptions {
            latency,
            loss_rate,
            reset_rate,
            ..
        } = *options;
        let state = State {
            weather: Weather {
                latency,
                loss_rate,
                reset_rate,
            },
            listeners: BTreeMap::new(),
            links: Vec::new(),
            lives: BTreeMap::new(),
            cut: BTreeSet::new(),
            next_port: FIRST_FREE_PORT,
            next_client: 0,
        };
        Network {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                healed: Notify::new(),
                rng,
                faults,
            }),
        }
    }

    /// Cuts both directions between two hosts: bytes under way wait until [`Network::heal`], dialling times out.
    pub fn partition(&self, a: &str, b: &str) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Cuts one direction.
    pub fn cut_one_way(&self, from: &str, to: &str) {
        self.shared.faults.count("net/partition");
        self.shared.state.lock().cut.insert((from.to_owned(), to.to_owned()));
    }

    /// Mends every cut; what waited arrives.
    pub fn heal(&self) {
        let mut state = self.shared.state.lock();
        state.cut.clear();
        state.live_links().iter().for_each(|link| link.wake());
        drop(state);
        self.shared.healed.notify_waiters();
    }

    /// Resets every connection between two hosts.
    pub fn reset(&self, a: &str, b: &str) {
        let links = self.shared.state.lock().live_links();
        for link in links.iter().filter(|link| link.joins(a, b)) {
            self.shared.faults.count("net/reset");
            link.reset();
        }
    }

    /// Latency, loss and resets from now on, as in [`SimOptions`].
    pub fn set_weather(&self, latency: (Duration, Duration), loss_rate: f64, reset_rate: f64) {
        self.shared.state.lock().weather = Weather {
            latency,
            loss_rate,
            reset_rate,
        };
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.shared.state.lock().live_links().len()
    }

    pub(super) fn attach(&self, host: &str) -> Attached {
        let life = self.shared.state.lock().life(host);
        Attached {
            network: self.clone(),
            host: host.to_owned(),
            life,
        }
    }

    /// Ends a host's listeners and connections; its peers see resets.
    pub(super) fn detach(&self, host: &str) {
        let mut state = self.shared.state.lock();
        *state.lives.entry(host.to_owned()).or_default() += 1;
        state.listeners.retain(|address, _| host_of(address) != host);
        state
            .live_links()
            .iter()
            .filter(|link| link.touches(host))
            .for_each(|link| link.reset());
    }

    pub(super) fn is_cut(&self, from: &str, to: &str) -> bool {
        let state = self.shared.state.lock();
        !state.cut.is_empty() && state.cut.contains(&(from.to_owned(), to.to_owned()))
    }

    /// Decides what becomes of a chunk that is sent now.
    pub(super) fn fate(&self) -> Fate {
        let weather = self.shared.state.lock().weather.clone();
        let Shared { rng, faults, .. } = &*self.shared;
        if weather.reset_rate > 0.0 && rng.chance(weather.reset_rate) {
            faults.count("net/reset");
            return Fate::Reset;
        }
        let (least, most) = weather.latency;
        let spread = u64::try_from(most.saturating_sub(least).as_nanos()).unwrap_or(u64::MAX);
        let mut delay = least + Duration::from_nanos(rng.below(spread.saturating_add(1)));
        if weather.loss_rate > 0.0 && rng.chance(weather.loss_rate) {
            faults.count("net/chunk lost");
            delay += Duration::from_millis(200);
        }
        Fate::Arrives(delay)
    }

    fn check(&self, host: &str, life: u64) -> io::Result<()> {
        match self.shared.state.lock().life(host) == life {
            true => Ok(()),
            false => Err(io::Error::new(ErrorKind::NetworkDown, "the simulated host has crashed")),
        }
    }

    async fn connect(&self, from: &Attached, address: &str) -> io::Result<SimStream> {
        let to = host_of(address).to_owned();
        loop {
            let healed = self.shared.healed.notified();
            if !self.is_cut(&from.host, &to) && !self.is_cut(&to, &from.host) {
                break;
            }
            healed.await;
        }
        match self.fate() {
            // There and back.
            Fate::Arrives(delay) => tokio::time::sleep(delay * 2).await,
            Fate::Reset => return Err(ErrorKind::ConnectionReset.into()),
        }
        self.check(&from.host, from.life)?;
        let mut state = self.shared.state.lock();
        let listener = state
            .listeners
            .get(address)
            .cloned()
            .ok_or(ErrorKind::ConnectionRefused)?;
        let (near, far, link) = stream::pair(self.clone(), &from.host, &to);
        state.next_client += 1;
        let peer = format!("{}:{}", from.host, state.next_client);
        let accepted = Accepted {
            stream: Box::new(far),
            peer,
        };
        listener.send(accepted).map_err(|_| ErrorKind::ConnectionRefused)?;
        state.links.push(Arc::downgrade(&link));
        Ok(near)
    }
}

fn host_of(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

// === impl State ===

impl State {
    fn life(&self, host: &str) -> u64 {
        self.lives.get(host).copied().unwrap_or(0)
    }

    fn live_links(&mut self) -> Vec<Arc<Link>> {
        self.links.retain(|link| link.strong_count() > 0);
        self.links.iter().filter_map(Weak::upgrade).collect()
    }
}

// === impl Attached ===

impl Attached {
    /// Wildcards and loopback mean this host.
    fn resolve(&self, address: &str) -> io::Result<(String, u16)> {
        let (host, port) = address.rsplit_once(':').ok_or(ErrorKind::InvalidInput)?;
        let port = port.parse().map_err(|_| ErrorKind::InvalidInput)?;
        let host = match host {
            "" | "0.0.0.0" | "127.0.0.1" | "localhost" | "[::]" | "[::1]" => &self.host,
            other => other,
        };
        Ok((host.to_owned(), port))
    }
}

#[async_trait]
impl Net for Attached {
    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        let (host, port) = self.resolve(address)?;
        self.network.check(&self.host, self.life)?;
        if host != self.host {
            return Err(ErrorKind::AddrNotAvailable.into());
        }
        let mut state = self.network.shared.state.lock();
        let port = match port {
            0 => {
                state.next_port += 1;
                state.next_port
            }
            given => given,
        };
        let address = format!("{host}:{port}");
        if state.listeners.contains_key(&address) {
            return Err(ErrorKind::AddrInUse.into());
        }
        let (sender, incoming) = mpsc::unbounded_channel();
        state.listeners.insert(address.clone(), sender);
        let incoming = tokio::sync::Mutex::new(incoming);
        Ok(Box::new(SimListener {
            network: self.network.clone(),
            address,
            host,
            life: self.life,
            incoming,
        }))
    }

    async fn dial(&self, address: &str) -> io::Result<Box<dyn Stream>> {
        let (host, port) = self.resolve(address)?;
        self.network.check(&self.host, self.life)?;
        let address = format!("{host}:{port}");
        let connecting = tokio::time::timeout(DIAL_TIMEOUT, self.network.connect(self, &address));
        let stream = connecting.await.map_err(|_| io::Error::from(ErrorKind::TimedOut))??;
        Ok(Box::new(stream))
    }
}

// === impl SimListener ===

#[async_trait]
impl Listener for SimListener {
    async fn accept(&self) -> io::Result<Accepted> {
        let next = self.incoming.lock().await.recv().await;
        next.ok_or_else(|| io::Error::new(ErrorKind::NetworkDown, "the simulated host has crashed"))
    }

    fn address(&self) -> String {
        self.address.clone()
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let mut state = self.network.shared.state.lock();
        // After a crash the next life may listen at the same address.
        if state.life(&self.host) == self.life {
            state.listeners.remove(&self.address);
        }
    }
}
