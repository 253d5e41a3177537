//! From text to steps.

use serde_json::Value;

use super::{Comparison, Filter, JsonPathError, Operand, Step};

type Parsed<T> = Result<T, JsonPathError>;

/// Filters may hold paths with filters: bounded, because paths come from clients.
const NESTING_MAX: usize = 16;

pub(super) fn parse(text: &str) -> Parsed<Vec<Step>> {
    let text = text.trim();
    let inner = text
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .unwrap_or(text);
    let inner = inner.trim();
    steps(inner.strip_prefix(['$', '@']).unwrap_or(inner), 0)
}

fn fail<T>(why: impl Into<String>) -> Parsed<T> {
    Err(JsonPathError(why.into()))
}

fn steps(text: &str, nesting: usize) -> Parsed<Vec<Step>> {
    if nesting > NESTING_MAX {
        return fail("filters are nested too deeply");
    }
    let mut steps = Vec::new();
    let mut rest = text;
    let mut first = true;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("..") {
            steps.push(Step::Recursive);
            rest = after;
            if !rest.is_empty() && !rest.starts_with(['[', '.']) {
                rest = field(rest, &mut steps)?;
            }
        } else if let Some(after) = rest.strip_prefix('.') {
            // A lone dot is the value itself; before a bracket it says nothing.
            if after.is_empty() || after.starts_with('[') {
                rest = after;
            } else {
                rest = field(after, &mut steps)?;
            }
        } else if let Some(after) = rest.strip_prefix('[') {
            let (inside, after) = bracketed(after)?;
            steps.push(bracket(inside.trim(), nesting)?);
            rest = after;
        } else if first {
            rest = field(rest, &mut steps)?;
        } else {
            let found = rest.chars().next().unwrap_or_default();
            return fail(format!("unrecognized character in action: {found:?}"));
        }
        first = false;
    }
    Ok(steps)
}

/// A field's name up to the next dot or bracket; a backslash takes the next character literally.
fn field<'a>(text: &'a str, steps: &mut Vec<Step>) -> Parsed<&'a str> {
    let mut name = String::new();
    let mut chars = text.char_indices();
    let mut end = text.len();
    while let Some((at, char)) = chars.next() {
        match char {
            '\\' => match chars.next() {
                Some((_, escaped)) => name.push(escaped),
                None => return fail("invalid escape at the end of the path"),
            },
            '.' | '[' => {
                end = at;
                break;
            }
            ' ' | ']' | '{' | '}' | '$' | '@' | '(' | ')' | '\'' | '"' => {
                return fail(format!("unrecognized character in action: {char:?}"));
            }
            other => name.push(other),
        }
    }
    match name.as_str() {
        "" => return fail("a field must have a name"),
        "*" => steps.push(Step::Wildcard),
        _ => steps.push(Step::Field(name)),
    }
    Ok(text.get(end..).unwrap_or_default())
}

/// What stands between brackets (the opening one has been taken), minding quotes and inner brackets; and the rest.
fn bracketed(text: &str) -> Parsed<(&str, &str)> {
    let mut quote = None;
    let mut open = 0;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            _ if escaped => escaped = false,
            (Some(_), b'\\') => escaped = true,
            (Some(open_quote), _) if byte == open_quote => quote = None,
            (Some(_), _) => {}
            (None, b'\'' | b'"') => quote = Some(byte),
            (None, b'[') => open += 1,
            (None, b']') if open == 0 => {
                return Ok((
                    text.get(..at).unwrap_or_default(),
                    text.get(at + 1..).unwrap_or_default(),
                ));
            }
            (None, b']') => open -= 1,
            _ => {}
        }
    }
    fail("unterminated array")
}

fn bracket(text: &str, nesting: usize) -> Parsed<Step> {
    if let Some(filter) = text.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        return filter_of(filter, nesting).map(Step::Filter);
    }
    let parts = split_outside_quotes(text, b',');
    if let [one] = parts.as_slice() {
        return selector(one.trim());
    }
    let steps: Parsed<Vec<Step>> = parts.iter().map(|part| selector(part.trim())).collect();
    steps.map(Step::Union)
}

