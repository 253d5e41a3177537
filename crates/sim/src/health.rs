//! What has to be true when the faults have stopped and some time has passed.

use std::collections::BTreeSet;

use machinery::object::ObjectExt;
use serde_json::Value;

use crate::history::History;

const WORKSPACES: &str = "tenancy.kcp.io/workspaces/";
const CLUSTERS: &str = "core.kcp.io/logicalclusters/";
const BINDINGS: &str = "apis.kcp.io/apibindings/";
const FENCES: &str = "/registry-fences/";

/// What is not as it should come to be: objects under deletion, workspaces and clusters that are not ready, bindings that
/// are not bound.
pub fn unsettled(history: &History) -> Vec<String> {
    let mut found = Vec::new();
    for (key, object) in objects(history, "") {
        if object.deletion_timestamp().is_some() {
            found.push(format!(
                "{key} is still being deleted: {}",
                object["metadata"]["finalizers"]
            ));
        }
        let phase = object["status"]["phase"].as_str().unwrap_or("absent");
        let wanted = match &key {
            key if key.starts_with(WORKSPACES) || key.starts_with(CLUSTERS) => "Ready",
            key if key.starts_with(BINDINGS) => "Bound",
            _ => continue,
        };
        if phase != wanted {
            found.push(format!("{key} is {phase}: {}", object["status"]["conditions"]));
        }
    }
    found
}

/// The clusters that workspaces have.
pub fn owned(history: &History) -> BTreeSet<String> {
    objects(history, WORKSPACES)
        .filter_map(|(_, workspace)| Some(workspace["spec"]["cluster"].as_str()?.to_owned()))
        .collect()
}

/// What should not be there: anything of a cluster that was deleted, clusters that no workspace has.
pub fn leftovers(history: &History, owned: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    let ever: BTreeSet<&str> = history
        .keys(FENCES)
        .filter_map(|key| key.strip_prefix(FENCES))
        .collect();
    let dead: Vec<&str> = ever
        .into_iter()
        .filter(|cluster| history.at(&format!("{FENCES}{cluster}"), u64::MAX).is_none())
        .collect();
    for key in history.keys("") {
        let of_dead = dead.iter().any(|cluster| key.contains(&format!("/{cluster}/")));
        if of_dead && history.at(key, u64::MAX).is_some() {
            found.push(format!("{key} is left of a deleted cluster"));
        }
    }
    for (key, _) in objects(history, CLUSTERS) {
        let cluster = key
            .strip_prefix(CLUSTERS)
            .and_then(|rest| rest.split('/').next())
            .unwrap_or_default();
        if cluster != "root" && !cluster.starts_with("system:") && !owned.contains(cluster) {
            found.push(format!("{key} is no workspace's"));
        }
    }
    found
}

fn objects<'a>(history: &'a History, prefix: &'a str) -> impl Iterator<Item = (String, Value)> + 'a {
    history.keys(prefix).filter_map(|key| {
        let version = history.at(key, u64::MAX)?;
        let bytes = version.value.as_ref()?;
        // Parsing everything would cost more than the rest of a run.
        let is_about_life = memchr::memmem::find(bytes, b"deletionTimestamp").is_some()
            || [WORKSPACES, CLUSTERS, BINDINGS]
                .iter()
                .any(|kind| key.starts_with(kind));
        let object = is_about_life.then(|| serde_json::from_slice(bytes).ok())??;
        Some((key.to_owned(), object))
    })
}
