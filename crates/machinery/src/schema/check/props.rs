//! Rules of apiextensions for each node: extensions, defaults where none may be, list keys, validation rules.

use serde_json::{Value, json};

use super::{Props, text_value};
use crate::field::{FieldError, FieldErrorKind, Path};
use crate::schema::field_path;
use crate::schema::rules::check_rule;
use crate::schema::structural::{Pool, RuleText, Schema};

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
const REASONS: [&str; 4] = [
    "FieldValueDuplicate",
    "FieldValueForbidden",
    "FieldValueInvalid",
    "FieldValueRequired",
];

/// What holds at a place because of what is above it.
#[derive(Clone, Default)]
struct Context {
    /// Why defaults are forbidden here.
    no_defaults: Option<String>,
    inside_meta: bool,
    /// The highest place from which on old values cannot be correlated.
    uncorrelatable: Option<String>,
    /// Rules are to be compiled: the schema is structural, and no junctor is above.
    rules: bool,
}

struct Checks {
    schema: Vec<FieldError>,
    rules: Vec<FieldError>,
    pool: Pool,
}

/// `rules`: whether the schema is sound enough to compile its rules.
pub(super) fn check_props(schema: &Value, path: &Path, rules: bool) -> Vec<FieldError> {
    let mut checks = Checks {
        schema: Vec::new(),
        rules: Vec::new(),
        pool: Pool::default(),
    };
    checks.node(
        schema,
        true,
        path,
        &Context {
            rules,
            ..Context::default()
        },
    );
    checks.schema.into_iter().chain(checks.rules).collect()
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

    fn rules(&mut self, json: &Value, schema: Props<'_>, root: bool, path: &Path, context: &Context, before: usize) {
        if !schema.has("x-kubernetes-validations") {
            return;
        }
        let parsed = self.pool.parse(json);
        for (index, rule) in parsed.rules.iter().enumerate() {
            let raw = schema
                .0
                .get("x-kubernetes-validations")
                .and_then(|list| list.get(index));
            self.rule_text(
                raw.unwrap_or(&Value::Null),
                rule,
                &parsed,
                &path.child("x-kubernetes-validations").index(index),
            );
        }
        // Rules against a schema with errors of its own would yield errors that tell nothing.
        if self.schema.len() > before || !context.rules {
            return;
        }
        for (index, rule) in parsed.rules.iter().enumerate() {
            let at = path.child("x-kubernetes-validations").index(index);
            self.compile(rule, &parsed, root || schema.embedded(), &at, context);
        }
    }

    fn rule_text(&mut self, raw: &Value, rule: &RuleText, schema: &std::sync::Arc<Schema>, path: &Path) {
        let text = |name: &str| raw.get(name).and_then(Value::as_str).unwrap_or_default();
        let blank = |name: &str| !text(name).is_empty() && text(name).trim().is_empty();
        let broken = |text: &str| text.contains(['\n', '\r']);
        let (trimmed, message) = (rule.rule.trim(), text("message").trim());
        let at = path.child("message");
        if trimmed.is_empty() {
            self.schema
                .push(FieldError::required(&path.child("rule"), "rule is not specified"));
        } else if blank("message") {
            self.schema.push(FieldError::invalid(
                &at,
                &text_value(text("message")),
                "must be non-empty if specified",
            ));
        } else if broken(message) {
            self.schema.push(FieldError::invalid(
                &at,
                &text_value(text("message")),
                "must not contain line breaks",
            ));
        } else if broken(trimmed) && message.is_empty() {
            let detail = "message must be specified if rule contains line breaks";
            self.schema.push(FieldError::required(&at, detail));
        }
        if blank("messageExpression") {
            let detail = "messageExpression must be non-empty if specified";
            self.schema
                .push(FieldError::required(&path.child("messageExpression"), detail));
        }
        if let Some(reason) = rule.reason.as_deref().filter(|reason| !REASONS.contains(reason)) {
            self.schema.push(FieldError::not_supported(
                &path.child("reason"),
                &text_value(reason),
                &REASONS,
            ));
        }
        let (at, field_path) = (path.child("fieldPath"), text("fieldPath"));
        if blank("fieldPath") {
            self.schema.push(FieldError::invalid(
                &at,
                &text_value(field_path),
                "must be non-empty if specified",
            ));
        }
        if broken(field_path) {
            self.schema.push(FieldError::invalid(
                &at,
                &text_value(field_path),
                "must not contain line breaks",
            ));
        }
        if !field_path.is_empty() && field_path::normalize(field_path, schema).is_err() {
            self.schema.push(FieldError::invalid(
                &at,
                &text_value(field_path),
                "must be a valid path",
            ));
        }
    }

    fn compile(
        &mut self,
        rule: &RuleText,
        schema: &std::sync::Arc<Schema>,
        root: bool,
        path: &Path,
        context: &Context,
    ) {
        let check = check_rule(rule, schema, root);
        let invalid =
            |at: &Path, detail: String| FieldError::new(FieldErrorKind::Invalid, at, Some(go_rule(rule)), detail);
        if let Some(error) = check.rule_error {
            self.rules.push(invalid(&path.child("rule"), error));
        }
        if let Some(error) = check.message_error {
            self.rules.push(invalid(&path.child("messageExpression"), error));
        }
        if check.uses_old {
            if let Some(place) = &context.uncorrelatable {
                let detail =
                    format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {place}");
                self.rules.push(FieldError::invalid(
                    &path.child("rule"),
                    &text_value(&rule.rule),
                    detail,
                ));
            }
        } else if let Some(optional) = rule.optional_old_self {
            let detail = "may not be set if oldSelf is not used in rule";
            self.rules.push(FieldError::invalid(
                &path.child("optionalOldSelf"),
                &Value::Bool(optional),
                detail,
            ));
        }
    }
}

/// A rule as Go prints the struct it is decoded to.
fn go_rule(rule: &RuleText) -> String {
    let text = |text: &Option<Box<str>>| go_json(text.as_deref().unwrap_or_default());
    let reason = rule.reason.as_deref().map_or("null".to_owned(), go_json);
    let optional = rule
        .optional_old_self
        .map_or("null".to_owned(), |optional| optional.to_string());
    format!(
        r#"{{"Rule":{},"Message":{},"MessageExpression":{},"Reason":{reason},"FieldPath":{},"OptionalOldSelf":{optional}}}"#,
        go_json(&rule.rule),
        text(&rule.message),
        text(&rule.message_expression),
        text(&rule.field_path)
    )
}

/// A JSON string as Go's encoder writes it.
fn go_json(text: &str) -> String {
    let plain = Value::String(text.to_owned()).to_string();
    plain
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
}
