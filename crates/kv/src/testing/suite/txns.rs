//! Transactions.

use super::Subject;
use crate::{Error, Guard, KeyValue, MAX_TXN_BYTES, Op, RangeRequest, Revision, Txn, TxnOutcome};
use bytes::Bytes;

/// An empty store is at revision 1, and its first write at 2.
pub async fn starts_empty_at_revision_one(subject: &Subject) {
    assert_eq!(subject.kv.revision().await, Ok(Revision(1)));
    let all = subject.kv.range(RangeRequest::default()).await.unwrap();
    assert_eq!(
        (all.kvs, all.count, all.more, all.revision),
        (vec![], 0, false, Revision(1))
    );
    assert_eq!(subject.put("k", "v").await, Revision(2));
    assert_eq!(subject.kv.status().await.unwrap().revision, Revision(2));
}

/// Create revision and version start anew after a deletion.
pub async fn counts_versions_of_a_key(subject: &Subject) {
    let expected = |value, created, modified, version| KeyValue {
        key: "k".into(),
        value: Bytes::from(value),
        create_revision: created,
        mod_revision: modified,
        version,
        lease: 0,
    };
    let first = subject.put("k", "one").await;
    assert_eq!(
        subject.kv.get("k".into()).await,
        Ok(Some(expected("one", first, first, 1)))
    );
    let second = subject.put("k", "two").await;
    assert_eq!(
        subject.kv.get("k".into()).await,
        Ok(Some(expected("two", first, second, 2)))
    );
    subject.delete("k").await;
    assert_eq!(subject.kv.get("k".into()).await, Ok(None));
    let third = subject.put("k", "three").await;
    assert_eq!(
        subject.kv.get("k".into()).await,
        Ok(Some(expected("three", third, third, 1)))
    );
}

/// A failed guard changes nothing and shows what there is.
pub async fn refuses_writes_whose_guard_fails(subject: &Subject) {
    let guarded = |revision| Txn {
        guards: vec![Guard::unchanged("k", revision)],
        ops: vec![Op::put("k", "new")],
    };
    let absent = subject.kv.txn(guarded(Revision(7))).await;
    assert_eq!(
        absent,
        Ok(TxnOutcome::Conflict {
            current: vec![None],
            revision: Revision(1)
        })
    );

    let created = subject.kv.txn(guarded(Revision(0))).await;
    assert_eq!(created, Ok(TxnOutcome::Committed(Revision(2))));
    let again = subject.kv.txn(guarded(Revision(0))).await;
    let current = vec![subject.kv.get("k".into()).await.unwrap()];
    assert_eq!(current[0].as_ref().map(|kv| &kv.value[..]), Some(&b"new"[..]));
    assert_eq!(
        again,
        Ok(TxnOutcome::Conflict {
            current,
            revision: Revision(2)
        })
    );

    assert_eq!(
        subject.kv.txn(guarded(Revision(2))).await,
        Ok(TxnOutcome::Committed(Revision(3)))
    );
    assert!(matches!(
        subject.kv.txn(guarded(Revision(2))).await,
        Ok(TxnOutcome::Conflict { .. })
    ));
    assert_eq!(subject.kv.revision().await, Ok(Revision(3)));
}

/// A fence key need not be written to be guarded.
pub async fn guards_look_at_keys_that_are_not_written(subject: &Subject) {
    let fence = subject.put("fence", "epoch 1").await;
    let write = |value: &'static str| Txn {
        guards: vec![Guard::unchanged("fence", fence), Guard::absent(value)],
        ops: vec![Op::put(value, value)],
    };
    assert!(matches!(subject.kv.txn(write("a")).await, Ok(TxnOutcome::Committed(_))));
    subject.put("fence", "epoch 2").await;
    let Ok(TxnOutcome::Conflict { current, .. }) = subject.kv.txn(write("b")).await else {
        panic!("the fence moved")
    };
    let values: Vec<_> = current
        .iter()
        .map(|kv| kv.as_ref().map(|kv| kv.value.clone()))
        .collect();
    assert_eq!(values, [Some(Bytes::from("epoch 2")), None]);
    assert_eq!(subject.value("b").await, None);
}

