//! Writers, lists and watches at the same time, on two threads: every list is one state of the history, and a watch from its
//! revision goes on where it ended.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::sync::Arc;

use env::Env;
use kv::model::ModelKv;
use permit::Scope;
use storage::testing::*;
use storage::{Consistency, EventKind, ListRequest, StorageError, WatchStart};

const WRITERS: usize = 8;
const WRITES: usize = 400;

async fn write_randomly(hand: Hand, writer: usize) {
    let mut seed = writer as u64 + 1;
    for _ in 0..WRITES {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let name = if seed >> 40 & 1 == 0 { "aaaa" } else { "bbbb" };
        let key = object_key(name, "default", &format!("o{}", seed >> 50 & 15));
        let current = hand
            .store
            .get(&everything(), &hand.resource, &key, Consistency::Any)
            .await;
        let done = match current {
            Ok(entry) if seed >> 60 & 3 == 0 => hand.delete(&key, entry.revision()).await,
            Ok(entry) => hand.update(&key, &[], "x", entry.revision()).await,
            Err(_) => hand.create(&key, &[], "y").await,
        };
        match done {
            Ok(_) | Err(StorageError::AlreadyExists | StorageError::Conflict | StorageError::NotFound) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Lists, then watches for some events from there.
async fn read_repeatedly(hand: Hand, scope: Scope, rounds: usize) -> Vec<(u64, Vec<(String, u64)>, Vec<Seen>)> {
    let mut seen = Vec::new();
    for round in 0..rounds {
        let consistency = [Consistency::Latest, Consistency::Any][round % 2];
        let limit = [0, 7][round / 2 % 2];
        let request = ListRequest {
            consistency,
            limit,
            ..list_of(scope.clone())
        };
        let pages = all_pages(request, |request| {
            let hand = hand.clone();
            async move { hand.list(&request).await }
        });
        let pages = pages.await.unwrap();
        let revision = pages[0].revision;
        let items = pages
            .iter()
            .flat_map(|page| &page.items)
            .map(|entry| (path(entry), entry.revision()))
            .collect();
        let mut watcher = hand.watch(&watch_of(scope.clone(), WatchStart::After(revision))).await;
        let mut events = Vec::new();
        for _ in 0..5 {
            tokio::task::yield_now().await;
            events.extend(ready_events(&mut watcher));
        }
        seen.push((revision, items, events));
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_and_watches_agree_with_the_history_under_load() {
    let env = Env::real();
    let bench = Bench::new(&env, Arc::new(ModelKv::new(&env)));
    let (hand, other) = (bench.open().await, bench.open().await);
    for name in ["aaaa", "bbbb"] {
        hand.open_cluster(name).await;
    }
    let begin = hand.store.revision();
    let mut whole = hand.watch(&watch_of(Scope::All, WatchStart::After(begin))).await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            tokio::spawn(write_randomly(
                if writer % 2 == 0 { hand.clone() } else { other.clone() },
                writer,
            ))
        })
        .collect();
    let scopes = [Scope::All, Scope::One(cluster("aaaa"))];
    let readers: Vec<_> = scopes
        .map(|scope| (scope.clone(), tokio::spawn(read_repeatedly(hand.clone(), scope, 150))))
        .into();
    for writer in writers {
        writer.await.unwrap();
    }
    hand.list(&list_of(Scope::All)).await.unwrap();
    let history = ready_events(&mut whole);
    assert!(history.len() > WRITES, "{} writes", history.len());
    assert!(history.windows(2).all(|pair| pair[0].2 < pair[1].2), "one order");
    for (scope, reader) in readers {
        let in_scope = |path: &str| scope == Scope::All || path.starts_with("aaaa/");
        for (revision, items, events) in reader.await.unwrap() {
            let mut state = BTreeMap::new();
            for (kind, path, at) in history.iter().filter(|event| event.2 <= revision && in_scope(&event.1)) {
                match kind {
                    EventKind::Deleted => state.remove(path),
                    _ => state.insert(path.clone(), *at),
                };
            }
            assert_eq!(
                items,
                state.into_iter().collect::<Vec<_>>(),
                "the list at {revision} is a state of the history"
            );
            let after: Vec<Seen> = history
                .iter()
                .filter(|event| event.2 > revision && in_scope(&event.1))
                .cloned()
                .collect();
            assert_eq!(events, after[..events.len()], "the watch goes on where the list ended");
        }
    }
}
