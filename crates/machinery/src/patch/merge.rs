//! JSON merge patch (RFC 7396), as the library that Kubernetes uses applies it.
//!
//! One deviation from the RFC is kept: nulls inside the items of a list that is set anew are dropped, too.

use serde_json::{Map, Value};

/// Merges the patch into the document.
pub fn apply(document: &mut Value, patch: &Map<String, Value>) {
    if !document.is_object() {
        *document = Value::Object(Map::new());
    }
    if let Value::Object(members) = document {
        merge(members, patch);
    }
}

fn merge(members: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (name, change) in patch {
        match (members.get_mut(name), change) {
            (_, Value::Null) => drop(members.remove(name)),
            (Some(Value::Object(here)), Value::Object(change)) => merge(here, change),
            // What stands in the place of a map is taken as it is.
            (Some(here @ Value::Object(_)), change) => *here = change.clone(),
            (_, change) => drop(members.insert(name.clone(), without_nulls(change))),
        }
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.iter().filter(|(_, member)| !member.is_null());
            Value::Object(
                kept.map(|(name, member)| (name.clone(), without_nulls(member)))
                    .collect(),
            )
        }
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        scalar => scalar.clone(),
    }
}

#[cfg(test)]
mod tests;
