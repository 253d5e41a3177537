//! Who offers something to others: exports and who may bind them come and go, so that shards and the cache server have something
//! to keep of each other.

use serde_json::{Value, json};

use crate::client::{Client, Outcome};

/// One client at work in the provider's workspace, through every proxy.
pub struct Provider {
    pub clients: Vec<Client>,
    /// By name or by path.
    pub segments: Vec<String>,
}

/// Names of each kind.
const NAMES: u64 = 2;
const EXPORTS: &str = "/apis/apis.kcp.io/v1alpha2/apiexports";
const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";

// === impl Provider ===

impl Provider {
    /// One thing after the other until `sent` requests have been sent by all clients together.
    pub async fn work(mut self, sent: u64) {
        loop {
            let (site, rng) = (self.clients[0].site.clone(), self.clients[0].rng.clone());
            if site.sent() >= sent || site.has_given_up() {
                return;
            }
            let at = rng.below(self.clients.len() as u64) as usize;
            let segment = self.segments[rng.below(self.segments.len() as u64) as usize].clone();
            let (collection, name) = match rng.below(3) {
                0 => (ROLES, format!("r{}", rng.below(NAMES))),
                _ => (EXPORTS, format!("e{}", rng.below(NAMES))),
            };
            let all = format!("/clusters/{segment}{collection}");
            let one = format!("{all}/{name}");
            let client = &mut self.clients[at];
            let outcome = match rng.below(6) {
                0 | 1 => client.call("POST", &all, &fresh(collection, &name)).await,
                2 | 3 => {
                    let turn = json!({"metadata": {"labels": {"turn": rng.below(1000).to_string()}}});
                    client.call("PATCH", &one, &turn).await
                }
                _ => client.call("DELETE", &one, &Value::Null).await,
            };
            if let Outcome::Answered(answer) = outcome
                && answer.code < 300
            {
                site.faults().count("provider/changed");
            }
            site.sleep_ms(rng.below(200)).await;
        }
    }
}

fn fresh(collection: &str, name: &str) -> Value {
    match collection {
        ROLES => json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name},
            "rules": [{"apiGroups": ["apis.kcp.io"], "resources": ["apiexports"], "verbs": ["bind"]}],
        }),
        _ => json!({
            "apiVersion": "apis.kcp.io/v1alpha2", "kind": "APIExport", "metadata": {"name": name}, "spec": {},
        }),
    }
}
