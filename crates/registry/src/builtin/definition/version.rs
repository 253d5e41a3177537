//! One entry of a CRD's `spec.versions`.

use machinery::field::{FieldError, Path};
use machinery::object::ObjectExt;
use serde_json::Value;

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = [
    "byte",
    "date",
    "date-time",
    "double",
    "float",
    "int32",
    "int64",
    "password",
];
const SELECTABLE_FIELDS_MAX: usize = 8;

/// `before` is the version of this name before the update: a schema that did not change is not judged anew.
pub(super) fn validate(version: &Value, before: Option<&Value>, path: &Path) -> Vec<FieldError> {
    let mut errors = validate_deprecation(version, path);
    let schema = version.at(&["schema", "openAPIV3Schema"]);
    if let Some(schema) = schema
        && before.and_then(|v| v.at(&["schema", "openAPIV3Schema"])) != Some(schema)
    {
        errors.extend(validate_schema(
            version,
            schema,
            &path.child("schema").child("openAPIV3Schema"),
        ));
    }
    errors.extend(validate_scale(version, &path.child("subresources")));
    let columns = version.get("additionalPrinterColumns").and_then(Value::as_array);
    for (index, column) in columns.into_iter().flatten().enumerate() {
        errors.extend(validate_column(
            column,
            &path.child("additionalPrinterColumns").index(index),
        ));
    }
    errors.extend(validate_selectable_fields(
        version,
        schema,
        &path.child("selectableFields"),
    ));
    errors
}

fn validate_deprecation(version: &Value, path: &Path) -> Vec<FieldError> {
    let Some(text) = version.str_at(&["deprecationWarning"]) else {
        return Vec::new();
    };
    let path = path.child("deprecationWarning");
    let mut texts = Vec::new();
    if version.get("deprecated") != Some(&Value::Bool(true)) {
        texts.push("can only be set for deprecated versions".to_owned());
    } else {
        if text.len() > 256 {
            texts.push("must be <= 256 characters long".to_owned());
        }
        if text.is_empty() {
            texts.push("must not be an empty string".to_owned());
        }
        if let Some((index, _)) = text.char_indices().find(|(_, c)| c.is_control()) {
            texts.push(format!(
                "must only contain printable UTF-8 characters; non-printable character found at index {index}"
            ));
        }
    }
    texts
        .into_iter()
        .map(|why| FieldError::invalid(&path, &text.into(), why))
        .collect()
}

fn validate_schema(version: &Value, schema: &Value, path: &Path) -> Vec<FieldError> {
    let status = version.at(&["subresources", "status"]).is_some();
    machinery::schema::check_schema(schema, status, path)
}

fn validate_scale(version: &Value, path: &Path) -> Vec<FieldError> {
    let Some(scale) = version.at(&["subresources", "scale"]) else {
        return Vec::new();
    };
    let mut errors = Vec::new();
    for (field, root) in [("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")] {
        let path = path.child(&format!("scale.{field}"));
        let text = scale.str_at(&[field]).unwrap_or_default();
        if text.is_empty() {
            errors.push(FieldError::required(&path, ""));
        } else if let Err(why) = simple_json_path(text) {
            errors.push(FieldError::invalid(&path, &text.into(), why));
        } else if !text.starts_with(root) {
            let why = format!("should be a json path under {}", root.trim_end_matches('.'));
            errors.push(FieldError::invalid(&path, &text.into(), why));
        }
    }
    let selector = scale.str_at(&["labelSelectorPath"]).unwrap_or_default();
    if !selector.is_empty() && !selector.starts_with(".spec.") && !selector.starts_with(".status.") {
        let why = "should be a json path under either .spec or .status";
        errors.push(FieldError::invalid(
            &path.child("scale.labelSelectorPath"),
            &selector.into(),
            why,
        ));
    }
    errors
}

fn validate_column(column: &Value, path: &Path) -> Vec<FieldError> {
    let part = |field: &str| column.str_at(&[field]).unwrap_or_default();
    let mut errors = Vec::new();
    if part("name").is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    }
    let types = format!("must be one of {}", COLUMN_TYPES.join(","));
    match part("type") {
        "" => errors.push(FieldError::required(&path.child("type"), types)),
        kind if !COLUMN_TYPES.contains(&kind) => {
            errors.push(FieldError::invalid(&path.child("type"), &kind.into(), types));
        }
        _ => {}
    }
    let format = part("format");
    if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
        let why = format!("must be one of {}", COLUMN_FORMATS.join(","));
        errors.push(FieldError::invalid(&path.child("format"), &format.into(), why));
    }
    let json_path = part("jsonPath");
    if json_path.is_empty() {
        errors.push(FieldError::required(&path.child("JSONPath"), ""));
    } else if let Err(why) = simple_json_path(json_path) {
        errors.push(FieldError::invalid(&path.child("JSONPath"), &json_path.into(), why));
    }
    errors
}

fn simple_json_path(text: &str) -> Result<(), &'static str> {
    if !text.starts_with('.') {
        return Err("must be a simple json path starting with .");
    }
    let balanced = text.matches('[').count() == text.matches(']').count();
    if balanced {
        Ok(())
    } else {
        Err("is an invalid json path: unterminated array")
    }
}

fn validate_selectable_fields(version: &Value, schema: Option<&Value>, path: &Path) -> Vec<FieldError> {
    let list = version
        .get("selectableFields")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut errors = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for (index, field) in list.iter().enumerate() {
        let text = field.str_at(&["jsonPath"]).unwrap_or_default();
        let path = path.index(index).child("jsonPath");
        if text.is_empty() {
            errors.push(FieldError::required(&path, ""));
            continue;
        }
        match schema.and_then(|schema| schema_at(schema, text)) {
            None => {
                let why = "is an invalid path: does not refer to a valid field";
                errors.push(FieldError::invalid(&path, &text.into(), why));
                continue;
            }
            Some(_) if text.starts_with(".metadata") => {
                errors.push(FieldError::invalid(
                    &path,
                    &text.into(),
                    "must not point to fields in metadata",
                ));
            }
            Some(found) if !matches!(found.str_at(&["type"]), Some("string" | "boolean" | "integer")) => {
                let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with \
                           formats are allowed.";
                errors.push(FieldError::invalid(&path, &text.into(), why));
            }
            Some(_) => {}
        }
        if seen.contains(&text) {
            errors.push(FieldError::duplicate(&path, &text.into()));
        } else {
            seen.push(text);
        }
    }
    if seen.len() > SELECTABLE_FIELDS_MAX {
        errors.push(FieldError::too_many(path, seen.len(), SELECTABLE_FIELDS_MAX));
    }
    errors
}

/// The schema that a path of plain members, `.spec.a.b`, leads to.
fn schema_at<'a>(schema: &'a Value, path: &str) -> Option<&'a Value> {
    let members = path.strip_prefix('.')?.split('.');
    members
        .into_iter()
        .try_fold(schema, |schema, member| schema.at(&["properties", member]))
}
