//! Shards that are gone, and shards that talk nonsense.

use apiserver::auth::service_account::AccountSource;
use apiserver::{Phase, Server, ServerOptions};
use env::simulated::{Host, World};
use env::{Listener, Net, Stream};
use fabric::serve::{Batches, Fabric, Source};
use fabric::wire::resolve_response::Outcome;
use fabric::wire::{
    IndexWatchRequest, LocateRequest, LocateResponse, ReplicateBatch, ReplicateWatchRequest, ResolveRequest,
    ResolveResponse, ShardEntry,
};
use futures_util::StreamExt as _;
use machinery::user::MASTERS;
use permit::Cluster;
use telemetry::Metrics;

use super::*;
use crate::accounts::ShardAccounts;

const PORT: u16 = 7000;
/// More than what is lost may take.
const SLOW: Duration = Duration::from_millis(1500);

/// A busy machine's network: a handshake takes long.
struct SlowDials(Arc<dyn Net>);

#[async_trait]
impl Net for SlowDials {
    async fn listen(&self, address: &str) -> std::io::Result<Box<dyn Listener>> {
        self.0.listen(address).await
    }

    async fn dial(&self, address: &str) -> std::io::Result<Box<dyn Stream>> {
        tokio::time::sleep(SLOW).await;
        self.0.dial(address).await
    }
}

/// Says that it holds a cluster, and answers everything with its name.
struct Pretended {
    name: &'static str,
    holds: &'static str,
    /// What it says of accounts.
    account: fn() -> Body,
}

struct Component;

#[async_trait]
impl Authenticator for Component {
    async fn authenticate(&self, _: &Credentials<'_>) -> machinery::status::Result<Option<User>> {
        Ok(Some(User::new("shard", &[MASTERS])))
    }
}

struct Told {
    name: &'static str,
    holds: &'static str,
}

#[async_trait]
impl Source for Told {
    async fn watch(&self, _: IndexWatchRequest) -> Result<Batches, tonic::Status> {
        let cluster = ClusterEntry {
            name: self.holds.to_owned(),
            epoch: 1,
            ..ClusterEntry::default()
        };
        let mut entries = vec![Entry::Cluster(cluster)];
        if self.name == "root" {
            entries.extend(["root", "far"].map(|name| {
                Entry::Shard(ShardEntry {
                    name: name.to_owned(),
                    base_url: url(name),
                    ..ShardEntry::default()
                })
            }));
        }
        let batch = IndexBatch {
            shard: self.name.to_owned(),
            incarnation: "one".to_owned(),
            begins_anew: true,
            complete: true,
            revision: 1,
            entries: entries
                .into_iter()
                .map(|entry| IndexEntry { entry: Some(entry) })
                .collect(),
        };
        Ok(Box::pin(
            futures_util::stream::iter([Ok(batch)]).chain(futures_util::stream::pending()),
        ))
    }

