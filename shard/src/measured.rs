//! Decorators that only measure: the store's calls, and the plugins of admission.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use env::{Clock, Env};
use kv::{Error, Kv, LeaseId, Op, RangeRequest, RangeResponse, Revision, Status, Txn, TxnOutcome, Watch};
use permit::Verb;
use registry::{Admission, Attributes};
use telemetry::{Counter, Family, Histogram, Metrics};

/// A store whose calls are timed, under the names that Kubernetes gives to operations on etcd.
pub struct MeasuredKv {
    inner: Arc<dyn Kv>,
    clock: Clock,
    get: Series,
    list: Series,
    update: Series,
    delete: Series,
    revision: Series,
    compact: Series,
    lease: Series,
}

struct Series {
    durations: Histogram,
    errors: Counter,
}

/// A plugin that is timed.
pub struct TimedAdmission {
    inner: Arc<dyn Admission>,
    clock: Clock,
    admit: [Histogram; 3],
    validate: [Histogram; 3],
}

const OPERATIONS: [&str; 3] = ["CREATE", "UPDATE", "DELETE"];

// === impl MeasuredKv ===

impl MeasuredKv {
    /// Resources are not told apart: a resource costs some lines for each operation, and tenants make any number.
    pub fn over(inner: Arc<dyn Kv>, env: &Env, metrics: &Metrics) -> Arc<dyn Kv> {
        let series = |operation: &str| Series {
            durations: metrics.store_durations.with(&[operation]),
            errors: metrics.store_errors.with(&[operation]),
        };
        Arc::new(Self {
            inner,
            clock: env.clock.clone(),
            get: series("get"),
            list: series("list"),
            update: series("update"),
            delete: series("delete"),
            revision: series("revision"),
            compact: series("compact"),
            lease: series("lease"),
        })
    }

    async fn timed<T>(&self, series: &Series, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let begun = self.clock.monotonic();
        let outcome = call.await;
        series.durations.observe_duration(self.since(begun));
        if outcome.is_err() {
            series.errors.inc();
        }
        outcome
    }

    fn since(&self, begun: Duration) -> Duration {
        self.clock.monotonic().saturating_sub(begun)
    }
}

#[async_trait]
impl Kv for MeasuredKv {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        let series = if request.limit == 1 { &self.get } else { &self.list };
        self.timed(series, self.inner.range(request)).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, Error> {
        let deletes = matches!(txn.ops.first(), Some(Op::Delete { .. }));
        let series = if deletes { &self.delete } else { &self.update };
        self.timed(series, self.inner.txn(txn)).await
    }

    async fn watch(&self, from: Revision) -> Result<Box<dyn Watch>, Error> {
        self.inner.watch(from).await
    }

    async fn revision(&self) -> Result<Revision, Error> {
        self.timed(&self.revision, self.inner.revision()).await
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.timed(&self.compact, self.inner.compact(revision)).await
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId, Error> {
        self.timed(&self.lease, self.inner.lease_grant(ttl)).await
    }

    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<(), Error> {
        self.timed(&self.lease, self.inner.lease_keep_alive(lease)).await
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), Error> {
        self.timed(&self.lease, self.inner.lease_revoke(lease)).await
    }

    async fn status(&self) -> Result<Status, Error> {
        self.inner.status().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

// === impl TimedAdmission ===

impl TimedAdmission {
    pub fn of(inner: Arc<dyn Admission>, env: &Env, family: &Family<Histogram>) -> Arc<dyn Admission> {
        let series = |kind: &str| OPERATIONS.map(|operation| family.with(&[inner.name(), operation, kind]));
        Arc::new(Self {
            admit: series("admit"),
            validate: series("validate"),
            clock: env.clock.clone(),
            inner,
        })
    }

    async fn timed<T>(&self, series: &[Histogram; 3], verb: Verb, call: impl Future<Output = T>) -> T {
        let [create, update, delete] = series;
        let histogram = match verb {
            Verb::Create => create,
            Verb::Delete | Verb::DeleteCollection => delete,
            _ => update,
        };
        let begun = self.clock.monotonic();
        let outcome = call.await;
        histogram.observe_duration(self.clock.monotonic().saturating_sub(begun));
        outcome
    }
}

#[async_trait]
impl Admission for TimedAdmission {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn admit(&self, attributes: &mut Attributes<'_>) -> machinery::status::Result<()> {
        let verb = attributes.verb;
        self.timed(&self.admit, verb, self.inner.admit(attributes)).await
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> machinery::status::Result<()> {
        self.timed(&self.validate, attributes.verb, self.inner.validate(attributes))
            .await
    }
}
