use apiserver::auth::{Authenticator, Credentials};
use apiserver::{Body, Connection, Lifecycle, RequestBody, Server, ServerOptions, Service};
use async_trait::async_trait;
use env::simulated::{SimOptions, World};
use futures_util::StreamExt as _;
use http::{Request, Response};
use machinery::user::{MASTERS, User};
use telemetry::Metrics;

use super::*;
use crate::serve::{Batches, Fabric, Source};
use crate::wire::index_entry::Entry;
use crate::wire::{
    ClusterEntry, IndexEntry, LocateRequest, LocateResponse, ReplicateBatch, ReplicateWatchRequest, ShardEntry,
};

fn seen(incarnation: &str, after_revision: u64) -> IndexWatchRequest {
    IndexWatchRequest {
        after_revision,
        incarnation: incarnation.to_owned(),
    }
}

#[test]
fn a_telling_that_was_cut_before_its_end_is_not_resumed() {
    let mut position = seen("before the restart", 100);
    let head = IndexBatch {
        shard: "root".to_owned(),
        incarnation: "after it".to_owned(),
        begins_anew: true,
        ..IndexBatch::default()
    };
    advance(&mut position, &head);
    advance(&mut position, &IndexBatch::default());
    assert_eq!(position, seen("after it", 0));
    let last = IndexBatch {
        complete: true,
        revision: 120,
        ..IndexBatch::default()
    };
    advance(&mut position, &last);
    assert_eq!(position, seen("after it", 120));
    assert_eq!(resume(position.clone(), &tonic::Status::unavailable("cut")), position);
}

#[test]
fn what_a_shard_cannot_tell_any_more_is_not_asked_for_again() {
    let expired = tonic::Status::aborted("the index cannot be told from here on");
    assert_eq!(resume(seen("x", 100), &expired), IndexWatchRequest::default());
}

/// Holds `root`, and sends whoever asks for a path on to this shard.
struct Root {
    refers_to: &'static str,
}

struct Site(Fabric);

struct Component;

#[async_trait]
impl Source for Root {
    async fn watch(&self, _: IndexWatchRequest) -> Result<Batches, tonic::Status> {
        let held = ClusterEntry {
            name: "root".to_owned(),
            epoch: 1,
            ..ClusterEntry::default()
        };
        let batch = IndexBatch {
            shard: "root".to_owned(),
            begins_anew: true,
            complete: true,
            revision: 1,
            entries: vec![IndexEntry {
                entry: Some(Entry::Cluster(held)),
            }],
            ..IndexBatch::default()
        };
        Ok(Box::pin(
            futures_util::stream::iter([Ok(batch)]).chain(futures_util::stream::pending()),
        ))
    }

    async fn resolve(&self, _: ResolveRequest) -> Result<ResolveResponse, tonic::Status> {
        Ok(ResolveResponse {
            outcome: Outcome::Elsewhere.into(),
            followed: 1,
            cluster: "org".to_owned(),
            shard: self.refers_to.to_owned(),
            ..ResolveResponse::default()
        })
    }

    async fn locate(&self, _: LocateRequest) -> Result<LocateResponse, tonic::Status> {
        Ok(LocateResponse::default())
    }

    async fn replicate(&self, _: ReplicateWatchRequest) -> Result<Batches<ReplicateBatch>, tonic::Status> {
        Err(tonic::Status::unavailable("nothing is replicated"))
    }
}

#[async_trait]
impl Authenticator for Component {
    async fn authenticate(&self, _: &Credentials<'_>) -> machinery::status::Result<Option<User>> {
        Ok(Some(User::new("shard", &[MASTERS])))
    }
}

impl Service for Site {
    async fn serve(&self, request: Request<RequestBody>, connection: &Connection) -> Response<Body> {
        self.0.serve(request, connection).await
    }
}

const ROOT_URL: &str = "http://root:7000";

fn peers_of(env: &Env) -> Arc<Peers> {
    let peers = Peers::new(env, Arc::new(Routes::new([1, 2])), None, UpstreamOptions::default());
    let following = peers.clone().run(vec![format!("{ROOT_URL}/")]);
    env.spawn.spawn("peers", following).detach();
    peers
}

async fn serve(world: &World, name: &str, source: impl Source) {
    let env = world.host(name).env();
    let fabric = Fabric::new(Arc::new(source), Arc::new(Component), Lifecycle::new());
    let server = Server::new(
        env.clone(),
        ServerOptions::default(),
        Arc::new(Site(fabric)),
        None,
        Lifecycle::new(),
        Metrics::new(),
    );
    let listener = env.net.listen(&format!("{name}:7000")).await.unwrap();
    let serving = async move { server.run(listener).await };
    env.spawn.spawn("server", serving).detach();
}

