//! Following the shards: one stream each, begun again whenever it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use env::{Env, Task};
use machinery::object::ObjectExt;
use machinery::selector::LabelSelector;
use parking_lot::Mutex;
use permit::Scope;
use tokio::sync::Notify;
use tonic::Status;

use super::Replicas;
use super::sink::Teller;
use crate::client_tls::ClientTls;
use crate::upstream::{Endpoint, Lane, Upstream, UpstreamOptions};
use crate::wire::replicate_client::ReplicateClient;
use crate::wire::{ReplicateBatch, ReplicateWatchRequest};

/// A registered shard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    pub name: String,
    /// Where components reach it.
    pub url: String,
}

/// Which shards there are, as far as this process knows from elsewhere than replicas.
#[async_trait]
pub trait Members: Send + Sync {
    fn members(&self) -> Vec<Member>;
    /// Whether these are all: this process is the shard that they are registered with.
    fn are_all(&self) -> bool;
    /// Waits until there may be others. Whoever hears of shards by replicas alone waits for ever.
    async fn changed(&self) {
        std::future::pending().await
    }
}

/// Keeps [`Replicas`] up to date. Made once, then [`run`](Self::run).
pub struct Following {
    env: Env,
    tls: Option<Arc<ClientTls>>,
    options: UpstreamOptions,
    /// The shard that this process is; empty: none.
    own: String,
    replicas: Arc<Replicas>,
    members: Arc<dyn Members>,
    /// Streams by URL.
    streams: Mutex<BTreeMap<String, Task<()>>>,
    /// Which URL a shard is heard from, and whether it has told everything.
    tellers: Mutex<BTreeMap<String, (String, bool)>>,
    /// The shard with which shards are registered has told all of them.
    knows_all: AtomicBool,
    /// Shards may have come or gone.
    look: Notify,
}

pub(super) const BACKOFF_MIN: Duration = Duration::from_millis(50);
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// A schema may have a megabyte, and what is written of it meanwhile is another batch.
pub(crate) const MESSAGE_MAX: usize = 64 << 20;

// === impl Following ===

impl Following {
    pub fn new(
        env: &Env,
        tls: Option<Arc<ClientTls>>,
        options: UpstreamOptions,
        own: &str,
        replicas: Arc<Replicas>,
        members: Arc<dyn Members>,
    ) -> Arc<Self> {
        Arc::new(Self {
            env: env.clone(),
            tls,
            options,
            own: own.to_owned(),
            replicas,
            members,
            streams: Mutex::default(),
            tellers: Mutex::default(),
            knows_all: AtomicBool::new(false),
            look: Notify::new(),
        })
    }

    /// Follows the shards at `seeds`, and every registered one, as long as it is. Never returns.
    pub async fn run(self: Arc<Self>, seeds: Vec<String>) {
        let seeds: BTreeSet<String> = seeds.iter().map(|url| trimmed(url)).collect();
        let _ended_with_this = Streams(&self);
        loop {
            let members = self.known_members();
            self.follow_all(&seeds, &members);
            if let Err(error) = self.collect(&members).await {
                tracing::warn!(%error, "replicas of shards that are gone could not be removed");
            }
            tokio::select! {
                biased;
                () = self.look.notified() => {}
                () = self.members.changed() => {}
            }
        }
    }

    /// Whether a shard tells what it holds now, and has told everything.
    pub fn is_told(&self, shard: &str) -> bool {
        self.tellers.lock().get(shard).is_some_and(|(_, whole)| *whole)
    }

    /// Registered shards, this process's own objects before what others told.
    fn known_members(&self) -> BTreeMap<String, String> {
        let told = self.replicas.list(
            api::keys::group::CORE,
            "shards",
            &Scope::All,
            &LabelSelector::everything(),
        );
        let told = told.iter().map(|shard| {
            let url = shard.str_at(&["spec", "baseURL"]).unwrap_or_default();
            (shard.name().to_owned(), trimmed(url))
        });
        let mut members: BTreeMap<String, String> = told.collect();
        members.extend(self.members.members().into_iter().map(|m| (m.name, trimmed(&m.url))));
        members
    }

    fn follow_all(self: &Arc<Self>, seeds: &BTreeSet<String>, members: &BTreeMap<String, String>) {
        let registered = members
            .iter()
            .filter(|(name, url)| **name != self.own && !url.is_empty());
        let mut wanted: BTreeSet<String> = registered.map(|(_, url)| url.clone()).collect();
        wanted.extend(seeds.iter().cloned());
        let mut streams = self.streams.lock();
        streams.retain(|url, stream| {
            let stays = wanted.contains(url);
            if !stays {
                stream.abort();
                self.tellers.lock().retain(|_, (heard_at, _)| heard_at != url);
            }
            stays
        });
        for url in wanted {
            if streams.contains_key(&url) {
                continue;
            }
            let endpoint = match Endpoint::from_url(&url, self.tls.clone()) {
                Ok(endpoint) => endpoint,
                Err(error) => {
                    tracing::warn!(url, %error, "a shard's objects cannot be followed");
                    continue;
                }
            };
            let upstream = Upstream::new(self.env.clone(), endpoint, self.options.clone());
            let (following, at) = (Arc::clone(self), url.clone());
            let task = async move { following.follow(&at, &upstream).await };
            streams.insert(url, self.env.spawn.spawn("replicas", task));
        }
    }

