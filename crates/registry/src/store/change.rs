//! What an update does to an object: the new one, computed from the stored one.

use machinery::apply::managed;
use machinery::object::ObjectExt;
use machinery::options::WriteOptions;
use machinery::patch::json::JsonPatch;
use machinery::patch::{merge, strategic};
use machinery::status::{Result, Status};
use serde_json::{Map, Value};

use super::decode::Source;
use super::meta;
use super::operation::Operation;
use crate::{Patch, Target};

/// A PUT or a patch, checked.
pub(super) enum Change {
    Put(Value),
    Json(JsonPatch),
    Merge(Map<String, Value>),
    Strategic(Map<String, Value>),
    Apply(Value),
}

// === impl Change ===

impl Change {
    /// 400 for a patch that is none, 415 for one that the resource does not take.
    pub fn of_patch(patch: Patch, target: &Target) -> Result<Self> {
        let members = |value: Value| match value {
            Value::Object(members) => Ok(members),
            _ => Err(Status::bad_request(
                "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
            )),
        };
        match patch {
            Patch::Json(value) => JsonPatch::from_value(value).map(Self::Json),
            Patch::Merge(value) => members(value).map(Self::Merge),
            Patch::Strategic(_) if !target.resolved.def.takes_strategic_patch() => {
                Err(Status::unsupported_media_type(&[
                    "application/json-patch+json",
                    "application/merge-patch+json",
                    "application/apply-patch+yaml",
                    "application/apply-patch+yaml",
                ]))
            }
            Patch::Strategic(value) => members(value).map(Self::Strategic),
            Patch::Apply(value) if value.is_object() => Ok(Self::Apply(value)),
            Patch::Apply(_) => Err(Status::bad_request("error decoding YAML: the patch is not an object")),
        }
    }

    /// Only apply makes objects that are not there.
    pub fn is_apply(&self) -> bool {
        matches!(self, Self::Apply(_))
    }

    pub fn is_put(&self) -> bool {
        matches!(self, Self::Put(_))
    }

    /// The body of a PUT and an applied configuration must be about the object that the URL names.
    pub fn check_identity(&self, op: &Operation<'_>) -> Result<()> {
        let (Self::Put(object) | Self::Apply(object)) = self else {
            return Ok(());
        };
        let (name, namespace) = (op.target.name.as_str(), op.namespace());
        if object.name().is_empty() && self.is_put() {
            let why = "name must be provided";
            let text = format!("the name of the object ({name} based on URL) was undeterminable: {why}");
            return Err(Status::bad_request(text));
        }
        if !object.name().is_empty() && object.name() != name {
            let found = object.name();
            let text = format!("the name of the object ({found}) does not match the name on the URL ({name})");
            return Err(Status::bad_request(text));
        }
        let found = object.namespace();
        if !found.is_empty() && !namespace.is_empty() && found != namespace {
            let text = format!(
                "the namespace of the object ({found}) does not match the namespace on the request ({namespace})"
            );
            return Err(Status::bad_request(text));
        }
        Ok(())
    }

    /// The object as it is to be, with the ownership of its fields. `old` is absent where it is about to be created.
    pub fn make(&self, op: &Operation<'_>, old: Option<&Value>, options: &WriteOptions) -> Result<Value> {
        let missing = || Status::not_found(&op.of(), &op.target.name);
        let mut object = match self {
            Self::Apply(config) => return self.make_applied(op, old, config, options),
            Self::Put(object) => object.clone(),
            Self::Json(patch) => patch.apply(old.ok_or_else(missing)?)?,
            Self::Merge(patch) => {
                let mut object = old.ok_or_else(missing)?.clone();
                merge::apply(&mut object, patch);
                object
            }
            Self::Strategic(patch) => {
                let version = op.def.versions.get(op.version()).ok_or_else(missing)?;
                strategic::apply(old.ok_or_else(missing)?, patch, &version.schema.types)?
            }
        };
        let source = if self.is_put() { Source::Body } else { Source::Patched };
        op.conform(&mut object, source, options.field_validation)?;
        if let Some(old) = old {
            meta::keep_cluster(&mut object, old);
        } else {
            object.remove_annotation(meta::CLUSTER_ANNOTATION);
        }
        meta::dedup_owners(&mut object, op.request, false);
        op.own_fields(&options.field_manager, old, &mut object);
        Ok(object)
    }

    fn make_applied(
        &self,
        op: &Operation<'_>,
        old: Option<&Value>,
        config: &Value,
        options: &WriteOptions,
    ) -> Result<Value> {
        op.check_repeated(options.field_validation)?;
        let mut config = config.clone();
        // Whoever applies what a get has shown does not take the server's annotation for its own.
        config.remove_annotation(meta::CLUSTER_ANNOTATION);
        if config.name().is_empty() {
            meta::set(&mut config, "name", op.target.name.as_str());
        }
        let force = options.force.unwrap_or(false);
        let applied = op.managing(op.target.subresource, &options.field_manager, |ctx| {
            managed::apply(old, &config, ctx, force)
        });
        let mut object = applied.unwrap_or_else(|| Err(Status::no_such_resource()))?;
        op.conform(&mut object, Source::Applied, options.field_validation)?;
        if let Some(old) = old {
            meta::keep_cluster(&mut object, old);
        }
        Ok(object)
    }
}
