//! From flags to a serving proxy.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use apiserver::auth::service_account::{PublicKey, ServiceAccountOptions};
use apiserver::auth::{
    self, Authenticator, CaBundle, ClientCertificates, RequestHeader, RequestHeaderOptions, ServiceAccountTokens,
    TokenTable,
};
use apiserver::{Body, BodyBudget, Check, Health, Lifecycle, Server, ServerOptions, Tls, TlsFiles};
use async_trait::async_trait;
use env::Env;
use fabric::{Identity, IdentityFiles, Peers, Routes, UpstreamOptions};
use http::{HeaderValue, Method, Response, StatusCode};
use parking_lot::RwLock;
use telemetry::metrics::{Counter, Family, Histogram};
use telemetry::{Gauge, Metrics};
use tenancy::effective::{CLUSTER_NAME, SCOPES};

use crate::accounts::ShardAccounts;
use crate::guesses::Guesses;
use crate::identity::GroupFilter;
use crate::mapping::Mappings;
use crate::options::ProxyOptions;
use crate::proxy::Proxy;
use crate::workspace_users::WorkspaceUsers;

#[cfg(test)]
mod tests;

/// How often certificates are looked at for change.
const TLS_PERIOD: Duration = Duration::from_secs(10);
const BODIES_BYTES_MAX: usize = 512 * 1024 * 1024;
const SECONDS: &[f64] = &[0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0];

/// A serving proxy.
pub struct Running {
    server: Server<Proxy>,
    serving: env::Task<()>,
    following: env::Task<()>,
    pub address: String,
}

/// kcp's families (its facts, K.4), and the server's own.
pub struct ProxyMetrics {
    durations: Family<Histogram>,
    indexed: Family<Gauge>,
    lookups: Family<Counter>,
    reachable: Family<Gauge>,
    pub server: Arc<Metrics>,
}

/// Ready once the index can be used.
struct Indexed(Arc<Peers>);

// === impl Running ===

impl Running {
    pub async fn start(env: &Env, options: &ProxyOptions) -> Result<Self> {
        let address = format!("{}:{}", options.bind_address, options.secure_port);
        let listener = env
            .net
            .listen(&address)
            .await
            .with_context(|| format!("listening on {address}: --secure-port and --bind-address say where"))?;
        let address = listener.address();
        let metrics = ProxyMetrics::default();
        apiserver::add_process_metrics(env, &metrics.server);
        let (proxy, seeds) = proxy(env, options, metrics)?;
        let server_metrics = proxy.metrics.server.clone();
        let lifecycle = Lifecycle::new();
        let health = Health::new(lifecycle.clone());
        health.add("index", true, Arc::new(Indexed(proxy.peers.clone())));
        let proxy = Arc::new(Proxy {
            health,
            lifecycle: lifecycle.clone(),
            ..proxy
        });
        let peers = proxy.peers.clone();
        let following = env.spawn.spawn("peers", peers.run(seeds));
        let tls = tls(env, options)?;
        let server_options = ServerOptions {
            shutdown_delay: options.shutdown_delay_duration,
            ..ServerOptions::default()
        };
        let server = Server::new(env.clone(), server_options, proxy, Some(tls), lifecycle, server_metrics);
        let accepting = server.clone();
        let serving = env.spawn.spawn("server", async move { accepting.run(listener).await });
        Ok(Self {
            server,
            serving,
            following,
            address,
        })
    }

    /// Readiness off, connections told to go, requests finished.
    pub async fn stop(self) {
        self.server.shutdown().await;
        // An aborted or panicked acceptor has nothing left to finish.
        let _ended = self.serving.join().await;
        self.following.abort();
    }
}

