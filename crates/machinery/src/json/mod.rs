//! JSON bytes to trees, the way Kubernetes reads them (`sigs.k8s.io/json` over Go's `encoding/json`).
//!
//! Own parser, because three things of it are wire contract: duplicate members are found and named by path (strict field
//! validation), malformed text is reported in Go's words, and nesting is bounded, so that no body overflows a stack.
//!
//! Numbers: an integer that fits `i64` stays one; what is written as a float but is integral (`1.0`, `1e3`) becomes an
//! integer, as it does after one round through Go's encoder; everything else is `f64`. Of duplicate members the last wins.
//! Text that is no UTF-8, and lone surrogates, read as U+FFFD, as in Go.
//!
//! Objects of this depth must be read back by this module also from storage ([`decode_stored`]): `serde_json::from_slice`
//! stops at 128.

mod parser;

use serde_json::Value;

use crate::object::{GroupVersion, GroupVersionKind};
use crate::status::Status;

/// How deep arrays and objects may nest.
pub const DEPTH_MAX: usize = 512;

/// How deep what is stored may nest: managed fields repeat the depth of the object that they are part of, some levels down.
const STORED_DEPTH_MAX: usize = DEPTH_MAX + 16;

/// A tree and what a strict reader would object to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    pub value: Value,
    /// Paths of members that occur more than once, e.g. `spec.x[1].y`; each once, at most 100.
    pub duplicates: Vec<String>,
}

/// Why bytes are no JSON (or no API object), in the words of Go's decoder.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct DecodeError(pub String);

/// Reads one JSON document.
pub fn decode(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let (value, repeated) = parser::parse(bytes, DEPTH_MAX)?;
    let duplicates = if repeated {
        parser::duplicates(bytes)
    } else {
        Vec::new()
    };
    Ok(Decoded { value, duplicates })
}

/// [`decode`] for places where duplicates do not matter.
pub fn decode_value(bytes: &[u8]) -> Result<Value, DecodeError> {
    parser::parse(bytes, DEPTH_MAX).map(|(value, _)| value)
}

/// Reads back what was stored. Whatever [`decode`] has taken is read, with the managed fields that it was given since.
pub fn decode_stored(bytes: &[u8]) -> Result<Value, DecodeError> {
    // All but the deepest objects are read by the faster parser.
    serde_json::from_slice(bytes).or_else(|_| parser::parse(bytes, STORED_DEPTH_MAX).map(|(value, _)| value))
}

/// How deep arrays and objects nest; a scalar does not. `seen` grows by the number of values in it. Recursive: the tree came
/// from bounded parsers, and whoever builds a deeper one from such trees asks here first.
pub(crate) fn nesting(value: &Value, seen: &mut usize) -> usize {
    *seen += 1;
    match value {
        Value::Array(items) => 1 + items.iter().map(|item| nesting(item, seen)).max().unwrap_or(0),
        Value::Object(members) => {
            let members = members.values().map(|member| nesting(member, seen));
            1 + members.max().unwrap_or(0)
        }
        _ => 0,
    }
}

/// Kind and version of a decoded body; empty where absent. Fails as Kubernetes' first look at a body does.
pub fn type_meta(value: &Value) -> Result<GroupVersionKind, DecodeError> {
    let go_type = |value: &Value| match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let fail = |why: String| Err(interpret_error(&DecodeError(format!("json: cannot unmarshal {why}"))));
    let members = match value {
        Value::Object(members) => members,
        Value::Null => return Ok(GroupVersionKind::new("", "", "")),
        other => {
            return fail(format!(
                "{} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; \
                 Kind string \"json:\\\"kind,omitempty\\\"\" }}",
                go_type(other)
            ));
        }
    };
    for name in ["apiVersion", "kind"] {
        if let Some(other) = members.get(name)
            && !other.is_string()
            && !other.is_null()
        {
            return fail(format!(
                "{} into Go struct field .{name} of type string",
                go_type(other)
            ));
        }
    }
    let text = |name: &str| members.get(name).and_then(Value::as_str).unwrap_or_default();
    let GroupVersion { group, version } = GroupVersion::parse(text("apiVersion"));
    Ok(GroupVersionKind::new(group, version, text("kind")))
}

/// What a failure of [`decode`] is called where a body's kind is looked for first.
pub fn interpret_error(error: &DecodeError) -> DecodeError {
    DecodeError(format!("couldn't get version/kind; json parse error: {error}"))
}

/// 400 for a body of which not even the kind can be told. `expected` is the kind that the endpoint takes.
pub fn unrecognized(expected: &str, error: &DecodeError, body: &[u8]) -> Status {
    let summary = summarize(body);
    Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {expected}): {error} ({summary})"
    ))
}

/// 400 for a body whose kind is known, but that cannot be read as what the endpoint takes. `why` is e.g. the text of
/// [`StrictErrors`](crate::strict::StrictErrors).
pub fn unhandled(found: &GroupVersionKind, expected: &str, why: impl std::fmt::Display) -> Status {
    Status::bad_request(format!(
        "{} in version {:?} cannot be handled as a {expected}: {why}",
        found.kind, found.version
    ))
}

/// The first bytes of a body for an error's text: as they are if they look like JSON, else in hex.
fn summarize(body: &[u8]) -> String {
    const SHOWN_BYTES: usize = 30;
    let (shown, more) = match body.get(..SHOWN_BYTES) {
        Some(head) if body.len() > SHOWN_BYTES => (head, " ..."),
        _ => (body, ""),
    };
    match shown.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(shown)),
        Some(_) => {
            let hex: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{hex}{more}")
        }
    }
}

#[cfg(test)]
mod tests;
