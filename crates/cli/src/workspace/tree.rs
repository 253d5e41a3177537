//! `ws tree`: the workspaces below the current one.

use machinery::object::ObjectExt;
use serde_json::Value;

use crate::output::Columns;
use crate::path::{ClusterUrl, WorkspacePath, path_in_url};
use crate::server::{Client, Resource};
use crate::session::Session;

/// Prints the tree.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// Whole paths instead of names.
    pub full: bool,
    /// Phases beside every name.
    pub wide: bool,
}

/// A line of the tree and what is below it. The cells of a label stand in columns.
struct Branch {
    label: Vec<String>,
    children: Vec<Branch>,
}

// === impl Tree ===

impl Tree {
    pub async fn run(&self, session: &Session) -> anyhow::Result<()> {
        let url = session.server_url()?;
        let Some(here) = ClusterUrl::parse(&url) else {
            // A mount, or a server that is no kcp: worth a word, not a failure.
            let line = format!("current context URL {url:?} does not point directly to a kcp workspace");
            return Ok(session.console.say(line)?);
        };
        let client = session.client().await?;
        let name = if self.full {
            here.path.to_string()
        } else {
            here.path.split().1.to_owned()
        };
        let label = self.label(&client, &name, &here.path, "").await;
        let root = Branch {
            label,
            children: self.below(&client, &here.path, &name).await?,
        };
        let mut rows = vec![vec![".".to_owned()]];
        draw(&mut rows, &[root], "");
        let text = Columns::TREE.align(&rows);
        // Of the plain tree kcp's plugin prints an empty line after it.
        let text = if self.wide {
            text.trim_end_matches('\n')
        } else {
            text.as_str()
        };
        Ok(session.console.say(text)?)
    }

    async fn below(&self, client: &Client, path: &WorkspacePath, name: &str) -> anyhow::Result<Vec<Branch>> {
        let found = match client.list(path, Resource::WORKSPACES).await {
            Ok(found) => found,
            Err(why) if why.is_not_found() => return Ok(Vec::new()),
            Err(why) => return Err(why.into()),
        };
        let mut branches = Vec::new();
        // One being deleted may no longer be accessible.
        for workspace in found
            .iter()
            .filter(|workspace| workspace.deletion_timestamp().is_none())
        {
            branches.push(Box::pin(self.branch(client, workspace, name)).await?);
        }
        Ok(branches)
    }

    async fn branch(&self, client: &Client, workspace: &Value, parent: &str) -> anyhow::Result<Branch> {
        let own = workspace.name();
        let name = if self.full {
            format!("{parent}:{own}")
        } else {
            own.to_owned()
        };
        if workspace.at(&["spec", "mount"]).is_some_and(|mount| !mount.is_null()) {
            // Its content is another server's, and its URL may lead back up.
            return Ok(Branch {
                label: vec![format!("{name} [m]")],
                children: Vec::new(),
            });
        }
        let url = workspace.str_at(&["spec", "URL"]).unwrap_or_default();
        let Some(path) = path_in_url(url) else {
            anyhow::bail!("URL {url:?} of workspace {name:?} does not point to a workspace");
        };
        let phase = workspace.str_at(&["status", "phase"]).unwrap_or_default();
        Ok(Branch {
            label: self.label(client, &name, &path, phase).await,
            children: self.below(client, &path, &name).await?,
        })
    }

    async fn label(&self, client: &Client, name: &str, path: &WorkspacePath, phase: &str) -> Vec<String> {
        if !self.wide {
            return vec![name.to_owned()];
        }
        let inside = client.get(path, Resource::LOGICAL_CLUSTERS, "cluster").await.ok();
        let inside = inside.as_ref().and_then(|found| found.str_at(&["status", "phase"]));
        let inside = inside.filter(|phase| !phase.is_empty()).unwrap_or("Unknown");
        let phase = if phase.is_empty() { "-" } else { phase };
        vec![name.to_owned(), format!("ws={phase}"), format!("lc={inside}")]
    }
}

fn draw(rows: &mut Vec<Vec<String>>, branches: &[Branch], indent: &str) {
    let last = branches.len().saturating_sub(1);
    for (index, branch) in branches.iter().enumerate() {
        let (edge, below) = if index == last {
            ("└── ", "    ")
        } else {
            ("├── ", "│   ")
        };
        let mut cells = branch.label.clone();
        if let Some(name) = cells.first_mut() {
            name.insert_str(0, &format!("{indent}{edge}"));
        }
        rows.push(cells);
        draw(rows, &branch.children, &format!("{indent}{below}"));
    }
}
