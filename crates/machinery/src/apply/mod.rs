//! Who set which field: `managedFields`, and server-side apply on top of them (structured merge).
//!
//! Every write runs [`managed::update`] or [`managed::apply`]. The pieces, bottom up: [`Element`] is a step of a path,
//! [`FieldSet`] a tree of paths, [`typemap`] says how values of a type merge, [`compare`] finds what changed, [`mention`]
//! what a configuration claims, [`merge`] and [`remove`] make the new object, [`entries`] reads and writes the list in
//! `metadata`, [`ownership`] moves paths between managers.
//!
//! Invariants
//! - An update is never refused for its managed fields: where they cannot be computed, the live ones stay.
//! - What did not change costs one equality check; what changed costs in proportion to the change and the sets held.
//!
//! Read next: [`managed`].

use std::fmt;

pub mod compare;
pub mod conflict;
pub mod element;
pub mod entries;
pub mod fieldset;
pub mod item;
pub mod managed;
pub mod mention;
pub mod merge;
pub mod ownership;
pub mod reconcile;
pub mod remove;
pub mod typemap;
pub mod validate;
pub mod versions;

mod lastapplied;

pub use compare::{Comparison, compare};
pub use element::Element;
pub use fieldset::FieldSet;
pub use managed::{ManagedCtx, apply, update};
pub use typemap::{Definitions, ObjectType};
pub use versions::Versions;

/// A value does not fit its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeError {
    /// As paths are printed, e.g. `.spec.ports[port=80].name`; empty for the object itself.
    pub path: String,
    pub message: String,
}

/// All that is wrong with a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeErrors(pub Vec<TypeError>);

// === impl TypeError ===

impl TypeError {
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for TypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.message),
            path => write!(f, "{path}: {}", self.message),
        }
    }
}

impl std::error::Error for TypeError {}

// === impl TypeErrors ===

impl fmt::Display for TypeErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [only] => only.fmt(f),
            many => {
                f.write_str("errors:")?;
                many.iter().try_for_each(|error| write!(f, "\n  {error}"))
            }
        }
    }
}

impl std::error::Error for TypeErrors {}
