//! Requests all the time, to every shard through every proxy, by somebody who remembers what was acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use e2e::{Broken, Client, Reply};
use http::Method;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::book::{self, Book, Outcome, Record};
use crate::plane::Place;

/// How long a request may take at all; more is silence.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same for a proxy that is lost.
const LITTLE_PATIENCE: Duration = Duration::from_secs(1);

/// What all lanes share.
pub struct Shared {
    pub book: Arc<Book>,
    pub is_over: AtomicBool,
    /// The proxy that is lost now; none: `usize::MAX`.
    pub lost_proxy: AtomicUsize,
    /// Names acknowledged in the first workspace of each shard, which is watched.
    pub watched: [Mutex<BTreeSet<String>>; 3],
    /// Requests of all time.
    pub asked: AtomicUsize,
    pub acknowledged: AtomicUsize,
}

/// One shard through one proxy.
pub struct Lane {
    pub shard: usize,
    pub proxy: usize,
    /// By proxy.
    pub clients: [Client; 2],
    pub janes: [Client; 2],
    pub eves: [Client; 2],
    pub robots: [Client; 2],
    pub places: Arc<Vec<Place>>,
    pub shared: Arc<Shared>,
    pub kept: BTreeMap<usize, Kept>,
    pub created: BTreeMap<usize, Names>,
}

/// An object that is written again and again.
#[derive(Default)]
pub struct Kept {
    acked: Option<u64>,
    version: Option<String>,
    /// Values that may or may not have been written.
    doubt: BTreeSet<u64>,
}

/// Objects that are written once.
#[derive(Default)]
pub struct Names {
    acked: BTreeSet<String>,
    doubt: BTreeSet<String>,
}

// === impl Shared ===

impl Shared {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            book: Arc::default(),
            is_over: AtomicBool::new(false),
            lost_proxy: AtomicUsize::new(usize::MAX),
            watched: Default::default(),
            asked: AtomicUsize::new(0),
            acknowledged: AtomicUsize::new(0),
        })
    }

    fn is_lost(&self, proxy: usize) -> bool {
        self.lost_proxy.load(Ordering::Relaxed) == proxy
    }
}

// === impl Lane ===

impl Lane {
    /// Until it is over. Returns with what it remembers.
    pub async fn run(mut self) -> Self {
        let pause = Duration::from_millis(if book::is_release() { 10 } else { 40 });
        for step in 0_usize.. {
            if self.shared.is_over.load(Ordering::Relaxed) {
                break;
            }
            // Every shard's first workspace is watched, and not for updates.
            let at = 1 + step / 8 * 7 % (self.places.len() - 1);
            match step % 8 {
                0 | 4 => self.create(at, step).await,
                1 | 5 => self.update(at, step).await,
                2 => self.create(0, step).await,
                3 | 7 => self.read(at, step).await,
                _ => self.ask_for_others(step).await,
            }
            tokio::time::sleep(pause).await;
        }
        self
    }

    /// By path and by name in turns.
    fn of(&self, at: usize, step: usize) -> String {
        let Place { path, cluster } = &self.places[at];
        let place = if step % 16 < 8 { path } else { cluster };
        format!("/clusters/{place}/api/v1/namespaces/default/configmaps")
    }

    async fn create(&mut self, at: usize, step: usize) {
        let name = format!("c-{}-{}-{step}", self.shard, self.proxy);
        let object = json!({"metadata": {"name": name}, "data": {"step": step.to_string()}});
        let of = self.of(at, step);
        let proxy = self.proxy;
        let answered = self.ask("create", proxy, Method::POST, &of, Some(&object)).await;
        let names = self.created.entry(at).or_default();
        match answered {
            Ok(reply) if reply.is_ok() => {
                self.shared.acknowledged.fetch_add(1, Ordering::Relaxed);
                if at == 0 {
                    self.shared.watched[self.shard].lock().insert(name.clone());
                }
                names.acked.insert(name);
            }
            _ => _ = names.doubt.insert(name),
        }
    }

