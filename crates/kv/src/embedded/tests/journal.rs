//! What is in the journal alone: found after any end, never taken twice, never taken from another store.

use super::*;
use crate::{KeyValue, Op, WatchItem};
use bytes::Bytes;
use env::simulated::Crash;
use std::path::Path;

const TABLES: &str = "kv/kv.redb";
/// Where a new store's commits go first, and where next.
const JOURNAL: &str = "kv/kv.journal.1";
const NEXT: &str = "kv/kv.journal.0";

async fn put(kv: &EmbeddedKv, key: &str, value: impl Into<Bytes>) -> TxnOutcome {
    let put = Op::put(key.to_owned(), value);
    kv.txn(Txn::unguarded(vec![put])).await.expect("is written")
}

async fn all(kv: &EmbeddedKv) -> Vec<KeyValue> {
    kv.range(RangeRequest::default()).await.expect("is read").kvs
}

/// A store that was cut off with five puts in its journal.
async fn cut_off(seed: u64) -> (Host, Vec<KeyValue>) {
    let (env, host) = simulated(seed);
    let kv = EmbeddedKv::open(&env, options()).await.expect("opens");
    for index in 0..5 {
        put(&kv, &format!("key{index}"), format!("value{index}")).await;
    }
    let before = all(&kv).await;
    host.crash(Crash::Power);
    (host, before)
}

