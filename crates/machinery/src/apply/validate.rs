//! Whether an applied configuration fits its type: only then can it be merged.

use std::collections::BTreeSet;

use serde_json::Value;

use super::element::Element;
use super::item;
use super::typemap::{Definitions, List, MapType, ObjectType, Relation, Scalar, TypeRef};
use super::{TypeError, TypeErrors};

struct Walk<'a> {
    definitions: &'a Definitions,
    path: String,
    errors: Vec<TypeError>,
}

/// Checks shapes of values, unknown fields, and that no two items of a set or keyed list are the same.
pub fn validate(types: &ObjectType, object: &Value) -> Result<(), TypeErrors> {
    let mut walk = Walk {
        definitions: types.definitions(),
        path: String::new(),
        errors: Vec::new(),
    };
    walk.value(types.root(), object);
    if walk.errors.is_empty() {
        Ok(())
    } else {
        Err(TypeErrors(walk.errors))
    }
}

// === impl Walk ===

impl<'a> Walk<'a> {
    fn error(&mut self, message: String) {
        self.errors.push(TypeError::new(self.path.clone(), message));
    }

    fn below(&mut self, element: &str, ty: &'a TypeRef, value: &Value) {
        let length = self.path.len();
        self.path.push_str(element);
        self.value(ty, value);
        self.path.truncate(length);
    }

    fn value(&mut self, ty: &'a TypeRef, value: &Value) {
        let atom = self.definitions.resolve(ty).deduce(Some(value));
        if value.is_null() {
            return;
        }
        match (atom.map, atom.scalar, atom.list) {
            (Some(map), _, _) => match value {
                Value::Object(members) => self.map(map, members),
                other => self.error(format!("expected map, got {}", wrapped(other))),
            },
            (None, Some(scalar), _) => self.scalar(scalar, value),
            (None, None, Some(list)) => match value {
                Value::Array(items) => self.list(list, items),
                other => self.error(format!("expected list, got {}", wrapped(other))),
            },
            (None, None, None) => {}
        }
    }

    fn scalar(&mut self, scalar: Scalar, value: &Value) {
        let fits = match scalar {
            Scalar::Numeric => value.is_number(),
            Scalar::String => value.is_string(),
            Scalar::Boolean => value.is_boolean(),
            Scalar::Untyped => !value.is_array() && !value.is_object(),
        };
        if fits {
            return;
        }
        self.error(match scalar {
            Scalar::Numeric => format!("expected numeric (int or float), got {}", go_type(value)),
            Scalar::String => format!("expected string, got &value.valueUnstructured{{Value:{}}}", bare(value)),
            Scalar::Boolean => format!("expected boolean, got {}", wrapped(value)),
            Scalar::Untyped => format!("expected any scalar, got {}", wrapped(value)),
        });
    }

    fn map(&mut self, map: &'a MapType, members: &serde_json::Map<String, Value>) {
        for (name, member) in members {
            let element = format!(".{name}");
            match map.type_of(name) {
                Some(ty) => self.below(&element, ty, member),
                None => {
                    // The walk of this map ends at the first unknown field.
                    let length = self.path.len();
                    self.path.push_str(&element);
                    self.error("field not declared in schema".to_owned());
                    self.path.truncate(length);
                    return;
                }
            }
        }
    }

    fn list(&mut self, list: &'a List, items: &[Value]) {
        let mut seen = BTreeSet::new();
        for (index, item) in items.iter().enumerate() {
            let element = match &list.relation {
                Relation::Atomic => Element::index(index),
                _ => match item::element(self.definitions, list, item) {
                    Ok(element) => element,
                    Err(why) => return self.error(format!("element {index}: {why}")),
                },
            };
            let printed = element.to_string();
            if !seen.insert(element) {
                self.error(format!("duplicate entries for key {printed}"));
            }
            self.below(&printed, &list.element, item);
        }
    }
}

/// A value as Go prints the pointer to its wrapper.
fn wrapped(value: &Value) -> String {
    format!("&{{{}}}", bare(value))
}

fn bare(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
