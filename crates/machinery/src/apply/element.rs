//! One step of a path into an object, kept in the very text FieldsV1 uses for it.
//!
//! `f:name` a field, `k:{"key":…}` an item of a keyed list, `v:…` an item of a set, `i:N` an item by position. Keeping the
//! text makes a field set a tree of short strings: most names fit a [`CompactString`] without an allocation, and reading and
//! writing `managedFields` is a copy. Texts are canonical (keys sorted, whole numbers printed without a fraction), so that
//! two elements are the same exactly when their texts are.

use std::fmt::{self, Write as _};

use compact_str::CompactString;
use serde_json::{Map, Number, Value};

/// A step of a path. Ordered by its text: fields, positions, keys, values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element(CompactString);

/// What an element selects; the text is the part after the colon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    Field(&'a str),
    Key(&'a str),
    Value(&'a str),
    Index(&'a str),
}

/// Why a text is no path element.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ElementError(String);

// === impl ElementError ===

impl ElementError {
    pub(super) fn not_a_map() -> Self {
        Self("expected a map of path elements".to_owned())
    }

    pub(super) fn json(text: &str) -> Result<Value, Self> {
        parse_json(text)
    }
}

// === impl Element ===

impl Element {
    pub fn field(name: &str) -> Self {
        let mut text = CompactString::with_capacity(name.len() + 2);
        text.push_str("f:");
        text.push_str(name);
        Self(text)
    }

    pub fn index(index: usize) -> Self {
        let mut text = CompactString::const_new("i:");
        let _infallible = write!(text, "{index}");
        Self(text)
    }

    /// An item of a set, by its value.
    pub fn value(value: &Value) -> Self {
        let mut text = CompactString::const_new("v:");
        push_canonical(&mut text, value);
        Self(text)
    }

    /// An item of a keyed list, by its key fields; any order.
    pub fn key<'a>(fields: impl IntoIterator<Item = (&'a str, &'a Value)>) -> Self {
        let mut fields: Vec<_> = fields.into_iter().collect();
        fields.sort_by_key(|(name, _)| *name);
        let mut text = CompactString::const_new("k:{");
        for (position, (name, value)) in fields.into_iter().enumerate() {
            if position > 0 {
                text.push(',');
            }
            push_string(&mut text, name);
            text.push(':');
            push_canonical(&mut text, value);
        }
        text.push('}');
        Self(text)
    }

    /// Reads the text of an element. `None` for a kind this version does not know: such are dropped, as a later version of
    /// the format may have them.
    pub fn parse(text: &str) -> Result<Option<Self>, ElementError> {
        if text.len() < 2 {
            return Err(ElementError("key must be 2 characters long:".to_owned()));
        }
        match (text.as_bytes(), text.get(2..)) {
            ([b'f', b':', ..], _) => Ok(Some(Self(CompactString::from(text)))),
            ([b'v', b':', ..], Some(rest)) => Ok(Some(Self::value(&parse_json(rest)?))),
            ([b'i', b':', ..], Some(rest)) => match rest.parse::<usize>() {
                Ok(index) => Ok(Some(Self::index(index))),
                Err(_) => Err(ElementError(format!("strconv.Atoi: parsing {rest:?}: invalid syntax"))),
            },
            ([b'k', b':', ..], Some(rest)) => match parse_json(rest)? {
                Value::Object(fields) => Ok(Some(Self::of_fields(&fields))),
                _ => Err(ElementError(format!("expected an object of key fields, got {rest}"))),
            },
            ([_, b':', ..], _) => Ok(None),
            _ => Err(ElementError(format!("missing colon: {text}"))),
        }
    }

    fn of_fields(fields: &Map<String, Value>) -> Self {
        Self::key(fields.iter().map(|(name, value)| (name.as_str(), value)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn kind(&self) -> Kind<'_> {
        let rest = self.0.get(2..).unwrap_or_default();
        match self.0.as_bytes().first() {
            Some(b'k') => Kind::Key(rest),
            Some(b'v') => Kind::Value(rest),
            Some(b'i') => Kind::Index(rest),
            _ => Kind::Field(rest),
        }
    }

    pub fn as_field(&self) -> Option<&str> {
        match self.kind() {
            Kind::Field(name) => Some(name),
            _ => None,
        }
    }

    /// The key fields of an item of a keyed list.
    pub fn key_fields(&self) -> Option<Map<String, Value>> {
        match self.kind() {
            Kind::Key(text) => serde_json::from_str(text).ok(),
            _ => None,
        }
    }
}

/// As messages print it: `.name`, `[name="a",port=80]`, `[="a"]`, `[3]`.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            Kind::Field(name) => write!(f, ".{name}"),
            Kind::Value(text) => write!(f, "[={text}]"),
            Kind::Index(text) => write!(f, "[{text}]"),
            Kind::Key(_) => {
                f.write_char('[')?;
                for (position, (name, value)) in self.key_fields().unwrap_or_default().iter().enumerate() {
                    if position > 0 {
                        f.write_char(',')?;
                    }
                    write!(f, "{name}={value}")?;
                }
                f.write_char(']')
            }
        }
    }
}

