//! What was acknowledged is there after any end; nothing else has appeared out of nowhere.

use super::*;
use crate::testing::suite::Subject;
use crate::{KeyValue, Op, WatchItem};
use env::simulated::Crash;
use std::collections::BTreeMap;

const WRITERS: u64 = 4;

/// What the writers were told.
#[derive(Default)]
struct Told {
    /// The newest acknowledged number of each key.
    acknowledged: BTreeMap<String, u64>,
    /// The newest number that was sent.
    sent: BTreeMap<String, u64>,
    revision: Revision,
}

async fn reopen(host: &Host, options: EmbeddedOptions) -> (Env, EmbeddedKv) {
    let env = host.env();
    let kv = EmbeddedKv::open(&env, options).await.expect("opens after a crash");
    (env, kv)
}

/// Each writer counts up a key of its own, until it meets an error.
async fn write(kv: Arc<EmbeddedKv>, told: Arc<Mutex<Told>>, writer: u64, padding: usize) {
    let key = format!("writer{writer}");
    let start = told.lock().sent.get(&key).copied().unwrap_or(0);
    for number in start + 1.. {
        told.lock().sent.insert(key.clone(), number);
        let value = format!("{number}:{}", "x".repeat(padding));
        let ops = vec![
            Op::put(key.clone(), value),
            Op::put(format!("{key}/twin"), number.to_string()),
        ];
        let Ok(TxnOutcome::Committed(revision)) = kv.txn(Txn::unguarded(ops)).await else {
            return;
        };
        let mut told = told.lock();
        told.acknowledged.insert(key.clone(), number);
        told.revision = told.revision.max(revision);
    }
}

fn number(kv: &KeyValue) -> u64 {
    let text = std::str::from_utf8(&kv.value).expect("text");
    text.split(':')
        .next()
        .and_then(|number| number.parse().ok())
        .expect("a number")
}

/// Fails with the first thing that is not as the writers were told.
async fn check(kv: &EmbeddedKv, told: &Mutex<Told>) -> Result<(), String> {
    let all = kv
        .range(RangeRequest::default())
        .await
        .map_err(|error| error.to_string())?;
    let told = told.lock();
    if all.revision < told.revision {
        return Err(format!(
            "the revision went back from {} to {}",
            told.revision, all.revision
        ));
    }
    let found: BTreeMap<_, _> = all
        .kvs
        .iter()
        .map(|kv| (String::from_utf8_lossy(&kv.key), kv))
        .collect();
    for (key, acknowledged) in &told.acknowledged {
        let Some(kv) = found.get(&**key) else {
            return Err(format!("{key} is lost"));
        };
        let (number, sent) = (number(kv), told.sent[key]);
        if number < *acknowledged || number > sent {
            return Err(format!("{key} is {number}, acknowledged {acknowledged}, sent {sent}"));
        }
        let twin = found
            .get(&*format!("{key}/twin"))
            .map(|kv| (self::number(kv), kv.mod_revision));
        if twin != Some((number, kv.mod_revision)) {
            return Err(format!(
                "{key} and its twin were written together, but now it is {twin:?}"
            ));
        }
    }
    Ok(())
}

/// A few lives that each end in a loss of power in the middle of writing.
async fn survive(seed: u64, skip_sync: bool) -> Result<u64, String> {
    let (env, host) = simulated(seed);
    #[cfg(debug_assertions)]
    let options = EmbeddedOptions { skip_sync, ..options() };
    // Release builds cannot leave the sync out.
    #[cfg(not(debug_assertions))]
    let options = (options(), assert!(!skip_sync)).0;
    // So that power is lost while the tables take the journal over, too.
    let journal_bytes = [0, 2_000, 30_000, 2 << 20][seed as usize % 4];
    let options = EmbeddedOptions {
        journal_bytes,
        ..options
    };
    let told = Arc::new(Mutex::new(Told::default()));
    let mut kv = EmbeddedKv::open(&env, options.clone())
        .await
        .map_err(|error| error.to_string())?;
    for life in 0..4 {
        check(&kv, &told)
            .await
            .map_err(|error| format!("life {life}: {error}"))?;
        let shared = Arc::new(kv);
        host.disk().power_loss_after(5 + env.rng.below(120));
        let padding = [0, 100, 5000][env.rng.below(3) as usize];
        let spawn = host.env().spawn;
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| spawn.spawn("writer", write(shared.clone(), told.clone(), writer, padding)))
            .collect();
        for writer in writers {
            // The store keeps trying to reach the disk until the host goes down, so every writer gets its error.
            writer.join().await.map_err(|error| error.to_string())?;
        }
        host.crash(Crash::Power);
        drop(shared);
        kv = EmbeddedKv::open(&host.env(), options.clone())
            .await
            .map_err(|error| format!("life {life}: {error}"))?;
    }
    check(&kv, &told).await?;
    let acknowledged = told.lock().acknowledged.values().sum();
    Ok(acknowledged)
}