fn proxy(env: &Env, options: &ProxyOptions, metrics: ProxyMetrics) -> Result<(Proxy, Vec<String>)> {
    let text = read(env, &options.mapping_file)?;
    let mappings =
        Mappings::parse(&text).map_err(|why| anyhow::anyhow!("{}: {why}", options.mapping_file.display()))?;
    if mappings.clusters().is_none() {
        bail!("{} does not map /clusters/", options.mapping_file.display());
    }
    let mut identities = Vec::new();
    for (_, mapping) in mappings.iter() {
        let has_pair = !mapping.proxy_client_cert.as_os_str().is_empty();
        let pair = has_pair.then_some((&*mapping.proxy_client_cert, &*mapping.proxy_client_key));
        let files = IdentityFiles::files(&mapping.backend_server_ca, pair);
        let opened = Identity::open(env, files).with_context(|| format!("the mapping of {}", mapping.path))?;
        identities.push(opened.1);
    }
    let (shards, shards_tls) = Identity::open(env, IdentityFiles::kubeconfig(&options.shards_kubeconfig, None))?;
    if shards.certificate.is_empty() {
        bail!("--shards-kubeconfig must have a client certificate: shards know their peers by it");
    }
    let mut seeds = vec![shards.base_url()];
    if let Some(file) = &options.root_kubeconfig {
        seeds.push(Identity::from_kubeconfig(&*env.disk, file, None)?.base_url());
    }
    seeds.extend(options.shard_urls.iter().filter(|url| !url.is_empty()).cloned());
    let routes = Arc::new(Routes::new([env.rng.next_u64(), env.rng.next_u64()]));
    let upstream = UpstreamOptions::default();
    let peers = Peers::new(env, routes, Some(shards_tls), upstream.clone());
    let proxy = Proxy {
        env: env.clone(),
        mappings,
        identities,
        authenticators: authenticators(env, options, &peers)?,
        workspace_users: options
            .has_gate("WorkspaceAuthentication")
            .then(|| WorkspaceUsers::new(env, peers.clone())),
        peers,
        groups: GroupFilter {
            pass: options.authentication_pass_on_groups.clone(),
            drop: options.authentication_drop_groups.clone(),
        },
        options: upstream,
        mounts: options.has_gate("WorkspaceMounts"),
        health: Health::new(Lifecycle::new()),
        lifecycle: Lifecycle::new(),
        metrics,
        upstreams: RwLock::default(),
        bodies: BodyBudget::new(BODIES_BYTES_MAX),
        guesses: Guesses::new(env),
    };
    Ok((proxy, seeds))
}

fn authenticators(env: &Env, options: &ProxyOptions, peers: &Arc<Peers>) -> Result<Vec<Arc<dyn Authenticator>>> {
    let now = auth::now(&env.clock);
    let mut members: Vec<Arc<dyn Authenticator>> = Vec::new();
    if let Some(file) = &options.requestheader_client_ca_file {
        let bundle = CaBundle::open(env, file).with_context(|| format!("reading {}", file.display()))?;
        let headers = RequestHeaderOptions {
            username_headers: options.requestheader_username_headers.clone(),
            group_headers: options.requestheader_group_headers.clone(),
            extra_header_prefixes: options.requestheader_extra_headers_prefix.clone(),
            allowed_names: options.requestheader_allowed_names.clone(),
            ..RequestHeaderOptions::default()
        };
        members.push(Arc::new(RequestHeader::new(bundle, headers)));
    }
    if let Some(file) = &options.client_ca_file {
        let bundle = CaBundle::open(env, file).with_context(|| format!("reading {}", file.display()))?;
        members.push(Arc::new(ClientCertificates::new(bundle)));
    }
    if let Some(file) = &options.token_auth_file {
        let text = String::from_utf8_lossy(&read(env, file)?).into_owned();
        let table = TokenTable::from_csv(&text).with_context(|| format!("reading {}", file.display()))?;
        members.push(Arc::new(table));
    }
    let mut keys = Vec::new();
    for file in &options.service_account_key_file {
        let pem = read(env, file)?;
        keys.extend(PublicKey::all_from_pem(&pem).with_context(|| format!("reading {}", file.display()))?);
    }
    if !keys.is_empty() {
        let accounts = ServiceAccountOptions {
            issuers: vec![options.service_account_issuer.clone()],
            audiences: vec![options.service_account_issuer.clone()],
            lookup: options.service_account_lookup,
            cluster_extra: CLUSTER_NAME.to_owned(),
            scopes_extra: SCOPES.to_owned(),
        };
        members.push(Arc::new(ServiceAccountTokens::new(
            accounts,
            keys,
            Arc::new(ShardAccounts::new(env, peers.clone())),
            now,
        )));
    }
    let issuers = options
        .oidc
        .issuers(env, std::slice::from_ref(&options.service_account_issuer))?;
    if issuers.anonymous == Some(true) {
        bail!("--authentication-config: anonymous.enabled: who shows no credentials is nobody here");
    }
    members.extend(issuers.authenticators);
    Ok(members)
}

