//! The parsed form of an `openAPIV3Schema`: small nodes behind `Arc`, alike nodes shared.
//!
//! Parsing never fails: what is malformed reads as absent, as [`super::check`] has already refused it where a schema enters
//! the system. Descriptions, titles, examples and external docs are not kept; publishing works on the JSON itself
//! (see [`super::openapi`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::format::Format;
use super::pattern::Pattern;

/// A shared name: property names repeat all over hundreds of schemas.
pub type Name = Arc<str>;

/// The `type` keyword.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// No `type`: anything goes (or `x-kubernetes-int-or-string` decides).
    #[default]
    Unset,
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

/// `additionalProperties`.
#[derive(Clone, Debug, Default)]
pub enum Additional {
    #[default]
    Absent,
    /// The boolean form.
    Allowed(bool),
    Schema(Arc<Schema>),
}

/// `x-kubernetes-list-type`; absent is atomic, but is kept apart from a stated `atomic` nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    #[default]
    Atomic,
    Set,
    /// With `x-kubernetes-list-map-keys`.
    Map(Box<[Name]>),
}

/// One node of a schema.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    pub kind: Kind,
    pub nullable: bool,
    /// `x-kubernetes-int-or-string`.
    pub int_or_string: bool,
    /// `x-kubernetes-preserve-unknown-fields`.
    pub preserve: bool,
    /// `x-kubernetes-embedded-resource`.
    pub embedded: bool,
    /// `x-kubernetes-map-type: atomic`.
    pub map_atomic: bool,
    /// Something below (or here) has a default.
    pub has_defaults: bool,
    /// Something below (or here) is a list of type set or map.
    pub has_keyed_lists: bool,
    /// Something below (or here) has validation rules.
    pub has_rules: bool,
    /// Something below (or here) is an embedded resource.
    pub has_embedded: bool,
    pub list: ListType,
    /// Sorted by name.
    pub properties: Box<[(Name, Arc<Schema>)]>,
    pub items: Option<Arc<Schema>>,
    pub additional: Additional,
    pub default: Option<Box<Value>>,
    pub values: Option<Box<Values>>,
    /// `x-kubernetes-validations`, as written.
    pub rules: Box<[RuleText]>,
}

/// The value validations of a node.
#[derive(Clone, Debug, Default)]
pub struct Values {
    pub format: Option<Format>,
    pub maximum: Option<f64>,
    pub minimum: Option<f64>,
    pub exclusive_maximum: bool,
    pub exclusive_minimum: bool,
    pub multiple_of: Option<f64>,
    /// In characters, as `min_length`.
    pub max_length: Option<u64>,
    pub min_length: Option<u64>,
    pub max_items: Option<u64>,
    pub min_items: Option<u64>,
    pub max_properties: Option<u64>,
    pub min_properties: Option<u64>,
    pub unique_items: bool,
    pub pattern: Option<Arc<Pattern>>,
    pub required: Box<[Name]>,
    pub allowed: Box<[Value]>,
    pub all_of: Box<[Arc<Schema>]>,
    pub any_of: Box<[Arc<Schema>]>,
    pub one_of: Box<[Arc<Schema>]>,
    pub not: Option<Arc<Schema>>,
}

/// One entry of `x-kubernetes-validations`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleText {
    pub rule: Box<str>,
    pub message: Option<Box<str>>,
    pub message_expression: Option<Box<str>>,
    pub reason: Option<Box<str>>,
    pub field_path: Option<Box<str>>,
    pub optional_old_self: Option<bool>,
}

/// Shares names, patterns and whole nodes among the schemas parsed with it. Holds what it shares until [`Pool::sweep`].
#[derive(Debug, Default)]
pub struct Pool {
    names: BTreeSet<Name>,
    patterns: BTreeMap<Box<str>, Arc<Pattern>>,
    /// By content; children are named by address, which is unique as long as the pool holds them.
    nodes: BTreeMap<Vec<u8>, Arc<Schema>>,
}

// === impl Schema ===

impl Schema {
    /// Parses with a pool of its own: nodes alike within this schema are shared.
    pub fn parse(json: &Value) -> Arc<Self> {
        Pool::default().parse(json)
    }

