//! Which old value stands where a new one stands now: members by name, items of map lists by their keys, nothing else.

use std::collections::BTreeMap;

use serde_json::Value;

use super::structural::{ListType, Name, Schema};

/// The old value at a place of the new one.
#[derive(Clone, Copy, Debug)]
pub struct Old<'a> {
    pub value: &'a Value,
    /// At the root of an object, where `apiVersion` and `kind` are never correlated: both versions were converted.
    pub root: bool,
}

/// The items of an old list of type map, to be found by their keys.
#[derive(Debug)]
pub struct OldItems<'a> {
    old: &'a [Value],
    keys: &'a [Name],
    /// By [`key_text`]; only made for lists too long to look through for each item.
    index: BTreeMap<String, &'a Value>,
}

/// Lists up to this length are looked through.
const SCAN_MAX: usize = 8;

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

    /// The old items of a list of type map.
    pub fn items(self, list: &'a Schema) -> Option<OldItems<'a>> {
        OldItems::new(self.value.as_array()?, list)
    }
}

// === impl OldItems ===

impl<'a> OldItems<'a> {
    /// None if items of the list do not correlate: it is not of type map.
    pub fn new(old: &'a [Value], list: &'a Schema) -> Option<Self> {
        let ListType::Map(keys) = &list.list else { return None };
        if keys.is_empty() {
            return None;
        }
        let mut index = BTreeMap::new();
        if old.len() > SCAN_MAX {
            for item in old {
                if let Some(key) = key_text(item, keys) {
                    index.entry(key).or_insert(item);
                }
            }
        }
        Some(Self { old, keys, index })
    }

    /// The first old item whose keys all equal those of `item`. An item that lacks a key, or has one that is no scalar,
    /// correlates with nothing.
    pub fn get(&self, item: &Value) -> Option<&'a Value> {
        if self.old.len() > SCAN_MAX {
            return self.index.get(&key_text(item, self.keys)?).copied();
        }
        if !self.keys.iter().all(|key| item.get(&**key).is_some_and(is_scalar)) {
            return None;
        }
        self.old.iter().find(|candidate| {
            let mut keys = self.keys.iter();
            candidate.is_object() && keys.all(|key| candidate.get(&**key) == item.get(&**key))
        })
    }
}

/// The keys of an item as one text; none if it does not correlate.
fn key_text(item: &Value, keys: &[Name]) -> Option<String> {
    let mut out = String::new();
    for key in keys {
        let value = item.get(&**key).filter(|value| is_scalar(value))?;
        out.push_str(&value.to_string());
        out.push('\0');
    }
    Some(out)
}

fn is_scalar(value: &Value) -> bool {
    matches!(value, Value::Bool(_) | Value::Number(_) | Value::String(_))
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
                let Some(items) = OldItems::new(old, schema) else {
                    return new == old;
                };
                let same = |item: &Value| {
                    items
                        .get(item)
                        .is_some_and(|before| unchanged(item, before, item_schema))
                };
                new.len() == old.len() && new.iter().all(same)
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
        let long: Vec<Value> = (0..20)
            .map(|n| json!({"a": "0", "b": n.to_string()}))
            .chain(old.iter().cloned())
            .collect();
        for list in [old, &long] {
            let items = OldItems::new(list, &schema).unwrap();
            assert_eq!(items.get(&json!({"a": "1", "b": "2", "v": 9})), Some(&old[1]));
            assert_eq!(items.get(&json!({"a": "1"})), None);
            assert_eq!(items.get(&json!({"a": "1", "b": null})), None);
        }
        let swapped = Value::Array(old.iter().rev().cloned().collect());
        assert!(unchanged(&swapped, &Value::Array(old.clone()), &schema));
    }
}