    async fn follow(self: Arc<Self>, url: &str, upstream: &Upstream) {
        let mut backoff = BACKOFF_MIN;
        let mut position = ReplicateWatchRequest::default();
        loop {
            let before = position.after_revision;
            let error = self.follow_once(url, upstream, &mut position).await;
            self.tellers.lock().retain(|_, (heard_at, _)| heard_at != url);
            tracing::info!(url, %error, "a shard's objects are not told any more");
            if error.code() == tonic::Code::Aborted {
                position = ReplicateWatchRequest::default();
            }
            if position.after_revision != before {
                backoff = BACKOFF_MIN;
            }
            self.env.clock.sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    async fn follow_once(&self, url: &str, upstream: &Upstream, position: &mut ReplicateWatchRequest) -> Status {
        match self.take_stream(url, upstream, position).await {
            Ok(()) => Status::unavailable("the stream ended"),
            Err(status) => status,
        }
    }

    async fn take_stream(
        &self,
        url: &str,
        upstream: &Upstream,
        position: &mut ReplicateWatchRequest,
    ) -> Result<(), Status> {
        let calls = upstream.calls(Lane::Long);
        let mut client = ReplicateClient::new(calls).max_decoding_message_size(MESSAGE_MAX);
        let mut stream = client.watch(position.clone()).await?.into_inner();
        let Some(head) = stream.message().await? else {
            return Ok(());
        };
        self.meet(&head, url)?;
        let failed = |error: storage::StorageError| Status::unavailable(error.to_string());
        let store = self.replicas.store().await.map_err(failed)?;
        let mut teller = Teller::new(&self.replicas, &store, &head);
        let mut next = Some(head);
        while let Some(batch) = next {
            let after = advanced(position, &batch);
            let concerns_shards = batch.entries.iter().any(|entry| entry.resource == "shards");
            let completes = batch.complete;
            teller.take(&self.replicas, &store, batch).await.map_err(failed)?;
            *position = after;
            if completes {
                self.completed(&teller, &store);
            }
            if concerns_shards || completes {
                self.look.notify_one();
            }
            next = stream.message().await?;
        }
        Ok(())
    }

    /// A shard says who it is.
    fn meet(&self, head: &ReplicateBatch, url: &str) -> Result<(), Status> {
        if !is_shard_name(&head.shard) {
            return Err(Status::invalid_argument("the shard does not say who it is"));
        }
        if head.shard == self.own {
            return Err(Status::invalid_argument("the shard says that it is this one"));
        }
        let mut tellers = self.tellers.lock();
        match tellers.get(&head.shard) {
            Some((other, _)) if other != url => Err(Status::already_exists("this shard is heard at another URL")),
            _ => {
                tellers.insert(head.shard.clone(), (url.to_owned(), !head.begins_anew));
                Ok(())
            }
        }
    }

    fn completed(&self, teller: &Teller, store: &storage::Store) {
        if let Some((_, whole)) = self.tellers.lock().get_mut(&teller.shard) {
            *whole = teller.is_whole();
        }
        let shards = super::resource_key(api::keys::group::CORE, "shards");
        let all = LabelSelector::everything();
        let registers = self.replicas.entries(store, &shards, &Scope::All, &teller.shard, &all);
        if !registers.is_empty() {
            self.knows_all.store(true, Ordering::Relaxed);
        }
    }

    /// Removes what is kept of shards that are no members any more, once it is known who is.
    async fn collect(&self, members: &BTreeMap<String, String>) -> Result<(), storage::StorageError> {
        let knows_all = self.knows_all.load(Ordering::Relaxed) || self.members.are_all();
        let Some(store) = self.replicas.opened().filter(|_| knows_all) else {
            return Ok(());
        };
        for shard in self.replicas.origins() {
            let is_heard = self.tellers.lock().contains_key(&shard);
            if !members.contains_key(&shard) && !is_heard && self.replicas.count(&shard) > 0 {
                tracing::info!(shard, "the shard is gone: so is what was kept of it");
                self.replicas.remove(&store, &shard, |_, _| true).await?;
            }
        }
        Ok(())
    }
}

/// The streams of one run.
struct Streams<'a>(&'a Following);

impl Drop for Streams<'_> {
    fn drop(&mut self) {
        for stream in std::mem::take(&mut *self.0.streams.lock()).into_values() {
            stream.abort();
        }
        self.0.tellers.lock().clear();
    }
}

fn trimmed(url: &str) -> String {
    url.trim_end_matches('/').to_owned()
}

/// kcp's grammar, but not empty.
pub(super) fn is_shard_name(name: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b':';
    (1..=61).contains(&name.len()) && name.bytes().all(is_allowed)
}

/// The position behind a batch: of a telling that was cut before its end nothing is known.
pub(super) fn advanced(position: &ReplicateWatchRequest, batch: &ReplicateBatch) -> ReplicateWatchRequest {
    let mut after = position.clone();
    if batch.begins_anew {
        after.after_revision = 0;
    }
    if !batch.shard.is_empty() {
        after.incarnation.clone_from(&batch.incarnation);
    }
    if batch.revision > 0 {
        after.after_revision = batch.revision;
    }
    after
}
