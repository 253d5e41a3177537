//! Commands on workspaces: going to one, looking at them, making one, naming a context after one.

mod context;
mod create;
mod switch;
mod tree;
mod warnings;

#[cfg(test)]
mod tests;

use machinery::object::ObjectExt;
use serde_json::Value;

use crate::output::Console;
use crate::path::{ClusterUrl, WorkspacePath};

pub use context::CreateContext;
pub use create::CreateWorkspace;
pub use switch::Switch;
pub use tree::Tree;

/// The context, and the cluster beside it, of the workspace that the user is in.
pub const CURRENT: &str = "workspace.kcp.io/current";
/// Those of the workspace that the user was in before.
pub const PREVIOUS: &str = "workspace.kcp.io/previous";

/// `root:universal`, of a reference `{name, path}`.
fn type_text(reference: Option<&Value>) -> String {
    let part = |name: &str| reference.and_then(|r| r.str_at(&[name])).unwrap_or_default();
    WorkspacePath::new(part("path")).join(part("name")).to_string()
}

/// Prints the workspace that `url` points to, with its type when that is known.
fn print_current(console: &Console, url: &str, short: bool, of_type: Option<&Value>) -> anyhow::Result<()> {
    let line = match (ClusterUrl::parse(url), short) {
        (None, true) => return Ok(()),
        (None, false) => format!("Current workspace is the URL {}.", machinery::text::quote(url)),
        (Some(at), true) => at.path.to_string(),
        (Some(at), false) => {
            let suffix = of_type.map(|of_type| format!(" (type {})", type_text(Some(of_type))));
            format!("Current workspace is '{}'{}.", at.path, suffix.unwrap_or_default())
        }
    };
    Ok(console.say(line)?)
}
