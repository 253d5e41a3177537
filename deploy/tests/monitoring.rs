//! Dashboards and alerts ask for metrics that exist, by labels that they have.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use machinery::object::ObjectExt;
use serde_json::Value;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn files(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("charts/kcp/files")
        .join(name)
}

/// Every `expr` below a value, with what names it.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(value.str_at(&["expr"]).map(str::to_owned));
            fields.values().for_each(|field| expressions(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

fn all_expressions() -> Vec<String> {
    let mut found = Vec::new();
    let alerts = std::fs::read(files("alerts.yaml")).unwrap();
    expressions(&machinery::yaml::decode_value(&alerts).unwrap(), &mut found);
    for entry in std::fs::read_dir(files("dashboards")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        expressions(&serde_json::from_str(&text).unwrap(), &mut found);
    }
    assert!(found.len() > 40, "{}", found.len());
    found
}

/// Names in an expression that are neither functions nor labels: what stands before `{` or a bracket of time, or alone.
fn metrics(expression: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut names = BTreeSet::new();
    for word in expression.split(|c: char| !is_name(c)) {
        let is_metric = [
            "apiserver_",
            "etcd_",
            "workqueue_",
            "kcp_",
            "kcp:",
            "proxy_",
            "process_",
        ];
        if is_metric.iter().any(|prefix| word.starts_with(prefix)) && word != "kcp_io_part_of_shard" {
            names.insert(word.to_owned());
        }
    }
    names
}

/// The text of every source file that makes metrics.
fn sources() -> String {
    let mut text = String::new();
    for directory in [
        "crates/telemetry/src/metrics",
        "shard/src",
        "front-proxy/src",
        "crates/apiserver/src",
    ] {
        let mut left = vec![repository().join(directory)];
        while let Some(path) = left.pop() {
            for entry in std::fs::read_dir(&path).unwrap() {
                let entry = entry.unwrap().path();
                match entry.is_dir() {
                    true => left.push(entry),
                    false => text.push_str(&std::fs::read_to_string(&entry).unwrap_or_default()),
                }
            }
        }
    }
    text
}

#[test]
fn every_metric_that_is_asked_for_exists() {
    let sources = sources();
    let alerts = std::fs::read_to_string(files("alerts.yaml")).unwrap();
    for expression in all_expressions() {
        for name in metrics(&expression) {
            let family = ["_bucket", "_count", "_sum"]
                .iter()
                .find_map(|part| name.strip_suffix(part));
            let is_made = |name: &str| sources.contains(&format!("\"{name}\""));
            let is_recorded = alerts.contains(&format!("record: {name}\n"));
            let exists = is_made(&name) || family.is_some_and(is_made) || is_recorded;
            assert!(exists, "{name} in {expression}");
        }
    }
}

#[test]
fn dashboards_are_whole() {
    for entry in std::fs::read_dir(files("dashboards")).unwrap() {
        let file = entry.unwrap().path();
        let board: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(
            board.str_at(&["uid"]),
            Some(&*format!("kcp-{}", file.file_stem().unwrap().to_string_lossy()))
        );
        let variables: BTreeSet<String> = deploy::array(&board["templating"], "list")
            .iter()
            .filter_map(|variable| variable.str_at(&["name"]).map(str::to_owned))
            .collect();
        let text = board.to_string();
        for word in text.split('$').skip(1) {
            let word = word.trim_start_matches('{');
            let end = word
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(word.len());
            assert!(
                variables.contains(&word[..end]),
                "{}: ${}",
                file.display(),
                &word[..end]
            );
        }
        let ids: BTreeSet<String> = deploy::array(&board, "panels")
            .iter()
            .map(|panel| panel["id"].to_string())
            .collect();
        assert_eq!(ids.len(), deploy::array(&board, "panels").len());
    }
}
