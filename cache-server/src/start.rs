//! From flags to a serving process, and in order down again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use apiserver::auth::{self, CaBundle, ClientCertificates, Impersonation};
use apiserver::{Audit, Health, Lifecycle, Server, ServerOptions, Stack, StackConfig, StackOptions, Tls, TlsFiles};
use env::Env;
use fabric::serve::Fabric;
use fabric::{Receiving, Replicas};
use kv::Kv;
use registry::{AdmissionChain, Registry};
use serde_json::json;
use storage::StoreOptions;
use telemetry::Metrics;
use telemetry::metrics::Sample;

use crate::access::{Anybody, Components, NoClusters};
use crate::certificate;
use crate::definitions::kept;
use crate::front::Front;
use crate::options::CacheOptions;
use crate::service::CacheService;
use crate::store::{self, StoreCheck};
use crate::surface::{Cache, Part};

/// How often certificates are looked at for change.
const TLS_PERIOD: Duration = Duration::from_secs(10);

/// A serving process.
pub struct Running {
    server: Server<Front>,
    serving: env::Task<()>,
    replicas: Arc<Replicas>,
    kv: Arc<dyn Kv>,
    /// Where it listens.
    pub address: String,
}

/// What answers requests, whatever they come over.
pub struct Parts {
    pub front: Arc<Front>,
    pub replicas: Arc<Replicas>,
    pub metrics: Arc<Metrics>,
    pub lifecycle: Lifecycle,
}

// === impl Running ===

impl Running {
    /// Starts everything; ready when it returns.
    pub async fn start(env: &Env, options: &CacheOptions) -> Result<Self> {
        options.validate().map_err(anyhow::Error::msg)?;
        env.disk
            .create_dir_all(&options.root_directory)
            .with_context(|| format!("making {}", options.root_directory.display()))?;
        let host = match options.bind_address.contains(':') {
            true => format!("[{}]", options.bind_address),
            false => options.bind_address.clone(),
        };
        let address = format!("{host}:{}", options.secure_port);
        let listener = env.net.listen(&address).await.with_context(|| {
            format!(
                "listening on {address}: is another server running there? --secure-port and --bind-address say where"
            )
        })?;
        let address = listener.address();
        let files = tls_files(env, options)?;
        let client_ca = options.client_ca_file.iter().next().context("--client-ca-file")?;
        let bundle = CaBundle::open(env, client_ca).with_context(|| format!("reading {}", client_ca.display()))?;
        let kv = store::open(env, options).await?;
        let certificates = Arc::new(ClientCertificates::new(bundle));
        let parts = Parts::new(env, options, kv.clone(), certificates).await?;
        let material = files.read(&*env.disk).context("reading TLS files")?;
        let tls = Tls::new(env, &material).context("setting TLS up")?;
        let (following, following_env) = (tls.clone(), env.clone());
        env.spawn
            .spawn("certificates", async move {
                following.follow(&following_env, files, TLS_PERIOD).await
            })
            .detach();
        let server_options = ServerOptions {
            shutdown_delay: options.shutdown_delay_duration,
            ..ServerOptions::default()
        };
        let Parts {
            front,
            replicas,
            metrics,
            lifecycle,
        } = parts;
        let server = Server::new(env.clone(), server_options, front, Some(tls), lifecycle, metrics);
        let accepting = server.clone();
        let serving = env.spawn.spawn("server", async move { accepting.run(listener).await });
        Ok(Self {
            server,
            serving,
            replicas,
            kv,
            address,
        })
    }

    /// Readiness off, connections told to go, requests finished; then the store is closed.
    pub async fn stop(self) {
        self.server.shutdown().await;
        // An aborted or panicked acceptor has nothing left to finish.
        let _ended = self.serving.join().await;
        self.replicas.close();
        self.kv.close().await;
    }
}

// === impl Parts ===

