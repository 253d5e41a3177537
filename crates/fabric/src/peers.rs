//! The shards that a process knows: their connections, and the streams that keep its index.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use api::keys::cluster;
use env::{Env, Task};
use machinery::status::{Reason, Status};
use parking_lot::{Mutex, RwLock};
use permit::Cluster;
use tenancy::WorkspacePath;
use tokio::sync::{Notify, Semaphore};

use crate::client_tls::ClientTls;
use crate::names::{Located, Names};
use crate::routes::{Route, Routes, ShardFacts, ShardId};
use crate::upstream::{Endpoint, Lane, Upstream, UpstreamOptions};
use crate::wire::index_client::IndexClient;
use crate::wire::lookup_client::LookupClient;
use crate::wire::resolve_response::Outcome;
use crate::wire::{IndexBatch, IndexWatchRequest, ResolveRequest, ResolveResponse};

/// Shards by URL, followed by one task each. Knows further shards from what the first ones tell.
pub struct Peers {
    env: Env,
    tls: Option<Arc<ClientTls>>,
    options: UpstreamOptions,
    /// When it was made, on the monotonic clock.
    begun: Duration,
    pub routes: Arc<Routes>,
    /// By URL; aborted when no shard is there any more, or the last that is interested goes.
    followed: Mutex<BTreeMap<String, Option<Task<()>>>>,
    /// Which URL a shard answers at: what the index was heard from.
    upstreams: RwLock<BTreeMap<ShardId, (String, Upstream)>>,
    /// A shard told of shards.
    heard: Notify,
    /// Look-ups that run now: more are refused, so that unknown paths cost the shards little.
    lookups: Semaphore,
    names: Names,
    /// Shards whose index is being told now.
    live: RwLock<BTreeSet<ShardId>>,
    /// The shard that this process is, which follows nobody of its own name.
    own: Option<String>,
    listener: Option<Arc<dyn Listener>>,
}

/// Who is told, after the index has taken it in. Called on the way of the stream: cheap.
pub trait Listener: Send + Sync {
    fn told(&self, shard: ShardId, batch: &IndexBatch);
    /// A shard tells its index, or does not any more.
    fn reached(&self, shard: ShardId, is_live: bool);
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    Cluster { cluster: Cluster, shard: ShardId },
    Mount { url: String, rest: Vec<String> },
}

/// Why a path leads nowhere.
#[derive(Clone, Debug, PartialEq)]
pub enum Lost {
    /// There is no such workspace, as far as who has to know says: a shard that was asked, or the index alone.
    Unknown(Option<ShardId>),
    /// A workspace on the way is not available, as its shard says.
    Unavailable,
    /// Who has to know cannot be asked: an answer as it is.
    Refused(Status),
}

const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// A shard that is back is to be heard soon: nothing is scheduled there before.
const BACKOFF_MAX: Duration = Duration::from_millis(500);
/// How long after a start all shards are waited for.
const WAIT_FOR_ALL: Duration = Duration::from_secs(10);
/// A path's look-ups, all together, and so a name's.
pub(crate) const LOOKUP_TIMEOUT: Duration = Duration::from_millis(900);
/// A path's look-ups as long as who is asked tells its index: it is slow, and it alone knows.
const SLOW_LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// How often it is looked whether it still does, or does by now.
const LIFE_PERIOD: Duration = Duration::from_millis(20);
const LOOKUPS_MAX: usize = 1024;

// === impl Peers ===

impl Peers {
    pub fn new(env: &Env, routes: Arc<Routes>, tls: Option<Arc<ClientTls>>, options: UpstreamOptions) -> Arc<Self> {
        Arc::new(Self {
            env: env.clone(),
            begun: env.clock.monotonic(),
            tls,
            options,
            routes,
            followed: Mutex::default(),
            upstreams: RwLock::default(),
            heard: Notify::new(),
            lookups: Semaphore::new(LOOKUPS_MAX),
            names: Names::new(env),
            live: RwLock::default(),
            own: None,
            listener: None,
        })
    }

    /// The others, for the shard of a name.
    pub fn of_shard(
        env: &Env,
        routes: Arc<Routes>,
        tls: Option<Arc<ClientTls>>,
        own: &str,
        listener: Arc<dyn Listener>,
    ) -> Arc<Self> {
        Arc::new(Self {
            env: env.clone(),
            begun: env.clock.monotonic(),
            tls,
            options: UpstreamOptions::default(),
            routes,
            followed: Mutex::default(),
            upstreams: RwLock::default(),
            heard: Notify::new(),
            lookups: Semaphore::new(LOOKUPS_MAX),
            names: Names::new(env),
            live: RwLock::default(),
            own: Some(own.to_owned()),
            listener: Some(listener),
        })
    }

