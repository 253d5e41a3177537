//! A shard under test: its store on a simulated disk, its controllers, and everything of its server above TLS.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::fabric::serve::{Fabric, Source};
use ::fabric::{Endpoint, Telling, Upstream, UpstreamOptions};
use anyhow::{Context, Result};
use api::bootstrap::{RootOptions, ShardUrls};
use apiserver::{Audit, Health, Lifecycle, Stack};
use clap::Parser;
use controller::Effects;
use controllers::ShardInfo;
use env::{Env, Task};
use kv::Kv;
use kv::embedded::{EmbeddedKv, EmbeddedOptions};
use shard::account_signer::AccountSigner;
use shard::admin::AdminTokens;
use shard::authentication::Authentication;
use shard::fabric::ShardSource;
use shard::front::Front;
use shard::neighbours::{Neighbourhood, ROOT_SHARD};
use shard::options::StartOptions;
use shard::shard::{Seams, Shard, ShardOptions};
use shard::stack::StackParts;
use storage::StoreOptions;
use telemetry::Metrics;

use crate::history::Shared as History;
use crate::plane::Flaw;
use crate::plane::papers::{Checkpoint, Papers};
use crate::plane::tellings::{Tellings, Unsteady};
use crate::recorded::Recorded;

/// Where clients would reach it.
const ADDRESS: &str = "kcp.example:6443";
/// Where it listens in the simulated network.
pub const LISTEN: &str = "shard:6443";
/// Where shards listen, on whatever machine.
const PORT: &str = ":6443";
const DIRECTORY: &str = "kcp";
const TOKENS: &str = "kcp/tokens.csv";
/// CAs of components' certificates, and of those of proxies, where there are others.
const COMPONENT_CA: &str = "kcp/component-ca.crt";
const PROXY_CA: &str = "kcp/proxy-ca.crt";

/// One life of the server.
pub struct Server {
    pub env: Env,
    pub kv: Arc<dyn Kv>,
    pub shard: Shard,
    pub stack: Arc<Stack>,
    http: apiserver::Server<Checkpoint<Front>>,
    /// To the cache server, where there is one.
    telling: Option<Task<()>>,
}

/// One shard of several.
#[derive(Clone)]
pub struct Member {
    pub name: String,
    pub papers: Papers,
    /// What happens to what it tells of its index.
    pub tellings: Tellings,
    pub flaw: Option<Flaw>,
    /// Where the cache server is.
    pub cache: Option<String>,
}

/// What differs from one simulated server to the other.
#[derive(Clone)]
pub struct ServerOptions {
    pub compaction: Duration,
    /// Budget of the log of events: with little, watches expire.
    pub log_bytes: usize,
    /// Memory of the store for pages and for recent changes.
    pub cache_bytes: usize,
    /// A fault that the checkers have to find. Without effect in release builds, where there are none.
    pub bug: Option<Bug>,
    /// What its store must not forget before it is in there.
    pub history: Option<History>,
    /// None: it is alone.
    pub member: Option<Member>,
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
            history: None,
            member: None,
        }
    }
}

