//! Clusters whose names no index has been told: streams that are paused, and guesses.

use std::collections::BTreeSet;

use apiserver::{Server, ServerOptions};
use env::simulated::World;
use fabric::serve::{Batches, Fabric, Source};
use fabric::wire::{
    IndexWatchRequest, LocateRequest, LocateResponse, ReplicateBatch, ReplicateWatchRequest, ResolveRequest,
    ResolveResponse, ShardEntry, locate_response,
};
use futures_util::StreamExt as _;
use machinery::user::MASTERS;
use parking_lot::Mutex;
use telemetry::Metrics;
use tokio::sync::Notify;

use super::*;

const PORT: u16 = 7000;
const SHARDS: [&str; 3] = ["root", "beta", "gamma"];
/// A workspace that was not available when the streams told of it, nor is before root holds it.
const LATE: &str = "late";
/// A workspace that root knows to lie on gamma.
const FAR: &str = "far";

/// A shard whose stream has told that it holds the cluster of its own name, and nothing since.
struct Shard {
    name: &'static str,
    /// What it holds by now.
    held: Mutex<BTreeSet<String>>,
    /// How many names it was asked for, question by question.
    questions: Mutex<Vec<usize>>,
    is_silent: Mutex<bool>,
    /// Until when it says nothing.
    speaks: Notify,
    /// It has so much to tell that it has not come to the shards yet.
    is_telling: Mutex<bool>,
}

struct Site {
    fabric: Fabric,
    shard: Arc<Shard>,
}

struct Component;

/// Everybody is who the token says.
struct Anybody;

struct Plane {
    world: World,
    env: Env,
    proxy: Arc<Proxy>,
    shards: Vec<Arc<Shard>>,
}

#[async_trait]
impl Authenticator for Component {
    async fn authenticate(&self, _: &Credentials<'_>) -> machinery::status::Result<Option<User>> {
        Ok(Some(User::new("proxy", &[MASTERS])))
    }
}

#[async_trait]
impl Authenticator for Anybody {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> machinery::status::Result<Option<User>> {
        Ok(Some(User::new(credentials.bearer_token.unwrap_or("jane"), &[])))
    }
}

/// The shard, as a source of tellings.
struct Paused(Arc<Shard>);

#[async_trait]
impl Source for Paused {
    async fn watch(&self, _: IndexWatchRequest) -> Result<Batches, tonic::Status> {
        let mut entries = vec![Entry::Cluster(ClusterEntry {
            name: self.0.name.to_owned(),
            epoch: 1,
            ..ClusterEntry::default()
        })];
        let is_telling = *self.0.is_telling.lock();
        if self.0.name == "root" && !is_telling {
            entries.extend(SHARDS.map(|name| {
                Entry::Shard(ShardEntry {
                    name: name.to_owned(),
                    base_url: format!("http://{name}:{PORT}"),
                    ..ShardEntry::default()
                })
            }));
            entries.push(Entry::Workspace(WorkspaceEntry {
                parent: "root".to_owned(),
                name: LATE.to_owned(),
                cluster: LATE.to_owned(),
                unavailable: true,
                ..WorkspaceEntry::default()
            }));
        }
        let entries = entries.into_iter().map(|entry| IndexEntry { entry: Some(entry) });
        let batch = IndexBatch {
            shard: self.0.name.to_owned(),
            incarnation: "one".to_owned(),
            begins_anew: true,
            complete: !is_telling,
            revision: 1,
            entries: entries.collect(),
        };
        let told = futures_util::stream::iter([Ok(batch)]);
        Ok(Box::pin(told.chain(futures_util::stream::pending())))
    }

    async fn resolve(&self, request: ResolveRequest) -> Result<ResolveResponse, tonic::Status> {
        use fabric::wire::resolve_response::Outcome;
        // All paths are one name long, and lead to the cluster of that name.
        let asked = request.names.first();
        if self.0.name == "root" && asked.is_some_and(|name| name == FAR) {
            return Ok(ResolveResponse {
                outcome: Outcome::Elsewhere.into(),
                followed: 1,
                cluster: FAR.to_owned(),
                shard: "gamma".to_owned(),
                ..ResolveResponse::default()
            });
        }
        let found = asked.unwrap_or(&request.cluster);
        let found = Some(found).filter(|name| self.0.held.lock().contains(*name));
        Ok(match found {
            Some(name) => ResolveResponse {
                outcome: Outcome::Found.into(),
                followed: u32::from(asked.is_some()),
                cluster: name.clone(),
                epoch: 5,
                ..ResolveResponse::default()
            },
            None => ResolveResponse {
                outcome: match request.names.iter().any(|name| name == LATE) {
                    true => Outcome::Unavailable.into(),
                    false => Outcome::Unknown.into(),
                },
                ..ResolveResponse::default()
            },
        })
    }

