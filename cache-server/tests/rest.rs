//! A cache server in a simulated world: told by shards over the fabric, read over REST.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use apiserver::auth::{Authenticator, Credentials};
use apiserver::{Body, Connection, RequestBody, Server, ServerOptions, Service};
use async_trait::async_trait;
use bytes::Bytes;
use cache_server::front::Front;
use cache_server::options::CacheOptions;
use cache_server::start::Parts;
use clap::Parser;
use env::simulated::{SimOptions, World};
use env::{Env, Task};
use fabric::serve::{Batches, Fabric, Source};
use fabric::wire::{
    IndexWatchRequest, LocateRequest, LocateResponse, ReplicateBatch, ReplicateEntry, ReplicateWatchRequest,
    ResolveRequest, ResolveResponse,
};
use fabric::{Endpoint, Replicas, Telling, Upstream, UpstreamOptions};
use futures_util::stream;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kv::model::ModelKv;
use kv::{Error, Kv, LeaseId, RangeRequest, RangeResponse, Revision, Txn, TxnOutcome, Watch};
use machinery::object::{ObjectExt, encode_canonical};
use machinery::user::{MASTERS, User};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{RwLock, mpsc};
use tonic::Status;

const ADDRESS: &str = "http://cache:7000";
const EXPORTS: &str = "apis/apis.kcp.io/v1alpha2/apiexports";

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: CacheOptions,
}

/// Over the network everybody is a component; requests of tests say who they are.
struct Named;

/// A shard that tells what a test says.
#[derive(Default)]
struct Scripted {
    /// Where each stream was to begin.
    asked: Mutex<Vec<ReplicateWatchRequest>>,
    /// Of the last one.
    telling: Mutex<Option<mpsc::UnboundedSender<Result<ReplicateBatch, Status>>>>,
}

struct Shard {
    name: &'static str,
    source: Arc<Scripted>,
    telling: Task<()>,
}

/// A shard where a cache server should be.
struct NoCache {
    fabric: Fabric,
    calls: AtomicUsize,
}

/// A store that comes to what it is asked to write, whoever has given it up meanwhile.
struct Unhurried {
    inner: Arc<ModelKv>,
    env: Env,
    /// Held by a test: nothing is written.
    disk: Arc<RwLock<()>>,
    begun: AtomicUsize,
}

struct Site {
    world: World,
    kv: Arc<Unhurried>,
    front: Arc<Front>,
    server: Server<Front>,
    replicas: Arc<Replicas>,
}

#[async_trait]
impl Authenticator for Named {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> machinery::status::Result<Option<User>> {
        let named = credentials.headers.get("x-user").and_then(|name| name.to_str().ok());
        Ok(match named {
            Some("nobody") => None,
            Some(name) => Some(User::new(name, &["system:authenticated"])),
            None => Some(User::new("shard", &[MASTERS])),
        })
    }
}

#[async_trait]
impl Source for Scripted {
    async fn watch(&self, _: IndexWatchRequest) -> Result<Batches, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn resolve(&self, _: ResolveRequest) -> Result<ResolveResponse, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn locate(&self, _: LocateRequest) -> Result<LocateResponse, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn replicate(&self, request: ReplicateWatchRequest) -> Result<Batches<ReplicateBatch>, Status> {
        self.asked.lock().push(request);
        let (sender, receiver) = mpsc::unbounded_channel();
        *self.telling.lock() = Some(sender);
        let batches = stream::unfold(receiver, |mut receiver| async {
            Some((receiver.recv().await?, receiver))
        });
        Ok(Box::pin(batches))
    }
}

impl Service for NoCache {
    async fn serve(&self, request: Request<RequestBody>, connection: &Connection) -> Response<Body> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.fabric.serve(request, connection).await
    }
}

