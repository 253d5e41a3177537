//! The virtual workspaces of one shard as a program of their own, above TLS.

use std::sync::Arc;

use anyhow::{Context, Result};
use apiserver::{Audit, Lifecycle, Stack};
use async_trait::async_trait;
use env::Env;
use fabric::{Endpoint, Upstream, UpstreamOptions};
use telemetry::Metrics;
use virtual_workspaces::program::{Parts, RemoteShard};

use crate::keeper::Serving;
use crate::plane::process::Start;
use crate::server::base_url;

/// Where clients reach it, on whatever machine.
pub const PORT: &str = ":6444";

/// One life of it.
pub struct ViewsLife {
    pub env: Env,
    http: apiserver::Server<Stack>,
}

/// Beside which shard it runs.
#[derive(Clone)]
pub struct ViewsStart {
    pub shard: &'static str,
}

// === impl ViewsStart ===

#[async_trait]
impl Start for ViewsStart {
    type Running = ViewsLife;

    async fn start(&self, env: &Env) -> Result<ViewsLife> {
        let endpoint = Endpoint::from_url(&base_url(self.shard), None).map_err(anyhow::Error::msg)?;
        let upstream = Upstream::new(env.clone(), endpoint, UpstreamOptions::default());
        let (lifecycle, metrics) = (Lifecycle::new(), Metrics::new());
        let parts = Parts {
            shard: RemoteShard::new(env, upstream),
            certificates: Vec::new(),
            external_address: format!("views{PORT}"),
            audit: Audit::none(),
            lifecycle: lifecycle.clone(),
            metrics: metrics.clone(),
        };
        let stack = parts.stack(env);
        let options = apiserver::ServerOptions::default();
        let http = apiserver::Server::new(env.clone(), options, stack, None, lifecycle, metrics);
        let listener = env.net.listen(PORT).await.context("listening")?;
        let accepting = http.clone();
        env.spawn
            .spawn("server", async move { accepting.run(listener).await })
            .detach();
        Ok(ViewsLife { env: env.clone(), http })
    }
}

// === impl ViewsLife ===

#[async_trait]
impl Serving for Arc<ViewsLife> {
    async fn stop(self: Box<Self>) {
        self.http.shutdown().await;
    }
}
