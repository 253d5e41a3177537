use std::collections::BTreeSet;
use std::sync::Arc;

use env::Env;
use env::simulated::SimOptions;
use kv::model::ModelKv;
use machinery::object::{ObjectExt, encode_canonical};
use machinery::selector::LabelSelector;
use permit::{Cluster, Scope};
use serde_json::{Value, json};
use storage::{Applied, Change, FenceAction, Projection, Store, StoreOptions, Write};

use super::sink::Teller;
use super::*;
use crate::wire::{ReplicateBatch, ReplicateEntry};

struct Bench {
    env: Env,
    kv: Arc<dyn Kv>,
    replicas: Arc<Replicas>,
    store: Store,
}

fn cluster(name: &str) -> Cluster {
    Cluster::parse(name).unwrap()
}

fn export(name: &str, revision: u64, content: &str) -> ReplicateEntry {
    let object = json!({"apiVersion": "apis.kcp.io/v1alpha2", "kind": "APIExport", "metadata": {"name": name,
        "uid": format!("uid-{name}"), "annotations": {"kcp.io/cluster": "prov"},
        "resourceVersion": revision.to_string()}, "spec": {"content": content}});
    ReplicateEntry {
        group: "apis.kcp.io".to_owned(),
        resource: "apiexports".to_owned(),
        cluster: "prov".to_owned(),
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        revision,
        object: encode_canonical(&object),
        ..ReplicateEntry::default()
    }
}

fn gone(name: &str, revision: u64) -> ReplicateEntry {
    ReplicateEntry {
        gone: true,
        object: Vec::new(),
        ..export(name, revision, "")
    }
}

/// All of a shard's objects in one batch.
fn everything(shard: &str, newest: u64, entries: Vec<ReplicateEntry>) -> ReplicateBatch {
    ReplicateBatch {
        shard: shard.to_owned(),
        begins_anew: true,
        complete: true,
        newest,
        entries,
        ..ReplicateBatch::default()
    }
}

impl Bench {
    async fn new() -> Self {
        let (env, _host) = Env::simulated(1, SimOptions::default());
        let kv: Arc<dyn Kv> = Arc::new(ModelKv::new(&env));
        Self::over(env, kv).await
    }

    async fn over(env: Env, kv: Arc<dyn Kv>) -> Self {
        let replicas = Replicas::new(&env, kv.clone(), StoreOptions::default(), Vec::new())
            .await
            .unwrap();
        let store = replicas.store().await.unwrap();
        Self {
            env,
            kv,
            replicas,
            store,
        }
    }

    /// A stream that tells everything.
    async fn tell(&self, batch: ReplicateBatch) -> Teller {
        let mut teller = Teller::new(&self.replicas, &self.store, &batch);
        teller.take(&self.replicas, &self.store, batch).await.unwrap();
        teller
    }

    /// More of a stream.
    async fn tell_more(&self, teller: &mut Teller, entries: Vec<ReplicateEntry>) {
        let batch = ReplicateBatch {
            entries,
            ..ReplicateBatch::default()
        };
        teller.take(&self.replicas, &self.store, batch).await.unwrap();
    }

    fn content(&self, name: &str) -> Option<String> {
        let found = self.replicas.get("apis.kcp.io", "apiexports", &cluster("prov"), name)?;
        found.str_at(&["spec", "content"]).map(str::to_owned)
    }

    fn unkept(&self) -> Vec<f64> {
        self.replicas.samples().iter().map(|sample| sample.value).collect()
    }

