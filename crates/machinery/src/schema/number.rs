//! Checks of numbers: range of the format, multipleOf, minimum, maximum.

use serde_json::Value;

use super::format::Format;
use super::structural::{Kind, Schema, Values};
use super::text::go_float;
use super::validate::Problem;

/// A number as Go holds it after decoding JSON.
#[derive(Clone, Copy)]
enum Number {
    Int(i64),
    Float(f64),
}

pub(super) fn is_integral(number: f64) -> bool {
    // Upstream's tolerance: what JSON can hold as an integer without loss.
    number.is_finite() && number.abs() < 9_007_199_254_740_993.0 && (number - number.trunc()).abs() < 1e-9
}

pub(super) fn check(value: &Value, values: &Values, schema: &Schema, path: &str) -> Vec<Problem> {
    let Some(number) = Number::of(value) else {
        return Vec::new();
    };
    let mut out = Vec::new();
    let format = if schema.int_or_string { None } else { values.format };
    if !in_range(number, schema.kind, format) {
        let kind = schema.kind.name();
        let of = format.map_or("(default format)".to_owned(), |format| {
            format!("with format {}", format.name())
        });
        out.push(Problem::composite(format!(
            "Checked value must be of type {kind} {of} in {path}"
        )));
    }
    if let Some(factor) = values.multiple_of {
        out.extend(multiple(number, factor, value, path));
    }
    if let Some(min) = values.minimum {
        out.extend(bound(number, min, (values.exclusive_minimum, false), value, path));
    }
    if let Some(max) = values.maximum {
        out.extend(bound(number, max, (values.exclusive_maximum, true), value, path));
    }
    out
}

// === impl Number ===

impl Number {
    fn of(value: &Value) -> Option<Self> {
        value
            .as_i64()
            .map(Self::Int)
            .or_else(|| value.as_f64().map(Self::Float))
    }
}

fn in_range(number: Number, kind: Kind, format: Option<Format>) -> bool {
    match (kind, format, number) {
        (Kind::Integer, Some(Format::Int32), Number::Int(n)) => i32::try_from(n).is_ok(),
        (Kind::Integer, Some(Format::Int32), Number::Float(n)) => n.abs() <= f64::from(i32::MAX),
        (Kind::Integer, _, Number::Float(n)) => !is_integral(n) || n.abs() < 9.3e18,
        (Kind::Number, Some(Format::Float), Number::Int(n)) => (n as f64).abs() <= f64::from(f32::MAX),
        (Kind::Number, Some(Format::Float), Number::Float(n)) => n.abs() <= f64::from(f32::MAX),
        _ => true,
    }
}

/// Integers are compared with the truncated limit, as upstream does.
fn bound(number: Number, limit: f64, (exclusive, upper): (bool, bool), value: &Value, path: &str) -> Option<Problem> {
    let (ordering, printed) = match number {
        Number::Int(n) => (n.cmp(&(limit as i64)), (limit as i64).to_string()),
        Number::Float(n) => (n.partial_cmp(&limit)?, go_float(limit)),
    };
    let outside = match (upper, exclusive) {
        (true, false) => ordering.is_gt(),
        (true, true) => ordering.is_ge(),
        (false, false) => ordering.is_lt(),
        (false, true) => ordering.is_le(),
    };
    let words = match (upper, exclusive) {
        (true, false) => "less than or equal to",
        (true, true) => "less than",
        (false, false) => "greater than or equal to",
        (false, true) => "greater than",
    };
    outside.then(|| Problem::invalid(path, value, format!("{path} in body should be {words} {printed}")))
}

fn multiple(number: Number, factor: f64, value: &Value, path: &str) -> Option<Problem> {
    let whole = factor as i64;
    let (positive, divides, printed) = match number {
        Number::Int(n) => (whole > 0, whole > 0 && n % whole == 0, whole.to_string()),
        Number::Float(n) => {
            let quotient = if factor < 1.0 { 1.0 / factor * n } else { n / factor };
            (factor > 0.0, is_integral(quotient), go_float(factor))
        }
    };
    if !positive {
        let message = format!("factor MultipleOf declared for {path} must be positive: {printed}");
        return Some(Problem::invalid(path, value, message));
    }
    (!divides).then(|| Problem::invalid(path, value, format!("{path} in body should be a multiple of {printed}")))
}
