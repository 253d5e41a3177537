//! Commands of providers and consumers of APIs: binding an export, answering its claims, schemas from CRDs.

mod bind;
mod claims;
mod snapshot;
#[cfg(test)]
mod tests;

use anyhow::{anyhow, bail};
use machinery::object::ObjectExt;
use serde_json::Value;

use crate::path::WorkspacePath;
use crate::server::{Client, Resource};

pub use bind::BindExport;
pub use claims::{AnswerClaims, GetClaims};
pub use snapshot::{Format, Snapshot};

const GROUP: &str = "apis.kcp.io";

/// `resource.group` as typed; `core`, and no group at all, is the group `""`.
fn group_resource(typed: &str) -> (&str, &str) {
    let (resource, group) = typed.split_once('.').unwrap_or((typed, ""));
    (if group == "core" { "" } else { group }, resource)
}

/// The version of APIBindings that the server prefers, among those that this program knows.
///
/// Only the group in question is looked at: that another group's discovery fails must not keep anyone from binding.
async fn binding_version(client: &Client, workspace: &WorkspacePath) -> anyhow::Result<&'static str> {
    let failed = |why: crate::server::CallError| anyhow!("service discovery failed: failed to discover APIs: {why}");
    let groups = client.raw(workspace, "/apis?timeout=32s").await.map_err(failed)?;
    let groups = groups.get("groups").and_then(Value::as_array);
    let group = groups
        .into_iter()
        .flatten()
        .find(|group| group.str_at(&["name"]) == Some(GROUP));
    let preferred = group.and_then(|group| group.str_at(&["preferredVersion", "version"]));
    let versions = group
        .and_then(|group| group.at(&["versions"]))
        .and_then(Value::as_array);
    let versions = versions
        .into_iter()
        .flatten()
        .filter_map(|version| version.str_at(&["version"]));
    let others = versions.filter(|version| Some(*version) != preferred);
    for version in preferred.into_iter().chain(others) {
        let path = format!("/apis/{GROUP}/{version}?timeout=32s");
        let resources = client.raw(workspace, &path).await.map_err(failed)?;
        let resources = resources.get("resources").and_then(Value::as_array);
        let mut names = resources
            .into_iter()
            .flatten()
            .filter_map(|resource| resource.str_at(&["name"]));
        if names.any(|name| name == "apibindings") {
            return match version {
                "v1alpha2" => Ok("v1alpha2"),
                "v1alpha1" => Ok("v1alpha1"),
                other => bail!("version \"{other}\" is not supported by this plugin"),
            };
        }
    }
    bail!("service discovery failed: server does not serve apibindings.{GROUP}")
}

fn bindings(version: &str) -> Resource<'_> {
    Resource {
        group: GROUP,
        version,
        plural: "apibindings",
    }
}
