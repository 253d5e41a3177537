//! Where issued certificates are kept.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use env::{Disk, Env};
use fabric::upstream::UpstreamBody;
use fabric::{Endpoint, Identity, Lane, Upstream, UpstreamOptions};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use machinery::object::ObjectExt;
use serde_json::{Value, json};

use super::certificate::Issued;

/// Secrets, read and written one by one.
pub enum Secrets {
    Directory { disk: Arc<dyn Disk>, directory: PathBuf },
    Cluster(Cluster),
}

/// A namespace of a Kubernetes API server.
pub struct Cluster {
    upstream: Upstream,
    /// Of the collection.
    path: String,
    token: Option<String>,
}

/// What became of a write.
#[derive(Debug, PartialEq, Eq)]
pub enum Written {
    Done,
    /// Somebody else wrote in between; nothing was written.
    Changed,
}

const KEYS: [&str; 3] = ["tls.crt", "tls.key", "ca.crt"];

// === impl Secrets ===

impl Secrets {
    pub fn in_directory(env: &Env, directory: &Path) -> Self {
        Self::Directory {
            disk: env.disk.clone(),
            directory: directory.to_owned(),
        }
    }

    pub fn in_cluster(env: &Env, kubeconfig: &Path, namespace: &str) -> Result<Self> {
        let identity = Identity::from_kubeconfig(&*env.disk, kubeconfig, None)?;
        let endpoint = Endpoint::from_url(&identity.base_url(), Some(identity.tls()?)).map_err(anyhow::Error::msg)?;
        let below = identity.server.strip_prefix(&identity.base_url()).unwrap_or_default();
        Ok(Self::Cluster(Cluster {
            upstream: Upstream::new(env.clone(), endpoint, UpstreamOptions::default()),
            path: format!("{}/api/v1/namespaces/{namespace}/secrets", below.trim_end_matches('/')),
            token: identity.token,
        }))
    }

    /// What is there, and what a later write replaces.
    pub async fn read(&self, name: &str) -> Result<Option<(Issued, Option<Value>)>> {
        match self {
            Self::Directory { disk, directory } => {
                let text = |key: &str| String::from_utf8(disk.read(&directory.join(name).join(key)).ok()?).ok();
                let [certificate, key, ca] = KEYS.map(text);
                let issued = certificate.zip(key).map(|(certificate, key)| Issued {
                    ca: ca.unwrap_or_default(),
                    certificate,
                    key,
                });
                Ok(issued.map(|issued| (issued, None)))
            }
            Self::Cluster(cluster) => {
                let (status, secret) = cluster.ask(Method::GET, Some(name), None).await?;
                match status {
                    StatusCode::OK => Ok(Some((issued_of(&secret), Some(secret)))),
                    StatusCode::NOT_FOUND => Ok(None),
                    status => bail!("it cannot be read: {status} {}", message(&secret)),
                }
            }
        }
    }

    pub async fn write(&self, name: &str, issued: &Issued, before: Option<Value>) -> Result<Written> {
        match self {
            Self::Directory { disk, directory } => {
                let directory = directory.join(name);
                disk.create_dir_all(&directory).context("making its directory")?;
                // Cut off in between, what is there does not fit together, and the next run makes it anew.
                for (key, contents) in KEYS.iter().zip([&issued.certificate, &issued.key, &issued.ca]) {
                    disk.write_atomic(&directory.join(key), contents.as_bytes())
                        .with_context(|| format!("writing {key}"))?;
                }
                Ok(Written::Done)
            }
            Self::Cluster(cluster) => {
                let (method, at, mut secret) = match before {
                    Some(before) => (Method::PUT, Some(name), before),
                    None => (Method::POST, None, new_secret(name)),
                };
                let data = [&issued.certificate, &issued.key, &issued.ca].map(|text| json!(STANDARD.encode(text)));
                secret["data"] = Value::Object(KEYS.map(str::to_owned).into_iter().zip(data).collect());
                let (status, answer) = cluster.ask(method, at, Some(&secret)).await?;
                match status {
                    StatusCode::OK | StatusCode::CREATED => Ok(Written::Done),
                    StatusCode::CONFLICT => Ok(Written::Changed),
                    status => bail!("it cannot be written: {status} {}", message(&answer)),
                }
            }
        }
    }
}

// === impl Cluster ===

impl Cluster {
    async fn ask(&self, method: Method, name: Option<&str>, body: Option<&Value>) -> Result<(StatusCode, Value)> {
        let path = match name {
            Some(name) => format!("{}/{name}", self.path),
            None => self.path.clone(),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let bytes = body.map(Value::to_string).unwrap_or_default();
        let body: UpstreamBody = Full::new(Bytes::from(bytes))
            .map_err(|never| match never {})
            .boxed_unsync();
        let answer = self.upstream.send(Lane::Short, request.body(body)?).await;
        let answer = answer.context("the API server cannot be asked")?;
        let status = answer.status();
        let bytes = answer
            .into_body()
            .collect()
            .await
            .context("reading the answer")?
            .to_bytes();
        Ok((status, serde_json::from_slice(&bytes).unwrap_or_default()))
    }
}

/// What cannot be decoded is empty, and made anew.
fn issued_of(secret: &Value) -> Issued {
    let [certificate, key, ca] = KEYS.map(|key| {
        let data = secret.str_at(&["data", key]).unwrap_or_default();
        let bytes = STANDARD.decode(data).unwrap_or_default();
        String::from_utf8(bytes).unwrap_or_default()
    });
    Issued { certificate, key, ca }
}

fn new_secret(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": "kcp-issue"}},
        "type": "kubernetes.io/tls",
    })
}

fn message(answer: &Value) -> &str {
    answer.str_at(&["message"]).unwrap_or_default()
}
