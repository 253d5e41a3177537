//! A shard above its store and below its server: what a process serves, and what a simulation runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::fabric::{Following, Replicas, UpstreamOptions};
use anyhow::{Context, Result, bail};
use api::bootstrap::{RootOptions, ShardUrls};
use api::keys::{group, label};
use apiserver::auth::{Escalation, SharedAuthorizer};
use controller::{Driver, DriverOptions, Effects, EventFeed, Lease, LeaseOptions};
use controllers::ShardInfo;
use env::{Env, Task};
use kv::{Kv, Op, Txn};
use machinery::status::Status;
use parking_lot::Mutex;
use registry::{AdmissionChain, Backend, Registry};
use storage::{IndexSpec, Projection, Store, StoreOptions};
use telemetry::{Family, Histogram};

use crate::account_signer::AccountSigner;
use crate::admission::TenancyAdmission;
use crate::authorizer::ShardAuthorizer;
use crate::bootstrap::Bootstrap;
use crate::catalog::ShardCatalog;
use crate::definitions::Definitions;
use crate::effects::ShardEffects;
use crate::facts::ShardFacts;
use crate::join::{Joining, known_shards, remember_shards};
use crate::measured::TimedAdmission;
use crate::neighbours::{Neighbourhood, Neighbours};
use crate::object_limit::{ObjectCounts, ObjectLimit};
use crate::owners::OwnerIndex;
use crate::remote::{OtherShards, RoutedEffects};

/// What a shard is told.
#[derive(Clone)]
pub struct ShardOptions {
    pub info: ShardInfo,
    pub urls: ShardUrls,
    pub root: RootOptions,
    pub cache_apis: bool,
    /// How many objects a cluster may have that nothing else is said of; 0 or less: as many as it likes.
    pub object_limit: i64,
    /// Prefix of all keys.
    pub prefix: String,
    pub compaction: Duration,
    pub always_allowed_paths: Vec<String>,
    /// This process alone can have the store open: a lease left by a dead one is nobody's.
    pub exclusive_store: bool,
    pub run_controllers: bool,
    /// Who holds the controllers' lease: another one with each start.
    pub holder: String,
    /// Where it stands who that is over all starts. `None`: a lease left by a dead process is waited for.
    pub identity_file: Option<PathBuf>,
    /// Signs what Secrets of service accounts hold.
    pub accounts: AccountSigner,
    /// How other shards are reached. `None`: there are none to go to.
    pub neighbourhood: Option<Neighbourhood>,
}

/// Where a simulation reaches into a shard: between the controllers and what carries their effects out, and the bounds of
/// its store. The default changes nothing.
pub struct Seams {
    pub effects: Box<WrapEffects>,
    pub store: Box<dyn FnOnce(StoreOptions) -> StoreOptions + Send>,
}

