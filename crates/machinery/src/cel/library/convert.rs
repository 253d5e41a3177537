//! Sizes and conversions between types.

use super::{Cost, Give, Native, Overload, Want, arg, global, member, text_arg};
use crate::cel::Failure;
use crate::cel::time;
use crate::cel::value::Val;

const fn conversion(name: &'static str, args: &'static [Want], gives: Give, native: Native) -> Overload {
    global(name, args, gives, Cost::Count, native)
}

pub(super) const TABLE: &[Overload] = &[
    global("size", &[Want::Text], Give::Int, Cost::Count, size),
    global("size", &[Want::Bytes], Give::Int, Cost::One, size),
    global("size", &[Want::List], Give::Int, Cost::One, size),
    global("size", &[Want::Map], Give::Int, Cost::One, size),
    member("size", &[Want::Text], Give::Int, Cost::Count, size),
    member("size", &[Want::Bytes], Give::Int, Cost::One, size),
    member("size", &[Want::List], Give::Int, Cost::One, size),
    member("size", &[Want::Map], Give::Int, Cost::One, size),
    global("type", &[Want::Any], Give::Type, Cost::One, |args| {
        Ok(Val::Type(arg(args, 0)?.type_name()))
    }),
    global("dyn", &[Want::Any], Give::Dyn, Cost::One, |args| arg(args, 0).cloned()),
    conversion("int", &[Want::Int], Give::Int, to_int),
    conversion("int", &[Want::Uint], Give::Int, to_int),
    conversion("int", &[Want::Double], Give::Int, to_int),
    conversion("int", &[Want::Text], Give::Int, to_int),
    conversion("int", &[Want::Timestamp], Give::Int, to_int),
    conversion("int", &[Want::Duration], Give::Int, to_int),
    conversion("uint", &[Want::Int], Give::Uint, to_uint),
    conversion("uint", &[Want::Uint], Give::Uint, to_uint),
    conversion("uint", &[Want::Double], Give::Uint, to_uint),
    conversion("uint", &[Want::Text], Give::Uint, to_uint),
    conversion("double", &[Want::Int], Give::Double, to_double),
    conversion("double", &[Want::Uint], Give::Double, to_double),
    conversion("double", &[Want::Double], Give::Double, to_double),
    conversion("double", &[Want::Text], Give::Double, to_double),
    conversion("bool", &[Want::Bool], Give::Bool, to_bool),
    conversion("bool", &[Want::Text], Give::Bool, to_bool),
    global("bytes", &[Want::Text], Give::Bytes, Cost::Copy, to_bytes),
    conversion("bytes", &[Want::Bytes], Give::Bytes, to_bytes),
    global("string", &[Want::Text], Give::Text, Cost::Count, to_text),
    global("string", &[Want::Bool], Give::Text, Cost::One, to_text),
    global("string", &[Want::Int], Give::Text, Cost::One, to_text),
    global("string", &[Want::Uint], Give::Text, Cost::One, to_text),
    global("string", &[Want::Double], Give::Text, Cost::One, to_text),
    global("string", &[Want::Bytes], Give::Text, Cost::Scan, to_text),
    global("string", &[Want::Duration], Give::Text, Cost::One, to_text),
    global("string", &[Want::Timestamp], Give::Text, Cost::One, to_text),
    global("string", &[Want::Foreign("net.IP")], Give::Text, Cost::One, to_text),
    global("string", &[Want::Foreign("net.CIDR")], Give::Text, Cost::One, to_text),
    conversion("duration", &[Want::Text], Give::Duration, to_duration),
    conversion("duration", &[Want::Duration], Give::Duration, to_duration),
    conversion("duration", &[Want::Int], Give::Duration, to_duration),
    conversion("timestamp", &[Want::Text], Give::Timestamp, to_timestamp),
    conversion("timestamp", &[Want::Timestamp], Give::Timestamp, to_timestamp),
    conversion("timestamp", &[Want::Int], Give::Timestamp, to_timestamp),
];

fn size<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Failure> {
    let size = arg(args, 0)?.size().ok_or_else(Failure::no_overload)?;
    Ok(Val::Int(size as i64))
}