    async fn locate(&self, request: LocateRequest) -> Result<LocateResponse, tonic::Status> {
        self.0.questions.lock().push(request.clusters.len());
        if *self.0.is_silent.lock() {
            self.0.speaks.notified().await;
        }
        let held = self.0.held.lock();
        let known = request.clusters.into_iter().filter(|name| held.contains(name));
        let known = known.map(|cluster| locate_response::Held { cluster, epoch: 5 });
        Ok(LocateResponse { held: known.collect() })
    }

    async fn replicate(&self, _: ReplicateWatchRequest) -> Result<Batches<ReplicateBatch>, tonic::Status> {
        Err(tonic::Status::unavailable("nothing is replicated"))
    }
}

impl Service for Site {
    async fn serve(&self, request: Request<RequestBody>, connection: &Connection) -> Response<Body> {
        let path = request.uri().path().to_owned();
        if Fabric::is_call(&path, request.headers()) {
            return self.fabric.serve(request, connection).await;
        }
        let cluster = path.split('/').nth(2).unwrap_or_default();
        let mut response = Response::new(Body::full(self.shard.name));
        if cluster != self.shard.name && !self.shard.held.lock().contains(cluster) {
            *response.status_mut() = StatusCode::FORBIDDEN;
        }
        response
    }
}

// === impl Plane ===

impl Plane {
    async fn new() -> Self {
        let plane = Self::of(&SHARDS).await;
        assert!(plane.proxy.peers.is_everything_told());
        plane
    }

    /// With some shards that are up.
    async fn of(up: &[&str]) -> Self {
        let world = World::new(3, SimOptions::default());
        let env = world.host("proxy").env();
        let shards = SHARDS.map(|name| {
            Arc::new(Shard {
                name,
                held: Mutex::default(),
                questions: Mutex::default(),
                is_silent: Mutex::default(),
                speaks: Notify::new(),
                is_telling: Mutex::default(),
            })
        });
        for shard in shards.iter().filter(|shard| up.contains(&shard.name)) {
            serve(&world.host(shard.name).env(), shard.clone()).await;
        }
        let proxy = Arc::new(proxy(&env, "- path: /clusters/", vec![Arc::new(Anybody)]));
        let seeds = SHARDS.map(|name| format!("http://{name}:{PORT}")).to_vec();
        env.spawn.spawn("peers", proxy.peers.clone().run(seeds)).detach();
        env.clock.sleep(Duration::from_secs(2)).await;
        Self {
            world,
            env,
            proxy,
            shards: shards.to_vec(),
        }
    }

    fn hold(&self, shard: &str, name: &str) {
        let shard = self.shards.iter().find(|known| known.name == shard).unwrap();
        shard.held.lock().insert(name.to_owned());
    }

    fn questions(&self) -> Vec<usize> {
        let taken = self
            .shards
            .iter()
            .map(|shard| std::mem::take(&mut *shard.questions.lock()));
        taken.flatten().collect()
    }

    /// The status and body of a GET in a cluster, and how long it took.
    async fn get(&self, user: &str, segment: &str) -> (u16, String, Duration) {
        let begun = self.env.clock.monotonic();
        let request = Request::get(format!("/clusters/{segment}/api"))
            .header(AUTHORIZATION, format!("Bearer {user}"))
            .body(RequestBody::Full(Bytes::new()))
            .unwrap();
        let response = self.proxy.serve(request, &Connection::plain("client:1")).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let took = self.env.clock.monotonic().saturating_sub(begun);
        (status, String::from_utf8_lossy(&body).into_owned(), took)
    }
}

async fn serve(env: &Env, shard: Arc<Shard>) {
    let name = shard.name;
    let fabric = Fabric::new(Arc::new(Paused(shard.clone())), Arc::new(Component), Lifecycle::new());
    let site = Arc::new(Site { fabric, shard });
    let options = ServerOptions::default();
    let server = Server::new(env.clone(), options, site, None, Lifecycle::new(), Metrics::new());
    let listener = env.net.listen(&format!("{name}:{PORT}")).await.unwrap();
    let accepting = server.clone();
    let serving = async move { accepting.run(listener).await };
    env.spawn.spawn("server", serving).detach();
}

