//! What is checked when a schema enters the system, in a CRD or an APIResourceSchema.
//!
//! Works on the JSON itself: messages speak of keywords that the parsed form does not keep.

mod defaults;
mod keywords;
mod props;
mod rules;
mod structure;

use serde_json::{Map, Value};

use crate::field::{FieldError, Path};

/// A schema object's keywords. What has the zero value of its type counts as absent, as after Go's decoding.
#[derive(Clone, Copy)]
struct Props<'a>(&'a Map<String, Value>);

/// The keywords that may stand at the root next to a `status` subresource, as upstream's Go names.
const ROOT_KEYWORDS: [(&str, &str); 22] = [
    ("description", "Description"),
    ("type", "Type"),
    ("format", "Format"),
    ("title", "Title"),
    ("maximum", "Maximum"),
    ("exclusiveMaximum", "ExclusiveMaximum"),
    ("minimum", "Minimum"),
    ("exclusiveMinimum", "ExclusiveMinimum"),
    ("maxLength", "MaxLength"),
    ("minLength", "MinLength"),
    ("pattern", "Pattern"),
    ("maxItems", "MaxItems"),
    ("minItems", "MinItems"),
    ("uniqueItems", "UniqueItems"),
    ("multipleOf", "MultipleOf"),
    ("required", "Required"),
    ("items", "Items"),
    ("properties", "Properties"),
    ("externalDocs", "ExternalDocs"),
    ("example", "Example"),
    ("x-kubernetes-preserve-unknown-fields", "XPreserveUnknownFields"),
    ("x-kubernetes-validations", "XValidations"),
];

/// Checks the schema of one version: that it is structural, that its defaults fit, that its extensions make sense, that
/// its rules compile and are not too costly. `path` is that of the schema (`spec.versions[0].schema.openAPIV3Schema`);
/// `status` says that the status subresource is on.
pub fn check_schema(schema: &Value, status: bool, path: &Path) -> Vec<FieldError> {
    let malformed = keywords::check_types(schema, path);
    if !malformed.is_empty() {
        return malformed;
    }
    let Some(root) = Props::of(schema) else {
        return Vec::new();
    };
    let mut errors = Vec::new();
    if status {
        errors.extend(check_status_root(root, path));
    }
    if root.flag("nullable") {
        errors.push(FieldError::forbidden(
            &path.child("nullable"),
            "nullable cannot be true at the root",
        ));
    }
    let unsupported = structure::unsupported(schema);
    let structural = if unsupported.is_none() {
        structure::check_structure(root, path)
    } else {
        Vec::new()
    };
    let mut sound = unsupported.is_none() && structural.is_empty();
    errors.extend(structural);
    if sound {
        let found = defaults::check_defaults(schema, path);
        sound = found.is_empty();
        errors.extend(found);
    }
    errors.extend(props::check_props(schema, path, sound));
    if let (true, Some(why)) = (errors.is_empty(), unsupported) {
        errors.push(FieldError::invalid(path, &Value::String(String::new()), why));
    }
    errors
}

/// With the status subresource on, validation of `status` must not be lost with keywords of the root.
fn check_status_root(root: Props<'_>, path: &Path) -> Option<FieldError> {
    let known = |name: &str| ROOT_KEYWORDS.iter().any(|(keyword, _)| *keyword == name);
    let kind = root.text("type");
    if !kind.is_empty() && kind != "object" {
        let detail =
            "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        return Some(FieldError::invalid(
            &path.child("type"),
            &Value::String(kind.to_owned()),
            detail,
        ));
    }
    let odd = root.0.iter().any(|(name, value)| !known(name) && !is_zero(value));
    odd.then(|| {
        let names: Vec<&str> = ROOT_KEYWORDS.iter().map(|(_, name)| *name).collect();
        let detail = format!(
            "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
            names.join(" ")
        );
        FieldError::invalid(path, &Value::Object(root.0.clone()), detail)
    })
}

// === impl Props ===

impl<'a> Props<'a> {
    fn of(schema: &'a Value) -> Option<Self> {
        schema.as_object().map(Self)
    }

    /// A keyword that is there and not of the zero value.
    fn get(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !is_zero(value))
    }

    fn has(self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A keyword that is a pointer in Go: there unless null.
    fn pointer(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn text(self, name: &str) -> &'a str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn flag(self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    /// A schema under a keyword. An empty one counts.
    fn schema(self, name: &str) -> Option<Props<'a>> {
        self.0.get(name).and_then(Props::of)
    }

    fn schemas(self, name: &str) -> impl Iterator<Item = (usize, Props<'a>)> {
        let list = self.0.get(name).and_then(Value::as_array).into_iter().flatten();
        list.enumerate()
            .filter_map(|(index, schema)| Some((index, Props::of(schema)?)))
    }

    /// Named schemas, by name.
    fn named(self, keyword: &str) -> impl Iterator<Item = (&'a str, Props<'a>)> {
        let map = self.0.get(keyword).and_then(Value::as_object).into_iter().flatten();
        map.filter_map(|(name, schema)| Some((name.as_str(), Props::of(schema)?)))
    }

    fn property(self, name: &str) -> Option<Props<'a>> {
        self.0.get("properties")?.get(name).and_then(Props::of)
    }

    fn texts(self, name: &str) -> Vec<&'a str> {
        let list = self.0.get(name).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).collect()
    }

    fn preserve(self) -> bool {
        self.flag("x-kubernetes-preserve-unknown-fields")
    }

    fn embedded(self) -> bool {
        self.flag("x-kubernetes-embedded-resource")
    }

    fn int_or_string(self) -> bool {
        self.flag("x-kubernetes-int-or-string")
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

fn text_value(text: &str) -> Value {
    Value::String(text.to_owned())
}

#[cfg(test)]
mod tests;
