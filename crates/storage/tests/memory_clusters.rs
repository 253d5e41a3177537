//! What a cluster costs in memory, and that it is given back.
#![allow(missing_docs)]

mod counting;

use std::sync::Arc;

use counting::{live, put_all};
use env::Env;
use kv::embedded::{EmbeddedKv, EmbeddedOptions};
use kv::{Kv, Op, Txn};
use machinery::object::ObjectExt;
use permit::Scope;
use serde_json::{Value, json};
use storage::testing::*;
use storage::{Store, StoreOptions};

/// The objects of a cluster as a running server showed them, with names, uids and times of their own.
fn fresh_objects(index: usize) -> Vec<(String, Vec<u8>)> {
    let (name, suffix) = (name_of(index), format!("{:05}", index % 99_999));
    let (minute, second) = (index / 60 % 60, index % 60);
    let text = include_str!("data/fresh-cluster.json")
        .replace("nhsassutqnpzx947", &name)
        .replace("16:57:", &format!("16:{minute:02}:"))
        .replace("08Z", &format!("{second:02}Z"))
        .replace("6qgj5", &suffix)
        .replace("1nriy", &suffix);
    let objects: Vec<Value> = serde_json::from_str(&text).unwrap();
    let stored = |mut object: Value| {
        let plural = format!("{}s", object.kind().to_lowercase());
        let group = object
            .api_version()
            .rsplit_once('/')
            .map_or("core", |(group, _)| group)
            .to_owned();
        object.meta_mut().remove("resourceVersion");
        let uid = format!("{index:08}{}", &object.uid()[8..]);
        object.meta_mut().insert("uid".into(), json!(uid));
        let key = object_key(&name, object.namespace(), object.name());
        (
            format!("/registry/{group}/{plural}/{key}"),
            machinery::object::encode_canonical(&object),
        )
    };
    objects.into_iter().map(stored).collect()
}

fn name_of(index: usize) -> String {
    format!("{index:016}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn law_1_idle_cluster_costs_bytes() {
    const CLUSTERS: usize = 2_000;
    let env = Env::real();
    let dir = tempfile::tempdir().unwrap();
    let kv: Arc<dyn Kv> = Arc::new(EmbeddedKv::open(&env, EmbeddedOptions::new(dir.path())).await.unwrap());
    // One cluster is there to begin with, so that only what a further one costs is counted.
    put_all(&*kv, fresh_objects(0).into_iter()).await;
    let options = StoreOptions {
        log_bytes: 1 << 20,
        compaction_period: Default::default(),
        ..StoreOptions::default()
    };
    let store = Store::open(env.clone(), Arc::clone(&kv), options.clone(), Vec::new())
        .await
        .unwrap();
    let json: usize = fresh_objects(1).iter().map(|(_, value)| value.len()).sum();
    drop(store);
    for index in 1..=CLUSTERS {
        put_all(&*kv, fresh_objects(index).into_iter()).await;
    }
    let before = live();
    let store = Store::open(env.clone(), Arc::clone(&kv), options, Vec::new())
        .await
        .unwrap();
    let each = (live() - before) as usize / CLUSTERS;
    let stats = store.stats();
    println!("a cluster of 10 objects, {json} bytes of JSON: {each} bytes in the caches; {stats:?}");
    assert!(each < 24 << 10, "{each}");
    assert!(each < json, "what clusters have alike is held once");
    assert!(stats.resources <= 10, "caches are per resource");

    for resource in store.resources() {
        let listed = store
            .list(&everything(), &resource, &list_of(Scope::One(cluster(&name_of(7)))))
            .await
            .unwrap();
        for entry in listed.items {
            println!("{entry:?}: {} of {}", entry.own_len(), entry.encoded_len());
        }
    }

    // The memory comes back when the clusters go.
    let keys: Vec<String> = (1..=CLUSTERS).flat_map(fresh_objects).map(|(key, _)| key).collect();
    let with_keys = live();
    for some in keys.chunks(100) {
        kv.txn(Txn::unguarded(some.iter().map(|key| Op::delete(key.clone())).collect()))
            .await
            .unwrap();
    }
    let list = list_of(Scope::All);
    for resource in store.resources() {
        assert!(store.list(&everything(), &resource, &list).await.unwrap().items.len() <= 3);
    }
    store.compact_to(store.revision()).await.unwrap();
    let left = store.stats();
    println!(
        "after their deletion: {left:?}, {} bytes given back a cluster",
        (with_keys - live()) / CLUSTERS as isize
    );
    assert_eq!((left.objects, left.log_events), (10, 0));
    assert!(
        left.shared_bytes < stats.shared_bytes,
        "what nobody has any more is gone"
    );
    kv.close().await;
}
