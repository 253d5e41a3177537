//! Watches that are kept: through cut connections, crashes and forgotten history, each stretch without a gap.

use std::sync::Arc;

use machinery::object::ObjectExt;
use parking_lot::Mutex;
use serde_json::Value;

use crate::client::{Client, Outcome, WatchStream};
use crate::history::{Change, Kind};
use crate::ledger::{Ledger, Segment};
use crate::tenant::revision;

/// What is watched.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The URL of the list.
    pub url: String,
    /// The beginning of keys: `core/configmaps/`; the cluster and the rest follow from the objects.
    pub resource: String,
    /// The one cluster whose objects in `default` may be seen; none: all.
    pub cluster: Option<String>,
}

/// How far a watcher has come. Cheap to clone.
#[derive(Clone)]
pub struct Reached(Arc<Mutex<Option<Segment>>>);

pub struct Watcher {
    client: Client,
    ledger: Ledger,
    subject: Subject,
    segment: Reached,
}

// === impl Subject ===

impl Subject {
    /// How the keys of what is watched begin.
    pub fn prefix(&self) -> String {
        match &self.cluster {
            Some(cluster) => format!("{}/{cluster}/default/", self.resource),
            None => format!("{}/", self.resource),
        }
    }

    fn key(&self, object: &Value) -> String {
        let cluster = object.annotation("kcp.io/cluster").unwrap_or_default();
        match object.namespace() {
            "" => format!("{}/{cluster}/{}", self.resource, object.name()),
            namespace => format!("{}/{cluster}/{namespace}/{}", self.resource, object.name()),
        }
    }

    fn with(&self, query: &str) -> String {
        format!("{}?{query}", self.url)
    }
}

// === impl Reached ===

impl Reached {
    /// The revision up to which everything was shown; `None` while there is no list to go on from.
    pub fn revision(&self) -> Option<u64> {
        self.0.lock().as_ref().map(|segment| segment.to)
    }

    /// What was shown since the last list.
    pub fn take(&self) -> Option<Segment> {
        self.0.lock().take()
    }
}

// === impl Watcher ===

impl Watcher {
    pub fn new(client: Client, ledger: Ledger, subject: Subject) -> (Self, Reached) {
        let segment = Reached(Arc::default());
        let watcher = Self {
            client,
            ledger,
            subject,
            segment: segment.clone(),
        };
        (watcher, segment)
    }

    /// Watches for ever.
    pub async fn run(mut self) {
        loop {
            let Some(from) = self.segment.revision() else {
                if !self.list().await {
                    let pause = 50 + self.client.rng.below(250);
                    self.client.site.sleep_ms(pause).await;
                }
                continue;
            };
            let seconds = 1 + self.client.rng.below(20);
            let query = format!("watch=1&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={from}");
            match self.client.watch(&self.subject.with(&query)).await {
                Ok(stream) => self.follow(stream).await,
                Err(Outcome::Answered(answer)) if answer.code == 410 => self.expire(),
                Err(_) => {
                    // What comes as fast as it can leaves the others no requests.
                    let pause = 50 + self.client.rng.below(250);
                    self.client.site.sleep_ms(pause).await;
                }
            }
        }
    }

    /// A list to go on from. What it shows is checked like every list.
    async fn list(&mut self) -> bool {
        let floor = self.ledger.floor();
        let Outcome::Answered(answer) = self.client.call("GET", &self.subject.url.clone(), &Value::Null).await else {
            return false;
        };
        let (200, Some(at)) = (answer.code, revision(&answer.body)) else {
            return false;
        };
        let items = answer.body["items"].as_array().cloned().unwrap_or_default();
        for item in &items {
            self.is_ours(item);
        }
        let mut items: Vec<(String, u64)> = items
            .iter()
            .map(|item| (self.subject.key(item), revision(item).unwrap_or(0)))
            .collect();
        items.sort();
        let prefix = self.subject.prefix();
        self.ledger.listed(&prefix, floor, at, items);
        *self.segment.0.lock() = Some(Segment {
            prefix,
            from: at,
            to: at,
            changes: Vec::new(),
        });
        true
    }

    async fn follow(&mut self, mut stream: WatchStream) {
        // Now and then a client goes away by itself.
        let patience = match self.client.rng.chance(0.3) {
            true => 50 + self.client.rng.below(3000),
            false => 60_000,
        };
        let site = self.client.site.clone();
        let until = site.env().clock.monotonic() + std::time::Duration::from_millis(patience);
        loop {
            let line = tokio::select! {
                biased;
                line = stream.next() => line,
                () = site.env().clock.sleep_until(until) => {
                    site.faults().count("connection/watch dropped");
                    None
                }
            };
            let Some(line) = line else { return };
            let object = &line["object"];
            let kind = line["type"].as_str().unwrap_or_default();
            site.note(
                &self.client.name,
                format_args!("{kind} {} {:?}", object.name(), revision(object)),
            );
            match Kind::parse(kind) {
                Some(kind) => self.event(kind, object),
                None if kind == "BOOKMARK" => self.reach(revision(object).unwrap_or(0), None),
                None if object["code"] == 410 => return self.expire(),
                // Any other error ends the connection.
                None => return,
            }
        }
    }

    fn event(&mut self, kind: Kind, object: &Value) {
        self.is_ours(object);
        let revision = revision(object).unwrap_or(0);
        let key = self.subject.key(object);
        self.reach(revision, Some(Change { revision, key, kind }));
    }

    fn reach(&self, revision: u64, change: Option<Change>) {
        if let Some(segment) = self.segment.0.lock().as_mut() {
            segment.to = segment.to.max(revision);
            segment.changes.extend(change);
        }
    }

    /// The server has forgotten what comes next: begin with a list again.
    fn expire(&self) {
        self.client.site.faults().count("watch/expired");
        self.segment
            .take()
            .into_iter()
            .for_each(|segment| self.ledger.watched(segment));
    }

    /// Isolation: nothing of another cluster is shown.
    fn is_ours(&self, object: &Value) {
        let cluster = object.annotation("kcp.io/cluster");
        if self.subject.cluster.is_some() && cluster != self.subject.cluster.as_deref() {
            let text = format!("{} shows an object of {cluster:?}", self.subject.url);
            self.client.site.violation(&self.client.name, text);
        }
    }
}
