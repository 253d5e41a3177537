//! Messages to JSON, as Go would encode the value that it decodes from them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::descriptor::{Descriptors, Field, Message, Shape, Type};
use super::wire::{Broken, Wire, each};
use super::{DEPTH_MAX, VALUES_MAX};
use crate::json::{self, DecodeError};
use crate::time;

/// Decodes one body.
pub(super) struct Reader {
    descriptors: &'static Descriptors,
    /// How many more values may be made: an empty message of two bytes may have many members that are always written.
    values_left: usize,
}

type Result<T, E = DecodeError> = std::result::Result<T, E>;

const NANOS_PER_SECOND: i128 = 1_000_000_000;
/// The years 1 to 9999, which RFC 3339 has: in seconds since 1970.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

impl From<Broken> for DecodeError {
    fn from(_: Broken) -> Self {
        fail("the message is cut or broken")
    }
}

fn fail(why: impl Into<String>) -> DecodeError {
    DecodeError(format!("proto: {}", why.into()))
}

// === impl Reader ===

impl Reader {
    pub fn new(descriptors: &'static Descriptors) -> Self {
        Self {
            descriptors,
            values_left: VALUES_MAX,
        }
    }

    /// The JSON of a message; an object, unless the message is a union.
    pub fn message(&mut self, index: usize, bytes: &[u8], depth: usize) -> Result<Value> {
        if depth >= DEPTH_MAX {
            return Err(fail("exceeded max depth"));
        }
        let descriptors = self.descriptors;
        let Some(message) = descriptors.message(index) else {
            return Err(fail("no such message"));
        };
        // By field. Of those that are no lists and maps, the last wins.
        let mut slots: Vec<Option<Value>> = vec![None; message.fields.len()];
        each(bytes, |number, wire| {
            let mut known = message.fields.iter().zip(&mut slots);
            match known.find(|(field, _)| field.number == number) {
                Some((field, slot)) => self.put(field, slot, wire, depth),
                // Of a newer version: dropped, as Go does.
                None => Ok(()),
            }
        })?;
        if message.is_union {
            self.union(message, slots, depth)
        } else {
            self.object(message, slots, depth)
        }
    }

    fn object(&mut self, message: &Message, slots: Vec<Option<Value>>, depth: usize) -> Result<Value> {
        let mut object = Map::new();
        for (field, slot) in message.fields.iter().zip(slots) {
            let Some(value) = self.finished(field, slot, depth)? else {
                continue;
            };
            match value {
                Value::Object(members) if field.is_inline => object.extend(members),
                value => {
                    object.insert(field.name.to_owned(), value);
                }
            }
        }
        Ok(Value::Object(object))
    }

    fn union(&mut self, message: &Message, mut slots: Vec<Option<Value>>, depth: usize) -> Result<Value> {
        let set = slots.iter_mut().rev().find_map(Option::take);
        if let Some(value) = set {
            return Ok(value);
        }
        let first = message.fields.first().map(|field| self.finished(field, None, depth));
        Ok(first.transpose()?.flatten().unwrap_or_default())
    }

    /// Adds a value of the wire to what a field has.
    fn put(&mut self, field: &Field, slot: &mut Option<Value>, wire: Wire<'_>, depth: usize) -> Result<()> {
        match field.shape {
            Shape::One | Shape::Optional => *slot = Some(self.value(field.of, wire, depth)?),
            Shape::List => {
                let item = self.value(field.of, wire, depth)?;
                match slot {
                    Some(Value::Array(items)) => items.push(item),
                    _ => *slot = Some(Value::Array(vec![item])),
                }
            }
            Shape::Map => {
                let (key, value) = self.entry(field.of, wire, depth)?;
                match slot {
                    Some(Value::Object(members)) => {
                        members.insert(key, value);
                    }
                    _ => *slot = Some(Value::Object(Map::from_iter([(key, value)]))),
                }
            }
        }
        Ok(())
    }

    fn entry(&mut self, of: Type, wire: Wire<'_>, depth: usize) -> Result<(String, Value)> {
        let mut key = String::new();
        let mut value = None;
        each(bytes(wire)?, |number, wire| {
            match number {
                1 => key = text(wire)?,
                2 => value = Some(self.value(of, wire, depth)?),
                _ => {}
            }
            Ok::<_, DecodeError>(())
        })?;
        let value = match (value, of) {
            (Some(value), _) => value,
            // Go makes no difference between none and no bytes here.
            (None, Type::Bytes) => Value::String(String::new()),
            (None, of) => self.zero(of, depth)?,
        };
        Ok((key, value))
    }

    /// What a field is in JSON after all of the message was read; `None` if it is no member.
    fn finished(&mut self, field: &Field, slot: Option<Value>, depth: usize) -> Result<Option<Value>> {
        // The zero time is written as nothing, and read as null.
        let slot = slot.filter(|value| !(value.is_null() && matches!(field.of, Type::Time | Type::MicroTime)));
        let value = match (slot, field.shape) {
            (Some(value), Shape::One) => value,
            (Some(value), _) => return Ok(Some(value)),
            (None, Shape::One) => self.zero(field.of, depth)?,
            (None, _) => Value::Null,
        };
        let is_written = field.is_always_written || !is_empty(&value);
        Ok(is_written.then_some(value))
    }

