//! The laws of the design that storage has to keep, and its ways through failures of the store below.
#![allow(missing_docs)]

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use async_trait::async_trait;
use env::Env;
use env::simulated::SimOptions;
use kv::model::ModelKv;
use kv::{Error, Guard, Kv, LeaseId, RangeRequest, RangeResponse, Revision, Status, Txn, TxnOutcome, Watch};
use parking_lot::Mutex;
use permit::Scope;
use storage::testing::*;
use storage::{Applied, Change, EventKind, FenceAction, Projection, ResourceKey, StorageError, WatchItem, WatchStart};

/// A store that records what it is asked, and fails when it is told to.
struct Proxy {
    inner: ModelKv,
    txns: Mutex<Vec<Txn>>,
    revisions: AtomicUsize,
    /// What happens to the next transactions.
    faults: Mutex<VecDeque<Fault>>,
    /// How often watches were ended, and with what for the last time.
    cut: Mutex<(usize, Error)>,
    cut_now: tokio::sync::Notify,
}

#[derive(Clone, Copy)]
enum Fault {
    /// The answer is lost, and the write with it.
    LostBefore,
    /// The answer is lost, but the write happens.
    LostAfter,
}

struct CutWatch {
    inner: Box<dyn Watch>,
    proxy: Arc<Proxy>,
    cuts: usize,
}

fn simulated() -> Env {
    Env::simulated(1, SimOptions::default()).0
}

fn proxied(env: &Env) -> (Arc<Shared>, Bench) {
    let proxy = Arc::new(Proxy {
        inner: ModelKv::new(env),
        txns: Mutex::default(),
        revisions: AtomicUsize::new(0),
        faults: Mutex::default(),
        cut: Mutex::new((0, Error::Closed)),
        cut_now: tokio::sync::Notify::new(),
    });
    let shared = Arc::new(Shared(proxy));
    (Arc::clone(&shared), Bench::new(env, shared))
}

struct Shared(Arc<Proxy>);

impl Shared {
    fn cut_watches(&self, error: Error) {
        let mut cut = self.0.cut.lock();
        *cut = (cut.0 + 1, error);
        self.0.cut_now.notify_waiters();
    }
}

#[async_trait]
impl Kv for Shared {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        self.0.inner.range(request).await
    }
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, Error> {
        self.0.txns.lock().push(txn.clone());
        let fault = self.0.faults.lock().pop_front();
        match fault {
            None => self.0.inner.txn(txn).await,
            Some(Fault::LostBefore) => Err(Error::UnknownOutcome("lost".into())),
            Some(Fault::LostAfter) => {
                self.0.inner.txn(txn).await?;
                Err(Error::UnknownOutcome("lost".into()))
            }
        }
    }
    async fn watch(&self, from: Revision) -> Result<Box<dyn Watch>, Error> {
        let inner = self.0.inner.watch(from).await?;
        let cuts = self.0.cut.lock().0;
        Ok(Box::new(CutWatch {
            inner,
            proxy: Arc::clone(&self.0),
            cuts,
        }))
    }
    async fn revision(&self) -> Result<Revision, Error> {
        self.0.revisions.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.0.inner.revision().await
    }
    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.0.inner.compact(revision).await
    }
    async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId, Error> {
        self.0.inner.lease_grant(ttl).await
    }
    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<(), Error> {
        self.0.inner.lease_keep_alive(lease).await
    }
    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), Error> {
        self.0.inner.lease_revoke(lease).await
    }
    async fn status(&self) -> Result<Status, Error> {
        self.0.inner.status().await
    }
    async fn close(&self) {
        self.0.inner.close().await;
    }
}

#[async_trait]
impl Watch for CutWatch {
    async fn next(&mut self) -> Result<kv::WatchItem, Error> {
        let proxy = Arc::clone(&self.proxy);
        let cut = proxy.cut_now.notified();
        let is_cut = || {
            let (cuts, error) = &*proxy.cut.lock();
            (*cuts != self.cuts).then(|| error.clone())
        };
        if let Some(error) = is_cut() {
            return Err(error);
        }
        tokio::select! {
            biased;
            () = cut => Err(is_cut().unwrap_or(Error::Closed)),
            item = self.inner.next() => item,
        }
    }
}

