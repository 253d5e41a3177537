//! Every controller of a shard, one file each: pure plans over what is seen (crate `plan`).
//!
//! Invariants
//! - Pure: no I/O, no clock, no randomness, no tokio. A plan is a function of view and context.
//! - Idempotent and level-triggered: running a plan twice, or after a crash between two of its effects, leads to the same
//!   state.
//! - Effects are whole-object writes with the resourceVersion that the plan saw.
//!
//! Read next: [`workspace`] and [`logical_cluster`] for the life of a workspace, [`binding`] for sharing APIs.
#![forbid(unsafe_code)]

pub mod account_token;
pub mod binding;
pub mod binding_deletion;
pub mod bound_schema;
pub mod claim_label;
pub mod crd;
pub mod default_binding;
pub mod endpoint_slice;
pub mod export;
pub mod founding;
pub mod garbage;
pub mod logical_cluster;
pub mod logical_cluster_deletion;
pub mod namespace;
pub mod namespace_content;
mod owner;
pub mod partition_set;
pub mod refs;
pub mod replicated;
mod scheduling;
pub mod universal;
pub mod workspace;
pub mod workspace_type;

#[cfg(test)]
mod testing;

use std::sync::Arc;
use std::time::Duration;

use account_token::{AccountTokens, TokenSecrets};
use plan::Controller;

/// What controllers know of the shard they run on.
#[derive(Clone, Debug)]
pub struct ShardInfo {
    pub name: String,
    /// Base of `Workspace.spec.URL` and `LogicalCluster.status.URL`.
    pub external_url: String,
    /// Base of the URLs of virtual workspaces.
    pub virtual_workspace_url: String,
    /// The serving CA, for `kube-root-ca.crt`.
    pub ca_pem: String,
}

/// How often what holds a deletion up is written down.
const TOLD_PERIOD_SECONDS: i64 = 5;

/// What holds a deletion up changes with every object that goes, and most deletions are over before anybody looks: it is
/// told in every fifth second only. `None` is now; else how long it is until then.
pub(crate) fn until_told(context: &plan::Context) -> Option<Duration> {
    let past = context.now_seconds.rem_euclid(TOLD_PERIOD_SECONDS);
    let left = u64::try_from(TOLD_PERIOD_SECONDS - past).unwrap_or_default();
    (past != 0).then(|| Duration::from_secs(left))
}

/// Every controller of a shard.
pub fn all(shard: &ShardInfo, tokens: Arc<dyn AccountTokens>) -> Vec<Arc<dyn Controller>> {
    let mut controllers = lifecycle(shard);
    controllers.extend(sharing(shard));
    controllers.push(Arc::new(TokenSecrets::new(Arc::new(shard.clone()), tokens)));
    controllers
}

/// Sharing of APIs, definitions, and garbage.
pub fn sharing(shard: &ShardInfo) -> Vec<Arc<dyn Controller>> {
    vec![
        Arc::new(export::Exports),
        Arc::new(endpoint_slice::EndpointSlices::new(Arc::new(shard.clone()))),
        Arc::new(partition_set::PartitionSets::new(&shard.name)),
        Arc::new(binding::Bindings),
        Arc::new(binding_deletion::BindingDeletion),
        Arc::new(claim_label::ClaimLabels),
        Arc::new(bound_schema::BoundSchemas),
        Arc::new(crd::Crds),
        Arc::new(garbage::GarbageCollector),
        Arc::new(replicated::MarkedClusters),
        Arc::new(replicated::MarkedRbac),
    ]
}

/// The life of workspaces and namespaces.
pub fn lifecycle(shard: &ShardInfo) -> Vec<Arc<dyn Controller>> {
    let shard = Arc::new(shard.clone());
    vec![
        Arc::new(workspace::Workspaces::new(shard.clone())),
        Arc::new(workspace_type::WorkspaceTypes),
        Arc::new(logical_cluster::LogicalClusters::new(shard.clone())),
        Arc::new(logical_cluster_deletion::Deletion),
        Arc::new(universal::Universal),
        Arc::new(default_binding::DefaultBindings),
        Arc::new(namespace::Namespaces),
        Arc::new(namespace_content::NamespaceContent::new(shard)),
    ]
}
