//! The rules, one function each.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use permit::{Resources, Verb, Verbs};

use super::*;

type Rule = fn(Bench) -> Pin<Box<dyn Future<Output = ()> + Send>>;

macro_rules! rules {
    ($($rule:ident),* $(,)?) => {
        /// Every rule by its name.
        pub const RULES: &[(&str, Rule)] = &[$((stringify!($rule), |bench| Box::pin($rule(bench)))),*];
    };
}

rules![
    write_is_read_back_everywhere,
    refusals_are_told_apart,
    closed_cluster_takes_no_writes,
    list_pages_are_one_state,
    exact_lists_survive_the_log,
    continuation_after_compaction_goes_on_inconsistently,
    selectors_narrow_lists_and_show_what_leaves,
    watch_begins_with_the_state,
    watch_resumes_without_gap_or_ends_with_expired,
    watch_of_one_object_sees_nothing_else,
    bookmarks_come_by_time_and_on_demand,
    disconnected_cluster_ends_its_watches,
    replicas_see_each_others_writes,
    visible_revision_can_be_raised_and_never_falls,
    objects_with_time_to_live_expire,
    state_survives_reopening,
    permit_bounds_everything,
];

/// Runs every rule over a store of its own.
pub async fn run<F, R>(mut make: F)
where
    F: FnMut() -> R,
    R: Future<Output = Bench>,
{
    for (name, rule) in RULES {
        eprintln!("rule: {name}");
        rule(make().await).await;
    }
}

fn one(name: &str) -> Scope {
    Scope::One(cluster(name))
}

async fn write_is_read_back_everywhere(bench: Bench) {
    let hand = bench.open().await;
    hand.open_cluster("aaaa").await;
    let key = object_key("aaaa", "default", "x");
    let created = hand.create(&key, &[("l", "1")], "one").await.expect("created");
    let mut expected = object(&key, &[("l", "1")], "one");
    expected["metadata"]["annotations"] = json!({"kcp.io/cluster": "aaaa"});
    expected["metadata"]["resourceVersion"] = json!(created.revision().to_string());
    assert_eq!(created.to_value(), expected);
    assert_eq!(hand.get(&key).await.expect("found").to_value(), expected);
    assert_eq!(hand.store.revision(), created.revision());

    let updated = hand
        .update(&key, &[], "two", created.revision())
        .await
        .expect("updated");
    assert!(updated.revision() > created.revision());
    assert_eq!(updated.to_value()["data"]["value"], "two");
    let at = |revision| {
        hand.store.get(
            &*Box::leak(Box::new(everything())),
            &hand.resource,
            &key,
            Consistency::Exact(revision),
        )
    };
    assert_eq!(
        at(created.revision()).await.expect("the old state").to_value(),
        expected
    );

    let deleted = hand.delete(&key, updated.revision()).await.expect("deleted");
    assert!(deleted.revision() > updated.revision());
    assert_eq!(deleted.to_value()["data"]["value"], "two");
    assert!(matches!(hand.get(&key).await, Err(StorageError::NotFound)));
    assert_eq!(hand.store.count(&hand.resource), 0);
    assert_eq!(
        hand.store.objects_in(&cluster("aaaa")).len(),
        1,
        "the cluster's own object"
    );
}

