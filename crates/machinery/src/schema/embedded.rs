//! Identity and metadata of embedded resources (`x-kubernetes-embedded-resource`).

use serde_json::{Map, Value, json};

use super::structural::{Additional, Schema};
use crate::field::{FieldError, Path};
use crate::metadata::validate_object_meta;
use crate::names;

/// What is wrong with the resources embedded in a value.
pub fn check_embedded(value: &Value, schema: &Schema, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk(value, schema, path, &mut errors);
    errors
}

fn walk(value: &Value, schema: &Schema, path: &Path, errors: &mut Vec<FieldError>) {
    match value {
        Value::Object(members) if schema.has_embedded => {
            if schema.embedded {
                resource(members, path, errors);
            }
            for (name, value) in members {
                match (schema.property(name), &schema.additional) {
                    (Some(property), _) => walk(value, property, &path.child(name), errors),
                    (None, Additional::Schema(additional)) => walk(value, additional, &path.key(name), errors),
                    _ => {}
                }
            }
        }
        Value::Array(items) if schema.has_embedded => {
            let Some(item_schema) = schema.items.as_deref() else {
                return;
            };
            let indexed = items.iter().enumerate();
            indexed.for_each(|(index, item)| walk(item, item_schema, &path.index(index), errors));
        }
        _ => {}
    }
}

fn resource(members: &Map<String, Value>, path: &Path, errors: &mut Vec<FieldError>) {
    for name in ["apiVersion", "kind"] {
        if !members.contains_key(name) {
            errors.push(FieldError::required(&path.child(name), ""));
        }
    }
    if let Some(value) = members.get("apiVersion") {
        let why = match value.as_str() {
            None => Some("must be a string".to_owned()),
            Some("") => Some("must not be empty".to_owned()),
            Some(text) if text.matches('/').count() > 1 => Some(format!("unexpected GroupVersion string: {text}")),
            Some(_) => None,
        };
        errors.extend(why.map(|why| FieldError::invalid(&path.child("apiVersion"), value, why)));
    }
    if let Some(value) = members.get("kind") {
        let why = match value.as_str() {
            None => Some("must be a string".to_owned()),
            Some("") => Some("must not be empty".to_owned()),
            Some(text) => {
                let wrong = names::dns1035_label(&text.to_lowercase());
                let prefix = "may have mixed case, but should otherwise match: ";
                (!wrong.is_empty()).then(|| format!("{prefix}{}", wrong.join(",")))
            }
        };
        errors.extend(why.map(|why| FieldError::invalid(&path.child("kind"), value, why)));
    }
    if let Some(meta) = members.get("metadata") {
        metadata(meta, path, errors);
    }
}

fn metadata(meta: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let Value::Object(members) = meta else {
        errors.push(FieldError::invalid(&path.child("metadata"), meta, "must be an object"));
        return;
    };
    let mut members = members.clone();
    let text = |members: &Map<String, Value>, name: &str| {
        members.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    // A name is not asked for; an absent one is replaced so that it is not missed.
    if text(&members, "name").is_empty() {
        members.insert("name".to_owned(), json!("fakename"));
    }
    let namespaced = !text(&members, "namespace").is_empty();
    let found = validate_object_meta(&json!({"metadata": members}), namespaced, names::path_segment_name);
    errors.extend(found.into_iter().map(|error| FieldError {
        field: path.child(&error.field).to_string(),
        ..error
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embedded_resources_need_an_identity() {
        let schema = Schema::parse(&json!({"type": "object", "properties": {"t": {"type": "object",
            "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}}}));
        let texts = |value: Value| -> Vec<String> {
            check_embedded(&value, &schema, &Path::root())
                .iter()
                .map(ToString::to_string)
                .collect()
        };
        assert_eq!(texts(json!({"t": {"kind": "A"}})), ["t.apiVersion: Required value"]);
        assert_eq!(
            texts(json!({"t": {"apiVersion": "v1", "kind": "A", "metadata": {"name": "a/b"}}})),
            [r#"t.metadata.name: Invalid value: "a/b": may not contain '/'"#]
        );
        assert!(texts(json!({"t": {"apiVersion": "v1", "kind": "A", "metadata": {}}})).is_empty());
    }
}