impl Parts {
    /// Over a store, with whoever knows components by their certificates.
    pub async fn new(
        env: &Env,
        options: &CacheOptions,
        kv: Arc<dyn Kv>,
        certificates: Arc<dyn auth::Authenticator>,
    ) -> Result<Self> {
        let store_options = StoreOptions {
            prefix: options.prefix(),
            compaction_period: options.etcd_compaction_interval,
            ..StoreOptions::default()
        };
        let replicas = Replicas::alone(env, kv.clone(), store_options);
        let replicas = replicas.await.context("opening the store's content")?;
        let store = replicas.store().await.context("opening the store's content")?;
        let receiving = Receiving::new(replicas.clone());
        let lifecycle = Lifecycle::new();
        let health = Health::new(lifecycle.clone());
        let check = Arc::new(StoreCheck {
            kv,
            clock: env.clock.clone(),
        });
        health.add("etcd", false, check.clone());
        health.add("etcd-readiness", true, check);
        let metrics = Metrics::new();
        add_metrics(env, &metrics, &receiving, &replicas);
        let cache = Arc::new(Cache {
            resources: kept(),
            objects: Registry::new(store, env.clone(), AdmissionChain::new(Vec::new())),
            replicas: replicas.clone(),
        });
        let stack = Stack::new(StackConfig {
            env: env.clone(),
            options: StackOptions {
                cluster_annotation: Some(api::keys::annotation::AUDIT_CLUSTER),
                ..StackOptions::default()
            },
            resolver: Arc::new(NoClusters),
            authenticators: vec![certificates.clone(), Arc::new(Anybody)],
            impersonator: Some(Arc::new(Impersonation::default())),
            authorizer: Arc::new(Components {
                always_allowed_paths: options.authorization_always_allow_paths.clone(),
            }),
            surface: Arc::new(Part::new(&cache, None)),
            delegates: None,
            definitions: Arc::new(json!({})),
            services: Some(Arc::new(CacheService(cache))),
            mounts: None,
            fairness: Default::default(),
            audit: Audit::none(),
            health,
            lifecycle: lifecycle.clone(),
            metrics: metrics.clone(),
        });
        let front = Arc::new(Front {
            stack,
            fabric: Fabric::of_cache(receiving, certificates, lifecycle.clone()),
            clock: env.clock.clone(),
            delay: options.synthetic_delay,
        });
        Ok(Self {
            front,
            replicas,
            metrics,
            lifecycle,
        })
    }
}

/// Who tells, and how much is kept: counted when it is asked for.
fn add_metrics(env: &Env, metrics: &Metrics, receiving: &Arc<Receiving>, replicas: &Arc<Replicas>) {
    apiserver::add_process_metrics(env, metrics);
    let (receiving, replicas) = (Arc::downgrade(receiving), Arc::downgrade(replicas));
    metrics.registry.add_computed(move || {
        let (Some(receiving), Some(replicas)) = (receiving.upgrade(), replicas.upgrade()) else {
            return Vec::new();
        };
        let of = |name, help, shard: String, value: f64| Sample {
            name,
            help,
            kind: "gauge",
            labels: vec![("shard", shard)],
            value,
        };
        let telling = receiving.tellers().into_iter().map(|(shard, tells)| {
            let help = "Whether a shard tells this server what it has now.";
            of("kcp_cache_shard_telling", help, shard, f64::from(u8::from(tells)))
        });
        let kept = replicas.origins().into_iter().map(|shard| {
            let count = replicas.count(&shard);
            of("kcp_cache_objects", "Objects kept of a shard.", shard, count as f64)
        });
        telling.chain(kept).chain(replicas.samples()).collect()
    });
}

/// The serving certificate, made where none is given, and the CAs of clients.
fn tls_files(env: &Env, options: &CacheOptions) -> Result<TlsFiles> {
    let given = options.tls_cert_file.clone().zip(options.tls_private_key_file.clone());
    let (certificate, key): (PathBuf, PathBuf) = match given {
        Some(pair) => pair,
        None => certificate::own(&*env.disk, &options.certificate_directory(), &options.bind_address)?,
    };
    Ok(TlsFiles {
        certificate,
        key,
        client_ca: options.client_ca_file.iter().cloned().collect(),
    })
}