async fn refusals_are_told_apart(bench: Bench) {
    let hand = bench.open().await;
    hand.open_cluster("aaaa").await;
    let key = object_key("aaaa", "default", "x");
    let first = hand.create(&key, &[], "one").await.expect("created");
    assert!(matches!(
        hand.create(&key, &[], "again").await,
        Err(StorageError::AlreadyExists)
    ));
    let second = hand.update(&key, &[], "two", first.revision()).await.expect("updated");
    assert!(matches!(
        hand.update(&key, &[], "three", first.revision()).await,
        Err(StorageError::Conflict)
    ));
    assert!(matches!(
        hand.delete(&key, first.revision()).await,
        Err(StorageError::Conflict)
    ));
    assert!(matches!(
        hand.update(&key, &[], "three", 0).await,
        Err(StorageError::Conflict)
    ));
    hand.delete(&key, second.revision()).await.expect("deleted");
    assert!(matches!(
        hand.update(&key, &[], "three", second.revision()).await,
        Err(StorageError::NotFound)
    ));
    assert!(matches!(
        hand.delete(&key, second.revision()).await,
        Err(StorageError::NotFound)
    ));

    let foreign = kv::Guard::unchanged("/leases/controller", kv::Revision(99));
    let change = Change::Create(object(&key, &[], ""));
    let write = Write {
        key: key.clone(),
        change,
        fence: FenceAction::Hold,
        guards: vec![foreign],
        ttl: None,
    };
    let refused = hand.store.write(&everything(), &hand.resource, write).await;
    assert!(
        matches!(refused, Err(StorageError::Conflict)),
        "a guard that does not hold"
    );
    let huge = "x".repeat(2 << 20);
    assert!(matches!(
        hand.create(&key, &[], &huge).await,
        Err(StorageError::TooLarge)
    ));
    assert!(matches!(hand.get(&key).await, Err(StorageError::NotFound)));
    let misnamed = Change::Create(object(&object_key("aaaa", "default", "y"), &[], ""));
    assert!(matches!(
        hand.write(&key, misnamed, FenceAction::Hold).await,
        Err(StorageError::Unstorable(_))
    ));
}

async fn closed_cluster_takes_no_writes(bench: Bench) {
    let hand = bench.open().await;
    let key = object_key("aaaa", "default", "x");
    assert!(
        matches!(hand.create(&key, &[], "").await, Err(StorageError::Fenced)),
        "never opened"
    );
    hand.open_cluster("aaaa").await;
    let epoch = hand.store.epoch(&cluster("aaaa")).expect("it has an epoch");
    let clusters = hand.of(ResourceKey::builtin("core.example.io", "clusters"));
    let own = object_key("aaaa", "", "cluster");
    let again = clusters
        .write(&own, Change::Create(object(&own, &[], "")), FenceAction::Open)
        .await;
    assert!(matches!(again, Err(StorageError::AlreadyExists)));
    let made = hand.create(&key, &[], "").await.expect("open");
    hand.delete(&key, made.revision()).await.expect("still open");
    hand.close_cluster("aaaa").await;
    assert!(
        matches!(hand.create(&key, &[], "").await, Err(StorageError::Fenced)),
        "closed"
    );
    assert_eq!(hand.store.epoch(&cluster("aaaa")), None);
    hand.open_cluster("aaaa").await;
    assert!(
        hand.store.epoch(&cluster("aaaa")).expect("open again") > epoch,
        "a new epoch"
    );
    hand.create(&key, &[], "").await.expect("open again");
    for name in ["system:admin", "root"] {
        hand.create(&object_key(name, "default", "x"), &[], "")
            .await
            .expect("needs no fence");
    }
}

async fn fill(hand: &Hand, clusters: &[&str], count: usize) {
    for name in clusters {
        hand.open_cluster(name).await;
        for index in 0..count {
            let label = format!("{}", index % 3);
            let key = object_key(
                name,
                if index % 2 == 0 { "default" } else { "other" },
                &format!("o{index:02}"),
            );
            hand.create(&key, &[("mod", &label), ("claimed.example.io/mod", &label)], "")
                .await
                .expect("created");
        }
    }
}

async fn list_pages_are_one_state(bench: Bench) {
    let hand = bench.open().await;
    fill(&hand, &["aaaa", "aaaa-b", "bbbb"], 10).await;
    let whole = hand.list(&list_of(Scope::All)).await.expect("listed");
    assert_eq!(whole.items.len(), 30);
    assert_eq!(whole.revision, hand.store.revision());
    assert!(whole.continue_token.is_none() && whole.remaining.is_none());
    let mut sorted = paths(&whole);
    sorted.sort();
    assert_eq!(paths(&whole), sorted, "in the order of the keys");
    for (scope, namespace, count) in [
        (one("aaaa"), "", 10),
        (one("aaaa"), "other", 5),
        (Scope::All, "other", 15),
    ] {
        let request = ListRequest {
            scope,
            namespace: namespace.to_owned(),
            ..list_of(Scope::All)
        };
        assert_eq!(hand.list(&request).await.expect("listed").items.len(), count);
    }

    let request = ListRequest {
        limit: 7,
        ..list_of(Scope::All)
    };
    let mut noise = 0;
    let pages = all_pages(request, |request| {
        noise += 1;
        let hand = hand.clone();
        async move {
            let page = hand.list(&request).await;
            // Between the pages the state changes before, in and behind what was read.
            let gone = hand
                .get(&object_key("aaaa-b", "default", &format!("o{:02}", noise * 2 - 2)))
                .await
                .expect("there");
            hand.delete(&gone.key(), gone.revision()).await.expect("deleted");
            hand.create(&object_key("bbbb", "zzz", &format!("n{noise}")), &[], "")
                .await
                .expect("created");
            page
        }
    });
    let pages = pages.await.expect("all pages");
    assert_eq!(
        pages.iter().map(|page| page.remaining.unwrap_or(0)).collect::<Vec<_>>(),
        [23, 16, 9, 2, 0]
    );
    assert!(pages.iter().all(|page| page.revision == whole.revision));
    assert_eq!(pages.iter().flat_map(paths).collect::<Vec<_>>(), sorted);
}

