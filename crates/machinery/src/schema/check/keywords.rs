//! That each keyword has a value of its type. Upstream's decoder refuses others before any check.

use serde_json::Value;

use crate::field::{FieldError, Path};

#[derive(Clone, Copy, PartialEq)]
enum Shape {
    Text,
    Flag,
    Number,
    Integer,
    Texts,
    List,
    Schema,
    Schemas,
    SchemaMap,
    SchemaOrFlag,
    /// A schema, or a list of schemas.
    Items,
    Objects,
}

const KEYWORDS: [(&str, Shape); 38] = [
    ("id", Shape::Text),
    ("$schema", Shape::Text),
    ("$ref", Shape::Text),
    ("description", Shape::Text),
    ("type", Shape::Text),
    ("format", Shape::Text),
    ("title", Shape::Text),
    ("maximum", Shape::Number),
    ("exclusiveMaximum", Shape::Flag),
    ("minimum", Shape::Number),
    ("exclusiveMinimum", Shape::Flag),
    ("maxLength", Shape::Integer),
    ("minLength", Shape::Integer),
    ("pattern", Shape::Text),
    ("maxItems", Shape::Integer),
    ("minItems", Shape::Integer),
    ("uniqueItems", Shape::Flag),
    ("multipleOf", Shape::Number),
    ("enum", Shape::List),
    ("maxProperties", Shape::Integer),
    ("minProperties", Shape::Integer),
    ("required", Shape::Texts),
    ("items", Shape::Items),
    ("allOf", Shape::Schemas),
    ("oneOf", Shape::Schemas),
    ("anyOf", Shape::Schemas),
    ("not", Shape::Schema),
    ("properties", Shape::SchemaMap),
    ("additionalProperties", Shape::SchemaOrFlag),
    ("nullable", Shape::Flag),
    ("x-kubernetes-preserve-unknown-fields", Shape::Flag),
    ("x-kubernetes-embedded-resource", Shape::Flag),
    ("x-kubernetes-int-or-string", Shape::Flag),
    ("x-kubernetes-list-map-keys", Shape::Texts),
    ("x-kubernetes-list-type", Shape::Text),
    ("x-kubernetes-map-type", Shape::Text),
    ("x-kubernetes-validations", Shape::Objects),
    ("definitions", Shape::SchemaMap),
];

/// The keywords of a schema and of all below it that have values of a wrong type. Null is fine everywhere.
pub(super) fn check_types(schema: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk(schema, path, &mut errors);
    errors
}

fn walk(schema: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let Value::Object(members) = schema else {
        errors.push(FieldError::invalid(path, schema, "must be a schema object"));
        return;
    };
    for (keyword, shape) in KEYWORDS {
        let Some(value) = members.get(keyword).filter(|value| !value.is_null()) else {
            continue;
        };
        let at = path.child(keyword);
        match shape.wrong(value) {
            Some(wanted) => errors.push(FieldError::invalid(&at, value, format!("must be {wanted}"))),
            None => shape.descend(value, &at, errors),
        }
    }
}

// === impl Shape ===

impl Shape {
    /// What the value should have been, if it is not.
    fn wrong(self, value: &Value) -> Option<&'static str> {
        let all = |test: fn(&Value) -> bool| value.as_array().is_some_and(|items| items.iter().all(test));
        let (fits, wanted) = match self {
            Self::Text => (value.is_string(), "a string"),
            Self::Flag => (value.is_boolean(), "a boolean"),
            Self::Number => (value.is_number(), "a number"),
            Self::Integer => (value.is_i64(), "an integer"),
            Self::Texts => (all(Value::is_string), "a list of strings"),
            Self::List => (value.is_array(), "a list"),
            Self::Objects => (all(Value::is_object), "a list of objects"),
            Self::Schema => (value.is_object(), "a schema object"),
            Self::Schemas => (value.is_array(), "a list of schemas"),
            Self::SchemaMap => (value.is_object(), "a map of schemas"),
            Self::SchemaOrFlag => (value.is_object() || value.is_boolean(), "a schema object or a boolean"),
            Self::Items => (value.is_object() || value.is_array(), "a schema object"),
        };
        (!fits).then_some(wanted)
    }

    fn descend(self, value: &Value, path: &Path, errors: &mut Vec<FieldError>) {
        match (self, value) {
            (Self::Schema | Self::SchemaOrFlag | Self::Items, Value::Object(_)) => walk(value, path, errors),
            (Self::Schemas | Self::Items, Value::Array(items)) => {
                items
                    .iter()
                    .enumerate()
                    .for_each(|(index, item)| walk(item, &path.index(index), errors));
            }
            (Self::SchemaMap, Value::Object(members)) => {
                members
                    .iter()
                    .for_each(|(name, schema)| walk(schema, &path.key(name), errors));
            }
            _ => {}
        }
    }
}