#[tokio::test(start_paused = true)]
async fn what_its_holder_has_not_said_is_not_there_is_not_reachable_now() {
    for refers_to in ["unheard-of", "root"] {
        let world = World::new(3, SimOptions::default());
        serve(&world, "root", Root { refers_to }).await;
        let env = world.host("proxy").env();
        let peers = peers_of(&env);
        env.clock.sleep(Duration::from_secs(2)).await;
        assert!(peers.is_everything_told());
        let path = WorkspacePath::parse("root:org:team").unwrap();
        match peers.resolve(&path).await {
            Err(Lost::Refused(status)) => assert_eq!(status.code, 503, "{refers_to}"),
            other => panic!("{refers_to}: {other:?}"),
        }
    }
}

/// Holds every other level of one path, and sends on to the shard that holds the others.
struct Rung {
    name: &'static str,
    other: &'static str,
}

#[async_trait]
impl Source for Rung {
    async fn watch(&self, _: IndexWatchRequest) -> Result<Batches, tonic::Status> {
        let shard = |name: &str| {
            Entry::Shard(ShardEntry {
                name: name.to_owned(),
                base_url: format!("http://{name}:7000"),
                ..ShardEntry::default()
            })
        };
        let held = match self.name {
            "root" => "root",
            _ => "elsewhere",
        };
        let held = Entry::Cluster(ClusterEntry {
            name: held.to_owned(),
            epoch: 1,
            ..ClusterEntry::default()
        });
        let mut entries = vec![held];
        if self.name == "root" {
            entries.extend(["root", "beta"].map(shard));
        }
        let entries = entries.into_iter().map(|entry| IndexEntry { entry: Some(entry) });
        let batch = IndexBatch {
            shard: self.name.to_owned(),
            begins_anew: true,
            complete: true,
            revision: 1,
            entries: entries.collect(),
            ..IndexBatch::default()
        };
        Ok(Box::pin(
            futures_util::stream::iter([Ok(batch)]).chain(futures_util::stream::pending()),
        ))
    }

    async fn resolve(&self, request: ResolveRequest) -> Result<ResolveResponse, tonic::Status> {
        let is_leaf = request.names.is_empty();
        Ok(ResolveResponse {
            outcome: if is_leaf { Outcome::Found } else { Outcome::Elsewhere }.into(),
            followed: u32::from(!is_leaf),
            // Names of paths are all `x`: how many are left says where it is.
            cluster: format!("level{}", request.names.len().saturating_sub(1)),
            shard: if is_leaf { self.name } else { self.other }.to_owned(),
            epoch: 3,
            ..ResolveResponse::default()
        })
    }

    async fn locate(&self, _: LocateRequest) -> Result<LocateResponse, tonic::Status> {
        Ok(LocateResponse::default())
    }

    async fn replicate(&self, _: ReplicateWatchRequest) -> Result<Batches<ReplicateBatch>, tonic::Status> {
        Err(tonic::Status::unavailable("nothing is replicated"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_path_may_change_shards_at_every_level() {
    let world = World::new(3, SimOptions::default());
    for (name, other) in [("root", "beta"), ("beta", "root")] {
        serve(&world, name, Rung { name, other }).await;
    }
    let env = world.host("proxy").env();
    let peers = peers_of(&env);
    env.clock.sleep(Duration::from_secs(2)).await;
    assert!(peers.is_everything_told());
    for levels in [1, 7, 8, 9, 30] {
        let path = WorkspacePath::parse(&format!("root{}", ":x".repeat(levels))).unwrap();
        let holder = ["root", "beta"][levels % 2];
        match peers.resolve(&path).await {
            Ok(Destination::Cluster { shard, .. }) => {
                let found = peers.routes.facts(shard).map(|facts| facts.name);
                assert_eq!(found.as_deref(), Some(holder), "{levels} levels");
            }
            other => panic!("{levels} levels: {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn where_no_shard_is_any_more_nobody_is_followed() {
    let (env, _host) = Env::simulated(1, SimOptions::default());
    let peers = peers_of(&env);
    let followed = async |far: &ShardEntry| {
        peers.routes.introduce(far);
        peers.look_again();
        env.clock.sleep(Duration::from_secs(1)).await;
        let followed: Vec<String> = peers.followed.lock().keys().cloned().collect();
        followed
    };
    let far = |url: &str, gone| ShardEntry {
        name: "far".to_owned(),
        base_url: url.to_owned(),
        gone,
        ..ShardEntry::default()
    };
    let (old, new) = ("http://far:7000", "http://far:8000");
    assert_eq!(followed(&far("http://far:7000/", false)).await, [old, ROOT_URL]);
    assert_eq!(followed(&far(new, false)).await, [new, ROOT_URL], "it has moved");
    // It answers, and tells what it holds.
    let endpoint = Endpoint::from_url(new, None).unwrap();
    let upstream = Upstream::new(env.clone(), endpoint, UpstreamOptions::default());
    let shard = peers.meet("far", new, &upstream).unwrap();
    peers.set_live(shard, true);
    assert_eq!(
        followed(&far("", true)).await,
        [new, ROOT_URL],
        "it is gone, but answers"
    );
    peers.set_live(shard, false);
    assert_eq!(followed(&far("", true)).await, [ROOT_URL]);
    assert_eq!(followed(&far(new, false)).await, [new, ROOT_URL], "it is back");
    peers.close();
}