async fn exact_lists_survive_the_log(bench: Bench) {
    let hand = bench.open().await;
    fill(&hand, &["aaaa", "bbbb"], 6).await;
    let before = hand.list(&list_of(Scope::All)).await.expect("listed");
    // A store with no log to speak of has to ask the store of keys.
    let forgetful = bench.open_with(|options| options.log_bytes = 0, Vec::new()).await;
    for entry in &before.items {
        hand.delete(&entry.key(), entry.revision()).await.expect("deleted");
    }
    forgetful
        .get(&object_key("aaaa", "default", "o00"))
        .await
        .expect_err("it has seen the deletions");
    for (hand, limit) in [(&hand, 0), (&hand, 5), (&forgetful, 0), (&forgetful, 5)] {
        let request = ListRequest {
            limit,
            consistency: Consistency::Exact(before.revision),
            ..list_of(Scope::All)
        };
        let pages = all_pages(request, |request| async move { hand.list(&request).await })
            .await
            .expect("listed");
        assert_eq!(pages.iter().flat_map(paths).collect::<Vec<_>>(), paths(&before));
    }
    let request = ListRequest {
        consistency: Consistency::Exact(hand.store.revision() + 10),
        ..list_of(Scope::All)
    };
    assert!(matches!(
        hand.list(&request).await,
        Err(StorageError::TooLargeRevision { .. })
    ));
    hand.store.compact_to(hand.store.revision()).await.expect("compacted");
    let request = ListRequest {
        consistency: Consistency::Exact(before.revision),
        ..list_of(Scope::All)
    };
    assert!(matches!(hand.list(&request).await, Err(StorageError::Expired { .. })));
}

async fn continuation_after_compaction_goes_on_inconsistently(bench: Bench) {
    let hand = bench.open().await;
    fill(&hand, &["aaaa"], 6).await;
    let request = ListRequest {
        scope: one("aaaa"),
        limit: 2,
        ..list_of(Scope::All)
    };
    let first = hand.list(&request).await.expect("listed");
    hand.create(&object_key("aaaa", "default", "o00-new"), &[], "")
        .await
        .expect("behind the first page's start");
    hand.create(&object_key("aaaa", "zzz", "last"), &[], "")
        .await
        .expect("at the end");
    hand.store.compact_to(hand.store.revision()).await.expect("compacted");
    let next = ListRequest {
        continue_token: first.continue_token.clone(),
        ..request.clone()
    };
    let Err(StorageError::ContinueExpired { resume }) = hand.list(&next).await else {
        panic!("it is compacted")
    };
    let rest = ListRequest {
        continue_token: Some(resume),
        ..request
    };
    let pages = all_pages(rest, |request| {
        let hand = hand.clone();
        async move { hand.list(&request).await }
    });
    let pages = pages.await.expect("goes on");
    let rest: Vec<String> = pages.iter().flat_map(paths).collect();
    assert_eq!(rest.first().map(String::as_str), Some("aaaa/default/o04"));
    assert_eq!(rest.last().map(String::as_str), Some("aaaa/zzz/last"));
    for bad in ["", "x", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTUsInN0YXJ0IjoieCJ9"] {
        let request = ListRequest {
            continue_token: Some(bad.to_owned()),
            ..list_of(Scope::All)
        };
        assert!(
            matches!(hand.list(&request).await, Err(StorageError::InvalidContinue)),
            "{bad}"
        );
    }
}

