//! The rules.

use std::path::Path;

use anyhow::Context;
use regex::Regex;

use super::source::Source;

/// The longest file outside tests, in lines.
const LINES_MAX: usize = 900;

/// Where an authorized request's permit is made. `operation.rs` translates the
/// permit that it was given to the resource under which an alias is stored, after checking it, and cannot widen it.
const GRANTS: [&str; 3] = [
    "crates/permit/src/lib.rs",
    "crates/apiserver/src/stage/permitted.rs",
    "crates/registry/src/store/operation.rs",
];

/// Who acts without a user: controllers, and what a shard reads to decide about users.
const INTERNALS: [&str; 8] = [
    "crates/permit/",
    "crates/controller/src/",
    "shard/src/facts.rs",
    "shard/src/effects.rs",
    "shard/src/fabric.rs",
    "shard/src/bootstrap.rs",
    "shard/src/replicate.rs",
    "crates/fabric/src/replicas/",
];

/// Where clock, randomness and tasks may be taken from the system: the seam itself, and programs that are not simulated.
const OUTSIDE_THE_SEAMS: [&str; 8] = [
    "crates/env/",
    "crates/cli/",
    "xtask/",
    "e2e/",
    "shard/src/main.rs",
    "front-proxy/src/main.rs",
    "virtual-workspaces/src/main.rs",
    "cache-server/src/main.rs",
];

/// Crates that know no word of tenancy but `Cluster` and `Scope`.
const GENERIC: [&str; 10] = [
    "crates/env",
    "crates/telemetry",
    "crates/machinery",
    "crates/permit",
    "crates/kv",
    "crates/storage",
    "crates/registry",
    "crates/apiserver",
    "crates/controller",
    "crates/plan",
];

/// Crates without I/O, whose functions depend on their arguments alone.
const PURE: [&str; 6] = [
    "crates/machinery",
    "crates/permit",
    "crates/plan",
    "crates/api",
    "crates/tenancy",
    "crates/controllers",
];

/// What a pure crate may not depend on.
const IMPURE: [&str; 8] = [
    "tokio",
    "tokio-util",
    "hyper",
    "env",
    "kv",
    "storage",
    "rand",
    "tempfile",
];

/// Where tokio's watch channel may be used: it wakes those who wait in an order by chance. No simulation has an etcd, or the model
/// for its store.
const WAKES_BY_CHANCE: [&str; 2] = ["crates/kv/src/etcd/", "crates/kv/src/model.rs"];

/// The crates that have a function which only unsafe code can be, and where: the root file of the crate, and that of the function.
const UNSAFE: [(&str, &str); 2] = [
    ("crates/allocator/src/lib.rs", "crates/allocator/src/thread_cache.rs"),
    ("crates/sim/src/lib.rs", "crates/sim/src/system_clock.rs"),
];

/// The rules, with their patterns compiled.
pub struct Rules {
    beyond_the_seams: Regex,
    tenancy: Regex,
}

// === impl Rules ===

impl Rules {
    /// Compiles the patterns.
    pub fn new() -> anyhow::Result<Self> {
        let seams = r"\bInstant::now\(|\bSystemTime::now\(|\btokio::(task::)?spawn(_blocking)?\(|\bthread_rng\(|\brand::rng\(|\bstd::thread::spawn\(|\bTokioTimer\b";
        Ok(Self {
            beyond_the_seams: Regex::new(seams).context("the seams' pattern")?,
            tenancy: Regex::new(r"\b(Workspace|APIExport|APIBinding|ApiExport|ApiBinding)\w*")
                .context("the pattern")?,
        })
    }

    /// Checks one Rust file.
    pub fn source(&self, source: &Source, findings: &mut Vec<String>) {
        opens_with_purpose(source, findings);
        selects_are_biased(source, findings);
        if source.is_test {
            return;
        }
        is_safe(source, findings);
        is_short(source, findings);
        names_only_in(source, "Permit::granted(", &GRANTS, findings);
        names_only_in(source, "Permit::internal(", &INTERNALS, findings);
        names_only_in(source, "sync::watch", &WAKES_BY_CHANCE, findings);
        faults_are_not_released(source, findings);
        self.stays_within_the_seams(source, findings);
        self.knows_no_tenancy(source, findings);
    }

    /// Checks one Cargo.toml.
    pub fn manifest(&self, path: &Path, text: &str, findings: &mut Vec<String>) {
        let home = path
            .parent()
            .map(|parent| parent.to_string_lossy().replace('\\', "/"))
            .unwrap_or_default();
        if !PURE.contains(&home.as_str()) {
            return;
        }
        let mut section = "";
        for (index, line) in text.lines().enumerate() {
            if line.starts_with('[') {
                section = line.trim();
                continue;
            }
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            if section == "[dependencies]" && IMPURE.contains(&name) {
                findings.push(format!(
                    "{home}/Cargo.toml:{}: a pure crate may not depend on `{name}`",
                    index + 1
                ));
            }
        }
    }

