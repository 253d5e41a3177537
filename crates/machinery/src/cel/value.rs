//! Values of CEL while an expression runs. Parts of the object under validation are looked at in place; nothing is
//! converted that is not asked for.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value as Json;

use super::foreign::Foreign;
use super::types::{METADATA, TEXT};
use super::{Failure, time};
use crate::schema::correlate::OldItems;
use crate::schema::format::Format;
use crate::schema::structural::{Kind, ListType, Schema};

/// Bytes of text that are compared in one unit of work.
const TEXT_UNIT: u64 = 64;
/// Bytes that are printed or joined in one unit of work.
const PRINTED_UNIT: u64 = 5;
/// What a number that is not written out is taken for in print.
const SCALAR_LEN: u64 = 8;
const DOUBLE_LEN: u64 = 64;

/// A value. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Text<'a>),
    Bytes(Rc<[u8]>),
    /// In nanoseconds.
    Duration(i64),
    Timestamp(Timestamp),
    /// An object or array of the validated tree.
    Part(Part<'a>),
    List(Rc<[Val<'a>]>),
    Map(Rc<BTreeMap<Key, Val<'a>>>),
    /// A type, by its name.
    Type(&'static str),
    Optional(Option<Rc<Val<'a>>>),
    /// Values of Kubernetes' libraries.
    Foreign(Rc<Foreign>),
}

/// Text of the object, or made on the way.
#[derive(Clone, Debug)]
pub enum Text<'a> {
    Borrowed(&'a str),
    Owned(Rc<str>),
}

/// An object or array in place, with the schema that gives its members their types.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    pub json: &'a Json,
    pub schema: Option<&'a Schema>,
    /// A whole object: `apiVersion`, `kind`, `metadata.name` and `metadata.generateName` are there without a schema.
    pub root: bool,
}

/// A key of a map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Bool(bool),
    Int(i64),
    Uint(u64),
    Text(Rc<str>),
}

// === impl Val ===

impl<'a> Val<'a> {
    /// A value of the tree as its schema types it. `root` says that it is a whole object.
    pub fn of(json: &'a Json, schema: Option<&'a Schema>, root: bool) -> Result<Self, Failure> {
        Ok(match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match (number.as_i64(), schema.map(|schema| schema.kind)) {
                (Some(value), Some(Kind::Number)) => Self::Double(value as f64),
                (Some(value), _) => Self::Int(value),
                (None, Some(Kind::Integer)) => Self::Int(number.as_f64().unwrap_or_default() as i64),
                (None, _) => Self::Double(number.as_f64().unwrap_or_default()),
            },
            Json::String(text) => return Self::of_text(text, schema),
            Json::Array(_) | Json::Object(_) => {
                let root = root || schema.is_some_and(|schema| schema.embedded);
                Self::Part(Part { json, schema, root })
            }
        })
    }

    fn of_text(text: &'a str, schema: Option<&'a Schema>) -> Result<Self, Failure> {
        let format = schema.filter(|schema| !schema.int_or_string).and_then(Schema::format);
        let invalid = |what: &str| Failure::error(format!("Invalid {what} {text:?}"));
        Ok(match format {
            Some(Format::Byte) => Self::bytes(STANDARD.decode(text).map_err(|_| invalid("byte format string"))?),
            Some(Format::Duration) => {
                Self::Duration(time::parse_loose_duration(text).ok_or_else(|| invalid("duration"))?)
            }
            Some(Format::DateTime) => {
                Self::Timestamp(time::parse_timestamp(text).ok_or_else(|| invalid("date-time formatted string"))?)
            }
            Some(Format::Date) => {
                let date = time::parse_date(text).ok_or_else(|| invalid("date formatted string"))?;
                let midnight = date
                    .to_zoned(jiff::tz::TimeZone::UTC)
                    .map_err(|_| invalid("date formatted string"))?;
                Self::Timestamp(midnight.timestamp())
            }
            _ => Self::Text(Text::Borrowed(text)),
        })
    }

    pub fn text(text: impl Into<Rc<str>>) -> Self {
        Self::Text(Text::Owned(text.into()))
    }

    pub fn bytes(bytes: impl Into<Rc<[u8]>>) -> Self {
        Self::Bytes(bytes.into())
    }

    pub fn list(items: Vec<Val<'a>>) -> Self {
        Self::List(items.into())
    }

    pub fn some(value: Val<'a>) -> Self {
        Self::Optional(Some(Rc::new(value)))
    }

    pub fn foreign(value: Foreign) -> Self {
        Self::Foreign(Rc::new(value))
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.as_str()),
            _ => None,
        }
    }

    /// The name `type()` answers.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::Text(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::Timestamp(_) => "google.protobuf.Timestamp",
            Self::Part(part) if part.json.is_array() => "list",
            Self::Part(part) if part.schema.is_some_and(|s| !s.properties.is_empty()) => "object",
            Self::Part(_) | Self::Map(_) => "map",
            Self::List(_) => "list",
            Self::Type(_) => "type",
            Self::Optional(_) => "optional_type",
            Self::Foreign(value) => value.type_name(),
        }
    }

    /// Number of characters, bytes, items or members.
    pub fn size(&self) -> Option<usize> {
        Some(match self {
            Self::Text(text) => text.as_str().chars().count(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(items) => items.len(),
            Self::Map(members) => members.len(),
            Self::Part(part) => part.len(),
            _ => return None,
        })
    }

    /// Work units of going through a value once.
    pub fn weight(&self) -> u64 {
        match self {
            Self::Text(text) => text.as_str().len() as u64,
            other => other.size().unwrap_or(1) as u64,
        }
    }

    /// Work units of going through a value and all that is in it, counted up to `max`. Comparing shared lists of shared
    /// lists would else take exponential time for little cost.
    pub fn deep_weight(&self, max: u64) -> u64 {
        let sum = |items: &mut dyn Iterator<Item = &Val<'a>>| {
            let mut total = 1_u64;
            for item in items {
                if total >= max {
                    break;
                }
                total = total.saturating_add(item.deep_weight(max - total));
            }
            total
        };
        match self {
            Self::List(items) => sum(&mut items.iter()),
            Self::Map(members) => sum(&mut members.values()),
            Self::Optional(Some(inner)) => inner.deep_weight(max),
            Self::Part(part) => json_weight(part.json, max),
            Self::Text(_) | Self::Bytes(_) => 1 + self.weight() / TEXT_UNIT,
            _ => 1,
        }
    }

    /// How many bytes of text a value is about, counted up to `max` units of work: what printing or joining it makes.
    pub fn printed_len(&self, max: u64) -> u64 {
        let bytes_max = max.saturating_mul(PRINTED_UNIT);
        let sum = |items: &mut dyn Iterator<Item = u64>| {
            let mut total = 0_u64;
            items
                .take_while(|item| {
                    total = total.saturating_add(*item);
                    total < bytes_max
                })
                .for_each(drop);
            total
        };
        match self {
            Self::Text(_) | Self::Bytes(_) => self.weight(),
            Self::List(items) => sum(&mut items.iter().map(|item| item.printed_len(max))),
            Self::Map(members) => sum(&mut members.iter().map(|(key, value)| {
                let key = match key {
                    Key::Text(text) => text.len() as u64,
                    _ => SCALAR_LEN,
                };
                key.saturating_add(value.printed_len(max))
            })),
            Self::Optional(Some(inner)) => inner.printed_len(max),
            Self::Part(part) => json_len(part.json),
            Self::Double(_) => DOUBLE_LEN,
            _ => SCALAR_LEN,
        }
    }

    /// Whether it has parts.
    pub fn is_composite(&self) -> bool {
        matches!(
            self,
            Self::List(_) | Self::Map(_) | Self::Part(_) | Self::Optional(Some(_))
        )
    }

    /// An item of a list.
    pub fn nth(&self, at: usize) -> Option<Result<Val<'a>, Failure>> {
        match self {
            Self::List(items) => items.get(at).cloned().map(Ok),
            Self::Part(part) => part.item(at),
            _ => None,
        }
    }

    pub fn is_list(&self) -> bool {
        matches!(self, Self::List(_)) || matches!(self, Self::Part(part) if part.json.is_array())
    }

    pub fn is_map(&self) -> bool {
        matches!(self, Self::Map(_)) || matches!(self, Self::Part(part) if part.json.is_object())
    }

    /// The items of a list.
    pub fn items(&self) -> Result<Vec<Val<'a>>, Failure> {
        match self {
            Self::List(items) => Ok(items.to_vec()),
            Self::Part(part) => part.items(),
            _ => Err(Failure::no_overload()),
        }
    }

    /// The keys of a map, or `None` if it is none.
    pub fn keys(&self) -> Option<Vec<Val<'a>>> {
        match self {
            Self::Map(members) => Some(members.keys().map(Key::to_val).collect()),
            Self::Part(Part {
                json: Json::Object(members),
                ..
            }) => Some(members.keys().map(|key| Self::Text(Text::Borrowed(key))).collect()),
            _ => None,
        }
    }

    /// A member by its key; the inner `None` means that it is absent.
    pub fn member(&self, key: &Val<'a>) -> Option<Result<Val<'a>, Failure>> {
        match self {
            Self::Map(members) => members.get(&Key::of(key)?).cloned().map(Ok),
            Self::Part(part) => part.member(key.as_str()?),
            _ => None,
        }
    }

    /// Equality as CEL has it: numbers across types, values of different types are unequal.
    pub fn equals(&self, other: &Val<'a>) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a.as_str() == b.as_str(),
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Duration(a), Self::Duration(b)) => a == b,
            (Self::Timestamp(a), Self::Timestamp(b)) => a == b,
            (Self::Type(a), Self::Type(b)) => a == b,
            (Self::Optional(a), Self::Optional(b)) => match (a, b) {
                (Some(a), Some(b)) => a.equals(b),
                (a, b) => a.is_none() && b.is_none(),
            },
            (Self::Foreign(a), Self::Foreign(b)) => a.equals(b),
            (Self::Part(a), Self::Part(b)) => a.equals(b),
            (a, b) if a.is_list() && b.is_list() => match (a.items(), b.items()) {
                (Ok(a), Ok(b)) => a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.equals(b)),
                _ => false,
            },
            (a, b) if a.is_map() && b.is_map() => maps_equal(a, b),
            (a, b) => a.compare(b) == Some(Ordering::Equal),
        }
    }

    /// The order of two values; none if they have none.
    pub fn compare(&self, other: &Val<'a>) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Text(a), Self::Text(b)) => Some(a.as_str().cmp(b.as_str())),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            (Self::Duration(a), Self::Duration(b)) => Some(a.cmp(b)),
            (Self::Timestamp(a), Self::Timestamp(b)) => Some(a.cmp(b)),
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(b)),
            (Self::Uint(a), Self::Uint(b)) => Some(a.cmp(b)),
            (Self::Int(a), Self::Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Self::Uint(a), Self::Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Self::Double(a), b) => a.partial_cmp(&b.number()?),
            (a, Val::Double(b)) => a.number()?.partial_cmp(b),
            _ => None,
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Self::Int(value) => Some(*value as f64),
            Self::Uint(value) => Some(*value as f64),
            Self::Double(value) => Some(*value),
            _ => None,
        }
    }
}

