//! Which old value stands where a new one stands now: members by name, items of map lists by their keys, nothing else.

use serde_json::{Map, Value};

use super::structural::{ListType, Name, Schema};

/// The old value at a place of the new one.
#[derive(Clone, Copy, Debug)]
pub struct Old<'a> {
    pub value: &'a Value,
    /// At the root of an object, where `apiVersion` and `kind` are never correlated: both versions were converted.
    pub root: bool,
}

// === impl Old ===

impl<'a> Old<'a> {
    pub fn member(self, name: &str) -> Option<Self> {
        if self.root && matches!(name, "apiVersion" | "kind") {
            return None;
        }
        Some(Self {
            value: self.value.get(name)?,
            root: false,
        })
    }

    /// The old item of the same keys as `item`, in a list of type map.
    pub fn item(self, item: &Value, list: &Schema) -> Option<Self> {
        let value = old_item(item, self.value.as_array()?, list)?;
        Some(Self { value, root: false })
    }
}

/// The first old item whose list-map keys all equal those of `item`. An item that lacks a key, or has one that is no
/// scalar, correlates with nothing.
pub fn old_item<'a>(item: &Value, old: &'a [Value], list: &Schema) -> Option<&'a Value> {
    let ListType::Map(keys) = &list.list else { return None };
    let members = item.as_object()?;
    if keys.is_empty() || !keys.iter().all(|key| members.get(&**key).is_some_and(is_scalar)) {
        return None;
    }
    old.iter()
        .find(|candidate| candidate.as_object().is_some_and(|old| same_keys(members, old, keys)))
}

fn is_scalar(value: &Value) -> bool {
    matches!(value, Value::Bool(_) | Value::Number(_) | Value::String(_))
}

fn same_keys(a: &Map<String, Value>, b: &Map<String, Value>, keys: &[Name]) -> bool {
    keys.iter().all(|key| a.get(&**key) == b.get(&**key))
}

/// Whether a value is what it was, in the schema's eyes: lists of type map compare by key, all else deeply.
pub fn unchanged(new: &Value, old: &Value, schema: &Schema) -> bool {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            new.len() == old.len()
                && new
                    .iter()
                    .all(|(name, value)| match (old.get(name), schema.member(name)) {
                        (Some(old), Some(member)) => unchanged(value, old, member),
                        (Some(old), None) => value == old,
                        (None, _) => false,
                    })
        }
        (Value::Array(new), Value::Array(old)) => match (&schema.list, schema.items.as_deref()) {
            (ListType::Map(_), Some(item_schema)) => {
                new.len() == old.len()
                    && new.iter().all(|item| {
                        old_item(item, old, schema).is_some_and(|before| unchanged(item, before, item_schema))
                    })
            }
            _ => new == old,
        },
        _ => new == old,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn items_of_map_lists_correlate_by_all_keys() {
        let schema = Schema::parse(&json!({"type": "array", "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["a", "b"], "items": {"type": "object", "properties": {
                "a": {"type": "string"}, "b": {"type": "string"}, "v": {"type": "integer"}}}}));
        let old = json!([{"a": "1", "b": "1", "v": 1}, {"a": "1", "b": "2", "v": 2}]);
        let old = old.as_array().unwrap();
        assert_eq!(
            old_item(&json!({"a": "1", "b": "2", "v": 9}), old, &schema),
            Some(&old[1])
        );
        assert_eq!(old_item(&json!({"a": "1"}), old, &schema), None);
        assert_eq!(old_item(&json!({"a": "1", "b": null}), old, &schema), None);
        let swapped = Value::Array(old.iter().rev().cloned().collect());
        assert!(unchanged(&swapped, &Value::Array(old.clone()), &schema));
    }
}