    pub fn property(&self, name: &str) -> Option<&Arc<Schema>> {
        let index = self.properties.binary_search_by(|(have, _)| (**have).cmp(name)).ok()?;
        self.properties.get(index).map(|(_, schema)| schema)
    }

    /// The schema of `additionalProperties`, if it is one.
    pub fn additional_schema(&self) -> Option<&Arc<Schema>> {
        match &self.additional {
            Additional::Schema(schema) => Some(schema),
            Additional::Absent | Additional::Allowed(_) => None,
        }
    }

    /// The schema of a member: its property, else that of `additionalProperties`.
    pub fn member(&self, name: &str) -> Option<&Arc<Schema>> {
        self.property(name).or_else(|| self.additional_schema())
    }

    pub fn list_keys(&self) -> &[Name] {
        match &self.list {
            ListType::Map(keys) => keys,
            ListType::Atomic | ListType::Set => &[],
        }
    }

    pub fn max_length(&self) -> Option<u64> {
        self.values.as_ref()?.max_length
    }

    pub fn max_items(&self) -> Option<u64> {
        self.values.as_ref()?.max_items
    }

    pub fn max_properties(&self) -> Option<u64> {
        self.values.as_ref()?.max_properties
    }

    pub fn format(&self) -> Option<Format> {
        self.values.as_ref()?.format
    }

    fn children(&self) -> impl Iterator<Item = &Arc<Schema>> {
        self.properties
            .iter()
            .map(|(_, schema)| schema)
            .chain(self.items.iter())
            .chain(self.additional_schema())
    }

    fn summarize(&mut self) {
        let defaults = self.default.is_some() || self.children().any(|child| child.has_defaults);
        let keyed = self.list != ListType::Atomic || self.children().any(|child| child.has_keyed_lists);
        let rules = !self.rules.is_empty() || self.children().any(|child| child.has_rules);
        self.has_embedded = self.embedded || self.children().any(|child| child.has_embedded);
        self.has_defaults = defaults;
        self.has_keyed_lists = keyed;
        self.has_rules = rules;
    }

    /// The content as bytes, children by address.
    fn fingerprint(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        let bools = [
            self.nullable,
            self.int_or_string,
            self.preserve,
            self.embedded,
            self.map_atomic,
            matches!(self.additional, Additional::Allowed(true)),
            matches!(self.additional, Additional::Allowed(false)),
            self.list == ListType::Set,
        ];
        out.push(self.kind as u8);
        out.push(
            bools
                .iter()
                .enumerate()
                .fold(0, |bits, (index, set)| bits | (u8::from(*set) << index)),
        );
        for (name, schema) in &self.properties {
            put_text(&mut out, b'p', name);
            put_node(&mut out, b'=', schema);
        }
        for key in self.list_keys() {
            put_text(&mut out, b'k', key);
        }
        if let Some(items) = &self.items {
            put_node(&mut out, b'i', items);
        }
        if let Some(additional) = self.additional_schema() {
            put_node(&mut out, b'a', additional);
        }
        if let Some(default) = &self.default {
            put_text(&mut out, b'd', &default.to_string());
        }
        if let Some(values) = &self.values {
            values.fingerprint(&mut out);
        }
        if !self.rules.is_empty() {
            put_text(&mut out, b'r', &format!("{:?}", self.rules));
        }
        out
    }
}

// === impl Values ===

impl Values {
    fn is_empty(&self) -> bool {
        let numbers = self.maximum.is_none() && self.minimum.is_none() && self.multiple_of.is_none();
        let lengths = self.max_length.is_none() && self.min_length.is_none() && self.pattern.is_none();
        let sizes = self.max_items.is_none()
            && self.min_items.is_none()
            && self.max_properties.is_none()
            && self.min_properties.is_none()
            && !self.unique_items;
        let clauses = self.all_of.is_empty() && self.any_of.is_empty() && self.one_of.is_empty() && self.not.is_none();
        numbers
            && lengths
            && sizes
            && clauses
            && self.format.is_none()
            && self.required.is_empty()
            && self.allowed.is_empty()
    }

