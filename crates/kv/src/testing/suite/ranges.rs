//! Ranges.

use super::Subject;
use crate::{Error, Op, RangeRequest, RangeResponse, Revision};
use bytes::Bytes;

fn keys(response: &RangeResponse) -> Vec<&str> {
    response
        .kvs
        .iter()
        .map(|kv| std::str::from_utf8(&kv.key).expect("text"))
        .collect()
}

fn values(response: &RangeResponse) -> Vec<&str> {
    response
        .kvs
        .iter()
        .map(|kv| std::str::from_utf8(&kv.value).expect("text"))
        .collect()
}

/// By bytes; the end is exclusive.
pub async fn lists_in_order_of_keys(subject: &Subject) {
    for key in ["b", "a/2", "a0", "a/1", "a/10", "a"] {
        subject.put(key, key).await;
    }
    let range = |start: &'static str, end: &'static str| {
        let (start, end) = (Bytes::from(start), Bytes::from(end));
        subject.kv.range(RangeRequest {
            start,
            end,
            ..RangeRequest::default()
        })
    };
    assert_eq!(
        keys(&range("", "").await.unwrap()),
        ["a", "a/1", "a/10", "a/2", "a0", "b"]
    );
    assert_eq!(keys(&range("a/10", "a0").await.unwrap()), ["a/10", "a/2"]);
    assert_eq!(keys(&range("a0", "").await.unwrap()), ["a0", "b"]);
    assert_eq!(keys(&range("a0", "a0").await.unwrap()), [""; 0]);
    assert_eq!(keys(&range("b", "a").await.unwrap()), [""; 0]);
    let prefixed = subject.kv.range(RangeRequest::prefix("a/")).await.unwrap();
    assert_eq!(values(&prefixed), ["a/1", "a/10", "a/2"]);
    assert_eq!(keys(&subject.kv.range(RangeRequest::key("a")).await.unwrap()), ["a"]);
}

/// The count is that of the whole range.
pub async fn cuts_at_the_limit_and_counts_all(subject: &Subject) {
    for key in ["a", "b", "c", "d"] {
        subject.put(key, "").await;
    }
    for (limit, expected, more) in [(1, 1, true), (3, 3, true), (4, 4, false), (9, 4, false), (0, 4, false)] {
        let cut = subject.kv.range(RangeRequest::default().limited(limit)).await.unwrap();
        assert_eq!(
            (cut.kvs.len(), cut.more, cut.count),
            (expected, more, 4),
            "limit {limit}"
        );
    }
}

/// The past stays as it was.
pub async fn lists_at_a_revision(subject: &Subject) {
    let first = subject.put("a", "1").await;
    let second = subject.put("b", "1").await;
    let third = subject.put("a", "2").await;
    let fourth = subject.delete("b").await;
    let fifth = subject.put("b", "3").await;
    let expected = [
        (first, vec!["1"]),
        (second, vec!["1", "1"]),
        (third, vec!["2", "1"]),
        (fourth, vec!["2"]),
    ];
    for (revision, expected) in expected
        .into_iter()
        .chain([(fifth, vec!["2", "3"]), (Revision(1), vec![])])
    {
        let found = subject.kv.range(RangeRequest::default().at(revision)).await.unwrap();
        assert_eq!((values(&found), found.revision), (expected, fifth), "at {revision}");
    }
    let cut = subject
        .kv
        .range(RangeRequest::default().at(second).limited(1))
        .await
        .unwrap();
    assert_eq!((values(&cut), cut.count, cut.more), (vec!["1"], 2, true));
}

/// Without values, or without anything.
pub async fn lists_keys_or_counts_alone(subject: &Subject) {
    subject.commit(vec![Op::put("a", "long"), Op::put("b", "longer")]).await;
    let names = subject
        .kv
        .range(RangeRequest {
            keys_only: true,
            ..RangeRequest::default()
        })
        .await
        .unwrap();
    assert_eq!(
        (keys(&names), values(&names), names.count),
        (vec!["a", "b"], vec!["", ""], 2)
    );
    assert_eq!((names.kvs[1].mod_revision, names.kvs[1].version), (Revision(2), 1));
    let count = subject
        .kv
        .range(RangeRequest {
            count_only: true,
            ..RangeRequest::default()
        })
        .await
        .unwrap();
    assert_eq!((count.kvs.len(), count.count, count.more), (0, 2, false));
}

/// What has not happened cannot be read.
pub async fn refuses_future_revisions(subject: &Subject) {
    let revision = subject.put("a", "").await;
    let future = subject.kv.range(RangeRequest::default().at(revision.next())).await;
    assert!(matches!(future, Err(Error::FutureRevision { .. })), "{future:?}");
}

/// A list may be larger than any one write.
pub async fn lists_more_than_fits_one_message(subject: &Subject) {
    let value = Bytes::from(vec![b'v'; 100_000]);
    for index in 0..60 {
        subject
            .commit(vec![Op::put(format!("{index:03}"), value.clone())])
            .await;
    }
    let all = subject.kv.range(RangeRequest::default()).await.unwrap();
    assert!(all.kvs.len() == 60 && all.kvs.iter().all(|kv| kv.value == value));
    let last = *keys(&all).last().expect("the last");
    assert_eq!(last, "059");
}
