//! Watches on every shard through every proxy, and when they were cut.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use e2e::{Broken, Client, Watching};
use parking_lot::Mutex;
use serde_json::Value;

use crate::load::Shared;
use crate::plane::Place;

/// How long the head of an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(50);

/// One watch that is taken up again whenever it ends.
pub struct Watch {
    pub shard: usize,
    pub proxy: usize,
    place: Place,
    shared: Arc<Shared>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    seen: BTreeSet<String>,
    /// Of the last event.
    version: u64,
    /// When a stream ended, and how.
    cuts: Vec<(Instant, String)>,
    events: usize,
    relists: usize,
    wrong: Vec<String>,
}

// === impl Watch ===

impl Watch {
    pub fn new(shard: usize, proxy: usize, place: &Place, shared: &Arc<Shared>) -> Arc<Self> {
        Arc::new(Self {
            shard,
            proxy,
            place: place.clone(),
            shared: shared.clone(),
            state: Mutex::default(),
        })
    }

    /// Never returns before all is over.
    pub async fn run(self: Arc<Self>, client: Client) {
        let of = format!("/clusters/{}/api/v1/namespaces/default/configmaps", self.place.path);
        let mut must_list = true;
        while !self.shared.is_over.load(Ordering::Relaxed) {
            if must_list {
                match self.list(&client, &of).await {
                    Some(()) => must_list = false,
                    None => {
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                }
            }
            let version = self.state.lock().version;
            let path = format!("{of}?watch=1&resourceVersion={version}");
            match client.watch(&path, PATIENCE).await {
                Ok(Ok(stream)) => must_list = self.follow(stream).await,
                Ok(Err(reply)) if reply.code == 410 => must_list = true,
                Ok(Err(_)) | Err(_) => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn list(&self, client: &Client, of: &str) -> Option<()> {
        let reply = client.get(of, PATIENCE).await.ok().filter(|reply| reply.is_ok())?;
        let list = reply.json();
        let mut state = self.state.lock();
        state.version = list["metadata"]["resourceVersion"].as_str()?.parse().ok()?;
        state.relists += 1;
        let names = list["items"].as_array()?.iter();
        state
            .seen
            .extend(names.filter_map(|item| Some(item["metadata"]["name"].as_str()?.to_owned())));
        Some(())
    }

    /// Until it ends. Whether all has to be listed again.
    async fn follow(&self, mut stream: Watching) -> bool {
        let how = loop {
            match stream.next().await {
                Ok(Some(event)) if event["type"] == "ERROR" => {
                    if event["object"]["code"] == 410 {
                        return true;
                    }
                    break format!("told {}", event["object"]);
                }
                Ok(Some(event)) => self.take(&event),
                Ok(None) => break "ended".to_owned(),
                Err(Broken::Cut(why)) => break why,
                Err(Broken::Silent) => break "silent".to_owned(),
            }
        };
        self.state.lock().cuts.push((Instant::now(), how));
        false
    }

    fn take(&self, event: &Value) {
        let metadata = &event["object"]["metadata"];
        let name = metadata["name"].as_str().unwrap_or_default();
        let version = metadata["resourceVersion"].as_str().and_then(|text| text.parse().ok());
        let mut state = self.state.lock();
        let (shard, proxy) = (self.shard, self.proxy);
        match version {
            Some(version) if version > state.version => state.version = version,
            _ => {
                let why = format!(
                    "shard {shard}, proxy {proxy}: {version:?} behind {}: {event}",
                    state.version
                );
                state.wrong.push(why);
            }
        }
        state.events += 1;
        if !state.seen.insert(name.to_owned()) {
            state
                .wrong
                .push(format!("shard {shard}, proxy {proxy}: {name} is told twice"));
        }
    }

    /// Acknowledged, and not told.
    pub fn missing(&self) -> usize {
        let acknowledged = self.shared.watched[self.shard].lock();
        let state = self.state.lock();
        acknowledged.iter().filter(|name| !state.seen.contains(*name)).count()
    }

    /// Times at which it was cut from a moment on, and how.
    pub fn cuts_since(&self, moment: Instant) -> Vec<(Duration, String)> {
        let state = self.state.lock();
        let since = state.cuts.iter().filter(|(at, _)| *at >= moment);
        since.map(|(at, how)| (*at - moment, how.clone())).collect()
    }

    /// What should not have been told, and how many events were.
    pub fn wrong(&self) -> (Vec<String>, usize) {
        let state = self.state.lock();
        (state.wrong.clone(), state.events)
    }
}