/// All operations of a transaction share its revision.
pub async fn changes_several_keys_at_one_revision(subject: &Subject) {
    subject.put("gone", "").await;
    let revision = subject
        .commit(vec![Op::put("b", "2"), Op::delete("gone"), Op::put("a", "1")])
        .await;
    let all = subject.kv.range(RangeRequest::default()).await.unwrap();
    assert_eq!(all.revision, revision);
    let found: Vec<_> = all.kvs.iter().map(|kv| (&kv.key[..], kv.mod_revision)).collect();
    assert_eq!(found, [(&b"a"[..], revision), (&b"b"[..], revision)]);
}

/// All guards must hold.
pub async fn changes_nothing_when_a_guard_of_several_fails(subject: &Subject) {
    let revision = subject.put("a", "old").await;
    let guards = vec![Guard::unchanged("a", revision), Guard::unchanged("b", revision)];
    let txn = Txn {
        guards,
        ops: vec![Op::put("a", "new"), Op::put("b", "new")],
    };
    assert!(matches!(subject.kv.txn(txn).await, Ok(TxnOutcome::Conflict { .. })));
    assert_eq!(
        (subject.value("a").await, subject.value("b").await),
        (Some("old".into()), None)
    );
    assert_eq!(subject.kv.revision().await, Ok(revision));
}

/// No change, no revision.
pub async fn deleting_an_absent_key_changes_nothing(subject: &Subject) {
    let revision = subject.put("k", "v").await;
    assert_eq!(subject.delete("absent").await, revision);
    assert_eq!(subject.kv.revision().await, Ok(revision));
    let mixed = subject.commit(vec![Op::delete("absent"), Op::put("other", "v")]).await;
    let history = subject.history(revision, mixed).await;
    assert_eq!(history.iter().map(|batch| batch.events.len()).collect::<Vec<_>>(), [1]);
}

/// It only evaluates its guards.
pub async fn a_transaction_without_operations_changes_nothing(subject: &Subject) {
    let revision = subject.put("k", "v").await;
    let check = |revision| Txn {
        guards: vec![Guard::unchanged("k", revision)],
        ops: vec![],
    };
    assert_eq!(
        subject.kv.txn(check(revision)).await,
        Ok(TxnOutcome::Committed(revision))
    );
    assert!(matches!(
        subject.kv.txn(check(Revision(0))).await,
        Ok(TxnOutcome::Conflict { .. })
    ));
    assert_eq!(subject.kv.revision().await, Ok(revision));
}

/// An empty key, or a key written twice.
pub async fn refuses_invalid_transactions(subject: &Subject) {
    for ops in [
        vec![Op::put("", "v")],
        vec![Op::put("k", "1"), Op::put("k", "2")],
        vec![Op::put("k", ""), Op::delete("k")],
    ] {
        assert!(matches!(
            subject.kv.txn(Txn::unguarded(ops)).await,
            Err(Error::Invalid(_))
        ));
    }
    assert_eq!(subject.kv.revision().await, Ok(Revision(1)));
}

/// The limits are the same everywhere.
pub async fn refuses_what_is_too_large_and_takes_what_just_fits(subject: &Subject) {
    let mut txn = Txn {
        guards: vec![Guard::absent("k")],
        ops: vec![Op::put("k", "")],
    };
    let value = Bytes::from(vec![7; MAX_TXN_BYTES - txn.size()]);
    txn.ops = vec![Op::put("k", value.clone())];
    assert!(matches!(
        subject.kv.txn(txn.clone()).await,
        Ok(TxnOutcome::Committed(_))
    ));
    assert!(
        subject
            .kv
            .get("k".into())
            .await
            .unwrap()
            .is_some_and(|kv| kv.value == value)
    );
    txn.ops = vec![Op::put("k", [&value[..], b"!"].concat())];
    assert!(matches!(subject.kv.txn(txn).await, Err(Error::TooLarge { .. })));
    let many = |count: usize| Txn::unguarded((0..count).map(|index| Op::put(format!("many{index}"), "")).collect());
    assert!(matches!(subject.kv.txn(many(128)).await, Ok(TxnOutcome::Committed(_))));
    assert!(matches!(subject.kv.txn(many(129)).await, Err(Error::TooLarge { .. })));
}