#[tokio::test(start_paused = true)]
async fn what_is_there_is_found_by_its_name_whatever_the_streams_have_told() {
    let plane = Plane::new().await;
    // Asked for before it is there: that is no reason to be refused afterwards.
    assert_eq!(plane.get("jane", "fresh").await.0, 403);
    plane.hold("gamma", "fresh");
    let (status, body, _) = plane.get("jane", "fresh").await;
    assert_eq!((status, body.as_str()), (200, "gamma"));
    // It is known from then on.
    plane.questions();
    assert_eq!(plane.get("jane", "fresh").await.0, 200);
    assert!(plane.questions().is_empty());
    // A path may begin with one.
    plane.hold("beta", "top");
    plane.hold("beta", "below");
    let (status, body, _) = plane.get("jane", "top:below").await;
    assert_eq!((status, body.as_str()), (200, "beta"));
    assert_eq!(plane.get("jane", "nobodys:below").await.0, 403);
    // Every shard has its own of these.
    plane.questions();
    assert_eq!(plane.get("jane", "system:shard").await.0, 403);
    assert!(plane.questions().is_empty());
}

/// As one whose shard was not up yet when it was made: whoever has seen it Ready since gets in.
#[tokio::test(start_paused = true)]
async fn what_was_not_available_is_asked_for_again_and_again() {
    let plane = Plane::new().await;
    // More often than who guesses may.
    for _ in 0..1000 {
        let (status, body, _) = plane.get("jane", "root:late").await;
        assert_eq!(status, 503, "{body}");
        assert!(body.contains("Not available."), "{body}");
    }
    plane.hold("root", LATE);
    let (status, body, _) = plane.get("jane", "root:late").await;
    assert_eq!((status, body.as_str()), (200, "root"));
}

