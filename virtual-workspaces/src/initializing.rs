//! `initializingworkspaces`: workspaces that wait for an initializer (kcp's facts, F.3).

use std::sync::Arc;

use api::hashes::initializer_label;
use api::keys::{group, phase, verb};
use machinery::object::ObjectExt;
use serde_json::Value;
use tenancy::authz::INITIALIZER_PREFIX;

use crate::lifecycle::Role;
use crate::{Lifecycle, Shard};

/// The view of initializers.
pub fn initializing_workspaces(shard: Arc<dyn Shard>) -> Lifecycle {
    Lifecycle::new(shard, &INITIALIZER)
}

pub(crate) static INITIALIZER: Role = Role {
    view: "initializingworkspaces",
    noun: "initializer",
    entries: "initializers",
    verb: verb::INITIALIZE,
    permissions: "initializerPermissions",
    group_prefix: INITIALIZER_PREFIX,
    label: initializer_label,
    phase: phase::workspace::INITIALIZING,
    is_open,
    // Not the kind's own group; clients may match on kcp's text.
    error_group: group::TENANCY,
    owns_discovery: false,
};

fn is_open(logical_cluster: &Value) -> bool {
    logical_cluster.str_at(&["status", "phase"]) == Some(phase::workspace::INITIALIZING)
}
