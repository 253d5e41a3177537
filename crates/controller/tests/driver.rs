//! What a driver does with plans that misbehave.
#![allow(missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use controller::{Catalog, Driver, DriverOptions, Effects, EventFeed, Fetched, Holder, Lease, LeaseOptions, Remote};
use env::Env;
use kv::model::ModelKv;
use kv::{Guard, Kv, LeaseId, Op, RangeRequest, Txn, TxnOutcome};
use machinery::status::Result;
use parking_lot::Mutex;
use permit::Cluster;
use plan::{Context, Controller, Effect, Key, Member, ObjectRef, Plan, ResourceRef, Seen, Served, Trigger, View};
use serde_json::{Value, json};
use storage::{ObjectKey, ResourceKey, Store, StoreOptions};
use tokio::sync::Notify;

/// Panics the first time it plans.
struct Panicking {
    plans: AtomicUsize,
    planned_again: Notify,
}

/// Nothing is served, fetched or written.
struct Nothing;

impl Controller for Panicking {
    fn name(&self) -> &'static str {
        "panicking"
    }

    fn watches(&self) -> Vec<ResourceRef> {
        Vec::new()
    }

    fn keys(&self, _: &Trigger<'_>, _: &dyn View) -> Vec<Key> {
        Vec::new()
    }

    fn plan(&self, _: &Key, _: &dyn View, _: &Context) -> Plan {
        assert!(self.plans.fetch_add(1, Ordering::SeqCst) > 0, "as if by a bug");
        self.planned_again.notify_one();
        Plan::default()
    }

    fn resync(&self, _: &dyn View) -> Vec<Key> {
        vec![Key {
            cluster: Cluster::well_known("root"),
            namespace: String::new(),
            name: "key".to_owned(),
        }]
    }
}

impl Catalog for Nothing {
    fn store_key(&self, _: &ResourceRef) -> Option<ResourceKey> {
        None
    }

    fn resource_ref(&self, resource: &ResourceKey) -> ResourceRef {
        ResourceRef::new(&resource.group, &resource.resource)
    }

    fn served(&self, _: &Cluster) -> Vec<Served> {
        Vec::new()
    }

    fn dependants(&self, _: &Cluster, _: &str) -> Vec<(ResourceKey, ObjectKey)> {
        Vec::new()
    }

    fn has_dependants(&self, _: &Cluster, _: &str) -> bool {
        false
    }

    fn holder(&self, _: &Cluster) -> Holder {
        Holder::Here
    }

    fn is_own_shard(&self, _: &str) -> bool {
        true
    }

    fn members(&self) -> Vec<Member> {
        Vec::new()
    }
}

#[async_trait]
impl Remote for Nothing {
    async fn fetch(&self, _: &ObjectRef) -> Result<Fetched> {
        Ok(Fetched::Absent)
    }
}

#[async_trait]
impl Effects for Nothing {
    async fn carry_out(&self, _: &'static str, _: &[Effect], _: &Guard) -> Result<()> {
        Ok(())
    }
}

/// Everything but `near` is another shard's.
struct Shards {
    fetched: Mutex<Vec<ObjectRef>>,
    carried_out: Mutex<Vec<Effect>>,
    done: Notify,
}

/// Writes what it finds, or nothing, beside an object of another shard.
#[derive(Default)]
struct Copying {
    spans_shards: bool,
}

fn far() -> ObjectRef {
    ResourceRef::new("", "configmaps").object(&Cluster::well_known("far"), "", "of-others")
}

fn near(name: &str) -> ObjectRef {
    ResourceRef::new("", "configmaps").object(&Cluster::well_known("near"), "", name)
}

impl Controller for Copying {
    fn name(&self) -> &'static str {
        "copying"
    }

    fn spans_shards(&self) -> bool {
        self.spans_shards
    }

    fn watches(&self) -> Vec<ResourceRef> {
        vec![far().resource]
    }

    fn keys(&self, trigger: &Trigger<'_>, _: &dyn View) -> Vec<Key> {
        vec![Key::new(&Cluster::well_known("near"), "", trigger.name)]
    }

    fn plan(&self, key: &Key, view: &dyn View, _: &Context) -> Plan {
        let object = match view.get(&far()) {
            Seen::Found(object) => Value::clone(&object),
            Seen::Absent | Seen::Unknown => json!("nothing"),
        };
        Plan::effect(Effect::Create {
            of: near(&key.name),
            object,
            adopt: true,
        })
    }

    fn resync(&self, _: &dyn View) -> Vec<Key> {
        vec![
            Key::new(&Cluster::well_known("far"), "", "foreign"),
            Key::new(&Cluster::well_known("near"), "", "own"),
        ]
    }
}

impl Catalog for Shards {
    fn store_key(&self, _: &ResourceRef) -> Option<ResourceKey> {
        None
    }

