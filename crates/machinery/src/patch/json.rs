//! JSON patch (RFC 6902), with what the library that Kubernetes uses takes beyond the RFC.
//!
//! Negative positions count from the end; `replace` of an absent member adds it; an absent member passes a `test` for null;
//! `copy` of one copies null; the text before the first `/` of a pointer is not looked at. Clients have come to rely on it.

use serde_json::{Map, Value};

use crate::json::{DEPTH_MAX, nesting};
use crate::status::{Details, Reason, Status};

/// How many operations one patch may have.
pub const OPERATIONS_MAX: usize = 10_000;
/// How much the `copy` operations of one patch may add.
const COPY_BYTES_MAX: usize = 3 * 1024 * 1024;
/// How many values one patch may shift within lists and measure for its moves: ten thousand operations on a list of five
/// thousand items stay below it.
const STEPS_MAX: usize = 50_000_000;

/// A decoded patch.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPatch(Vec<Map<String, Value>>);

/// A patch that does not apply to the object at hand. Its text is not for the client, as Kubernetes does not send it either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Inapplicable(String);

/// Where an operation takes place: the value that holds it, and the last step of the pointer.
struct Place<'a> {
    holder: &'a mut Value,
    key: String,
    /// How many lists and objects a value stands in there.
    depth: usize,
}

/// What a patch has cost so far.
#[derive(Default)]
struct Work {
    copied_bytes: usize,
    steps: usize,
}

type Outcome<T = ()> = Result<T, Inapplicable>;

// === impl JsonPatch ===

impl JsonPatch {
    /// 400 if it is no list of operations, 413 if there are too many.
    pub fn from_value(patch: Value) -> Result<Self, Status> {
        let wrong = |value: &Value, what: &str| {
            Status::bad_request(format!(
                "error decoding patch: json: cannot unmarshal {} into Go {what}",
                kind(value)
            ))
        };
        let list = match patch {
            Value::Array(list) => list,
            Value::Null => Vec::new(),
            other => return Err(wrong(&other, "value of type []handlers.jsonPatchOp")),
        };
        let mut operations = Vec::with_capacity(list.len());
        for operation in list {
            let Value::Object(members) = operation else {
                return Err(wrong(&operation, "value of type handlers.jsonPatchOp"));
            };
            for name in ["op", "path", "from"] {
                if let Some(value) = members.get(name).filter(|value| !value.is_string() && !value.is_null()) {
                    return Err(wrong(value, &format!("struct field jsonPatchOp.{name} of type string")));
                }
            }
            operations.push(members);
        }
        if operations.len() > OPERATIONS_MAX {
            return Err(Status::too_large(format!(
                "The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}",
                operations.len()
            )));
        }
        Ok(Self(operations))
    }

    /// The patched document.
    pub fn apply(&self, document: &Value) -> Outcome<Value> {
        let mut out = document.clone();
        let mut work = Work::default();
        for operation in &self.0 {
            apply_one(&mut out, operation, &mut work)?;
        }
        Ok(out)
    }
}

// === impl Inapplicable ===

impl Inapplicable {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    fn no_path(operation: &str, path: &str) -> Self {
        Self(format!(
            "{operation} operation does not apply: doc is missing path: {path:?}: missing value"
        ))
    }

    fn index(key: &str) -> Self {
        Self(format!(
            "Unable to access invalid index: {key}: invalid index referenced"
        ))
    }
}

impl From<Inapplicable> for Status {
    fn from(_: Inapplicable) -> Self {
        unprocessable()
    }
}

/// The 422 for a patch that is well-formed but cannot be carried out.
pub(super) fn unprocessable() -> Status {
    Status {
        details: Some(Box::new(Details::default())),
        ..Status::new(
            422,
            Reason::Invalid,
            "the server rejected our request due to an error in our request",
        )
    }
}

fn apply_one(document: &mut Value, operation: &Map<String, Value>, work: &mut Work) -> Outcome {
    let name = operation.get("op").and_then(Value::as_str).unwrap_or("unknown");
    let text = |member: &str| {
        let missing = || Inapplicable::new(format!("{name} operation failed to decode {member}: missing value"));
        operation.get(member).and_then(Value::as_str).ok_or_else(missing)
    };
    let value = || operation.get("value").cloned().unwrap_or(Value::Null);
    match name {
        "add" => place(document, name, text("path")?)?.add(value(), work),
        "remove" => place(document, name, text("path")?)?.remove(work).map(drop),
        "replace" => match (text("path")?, value()) {
            ("", whole @ (Value::Object(_) | Value::Array(_))) => {
                *document = whole;
                Ok(())
            }
            ("", _) => Err(Inapplicable::new("replace operation value must be object or array")),
            (path, value) => place(document, name, path)?.replace(value, work),
        },
        "move" => {
            let moved = place(document, name, text("from")?)?.remove(work)?;
            place(document, name, text("path")?)?.add(moved, work)
        }
        "copy" => {
            let copy = place(document, name, text("from")?)?
                .get()?
                .cloned()
                .unwrap_or(Value::Null);
            work.copy(&copy)?;
            place(document, name, text("path")?)?.add(copy, work)
        }
        "test" => {
            let path = text("path")?;
            let passes = match path {
                "" => *document == value(),
                path => place(document, name, path)?.get()?.unwrap_or(&Value::Null) == &value(),
            };
            if passes {
                Ok(())
            } else {
                Err(Inapplicable::new(format!("testing value {path} failed: test failed")))
            }
        }
        other => Err(Inapplicable::new(format!("Unexpected kind: {other}"))),
    }
}

