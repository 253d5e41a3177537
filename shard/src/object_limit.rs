//! How many objects a cluster may have: `--logical-cluster-total-object-limit`, and the annotation by which an administrator of
//! the server says otherwise of one (kcp's admission plugin LogicalClusterObjectCountLimit).
//!
//! Counted is what is there, as it is written; kcp looks once a minute. Requests that run side by side may all find the last
//! place free, so that a cluster can come to have as many more as there are requests at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::keys::annotation;
use async_trait::async_trait;
use machinery::object::ObjectExt;
use machinery::status::{Result, Status};
use parking_lot::RwLock;
use permit::{Cluster, Verb};
use registry::{Admission, Attributes, Subresource};
use serde_json::Value;
use storage::{Applied, Projection};
use tenancy::Phase;

use crate::facts::{ShardFacts, logical_clusters_key};

/// Objects by cluster, and the limits of those that have one of their own.
#[derive(Default)]
pub struct ObjectCounts {
    by_cluster: RwLock<BTreeMap<Cluster, usize>>,
    limits: RwLock<BTreeMap<Cluster, i64>>,
}

/// Refuses objects beyond the limit of their cluster.
pub struct ObjectLimit {
    facts: Arc<ShardFacts>,
    counts: Arc<ObjectCounts>,
    /// Of clusters that have none of their own; 0 or less: none.
    default: i64,
}

// === impl ObjectCounts ===

impl ObjectCounts {
    pub fn of(&self, cluster: &Cluster) -> usize {
        self.by_cluster.read().get(cluster).copied().unwrap_or(0)
    }

    fn limit(&self, cluster: &Cluster) -> Option<i64> {
        self.limits.read().get(cluster).copied()
    }

    fn keep_limit(&self, cluster: &Cluster, logical_cluster: Option<&Value>) {
        // One that is no number is none, as in kcp.
        let limit = logical_cluster
            .and_then(|object| object.annotation(annotation::MAX_TOTAL_OBJECTS))
            .and_then(|text| text.parse().ok());
        let mut limits = self.limits.write();
        match limit {
            Some(limit) => _ = limits.insert(cluster.clone(), limit),
            None => _ = limits.remove(cluster),
        }
    }
}

impl Projection for ObjectCounts {
    fn apply(&self, change: &Applied<'_>) {
        let cluster = &change.key.cluster;
        match (change.old, change.new) {
            (None, Some(_)) => *self.by_cluster.write().entry(cluster.clone()).or_default() += 1,
            (Some(_), None) => {
                let mut by_cluster = self.by_cluster.write();
                if let Some(count) = by_cluster.get_mut(cluster) {
                    *count = count.saturating_sub(1);
                    if *count == 0 {
                        by_cluster.remove(cluster);
                    }
                }
            }
            _ => {}
        }
        if *change.resource == logical_clusters_key() {
            self.keep_limit(cluster, change.new_tree().as_deref());
        }
    }
}

// === impl ObjectLimit ===

impl ObjectLimit {
    pub fn new(facts: Arc<ShardFacts>, counts: Arc<ObjectCounts>, default: i64) -> Self {
        Self { facts, counts, default }
    }

    /// `None`: as many as it likes. The server's own clusters are limited by their annotation alone: it writes there itself.
    fn limit_of(&self, cluster: &Cluster) -> Option<usize> {
        let is_ours = cluster.as_str() == api::keys::cluster::ROOT || cluster.as_str().starts_with("system:");
        let limit = match self.counts.limit(cluster) {
            Some(own) => own,
            None if is_ours => 0,
            None => self.default,
        };
        usize::try_from(limit).ok().filter(|limit| *limit > 0)
    }
}

#[async_trait]
impl Admission for ObjectLimit {
    fn name(&self) -> &'static str {
        "object-limit"
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<()> {
        let counts = attributes.verb == Verb::Create && attributes.subresource == Subresource::Main;
        if !counts || attributes.request.trusted || is_spared(attributes) {
            return Ok(());
        }
        let cluster = attributes.cluster;
        let Some(limit) = self.limit_of(cluster) else {
            return Ok(());
        };
        let count = self.counts.of(cluster);
        // Until it is ready it is being furnished.
        let is_ready = self.facts.index.read().cluster(cluster).map(|of| of.phase) == Some(Phase::Ready);
        if count < limit || !is_ready {
            return Ok(());
        }
        let of = attributes.def.group_resource();
        let why = format!(
            "logical cluster \"{cluster}\" has reached its total object count limit ({count}/{limit} objects); delete objects \
             to free up capacity"
        );
        Err(Status::forbidden(&of, attributes.name, why))
    }
}

/// Events live for an hour, and say why nothing else can be made.
fn is_spared(attributes: &Attributes<'_>) -> bool {
    matches!(&*attributes.def.group, "" | "events.k8s.io") && &*attributes.def.names.plural == "events"
}