    /// On the version that was acknowledged last, so that nothing of an earlier doubt comes behind it.
    async fn update(&mut self, at: usize, step: usize) {
        let name = format!("u-{}-{}", self.shard, self.proxy);
        let (of, proxy) = (self.of(at, step), self.proxy);
        let mut kept = self.kept.remove(&at).unwrap_or_default();
        if kept.version.is_none() && !kept.doubt.is_empty() {
            self.look(at, step, proxy, &mut kept).await;
        }
        let value = step as u64;
        let mut object = json!({"metadata": {"name": name}, "data": {"value": value.to_string()}});
        let begun = Instant::now();
        let answered = match &kept.version {
            Some(version) => {
                object["metadata"]["resourceVersion"] = json!(version);
                let path = format!("{of}/{name}");
                self.exchange(proxy, Method::PUT, &path, Some(&object)).await
            }
            None if kept.acked.is_none() => self.exchange(proxy, Method::POST, &of, Some(&object)).await,
            // Who could not look does not write.
            None => {
                self.kept.insert(at, kept);
                return;
            }
        };
        let outcome = match &answered {
            // What was in doubt has been written just now.
            Ok(reply) if reply.code == 409 && !kept.doubt.is_empty() => Outcome::Done,
            other => Outcome::of(&name, other),
        };
        self.note("update", proxy, begun, outcome);
        match answered {
            Ok(reply) if reply.is_ok() => {
                self.shared.acknowledged.fetch_add(1, Ordering::Relaxed);
                let version = reply.json()["metadata"]["resourceVersion"].as_str().map(str::to_owned);
                kept = Kept {
                    acked: Some(value),
                    version,
                    doubt: BTreeSet::new(),
                };
            }
            _ => {
                kept.doubt.insert(value);
                kept.version = None;
            }
        }
        self.kept.insert(at, kept);
    }

    async fn read(&mut self, at: usize, step: usize) {
        // Through either proxy: what one has acknowledged the other one shows.
        let other = 1 - self.proxy;
        let proxy = match step.is_multiple_of(2) || self.shared.is_lost(other) {
            true => self.proxy,
            false => other,
        };
        let mut kept = self.kept.remove(&at).unwrap_or_default();
        if kept.acked.is_some() || !kept.doubt.is_empty() {
            self.look(at, step, proxy, &mut kept).await;
        }
        self.kept.insert(at, kept);
    }

    /// Reads an object and holds it to what was acknowledged.
    async fn look(&mut self, at: usize, step: usize, proxy: usize, kept: &mut Kept) {
        let name = format!("u-{}-{}", self.shard, self.proxy);
        let path = format!("{}/{name}", self.of(at, step));
        let begun = Instant::now();
        let answered = self.exchange(proxy, Method::GET, &path, None).await;
        let outcome = match &answered {
            Ok(reply) if reply.code == 404 && kept.acked.is_none() => Outcome::Done,
            Ok(reply) if reply.is_ok() => match kept.check(&reply.json()) {
                Ok(()) => Outcome::Done,
                Err(why) => Outcome::Wrong(format!("{path}: {why}")),
            },
            other => Outcome::of(&path, other),
        };
        self.note("get", proxy, begun, outcome);
    }

    /// Users with rules of their own, an account, and nobody.
    async fn ask_for_others(&mut self, step: usize) {
        let place = &self.places[0].path;
        let path = format!("/clusters/{place}/api/v1/namespaces/default/configmaps/kube-root-ca.crt");
        let proxy = self.proxy;
        let begun = Instant::now();
        let patience = self.patience(proxy);
        let (what, client, is_allowed) = match step / 8 % 3 {
            0 => ("get by RBAC", &self.janes[proxy], true),
            1 => ("get by nobody", &self.eves[proxy], false),
            _ => ("get by account", &self.robots[proxy], true),
        };
        let answered = client.get(&path, patience).await;
        let outcome = match &answered {
            Ok(reply) if reply.code == 403 && !is_allowed => Outcome::Done,
            Ok(reply) if reply.is_ok() && !is_allowed => Outcome::Wrong("nobody was let in".to_owned()),
            other => Outcome::of(&path, other),
        };
        self.note(what, proxy, begun, outcome);
    }

