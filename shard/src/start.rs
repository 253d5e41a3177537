//! `kcp start`: from flags to a serving process, and in order down again.

use std::sync::Arc;
use std::time::Duration;

use ::fabric::serve::{Fabric, Source};
use ::fabric::{Endpoint, Identity, IdentityFiles, Telling, Upstream, UpstreamOptions};
use anyhow::{Context, Result, bail};
use api::bootstrap::{RootOptions, ShardUrls};
use apiserver::{
    Audit, AuditLevel, AuditMode, AuditPolicy, Check, Health, Lifecycle, Server, ServerOptions, Tls, TlsFiles,
};
use async_trait::async_trait;
use controllers::ShardInfo;
use env::Env;
use kv::Kv;
use kv::embedded::{EmbeddedKv, EmbeddedOptions};
use kv::etcd::{EtcdKv, EtcdOptions};
use telemetry::Metrics;

use crate::account_signer::AccountSigner;
use crate::admin::AdminTokens;
use crate::authentication::Authentication;
use crate::fabric::ShardSource;
use crate::front::Front;
use crate::measured::MeasuredKv;
use crate::neighbours::Neighbourhood;
use crate::options::{AuditLogMode, StartOptions};
use crate::pki::{self, Serving};
use crate::shard::{Shard, ShardOptions};
use crate::stack::{StackParts, build_with_views};

/// How often certificates are looked at for change.
const TLS_PERIOD: Duration = Duration::from_secs(10);

/// A serving process.
pub struct Running {
    pub shard: Arc<Shard>,
    server: Server<Front>,
    kv: Arc<dyn Kv>,
    serving: env::Task<()>,
    /// To the cache server, if there is one.
    telling: Option<env::Task<()>>,
    /// Where it listens.
    pub address: String,
}

struct StoreCheck {
    kv: Arc<dyn Kv>,
    clock: env::Clock,
}

/// Not ready once root has refused this shard: what it says goes on being true, and somebody has to act.
struct Registered(Arc<Shard>);

/// How long the store may take to answer a health check (Kubernetes: 2 s).
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

// === impl Running ===

impl Running {
    /// Starts everything; ready when it returns.
    pub async fn start(env: &Env, options: &StartOptions) -> Result<Self> {
        options.validate().map_err(anyhow::Error::msg)?;
        if !options.writes_nothing() {
            env.disk
                .create_dir_all(&options.root_directory)
                .with_context(|| format!("making {}", options.root_directory.display()))?;
        }
        let listener = listen(env, options).await?;
        let address = listener.address();
        let place = Place::new(options, &address)?;
        let files = serving_files(env, options, &place)?;
        let tokens = AdminTokens::prepare(env, options)?;
        let signer = AccountSigner::open(env, options)?;
        let metrics = Metrics::new();
        let kv = MeasuredKv::over(open_store(env, options).await?, env, &metrics);
        let shard_options = shard_options(options, &place, &files, env, &signer)?;
        let shard = Arc::new(Shard::start(env, kv.clone(), shard_options).await?);
        shard.wait_for_root().await;

        let lifecycle = Lifecycle::new();
        let health = Health::new(lifecycle.clone());
        let check = Arc::new(StoreCheck {
            kv: kv.clone(),
            clock: env.clock.clone(),
        });
        health.add("etcd", false, check.clone());
        health.add("etcd-readiness", true, check);
        health.add("shard-registration", true, Arc::new(Registered(shard.clone())));
        crate::metrics::add(&shard, &metrics);
        let audit = audit(env, options, &metrics)?;
        let authentication = Authentication::new(env, options, &tokens, &signer, &shard)?;
        let components = authentication.components.clone();
        let anonymous = authentication.anonymous;
        let parts = StackParts {
            authentication,
            run_virtual_workspaces: options.run_virtual_workspaces,
            home_workspaces: options.enable_home_workspaces,
            audit,
            health,
            lifecycle: lifecycle.clone(),
            metrics: metrics.clone(),
            anonymous,
            external_address: place.external.clone(),
            issuer: options.service_account_issuer.clone(),
            jwks_uri: options.service_account_jwks_uri.clone(),
        };
        let source: Arc<dyn Source> = Arc::new(ShardSource::new(&shard));
        let telling = telling(env, options, source.clone())?;
        let (stack, answers) = build_with_views(&shard, parts);
        let answers = Arc::new(answers);
        let ending = lifecycle.clone();
        let fabric = |clients| Fabric::new(source, clients, ending).with_views(answers);
        let front = Arc::new(Front {
            stack,
            fabric: components.clients.map(fabric),
            proxies: components.proxies,
            facts: shard.facts.clone(),
        });
        let tls_files = TlsFiles {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
            client_ca: options
                .client_ca_file
                .iter()
                .chain(&options.requestheader_client_ca_file)
                .cloned()
                .collect(),
        };
        let tls = Tls::new(env, &tls_files.read(&*env.disk).context("reading TLS files")?).context("setting TLS up")?;
        let following = tls.clone();
        let following_env = env.clone();
        env.spawn
            .spawn("certificates", async move {
                following.follow(&following_env, tls_files, TLS_PERIOD).await
            })
            .detach();
        let server_options = ServerOptions {
            shutdown_delay: options.shutdown_delay_duration,
            ..ServerOptions::default()
        };
        let server = Server::new(env.clone(), server_options, front, Some(tls), lifecycle, metrics);
        let accepting = server.clone();
        let serving = env.spawn.spawn("server", async move { accepting.run(listener).await });
        if options.batteries().admin {
            let file = options.kubeconfig_file();
            let text = tokens.kubeconfig(&format!("https://{}", place.external), &files.ca_pem);
            env.disk
                .write_atomic(&file, text.as_bytes())
                .with_context(|| format!("writing {}", file.display()))?;
        }
        Ok(Self {
            shard,
            server,
            kv,
            serving,
            telling: telling.map(|telling| env.spawn.spawn("telling the cache server", telling.run())),
            address,
        })
    }

