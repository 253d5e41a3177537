//! Figures, not assertions: `cargo test --release -p storage --test speed -- --ignored --nocapture`.
#![allow(missing_docs)]

mod counting;

use std::sync::Arc;
use std::time::Duration;

use counting::{live, put_all};
use env::Env;
use kv::embedded::{EmbeddedKv, EmbeddedOptions};
use kv::model::ModelKv;
use kv::{Kv, Op, Txn};
use permit::Scope;
use storage::testing::*;
use storage::{Consistency, ResourceKey, Store, StoreOptions, WatchStart};

fn stored(cluster: &str, index: usize) -> (String, Vec<u8>) {
    let key = object_key(cluster, "default", &format!("config-{index:07}"));
    let mut object = object(&key, &[], &format!("{index:08x}").repeat(128));
    machinery::object::ObjectExt::set_annotation(&mut object, "kcp.io/cluster", cluster);
    (
        format!("/registry/core/configmaps/{key}"),
        machinery::object::encode_canonical(&object),
    )
}

/// CPU time of this process: other work on the machine does not count.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn each(what: &str, took: Duration, count: usize) {
    println!(
        "{what}: {:.2} us each of CPU ({count})",
        took.as_secs_f64() * 1e6 / count as f64
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn reads() {
    let env = Env::real();
    let kv: Arc<dyn Kv> = Arc::new(ModelKv::new(&env));
    for cluster in 0..100 {
        put_all(
            &*kv,
            (0..1000).map(|index| stored(&format!("cluster-{cluster:08}"), index)),
        )
        .await;
    }
    let store = Store::open(env.clone(), kv, StoreOptions::default(), Vec::new())
        .await
        .unwrap();
    let resource = ResourceKey::builtin("", "configmaps");
    let permit = everything();
    let keys: Vec<_> = (0..100_000)
        .map(|n| {
            let scattered = n * 7919 % 100_000;
            object_key(
                &format!("cluster-{:08}", scattered / 1000),
                "default",
                &format!("config-{:07}", scattered % 1000),
            )
        })
        .collect();
    for consistency in [Consistency::Any, Consistency::Latest] {
        let start = cpu();
        for key in &keys {
            store.get(&permit, &resource, key, consistency).await.unwrap();
        }
        each(
            &format!("get {consistency:?} of 100,000 objects"),
            cpu() - start,
            keys.len(),
        );
    }
    let mut out = Vec::with_capacity(4 << 20);
    let (mut bytes, rounds) = (0, 50);
    let start = cpu();
    for round in 0..rounds {
        out.clear();
        let clusters = [format!("cluster-{:08}", round), format!("cluster-{:08}", round + 1)];
        for name in clusters {
            let list = store
                .list(&permit, &resource, &list_of(Scope::One(cluster(&name))))
                .await
                .unwrap();
            list.items.iter().for_each(|entry| entry.encode_into(&mut out));
        }
        bytes += out.len();
    }
    let took = cpu() - start;
    println!(
        "list 2,000 x 1 KiB: {:.3} ms a MiB",
        took.as_secs_f64() * 1e3 / (bytes as f64 / f64::from(1 << 20))
    );
    let request = storage::ListRequest {
        limit: 500,
        ..list_of(Scope::All)
    };
    let start = cpu();
    let pages = all_pages(request, |request| {
        let (store, resource, permit) = (store.clone(), resource.clone(), permit.clone());
        async move { store.list(&permit, &resource, &request).await }
    });
    let pages = pages.await.unwrap().len();
    each("page of 500 of 100,000", cpu() - start, pages);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn writes() {
    const COUNT: usize = 20_000;
    let env = Env::real();
    for tasks in [1, 64] {
        let bare: Arc<dyn Kv> = Arc::new(ModelKv::new(&env));
        let start = cpu();
        let mut running = Vec::new();
        for task in 0..tasks {
            let bare = Arc::clone(&bare);
            running.push(tokio::spawn(async move {
                for index in (task..COUNT).step_by(tasks) {
                    let (key, value) = stored("system:bench", index);
                    bare.txn(Txn::unguarded(vec![Op::put(key, value)])).await.unwrap();
                }
            }));
        }
        for task in running {
            task.await.unwrap();
        }
        each(&format!("kv write, {tasks} tasks"), cpu() - start, COUNT);
        for watchers in [0, 200, 2_000] {
            let hand = Bench::new(&env, Arc::new(ModelKv::new(&env))).open().await;
            let mut idle = Vec::new();
            for index in 0..watchers {
                let mut request = watch_of(Scope::All, WatchStart::Now);
                request.labels = labelled("app", &format!("idle-{index}"));
                let mut watcher = hand.watch(&request).await;
                idle.push(tokio::spawn(async move { watcher.next().await.is_some() }));
            }
            let start = cpu();
            let mut running = Vec::new();
            for task in 0..tasks {
                let hand = hand.clone();
                running.push(tokio::spawn(async move {
                    for index in (task..COUNT).step_by(tasks) {
                        let key = object_key("system:bench", "default", &format!("config-{index:07}"));
                        hand.create(&key, &[], &format!("{index:08x}").repeat(128))
                            .await
                            .unwrap();
                    }
                }));
            }
            for task in running {
                task.await.unwrap();
            }
            each(
                &format!("storage write, {tasks} tasks, {watchers} idle watchers"),
                cpu() - start,
                COUNT,
            );
            idle.iter().for_each(tokio::task::JoinHandle::abort);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn opening() {
    const COUNT: usize = 1_000_000;
    let env = Env::real();
    let dir = tempfile::tempdir().unwrap();
    let options = || EmbeddedOptions {
        cache_bytes: 16 << 20,
        ..EmbeddedOptions::new(dir.path())
    };
    let kv = EmbeddedKv::open(&env, options()).await.unwrap();
    for cluster in 0..1000 {
        put_all(
            &kv,
            (0..1000).map(|index| stored(&format!("cluster-{cluster:08}"), index)),
        )
        .await;
    }
    kv.close().await;
    drop(kv);
    let start = cpu();
    let kv = loop {
        // The lock is let go of when the last reader is gone.
        match EmbeddedKv::open(&env, options()).await {
            Ok(kv) => break kv,
            Err(kv::Error::InUse(_)) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    let kv: Arc<dyn Kv> = Arc::new(kv);
    println!("keys opened with {:?}", cpu() - start);
    let start = cpu();
    let store = Store::open(env.clone(), Arc::clone(&kv), StoreOptions::default(), Vec::new())
        .await
        .unwrap();
    println!("{COUNT} objects of 1.2 KiB ready with {:?}", cpu() - start);
    println!("{} MiB live", live() >> 20);
    assert_eq!(store.stats().objects, COUNT);
    kv.close().await;
}
