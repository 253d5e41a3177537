//! Raw lines, medians and the table.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde_json::{Value, json};

use super::rows::{ROWS, Row, Series};

/// Everything measured so far.
pub struct Report {
    raw: File,
    store: &'static str,
    commit: String,
    series: &'static str,
    run: usize,
    values: BTreeMap<&'static str, Vec<f64>>,
    failed: Vec<Series>,
}

// === impl Report ===

impl Report {
    /// The lines of the file that are of other series than the `chosen` ones stay as they are.
    pub fn create(output: &Path, store: &'static str, commit: String, chosen: &[Series]) -> anyhow::Result<Self> {
        if let Some(directory) = output.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let earlier = match std::fs::read_to_string(output) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            earlier => earlier.with_context(|| format!("reading {}", output.display()))?,
        };
        let is_kept = |line: &&str| {
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            let series = line["series"].as_str().unwrap_or_default();
            !chosen.iter().any(|one| one.name() == series)
        };
        let mut raw = File::create(output).with_context(|| format!("creating {}", output.display()))?;
        for line in earlier.lines().filter(is_kept) {
            writeln!(raw, "{line}")?;
        }
        Ok(Self {
            raw,
            store,
            commit,
            series: "",
            run: 0,
            values: BTreeMap::new(),
            failed: Vec::new(),
        })
    }

    pub fn begin(&mut self, series: Series, run: usize) {
        self.series = series.name();
        self.run = run;
    }

    /// A raw line: what the load client said, and when and where that was.
    pub fn line(&mut self, what: &str, measured: &Value) -> anyhow::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut line = json!({
            "store": self.store, "commit": self.commit, "series": self.series, "run": self.run, "what": what,
            "unix_seconds": now.as_secs(), "load_average": load_average(),
        });
        if let (Some(line), Some(measured)) = (line.as_object_mut(), measured.as_object()) {
            line.extend(measured.clone());
        }
        writeln!(self.raw, "{line}").context("writing the raw lines")
    }

    /// What counts for a row in this run.
    pub fn value(&mut self, row: &'static str, value: f64) -> anyhow::Result<()> {
        debug_assert!(ROWS.iter().any(|known| known.name == row), "{row} is a row");
        println!("  {row}: {}", number(value));
        self.values.entry(row).or_default().push(value);
        self.line("value", &json!({"row": row, "value": value}))
    }

    pub fn failed(&mut self, series: Series, error: &anyhow::Error) -> anyhow::Result<()> {
        println!("  FAILED: {error:#}");
        self.failed.push(series);
        self.line("failed", &json!({"error": format!("{error:#}")}))
    }

    /// In Markdown.
    pub fn table(&self) -> String {
        let store = self.store;
        let mut out = format!("| what | kcp | gate | aim | {store} | runs | |\n|---|---|---|---|---|---|---|\n");
        for row in ROWS {
            let Some((median, runs)) = self.median(row) else {
                if self.is_expected(row) {
                    out += &format!(
                        "| {} | {} | {} | {} | | 0 | **not measured** |\n",
                        row.what,
                        row.kcp,
                        row.bound(),
                        row.aim
                    );
                }
                continue;
            };
            let verdict = match row.holds(median) {
                true => "holds",
                false if !self.is_judged() => "above",
                false => "**missed**",
            };
            out += &format!(
                "| {} | {} | {} | {} | {} {} | {runs} | {verdict} |\n",
                row.what,
                row.kcp,
                row.bound(),
                row.aim,
                number(median),
                row.unit,
            );
        }
        out
    }

    /// Rows whose gate does not hold, or that should have been measured and were not.
    pub fn missed(&self) -> usize {
        let misses = |row: &&Row| match self.median(row) {
            Some((median, _)) => self.is_judged() && !row.holds(median),
            None => self.is_expected(row),
        };
        ROWS.iter().filter(misses).count()
    }

    /// The gates are the embedded store's; over etcd, figures are reported beside them.
    fn is_judged(&self) -> bool {
        self.store != "etcd"
    }

    fn is_expected(&self, row: &Row) -> bool {
        self.failed.iter().any(|series| series.rows().contains(&row.name))
    }

    fn median(&self, row: &Row) -> Option<(f64, usize)> {
        let mut values = self.values.get(row.name)?.clone();
        values.sort_by(f64::total_cmp);
        let (low, high) = (values.get((values.len() - 1) / 2)?, values.get(values.len() / 2)?);
        Some(((low + high) / 2.0, values.len()))
    }
}

// === impl Row ===

impl Row {
    fn holds(&self, value: f64) -> bool {
        if self.is_minimum {
            value >= self.gate
        } else {
            value <= self.gate
        }
    }

    fn bound(&self) -> String {
        let sign = if self.is_minimum { "≥" } else { "≤" };
        format!("{sign} {} {}", number(self.gate), self.unit)
    }
}

/// With as many digits as are worth reading.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Of the last minute: how busy the machine was.
fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ')
        .next()
        .and_then(|first| first.parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_judged_and_every_line_is_json() {
        let path = std::env::temp_dir().join(format!("bench-{}.jsonl", std::process::id()));
        let mut report = Report::create(&path, "embedded", "abc".to_owned(), &[Series::Requests]).unwrap();
        report.begin(Series::Requests, 1);
        for value in [70.0, 10.0, 55.0] {
            report.value("get", value).unwrap();
        }
        report.value("workspaces-rate", 299.0).unwrap();
        report.line("get", &json!({"ops": 1})).unwrap();
        assert!(report.table().contains("| 55.0 µs | 3 | holds |"), "{}", report.table());
        assert_eq!(report.missed(), 1, "a rate is to be high");
        report
            .failed(Series::Fairness, &anyhow::anyhow!("no \"answer\""))
            .unwrap();
        assert_eq!(report.missed(), 2, "what could not be measured does not hold");
        report.store = "etcd";
        assert_eq!(report.missed(), 1, "gates are not etcd's, but what failed has failed");
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 6);
        assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));

        // Another part of the benchmark: the lines of this one stay, what is measured again is replaced.
        let again = |series, value| {
            let mut report = Report::create(&path, "embedded", "def".to_owned(), &[series]).unwrap();
            report.begin(series, 1);
            report.value("get", value).unwrap();
            std::fs::read_to_string(&path).unwrap().lines().count()
        };
        assert_eq!(again(Series::Basic, 1.0), 7);
        assert_eq!(again(Series::Basic, 2.0), 7);
        assert_eq!(again(Series::Requests, 3.0), 2);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn every_row_belongs_to_one_series() {
        use clap::ValueEnum as _;
        for row in ROWS {
            let owners = Series::value_variants()
                .iter()
                .filter(|one| one.rows().contains(&row.name));
            assert_eq!(owners.count(), 1, "{}", row.name);
        }
    }
}
