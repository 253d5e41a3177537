//! Between the versions of a resource.

use std::borrow::Cow;

use machinery::apply::{ObjectType, Versions};
use machinery::object::{GroupVersion, ObjectExt};
use machinery::status::Result;
use serde_json::Value;

use crate::ResourceDef;

/// A conversion that does more than to change `apiVersion`: compiled in, or a webhook's.
pub trait Converter: Send + Sync {
    /// Brings an object into another version, in place; its own `apiVersion` says what it is in, and is set last. Errors:
    /// 500 with the converter's text.
    fn convert(&self, object: &mut Value, to: &GroupVersion) -> Result<()>;
}

/// The served versions of a definition, as ownership of fields needs them.
pub(crate) struct ServedVersions<'a>(pub &'a ResourceDef);

// === impl ResourceDef ===

impl ResourceDef {
    /// Brings an object into a version of this resource, pruned to and defaulted by that version's schema.
    pub fn to_version(&self, object: &mut Value, version: usize) -> Result<()> {
        let to = self.group_version(version);
        let changed = self.convert(object, &to)?;
        if (changed || self.defaults_on_read)
            && let Some(schema) = self.versions.get(version).and_then(|v| v.schema.compiled.as_ref())
        {
            if changed {
                schema.prune(object);
            }
            schema.default(object);
        }
        Ok(())
    }

    /// Brings an object into the form in which it is stored.
    pub fn to_storage(&self, object: &mut Value) -> Result<()> {
        self.convert(object, &self.storage_group_version()).map(drop)
    }

    fn convert(&self, object: &mut Value, to: &GroupVersion) -> Result<bool> {
        let target = to.to_string();
        if object.api_version() == target {
            return Ok(false);
        }
        match &self.convert {
            Some(converter) => converter.convert(object, to)?,
            None => object.set_at(&["apiVersion"], target.into()),
        }
        Ok(true)
    }
}

// === impl Versions for ServedVersions ===

impl ServedVersions<'_> {
    fn index(&self, api_version: &str) -> Option<usize> {
        let gv = GroupVersion::parse(api_version);
        (gv.group == *self.0.group)
            .then(|| self.0.served_version(&gv.version))
            .flatten()
    }
}

impl Versions for ServedVersions<'_> {
    fn types(&self, api_version: &str) -> Option<&ObjectType> {
        let index = self.index(api_version)?;
        self.0.versions.get(index).map(|version| &*version.schema.types)
    }

    fn convert<'a>(&self, object: &'a Value, api_version: &str) -> Option<Cow<'a, Value>> {
        let to = self.0.group_version(self.index(api_version)?);
        let mut converted = object.clone();
        // Neither pruned nor defaulted: it is converted back, and what this version has no field for is to be there still.
        self.0.convert(&mut converted, &to).ok()?;
        Some(Cow::Owned(converted))
    }
}
