//! Watches, and the end of a store.

use super::{PATIENCE, Subject};
use crate::{Error, Event, Op, RangeRequest, Revision, WatchItem};

/// From any point, without a gap between what was and what comes.
pub async fn watches_history_then_what_happens(subject: &Subject) {
    let first = subject.put("a", "1").await;
    let second = subject.put("a", "2").await;
    let mut watch = subject.kv.watch(first).await.unwrap();
    let past = subject.batch(&mut watch).await;
    assert_eq!(past.revision, second);
    let [Event::Put { kv }] = &past.events[..] else {
        panic!("{past:?}")
    };
    assert_eq!(
        (&kv.key[..], &kv.value[..], kv.create_revision, kv.version),
        (&b"a"[..], &b"2"[..], first, 2)
    );
    let third = subject.delete("a").await;
    let present = subject.batch(&mut watch).await;
    assert_eq!(
        present.events,
        [Event::Delete {
            key: "a".into(),
            mod_revision: third
        }]
    );
}

/// In the order of the operations.
pub async fn watches_all_changes_of_a_revision_together(subject: &Subject) {
    let start = subject.put("gone", "").await;
    let mut live = subject.kv.watch(start).await.unwrap();
    let ops = vec![Op::put("z", "1"), Op::delete("gone"), Op::put("a", "2")];
    let revision = subject.commit(ops).await;
    let mut late = subject.kv.watch(start).await.unwrap();
    for watch in [&mut live, &mut late] {
        let batch = subject.batch(watch).await;
        assert_eq!(batch.revision, revision);
        let keys: Vec<_> = batch.events.iter().map(|event| &event.key()[..]).collect();
        assert_eq!(keys, [&b"z"[..], b"gone", b"a"]);
    }
}

/// The rest of history does not depend on where a watch begins.
pub async fn resumes_a_watch_anywhere(subject: &Subject) {
    let keys = ["a", "b", "c"];
    let mut last = Revision(1);
    for round in 0..30 {
        last = match round % 5 {
            4 => subject.commit(keys.iter().map(|key| Op::delete(*key)).collect()).await,
            _ => subject.put(keys[round % 3], "v").await,
        };
    }
    let whole = subject.history(Revision(0), last).await;
    let expected: Vec<u64> = (2..=last.0).collect();
    assert_eq!(whole.iter().map(|batch| batch.revision.0).collect::<Vec<_>>(), expected);
    for from in 1..last.0 {
        let rest = subject.history(Revision(from), last).await;
        assert_eq!(rest, whole[from as usize - 1..], "from {from}");
    }
}

/// A reader that is too far behind has to list again.
pub async fn refuses_to_watch_what_was_compacted(subject: &Subject) {
    for _ in 0..5 {
        subject.put("a", "v").await;
    }
    subject.kv.compact(Revision(5)).await.unwrap();
    let refused = match subject.kv.watch(Revision(3)).await {
        // The store may say so at once or with the first item.
        Ok(mut watch) => loop {
            match subject
                .env
                .clock
                .timeout(PATIENCE, watch.next())
                .await
                .expect("in time")
            {
                Ok(WatchItem::Progress(revision)) => assert!(revision <= Revision(3), "silently skipped to {revision}"),
                Ok(WatchItem::Batch(batch)) => panic!("a gap before {}", batch.revision),
                Err(error) => break error,
            }
        },
        Err(error) => error,
    };
    assert!(matches!(refused, Error::Compacted { .. }), "{refused:?}");
    assert_eq!(subject.history(Revision(5), Revision(6)).await.len(), 1);
}

/// Whoever has read the store's revision can wait for a watch to get there.
pub async fn watch_reaches_the_revision(subject: &Subject) {
    let start = subject.kv.revision().await.unwrap();
    assert!(subject.history(Revision(0), start).await.is_empty());
    let mut last = start;
    for _ in 0..3 {
        last = subject.put("a", "v").await;
        let revision = subject.kv.revision().await.unwrap();
        assert_eq!(revision, last);
        subject.history(start, revision).await;
    }
    assert!(subject.history(Revision(last.0 - 1), last).await.len() == 1);
}

/// Nothing comes before its time.
pub async fn watch_from_the_future_waits(subject: &Subject) {
    let mut watch = subject.kv.watch(Revision(3)).await.unwrap();
    for _ in 0..3 {
        subject.put("a", "v").await;
    }
    assert_eq!(subject.batch(&mut watch).await.revision, Revision(4));
}

/// Nobody waits for a closed store.
pub async fn ends_calls_and_watches_when_closed(subject: &Subject) {
    let revision = subject.put("a", "v").await;
    let mut watch = subject.kv.watch(Revision(0)).await.unwrap();
    subject.batch(&mut watch).await;
    subject.kv.close().await;
    let end = loop {
        match subject
            .env
            .clock
            .timeout(PATIENCE, watch.next())
            .await
            .expect("in time")
        {
            Ok(item) => assert_eq!(item, WatchItem::Progress(revision)),
            Err(error) => break error,
        }
    };
    assert_eq!(end, Error::Closed);
    assert_eq!(subject.kv.range(RangeRequest::default()).await, Err(Error::Closed));
    assert_eq!(subject.kv.revision().await, Err(Error::Closed));
    assert_eq!(subject.kv.compact(Revision(2)).await, Err(Error::Closed));
    assert!(matches!(subject.kv.watch(Revision(0)).await.err(), Some(Error::Closed)));
}