    /// Follows the shards at `seeds`, and every shard that any of them tells of. Never returns.
    pub async fn run(self: Arc<Self>, seeds: Vec<String>) {
        let seeds: BTreeSet<String> = seeds.iter().map(|url| trimmed(url)).collect();
        loop {
            self.follow_all(&seeds);
            self.heard.notified().await;
        }
    }

    /// Follows the registered shards where they are, and lets go of where they were. One that is registered no more is
    /// followed for as long as it answers, for what it holds.
    fn follow_all(self: &Arc<Self>, seeds: &BTreeSet<String>) {
        let mut wanted = seeds.clone();
        for (shard, facts) in self.routes.shards() {
            if facts.is_registered && !facts.base_url.is_empty() && self.own.as_ref() != Some(&facts.name) {
                wanted.insert(trimmed(&facts.base_url));
            }
            if self.is_live(shard) {
                wanted.extend(self.url(shard));
            }
        }
        self.followed.lock().retain(|url, task| {
            let stays = wanted.contains(url);
            if let Some(task) = task.as_ref().filter(|_| !stays) {
                task.abort();
            }
            stays
        });
        for url in wanted {
            self.follow(url);
        }
    }

    /// The index has shards from elsewhere than a stream.
    pub fn look_again(&self) {
        self.heard.notify_one();
    }

    /// Whether a shard tells its index now: what is known of its being alive. Within a second it is noticed when
    /// a shard does not answer any more, and at once when its process ends.
    pub fn is_live(&self, shard: ShardId) -> bool {
        self.live.read().contains(&shard)
    }

    /// Whether a shard that answers at a URL tells its index now.
    pub fn is_live_at(&self, url: &str) -> bool {
        let url = trimmed(url);
        let (live, upstreams) = (self.live.read(), self.upstreams.read());
        live.iter()
            .any(|shard| upstreams.get(shard).is_some_and(|(at, _)| *at == url))
    }

    /// Connections to a shard.
    pub fn upstream(&self, shard: ShardId) -> Option<Upstream> {
        self.upstreams.read().get(&shard).map(|(_, upstream)| upstream.clone())
    }

    /// The URL that a shard answers at.
    pub fn url(&self, shard: ShardId) -> Option<String> {
        self.upstreams.read().get(&shard).map(|(url, _)| url.clone())
    }

    /// The shards that were reached: those that tell their index now, then the others, the longest known first.
    pub fn reached(&self) -> Vec<ShardId> {
        let mut reached: Vec<ShardId> = self.upstreams.read().keys().copied().collect();
        let live = self.live.read();
        reached.sort_by_key(|shard| !live.contains(shard));
        reached
    }

    /// Whether every shard has told what it holds. As long as the one that holds root has not told everything, nobody knows
    /// which there are: it tells of its clusters first, root among them, and of the shards behind all of these.
    pub fn is_everything_told(&self) -> bool {
        let root = Cluster::well_known(cluster::ROOT);
        let is_told =
            |facts: &ShardFacts| facts.complete || !facts.is_registered || self.own.as_ref() == Some(&facts.name);
        // A shard holds root itself, or begins with the one that does as a shard that has told nothing.
        let is_complete = |shard: ShardId| self.routes.facts(shard).is_some_and(|facts| facts.complete);
        let knows_shards = self.own.is_some() || self.routes.holder(&root).is_some_and(is_complete);
        knows_shards && self.routes.shards().iter().all(|(_, facts)| is_told(facts))
    }

    /// Whether the index is good enough to be used: everything is told, or, a while after the start, what those shards hold
    /// that answer. One that is down must not keep the others' workspaces from being served.
    pub fn is_usable(&self) -> bool {
        let has_waited = || self.env.clock.monotonic() >= self.begun + WAIT_FOR_ALL;
        let is_anything_told = || self.routes.shards().iter().any(|(_, facts)| facts.complete);
        self.is_everything_told() || (has_waited() && is_anything_told())
    }

