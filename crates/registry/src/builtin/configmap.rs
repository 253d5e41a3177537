//! ConfigMaps: keys, size, immutability.

use machinery::field::{FieldError, Path};
use machinery::names;
use serde_json::Value;

use crate::{Strategy, StrategyContext};

/// Sum of all values of a ConfigMap or Secret, in bytes.
pub(super) const SIZE_BYTES_MAX: usize = 1024 * 1024;

pub struct ConfigMaps;

// === impl Strategy for ConfigMaps ===

impl Strategy for ConfigMaps {
    fn validate(&self, _ctx: &StrategyContext<'_>, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let binary = object.get("binaryData");
        let mut total = 0;
        for (key, value) in members(object, "data") {
            let path = Path::new("data").key(key);
            errors.extend(validate_key(&path, key));
            if binary.is_some_and(|b| b.get(key).is_some()) {
                errors.push(FieldError::invalid(
                    &path,
                    &key.into(),
                    "duplicate of key present in binaryData",
                ));
            }
            total += value.len();
        }
        for (key, value) in members(object, "binaryData") {
            errors.extend(validate_key(&Path::new("binaryData").key(key), key));
            total += decoded_len(value);
        }
        if total > SIZE_BYTES_MAX {
            errors.push(FieldError::too_long(&Path::root(), SIZE_BYTES_MAX));
        }
        errors
    }

    fn validate_update(&self, ctx: &StrategyContext<'_>, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = validate_immutable(object, old, &["data", "binaryData"]);
        errors.extend(self.validate(ctx, object));
        errors
    }
}

/// Keys and values of a map of strings.
pub(super) fn members<'a>(object: &'a Value, field: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let map = object.get(field).and_then(Value::as_object);
    map.into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
}

pub(super) fn validate_key(path: &Path, key: &str) -> Vec<FieldError> {
    names::config_key(key)
        .into_iter()
        .map(|why| FieldError::invalid(path, &key.into(), why))
        .collect()
}

/// Bytes that base64 text stands for.
pub(super) fn decoded_len(text: &str) -> usize {
    let padding = text.bytes().rev().take_while(|b| *b == b'=').count();
    (text.len() / 4 * 3).saturating_sub(padding)
}

/// Once `immutable` is set, neither it nor the data changes.
pub(super) fn validate_immutable(object: &Value, old: &Value, fields: &[&str]) -> Vec<FieldError> {
    const WHY: &str = "field is immutable when `immutable` is set";
    if old.get("immutable") != Some(&Value::Bool(true)) {
        return Vec::new();
    }
    let mut errors = Vec::new();
    if object.get("immutable") != Some(&Value::Bool(true)) {
        errors.push(FieldError::forbidden(&Path::new("immutable"), WHY));
    }
    for field in fields {
        if !same_map(object.get(field), old.get(field)) {
            errors.push(FieldError::forbidden(&Path::new(field), WHY));
        }
    }
    errors
}

/// Absent and empty maps are alike.
fn same_map(a: Option<&Value>, b: Option<&Value>) -> bool {
    let filled = |value: Option<&Value>| value.and_then(Value::as_object).filter(|map| !map.is_empty()).cloned();
    a == b || filled(a) == filled(b)
}