    fn value(&mut self, of: Type, wire: Wire<'_>, depth: usize) -> Result<Value> {
        self.spend()?;
        Ok(match of {
            Type::String => text(wire)?.into(),
            Type::Bool => (varint(wire)? != 0).into(),
            Type::Int64 => varint(wire)?.cast_signed().into(),
            // Go keeps the low half, whatever the upper says.
            Type::Int32 => (varint(wire)?.cast_signed() as i32).into(),
            Type::Double => double(wire)?,
            Type::Bytes => STANDARD.encode(bytes(wire)?).into(),
            Type::Time => timestamp(bytes(wire)?, false)?,
            Type::MicroTime => timestamp(bytes(wire)?, true)?,
            Type::Duration => {
                let [nanos] = varints(bytes(wire)?)?;
                time::format_go_duration(nanos).into()
            }
            Type::IntOrString => int_or_string(bytes(wire)?)?,
            Type::Quantity => match member(bytes(wire)?, 1)? {
                Some(wire) => text(wire)?.into(),
                None => "0".into(),
            },
            Type::Raw => match member(bytes(wire)?, 1)? {
                Some(wire) if !bytes(wire)?.is_empty() => json::decode_value(bytes(wire)?)?,
                _ => Value::Null,
            },
            Type::Message(index) => self.message(index, bytes(wire)?, depth + 1)?,
        })
    }

    fn zero(&mut self, of: Type, depth: usize) -> Result<Value> {
        self.spend()?;
        Ok(match of {
            Type::String => "".into(),
            Type::Bool => false.into(),
            Type::Int32 | Type::Int64 | Type::Double | Type::IntOrString => 0.into(),
            Type::Bytes | Type::Time | Type::MicroTime | Type::Raw => Value::Null,
            Type::Duration => "0s".into(),
            Type::Quantity => "0".into(),
            Type::Message(index) => self.message(index, &[], depth + 1)?,
        })
    }

    fn spend(&mut self) -> Result<()> {
        let left = self.values_left.checked_sub(1);
        self.values_left = left.ok_or_else(|| fail("too many values"))?;
        Ok(())
    }
}

/// Go's `omitempty` of what is no pointer, list or map. Objects are never empty to it.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        _ => false,
    }
}

fn varint(wire: Wire<'_>) -> Result<u64> {
    match wire {
        Wire::Varint(value) => Ok(value),
        _ => Err(fail("wrong wireType")),
    }
}

fn bytes(wire: Wire<'_>) -> Result<&[u8]> {
    match wire {
        Wire::Bytes(value) => Ok(value),
        _ => Err(fail("wrong wireType")),
    }
}

/// Go does not check UTF-8 here; its JSON encoder replaces what is none.
pub(super) fn text(wire: Wire<'_>) -> Result<String> {
    Ok(String::from_utf8_lossy(bytes(wire)?).into_owned())
}

fn double(wire: Wire<'_>) -> Result<Value> {
    let Wire::Fixed64(bits) = wire else {
        return Err(fail("wrong wireType"));
    };
    let number = f64::from_bits(bits);
    // As JSON text it would be read as an integer: both ways to write an object must store the same.
    if number.fract() == 0.0 && number.abs() < 9e15 {
        return Ok((number as i64).into());
    }
    let number = serde_json::Number::from_f64(number).map(Value::Number);
    number.ok_or_else(|| fail("a number is not finite"))
}

/// The field of this number, the last of them.
fn member(message: &[u8], wanted: u64) -> Result<Option<Wire<'_>>> {
    let mut found = None;
    each(message, |number, wire| {
        if number == wanted {
            found = Some(wire);
        }
        Ok::<_, DecodeError>(())
    })?;
    Ok(found)
}

/// The first fields of a message of integers.
fn varints<const N: usize>(message: &[u8]) -> Result<[i64; N]> {
    let mut values = [0; N];
    each(message, |number, wire| {
        let slot = usize::try_from(number)
            .ok()
            .and_then(|number| values.get_mut(number.checked_sub(1)?));
        if let Some(slot) = slot {
            *slot = varint(wire)?.cast_signed();
        }
        Ok::<_, DecodeError>(())
    })?;
    Ok(values)
}

/// `Time` and `MicroTime`. The first is cut to seconds, so that protobuf stores what JSON can say.
fn timestamp(message: &[u8], micros: bool) -> Result<Value> {
    if message.is_empty() {
        return Ok(Value::Null);
    }
    let [seconds, nanos] = varints(message)?;
    if !SECONDS.contains(&seconds) || !(0..1_000_000_000).contains(&nanos) {
        return Err(fail("a time is out of range"));
    }
    let whole = i128::from(seconds) * NANOS_PER_SECOND;
    Ok(if micros {
        time::format_micros(whole + i128::from(nanos / 1000 * 1000)).into()
    } else {
        time::format_seconds(whole).into()
    })
}

fn int_or_string(message: &[u8]) -> Result<Value> {
    let kind = member(message, 1)?.map(varint).transpose()?.unwrap_or(0);
    Ok(match kind {
        0 => {
            let number = member(message, 2)?.map(varint).transpose()?.unwrap_or(0);
            (number.cast_signed() as i32).into()
        }
        1 => member(message, 3)?.map(text).transpose()?.unwrap_or_default().into(),
        _ => return Err(fail("impossible IntOrString.Type")),
    })
}
