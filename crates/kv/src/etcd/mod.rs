//! A store in an etcd cluster, which several replicas of a server may share.
//!
//! Invariants
//! - The whole key space below the prefix is watched as one, so that every revision of it arrives as events; revisions of
//!   keys elsewhere in the same etcd arrive as progress, which is asked for as soon as someone has read a newer revision.
//! - Reads are repeated within the time allowed. A write is repeated only if it certainly was not sent; if it may have
//!   happened, the answer is `UnknownOutcome`.
//! - A broken watch resumes where it was. It ends with `Compacted`, or with the store.
//!
//! Read next: [`EtcdKv`], then `failure`, the table of etcd's errors, `convert`, `watch`.

mod connect;
mod convert;
mod failure;
mod revision;
#[cfg(test)]
mod tests;
mod watch;

use crate::{Error, Kv, LeaseId, RangeRequest, RangeResponse, Revision, Status, Txn, TxnOutcome, Watch};
use async_trait::async_trait;
use convert::Prefix;
use env::Env;
use etcd_client::Client;
use failure::Failure;
use revision::Revisions;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use watch::EtcdWatch;

/// How long to wait before something is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// Where etcd is and how to talk to it.
#[derive(Clone, Debug)]
pub struct EtcdOptions {
    /// URLs of the members' client ports.
    pub endpoints: Vec<String>,
    /// Prepended to every key. Two stores in one etcd need prefixes of which none begins the other.
    pub prefix: String,
    /// The authority that signed the servers' certificates (PEM); required for https.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key (PEM), if the servers ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// How long a call may take.
    pub timeout: Duration,
}

/// A store in an etcd cluster.
pub struct EtcdKv {
    shared: Arc<Shared>,
    revisions: Revisions,
}

struct Shared {
    env: Env,
    client: Client,
    prefix: Prefix,
    timeout: Duration,
    /// Set once, at the end.
    closed: tokio::sync::watch::Sender<bool>,
    /// The newest revision that someone has read: every watch has to get there.
    wanted: tokio::sync::watch::Sender<Revision>,
}

// === impl EtcdOptions ===

impl EtcdOptions {
    /// No prefix, no TLS, 10 s.
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>) -> EtcdOptions {
        EtcdOptions {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            prefix: String::new(),
            ca: None,
            identity: None,
            timeout: Duration::from_secs(10),
        }
    }
}

// === impl EtcdKv ===

impl EtcdKv {
    /// Connects. `Unavailable` when no member answers in time; `Unsupported` when one is too old.
    pub async fn connect(env: &Env, options: EtcdOptions) -> Result<EtcdKv, Error> {
        let client = connect::connect(env, &options).await?;
        let shared = Arc::new(Shared {
            env: env.clone(),
            client,
            prefix: Prefix::new(&options.prefix),
            timeout: options.timeout,
            closed: tokio::sync::watch::Sender::new(false),
            wanted: tokio::sync::watch::Sender::new(Revision(0)),
        });
        Ok(EtcdKv {
            revisions: Revisions::new(shared.clone()),
            shared,
        })
    }
}

#[async_trait]
impl Kv for EtcdKv {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        let shared = &self.shared;
        let (key, options) = shared.prefix.range(&request);
        let read = || {
            let mut client = shared.kv_client();
            let (key, options) = (key.clone(), options.clone());
            async move { client.get(key, Some(options)).await }
        };
        let response = shared.read(read).await?;
        shared.prefix.range_response(&request, response)
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, Error> {
        txn.check()?;
        let shared = &self.shared;
        let request = shared.prefix.txn(&txn);
        let write = || {
            let (mut client, request) = (shared.kv_client(), request.clone());
            async move { client.txn(request).await }
        };
        let response = shared.write(write).await?;
        shared.prefix.txn_outcome(response)
    }

    async fn watch(&self, from: Revision) -> Result<Box<dyn Watch>, Error> {
        self.shared.check_open()?;
        Ok(Box::new(EtcdWatch::new(self.shared.clone(), from)))
    }

