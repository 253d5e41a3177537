//! Permission claims of an export that a binding leaves unanswered, or answers with other verbs.

use std::collections::BTreeSet;

use machinery::object::ObjectExt;
use serde_json::Value;

/// Lines for the user, in the order of the bindings and their exported claims.
pub fn unresolved_claims(bindings: &[Value]) -> Vec<String> {
    let mut lines = Vec::new();
    for binding in bindings {
        let name = binding.name();
        let answers = items(binding, &["spec", "permissionClaims"]);
        for claim in items(binding, &["status", "exportPermissionClaims"]) {
            let text = claim_text(claim);
            let answer = answers.iter().rev().find(|answer| same(claim, answer));
            let Some(answer) = answer else {
                lines.push(format!(
                    "Warning: claim for {text} exported but not specified on APIBinding {name}\nAdd this claim to the \
                     APIBinding's Spec."
                ));
                lines.push(unanswered(&text, name));
                continue;
            };
            if !matches!(answer.str_at(&["state"]), Some("Accepted" | "Rejected")) {
                lines.push(unanswered(&text, name));
            }
            let (actual, expected) = (verbs(answer), verbs(claim));
            if actual != expected {
                let list = |verbs: BTreeSet<&str>| verbs.into_iter().collect::<Vec<_>>().join(",");
                lines.push(format!(
                    "Warning: allowed verbs ({}) on claim for {text} on APIBinding {name} do not match expected verbs \
                     ({}).",
                    list(actual),
                    list(expected)
                ));
            }
        }
    }
    lines
}

fn unanswered(claim: &str, binding: &str) -> String {
    format!("Warning: claim for {claim} specified on APIBinding {binding} but not accepted or rejected.")
}

fn items<'a>(object: &'a Value, path: &[&str]) -> &'a [Value] {
    object.at(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn verbs(claim: &Value) -> BTreeSet<&str> {
    items(claim, &["verbs"]).iter().filter_map(Value::as_str).collect()
}

fn part<'a>(claim: &'a Value, name: &str) -> &'a str {
    claim.str_at(&[name]).unwrap_or_default()
}

fn same(a: &Value, b: &Value) -> bool {
    ["group", "resource", "identityHash"]
        .iter()
        .all(|name| part(a, name) == part(b, name))
}

/// `secrets`, `things.example.io`, with the identity if the claim names one.
fn claim_text(claim: &Value) -> String {
    let (group, resource, identity) = (
        part(claim, "group"),
        part(claim, "resource"),
        part(claim, "identityHash"),
    );
    let group = if group.is_empty() {
        String::new()
    } else {
        format!(".{group}")
    };
    let identity = if identity.is_empty() {
        String::new()
    } else {
        format!(":{identity}")
    };
    format!("{resource}{group}{identity}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_what_a_binding_does_not_answer() {
        let binding = |answers: Value| {
            json!({
                "metadata": {"name": "b"},
                "spec": {"permissionClaims": answers},
                "status": {"exportPermissionClaims": [{"resource": "secrets", "verbs": ["get"]}]},
            })
        };
        let none = unresolved_claims(&[binding(json!([]))]);
        assert!(none[0].starts_with("Warning: claim for secrets exported but not specified on APIBinding b\nAdd"));
        let open = unresolved_claims(&[binding(json!([{"resource": "secrets", "verbs": ["get"]}]))]);
        assert_eq!(
            open,
            ["Warning: claim for secrets specified on APIBinding b but not accepted or rejected."]
        );
        let more = json!([{"resource": "secrets", "verbs": ["*"], "state": "Accepted"}]);
        assert_eq!(
            unresolved_claims(&[binding(more)]),
            ["Warning: allowed verbs (*) on claim for secrets on APIBinding b do not match expected verbs (get)."]
        );
        let good = json!([{"resource": "secrets", "verbs": ["get"], "state": "Rejected"}]);
        assert!(unresolved_claims(&[binding(good)]).is_empty());
    }
}
