//! What has to be true of a whole control plane when the faults have stopped and some time has passed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api::keys::annotation;
use api::replicated;
use fabric::Route;
use machinery::object::ObjectExt;
use permit::Cluster;
use serde_json::Value;
use tenancy::WorkspacePath;

use crate::health::{leftovers, owned, unsettled};
use crate::history::{self, History};
use crate::plane::{Plane, SETTLE_BOUND, ShardSeat};

const CLUSTERS: &str = "core.kcp.io/logicalclusters/";
const WORKSPACES: &str = "tenancy.kcp.io/workspaces/";
const FENCES: &str = "/registry-fences/";
const REPLICAS: &str = "/registry-replicas/";
/// How long a cluster may stay that was begun on a shard which did not answer: what was on its way there may arrive a minute
/// late, and is looked for every ten seconds (`controllers::workspace::abandoned`).
const SWEEP_BOUND: Duration = Duration::from_secs(150);
/// How long everything has to be at rest.
const REST: Duration = Duration::from_secs(1);

impl Plane {
    /// Convergence: everything becomes what it was asked to be, nothing is left of what was deleted, and whoever keeps something
    /// of another process has what that process has.
    pub async fn settle(&self) -> Result<(), String> {
        let clock = &self.site.env().clock;
        let end = clock.monotonic() + SETTLE_BOUND;
        let mut at_rest_since = None;
        loop {
            let now = clock.monotonic();
            let unwell = self.unwell();
            match (unwell.is_empty(), at_rest_since) {
                (true, Some(since)) if now >= since + REST => break,
                (true, Some(_)) => {}
                (true, None) => at_rest_since = Some(now),
                (false, _) if now > end => {
                    return Err(format!("not well within {SETTLE_BOUND:?}: {unwell:#?}"));
                }
                (false, _) => at_rest_since = None,
            }
            clock.sleep(Duration::from_millis(100)).await;
        }
        let mut wrong = self.written_twice();
        let end = clock.monotonic() + SWEEP_BOUND;
        let mut left = self.left_behind();
        while !left.is_empty() && clock.monotonic() < end {
            clock.sleep(REST).await;
            left = self.left_behind();
        }
        wrong.extend(left);
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(format!("{wrong:#?}")),
        }
    }

    /// What nobody has, on any shard.
    fn left_behind(&self) -> Vec<String> {
        let owned: BTreeSet<String> = self
            .shards
            .iter()
            .flat_map(|shard| owned(&shard.history.lock()))
            .collect();
        let left_on = |shard: &ShardSeat| {
            let left = leftovers(&shard.history.lock(), &owned).into_iter();
            left.map(|text| format!("{}: left behind: {text}", shard.seat.name))
                .collect::<Vec<_>>()
        };
        self.shards.iter().flat_map(left_on).collect()
    }

    /// What is not yet as it should come to be.
    fn unwell(&self) -> Vec<String> {
        let mut unwell = Vec::new();
        for shard in &self.shards {
            let name = shard.seat.name;
            let Some(up) = shard.up() else {
                unwell.push(format!("{name} is down"));
                continue;
            };
            if !up.shard.driver.as_ref().is_some_and(controller::Driver::is_idle) {
                let depths = up.shard.driver.as_ref().map(controller::Driver::depths);
                let waiting: Vec<_> = depths.into_iter().flatten().filter(|(_, count)| *count > 0).collect();
                unwell.push(format!("{name}: controllers are at work: {waiting:?}"));
            }
            if shard.history.lock().last < up.shard.store.revision() {
                unwell.push(format!("{name}: its history is behind"));
            }
        }
        if !unwell.is_empty() {
            // What follows costs more.
            return unwell;
        }
        for shard in &self.shards {
            let unsettled = unsettled(&shard.history.lock());
            unwell.extend(unsettled.into_iter().map(|text| format!("{}: {text}", shard.seat.name)));
        }
        unwell.extend(self.differing_indexes());
        for at in &self.shards {
            for of in self.shards.iter().filter(|of| of.seat.name != at.seat.name) {
                unwell.extend(differing_replicas(at, of));
            }
        }
        unwell
    }

    /// Every proxy's index, and what every shard knows of the other, against what the shards hold.
    fn differing_indexes(&self) -> Vec<String> {
        let (mut wrong, mut truth) = (Vec::new(), BTreeMap::new());
        for shard in &self.shards {
            let history = shard.history.lock();
            let ever = history.keys(FENCES).filter_map(|key| key.strip_prefix(FENCES));
            // Every shard has those of the system.
            for cluster in ever.filter(|cluster| !cluster.starts_with("system:")) {
                truth.entry(cluster.to_owned()).or_insert(None);
            }
            for key in history.keys(CLUSTERS) {
                let cluster = key[CLUSTERS.len()..].split('/').next().unwrap_or_default();
                if history.at(key, u64::MAX).is_some() && !cluster.starts_with("system:") {
                    truth.insert(cluster.to_owned(), Some(shard.seat.name));
                }
            }
        }
        for proxy in &self.proxies {
            let name = proxy.seat.name;
            let Some(up) = proxy.up() else {
                wrong.push(format!("{name} is down"));
                continue;
            };
            let routes = &up.proxy.peers.routes;
            for (cluster, holder) in &truth {
                let Ok(cluster) = Cluster::parse(cluster) else { continue };
                let found = routes.holder(&cluster).and_then(|shard| routes.facts(shard));
                let found = found.map(|facts| facts.name);
                if found.as_deref() != *holder {
                    wrong.push(format!("{name} finds {cluster} on {found:?}, it is on {holder:?}"));
                }
            }
            wrong.extend(self.differing_names(name, routes));
        }
        for shard in &self.shards {
            let Some(up) = shard.up() else { continue };
            let neighbours = &up.shard.neighbours;
            for (cluster, holder) in &truth {
                let Ok(parsed) = Cluster::parse(cluster) else { continue };
                let other = holder.filter(|holder| *holder != shard.seat.name && cluster != "root");
                let found = neighbours.whose(&parsed).filter(|_| cluster != "root");
                if found != other.and_then(|other| neighbours.find(other)) {
                    wrong.push(format!(
                        "{} finds {cluster} on {found:?}, it is on {holder:?}",
                        shard.seat.name
                    ));
                }
            }
        }
        wrong
    }

    /// A proxy's names of workspaces, against the Workspaces.
    fn differing_names(&self, proxy: &str, routes: &fabric::Routes) -> Vec<String> {
        let mut wrong = Vec::new();
        for shard in &self.shards {
            let history = shard.history.lock();
            for key in history.keys(WORKSPACES) {
                let Some((parent, name)) = key[WORKSPACES.len()..].split_once('/') else {
                    continue;
                };
                let Ok(path) = WorkspacePath::parse(&format!("{parent}:{name}")) else {
                    continue;
                };
                let workspace = history.at(key, u64::MAX).and_then(|version| {
                    let bytes = version.value.as_ref()?;
                    serde_json::from_slice::<Value>(bytes).ok()
                });
                let cluster = workspace
                    .as_ref()
                    .and_then(|object| object.str_at(&["spec", "cluster"]));
                let found = match routes.resolve(&path) {
                    Route::Cluster { cluster, .. } => Some(cluster.to_string()),
                    _ => None,
                };
                if found.as_deref() != cluster {
                    wrong.push(format!("{proxy} finds {path} in {found:?}, it is {cluster:?}"));
                }
            }
        }
        wrong
    }

    /// One writer per cluster: nothing of one cluster was ever written by two shards.
    fn written_twice(&self) -> Vec<String> {
        let mut writers: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for shard in &self.shards {
            let history = shard.history.lock();
            for key in history.keys("").filter(|key| !key.starts_with('/')) {
                let cluster = key.split('/').nth(2).unwrap_or_default();
                if !cluster.starts_with("system:") {
                    writers.entry(cluster.to_owned()).or_default().insert(shard.seat.name);
                }
            }
        }
        let twice = writers.into_iter().filter(|(_, shards)| shards.len() > 1);
        twice
            .map(|(cluster, shards)| format!("cluster {cluster} was written by {shards:?}"))
            .collect()
    }

    /// The states that the histories lead to are those that the stores hold.
    pub async fn compare_stores(&self) -> Result<(), String> {
        for shard in &self.shards {
            let up = shard.up().ok_or("a shard is down without a reason")?;
            history::compare(&shard.history, &up.kv).await?;
            let (panics, text) = up.env.spawn.panics();
            if panics > 0 {
                return Err(format!("{panics} tasks panicked, at last {text:?}"));
            }
        }
        Ok(())
    }
}

/// What a shard keeps of another one against what that one holds: the same objects in the same places.
fn differing_replicas(at: &ShardSeat, of: &ShardSeat) -> Vec<String> {
    let kept = replicas(&at.history.lock(), of.seat.name);
    let original = originals(&of.history.lock());
    let mut wrong = Vec::new();
    for (place, version) in &kept {
        if original.get(place) != Some(version) {
            let text = format!(
                "{place:?} of {} as {version:?}, it is {:?}",
                of.seat.name,
                original.get(place)
            );
            wrong.push(format!("{} keeps {text}", at.seat.name));
        }
    }
    for place in original.keys().filter(|place| !kept.contains_key(*place)) {
        wrong.push(format!("{} does not keep {place:?} of {}", at.seat.name, of.seat.name));
    }
    wrong
}

/// `group/resource/cluster/name`, and by uid, revision and content which version it is.
type Versions = BTreeMap<String, (String, String, String)>;

fn replicas(history: &History, of: &str) -> Versions {
    let mut found = Versions::new();
    for key in history.keys(REPLICAS) {
        let parts: Vec<&str> = key[REPLICAS.len()..].split('/').collect();
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
