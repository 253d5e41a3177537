//! Service accounts, asked of the shards that hold them: a token is good only while its account exists.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apiserver::auth::service_account::AccountSource;
use async_trait::async_trait;
use bytes::Bytes;
use env::Env;
use fabric::peers::{not_available, unreachable};
use fabric::upstream::Answer;
use fabric::{Destination, Lane, Lost, Peers};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use machinery::status::{Result, Status};
use parking_lot::Mutex;
use permit::Cluster;
use serde_json::Value;
use tenancy::WorkspacePath;

use crate::proxy::body_of;

/// Asks with the proxy's own certificate, and remembers for a moment what it was told.
pub struct ShardAccounts {
    env: Env,
    peers: Arc<Peers>,
    /// By path.
    known: Mutex<BTreeMap<String, Known>>,
}

struct Known {
    /// On the monotonic clock.
    until: Duration,
    object: Option<Arc<Value>>,
}

/// As long as Kubernetes' servers believe a token that they have checked.
const BELIEVED: Duration = Duration::from_secs(10);
/// What is not there may be made next: asked again soon, but not for every request of who goes on with an old token.
const MISSED: Duration = Duration::from_secs(1);
const KNOWN_MAX: usize = 16_384;
/// Above what any object has.
const ANSWER_BYTES_MAX: usize = 8 << 20;
const TIMEOUT: Duration = Duration::from_millis(900);

// === impl ShardAccounts ===

impl ShardAccounts {
    pub fn new(env: &Env, peers: Arc<Peers>) -> Self {
        Self {
            env: env.clone(),
            peers,
            known: Mutex::default(),
        }
    }

    async fn get(&self, cluster: &Cluster, namespace: &str, resource: &str, name: &str) -> Result<Option<Arc<Value>>> {
        // Tokens are signed, but by whoever had the key: no name leads out of its place in the path.
        if [namespace, name].iter().any(|part| !is_plain(part)) {
            return Ok(None);
        }
        let path = format!("/clusters/{cluster}/api/v1/namespaces/{namespace}/{resource}/{name}");
        let now = self.env.clock.monotonic();
        if let Some(known) = self.known.lock().get(&path).filter(|known| now < known.until) {
            return Ok(known.object.clone());
        }
        let asked = self.env.clock.timeout(TIMEOUT, self.ask(cluster, &path)).await;
        let object = asked.map_err(|_| unreachable("the shard of an account does not answer"))??;
        let believed = if object.is_some() { BELIEVED } else { MISSED };
        let mut known = self.known.lock();
        if known.len() >= KNOWN_MAX {
            known.retain(|_, known| now < known.until);
        }
        if known.len() < KNOWN_MAX {
            let until = now + believed;
            let object = object.clone();
            known.insert(path, Known { until, object });
        }
        Ok(object)
    }

    async fn ask(&self, cluster: &Cluster, path: &str) -> Result<Option<Arc<Value>>> {
        let alone = WorkspacePath::parse(cluster.as_str()).map_err(Status::internal)?;
        let shard = match self.peers.resolve(&alone).await {
            Ok(Destination::Cluster { shard, .. }) => shard,
            // With its cluster the account is gone.
            Ok(Destination::Mount { .. }) | Err(Lost::Unknown(_)) => return Ok(None),
            Err(Lost::Unavailable) => return Err(not_available()),
            Err(Lost::Refused(status)) => return Err(status),
        };
        let upstream = self.peers.upstream(shard);
        let upstream = upstream.ok_or_else(|| unreachable("the shard of an account was not reached yet"))?;
        let request = Request::get(path).body(body_of(None)).map_err(Status::internal)?;
        let response = upstream.send(Lane::Short, request).await;
        let response = response.map_err(|error| unreachable(&error.to_string()))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::FORBIDDEN => return Ok(None),
            other => return Err(unreachable(&format!("asked for an account, its shard says {other}"))),
        }
        let bytes = whole(response.into_body()).await?;
        let object = serde_json::from_slice(&bytes);
        // Not that of an account either: nobody is known or unknown by it.
        let object = object.map_err(|error| unreachable(&format!("an account cannot be read: {error}")))?;
        Ok(Some(Arc::new(object)))
    }
}

#[async_trait]
impl AccountSource for ShardAccounts {
    async fn service_account(&self, cluster: &Cluster, namespace: &str, name: &str) -> Result<Option<Arc<Value>>> {
        self.get(cluster, namespace, "serviceaccounts", name).await
    }

    async fn secret(&self, cluster: &Cluster, namespace: &str, name: &str) -> Result<Option<Arc<Value>>> {
        self.get(cluster, namespace, "secrets", name).await
    }
}

/// What a shard has answered, within what any object may have: one that does not end must not fill the memory.
pub(crate) async fn whole(body: Answer) -> Result<Bytes> {
    let read = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let read = read.map_err(|error| unreachable(&format!("its answer cannot be read: {error}")))?;
    Ok(read.to_bytes())
}

/// Whether it is one segment of a path as it stands, and a name of Kubernetes' kind.
fn is_plain(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    !name.is_empty() && !name.starts_with('.') && name.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_elsewhere() {
        assert!(is_plain("default") && is_plain("a.b-c"));
        for wrong in ["", "..", ".", "a/b", "a?b", "a%2fb", "a b"] {
            assert!(!is_plain(wrong), "{wrong}");
        }
    }
}
