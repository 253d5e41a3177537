//! Rules of apiextensions for each node: extensions, defaults where none may be, list keys, validation rules.

use serde_json::{Value, json};

use super::rules::Expense;
use super::{Props, text_value};
use crate::field::{FieldError, Path};
use crate::schema::structural::Pool;

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// What holds at a place because of what is above it.
#[derive(Clone, Default)]
pub(super) struct Context {
    /// Why defaults are forbidden here.
    no_defaults: Option<String>,
    inside_meta: bool,
    /// The highest place from which on old values cannot be correlated.
    pub uncorrelatable: Option<String>,
    /// Rules are to be compiled: the schema is structural, and no junctor is above.
    pub rules: bool,
    /// How many values there can be at the place, where limits above it say.
    pub cardinality: Option<u64>,
}

pub(super) struct Checks {
    pub schema: Vec<FieldError>,
    pub rules: Vec<FieldError>,
    pub expense: Expense,
    pub pool: Pool,
}

/// `rules`: whether the schema is sound enough to compile its rules.
pub(super) fn check_props(schema: &Value, path: &Path, rules: bool) -> Vec<FieldError> {
    let mut checks = Checks {
        schema: Vec::new(),
        rules: Vec::new(),
        expense: Expense::default(),
        pool: Pool::default(),
    };
    let context = Context {
        rules,
        cardinality: Some(1),
        ..Context::default()
    };
    checks.node(schema, true, path, &context);
    let expense = checks.expense.errors(path);
    checks.schema.into_iter().chain(checks.rules).chain(expense).collect()
}

/// By how much a schema multiplies what is below it; none if nothing limits it.
fn multiplicity(schema: Props<'_>) -> Option<u64> {
    let limit = |name: &str| {
        schema
            .0
            .get(name)?
            .as_i64()
            .map(|max| u64::try_from(max).unwrap_or_default())
    };
    match schema.text("type") {
        "object" if schema.pointer("additionalProperties").is_some() => limit("maxProperties"),
        "array" => limit("maxItems"),
        _ => Some(1),
    }
}

// === impl Checks ===

impl Checks {
    fn node(&mut self, json: &Value, root: bool, path: &Path, context: &Context) {
        let Some(schema) = Props::of(json) else { return };
        let before = self.schema.len();
        self.unsupported(schema, path, context);
        if schema.flag("uniqueItems") {
            let text = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            self.schema
                .push(FieldError::forbidden(&path.child("uniqueItems"), text));
        }
        self.children(schema, root, path, context);
        self.extensions(schema, path);
        self.list_keys(schema, path);
        self.rules(json, schema, root, path, context, before);
    }

    /// What no schema may have.
    fn unsupported(&mut self, schema: Props<'_>, path: &Path, context: &Context) {
        let kind = schema.text("type");
        if !kind.is_empty() && kind != "null" && !TYPES.contains(&kind) {
            self.schema.push(FieldError::not_supported(
                &path.child("type"),
                &text_value(kind),
                &TYPES,
            ));
        }
        if let (Some(_), Some(why)) = (schema.pointer("default"), &context.no_defaults) {
            self.schema.push(FieldError::forbidden(
                &path.child("default"),
                format!("must not be set {why}"),
            ));
        }
        for keyword in [
            "id",
            "additionalItems",
            "patternProperties",
            "definitions",
            "dependencies",
            "$ref",
        ] {
            if schema.has(keyword) || (keyword == "additionalItems" && schema.pointer(keyword).is_some()) {
                let text = format!("{keyword} is not supported");
                self.schema.push(FieldError::forbidden(&path.child(keyword), text));
            }
        }
        if kind == "null" {
            let text = "type cannot be set to null, use nullable as an alternative";
            self.schema.push(FieldError::forbidden(&path.child("type"), text));
        }
        if schema.get("items").is_some_and(Value::is_array) {
            let text = "items must be a schema object and not an array";
            self.schema.push(FieldError::forbidden(&path.child("items"), text));
        }
        if context.inside_meta && schema.embedded() {
            let at = path.child("x-kubernetes-embedded-resource");
            self.schema
                .push(FieldError::forbidden(&at, "must not be used inside of resource meta"));
        }
    }

    fn children(&mut self, schema: Props<'_>, root: bool, path: &Path, context: &Context) {
        let cardinality = context.cardinality.zip(multiplicity(schema));
        let context = &Context {
            cardinality: cardinality.map(|(above, times)| above.saturating_mul(times)),
            ..context.clone()
        };
        if let Some(additional) = schema.pointer("additionalProperties") {
            let at = path.child("additionalProperties");
            if schema.has("properties") && *additional != Value::Bool(true) {
                let text = "additionalProperties and properties are mutual exclusive";
                self.schema.push(FieldError::forbidden(&at, text));
            }
            let mut below = context.clone();
            if context.inside_meta {
                below.no_defaults = Some("inside additionalProperties applying to object metadata".to_owned());
            }
            self.node(additional, false, &at, &below);
        }
        let properties = schema.0.get("properties").and_then(Value::as_object);
        for (name, property) in properties.into_iter().flatten() {
            let mut below = context.clone();
            if !matches!(schema.text("x-kubernetes-map-type"), "" | "granular" | "atomic") {
                below.uncorrelatable.get_or_insert_with(|| path.to_string());
            }
            if (root || schema.embedded()) && matches!(name.as_str(), "metadata" | "kind" | "apiVersion") {
                below.inside_meta = true;
                if root {
                    below.no_defaults = Some(format!("in top-level {name}"));
                }
            }
            self.node(property, false, &path.child("properties").key(name), &below);
        }
        let junctor = Context {
            rules: false,
            ..context.clone()
        };
        if let Some(clause) = schema.0.get("not") {
            self.node(clause, false, &path.child("not"), &junctor);
        }
        for keyword in ["allOf", "oneOf", "anyOf"] {
            let clauses = schema
                .0
                .get(keyword)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .enumerate();
            for (index, clause) in clauses {
                self.node(clause, false, &path.child(keyword).index(index), &junctor);
            }
        }
        if let Some(items) = schema.0.get("items") {
            let mut below = context.clone();
            if schema.text("x-kubernetes-list-type") != "map" {
                below.uncorrelatable.get_or_insert_with(|| path.to_string());
            }
            self.node(items, false, &path.child("items"), &below);
        }
    }