async fn selectors_narrow_lists_and_show_what_leaves(bench: Bench) {
    let hand = bench.open().await;
    fill(&hand, &["aaaa", "bbbb"], 6).await;
    // One label is indexed, the other is not; the answers are the same.
    for label in ["mod", "claimed.example.io/mod"] {
        let request = ListRequest {
            labels: labelled(label, "1"),
            limit: 3,
            ..list_of(Scope::All)
        };
        let pages = all_pages(request, |request| {
            let hand = hand.clone();
            async move { hand.list(&request).await }
        });
        let pages = pages.await.expect("listed");
        assert!(
            pages.iter().all(|page| page.remaining.is_none()),
            "unknown with a selector"
        );
        let found: Vec<String> = pages.iter().flat_map(paths).collect();
        assert_eq!(
            found,
            [
                "aaaa/default/o04",
                "aaaa/other/o01",
                "bbbb/default/o04",
                "bbbb/other/o01"
            ]
        );
    }
    let fields: crate::FieldPredicate = Arc::new(|entry| entry.name() >= "o04");
    let request = ListRequest {
        fields: Some(fields.clone()),
        limit: 2,
        ..list_of(one("bbbb"))
    };
    let page = hand.list(&request).await.expect("listed");
    assert_eq!(paths(&page), ["bbbb/default/o04", "bbbb/other/o05"]);
    assert!(page.continue_token.is_none());

    for label in ["mod", "claimed.example.io/mod"] {
        let request = WatchRequest {
            labels: labelled(label, "1"),
            ..watch_of(Scope::All, WatchStart::Now)
        };
        let mut watcher = hand.watch(&request).await;
        let key = object_key("bbbb", "default", "o04");
        let mut entry = hand.get(&key).await.expect("there");
        for (labels, kind) in [
            (
                vec![("mod", "1"), ("claimed.example.io/mod", "1"), ("other", "x")],
                Some(EventKind::Modified),
            ),
            (
                vec![("mod", "2"), ("claimed.example.io/mod", "2")],
                Some(EventKind::Deleted),
            ),
            (vec![("mod", "3"), ("claimed.example.io/mod", "3")], None),
            (
                vec![("mod", "1"), ("claimed.example.io/mod", "1")],
                Some(EventKind::Added),
            ),
        ] {
            let before = entry;
            entry = hand
                .update(&key, &labels, "new", before.revision())
                .await
                .expect("updated");
            match (kind, watcher.ready()) {
                (None, None) => {}
                (Some(kind), Some(WatchItem::Event(event))) => {
                    assert_eq!((event.kind, event.revision()), (kind, entry.revision()));
                    let shown = if kind == EventKind::Deleted {
                        before.at_revision(entry.revision())
                    } else {
                        Entry::clone(&entry)
                    };
                    assert_eq!(event.entry.to_value(), shown.to_value());
                }
                (kind, item) => panic!("{kind:?} was expected, not {item:?}"),
            }
        }
        hand.delete(&key, entry.revision()).await.expect("deleted");
        let (kind, path, revision) = next_event(&mut watcher).await;
        assert_eq!(
            (kind, path, revision),
            (EventKind::Deleted, key.to_string(), hand.store.revision())
        );
        hand.create(&key, &[("mod", "1"), ("claimed.example.io/mod", "1")], "")
            .await
            .expect("created");
    }
}

async fn watch_begins_with_the_state(bench: Bench) {
    let hand = bench.open().await;
    let other = hand.of(ResourceKey::custom("example.io", "widgets"));
    let initial = WatchStart::Initial {
        consistency: Consistency::Latest,
        bookmark: true,
    };
    let mut early = other.watch(&watch_of(Scope::All, initial)).await;
    assert!(
        matches!(early.next().await, Some(WatchItem::Bookmark { initial_end: true, .. })),
        "no objects yet"
    );
    fill(&hand, &["aaaa"], 3).await;
    let first = other
        .create(&object_key("aaaa", "", "w"), &[], "")
        .await
        .expect("created");
    assert_eq!(
        next_event(&mut early).await,
        (EventKind::Added, "aaaa/w".to_owned(), first.revision())
    );

    let mut watcher = hand.watch(&watch_of(one("aaaa"), initial)).await;
    let state = hand.list(&list_of(one("aaaa"))).await.expect("listed");
    for entry in &state.items {
        assert_eq!(
            next_event(&mut watcher).await,
            (EventKind::Added, path(entry), entry.revision())
        );
    }
    match watcher.next().await {
        Some(WatchItem::Bookmark {
            revision,
            initial_end: true,
        }) => assert_eq!(revision, state.revision),
        other => panic!("the end of the initial events was expected, not {other:?}"),
    }
    let live = hand
        .create(&object_key("aaaa", "default", "zz"), &[], "")
        .await
        .expect("created");
    assert_eq!(
        next_event(&mut watcher).await,
        (EventKind::Added, "aaaa/default/zz".to_owned(), live.revision())
    );
    let mut now = hand.watch(&watch_of(one("aaaa"), WatchStart::Now)).await;
    assert!(now.ready().is_none());
}

