//! Other versions of a kind: managers own paths of the version they wrote in.

use std::borrow::Cow;

use serde_json::Value;

use super::{FieldSet, ObjectType};

/// The versions of a kind that are served, apart from the one the request is in. Managers of any other are dropped.
pub trait Versions {
    /// The type of objects in this version; `None` if it is not served.
    fn types(&self, api_version: &str) -> Option<&ObjectType>;

    /// The object in this version. The object's own `apiVersion` says what it is in now. `None` if it cannot be converted.
    fn convert<'a>(&self, object: &'a Value, api_version: &str) -> Option<Cow<'a, Value>>;

    /// What writes in this version never own.
    fn reset_fields(&self, _api_version: &str) -> Option<&FieldSet> {
        None
    }
}
