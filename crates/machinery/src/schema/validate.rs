//! Value validation in kube-openapi's order and words.
//!
//! Each node yields a [`Outcome`]: its problems and how many checks matched, which is how upstream picks the branch of an
//! `anyOf` or `oneOf` whose problems it reports. Upstream walks properties in random order; here it is by name.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::correlate::{self, Old};
use super::format::Format;
use super::number;
use super::structural::{Additional, Kind, Schema, Values};
use super::text::go_number;
use crate::field::{FieldError, FieldErrorKind, Path, render};
use crate::text::quote;

/// So many messages are looked through, more are looked up: most objects have no problem, hostile ones a million.
const FEW: usize = 16;

/// What a node's validation found.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Each message once.
    problems: Vec<Problem>,
    /// Their messages, once there are more than a few.
    seen: BTreeSet<String>,
    matches: usize,
}

/// A problem before it is put under a base path.
#[derive(Debug, PartialEq)]
pub(super) struct Problem {
    /// Dotted path below the validated value; `None` for problems without a place (upstream's composite errors).
    name: Option<String>,
    kind: FieldErrorKind,
    bad_value: Option<String>,
    /// Upstream's message: two problems of the same message are one.
    message: String,
    /// What a field error of the kind prints as its detail, if not the message.
    detail: Option<String>,
}

/// Where a value is, and what it was before.
#[derive(Clone, Copy)]
struct Place<'a> {
    path: &'a str,
    old: Option<Old<'a>>,
}

/// Validates a value against a schema. With an old value, problems inside parts that did not change are let pass
/// (ratcheting), as far as the parts can be correlated.
pub fn validate_value(value: &Value, old: Option<&Value>, schema: &Schema, path: &Path) -> Vec<FieldError> {
    let place = Place {
        path: "",
        old: old.map(|value| Old {
            value,
            root: path.as_str().is_empty(),
        }),
    };
    validate_node(value, schema, place)
        .problems
        .into_iter()
        .map(|problem| problem.at(path))
        .collect()
}

// === impl Outcome ===

impl Outcome {
    fn problem(problem: Problem) -> Self {
        Self {
            problems: vec![problem],
            ..Self::default()
        }
    }

    fn is_valid(&self) -> bool {
        self.problems.is_empty()
    }

    fn add(&mut self, problem: Problem) {
        let is_new = if self.problems.len() < FEW {
            !self.problems.iter().any(|have| have.message == problem.message)
        } else {
            if self.seen.is_empty() {
                self.seen = self.problems.iter().map(|have| have.message.clone()).collect();
            }
            self.seen.insert(problem.message.clone())
        };
        if is_new {
            self.problems.push(problem);
        }
    }

    fn merge(&mut self, other: Self) {
        self.matches += other.matches;
        if self.problems.is_empty() {
            (self.problems, self.seen) = (other.problems, other.seen);
            return;
        }
        other.problems.into_iter().for_each(|problem| self.add(problem));
    }
}

// === impl Problem ===

impl Problem {
    pub(super) fn new(kind: FieldErrorKind, path: &str, bad_value: Option<String>, message: String) -> Self {
        Self {
            name: Some(path.to_owned()),
            kind,
            bad_value,
            message,
            detail: None,
        }
    }

    pub(super) fn invalid(path: &str, value: &Value, message: String) -> Self {
        Self::new(FieldErrorKind::Invalid, path, Some(go_render(value)), message)
    }

    /// `want` is a type or format; `got` what the value is, or the value itself.
    fn wrong_type(path: &str, want: &str, got: &str) -> Self {
        let quoted = quote(got);
        let message = format!("{path} in body must be of type {want}: {quoted}");
        Self::new(FieldErrorKind::TypeInvalid, path, Some(quoted), message)
    }

    /// A problem that upstream reports without place and value.
    pub(super) fn composite(message: String) -> Self {
        Self {
            name: None,
            kind: FieldErrorKind::Invalid,
            bad_value: Some("\"\"".to_owned()),
            message,
            detail: None,
        }
    }

    fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    fn at(self, base: &Path) -> FieldError {
        let field = match self.name.as_deref().map(|name| name.strip_prefix('.').unwrap_or(name)) {
            None | Some("") => base.clone(),
            Some(name) => base.child(name),
        };
        FieldError::new(self.kind, &field, self.bad_value, self.detail.unwrap_or(self.message))
    }
}

