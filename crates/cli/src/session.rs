//! One invocation: the kubeconfig in force, what flags override of it, the workspace they lead to, and its server.

use std::sync::Arc;

use anyhow::anyhow;
use env::Env;
use machinery::object::ObjectExt;
use serde_json::{Value, json};

use crate::connection::{Connect, Target};
use crate::kubeconfig::{Kubeconfig, Section};
use crate::output::Console;
use crate::path::ClusterUrl;
use crate::server::Client;

/// What flags say instead of the kubeconfig.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    pub context: Option<String>,
    pub user: Option<String>,
    /// The whole URL.
    pub server: Option<String>,
    pub token: Option<String>,
    pub certificate_authority: Option<String>,
    pub tls_server_name: Option<String>,
    pub insecure_skip_tls_verify: bool,
    /// `-w`: a path from the current workspace, or an absolute one.
    pub workspace: Option<String>,
}

/// What commands work with.
pub struct Session {
    pub env: Env,
    pub console: Console,
    pub kubeconfig: Kubeconfig,
    pub overrides: Overrides,
    /// The home directory, which a shell puts in place of `~`.
    pub home: Option<String>,
    pub connect: Arc<dyn Connect>,
}

// === impl Session ===

impl Session {
    /// The context in force, by name: `--context`, or the kubeconfig's.
    pub fn context_name(&self) -> &str {
        let named = self.overrides.context.as_deref().filter(|name| !name.is_empty());
        named.unwrap_or_else(|| self.kubeconfig.current_context())
    }

    /// The context in force.
    pub fn context(&self) -> anyhow::Result<Value> {
        let name = self.context_name();
        let found = self.kubeconfig.get(Section::Contexts, name);
        found.ok_or_else(|| anyhow!("current {name:?} context not found"))
    }

    /// The cluster of the context in force, as the kubeconfig has it.
    pub fn cluster_of(&self, context: &Value) -> anyhow::Result<Value> {
        let name = context.str_at(&["cluster"]).unwrap_or_default();
        let found = self.kubeconfig.get(Section::Clusters, name);
        found.ok_or_else(|| anyhow!("cluster {name:?} not found in kubeconfig"))
    }

    /// The URL in force, `-w` included.
    pub fn server_url(&self) -> anyhow::Result<String> {
        let url = match &self.overrides.server {
            Some(server) => server.clone(),
            None => {
                let cluster = self.cluster_of(&self.context()?)?;
                cluster.str_at(&["server"]).unwrap_or_default().to_owned()
            }
        };
        match self.overrides.workspace.as_deref().filter(|path| !path.is_empty()) {
            None => Ok(url),
            Some(typed) => {
                let here = workspace_of(&url)?;
                let there = here.path.resolve(&typed.replace('/', ":"))?;
                Ok(here.at(there).to_string())
            }
        }
    }

    /// The workspace in force.
    pub fn workspace(&self) -> anyhow::Result<ClusterUrl> {
        workspace_of(&self.server_url()?)
    }

    /// A client of the server in force. Its requests name their workspaces themselves.
    pub async fn client(&self) -> anyhow::Result<Client> {
        let target = self.target()?;
        let server = self.connect.connect(&target).await.map_err(|why| anyhow!(why))?;
        Ok(Client::new(server, self.env.clock.clone()))
    }

    fn target(&self) -> anyhow::Result<Target> {
        let context = self.context()?;
        let mut cluster = self.cluster_of(&context)?;
        let url = self.server_url()?;
        cluster.set_at(&["server"], Value::String(origin(&url).to_owned()));
        if let Some(file) = &self.overrides.certificate_authority {
            cluster.remove_at(&["certificate-authority-data"]);
            cluster.set_at(&["certificate-authority"], Value::String(file.clone()));
        }
        if let Some(name) = &self.overrides.tls_server_name {
            cluster.set_at(&["tls-server-name"], Value::String(name.clone()));
        }
        if self.overrides.insecure_skip_tls_verify {
            cluster.set_at(&["insecure-skip-tls-verify"], Value::Bool(true));
            cluster.remove_at(&["certificate-authority"]);
            cluster.remove_at(&["certificate-authority-data"]);
        }
        let name = self
            .overrides
            .user
            .as_deref()
            .or(context.str_at(&["user"]))
            .unwrap_or_default();
        let mut user = match self.kubeconfig.get(Section::Users, name) {
            Some(user) => user,
            None if name.is_empty() => json!({}),
            None => return Err(anyhow!("auth info {name:?} does not exist")),
        };
        if let Some(token) = &self.overrides.token {
            user.remove_at(&["tokenFile"]);
            user.set_at(&["token"], Value::String(token.clone()));
        }
        Ok(Target { cluster, user })
    }

    /// Writes the kubeconfig.
    pub fn save(&mut self) -> anyhow::Result<()> {
        Ok(self.kubeconfig.save(&*self.env.disk)?)
    }
}

fn workspace_of(url: &str) -> anyhow::Result<ClusterUrl> {
    ClusterUrl::parse(url).ok_or_else(|| anyhow!("current URL {url:?} does not point to a workspace"))
}

/// Scheme and host: kcp is served at the root of its host.
fn origin(url: &str) -> &str {
    let authority = url.find("://").map_or(0, |at| at + 3);
    let rest = url.get(authority..).unwrap_or_default();
    let end = rest.find('/').map_or(url.len(), |at| authority + at);
    url.get(..end).unwrap_or(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_of_a_url_is_its_scheme_and_host() {
        assert_eq!(origin("https://h:1/clusters/root"), "https://h:1");
        assert_eq!(origin("https://h:1"), "https://h:1");
        assert_eq!(origin("h:1/x"), "h:1");
    }
}