    fn names(&self) -> Vec<String> {
        let all = LabelSelector::everything();
        let found = self.replicas.list("apis.kcp.io", "apiexports", &Scope::All, &all);
        found.iter().map(|object| object.name().to_owned()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn an_older_revision_never_replaces_a_newer_one() {
    let bench = Bench::new().await;
    let mut teller = bench.tell(everything("amber", 9, vec![export("e", 7, "new")])).await;
    bench
        .tell_more(&mut teller, vec![export("e", 5, "old"), gone("e", 6)])
        .await;
    assert_eq!(bench.content("e").as_deref(), Some("new"));
    bench
        .tell_more(
            &mut teller,
            vec![export("e", 8, "newer"), gone("e", 9), export("e", 10, "again")],
        )
        .await;
    assert_eq!(
        bench.content("e").as_deref(),
        Some("again"),
        "changes of one object keep their order"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_not_told_any_more_is_removed_and_nothing_of_others() {
    let bench = Bench::new().await;
    bench
        .tell(everything("amber", 9, vec![export("a", 3, ""), export("b", 4, "")]))
        .await;
    bench.tell(everything("blue", 2, vec![export("c", 1, "")])).await;
    let mut head = everything("amber", 12, vec![export("b", 4, "")]);
    head.complete = false;
    let mut teller = bench.tell(head).await;
    assert_eq!(bench.names(), ["a", "b", "c"], "not before everything was told");
    let end = ReplicateBatch {
        complete: true,
        ..ReplicateBatch::default()
    };
    teller.take(&bench.replicas, &bench.store, end).await.unwrap();
    assert_eq!(bench.names(), ["b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_comes_back_with_an_older_store_is_believed() {
    let bench = Bench::new().await;
    bench
        .tell(everything(
            "amber",
            90,
            vec![export("e", 70, "lost"), export("f", 71, "")],
        ))
        .await;
    bench
        .tell(everything("amber", 50, vec![export("e", 40, "restored")]))
        .await;
    assert_eq!(bench.content("e").as_deref(), Some("restored"));
    assert_eq!(bench.names(), ["e"]);
}

#[tokio::test(start_paused = true)]
async fn replicas_say_whose_they_are_and_are_else_as_they_were() {
    let bench = Bench::new().await;
    bench.tell(everything("amber", 9, vec![export("e", 7, "x")])).await;
    let found = bench
        .replicas
        .get("apis.kcp.io", "apiexports", &cluster("prov"), "e")
        .unwrap();
    let mut found = Value::clone(&found);
    let annotations = found.pointer("/metadata/annotations").cloned().unwrap();
    let expected = json!({"kcp.io/cluster": "prov", "kcp.io/shard": "amber",
        "cache.kcp.io/original-resource-UID": "uid-e", "cache.kcp.io/original-resource-version": "7"});
    assert_eq!(annotations, expected);
    found.set_at(&["metadata", "annotations"], json!({"kcp.io/cluster": "prov"}));
    found.set_at(&["metadata", "resourceVersion"], json!("7"));
    let told: Value = serde_json::from_slice(&export("e", 7, "x").object).unwrap();
    assert_eq!(found, told);
}

#[tokio::test(start_paused = true)]
async fn garbage_is_left_out_and_the_rest_is_kept() {
    let bench = Bench::new().await;
    let broken = |spoil: fn(&mut ReplicateEntry)| {
        let mut entry = export("bad", 5, "");
        spoil(&mut entry);
        entry
    };
    let entries = vec![
        broken(|entry| entry.object = b"{\"no json".to_vec()),
        broken(|entry| entry.resource = "secrets".to_owned()),
        broken(|entry| entry.cluster = "system:admin".to_owned()),
        broken(|entry| entry.cluster = "no/cluster".to_owned()),
        broken(|entry| entry.namespace = "n".to_owned()),
        broken(|entry| entry.name = "../bad".to_owned()),
        broken(|entry| entry.uid = "another".to_owned()),
        broken(|entry| {
            let mut object: Value = serde_json::from_slice(&entry.object).unwrap();
            object.set_at(&["metadata", "namespace"], json!("n"));
            entry.object = encode_canonical(&object);
        }),
        broken(|entry| entry.revision = 0),
        export("good", 6, ""),
    ];
    bench.tell(everything("amber", 9, entries)).await;
    assert_eq!(bench.names(), ["good"]);
    assert_eq!(bench.unkept(), [9.0, 0.0]);
}

#[tokio::test(start_paused = true)]
async fn an_object_as_large_as_its_shard_takes_keeps_nothing_else_from_being_replicated() {
    let bench = Bench::new().await;
    // Its own shard takes it; the replica has annotations and a longer key.
    let full = |revision| {
        let content = "x".repeat(kv::MAX_TXN_BYTES - export("full", revision, "").object.len() - 600);
        export("full", revision, &content)
    };
    let own = Store::open(bench.env.clone(), bench.kv.clone(), StoreOptions::default(), Vec::new())
        .await
        .unwrap();
    for (entry, fence) in [(export("a", 4, ""), FenceAction::Open), (full(5), FenceAction::Hold)] {
        let write = Write {
            key: ObjectKey::new(cluster("prov"), "", &entry.name),
            change: Change::Create(serde_json::from_slice(&entry.object).unwrap()),
            fence,
            guards: Vec::new(),
            ttl: None,
        };
        let (permit, exports) = (Permit::internal(Scope::All), resource_key("apis.kcp.io", "apiexports"));
        own.write(&permit, &exports, write).await.unwrap();
    }
    let entries = vec![export("a", 4, ""), full(5), export("b", 6, "")];
    let mut teller = bench.tell(everything("amber", 9, entries)).await;
    assert!(teller.is_whole(), "everything counts as told");
    assert_eq!(bench.names(), ["a", "b"]);
    bench.tell_more(&mut teller, vec![export("full", 10, "small")]).await;
    assert_eq!(bench.content("full").as_deref(), Some("small"));
    bench.tell_more(&mut teller, vec![full(11), export("c", 12, "")]).await;
    assert_eq!(
        bench.content("full").as_deref(),
        Some("small"),
        "as it could be kept last"
    );
    bench.tell_more(&mut teller, vec![gone("full", 13)]).await;
    assert_eq!(bench.names(), ["a", "b", "c"]);
    assert_eq!(bench.unkept(), [0.0, 2.0], "unreadable, unstorable");
}

#[tokio::test(start_paused = true)]
async fn what_the_store_cannot_take_now_is_not_left_out() {
    let bench = Bench::new().await;
    let batch = everything("amber", 9, vec![export("e", 7, "x")]);
    let mut teller = Teller::new(&bench.replicas, &bench.store, &batch);
    bench.store.close();
    let refused = teller.take(&bench.replicas, &bench.store, batch).await;
    assert!(matches!(refused, Err(StorageError::Unavailable(_))));
    assert_eq!(bench.unkept(), [0.0, 0.0]);
}

#[tokio::test(start_paused = true)]
async fn replicas_outlive_the_process_and_are_not_among_the_shards_own() {
    let bench = Bench::new().await;
    bench.tell(everything("amber", 9, vec![export("e", 7, "x")])).await;
    let own = Store::open(bench.env.clone(), bench.kv.clone(), StoreOptions::default(), Vec::new())
        .await
        .unwrap();
    assert!(own.resources().is_empty() && own.objects_in(&cluster("prov")).is_empty());
    assert_eq!(own.stats().objects, 0);
    bench.replicas.close();
    let again = Replicas::new(&bench.env, bench.kv.clone(), StoreOptions::default(), Vec::new())
        .await
        .unwrap();
    assert!(
        again.opened().is_some(),
        "what is kept is there without any shard to tell it"
    );
    assert_eq!((again.origins(), again.count("amber")), (vec!["amber".to_owned()], 1));
}

/// What a projection knows: names of exports.
#[derive(Default)]
struct Known(parking_lot::Mutex<BTreeSet<String>>);

impl Projection for Known {
    fn apply(&self, change: &Applied<'_>) {
        assert_eq!(change.key.namespace, "", "it knows of no shards");
        let name = change.key.name.to_string();
        match change.new {
            Some(_) => drop(self.0.lock().insert(name)),
            None => drop(self.0.lock().remove(&name)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_moved_does_not_go_when_its_old_shard_says_so() {
    let (env, _host) = Env::simulated(1, SimOptions::default());
    let kv: Arc<dyn Kv> = Arc::new(ModelKv::new(&env));
    let known = Arc::new(Known::default());
    let projections: Vec<Arc<dyn Projection>> = vec![known.clone()];
    let replicas = Replicas::new(&env, kv.clone(), StoreOptions::default(), projections)
        .await
        .unwrap();
    let store = replicas.store().await.unwrap();
    let bench = Bench {
        env,
        kv,
        replicas,
        store,
    };
    let mut old = bench.tell(everything("amber", 9, vec![export("e", 7, "")])).await;
    let mut new = bench.tell(everything("blue", 9, vec![export("e", 8, "")])).await;
    bench.tell_more(&mut old, vec![gone("e", 9)]).await;
    assert!(known.0.lock().contains("e") && bench.content("e").is_some());
    bench.tell_more(&mut new, vec![gone("e", 10)]).await;
    assert!(known.0.lock().is_empty() && bench.content("e").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_is_alone_opens_nothing() {
    let (env, _host) = Env::simulated(1, SimOptions::default());
    let kv: Arc<dyn Kv> = Arc::new(ModelKv::new(&env));
    let replicas = Replicas::new(&env, kv, StoreOptions::default(), Vec::new())
        .await
        .unwrap();
    assert!(replicas.opened().is_none());
}