/// Counts how often a task would have been woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn law_2_watcher_is_a_cursor_woken_only_by_matching_events() {
    let env = simulated();
    let hand = Bench::new(&env, Arc::new(ModelKv::new(&env))).open().await;
    for name in ["aaaa", "bbbb"] {
        hand.open_cluster(name).await;
    }
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut idle = Vec::new();
    for index in 0..500 {
        let mut requests = [
            watch_of(Scope::One(cluster("bbbb")), WatchStart::Now),
            watch_of(Scope::One(cluster("aaaa")), WatchStart::Now),
            watch_of(Scope::One(cluster("aaaa")), WatchStart::Now),
            watch_of(Scope::All, WatchStart::Now),
        ];
        requests[1].name = format!("idle-{index}");
        requests[1].namespace = "default".to_owned();
        requests[2].labels = labelled("app", &format!("idle-{index}"));
        requests[3].labels = labelled("app", &format!("idle-{index}"));
        for request in &requests {
            idle.push(hand.watch(request).await);
        }
    }
    {
        let mut waiting: Vec<_> = idle.iter_mut().map(|watcher| Box::pin(watcher.next())).collect();
        let mut context = Context::from_waker(&waker);
        for next in &mut waiting {
            assert!(matches!(next.as_mut().poll(&mut context), Poll::Pending));
        }
        for index in 0..100 {
            let key = object_key("aaaa", "default", &format!("busy-{index}"));
            hand.create(&key, &[("app", "busy")], "").await.unwrap();
        }
        assert_eq!(
            wakes.0.load(Ordering::Relaxed),
            0,
            "2,000 watchers slept through 100 events that are not theirs"
        );
        let key = object_key("aaaa", "default", "idle-7");
        hand.create(&key, &[("app", "idle-7")], "").await.unwrap();
        assert_eq!(
            wakes.0.load(Ordering::Relaxed),
            3,
            "by name, by label in the cluster, by label everywhere"
        );
    }
    let woken = idle
        .iter_mut()
        .map(ready_events)
        .filter(|events| !events.is_empty())
        .count();
    assert_eq!(woken, 3);
}

#[tokio::test(start_paused = true)]
async fn law_2_an_event_is_encoded_once_for_all_watchers() {
    let env = simulated();
    let hand = Bench::new(&env, Arc::new(ModelKv::new(&env))).open().await;
    hand.open_cluster("aaaa").await;
    let mut watchers = Vec::new();
    for _ in 0..200 {
        watchers.push(hand.watch(&watch_of(Scope::All, WatchStart::Now)).await);
    }
    hand.create(&object_key("aaaa", "default", "x"), &[], "").await.unwrap();
    let held = hand.store.stats().log_bytes;
    let encoded = AtomicUsize::new(0);
    for watcher in &mut watchers {
        let Some(WatchItem::Event(event)) = watcher.ready() else {
            panic!("an event")
        };
        for representation in [0, 7] {
            let bytes = event.encoded(representation, |entry| {
                encoded.fetch_add(1, Ordering::Relaxed);
                entry.encode().into()
            });
            assert_eq!(bytes, event.entry.encode());
        }
    }
    assert_eq!(encoded.load(Ordering::Relaxed), 2, "once for each representation");
    assert!(
        hand.store.stats().log_bytes > held + 200,
        "and the log's budget pays for it"
    );
}

#[tokio::test(start_paused = true)]
async fn law_2_log_is_bounded_in_bytes() {
    let env = simulated();
    let bench = Bench::new(&env, Arc::new(ModelKv::new(&env)));
    let hand = bench
        .open_with(|options| options.log_bytes = 64 << 10, Vec::new())
        .await;
    hand.open_cluster("aaaa").await;
    let begin = hand.store.revision();
    let mut behind = hand.watch(&watch_of(Scope::All, WatchStart::After(begin))).await;
    for index in 0..200 {
        hand.create(
            &object_key("aaaa", "default", &format!("o{index}")),
            &[],
            &"x".repeat(2000),
        )
        .await
        .unwrap();
    }
    let stats = hand.store.stats();
    assert!(stats.log_bytes <= 64 << 10 && stats.log_events > 10, "{stats:?}");
    assert!(
        matches!(behind.ready(), Some(WatchItem::Expired { .. })),
        "too slow a reader is told so"
    );
}

