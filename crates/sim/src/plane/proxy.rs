//! A front-proxy above TLS, with an index of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use apiserver::auth::{Authenticator, TokenTable};
use apiserver::{Body, BodyBudget, Connection, Health, Lifecycle, RequestBody, Service};
use async_trait::async_trait;
use bytes::Bytes;
use env::simulated::Host;
use env::{Env, Task};
use fabric::{Peers, Routes, UpstreamOptions};
use front_proxy::guesses::Guesses;
use front_proxy::identity::GroupFilter;
use front_proxy::mapping::Mappings;
use front_proxy::proxy::Proxy;
use front_proxy::start::ProxyMetrics;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use machinery::user::MASTERS;
use parking_lot::{Mutex, RwLock};

use crate::keeper::Serving;
use crate::plane::process::Start;
use crate::plane::{Flaw, image};
use crate::server::base_url;

/// Where clients reach a proxy, on whatever machine.
pub const PORT: &str = ":443";
const TOKENS: &str = "proxy/tokens.csv";
/// Bytes of bodies under way, as many as the workload can send.
const BODIES_BYTES_MAX: usize = 64 << 20;

/// One life of a proxy.
pub struct ProxyServer {
    pub proxy: Arc<Proxy>,
    http: apiserver::Server<Front>,
    following: Task<()>,
}

/// The proxy as clients meet it.
struct Front {
    proxy: Arc<Proxy>,
    /// Answers that are given again, where that is the flaw.
    kept: Option<Mutex<BTreeMap<String, Bytes>>>,
}

/// What a proxy is started with.
#[derive(Clone)]
pub struct ProxyOptions {
    /// Shards to begin with.
    pub seeds: Vec<String>,
    /// The machine that its index and look-ups go through, so that these can be cut off apart from requests.
    pub ears: Host,
    pub flaw: Option<Flaw>,
}

// === impl ProxyServer ===

#[async_trait]
impl Start for ProxyOptions {
    type Running = ProxyServer;

    async fn start(&self, env: &Env) -> Result<ProxyServer> {
        ProxyServer::start(env, self).await
    }
}

impl ProxyServer {
    async fn start(env: &Env, options: &ProxyOptions) -> Result<Self> {
        let listener = env.net.listen(PORT).await.context("listening")?;
        let mapping = format!(
            "- path: /clusters/\n- path: /services/\n  backend: {}\n",
            base_url(options.seeds.first().map_or("", String::as_str))
        );
        let tokens = env.disk.read(std::path::Path::new(TOKENS)).context("reading tokens")?;
        let mut tokens = String::from_utf8_lossy(&tokens).into_owned();
        if options.flaw == Some(Flaw::UsersMixedUp) {
            tokens = image::USERS
                .iter()
                .map(|name| format!("{name},{0},{0}\n", image::USERS[0]))
                .collect();
        }
        let table = TokenTable::from_csv(&tokens).context("reading tokens")?;
        let ears = Env {
            net: options.ears.env().net,
            ..env.clone()
        };
        let routes = Arc::new(Routes::new([env.rng.next_u64(), env.rng.next_u64()]));
        let lifecycle = Lifecycle::new();
        let upstream = UpstreamOptions::default();
        let proxy = Arc::new(Proxy {
            peers: Peers::new(&ears, routes, None, upstream.clone()),
            mappings: Mappings::parse(mapping.as_bytes()).map_err(anyhow::Error::msg)?,
            identities: Vec::new(),
            authenticators: vec![Arc::new(table) as Arc<dyn Authenticator>],
            workspace_users: None,
            groups: GroupFilter {
                pass: Vec::new(),
                drop: vec![MASTERS.to_owned()],
            },
            options: upstream,
            mounts: false,
            health: Health::new(lifecycle.clone()),
            lifecycle: lifecycle.clone(),
            metrics: ProxyMetrics::default(),
            upstreams: RwLock::default(),
            bodies: BodyBudget::new(BODIES_BYTES_MAX),
            guesses: Guesses::new(env),
            env: env.clone(),
        });
        let seeds = options.seeds.iter().map(|shard| base_url(shard)).collect();
        let following = env.spawn.spawn("peers", proxy.peers.clone().run(seeds));
        let metrics = proxy.metrics.server.clone();
        let server_options = apiserver::ServerOptions::default();
        let front = Arc::new(Front {
            proxy: proxy.clone(),
            kept: (options.flaw == Some(Flaw::AnswersKept)).then(Mutex::default),
        });
        let http = apiserver::Server::new(env.clone(), server_options, front, None, lifecycle, metrics);
        let accepting = http.clone();
        env.spawn
            .spawn("server", async move { accepting.run(listener).await })
            .detach();
        Ok(Self { proxy, http, following })
    }
}

impl Service for Front {
    async fn serve(&self, request: Request<RequestBody>, connection: &Connection) -> Response<Body> {
        let is_get = request.method() == Method::GET && request.uri().query().is_none();
        let Some(kept) = self.kept.as_ref().filter(|_| is_get) else {
            return self.proxy.serve(request, connection).await;
        };
        let of = request.uri().path().to_owned();
        let known = kept.lock().remove(&of);
        if let Some(known) = known {
            return Response::new(Body::full(known));
        }
        let response = self.proxy.serve(request, connection).await;
        if !response.status().is_success() {
            return response;
        }
        let (parts, body) = response.into_parts();
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => return Response::from_parts(parts, Body::full(Bytes::new())),
        };
        kept.lock().insert(of, body.clone());
        Response::from_parts(parts, Body::full(body))
    }
}

#[async_trait]
impl Serving for Arc<ProxyServer> {
    async fn stop(self: Box<Self>) {
        self.http.shutdown().await;
        self.following.abort();
        self.proxy.peers.close();
    }
}

/// Writes the file of users, whose tokens are their names.
pub fn write_users(env: &Env, users: &[&str]) -> std::io::Result<()> {
    let lines: String = users.iter().map(|name| format!("{name},{name},{name}\n")).collect();
    env.disk.write_atomic(std::path::Path::new(TOKENS), lines.as_bytes())
}