    fn fingerprint(&self, out: &mut Vec<u8>) {
        let numbers = [self.maximum, self.minimum, self.multiple_of].map(|n| n.map(f64::to_bits));
        let sizes = [
            self.max_length,
            self.min_length,
            self.max_items,
            self.min_items,
            self.max_properties,
            self.min_properties,
        ];
        let bools = (self.exclusive_maximum, self.exclusive_minimum, self.unique_items);
        put_text(out, b'v', &format!("{:?}{numbers:?}{sizes:?}{bools:?}", self.format));
        if let Some(pattern) = &self.pattern {
            put_text(out, b'm', pattern.source());
        }
        for name in &self.required {
            put_text(out, b'q', name);
        }
        for value in &self.allowed {
            put_text(out, b'e', &value.to_string());
        }
        for (tag, list) in [(b'A', &self.all_of), (b'O', &self.any_of), (b'X', &self.one_of)] {
            list.iter().for_each(|schema| put_node(out, tag, schema));
        }
        if let Some(not) = &self.not {
            put_node(out, b'N', not);
        }
    }
}

fn put_text(out: &mut Vec<u8>, tag: u8, text: &str) {
    out.push(tag);
    out.extend_from_slice(&text.len().to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_node(out: &mut Vec<u8>, tag: u8, node: &Arc<Schema>) {
    out.push(tag);
    out.extend_from_slice(&(Arc::as_ptr(node) as usize).to_le_bytes());
}

// === impl Pool ===

impl Pool {
    /// Parses a schema, sharing with all that was parsed before.
    pub fn parse(&mut self, json: &Value) -> Arc<Schema> {
        let empty = Map::new();
        let members = json.as_object().unwrap_or(&empty);
        let mut schema = Schema {
            kind: Kind::parse(text(members, "type")),
            nullable: flag(members, "nullable"),
            int_or_string: flag(members, "x-kubernetes-int-or-string"),
            preserve: flag(members, "x-kubernetes-preserve-unknown-fields"),
            embedded: flag(members, "x-kubernetes-embedded-resource"),
            map_atomic: text(members, "x-kubernetes-map-type") == "atomic",
            list: self.list_type(members),
            properties: self.properties(members),
            items: members
                .get("items")
                .filter(|items| items.is_object())
                .map(|items| self.parse(items)),
            additional: self.additional(members),
            default: members
                .get("default")
                .filter(|value| !value.is_null())
                .map(|value| Box::new(value.clone())),
            rules: rules(members),
            ..Schema::default()
        };
        let values = self.values(members, schema.kind, schema.int_or_string);
        schema.values = (!values.is_empty()).then(|| Box::new(values));
        schema.summarize();
        self.node(schema)
    }

    /// Forgets what nothing else holds any more. True if anything was forgotten: call again until it is false to free
    /// what was only held by it.
    pub fn sweep(&mut self) -> bool {
        let before = self.nodes.len() + self.patterns.len() + self.names.len();
        self.nodes.retain(|_, node| Arc::strong_count(node) > 1);
        self.patterns.retain(|_, pattern| Arc::strong_count(pattern) > 1);
        self.names.retain(|name| Arc::strong_count(name) > 1);
        self.nodes.len() + self.patterns.len() + self.names.len() < before
    }

    /// How many distinct nodes the pool holds.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    fn node(&mut self, schema: Schema) -> Arc<Schema> {
        let key = schema.fingerprint();
        Arc::clone(self.nodes.entry(key).or_insert_with(|| Arc::new(schema)))
    }

    fn name(&mut self, name: &str) -> Name {
        if let Some(have) = self.names.get(name) {
            return Arc::clone(have);
        }
        let fresh: Name = Arc::from(name);
        self.names.insert(Arc::clone(&fresh));
        fresh
    }

    fn pattern(&mut self, source: &str) -> Arc<Pattern> {
        let entry = self.patterns.entry(source.into());
        Arc::clone(entry.or_insert_with(|| Arc::new(Pattern::new(source))))
    }

    fn names(&mut self, members: &Map<String, Value>, key: &str) -> Box<[Name]> {
        let list = members.get(key).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(|name| self.name(name))
            .collect()
    }

    fn list_type(&mut self, members: &Map<String, Value>) -> ListType {
        match text(members, "x-kubernetes-list-type") {
            "set" => ListType::Set,
            "map" => ListType::Map(self.names(members, "x-kubernetes-list-map-keys")),
            _ => ListType::Atomic,
        }
    }

    fn properties(&mut self, members: &Map<String, Value>) -> Box<[(Name, Arc<Schema>)]> {
        let Some(map) = members.get("properties").and_then(Value::as_object) else {
            return Box::default();
        };
        let mut list: Vec<_> = map
            .iter()
            .map(|(name, schema)| (self.name(name), self.parse(schema)))
            .collect();
        list.sort_by(|a, b| a.0.cmp(&b.0));
        list.into()
    }

    fn additional(&mut self, members: &Map<String, Value>) -> Additional {
        match members.get("additionalProperties") {
            Some(Value::Bool(allowed)) => Additional::Allowed(*allowed),
            Some(schema @ Value::Object(_)) => Additional::Schema(self.parse(schema)),
            _ => Additional::Absent,
        }
    }

    fn clauses(&mut self, members: &Map<String, Value>, key: &str) -> Box<[Arc<Schema>]> {
        let list = members.get(key).and_then(Value::as_array);
        list.into_iter().flatten().map(|clause| self.parse(clause)).collect()
    }

    fn values(&mut self, members: &Map<String, Value>, kind: Kind, int_or_string: bool) -> Values {
        let pattern = text(members, "pattern");
        Values {
            format: Format::of(text(members, "format"), kind, int_or_string),
            maximum: members.get("maximum").and_then(Value::as_f64),
            minimum: members.get("minimum").and_then(Value::as_f64),
            exclusive_maximum: flag(members, "exclusiveMaximum"),
            exclusive_minimum: flag(members, "exclusiveMinimum"),
            multiple_of: members.get("multipleOf").and_then(Value::as_f64),
            max_length: size(members, "maxLength"),
            min_length: size(members, "minLength"),
            max_items: size(members, "maxItems"),
            min_items: size(members, "minItems"),
            max_properties: size(members, "maxProperties"),
            min_properties: size(members, "minProperties"),
            unique_items: flag(members, "uniqueItems"),
            pattern: (!pattern.is_empty()).then(|| self.pattern(pattern)),
            required: self.names(members, "required"),
            allowed: members
                .get("enum")
                .and_then(Value::as_array)
                .map(|list| list.as_slice().into())
                .unwrap_or_default(),
            all_of: self.clauses(members, "allOf"),
            any_of: self.clauses(members, "anyOf"),
            one_of: self.clauses(members, "oneOf"),
            not: members
                .get("not")
                .filter(|not| not.is_object())
                .map(|not| self.parse(not)),
        }
    }
}

// === impl Kind ===

impl Kind {
    pub fn parse(name: &str) -> Self {
        match name {
            "object" => Self::Object,
            "array" => Self::Array,
            "string" => Self::String,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            _ => Self::Unset,
        }
    }

    /// As in the `type` keyword; `""` if unset.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unset => "",
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

fn text<'a>(members: &'a Map<String, Value>, key: &str) -> &'a str {
    members.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn flag(members: &Map<String, Value>, key: &str) -> bool {
    members.get(key).and_then(Value::as_bool).unwrap_or_default()
}

/// A count. Negative limits can never bind upstream either way round; they read as zero.
fn size(members: &Map<String, Value>, key: &str) -> Option<u64> {
    let value = members.get(key)?;
    value
        .as_u64()
        .or_else(|| value.as_i64().map(|_| 0))
        .or_else(|| value.as_f64().map(|number| number.max(0.0) as u64))
}

fn rules(members: &Map<String, Value>) -> Box<[RuleText]> {
    let list = members.get("x-kubernetes-validations").and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_object)
        .map(rule)
        .collect()
}

fn rule(members: &Map<String, Value>) -> RuleText {
    let optional = |key: &str| match text(members, key) {
        "" => None,
        some => Some(some.into()),
    };
    RuleText {
        rule: text(members, "rule").into(),
        message: optional("message"),
        message_expression: optional("messageExpression"),
        reason: optional("reason"),
        field_path: optional("fieldPath"),
        optional_old_self: members.get("optionalOldSelf").and_then(Value::as_bool),
    }
}