impl ServerOptions {
    fn flags(&self) -> Result<StartOptions> {
        let mut line = vec!["sim", "--root-directory", DIRECTORY, "--token-auth-file", TOKENS];
        if let Some(member) = &self.member {
            let trusted = [
                "--client-ca-file",
                COMPONENT_CA,
                "--requestheader-client-ca-file",
                PROXY_CA,
            ];
            line.extend(["--shard-name", &member.name].into_iter().chain(trusted));
        }
        Ok(Flags::try_parse_from(line)?.start)
    }

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
        let start = options.flags()?;
        let mut embedded = EmbeddedOptions::new(start.store_directory());
        // So that many crashes fall into a taking over of the journal.
        embedded.journal_bytes = 32 << 10;
        embedded.cache_bytes = options.cache_bytes;
        embedded.recent_bytes = options.cache_bytes;
        options.plant_in_store(&mut embedded);
        embedded.reserve_bytes = 1 << 20;
        let kv: Arc<dyn Kv> = Arc::new(EmbeddedKv::open(env, embedded).await.context("opening the store")?);
        let kv = match options.history.clone() {
            Some(history) => Arc::new(Recorded { inner: kv, history }),
            None => kv,
        };
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
        let authentication = Authentication::new(env, &start, &tokens, &signer, &shard)?;
        let components = authentication.components.clone();
        let parts = StackParts {
            authentication,
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
        let (stack, answers) = shard::stack::build_with_views(&shard, parts);
        let flaw = options.member.as_ref().and_then(|member| member.flaw);
        let keeps_stale_routes = flaw == Some(Flaw::StaleRouteKept);
        let source = options.member.as_ref().map(|member| {
            let source = Unsteady::new(Arc::new(ShardSource::new(&shard)), env, &member.tellings);
            Arc::new(source) as Arc<dyn Source>
        });
        let fabric = source.clone().zip(components.clients);
        let front = Front {
            stack: stack.clone(),
            fabric: fabric
                .map(|(source, clients)| Fabric::new(source, clients, lifecycle.clone()).with_views(Arc::new(answers))),
            proxies: components.proxies.filter(|_| !keeps_stale_routes),
            facts: shard.facts.clone(),
        };
        let cache = options.member.as_ref().and_then(|member| member.cache.as_deref());
        let telling = match source.zip(cache) {
            Some((source, cache)) => Some(telling(env, &shard.name, source, cache)?),
            None => None,
        };
        let papers = options.member.as_ref().map(|member| member.papers.clone());
        let http = apiserver::Server::new(
            env.clone(),
            apiserver::ServerOptions::default(),
            Arc::new(Checkpoint { inner: front, papers }),
            None,
            lifecycle,
            metrics,
        );
        let listener = env.net.listen(PORT).await.context("listening")?;
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
            telling: telling.map(|telling| env.spawn.spawn("telling the cache server", telling.run())),
        })
    }

    /// Down in order, with everything written.
    pub async fn stop(&self) {
        self.http.shutdown().await;
        self.telling.iter().for_each(Task::abort);
        self.shard.stop().await;
        self.kv.close().await;
    }
}

fn telling(env: &Env, shard: &str, source: Arc<dyn Source>, cache: &str) -> Result<Telling> {
    let endpoint = Endpoint::from_url(cache, None).map_err(anyhow::Error::msg)?;
    Ok(Telling {
        env: env.clone(),
        shard: shard.to_owned(),
        source,
        cache: Upstream::new(env.clone(), endpoint, UpstreamOptions::default()),
    })
}

/// Writes the file of users: (token, name, groups).
pub fn write_users(env: &Env, users: &[(&str, &str)]) -> std::io::Result<()> {
    let lines: String = users
        .iter()
        .map(|(name, groups)| format!("{name},{name},{name},\"{groups}\"\n"))
        .collect();
    env.disk.write_atomic(std::path::Path::new(TOKENS), lines.as_bytes())
}

/// Writes the CAs that components and proxies are known by.
pub fn write_authorities(env: &Env, papers: &Papers) -> std::io::Result<()> {
    env.disk
        .write_atomic(Path::new(COMPONENT_CA), papers.component_ca().as_bytes())?;
    env.disk.write_atomic(Path::new(PROXY_CA), papers.proxy_ca().as_bytes())
}

/// Where components reach a shard.
pub fn base_url(shard: &str) -> String {
    format!("http://{shard}{PORT}")
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
            base: options
                .member
                .as_ref()
                .map_or(url.clone(), |member| base_url(&member.name)),
            external: url.clone(),
            virtual_workspace: url,
        },
        root: RootOptions {
            batteries: start.batteries(),
            home_creator_groups: start.home_workspaces_home_creator_groups.clone(),
        },
        cache_apis: false,
        object_limit: 0,
        prefix: start.etcd_prefix.clone(),
        compaction: options.compaction,
        always_allowed_paths: start.authorization_always_allow_paths.clone(),
        exclusive_store: true,
        run_controllers: true,
        holder: format!("sim-{:016x}", env.rng.next_u64()),
        identity_file: None,
        accounts: signer.clone(),
        neighbourhood: options.member.as_ref().map(|member| Neighbourhood {
            tls: None,
            root: (member.name != ROOT_SHARD).then(|| base_url(ROOT_SHARD)),
        }),
    }
}
