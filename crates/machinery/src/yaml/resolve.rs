//! What an unquoted scalar means (go-yaml v2's resolution, a mix of YAML 1.1 and 1.2).

use serde_json::{Number, Value};

/// The meaning of a plain scalar.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// `.nan`, `.inf`: valid YAML that JSON cannot hold.
    NotFinite(&'static str),
    Text,
    /// `<<`
    Merge,
}

pub(super) fn resolve(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Scalar::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Scalar::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Scalar::NotFinite("NaN"),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Scalar::NotFinite("+Inf"),
        "-.inf" | "-.Inf" | "-.INF" => return Scalar::NotFinite("-Inf"),
        "<<" => return Scalar::Merge,
        _ => {}
    }
    match text.as_bytes().first() {
        Some(b'.') => float(text).map_or(Scalar::Text, Scalar::Float),
        Some(b'+' | b'-' | b'0'..=b'9') => {
            let plain = text.replace('_', "");
            match integer(&plain) {
                Some(int) => int,
                None => float(&plain).map_or(Scalar::Text, Scalar::Float),
            }
        }
        _ => Scalar::Text,
    }
}

/// Base by prefix, as Go's `ParseInt` with base 0: `0x`, `0o` or `0`, `0b`. What exceeds `i64` is a float in JSON.
fn integer(text: &str) -> Option<Scalar> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    let signed = if negative {
        format!("-{digits}")
    } else {
        digits.to_owned()
    };
    if let Ok(int) = i64::from_str_radix(&signed, radix) {
        return Some(Scalar::Int(int));
    }
    let magnitude = digits.chars().filter_map(|digit| digit.to_digit(radix));
    let magnitude = magnitude.fold(0.0, |sum, digit| sum * f64::from(radix) + f64::from(digit));
    Some(Scalar::Float(if negative { -magnitude } else { magnitude })).filter(|_| magnitude.is_finite())
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(w, f)| (w, Some(f)));
    let mantissa_ok = digits(whole)
        && fraction.is_none_or(digits)
        && (!whole.is_empty() || fraction.is_some_and(|digits| !digits.is_empty()));
    if !mantissa_ok || exponent.is_some_and(|exponent| exponent.is_empty() || !digits(exponent)) {
        return None;
    }
    text.parse().ok().filter(|float: &f64| float.is_finite())
}

/// A number as JSON: integral floats become integers, as in [`crate::json`].
pub(super) fn float_value(float: f64) -> Value {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if float.fract() == 0.0 && float.abs() <= EXACT_MAX {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "integral and within i64, by the test above"
        )]
        return Value::from(float as i64);
    }
    Number::from_f64(float).map_or(Value::Null, Value::Number)
}
