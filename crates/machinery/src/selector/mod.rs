//! Label and field selectors.

mod label;

pub use label::{LabelSelector, Operator, Requirement, SelectorParseError};