    fn stays_within_the_seams(&self, source: &Source, findings: &mut Vec<String>) {
        if OUTSIDE_THE_SEAMS.iter().any(|allowed| source.path.starts_with(allowed)) {
            return;
        }
        for (number, line) in &source.code {
            if let Some(call) = self.beyond_the_seams.find(line) {
                let call = call.as_str().trim_end_matches('(');
                findings.push(format!("{}:{number}: `{call}`: take it from crate env", source.path));
            }
        }
    }

    fn knows_no_tenancy(&self, source: &Source, findings: &mut Vec<String>) {
        if !GENERIC.contains(&source.home()) {
            return;
        }
        for (number, line) in &source.code {
            if let Some(name) = self.tenancy.find(line) {
                findings.push(format!(
                    "{}:{number}: `{}` in a generic crate",
                    source.path,
                    name.as_str()
                ));
            }
        }
    }
}

fn is_short(source: &Source, findings: &mut Vec<String>) {
    if source.lines.len() > LINES_MAX {
        findings.push(format!(
            "{}:{}: longer than {LINES_MAX} lines",
            source.path,
            source.lines.len()
        ));
    }
}

fn names_only_in(source: &Source, name: &str, allowed: &[&str], findings: &mut Vec<String>) {
    if allowed.iter().any(|allowed| source.path.starts_with(allowed)) {
        return;
    }
    for (number, line) in &source.code {
        if line.contains(name) {
            findings.push(format!(
                "{}:{number}: `{name}` is not for this file (xtask tidy lists who may)",
                source.path
            ));
        }
    }
}

/// Faults that are put in on purpose exist in builds with debug assertions only, whatever features a release build has.
fn faults_are_not_released(source: &Source, findings: &mut Vec<String>) {
    let next = source.lines.iter().skip(1).map(String::as_str).chain([""]);
    for (index, (line, next)) in source.lines.iter().zip(next).enumerate() {
        let is_condition = line.trim_start().starts_with("#[cfg(");
        let is_fault = line.contains("\"planted\"") || next.contains("skip_sync");
        if is_condition && is_fault && !line.contains("debug_assertions") {
            findings.push(format!(
                "{}:{}: a planted fault without `debug_assertions` in its condition",
                source.path,
                index + 1
            ));
        }
    }
}

/// An unbiased select picks its branch at random, and a simulation could not be repeated.
fn selects_are_biased(source: &Source, findings: &mut Vec<String>) {
    for (index, (number, line)) in source.code.iter().enumerate() {
        let opens = line.contains("tokio::select!") || line.trim_start().starts_with("select! {");
        let next = source.code[index + 1..]
            .iter()
            .map(|(_, next)| next.trim())
            .find(|next| !next.is_empty());
        if opens && !line.contains("biased;") && next != Some("biased;") {
            findings.push(format!("{}:{number}: a select without `biased;`", source.path));
        }
    }
}

/// A crate's first file says what the crate is for.
fn opens_with_purpose(source: &Source, findings: &mut Vec<String>) {
    if !source.path.ends_with("src/lib.rs") && !source.path.ends_with("src/main.rs") {
        return;
    }
    if !source.lines.first().is_some_and(|line| line.starts_with("//!")) {
        findings.push(format!("{}:1: does not open with `//!` and its purpose", source.path));
    }
    let is_empty = source.code.iter().all(|(_, line)| line.trim().is_empty());
    // What is forbidden can be allowed nowhere below.
    let level = match UNSAFE.iter().any(|(root, _)| source.path == *root) {
        true => "#![deny(unsafe_code)]",
        false => "#![forbid(unsafe_code)]",
    };
    if !is_empty && !source.lines.iter().any(|line| line == level) {
        findings.push(format!("{}:1: without `{level}`", source.path));
    }
}

fn is_safe(source: &Source, findings: &mut Vec<String>) {
    if UNSAFE.iter().any(|(_, file)| source.path == *file) {
        return;
    }
    for (number, line) in &source.code {
        let is_unsafe = line
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .any(|word| word == "unsafe");
        if is_unsafe {
            let [(_, one), (_, other)] = UNSAFE;
            findings.push(format!(
                "{}:{number}: `unsafe` is for {one} and {other} alone",
                source.path
            ));
        }
    }
}
