//! A shard above its store and below its server: what a process serves, and what a simulation runs.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use api::bootstrap::{RootOptions, ShardUrls};
use api::keys::{group, label};
use apiserver::auth::{Escalation, SharedAuthorizer};
use controller::{Driver, DriverOptions, Effects, EventFeed, Lease, LeaseOptions};
use controllers::ShardInfo;
use env::{Env, Task};
use kv::{Kv, Op, Txn};
use registry::{AdmissionChain, Backend, Registry};
use storage::{IndexSpec, Projection, Store, StoreOptions};
use telemetry::{Family, Histogram};

use crate::account_signer::AccountSigner;
use crate::admission::TenancyAdmission;
use crate::authorizer::ShardAuthorizer;
use crate::bootstrap::Bootstrap;
use crate::catalog::ShardCatalog;
use crate::definitions::Definitions;
use crate::effects::{NoRemote, ShardEffects};
use crate::facts::ShardFacts;
use crate::measured::TimedAdmission;
use crate::owners::OwnerIndex;

/// What a shard is told.
#[derive(Clone, Debug)]
pub struct ShardOptions {
    pub info: ShardInfo,
    pub urls: ShardUrls,
    pub root: RootOptions,
    pub cache_apis: bool,
    /// Prefix of all keys.
    pub prefix: String,
    pub compaction: Duration,
    pub always_allowed_paths: Vec<String>,
    /// This process alone can have the store open: a lease left by a dead one is nobody's.
    pub exclusive_store: bool,
    pub run_controllers: bool,
    /// Who holds the controllers' lease.
    pub holder: String,
    /// Signs what Secrets of service accounts hold.
    pub accounts: AccountSigner,
}

/// Where a simulation reaches into a shard: between the controllers and what carries their effects out, and the bounds of
/// its store. The default changes nothing.
pub struct Seams {
    pub effects: Box<dyn FnOnce(Arc<dyn Effects>) -> Arc<dyn Effects> + Send>,
    pub store: Box<dyn FnOnce(StoreOptions) -> StoreOptions + Send>,
}

/// A running shard.
pub struct Shard {
    pub name: String,
    pub env: Env,
    pub store: Store,
    pub registry: Registry,
    pub definitions: Arc<Definitions>,
    pub facts: Arc<ShardFacts>,
    pub catalog: Arc<ShardCatalog>,
    pub effects: Arc<ShardEffects>,
    pub authorizer: SharedAuthorizer,
    pub driver: Option<Driver>,
    lease: Option<Arc<Lease>>,
    /// Seconds in admission plugins, for metrics.
    pub admission_durations: Family<Histogram>,
    tasks: Vec<Task<()>>,
}

const LEASE_TTL: Duration = Duration::from_secs(15);

// === impl Seams ===

impl Default for Seams {
    fn default() -> Self {
        Self {
            effects: Box::new(|effects| effects),
            store: Box::new(|options| options),
        }
    }
}

// === impl Shard ===

impl Shard {
    /// Opens the store's content, starts the controllers, and brings the content to what a shard starts with.
    pub async fn start(env: &Env, kv: Arc<dyn Kv>, options: ShardOptions) -> Result<Self> {
        Self::start_with(env, kv, options, Seams::default()).await
    }

    /// The same, taken apart at its seams.
    pub async fn start_with(env: &Env, kv: Arc<dyn Kv>, options: ShardOptions, seams: Seams) -> Result<Self> {
        let definitions = Definitions::new();
        let facts = ShardFacts::new(definitions.clone());
        let owners = Arc::new(OwnerIndex::default());
        let feed = EventFeed::new();
        // In this order: whoever hears of an event from the feed finds the others up to date.
        let projections: Vec<Arc<dyn Projection>> = vec![
            definitions.clone(),
            facts.clone(),
            facts.rbac.clone(),
            owners.clone(),
            feed.clone(),
        ];
        let store_options = (seams.store)(store_options(&options));
        let store = Store::open(env.clone(), kv.clone(), store_options, projections)
            .await
            .context("opening the store's content")?;
        facts.attach(store.clone());
        let authorizer: SharedAuthorizer = ShardAuthorizer::new(facts.clone(), options.always_allowed_paths.clone());
        let admission_durations = telemetry::metrics::admission_durations();
        let timed = |plugin| TimedAdmission::of(plugin, env, &admission_durations);
        let admission = AdmissionChain::new(vec![
            timed(Arc::new(TenancyAdmission::new(facts.clone(), authorizer.clone()))),
            timed(Arc::new(Escalation::new(facts.clone(), authorizer.clone()))),
        ]);
        let registry = Registry::new(store.clone(), env.clone(), admission);
        let catalog = ShardCatalog::new(definitions.clone(), owners);
        let effects = ShardEffects::new(registry.clone(), catalog.clone());
        let mut shard = Self {
            name: options.info.name.clone(),
            env: env.clone(),
            store,
            registry,
            definitions,
            facts,
            catalog,
            effects,
            authorizer,
            driver: None,
            lease: None,
            admission_durations,
            tasks: Vec::new(),
        };
        shard.bootstrap(&options).await?;
        if options.run_controllers {
            let effects = (seams.effects)(shard.effects.clone());
            shard.run_controllers(kv, feed, effects, &options).await?;
        }
        Ok(shard)
    }