/// A bad value as it is printed; numbers as Go holds them.
pub(super) fn go_render(value: &Value) -> String {
    match value {
        Value::Number(_) => go_number(value),
        Value::String(text) => quote(text),
        other => render(other),
    }
}

// === validation ===

fn validate_node(value: &Value, schema: &Schema, place: Place<'_>) -> Outcome {
    let outcome = validate_plain(value, schema, place);
    match place.old {
        Some(old) if !outcome.is_valid() && correlate::unchanged(value, old.value, schema) => Outcome::default(),
        _ => outcome,
    }
}

/// The checks of a node without ratcheting of the node itself.
fn validate_plain(value: &Value, schema: &Schema, place: Place<'_>) -> Outcome {
    let empty = Values::default();
    let values = schema.values.as_deref().unwrap_or(&empty);
    let mut out = Outcome::default();
    if let Some(problem) = wrong_type(value, schema, values, place.path) {
        out.add(problem);
    } else {
        out.matches += 1;
    }
    if value.is_null() {
        out.merge(allowed(value, values, place.path));
        return out;
    }
    out.merge(clauses(value, values, place));
    out.matches += 2;
    match value {
        Value::String(text) => out.merge(string(text, values, place.path)),
        Value::Number(_) => {
            number::check(value, values, schema, place.path)
                .into_iter()
                .for_each(|problem| out.add(problem));
            out.matches += 2;
        }
        Value::Array(items) => out.merge(array(items, schema, values, place)),
        _ => {}
    }
    out.merge(allowed(value, values, place.path));
    out.matches += 1;
    if let Value::Object(members) = value {
        out.merge(object(members, schema, values, place));
        out.matches += 1;
    }
    out.matches += 1;
    out
}

/// The JSON type of a value in the words of the schema language, and its format.
fn type_of(value: &Value) -> (Kind, &'static str) {
    match value {
        Value::Null => (Kind::Unset, ""),
        Value::Bool(_) => (Kind::Boolean, ""),
        Value::Number(number) if number.is_i64() => (Kind::Integer, "int64"),
        Value::Number(_) => (Kind::Number, "float64"),
        Value::String(_) => (Kind::String, ""),
        Value::Array(_) => (Kind::Array, ""),
        Value::Object(_) => (Kind::Object, ""),
    }
}

fn wrong_type(value: &Value, schema: &Schema, values: &Values, path: &str) -> Option<Problem> {
    let wanted: &[Kind] = match (schema.int_or_string, &schema.kind) {
        (true, _) => &[Kind::Integer, Kind::String],
        (false, Kind::Unset) => &[],
        (false, kind) => std::slice::from_ref(kind),
    };
    let names = || wanted.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(",");
    if value.is_null() {
        let wrong = !wanted.is_empty() && !schema.nullable;
        return wrong.then(|| Problem::wrong_type(path, &names(), "null"));
    }
    let (kind, format) = type_of(value);
    let integral = kind == Kind::Number && value.as_f64().is_some_and(number::is_integral);
    let fits = wanted.contains(&kind)
        || (integral && wanted.contains(&Kind::Integer))
        || (kind == Kind::Integer && wanted.contains(&Kind::Number));
    let wanted_format = values.format.map(Format::name);
    match wanted_format {
        _ if fits => None,
        Some(wanted_format) if !matches!(kind, Kind::String | Kind::Array) => {
            Some(Problem::wrong_type(path, wanted_format, format))
        }
        None if wanted.is_empty() => None,
        Some(_) if wanted.is_empty() => None,
        _ => Some(Problem::wrong_type(path, &names(), kind.name())),
    }
}

fn allowed(value: &Value, values: &Values, path: &str) -> Outcome {
    if values.allowed.is_empty() || values.allowed.iter().any(|allowed| same(value, allowed)) {
        return Outcome::default();
    }
    let texts: Vec<String> = values
        .allowed
        .iter()
        .map(|allowed| quote(&allowed.as_str().map_or_else(|| allowed.to_string(), str::to_owned)))
        .collect();
    let message = format!("{path} in body should be one of {}", texts.join(" "));
    let problem = Problem::new(FieldErrorKind::NotSupported, path, Some(go_render(value)), message);
    Outcome::problem(problem.detail(format!("supported values: {}", texts.join(", "))))
}