    /// Readiness off, connections told to go, watches ended, requests finished; then the store is closed.
    pub async fn stop(self) {
        self.server.shutdown().await;
        // An aborted or panicked acceptor has nothing left to finish.
        let _ended = self.serving.join().await;
        self.telling.iter().for_each(env::Task::abort);
        self.shard.stop().await;
        self.kv.close().await;
    }
}

/// How the server is reached.
struct Place {
    /// `host:port` that clients use.
    external: String,
    hosts: Vec<String>,
}

// === impl Place ===

impl Place {
    fn new(options: &StartOptions, listening: &str) -> Result<Self> {
        let port = listening.rsplit(':').next().unwrap_or_default();
        let named = options.external_hostname.as_str();
        let host = match named.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => host,
            _ => named,
        };
        let bound = options.bind_address.as_str();
        let bound_host = if matches!(bound, "" | "0.0.0.0" | "::") {
            "localhost"
        } else {
            bound
        };
        let host = if host.is_empty() { bound_host } else { host };
        if host.contains('/') {
            bail!("--external-hostname {named:?} must be a host name, without scheme or path");
        }
        let external = if named.contains(':') {
            named.to_owned()
        } else {
            format!("{host}:{port}")
        };
        let mut hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        for name in [host, bound_host] {
            if !hosts.iter().any(|known| known == name) {
                hosts.push(name.to_owned());
            }
        }
        Ok(Self { external, hosts })
    }
}

async fn listen(env: &Env, options: &StartOptions) -> Result<Box<dyn env::Listener>> {
    let address = if options.bind_address.contains(':') {
        format!("[{}]:{}", options.bind_address, options.secure_port)
    } else {
        format!("{}:{}", options.bind_address, options.secure_port)
    };
    env.net.listen(&address).await.with_context(|| {
        format!("listening on {address}: is another server running there? --secure-port and --bind-address say where")
    })
}

fn serving_files(env: &Env, options: &StartOptions, place: &Place) -> Result<Serving> {
    if let (Some(certificate), Some(key)) = (&options.tls_cert_file, &options.tls_private_key_file) {
        let pem = env
            .disk
            .read(certificate)
            .with_context(|| format!("reading {}", certificate.display()))?;
        let ca_pem = String::from_utf8_lossy(&pem).into_owned();
        return Ok(Serving {
            certificate: certificate.clone(),
            key: key.clone(),
            ca_pem,
        });
    }
    pki::serving(&*env.disk, &options.root_directory, &place.hosts)
}

async fn open_store(env: &Env, options: &StartOptions) -> Result<Arc<dyn Kv>> {
    if options.is_embedded() {
        let directory = options.store_directory();
        // The objects are in memory already: what the log has read or written is hardly ever asked for again.
        let embedded = EmbeddedOptions {
            cache_bytes: 2 << 20,
            recent_bytes: 4 << 20,
            ..EmbeddedOptions::new(&directory)
        };
        let store = EmbeddedKv::open(env, embedded)
            .await
            .with_context(|| format!("opening the embedded store in {}", directory.display()))?;
        return Ok(Arc::new(store));
    }
    let identity = options.etcd_certfile.clone().zip(options.etcd_keyfile.clone());
    let etcd = EtcdOptions {
        ca: options.etcd_cafile.clone(),
        identity,
        ..EtcdOptions::new(options.etcd_servers.clone())
    };
    let store = EtcdKv::connect(env, etcd)
        .await
        .with_context(|| format!("connecting to etcd at {}", options.etcd_servers.join(",")))?;
    Ok(Arc::new(store))
}