async fn watch_resumes_without_gap_or_ends_with_expired(bench: Bench) {
    let hand = bench.open().await;
    hand.open_cluster("aaaa").await;
    hand.open_cluster("bbbb").await;
    let mut all = hand.watch(&watch_of(Scope::All, WatchStart::Now)).await;
    let begin = hand.store.revision();
    for index in 0..20 {
        let name = if index % 2 == 0 { "aaaa" } else { "bbbb" };
        hand.create(&object_key(name, "default", &format!("o{index}")), &[], "")
            .await
            .expect("created");
    }
    let seen = ready_events(&mut all);
    assert_eq!(seen.len(), 20);
    assert!(seen.windows(2).all(|pair| pair[0].2 < pair[1].2));
    for at in 0..20 {
        let start = if at == 0 { begin } else { seen[at - 1].2 };
        let mut resumed = hand.watch(&watch_of(Scope::All, WatchStart::After(start))).await;
        assert_eq!(ready_events(&mut resumed), seen[at..]);
        let mut ones = hand.watch(&watch_of(one("bbbb"), WatchStart::After(start))).await;
        let expected: Vec<Seen> = seen[at..]
            .iter()
            .filter(|seen| seen.1.starts_with("bbbb/"))
            .cloned()
            .collect();
        assert_eq!(ready_events(&mut ones), expected);
    }
    let mut future = hand
        .watch(&watch_of(Scope::All, WatchStart::After(seen[19].2 + 1)))
        .await;
    let mut idle = hand.watch(&watch_of(one("aaaa"), WatchStart::Now)).await;
    hand.create(&object_key("bbbb", "default", "skipped"), &[], "")
        .await
        .expect("created");
    hand.create(&object_key("bbbb", "default", "shown"), &[], "")
        .await
        .expect("created");
    assert_eq!(next_event(&mut future).await.1, "bbbb/default/shown");

    hand.store.compact_to(hand.store.revision()).await.expect("compacted");
    let mut late = hand.watch(&watch_of(Scope::All, WatchStart::After(begin))).await;
    assert!(matches!(late.next().await, Some(WatchItem::Expired { oldest }) if oldest > begin));
    assert!(late.next().await.is_none(), "nothing follows");
    let after = hand
        .create(&object_key("aaaa", "default", "after"), &[], "")
        .await
        .expect("created");
    assert_eq!(
        next_event(&mut idle).await.2,
        after.revision(),
        "it had missed nothing of its own"
    );
}

async fn watch_of_one_object_sees_nothing_else(bench: Bench) {
    let hand = bench.open().await;
    hand.open_cluster("aaaa").await;
    let request = WatchRequest {
        name: "x".to_owned(),
        namespace: "default".to_owned(),
        ..watch_of(
            one("aaaa"),
            WatchStart::Initial {
                consistency: Consistency::Any,
                bookmark: false,
            },
        )
    };
    let mut watcher = hand.watch(&request).await;
    for (namespace, name) in [("default", "xx"), ("other", "x"), ("default", "w")] {
        hand.create(&object_key("aaaa", namespace, name), &[], "")
            .await
            .expect("created");
        assert!(watcher.ready().is_none());
    }
    let made = hand
        .create(&object_key("aaaa", "default", "x"), &[], "")
        .await
        .expect("created");
    assert_eq!(
        ready_events(&mut watcher),
        [(EventKind::Added, "aaaa/default/x".to_owned(), made.revision())]
    );
    let everywhere = WatchRequest {
        name: "x".to_owned(),
        ..watch_of(Scope::All, WatchStart::After(0))
    };
    assert!(matches!(
        hand.watch(&everywhere).await.ready(),
        Some(WatchItem::Expired { .. })
    ));
    let initial = WatchStart::Initial {
        consistency: Consistency::Any,
        bookmark: false,
    };
    let everywhere = WatchRequest {
        name: "x".to_owned(),
        ..watch_of(Scope::All, initial)
    };
    let seen: Vec<String> = ready_events(&mut hand.watch(&everywhere).await)
        .into_iter()
        .map(|seen| seen.1)
        .collect();
    assert_eq!(seen, ["aaaa/default/x", "aaaa/other/x"]);
}

