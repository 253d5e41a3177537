//! `ws <where>`: like `cd`. Asks the server whether the user may be there, then points the kubeconfig at it.

use anyhow::{anyhow, bail};
use machinery::object::ObjectExt;
use serde_json::{Value, json};

use super::warnings::unresolved_claims;
use super::{CURRENT, PREVIOUS, print_current};
use crate::kubeconfig::Section;
use crate::path::{ClusterUrl, WorkspacePath, path_in_url};
use crate::server::{CallError, Client, Resource};
use crate::session::Session;

/// Goes to a workspace.
#[derive(Clone, Debug, Default)]
pub struct Switch {
    /// As typed: a path, `.`, `..`, `-`, `~`, `:`; nothing goes home.
    pub to: Option<String>,
    /// Prints the path alone.
    pub short: bool,
}

/// What the server says of a workspace before the kubeconfig is changed.
struct Visit {
    denied: bool,
    missing: bool,
    of_type: Option<Value>,
}

const LEGACY_NOTE: &str = "Note: Using 'root:' to define an absolute path is no longer supported. Instead, use ':root' \
                           to specify an absolute path.";
const HOME_NOTE: &str = "Note: 'kubectl ws' now matches 'cd' semantics: go to home workspace. 'kubectl ws -' to go \
                         back. 'kubectl ws .' to print current workspace.";

const BINDINGS: Resource<'static> = Resource {
    group: "apis.kcp.io",
    version: "v1alpha2",
    plural: "apibindings",
};

// === impl Switch ===

impl Switch {
    pub async fn run(&self, session: &mut Session) -> anyhow::Result<()> {
        let typed = self.typed(session);
        session.context()?;
        match typed.as_str() {
            "" => {
                self.go(session, "~").await?;
                if !self.short {
                    session.console.note(HOME_NOTE);
                }
                Ok(())
            }
            "." => print_current(&session.console, &session.server_url()?, self.short, None),
            "-" => self.back(session).await,
            ":" => {
                let here = session.workspace()?;
                let top = here.at(here.path.top());
                let client = session.client().await?;
                self.commit(session, &client, &top, None).await
            }
            typed => self.go(session, typed).await,
        }
    }

    /// What was typed, with `:` for `/` and `~` for the home directory that a shell put in its place.
    fn typed(&self, session: &Session) -> String {
        let typed = self.to.clone().unwrap_or_default();
        let home = session.home.as_deref().filter(|home| !home.is_empty());
        let typed = match home.and_then(|home| typed.strip_prefix(home)) {
            Some(rest) => format!("~{rest}"),
            None => typed,
        };
        let typed = typed.replace('/', ":");
        if typed == "root" || typed.starts_with("root:") {
            if !self.short {
                session.console.note(LEGACY_NOTE);
            }
            return format!(":{typed}");
        }
        typed
    }

    async fn go(&self, session: &mut Session, typed: &str) -> anyhow::Result<()> {
        let client = session.client().await?;
        let typed = match typed.strip_prefix('~') {
            Some(rest) if rest.is_empty() || rest.starts_with(':') => format!(":{}{rest}", home(&client).await?),
            _ => typed.to_owned(),
        };
        let here = session.workspace()?;
        let there = here.at(here.path.resolve(&typed)?);
        // As kcp's plugin: the way up does not ask the parent, which the user need not have access to.
        let upwards = matches!(typed.rsplit(':').next(), Some("." | ".."));
        let visit = Visit::of(&client, &there.path, upwards).await?;
        match visit {
            Visit {
                denied: true,
                missing: true,
                ..
            } => bail!("workspace \"{}\" not found", there.path),
            Visit { denied: true, .. } => bail!("access to workspace \"{}\" denied", there.path),
            // Not found but let in: there is no parent, or the user sees less of it.
            Visit { of_type, .. } => self.commit(session, &client, &there, of_type.as_ref()).await,
        }
    }

    /// Points the kubeconfig at the workspace and keeps the way back.
    async fn commit(
        &self,
        session: &mut Session,
        client: &Client,
        there: &ClusterUrl,
        of_type: Option<&Value>,
    ) -> anyhow::Result<()> {
        let was = session.context()?;
        let old_cluster = session.cluster_of(&was)?;
        let mut cluster = old_cluster.clone();
        cluster.set_at(&["server"], json!(there.to_string()));
        let mut now = was.clone();
        now.set_at(&["cluster"], json!(CURRENT));
        let mut previous = was;
        let config = &mut session.kubeconfig;
        if previous.str_at(&["cluster"]) == Some(CURRENT) {
            previous.set_at(&["cluster"], json!(PREVIOUS));
            config.set(Section::Clusters, PREVIOUS, old_cluster);
        }
        config.set(Section::Clusters, CURRENT, cluster);
        config.set(Section::Contexts, CURRENT, now);
        config.set(Section::Contexts, PREVIOUS, previous);
        config.set_current_context(CURRENT);
        session.save()?;
        warn_of_claims(session, client, &there.to_string()).await;
        print_current(&session.console, &there.to_string(), self.short, of_type)
    }

