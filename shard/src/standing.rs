//! What stands on this shard: how many clusters, exports and bindings there are, and on which shards what they belong to is. It is
//! told in the shard's Shard object, so that it can be read of a shard that is lost, too, and in metrics.
//!
//! For operators: nothing here decides anything by it, and it is as old as [`PERIOD`], or as the last moment in which root could be
//! written to. Invariant: what is told grows with the number of shards alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use api::keys::{annotation, cluster, group};
use controller::{Effects, Fetched, Lease, Remote};
use env::Env;
use kv::Guard;
use machinery::object::ObjectExt;
use machinery::status::Result;
use permit::Cluster;
use plan::{Effect, ObjectRef, ResourceRef};
use serde_json::{Value, json};

use crate::facts::ShardFacts;
use crate::neighbours::Neighbours;
use crate::remote::OtherShards;

/// Counted when it is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Without those that every shard has.
    pub clusters: usize,
    pub exports: usize,
    /// Workspace objects here, by the shard that holds their cluster. "": none yet, or none that is known.
    pub workspaces: BTreeMap<String, usize>,
    /// Bindings here, by the shard that holds their export.
    pub bindings: BTreeMap<String, usize>,
}

/// Keeps the Shard object up to date. Of a shard's replicas, the one that runs the controllers does.
pub struct Telling {
    pub env: Env,
    pub name: String,
    pub facts: Arc<ShardFacts>,
    pub neighbours: Arc<Neighbours>,
    pub lease: Arc<Lease>,
    pub effects: Arc<dyn Effects>,
    pub others: Arc<OtherShards>,
}

/// How often it is counted: a walk over the index of clusters and the bindings.
const PERIOD: Duration = Duration::from_secs(10);
const MANAGER: &str = "kcp-shard";

// === impl Standing ===

impl Standing {
    pub fn of(facts: &ShardFacts, neighbours: &Neighbours) -> Self {
        let mut standing = Self::default();
        let mut placed: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        let nowhere: Arc<str> = "".into();
        {
            let index = facts.index.read();
            standing.clusters = index.clusters().filter(|(of, _)| !of.is_system()).count();
            for shard in index.workspace_shards() {
                *placed.entry(shard.unwrap_or(&nowhere).clone()).or_default() += 1;
            }
        }
        facts.each_export(|_| standing.exports += 1);
        let mut homes: BTreeMap<String, usize> = BTreeMap::new();
        facts
            .definitions
            .each_binding(|bound| match homes.get_mut(&bound.export_cluster) {
                Some(count) => *count += 1,
                None => drop(homes.insert(bound.export_cluster.clone(), 1)),
            });
        // What a Workspace says of its shard is told only if there is one of that name.
        let known: BTreeSet<String> = neighbours.members().into_iter().map(|member| member.name).collect();
        let or_unknown = |name: String| if known.contains(&name) { name } else { String::new() };
        for (shard, count) in placed {
            *standing.workspaces.entry(or_unknown(shard.to_string())).or_default() += count;
        }
        for (home, count) in homes {
            let shard = Cluster::parse(&home).ok().and_then(|home| neighbours.shard_of(&home));
            let shard = shard.unwrap_or_default();
            *standing.bindings.entry(or_unknown(shard)).or_default() += count;
        }
        standing
    }

    fn to_text(&self) -> String {
        let told = json!({
            "logicalClusters": self.clusters,
            "apiExports": self.exports,
            "workspaces": self.workspaces,
            "apiBindings": self.bindings,
        });
        told.to_string()
    }
}

// === impl Telling ===

impl Telling {
    /// Never returns.
    pub async fn run(self) {
        let mut told = None;
        loop {
            self.env.clock.sleep(PERIOD).await;
            let tenure = self.lease.wait_held().await;
            let standing = Standing::of(&self.facts, &self.neighbours).to_text();
            if told.as_ref() == Some(&standing) {
                continue;
            }
            match self.tell(&standing, &tenure).await {
                Ok(()) => told = Some(standing),
                // Root is away, or somebody else has written.
                Err(status) => tracing::debug!("what stands here cannot be told: {status}"),
            }
        }
    }

    async fn tell(&self, standing: &str, tenure: &Guard) -> Result<()> {
        let root = Cluster::well_known(cluster::ROOT);
        let of = ResourceRef::new(group::CORE, "shards").object(&root, "", &self.name);
        let Some(shard) = self.shard_object(&of).await? else {
            return Ok(());
        };
        if shard.annotation(annotation::SHARD_SERVES) == Some(standing) {
            return Ok(());
        }
        let mut object = Arc::unwrap_or_clone(shard);
        object.set_annotation(annotation::SHARD_SERVES, standing);
        self.effects
            .carry_out(MANAGER, &[Effect::Update { of, object }], tenure)
            .await
    }

    async fn shard_object(&self, of: &ObjectRef) -> Result<Option<Arc<Value>>> {
        if self.neighbours.is_root() {
            let key = self.facts.definitions.root_export(group::CORE, "shards");
            let found = key.and_then(|key| self.facts.object(&key.store, &of.cluster, "", &of.name));
            return Ok(found);
        }
        match self.others.fetch(of).await? {
            Fetched::Object(object) => Ok(Some(object)),
            Fetched::Absent => Ok(None),
        }
    }
}
