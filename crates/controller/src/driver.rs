//! Runs controllers: dispatches events to keys, runs plans, carries effects out.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use env::Env;
use futures_util::FutureExt as _;
use kv::Guard;
use machinery::selector::LabelSelector;
use machinery::status::{Result, Status};
use parking_lot::Mutex;
use permit::{Cluster, Scope};
use plan::{Context, Controller, Effect, Key, Member, ObjectRef, Plan, ResourceRef, Served, Trigger};
use serde_json::Value;
use storage::{ObjectKey, ResourceKey, Store};
use telemetry::metrics::{Counter, Histogram, WorkqueueFamilies};
use tokio::sync::{Notify, Semaphore};

use crate::events::{Event, EventFeed, Waiting};
use crate::lease::Lease;
use crate::queue::{Again, Queue};
use crate::view::{Seeing, StoreView, Told};

/// Rounds of needs that a run may take before it is put off: a plan finds out one after the other what it lacks.
const NEEDS_ROUNDS_MAX: usize = 32;

/// Names of resources, and where their objects are.
pub trait Catalog: Send + Sync {
    fn store_key(&self, resource: &ResourceRef) -> Option<ResourceKey>;
    fn resource_ref(&self, resource: &ResourceKey) -> ResourceRef;
    fn served(&self, cluster: &Cluster) -> Vec<Served>;
    /// Objects of a cluster that name an owner of this uid.
    fn dependants(&self, cluster: &Cluster, uid: &str) -> Vec<(ResourceKey, ObjectKey)>;
    fn has_dependants(&self, cluster: &Cluster, uid: &str) -> bool;
    /// Which shard is the authority for a cluster.
    fn holder(&self, cluster: &Cluster) -> Holder;
    /// Whether a name is this shard's.
    fn is_own_shard(&self, name: &str) -> bool;
    /// All shards that are registered.
    fn members(&self) -> Vec<Member>;
    /// What another shard has told of an object of its own.
    fn replica(&self, _object: &ObjectRef) -> Option<Arc<Value>> {
        None
    }
    /// The same for all of a scope.
    fn replicas(&self, _resource: &ResourceRef, _scope: &Scope, _labels: &LabelSelector) -> Vec<Arc<Value>> {
        Vec::new()
    }
}

/// Who holds a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// This shard, or nobody at all.
    Here,
    /// Another shard says that it does.
    Elsewhere,
    /// Not this one, and not all others have said what they hold.
    Unknown,
}

/// An object that a plan needed.
#[derive(Clone, Debug, PartialEq)]
pub enum Fetched {
    Object(Arc<Value>),
    Absent,
}

/// Objects of other shards.
#[async_trait]
pub trait Remote: Send + Sync {
    async fn fetch(&self, object: &ObjectRef) -> Result<Fetched>;
}