fn to_int<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Failure> {
    let range = || Failure::error("integer overflow");
    Ok(Val::Int(match arg(args, 0)? {
        Val::Int(value) => *value,
        Val::Uint(value) => i64::try_from(*value).map_err(|_| range())?,
        Val::Double(value) if value.is_finite() && value.abs() < 9.223_372_036_854_775e18 => *value as i64,
        Val::Double(_) => return Err(range()),
        Val::Text(text) => {
            let text = text.as_str();
            text.parse()
                .map_err(|_| Failure::error(format!("type conversion error from 'string' to 'int': {text:?}")))?
        }
        Val::Timestamp(at) => at.as_second(),
        Val::Duration(nanos) => *nanos,
        _ => return Err(Failure::no_overload()),
    }))
}

fn to_uint<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Failure> {
    let range = || Failure::error("unsigned integer overflow");
    Ok(Val::Uint(match arg(args, 0)? {
        Val::Int(value) => u64::try_from(*value).map_err(|_| range())?,
        Val::Uint(value) => *value,
        Val::Double(value) if *value >= 0.0 && *value < 1.844_674_407_370_955e19 => *value as u64,
        Val::Double(_) => return Err(range()),
        Val::Text(text) => {
            let text = text.as_str();
            text.parse()
                .map_err(|_| Failure::error(format!("type conversion error from 'string' to 'uint': {text:?}")))?
        }
        _ => return Err(Failure::no_overload()),
    }))
}

fn to_double<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Failure> {
    Ok(Val::Double(match arg(args, 0)? {
        Val::Int(value) => *value as f64,
        Val::Uint(value) => *value as f64,
        Val::Double(value) => *value,
        Val::Text(text) => {
            let text = text.as_str();
            let error = || Failure::error(format!("type conversion error from 'string' to 'double': {text:?}"));
            text.parse().map_err(|_| error())?
        }
        _ => return Err(Failure::no_overload()),
    }))
}

fn to_bool<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Failure> {
    match arg(args, 0)? {
        Val::Bool(value) => Ok(Val::Bool(*value)),
        Val::Text(text) => match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Val::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Val::Bool(false)),
            other => Err(Failure::error(format!(
                "type conversion error from 'string' to 'bool': {other:?}"
            ))),
        },
        _ => Err(Failure::no_overload()),
    }
}

fn to_bytes<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Failure> {
    match arg(args, 0)? {
        bytes @ Val::Bytes(_) => Ok(bytes.clone()),
        Val::Text(text) => Ok(Val::bytes(text.as_str().as_bytes())),
        _ => Err(Failure::no_overload()),
    }
}

/// A value as `string()` gives it.
pub(super) fn plain_text(value: &Val<'_>) -> Result<String, Failure> {
    Ok(match value {
        Val::Text(text) => text.as_str().to_owned(),
        Val::Bool(value) => value.to_string(),
        Val::Int(value) => value.to_string(),
        Val::Uint(value) => value.to_string(),
        Val::Double(value) => crate::schema::text::go_float(*value),
        Val::Bytes(bytes) => String::from_utf8(bytes.to_vec())
            .map_err(|_| Failure::error("invalid UTF-8 in bytes, cannot convert to string"))?,
        Val::Duration(nanos) => time::format_duration(*nanos),
        Val::Timestamp(at) => at.to_string(),
        Val::Foreign(value) => value.text().ok_or_else(Failure::no_overload)?,
        _ => return Err(Failure::no_overload()),
    })
}

fn to_text<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Failure> {
    match arg(args, 0)? {
        text @ Val::Text(_) => Ok(text.clone()),
        other => plain_text(other).map(Val::text),
    }
}

fn to_duration<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Failure> {
    match arg(args, 0)? {
        Val::Duration(nanos) => Ok(Val::Duration(*nanos)),
        Val::Int(nanos) => Ok(Val::Duration(*nanos)),
        _ => {
            let text = text_arg(args, 0)?;
            let nanos = time::parse_duration(text);
            nanos
                .map(Val::Duration)
                .ok_or_else(|| Failure::error(format!("time: invalid duration {text:?}")))
        }
    }
}

fn to_timestamp<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Failure> {
    match arg(args, 0)? {
        Val::Timestamp(at) => Ok(Val::Timestamp(*at)),
        Val::Int(seconds) => jiff::Timestamp::from_second(*seconds)
            .map(Val::Timestamp)
            .map_err(|_| Failure::error("timestamp overflow")),
        _ => {
            let text = text_arg(args, 0)?;
            let error = || Failure::error(format!("parsing time {text:?} as RFC 3339: cannot parse"));
            time::parse_timestamp(text).map(Val::Timestamp).ok_or_else(error)
        }
    }
}