async fn bookmarks_come_by_time_and_on_demand(bench: Bench) {
    let hand = bench
        .open_with(
            |options| options.bookmark_period = Duration::from_millis(20),
            Vec::new(),
        )
        .await;
    hand.open_cluster("aaaa").await;
    hand.open_cluster("bbbb").await;
    let request = WatchRequest {
        bookmarks: true,
        ..watch_of(one("aaaa"), WatchStart::Now)
    };
    let mut watcher = hand.watch(&request).await;
    let other = hand
        .create(&object_key("bbbb", "default", "x"), &[], "")
        .await
        .expect("created");
    match watcher.next().await {
        Some(WatchItem::Bookmark {
            revision,
            initial_end: false,
        }) => assert_eq!(revision, other.revision()),
        item => panic!("a bookmark was expected, not {item:?}"),
    }
    let own = hand
        .create(&object_key("aaaa", "default", "x"), &[], "")
        .await
        .expect("created");
    match watcher.bookmark_now() {
        Some(WatchItem::Bookmark { revision, .. }) => {
            assert!(revision < own.revision(), "what was not shown is not covered");
        }
        item => panic!("a bookmark was expected, not {item:?}"),
    }
    assert_eq!(next_event(&mut watcher).await.2, own.revision());
    assert_eq!(watcher.revision(), own.revision());
    assert!(matches!(watcher.bookmark_now(), Some(WatchItem::Bookmark { revision, .. }) if revision == own.revision()));
}

async fn disconnected_cluster_ends_its_watches(bench: Bench) {
    let hand = bench.open().await;
    fill(&hand, &["aaaa", "bbbb"], 2).await;
    let mut own = hand.watch(&watch_of(one("aaaa"), WatchStart::Now)).await;
    let mut other = hand.watch(&watch_of(one("bbbb"), WatchStart::Now)).await;
    let mut all = hand.watch(&watch_of(Scope::All, WatchStart::Now)).await;
    hand.store.disconnect_wide(&cluster("aaaa"));
    assert!(own.next().await.is_none() && all.next().await.is_none());
    hand.create(&object_key("bbbb", "default", "x"), &[], "")
        .await
        .expect("created");
    assert_eq!(ready_events(&mut other).len(), 1);
    assert_eq!(hand.store.stats().watchers, 3);
    hand.store.close();
    assert!(other.next().await.is_none());
    drop((own, other, all));
    assert_eq!(hand.store.stats().watchers, 0);
}

async fn replicas_see_each_others_writes(bench: Bench) {
    let (left, right) = (bench.open().await, bench.open().await);
    left.open_cluster("aaaa").await;
    let mut watcher = right.watch(&watch_of(Scope::All, WatchStart::Now)).await;
    let mut revision = 0;
    for round in 0..20 {
        let (writer, reader) = if round % 2 == 0 {
            (&left, &right)
        } else {
            (&right, &left)
        };
        let key = object_key("aaaa", "default", "shared");
        let written = match revision {
            0 => writer.create(&key, &[], "0").await,
            expected => writer.update(&key, &[], &round.to_string(), expected).await,
        };
        revision = written.expect("written").revision();
        let read = reader.get(&key).await.expect("the other replica has it");
        assert_eq!(
            (read.revision(), read.to_value()["data"]["value"].as_str()),
            (revision, Some(&*round.to_string()))
        );
        assert_eq!(reader.list(&list_of(Scope::All)).await.expect("listed").items.len(), 1);
        assert_eq!(next_event(&mut watcher).await.2, revision);
    }
    left.close_cluster("aaaa").await;
    let late = right.create(&object_key("aaaa", "default", "late"), &[], "").await;
    assert!(matches!(late, Err(StorageError::Fenced)), "closed by the other replica");
}

