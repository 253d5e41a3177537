//! The store that flags ask for, and whether it is well.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use apiserver::Check;
use async_trait::async_trait;
use env::Env;
use kv::Kv;
use kv::embedded::{EmbeddedKv, EmbeddedOptions};
use kv::etcd::{EtcdKv, EtcdOptions};

use crate::options::CacheOptions;

/// Asks the store for its revision.
pub struct StoreCheck {
    pub kv: Arc<dyn Kv>,
    pub clock: env::Clock,
}

/// How long the store may take to answer a health check (Kubernetes: 2 s).
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// Opens it.
pub async fn open(env: &Env, options: &CacheOptions) -> Result<Arc<dyn Kv>> {
    if options.is_embedded() {
        let directory = options.store_directory();
        // The objects are in memory already: what the log has read or written is hardly ever asked for again.
        let embedded = EmbeddedOptions {
            cache_bytes: 8 << 20,
            recent_bytes: 4 << 20,
            ..EmbeddedOptions::new(&directory)
        };
        let store = EmbeddedKv::open(env, embedded)
            .await
            .with_context(|| format!("opening the embedded store in {}", directory.display()))?;
        return Ok(Arc::new(store));
    }
    let identity = options.etcd_certfile.clone().zip(options.etcd_keyfile.clone());
    let etcd = EtcdOptions {
        ca: options.etcd_cafile.clone(),
        identity,
        ..EtcdOptions::new(options.etcd_servers.clone())
    };
    let store = EtcdKv::connect(env, etcd)
        .await
        .with_context(|| format!("connecting to etcd at {}", options.etcd_servers.join(",")))?;
    Ok(Arc::new(store))
}

#[async_trait]
impl Check for StoreCheck {
    async fn check(&self) -> std::result::Result<(), String> {
        match self.clock.timeout(CHECK_TIMEOUT, self.kv.revision()).await {
            Ok(outcome) => outcome.map(drop).map_err(|error| error.to_string()),
            Err(_) => Err("the store does not answer".to_owned()),
        }
    }
}
