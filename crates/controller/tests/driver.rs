//! What a driver does with plans that misbehave.
#![allow(missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use controller::{Catalog, Driver, DriverOptions, Effects, EventFeed, Fetched, Lease, LeaseOptions, Remote};
use env::Env;
use kv::model::ModelKv;
use machinery::status::Result;
use permit::Cluster;
use plan::{Context, Controller, Effect, Key, ObjectRef, Plan, ResourceRef, Served, Trigger, View};
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

    fn is_local(&self, _: &Cluster) -> bool {
        true
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
    async fn carry_out(&self, _: &'static str, _: &[Effect], _: &Lease) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_plan_that_panics_is_tried_again() {
    let env = Env::real();
    let kv = Arc::new(ModelKv::new(&env));
    let feed = EventFeed::new();
    let store = Store::open(env.clone(), kv.clone(), StoreOptions::default(), vec![feed.clone()])
        .await
        .unwrap();
    let lease = LeaseOptions {
        key: "/lease".to_owned(),
        holder: "here".to_owned(),
        ttl: Duration::from_secs(10),
    };
    let (lease, _competing) = Lease::acquire(&env, kv, lease);
    let panicking = Arc::new(Panicking {
        plans: AtomicUsize::new(0),
        planned_again: Notify::new(),
    });
    let nothing = Arc::new(Nothing);
    let driver = Driver::new(
        env.clone(),
        store,
        feed,
        lease,
        nothing.clone(),
        nothing.clone(),
        nothing,
        vec![panicking.clone()],
        DriverOptions::default(),
    );
    let _running = env.spawn.spawn("controllers", driver.run());
    let again = env
        .clock
        .timeout(Duration::from_secs(30), panicking.planned_again.notified());
    assert!(again.await.is_ok(), "the key is not held by the run that panicked");
}