    fn resource_ref(&self, resource: &ResourceKey) -> ResourceRef {
        ResourceRef::new(&resource.group, &resource.resource)
    }

    fn served(&self, _: &Cluster) -> Vec<Served> {
        Vec::new()
    }

    fn dependants(&self, _: &Cluster, _: &str) -> Vec<(ResourceKey, ObjectKey)> {
        Vec::new()
    }

    fn has_dependants(&self, _: &Cluster, _: &str) -> bool {
        false
    }

    fn holder(&self, cluster: &Cluster) -> Holder {
        match cluster.as_str() {
            "near" => Holder::Here,
            _ => Holder::Elsewhere,
        }
    }

    fn is_own_shard(&self, _: &str) -> bool {
        false
    }

    fn members(&self) -> Vec<Member> {
        Vec::new()
    }
}

#[async_trait]
impl Remote for Shards {
    async fn fetch(&self, of: &ObjectRef) -> Result<Fetched> {
        self.fetched.lock().push(of.clone());
        Ok(Fetched::Object(Arc::new(json!("theirs"))))
    }
}

#[async_trait]
impl Effects for Shards {
    async fn carry_out(&self, _: &'static str, effects: &[Effect], _: &Guard) -> Result<()> {
        self.carried_out.lock().extend_from_slice(effects);
        self.done.notify_one();
        Ok(())
    }
}

fn copy(name: &str) -> Effect {
    Effect::Create {
        of: near(name),
        object: json!("theirs"),
        adopt: true,
    }
}

#[tokio::test]
async fn others_objects_are_fetched_and_others_keys_are_dropped() {
    let shards = Arc::new(Shards {
        fetched: Mutex::default(),
        carried_out: Mutex::default(),
        done: Notify::new(),
    });
    let (env, driver, _tasks) = running(
        shards.clone(),
        shards.clone(),
        shards.clone(),
        Arc::new(Copying::default()),
    )
    .await;
    let bound = Duration::from_secs(30);
    assert!(env.clock.timeout(bound, shards.done.notified()).await.is_ok());
    // Both keys were due at once: had the foreign one been planned, it would have asked, too.
    driver.tell(&far(), None);
    while shards.carried_out.lock().len() < 2 {
        assert!(env.clock.timeout(bound, shards.done.notified()).await.is_ok());
    }
    let carried_out = shards.carried_out.lock().clone();
    assert_eq!(
        carried_out,
        [copy("own"), copy("of-others")],
        "nothing was decided on what was not known"
    );
    assert_eq!(*shards.fetched.lock(), [far(), far()]);
}

#[tokio::test]
async fn who_spans_shards_is_run_for_others_keys_too() {
    let shards = Arc::new(Shards {
        fetched: Mutex::default(),
        carried_out: Mutex::default(),
        done: Notify::new(),
    });
    let spanning = Arc::new(Copying { spans_shards: true });
    let (env, _driver, _tasks) = running(shards.clone(), shards.clone(), shards.clone(), spanning).await;
    let bound = Duration::from_secs(30);
    while shards.carried_out.lock().len() < 2 {
        assert!(env.clock.timeout(bound, shards.done.notified()).await.is_ok());
    }
    let carried_out = shards.carried_out.lock().clone();
    assert!(carried_out.contains(&copy("foreign")) && carried_out.contains(&copy("own")));
}

#[tokio::test]
async fn a_plan_that_panics_is_tried_again() {
    let panicking = Arc::new(Panicking {
        plans: AtomicUsize::new(0),
        planned_again: Notify::new(),
    });
    let nothing = Arc::new(Nothing);
    let (env, _driver, _tasks) = running(nothing.clone(), nothing.clone(), nothing, panicking.clone()).await;
    let again = env
        .clock
        .timeout(Duration::from_secs(30), panicking.planned_again.notified());
    assert!(again.await.is_ok(), "the key is not held by the run that panicked");
}

/// A driver that runs one controller.
async fn running(
    catalog: Arc<dyn Catalog>,
    remote: Arc<dyn Remote>,
    effects: Arc<dyn Effects>,
    controller: Arc<dyn Controller>,
) -> (Env, Driver, [env::Task<()>; 2]) {
    let env = Env::real();
    let kv = Arc::new(ModelKv::new(&env));
    let feed = EventFeed::new();
    let store = Store::open(env.clone(), kv.clone(), StoreOptions::default(), vec![feed.clone()])
        .await
        .unwrap();
    let lease = LeaseOptions {
        key: "/lease".to_owned(),
        holder: "here".to_owned(),
        identity_file: None,
        ttl: Duration::from_secs(10),
    };
    let (lease, competing) = Lease::acquire(&env, kv, lease);
    let driver = Driver::new(
        env.clone(),
        store,
        feed,
        lease,
        catalog,
        remote,
        effects,
        vec![controller],
        DriverOptions::default(),
    );
    let running = env.spawn.spawn("controllers", driver.clone().run());
    (env, driver, [competing, running])
}

