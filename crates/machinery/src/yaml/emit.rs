//! From a tree to YAML in go-yaml v2's shape: block style, two spaces, list items at their key's indentation, long text
//! on one line.

use serde_json::{Map, Value};

use super::resolve::{Scalar, resolve};

/// Writes one document. Never fails.
pub fn encode(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(members) if !members.is_empty() => mapping(&mut out, members, 0),
        Value::Array(items) if !items.is_empty() => sequence(&mut out, items, 0),
        other => {
            leaf(&mut out, other, 0);
            out.push('\n');
        }
    }
    out
}

/// The first line's indentation has been written.
fn mapping(out: &mut String, members: &Map<String, Value>, indent: usize) {
    for (index, (key, value)) in members.iter().enumerate() {
        if index > 0 {
            pad(out, indent);
        }
        // A key of more than 128 bytes, or of several lines, may not stand before a bare colon.
        if key.len() > 128 || key.contains('\n') {
            out.push_str("? ");
            quoted(out, key);
            out.push('\n');
            pad(out, indent);
        } else {
            text(out, key);
        }
        out.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                pad(out, indent + 2);
                mapping(out, inner, indent + 2);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                pad(out, indent);
                sequence(out, items, indent);
            }
            leaf_value => {
                out.push(' ');
                leaf(out, leaf_value, indent + 2);
                out.push('\n');
            }
        }
    }
}

/// The first line's indentation has been written.
fn sequence(out: &mut String, items: &[Value], indent: usize) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            pad(out, indent);
        }
        out.push_str("- ");
        match item {
            Value::Object(members) if !members.is_empty() => mapping(out, members, indent + 2),
            Value::Array(inner) if !inner.is_empty() => sequence(out, inner, indent + 2),
            leaf_value => {
                leaf(out, leaf_value, indent + 2);
                out.push('\n');
            }
        }
    }
}

fn leaf(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(bool) => out.push_str(if *bool { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
        Value::String(string) if string.contains('\n') && fits_literal(string) => literal(out, string, indent),
        Value::String(string) => text(out, string),
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// One-line text, in the weakest style that reads back as this text.
fn text(out: &mut String, string: &str) {
    let resolves = resolve(string) != Scalar::Text || sexagesimal(string);
    if !resolves && fits_plain(string) {
        out.push_str(string);
    } else if !resolves && string.chars().all(printable) {
        out.push('\'');
        out.push_str(&string.replace('\'', "''"));
        out.push('\'');
    } else {
        quoted(out, string);
    }
}

fn quoted(out: &mut String, string: &str) {
    out.push('"');
    for char in string.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\0' => out.push_str("\\0"),
            char if printable(char) => out.push(char),
            char if u32::from(char) <= 0xff => out.push_str(&format!("\\x{:02X}", u32::from(char))),
            char if u32::from(char) <= 0xffff => out.push_str(&format!("\\u{:04X}", u32::from(char))),
            char => out.push_str(&format!("\\U{:08X}", u32::from(char))),
        }
    }
    out.push('"');
}

/// `|` with its indicators. go-yaml chomps by the text's end: none, one or more line breaks.
fn literal(out: &mut String, string: &str, indent: usize) {
    out.push('|');
    if string.starts_with([' ', '\n']) {
        out.push('2');
    }
    if !string.ends_with('\n') {
        out.push('-');
    } else if string.ends_with("\n\n") || string == "\n" {
        out.push('+');
    }
    let lines = string.strip_suffix('\n').unwrap_or(string);
    for line in lines.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            pad(out, indent);
            out.push_str(line);
        }
    }
}

/// Text whose lines could be taken for something else at their ends is quoted instead.
fn fits_literal(string: &str) -> bool {
    string.chars().all(|char| char == '\n' || printable(char))
        && !string
            .split('\n')
            .any(|line| line.ends_with(' ') || line.starts_with('\t'))
        && !string.starts_with('\n')
}

fn fits_plain(string: &str) -> bool {
    let indicator = |char: char| "-?:,[]{}#&*!|>'\"%@`".contains(char);
    let mut chars = string.chars();
    let Some(first) = chars.next() else { return false };
    let second = chars.next();
    let starts_ok = match first {
        '-' | '?' | ':' => second.is_some_and(|char| char != ' ') && !string.starts_with("---"),
        '.' => !string.starts_with("..."),
        other => !indicator(other),
    };
    starts_ok
        && string.chars().all(printable)
        && first != ' '
        && !string.ends_with([' ', ':'])
        && !string.contains(": ")
        && !string.contains(" #")
        && first != '='
}

/// Numbers to base 60 of YAML 1.1, e.g. `1:30`: quoted for other readers' sake.
fn sexagesimal(string: &str) -> bool {
    let unsigned = string.strip_prefix(['-', '+']).unwrap_or(string);
    unsigned.starts_with(|char: char| char.is_ascii_digit())
        && unsigned.contains(':')
        && unsigned
            .chars()
            .all(|char| char.is_ascii_digit() || matches!(char, ':' | '.' | '_'))
}

fn printable(char: char) -> bool {
    matches!(char, ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
        || u32::from(char) >= 0x10000
}
