//! What says who somebody is, whichever shard has it: service accounts and their Secrets, because whoever provides an API has
//! one account, and goes with it to the URL of every shard that its slices announce (kcp's facts, G.2); and the issuers of
//! workspaces, which are where their types are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::keys::group;
use apiserver::auth::service_account::AccountSource;
use async_trait::async_trait;
use controller::{Fetched, Remote};
use controllers::refs;
use env::Env;
use machinery::names::dns1123_subdomain;
use machinery::status::Result;
use parking_lot::Mutex;
use permit::Cluster;
use plan::{ObjectRef, ResourceRef};
use serde_json::Value;
use storage::ResourceKey;

use crate::facts::ShardFacts;
use crate::remote::OtherShards;

/// This shard's own as its caches have them; others' are asked for, and what was answered is believed for a moment.
pub struct Accounts {
    env: Env,
    facts: Arc<ShardFacts>,
    others: Arc<OtherShards>,
    known: Mutex<BTreeMap<ObjectRef, Known>>,
}

struct Known {
    /// On the monotonic clock.
    until: Duration,
    object: Option<Arc<Value>>,
}

/// As long as Kubernetes' servers believe a token that they have checked; the front-proxy has the same.
const BELIEVED: Duration = Duration::from_secs(10);
/// What is not there may be made next.
const MISSED: Duration = Duration::from_secs(1);
const KNOWN_MAX: usize = 4096;

// === impl Accounts ===

impl Accounts {
    pub fn new(env: &Env, facts: Arc<ShardFacts>, others: Arc<OtherShards>) -> Self {
        Self {
            env: env.clone(),
            facts,
            others,
            known: Mutex::default(),
        }
    }

    pub async fn find(
        &self,
        resource: ResourceRef,
        of: &Cluster,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Value>>> {
        let own = match &*resource.group {
            group::TENANCY => self.facts.definitions.root_export(&resource.group, &resource.resource),
            _ => None,
        };
        let own = own.map(|def| def.store.clone());
        let own = own.unwrap_or_else(|| ResourceKey::builtin(&resource.group, &resource.resource));
        if let Some(found) = self.facts.object(&own, of, namespace, name) {
            return Ok(Some(found));
        }
        // Tokens are signed, but by whoever had the key: no name leads out of its place in a path.
        let is_name = |name: &str| dns1123_subdomain(name).is_empty();
        let is_namespace = namespace.is_empty() && &*resource.group == group::TENANCY || is_name(namespace);
        if !self.others.may_hold(of) || !is_namespace || !is_name(name) {
            return Ok(None);
        }
        let object = resource.object(of, namespace, name);
        let now = self.env.clock.monotonic();
        if let Some(known) = self.known.lock().get(&object).filter(|known| now < known.until) {
            return Ok(known.object.clone());
        }
        let found = match self.others.fetch(&object).await {
            Ok(Fetched::Object(found)) => Some(found),
            Ok(Fetched::Absent) => None,
            // With its cluster the account is gone.
            Err(status) if status.code == 403 => None,
            Err(status) => return Err(status),
        };
        self.remember(object, found.clone());
        Ok(found)
    }

    fn remember(&self, of: ObjectRef, object: Option<Arc<Value>>) {
        let now = self.env.clock.monotonic();
        let believed = if object.is_some() { BELIEVED } else { MISSED };
        let mut known = self.known.lock();
        if known.len() >= KNOWN_MAX {
            known.retain(|_, known| now < known.until);
        }
        if known.len() < KNOWN_MAX {
            let until = now + believed;
            known.insert(of, Known { until, object });
        }
    }
}

#[async_trait]
impl AccountSource for Accounts {
    async fn service_account(&self, of: &Cluster, namespace: &str, name: &str) -> Result<Option<Arc<Value>>> {
        self.find(refs::service_accounts(), of, namespace, name).await
    }

    async fn secret(&self, of: &Cluster, namespace: &str, name: &str) -> Result<Option<Arc<Value>>> {
        self.find(refs::secrets(), of, namespace, name).await
    }
}