fn place<'a>(document: &'a mut Value, operation: &str, path: &str) -> Outcome<Place<'a>> {
    let no_path = || Inapplicable::no_path(operation, path);
    let mut steps: Vec<&str> = path.split('/').skip(1).collect();
    let key = unescape(steps.pop().ok_or_else(no_path)?);
    let depth = steps.len() + 1;
    let mut here = document;
    for step in steps {
        let step = unescape(step);
        here = match here {
            Value::Object(members) => members.get_mut(&step),
            Value::Array(items) => position(&step, items.len()).ok().and_then(|at| items.get_mut(at)),
            _ => None,
        }
        .ok_or_else(no_path)?;
    }
    if here.is_object() || here.is_array() {
        Ok(Place {
            holder: here,
            key,
            depth,
        })
    } else {
        Err(no_path())
    }
}

/// RFC 6901.
fn unescape(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}

/// A position among so many; negative ones count from the end.
fn position(key: &str, length: usize) -> Outcome<usize> {
    let number: i64 = key.parse().map_err(|_| {
        Inapplicable::new(format!(
            "value was not a proper array index: '{key}': strconv.Atoi: invalid syntax"
        ))
    })?;
    let at = if number < 0 {
        i64::try_from(length).ok().and_then(|length| length.checked_add(number))
    } else {
        Some(number)
    };
    at.and_then(|at| usize::try_from(at).ok())
        .filter(|at| *at < length)
        .ok_or_else(|| Inapplicable::index(key))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

// === impl Place ===

impl<'a> Place<'a> {
    fn get(self) -> Outcome<Option<&'a Value>> {
        match self.holder {
            Value::Array(items) => {
                let at = position(&self.key, items.len())?;
                Ok(items.get(at))
            }
            holder => Ok(holder.get(&self.key)),
        }
    }

    fn add(self, value: Value, work: &mut Work) -> Outcome {
        self.fits(&value, work)?;
        match self.holder {
            Value::Array(items) if self.key == "-" => items.push(value),
            // One more than there are: the end is a place to add at.
            Value::Array(items) => {
                let at = position(&self.key, items.len() + 1)?;
                work.steps(items.len() - at)?;
                items.insert(at, value);
            }
            Value::Object(members) => drop(members.insert(self.key, value)),
            _ => return Err(Inapplicable::no_path("add", &self.key)),
        }
        Ok(())
    }

    fn replace(self, value: Value, work: &mut Work) -> Outcome {
        let Value::Array(items) = &*self.holder else {
            return self.add(value, work);
        };
        let at = position(&self.key, items.len())?;
        self.fits(&value, work)?;
        if let Some(item) = self.holder.get_mut(at) {
            *item = value;
        }
        Ok(())
    }

    fn remove(self, work: &mut Work) -> Outcome<Value> {
        match self.holder {
            Value::Array(items) => {
                let at = position(&self.key, items.len())?;
                work.steps(items.len() - at)?;
                Ok(items.remove(at))
            }
            Value::Object(members) => members.remove(&self.key).ok_or_else(|| {
                Inapplicable::new(format!("Unable to remove nonexistent key: {}: missing value", self.key))
            }),
            _ => Err(Inapplicable::no_path("remove", &self.key)),
        }
    }

    /// No result nests deeper than a body may: what goes through it recursively, if only to drop it, needs a bounded stack,
    /// and each `copy` into itself doubles the depth.
    fn fits(&self, value: &Value, work: &mut Work) -> Outcome {
        let mut seen = 0;
        let depth = self.depth + nesting(value, &mut seen);
        work.steps(seen)?;
        if depth > DEPTH_MAX {
            return Err(Inapplicable::new(format!(
                "the result nests deeper than {DEPTH_MAX} levels"
            )));
        }
        Ok(())
    }
}

// === impl Work ===

impl Work {
    fn copy(&mut self, copy: &Value) -> Outcome {
        self.copied_bytes += copy.to_string().len();
        if self.copied_bytes > COPY_BYTES_MAX {
            return Err(Inapplicable::new(format!(
                "Unable to complete the copy, the accumulated size increase of copy is {}, exceeding the limit \
                 {COPY_BYTES_MAX}",
                self.copied_bytes
            )));
        }
        Ok(())
    }

    /// A list's items behind the place are shifted, a moved value is measured: cheap once, not ten thousand times.
    fn steps(&mut self, count: usize) -> Outcome {
        self.steps += count;
        if self.steps > STEPS_MAX {
            return Err(Inapplicable::new(format!(
                "the operations shift and move more than {STEPS_MAX} values"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