fn maps_equal<'a>(a: &Val<'a>, b: &Val<'a>) -> bool {
    let (Some(keys), true) = (a.keys(), a.size() == b.size()) else {
        return false;
    };
    keys.iter().all(|key| match (a.member(key), b.member(key)) {
        (Some(Ok(a)), Some(Ok(b))) => a.equals(&b),
        _ => false,
    })
}

// === impl Text ===

impl Text<'_> {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Owned(text) => text,
        }
    }
}

// === impl Key ===

impl Key {
    /// A value as a key; doubles count when they are integral.
    pub fn of(value: &Val<'_>) -> Option<Self> {
        Some(match value {
            Val::Bool(value) => Self::Bool(*value),
            Val::Int(value) => Self::Int(*value),
            Val::Uint(value) => i64::try_from(*value).map_or(Self::Uint(*value), Self::Int),
            Val::Double(value) if value.fract() == 0.0 && value.abs() < 9e18 => Self::Int(*value as i64),
            Val::Text(Text::Owned(text)) => Self::Text(Rc::clone(text)),
            Val::Text(Text::Borrowed(text)) => Self::Text((*text).into()),
            _ => return None,
        })
    }

    pub fn to_val<'a>(&self) -> Val<'a> {
        match self {
            Self::Bool(value) => Val::Bool(*value),
            Self::Int(value) => Val::Int(*value),
            Self::Uint(value) => Val::Uint(*value),
            Self::Text(text) => Val::Text(Text::Owned(Rc::clone(text))),
        }
    }
}

