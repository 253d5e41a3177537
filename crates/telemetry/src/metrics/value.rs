//! The three kinds of series. Handles are cheap to clone; clones share the value.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use super::family::Series;

/// A number that only grows.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

/// A number that goes up and down.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicI64>);

/// Observations counted by upper bounds.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<Buckets>);

#[derive(Debug)]
struct Buckets {
    bounds: &'static [f64],
    /// One per bound and one for what exceeds all; not cumulative.
    counts: Box<[AtomicU64]>,
    /// Bits of an `f64`.
    sum: AtomicU64,
}

// === impl Counter ===

impl Counter {
    pub fn inc(&self) {
        self.add(1);
    }

    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Series for Counter {
    const TYPE: &'static str = "counter";

    fn encode(&self, name: &str, labels: &str, out: &mut String) {
        line(out, name, "", labels, "", format_args!("{}", self.get()));
    }
}

// === impl Gauge ===

impl Gauge {
    pub fn inc(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn dec(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn set(&self, n: i64) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Series for Gauge {
    const TYPE: &'static str = "gauge";

    fn encode(&self, name: &str, labels: &str, out: &mut String) {
        line(out, name, "", labels, "", format_args!("{}", self.get()));
    }
}

// === impl Histogram ===

impl Histogram {
    /// `bounds` ascend.
    pub fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Buckets {
            bounds,
            counts,
            sum: AtomicU64::new(0),
        }))
    }

    pub fn observe(&self, value: f64) {
        let bucket = self.0.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.0.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let add = |bits: u64| Some((f64::from_bits(bits) + value).to_bits());
        // The closure always yields a value, so this cannot fail.
        let _ = self.0.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Seconds, as Prometheus wants durations.
    pub fn observe_duration(&self, duration: Duration) {
        self.observe(duration.as_secs_f64());
    }

    /// How many observations there were.
    pub fn count(&self) -> u64 {
        self.0.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    pub fn sum(&self) -> f64 {
        f64::from_bits(self.0.sum.load(Ordering::Relaxed))
    }
}

impl Series for Histogram {
    const TYPE: &'static str = "histogram";

    fn encode(&self, name: &str, labels: &str, out: &mut String) {
        let mut cumulative = 0;
        for (index, count) in self.0.counts.iter().enumerate() {
            cumulative += count.load(Ordering::Relaxed);
            let bound = match self.0.bounds.get(index) {
                Some(bound) => format!("le=\"{bound}\""),
                None => "le=\"+Inf\"".to_owned(),
            };
            line(out, name, "_bucket", labels, &bound, format_args!("{cumulative}"));
        }
        line(out, name, "_sum", labels, "", format_args!("{}", self.sum()));
        line(out, name, "_count", labels, "", format_args!("{cumulative}"));
    }
}

/// `name_suffix{labels,more} value`.
fn line(out: &mut String, name: &str, suffix: &str, labels: &str, more: &str, value: std::fmt::Arguments<'_>) {
    out.push_str(name);
    out.push_str(suffix);
    if !labels.is_empty() || !more.is_empty() {
        let comma = if labels.is_empty() || more.is_empty() { "" } else { "," };
        let _ = write!(out, "{{{labels}{comma}{more}}}");
    }
    let _ = writeln!(out, " {value}");
}