    /// Objects, as views and surfaces need them.
    pub fn objects(&self) -> Arc<dyn Backend> {
        Arc::new(self.registry.clone())
    }

    async fn bootstrap(&self, options: &ShardOptions) -> Result<()> {
        let bootstrap = Bootstrap {
            env: self.env.clone(),
            effects: self.effects.clone(),
            facts: self.facts.clone(),
            definitions: self.definitions.clone(),
            shard_name: options.info.name.clone(),
            urls: options.urls.clone(),
            root: options.root.clone(),
            cache_apis: options.cache_apis,
        };
        bootstrap
            .run()
            .await
            .map_err(|status| anyhow::anyhow!("bootstrapping: {status}"))
    }

    async fn run_controllers(
        &mut self,
        kv: Arc<dyn Kv>,
        feed: Arc<EventFeed>,
        effects: Arc<dyn Effects>,
        options: &ShardOptions,
    ) -> Result<()> {
        let key = format!("{}-leases/kcp-controllers", options.prefix);
        if options.exclusive_store {
            let txn = Txn {
                guards: Vec::new(),
                ops: vec![Op::delete(key.clone().into_bytes())],
            };
            kv.txn(txn).await.context("taking back the controllers' lease")?;
        }
        let lease = LeaseOptions {
            key,
            holder: options.holder.clone(),
            ttl: LEASE_TTL,
        };
        let (lease, competing) = Lease::acquire(&self.env, kv, lease);
        let driver = Driver::new(
            self.env.clone(),
            self.store.clone(),
            feed,
            lease.clone(),
            self.catalog.clone(),
            Arc::new(NoRemote),
            effects,
            controllers::all(&options.info, Arc::new(options.accounts.clone())),
            DriverOptions::default(),
        );
        let running = self.env.spawn.spawn("controllers", driver.clone().run());
        self.tasks.extend([competing, running]);
        self.driver = Some(driver);
        self.lease = Some(lease);
        Ok(())
    }

    /// Waits until root serves what its own bindings bring: before that, nobody could make a workspace. The bound is for a
    /// store that refuses the controllers' writes; the server is better up and saying so than not up.
    pub async fn wait_for_root(&self) {
        const BOUND: Duration = Duration::from_secs(30);
        const PERIOD: Duration = Duration::from_millis(5);
        if self.driver.is_none() {
            return;
        }
        let root = permit::Cluster::well_known(api::keys::cluster::ROOT);
        let bound = || {
            ["workspaces", "workspacetypes"]
                .iter()
                .all(|r| self.definitions.bound(&root, group::TENANCY, r).is_some())
        };
        let waiting = async {
            while !bound() {
                self.env.clock.sleep(PERIOD).await;
            }
        };
        if self.env.clock.timeout(BOUND, waiting).await.is_err() {
            tracing::warn!("root's own bindings are not bound yet");
        }
    }

    /// Stops the controllers, gives their lease back so that another replica runs them at once, and stops following the
    /// store. The store itself is the caller's to close.
    pub async fn stop(&self) {
        if let Some(lease) = &self.lease {
            lease.release().await;
        }
        for task in &self.tasks {
            task.abort();
        }
        self.store.close();
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.facts.detach();
    }
}

fn store_options(options: &ShardOptions) -> StoreOptions {
    StoreOptions {
        prefix: options.prefix.clone(),
        indexes: indexes(),
        compaction_period: options.compaction,
        ..StoreOptions::default()
    }
}

/// The labels that controllers and views look objects up by, over all clusters.
fn indexes() -> Vec<IndexSpec> {
    let of = |group: &str, resource: &str, prefix: &str| IndexSpec {
        group: group.to_owned(),
        resource: resource.to_owned(),
        label_key_prefix: prefix.to_owned(),
    };
    let mut indexes = vec![
        of(group::CORE, "logicalclusters", label::INITIALIZER_PREFIX),
        of(group::CORE, "logicalclusters", label::TERMINATOR_PREFIX),
        of(group::APIS, "apibindings", label::EXPORT),
        of(group::APIS, "apibindings", label::CLAIM_PREFIX),
        of(group::TENANCY, "workspaces", label::PHASE),
    ];
    let stored = api::builtin::resources().iter().filter_map(|r| r.storage.as_ref());
    indexes.extend(stored.map(|storage| of(&storage.group, &storage.resource, label::CLAIM_PREFIX)));
    indexes
}