/// Its first plan needs an object of elsewhere, the next writes.
#[derive(Default)]
struct Needing {
    plans: AtomicUsize,
}

/// Answers when it is let.
#[derive(Default)]
struct Slow {
    asked: Notify,
    answer: Notify,
}

/// Keeps the guards that effects came with.
#[derive(Default)]
struct Recorded {
    guards: Mutex<Vec<Guard>>,
    one: Notify,
}

impl Controller for Needing {
    fn name(&self) -> &'static str {
        "needing"
    }

    fn watches(&self) -> Vec<ResourceRef> {
        Vec::new()
    }

    fn keys(&self, _: &Trigger<'_>, _: &dyn View) -> Vec<Key> {
        Vec::new()
    }

    fn plan(&self, key: &Key, _: &dyn View, _: &Context) -> Plan {
        let of = ResourceRef::new("", "configmaps").object(&key.cluster, "", "far");
        match self.plans.fetch_add(1, Ordering::SeqCst) {
            0 => Plan {
                needs: vec![of],
                ..Plan::default()
            },
            1 => Plan {
                effects: vec![Effect::Touch { of }],
                ..Plan::default()
            },
            _ => Plan::default(),
        }
    }

    fn resync(&self, _: &dyn View) -> Vec<Key> {
        vec![Key::new(&Cluster::well_known("root"), "", "key")]
    }
}

#[async_trait]
impl Remote for Slow {
    async fn fetch(&self, _: &ObjectRef) -> Result<Fetched> {
        self.asked.notify_one();
        self.answer.notified().await;
        Ok(Fetched::Absent)
    }
}

#[async_trait]
impl Effects for Recorded {
    async fn carry_out(&self, _: &'static str, _: &[Effect], tenure: &Guard) -> Result<()> {
        self.guards.lock().push(tenure.clone());
        self.one.notify_one();
        Ok(())
    }
}

fn lease_of(holder: &str) -> LeaseOptions {
    LeaseOptions {
        key: "/lease".to_owned(),
        holder: holder.to_owned(),
        identity_file: None,
        ttl: Duration::from_secs(15),
    }
}

/// The store's lease ends, as when its holder was paused for too long.
async fn revoke(kv: &ModelKv) {
    let range = RangeRequest::key("/lease");
    let id = kv.range(range).await.unwrap().kvs[0].lease;
    kv.lease_revoke(LeaseId(id)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_run_of_an_earlier_tenure_does_not_write_under_the_guard_of_the_next() {
    let env = Env::real();
    let kv = Arc::new(ModelKv::new(&env));
    let feed = EventFeed::new();
    let store = Store::open(env.clone(), kv.clone(), StoreOptions::default(), vec![feed.clone()])
        .await
        .unwrap();
    let (lease, _competing) = Lease::acquire(&env, kv.clone(), lease_of("here"));
    let (slow, recorded) = (Arc::new(Slow::default()), Arc::new(Recorded::default()));
    let driver = Driver::new(
        env.clone(),
        store,
        feed,
        lease.clone(),
        Arc::new(Nothing),
        slow.clone(),
        recorded.clone(),
        vec![Arc::new(Needing::default())],
        DriverOptions::default(),
    );
    let _running = env.spawn.spawn("controllers", driver.run());
    slow.asked.notified().await;
    let first = lease.guard().unwrap();
    revoke(&kv).await;
    lease.wait_lost(&first).await;
    let second = lease.wait_held().await;
    assert_ne!(first, second);
    slow.answer.notify_one();
    recorded.one.notified().await;
    assert_eq!(*recorded.guards.lock(), std::slice::from_ref(&first));
    let write = Txn {
        guards: vec![first],
        ops: vec![Op::put("/object", "stale")],
    };
    let outcome = kv.txn(write).await.unwrap();
    assert!(matches!(outcome, TxnOutcome::Conflict { .. }), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_given_back_is_free_at_once_and_not_taken_again() {
    let env = Env::real();
    let kv = Arc::new(ModelKv::new(&env));
    let (first, _first) = Lease::acquire(&env, kv.clone(), lease_of("first"));
    first.wait_held().await;
    let (second, _second) = Lease::acquire(&env, kv, lease_of("second"));
    env.clock.sleep(Duration::from_secs(60)).await;
    assert!(first.is_held() && !second.is_held());
    first.release().await;
    assert!(!first.is_held());
    let begun = env.clock.monotonic();
    second.wait_held().await;
    let waited = env.clock.monotonic() - begun;
    assert!(waited <= Duration::from_secs(1), "the next holder waited {waited:?}");
    second.release().await;
    env.clock.sleep(Duration::from_secs(60)).await;
    assert!(!first.is_held() && !second.is_held());
}