#[tokio::test(start_paused = true)]
async fn law_3_every_write_compares_revision_and_fence() {
    let env = simulated();
    let (proxy, bench) = proxied(&env);
    let hand = bench.open().await;
    hand.open_cluster("aaaa").await;
    let key = object_key("aaaa", "default", "x");
    let made = hand.create(&key, &[], "").await.unwrap();
    let updated = hand.update(&key, &[], "2", made.revision()).await.unwrap();
    hand.delete(&key, updated.revision()).await.unwrap();
    hand.create(&object_key("system:admin", "default", "x"), &[], "")
        .await
        .unwrap();
    hand.close_cluster("aaaa").await;
    let txns = proxy.0.txns.lock();
    assert_eq!(txns.len(), 6);
    for txn in txns.iter() {
        let object = txn.ops[0].key();
        let guards: BTreeMap<&[u8], u64> = txn
            .guards
            .iter()
            .map(|Guard::ModRevision { key, revision }| (&key[..], revision.0))
            .collect();
        assert!(guards.contains_key(&object[..]), "the object's revision is compared");
        assert!(
            guards.keys().any(|key| key.starts_with(b"/registry-fences/")),
            "and the cluster's fence"
        );
        let objects = txn.ops.iter().filter(|op| op.key().starts_with(b"/registry/")).count();
        assert_eq!(
            objects, 1,
            "one object a transaction, so that a watch can resume anywhere"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn law_3_concurrent_readers_share_one_question_for_the_revision() {
    let env = simulated();
    let (proxy, bench) = proxied(&env);
    let hand = bench.open().await;
    hand.open_cluster("aaaa").await;
    let key = object_key("aaaa", "default", "x");
    hand.create(&key, &[], "").await.unwrap();
    let before = proxy.0.revisions.load(Ordering::Relaxed);
    let mut readers = Vec::new();
    for _ in 0..100 {
        let (hand, key) = (hand.clone(), key.clone());
        readers.push(tokio::spawn(async move {
            hand.get(&key).await.map(|entry| entry.revision())
        }));
    }
    for reader in readers {
        reader.await.unwrap().unwrap();
    }
    let asked = proxy.0.revisions.load(Ordering::Relaxed) - before;
    assert!(asked <= 2, "{asked} questions for 100 readers");
}

#[tokio::test(start_paused = true)]
async fn lost_answers_are_resolved() {
    let env = simulated();
    let (proxy, bench) = proxied(&env);
    let hand = bench.open().await;
    hand.open_cluster("aaaa").await;
    for (round, faults) in [
        vec![Fault::LostBefore],
        vec![Fault::LostAfter],
        vec![Fault::LostBefore, Fault::LostAfter],
        vec![Fault::LostAfter, Fault::LostBefore],
    ]
    .into_iter()
    .enumerate()
    {
        let key = object_key("aaaa", "default", &format!("x{round}"));
        let lose = || *proxy.0.faults.lock() = faults.clone().into();
        lose();
        let made = hand.create(&key, &[], "1").await.expect("it happened once");
        lose();
        let updated = hand
            .update(&key, &[], "2", made.revision())
            .await
            .expect("it happened once");
        assert!(updated.revision() > made.revision());
        lose();
        let deleted = hand.delete(&key, updated.revision()).await.expect("it happened once");
        assert!(deleted.revision() > updated.revision());
    }
}

/// Keeps what it is told, to be compared with what there is.
#[derive(Default)]
struct Mirror {
    objects: Mutex<BTreeMap<String, u64>>,
    revisions: Mutex<Vec<u64>>,
}

impl Projection for Mirror {
    fn apply(&self, change: &Applied<'_>) {
        let path = format!("{}{}", change.resource, change.key);
        let mut objects = self.objects.lock();
        let old = match change.new {
            Some(new) => objects.insert(path, new.revision()),
            None => objects.remove(&path),
        };
        assert_eq!(
            old,
            change.old.map(|old| old.revision()),
            "the old state is what was told before"
        );
        self.revisions.lock().push(change.revision);
    }
}

#[tokio::test(start_paused = true)]
async fn projections_are_as_new_as_the_caches_through_gaps() {
    let env = simulated();
    let (proxy, bench) = proxied(&env);
    let writer = bench.open().await;
    writer.open_cluster("aaaa").await;
    let keys: Vec<_> = (0..6)
        .map(|index| object_key("aaaa", "default", &format!("o{index}")))
        .collect();
    let mut entries = Vec::new();
    for key in &keys {
        entries.push(writer.create(key, &[], "").await.unwrap());
    }
    let mirror = Arc::new(Mirror::default());
    let follower = bench.open_with(|_| {}, vec![mirror.clone()]).await;
    let same = |hand: &Hand| {
        let hand = hand.clone();
        let mirror = Arc::clone(&mirror);
        async move {
            let list = hand.list(&list_of(Scope::All)).await.unwrap();
            let listed: BTreeMap<String, u64> = list
                .items
                .iter()
                .map(|entry| (format!("{}{}", hand.resource, path(entry)), entry.revision()))
                .collect();
            let mut mirrored = mirror.objects.lock().clone();
            mirrored.retain(|path, _| path.starts_with("core/configmaps/"));
            assert_eq!(mirrored, listed);
        }
    };
    same(&follower).await;
    mirror.revisions.lock().clear();
    let mut watcher = follower.watch(&watch_of(Scope::All, WatchStart::Now)).await;

    // An ended watch is taken up where it ended.
    proxy.cut_watches(Error::Unavailable("gone".into()));
    writer.update(&keys[0], &[], "2", entries[0].revision()).await.unwrap();
    same(&follower).await;
    assert_eq!(next_event(&mut watcher).await.0, EventKind::Modified);
    assert!(
        mirror.revisions.lock().windows(2).all(|pair| pair[0] <= pair[1]),
        "in the log's order"
    );

    // A compacted one is not: the differences are applied, and watchers are told.
    proxy.cut_watches(Error::Compacted { at: Revision(0) });
    writer.delete(&keys[1], entries[1].revision()).await.unwrap();
    writer.create(&object_key("aaaa", "zzz", "new"), &[], "").await.unwrap();
    same(&follower).await;
    let mut last = None;
    while let Some(item) = watcher.next().await {
        last = Some(item);
    }
    assert!(matches!(last, Some(WatchItem::Expired { .. })));
}

/// Asks, whenever it is told that something is visible, and of the past while the differences after a gap are applied.
#[derive(Default)]
struct Looking {
    store: Mutex<Option<storage::Store>>,
    /// Of the change last told: its object and revision.
    told: Mutex<Option<(storage::ObjectKey, u64)>>,
    found: Mutex<Vec<bool>>,
    /// A revision at which one object was there.
    past: Mutex<Option<u64>>,
    rewritten: Mutex<Vec<usize>>,
}

impl Projection for Looking {
    fn apply(&self, change: &Applied<'_>) {
        let store = self.store.lock();
        let Some(store) = store.as_ref() else { return };
        if &*change.resource.resource == "configmaps" {
            *self.told.lock() = Some((change.key.clone(), change.revision));
        }
        let Some(past) = *self.past.lock() else { return };
        let resource = ResourceKey::builtin("", "configmaps");
        let request = storage::ListRequest {
            consistency: storage::Consistency::Exact(past),
            ..list_of(Scope::All)
        };
        let (permit, waker) = (everything(), Waker::from(Arc::new(Wakes::default())));
        let list = pin!(store.list(&permit, &resource, &request)).poll(&mut Context::from_waker(&waker));
        // Pending: it asks the store, which knows.
        if let Poll::Ready(Ok(list)) = list {
            self.rewritten.lock().push(list.items.len());
        }
    }

    fn visible(&self) {
        let store = self.store.lock();
        let (Some(store), Some((key, revision))) = (store.as_ref(), self.told.lock().take()) else {
            return;
        };
        let entry = store.peek(&everything(), &ResourceKey::builtin("", "configmaps"), &key);
        let is_there = entry.is_some_and(|entry| entry.revision() == revision);
        self.found.lock().push(is_there && store.revision() >= revision);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_said_to_be_visible_is_found() {
    let env = simulated();
    let (proxy, bench) = proxied(&env);
    let looking = Arc::new(Looking::default());
    let hand = bench.open_with(|_| {}, vec![looking.clone()]).await;
    *looking.store.lock() = Some(hand.store.clone());
    hand.open_cluster("aaaa").await;
    hand.create(&object_key("aaaa", "default", "a"), &[], "").await.unwrap();
    assert_eq!(*looking.found.lock(), [true], "after a change");
    proxy.cut_watches(Error::Compacted { at: Revision(0) });
    hand.create(&object_key("aaaa", "default", "b"), &[], "").await.unwrap();
    assert_eq!(*looking.found.lock(), [true, true], "after a gap");
}

#[tokio::test(start_paused = true)]
async fn a_gap_does_not_rewrite_the_past() {
    let env = simulated();
    let (proxy, bench) = proxied(&env);
    let writer = bench.open().await;
    writer.open_cluster("aaaa").await;
    let first = writer
        .create(&object_key("aaaa", "default", "a"), &[], "")
        .await
        .unwrap();
    let looking = Arc::new(Looking::default());
    let follower = bench.open_with(|_| {}, vec![looking.clone()]).await;
    *looking.store.lock() = Some(follower.store.clone());
    *looking.past.lock() = Some(first.revision());
    proxy.cut_watches(Error::Compacted { at: Revision(0) });
    let mut body = object(&object_key("root", "default", "w"), &[], "");
    body["metadata"]["annotations"] = serde_json::json!({"kcp.io/cluster": "root"});
    let body = machinery::object::encode_canonical(&body);
    let widget = kv::Op::put("/registry/example.io/widgets/customresources/root/default/w", body);
    writer
        .create(&object_key("aaaa", "default", "b"), &[], "")
        .await
        .unwrap();
    bench.kv.txn(Txn::unguarded(vec![widget])).await.unwrap();
    follower.list(&list_of(Scope::All)).await.unwrap();
    assert!(
        looking.rewritten.lock().iter().all(|len| *len == 1),
        "one object was there then: {:?}",
        looking.rewritten.lock()
    );
}

/// Lists in the middle of a batch, as a reader on another thread could.
#[derive(Default)]
struct Peeking {
    store: Mutex<Option<storage::Store>>,
    seen: Mutex<Vec<(u64, usize, u64)>>,
}

impl Projection for Peeking {
    fn apply(&self, change: &Applied<'_>) {
        let store = self.store.lock();
        let Some(store) = store.as_ref().filter(|_| &*change.resource.resource == "widgets") else {
            return;
        };
        let resource = ResourceKey::builtin("", "configmaps");
        let request = storage::ListRequest {
            consistency: storage::Consistency::Any,
            ..list_of(Scope::All)
        };
        let (permit, waker) = (everything(), Waker::from(Arc::new(Wakes::default())));
        let list = pin!(store.list(&permit, &resource, &request)).poll(&mut Context::from_waker(&waker));
        let Poll::Ready(Ok(list)) = list else {
            panic!("a cached list does not wait")
        };
        self.seen
            .lock()
            .push((list.revision, list.items.len(), store.revision()));
    }
}

#[tokio::test(start_paused = true)]
async fn list_in_the_middle_of_a_revision_is_of_that_revision() {
    let env = simulated();
    let peeking = Arc::new(Peeking::default());
    let bench = Bench::new(&env, Arc::new(ModelKv::new(&env)));
    let hand = bench.open_with(|_| {}, vec![peeking.clone()]).await;
    *peeking.store.lock() = Some(hand.store.clone());
    let body = |key| {
        let mut object = object(key, &[], "");
        object["metadata"]["annotations"] = serde_json::json!({"kcp.io/cluster": "root"});
        machinery::object::encode_canonical(&object)
    };
    let key = object_key("root", "default", "x");
    let ops = [
        "/registry/core/configmaps/",
        "/registry/example.io/widgets/customresources/",
    ]
    .map(|prefix| kv::Op::put(format!("{prefix}{key}"), body(&key)));
    let outcome = bench.kv.txn(Txn::unguarded(ops.into())).await.unwrap();
    let TxnOutcome::Committed(Revision(at)) = outcome else {
        panic!("{outcome:?}")
    };
    hand.list(&list_of(Scope::All)).await.unwrap();
    assert_eq!(
        *peeking.seen.lock(),
        [(at, 1, at - 1)],
        "the object is there, so the list is of its revision"
    );
}

#[tokio::test(start_paused = true)]
async fn slow_store_is_told_from_a_revision_of_the_future() {
    let env = simulated();
    let (proxy, bench) = proxied(&env);
    let hand = bench.open().await;
    hand.open_cluster("aaaa").await;
    let far = storage::Consistency::AtLeast(hand.store.revision() + 100);
    let key = object_key("aaaa", "default", "x");
    let started = env.clock.monotonic();
    let ahead = hand.store.get(&everything(), &hand.resource, &key, far).await;
    assert!(matches!(ahead, Err(StorageError::TooLargeRevision { .. })));
    assert_eq!((env.clock.monotonic() - started).as_secs(), 3, "after a bounded wait");
    drop(proxy);
}

#[tokio::test(start_paused = true)]
async fn cancelled_write_leaves_nothing_waiting() {
    let env = simulated();
    let hand = Bench::new(&env, Arc::new(ModelKv::new(&env))).open().await;
    hand.open_cluster("aaaa").await;
    let key = object_key("aaaa", "default", "x");
    {
        let mut write = pin!(hand.write(&key, Change::Create(object(&key, &[], "")), FenceAction::Hold));
        let waker = Waker::from(Arc::new(Wakes::default()));
        let _first_step = write.as_mut().poll(&mut Context::from_waker(&waker));
    }
    assert_eq!(
        hand.get(&key).await.unwrap().name(),
        "x",
        "it was sent before it was given up"
    );
    let other = hand.of(ResourceKey::custom("example.io", "widgets"));
    other.create(&object_key("aaaa", "", "w"), &[], "").await.unwrap();
}