/// Carries the effects of one plan out as API writes under the controllers' identity: in their order, neighbours in one
/// transaction where that can be. A failure ends the run, after the touches next to the one that failed.
#[async_trait]
pub trait Effects: Send + Sync {
    ///
    /// Every write compares `tenure`, the guard of the lease as it was held when the run began: what was planned in a tenure
    /// that is over is not written in the next, however the lease stands by then.
    async fn carry_out(&self, controller: &'static str, effects: &[Effect], tenure: &Guard) -> Result<()>;
}

#[derive(Clone, Debug)]
pub struct DriverOptions {
    /// Runs at a time, over all controllers.
    pub concurrency: usize,
    /// Every controller's `resync` keys run this often.
    pub resync: Duration,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Driver(Arc<Inner>);

struct Inner {
    env: Env,
    store: Store,
    catalog: Arc<dyn Catalog>,
    remote: Arc<dyn Remote>,
    effects: Arc<dyn Effects>,
    feed: Arc<EventFeed>,
    lease: Arc<Lease>,
    work: Vec<Work>,
    /// Which controllers watch a resource; the last entry of a look-up is those that watch everything.
    watchers: BTreeMap<ResourceRef, Vec<usize>>,
    watch_all: Vec<usize>,
    due: Notify,
    seats: Arc<Semaphore>,
    families: WorkqueueFamilies,
    options: DriverOptions,
}

struct Work {
    controller: Arc<dyn Controller>,
    queue: Mutex<Queue>,
    series: QueueSeries,
}

/// Of one controller in [`WorkqueueFamilies`].
struct QueueSeries {
    adds: Counter,
    retries: Counter,
    waits: Histogram,
    runs: Histogram,
}

// === impl DriverOptions ===

impl Default for DriverOptions {
    fn default() -> Self {
        Self {
            concurrency: 64,
            resync: Duration::from_secs(600),
        }
    }
}

// === impl QueueSeries ===

impl QueueSeries {
    fn of(families: &WorkqueueFamilies, name: &str) -> Self {
        Self {
            adds: families.adds.with(&[name]),
            retries: families.retries.with(&[name]),
            waits: families.queue_durations.with(&[name]),
            runs: families.work_durations.with(&[name]),
        }
    }
}

// === impl Driver ===

impl Driver {
    #[expect(clippy::too_many_arguments, reason = "the parts of the wiring, each once")]
    pub fn new(
        env: Env,
        store: Store,
        feed: Arc<EventFeed>,
        lease: Arc<Lease>,
        catalog: Arc<dyn Catalog>,
        remote: Arc<dyn Remote>,
        effects: Arc<dyn Effects>,
        controllers: Vec<Arc<dyn Controller>>,
        options: DriverOptions,
    ) -> Self {
        let mut watchers: BTreeMap<ResourceRef, Vec<usize>> = BTreeMap::new();
        let mut watch_all = Vec::new();
        for (index, controller) in controllers.iter().enumerate() {
            for resource in controller.watches() {
                if &*resource.resource == "*" {
                    watch_all.push(index);
                } else {
                    watchers.entry(resource).or_default().push(index);
                }
            }
        }
        let families = WorkqueueFamilies::new();
        let work = controllers
            .into_iter()
            .map(|controller| Work {
                series: QueueSeries::of(&families, controller.name()),
                controller,
                queue: Mutex::new(Queue::default()),
            })
            .collect();
        let seats = Arc::new(Semaphore::new(options.concurrency));
        Self(Arc::new(Inner {
            env,
            store,
            catalog,
            remote,
            effects,
            feed,
            lease,
            work,
            watchers,
            watch_all,
            due: Notify::new(),
            seats,
            families,
            options,
        }))
    }

    /// Runs for ever: whenever the lease is held, the controllers run.
    pub async fn run(self) {
        loop {
            let tenure = self.0.lease.wait_held().await;
            self.enqueue_everything();
            let dispatch = self.dispatch();
            let runs = self.run_due(&tenure);
            let resync = self.resync();
            tokio::select! {
                biased;
                () = self.0.lease.wait_lost(&tenure) => {}
                () = dispatch => {}
                () = runs => {}
                () = resync => {}
            }
            self.0.feed.leave();
            for work in &self.0.work {
                work.queue.lock().clear();
            }
        }
    }

    /// True when the controllers run, and no key is due or running and no event waits: tests and simulations wait for it. A
    /// driver without the lease has not looked yet.
    pub fn is_idle(&self) -> bool {
        let now = self.0.env.clock.monotonic();
        self.0.feed.is_told() && self.0.work.iter().all(|work| work.queue.lock().is_idle(now))
    }

    /// (controller, keys waiting), for metrics.
    pub fn depths(&self) -> Vec<(&'static str, usize)> {
        self.0
            .work
            .iter()
            .map(|work| (work.controller.name(), work.queue.lock().len()))
            .collect()
    }

    /// What is counted of the queues.
    pub fn workqueue(&self) -> &WorkqueueFamilies {
        &self.0.families
    }

