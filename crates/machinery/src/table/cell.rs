//! Values of cells.

use serde_json::{Number, Value};

use super::Column;
use crate::jsonpath::{self, JsonPath};
use crate::object::ObjectExt;
use crate::time;

/// What a printer column shows: the first value found, if it is of the column's type; dates as ages.
pub(super) fn at_path(column: &Column, path: Option<&JsonPath>, object: &Value, now_unix_nanos: i128) -> Value {
    let Some(value) = path
        .and_then(|path| path.first(object))
        .filter(|value| !value.is_null())
    else {
        return Value::Null;
    };
    match (column.kind.as_str(), value) {
        ("string", value) => Value::String(jsonpath::text(value)),
        ("integer", Value::Number(number)) => integer(number),
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(text)) => Value::String(time::age(Some(text), now_unix_nanos)),
        _ => Value::Null,
    }
}

/// Fractions are cut off.
fn integer(number: &Number) -> Value {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "saturates, which is as good as any for a table"
    )]
    let truncated = |float: f64| float as i64;
    match number.as_i64() {
        Some(integer) => Value::from(integer),
        None => number
            .as_f64()
            .map_or(Value::Null, |float| Value::from(truncated(float))),
    }
}

pub(super) fn age(object: &Value, now_unix_nanos: i128) -> Value {
    Value::String(time::age(
        object.str_at(&["metadata", "creationTimestamp"]),
        now_unix_nanos,
    ))
}

/// The creation time itself; Go's zero time where there is none.
pub(super) fn created_at(object: &Value) -> Value {
    let created = object
        .str_at(&["metadata", "creationTimestamp"])
        .filter(|text| !text.is_empty());
    Value::from(created.unwrap_or("0001-01-01T00:00:00Z"))
}
