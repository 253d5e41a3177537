//! The owner of a workspace is its cluster-admin (kcp's facts, D.6). Part of founding a cluster: whoever takes the binding
//! away later means it.

use api::keys::{annotation, object};
use api::types::workspace_admin;
use machinery::object::ObjectExt;
use plan::{Effect, Key, View};
use serde_json::Value;

use crate::refs;

/// The binding, if the cluster has an owner.
pub(crate) fn admin_binding(key: &Key, lc: &Value, view: &dyn View) -> Option<Effect> {
    let owner = lc
        .annotation(annotation::OWNER)
        .and_then(|text| serde_json::from_str::<Value>(text).ok());
    let name = owner.as_ref()?.str_at(&["username"]).filter(|name| !name.is_empty())?;
    let of = refs::cluster_role_bindings().object(&key.cluster, "", object::WORKSPACE_ADMIN);
    view.is_absent(&of).then(|| Effect::Create {
        of,
        object: workspace_admin(name),
        adopt: true,
    })
}
