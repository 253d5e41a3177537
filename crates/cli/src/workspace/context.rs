//! `ws create-context`: a context of its own for a workspace, so that it stays when the current one moves on.

use anyhow::{anyhow, bail};
use machinery::object::ObjectExt;
use serde_json::json;

use crate::kubeconfig::Section;
use crate::path::ClusterUrl;
use crate::session::Session;

/// Adds a context to the kubeconfig.
#[derive(Clone, Debug, Default)]
pub struct CreateContext {
    /// The workspace's path when absent.
    pub name: Option<String>,
    pub overwrite: bool,
    /// Stays in the context in force.
    pub keep_current: bool,
    /// The workspace's URL; the one in force when absent.
    pub url: Option<String>,
}

// === impl CreateContext ===

impl CreateContext {
    pub fn run(&self, session: &mut Session) -> anyhow::Result<()> {
        let mut context = session.context()?;
        let mut cluster = session.cluster_of(&context)?;
        let server = cluster.str_at(&["server"]).unwrap_or_default().to_owned();
        let at = ClusterUrl::parse(&server);
        let at = at.ok_or_else(|| anyhow!("current URL {server:?} does not point to a workspace"))?;
        let given = self.name.clone().filter(|name| !name.is_empty());
        let name = given.unwrap_or_else(|| at.path.to_string());
        let existed = session.kubeconfig.has(Section::Contexts, &name);
        if existed && !self.overwrite {
            bail!("context {name:?} already exists in kubeconfig, use --overwrite to update it");
        }
        if let Some(url) = &self.url {
            cluster.set_at(&["server"], json!(url));
        }
        context.set_at(&["cluster"], json!(name));
        let stays = self.keep_current || session.kubeconfig.current_context() == name;
        session.kubeconfig.set(Section::Clusters, &name, cluster);
        session.kubeconfig.set(Section::Contexts, &name, context);
        if !stays {
            session.kubeconfig.set_current_context(&name);
        }
        session.save()?;
        let verb = if existed { "Updated" } else { "Created" };
        let suffix = if stays { "" } else { " and switched to it" };
        Ok(session.console.say(format!("{verb} context \"{name}\"{suffix}."))?)
    }
}
