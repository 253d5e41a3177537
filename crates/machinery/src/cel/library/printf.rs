//! `"…".format([…])`: cel-go's subset of printf.

use super::convert::plain_text;
use crate::cel::Failure;
use crate::cel::value::Val;

/// More digits after the point than this are refused.
const PRECISION_MAX: usize = 1000;

pub(super) fn format(pattern: &str, args: &[Val<'_>]) -> Result<String, Failure> {
    let mut out = String::with_capacity(pattern.len());
    let mut args = args.iter();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if chars.next_if_eq(&'%').is_some() {
            out.push('%');
            continue;
        }
        let mut precision = None;
        if chars.next_if_eq(&'.').is_some() {
            let mut digits = String::new();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            let parsed = digits.parse().ok().filter(|precision| *precision <= PRECISION_MAX);
            precision = Some(parsed.ok_or_else(|| Failure::error("invalid precision specifier"))?);
        }
        let verb = chars
            .next()
            .ok_or_else(|| Failure::error("unexpected end of format string"))?;
        let index = "index out of range";
        let value = args.next().ok_or_else(|| Failure::error(index))?;
        out.push_str(&clause(verb, precision, value)?);
    }
    Ok(out)
}

/// How many digits a pattern asks for.
pub(super) fn digits(pattern: &str) -> u64 {
    let precise = pattern.split("%.").skip(1);
    precise
        .map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let wanted = rest.get(..end).and_then(|digits| digits.parse().ok()).unwrap_or(0);
            if wanted > PRECISION_MAX { 0 } else { wanted as u64 }
        })
        .sum()
}

fn clause(verb: char, precision: Option<usize>, value: &Val<'_>) -> Result<String, Failure> {
    let refused = || {
        Failure::error(format!(
            "error during formatting: %{verb} cannot print a {}",
            value.type_name()
        ))
    };
    let number = || match value {
        Val::Int(value) => Ok(*value as f64),
        Val::Uint(value) => Ok(*value as f64),
        Val::Double(value) => Ok(*value),
        _ => Err(refused()),
    };
    Ok(match verb {
        's' => shown(value)?,
        'd' => match value {
            Val::Int(value) => value.to_string(),
            Val::Uint(value) => value.to_string(),
            Val::Double(value) if !value.is_finite() => value.to_string(),
            _ => return Err(refused()),
        },
        'f' => format!("{:.*}", precision.unwrap_or(6), number()?),
        'e' => {
            let text = format!("{:.*e}", precision.unwrap_or(6), number()?);
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
            format!("{digits}e{sign}{exponent:0>2}")
        }
        'b' => match value {
            Val::Int(value) => signed(*value < 0, &format!("{:b}", value.unsigned_abs())),
            Val::Uint(value) => format!("{value:b}"),
            Val::Bool(value) => u8::from(*value).to_string(),
            _ => return Err(refused()),
        },
        'o' => match value {
            Val::Int(value) => signed(*value < 0, &format!("{:o}", value.unsigned_abs())),
            Val::Uint(value) => format!("{value:o}"),
            _ => return Err(refused()),
        },
        'x' | 'X' => {
            let text = match value {
                Val::Int(value) => signed(*value < 0, &format!("{:x}", value.unsigned_abs())),
                Val::Uint(value) => format!("{value:x}"),
                Val::Text(text) => text.as_str().bytes().map(|b| format!("{b:02x}")).collect(),
                Val::Bytes(bytes) => bytes.iter().map(|b| format!("{b:02x}")).collect(),
                _ => return Err(refused()),
            };
            if verb == 'X' { text.to_uppercase() } else { text }
        }
        other => return Err(Failure::error(format!("unrecognized formatting clause {other:?}"))),
    })
}

fn signed(negative: bool, digits: &str) -> String {
    if negative {
        format!("-{digits}")
    } else {
        digits.to_owned()
    }
}

/// A value under `%s`: lists and maps show their content.
fn shown(value: &Val<'_>) -> Result<String, Failure> {
    if value.is_list() {
        let parts: Result<Vec<String>, Failure> = value.items()?.iter().map(shown).collect();
        return Ok(format!("[{}]", parts?.join(", ")));
    }
    if let Some(keys) = value.keys() {
        let mut parts = Vec::with_capacity(keys.len());
        for key in keys {
            let member = value.member(&key).unwrap_or(Ok(Val::Null))?;
            parts.push(format!("{}: {}", shown(&key)?, shown(&member)?));
        }
        return Ok(format!("{{{}}}", parts.join(", ")));
    }
    match value {
        Val::Null => Ok("null".to_owned()),
        Val::Type(name) => Ok((*name).to_owned()),
        other => plain_text(other),
    }
}
