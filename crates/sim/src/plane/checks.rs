//! What has to be true of a whole control plane when the faults have stopped and some time has passed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fabric::Route;

use crate::health::{leftovers, owned};
use crate::history;
use crate::plane::truth::Truth;
use crate::plane::{Plane, SETTLE_BOUND, ShardSeat};

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
        for views in self.views.iter().filter(|views| views.up().is_none()) {
            unwell.push(format!("{} is down", views.seat.name));
        }
        match self.cache.up() {
            None => unwell.push(format!("{} is down", self.cache.seat.name)),
            Some(up) if self.cache.history.lock().last < up.store.revision() => {
                unwell.push(format!("{}: its history is behind", self.cache.seat.name));
            }
            Some(_) => {}
        }
        if !unwell.is_empty() {
            // What follows costs more.
            return unwell;
        }
        let truth = self.truth();
        unwell.extend(truth.unwell.iter().cloned());
        unwell.extend(self.differing_indexes(&truth));
        unwell
    }

    /// What the histories say now; read anew only when one has grown, for everything is asked again and again.
    fn truth(&self) -> Arc<Truth> {
        let mut known = self.truth.lock();
        let histories = self.shards.iter().map(|shard| &shard.history);
        let histories = histories.chain([&self.cache.history]);
        let now: Vec<u64> = histories.map(|history| history.lock().last).collect();
        match &*known {
            Some(truth) if truth.revisions == now => truth.clone(),
            _ => {
                let truth = Arc::new(Truth::read(&self.shards, &self.cache, now));
                *known = Some(truth.clone());
                truth
            }
        }
    }

    /// Every proxy's index, and what every shard knows of the other, against what the shards hold.
    fn differing_indexes(&self, truth: &Truth) -> Vec<String> {
        let mut wrong = Vec::new();
        for proxy in &self.proxies {
            let name = proxy.seat.name;
            let Some(up) = proxy.up() else {
                wrong.push(format!("{name} is down"));
                continue;
            };
            let routes = &up.proxy.peers.routes;
            for (cluster, holder) in &truth.holders {
                let found = routes.holder(cluster).and_then(|shard| routes.facts(shard));
                let found = found.map(|facts| facts.name);
                if found.as_deref() != *holder {
                    wrong.push(format!("{name} finds {cluster} on {found:?}, it is on {holder:?}"));
                }
            }
            for (path, cluster) in &truth.names {
                let found = match routes.resolve(path) {
                    Route::Cluster { cluster, .. } => Some(cluster.to_string()),
                    _ => None,
                };
                if found != *cluster {
                    wrong.push(format!("{name} finds {path} in {found:?}, it is {cluster:?}"));
                }
            }
        }
        for shard in &self.shards {
            let Some(up) = shard.up() else { continue };
            let neighbours = &up.shard.neighbours;
            for (cluster, holder) in truth.holders.iter().filter(|(cluster, _)| cluster.as_str() != "root") {
                let other = holder.filter(|holder| *holder != shard.seat.name);
                let found = neighbours.whose(cluster);
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

    /// The states that the histories lead to are those that the stores hold, and nothing has panicked.
    pub async fn compare_stores(&self) -> Result<(), String> {
        let down = || "a process is down without a reason".to_owned();
        let mut envs = Vec::new();
        for shard in &self.shards {
            let up = shard.up().ok_or_else(down)?;
            history::compare(&shard.history, &up.kv).await?;
            envs.push(up.env.clone());
        }
        let cache = self.cache.up().ok_or_else(down)?;
        history::compare(&self.cache.history, &cache.kv).await?;
        envs.push(cache.env.clone());
        for proxy in &self.proxies {
            envs.push(proxy.up().ok_or_else(down)?.proxy.env.clone());
        }
        for views in &self.views {
            envs.push(views.up().ok_or_else(down)?.env.clone());
        }
        for env in envs {
            let (panics, text) = env.spawn.panics();
            if panics > 0 {
                return Err(format!("{panics} tasks panicked, at last {text:?}"));
            }
        }
        Ok(())
    }
}