#[tokio::test(start_paused = true)]
async fn acknowledged_writes_survive_power_loss_at_any_point() {
    let mut acknowledged = 0;
    for seed in 0..60 {
        acknowledged += survive(seed, false)
            .await
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
    assert!(acknowledged > 1000, "only {acknowledged} writes were acknowledged");
}

/// The canary: if this passes with the sync taken out, the test above shows nothing.
#[cfg(debug_assertions)]
#[tokio::test(start_paused = true)]
async fn without_sync_the_durability_test_fails() {
    let mut failures = 0;
    for seed in 0..10 {
        failures += u32::from(survive(seed, true).await.is_err());
    }
    assert!(
        failures >= 5,
        "only {failures} of 10 runs noticed that nothing was synced"
    );
}

#[tokio::test(start_paused = true)]
async fn everything_is_there_after_reopening() {
    for crash in [None, Some(Crash::Process), Some(Crash::Power)] {
        let (env, host) = simulated(1);
        let kv: Arc<dyn Kv> = Arc::new(EmbeddedKv::open(&env, options()).await.unwrap());
        let subject = Subject {
            kv,
            env,
            keep: Box::new(()),
        };
        for round in 0..20 {
            subject
                .commit(vec![Op::put(format!("key{}", round % 7), round.to_string())])
                .await;
            subject.commit(vec![Op::delete(format!("key{}", round % 5))]).await;
        }
        let lease = subject.kv.lease_grant(Duration::from_secs(30)).await.unwrap();
        let leased = Op::Put {
            key: "leased".into(),
            value: "v".into(),
            lease: Some(lease),
        };
        let last = subject.commit(vec![leased]).await;
        subject.kv.compact(Revision(30)).await.unwrap();
        let before = subject.kv.range(RangeRequest::default()).await.unwrap();
        let old = subject
            .kv
            .range(RangeRequest::default().at(Revision(30)))
            .await
            .unwrap();
        let history = |kv: Arc<dyn Kv>| async move {
            let (mut watch, mut batches) = (kv.watch(Revision(30)).await.unwrap(), Vec::new());
            loop {
                match watch.next().await.unwrap() {
                    WatchItem::Batch(batch) => batches.push(batch),
                    WatchItem::Progress(_) => return batches,
                }
            }
        };
        let batches = history(subject.kv.clone()).await;
        match crash {
            Some(crash) => host.crash(crash),
            None => subject.kv.close().await,
        }
        let (env, kv) = reopen(&host, options()).await;
        let kv: Arc<dyn Kv> = Arc::new(kv);
        assert_eq!(kv.range(RangeRequest::default()).await, Ok(before));
        assert_eq!(
            kv.range(RangeRequest::default().at(Revision(30))).await.unwrap().kvs,
            old.kvs
        );
        let older = kv.range(RangeRequest::default().at(Revision(29))).await;
        assert_eq!(older, Err(Error::Compacted { at: Revision(30) }));
        assert_eq!(history(kv.clone()).await, batches);
        // The lease runs anew, then takes its key along.
        env.clock.sleep(Duration::from_secs(29)).await;
        assert!(kv.get("leased".into()).await.unwrap().is_some());
        env.clock.sleep(Duration::from_secs(2)).await;
        assert_eq!(kv.get("leased".into()).await.unwrap(), None);
        assert_eq!(kv.revision().await, Ok(last.next()));
    }
}

#[tokio::test(start_paused = true)]
async fn the_revision_does_not_go_back_when_compaction_removed_the_last_row() {
    let (env, host) = simulated(2);
    let kv = EmbeddedKv::open(&env, options()).await.unwrap();
    kv.txn(Txn::unguarded(vec![Op::put("a", "1")])).await.unwrap();
    let deleted = kv.txn(Txn::unguarded(vec![Op::delete("a")])).await.unwrap();
    assert_eq!(deleted, TxnOutcome::Committed(Revision(3)));
    kv.compact(Revision(3)).await.unwrap();
    env.clock.sleep(Duration::from_secs(1)).await;
    assert_eq!(kv.shared.index.read().len(), 0);
    host.crash(Crash::Power);
    let (_, kv) = reopen(&host, options()).await;
    assert_eq!(kv.revision().await, Ok(Revision(3)));
    assert_eq!(
        kv.txn(Txn::unguarded(vec![Op::put("a", "2")])).await,
        Ok(TxnOutcome::Committed(Revision(4)))
    );
}
