//! Pruning: what a schema does not name goes. Returns what went, for `fieldValidation` Warn and Strict.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::structural::Schema;

/// What every object has and no schema needs to name.
const META: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// The path to where pruning is, as one growing text.
struct Trail {
    text: String,
    unknown: Vec<String>,
}

/// Removes unknown members of a whole object (`apiVersion`, `kind` and `metadata` stay untouched); returns their paths,
/// sorted, in Go's form: `spec.list[0].x`.
pub fn prune_object(object: &mut Value, schema: &Schema) -> Vec<String> {
    prune(object, schema, true)
}

/// Removes unknown members of a value; `root` says whether it is a whole object.
pub fn prune(value: &mut Value, schema: &Schema, root: bool) -> Vec<String> {
    let mut trail = Trail {
        text: String::new(),
        unknown: Vec::new(),
    };
    if schema.preserve {
        walk_preserved(value, schema, root || schema.embedded, &mut trail);
    } else {
        walk(value, Some(schema), root || schema.embedded, &mut trail);
    }
    trail.unknown.sort();
    trail.unknown
}

// === impl Trail ===

impl Trail {
    /// Runs with the member's name appended.
    fn member(&mut self, name: &str, run: impl FnOnce(&mut Self)) {
        let before = self.text.len();
        if before > 0 {
            self.text.push('.');
        }
        self.text.push_str(name);
        run(self);
        self.text.truncate(before);
    }

    fn item(&mut self, index: usize, run: impl FnOnce(&mut Self)) {
        let before = self.text.len();
        let _infallible = write!(self.text, "[{index}]");
        run(self);
        self.text.truncate(before);
    }

    fn record(&mut self, name: &str) {
        // At the root the meta fields are never reported, not even where they are removed.
        if self.text.is_empty() && META.contains(&name) {
            return;
        }
        let path = if self.text.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.text)
        };
        self.unknown.push(path);
    }
}

fn visit(value: &mut Value, schema: Option<&Schema>, trail: &mut Trail) {
    match schema {
        Some(schema) if schema.preserve => walk_preserved(value, schema, schema.embedded, trail),
        Some(schema) => walk(value, Some(schema), schema.embedded, trail),
        None => walk(value, None, false, trail),
    }
}

fn walk(value: &mut Value, schema: Option<&Schema>, embedded: bool, trail: &mut Trail) {
    match value {
        Value::Object(members) => walk_members(members, schema, embedded, trail),
        Value::Array(items) => {
            let item_schema = schema.and_then(|schema| schema.items.as_deref());
            for (index, item) in items.iter_mut().enumerate() {
                if item.is_object() || item.is_array() {
                    trail.item(index, |trail| visit(item, item_schema, trail));
                }
            }
        }
        _ => {}
    }
}

fn walk_members(members: &mut Map<String, Value>, schema: Option<&Schema>, embedded: bool, trail: &mut Trail) {
    use super::structural::Additional;
    members.retain(|name, value| {
        if embedded && META.contains(&name.as_str()) {
            return true;
        }
        let nested = value.is_object() || value.is_array();
        let property = schema.and_then(|schema| schema.property(name));
        match (property, schema.map(|schema| &schema.additional)) {
            (Some(property), _) if nested => trail.member(name, |trail| visit(value, Some(property), trail)),
            (Some(_), _) => {}
            (None, Some(Additional::Schema(additional))) if nested => {
                trail.member(name, |trail| visit(value, Some(additional), trail));
            }
            // `additionalProperties: true` keeps the member, but of its content nothing is known.
            (None, Some(Additional::Allowed(_))) if nested => trail.member(name, |trail| visit(value, None, trail)),
            (None, Some(Additional::Schema(_) | Additional::Allowed(_))) => {}
            (None, Some(Additional::Absent) | None) => {
                trail.record(name);
                return false;
            }
        }
        true
    });
}

/// Inside `x-kubernetes-preserve-unknown-fields` only what is named is looked into.
fn walk_preserved(value: &mut Value, schema: &Schema, embedded: bool, trail: &mut Trail) {
    match value {
        Value::Object(members) => {
            for (name, value) in members
                .iter_mut()
                .filter(|(_, value)| value.is_object() || value.is_array())
            {
                if embedded && META.contains(&name.as_str()) {
                    continue;
                }
                if let Some(member) = schema.member(name) {
                    trail.member(name, |trail| visit(value, Some(member), trail));
                }
            }
        }
        Value::Array(items) => {
            let Some(item_schema) = schema.items.as_deref() else {
                return;
            };
            for (index, item) in items.iter_mut().enumerate() {
                trail.item(index, |trail| {
                    walk_preserved(item, item_schema, item_schema.embedded, trail)
                });
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pruned(schema: Value, mut object: Value) -> (Value, Vec<String>) {
        let unknown = prune_object(&mut object, &Schema::parse(&schema));
        (object, unknown)
    }

    #[test]
    fn removes_and_names_what_is_unknown() {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "a": {"type": "string"},
            "list": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "integer"}}}},
            "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"k": {"type": "string"}}}}
        }}}});
        let object = json!({"apiVersion": "v1", "kind": "K", "metadata": {"name": "n", "odd": 1}, "other": 1, "spec": {
            "zzz": 1, "a": "1", "list": [{"x": 1, "y": 2}, {"z": {}}], "map": {"m": {"k": "v", "l": 1}}
        }});
        let (object, unknown) = pruned(schema, object);
        assert_eq!(
            unknown,
            ["other", "spec.list[0].y", "spec.list[1].z", "spec.map.m.l", "spec.zzz"]
        );
        assert_eq!(
            object,
            json!({"apiVersion": "v1", "kind": "K", "metadata": {"name": "n", "odd": 1}, "spec": {
                "a": "1", "list": [{"x": 1}, {}], "map": {"m": {"k": "v"}}
            }})
        );
    }

    #[test]
    fn preserves_unknown_fields_but_prunes_below_what_is_named() {
        let schema = json!({"type": "object", "properties": {"spec": {
            "type": "object", "x-kubernetes-preserve-unknown-fields": true,
            "properties": {"known": {"type": "object", "properties": {"a": {"type": "string"}}}}
        }}});
        let (object, unknown) = pruned(schema, json!({"spec": {"x": {"y": 1}, "known": {"a": "", "b": 1}}}));
        assert_eq!(unknown, ["spec.known.b"]);
        assert_eq!(object, json!({"spec": {"x": {"y": 1}, "known": {"a": ""}}}));
    }

    #[test]
    fn embedded_resources_keep_their_identity() {
        let schema = json!({"type": "object", "properties": {"t": {
            "type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}
        }}});
        let embedded =
            json!({"apiVersion": "v1", "kind": "P", "metadata": {"labels": {"a": "b"}}, "spec": {"x": 1}, "o": 1});
        let (object, unknown) = pruned(schema, json!({"t": embedded}));
        assert_eq!(unknown, ["t.o", "t.spec.x"]);
        assert_eq!(
            object,
            json!({"t": {"apiVersion": "v1", "kind": "P", "metadata": {"labels": {"a": "b"}}, "spec": {}}})
        );
    }
}
