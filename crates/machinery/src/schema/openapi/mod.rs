//! OpenAPI v3: schemas as components, and the document of a group and version.
//!
//! kubectl looks here for three things: the fields of a kind (`explain`, client-side apply, client-side validation), and
//! whether the PATCH operation of a kind has the query parameters `fieldValidation` and `dryRun`; without them it refuses
//! `--validate=strict` and `--dry-run=server`.

mod component;
mod document;

pub use component::{component, list_component, model_name};
pub use document::document;

use serde_json::Value;

/// A resource of one version, as far as OpenAPI needs to know it.
#[derive(Clone, Debug)]
pub struct ServedResource<'a> {
    /// `""` for the core group.
    pub group: &'a str,
    pub version: &'a str,
    pub kind: &'a str,
    pub list_kind: &'a str,
    pub plural: &'a str,
    pub namespaced: bool,
    pub schema: Published<'a>,
    pub subresources: Subresources,
    /// The verbs of discovery. Operations are published for those that are here.
    pub verbs: &'a [&'a str],
}

/// Where a kind's schema is.
#[derive(Clone, Copy, Debug)]
pub enum Published<'a> {
    /// The `openAPIV3Schema` of a custom resource; without one anything goes.
    Custom(Option<&'a Value>),
    /// A component among the definitions given to [`document`], by its name; the list is of that name plus `List`.
    Definition(&'a str),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subresources {
    pub status: bool,
    pub scale: bool,
}

/// The verbs of a custom resource.
pub const ALL_VERBS: [&str; 8] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

#[cfg(test)]
mod tests;
