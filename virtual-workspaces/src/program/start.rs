//! From flags to a serving process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use api::keys::{cluster, group, identity};
use apiserver::auth::{
    Authenticator, CaBundle, ClientCertificates, Impersonation, ImpersonationOptions, RequestHeader,
    RequestHeaderOptions,
};
use apiserver::{
    Audit, AuditLevel, AuditMode, AuditPolicy, Check, Health, Lifecycle, Server, ServerOptions, Stack, StackConfig,
    StackOptions, Tls, TlsFiles,
};
use async_trait::async_trait;
use env::Env;
use fabric::{Endpoint, Identity, IdentityFiles, Upstream, UpstreamOptions};
use machinery::user::{AUTHENTICATED, MASTERS};
use permit::{Cluster, Scope};
use telemetry::Metrics;
use tenancy::effective::SCOPES;

use super::authentication::{ByShard, NoClusters, Tokens};
use super::options::ProgramOptions;
use super::remote::RemoteShard;
use crate::{Nothing, Shard, VirtualWorkspaces};

/// How often certificates are looked at for change.
const TLS_PERIOD: Duration = Duration::from_secs(10);

/// A serving process.
pub struct Running {
    server: Server<Stack>,
    serving: env::Task<()>,
    pub address: String,
}

/// What answers requests, whatever they come over.
pub struct Parts {
    pub shard: Arc<RemoteShard>,
    /// Asked before the shard is asked whose a token is.
    pub certificates: Vec<Arc<dyn Authenticator>>,
    /// `host:port`, for discovery.
    pub external_address: String,
    pub audit: Audit,
    pub lifecycle: Lifecycle,
    pub metrics: Arc<Metrics>,
}

/// Ready while the shard answers.
struct Asked(Arc<RemoteShard>);

// === impl Running ===

impl Running {
    pub async fn start(env: &Env, options: &ProgramOptions) -> Result<Self> {
        options.validate().map_err(anyhow::Error::msg)?;
        let address = format!("{}:{}", options.bind_address, options.secure_port);
        let listener = env
            .net
            .listen(&address)
            .await
            .with_context(|| format!("listening on {address}: --secure-port and --bind-address say where"))?;
        let address = listener.address();
        let metrics = Metrics::new();
        apiserver::add_process_metrics(env, &metrics);
        let lifecycle = Lifecycle::new();
        let parts = Parts {
            shard: RemoteShard::new(env, upstream(env, options)?),
            certificates: certificates(env, options)?,
            external_address: external_address(options, &address),
            audit: audit(env, options, &metrics)?,
            lifecycle: lifecycle.clone(),
            metrics: metrics.clone(),
        };
        let stack = parts.stack(env);
        let tls = tls(env, options)?;
        let server_options = ServerOptions {
            shutdown_delay: options.shutdown_delay_duration,
            ..ServerOptions::default()
        };
        let server = Server::new(env.clone(), server_options, stack, Some(tls), lifecycle, metrics);
        let accepting = server.clone();
        let serving = env.spawn.spawn("server", async move { accepting.run(listener).await });
        Ok(Self {
            server,
            serving,
            address,
        })
    }

    /// Readiness off, connections told to go, watches ended, requests finished.
    pub async fn stop(self) {
        self.server.shutdown().await;
        // An aborted or panicked acceptor has nothing left to finish.
        let _ended = self.serving.join().await;
    }
}

// === impl Parts ===

impl Parts {
    /// The stages of the process.
    pub fn stack(self, env: &Env) -> Arc<Stack> {
        let shard = self.shard;
        let health = Health::new(self.lifecycle.clone());
        health.add("shard", true, Arc::new(Asked(shard.clone())));
        let of_views: Arc<dyn Shard> = shard.clone();
        let mut authenticators = self.certificates;
        authenticators.push(Arc::new(Tokens(shard.clone())));
        Stack::new(StackConfig {
            env: env.clone(),
            options: StackOptions {
                metrics_scope: Some(Scope::One(Cluster::well_known(cluster::ROOT))),
                own_groups: &group::OWN,
                external_address: self.external_address,
                ..StackOptions::default()
            },
            resolver: Arc::new(NoClusters),
            authenticators,
            impersonator: Some(Arc::new(Impersonation::new(impersonation()))),
            authorizer: Arc::new(ByShard(shard)),
            surface: Arc::new(Nothing),
            definitions: Arc::new(api::builtin::definitions().clone()),
            services: Some(Arc::new(VirtualWorkspaces::new(&of_views))),
            delegates: None,
            mounts: None,
            fairness: Default::default(),
            audit: self.audit,
            health,
            lifecycle: self.lifecycle,
            metrics: self.metrics,
        })
    }
}

