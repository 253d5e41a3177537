//! `terminatingworkspaces`: deleted workspaces that wait for a terminator (kcp's facts, F.4).

use std::sync::Arc;

use api::hashes::terminator_label;
use api::keys::{group, phase, verb};
use machinery::object::ObjectExt;
use serde_json::Value;
use tenancy::authz::TERMINATOR_PREFIX;

use crate::lifecycle::Role;
use crate::{Lifecycle, Shard};

/// The view of terminators.
pub fn terminating_workspaces(shard: Arc<dyn Shard>) -> Lifecycle {
    Lifecycle::new(shard, &TERMINATOR)
}

pub(crate) static TERMINATOR: Role = Role {
    view: "terminatingworkspaces",
    noun: "terminator",
    entries: "terminators",
    verb: verb::TERMINATE,
    permissions: "terminatorPermissions",
    group_prefix: TERMINATOR_PREFIX,
    label: terminator_label,
    // Every terminator's label is there from the start; a deleted cluster with terminators left is in this phase.
    phase: phase::workspace::TERMINATING,
    is_open,
    error_group: group::CORE,
    owns_discovery: true,
};

fn is_open(logical_cluster: &Value) -> bool {
    logical_cluster.deletion_timestamp().is_some()
}
