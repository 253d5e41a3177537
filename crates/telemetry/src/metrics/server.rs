//! The families of the server, under the names that dashboards for Kubernetes know.

use std::sync::Arc;

use super::{Counter, Family, Gauge, Histogram, Registry, RequestTable};

/// Every family that the server's crates write to.
pub struct Metrics {
    pub registry: Registry,
    /// `apiserver_request_total` and what else is counted of each request.
    pub requests: RequestTable,
    /// `apiserver_current_inflight_requests{request_kind}`: the handle of `readOnly`.
    pub in_flight_read_only: Gauge,
    /// The handle of `mutating`.
    pub in_flight_mutating: Gauge,
    /// `authentication_attempts{result}`: the handle of `success`.
    pub authentication_successes: Counter,
    /// The handle of `failure`.
    pub authentication_failures: Counter,
    /// `apiserver_flowcontrol_rejected_requests_total{reason}`: `queue-full`, `time-out`.
    pub rejected: Family<Counter>,
    /// `apiserver_flowcontrol_current_inqueue_requests`.
    pub in_queue: Gauge,
    pub audit_events: Counter,
    /// Events that a full queue or a failing disk made the server drop.
    pub audit_errors: Counter,
    pub tls_handshake_errors: Counter,
    /// Connections that are open now.
    pub connections: Gauge,
    /// `etcd_request_duration_seconds{operation}`, the embedded store's too.
    pub store_durations: Family<Histogram>,
    /// `etcd_request_errors_total{operation}`.
    pub store_errors: Family<Counter>,
    /// `apiserver_cache_list_total{group,index,resource}`: lists answered from memory, which all are.
    pub cache_lists: Family<Counter>,
}

/// `workqueue_*{name}`: one series per controller. The depth is computed when metrics are read.
pub struct WorkqueueFamilies {
    pub adds: Family<Counter>,
    pub retries: Family<Counter>,
    /// Seconds a key waits.
    pub queue_durations: Family<Histogram>,
    /// Seconds a run takes.
    pub work_durations: Family<Histogram>,
}