/// Puts something between the controllers and what carries their effects out.
pub type WrapEffects = dyn FnOnce(Arc<dyn Effects>) -> Arc<dyn Effects> + Send;

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
    pub neighbours: Arc<Neighbours>,
    /// What has to be asked of them.
    pub others: Arc<OtherShards>,
    pub authorizer: SharedAuthorizer,
    pub driver: Option<Driver>,
    lease: Option<Arc<Lease>>,
    /// Why root does not take this shard for one of its own, once that is certain.
    pub refused: Arc<Mutex<Option<String>>>,
    /// What other shards hold and this one needs.
    pub replicas: Arc<Replicas>,
    /// Not there: no others are followed.
    pub following: Option<Arc<Following>>,
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
        let neighbours = Neighbours::new(env, &options.info.name, facts.clone());
        let owners = Arc::new(OwnerIndex::default());
        let counts = Arc::new(ObjectCounts::default());
        let feed = EventFeed::new();
        // In this order: whoever hears of an event from the feed finds the others up to date.
        let projections: Vec<Arc<dyn Projection>> = vec![
            definitions.clone(),
            facts.clone(),
            facts.rbac.clone(),
            owners.clone(),
            counts.clone(),
            neighbours.clone(),
            feed.clone(),
        ];
        let store_options = (seams.store)(store_options(&options));
        let store = Store::open(env.clone(), kv.clone(), store_options.clone(), projections)
            .await
            .context("opening the store's content")?;
        facts.attach(store.clone());
        // What other shards have told, for as long as they cannot be asked.
        let told: Vec<Arc<dyn Projection>> = vec![facts.foreign.clone(), feed.branch()];
        let replicas = Replicas::new(env, kv.clone(), store_options, told)
            .await
            .context("opening the replicas of other shards")?;
        facts.foreign.attach(replicas.clone());
        let authorizer: SharedAuthorizer = ShardAuthorizer::new(facts.clone(), options.always_allowed_paths.clone());
        let catalog = ShardCatalog::new(definitions.clone(), owners, neighbours.clone(), facts.clone());
        let others = OtherShards::new(env, neighbours.clone(), catalog.clone());
        let admission_durations = telemetry::metrics::admission_durations();
        let timed = |plugin| TimedAdmission::of(plugin, env, &admission_durations);
        let admission = AdmissionChain::new(vec![
            timed(Arc::new(TenancyAdmission::new(
                facts.clone(),
                authorizer.clone(),
                others.clone(),
            ))),
            timed(Arc::new(Escalation::new(facts.clone(), authorizer.clone()))),
            timed(Arc::new(ObjectLimit::new(facts.clone(), counts, options.object_limit))),
        ]);
        let registry = Registry::new(store.clone(), env.clone(), admission);
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
            neighbours,
            others,
            authorizer,
            driver: None,
            lease: None,
            refused: Arc::default(),
            replicas,
            following: None,
            admission_durations,
            tasks: Vec::new(),
        };
        shard.bootstrap(&options).await?;
        if options.run_controllers {
            let local = (seams.effects)(shard.effects.clone());
            shard.run_controllers(kv, feed, local, &options).await?;
        }
        Ok(shard)
    }

    /// Objects, as views and surfaces need them.
    pub fn objects(&self) -> Arc<dyn Backend> {
        Arc::new(self.registry.clone())
    }

    async fn bootstrap(&mut self, options: &ShardOptions) -> Result<()> {
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
        let outcome = match (&options.neighbourhood, self.neighbours.is_root()) {
            (_, true) => bootstrap.run().await,
            (Some(neighbourhood), false) => return self.join(&bootstrap, neighbourhood, options).await,
            (None, false) => bail!("a shard that is not root has to know where root is"),
        };
        outcome.map_err(|status| anyhow::anyhow!("bootstrapping: {status}"))?;
        self.follow(options);
        Ok(())
    }

    /// Others' indexes, from now on.
    fn follow(&mut self, options: &ShardOptions) {
        let Some(neighbourhood) = &options.neighbourhood else {
            return;
        };
        self.tasks.push(self.neighbours.follow(&self.env, neighbourhood));
        let following = Following::new(
            &self.env,
            neighbourhood.tls.clone(),
            UpstreamOptions::default(),
            &self.name,
            self.replicas.clone(),
            self.neighbours.clone(),
        );
        let running = following.clone().run(neighbourhood.root.iter().cloned().collect());
        self.tasks.push(self.env.spawn.spawn("following replicas", running));
        self.following = Some(following);
    }

    /// Becomes one more shard of root's control plane, or goes on as one.
    async fn join(
        &mut self,
        bootstrap: &Bootstrap,
        neighbourhood: &Neighbourhood,
        options: &ShardOptions,
    ) -> Result<()> {
        let wrong = |status: Status| anyhow::anyhow!("joining the control plane: {status}");
        bootstrap.run_common().await.map_err(wrong)?;
        let joining = Joining::new(
            &self.env,
            &self.name,
            &options.urls,
            neighbourhood,
            self.effects.clone(),
            self.facts.clone(),
        );
        let joining = joining.map_err(anyhow::Error::msg)?;
        let identities = joining.identities().await;
        bootstrap.run_member(&identities).await.map_err(wrong)?;
        joining.keep_identities(&identities).await.map_err(wrong)?;
        for entry in known_shards(&self.facts) {
            self.neighbours.introduce(&entry);
        }
        let is_registered = joining.register_at_start().await.map_err(wrong)?;
        self.follow(options);
        let remembering = remember_shards(self.neighbours.clone(), self.facts.clone(), self.effects.clone());
        self.tasks.push(self.env.spawn.spawn("known shards", remembering));
        if !is_registered {
            let refused = self.refused.clone();
            let registering = async move {
                if let Err(why) = joining.register_later().await {
                    tracing::error!("{why}");
                    *refused.lock() = Some(why);
                }
            };
            self.tasks.push(self.env.spawn.spawn("registration", registering));
        }
        Ok(())
    }

    async fn run_controllers(
        &mut self,
        kv: Arc<dyn Kv>,
        feed: Arc<EventFeed>,
        local: Arc<dyn Effects>,
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
            identity_file: options.identity_file.clone(),
            ttl: LEASE_TTL,
        };
        let others = self.others.clone();
        let (lease, competing) = Lease::acquire(&self.env, kv, lease);
        let routed: Arc<dyn Effects> = Arc::new(RoutedEffects {
            local,
            others: others.clone(),
            lease: lease.clone(),
        });
        let driver = Driver::new(
            self.env.clone(),
            self.store.clone(),
            feed,
            lease.clone(),
            self.catalog.clone(),
            others.clone(),
            routed.clone(),
            controllers::all(&options.info, Arc::new(options.accounts.clone())),
            DriverOptions::default(),
        );
        self.neighbours.attach(&driver);
        let running = self.env.spawn.spawn("controllers", driver.clone().run());
        if options.neighbourhood.is_some() {
            let telling = crate::standing::Telling {
                env: self.env.clone(),
                name: self.name.clone(),
                facts: self.facts.clone(),
                neighbours: self.neighbours.clone(),
                lease: lease.clone(),
                effects: routed,
                others,
            };
            self.tasks.push(self.env.spawn.spawn("standing", telling.run()));
        }
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
        // A shard that is not root has bindings of its own to the same exports.
        let root = permit::Cluster::well_known(match self.neighbours.is_root() {
            true => api::keys::cluster::ROOT,
            false => api::keys::cluster::SYSTEM_SHARD,
        });
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
            tracing::warn!(cluster = %root, "its own bindings are not bound yet");
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
        self.replicas.close();
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.neighbours.detach();
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
