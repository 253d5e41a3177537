//! `claims`: what exports ask of the current workspace, and the user's answers.

use anyhow::anyhow;
use machinery::object::{GroupResource, ObjectExt};
use serde_json::{Value, json};

use super::{binding_version, bindings, group_resource};
use crate::output::Columns;
use crate::session::Session;

/// Prints the claims of one binding, or of all.
#[derive(Clone, Debug, Default)]
pub struct GetClaims {
    pub binding: Option<String>,
}

/// Accepts or rejects claims of a binding.
#[derive(Clone, Debug, Default)]
pub struct AnswerClaims {
    pub binding: String,
    pub accept: bool,
    /// `resource.group`.
    pub resource: Option<String>,
    /// Decides instead of the resource.
    pub identity_hash: Option<String>,
}

// === impl GetClaims ===

impl GetClaims {
    pub async fn run(&self, session: &Session) -> anyhow::Result<()> {
        let here = session.workspace()?.path;
        let client = session.client().await?;
        let version = binding_version(&client, &here).await?;
        let found = match self.binding.as_deref().filter(|name| !name.is_empty()) {
            Some(name) => {
                let found = client.get(&here, bindings(version), name).await;
                vec![found.map_err(|why| anyhow!("error finding APIBinding: {why}"))?]
            }
            None => {
                let found = client.list(&here, bindings(version)).await;
                found.map_err(|why| anyhow!("error listing APIBindings in \"{here}\" workspace: {why}"))?
            }
        };
        let text = Columns::KUBECTL.align(&rows(&found, version));
        Ok(session.console.say(text.trim_end_matches('\n'))?)
    }
}

/// v1alpha1 has no verbs, and no column of them.
fn rows(found: &[Value], version: &str) -> Vec<Vec<String>> {
    let verbs = version != "v1alpha1";
    let row = |cells: [&str; 4]| {
        let shown = cells.into_iter().enumerate().filter(|(index, _)| verbs || *index != 2);
        shown.map(|(_, cell)| cell.to_owned()).collect::<Vec<_>>()
    };
    let mut rows = vec![row(["APIBINDING", "GROUP-RESOURCE", "VERBS", "STATUS"])];
    for binding in found {
        let claims = binding.at(&["spec", "permissionClaims"]).and_then(Value::as_array);
        for claim in claims.into_iter().flatten() {
            let part = |name: &str| claim.str_at(&[name]).unwrap_or_default();
            let of = GroupResource::new(part("group"), part("resource")).to_string();
            let allowed = claim.at(&["verbs"]).and_then(Value::as_array);
            let allowed: Vec<&str> = allowed.into_iter().flatten().filter_map(Value::as_str).collect();
            rows.push(row([binding.name(), &of, &allowed.join(","), part("state")]));
        }
    }
    rows
}

// === impl AnswerClaims ===

impl AnswerClaims {
    pub async fn run(&self, session: &Session) -> anyhow::Result<()> {
        let here = session.workspace()?.path;
        let client = session.client().await?;
        let version = binding_version(&client, &here).await?;
        let name = &self.binding;
        let failed = |why| anyhow!("error updating permission claim for APIBinding {name:?}: {why}");
        let mut binding = client.get(&here, bindings(version), name).await.map_err(failed)?;
        self.answer(&mut binding);
        client.update(&here, bindings(version), binding).await.map_err(failed)?;
        let which = match (given(&self.resource), given(&self.identity_hash)) {
            (Some(resource), _) => format!("claim {resource:?} "),
            (None, Some(hash)) => format!("claim with identity hash {hash:?} "),
            (None, None) => String::new(),
        };
        let answer = if self.accept { "accepted" } else { "rejected" };
        Ok(session
            .console
            .say(format!("{which}on APIBinding {name:?} is {answer}"))?)
    }

    /// Sets the state of the claims that were meant: the first of an identity, or all of a resource.
    fn answer(&self, binding: &mut Value) {
        let state = json!(if self.accept { "Accepted" } else { "Rejected" });
        let claims = binding
            .pointer_mut("/spec/permissionClaims")
            .and_then(Value::as_array_mut);
        let is = |claim: &Value, name: &str, value: &str| claim.str_at(&[name]).unwrap_or_default() == value;
        let mut claims = claims.into_iter().flatten();
        match (given(&self.identity_hash), given(&self.resource)) {
            (Some(hash), _) => {
                if let Some(claim) = claims.find(|claim| is(claim, "identityHash", hash)) {
                    claim.set_at(&["state"], state);
                }
            }
            (None, Some(typed)) => {
                let (group, resource) = group_resource(typed);
                for claim in claims.filter(|claim| is(claim, "group", group) && is(claim, "resource", resource)) {
                    claim.set_at(&["state"], state.clone());
                }
            }
            (None, None) => {}
        }
    }
}

fn given(flag: &Option<String>) -> Option<&str> {
    flag.as_deref().filter(|text| !text.is_empty())
}