/// A further shard is registered, and has a workspace that somebody has seen Ready, before this proxy has reached it.
#[tokio::test(start_paused = true)]
async fn a_shard_that_was_started_a_moment_ago_is_waited_for() {
    let plane = Plane::of(&["root", "beta"]).await;
    plane.hold("gamma", FAR);
    let (status, body, took) = plane.get("jane", "root:far").await;
    assert_eq!(status, 503, "{body}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    let started = async {
        plane.env.clock.sleep(Duration::from_millis(100)).await;
        serve(&plane.world.host("gamma").env(), plane.shards[2].clone()).await;
    };
    let ((status, body, _), ()) = tokio::join!(plane.get("jane", "root:far"), started);
    assert_eq!((status, body.as_str()), (200, "gamma"));
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_says_nothing_holds_up_no_name_that_another_one_has() {
    let plane = Plane::new().await;
    plane.hold("beta", "fresh");
    *plane.shards[2].is_silent.lock() = true;
    let (status, body, took) = plane.get("jane", "fresh").await;
    assert_eq!((status, body.as_str()), (200, "beta"));
    assert!(took < Duration::from_millis(100), "{took:?}");
    // It may be the silent one's: nobody is told that there is no such thing.
    for _ in 0..2 {
        let (status, body, took) = plane.get("jane", "nobodys").await;
        assert_eq!(status, 503, "{body}");
        assert!(
            body.contains("cannot be reached") && took < Duration::from_secs(1),
            "{took:?} {body}"
        );
    }
    *plane.shards[2].is_silent.lock() = false;
    plane.env.clock.sleep(Duration::from_secs(1)).await;
    assert_eq!(plane.get("jane", "nobodys").await.0, 403);
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_is_heard_while_others_are_asked_may_hold_it() {
    let plane = Plane::of(&["beta", "gamma"]).await;
    plane.hold("root", "fresh");
    let (root, beta) = (&plane.shards[0], &plane.shards[1]);
    *beta.is_silent.lock() = true;
    let heard = async {
        while beta.questions.lock().is_empty() {
            plane.env.clock.sleep(Duration::from_millis(1)).await;
        }
        serve(&plane.world.host("root").env(), root.clone()).await;
        while !plane.proxy.peers.is_everything_told() {
            plane.env.clock.sleep(Duration::from_millis(1)).await;
        }
        beta.speaks.notify_one();
    };
    let ((status, body, took), ()) = tokio::join!(plane.get("jane", "fresh"), heard);
    assert_eq!(status, 503, "{body}");
    assert!(took < Duration::from_millis(800), "beta has answered: {took:?}");
    *beta.is_silent.lock() = false;
    let (status, body, _) = plane.get("jane", "fresh").await;
    assert_eq!((status, body.as_str()), (200, "root"));
}

#[tokio::test(start_paused = true)]
async fn before_root_has_told_of_the_shards_nobody_knows_what_there_is_not() {
    let plane = Plane::of(&[]).await;
    let root = &plane.shards[0];
    *root.is_telling.lock() = true;
    // Where root is, is known, and which shards there are, is not.
    serve(&plane.world.host("root").env(), root.clone()).await;
    plane.env.clock.sleep(Duration::from_secs(2)).await;
    assert_eq!(plane.get("jane", "root").await.0, 200);
    assert!(!plane.proxy.peers.is_everything_told());
    let (status, body, _) = plane.get("jane", "held-by-gamma").await;
    assert_eq!(status, 503, "{body}");
}

#[tokio::test(start_paused = true)]
async fn however_many_names_are_tried_shards_are_asked_few_questions() {
    let plane = Plane::new().await;
    let begun = plane.env.clock.monotonic();
    // A thousand at a time, each of somebody else.
    let asked = (0..1000).map(|at| {
        let plane = &plane;
        async move { plane.get(&format!("user-{at}"), &format!("name-{at}")).await.0 }
    });
    let answered = futures_util::future::join_all(asked).await;
    assert!(answered.iter().all(|status| *status == 403), "{answered:?}");
    let took = plane.env.clock.monotonic().saturating_sub(begun);
    let questions = plane.questions();
    assert_eq!(questions.iter().sum::<usize>(), SHARDS.len() * 1000);
    assert!(questions.iter().all(|names| *names <= 256), "{questions:?}");
    assert!(questions.len() <= 6 * SHARDS.len(), "{questions:?}");
    assert!(took < Duration::from_millis(200), "{took:?}");

    // One after the other, faster than questions are asked.
    let begun = plane.env.clock.monotonic();
    let mut last = Vec::new();
    for at in 0..200 {
        let (proxy, clock) = (plane.proxy.clone(), plane.env.clock.clone());
        let path = WorkspacePath::parse(&format!("another-{at}")).unwrap();
        let looking = async move { proxy.peers.resolve(&path).await };
        last.push(plane.env.spawn.spawn("client", looking));
        clock.sleep(Duration::from_micros(500)).await;
    }
    for looking in last {
        assert_eq!(looking.join().await.unwrap(), Err(Lost::Unknown(None)));
    }
    let took = plane.env.clock.monotonic().saturating_sub(begun).as_millis() as usize;
    let questions = plane.questions();
    assert!(
        questions.len() <= SHARDS.len() * (took / 5 + 2),
        "{} in {took} ms",
        questions.len()
    );

    // Who would have to wait for long is told to come back.
    let asked = (0..1500).map(|at| {
        let path = WorkspacePath::parse(&format!("third-{at}")).unwrap();
        let proxy = plane.proxy.clone();
        async move { proxy.peers.resolve(&path).await }
    });
    let answered = futures_util::future::join_all(asked).await;
    let is_busy =
        |answer: &&Result<Destination, Lost>| matches!(answer, Err(Lost::Refused(status)) if status.code == 429);
    assert_eq!(answered.iter().filter(is_busy).count(), 1500 - 1024);
    plane.questions();

    // One name is one, however many want it.
    let asked = (0..100).map(|at| {
        let plane = &plane;
        async move { plane.get(&format!("user-{at}"), "one-name").await.0 }
    });
    futures_util::future::join_all(asked).await;
    let questions = plane.questions();
    assert!(questions.iter().all(|names| *names == 1), "{questions:?}");
    assert!(questions.len() <= 2 * SHARDS.len(), "{questions:?}");
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_what_is_not_there_waits_and_others_do_not() {
    let plane = Plane::new().await;
    for kind in ["name-", "root:path-", &format!("root{}:", ":long".repeat(700))] {
        let user = format!("mallory-{}", kind.len());
        let (mut refused, mut limited) = (0, 0);
        for at in 0..400 {
            match plane.get(&user, &format!("{kind}{at}")).await.0 {
                403 => refused += 1,
                429 => limited += 1,
                other => panic!("{other}"),
            }
        }
        assert!(
            refused >= 200 && limited > 0,
            "{kind}: {refused} refused, {limited} limited"
        );
        assert_eq!(plane.get(&user, "root").await.0, 200, "what is known costs nothing");
        plane.hold("beta", "fresh");
        assert_eq!(plane.get("jane", "fresh").await.0, 200);
        plane.env.clock.sleep(Duration::from_secs(3)).await;
        assert_eq!(plane.get(&user, &format!("{kind}last")).await.0, 403);
    }
}
