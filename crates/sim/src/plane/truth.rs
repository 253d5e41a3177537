//! What the histories of all shards say together, at one moment: what others are held to.

use std::collections::BTreeMap;

use api::keys::annotation;
use api::replicated;
use machinery::object::ObjectExt;
use permit::Cluster;
use serde_json::Value;
use tenancy::WorkspacePath;

use crate::health::unsettled;
use crate::history::History;
use crate::plane::{CacheSeat, ShardSeat, cache};

const CLUSTERS: &str = "core.kcp.io/logicalclusters/";
const WORKSPACES: &str = "tenancy.kcp.io/workspaces/";
const FENCES: &str = "/registry-fences/";
const REPLICAS: &str = "/registry-replicas/";

/// See the module.
pub struct Truth {
    /// How far each history went.
    pub revisions: Vec<u64>,
    /// What shards have not brought to its end, and what they and the cache server keep of a shard that it does not hold.
    pub unwell: Vec<String>,
    /// Who holds each cluster that ever was; those of the system left out, which every shard has.
    pub holders: BTreeMap<Cluster, Option<&'static str>>,
    /// The cluster of each workspace that ever was.
    pub names: Vec<(WorkspacePath, Option<String>)>,
}

// === impl Truth ===

impl Truth {
    pub fn read(shards: &[ShardSeat], cache: &CacheSeat, revisions: Vec<u64>) -> Self {
        let mut truth = Self {
            revisions,
            unwell: Vec::new(),
            holders: BTreeMap::new(),
            names: Vec::new(),
        };
        for shard in shards {
            let history = shard.history.lock();
            let unsettled = unsettled(&history).into_iter();
            truth
                .unwell
                .extend(unsettled.map(|text| format!("{}: {text}", shard.seat.name)));
            truth.read_clusters(shard.seat.name, &history);
            truth.read_names(&history);
        }
        for at in shards {
            for of in shards.iter().filter(|of| of.seat.name != at.seat.name) {
                let kept = replicas(&at.history.lock(), REPLICAS, of.seat.name);
                truth.unwell.extend(differing_replicas(at.seat.name, &kept, of));
            }
        }
        for of in shards {
            let kept = replicas(&cache.history.lock(), cache::KEYS, of.seat.name);
            truth.unwell.extend(differing_replicas(cache.seat.name, &kept, of));
        }
        truth
    }

    fn read_clusters(&mut self, shard: &'static str, history: &History) {
        let ever = history.keys(FENCES).filter_map(|key| key.strip_prefix(FENCES));
        let tenants = |name: &str| Cluster::parse(name).ok().filter(|_| !name.starts_with("system:"));
        for cluster in ever.filter_map(tenants) {
            self.holders.entry(cluster).or_insert(None);
        }
        for key in history.keys(CLUSTERS) {
            let name = key[CLUSTERS.len()..].split('/').next().unwrap_or_default();
            if history.at(key, u64::MAX).is_some()
                && let Some(cluster) = tenants(name)
            {
                self.holders.insert(cluster, Some(shard));
            }
        }
    }

    fn read_names(&mut self, history: &History) {
        for key in history.keys(WORKSPACES) {
            let Some((parent, name)) = key[WORKSPACES.len()..].split_once('/') else {
                continue;
            };
            let Ok(path) = WorkspacePath::parse(&format!("{parent}:{name}")) else {
                continue;
            };
            let workspace = read(history, key);
            let cluster = workspace
                .as_ref()
                .and_then(|object| object.str_at(&["spec", "cluster"]));
            self.names.push((path, cluster.map(str::to_owned)));
        }
    }
}

/// What somebody keeps of a shard against what that one holds: the same objects in the same places.
fn differing_replicas(at: &str, kept: &Versions, of: &ShardSeat) -> Vec<String> {
    let original = originals(&of.history.lock());
    let mut wrong = Vec::new();
    for (place, version) in kept {
        if original.get(place) != Some(version) {
            let text = format!(
                "{place:?} of {} as {version:?}, it is {:?}",
                of.seat.name,
                original.get(place)
            );
            wrong.push(format!("{at} keeps {text}"));
        }
    }
    for place in original.keys().filter(|place| !kept.contains_key(*place)) {
        wrong.push(format!("{at} does not keep {place:?} of {}", of.seat.name));
    }
    wrong
}

/// `group/resource/cluster/name`, and by uid, revision and content which version it is.
type Versions = BTreeMap<String, (String, String, String)>;

fn replicas(history: &History, prefix: &str, of: &str) -> Versions {
    let mut found = Versions::new();
    for key in history.keys(prefix) {
        let parts: Vec<&str> = key[prefix.len()..].split('/').collect();
        let ([group, resource, cluster, shard, name], Some(object)) = (parts.as_slice(), read(history, key)) else {
            continue;
        };
        if *shard == of {
            let text = |name: &str| object.annotation(name).unwrap_or_default().to_owned();
            let version = (
                text(annotation::ORIGINAL_UID),
                text(annotation::ORIGINAL_RESOURCE_VERSION),
                content(&object),
            );
            found.insert(format!("{group}/{resource}/{cluster}/{name}"), version);
        }
    }
    found
}

/// What a shard has to tell the others.
fn originals(history: &History) -> Versions {
    let mut found = Versions::new();
    for of in replicated::RESOURCES {
        let prefix = format!("{}/{}/", of.group, of.resource);
        for key in history.keys(&prefix) {
            let Some(object) = read(history, key) else { continue };
            let is_tenants = !key[prefix.len()..].starts_with("system:");
            if is_tenants && (!of.marked || replicated::is_marked(&object)) {
                let revision = history.at(key, u64::MAX).map(|version| version.revision.to_string());
                let version = (object.uid().to_owned(), revision.unwrap_or_default(), content(&object));
                found.insert(key.to_owned(), version);
            }
        }
    }
    found
}

fn read(history: &History, key: &str) -> Option<Value> {
    serde_json::from_slice(history.at(key, u64::MAX)?.value.as_ref()?).ok()
}

/// What an object says, without what it says of itself.
fn content(object: &Value) -> String {
    let mut object = object.clone();
    if let Some(members) = object.as_object_mut() {
        members.remove("metadata");
    }
    object.to_string()
}
