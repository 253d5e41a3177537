//! That a schema is structural: every value has its type from the spine of the schema, not from under a junctor.

use serde_json::{Value, json};

use super::{Props, text_value};
use crate::field::{FieldError, Path};
use crate::schema::pattern;

#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Item,
    Field,
}

/// The first keyword that no structural schema may have, as upstream's conversion reports it.
pub(super) fn unsupported(schema: &Value) -> Option<String> {
    let props = Props::of(schema)?;
    let named = [
        ("id", "id"),
        ("$schema", "schema"),
        ("$ref", "$ref"),
        ("patternProperties", "patternProperties"),
        ("dependencies", "dependencies"),
        ("definitions", "definitions"),
    ];
    let found = named
        .into_iter()
        .find(|(keyword, _)| props.has(keyword))
        .map(|(_, name)| name);
    let found = found.or(props.pointer("additionalItems").map(|_| "additionalItems"));
    if let Some(name) = found {
        return Some(format!("OpenAPIV3Schema '{name}' is not supported"));
    }
    if props.get("items").is_some_and(Value::is_array) {
        return Some("OpenAPIV3Schema 'items' must be a schema, but is an array".to_owned());
    }
    let single = ["items", "additionalProperties", "not"]
        .into_iter()
        .filter_map(|keyword| props.0.get(keyword));
    let lists = ["allOf", "anyOf", "oneOf"]
        .into_iter()
        .filter_map(|keyword| props.0.get(keyword)?.as_array());
    let named = props
        .0
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(_, schema)| schema);
    single.chain(lists.flatten()).chain(named).find_map(unsupported)
}

/// The violations, sorted by their text.
pub(super) fn check_structure(root: Props<'_>, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    invariants(root, Level::Root, path, &mut errors);
    values_complete(root, Some(root), path, path, &mut errors);
    errors.sort_by_cached_key(ToString::to_string);
    errors
}

fn invariants(schema: Props<'_>, level: Level, path: &Path, errors: &mut Vec<FieldError>) {
    let kind = schema.text("type");
    match schema.schema("items") {
        Some(items) => invariants(items, Level::Item, &path.child("items"), errors),
        None if kind == "array" => errors.push(FieldError::required(&path.child("items"), "must be specified")),
        None => {}
    }
    for (name, property) in schema.named("properties") {
        invariants(property, Level::Field, &path.child("properties").key(name), errors);
    }
    let additional_path = path.child("additionalProperties");
    if schema.pointer("additionalProperties").is_some() && level == Level::Root {
        errors.push(FieldError::forbidden(&additional_path, "must not be used at the root"));
    }
    if let Some(additional) = schema.schema("additionalProperties") {
        invariants(additional, Level::Field, &additional_path, errors);
    }
    extensions(schema, path, errors);
    let pattern = json!([{"type": "integer"}, {"type": "string"}]);
    let skip_any_of = schema.0.get("anyOf") == Some(&pattern);
    let first_all_of = schema.0.get("allOf").and_then(|list| list.get(0));
    let skip_first_all_of = first_all_of.and_then(|clause| clause.get("anyOf")) == Some(&pattern);
    values(schema, skip_any_of, skip_first_all_of, path, errors);
    type_and_identity(schema, level, path, errors);
}

fn extensions(schema: Props<'_>, path: &Path, errors: &mut Vec<FieldError>) {
    let text = "must be false if x-kubernetes-int-or-string is true";
    for (set, keyword) in [
        (schema.preserve(), "x-kubernetes-preserve-unknown-fields"),
        (schema.embedded(), "x-kubernetes-embedded-resource"),
    ] {
        if set && schema.int_or_string() {
            errors.push(FieldError::invalid(&path.child(keyword), &Value::Bool(true), text));
        }
    }
}

fn type_and_identity(schema: Props<'_>, level: Level, path: &Path, errors: &mut Vec<FieldError>) {
    let kind = schema.text("type");
    let at = path.child("type");
    if schema.embedded() && kind != "object" {
        let text = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(match kind {
            "" => FieldError::required(&at, text),
            kind => FieldError::invalid(&at, &text_value(kind), text),
        });
    } else if kind.is_empty() && !schema.int_or_string() && !schema.preserve() {
        errors.push(FieldError::required(
            &at,
            match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            },
        ));
    }
    if schema.embedded() && schema.pointer("additionalProperties").is_some() {
        let text = "must not be used if x-kubernetes-embedded-resource is set";
        errors.push(FieldError::forbidden(&path.child("additionalProperties"), text));
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        errors.push(FieldError::invalid(
            &at,
            &text_value(kind),
            "must be object at the root",
        ));
    }
    let identified = level == Level::Root || schema.embedded();
    for name in ["kind", "apiVersion"] {
        if let Some(kind) = schema
            .property(name)
            .map(|property| property.text("type"))
            .filter(|_| identified)
            && kind != "string"
        {
            let at = path.child("properties").key(name).child("type");
            errors.push(FieldError::invalid(&at, &text_value(kind), "must be string"));
        }
    }
    if let Some(metadata) = schema.property("metadata") {
        metadata_schema(
            metadata,
            identified,
            level,
            &path.child("properties").key("metadata"),
            errors,
        );
    }
    if schema.embedded() && !schema.preserve() && !schema.has("properties") {
        let text =
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.push(FieldError::required(&path.child("properties"), text));
    }
}

