//! The cache server above TLS, over a store on its machine's disk.

use std::sync::Arc;

use anyhow::{Context, Result};
use apiserver::auth::{self, CaBundle, ClientCertificates};
use async_trait::async_trait;
use cache_server::front::Front;
use cache_server::options::CacheOptions;
use cache_server::start::Parts;
use clap::Parser;
use env::Env;
use env::simulated::Host;
use kv::Kv;
use kv::embedded::{EmbeddedKv, EmbeddedOptions};
use storage::Store;

use crate::client::Site;
use crate::history::Shared as History;
use crate::keeper::{Serving, remember};
use crate::plane::papers::{Checkpoint, Papers};
use crate::plane::process::Start;

/// Where shards find it.
pub const URL: &str = "http://cache:7000";
const PORT: &str = ":7000";
/// How the keys begin that it keeps.
pub const KEYS: &str = "/cache/";

/// One life of it.
pub struct CacheLife {
    pub env: Env,
    pub kv: Arc<dyn Kv>,
    pub store: Store,
    replicas: Arc<fabric::Replicas>,
    http: apiserver::Server<Checkpoint<Front>>,
}

/// What it is started with.
#[derive(Clone)]
pub struct CacheStart {
    pub host: Host,
    pub site: Site,
    pub history: History,
    pub papers: Papers,
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: CacheOptions,
}

// === impl CacheStart ===

#[async_trait]
impl Start for CacheStart {
    type Running = CacheLife;

    async fn start(&self, env: &Env) -> Result<CacheLife> {
        let options = Line::try_parse_from(["cache-server"])?.options;
        let mut embedded = EmbeddedOptions::new(options.store_directory());
        // So that crashes fall into a taking over of the journal.
        embedded.journal_bytes = 32 << 10;
        embedded.reserve_bytes = 1 << 20;
        let kv: Arc<dyn Kv> = Arc::new(EmbeddedKv::open(env, embedded).await.context("opening the store")?);
        let components = CaBundle::from_pem(auth::now(&env.clock), self.papers.component_ca().as_bytes())?;
        let certificates = Arc::new(ClientCertificates::new(components));
        let parts = Parts::new(env, &options, kv.clone(), certificates).await?;
        let store = parts.replicas.store().await.context("opening the store's content")?;
        remember(env, &self.host, &self.site, &self.history, "cache", &kv).await?;
        let http = apiserver::Server::new(
            env.clone(),
            apiserver::ServerOptions::default(),
            Arc::new(Checkpoint {
                inner: Arc::into_inner(parts.front).context("the front is its server's alone")?,
                papers: Some(self.papers.clone()),
            }),
            None,
            parts.lifecycle,
            parts.metrics,
        );
        let listener = env.net.listen(PORT).await.context("listening")?;
        let accepting = http.clone();
        env.spawn
            .spawn("server", async move { accepting.run(listener).await })
            .detach();
        Ok(CacheLife {
            env: env.clone(),
            kv,
            store,
            replicas: parts.replicas,
            http,
        })
    }
}

// === impl CacheLife ===

#[async_trait]
impl Serving for Arc<CacheLife> {
    async fn stop(self: Box<Self>) {
        self.http.shutdown().await;
        self.replicas.close();
        self.kv.close().await;
    }
}
