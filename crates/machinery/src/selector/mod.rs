//! Label and field selectors: as values, in the query syntax, and as JSON of API objects.

mod field;
mod json;
mod label;
mod syntax;

pub use field::{FieldSelector, FieldTerm};
pub use json::validate_label_selector;
pub use label::{LabelSelector, Operator, Requirement, SelectorParseError};
