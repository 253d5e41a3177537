//! Field errors: what a validation found wrong, where, in Kubernetes' words (apimachinery `util/validation/field`).

use std::fmt;

use serde_json::Value;

/// The kind of a field error. The texts and the causes' reasons are wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldErrorKind {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    TypeInvalid,
    Internal,
}

/// One field error.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    pub kind: FieldErrorKind,
    /// Go-style path, e.g. `spec.versions[0].name`; empty for the object itself (printed as `<nil>` by Kubernetes).
    pub field: String,
    /// The offending value as Kubernetes prints it (already rendered), if the kind prints one.
    pub bad_value: Option<String>,
    pub detail: String,
}

/// A path into an object, built on the way down. Cheap to extend, printed as Go prints `field.Path`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(String);

// === impl FieldErrorKind ===

impl FieldErrorKind {
    /// The first words of the message.
    pub fn text(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::TypeInvalid => "Invalid value",
            Self::Internal => "Internal error",
        }
    }

    /// The `reason` of the cause in `status.details.causes`.
    pub fn cause(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::Internal => "InternalError",
        }
    }
}

// === impl FieldError ===

impl FieldError {
    pub fn required(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Required, path, None, detail)
    }

    pub fn invalid(path: &Path, value: &Value, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Invalid, path, Some(render(value)), detail)
    }

    pub fn type_invalid(path: &Path, value: &Value, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::TypeInvalid, path, Some(render(value)), detail)
    }

    pub fn duplicate(path: &Path, value: &Value) -> Self {
        Self::new(FieldErrorKind::Duplicate, path, Some(render(value)), "")
    }

    pub fn not_found(path: &Path, value: &Value) -> Self {
        Self::new(FieldErrorKind::NotFound, path, Some(render(value)), "")
    }

    /// `supported` in the order in which they are to be printed.
    pub fn not_supported(path: &Path, value: &Value, supported: &[&str]) -> Self {
        let detail = match supported {
            [] => String::new(),
            some => {
                let quoted: Vec<String> = some.iter().map(|s| format!("{s:?}")).collect();
                format!("supported values: {}", quoted.join(", "))
            }
        };
        Self::new(FieldErrorKind::NotSupported, path, Some(render(value)), detail)
    }

    pub fn forbidden(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Forbidden, path, None, detail)
    }

    /// `may not be more than N bytes` is the usual detail. The value is not printed (Kubernetes prints `<value omitted>`).
    pub fn too_long(path: &Path, max_bytes: usize) -> Self {
        Self::new(
            FieldErrorKind::TooLong,
            path,
            None,
            format!("may not be more than {max_bytes} bytes"),
        )
    }

    pub fn too_many(path: &Path, actual: usize, max: usize) -> Self {
        let unit = if max == 1 { "item" } else { "items" };
        Self::new(
            FieldErrorKind::TooMany,
            path,
            Some(actual.to_string()),
            format!("must have at most {max} {unit}"),
        )
    }

    pub fn internal(path: &Path, detail: impl Into<String>) -> Self {
        Self::new(FieldErrorKind::Internal, path, None, detail)
    }

    pub fn new(kind: FieldErrorKind, path: &Path, bad_value: Option<String>, detail: impl Into<String>) -> Self {
        Self {
            kind,
            field: path.to_string(),
            bad_value,
            detail: detail.into(),
        }
    }

    /// The message without the field's name, as it stands in a cause.
    pub fn body(&self) -> String {
        let mut text = self.kind.text().to_owned();
        if let Some(value) = &self.bad_value {
            text.push_str(": ");
            text.push_str(value);
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = if self.field.is_empty() { "<nil>" } else { &self.field };
        write!(f, "{field}: {}", self.body())
    }
}

/// Prints a value as Go's field errors do: strings quoted, scalars bare, everything else as JSON.
pub fn render(value: &Value) -> String {
    match value {
        Value::String(s) => crate::text::quote(s),
        Value::Null => "null".to_owned(),
        other => other.to_string(),
    }
}

// === impl Path ===

impl Path {
    pub fn root() -> Self {
        Self::default()
    }

    pub fn new(first: &str) -> Self {
        Self(first.to_owned())
    }

    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() {
            Self(name.to_owned())
        } else {
            Self(format!("{}.{name}", self.0))
        }
    }

    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// A key of a map (or the key of a list-type=map item), printed in brackets.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn prints_as_kubernetes_does() {
        let path = Path::new("spec").child("versions").index(0).child("name");
        let error = FieldError::invalid(&path, &json!("x"), "must be a version");
        assert_eq!(
            error.to_string(),
            r#"spec.versions[0].name: Invalid value: "x": must be a version"#
        );
        assert_eq!(
            FieldError::required(&Path::root(), "").to_string(),
            "<nil>: Required value"
        );
        assert_eq!(
            FieldError::not_supported(&Path::new("a"), &json!("z"), &["x", "y"]).to_string(),
            r#"a: Unsupported value: "z": supported values: "x", "y""#
        );
    }
}
