//! The other shards: who they are, what they hold, whether they live; and who has to hear of it here.
//!
//! They are known by their Shard objects: the root shard has these, the others are told by its index and keep the last they
//! heard in their own store, so that a start finds everybody with root down. What they hold is known by their indexes.
//!
//! A shard without others does nothing of this.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ::fabric::wire::index_entry::Entry as Told;
use ::fabric::wire::{ClusterEntry, IndexBatch, ShardEntry};
use ::fabric::{ClientTls, Listener, Members, Peers, Routes, ShardId};
use api::keys::{annotation, cluster, group, object};
use async_trait::async_trait;
use controller::{Driver, Holder};
use env::Env;
use machinery::object::ObjectExt;
use parking_lot::{Mutex, RwLock};
use permit::Cluster;
use plan::{Member, ResourceRef};
use serde_json::{Value, json};
use storage::{Applied, Projection};
use tenancy::Phase;
use tokio::sync::Notify;

use crate::facts::ShardFacts;

/// See the module.
pub struct Neighbours {
    own: String,
    routes: Arc<Routes>,
    facts: Arc<ShardFacts>,
    /// Not set: there is nobody to go to, or no certificate to go there with.
    peers: RwLock<Option<Arc<Peers>>>,
    /// Not set: another process, or nobody, runs the controllers.
    driver: RwLock<Option<Driver>>,
    /// Shards that tell everything anew, from beginning to end.
    retelling: Mutex<BTreeSet<ShardId>>,
    /// Shards came, went or changed.
    changed: Notify,
    /// The same, for who keeps replicas of theirs.
    changed_members: Notify,
}

/// How shards are reached.
#[derive(Clone)]
pub struct Neighbourhood {
    /// As whom.
    pub tls: Option<Arc<ClientTls>>,
    /// Where the root shard is. The root shard itself has none.
    pub root: Option<String>,
}

// === impl Neighbours ===

impl Neighbours {
    pub fn new(env: &Env, own: &str, facts: Arc<ShardFacts>) -> Arc<Self> {
        let routes = Arc::new(Routes::new([env.rng.next_u64(), env.rng.next_u64()]));
        if own != ROOT_SHARD {
            // There is one, wherever it is: until it has told what it holds, nobody can say what there is not.
            routes.introduce(&ShardEntry {
                name: ROOT_SHARD.to_owned(),
                ..ShardEntry::default()
            });
        }
        Arc::new(Self {
            own: own.to_owned(),
            routes,
            facts,
            peers: RwLock::default(),
            driver: RwLock::default(),
            retelling: Mutex::default(),
            changed: Notify::new(),
            changed_members: Notify::new(),
        })
    }

    /// Begins to follow the others: those that are known already, the root shard, and whomever these tell of.
    pub fn follow(self: &Arc<Self>, env: &Env, neighbourhood: &Neighbourhood) -> env::Task<()> {
        let peers = Peers::of_shard(
            env,
            self.routes.clone(),
            neighbourhood.tls.clone(),
            &self.own,
            self.clone(),
        );
        *self.peers.write() = Some(peers.clone());
        env.spawn
            .spawn("peers", peers.run(neighbourhood.root.iter().cloned().collect()))
    }

    /// The controllers run here.
    pub fn attach(&self, driver: &Driver) {
        *self.driver.write() = Some(driver.clone());
    }

    /// Lets go of the others and of the driver, both of which hold this: neither would ever be freed.
    pub fn detach(&self) {
        *self.driver.write() = None;
        if let Some(peers) = self.peers.write().take() {
            peers.close();
        }
    }

    fn driver(&self) -> Option<Driver> {
        self.driver.read().clone()
    }

    /// Connections to others, if any are followed.
    pub fn peers(&self) -> Option<Arc<Peers>> {
        self.peers.read().clone()
    }

    /// Nobody else is known.
    pub fn is_alone(&self) -> bool {
        self.peers.read().is_none() || self.routes.is_only(&self.own)
    }

    pub fn is_own(&self, shard: &str) -> bool {
        self.own == shard
    }

    pub fn is_root(&self) -> bool {
        self.own == ROOT_SHARD
    }