    /// After taking the lease, or missing events, what happened is not known: every object is looked at once.
    fn enqueue_everything(&self) {
        self.0.feed.listen();
        for resource in self.0.store.resources() {
            let permit = permit::Permit::internal(permit::Scope::All);
            let all = machinery::selector::LabelSelector::everything();
            for entry in self
                .0
                .store
                .peek_list(&permit, &resource, &permit::Scope::All, "", &all)
            {
                let event = Event {
                    resource: resource.clone(),
                    key: entry.key(),
                    old: None,
                    new: Some(entry),
                };
                self.enqueue(&event);
            }
        }
        self.enqueue_resync();
    }

    async fn dispatch(&self) {
        loop {
            match self.0.feed.drain() {
                Waiting::Missed => self.enqueue_everything(),
                Waiting::Events(events) if events.is_empty() => self.0.feed.wait().await,
                Waiting::Events(events) => events.iter().for_each(|event| self.enqueue(event)),
            }
        }
    }

    /// Something was heard of an object of another shard, or of a shard: `object` is what was told, if anything. Whoever
    /// it concerns looks at it again.
    pub fn tell(&self, of: &ObjectRef, object: Option<Value>) {
        if !self.0.lease.is_held() {
            return;
        }
        let told = object.map(Told::new);
        self.trigger(&Trigger {
            resource: &of.resource,
            cluster: &of.cluster,
            namespace: &of.namespace,
            name: &of.name,
            old: None,
            new: told.as_ref().map(|told| told as _),
        });
    }

    fn enqueue(&self, event: &Event) {
        let inner = &self.0;
        let resource = inner.catalog.resource_ref(&event.resource);
        let seeing = |entry| Seeing {
            entry,
            store: &inner.store,
        };
        let (old, new) = (event.old.as_ref().map(seeing), event.new.as_ref().map(seeing));
        self.trigger(&Trigger {
            resource: &resource,
            cluster: &event.key.cluster,
            namespace: &event.key.namespace,
            name: &event.key.name,
            old: old.as_ref().map(|o| o as _),
            new: new.as_ref().map(|n| n as _),
        });
    }

    fn trigger(&self, trigger: &Trigger<'_>) {
        let inner = &self.0;
        let by_resource = inner.watchers.get(trigger.resource);
        let none = BTreeMap::new();
        let view = StoreView::new(&inner.store, &*inner.catalog, &none);
        let now = inner.env.clock.monotonic();
        let mut any = false;
        for index in by_resource.into_iter().flatten().chain(&inner.watch_all) {
            let work = &inner.work[*index];
            let keys = work.controller.keys(trigger, &view);
            any |= !keys.is_empty();
            work.series.adds.add(keys.len() as u64);
            let mut queue = work.queue.lock();
            for key in keys {
                queue.add(key, now);
            }
        }
        if any {
            inner.due.notify_one();
        }
    }

    async fn resync(&self) {
        loop {
            self.0.env.clock.sleep(self.0.options.resync).await;
            self.enqueue_resync();
        }
    }

    fn enqueue_resync(&self) {
        let none = BTreeMap::new();
        let view = StoreView::new(&self.0.store, &*self.0.catalog, &none);
        let now = self.0.env.clock.monotonic();
        for work in &self.0.work {
            let keys = work.controller.resync(&view);
            work.series.adds.add(keys.len() as u64);
            let mut queue = work.queue.lock();
            for key in keys {
                queue.add(key, now);
            }
        }
        self.0.due.notify_one();
    }

    /// Starts a run for every key that is due, as far as there are seats.
    async fn run_due(&self, tenure: &Guard) {
        loop {
            let now = self.0.env.clock.monotonic();
            let mut next: Option<Duration> = None;
            for index in 0..self.0.work.len() {
                while let Some(key) = self.take(index, now) {
                    let Ok(seat) = self.0.seats.clone().acquire_owned().await else {
                        return;
                    };
                    let (driver, tenure) = (self.clone(), tenure.clone());
                    let run = async move {
                        driver.run_key(index, key, &tenure).await;
                        drop(seat);
                        driver.0.due.notify_one();
                    };
                    self.0.env.spawn.spawn("controller run", run).detach();
                }
                let due = self.0.work[index].queue.lock().next_due();
                next = match (next, due) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                };
            }
            if self.is_idle() {
                self.0.store.forget_trees();
            }
            let wait = next.map(|at| at.saturating_sub(self.0.env.clock.monotonic()));
            tokio::select! {
                biased;
                () = self.0.due.notified() => {}
                () = self.sleep(wait) => {}
            }
        }
    }

