//! Leases.

use super::Subject;
use crate::{Error, Event, LeaseId, Op, Txn};
use std::time::Duration;

/// Long enough that a busy machine keeps it alive in time.
const TTL: Duration = Duration::from_secs(5);

fn leased(key: &'static str, lease: LeaseId) -> Op {
    Op::Put {
        key: key.into(),
        value: "v".into(),
        lease: Some(lease),
    }
}

/// By time, or at once.
pub async fn deletes_keys_with_their_lease(subject: &Subject) {
    let lease = subject.kv.lease_grant(TTL).await.unwrap();
    let start = subject
        .commit(vec![leased("a", lease), leased("b", lease), Op::put("c", "v")])
        .await;
    assert_eq!(
        subject.kv.get("a".into()).await.unwrap().map(|kv| kv.lease),
        Some(lease.0)
    );
    let mut watch = subject.kv.watch(start).await.unwrap();
    // Which of the two goes first is open.
    let mut expired: Vec<_> = subject.batch(&mut watch).await.events.clone();
    expired.sort_by(|one, other| one.key().cmp(other.key()));
    let mod_revision = start.next();
    let deleted = |key: &'static str| Event::Delete {
        key: key.into(),
        mod_revision,
    };
    assert_eq!(expired, [deleted("a"), deleted("b")]);
    assert_eq!(subject.value("c").await, Some("v".into()));
    assert_eq!(subject.kv.lease_keep_alive(lease).await, Err(Error::LeaseNotFound));

    let lease = subject.kv.lease_grant(Duration::from_secs(1000)).await.unwrap();
    subject.commit(vec![leased("a", lease)]).await;
    subject.kv.lease_revoke(lease).await.unwrap();
    assert_eq!(subject.value("a").await, None);
}

/// As long as someone asks.
pub async fn keeps_leases_alive(subject: &Subject) {
    let lease = subject.kv.lease_grant(TTL).await.unwrap();
    let start = subject.commit(vec![leased("a", lease)]).await;
    for _ in 0..7 {
        subject.env.clock.sleep(TTL / 5).await;
        subject.kv.lease_keep_alive(lease).await.unwrap();
    }
    assert_eq!(subject.value("a").await, Some("v".into()));
    let mut watch = subject.kv.watch(start).await.unwrap();
    assert_eq!(subject.batch(&mut watch).await.revision, start.next());
}

/// A key belongs to the lease of its last put.
pub async fn detaches_keys_put_without_the_lease(subject: &Subject) {
    let lease = subject.kv.lease_grant(Duration::from_secs(1000)).await.unwrap();
    let other = subject.kv.lease_grant(Duration::from_secs(1000)).await.unwrap();
    subject
        .commit(vec![leased("a", lease), leased("b", lease), leased("c", lease)])
        .await;
    subject.commit(vec![leased("a", other), Op::put("b", "kept")]).await;
    subject.kv.lease_revoke(lease).await.unwrap();
    assert_eq!(subject.value("c").await, None);
    assert_eq!(
        (subject.value("a").await, subject.value("b").await),
        (Some("v".into()), Some("kept".into()))
    );
    assert_eq!(subject.kv.get("b".into()).await.unwrap().map(|kv| kv.lease), Some(0));
}

/// Nothing hangs on a lease that is not there.
pub async fn refuses_unknown_leases(subject: &Subject) {
    let unknown = LeaseId(4711);
    assert_eq!(
        subject.kv.txn(Txn::unguarded(vec![leased("a", unknown)])).await,
        Err(Error::LeaseNotFound)
    );
    assert_eq!(subject.kv.lease_revoke(unknown).await, Err(Error::LeaseNotFound));
    assert_eq!(subject.kv.lease_keep_alive(unknown).await, Err(Error::LeaseNotFound));
    assert_eq!(subject.value("a").await, None);
}
