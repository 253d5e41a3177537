//! Full disks, failing disks, foreign files, two processes.

use super::*;
use crate::Op;
use bytes::Bytes;
use env::simulated::{Crash, World};
use std::path::Path;

async fn put(kv: &EmbeddedKv, key: &str, bytes: usize) -> Result<TxnOutcome, Error> {
    kv.txn(Txn::unguarded(vec![Op::put(key.to_owned(), vec![7; bytes])]))
        .await
}

/// Writes until the disk is full; how many were acknowledged.
async fn fill(kv: &EmbeddedKv) -> usize {
    for count in 0..10_000 {
        match put(kv, &format!("{count:05}"), 10_000).await {
            Ok(_) => {}
            Err(Error::Full) => return count,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the disk does not fill");
}

/// Both ways to find out: the reserve, and a write that fails.
#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_writes_serves_reads_and_recovers() {
    for reserve_bytes in [0, 1 << 20] {
        let (env, host) = simulated(1);
        host.disk().set_capacity(8 << 20);
        let options = EmbeddedOptions {
            reserve_bytes,
            cache_bytes: 1 << 20,
            recent_bytes: 1,
            ..options()
        };
        let kv = EmbeddedKv::open(&env, options.clone()).await.unwrap();
        let count = fill(&kv).await;
        assert!(count > 50, "{count} writes");
        for attempt in 0..20 {
            assert_eq!(put(&kv, "more", 10_000).await, Err(Error::Full), "attempt {attempt}");
            let all = kv.range(RangeRequest::default()).await.unwrap();
            assert_eq!((all.count, all.kvs.len()), (count as u64, count));
            assert!(kv.status().await.unwrap().full);
            env.clock.sleep(Duration::from_millis(100)).await;
        }
        host.disk().set_capacity(64 << 20);
        env.clock.sleep(Duration::from_secs(1)).await;
        put(&kv, "more", 10_000).await.unwrap();
        assert!(!kv.status().await.unwrap().full);
        host.crash(Crash::Power);
        let kv = EmbeddedKv::open(&host.env(), options).await.unwrap();
        assert_eq!(kv.range(RangeRequest::default()).await.unwrap().count, count as u64 + 1);
        if reserve_bytes == 0 {
            assert!(host.disk().operations() > 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn deletion_and_compaction_make_room_on_a_full_disk() {
    let (env, host) = simulated(2);
    host.disk().set_capacity(8 << 20);
    let options = EmbeddedOptions {
        reserve_bytes: 5 << 20,
        ..options()
    };
    let kv = EmbeddedKv::open(&env, options).await.unwrap();
    let count = fill(&kv).await;
    for key in 0..count {
        kv.txn(Txn::unguarded(vec![Op::delete(format!("{key:05}"))]))
            .await
            .unwrap();
    }
    kv.compact(kv.revision().await.unwrap()).await.unwrap();
    env.clock.sleep(Duration::from_secs(5)).await;
    put(&kv, "more", 10_000).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn errors_of_the_disk_are_definite_and_pass() {
    let mut failed = 0;
    for seed in 0..20 {
        let (env, host) = simulated(seed);
        let kv = EmbeddedKv::open(
            &env,
            EmbeddedOptions {
                recent_bytes: 1,
                ..options()
            },
        )
        .await
        .unwrap();
        let mut newest = None;
        host.disk().set_error_rate(0.02);
        for number in 0..100u32 {
            let outcome = kv.txn(Txn::unguarded(vec![Op::put("key", number.to_string())])).await;
            match outcome {
                Ok(_) => newest = Some(Bytes::from(number.to_string())),
                Err(Error::Unavailable(_)) => failed += 1,
                Err(other) => panic!("{other}"),
            }
            match kv.get("key".into()).await {
                Ok(found) => assert_eq!(found.map(|kv| kv.value), newest, "seed {seed}"),
                Err(Error::Unavailable(_) | Error::Timeout) => {}
                Err(other) => panic!("{other}"),
            }
        }
        host.disk().set_error_rate(0.0);
        env.clock.sleep(Duration::from_secs(1)).await;
        assert_eq!(kv.get("key".into()).await.unwrap().map(|kv| kv.value), newest);
        host.crash(Crash::Power);
        let kv = EmbeddedKv::open(&host.env(), options()).await.unwrap();
        assert_eq!(
            kv.get("key".into()).await.unwrap().map(|kv| kv.value),
            newest,
            "seed {seed}, after the restart"
        );
    }
    assert!(failed > 20, "only {failed} writes failed");
}

/// What the tables take over when a sync of them fails reads as if it were there, and the journal that has it is written over
/// next.
#[tokio::test(start_paused = true)]
async fn what_a_sync_was_about_that_failed_is_written_again() {
    let options = EmbeddedOptions {
        journal_bytes: 32 << 10,
        ..options()
    };
    let mut forgotten = 0;
    for seed in 0..40 {
        let world = World::new(seed, SimOptions::default());
        let host = world.host("store");
        let env = host.env();
        let kv = EmbeddedKv::open(&env, options.clone()).await.unwrap();
        let mut newest = std::collections::BTreeMap::new();
        for number in 0..150_u32 {
            host.disk().set_error_rate(if number < 100 { 0.05 } else { 0.0 });
            let (key, value) = (format!("{:02}", number % 20), vec![number as u8; 3_000]);
            match kv.txn(Txn::unguarded(vec![Op::put(key.clone(), value.clone())])).await {
                Ok(_) => drop(newest.insert(Bytes::from(key), Bytes::from(value))),
                // Before the log is open again.
                Err(_) => env.clock.sleep(Duration::from_secs(1)).await,
            }
        }
        forgotten += world.faults().of("disk/sync failed for good");
        host.crash(Crash::Power);
        let kv = EmbeddedKv::open(&host.env(), options.clone()).await.unwrap();
        let found = kv.range(RangeRequest::default()).await.unwrap().kvs;
        let found: std::collections::BTreeMap<Bytes, Bytes> = found.into_iter().map(|kv| (kv.key, kv.value)).collect();
        assert!(found == newest, "seed {seed}");
    }
    assert!(forgotten > 20, "only {forgotten} syncs failed for good");
}

#[tokio::test(start_paused = true)]
async fn a_slow_disk_delays_and_a_stuck_one_leaves_the_outcome_open() {
    let (env, host) = simulated(3);
    let kv = EmbeddedKv::open(&env, options()).await.unwrap();
    let before = env.clock.monotonic();
    put(&kv, "a", 1).await.unwrap();
    assert_eq!(env.clock.monotonic() - before, Duration::from_millis(5));
    host.disk().set_sync_delay(Duration::from_secs(60));
    let (first, second) = tokio::join!(put(&kv, "b", 1), async {
        env.clock.sleep(Duration::from_secs(1)).await;
        put(&kv, "c", 1).await
    });
    assert!(matches!(first, Err(Error::UnknownOutcome(_))), "{first:?}");
    assert_eq!(second, Err(Error::Timeout), "it never left the queue");
    env.clock.sleep(Duration::from_secs(200)).await;
    assert!(kv.get("b".into()).await.unwrap().is_some());
    assert!(kv.get("c".into()).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn group_commit_shares_the_sync() {
    let (env, _host) = simulated(4);
    let kv = Arc::new(EmbeddedKv::open(&env, options()).await.unwrap());
    let before = env.clock.monotonic();
    let writes = (0..500).map(|index| {
        let kv = kv.clone();
        async move { put(&kv, &format!("{index}"), 100).await.unwrap() }
    });
    futures_util::future::join_all(writes).await;
    let taken = env.clock.monotonic() - before;
    assert!(
        taken <= Duration::from_millis(25),
        "{taken:?} for 500 writes with 5 ms a sync"
    );
}

#[tokio::test(start_paused = true)]
async fn one_process_at_a_time() {
    let (env, _host) = simulated(5);
    let kv = EmbeddedKv::open(&env, options()).await.unwrap();
    assert_eq!(
        EmbeddedKv::open(&env, options()).await.err(),
        Some(Error::InUse("kv".to_owned()))
    );
    kv.close().await;
    env.clock.sleep(Duration::from_millis(1)).await;
    EmbeddedKv::open(&env, options()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn refuses_formats_it_does_not_know() {
    let (env, host) = simulated(6);
    let kv = EmbeddedKv::open(&env, options()).await.unwrap();
    put(&kv, "a", 1).await.unwrap();
    kv.close().await;
    log::tests_only_set_format(&*env.disk, Path::new("kv/kv.redb"), Some(9));
    let refused = EmbeddedKv::open(&env, options()).await.err();
    let text = refused.as_ref().map(ToString::to_string).unwrap_or_default();
    assert!(
        matches!(refused, Some(Error::Unsupported(_))) && text.contains("format 9"),
        "{refused:?}"
    );
    host.crash(Crash::Process);
    let env = host.env();
    log::tests_only_set_format(&*env.disk, Path::new("kv/kv.redb"), None);
    assert!(matches!(
        EmbeddedKv::open(&env, options()).await.err(),
        Some(Error::Corrupt(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn refuses_files_that_are_no_store() {
    let (env, _host) = simulated(7);
    env.disk.write_atomic(Path::new("kv/kv.redb"), &[42; 10_000]).unwrap();
    let refused = EmbeddedKv::open(&env, options()).await.err();
    assert!(matches!(refused, Some(Error::Corrupt(_))), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn slow_watchers_hold_no_memory_and_miss_nothing() {
    let (env, _host) = simulated(8);
    let kv = EmbeddedKv::open(
        &env,
        EmbeddedOptions {
            recent_bytes: 100_000,
            ..options()
        },
    )
    .await
    .unwrap();
    let mut watch = kv.watch(Revision(1)).await.unwrap();
    for index in 0..1000 {
        put(&kv, &format!("{index:04}"), 10_000).await.unwrap();
    }
    for index in 0..1000u64 {
        let crate::WatchItem::Batch(batch) = watch.next().await.unwrap() else {
            panic!("progress before the end")
        };
        assert_eq!(
            (batch.revision, &batch.events[0].key()[..]),
            (Revision(index + 2), format!("{index:04}").as_bytes())
        );
    }
    assert_eq!(watch.next().await, Ok(crate::WatchItem::Progress(Revision(1001))));
}

/// The store is being opened anew for the sake of a reader, in the committer's wait for requests, when the request to close
/// comes.
#[tokio::test(start_paused = true)]
async fn closing_ends_while_the_disk_fails() {
    let (env, host) = simulated(9);
    let options = EmbeddedOptions {
        cache_bytes: 0,
        recent_bytes: 1,
        journal_bytes: 0,
        ..options()
    };
    let kv = Arc::new(EmbeddedKv::open(&env, options).await.unwrap());
    put(&kv, "a", 10_000).await.unwrap();
    put(&kv, "b", 10_000).await.unwrap();
    host.disk().set_error_rate(1.0);
    let reader = kv.clone();
    let reading = env.spawn.spawn("reader", async move { reader.get("a".into()).await });
    while kv.shared.log.get().0.is_some() {
        env.clock.sleep(Duration::from_millis(1)).await;
    }
    tokio::time::timeout(Duration::from_secs(60), kv.close())
        .await
        .expect("it closes");
    assert_eq!(put(&kv, "c", 1).await, Err(Error::Closed));
    drop(reading);
}

/// The frame of a commit whose sync fails may be whole: what its caller was told of must not come to be at the next start.
#[tokio::test(start_paused = true)]
async fn a_compaction_that_was_refused_never_takes_effect() {
    let mut refused = 0;
    for seed in 0..60 {
        let (env, host) = simulated(seed);
        let kv = EmbeddedKv::open(&env, options()).await.unwrap();
        for _ in 0..4 {
            put(&kv, "key", 1).await.unwrap();
        }
        kv.compact(Revision(2)).await.unwrap();
        env.clock.sleep(Duration::from_secs(1)).await;
        host.disk().set_error_rate(0.3);
        let outcome = kv.compact(Revision(4)).await;
        host.disk().set_error_rate(0.0);
        env.clock.sleep(Duration::from_secs(2)).await;
        let known = match outcome {
            Ok(()) => Revision(4),
            Err(_) => Revision(2),
        };
        refused += usize::from(outcome.is_err());
        host.crash(Crash::Process);
        let kv = EmbeddedKv::open(&host.env(), options()).await.unwrap();
        let status = kv.status().await.unwrap();
        assert_eq!((status.compacted, status.revision), (known, Revision(5)), "seed {seed}");
        put(&kv, "key", 1).await.unwrap();
    }
    assert!(refused > 10, "only {refused} were refused");
}

/// Says whether the store's locks were free when the last of a value went.
struct Probe {
    shared: std::sync::Weak<Shared>,
    was_free: Arc<AtomicBool>,
}

impl AsRef<[u8]> for Probe {
    fn as_ref(&self) -> &[u8] {
        b"value"
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let shared = self.shared.upgrade().expect("the store is open");
        let is_free = !shared.index.is_locked() && !shared.recent.is_locked();
        self.was_free.store(is_free, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn what_compaction_forgets_is_freed_while_readers_may_read() {
    let (env, _host) = simulated(10);
    let options = EmbeddedOptions {
        journal_bytes: 0,
        ..options()
    };
    let kv = EmbeddedKv::open(&env, options).await.unwrap();
    let was_free = Arc::new(AtomicBool::new(false));
    let value = Bytes::from_owner(Probe {
        shared: Arc::downgrade(&kv.shared),
        was_free: was_free.clone(),
    });
    kv.txn(Txn::unguarded(vec![Op::put("key", value)])).await.unwrap();
    put(&kv, "key", 1).await.unwrap();
    assert!(!was_free.load(Ordering::SeqCst), "it is kept for watchers");
    kv.compact(kv.revision().await.unwrap()).await.unwrap();
    env.clock.sleep(Duration::from_secs(1)).await;
    assert!(was_free.load(Ordering::SeqCst));
}