    async fn revision(&self) -> Result<Revision, Error> {
        self.revisions.read().await
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        let compact = || {
            let mut client = self.shared.kv_client();
            async move { client.compact(convert::to_i64(revision.0), None).await }
        };
        self.shared.write(compact).await.map(drop)
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId, Error> {
        let seconds = i64::try_from(ttl.as_millis().div_ceil(1000)).unwrap_or(i64::MAX).max(1);
        let grant = || {
            let mut client = self.shared.client.lease_client();
            async move { client.grant(seconds, None).await }
        };
        self.shared.write(grant).await.map(|granted| LeaseId(granted.id()))
    }

    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<(), Error> {
        let keep = || {
            let mut client = self.shared.client.lease_client();
            // Opening the stream sends the first keep-alive and takes its answer.
            async move { client.keep_alive(lease.0).await.map(drop) }
        };
        self.shared.read(keep).await
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), Error> {
        let revoke = || {
            let mut client = self.shared.client.lease_client();
            async move { client.revoke(lease.0).await }
        };
        self.shared.write(revoke).await.map(drop)
    }

    async fn status(&self) -> Result<Status, Error> {
        let read = || {
            let mut client = self.shared.client.maintenance_client();
            async move { client.status().await }
        };
        let status = self.shared.read(read).await?;
        Ok(Status {
            version: status.version().to_owned(),
            revision: Revision(status.header().map_or(0, |header| convert::to_u64(header.revision()))),
            // etcd tells of its compaction only when it refuses something.
            compacted: Revision(0),
            size_bytes: convert::to_u64(status.db_size()),
            in_use_bytes: convert::to_u64(status.raft_used_db_size()),
            full: status.errors().iter().any(|error| error.contains("NOSPACE")),
        })
    }

    async fn close(&self) {
        self.shared.closed.send_replace(true);
    }
}

// === impl Shared ===

impl Shared {
    fn check_open(&self) -> Result<(), Error> {
        match *self.closed.borrow() {
            true => Err(Error::Closed),
            false => Ok(()),
        }
    }

    fn kv_client(&self) -> etcd_client::KvClient {
        // A list may be larger than gRPC's default of 4 MiB; the server has no such limit either.
        self.client.kv_client().max_decoding_message_size(usize::MAX)
    }

    /// Repeats a read until it succeeds, is refused, or the time is over.
    async fn read<T, F>(&self, attempt: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let mut last = Failure::NotSent("etcd did not answer in time".to_owned());
        let attempts = self.attempts(attempt, |failure| !matches!(failure, Failure::Refused(_)), &mut last);
        match attempts.await {
            Some(result) => result.map_err(Failure::into_read_error),
            None => Err(last.into_read_error()),
        }
    }

    /// Repeats a write only while it is certain that it was not sent.
    async fn write<T, F>(&self, attempt: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let mut last = Failure::Unknown("etcd did not answer in time".to_owned());
        let attempts = self.attempts(attempt, |failure| matches!(failure, Failure::NotSent(_)), &mut last);
        match attempts.await {
            Some(result) => result.map_err(Failure::into_write_error),
            None => Err(last.into_write_error()),
        }
    }

    /// None when the time is over; then `last` tells how the last attempt fared, provided that no other was under way.
    async fn attempts<T, F>(
        &self,
        attempt: impl Fn() -> F,
        repeats: impl Fn(&Failure) -> bool,
        last: &mut Failure,
    ) -> Option<Result<T, Failure>>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        if let Err(closed) = self.check_open() {
            return Some(Err(Failure::Refused(closed)));
        }
        let unanswered = last.clone();
        let mut closed = self.closed.subscribe();
        let in_time = self.env.clock.timeout(self.timeout, async {
            loop {
                *last = unanswered.clone();
                let result = tokio::select! {
                    biased;
                    result = attempt() => result.map_err(Failure::from),
                    _ = closed.wait_for(|closed| *closed) => return Err(unanswered.clone()),
                };
                match result {
                    Err(failure) if repeats(&failure) => *last = failure,
                    result => return result,
                }
                self.env.clock.sleep(RETRY_DELAY).await;
            }
        });
        in_time.await.ok()
    }
}