async fn visible_revision_can_be_raised_and_never_falls(bench: Bench) {
    let hand = bench.open().await;
    hand.open_cluster("aaaa").await;
    let key = object_key("aaaa", "default", "x");
    let before = hand.create(&key, &[], "").await.expect("created");
    let mut watcher = hand.watch(&watch_of(Scope::All, WatchStart::Now)).await;
    hand.store.raise_revision(1_000_000).await.expect("raised");
    assert!(hand.store.revision() >= 1_000_000);
    assert_eq!(
        hand.get(&key).await.expect("there").revision(),
        before.revision(),
        "objects keep theirs"
    );
    let after = hand
        .update(&key, &[], "", before.revision())
        .await
        .expect("updated under its old revision");
    assert!(after.revision() > 1_000_000);
    assert_eq!(next_event(&mut watcher).await.2, after.revision());
    hand.store.raise_revision(10).await.expect("nothing to do");
    let request = ListRequest {
        consistency: Consistency::Exact(before.revision()),
        ..list_of(Scope::All)
    };
    assert_eq!(
        hand.list(&request).await.expect("listed").items[0].revision(),
        before.revision()
    );
    let reopened = bench.open().await;
    assert_eq!(reopened.get(&key).await.expect("there").revision(), after.revision());
    assert!(reopened.store.revision() >= hand.store.revision());
}

async fn objects_with_time_to_live_expire(bench: Bench) {
    let hand = bench.open().await;
    hand.open_cluster("aaaa").await;
    let mut watcher = hand.watch(&watch_of(Scope::All, WatchStart::Now)).await;
    for index in 0..3 {
        let key = object_key("aaaa", "default", &format!("e{index}"));
        let change = Change::Create(object(&key, &[], ""));
        let ttl = Some(Duration::from_secs(1));
        let write = Write {
            key,
            change,
            fence: FenceAction::Hold,
            guards: Vec::new(),
            ttl,
        };
        hand.store
            .write(&everything(), &hand.resource, write)
            .await
            .expect("created");
        assert_eq!(next_event(&mut watcher).await.0, EventKind::Added);
    }
    for _ in 0..3 {
        assert_eq!(next_event(&mut watcher).await.0, EventKind::Deleted);
    }
    assert_eq!(hand.store.count(&hand.resource), 0);
}

async fn state_survives_reopening(bench: Bench) {
    let hand = bench.open().await;
    fill(&hand, &["aaaa", "bbbb"], 10).await;
    let hash = "0123456789abcdef".repeat(4);
    let bound = hand.of(ResourceKey::identity("example.io", "widgets", &hash));
    let custom = hand.of(ResourceKey::custom("example.io", "widgets"));
    let key = object_key("aaaa", "", "w");
    bound.create(&key, &[], "bound").await.expect("created");
    custom.create(&key, &[], "custom").await.expect("created");
    let before = hand.list(&list_of(Scope::All)).await.expect("listed");
    let again = bench.open().await;
    let after = again.list(&list_of(Scope::All)).await.expect("listed");
    assert_eq!(after.revision, before.revision.max(after.revision));
    let encoded = |list: &ListResult| list.items.iter().map(|entry| entry.encode()).collect::<Vec<_>>();
    assert_eq!(encoded(&before), encoded(&after));
    assert_eq!(again.store.resources(), hand.store.resources());
    assert_eq!(
        again.store.objects_in(&cluster("aaaa")),
        hand.store.objects_in(&cluster("aaaa"))
    );
    for (hand, data) in [(&bound, "bound"), (&custom, "custom")] {
        let again = again.of(hand.resource.clone());
        assert_eq!(again.get(&key).await.expect("there").to_value()["data"]["value"], data);
        assert_eq!(again.list(&list_of(Scope::All)).await.expect("listed").items.len(), 1);
    }
    let resumed = again
        .watch(&watch_of(Scope::All, WatchStart::After(after.revision)))
        .await
        .ready();
    assert!(resumed.is_none(), "the newest state can be watched from");
    let labels = ListRequest {
        labels: labelled("claimed.example.io/mod", "0"),
        ..list_of(one("bbbb"))
    };
    assert_eq!(again.list(&labels).await.expect("listed").items.len(), 4);
}