#[tokio::test(start_paused = true)]
async fn commits_stay_out_of_the_tables_until_the_journal_is_full() {
    let (env, _host) = simulated(1);
    let kv = EmbeddedKv::open(&env, options()).await.unwrap();
    let empty = env.disk.read(Path::new(TABLES)).unwrap();
    put(&kv, "a", "1").await;
    assert!(env.disk.read(Path::new(TABLES)).unwrap() == empty);
    // Larger than the journal together.
    for index in 0..3 {
        put(&kv, &format!("large{index}"), vec![1; 1 << 20]).await;
    }
    assert!(env.disk.read(Path::new(TABLES)).unwrap() != empty);
    assert!(env.disk.read(Path::new(JOURNAL)).unwrap().len() <= options().journal_bytes);
    assert_eq!(all(&kv).await.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_opening_that_is_cut_off_loses_nothing_either() {
    let (host, before) = cut_off(2).await;
    for _ in 0..3 {
        let kv = EmbeddedKv::open(&host.env(), options()).await.unwrap();
        assert_eq!(all(&kv).await, before);
        host.crash(Crash::Power);
    }
}

#[tokio::test(start_paused = true)]
async fn a_torn_end_is_no_commit_and_is_written_over() {
    let (host, before) = cut_off(3).await;
    let env = host.env();
    let mut journal = env.disk.read(Path::new(JOURNAL)).unwrap();
    let end = journal.iter().rposition(|byte| *byte != 0).unwrap();
    journal[end] ^= 1;
    env.disk.write_atomic(Path::new(JOURNAL), &journal).unwrap();
    let kv = EmbeddedKv::open(&env, options()).await.unwrap();
    assert_eq!(all(&kv).await, before[..4]);
    put(&kv, "key4", "again").await;
    host.crash(Crash::Power);
    let kv = EmbeddedKv::open(&host.env(), options()).await.unwrap();
    assert_eq!(all(&kv).await[4].value, "again");
}

#[tokio::test(start_paused = true)]
async fn damage_in_the_middle_is_not_taken_for_the_end() {
    let (host, _) = cut_off(4).await;
    let env = host.env();
    let mut journal = env.disk.read(Path::new(JOURNAL)).unwrap();
    let at = journal.windows(6).position(|bytes| bytes == b"value3").unwrap();
    journal[at] ^= 1;
    env.disk.write_atomic(Path::new(JOURNAL), &journal).unwrap();
    let refused = EmbeddedKv::open(&env, options()).await.err();
    assert!(matches!(refused, Some(Error::Corrupt(_))), "{refused:?}");
}

/// A store that was cut off while its tables were about to take over the first generation of the journal, with two values in
/// that one and one in the next; and those values.
async fn cut_off_between_generations(seed: u64) -> (Host, Vec<KeyValue>) {
    let (env, host) = simulated(seed);
    let kv = EmbeddedKv::open(&env, options()).await.expect("opens");
    let tables = env.disk.read(Path::new(TABLES)).expect("is read");
    for index in 0..3 {
        put(&kv, &format!("large{index}"), vec![index; 900 << 10]).await;
    }
    let before = all(&kv).await;
    host.crash(Crash::Power);
    let env = host.env();
    assert!(
        env.disk.read(Path::new(TABLES)).expect("is read") != tables,
        "they took nothing over"
    );
    env.disk.write_atomic(Path::new(TABLES), &tables).expect("is written");
    (host, before)
}

#[tokio::test(start_paused = true)]
async fn what_was_to_be_taken_over_is_found_with_what_came_after() {
    let (host, before) = cut_off_between_generations(7).await;
    for _ in 0..3 {
        let kv = EmbeddedKv::open(&host.env(), options()).await.unwrap();
        assert_eq!(all(&kv).await, before);
        host.crash(Crash::Power);
    }
    // The first generation is taken over when there is no place in the second one either.
    let kv = EmbeddedKv::open(&host.env(), options()).await.unwrap();
    for index in 3..6 {
        put(&kv, &format!("large{index}"), vec![index; 900 << 10]).await;
    }
    host.crash(Crash::Power);
    let kv = EmbeddedKv::open(&host.env(), options()).await.unwrap();
    assert_eq!(all(&kv).await.len(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_generation_that_ends_too_early_for_the_next_one_is_damage() {
    for (seed, value) in [(8, 0), (9, 1)] {
        let (host, _) = cut_off_between_generations(seed).await;
        let env = host.env();
        let mut journal = env.disk.read(Path::new(JOURNAL)).unwrap();
        let at = journal
            .windows(64)
            .position(|bytes| bytes == [value; 64].as_slice())
            .unwrap();
        journal[at] ^= 64;
        env.disk.write_atomic(Path::new(JOURNAL), &journal).unwrap();
        let refused = EmbeddedKv::open(&env, options()).await.err();
        assert!(matches!(refused, Some(Error::Corrupt(_))), "{refused:?}");
        assert!(!env.disk.read(Path::new(NEXT)).unwrap().is_empty());
    }
}

/// A commit is a sync, which takes 5 ms on the simulated disk. The tables take more than one to take anything over.
#[tokio::test(start_paused = true)]
async fn no_commit_waits_while_the_tables_take_over() {
    let (env, _host) = simulated(10);
    let kv = EmbeddedKv::open(&env, options()).await.unwrap();
    let empty = env.disk.read(Path::new(TABLES)).unwrap();
    let mut longest = Duration::ZERO;
    for index in 0..400 {
        let began = env.clock.monotonic();
        put(&kv, &format!("key{index}"), vec![1; 10 << 10]).await;
        longest = longest.max(env.clock.monotonic() - began);
    }
    assert!(
        env.disk.read(Path::new(TABLES)).unwrap() != empty,
        "they took nothing over"
    );
    assert_eq!(longest, Duration::from_millis(5));
}

#[tokio::test(start_paused = true)]
async fn frames_that_the_tables_have_are_not_taken_again() {
    let (host, before) = cut_off(5).await;
    let env = host.env();
    let old = env.disk.read(Path::new(JOURNAL)).unwrap();
    let kv = EmbeddedKv::open(&env, options()).await.unwrap();
    kv.txn(Txn::unguarded(vec![Op::delete("key0")])).await.unwrap();
    kv.close().await;
    // As if nothing had been written over the old frames.
    env.disk.write_atomic(Path::new(JOURNAL), &old).unwrap();
    let kv = EmbeddedKv::open(&env, options()).await.unwrap();
    assert_eq!(all(&kv).await, before[1..]);
}

#[tokio::test(start_paused = true)]
async fn a_new_store_takes_nothing_from_the_journal_of_another() {
    let (host, _) = cut_off(6).await;
    let env = host.env();
    env.disk.remove(Path::new(TABLES)).unwrap();
    let kv = EmbeddedKv::open(&env, options()).await.unwrap();
    assert_eq!(all(&kv).await, []);
    assert_eq!(kv.revision().await, Ok(Revision(1)));
}

/// Readers come between the tables' taking over and the end of what was pending; each finds every row, in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_beside_a_taking_over_miss_nothing() {
    let (env, dir) = (Env::real(), tempfile::tempdir().unwrap());
    let options = EmbeddedOptions {
        journal_bytes: 2000,
        recent_bytes: 1,
        ..EmbeddedOptions::new(dir.path())
    };
    let kv = Arc::new(EmbeddedKv::open(&env, options).await.unwrap());
    let mut watch = kv.watch(Revision(1)).await.unwrap();
    let writer = {
        let kv = kv.clone();
        env.spawn.spawn("writer", async move {
            for index in 0..300 {
                put(&kv, &format!("key{index:03}"), format!("{index}")).await;
            }
        })
    };
    let (mut next, mut found) = (2, 0);
    while found < 300 {
        let kvs = all(&kv).await;
        assert!(kvs.iter().enumerate().all(|(index, kv)| kv.value == index.to_string()));
        found = kvs.len();
        while next < found as u64 + 2 {
            if let crate::WatchItem::Batch(batch) = watch.next().await.unwrap() {
                assert_eq!(batch.revision, Revision(next));
                next += 1;
            }
        }
    }
    writer.join().await.unwrap();
}

/// What stays of a burst of writes keeps the pages that it lies on from the system.
#[tokio::test(start_paused = true)]
async fn compaction_lets_go_of_the_batches_that_were_kept_for_watchers() {
    let (env, _host) = simulated(1);
    let kv = EmbeddedKv::open(&env, options()).await.unwrap();
    let mut watch = kv.watch(Revision(1)).await.unwrap();
    put(&kv, "a", "1").await;
    let TxnOutcome::Committed(last) = put(&kv, "a", "2").await else {
        panic!("nothing guards it")
    };
    let batch = loop {
        if let WatchItem::Batch(batch) = watch.next().await.unwrap() {
            break Arc::downgrade(&batch);
        }
    };
    assert!(batch.upgrade().is_some());
    kv.compact(last).await.unwrap();
    while batch.upgrade().is_some() {
        env.clock.sleep(Duration::from_millis(1)).await;
        assert!(env.clock.monotonic() < Duration::from_secs(60), "it is kept for ever");
    }
    assert_eq!(all(&kv).await.len(), 1);
}
