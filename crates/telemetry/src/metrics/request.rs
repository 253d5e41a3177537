//! Metrics of API requests: one look-up gives all handles of a request's labels.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::{Counter, Family, Gauge, Histogram};

/// What requests are told apart by. All values come from fixed sets: verbs, served resources, `cluster`, `namespace`,
/// `resource` as scope. Never from what a client sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestLabels<'a> {
    /// As Kubernetes prints it: `GET`, `LIST`, `WATCH`, `POST`, `PUT`, `PATCH`, `DELETE`, `DELETECOLLECTION`.
    pub verb: &'a str,
    pub group: &'a str,
    pub version: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub scope: &'a str,
    pub dry_run: bool,
}

/// The handles of one set of labels.
pub struct RequestSeries {
    durations: Histogram,
    sizes: Histogram,
    /// In flight, for requests that have no end of their own (watches).
    pub long_running: Gauge,
    pub watch_events: Counter,
    pub watch_event_sizes: Histogram,
    codes: Mutex<Vec<(u16, Counter)>>,
    total: Family<Counter>,
    labels: [String; 7],
}

/// Finds [`RequestSeries`] by labels.
pub struct RequestTable {
    pub(super) total: Family<Counter>,
    pub(super) durations: Family<Histogram>,
    pub(super) sizes: Family<Histogram>,
    pub(super) long_running: Family<Gauge>,
    pub(super) watch_events: Family<Counter>,
    pub(super) watch_event_sizes: Family<Histogram>,
    by_hash: RwLock<HashMap<u64, Vec<Arc<RequestSeries>>, BuildHasherDefault<Fnv>>>,
}

/// FNV-1a: the keys are short, and the order of the map is never looked at.
struct Fnv(u64);

const COMPONENT: &str = "apiserver";

// === impl RequestTable ===

impl RequestTable {
    pub(super) fn new(
        total: Family<Counter>,
        durations: Family<Histogram>,
        sizes: Family<Histogram>,
        long_running: Family<Gauge>,
        watch_events: Family<Counter>,
        watch_event_sizes: Family<Histogram>,
    ) -> Self {
        let by_hash = RwLock::default();
        Self {
            total,
            durations,
            sizes,
            long_running,
            watch_events,
            watch_event_sizes,
            by_hash,
        }
    }

    /// The handles of these labels.
    pub fn series(&self, labels: &RequestLabels<'_>) -> Arc<RequestSeries> {
        let hash = labels.hash();
        let find = |of: Option<&Vec<Arc<RequestSeries>>>| of?.iter().find(|series| series.is_for(labels)).cloned();
        if let Some(found) = find(self.by_hash.read().get(&hash)) {
            return found;
        }
        let mut all = self.by_hash.write();
        if let Some(found) = find(all.get(&hash)) {
            return found;
        }
        let made = Arc::new(self.make(labels));
        // Label sets are finite; should a caller break that, the families' bounds hold and this table stays small.
        if all.len() < 4096 {
            all.entry(hash).or_default().push(made.clone());
        }
        made
    }

    fn make(&self, labels: &RequestLabels<'_>) -> RequestSeries {
        let RequestLabels {
            verb,
            group,
            version,
            resource,
            subresource,
            scope,
            dry_run,
        } = *labels;
        let dry_run = if dry_run { "All" } else { "" };
        let plain = [group, version, resource, subresource, verb, scope, COMPONENT];
        RequestSeries {
            durations: self
                .durations
                .with(&[verb, dry_run, group, version, resource, subresource, scope, COMPONENT]),
            sizes: self.sizes.with(&plain),
            long_running: match verb {
                "WATCH" => self.long_running.with(&plain),
                _ => Gauge::default(),
            },
            watch_events: match verb {
                "WATCH" => self.watch_events.with(&[group, version, resource]),
                _ => Counter::default(),
            },
            watch_event_sizes: match verb {
                "WATCH" => self.watch_event_sizes.with(&[group, version, resource]),
                _ => Histogram::new(&[]),
            },
            codes: Mutex::default(),
            total: self.total.clone(),
            labels: [verb, dry_run, group, version, resource, subresource, scope].map(str::to_owned),
        }
    }
}

// === impl RequestSeries ===

impl RequestSeries {
    /// A request was answered. `size` is that of the body, if it is known beforehand.
    pub fn answered(&self, code: u16, duration: Duration, size: Option<u64>) {
        self.counter(code).inc();
        self.durations.observe_duration(duration);
        if let Some(size) = size {
            // Exact up to 2^53 bytes.
            self.sizes.observe(size as f64);
        }
    }

    /// A long-running request was answered: it is counted, its duration says nothing about the server.
    pub fn started(&self, code: u16) {
        self.counter(code).inc();
    }

    fn counter(&self, code: u16) -> Counter {
        let mut codes = self.codes.lock();
        if let Some((_, counter)) = codes.iter().find(|(of, _)| *of == code) {
            return counter.clone();
        }
        let [verb, dry_run, group, version, resource, subresource, scope] = &self.labels;
        let text = code.to_string();
        let values = [
            verb,
            dry_run,
            group,
            version,
            resource,
            subresource,
            scope,
            COMPONENT,
            &text,
        ];
        let counter = self.total.with(&values);
        codes.push((code, counter.clone()));
        counter
    }

    fn is_for(&self, labels: &RequestLabels<'_>) -> bool {
        let [verb, dry_run, group, version, resource, subresource, scope] = &self.labels;
        resource == labels.resource
            && verb == labels.verb
            && group == labels.group
            && version == labels.version
            && subresource == labels.subresource
            && scope == labels.scope
            && dry_run.is_empty() != labels.dry_run
    }
}

// === impl RequestLabels ===

impl RequestLabels<'_> {
    fn hash(&self) -> u64 {
        let mut fnv = Fnv::default();
        for text in [
            self.verb,
            self.resource,
            self.group,
            self.version,
            self.subresource,
            self.scope,
        ] {
            fnv.write(text.as_bytes());
            fnv.write(&[0xff]);
        }
        fnv.write(&[u8::from(self.dry_run)]);
        fnv.finish()
    }
}

// === impl Fnv ===

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