async fn permit_bounds_everything(bench: Bench) {
    let hand = bench.open().await;
    fill(&hand, &["aaaa", "bbbb"], 3).await;
    let configmaps = || Resources::One(machinery::object::GroupResource::new("", "configmaps"));
    let narrow = Permit::granted(one("aaaa"), configmaps(), Verbs::ALL, labelled("mod", "1"));
    let (own, hidden, foreign) = (
        object_key("aaaa", "other", "o01"),
        object_key("aaaa", "default", "o00"),
        object_key("bbbb", "other", "o01"),
    );
    let get = |key: ObjectKey| {
        let (store, resource, permit) = (hand.store.clone(), hand.resource.clone(), narrow.clone());
        async move { store.get(&permit, &resource, &key, Consistency::Latest).await }
    };
    assert_eq!(get(own.clone()).await.expect("covered").name(), "o01");
    assert!(matches!(get(hidden.clone()).await, Err(StorageError::NotFound)));
    assert!(matches!(
        get(foreign.clone()).await,
        Err(StorageError::OutsidePermit(_))
    ));
    let list = hand
        .store
        .list(&narrow, &hand.resource, &list_of(one("aaaa")))
        .await
        .expect("covered");
    assert_eq!(paths(&list), ["aaaa/other/o01"]);
    for scope in [one("bbbb"), Scope::All] {
        let list = hand.store.list(&narrow, &hand.resource, &list_of(scope.clone())).await;
        assert!(matches!(list, Err(StorageError::OutsidePermit(_))));
        let watch = hand
            .store
            .watch(&narrow, &hand.resource, &watch_of(scope, WatchStart::Now))
            .await;
        assert!(matches!(watch, Err(StorageError::OutsidePermit(_))));
    }
    let revision = |key: &ObjectKey| {
        let (hand, key) = (hand.clone(), key.clone());
        async move { hand.get(&key).await.expect("there").revision() }
    };
    let write = |permit: &Permit, key: &ObjectKey, change: Change| {
        let write = Write {
            key: key.clone(),
            change,
            fence: FenceAction::Hold,
            guards: Vec::new(),
            ttl: None,
        };
        let (store, resource, permit) = (hand.store.clone(), hand.resource.clone(), permit.clone());
        async move { store.write(&permit, &resource, write).await }
    };
    let expected = revision(&hidden).await;
    let visible = Change::Update {
        object: object(&hidden, &[("mod", "1")], ""),
        expected,
    };
    assert!(
        matches!(write(&narrow, &hidden, visible).await, Err(StorageError::NotFound)),
        "cannot be pulled into view"
    );
    assert!(matches!(
        write(&narrow, &hidden, Change::Delete { expected }).await,
        Err(StorageError::NotFound)
    ));
    let expected = revision(&own).await;
    let leaving = Change::Update {
        object: object(&own, &[("mod", "2")], ""),
        expected,
    };
    assert!(
        matches!(write(&narrow, &own, leaving).await, Err(StorageError::OutsidePermit(_))),
        "nor pushed out of it"
    );
    let expected = revision(&foreign).await;
    assert!(matches!(
        write(&narrow, &foreign, Change::Delete { expected }).await,
        Err(StorageError::OutsidePermit(_))
    ));

    let updating = Permit::granted(
        one("aaaa"),
        configmaps(),
        Verbs::of(&[Verb::Update]),
        LabelSelector::everything(),
    );
    let expected = revision(&own).await;
    let refused = write(&updating, &own, Change::Delete { expected }).await;
    assert!(
        matches!(refused, Err(StorageError::OutsidePermit(_))),
        "an update does not delete what is not terminating"
    );
    let deleting = Permit::granted(
        one("aaaa"),
        configmaps(),
        Verbs::of(&[Verb::Delete]),
        LabelSelector::everything(),
    );
    let change = Change::Update {
        object: object(&own, &[], ""),
        expected,
    };
    assert!(matches!(
        write(&deleting, &own, change).await,
        Err(StorageError::OutsidePermit(_))
    ));
    write(&deleting, &own, Change::Delete { expected })
        .await
        .expect("covered");
}