    async fn ask(
        &self,
        what: &'static str,
        proxy: usize,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Reply, Broken> {
        let begun = Instant::now();
        let answered = self.exchange(proxy, method, path, body).await;
        self.note(what, proxy, begun, Outcome::of(path, &answered));
        answered
    }

    async fn exchange(&self, proxy: usize, method: Method, path: &str, body: Option<&Value>) -> Result<Reply, Broken> {
        let patience = self.patience(proxy);
        self.clients[proxy].send(method, path, body, patience).await
    }

    fn patience(&self, proxy: usize) -> Duration {
        match self.shared.is_lost(proxy) {
            true => LITTLE_PATIENCE,
            false => PATIENCE,
        }
    }

    fn note(&self, what: &'static str, proxy: usize, begun: Instant, outcome: Outcome) {
        self.shared.asked.fetch_add(1, Ordering::Relaxed);
        self.shared.book.note(Record {
            begun,
            took: begun.elapsed(),
            shard: self.shard,
            proxy,
            what,
            outcome,
        });
    }

    /// What is missing in the end, and what should not be there, with how many objects were looked at.
    pub async fn verify(&self, client: &Client) -> (usize, Vec<String>) {
        let (mut looked_at, mut wrong) = (0, Vec::new());
        let places: BTreeSet<usize> = self.kept.keys().chain(self.created.keys()).copied().collect();
        for at in places {
            let list = client.get(&self.of(at, 0), PATIENCE).await.expect("it answers");
            assert!(list.is_ok(), "{} {}", list.code, list.json());
            let list = list.json();
            let objects = list["items"].as_array().expect("items");
            let found: BTreeMap<&str, &Value> = objects
                .iter()
                .map(|object| (object["metadata"]["name"].as_str().unwrap_or_default(), object))
                .collect();
            if let Some(kept) = self.kept.get(&at)
                && kept.acked.is_some()
            {
                looked_at += 1;
                let name = format!("u-{}-{}", self.shard, self.proxy);
                let checked = match found.get(&*name) {
                    Some(object) => kept.holds(object).map(|_| ()),
                    None => Err("gone".to_owned()),
                };
                if let Err(why) = checked {
                    wrong.push(format!("{name} in {}: {why}", self.places[at].path));
                }
            }
            if let Some(names) = self.created.get(&at) {
                looked_at += names.acked.len();
                let lost = names.acked.iter().filter(|name| !found.contains_key(name.as_str()));
                wrong.extend(lost.map(|name| format!("{name} in {} is lost", self.places[at].path)));
                let own = format!("c-{}-{}-", self.shard, self.proxy);
                let made_up = found.keys().filter(|name| {
                    name.starts_with(&own) && !names.acked.contains(**name) && !names.doubt.contains(**name)
                });
                wrong.extend(made_up.map(|name| format!("nobody has created {name}")));
            }
        }
        (looked_at, wrong)
    }
}

// === impl Kept ===

impl Kept {
    /// An object as it was read: what was acknowledged, or what was in doubt. From then on it is what counts.
    fn check(&mut self, object: &Value) -> Result<(), String> {
        self.acked = Some(self.holds(object)?);
        self.version = object["metadata"]["resourceVersion"].as_str().map(str::to_owned);
        Ok(())
    }

    fn holds(&self, object: &Value) -> Result<u64, String> {
        let value = object["data"]["value"].as_str().and_then(|text| text.parse().ok());
        match value {
            Some(value) if self.acked == Some(value) || self.doubt.contains(&value) => Ok(value),
            _ => Err(format!(
                "{value:?} where {:?} was acknowledged and {:?} is in doubt",
                self.acked, self.doubt
            )),
        }
    }
}
