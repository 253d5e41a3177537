//! What the pipelines cost. Run alone, in release, with `--ignored --nocapture`.

use std::time::Duration;

use kv::model::ModelKv;
use machinery::options::{GetOptions, ListOptions, WriteOptions};
use serde_json::{Value, json};
use std::sync::Arc;
use storage::{Change, FenceAction, ObjectKey, Store, StoreOptions, Write};

use crate::represent::{Form, Representation};
use crate::testing::{Fixture, config_map};
use crate::{AdmissionChain, Backend, Registry};

const ROUNDS: u32 = 2_000;

fn body(n: u32) -> Value {
    let mut object = config_map(&format!("c{n:05}"));
    object["data"] = json!({"payload": "x".repeat(800), "more": "y".repeat(100)});
    object
}

/// A fixture whose clock is the machine's.
async fn real() -> Fixture {
    let mut f = Fixture::new().await;
    f.env = env::Env::real();
    let kv = Arc::new(ModelKv::new(&f.env));
    let store = Store::open(f.env.clone(), kv, StoreOptions::default(), Vec::new())
        .await
        .expect("an empty store opens");
    f.registry = Registry::new(store, f.env.clone(), AdmissionChain::default());
    f
}

fn per_round(f: &Fixture, start: Duration, rounds: u32) -> Duration {
    (f.env.clock.monotonic() - start) / rounds
}

#[tokio::test]
#[ignore = "a measurement"]
async fn creates_gets_and_lists() {
    // The fixture's first world needs paused time; only what is made anew here is measured.
    tokio::time::pause();
    let f = real().await;
    tokio::time::resume();
    let at = f.at("configmaps", "default", "");
    let (request, options) = (f.request(), WriteOptions::default());

    let bodies: Vec<Value> = (0..ROUNDS).map(body).collect();
    let start = f.env.clock.monotonic();
    let mut last = None;
    for object in bodies {
        last = Some(
            f.registry
                .create(&request, &at.target, object, &options)
                .await
                .expect("a create")
                .item,
        );
    }
    let create = per_round(&f, start, ROUNDS);

    let stored = f.value(&at, &last.expect("an object"));
    let start = f.env.clock.monotonic();
    for n in 0..ROUNDS {
        let mut object = stored.clone();
        object["metadata"]["name"] = format!("d{n:05}").into();
        let key = ObjectKey::new(f.cluster.clone(), "default", &format!("d{n:05}"));
        let write = Write {
            key,
            change: Change::Create(object),
            fence: FenceAction::Hold,
            guards: Vec::new(),
            ttl: None,
        };
        f.registry
            .store()
            .write(&request.permit, &at.target.resolved.def.store, write)
            .await
            .expect("a write");
    }
    let store = per_round(&f, start, ROUNDS);

    let one = at.named("c00001");
    let cached = GetOptions {
        resource_version: "0".to_owned(),
    };
    let start = f.env.clock.monotonic();
    for _ in 0..ROUNDS {
        f.registry.get(&request, &one.target, &cached).await.expect("a get");
    }
    let get = per_round(&f, start, ROUNDS);

    let list = f
        .registry
        .list(&request, &at.target, &ListOptions::default())
        .await
        .expect("a list");
    let representation = Representation::new(at.target.resolved.clone(), Form::Whole, 0);
    let start = f.env.clock.monotonic();
    let bytes = representation.list(&list).expect("a list").len();
    let encode = f.env.clock.monotonic() - start;
    let mib = bytes as f64 / f64::from(1 << 20);
    println!("create {create:?} (store alone {store:?}), get {get:?}, list {encode:?} for {mib:.1} MiB");
}
