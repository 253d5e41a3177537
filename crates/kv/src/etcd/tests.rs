//! The suite against real etcd processes, then what is etcd's own. Needs an etcd binary: see `xtask/scripts/get-etcd`.

use super::*;
use crate::testing::EtcdProcess;
use crate::testing::suite::Subject;
use crate::{Op, WatchItem};

fn options(process: &EtcdProcess, prefix: &str) -> EtcdOptions {
    // On a busy machine etcd takes its time to start.
    let timeout = Duration::from_secs(60);
    EtcdOptions {
        prefix: prefix.to_owned(),
        timeout,
        ..EtcdOptions::new([process.endpoint()])
    }
}

async fn connect(process: &EtcdProcess, prefix: &str) -> EtcdKv {
    EtcdKv::connect(&Env::real(), options(process, prefix))
        .await
        .expect("connects")
}

async fn etcd_below(prefix: &str) -> Subject {
    let process = EtcdProcess::start();
    let kv = connect(&process, prefix).await;
    Subject {
        kv: Arc::new(kv),
        env: Env::real(),
        keep: Box::new(process),
    }
}

async fn put(kv: &EtcdKv, key: &'static str) -> Result<TxnOutcome, Error> {
    kv.txn(Txn::unguarded(vec![Op::put(key, "v")])).await
}

mod suite {
    crate::kv_suite!(tokio::test, super::etcd_below("/registry/"));
}

mod suite_without_prefix {
    crate::kv_suite!(tokio::test, super::etcd_below(""));
}

#[tokio::test]
async fn foreign_writes_show_as_progress_only() {
    let process = EtcdProcess::start();
    let (ours, theirs) = (connect(&process, "/ours/").await, connect(&process, "/theirs/").await);
    put(&ours, "k").await.unwrap();
    let mut watch = ours.watch(Revision(1)).await.unwrap();
    for _ in 0..5 {
        put(&theirs, "k").await.unwrap();
    }
    let revision = ours.revision().await.unwrap();
    assert_eq!(revision, Revision(7));
    let mut batches = Vec::new();
    loop {
        match watch.next().await.unwrap() {
            WatchItem::Batch(batch) => batches.push(batch.revision),
            WatchItem::Progress(progress) if progress == revision => break,
            WatchItem::Progress(progress) => assert!(progress < revision),
        }
    }
    assert_eq!(batches, [Revision(2)]);
    assert_eq!(ours.range(RangeRequest::default()).await.unwrap().count, 1);
    // And again once it has caught up.
    put(&theirs, "k").await.unwrap();
    let revision = ours.revision().await.unwrap();
    while watch.next().await.unwrap() != WatchItem::Progress(revision) {}
}

#[tokio::test]
async fn revisions_are_coalesced_and_not_stale() {
    let process = EtcdProcess::start();
    let kv = Arc::new(connect(&process, "").await);
    let readers: Vec<_> = (0..50)
        .map(|_| {
            let kv = kv.clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    let before = match put(&kv, "k").await.unwrap() {
                        TxnOutcome::Committed(revision) => revision,
                        conflict => panic!("{conflict:?}"),
                    };
                    assert!(kv.revision().await.unwrap() >= before);
                }
            })
        })
        .collect();
    for reader in readers {
        reader.await.unwrap();
    }
    assert_eq!(kv.revision().await, Ok(Revision(501)));
}

#[tokio::test]
async fn survives_a_restart_of_etcd() {
    let mut process = EtcdProcess::start();
    // Waits until etcd listens, however long that takes on a busy machine.
    drop(connect(&process, "").await);
    let impatient = EtcdOptions {
        timeout: Duration::from_secs(2),
        ..options(&process, "")
    };
    let kv = EtcdKv::connect(&Env::real(), impatient).await.unwrap();
    put(&kv, "before").await.unwrap();
    let mut watch = kv.watch(Revision(1)).await.unwrap();
    while !matches!(watch.next().await.unwrap(), WatchItem::Batch(batch) if batch.revision == Revision(2)) {}
    process.kill();
    let refused = put(&kv, "meanwhile").await;
    assert!(
        matches!(refused, Err(Error::Unavailable(_) | Error::UnknownOutcome(_))),
        "{refused:?}"
    );
    let unread = kv.get("before".into()).await;
    assert!(matches!(unread, Err(Error::Unavailable(_))), "{unread:?}");
    process.restart();
    let clock = Env::real().clock;
    let written = clock.timeout(Duration::from_secs(30), async {
        loop {
            if let Ok(TxnOutcome::Committed(revision)) = put(&kv, "after").await {
                return revision;
            }
        }
    });
    let revision = written.await.expect("etcd comes back");
    let resumed = clock.timeout(Duration::from_secs(30), async {
        loop {
            if let WatchItem::Batch(batch) = watch.next().await.unwrap()
                && batch.revision == revision
            {
                return;
            }
        }
    });
    resumed.await.expect("the watch resumes");
}

#[tokio::test]
async fn a_full_etcd_refuses_writes_and_serves_reads() {
    let process = EtcdProcess::start_with(&["--quota-backend-bytes=2000000".to_owned()]);
    let kv = connect(&process, "").await;
    let value = vec![7; 100_000];
    let mut written = 0;
    let refused = loop {
        match kv
            .txn(Txn::unguarded(vec![Op::put(format!("{written}"), value.clone())]))
            .await
        {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 1000, "the quota does not work");
    };
    assert_eq!(refused, Error::Full);
    assert_eq!(kv.range(RangeRequest::default()).await.unwrap().count, written);
    assert!(kv.status().await.unwrap().full);
}

#[tokio::test]
async fn says_when_nobody_is_there() {
    let options = EtcdOptions {
        timeout: Duration::from_secs(1),
        ..EtcdOptions::new(["http://127.0.0.1:1"])
    };
    let refused = EtcdKv::connect(&Env::real(), options).await.err();
    assert!(matches!(refused, Some(Error::Unavailable(_))), "{refused:?}");
}

/// An authority, and a certificate that it signed for this machine; PEM files in `dir`.
fn certificates(dir: &std::path::Path) -> (PathBuf, PathBuf, PathBuf) {
    let (ca_key, key) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(params, ca_key);
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let signed = rcgen::CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    let file = |name: &str, contents: String| {
        let path = dir.join(name);
        std::fs::write(&path, contents).unwrap();
        path
    };
    (
        file("ca.pem", ca),
        file("cert.pem", signed.pem()),
        file("key.pem", key.serialize_pem()),
    )
}

#[tokio::test]
async fn speaks_tls_with_certificates_on_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let (ca, certificate, key) = certificates(dir.path());
    let argument = |name: &str, path: &PathBuf| format!("--{name}={}", path.display());
    let process = EtcdProcess::start_tls(&[
        argument("trusted-ca-file", &ca),
        argument("cert-file", &certificate),
        argument("key-file", &key),
        "--client-cert-auth".to_owned(),
    ]);
    let identity = Some((certificate, key));
    let options = EtcdOptions {
        ca: Some(ca.clone()),
        identity,
        ..options(&process, "")
    };
    let kv = EtcdKv::connect(&Env::real(), options.clone()).await.unwrap();
    put(&kv, "k").await.unwrap();
    assert_eq!(kv.revision().await, Ok(Revision(2)));
    let anonymous = EtcdOptions {
        identity: None,
        timeout: Duration::from_secs(2),
        ..options
    };
    let refused = EtcdKv::connect(&Env::real(), anonymous).await.err();
    assert!(matches!(refused, Some(Error::Unavailable(_))), "{refused:?}");
}