#[async_trait]
impl Kv for Unhurried {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        self.inner.range(request).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, Error> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        let (inner, disk) = (self.inner.clone(), self.disk.clone());
        let writing = async move {
            let _turn = disk.read().await;
            inner.txn(txn).await
        };
        self.env.spawn.spawn("disk", writing).await.expect("it ends")
    }

    async fn watch(&self, from: Revision) -> Result<Box<dyn Watch>, Error> {
        self.inner.watch(from).await
    }

    async fn revision(&self) -> Result<Revision, Error> {
        self.inner.revision().await
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.inner.compact(revision).await
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId, Error> {
        self.inner.lease_grant(ttl).await
    }

    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<(), Error> {
        self.inner.lease_keep_alive(lease).await
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), Error> {
        self.inner.lease_revoke(lease).await
    }

    async fn status(&self) -> Result<kv::Status, Error> {
        self.inner.status().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

// === impl Site ===

impl Site {
    async fn start() -> Self {
        let world = World::new(1, SimOptions::default());
        let env = world.host("cache").env();
        let kv = Arc::new(Unhurried {
            inner: Arc::new(ModelKv::new(&env)),
            env,
            disk: Arc::default(),
            begun: AtomicUsize::new(0),
        });
        Self::over(world, kv).await
    }

    async fn over(world: World, kv: Arc<Unhurried>) -> Self {
        let env = world.host("cache").env();
        let options = Line::parse_from(["cache-server"]).options;
        let parts = Parts::new(&env, &options, kv.clone(), Arc::new(Named)).await.unwrap();
        let server = Server::new(
            env.clone(),
            ServerOptions::default(),
            parts.front.clone(),
            None,
            parts.lifecycle,
            parts.metrics,
        );
        let listener = env.net.listen("cache:7000").await.unwrap();
        let accepting = server.clone();
        env.spawn
            .spawn("server", async move { accepting.run(listener).await })
            .detach();
        Self {
            world,
            kv,
            front: parts.front,
            server,
            replicas: parts.replicas,
        }
    }

    /// Ends it, and starts it on the same store.
    async fn restart(self) -> Self {
        self.server.shutdown().await;
        self.replicas.close();
        self.world.host("cache").env().clock.sleep(Duration::from_secs(1)).await;
        Self::over(self.world, self.kv).await
    }

    fn env(&self) -> Env {
        self.world.host("cache").env()
    }

    fn shard(&self, name: &'static str) -> Shard {
        Shard::start(&self.world.host(name).env(), name)
    }

    /// What somebody is told whose certificate and token do not hold.
    async fn answer_to_forger(&self, path: &str) -> u16 {
        let request = Request::get(path)
            .header("x-user", "nobody")
            .header("authorization", "Bearer made-up");
        let request = request.body(RequestBody::Full(Bytes::new())).unwrap();
        let connection = Connection {
            certificate_refused: true,
            ..Connection::plain("test:1")
        };
        self.front.serve(request, &connection).await.status().as_u16()
    }

    async fn answer(&self, user: &str, method: Method, path: &str) -> (u16, Body) {
        let mut request = Request::builder().method(method).uri(path);
        if !user.is_empty() {
            request = request.header("x-user", user);
        }
        let request = request.body(RequestBody::Full(Bytes::new())).unwrap();
        let answer = self.front.serve(request, &Connection::plain("test:1")).await;
        (answer.status().as_u16(), answer.into_body())
    }

    /// Code and text of a whole answer.
    async fn get(&self, path: &str) -> (u16, String) {
        let (code, body) = self.answer("", Method::GET, path).await;
        let bytes = body.collect().await.unwrap().to_bytes();
        (code, String::from_utf8(bytes.to_vec()).unwrap())
    }

    async fn object(&self, path: &str) -> Value {
        let (code, text) = self.get(&format!("/services/cache/{path}")).await;
        assert_eq!(code, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn names(&self, path: &str) -> Vec<String> {
        let list = self.object(path).await;
        let items = list["items"].as_array().unwrap();
        items.iter().map(|item| item.name().to_owned()).collect()
    }

    /// Until a list has these.
    async fn until(&self, path: &str, names: &[&str]) {
        for _ in 0..3000 {
            if self.names(path).await == names {
                return;
            }
            self.env().clock.sleep(Duration::from_millis(20)).await;
        }
        panic!("{path}: {:?} instead of {names:?}", self.names(path).await);
    }
}

// === impl Shard ===

impl Shard {
    fn start(env: &Env, name: &'static str) -> Self {
        let source = Arc::new(Scripted::default());
        let endpoint = Endpoint::from_url(ADDRESS, None).unwrap();
        let telling = Telling {
            env: env.clone(),
            shard: name.to_owned(),
            source: source.clone(),
            cache: Upstream::new(env.clone(), endpoint, UpstreamOptions::default()),
        };
        Self {
            name,
            source,
            telling: env.spawn.spawn("telling", telling.run()),
        }
    }

    /// Ends it, as far as others can see.
    async fn end(&self, site: &Site) {
        self.telling.abort();
        site.world.network().reset(self.name, "cache");
        site.env().clock.sleep(Duration::from_secs(30)).await;
    }

    /// Until a stream is there.
    async fn is_asked(&self, site: &Site, times: usize) -> ReplicateWatchRequest {
        for _ in 0..3000 {
            if let Some(asked) = self.source.asked.lock().get(times - 1) {
                return asked.clone();
            }
            site.env().clock.sleep(Duration::from_millis(20)).await;
        }
        panic!("{} is not asked", self.name);
    }

    fn tell(&self, batch: ReplicateBatch) {
        self.send(Ok(batch));
    }

    fn send(&self, told: Result<ReplicateBatch, Status>) {
        let telling = self.source.telling.lock();
        telling.as_ref().expect("a stream").send(told).expect("it is read");
    }

    fn tell_all(&self, revision: u64, entries: Vec<ReplicateEntry>) {
        self.tell(ReplicateBatch {
            shard: self.name.to_owned(),
            incarnation: "one".to_owned(),
            begins_anew: true,
            complete: true,
            newest: revision,
            revision,
            entries,
        });
    }

    fn tell_more(&self, revision: u64, entries: Vec<ReplicateEntry>) {
        self.tell(ReplicateBatch {
            revision,
            entries,
            ..ReplicateBatch::default()
        });
    }
}

fn entry(of: (&str, &str), cluster: &str, revision: u64, mut object: Value) -> ReplicateEntry {
    let (group, resource) = of;
    let name = object.name().to_owned();
    object["metadata"]["uid"] = json!(format!("uid-{name}"));
    object["metadata"]["annotations"] = json!({"kcp.io/cluster": cluster});
    object["metadata"]["generation"] = json!(7);
    ReplicateEntry {
        group: group.to_owned(),
        resource: resource.to_owned(),
        cluster: cluster.to_owned(),
        uid: format!("uid-{name}"),
        name,
        revision,
        object: encode_canonical(&object),
        ..ReplicateEntry::default()
    }
}

fn export(cluster: &str, name: &str, revision: u64, content: &str) -> ReplicateEntry {
    let object = json!({"apiVersion": "apis.kcp.io/v1alpha2", "kind": "APIExport", "metadata": {"name": name},
        "spec": {"unknown": content}, "status": {"identityHash": "h"}});
    entry(("apis.kcp.io", "apiexports"), cluster, revision, object)
}

fn gone(of: ReplicateEntry, revision: u64) -> ReplicateEntry {
    ReplicateEntry {
        gone: true,
        object: Vec::new(),
        revision,
        ..of
    }
}

fn registered(name: &str, revision: u64) -> ReplicateEntry {
    let object = json!({"apiVersion": "core.kcp.io/v1alpha1", "kind": "Shard", "metadata": {"name": name},
        "spec": {"baseURL": format!("https://{name}:6443")}});
    entry(("core.kcp.io", "shards"), "root", revision, object)
}

#[tokio::test(start_paused = true)]
async fn what_shards_tell_is_read_by_shard_and_by_cluster() {
    let site = Site::start().await;
    let (amber, blue) = (site.shard("amber"), site.shard("blue"));
    assert_eq!(amber.is_asked(&site, 1).await, ReplicateWatchRequest::default());
    blue.is_asked(&site, 1).await;
    amber.tell_all(9, vec![export("prov", "a", 5, "x"), export("other", "b", 6, "x")]);
    blue.tell_all(4, vec![export("third", "c", 3, "x")]);
    site.until(&format!("shards/*/clusters/*/{EXPORTS}"), &["b", "a", "c"])
        .await;
    let names = async |path: &str| site.names(&format!("shards/{path}/{EXPORTS}")).await;
    assert_eq!(names("amber/clusters/*").await, ["b", "a"]);
    assert_eq!(names("amber/clusters/prov").await, ["a"]);
    assert_eq!(names("*/clusters/third").await, ["c"]);
    assert!(names("blue/clusters/prov").await.is_empty());
    assert!(names("green/clusters/*").await.is_empty());

    // The object is the shard's own, but for what says where it is from.
    let of = format!("clusters/prov/{EXPORTS}/a");
    let mut found = site.object(&format!("shards/amber/{of}")).await;
    assert_eq!(found, site.object(&format!("shards/*/{of}")).await);
    let annotations = found["metadata"]["annotations"].clone();
    let expected = json!({"kcp.io/cluster": "prov", "kcp.io/shard": "amber",
        "cache.kcp.io/original-resource-UID": "uid-a", "cache.kcp.io/original-resource-version": "5"});
    assert_eq!(annotations, expected);
    let metadata = found["metadata"].as_object_mut().unwrap();
    assert!(metadata.remove("resourceVersion").is_some());
    metadata.remove("annotations");
    let expected = json!({"apiVersion": "apis.kcp.io/v1alpha2", "kind": "APIExport",
        "metadata": {"name": "a", "uid": "uid-a", "generation": 7}, "spec": {"unknown": "x"}, "status": {"identityHash": "h"}});
    assert_eq!(found, expected);

    // Not converted: kcp's cache server does not know how.
    let older = site
        .object("shards/amber/clusters/prov/apis/apis.kcp.io/v1alpha1/apiexports/a")
        .await;
    assert_eq!(older["apiVersion"], "apis.kcp.io/v1alpha1");
    assert_eq!(older["spec"], json!({"unknown": "x"}));

    for missing in [
        format!("shards/blue/{of}"),
        format!("shards/*/clusters/prov/{EXPORTS}/none"),
        format!("shards/amber/clusters/prov/{EXPORTS}/a/status"),
        "shards/amber/clusters/prov/apis/apis.kcp.io/v1alpha2/apibindings".to_owned(),
        "shards/amber/clusters/prov/apis/apis.kcp.io/v1alpha2/apiexports:h".to_owned(),
        "shards/amber/clusters/prov/api/v1/secrets".to_owned(),
        "shards/amber/clusters/prov/apis".to_owned(),
    ] {
        assert_eq!(
            site.get(&format!("/services/cache/{missing}")).await.0,
            404,
            "{missing}"
        );
    }
    // Over all clusters one lists and watches.
    let (code, _) = site
        .get(&format!("/services/cache/shards/amber/clusters/*/{EXPORTS}/a"))
        .await;
    assert_eq!(code, 405);
}

/// The position is the cache server's, which does not hear why a stream ended, and would ask for the same for ever.
#[tokio::test(start_paused = true)]
async fn a_shard_that_has_forgotten_what_came_after_a_position_tells_everything_anew() {
    let site = Site::start().await;
    let amber = site.shard("amber");
    amber.is_asked(&site, 1).await;
    amber.tell_all(5, vec![export("prov", "a", 5, "x"), export("prov", "b", 4, "x")]);
    let all = format!("shards/*/clusters/*/{EXPORTS}");
    site.until(&all, &["a", "b"]).await;
    // A stream that is merely cut goes on where it was.
    amber.send(Err(Status::unavailable("the store is busy")));
    assert_eq!(amber.is_asked(&site, 2).await.after_revision, 5);
    amber.send(Err(Status::aborted("replicas cannot be told from here on")));
    assert_eq!(amber.is_asked(&site, 3).await, ReplicateWatchRequest::default());
    amber.tell_all(9, vec![export("prov", "c", 8, "x"), export("prov", "a", 5, "x")]);
    site.until(&all, &["a", "c"]).await;
}

/// What it had still to say may come behind what a later stream has told, and nobody else would take it back.
#[tokio::test(start_paused = true)]
async fn when_one_of_several_streams_of_a_shard_ends_the_others_begin_anew() {
    let site = Site::start().await;
    let other_machine = site.world.host("other");
    let (old, new) = (Shard::start(&other_machine.env(), "amber"), site.shard("amber"));
    old.is_asked(&site, 1).await;
    new.is_asked(&site, 1).await;
    let (a, b) = (export("prov", "a", 5, "x"), export("prov", "b", 4, "x"));
    old.tell_all(5, vec![a.clone(), b.clone()]);
    let all = format!("shards/*/clusters/*/{EXPORTS}");
    site.until(&all, &["a", "b"]).await;
    new.tell_all(7, vec![b.clone()]);
    site.until(&all, &["b"]).await;
    old.tell_more(6, vec![a]);
    site.until(&all, &["a", "b"]).await;
    old.telling.abort();
    site.world.network().reset("other", "cache");
    assert_eq!(new.is_asked(&site, 2).await, ReplicateWatchRequest::default());
    new.tell_all(8, vec![b]);
    site.until(&all, &["b"]).await;
}

/// A write that was begun goes on without its stream, and what tells everything anew has to find it, to take it back.
#[tokio::test(start_paused = true)]
async fn what_an_ended_stream_was_writing_comes_in_before_what_the_next_one_tells() {
    let site = Site::start().await;
    let amber = site.shard("amber");
    amber.is_asked(&site, 1).await;
    let kept = export("prov", "kept", 4, "x");
    amber.tell_all(5, vec![kept.clone()]);
    let all = format!("shards/*/clusters/*/{EXPORTS}");
    site.until(&all, &["kept"]).await;
    let busy = site.kv.disk.clone().write_owned().await;
    let begun = site.kv.begun.load(Ordering::Relaxed);
    amber.tell_more(6, vec![export("prov", "late", 6, "x")]);
    while site.kv.begun.load(Ordering::Relaxed) == begun {
        site.env().clock.sleep(Duration::from_millis(1)).await;
    }
    site.world.network().reset("amber", "cache");
    amber.is_asked(&site, 2).await;
    amber.tell_all(9, vec![kept]);
    site.env().clock.sleep(Duration::from_secs(1)).await;
    drop(busy);
    site.env().clock.sleep(Duration::from_secs(1)).await;
    assert_eq!(site.names(&all).await, ["kept"]);
}

#[tokio::test(start_paused = true)]
async fn changes_are_watched_over_all_shards() {
    let site = Site::start().await;
    let amber = site.shard("amber");
    amber.is_asked(&site, 1).await;
    amber.tell_all(5, vec![export("prov", "a", 5, "x")]);
    let all = format!("shards/*/clusters/*/{EXPORTS}");
    site.until(&all, &["a"]).await;
    let list = site.object(&all).await;
    let version = list.str_at(&["metadata", "resourceVersion"]).unwrap();
    let path = format!("/services/cache/{all}?watch=true&resourceVersion={version}");
    let (code, mut body) = site.answer("", Method::GET, &path).await;
    assert_eq!(code, 200);
    amber.tell_more(6, vec![export("prov", "a", 6, "y")]);
    amber.tell_more(
        8,
        vec![export("prov", "b", 7, "x"), gone(export("prov", "a", 6, ""), 8)],
    );
    let blue = site.shard("blue");
    blue.is_asked(&site, 1).await;
    blue.tell_all(3, vec![export("third", "c", 2, "x")]);
    let mut text = String::new();
    while text.lines().count() < 4 {
        let frame = body.frame().await.expect("more").unwrap();
        text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
    let events = text.lines().map(|line| {
        let event: Value = serde_json::from_str(line).unwrap();
        let of = |path: &[&str]| event.str_at(path).unwrap_or_default().to_owned();
        let shard = event["object"]["metadata"]["annotations"]["kcp.io/shard"]
            .as_str()
            .unwrap();
        (of(&["type"]), of(&["object", "metadata", "name"]), shard.to_owned())
    });
    let mut events: Vec<_> = events.collect();
    // In which order different objects come is not said; of each it is.
    events.sort_by(|a, b| a.1.cmp(&b.1));
    let expected = [
        ("MODIFIED", "a", "amber"),
        ("DELETED", "a", "amber"),
        ("ADDED", "b", "amber"),
        ("ADDED", "c", "blue"),
    ];
    let expected = expected.map(|(kind, name, shard)| (kind.to_owned(), name.to_owned(), shard.to_owned()));
    assert_eq!(events, expected);
}

#[tokio::test(start_paused = true)]
async fn only_components_read_and_nobody_writes() {
    let site = Site::start().await;
    let amber = site.shard("amber");
    amber.is_asked(&site, 1).await;
    amber.tell_all(5, vec![export("prov", "a", 5, "x")]);
    let list = format!("/services/cache/shards/*/clusters/*/{EXPORTS}");
    site.until(&list["/services/cache/".len()..], &["a"]).await;
    let one = format!("/services/cache/shards/amber/clusters/prov/{EXPORTS}/a");
    for path in [
        &*list,
        &one,
        "/services/cache/shards/amber/clusters/prov/apis/apis.kcp.io/v1alpha2",
        "/services/cache/shards/amber/clusters/prov/openapi/v3",
        "/metrics",
        "/version",
    ] {
        for user in ["stranger", "nobody"] {
            let (code, _) = site.answer(user, Method::GET, path).await;
            assert_eq!(code, 403, "{user} {path}");
        }
        // As kcp's, which knows no such credentials: forbidden, not unknown.
        assert_eq!(site.answer_to_forger(path).await, 403, "{path}");
        assert_eq!(site.answer("", Method::GET, path).await.0, 200, "{path}");
    }
    for path in ["/livez", "/readyz", "/healthz", "/services/cache/livez"] {
        assert_eq!(site.answer("nobody", Method::GET, path).await.0, 200, "{path}");
    }
    let metrics = site.get("/metrics").await.1;
    assert!(metrics.contains("kcp_cache_objects{shard=\"amber\"} 1"), "{metrics}");
    assert!(
        metrics.contains("kcp_cache_shard_telling{shard=\"amber\"} 1"),
        "{metrics}"
    );

    let collection = format!("/services/cache/shards/amber/clusters/prov/{EXPORTS}");
    for (method, path) in [
        (Method::POST, &collection),
        (Method::DELETE, &collection),
        (Method::PUT, &one),
        (Method::PATCH, &one),
        (Method::DELETE, &one),
    ] {
        assert_eq!(site.answer("", method.clone(), path).await.0, 405, "{method} {path}");
        assert_eq!(
            site.answer("stranger", method.clone(), path).await.0,
            403,
            "{method} {path}"
        );
    }
    assert_eq!(site.get(&one).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn discovery_shows_what_is_replicated_and_how_it_may_be_used() {
    let site = Site::start().await;
    let list = site
        .object("shards/amber/clusters/prov/apis/rbac.authorization.k8s.io/v1")
        .await;
    let resources = list["resources"].as_array().unwrap();
    let names: Vec<_> = resources
        .iter()
        .map(|resource| resource["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["clusterrolebindings", "clusterroles"]);
    assert_eq!(resources[0]["verbs"], json!(["get", "list", "watch"]));
    assert_eq!(resources[0]["namespaced"], false);
    let group = site.object("shards/*/clusters/*/apis/apis.kcp.io").await;
    assert_eq!(group["preferredVersion"]["version"], "v1alpha2");
}

#[tokio::test(start_paused = true)]
async fn a_shard_goes_on_where_it_was_and_tells_all_after_a_restart() {
    let site = Site::start().await;
    let amber = site.shard("amber");
    amber.is_asked(&site, 1).await;
    amber.tell_all(9, vec![export("prov", "a", 5, "x"), export("prov", "b", 6, "x")]);
    let all = format!("shards/*/clusters/*/{EXPORTS}");
    site.until(&all, &["a", "b"]).await;
    // The connection goes; what was told is known.
    site.world.network().reset("amber", "cache");
    let asked = amber.is_asked(&site, 2).await;
    assert_eq!((asked.after_revision, &*asked.incarnation), (9, "one"));
    // As a shard answers that: it does not begin anew.
    amber.tell(ReplicateBatch {
        shard: "amber".to_owned(),
        incarnation: "one".to_owned(),
        newest: 10,
        revision: 10,
        entries: vec![gone(export("prov", "a", 5, ""), 10)],
        ..ReplicateBatch::default()
    });
    site.until(&all, &["b"]).await;
    // After a restart everything is there, and told again. Nobody is waited for.
    let clock = site.env().clock;
    let before = clock.monotonic();
    let site = site.restart().await;
    let took = clock.monotonic() - before;
    assert!((1..5).contains(&took.as_secs()), "it waited for its shards: {took:?}");
    assert_eq!(site.names(&all).await, ["b"]);
    assert_eq!(amber.is_asked(&site, 3).await, ReplicateWatchRequest::default());
    amber.tell_all(12, vec![export("prov", "d", 12, "x")]);
    site.until(&all, &["d"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_is_cut_off_tells_when_it_can() {
    let site = Site::start().await;
    let amber = site.shard("amber");
    amber.is_asked(&site, 1).await;
    amber.tell_all(5, vec![export("prov", "a", 5, "x")]);
    let all = format!("shards/*/clusters/*/{EXPORTS}");
    site.until(&all, &["a"]).await;
    site.world.network().partition("amber", "cache");
    site.env().clock.sleep(Duration::from_secs(120)).await;
    assert_eq!(site.names(&all).await, ["a"], "what was told is kept");
    site.world.network().heal();
    assert_eq!(amber.is_asked(&site, 2).await.after_revision, 5);
}

#[tokio::test(start_paused = true)]
async fn what_a_shard_told_goes_when_it_is_registered_no_more() {
    let site = Site::start().await;
    let (root, amber) = (site.shard("root"), site.shard("amber"));
    amber.is_asked(&site, 1).await;
    amber.tell_all(5, vec![export("prov", "a", 5, "x")]);
    let all = format!("shards/*/clusters/*/{EXPORTS}");
    site.until(&all, &["a"]).await;
    root.is_asked(&site, 1).await;
    let shards = "shards/*/clusters/*/apis/core.kcp.io/v1alpha1/shards";
    root.tell_all(3, vec![registered("root", 1), registered("amber", 2)]);
    site.until(shards, &["amber", "root"]).await;
    // It is away, and nothing is lost by that.
    amber.end(&site).await;
    assert_eq!(site.names(&all).await, ["a"]);
    root.tell_more(4, vec![gone(registered("amber", 2), 4)]);
    site.until(&all, &[]).await;
    assert_eq!(site.names(shards).await, ["root"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_goes_as_long_as_it_is_not_known_that_its_shard_is_gone() {
    let site = Site::start().await;
    let (root, amber, blue) = (site.shard("root"), site.shard("amber"), site.shard("blue"));
    amber.is_asked(&site, 1).await;
    amber.tell_all(5, vec![export("prov", "a", 5, "x")]);
    let all = format!("shards/*/clusters/*/{EXPORTS}");
    site.until(&all, &["a"]).await;
    amber.end(&site).await;
    // Nobody has said which shards there are.
    blue.is_asked(&site, 1).await;
    blue.tell_all(4, vec![export("third", "c", 3, "x")]);
    site.until(&all, &["a", "c"]).await;
    // Root has: blue is not registered yet, and tells.
    root.is_asked(&site, 1).await;
    root.tell_all(3, vec![registered("root", 1), registered("amber", 2)]);
    site.until(
        "shards/*/clusters/*/apis/core.kcp.io/v1alpha1/shards",
        &["amber", "root"],
    )
    .await;
    site.env().clock.sleep(Duration::from_secs(1)).await;
    assert_eq!(site.names(&all).await, ["a", "c"]);
    // After a restart nobody has, again: what is kept stays.
    let site = site.restart().await;
    blue.is_asked(&site, 2).await;
    blue.tell_all(4, vec![export("third", "c", 3, "x")]);
    site.env().clock.sleep(Duration::from_secs(1)).await;
    assert_eq!(site.names(&all).await, ["a", "c"]);
}

#[tokio::test(start_paused = true)]
async fn several_processes_of_a_shard_tell_the_same() {
    let site = Site::start().await;
    let (one, other) = (site.shard("amber"), site.shard("amber"));
    one.is_asked(&site, 1).await;
    other.is_asked(&site, 1).await;
    one.tell_all(5, vec![export("prov", "a", 5, "x")]);
    other.tell_all(6, vec![export("prov", "a", 5, "x"), export("prov", "b", 6, "x")]);
    let all = format!("shards/*/clusters/*/{EXPORTS}");
    site.until(&all, &["a", "b"]).await;
    for process in [&one, &other] {
        process.tell_more(
            7,
            vec![export("prov", "b", 6, "x"), gone(export("prov", "a", 5, ""), 7)],
        );
    }
    site.until(&all, &["b"]).await;
    other.tell_more(8, vec![export("prov", "c", 8, "x")]);
    one.tell_more(9, vec![export("prov", "c", 8, "x"), export("prov", "d", 9, "x")]);
    other.tell_more(9, vec![export("prov", "d", 9, "x")]);
    site.until(&all, &["b", "c", "d"]).await;
    // A third one, behind them, makes nobody believe that the store is an older one.
    let late = site.shard("amber");
    late.is_asked(&site, 1).await;
    late.tell_all(7, vec![export("prov", "b", 6, "x")]);
    late.tell_more(10, vec![export("prov", "e", 10, "x")]);
    site.until(&all, &["b", "c", "d", "e"]).await;
    let begun = |process: &Shard| process.source.asked.lock().len();
    assert_eq!((begun(&one), begun(&other)), (1, 1), "one got in the other's way");
}

#[tokio::test(start_paused = true)]
async fn who_tells_for_another_shard_than_it_said_is_not_believed() {
    let site = Site::start().await;
    let amber = site.shard("amber");
    amber.is_asked(&site, 1).await;
    amber.tell(ReplicateBatch {
        shard: "blue".to_owned(),
        incarnation: "one".to_owned(),
        begins_anew: true,
        complete: true,
        newest: 5,
        revision: 5,
        entries: vec![export("prov", "a", 5, "x")],
    });
    amber.is_asked(&site, 2).await;
    assert!(site.names(&format!("shards/*/clusters/*/{EXPORTS}")).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_no_cache_server_is_left_alone() {
    let world = World::new(1, SimOptions::default());
    let (env, amber) = (world.host("cache").env(), world.host("amber").env());
    let (lifecycle, metrics) = (apiserver::Lifecycle::new(), telemetry::Metrics::new());
    let service = Arc::new(NoCache {
        fabric: Fabric::new(Arc::new(Scripted::default()), Arc::new(Named), lifecycle.clone()),
        calls: AtomicUsize::new(0),
    });
    let server = Server::new(
        env.clone(),
        ServerOptions::default(),
        service.clone(),
        None,
        lifecycle,
        metrics,
    );
    let listener = env.net.listen("cache:7000").await.unwrap();
    env.spawn
        .spawn("server", async move { server.run(listener).await })
        .detach();
    let _telling = Shard::start(&amber, "amber");
    env.clock.sleep(Duration::from_secs(50)).await;
    assert_eq!(service.calls.load(Ordering::Relaxed), 1);
    env.clock.sleep(Duration::from_secs(20)).await;
    assert_eq!(service.calls.load(Ordering::Relaxed), 2, "it may have been replaced");
}
