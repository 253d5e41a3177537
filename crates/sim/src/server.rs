//! The shard under test: its store on a simulated disk, its controllers, and everything of its server above TLS.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use api::bootstrap::{RootOptions, ShardUrls};
use apiserver::{Audit, Health, Lifecycle, Stack};
use clap::Parser;
use controller::Effects;
use controllers::ShardInfo;
use env::Env;
use kv::Kv;
use kv::embedded::{EmbeddedKv, EmbeddedOptions};
use shard::account_signer::AccountSigner;
use shard::admin::AdminTokens;
use shard::authentication::Authentication;
use shard::options::StartOptions;
use shard::shard::{Seams, Shard, ShardOptions};
use shard::stack::StackParts;
use storage::StoreOptions;
use telemetry::Metrics;

/// Where clients would reach it.
const ADDRESS: &str = "kcp.example:6443";
/// Where it listens in the simulated network.
pub const LISTEN: &str = "shard:6443";
const DIRECTORY: &str = "kcp";
const TOKENS: &str = "kcp/tokens.csv";

/// One life of the server.
pub struct Server {
    pub env: Env,
    pub kv: Arc<dyn Kv>,
    pub shard: Shard,
    pub stack: Arc<Stack>,
    http: apiserver::Server<Stack>,
}

/// What differs from one simulated server to the other.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    pub compaction: Duration,
    /// Budget of the log of events: with little, watches expire.
    pub log_bytes: usize,
    /// Memory of the store for pages and for recent changes.
    pub cache_bytes: usize,
    /// A fault that the checkers have to find. Without effect in release builds, where there are none.
    pub bug: Option<Bug>,
}

/// Faults put in on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Writes are acknowledged without having been synced.
    SyncLeftOut,
    /// Writes do not compare the resourceVersion of what they replace.
    RevisionNotCompared,
    /// Watches do not show one event in many.
    EventDropped,
}

// === impl ServerOptions ===

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            compaction: Duration::from_secs(300),
            log_bytes: 32 << 20,
            cache_bytes: 32 << 20,
            bug: None,
        }
    }
}

impl ServerOptions {
    #[cfg(debug_assertions)]
    fn plant_in_store(&self, embedded: &mut EmbeddedOptions) {
        embedded.skip_sync = self.bug == Some(Bug::SyncLeftOut);
    }

    #[cfg(not(debug_assertions))]
    fn plant_in_store(&self, _: &mut EmbeddedOptions) {}

    fn seams(&self, between: impl FnOnce(Arc<dyn Effects>) -> Arc<dyn Effects> + Send + 'static) -> Seams {
        let (bug, log_bytes) = (self.bug, self.log_bytes);
        let store = move |mut options: StoreOptions| {
            options.log_bytes = log_bytes;
            #[cfg(debug_assertions)]
            match bug {
                Some(Bug::RevisionNotCompared) => options.planted.skip_revision = true,
                Some(Bug::EventDropped) => options.planted.drop_event_each = 41,
                Some(Bug::SyncLeftOut) | None => {}
            }
            #[cfg(not(debug_assertions))]
            let _ = bug;
            options
        };
        Seams {
            effects: Box::new(between),
            store: Box::new(store),
        }
    }
}

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    start: StartOptions,
}

// === impl Server ===

impl Server {
    /// Opens the store and starts everything above it.
    pub async fn start(
        env: &Env,
        options: &ServerOptions,
        between: impl FnOnce(Arc<dyn Effects>) -> Arc<dyn Effects> + Send + 'static,
    ) -> Result<Self> {
        let start = Flags::try_parse_from(["sim", "--root-directory", DIRECTORY, "--token-auth-file", TOKENS])?.start;
        let mut embedded = EmbeddedOptions::new(start.store_directory());
        embedded.cache_bytes = options.cache_bytes;
        embedded.recent_bytes = options.cache_bytes;
        options.plant_in_store(&mut embedded);
        embedded.reserve_bytes = 1 << 20;
        let kv: Arc<dyn Kv> = Arc::new(EmbeddedKv::open(env, embedded).await.context("opening the store")?);
        let signer = AccountSigner::open(env, &start)?;
        let shard_options = shard_options(&start, options, env, &signer);
        let shard = Shard::start_with(env, kv.clone(), shard_options, options.seams(between)).await?;
        let tokens = AdminTokens {
            shard_admin: "shard-admin".to_owned(),
            kcp_admin: "kcp-admin".to_owned(),
            user: None,
        };
        let metrics = Metrics::new();
        let lifecycle = Lifecycle::new();
        let parts = StackParts {
            authentication: Authentication::new(env, &start, &tokens, &signer, &shard)?,
            run_virtual_workspaces: true,
            home_workspaces: false,
            audit: Audit::none(),
            health: Health::new(lifecycle.clone()),
            lifecycle: lifecycle.clone(),
            metrics: metrics.clone(),
            anonymous: true,
            external_address: ADDRESS.to_owned(),
            issuer: start.service_account_issuer.clone(),
            jwks_uri: start.service_account_jwks_uri.clone(),
        };
        let stack = shard::stack::build(&shard, parts);
        let http = apiserver::Server::new(
            env.clone(),
            apiserver::ServerOptions::default(),
            stack.clone(),
            None,
            lifecycle,
            metrics,
        );
        let listener = env.net.listen(LISTEN).await.context("listening")?;
        let accepting = http.clone();
        env.spawn
            .spawn("server", async move { accepting.run(listener).await })
            .detach();
        Ok(Self {
            http,
            env: env.clone(),
            kv,
            shard,
            stack,
        })
    }

    /// Down in order, with everything written.
    pub async fn stop(&self) {
        self.http.shutdown().await;
        self.shard.stop().await;
        self.kv.close().await;
    }
}

/// Writes the file of users: (token, name, groups).
pub fn write_users(env: &Env, users: &[(&str, &str)]) -> std::io::Result<()> {
    let lines: String = users
        .iter()
        .map(|(name, groups)| format!("{name},{name},{name},\"{groups}\"\n"))
        .collect();
    env.disk.write_atomic(std::path::Path::new(TOKENS), lines.as_bytes())
}

fn shard_options(start: &StartOptions, options: &ServerOptions, env: &Env, signer: &AccountSigner) -> ShardOptions {
    let url = format!("https://{ADDRESS}");
    ShardOptions {
        info: ShardInfo {
            name: start.shard_name.clone(),
            external_url: url.clone(),
            virtual_workspace_url: url.clone(),
            ca_pem: String::new(),
        },
        urls: ShardUrls {
            base: url.clone(),
            external: url.clone(),
            virtual_workspace: url,
        },
        root: RootOptions {
            batteries: start.batteries(),
            home_creator_groups: start.home_workspaces_home_creator_groups.clone(),
        },
        cache_apis: false,
        prefix: start.etcd_prefix.clone(),
        compaction: options.compaction,
        always_allowed_paths: start.authorization_always_allow_paths.clone(),
        exclusive_store: true,
        run_controllers: true,
        holder: format!("sim-{:016x}", env.rng.next_u64()),
        accounts: signer.clone(),
        neighbourhood: None,
    }
}
