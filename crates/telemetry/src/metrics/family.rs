//! Families of series with fixed labels, and the registry that prints them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::OVERFLOW;

/// One kind of series.
pub trait Series: Clone + Send + Sync + 'static {
    /// As `# TYPE` says it.
    const TYPE: &'static str;

    /// Appends the lines of one series. `labels` is `a="x",b="y"`, escaped.
    fn encode(&self, name: &str, labels: &str, out: &mut String);
}

/// Series of one name, told apart by labels.
pub struct Family<S> {
    inner: Arc<Inner<S>>,
}

struct Inner<S> {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    series_max: usize,
    make: fn() -> S,
    series: RwLock<BTreeMap<Vec<String>, S>>,
}

/// A value that is computed when metrics are read.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: &'static str,
    pub help: &'static str,
    /// `counter` or `gauge`.
    pub kind: &'static str,
    pub labels: Vec<(&'static str, String)>,
    pub value: f64,
}

/// Everything that `/metrics` prints. Cheap to clone; clones are one registry.
#[derive(Clone, Default)]
pub struct Registry {
    sources: Arc<Mutex<Vec<Box<dyn Source>>>>,
}

trait Source: Send + Sync {
    fn encode(&self, out: &mut String);
}

struct Computed<F>(F);

// === impl Family ===

impl<S: Series> Family<S> {
    /// Series beyond `series_max` share one series whose labels are all [`OVERFLOW`].
    pub fn new(
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
        series_max: usize,
        make: fn() -> S,
    ) -> Self {
        let series = RwLock::new(BTreeMap::new());
        Self {
            inner: Arc::new(Inner {
                name,
                help,
                labels,
                series_max,
                make,
                series,
            }),
        }
    }

    /// The handle of one series, made at its first use. `values` are in the order of the labels; missing ones are empty.
    pub fn with(&self, values: &[&str]) -> S {
        let mut key: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        key.resize(self.inner.labels.len(), String::new());
        if let Some(series) = self.inner.series.read().get(&key) {
            return series.clone();
        }
        let mut all = self.inner.series.write();
        if !all.contains_key(&key) && all.len() >= self.inner.series_max {
            key.fill(OVERFLOW.to_owned());
        }
        all.entry(key).or_insert_with(self.inner.make).clone()
    }

    /// Drops a series: what it was about is gone.
    pub fn remove(&self, values: &[&str]) {
        let key: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        self.inner.series.write().remove(&key);
    }

    pub fn len(&self) -> usize {
        self.inner.series.read().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<S> Clone for Family<S> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
        }
    }
}

impl<S: Series> Source for Family<S> {
    fn encode(&self, out: &mut String) {
        let all = self.inner.series.read();
        if all.is_empty() {
            return;
        }
        header(out, self.inner.name, self.inner.help, S::TYPE);
        for (values, series) in all.iter() {
            let labels = render_labels(self.inner.labels.iter().copied().zip(values.iter().map(String::as_str)));
            series.encode(self.inner.name, &labels, out);
        }
    }
}

// === impl Computed ===

impl<F: Fn() -> Vec<Sample> + Send + Sync> Source for Computed<F> {
    fn encode(&self, out: &mut String) {
        let mut last = "";
        for sample in (self.0)() {
            if sample.name != last {
                header(out, sample.name, sample.help, sample.kind);
                last = sample.name;
            }
            let labels = render_labels(sample.labels.iter().map(|(name, value)| (*name, value.as_str())));
            let braced = if labels.is_empty() {
                String::new()
            } else {
                format!("{{{labels}}}")
            };
            let _ = writeln!(out, "{}{braced} {}", sample.name, sample.value);
        }
    }
}

// === impl Registry ===

impl Registry {
    /// Makes a family part of what is printed.
    pub fn add<S: Series>(&self, family: Family<S>) -> Family<S> {
        self.sources.lock().push(Box::new(family.clone()));
        family
    }

    /// Adds values that are computed at each reading; samples of one name must follow each other.
    pub fn add_computed(&self, samples: impl Fn() -> Vec<Sample> + Send + Sync + 'static) {
        self.sources.lock().push(Box::new(Computed(samples)));
    }

    /// The text form, families in the order in which they were added.
    pub fn encode(&self) -> String {
        let mut out = String::with_capacity(64 * 1024);
        for source in self.sources.lock().iter() {
            source.encode(&mut out);
        }
        out
    }
}

fn header(out: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn render_labels<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = String::new();
    for (name, value) in labels {
        let comma = if out.is_empty() { "" } else { "," };
        let _ = write!(out, "{comma}{name}=\"");
        for c in value.chars() {
            match c {
                '\\' => out.push_str(r"\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str(r"\n"),
                c => out.push(c),
            }
        }
        out.push('"');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Counter, Gauge, Histogram};

    #[test]
    fn prints_the_text_format() {
        let registry = Registry::default();
        let family = Family::new("x_total", "Things.", &["a", "b"], 10, Counter::default);
        let requests = registry.add(family);
        requests.with(&["1", "q\"\\\n"]).add(3);
        let family = Family::new("y_seconds", "Times.", &[], 10, || Histogram::new(&[0.5, 1.0]));
        let times = registry.add(family);
        times.with(&[]).observe(0.5);
        times.with(&[]).observe(7.25);
        registry.add(Family::new("unused", "Nothing yet.", &[], 1, Gauge::default));
        registry.add_computed(|| {
            let sample = |value: f64, of: &str| Sample {
                name: "z",
                help: "Now.",
                kind: "gauge",
                labels: vec![("of", of.to_owned())],
                value,
            };
            vec![sample(1.0, "a"), sample(2.5, "b")]
        });
        let expected = "# HELP x_total Things.\n# TYPE x_total counter\nx_total{a=\"1\",b=\"q\\\"\\\\\\n\"} 3\n\
            # HELP y_seconds Times.\n# TYPE y_seconds histogram\ny_seconds_bucket{le=\"0.5\"} 1\n\
            y_seconds_bucket{le=\"1\"} 1\ny_seconds_bucket{le=\"+Inf\"} 2\ny_seconds_sum 7.75\ny_seconds_count 2\n\
            # HELP z Now.\n# TYPE z gauge\nz{of=\"a\"} 1\nz{of=\"b\"} 2.5\n";
        assert_eq!(registry.encode(), expected);
    }

    #[test]
    fn series_are_bounded() {
        let family = Family::new("x_total", "Things.", &["a"], 2, Counter::default);
        for name in ["one", "two", "three", "four"] {
            family.with(&[name]).inc();
        }
        family.with(&["one"]).inc();
        assert_eq!(family.len(), 3);
        assert_eq!(family.with(&[OVERFLOW]).get(), 2);
        assert_eq!(family.with(&["one"]).get(), 2);
        family.remove(&["one"]);
        assert_eq!(family.len(), 2);
    }
}
