//! Permission claims: which an export makes, which a binding accepts, and the labels that follow (facts E.7, C.3).

use std::sync::Arc;

use api::{hashes, keys};
use machinery::object::ObjectExt;
use serde_json::Value;

/// A claim's identity: what exported and accepted claims are matched by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimKey {
    pub group: String,
    pub resource: String,
    pub identity_hash: String,
}

// === impl ClaimKey ===

impl ClaimKey {
    pub fn read(claim: &Value) -> Self {
        let member = |name: &str| claim.str_at(&[name]).unwrap_or_default().to_owned();
        Self {
            group: member("group"),
            resource: member("resource"),
            identity_hash: member("identityHash"),
        }
    }
}

/// Claims of a binding's spec in state Accepted.
pub fn accepted(binding: &Value) -> impl Iterator<Item = &Value> {
    let claims = binding.at(&["spec", "permissionClaims"]).and_then(Value::as_array);
    claims
        .into_iter()
        .flatten()
        .filter(|claim| claim.str_at(&["state"]) == Some(keys::phase::claim::ACCEPTED))
}

/// Claims that are in force: accepted by the binding and (as last seen) made by the export.
pub fn in_force(binding: &Value) -> Vec<&Value> {
    let exported: Vec<ClaimKey> = binding
        .at(&["status", "exportPermissionClaims"])
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(ClaimKey::read)
        .collect();
    accepted(binding)
        .filter(|claim| exported.contains(&ClaimKey::read(claim)))
        .collect()
}

/// Whether a claim's selector covers an object.
pub fn selects(claim: &Value, object: &Value) -> bool {
    let Some(selector) = claim.get("selector") else {
        return false;
    };
    if selector.get("matchAll").and_then(Value::as_bool) == Some(true) {
        return true;
    }
    let labels = selector.get("matchLabels").and_then(Value::as_object);
    let expressions = selector.get("matchExpressions").and_then(Value::as_array);
    if labels.is_none_or(|l| l.is_empty()) && expressions.is_none_or(Vec::is_empty) {
        return false;
    }
    let labels_match = labels
        .into_iter()
        .flatten()
        .all(|(key, value)| object.label(key) == value.as_str());
    labels_match
        && expressions
            .into_iter()
            .flatten()
            .all(|term| expression_matches(term, object))
}

fn expression_matches(term: &Value, object: &Value) -> bool {
    let Some(key) = term.str_at(&["key"]) else { return false };
    let found = object.label(key);
    let values: Vec<&str> = term
        .get("values")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    match term.str_at(&["operator"]) {
        Some("In") => found.is_some_and(|v| values.contains(&v)),
        Some("NotIn") => found.is_none_or(|v| !values.contains(&v)),
        Some("Exists") => found.is_some(),
        Some("DoesNotExist") => found.is_none(),
        _ => false,
    }
}

/// The claim labels that a binding must carry: those of claims on bindings that other exports have, and the one by which
/// its own export sees it, whether or not that claims bindings (facts C.3).
pub fn labels_for_binding(bindings: &[Arc<Value>], binding: &Value) -> Vec<(String, String)> {
    let mut out = labels_for(bindings, keys::group::APIS, "apibindings", binding);
    if let Some(export) = binding.label(keys::label::EXPORT) {
        let own = format!("{}{export}", keys::label::CLAIM_PREFIX);
        out.retain(|(key, _)| *key != own);
        out.push((own, hashes::REFLEXIVE_CLAIM_VALUE.to_owned()));
    }
    out
}

/// The claim labels that an object of this resource must carry, given all bindings of its cluster. One key an export:
/// where several of its claims cover the object the last one's value stands.
pub fn labels_for(bindings: &[Arc<Value>], group: &str, resource: &str, object: &Value) -> Vec<(String, String)> {
    // Events are stored once for both of their groups.
    let group = if group == "events.k8s.io" { "" } else { group };
    let mut out: Vec<(String, String)> = Vec::new();
    for binding in bindings.iter().filter(|b| b.deletion_timestamp().is_none()) {
        let Some(export_cluster) = binding.str_at(&["status", "apiExportClusterName"]) else {
            continue;
        };
        let Some(export) = binding.str_at(&["spec", "reference", "export", "name"]) else {
            continue;
        };
        for claim in in_force(binding) {
            let key = ClaimKey::read(claim);
            let claimed = if key.group == "events.k8s.io" { "" } else { &key.group };
            if claimed != group || key.resource != resource || !selects(claim, object) {
                continue;
            }
            let label = hashes::claim_label_key(export_cluster, export);
            let value = hashes::claim_label_value(&key.group, &key.resource, &key.identity_hash);
            match out.iter_mut().find(|(k, _)| *k == label) {
                Some((_, v)) => *v = value,
                None => out.push((label, value)),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn binding(selector: Value, exported: bool) -> Arc<Value> {
        let claim = json!({"group": "", "resource": "configmaps", "verbs": ["*"]});
        let exported = if exported { json!([claim]) } else { json!([]) };
        Arc::new(json!({
            "spec": {
                "reference": {"export": {"name": "e"}},
                "permissionClaims": [{"group": "", "resource": "configmaps", "verbs": ["*"], "state": "Accepted", "selector": selector}],
            },
            "status": {"apiExportClusterName": "provider", "exportPermissionClaims": exported},
        }))
    }

    #[test]
    fn only_claims_of_both_sides_label() {
        let object = json!({"metadata": {"labels": {"a": "b"}}});
        let all = json!({"matchAll": true});
        assert_eq!(
            labels_for(&[binding(all.clone(), true)], "", "configmaps", &object).len(),
            1
        );
        assert!(labels_for(&[binding(all.clone(), false)], "", "configmaps", &object).is_empty());
        assert!(labels_for(&[binding(all, true)], "", "secrets", &object).is_empty());
    }

    #[test]
    fn a_binding_is_seen_by_its_own_export_whatever_is_claimed() {
        let mut own = Value::clone(&binding(json!({"matchAll": true}), true));
        let export = hashes::export_label("provider", "e");
        own.set_label(keys::label::EXPORT, &export);
        let key = hashes::claim_label_key("provider", "e");
        let expected = [(key, hashes::REFLEXIVE_CLAIM_VALUE.to_owned())];
        assert_eq!(labels_for_binding(&[], &own), expected);
        // Its own claim on bindings does not change that.
        own.set_at(&["spec", "permissionClaims", "0", "resource"], json!("apibindings"));
        assert_eq!(labels_for_binding(&[Arc::new(own.clone())], &own), expected);
    }

    #[test]
    fn selectors_decide() {
        let object = json!({"metadata": {"labels": {"a": "b"}}});
        for (selector, selected) in [
            (json!({"matchLabels": {"a": "b"}}), true),
            (json!({"matchLabels": {"a": "c"}}), false),
            (json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]}), true),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}]}),
                false,
            ),
            (json!({}), false),
        ] {
            assert_eq!(selects(&json!({"selector": selector}), &object), selected, "{selector}");
        }
    }
}
