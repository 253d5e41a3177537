//! What many distinct objects cost in memory.
#![allow(missing_docs)]

mod counting;

use std::sync::Arc;

use counting::{live, put_all};
use env::Env;
use kv::Kv;
use kv::embedded::{EmbeddedKv, EmbeddedOptions};
use machinery::object::ObjectExt;
use permit::Scope;
use serde_json::json;
use storage::testing::*;
use storage::{ResourceKey, Store, StoreOptions};

fn config_map(index: usize) -> (String, Vec<u8>) {
    let key = object_key("2x8kq0c7v4n1m5za", "default", &format!("config-{index:06}"));
    let seed = format!("{index:08x}");
    let mut object = object(&key, &[], &seed.repeat(128));
    object.set_annotation("kcp.io/cluster", "2x8kq0c7v4n1m5za");
    object["metadata"]["managedFields"] = json!([{"apiVersion": "v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {".": {}, "f:value": {}}}, "manager": "loadgen", "operation": "Update",
        "time": "2026-08-01T00:00:00Z"}]);
    object["metadata"]["creationTimestamp"] = json!("2026-08-01T00:00:00Z");
    (
        format!("/registry/core/configmaps/{key}"),
        machinery::object::encode_canonical(&object),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_cost_little_more_than_their_bodies() {
    const COUNT: usize = 100_000;
    let dir = tempfile::tempdir().unwrap();
    let env = Env::real();
    let before = live();
    // Caches of fixed size are kept small: what grows with the objects is measured.
    let options = EmbeddedOptions {
        cache_bytes: 8 << 20,
        recent_bytes: 4 << 20,
        ..EmbeddedOptions::new(dir.path())
    };
    let kv = EmbeddedKv::open(&env, options).await.unwrap();
    put_all(&kv, (0..COUNT).map(config_map)).await;
    let with_keys = live() - before;
    let kv: Arc<dyn Kv> = Arc::new(kv);
    let started = env.clock.monotonic();
    let store = Store::open(env.clone(), Arc::clone(&kv), StoreOptions::default(), Vec::new())
        .await
        .unwrap();
    let opened = env.clock.monotonic() - started;
    let whole = live() - before;
    let list = store
        .list(
            &everything(),
            &ResourceKey::builtin("", "configmaps"),
            &list_of(Scope::All),
        )
        .await
        .unwrap();
    assert_eq!(list.items.len(), COUNT);
    let bodies: usize = list.items.iter().map(|entry| entry.encoded_len()).sum();
    println!(
        "{COUNT} objects of {} bytes: keys and pages {} MiB, all {} MiB, {:.3} x bodies; opened in {opened:?}",
        bodies / COUNT,
        with_keys >> 20,
        whole >> 20,
        whole as f64 / bodies as f64,
    );
    assert!(
        whole as f64 <= 1.5 * bodies as f64,
        "{whole} bytes live for {bodies} bytes of bodies"
    );
    kv.close().await;
}