fn tls(env: &Env, options: &ProxyOptions) -> Result<Arc<Tls>> {
    let or_own = |given: &Option<std::path::PathBuf>, name: &str| {
        given.clone().unwrap_or_else(|| options.root_directory.join(name))
    };
    let files = TlsFiles {
        certificate: or_own(&options.tls_cert_file, "apiserver.crt"),
        key: or_own(&options.tls_private_key_file, "apiserver.key"),
        client_ca: [&options.client_ca_file, &options.requestheader_client_ca_file]
            .into_iter()
            .flatten()
            .cloned()
            .collect(),
    };
    let material = files.read(&*env.disk).context("reading TLS files")?;
    let tls = Tls::new(env, &material).context("setting TLS up")?;
    let (following, following_env) = (tls.clone(), env.clone());
    env.spawn
        .spawn("certificates", async move {
            following.follow(&following_env, files, TLS_PERIOD).await
        })
        .detach();
    Ok(tls)
}

fn read(env: &Env, file: &Path) -> Result<Vec<u8>> {
    env.disk
        .read(file)
        .with_context(|| format!("reading {}", file.display()))
}

// === impl ProxyMetrics ===

impl Default for ProxyMetrics {
    fn default() -> Self {
        let server = Metrics::new();
        let durations = Family::new(
            "proxy_request_duration_seconds",
            "Seconds until a request's answer begins.",
            &["method", "code"],
            200,
            || Histogram::new(SECONDS),
        );
        let indexed = Family::new(
            "kcp_indexed_logicalclusters",
            "Logical clusters that the index knows on a shard.",
            &["shard"],
            1000,
            Gauge::default,
        );
        let reachable = Family::new(
            "kcp_front_proxy_shard_reachable",
            "Whether a registered shard tells its index now.",
            &["shard"],
            1000,
            Gauge::default,
        );
        let lookups = Family::new(
            "kcp_front_proxy_lookups_total",
            "Paths and names that the index did not know, by what became of them.",
            &["outcome"],
            10,
            Counter::default,
        );
        Self {
            lookups: server.registry.add(lookups),
            reachable: server.registry.add(reachable),
            durations: server.registry.add(durations),
            indexed: server.registry.add(indexed),
            server,
        }
    }
}

impl ProxyMetrics {
    pub fn answered(&self, method: &Method, code: StatusCode, took: Duration) {
        // What is no method of HTTP shares one value: clients can make up as many as they like.
        let known = [
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::HEAD,
        ];
        let method = if known.contains(method) {
            method.as_str()
        } else {
            "other"
        };
        self.durations.with(&[method, code.as_str()]).observe_duration(took);
    }

    /// Shards were asked for what the index does not know, or somebody asks for too much.
    pub fn looked_up(&self, outcome: &'static str) {
        self.lookups.with(&[outcome]).inc();
    }

    /// `/metrics`.
    pub fn page(&self, peers: &Peers) -> Response<Body> {
        for ((shard, facts), count) in peers.routes.shards().iter().zip(peers.routes.counts()) {
            let is_live = facts.is_registered.then(|| i64::from(peers.is_live(*shard)));
            if let Some(is_live) = is_live {
                self.reachable.with(&[&facts.name]).set(is_live);
            }
            self.indexed
                .with(&[&facts.name])
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let mut response = Response::new(Body::full(self.server.registry.encode()));
        let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(http::header::CONTENT_TYPE, text);
        response
    }
}

#[async_trait]
impl Check for Indexed {
    async fn check(&self) -> std::result::Result<(), String> {
        match self.0.is_usable() {
            true => Ok(()),
            false => Err("the shards have not told yet what they hold".to_owned()),
        }
    }
}