/// Where clients reach it, as discovery shows it.
fn external_address(options: &ProgramOptions, address: &str) -> String {
    let port = address.rsplit(':').next().unwrap_or_default();
    match options.external_hostname.as_str() {
        "" => format!("localhost:{port}"),
        host if host.contains(':') => host.to_owned(),
        host => format!("{host}:{port}"),
    }
}

fn upstream(env: &Env, options: &ProgramOptions) -> Result<Upstream> {
    let context = Some(options.context.as_str()).filter(|context| !context.is_empty());
    let (identity, tls) = Identity::open(env, IdentityFiles::kubeconfig(&options.kubeconfig, context))?;
    if identity.certificate.is_empty() {
        bail!("--kubeconfig must have a client certificate: the shard knows its components by it");
    }
    let endpoint = Endpoint::from_url(&identity.base_url(), Some(tls)).map_err(anyhow::Error::msg)?;
    Ok(Upstream::new(env.clone(), endpoint, UpstreamOptions::default()))
}

fn certificates(env: &Env, options: &ProgramOptions) -> Result<Vec<Arc<dyn Authenticator>>> {
    let bundle = |file: &Path| -> Result<Arc<CaBundle>> {
        CaBundle::open(env, file).with_context(|| format!("reading {}", file.display()))
    };
    let mut members: Vec<Arc<dyn Authenticator>> = Vec::new();
    if let Some(file) = &options.requestheader_client_ca_file {
        let headers = RequestHeaderOptions {
            username_headers: options.requestheader_username_headers.clone(),
            group_headers: options.requestheader_group_headers.clone(),
            extra_header_prefixes: options.requestheader_extra_headers_prefix.clone(),
            allowed_names: options.requestheader_allowed_names.clone(),
            ..RequestHeaderOptions::default()
        };
        members.push(Arc::new(RequestHeader::new(bundle(file)?, headers)));
    }
    if let Some(file) = &options.client_ca_file {
        members.push(Arc::new(ClientCertificates::new(bundle(file)?)));
    }
    Ok(members)
}

/// As at the shard (kcp's facts, G.7).
pub fn impersonation() -> ImpersonationOptions {
    let protected = [
        MASTERS,
        identity::LOGICAL_CLUSTER_ADMIN_GROUP,
        identity::EXTERNAL_LOGICAL_CLUSTER_ADMIN_GROUP,
        identity::WORKSPACE_BOOTSTRAPPER_GROUP,
        identity::KCP_ADMIN_GROUP,
        AUTHENTICATED,
    ];
    ImpersonationOptions {
        protected_groups: protected.map(str::to_owned).to_vec(),
        scopes_extra: SCOPES.to_owned(),
    }
}

fn audit(env: &Env, options: &ProgramOptions, metrics: &Arc<Metrics>) -> Result<Audit> {
    let Some(file) = options.audit_file() else {
        return Ok(Audit::none());
    };
    let policy = match &options.audit_policy_file {
        None => AuditPolicy::everything(AuditLevel::Metadata),
        Some(file) => {
            AuditPolicy::parse(&read(env, file)?).map_err(|why| anyhow::anyhow!("{}: {why}", file.display()))?
        }
    };
    Ok(Audit::to_file(env, file, AuditMode::Blocking, policy, metrics))
}

fn tls(env: &Env, options: &ProgramOptions) -> Result<Arc<Tls>> {
    let files = TlsFiles {
        certificate: options.tls_cert_file.clone(),
        key: options.tls_private_key_file.clone(),
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

#[async_trait]
impl Check for Asked {
    async fn check(&self) -> std::result::Result<(), String> {
        let root = Cluster::well_known(cluster::ROOT);
        let asked = self.0.logical_cluster(&root).await;
        asked.map(drop).map_err(|status| status.message)
    }
}