/// A path as messages print it.
pub fn print_path(path: &[Element]) -> String {
    path.iter().map(Element::to_string).collect()
}

/// Equality as typed values have it: `1` and `1.0` are the same number.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || (x.is_f64() != y.is_f64() && x.as_f64() == y.as_f64()),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(name, x)| y.get(name).is_some_and(|y| same(x, y)))
        }
        _ => a == b,
    }
}

fn parse_json(text: &str) -> Result<Value, ElementError> {
    serde_json::from_str(text).map_err(|error| ElementError(error.to_string()))
}

fn push_canonical(out: &mut CompactString, value: &Value) {
    match value {
        Value::String(text) => push_string(out, text),
        Value::Number(number) => push_number(out, number),
        other => {
            let _infallible = write!(out, "{other}");
        }
    }
}

fn push_string(out: &mut CompactString, text: &str) {
    if text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        let _infallible = write!(out, "{}", Value::from(text));
    }
}

/// A float without a fraction prints as the integer it is, so that both are one element.
fn push_number(out: &mut CompactString, number: &Number) {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53: up to here every whole float is one integer
    let _infallible = match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() <= EXACT => write!(out, "{float:.0}"),
        _ => write!(out, "{number}"),
    };
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_are_canonical() {
        let cases = [
            ("f:data", "f:data", ".data"),
            ("f:a.b/c", "f:a.b/c", ".a.b/c"),
            ("i:3", "i:3", "[3]"),
            ("v:\"a\"", "v:\"a\"", "[=\"a\"]"),
            ("v: 1.0", "v:1", "[=1]"),
            ("v:true", "v:true", "[=true]"),
            (
                r#"k:{"port":80.0,"name": "x"}"#,
                r#"k:{"name":"x","port":80}"#,
                r#"[name="x",port=80]"#,
            ),
        ];
        for (text, canonical, printed) in cases {
            let element = Element::parse(text).unwrap().unwrap();
            assert_eq!(element.as_str(), canonical);
            assert_eq!(element.to_string(), printed);
        }
    }

    #[test]
    fn refuses_malformed_and_drops_unknown_kinds() {
        assert_eq!(Element::parse("q:anything").unwrap(), None);
        for bad in ["", "f", "fx", "v:{", "k:[1]", "k:", "i:x", "i:-1", "v:1 2"] {
            assert!(Element::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_compare_by_value() {
        assert!(same(&json!({"a": [1]}), &json!({"a": [1.0]})));
        assert!(!same(&json!(1), &json!(1.5)));
        assert!(!same(&json!([1]), &json!([1, 2])));
    }
}