// === impl Part ===

impl<'a> Part<'a> {
    fn len(&self) -> usize {
        match self.json {
            Json::Array(items) => items.len(),
            Json::Object(members) => members.len(),
            _ => 0,
        }
    }

    pub fn items(&self) -> Result<Vec<Val<'a>>, Failure> {
        let Json::Array(items) = self.json else {
            return Err(Failure::no_overload());
        };
        let schema = self.schema.and_then(|schema| schema.items.as_deref());
        items.iter().map(|item| Val::of(item, schema, false)).collect()
    }

    pub fn item(&self, index: usize) -> Option<Result<Val<'a>, Failure>> {
        let schema = self.schema.and_then(|schema| schema.items.as_deref());
        Some(Val::of(self.json.as_array()?.get(index)?, schema, false))
    }

    /// A member by its unescaped name. Unknown members of an object with a schema are not seen.
    pub fn member(&self, name: &str) -> Option<Result<Val<'a>, Failure>> {
        let json = self.json.as_object()?.get(name)?;
        let Some(schema) = self.schema else {
            return Some(Val::of(json, None, false));
        };
        let member = schema.member(name).map(|member| &**member);
        let member = match (member, name, self.root) {
            (_, "apiVersion" | "kind", true) => Some(&*TEXT),
            (_, "metadata", true) => Some(&*METADATA),
            (None, ..) => return None,
            (some, ..) => some,
        };
        Some(Val::of(json, member, false))
    }

    /// Sets compare without order, map lists by key.
    fn equals(&self, other: &Part<'a>) -> bool {
        match (self.json, other.json, self.schema) {
            (Json::Array(a), Json::Array(b), Some(schema)) if schema.has_keyed_lists => match &schema.list {
                ListType::Atomic => parts_equal(self, other),
                ListType::Set => {
                    let texts = |items: &[Json]| items.iter().map(Json::to_string).collect::<BTreeSet<_>>();
                    a.len() == b.len() && texts(a) == texts(b)
                }
                ListType::Map(_) => {
                    let Some(olds) = OldItems::new(b, schema) else {
                        return json_equal(self.json, other.json);
                    };
                    let schema = schema.items.as_deref();
                    let part = |json| Part {
                        json,
                        schema,
                        root: false,
                    };
                    let same = |item: &'a Json| olds.get(item).is_some_and(|before| part(item).equals(&part(before)));
                    a.len() == b.len() && a.iter().all(same)
                }
            },
            (Json::Object(a), Json::Object(b), Some(schema)) if schema.has_keyed_lists => {
                a.len() == b.len()
                    && a.iter().all(|(name, value)| {
                        let schema = schema.member(name).map(|member| &**member);
                        let part = |json| Part {
                            json,
                            schema,
                            root: false,
                        };
                        b.get(name).is_some_and(|other| part(value).equals(&part(other)))
                    })
            }
            (a, b, _) => json_equal(a, b),
        }
    }
}

