//! Uniqueness in lists of type set (items) and map (keys).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::structural::{ListType, Name, Schema};
use crate::field::{FieldError, Path};

/// The duplicates in all set and map lists of a value.
pub fn check_lists(value: &Value, schema: &Schema, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if schema.has_keyed_lists {
        walk(value, schema, path, &mut errors);
    }
    errors
}

fn walk(value: &Value, schema: &Schema, path: &Path, errors: &mut Vec<FieldError>) {
    match value {
        Value::Object(members) => {
            let keyed =
                |schema: Option<&std::sync::Arc<Schema>>| schema.filter(|schema| schema.has_keyed_lists).cloned();
            if let Some(additional) = keyed(schema.additional_schema()) {
                members
                    .iter()
                    .for_each(|(name, value)| walk(value, &additional, &path.key(name), errors));
            }
            for (name, value) in members {
                if let Some(property) = keyed(schema.property(name)) {
                    walk(value, &property, &path.child(name), errors);
                }
            }
        }
        Value::Array(items) => {
            match &schema.list {
                ListType::Atomic => {}
                ListType::Set => {
                    errors.extend(
                        repeated(items.iter()).map(|(index, item)| FieldError::duplicate(&path.index(index), item)),
                    );
                }
                ListType::Map(keys) => check_map(items, keys, path, errors),
            }
            if let Some(item_schema) = schema.items.as_deref().filter(|schema| schema.has_keyed_lists) {
                let indexed = items.iter().enumerate();
                indexed.for_each(|(index, item)| walk(item, item_schema, &path.index(index), errors));
            }
        }
        _ => {}
    }
}

fn check_map(items: &[Value], keys: &[Name], path: &Path, errors: &mut Vec<FieldError>) {
    if let Some((index, item)) = items
        .iter()
        .enumerate()
        .find(|(_, item)| !item.is_null() && !item.is_object())
    {
        errors.push(FieldError::invalid(
            &path.index(index),
            item,
            "must be an object for an array of list-type map",
        ));
        return;
    }
    let key_of = |item: &Value| {
        let present = keys
            .iter()
            .filter_map(|key| item.get(&**key).map(|value| (key.as_ref().to_owned(), value.clone())));
        Value::Object(present.collect::<Map<_, _>>())
    };
    let keyed: Vec<Value> = items.iter().map(key_of).collect();
    errors.extend(repeated(keyed.iter()).map(|(index, key)| FieldError::duplicate(&path.index(index), key)));
}

/// The second occurrence of each value that occurs more than once; further ones are not reported.
fn repeated<'a>(items: impl Iterator<Item = &'a Value>) -> impl Iterator<Item = (usize, &'a Value)> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut found = Vec::new();
    for (index, item) in items.enumerate() {
        let times = seen.entry(item.to_string()).or_default();
        *times += 1;
        if *times == 2 {
            found.push((index, item));
        }
    }
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(schema: Value, value: Value) -> Vec<String> {
        check_lists(&value, &Schema::parse(&schema), &Path::root())
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn reports_the_second_of_equal_items() {
        let schema = json!({"type": "object", "properties": {
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["group", "resource"],
                "items": {"type": "object", "properties": {"group": {"type": "string"}, "resource": {"type": "string"}}}}
        }});
        let claim = json!({"group": "", "resource": "configmaps", "verbs": ["*"]});
        let object = json!({"set": ["a", "b", "a", "a"], "map": [claim, claim]});
        assert_eq!(
            texts(schema, object),
            [
                r#"map[1]: Duplicate value: {"group":"","resource":"configmaps"}"#,
                r#"set[2]: Duplicate value: "a""#,
            ]
        );
    }
}