fn selector(text: &str) -> Parsed<Step> {
    if text == "*" {
        return Ok(Step::Wildcard);
    }
    if let Some(key) = quoted(text) {
        return Ok(Step::Field(key));
    }
    let number = |part: &str| match part {
        "" => Ok(None),
        digits => digits
            .parse::<i64>()
            .map(Some)
            .map_err(|_| JsonPathError(format!("invalid array index {text}"))),
    };
    let parts: Parsed<Vec<Option<i64>>> = text.split(':').map(number).collect();
    match parts?.as_slice() {
        [Some(index)] => Ok(Step::Index(*index)),
        [start, end] => Ok(Step::Slice {
            start: *start,
            end: *end,
            step: 1,
        }),
        [start, end, step] => match step.unwrap_or(1) {
            step if step > 0 => Ok(Step::Slice {
                start: *start,
                end: *end,
                step,
            }),
            _ => fail("step must be > 0"),
        },
        _ => fail(format!("invalid array index {text}")),
    }
}

fn filter_of(text: &str, nesting: usize) -> Parsed<Filter> {
    let Some((at, length, comparison)) = comparison_in(text) else {
        return operand(text.trim(), nesting).map(Filter::Exists);
    };
    let left = operand(text.get(..at).unwrap_or_default().trim(), nesting)?;
    let right = operand(text.get(at + length..).unwrap_or_default().trim(), nesting)?;
    Ok(Filter::Compare(left, comparison, right))
}

/// Where the comparison stands (outside quotes), how long it is, and which it is.
fn comparison_in(text: &str) -> Option<(usize, usize, Comparison)> {
    let mut quote = None;
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match quote {
            Some(open) if *byte == open => quote = None,
            Some(_) => {}
            None if matches!(byte, b'\'' | b'"') => quote = Some(*byte),
            None => {
                let found = match (byte, bytes.get(at + 1)) {
                    (b'=', Some(b'=')) => (2, Comparison::Equal),
                    (b'!', Some(b'=')) => (2, Comparison::NotEqual),
                    (b'<', Some(b'=')) => (2, Comparison::LessOrEqual),
                    (b'>', Some(b'=')) => (2, Comparison::GreaterOrEqual),
                    (b'<', _) => (1, Comparison::Less),
                    (b'>', _) => (1, Comparison::Greater),
                    _ => continue,
                };
                return Some((at, found.0, found.1));
            }
        }
    }
    None
}

fn operand(text: &str, nesting: usize) -> Parsed<Operand> {
    if let Some(path) = text.strip_prefix('@') {
        return steps(path, nesting + 1).map(Operand::Item);
    }
    if let Some(path) = text.strip_prefix('$') {
        return steps(path, nesting + 1).map(Operand::Root);
    }
    if let Some(string) = quoted(text) {
        return Ok(Operand::Literal(Value::String(string)));
    }
    if let Ok(literal @ (Value::Bool(_) | Value::Number(_) | Value::Null)) = serde_json::from_str(text) {
        return Ok(Operand::Literal(literal));
    }
    if text.starts_with('.') {
        return steps(text, nesting + 1).map(Operand::Item);
    }
    fail(format!("unrecognized filter operand {text:?}"))
}

/// The content of a quoted text (either quote), escapes resolved.
fn quoted(text: &str) -> Option<String> {
    let quote = text.chars().next().filter(|first| matches!(first, '\'' | '"'))?;
    let inside = text.strip_prefix(quote)?.strip_suffix(quote)?;
    let mut out = String::new();
    let mut chars = inside.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => out.push(chars.next()?),
            char if char == quote => return None,
            other => out.push(other),
        }
    }
    Some(out)
}

fn split_outside_quotes(text: &str, separator: u8) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut quote = None;
    let mut start = 0;
    for (at, byte) in text.bytes().enumerate() {
        match quote {
            Some(open) if byte == open => quote = None,
            Some(_) => {}
            None if matches!(byte, b'\'' | b'"') => quote = Some(byte),
            None if byte == separator => {
                parts.push(text.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            None => {}
        }
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}