fn json_len(json: &Json) -> u64 {
    match json {
        Json::Array(items) => items.iter().map(json_len).sum(),
        Json::Object(members) => members
            .iter()
            .map(|(key, value)| key.len() as u64 + json_len(value))
            .sum(),
        Json::String(text) => text.len() as u64,
        _ => SCALAR_LEN,
    }
}

fn json_weight(json: &Json, max: u64) -> u64 {
    let sum = |items: &mut dyn Iterator<Item = &Json>| {
        let mut total = 1_u64;
        for item in items {
            if total >= max {
                break;
            }
            total += json_weight(item, max - total);
        }
        total
    };
    match json {
        Json::Array(items) => sum(&mut items.iter()),
        Json::Object(members) => sum(&mut members.values()),
        Json::String(text) => 1 + text.len() as u64 / TEXT_UNIT,
        _ => 1,
    }
}

fn parts_equal<'a>(a: &Part<'a>, b: &Part<'a>) -> bool {
    match (a.items(), b.items()) {
        (Ok(a), Ok(b)) => a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.equals(b)),
        _ => false,
    }
}

/// Deep equality that takes 1 and 1.0 as one.
fn json_equal(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(x), Json::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        (Json::Array(x), Json::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| json_equal(x, y)),
        (Json::Object(x), Json::Object(y)) => {
            x.len() == y.len()
                && x.iter()
                    .all(|(name, value)| y.get(name).is_some_and(|other| json_equal(value, other)))
        }
        _ => a == b,
    }
}
