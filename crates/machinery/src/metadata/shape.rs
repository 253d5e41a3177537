//! The shape of `metadata`: members that Kubernetes' type has not are dropped, wrong types are refused in Go's words.

use serde_json::{Map, Value};

use crate::json::DecodeError;
use crate::strict::StrictErrors;
use crate::time;

/// The type of a member.
#[derive(Clone, Copy)]
enum Shape {
    Text,
    Integer,
    Boolean,
    Time,
    /// A map of text to text.
    Texts,
    TextList,
    /// A list of structs: the Go type's name and its members.
    List(&'static str, &'static [(&'static str, Shape)]),
    /// Any object (`fieldsV1`).
    Object,
}

use Shape::{Boolean, Integer, List, Object, Text, TextList, Texts, Time};

const OBJECT_META: &[(&str, Shape)] = &[
    ("name", Text),
    ("generateName", Text),
    ("namespace", Text),
    ("selfLink", Text),
    ("uid", Text),
    ("resourceVersion", Text),
    ("generation", Integer),
    ("creationTimestamp", Time),
    ("deletionTimestamp", Time),
    ("deletionGracePeriodSeconds", Integer),
    ("labels", Texts),
    ("annotations", Texts),
    ("ownerReferences", List("OwnerReference", OWNER_REFERENCE)),
    ("finalizers", TextList),
    ("managedFields", List("ManagedFieldsEntry", MANAGED_FIELDS_ENTRY)),
];

const OWNER_REFERENCE: &[(&str, Shape)] = &[
    ("apiVersion", Text),
    ("kind", Text),
    ("name", Text),
    ("uid", Text),
    ("controller", Boolean),
    ("blockOwnerDeletion", Boolean),
];

const MANAGED_FIELDS_ENTRY: &[(&str, Shape)] = &[
    ("manager", Text),
    ("operation", Text),
    ("apiVersion", Text),
    ("time", Time),
    ("fieldsType", Text),
    ("fieldsV1", Object),
    ("subresource", Text),
];

/// Makes `metadata` of a decoded object fit its type: unknown members go (and are named in `strict`), nulls go, times
/// become whole seconds in UTC. The error is that of Go's decoder, to be answered with [`crate::json::unhandled`].
pub fn shape_object_meta(object: &mut Value, strict: &mut StrictErrors) -> Result<(), DecodeError> {
    let Some(members) = object.as_object_mut() else {
        return Ok(());
    };
    match members.get_mut("metadata") {
        None => Ok(()),
        Some(Value::Null) => {
            members.remove("metadata");
            Ok(())
        }
        Some(Value::Object(meta)) => shape_struct(meta, "ObjectMeta", "", "metadata", OBJECT_META, strict),
        Some(other) => {
            let found = go_name(other);
            Err(DecodeError(format!(
                "json: cannot unmarshal {found} into Go struct field .metadata of type v1.ObjectMeta"
            )))
        }
    }
}

/// `field` is the path below the outermost struct, as Go's errors print it; `path` the whole one.
fn shape_struct(
    members: &mut Map<String, Value>,
    name: &str,
    field: &str,
    path: &str,
    known: &[(&str, Shape)],
    strict: &mut StrictErrors,
) -> Result<(), DecodeError> {
    let shape_of = |key: &str| known.iter().find(|(name, _)| *name == key).map(|(_, shape)| *shape);
    members.retain(|key, value| {
        let is_known = shape_of(key).is_some();
        if !is_known {
            strict.unknown(&format!("{path}.{key}"));
        }
        is_known && !value.is_null()
    });
    for (key, value) in members.iter_mut() {
        let Some(shape) = shape_of(key) else { continue };
        let place = Place {
            name,
            field: join(field, key),
            path: format!("{path}.{key}"),
        };
        shape_value(value, shape, &place, strict)?;
    }
    Ok(())
}

/// Where a value stands, for messages.
struct Place<'a> {
    name: &'a str,
    field: String,
    path: String,
}

fn shape_value(
    value: &mut Value,
    shape: Shape,
    place: &Place<'_>,
    strict: &mut StrictErrors,
) -> Result<(), DecodeError> {
    let fail = |found: &Value, go_type: &str| {
        let found = match found {
            Value::Number(number) if go_type == "int64" => format!("number {number}"),
            other => go_name(other).to_owned(),
        };
        let text = format!(
            "json: cannot unmarshal {found} into Go struct field {}.{} of type {go_type}",
            place.name, place.field
        );
        Err(DecodeError(text))
    };
    match (shape, value) {
        (Text, Value::String(_)) | (Boolean, Value::Bool(_)) | (Object, Value::Object(_)) => Ok(()),
        (Integer, Value::Number(number)) if number.is_i64() => Ok(()),
        (Time, Value::String(text)) => match time::parse_rfc3339(text) {
            Ok(nanos) => {
                *text = time::format_seconds(nanos);
                Ok(())
            }
            Err(error) => Err(DecodeError(error.to_string())),
        },
        (Texts, Value::Object(members)) => {
            for value in members.values_mut().filter(|value| !value.is_string()) {
                if !value.is_null() {
                    return fail(value, "string");
                }
                *value = Value::String(String::new());
            }
            Ok(())
        }
        (TextList, Value::Array(items)) => match items.iter().find(|item| !item.is_string()) {
            Some(item) => fail(item, "string"),
            None => Ok(()),
        },
        (List(name, known), Value::Array(items)) => {
            for (index, item) in items.iter_mut().enumerate() {
                let path = format!("{}[{index}]", place.path);
                match item {
                    Value::Object(members) => shape_struct(members, name, &place.field, &path, known, strict)?,
                    other => return fail(other, &format!("v1.{name}")),
                }
            }
            Ok(())
        }
        (_, other) => fail(other, &go_type(shape)),
    }
}

fn go_type(shape: Shape) -> String {
    match shape {
        Text => "string".to_owned(),
        Integer => "int64".to_owned(),
        Boolean => "bool".to_owned(),
        Time => "v1.Time".to_owned(),
        Texts => "map[string]string".to_owned(),
        TextList => "[]string".to_owned(),
        List(name, _) => format!("[]v1.{name}"),
        Object => "v1.FieldsV1".to_owned(),
    }
}

fn go_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn join(outer: &str, inner: &str) -> String {
    if outer.is_empty() {
        inner.to_owned()
    } else {
        format!("{outer}.{inner}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_members_are_dropped_and_named() {
        let mut object = json!({"metadata": {
            "name": "a", "foo": 1, "creationTimestamp": null, "labels": {"a": null},
            "ownerReferences": [{"name": "o", "bar": 1}],
            "deletionTimestamp": "2026-01-02T03:04:05.9+01:00",
        }});
        let mut strict = StrictErrors::default();
        shape_object_meta(&mut object, &mut strict).unwrap();
        assert_eq!(
            object["metadata"],
            json!({
                "name": "a", "labels": {"a": ""}, "ownerReferences": [{"name": "o"}],
                "deletionTimestamp": "2026-01-02T02:04:05Z"
            })
        );
        assert_eq!(
            strict.texts(),
            [
                "unknown field \"metadata.foo\"",
                "unknown field \"metadata.ownerReferences[0].bar\""
            ]
        );
    }

    #[test]
    fn wrong_types_are_refused() {
        let text = |meta: Value| {
            let mut object = json!({"metadata": meta});
            shape_object_meta(&mut object, &mut StrictErrors::default())
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            text(json!({"labels": {"a": 1}})),
            "json: cannot unmarshal number into Go struct field ObjectMeta.labels of type string"
        );
        assert_eq!(
            text(json!({"labels": []})),
            "json: cannot unmarshal array into Go struct field ObjectMeta.labels of type map[string]string"
        );
        assert_eq!(
            text(json!({"generation": 1.5})),
            "json: cannot unmarshal number 1.5 into Go struct field ObjectMeta.generation of type int64"
        );
        assert_eq!(
            text(json!({"ownerReferences": [{"uid": true}]})),
            "json: cannot unmarshal bool into Go struct field OwnerReference.ownerReferences.uid of type string"
        );
        assert!(text(json!({"creationTimestamp": "x"})).starts_with("parsing time \"x\" as"));
        assert!(text(json!("x")).contains("cannot unmarshal string into Go struct field .metadata"));
    }
}