    fn take(&self, index: usize, now: Duration) -> Option<Key> {
        let work = &self.0.work[index];
        let mut queue = work.queue.lock();
        let due = queue.next_due();
        let key = queue.take(now)?;
        work.series
            .waits
            .observe_duration(now.saturating_sub(due.unwrap_or(now)));
        Some(key)
    }

    async fn sleep(&self, wait: Option<Duration>) {
        match wait {
            Some(wait) => self.0.env.clock.sleep(wait).await,
            None => std::future::pending().await,
        }
    }

    async fn run_key(&self, index: usize, key: Key, tenure: &Guard) {
        let work = &self.0.work[index];
        let begun = self.0.env.clock.monotonic();
        let running = AssertUnwindSafe(self.plan_and_carry_out(&work.controller, &key, tenure)).catch_unwind();
        // Nothing of the run outlives it, so that a bug costs one key a delay, and not its turn for ever.
        let outcome = running
            .await
            .unwrap_or_else(|_| Err(Status::internal("the plan panicked")));
        let now = self.0.env.clock.monotonic();
        work.series.runs.observe_duration(now.saturating_sub(begun));
        match outcome {
            Ok(again) => work.queue.lock().succeeded(&key, now, again),
            Err(status) => {
                work.series.retries.inc();
                let after = work.queue.lock().failed(&key, now, self.0.env.rng.next_u64());
                let controller = work.controller.name();
                if status.is_conflict() {
                    tracing::debug!(controller, cluster = %key.cluster, name = %key.name, ?after, "{status}");
                } else {
                    tracing::warn!(controller, cluster = %key.cluster, namespace = %key.namespace, name = %key.name, ?after, "{status}");
                }
            }
        }
    }

    async fn plan_and_carry_out(
        &self,
        controller: &Arc<dyn Controller>,
        key: &Key,
        tenure: &Guard,
    ) -> Result<Option<Again>> {
        if self.0.catalog.holder(&key.cluster) == Holder::Elsewhere && !controller.spans_shards() {
            // Its own shard's business.
            return Ok(None);
        }
        let plan = self.plan(controller, key).await?;
        if !plan.effects.is_empty() {
            self.0
                .effects
                .carry_out(controller.name(), &plan.effects, tenure)
                .await?;
        }
        match plan.error {
            Some(why) => Err(Status::internal(why)),
            None => Ok(plan.requeue.map(|least| Again {
                least,
                most: plan.requeue_max.unwrap_or(least),
            })),
        }
    }

    /// Plans until nothing is needed any more.
    async fn plan(&self, controller: &Arc<dyn Controller>, key: &Key) -> Result<Plan> {
        let mut fetched: BTreeMap<ObjectRef, Fetched> = BTreeMap::new();
        for _ in 0..NEEDS_ROUNDS_MAX {
            let (plan, needs) = {
                let mut view = StoreView::new(&self.0.store, &*self.0.catalog, &fetched);
                if !controller.spans_shards() {
                    view = view.of(&key.cluster);
                }
                let plan = controller.plan(key, &view, &self.context());
                let mut needs = view.into_missed();
                needs.extend(plan.needs.iter().cloned());
                (plan, needs)
            };
            if needs.is_empty() {
                return Ok(plan);
            }
            for object in needs {
                let found = self.0.remote.fetch(&object).await?;
                fetched.insert(object, found);
            }
        }
        Err(Status::internal(format!(
            "{} asks for ever more objects",
            controller.name()
        )))
    }

    fn context(&self) -> Context {
        let now = self.0.env.clock.now();
        let mut seed = [0; 32];
        self.0.env.rng.fill(&mut seed);
        Context {
            now_seconds: now.as_secs(),
            now: machinery::time::format_seconds(now.as_nanos().into()),
            seed,
        }
    }
}
