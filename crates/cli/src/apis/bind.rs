//! `bind apiexport`: binds the current workspace to an export and waits until its resources are served.

use std::time::Duration;

use anyhow::{anyhow, bail};
use machinery::object::ObjectExt;
use serde_json::{Map, Value, json};

use super::{GROUP, binding_version, bindings, group_resource};
use crate::path::WorkspacePath;
use crate::server::{Client, Resource};
use crate::session::Session;
use crate::wait::{Wait, blocking};

/// Binds an export.
#[derive(Clone, Debug, Default)]
pub struct BindExport {
    /// `<path of the workspace>:<name of the export>`.
    pub export: String,
    /// Of the binding; the export's when absent.
    pub name: Option<String>,
    pub timeout: Duration,
    /// Claims as `resource.group`.
    pub accepted: Vec<String>,
    pub rejected: Vec<String>,
    pub accept_all: bool,
    pub reject_all: bool,
}

/// A claim that the user answers: group, resource, and `Accepted` or `Rejected`.
type Answered = (String, String, &'static str);

const EXPORTS: Resource<'static> = Resource {
    group: GROUP,
    version: "v1alpha1",
    plural: "apiexports",
};

// === impl BindExport ===

impl BindExport {
    pub async fn run(&self, session: &Session) -> anyhow::Result<()> {
        let mut claims = self.check()?;
        let here = session.workspace()?.path;
        let client = session.client().await?;
        let version = binding_version(&client, &here).await?;
        if self.accept_all || self.reject_all {
            claims = self.claims_of_export(&client).await?;
        }
        let wanted = self.object(version, &claims);
        let created = client.create(&here, bindings(version), wanted).await;
        let mut binding = created.map_err(|why| anyhow!("failed to create APIBinding: {why}"))?;
        let name = binding.name().to_owned();
        session
            .console
            .say(format!("apibinding {name} created. Waiting to successfully bind ..."))?;
        let what = format!("APIBinding \"{name}\"");
        let mut wait = Wait::new(&session.env.clock, &session.console, what, self.timeout);
        while !bound(&binding) {
            let failed = |why: &dyn std::fmt::Display| anyhow!("could not bind {name}: {why}");
            binding = client
                .get(&here, bindings(version), &name)
                .await
                .map_err(|why| failed(&why))?;
            if !bound(&binding) {
                let paused = wait.pause(Duration::from_millis(500), blocking(&binding)).await;
                paused.map_err(|why| failed(&why))?;
            }
        }
        Ok(session.console.say(format!("{name} created and bound."))?)
    }

    /// What was asked for, if it makes sense.
    fn check(&self) -> anyhow::Result<Vec<Answered>> {
        let exclusive = [
            (
                self.accept_all && self.reject_all,
                "both --accept-all-permission-claims and --reject-all-permission-claims",
            ),
            (
                self.accept_all && !self.accepted.is_empty(),
                "--accept-all-permission-claims with --accept-permission-claim",
            ),
            (
                self.accept_all && !self.rejected.is_empty(),
                "--accept-all-permission-claims together with --reject-permission-claim",
            ),
            (
                self.reject_all && !self.rejected.is_empty(),
                "--reject-all-permission-claims with --reject-permission-claim",
            ),
            (
                self.reject_all && !self.accepted.is_empty(),
                "--reject-all-permission-claims together with --accept-permission-claim",
            ),
        ];
        if let Some((_, what)) = exclusive.iter().find(|(given, _)| *given) {
            bail!("cannot use {what}");
        }
        if !self.reference().0.is_valid() {
            bail!(
                "fully qualified reference to workspace where APIExport exists is required. The format is \
                 `<logical-cluster-name>:<apiexport>` or `<full>:<path>:<to>:<apiexport>`"
            );
        }
        let accepted = parse_claims(&self.accepted, "accepted", "Accepted")?;
        let rejected = parse_claims(&self.rejected, "rejected", "Rejected")?;
        for (group, resource, _) in &accepted {
            if rejected.iter().any(|other| (&other.0, &other.1) == (group, resource)) {
                bail!("permission claim {resource}.{group} is both accepted and rejected");
            }
        }
        Ok([accepted, rejected].concat())
    }

    /// The export's workspace and name.
    fn reference(&self) -> (WorkspacePath, String) {
        let typed = WorkspacePath::new(self.export.strip_prefix(':').unwrap_or(&self.export));
        let (path, name) = typed.split();
        (path, name.to_owned())
    }

    /// All claims that the export has, answered alike.
    async fn claims_of_export(&self, client: &Client) -> anyhow::Result<Vec<Answered>> {
        let (path, name) = self.reference();
        let export = client.get(&path, EXPORTS, &name).await;
        let export = export.map_err(|why| anyhow!("failed to get APIExport {name:?}: {why}"))?;
        let state = if self.accept_all { "Accepted" } else { "Rejected" };
        let claims = export.at(&["spec", "permissionClaims"]).and_then(Value::as_array);
        let part = |claim: &Value, name: &str| claim.str_at(&[name]).unwrap_or_default().to_owned();
        let answered = |claim: &Value| (part(claim, "group"), part(claim, "resource"), state);
        Ok(claims.into_iter().flatten().map(answered).collect())
    }

    fn object(&self, version: &str, claims: &[Answered]) -> Value {
        let (path, export) = self.reference();
        let name = self.name.clone().filter(|name| !name.is_empty());
        let mut spec = Map::new();
        let reference = json!({"export": {"path": path.as_str(), "name": export}});
        spec.insert("reference".to_owned(), reference);
        if !claims.is_empty() {
            let claims: Vec<Value> = claims.iter().map(|claim| claim_object(version, claim)).collect();
            spec.insert("permissionClaims".to_owned(), Value::Array(claims));
        }
        json!({
            "apiVersion": bindings(version).api_version(),
            "kind": "APIBinding",
            "metadata": {"name": name.unwrap_or(export)},
            "spec": spec,
        })
    }
}

fn bound(binding: &Value) -> bool {
    binding.str_at(&["status", "phase"]) == Some("Bound")
}

fn parse_claims(typed: &[String], which: &str, state: &'static str) -> anyhow::Result<Vec<Answered>> {
    let wrong: Vec<String> = typed
        .iter()
        .filter(|claim| !claim.contains('.'))
        .map(|claim| format!("invalid permission claim {claim:?}"))
        .collect();
    if !wrong.is_empty() {
        bail!("invalid {which} permission claims: [{}]", wrong.join(" "));
    }
    let answered = |claim: &String| {
        let (group, resource) = group_resource(claim);
        (group.to_owned(), resource.to_owned(), state)
    };
    Ok(typed.iter().map(answered).collect())
}

/// All verbs on all objects. v1alpha1 has no verbs and says `all`.
fn claim_object(version: &str, (group, resource, state): &Answered) -> Value {
    let mut claim = json!({"resource": resource, "state": state});
    if !group.is_empty() {
        claim.set_at(&["group"], json!(group));
    }
    if version == "v1alpha1" {
        claim.set_at(&["all"], json!(true));
    } else {
        claim.set_at(&["verbs"], json!(["*"]));
        claim.set_at(&["selector"], json!({"matchAll": true}));
    }
    claim
}