    /// Who is the authority for a cluster, as far as this process knows.
    pub fn holder(&self, of: &Cluster) -> Holder {
        if of.is_system() {
            return Holder::Here;
        }
        if of.as_str() == cluster::ROOT {
            // Known without anybody's telling.
            return if self.is_root() {
                Holder::Here
            } else {
                Holder::Elsewhere
            };
        }
        if self.is_alone() || self.facts.index.read().cluster(of).is_some() {
            return Holder::Here;
        }
        if self.routes.holder(of).is_some() {
            return Holder::Elsewhere;
        }
        // What was deleted here leaves objects behind for a moment, and they are nobody else's.
        if self.routes.others_are_complete(&self.own) || self.facts.has_objects(of) {
            return Holder::Here;
        }
        Holder::Unknown
    }

    /// The shard to ask for an object of a cluster. `None`: nobody is known to hold it.
    pub fn whose(&self, of: &Cluster) -> Option<ShardId> {
        match of.as_str() {
            cluster::ROOT => self.routes.find_shard(ROOT_SHARD),
            _ => self.routes.holder(of),
        }
    }

    /// The shard that holds a cluster, by its name: this one, or another that is known to.
    pub fn shard_of(&self, of: &Cluster) -> Option<String> {
        if self.facts.index.read().cluster(of).is_some() {
            return Some(self.own.clone());
        }
        match of.as_str() {
            cluster::ROOT => Some(ROOT_SHARD.to_owned()),
            _ => self.routes.holder(of).map(|shard| self.name_of(shard)),
        }
    }

    pub fn find(&self, name: &str) -> Option<ShardId> {
        self.routes.find_shard(name)
    }

    /// Whether every other shard has said what it holds.
    pub fn is_everything_told(&self) -> bool {
        self.routes.others_are_complete(&self.own)
    }

    /// All registered shards.
    pub fn members(&self) -> Vec<Member> {
        let counts = self.routes.counts();
        let peers = self.peers();
        let member = |(shard, facts): (ShardId, ::fabric::routes::ShardFacts)| {
            let is_own = self.is_own(&facts.name);
            let load = match is_own {
                true => self.facts.index.read().len(),
                false => counts.get(shard.index()).copied().unwrap_or_default(),
            };
            let is_live = is_own || peers.as_ref().is_some_and(|peers| peers.is_live(shard));
            Member {
                is_live,
                load,
                labels: facts.labels,
                external_url: facts.external_url,
                is_schedulable: !facts.is_unschedulable,
                name: facts.name,
            }
        };
        let shards = self.routes.shards().into_iter();
        let mut members: Vec<Member> = shards.filter(|(_, facts)| facts.is_registered).map(member).collect();
        members.sort_by(|a, b| a.name.cmp(&b.name));
        members
    }

    /// Shards as entries: what is kept for a start without root.
    pub fn known(&self) -> BTreeMap<String, ShardEntry> {
        let entry = |facts: ::fabric::routes::ShardFacts| ShardEntry {
            name: facts.name,
            gone: false,
            base_url: facts.base_url,
            virtual_workspace_url: facts.virtual_workspace_url,
            external_url: facts.external_url,
            labels: facts.labels.into_iter().collect(),
            unschedulable: facts.is_unschedulable,
        };
        let shards = self.routes.shards().into_iter();
        let registered = shards.filter(|(_, facts)| facts.is_registered);
        registered
            .map(|(_, facts)| (facts.name.clone(), entry(facts)))
            .collect()
    }

    /// A shard that is known from elsewhere than another's index.
    pub fn introduce(&self, entry: &ShardEntry) {
        self.routes.introduce(entry);
        self.changed_members.notify_one();
        if let Some(peers) = self.peers() {
            peers.look_again();
        }
    }

    /// Waits until shards came, went or changed.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Who waits for a shard is looked at again.
    fn tell_of_shard(&self, name: &str) {
        self.changed.notify_one();
        self.changed_members.notify_one();
        if let Some(driver) = self.driver() {
            let root = Cluster::well_known(cluster::ROOT);
            driver.tell(&ResourceRef::new(group::CORE, "shards").object(&root, "", name), None);
        }
    }

