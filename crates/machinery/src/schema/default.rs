//! Defaulting: what is missing, or is null and must not be, takes the schema's default.

use serde_json::{Map, Value};

use super::structural::Schema;

/// Drops nulls that are neither allowed nor replaceable, then sets defaults, top down (so that defaults inside a
/// defaulted object apply too). Touches nothing but what the schema names.
pub fn apply_defaults(value: &mut Value, schema: &Schema) {
    if contains_null(value) {
        drop_nulls(value, Some(schema));
    }
    set_defaults(value, schema);
}

/// Nulls are rare: looking for one first spares the look-ups of the schema.
fn contains_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(members) => members.values().any(contains_null),
        Value::Array(items) => items.iter().any(contains_null),
        _ => false,
    }
}

fn drop_nulls(value: &mut Value, schema: Option<&Schema>) {
    let Some(schema) = schema else { return };
    match value {
        Value::Object(members) => members.retain(|name, value| match schema.member(name) {
            Some(member) if value.is_null() => member.nullable || member.default.is_some(),
            Some(member) => {
                drop_nulls(value, Some(member));
                true
            }
            None => true,
        }),
        Value::Array(items) => {
            for item in items {
                drop_nulls(item, schema.items.as_deref());
            }
        }
        _ => {}
    }
}

fn set_defaults(value: &mut Value, schema: &Schema) {
    if !schema.has_defaults {
        return;
    }
    match value {
        Value::Object(members) => set_members(members, schema),
        Value::Array(items) => {
            let Some(item_schema) = schema.items.as_deref() else {
                return;
            };
            for item in items {
                set_null(item, item_schema);
                set_defaults(item, item_schema);
            }
        }
        _ => {}
    }
}

fn set_members(members: &mut Map<String, Value>, schema: &Schema) {
    for (name, property) in &schema.properties {
        let Some(default) = &property.default else { continue };
        let missing = members
            .get(&**name)
            .is_none_or(|value| value.is_null() && !property.nullable);
        if missing {
            members.insert(name.as_ref().to_owned(), default.as_ref().clone());
        }
    }
    for (name, value) in members.iter_mut() {
        if let Some(property) = schema.property(name) {
            set_defaults(value, property);
        } else if let Some(additional) = schema.additional_schema() {
            set_null(value, additional);
            set_defaults(value, additional);
        }
    }
}

/// A null where none may be takes the default of its schema; without one it stays for validation to refuse.
fn set_null(value: &mut Value, schema: &Schema) {
    if let (true, false, Some(default)) = (value.is_null(), schema.nullable, &schema.default) {
        *value = default.as_ref().clone();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn defaulted(schema: Value, mut value: Value) -> Value {
        apply_defaults(&mut value, &Schema::parse(&schema));
        value
    }

    #[test]
    fn sets_what_is_missing_also_inside_defaults() {
        let schema = json!({"type": "object", "properties": {
            "a": {"type": "object", "default": {}, "properties": {"b": {"type": "string", "default": "x"}}},
            "list": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer", "default": 1}}}},
            "map": {"type": "object", "additionalProperties": {"type": "string", "default": "d"}}
        }});
        assert_eq!(
            defaulted(schema, json!({"list": [{}, {"n": 2}], "map": {"k": null, "l": "v"}})),
            json!({"a": {"b": "x"}, "list": [{"n": 1}, {"n": 2}], "map": {"k": "d", "l": "v"}})
        );
    }

    #[test]
    fn null_is_dropped_replaced_or_kept() {
        let schema = json!({"type": "object", "properties": {
            "dropped": {"type": "string"},
            "replaced": {"type": "string", "default": "x"},
            "kept": {"type": "string", "nullable": true, "default": "x"}
        }});
        assert_eq!(
            defaulted(
                schema,
                json!({"dropped": null, "replaced": null, "kept": null, "unknown": null})
            ),
            json!({"replaced": "x", "kept": null, "unknown": null})
        );
    }
}
