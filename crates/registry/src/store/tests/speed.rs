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

const ROUNDS: u32 = 50;
const BATCHES: u32 = 40;

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

/// The shortest time that a round took in any batch: what else the machine does is not counted.
async fn best<F: Future>(f: &Fixture, mut round: impl FnMut(u32) -> F) -> Duration {
    let mut shortest = Duration::MAX;
    for batch in 0..BATCHES {
        let start = f.env.clock.monotonic();
        for n in 0..ROUNDS {
            round(batch * ROUNDS + n).await;
        }
        shortest = shortest.min((f.env.clock.monotonic() - start) / ROUNDS);
    }
    shortest
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
    let create = best(&f, |n| {
        let create = f.registry.create(&request, &at.target, body(n), &options);
        async { drop(create.await.expect("a create")) }
    });
    let create = create.await;

    let one = at.named("c00001");
    let stored = f.get(&one).await.expect("an object");
    let store = best(&f, |n| {
        let mut object = stored.clone();
        let name = format!("d{n:05}");
        object["metadata"]["name"] = name.as_str().into();
        let key = ObjectKey::new(f.cluster.clone(), "default", &name);
        let write = Write {
            key,
            change: Change::Create(object),
            fence: FenceAction::Hold,
            guards: Vec::new(),
            ttl: None,
        };
        let write = f
            .registry
            .store()
            .write(&request.permit, &at.target.resolved.def.store, write);
        async { drop(write.await.expect("a write")) }
    });
    let store = store.await;

    let cached = GetOptions {
        resource_version: "0".to_owned(),
    };
    let get = best(&f, |_| {
        let get = f.registry.get(&request, &one.target, &cached);
        async { drop(get.await.expect("a get")) }
    });
    let get = get.await;

    let list = f
        .registry
        .list(&request, &at.target, &ListOptions::default())
        .await
        .expect("a list");
    let representation = Representation::new(at.target.resolved.clone(), Form::Whole, 0);
    let bytes = representation.list(&list).expect("a list").len();
    let encode = best(&f, |_| {
        std::future::ready(representation.list(&list).expect("a list").len())
    })
    .await;
    let mib = bytes as f64 / f64::from(1 << 20);
    println!(
        "create {create:?} (store alone {store:?}), get {get:?}, list {:?} a MiB",
        encode.div_f64(mib)
    );
}