/// Subset of Kubernetes' bounds (its 23 per label set are most of its series): seconds.
const REQUEST_SECONDS: &[f64] = &[0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];
const STORE_SECONDS: &[f64] = &[0.001, 0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 1.0, 2.0, 5.0, 15.0, 60.0];
const ADMISSION_SECONDS: &[f64] = &[0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5];
const QUEUE_SECONDS: &[f64] = &[1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0];
const RESPONSE_BYTES: &[f64] = &[1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
const EVENT_BYTES: &[f64] = &[1024.0, 4096.0, 16384.0, 65536.0, 262_144.0, 1_048_576.0];

const REQUEST_LABELS: &[&str] = &[
    "verb",
    "dry_run",
    "group",
    "version",
    "resource",
    "subresource",
    "scope",
    "component",
];
const REQUEST_LABELS_AND_CODE: &[&str] = &[
    "verb",
    "dry_run",
    "group",
    "version",
    "resource",
    "subresource",
    "scope",
    "component",
    "code",
];
const RESPONSE_LABELS: &[&str] = &[
    "group",
    "version",
    "resource",
    "subresource",
    "verb",
    "scope",
    "component",
];
const RESOURCE_LABELS: &[&str] = &["group", "version", "resource"];
const STORE_LABELS: &[&str] = &["operation"];

const SERIES_MAX: usize = 1000;
/// A histogram's series are many lines each.
const HISTOGRAM_SERIES_MAX: usize = 300;

// === impl WorkqueueFamilies ===

impl WorkqueueFamilies {
    /// Part of no registry yet.
    pub fn new() -> Self {
        let counter = |name, help| Family::new(name, help, &["name"], SERIES_MAX, Counter::default);
        let seconds = |name, help| {
            Family::new(name, help, &["name"], HISTOGRAM_SERIES_MAX, || {
                Histogram::new(QUEUE_SECONDS)
            })
        };
        Self {
            adds: counter("workqueue_adds_total", "Keys added."),
            retries: counter("workqueue_retries_total", "Keys tried again."),
            queue_durations: seconds("workqueue_queue_duration_seconds", "Seconds a key waits."),
            work_durations: seconds("workqueue_work_duration_seconds", "Seconds a run takes."),
        }
    }

    pub fn register(&self, registry: &Registry) {
        registry.add(self.adds.clone());
        registry.add(self.retries.clone());
        registry.add(self.queue_durations.clone());
        registry.add(self.work_durations.clone());
    }
}

impl Default for WorkqueueFamilies {
    fn default() -> Self {
        Self::new()
    }
}

/// `apiserver_admission_controller_admission_duration_seconds{name,operation,type}`; part of no registry yet.
pub fn admission_durations() -> Family<Histogram> {
    Family::new(
        "apiserver_admission_controller_admission_duration_seconds",
        "Seconds in an admission plugin.",
        &["name", "operation", "type"],
        HISTOGRAM_SERIES_MAX,
        || Histogram::new(ADMISSION_SECONDS),
    )
}

// === impl Metrics ===

impl Metrics {
    /// A registry of its own: two servers in one process share nothing.
    pub fn new() -> Arc<Self> {
        let registry = Registry::default();
        let counter = |name, help, labels| registry.add(Family::new(name, help, labels, SERIES_MAX, Counter::default));
        let gauge = |name, help, labels| registry.add(Family::new(name, help, labels, SERIES_MAX, Gauge::default));
        let histogram = |name, help, labels, make: fn() -> Histogram| {
            registry.add(Family::new(name, help, labels, HISTOGRAM_SERIES_MAX, make))
        };
        let requests = request_table(&registry);
        let in_flight = gauge(
            "apiserver_current_inflight_requests",
            "Requests being served.",
            &["request_kind"],
        );
        let authentications = counter("authentication_attempts", "Authentications by result.", &["result"]);
        let metrics = Self {
            requests,
            in_flight_read_only: in_flight.with(&["readOnly"]),
            in_flight_mutating: in_flight.with(&["mutating"]),
            authentication_successes: authentications.with(&["success"]),
            authentication_failures: authentications.with(&["failure"]),
            rejected: counter(
                "apiserver_flowcontrol_rejected_requests_total",
                "Requests answered with 429.",
                &["reason"],
            ),
            in_queue: gauge(
                "apiserver_flowcontrol_current_inqueue_requests",
                "Requests waiting for a seat.",
                &[],
            )
            .with(&[]),
            audit_events: counter("apiserver_audit_event_total", "Audit events written.", &[]).with(&[]),
            audit_errors: counter("apiserver_audit_error_total", "Audit events lost.", &["plugin"]).with(&["log"]),
            tls_handshake_errors: counter("apiserver_tls_handshake_errors_total", "Failed TLS handshakes.", &[])
                .with(&[]),
            connections: gauge("apiserver_open_connections", "Client connections open.", &[]).with(&[]),
            store_durations: histogram(
                "etcd_request_duration_seconds",
                "Seconds that requests to the store take.",
                STORE_LABELS,
                || Histogram::new(STORE_SECONDS),
            ),
            store_errors: counter(
                "etcd_request_errors_total",
                "Failed requests to the store.",
                STORE_LABELS,
            ),
            cache_lists: counter(
                "apiserver_cache_list_total",
                "Lists answered from memory.",
                &["group", "index", "resource"],
            ),
            registry: registry.clone(),
        };
        Arc::new(metrics)
    }
}

fn request_table(registry: &Registry) -> RequestTable {
    let sized = |name, help, labels, make: fn() -> Histogram| {
        registry.add(Family::new(name, help, labels, HISTOGRAM_SERIES_MAX, make))
    };
    let total = Family::new(
        "apiserver_request_total",
        "Requests by labels and code.",
        REQUEST_LABELS_AND_CODE,
        SERIES_MAX,
        Counter::default,
    );
    let watch_events = Family::new(
        "apiserver_watch_events_total",
        "Watch events sent.",
        RESOURCE_LABELS,
        SERIES_MAX,
        Counter::default,
    );
    let long_running = Family::new(
        "apiserver_longrunning_requests",
        "Watches being served.",
        RESPONSE_LABELS,
        SERIES_MAX,
        Gauge::default,
    );
    RequestTable::new(
        registry.add(total),
        sized(
            "apiserver_request_duration_seconds",
            "Seconds until the answer.",
            REQUEST_LABELS,
            || Histogram::new(REQUEST_SECONDS),
        ),
        sized(
            "apiserver_response_sizes",
            "Bytes of bodies, before compression.",
            RESPONSE_LABELS,
            || Histogram::new(RESPONSE_BYTES),
        ),
        registry.add(long_running),
        registry.add(watch_events),
        sized(
            "apiserver_watch_events_sizes",
            "Bytes of watch events.",
            RESOURCE_LABELS,
            || Histogram::new(EVENT_BYTES),
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::RequestLabels;

    #[test]
    fn requests_are_counted_under_kubernetes_names() {
        let metrics = Metrics::new();
        let labels = RequestLabels {
            verb: "GET",
            version: "v1",
            resource: "configmaps",
            scope: "resource",
            ..RequestLabels::default()
        };
        for _ in 0..3 {
            metrics
                .requests
                .series(&labels)
                .answered(200, Duration::from_millis(1), Some(100));
        }
        let dry = RequestLabels {
            dry_run: true,
            ..labels
        };
        metrics
            .requests
            .series(&dry)
            .answered(404, Duration::from_millis(1), None);
        let text = metrics.registry.encode();
        let of = "verb=\"GET\",dry_run=\"\",group=\"\",version=\"v1\",resource=\"configmaps\",subresource=\"\",\
            scope=\"resource\",component=\"apiserver\"";
        assert!(
            text.contains(&format!("apiserver_request_total{{{of},code=\"200\"}} 3\n")),
            "{text}"
        );
        assert!(
            text.contains(&format!("apiserver_request_duration_seconds_count{{{of}}} 3\n")),
            "{text}"
        );
        assert!(text.contains("dry_run=\"All\"") && text.contains("code=\"404\"} 1\n"));
        assert!(text.contains("apiserver_current_inflight_requests{request_kind=\"mutating\"} 0\n"));
    }

    #[test]
    fn look_up_gives_the_same_series_again() {
        let metrics = Metrics::new();
        let labels = RequestLabels {
            verb: "WATCH",
            resource: "secrets",
            ..RequestLabels::default()
        };
        let first = metrics.requests.series(&labels);
        assert!(Arc::ptr_eq(&first, &metrics.requests.series(&labels)));
        let other = RequestLabels { verb: "GET", ..labels };
        assert!(!Arc::ptr_eq(&first, &metrics.requests.series(&other)));
    }
}
