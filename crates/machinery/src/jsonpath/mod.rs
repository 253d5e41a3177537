//! The JSONPath of printer columns and `kubectl -o jsonpath` (client-go `util/jsonpath`): fields, quoted keys, escaped
//! dots, indexes, slices, unions, `[*]`, `..`, filters with one comparison. No templates around it.
//!
//! What a path does not find is left out, never an error, as printer columns want it.

mod eval;
mod parse;

use serde_json::Value;

/// A parsed path. Braces around it and the leading dot (or `$`) are optional.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath {
    steps: Vec<Step>,
}

/// Why a path could not be read.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct JsonPathError(pub String);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    /// Of an array; negative counts from the end.
    Index(i64),
    /// `[start:end:step]`
    Slice {
        start: Option<i64>,
        end: Option<i64>,
        step: i64,
    },
    Wildcard,
    /// The value itself and everything below it.
    Recursive,
    /// What any of these finds.
    Union(Vec<Step>),
    Filter(Filter),
}

#[derive(Clone, Debug, PartialEq)]
enum Filter {
    Exists(Operand),
    Compare(Operand, Comparison, Operand),
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    /// Relative to the item (`@`).
    Item(Vec<Step>),
    /// Relative to the whole document (`$`).
    Root(Vec<Step>),
    Literal(Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

// === impl JsonPath ===

impl JsonPath {
    pub fn parse(text: &str) -> Result<Self, JsonPathError> {
        parse::parse(text).map(|steps| Self { steps })
    }

    /// Everything the path finds, in document order.
    pub fn find<'a>(&self, document: &'a Value) -> Vec<&'a Value> {
        eval::find(&self.steps, document, document)
    }

    pub fn first<'a>(&self, document: &'a Value) -> Option<&'a Value> {
        self.find(document).into_iter().next()
    }
}

/// A found value as text: strings bare, objects and arrays as JSON.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