/// Equality that takes 1 and 1.0 as one.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        _ => a == b,
    }
}

fn string(text: &str, values: &Values, path: &str) -> Outcome {
    let mut out = Outcome::default();
    if let Some(problem) = string_problem(text, values, path) {
        out.add(problem);
    }
    if let Some(format) = values.format.filter(|format| !format.accepts(text)) {
        out.add(Problem::wrong_type(path, format.name(), text));
    }
    out.matches += 1 + usize::from(values.format.is_some());
    out
}

/// The first of maxLength, minLength and pattern that fails.
fn string_problem(text: &str, values: &Values, path: &str) -> Option<Problem> {
    let bad = || Some(quote(text));
    let bounded = values.max_length.is_some() || values.min_length.is_some();
    let length = if bounded { text.chars().count() as u64 } else { 0 };
    if let Some(max) = values.max_length.filter(|max| length > *max) {
        let message = format!("{path} in body should be at most {max} chars long");
        let unit = if max == 1 { "byte" } else { "bytes" };
        let problem = Problem::new(
            FieldErrorKind::TooLong,
            path,
            Some("<value omitted>".to_owned()),
            message,
        );
        return Some(
            Problem {
                bad_value: None,
                ..problem
            }
            .detail(format!("may not be more than {max} {unit}")),
        );
    }
    if let Some(min) = values.min_length.filter(|min| length < *min) {
        let message = format!("{path} in body should be at least {min} chars long");
        return Some(Problem::new(FieldErrorKind::Invalid, path, bad(), message));
    }
    let pattern = values.pattern.as_deref()?;
    let message = match pattern.is_match(text) {
        Ok(true) => return None,
        Ok(false) => format!("{path} in body should match '{}'", pattern.source()),
        Err(error) => format!(
            "{path} in body should match '{}, but pattern is invalid: {error}'",
            pattern.source()
        ),
    };
    Some(Problem::new(FieldErrorKind::Invalid, path, bad(), message))
}

fn too_many(path: &str, actual: usize, max: u64, noun: &str) -> Problem {
    let message = format!("{path} in body should have at most {max} {noun}");
    let unit = if max == 1 { "item" } else { "items" };
    let problem = Problem::new(FieldErrorKind::TooMany, path, Some(actual.to_string()), message);
    problem.detail(format!("must have at most {max} {unit}"))
}

fn too_few(path: &str, actual: usize, min: u64, noun: &str) -> Problem {
    let message = format!("{path} in body should have at least {min} {noun}");
    Problem::new(FieldErrorKind::Invalid, path, Some(actual.to_string()), message)
}

fn array(items: &[Value], schema: &Schema, values: &Values, place: Place<'_>) -> Outcome {
    let mut out = Outcome::default();
    if let Some(item_schema) = schema.items.as_deref() {
        let olds = place.old.and_then(|old| old.items(schema));
        for (index, item) in items.iter().enumerate() {
            let path = format!("{}[{index}]", place.path);
            let old = olds
                .as_ref()
                .and_then(|olds| olds.get(item))
                .map(|value| Old { value, root: false });
            out.merge(validate_node(item, item_schema, Place { path: &path, old }));
        }
    }
    if let Some(min) = values.min_items.filter(|min| (items.len() as u64) < *min) {
        out.add(too_few(place.path, items.len(), min, "items"));
    }
    if let Some(max) = values.max_items.filter(|max| items.len() as u64 > *max) {
        out.add(too_many(place.path, items.len(), max, "items"));
    }
    if values.unique_items && has_duplicates(items) {
        let message = format!("{} in body shouldn't contain duplicates", place.path);
        out.add(Problem::new(
            FieldErrorKind::Invalid,
            place.path,
            Some("\"\"".to_owned()),
            message,
        ));
    }
    out.matches += 2;
    out
}

fn has_duplicates(items: &[Value]) -> bool {
    let mut seen = std::collections::BTreeSet::new();
    items.iter().any(|item| !seen.insert(item.to_string()))
}

