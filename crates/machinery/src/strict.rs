//! What strict field validation objects to (`fieldValidation=Strict|Warn`), and `Warning` headers.

use std::collections::BTreeSet;
use std::fmt;

use crate::text::quote;

/// Unknown and duplicate fields, in the order in which they were found; each text once.
///
/// Printed as the error of `Strict`: `strict decoding error: unknown field "spec.x", duplicate field "spec.y"`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StrictErrors {
    texts: Vec<String>,
    seen: BTreeSet<String>,
}

/// Collects the `Warning` headers of one response, with Kubernetes' limits: once all texts together exceed 4096
/// characters, each is cut to 256, and what still does not fit is dropped.
#[derive(Clone, Debug, Default)]
pub struct Warnings {
    texts: Vec<String>,
    seen: BTreeSet<String>,
}

// === impl StrictErrors ===

impl StrictErrors {
    pub fn unknown(&mut self, path: &str) {
        self.push(format!("unknown field {}", quote(path)));
    }

    pub fn duplicate(&mut self, path: &str) {
        self.push(format!("duplicate field {}", quote(path)));
    }

    /// A text of another decoder, e.g. of YAML.
    pub fn push(&mut self, text: String) {
        if self.seen.insert(text.clone()) {
            self.texts.push(text);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The texts one by one, as `Warn` sends them.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }
}

impl fmt::Display for StrictErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "strict decoding error: {}", self.texts.join(", "))
    }
}

// === impl Warnings ===

impl Warnings {
    const TOTAL_CHARS_MAX: usize = 4096;
    const ITEM_CHARS_MAX: usize = 256;

    /// Adds a warning; an empty or repeated one is ignored.
    pub fn add(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !text.is_empty() && self.seen.insert(text.clone()) {
            self.texts.push(text);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The values of the `Warning` headers: `299 - "text"`.
    pub fn headers(&self) -> Vec<String> {
        let total: usize = self.texts.iter().map(|text| text.chars().count()).sum();
        let whole = total <= Self::TOTAL_CHARS_MAX;
        let mut written = 0;
        let mut headers = Vec::new();
        for text in &self.texts {
            if written >= Self::TOTAL_CHARS_MAX {
                break;
            }
            let shown: String = if whole {
                text.clone()
            } else {
                text.chars().take(Self::ITEM_CHARS_MAX).collect()
            };
            if let Some(header) = warning_header(&shown) {
                written += shown.chars().count();
                headers.push(header);
            }
        }
        headers
    }
}

/// One header's value; `None` for text that a header cannot carry (control characters).
pub fn warning_header(text: &str) -> Option<String> {
    if text.chars().any(char::is_control) {
        return None;
    }
    let escaped = text.replace('\\', r"\\").replace('"', "\\\"");
    Some(format!("299 - \"{escaped}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_errors_print_as_kubernetes_does() {
        let mut errors = StrictErrors::default();
        errors.unknown("spec.foo");
        errors.duplicate("spec.size");
        errors.unknown("spec.foo");
        assert_eq!(
            errors.to_string(),
            r#"strict decoding error: unknown field "spec.foo", duplicate field "spec.size""#
        );
        assert_eq!(
            warning_header(&errors.texts()[0]).unwrap(),
            r#"299 - "unknown field \"spec.foo\"""#
        );
    }

    #[test]
    fn warnings_are_cut_when_they_get_too_long() {
        let mut warnings = Warnings::default();
        warnings.add("x".repeat(5000));
        warnings.add("short");
        warnings.add("short");
        warnings.add("");
        warnings.add("line\nbreak");
        let headers = warnings.headers();
        assert_eq!(headers.len(), 2);
        assert_eq!(headers[0].len(), 256 + r#"299 - """#.len());
        assert_eq!(headers[1], r#"299 - "short""#);
    }
}