/// At the root, `metadata` may restrict name and generateName and nothing else.
fn metadata_schema(schema: Props<'_>, identified: bool, level: Level, path: &Path, errors: &mut Vec<FieldError>) {
    let kind = schema.text("type");
    if identified && kind != "object" {
        errors.push(FieldError::invalid(
            &path.child("type"),
            &text_value(kind),
            "must be object",
        ));
    }
    if level != Level::Root {
        return;
    }
    let names_only = schema
        .named("properties")
        .all(|(name, _)| matches!(name, "name" | "generateName"));
    let keywords = schema.0.keys().filter(|keyword| schema.has(keyword));
    let mut others = keywords.filter(|keyword| !matches!(keyword.as_str(), "type" | "default" | "properties"));
    if !names_only || others.next().is_some() {
        let text = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(FieldError::forbidden(path, text));
    }
}

/// The value validations of a node, junctors included.
fn values(schema: Props<'_>, skip_any_of: bool, skip_all_of: bool, path: &Path, errors: &mut Vec<FieldError>) {
    if !skip_any_of {
        for (index, clause) in schema.schemas("anyOf") {
            nested(clause, false, &path.child("anyOf").index(index), errors);
        }
    }
    for (index, clause) in schema.schemas("allOf") {
        nested(
            clause,
            skip_all_of && index == 0,
            &path.child("allOf").index(index),
            errors,
        );
    }
    for (index, clause) in schema.schemas("oneOf") {
        nested(clause, false, &path.child("oneOf").index(index), errors);
    }
    if let Some(clause) = schema.schema("not") {
        nested(clause, false, &path.child("not"), errors);
    }
    let source = schema.text("pattern");
    if let Some(error) = (!source.is_empty()).then(|| pattern::compile(source).err()).flatten() {
        let detail = format!("must be a valid regular expression, but isn't: {error}");
        errors.push(FieldError::invalid(&path.child("pattern"), &text_value(source), detail));
    }
}

/// A schema under a junctor: value validations only.
fn nested(schema: Props<'_>, skip_any_of: bool, path: &Path, errors: &mut Vec<FieldError>) {
    values(schema, skip_any_of, false, path, errors);
    if let Some(items) = schema.schema("items") {
        nested(items, false, &path.child("items"), errors);
    }
    for (name, property) in schema.named("properties") {
        nested(property, false, &path.child("properties").key(name), errors);
    }
    let forbidden = forbidden_in_junctors(schema);
    for (_, keyword, detail) in forbidden.into_iter().filter(|(set, ..)| *set) {
        errors.push(FieldError::forbidden(&path.child(keyword), detail));
    }
    if schema.property("metadata").is_some() {
        let at = path.child("properties").key("metadata");
        errors.push(FieldError::forbidden(&at, "must not be specified in a nested context"));
    }
}

/// The keywords that no schema under a junctor may have: whether it has them, and what is said then.
fn forbidden_in_junctors(schema: Props<'_>) -> [(bool, &'static str, &'static str); 13] {
    let additional = schema
        .pointer("additionalProperties")
        .filter(|value| **value != Value::Bool(false));
    [
        (schema.has("type"), "type", "must be empty to be structural"),
        (
            additional.is_some(),
            "additionalProperties",
            "must be undefined to be structural",
        ),
        (
            schema.pointer("default").is_some(),
            "default",
            "must be undefined to be structural",
        ),
        (schema.has("title"), "title", "must be empty to be structural"),
        (
            schema.has("description"),
            "description",
            "must be empty to be structural",
        ),
        (schema.flag("nullable"), "nullable", "must be false to be structural"),
        (
            schema.preserve(),
            "x-kubernetes-preserve-unknown-fields",
            "must be false to be structural",
        ),
        (
            schema.embedded(),
            "x-kubernetes-embedded-resource",
            "must be false to be structural",
        ),
        (
            schema.int_or_string(),
            "x-kubernetes-int-or-string",
            "must be false to be structural",
        ),
        (
            schema.has("x-kubernetes-list-map-keys"),
            "x-kubernetes-list-map-keys",
            "must be empty to be structural",
        ),
        (
            schema.pointer("x-kubernetes-list-type").is_some(),
            "x-kubernetes-list-type",
            "must be undefined to be structural",
        ),
        (
            schema.pointer("x-kubernetes-map-type").is_some(),
            "x-kubernetes-map-type",
            "must be undefined to be structural",
        ),
        (
            schema.has("x-kubernetes-validations"),
            "x-kubernetes-validations",
            "must be empty to be structural",
        ),
    ]
}

/// What is validated under a junctor must be specified on the spine (`spine`) too.
fn values_complete(schema: Props<'_>, spine: Option<Props<'_>>, at: &Path, from: &Path, errors: &mut Vec<FieldError>) {
    if let Some(clause) = schema.schema("not") {
        nested_complete(clause, spine, at, &from.child("not"), errors);
    }
    for keyword in ["allOf", "anyOf", "oneOf"] {
        for (index, clause) in schema.schemas(keyword) {
            nested_complete(clause, spine, at, &from.child(keyword).index(index), errors);
        }
    }
}

fn nested_complete(clause: Props<'_>, spine: Option<Props<'_>>, at: &Path, from: &Path, errors: &mut Vec<FieldError>) {
    let Some(spine) = spine else {
        errors.push(FieldError::required(at, format!("because it is defined in {from}")));
        return;
    };
    values_complete(clause, Some(spine), at, from, errors);
    if let Some(items) = clause.schema("items") {
        nested_complete(
            items,
            spine.schema("items"),
            &at.child("items"),
            &from.child("items"),
            errors,
        );
    }
    for (name, property) in clause.named("properties") {
        let (at, from) = (at.child("properties").key(name), from.child("properties").key(name));
        nested_complete(property, spine.property(name), &at, &from, errors);
    }
}