    /// Swaps the current and the previous workspace.
    async fn back(&self, session: &mut Session) -> anyhow::Result<()> {
        let client = session.client().await?;
        let mut was = session.context()?;
        let previous = session.kubeconfig.get(Section::Contexts, PREVIOUS);
        let mut now = previous.ok_or_else(|| anyhow!("no previous workspace found in kubeconfig"))?;
        let old_cluster = session.cluster_of(&was)?;
        let new_cluster = session.cluster_of(&now)?;
        let url = new_cluster.str_at(&["server"]).unwrap_or_default().to_owned();
        let config = &mut session.kubeconfig;
        if was.str_at(&["cluster"]) == Some(CURRENT) {
            was.set_at(&["cluster"], json!(PREVIOUS));
            config.set(Section::Clusters, PREVIOUS, old_cluster);
        }
        if now.str_at(&["cluster"]) == Some(PREVIOUS) {
            now.set_at(&["cluster"], json!(CURRENT));
            config.set(Section::Clusters, CURRENT, new_cluster);
        }
        config.set(Section::Contexts, CURRENT, now);
        config.set(Section::Contexts, PREVIOUS, was);
        config.set_current_context(CURRENT);
        session.save()?;
        warn_of_claims(session, &client, &url).await;
        print_current(&session.console, &url, self.short, None)
    }
}

// === impl Visit ===

impl Visit {
    /// Looks whether anything is served there, and asks the parent for the workspace's type.
    async fn of(client: &Client, path: &WorkspacePath, upwards: bool) -> anyhow::Result<Self> {
        let denied = match serves(client, path).await {
            Ok(serves) => !serves,
            Err(why) if why.is_forbidden() => true,
            Err(why) => return Err(why.into()),
        };
        let mut visit = Self {
            denied,
            missing: false,
            of_type: None,
        };
        if path.is_root() {
            visit.of_type = Some(json!({"name": "root"}));
        } else if !upwards {
            let (parent, name) = path.split();
            match client.get(&parent, Resource::WORKSPACES, name).await {
                Ok(found) => visit.of_type = found.at(&["spec", "type"]).cloned(),
                Err(why) => visit.missing = why.is_not_found(),
            }
        }
        Ok(visit)
    }
}

/// Whether the server has any group there. An absent `/api` is none, as in client-go.
async fn serves(client: &Client, path: &WorkspacePath) -> Result<bool, CallError> {
    let filled = |answer: &Value, list: &str| {
        answer
            .get(list)
            .and_then(Value::as_array)
            .is_some_and(|l| !l.is_empty())
    };
    let legacy = match client.raw(path, "/api").await {
        Ok(answer) => filled(&answer, "versions"),
        Err(why) if why.is_not_found() => false,
        Err(why) => return Err(why),
    };
    let groups = client.raw(path, "/apis").await?;
    Ok(legacy || filled(&groups, "groups"))
}

/// The path in the URL of the user's home workspace.
async fn home(client: &Client) -> anyhow::Result<WorkspacePath> {
    let home = client
        .get(&WorkspacePath::new("root"), Resource::WORKSPACES, "~")
        .await?;
    let url = home.str_at(&["spec", "URL"]).unwrap_or_default();
    path_in_url(url).ok_or_else(|| anyhow!("invalid home workspace URL {url:?}"))
}

/// Names claims that a binding does not answer. What fails here does not undo the switch.
async fn warn_of_claims(session: &Session, client: &Client, url: &str) {
    let Some(path) = path_in_url(url) else {
        let why = format!("current cluster URL {url} is not pointing to a workspace");
        session.console.note(format!("error checking APIBindings: {why}"));
        return;
    };
    match client.list(&path, BINDINGS).await {
        Ok(bindings) => unresolved_claims(&bindings)
            .iter()
            .for_each(|line| session.console.note(line)),
        // Not allowed to see them, or a server without them: nothing to show.
        Err(why) if why.is_forbidden() || why.is_not_found() => {}
        Err(why) => session.console.note(format!("error checking APIBindings: {why}")),
    }
}