fn object(members: &Map<String, Value>, schema: &Schema, values: &Values, place: Place<'_>) -> Outcome {
    let mut out = Outcome::default();
    let path = place.path;
    if let Some(min) = values.min_properties.filter(|min| (members.len() as u64) < *min) {
        out.add(too_few(path, members.len(), min, "properties"));
    }
    if let Some(max) = values.max_properties.filter(|max| members.len() as u64 > *max) {
        out.add(too_many(path, members.len(), max, "properties"));
    }
    for (name, value) in members {
        if schema.property(name).is_some() {
            continue;
        }
        match &schema.additional {
            Additional::Allowed(false) => {
                let message = format!("{path}.{name} in body is a forbidden property");
                out.add(Problem::new(FieldErrorKind::Invalid, path, Some(quote(name)), message));
            }
            Additional::Schema(additional) => {
                let child = format!("{path}.{name}");
                let old = place.old.and_then(|old| old.member(name));
                out.merge(validate_node(value, additional, Place { path: &child, old }));
            }
            Additional::Absent | Additional::Allowed(true) => {}
        }
    }
    for (name, value) in members {
        if let Some(property) = schema.property(name) {
            let child = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            let old = place.old.and_then(|old| old.member(name));
            out.merge(validate_node(value, property, Place { path: &child, old }));
        }
    }
    for name in values.required.iter().filter(|name| !members.contains_key(&***name)) {
        let child = format!("{path}.{name}");
        let message = format!("{child} in body is required");
        out.add(Problem::new(FieldErrorKind::Required, &child, None, message).detail(""));
    }
    out
}

/// `anyOf`, `oneOf`, `allOf` and `not`. Of failed alternatives the one with the most matching checks is reported.
fn clauses(value: &Value, values: &Values, place: Place<'_>) -> Outcome {
    let mut out = Outcome::default();
    let quoted = || quote(place.path);
    if !values.any_of.is_empty() {
        any_of(value, values, place, &mut out);
    }
    if !values.one_of.is_empty() {
        one_of(value, values, place, &mut out);
    }
    if !values.all_of.is_empty() {
        let results: Vec<Outcome> = values
            .all_of
            .iter()
            .map(|clause| validate_plain(value, clause, place))
            .collect();
        let valid = results.iter().filter(|result| result.is_valid()).count();
        results.into_iter().for_each(|result| out.merge(result));
        if valid != values.all_of.len() {
            let none = if valid == 0 { ". None validated" } else { "" };
            out.add(Problem::composite(format!(
                "{} must validate all the schemas (allOf){none}",
                quoted()
            )));
        }
    }
    if values
        .not
        .as_ref()
        .is_some_and(|clause| validate_plain(value, clause, place).is_valid())
    {
        out.add(Problem::composite(format!(
            "{} must not validate the schema (not)",
            quoted()
        )));
    }
    out.matches += 1;
    out
}

fn any_of(value: &Value, values: &Values, place: Place<'_>, out: &mut Outcome) {
    let mut best: Option<Outcome> = None;
    for clause in &values.any_of {
        let result = validate_plain(value, clause, place);
        if result.is_valid() {
            out.merge(result);
            return;
        }
        if best.as_ref().is_none_or(|best| result.matches > best.matches) {
            best = Some(result);
        }
    }
    out.add(Problem::composite(format!(
        "{} must validate at least one schema (anyOf)",
        quote(place.path)
    )));
    if let Some(best) = best {
        out.merge(best);
    }
}

fn one_of(value: &Value, values: &Values, place: Place<'_>, out: &mut Outcome) {
    let mut best: Option<Outcome> = None;
    let mut first: Option<Outcome> = None;
    let mut valid = 0;
    for clause in &values.one_of {
        let result = validate_plain(value, clause, place);
        if result.is_valid() {
            valid += 1;
            best = None;
            first.get_or_insert(result);
        } else if valid == 0 && best.as_ref().is_none_or(|best| result.matches > best.matches) {
            best = Some(result);
        }
    }
    if valid == 1 {
        out.merge(first.unwrap_or_default());
        return;
    }
    let found = if valid == 0 {
        "Found none valid".to_owned()
    } else {
        format!("Found {valid} valid alternatives")
    };
    let quoted = quote(place.path);
    out.add(Problem::composite(format!(
        "{quoted} must validate one and only one schema (oneOf). {found}"
    )));
    if let Some(best) = best {
        out.merge(best);
    }
}

#[cfg(test)]
mod tests;