    fn extensions(&mut self, schema: Props<'_>, path: &Path) {
        let preserve = "x-kubernetes-preserve-unknown-fields";
        if schema.0.get(preserve) == Some(&Value::Bool(false)) {
            let error = FieldError::invalid(&path.child(preserve), &Value::Bool(false), "must be true or undefined");
            self.schema.push(error);
        }
        let kind = schema.text("type");
        let at_type = path.child("type");
        for (keyword, wanted, values) in [
            ("x-kubernetes-map-type", "object", ["atomic", "granular"].as_slice()),
            ("x-kubernetes-list-type", "array", ["atomic", "set", "map"].as_slice()),
        ] {
            let Some(value) = schema.pointer(keyword) else { continue };
            if kind != wanted {
                let text = format!("must be {wanted} if {keyword} is specified");
                self.schema.push(match kind {
                    "" => FieldError::required(&at_type, text),
                    kind => FieldError::invalid(&at_type, &text_value(kind), text),
                });
            } else if *value == "set" {
                self.set_items(schema, path);
            }
            if !values.iter().any(|known| value == known) {
                self.schema
                    .push(FieldError::not_supported(&path.child(keyword), value, values));
            }
        }
    }

    /// Items of a set must be atomic, or they could change without anyone noticing.
    fn set_items(&mut self, schema: Props<'_>, path: &Path) {
        let Some(items) = schema.schema("items") else { return };
        let keyword = match items.text("type") {
            "array" if !matches!(items.text("x-kubernetes-list-type"), "" | "atomic") => "x-kubernetes-list-type",
            "object" if items.text("x-kubernetes-map-type") != "atomic" => "x-kubernetes-map-type",
            _ => return,
        };
        // Upstream prints the list type in both cases.
        let shown = items.pointer("x-kubernetes-list-type").unwrap_or(&Value::Null);
        let text = "must be atomic as item of a list with x-kubernetes-list-type=set";
        self.schema
            .push(FieldError::invalid(&path.child("items").child(keyword), shown, text));
    }

    fn list_keys(&mut self, schema: Props<'_>, path: &Path) {
        let list_type = schema.text("x-kubernetes-list-type");
        let keys = schema.texts("x-kubernetes-list-map-keys");
        let at_type = path.child("x-kubernetes-list-type");
        if !keys.is_empty() && list_type != "map" {
            let text = "must be map if x-kubernetes-list-map-keys is non-empty";
            self.schema.push(match list_type {
                "" => FieldError::required(&at_type, text),
                other => FieldError::invalid(&at_type, &text_value(other), text),
            });
        }
        if list_type == "map" {
            self.map_keys(schema, &keys, path);
        }
        let Some(items) = schema.schema("items").filter(|_| matches!(list_type, "map" | "set")) else {
            return;
        };
        let at_items = path.child("items");
        if items.flag("nullable") {
            let text = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
            self.schema
                .push(FieldError::forbidden(&at_items.child("nullable"), text));
        }
        if list_type == "set" {
            return;
        }
        let required = items.texts("required");
        for key in keys {
            let Some(property) = items.property(key) else { continue };
            let at = at_items.child("properties").key(key);
            let reason = "this property is in x-kubernetes-list-map-keys, so it";
            if !required.contains(&key) && property.pointer("default").is_none() {
                let text = format!("{reason} must have a default or be a required property");
                self.schema.push(FieldError::required(&at.child("default"), text));
            }
            if property.flag("nullable") {
                self.schema.push(FieldError::forbidden(
                    &at.child("nullable"),
                    format!("{reason} cannot be nullable"),
                ));
            }
        }
    }

    fn map_keys(&mut self, schema: Props<'_>, keys: &[&str], path: &Path) {
        let at_keys = path.child("x-kubernetes-list-map-keys");
        if keys.is_empty() {
            let text = "must not be empty if x-kubernetes-list-type is map";
            self.schema.push(FieldError::required(&at_keys, text));
        }
        let at_items = path.child("items");
        let Some(items) = schema.schema("items") else {
            let text = "must have a schema if x-kubernetes-list-type is map";
            self.schema.push(FieldError::required(&at_items, text));
            return;
        };
        let kind = items.text("type");
        if kind != "object" {
            let text = "must be object if parent array's x-kubernetes-list-type is map";
            self.schema
                .push(FieldError::invalid(&at_items.child("type"), &text_value(kind), text));
            return;
        }
        for (index, key) in keys.iter().enumerate() {
            match items.property(key).map(|property| property.text("type")) {
                Some("array" | "object") => {
                    let at = at_items.child("properties").key(key).child("type");
                    let text = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                    self.schema.push(FieldError::invalid(&at, &text_value(kind), text));
                }
                Some(_) => {}
                None => {
                    let text = "entries must all be names of item properties";
                    self.schema.push(FieldError::invalid(&at_keys, &json!(keys), text));
                }
            }
            if keys.get(..index).is_some_and(|before| before.contains(key)) {
                self.schema.push(FieldError::invalid(
                    &at_keys,
                    &json!(keys),
                    "must not contain duplicate entries",
                ));
            }
        }
    }
}