    fn follow(self: &Arc<Self>, url: String) {
        let mut followed = self.followed.lock();
        if followed.contains_key(&url) {
            return;
        }
        followed.insert(url.clone(), None);
        let endpoint = match Endpoint::from_url(&url, self.tls.clone()) {
            Ok(endpoint) => endpoint,
            Err(error) => return tracing::warn!(%error, "a shard cannot be followed"),
        };
        let (watching, at) = (Arc::downgrade(self), url.clone());
        let life = move || watching.upgrade().is_some_and(|peers| peers.is_live_at(&at));
        let upstream = Upstream::watched(self.env.clone(), endpoint, self.options.clone(), Arc::new(life));
        let (peers, key) = (self.clone(), url.clone());
        let following = async move { peers.follow_through_failures(&url, &upstream).await };
        followed.insert(key, Some(self.env.spawn.spawn("index", following)));
    }

    /// Follows nobody any more.
    pub fn close(&self) {
        for task in std::mem::take(&mut *self.followed.lock()).into_values().flatten() {
            task.abort();
        }
    }

    async fn follow_through_failures(&self, url: &str, upstream: &Upstream) {
        let mut backoff = BACKOFF_MIN;
        let mut position = IndexWatchRequest::default();
        loop {
            let before = position.after_revision;
            let mut teller = None;
            let error = self.follow_once(url, upstream, &mut position, &mut teller).await;
            tracing::info!(url, %error, "the index of a shard is not told any more");
            if let Some(teller) = teller {
                self.set_live(teller, false);
                // It may be none of the shards any more.
                self.heard.notify_one();
            }
            position = resume(position, &error);
            if position.after_revision != before {
                backoff = BACKOFF_MIN;
            }
            self.env.clock.sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    fn set_live(&self, shard: ShardId, is_live: bool) {
        let changed = match is_live {
            true => self.live.write().insert(shard),
            false => self.live.write().remove(&shard),
        };
        if changed && let Some(listener) = &self.listener {
            listener.reached(shard, is_live);
        }
    }

    async fn follow_once(
        &self,
        url: &str,
        upstream: &Upstream,
        position: &mut IndexWatchRequest,
        teller: &mut Option<ShardId>,
    ) -> tonic::Status {
        let mut client = IndexClient::new(upstream.calls(Lane::Long)).max_decoding_message_size(64 * 1024 * 1024);
        let mut stream = match client.watch(position.clone()).await {
            Ok(response) => response.into_inner(),
            Err(status) => return status,
        };
        loop {
            let batch = match stream.message().await {
                Ok(Some(batch)) => batch,
                Ok(None) => return tonic::Status::unavailable("the stream ended"),
                Err(status) => return status,
            };
            if !batch.shard.is_empty() {
                if self.own.as_ref() == Some(&batch.shard) {
                    // The URL leads back here, or a second shard has this one's name.
                    return tonic::Status::invalid_argument("the shard says that it is this one");
                }
                *teller = self.meet(&batch.shard, url, upstream);
            }
            let Some(teller) = *teller else {
                return tonic::Status::invalid_argument("the shard does not say who it is");
            };
            self.routes.apply(teller, &batch);
            advance(position, &batch);
            self.set_live(teller, true);
            if let Some(listener) = &self.listener {
                listener.told(teller, &batch);
            }
            self.heard.notify_one();
        }
    }

    /// A shard has said its name at a URL.
    fn meet(&self, name: &str, url: &str, upstream: &Upstream) -> Option<ShardId> {
        let shard = self.routes.shard(name)?;
        let mut upstreams = self.upstreams.write();
        let (known, _) = upstreams
            .entry(shard)
            .or_insert_with(|| (url.to_owned(), upstream.clone()));
        let announced = self.routes.facts(shard).map(|facts| facts.base_url).unwrap_or_default();
        if known != url && announced.trim_end_matches('/') == url {
            upstreams.insert(shard, (url.to_owned(), upstream.clone()));
        }
        Some(shard)
    }

    /// Where a path leads: by the index, and where that has a gap, by asking who has to know.
    pub async fn resolve(&self, path: &WorkspacePath) -> Result<Destination, Lost> {
        match self.known(path) {
            Some(known) => known,
            None => self.look_for(path).await,
        }
    }

    /// Where a path leads, by the index alone. `None`: that has a gap.
    pub fn known(&self, path: &WorkspacePath) -> Option<Result<Destination, Lost>> {
        match self.routes.resolve(path) {
            Route::Cluster { cluster, shard, .. } => Some(Ok(Destination::Cluster { cluster, shard })),
            Route::Mount { url, followed } => Some(Ok(Destination::Mount {
                url,
                rest: names_behind(path, followed),
            })),
            Route::Unknown | Route::Partial { .. } => None,
        }
    }

    /// Where a path leads that is not [known](Self::known): the shard of its nearest known ancestor is asked, or, where not even
    /// the first segment is known, all of them.
    pub async fn look_for(&self, path: &WorkspacePath) -> Result<Destination, Lost> {
        if let Some(known) = self.known(path) {
            return known;
        }
        if let Route::Partial {
            cluster,
            shard,
            followed,
        } = self.routes.resolve(path)
        {
            return self.look_up(cluster, shard, names_behind(path, followed)).await;
        }
        let (cluster, shard) = self.locate(&first_of(path)?).await?;
        match names_behind(path, 0) {
            names if names.is_empty() => Ok(Destination::Cluster { cluster, shard }),
            names => self.look_up(cluster, shard, names).await,
        }
    }

    /// The same, believing nothing but the shards: for when the index has led astray.
    pub async fn resolve_anew(&self, path: &WorkspacePath) -> Result<Destination, Lost> {
        let first = first_of(path)?;
        let names = names_behind(path, 0);
        let alone = WorkspacePath::parse(first.as_str()).map_err(|_| Lost::Unknown(None))?;
        match self.routes.resolve(&alone) {
            Route::Cluster { shard, .. } if !names.is_empty() => self.look_up(first, shard, names).await,
            _ => {
                let (cluster, shard) = self.locate(&first).await?;
                match names.is_empty() {
                    true => Ok(Destination::Cluster { cluster, shard }),
                    false => self.look_up(cluster, shard, names).await,
                }
            }
        }
    }

    /// The shard that holds a cluster: all that were reached are asked. One that cannot answer may be it.
    async fn locate(&self, cluster: &Cluster) -> Result<(Cluster, ShardId), Lost> {
        if cluster.is_system() {
            // Every shard has those, for itself.
            return Err(Lost::Unknown(None));
        }
        let counts = |shard: ShardId| {
            let is_registered = self.routes.facts(shard).is_some_and(|facts| facts.is_registered);
            is_registered || self.is_live(shard)
        };
        // Before it is asked: a shard that is heard meanwhile was not.
        let is_everything_told = self.is_everything_told();
        let reached = self.upstreams.read().clone().into_iter();
        let shards = reached
            .filter(|(shard, _)| counts(*shard))
            .map(|(shard, (_, upstream))| (shard, upstream))
            .collect();
        let asking = self.names.locate(cluster, shards);
        match self.env.clock.timeout(LOOKUP_TIMEOUT, asking).await {
            Ok(Located::At { shard, epoch }) => {
                self.routes.learn(None, cluster, shard, epoch);
                Ok((cluster.clone(), shard))
            }
            Ok(Located::Nowhere) if is_everything_told => Err(Lost::Unknown(None)),
            // Whether there is such a cluster, a shard may know that was not heard yet.
            Ok(Located::Nowhere) => Err(Lost::Refused(unreachable("not every shard has told what it holds"))),
            Ok(Located::Unsaid) | Err(_) => Err(Lost::Refused(unreachable("a shard that may hold it does not answer"))),
            Ok(Located::Busy) => Err(Lost::Refused(too_many())),
        }
    }

    async fn look_up(&self, cluster: Cluster, shard: ShardId, names: Vec<String>) -> Result<Destination, Lost> {
        let Ok(_turn) = self.lookups.try_acquire() else {
            return Err(Lost::Refused(too_many()));
        };
        let clock = &self.env.clock;
        let end = clock.monotonic() + SLOW_LOOKUP_TIMEOUT;
        let asked = Mutex::new(shard);
        let mut asking = Box::pin(self.follow_names(cluster, &asked, names));
        let mut bound = LOOKUP_TIMEOUT;
        loop {
            match clock.timeout(bound, &mut asking).await {
                Ok(found) => return found,
                Err(_) if clock.monotonic() < end && self.is_live(*asked.lock()) => bound = LIFE_PERIOD,
                Err(_) => return Err(Lost::Refused(unreachable("the shard that holds it does not answer"))),
            }
        }
    }

    /// From shard to shard: each has to lead at least one name further, so that these are as many as names at most. `asked` is the
    /// shard that is asked now.
    async fn follow_names(
        &self,
        mut cluster: Cluster,
        asked: &Mutex<ShardId>,
        mut names: Vec<String>,
    ) -> Result<Destination, Lost> {
        loop {
            let shard = *asked.lock();
            let unknown = Lost::Unknown(Some(shard));
            let answer = self.ask(shard, &cluster, &names).await?;
            let followed = usize::try_from(answer.followed).unwrap_or(usize::MAX).min(names.len());
            let rest = names.split_off(followed);
            match answer.outcome() {
                Outcome::Mount => {
                    let url = answer.mount_url;
                    return Ok(Destination::Mount { url, rest });
                }
                Outcome::Unavailable => return Err(Lost::Unavailable),
                Outcome::Found | Outcome::Elsewhere => {}
                Outcome::Unknown | Outcome::Unspecified => return Err(unknown),
            }
            let is_found = answer.outcome() == Outcome::Found && rest.is_empty();
            if followed == 0 && !is_found {
                return Err(Lost::Refused(unreachable("the shards refer to each other")));
            }
            let next = Cluster::parse(&answer.cluster).map_err(|_| unknown.clone())?;
            let holder = match answer.outcome() {
                Outcome::Found => shard,
                // Who has to know is named, and has said nothing.
                _ => {
                    let heard = self.wait_for(|| self.routes.find_shard(&answer.shard));
                    let heard = self.env.clock.timeout(LOOKUP_TIMEOUT, heard).await;
                    heard.map_err(|_| Lost::Refused(unreachable("the shard that holds it was not heard of yet")))?
                }
            };
            // Only what its own shard says is kept.
            if let (Outcome::Found, [name]) = (answer.outcome(), names.as_slice()) {
                self.routes.learn(Some((&cluster, name)), &next, holder, answer.epoch);
            }
            if is_found {
                self.routes.learn(None, &next, holder, answer.epoch);
                return Ok(Destination::Cluster {
                    cluster: next,
                    shard: holder,
                });
            }
            (cluster, names) = (next, rest);
            *asked.lock() = holder;
        }
    }

    /// What is not known of a shard yet: it may have been started a moment ago, and this process may hear of it any moment.
    /// Callers limit the time.
    async fn wait_for<T>(&self, known: impl Fn() -> Option<T>) -> T {
        loop {
            if let Some(known) = known() {
                return known;
            }
            self.env.clock.sleep(LIFE_PERIOD).await;
        }
    }

    /// Within the time of a look-up.
    async fn ask(&self, shard: ShardId, cluster: &Cluster, names: &[String]) -> Result<ResolveResponse, Lost> {
        let upstream = self.wait_for(|| self.upstream(shard)).await;
        let request = ResolveRequest {
            cluster: cluster.to_string(),
            names: names.to_vec(),
        };
        let mut client = LookupClient::new(upstream.calls(Lane::Short));
        match client.resolve(request).await {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(Lost::Refused(unreachable(status.message()))),
        }
    }
}

fn trimmed(url: &str) -> String {
    url.trim_end_matches('/').to_owned()
}

/// Takes a batch into account that was applied.
fn advance(position: &mut IndexWatchRequest, batch: &IndexBatch) {
    if batch.begins_anew {
        // A position of before counts for nothing until everything was told: a stream that is cut in between would be
        // taken up behind what it still had to tell.
        position.after_revision = 0;
    }
    if !batch.shard.is_empty() {
        position.incarnation.clone_from(&batch.incarnation);
    }
    if batch.revision > 0 {
        position.after_revision = batch.revision;
    }
}

/// Where to go on after a stream has ended. A shard that cannot tell what came after a position says `ABORTED`, and would
/// say so again.
fn resume(position: IndexWatchRequest, error: &tonic::Status) -> IndexWatchRequest {
    match error.code() {
        tonic::Code::Aborted => IndexWatchRequest::default(),
        _ => position,
    }
}

/// The cluster that a path begins with.
fn first_of(path: &WorkspacePath) -> Result<Cluster, Lost> {
    let first = || Cluster::parse(path.segments().next()?).ok();
    path.as_cluster().or_else(first).ok_or(Lost::Unknown(None))
}

/// The names behind the first segment of a path and `followed` more.
fn names_behind(path: &WorkspacePath, followed: usize) -> Vec<String> {
    match path.as_cluster() {
        Some(_) => Vec::new(),
        None => path.segments().skip(followed + 1).map(str::to_owned).collect(),
    }
}

/// For who looks for more than shards can be asked for.
pub fn too_many() -> Status {
    Status::too_many_requests("too many workspaces are looked for, please try again later", 1)
}

/// kcp's text for workspaces in phase Unavailable.
pub fn not_available() -> Status {
    Status::new(503, Reason::ServiceUnavailable, "Not available.")
}

/// 503 with a reason that names no address: clients learn that it is a shard, operators find the rest in the log.
pub fn unreachable(why: &str) -> Status {
    tracing::info!(why, "a shard cannot be reached");
    Status::new(
        503,
        Reason::ServiceUnavailable,
        "the shard that serves this workspace cannot be reached",
    )
}

#[cfg(test)]
mod tests;
