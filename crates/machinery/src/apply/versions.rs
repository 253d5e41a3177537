//! Other versions of a kind: managers own paths of the version they wrote in.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use super::{FieldSet, ObjectType};
use crate::object::ObjectExt as _;

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

/// Versions that differ in nothing but their schema: a CRD's conversion strategy `None`.
#[derive(Clone, Debug, Default)]
pub struct SameShape {
    versions: Vec<(String, Arc<ObjectType>)>,
}

// === impl SameShape ===

impl SameShape {
    pub fn new(versions: impl IntoIterator<Item = (String, Arc<ObjectType>)>) -> Self {
        Self {
            versions: versions.into_iter().collect(),
        }
    }
}

impl Versions for SameShape {
    fn types(&self, api_version: &str) -> Option<&ObjectType> {
        self.versions
            .iter()
            .find(|(name, _)| name == api_version)
            .map(|(_, types)| &**types)
    }

    fn convert<'a>(&self, object: &'a Value, api_version: &str) -> Option<Cow<'a, Value>> {
        self.types(api_version)?;
        if object.api_version() == api_version {
            return Some(Cow::Borrowed(object));
        }
        let mut converted = object.clone();
        converted.set_at(&["apiVersion"], api_version.into());
        Some(Cow::Owned(converted))
    }
}
