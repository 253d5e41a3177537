//! `create workspace`: makes one below the current workspace and waits until it can be used.

use std::time::Duration;

use anyhow::{anyhow, bail};
use machinery::object::ObjectExt;
use machinery::selector::{LabelSelector, Operator};
use serde_json::{Map, Value, json};

use super::{CreateContext, Switch, type_text};
use crate::path::WorkspacePath;
use crate::server::{Client, Resource};
use crate::session::Session;
use crate::wait::{Wait, blocking};

/// Makes a workspace.
#[derive(Clone, Debug, Default)]
pub struct CreateWorkspace {
    pub name: String,
    /// `universal` or `root:universal`; the parent's default when absent.
    pub of_type: Option<String>,
    pub enter: bool,
    pub ignore_existing: bool,
    /// A label selector of shards.
    pub location_selector: Option<String>,
    /// Names a context to make for it.
    pub create_context: Option<String>,
}

/// Until a new workspace must be visible, and until it must be ready.
const VISIBLE: Duration = Duration::from_secs(5);
const READY: Duration = Duration::from_secs(60);

// === impl CreateWorkspace ===

impl CreateWorkspace {
    pub async fn run(&self, session: &mut Session) -> anyhow::Result<()> {
        let wanted = self.object()?;
        let here = session.workspace()?.path;
        let of_type = self.of_type.as_deref().unwrap_or_default();
        if self.ignore_existing && !of_type.is_empty() && of_type != "root" && !of_type.starts_with("root:") {
            bail!("--ignore-existing must not be used with non-absolute type path");
        }
        let client = session.client().await?;
        let (found, existed) = match client.create(&here, Resource::WORKSPACES, wanted.clone()).await {
            Ok(created) => (created, false),
            Err(why) if why.is_already_exists() && self.ignore_existing => {
                (client.get(&here, Resource::WORKSPACES, &self.name).await?, true)
            }
            Err(why) => return Err(why.into()),
        };
        if existed {
            self.check_type(&wanted, &found)?;
        }
        let reference = format!(
            "Workspace \"{}\" (type {})",
            self.name,
            type_text(found.at(&["spec", "type"]))
        );
        let verb = if existed { "already exists" } else { "created" };
        match (ready(&found), existed) {
            (false, _) => session
                .console
                .say(format!("{reference} {verb}. Waiting for it to be ready..."))?,
            (true, true) => session.console.say(format!("{reference} {verb}."))?,
            (true, false) => {}
        }
        let workspace = self.settle(session, &client, &here, found).await?;
        session.console.say(format!("{reference} is ready to use."))?;
        self.follow(session, &workspace).await
    }

    /// The object to create.
    fn object(&self) -> anyhow::Result<Value> {
        let mut spec = Map::new();
        if let Some(of_type) = self.of_type.as_deref().filter(|of_type| !of_type.is_empty()) {
            let (path, name) = of_type.rsplit_once(':').unwrap_or(("", of_type));
            // Without a path admission finds the type, going up from the parent.
            let mut reference = json!({"name": name.to_lowercase()});
            if !path.is_empty() {
                reference.set_at(&["path"], json!(path));
            }
            spec.insert("type".to_owned(), reference);
        }
        if let Some(selector) = self
            .location_selector
            .as_deref()
            .filter(|selector| !selector.is_empty())
        {
            let selector = selector_object(selector).map_err(|why| anyhow!("invalid location selector: {why}"))?;
            spec.insert("location".to_owned(), json!({"selector": selector}));
        }
        Ok(json!({
            "apiVersion": Resource::WORKSPACES.api_version(),
            "kind": "Workspace",
            "metadata": {"name": self.name},
            "spec": spec,
        }))
    }

    fn check_type(&self, wanted: &Value, found: &Value) -> anyhow::Result<()> {
        let (wanted, found) = (wanted.at(&["spec", "type"]), found.at(&["spec", "type"]));
        let (wanted_text, found_text) = (type_text(wanted), type_text(found));
        if wanted.is_some() && wanted_text != found_text {
            let name = &self.name;
            bail!(
                "workspace {name:?} cannot be created with type {wanted_text}, it already exists with different type \
                 {found_text}"
            );
        }
        Ok(())
    }

