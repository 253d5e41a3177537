//! `fieldPath` of a rule: a JSON path of members only, checked against the schema.

use std::sync::Arc;

use super::structural::Schema;

/// Checks a path such as `.spec['a.b'].c` against a schema and gives it as a Go path (`spec.a.b.c`; keys of maps in
/// brackets). The error is upstream's.
pub fn normalize(json_path: &str, schema: &Arc<Schema>) -> Result<String, String> {
    let mut out = String::new();
    let mut schema = Arc::clone(schema);
    let mut rest = json_path;
    while let Some(first) = rest.chars().next() {
        let name;
        match first {
            '.' => {
                let tail = rest.get(1..).unwrap_or_default();
                if tail.is_empty() {
                    return Err("unexpected end of JSON path".to_owned());
                }
                let end = tail.find(['.', '[', ']']).unwrap_or(tail.len()).max(1);
                name = tail.get(..end).unwrap_or_default().to_owned();
                rest = tail.get(end..).unwrap_or_default();
            }
            '[' => {
                let tail = rest.get(1..).unwrap_or_default();
                let (quoted, after) = quoted(tail)?;
                name = quoted;
                rest = match after.chars().next() {
                    Some(']') => after.get(1..).unwrap_or_default(),
                    Some(other) => return Err(format!("expected ] but got {other}")),
                    None => return Err("unexpected end of JSON path".to_owned()),
                };
            }
            _ => {
                let end = rest.find(['.', '[', ']']).unwrap_or(rest.len()).max(1);
                return Err(format!(
                    "expected [ or . but got: {}",
                    rest.get(..end).unwrap_or_default()
                ));
            }
        }
        schema = step(&schema, &name, &mut out)?;
    }
    Ok(out)
}

fn step(schema: &Arc<Schema>, name: &str, out: &mut String) -> Result<Arc<Schema>, String> {
    let invalid = || "does not refer to a valid field".to_owned();
    if !schema.properties.is_empty() {
        let next = schema.property(name).ok_or_else(invalid)?;
        if !out.is_empty() {
            out.push('.');
        }
        out.push_str(name);
        return Ok(Arc::clone(next));
    }
    let next = schema.additional_schema().ok_or_else(invalid)?;
    out.push_str(&format!("[{name}]"));
    Ok(Arc::clone(next))
}

/// A single-quoted name at the start of a text, unescaped, and what follows it.
fn quoted(text: &str) -> Result<(String, &str), String> {
    if text.is_empty() {
        return Err("unexpected end of JSON path".to_owned());
    }
    let got = || {
        format!(
            "expected single quoted string but got {}",
            text.split([']', '.', '[']).next().unwrap_or_default()
        )
    };
    let body = text.strip_prefix('\'').ok_or_else(got)?;
    let mut out = String::new();
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\'' => return Ok((out, body.get(at + 1..).unwrap_or_default())),
            '\\' => {
                let (_, escaped) = chars.next().ok_or_else(got)?;
                out.push(match escaped {
                    'a' => '\u{7}',
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'v' => '\u{b}',
                    '\'' | '\\' => escaped,
                    other => return Err(format!("invalid string literal: invalid escape char \\{other}")),
                });
            }
            other => out.push(other),
        }
    }
    Err(got())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_follow_the_schema() {
        let schema = Schema::parse(&json!({"type": "object", "properties": {
            "a": {"type": "object", "properties": {"b.c": {"type": "string"}}},
            "m": {"type": "object", "additionalProperties": {"type": "string"}}
        }}));
        assert_eq!(normalize(".a['b.c']", &schema).as_deref(), Ok("a.b.c"));
        assert_eq!(normalize(".m.key", &schema).as_deref(), Ok("m[key]"));
        for bad in [".x", "a", ".a[b]", ".a['b.c'", ".", ".a['b.c']."] {
            assert!(normalize(bad, &schema).is_err(), "{bad}");
        }
    }
}
