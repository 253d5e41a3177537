//! The server of a kubeconfig: TLS, client certificates, tokens and exec plugins as the crate `kube` does them.

use std::sync::Arc;

use http_body_util::BodyExt;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use crate::output::Console;
use crate::server::{Answer, Request, Server};

/// Whom to talk to, and as whom: settings as a kubeconfig spells them.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// A `cluster`, whose `server` has no path.
    pub cluster: Value,
    /// A `user`.
    pub user: Value,
}

/// Makes the connection to a target.
#[async_trait::async_trait]
pub trait Connect: Send + Sync {
    async fn connect(&self, target: &Target) -> Result<Arc<dyn Server>, String>;
}

/// Connects over the network.
pub struct Network {
    /// Where requests are named, from verbosity 6 on as in kubectl.
    pub trace: Option<Console>,
}

struct Connection {
    client: kube::Client,
    base: String,
    trace: Option<Console>,
}

// === impl Network ===

#[async_trait::async_trait]
impl Connect for Network {
    async fn connect(&self, target: &Target) -> Result<Arc<dyn Server>, String> {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "target",
            "clusters": [{"name": "target", "cluster": target.cluster}],
            "users": [{"name": "target", "user": target.user}],
            "contexts": [{"name": "target", "context": {"cluster": "target", "user": "target"}}],
        });
        let config: Kubeconfig = serde_json::from_value(config).map_err(|why| format!("invalid kubeconfig: {why}"))?;
        let mut config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default())
            .await
            .map_err(|why| chain(&why))?;
        config.default_retry = false; // Retry-After is followed by the caller, for every connection alike.
        let base = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let client = kube::Client::try_from(config).map_err(|why| chain(&why))?;
        let trace = self.trace.clone();
        Ok(Arc::new(Connection { client, base, trace }))
    }
}

// === impl Connection ===

#[async_trait::async_trait]
impl Server for Connection {
    async fn send(&self, request: &Request) -> Result<Answer, String> {
        let builder = http::Request::builder().method(request.method).uri(&request.path);
        let builder = builder
            .header("Accept", "application/json")
            .header("User-Agent", concat!("kubectl-kcp/v", env!("CARGO_PKG_VERSION")));
        let built = match &request.body {
            Some(body) => builder
                .header("Content-Type", "application/json")
                .body(Body::from(body.to_string().into_bytes())),
            None => builder.body(Body::empty()),
        };
        let built = built.map_err(|why| why.to_string())?;
        let response = self.client.send(built).await.map_err(|why| chain(&why))?;
        let status = response.status();
        if let Some(trace) = &self.trace {
            trace.note(format!(
                "    [{} {}{} -> {status}]",
                request.method, self.base, request.path
            ));
        }
        let header = response.headers().get("retry-after");
        let retry_after = header.and_then(|value| value.to_str().ok()?.parse().ok());
        let body = response.into_body().collect().await.map_err(|why| chain(&why))?;
        Ok(Answer {
            code: status.as_u16(),
            body: body.to_bytes().to_vec(),
            retry_after,
        })
    }
}

/// An error and what caused it: "error trying to connect" alone helps nobody.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    text
}