fn shard_options(
    options: &StartOptions,
    place: &Place,
    files: &Serving,
    env: &Env,
    signer: &AccountSigner,
) -> Result<ShardOptions> {
    let local = format!("https://{}", place.external);
    let or_local = |url: &str| {
        if url.is_empty() {
            local.clone()
        } else {
            url.trim_end_matches('/').to_owned()
        }
    };
    let base = or_local(&options.shard_base_url);
    let external = or_local(&options.shard_external_url);
    let virtual_workspace = if options.shard_virtual_workspace_url.is_empty() {
        base.clone()
    } else {
        or_local(&options.shard_virtual_workspace_url)
    };
    Ok(ShardOptions {
        info: ShardInfo {
            name: options.shard_name.clone(),
            external_url: external.clone(),
            virtual_workspace_url: virtual_workspace.clone(),
            ca_pem: files.ca_pem.clone(),
        },
        urls: ShardUrls {
            base,
            external,
            virtual_workspace,
        },
        root: RootOptions {
            batteries: options.batteries(),
            home_creator_groups: options.home_workspaces_home_creator_groups.clone(),
        },
        cache_apis: options.has_gate("CacheAPIs"),
        object_limit: options.logical_cluster_total_object_limit,
        prefix: options.etcd_prefix.clone(),
        compaction: options.etcd_compaction_interval,
        always_allowed_paths: options.authorization_always_allow_paths.clone(),
        exclusive_store: options.is_embedded(),
        run_controllers: options.run_controllers,
        holder: format!("{}-{:016x}", options.shard_name, env.rng.next_u64()),
        identity_file: options.identity_file(),
        accounts: signer.clone(),
        neighbourhood: neighbourhood(env, options)?,
    })
}

/// How other shards are reached, if anything is said of that.
fn neighbourhood(env: &Env, options: &StartOptions) -> Result<Option<Neighbourhood>> {
    let to_root = match &options.root_shard_kubeconfig_file {
        Some(file) => Some(Identity::from_kubeconfig(&*env.disk, file, None)?),
        None => None,
    };
    let to_all = &options.logical_cluster_admin_kubeconfig;
    let Some(to_all) = to_all.as_ref().or(options.root_shard_kubeconfig_file.as_ref()) else {
        return Ok(None);
    };
    let pair = options.shard_client_cert_file.as_deref();
    let files = IdentityFiles::kubeconfig(to_all, None).with_pair(pair.zip(options.shard_client_key_file.as_deref()));
    let (identity, tls) = Identity::open(env, files)?;
    if identity.certificate.is_empty() {
        bail!(
            "shards know each other by client certificates: the kubeconfig has none, and --shard-client-cert-file is not set"
        );
    }
    Ok(Some(Neighbourhood {
        tls: Some(tls),
        root: to_root.map(|identity| identity.base_url()),
    }))
}

/// How the cache server is told, if `--cache-kubeconfig` names one. A kubeconfig without a client certificate is that of a shard in
/// kcp's embedded layout: there is nobody to tell.
fn telling(env: &Env, options: &StartOptions, source: Arc<dyn Source>) -> Result<Option<Telling>> {
    let Some(file) = &options.cache_kubeconfig else {
        return Ok(None);
    };
    let (identity, tls) = Identity::open(env, IdentityFiles::kubeconfig(file, None))?;
    if identity.certificate.is_empty() {
        tracing::warn!("--cache-kubeconfig has no client certificate: the cache server is told nothing");
        return Ok(None);
    }
    let endpoint = Endpoint::from_url(&identity.base_url(), Some(tls));
    let endpoint = endpoint.map_err(|why| anyhow::anyhow!("--cache-kubeconfig: {why}"))?;
    Ok(Some(Telling {
        env: env.clone(),
        shard: options.shard_name.clone(),
        source,
        cache: Upstream::new(env.clone(), endpoint, UpstreamOptions::default()),
    }))
}

fn audit(env: &Env, options: &StartOptions, metrics: &Arc<Metrics>) -> Result<Audit> {
    let Some(file) = options.audit_file() else {
        return Ok(Audit::none());
    };
    let policy = match &options.audit_policy_file {
        None => AuditPolicy::everything(AuditLevel::Metadata),
        Some(file) => {
            let text = env
                .disk
                .read(file)
                .with_context(|| format!("reading {}", file.display()))?;
            AuditPolicy::parse(&text).map_err(|why| anyhow::anyhow!("{}: {why}", file.display()))?
        }
    };
    let mode = match options.audit_log_mode {
        AuditLogMode::Batch => AuditMode::Batch,
        AuditLogMode::Blocking | AuditLogMode::BlockingStrict => AuditMode::Blocking,
    };
    Ok(Audit::to_file(env, file, mode, policy, metrics))
}

#[async_trait]
impl Check for Registered {
    async fn check(&self) -> std::result::Result<(), String> {
        match &*self.0.refused.lock() {
            None => Ok(()),
            Some(why) => Err(why.clone()),
        }
    }
}

#[async_trait]
impl Check for StoreCheck {
    async fn check(&self) -> std::result::Result<(), String> {
        match self.clock.timeout(CHECK_TIMEOUT, self.kv.revision()).await {
            Ok(outcome) => outcome.map(drop).map_err(|error| error.to_string()),
            Err(_) => Err("the store does not answer".to_owned()),
        }
    }
}