    /// The Workspace that a logical cluster of another shard belongs to is looked at again, if it is here.
    fn tell_of_cluster(&self, entry: &ClusterEntry, is_retold: bool) {
        let Some(driver) = self.driver() else { return };
        let (Ok(name), Ok(owner)) = (Cluster::parse(&entry.name), Cluster::parse(&entry.owner_cluster)) else {
            return;
        };
        {
            let index = self.facts.index.read();
            if index.cluster(&owner).is_none() {
                return;
            }
            // A start has all of them told; most are Ready on both sides.
            let mirrored = index.child(&owner, &entry.owner_name).map(|child| child.phase);
            let is_settled = !entry.gone && entry.phase == Phase::Ready.as_str() && mirrored == Some(Phase::Ready);
            if is_retold && is_settled {
                return;
            }
        }
        let of = ResourceRef::new(group::CORE, "logicalclusters").object(&name, "", object::LOGICAL_CLUSTER);
        let told = json!({
            "metadata": {"name": object::LOGICAL_CLUSTER},
            "spec": {"owner": {"resource": "workspaces", "cluster": entry.owner_cluster, "name": entry.owner_name}},
        });
        driver.tell(&of, Some(told));
    }
}

/// The shard that holds the cluster `root` (kcp's facts, C.4).
pub const ROOT_SHARD: &str = "root";

impl Listener for Neighbours {
    fn told(&self, shard: ShardId, batch: &IndexBatch) {
        if batch.begins_anew {
            self.retelling.lock().insert(shard);
        }
        let is_retold = self.retelling.lock().contains(&shard);
        for entry in batch.entries.iter().filter_map(|entry| entry.entry.as_ref()) {
            match entry {
                Told::Cluster(entry) if !entry.owner_name.is_empty() => self.tell_of_cluster(entry, is_retold),
                Told::Shard(entry) => self.tell_of_shard(&entry.name),
                Told::Cluster(_) | Told::Workspace(_) => {}
            }
        }
        if batch.complete {
            self.retelling.lock().remove(&shard);
            // What went while nobody listened has no entry of its own.
            self.tell_of_shard(&self.name_of(shard));
        }
    }

    fn reached(&self, shard: ShardId, is_live: bool) {
        let name = self.name_of(shard);
        tracing::info!(shard = name, is_live, "a shard's liveness changed");
        self.tell_of_shard(&name);
    }
}

impl Neighbours {
    fn name_of(&self, shard: ShardId) -> String {
        self.routes.facts(shard).map(|facts| facts.name).unwrap_or_default()
    }
}

#[async_trait]
impl Members for Neighbours {
    fn members(&self) -> Vec<::fabric::Member> {
        let member = |entry: ShardEntry| ::fabric::Member {
            name: entry.name,
            url: entry.base_url,
        };
        self.known().into_values().map(member).collect()
    }

    fn are_all(&self) -> bool {
        self.is_root()
    }

    async fn changed(&self) {
        self.changed_members.notified().await;
    }
}

/// On the root shard: Shard objects as they are written.
impl Projection for Neighbours {
    fn apply(&self, change: &Applied<'_>) {
        let is_shard = (&*change.resource.group, &*change.resource.resource) == (group::CORE, "shards");
        if !is_shard || change.key.cluster.as_str() != cluster::ROOT || !self.is_root() {
            return;
        }
        let object = change.new_tree();
        self.introduce(&shard_entry(&change.key.name, object.as_deref()));
    }
}

/// A Shard object as an index tells it. `None`: it is gone.
pub fn shard_entry(name: &str, shard: Option<&Value>) -> ShardEntry {
    let Some(shard) = shard else {
        return ShardEntry {
            name: name.to_owned(),
            gone: true,
            ..ShardEntry::default()
        };
    };
    let url = |field: &str| shard.str_at(&["spec", field]).unwrap_or_default().to_owned();
    let labels = shard.at(&["metadata", "labels"]).and_then(Value::as_object);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    ShardEntry {
        name: name.to_owned(),
        gone: false,
        base_url: url("baseURL"),
        virtual_workspace_url: url("virtualWorkspaceURL"),
        external_url: url("externalURL"),
        labels: labels
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), text(value)))
            .collect(),
        unschedulable: shard.annotation(annotation::UNSCHEDULABLE).is_some() || shard.deletion_timestamp().is_some(),
    }
}

#[cfg(test)]
mod tests {
    use env::simulated::SimOptions;

    use super::*;
    use crate::definitions::Definitions;

    #[tokio::test]
    async fn a_shard_that_has_not_heard_root_does_not_say_what_there_is_not() {
        let (env, _host) = Env::simulated(1, SimOptions::default());
        let told = |own| {
            let neighbours = Neighbours::new(&env, own, ShardFacts::new(Definitions::new()));
            (neighbours.is_everything_told(), neighbours.is_alone())
        };
        // Nobody is followed yet.
        assert_eq!(told("beta"), (false, true));
        assert_eq!(told(ROOT_SHARD), (true, true));
    }
}
