//! Field selectors: `metadata.name=x,spec.nodeName!=y` (apimachinery `fields.Selector`).

use std::borrow::Cow;
use std::fmt;

use super::label::SelectorParseError;
use crate::status::Status;

/// One comparison; an absent field compares as the empty text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldTerm {
    pub field: String,
    pub value: String,
    /// False for `!=`.
    pub equal: bool,
}

/// Terms that must all hold; without any, everything is selected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FieldSelector {
    terms: Vec<FieldTerm>,
}

// === impl FieldSelector ===

impl FieldSelector {
    pub fn everything() -> Self {
        Self::default()
    }

    /// `field=value`
    pub fn equals(field: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            terms: vec![FieldTerm {
                field: field.into(),
                value: value.into(),
                equal: true,
            }],
        }
    }

    /// Reads the query syntax. In values, `\`, `,` and `=` are escaped by a backslash.
    pub fn parse(text: &str) -> Result<Self, SelectorParseError> {
        let mut parts = split_terms(text);
        parts.sort_unstable();
        let mut terms = Vec::new();
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            let Some((field, equal, value)) = split_term(part) else {
                return Err(SelectorParseError(format!(
                    "invalid selector: '{text}'; can't understand '{part}'"
                )));
            };
            let value = unescape(value)?;
            if !(field.is_empty() && value.is_empty()) {
                terms.push(FieldTerm {
                    field: field.to_owned(),
                    value,
                    equal,
                });
            }
        }
        Ok(Self { terms })
    }

    pub fn terms(&self) -> &[FieldTerm] {
        &self.terms
    }

    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let mut terms = self.terms.clone();
        terms.extend(other.terms.iter().filter(|term| !self.terms.contains(term)).cloned());
        Self { terms }
    }

    /// The only value that `field` may have, if the selector says so. Lists by `metadata.name` are gets.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms
            .iter()
            .find(|term| term.equal && term.field == field)
            .map(|term| term.value.as_str())
    }

    /// `field` looks a field of the object up; absent is the empty text.
    pub fn matches<'a>(&self, field: impl Fn(&str) -> Option<Cow<'a, str>>) -> bool {
        self.terms
            .iter()
            .all(|term| (field(&term.field).unwrap_or_default() == term.value) == term.equal)
    }

    /// 400 for the first field that the resource cannot be selected by. `metadata.name` and `metadata.namespace` always
    /// can.
    pub fn check_supported(&self, supported: &[&str]) -> Result<(), Status> {
        let known = |field: &str| matches!(field, "metadata.name" | "metadata.namespace") || supported.contains(&field);
        match self.terms.iter().find(|term| !known(&term.field)) {
            Some(term) => Err(Status::bad_request(format!(
                "field label not supported: {}",
                term.field
            ))),
            None => Ok(()),
        }
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let operator = if term.equal { "=" } else { "!=" };
            write!(f, "{comma}{}{operator}{}", term.field, escape(&term.value))?;
        }
        Ok(())
    }
}

fn split_terms(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b',' => {
                parts.push(text.get(start..index).unwrap_or_default());
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}

/// Field, whether equal, and the value as written.
fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    let at = term.find('=')?;
    let (before, after) = (term.get(..at)?, term.get(at + 1..)?);
    match before.strip_suffix('!') {
        Some(field) => Some((field, false, after)),
        None => Some((before, true, after.strip_prefix('=').unwrap_or(after))),
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', r"\\").replace(',', r"\,").replace('=', r"\=")
}

fn unescape(value: &str) -> Result<String, SelectorParseError> {
    let bad_sequence =
        |sequence: &str| SelectorParseError(format!("invalid field selector: invalid escape sequence: \\{sequence}"));
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => match chars.next() {
                Some(escaped @ ('\\' | ',' | '=')) => out.push(escaped),
                Some(other) => return Err(bad_sequence(&other.to_string())),
                None => return Err(bad_sequence("")),
            },
            // Kubernetes prints the character's number here.
            ',' | '=' => {
                let number = u32::from(char);
                let text = format!("invalid field selector: unescaped character in value: {number}");
                return Err(SelectorParseError(text));
            }
            other => out.push(other),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> FieldSelector {
        FieldSelector::parse(text).unwrap()
    }

    #[test]
    fn operators_and_escapes_are_read() {
        let selector = parse(r"b!=y,a==x\,\=\\,,c=");
        assert_eq!(selector.to_string(), r"a=x\,\=\\,b!=y,c=");
        assert_eq!(selector.exact("a"), Some(r"x,=\"));
        assert_eq!(selector.exact("b"), None);
        assert_eq!(parse("metadata.name=x").exact("metadata.name"), Some("x"));
        assert!(parse("").is_everything());
        assert!(parse("=").is_everything());
    }

    #[test]
    fn malformed_selectors_are_refused() {
        for (text, expected) in [
            ("a", "invalid selector: 'a'; can't understand 'a'"),
            ("x=1,a!", "invalid selector: 'x=1,a!'; can't understand 'a!'"),
            (r"a=\x", r"invalid field selector: invalid escape sequence: \x"),
            ("a=\\", "invalid field selector: invalid escape sequence: \\"),
            ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        ] {
            assert_eq!(FieldSelector::parse(text).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn absent_fields_are_empty() {
        let fields = |name: &str| (name == "a").then_some(Cow::Borrowed("1"));
        assert!(parse("a=1,b=,c!=x").matches(fields));
        assert!(!parse("a!=1").matches(fields));
        assert!(!parse("b=1").matches(fields));
    }

    #[test]
    fn unsupported_fields_are_named() {
        let error = parse("metadata.name=x,spec.size=1")
            .check_supported(&["spec.colour"])
            .unwrap_err();
        assert_eq!(
            (error.code, error.message.as_str()),
            (400, "field label not supported: spec.size")
        );
        assert!(
            parse("spec.colour=x,metadata.namespace=y")
                .check_supported(&["spec.colour"])
                .is_ok()
        );
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(terms in prop::collection::vec(("[a-z.]{1,6}", r"[a-c\\,=! ä]{0,6}", any::<bool>()), 0..4)) {
            let terms = terms.into_iter().map(|(field, value, equal)| FieldTerm { field, value, equal }).collect();
            let selector = FieldSelector { terms };
            let back = parse(&selector.to_string());
            prop_assert_eq!(parse(&back.to_string()), back.clone());
            prop_assert!(selector.terms.iter().all(|term| back.terms.contains(term)));
        }

        #[test]
        fn never_panics(text in r"[a-c\\,=!ä]{0,12}") {
            let _ = FieldSelector::parse(&text);
        }
    }
}