    async fn resolve(&self, request: ResolveRequest) -> Result<ResolveResponse, tonic::Status> {
        if request.names == ["slowly"] {
            tokio::time::sleep(SLOW).await;
        }
        Ok(ResolveResponse {
            outcome: Outcome::Unknown.into(),
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

struct Site {
    fabric: Fabric,
    pretended: Pretended,
}

impl Service for Site {
    async fn serve(&self, request: Request<RequestBody>, connection: &Connection) -> Response<Body> {
        let path = request.uri().path().to_owned();
        if Fabric::is_call(&path, request.headers()) {
            return self.fabric.serve(request, connection).await;
        }
        if path.ends_with("/tokenreviews") {
            let mut response = Response::new(Body::full(review(&path)));
            *response.status_mut() = StatusCode::CREATED;
            return response;
        }
        if path.contains("/serviceaccounts/") {
            return Response::new((self.pretended.account)());
        }
        let is_held = path.starts_with(&format!("/clusters/{}/", self.pretended.holds));
        let mut response = Response::new(Body::full(self.pretended.name));
        if !is_held {
            *response.status_mut() = StatusCode::FORBIDDEN;
        }
        response
    }
}

fn url(name: &str) -> String {
    format!("http://{name}:{PORT}")
}

async fn pretend(host: &Host, name: &'static str, holds: &'static str, account: fn() -> Body) {
    let env = host.env();
    let fabric = Fabric::new(Arc::new(Told { name, holds }), Arc::new(Component), Lifecycle::new());
    let pretended = Pretended { name, holds, account };
    let site = Arc::new(Site { fabric, pretended });
    let server = Server::new(
        env.clone(),
        ServerOptions::default(),
        site,
        None,
        Lifecycle::new(),
        Metrics::new(),
    );
    let listener = env.net.listen(&format!("{name}:{PORT}")).await.unwrap();
    let accepting = server.clone();
    let serving = async move { accepting.run(listener).await };
    env.spawn.spawn("server", serving).detach();
}

/// A proxy that begins with both shards' URLs.
async fn world(account: fn() -> Body, lost: &[&str]) -> (World, Env, Arc<Proxy>) {
    let world = World::new(3, SimOptions::default());
    let env = world.host("proxy").env();
    for (name, holds) in [("root", "root"), ("far", "far-cluster")] {
        pretend(&world.host(name), name, holds, account).await;
    }
    for name in lost {
        world.network().partition("proxy", name);
    }
    let mut proxy = proxy(&env, "- path: /clusters/", vec![Arc::new(Jane)]);
    // As of the mapping for `/clusters/`.
    proxy.options = UpstreamOptions::default();
    let proxy = Arc::new(proxy);
    let following = proxy.peers.clone().run(vec![url("root"), url("far")]);
    env.spawn.spawn("peers", following).detach();
    env.clock.sleep(Duration::from_secs(2)).await;
    (world, env, proxy)
}

/// Whoever has a token is dev in the workspace that is asked.
fn review(path: &str) -> String {
    let (of, _) = apiserver::stage::split_cluster(path).unwrap();
    serde_json::json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "status": {"authenticated": true, "user": {"username": "dev", "extra": {
            "authentication.kcp.io/scopes": [format!("cluster:{of}")], "authentication.kcp.io/cluster-name": [of],
        }}},
    })
    .to_string()
}

#[tokio::test(start_paused = true)]
async fn users_of_a_workspace_are_known_where_a_mapping_names_it() {
    let (_world, env, proxy) = world(nothing, &[]).await;
    let mut proxy = Arc::into_inner(proxy).unwrap();
    let own = format!(
        "- path: /clusters/\n- {{path: '/own/clusters/{{cluster}}/', backend: '{far}'}}\n- {{path: /other/, backend: '{far}'}}",
        far = url("far")
    );
    proxy.mappings = Mappings::parse(own.as_bytes()).unwrap();
    proxy.authenticators = Vec::new();
    proxy.workspace_users = Some(WorkspaceUsers::new(&env, proxy.peers.clone()));
    let status = async |path: &str| {
        let token = "Bearer eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL3gifQ.AAAA";
        let request = Request::get(path).header("authorization", token);
        let request = request.body(RequestBody::Full(Bytes::new())).unwrap();
        proxy
            .serve(request, &Connection::plain("client:1"))
            .await
            .status()
            .as_u16()
    };
    // 403 is what the server says there, who forwards says 401.
    assert_eq!(status("/clusters/far-cluster/api").await, 200);
    assert_eq!(status("/own/clusters/far-cluster/api").await, 403);
    assert_eq!(status("/own/clusters/nobodys/api").await, 401);
    assert_eq!(status("/other/clusters/far-cluster/api").await, 401);
}

fn nothing() -> Body {
    Body::empty()
}

#[tokio::test(start_paused = true)]
async fn what_no_shard_holds_is_refused_and_what_a_lost_one_may_hold_is_not_there_now() {
    let (world, env, proxy) = world(nothing, &[]).await;
    let ask = async |path: &str, within: Duration| {
        let begun = env.clock.monotonic();
        let (status, body) = get(&proxy, path).await;
        let took = env.clock.monotonic().saturating_sub(begun);
        assert!(took < within, "{path}: {took:?}");
        (status.as_u16(), body)
    };
    let second = Duration::from_secs(1);
    assert_eq!(ask("/clusters/nobodys/api", second).await.0, 403);
    assert_eq!(ask("/clusters/root:nobodys/api", second).await.0, 403);
    assert_eq!(ask("/clusters/far-cluster/api", second).await, (200, "far".to_owned()));
    for lost in ["root", "far"] {
        world.network().partition("proxy", lost);
        // Open then, and later. It may be the lost one's; below a cluster that another one holds it is nobody's, and any shard
        // that answers refuses it.
        for within in [second * 2, second] {
            let (status, body) = ask("/clusters/nobodys/api", within).await;
            assert_eq!((status, body.contains("cannot be reached")), (503, true), "{body}");
            let other = if lost == "root" { "far-cluster" } else { "root" };
            let (status, body) = ask(&format!("/clusters/{other}:nobodys/api"), within).await;
            assert_eq!((status, body == lost), (403, false), "{body}");
        }
        world.network().heal();
        env.clock.sleep(Duration::from_secs(3)).await;
    }
}

/// It knows who may look into the workspace above, and so who is told that there is no such one (404) and who is not (403).
#[tokio::test(start_paused = true)]
async fn what_a_workspace_does_not_have_is_refused_by_the_shard_that_holds_it() {
    let (world, env, proxy) = world(nothing, &[]).await;
    for (holder, path) in [
        ("root", "/clusters/root:nowhere/api"),
        ("far", "/clusters/far-cluster:nowhere/api"),
    ] {
        let (status, body) = get(&proxy, path).await;
        assert_eq!((status, body.as_str()), (StatusCode::FORBIDDEN, holder), "{path}");
        // Without it nobody knows.
        world.network().partition("proxy", holder);
        for _ in 0..2 {
            assert_eq!(get(&proxy, path).await.0, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        }
        world.network().heal();
        env.clock.sleep(Duration::from_secs(3)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_has_not_heard_every_shard_serves_the_others_and_refuses_nobody_for_good() {
    for (lost, told, untold) in [
        ("root", "/clusters/far-cluster/api", "/clusters/root/api"),
        ("far", "/clusters/root/api", "/clusters/far-cluster/api"),
    ] {
        let (world, env, proxy) = world(nothing, &[lost]).await;
        assert!(!proxy.peers.is_usable(), "others may be about to answer");
        env.clock.sleep(Duration::from_secs(9)).await;
        assert!(proxy.peers.is_usable());
        assert_eq!(get(&proxy, told).await.0, StatusCode::OK);
        for path in [untold, "/clusters/nobodys/api"] {
            let (status, body) = get(&proxy, path).await;
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
            assert!(body.contains("cannot be reached"), "{body}");
        }
        world.network().heal();
        env.clock.sleep(Duration::from_secs(3)).await;
        assert_eq!(get(&proxy, untold).await.0, StatusCode::OK);
        assert_eq!(get(&proxy, "/clusters/nobodys/api").await.0, StatusCode::FORBIDDEN);
    }
}

/// The first request to a shard dials it: on a busy machine that takes longer than a lost one may be waited for.
#[tokio::test(start_paused = true)]
async fn a_shard_that_tells_its_index_may_take_long_to_be_reached() {
    let (world, env, proxy) = world(nothing, &[]).await;
    let mut proxy = Arc::into_inner(proxy).unwrap();
    proxy.env.net = Arc::new(SlowDials(env.net.clone()));
    let ask = async |path: &str| {
        let begun = env.clock.monotonic();
        let (status, _) = get(&proxy, path).await;
        (status.as_u16(), env.clock.monotonic().saturating_sub(begun))
    };
    let (status, took) = ask("/clusters/far-cluster/api").await;
    assert!((status, took < SLOW * 2) == (200, true), "{status} after {took:?}");
    // The same of what it alone can look up.
    let (status, took) = ask("/clusters/far-cluster:slowly/api").await;
    assert!((status, took < SLOW * 2) == (403, true), "{status} after {took:?}");
    // Who is lost meanwhile is waited for no longer than ever.
    proxy.upstreams.write().clear();
    world.network().partition("proxy", "far");
    for path in ["/clusters/far-cluster/api", "/clusters/far-cluster:slowly/api"] {
        let (status, took) = ask(path).await;
        let within = Duration::from_secs(1);
        assert!(
            (status, took < within) == (503, true),
            "{path}: {status} after {took:?}"
        );
    }
}

fn page() -> Body {
    Body::full("<html>")
}

fn flood() -> Body {
    let chunk = Bytes::from(vec![b' '; 64 * 1024]);
    Body::stream(futures_util::stream::repeat(chunk))
}

#[tokio::test(start_paused = true)]
async fn an_account_that_cannot_be_read_is_an_unreachable_shards() {
    for account in [page as fn() -> Body, flood] {
        let (_world, env, proxy) = world(account, &[]).await;
        let accounts = ShardAccounts::new(&env, proxy.peers.clone());
        let cluster = Cluster::parse("far-cluster").unwrap();
        let asked = accounts.service_account(&cluster, "default", "robot").await;
        let refused = asked.expect_err("nobody is known by it");
        assert_eq!((refused.code, refused.reason), (503, Reason::ServiceUnavailable));
    }
}

#[tokio::test(start_paused = true)]
async fn a_forwarded_watch_ends_with_the_proxy() {
    let (_world, env, proxy) = world(nothing, &[]).await;
    let answered = |lane| {
        let never = http_body_util::StreamBody::new(futures_util::stream::pending::<Result<_, std::io::Error>>());
        proxy.finished(lane, Response::new(never))
    };
    let mut watch = answered(Lane::Long).into_body();
    let mut other = answered(Lane::Short).into_body();
    proxy.lifecycle.advance(Phase::Closing);
    let second = Duration::from_secs(1);
    let over = env.clock.timeout(second, watch.frame()).await;
    assert!(over.expect("it is over").is_none());
    assert!(
        env.clock.timeout(second, other.frame()).await.is_err(),
        "it is waited for"
    );
}