    /// Waits until the workspace can be read back, then until it is ready.
    async fn settle(
        &self,
        session: &Session,
        client: &Client,
        here: &WorkspacePath,
        mut workspace: Value,
    ) -> anyhow::Result<Value> {
        let what = format!("workspace \"{}\"", self.name);
        let mut wait = Wait::new(&session.env.clock, &session.console, what.as_str(), VISIBLE);
        loop {
            match client.get(here, Resource::WORKSPACES, &self.name).await {
                Ok(_) => break,
                Err(why) if why.is_not_found() => {
                    wait.pause(Duration::from_millis(100), "it is not visible yet".to_owned())
                        .await?;
                }
                Err(why) => return Err(why.into()),
            }
        }
        let mut wait = Wait::new(&session.env.clock, &session.console, what, READY);
        while !ready(&workspace) {
            workspace = client.get(here, Resource::WORKSPACES, &self.name).await?;
            if !ready(&workspace) {
                wait.pause(Duration::from_millis(500), blocking(&workspace)).await?;
            }
        }
        Ok(workspace)
    }

    /// What `--create-context` and `--enter` ask for.
    async fn follow(&self, session: &mut Session, workspace: &Value) -> anyhow::Result<()> {
        if let Some(name) = self.create_context.clone().filter(|name| !name.is_empty()) {
            let context = CreateContext {
                name: Some(name),
                overwrite: self.ignore_existing,
                keep_current: !self.enter,
                url: workspace.str_at(&["spec", "URL"]).map(str::to_owned),
            };
            return context
                .run(session)
                .map_err(|why| anyhow!("failed to create context: {why}"));
        }
        if !self.enter {
            return Ok(());
        }
        let to = Some(self.name.clone());
        Switch { to, short: false }.run(session).await
    }
}

fn ready(workspace: &Value) -> bool {
    workspace.str_at(&["status", "phase"]) == Some("Ready")
}

/// A selector's text as the API's `LabelSelector`.
fn selector_object(text: &str) -> Result<Value, String> {
    let selector = LabelSelector::parse(text).map_err(|why| why.to_string())?;
    let mut labels = Map::new();
    let mut expressions = Vec::new();
    for term in selector.requirements() {
        let operator = match (term.operator, term.values.as_slice()) {
            (Operator::In, [value]) if !labels.contains_key(&term.key) => {
                labels.insert(term.key.clone(), json!(value));
                continue;
            }
            (Operator::In, _) => "In",
            (Operator::NotIn, _) => "NotIn",
            (Operator::Exists, _) => "Exists",
            (Operator::DoesNotExist, _) => "DoesNotExist",
            (Operator::GreaterThan | Operator::LessThan, _) => {
                return Err(format!(
                    "comparisons of {:?} are not supported in label selectors",
                    term.key
                ));
            }
        };
        let mut expression = json!({"key": term.key, "operator": operator});
        if !term.values.is_empty() {
            expression.set_at(&["values"], json!(term.values));
        }
        expressions.push(expression);
    }
    let mut object = Map::new();
    if !labels.is_empty() {
        object.insert("matchLabels".to_owned(), Value::Object(labels));
    }
    if !expressions.is_empty() {
        object.insert("matchExpressions".to_owned(), Value::Array(expressions));
    }
    Ok(Value::Object(object))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_lower_case_and_selectors_become_objects() {
        let command = CreateWorkspace {
            name: "x".into(),
            of_type: Some("root:Universal".into()),
            location_selector: Some("region=eu,zone in (a,b),!old".into()),
            ..CreateWorkspace::default()
        };
        let spec = command.object().expect("valid")["spec"].clone();
        assert_eq!(spec["type"], json!({"name": "universal", "path": "root"}));
        let selector = &spec["location"]["selector"];
        assert_eq!(selector["matchLabels"], json!({"region": "eu"}));
        let expressions = selector["matchExpressions"].as_array().expect("a list");
        assert!(expressions.contains(&json!({"key": "zone", "operator": "In", "values": ["a", "b"]})));
        assert!(expressions.contains(&json!({"key": "old", "operator": "DoesNotExist"})));
        let wrong = CreateWorkspace {
            location_selector: Some("a in".into()),
            ..command
        };
        assert!(
            wrong
                .object()
                .is_err_and(|why| why.to_string().starts_with("invalid location selector: "))
        );
    }
}
