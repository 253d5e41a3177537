//! Compaction.

use super::Subject;
use crate::{Error, Event, Op, RangeRequest, Revision};
use bytes::Bytes;

/// Reads before the point are refused; everything since is as before.
pub async fn compaction_forgets_the_past_and_keeps_the_present(subject: &Subject) {
    let first = subject.put("a", "1").await;
    subject.put("b", "1").await;
    subject.put("a", "2").await;
    let point = subject.delete("b").await;
    let last = subject.put("a", "3").await;
    let before = subject.kv.range(RangeRequest::default().at(point)).await.unwrap();
    subject.kv.compact(point).await.unwrap();
    for revision in [first, Revision(point.0 - 1)] {
        let old = subject.kv.range(RangeRequest::default().at(revision)).await;
        assert!(matches!(old, Err(Error::Compacted { .. })), "{old:?}");
    }
    assert_eq!(
        subject.kv.range(RangeRequest::default().at(point)).await.unwrap(),
        before
    );
    assert_eq!(subject.value("a").await, Some("3".into()));
    assert_eq!(subject.kv.revision().await, Ok(last));
    assert_eq!(subject.put("c", "").await, last.next());
}

/// The point can still be read and watched from.
pub async fn compaction_keeps_what_the_point_itself_shows(subject: &Subject) {
    subject.put("a", "1").await;
    let point = subject.put("a", "2").await;
    let gone = subject.delete("a").await;
    let last = subject.put("b", "1").await;
    subject.kv.compact(point).await.unwrap();
    let found = subject.kv.range(RangeRequest::default().at(point)).await.unwrap();
    assert_eq!(
        found.kvs.iter().map(|kv| kv.value.clone()).collect::<Vec<_>>(),
        [Bytes::from("2")]
    );
    let history = subject.history(point, last).await;
    assert_eq!(
        history.iter().map(|batch| batch.revision).collect::<Vec<_>>(),
        [gone, last]
    );
    assert_eq!(
        history[0].events,
        [Event::Delete {
            key: "a".into(),
            mod_revision: gone
        }]
    );
}

/// No point twice, none in the future.
pub async fn compaction_refuses_points_that_make_no_sense(subject: &Subject) {
    let revision = subject.put("a", "1").await;
    subject.put("a", "2").await;
    subject.kv.compact(revision).await.unwrap();
    let again = subject.kv.compact(revision).await;
    assert!(matches!(again, Err(Error::Compacted { .. })), "{again:?}");
    let future = subject.kv.compact(Revision(1000)).await;
    assert!(matches!(future, Err(Error::FutureRevision { .. })), "{future:?}");
}

/// More than one step's worth, with writes in between.
pub async fn compaction_works_through_many_versions(subject: &Subject) {
    let mut last = Revision(1);
    for round in 0..30u32 {
        for part in 0..2 {
            let keys = (0..50).map(|key| format!("key{}", part * 50 + key));
            last = subject
                .commit(keys.map(|key| Op::put(key, round.to_string())).collect())
                .await;
        }
        if round % 10 == 9 {
            subject.kv.compact(last).await.unwrap();
        }
    }
    last = subject
        .commit((0..50).map(|key| Op::delete(format!("key{key}"))).collect())
        .await;
    subject.kv.compact(last).await.unwrap();
    let left = subject.kv.range(RangeRequest::default()).await.unwrap();
    assert_eq!((left.count, left.revision), (50, last));
    assert!(left.kvs.iter().all(|kv| kv.value == "29" && kv.version == 30));
    let next = subject.put("key0", "anew").await;
    assert_eq!(
        subject
            .kv
            .get("key0".into())
            .await
            .unwrap()
            .map(|kv| (kv.create_revision, kv.version)),
        Some((next, 1))
    );
}
