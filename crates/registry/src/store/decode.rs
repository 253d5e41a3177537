//! A body is made to fit its kind: what the schema does not name goes, what it defaults is set.

use machinery::field::{FieldError, Path};
use machinery::json;
use machinery::metadata::shape_object_meta;
use machinery::object::{GroupVersionKind, ObjectExt};
use machinery::options::FieldValidation;
use machinery::status::{Result, Status};
use machinery::strict::StrictErrors;
use serde_json::Value;

use super::operation::Operation;

/// Where an object comes from: what is wrong with it is said differently.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Body,
    /// What a JSON, merge or strategic patch made of the stored object.
    Patched,
    /// What server-side apply made: unknown fields were refused before.
    Applied,
}

impl Operation<'_> {
    /// Prunes, shapes and defaults; says what was unknown as `validation` wants it.
    pub fn conform(&self, object: &mut Value, source: Source, validation: FieldValidation) -> Result<()> {
        if !object.is_object() {
            return Err(Status::bad_request("the object provided is not a JSON object"));
        }
        // A patched document is printed where it is refused.
        let shown = (source == Source::Patched).then(|| object.to_string());
        self.set_type(object);
        let found = GroupVersionKind::of(object);
        let refuse = |why: &str| match &shown {
            Some(shown) => invalid_patch(shown, why),
            None => json::unhandled(&found, &self.def.names.kind, why),
        };
        let mut strict = StrictErrors::default();
        if source != Source::Applied {
            self.request.duplicates.iter().for_each(|path| strict.duplicate(path));
        }
        self.fit(object, &mut strict)
            .map_err(|error| refuse(&error.to_string()))?;
        if !strict.is_empty() && source != Source::Applied {
            match validation {
                FieldValidation::Strict => return Err(refuse(&strict.to_string())),
                FieldValidation::Warn => strict.texts().iter().for_each(|text| self.request.warn(text.as_str())),
                FieldValidation::Ignore => {}
            }
        }
        self.def.strategy.default(&self.context(), object);
        Ok(())
    }

    /// An applied configuration is not decoded into its kind: of what strict validation objects to, repeated members are
    /// all that is left to say.
    pub fn check_repeated(&self, validation: FieldValidation) -> Result<()> {
        let mut strict = StrictErrors::default();
        self.request.duplicates.iter().for_each(|path| strict.duplicate(path));
        match validation {
            FieldValidation::Strict if !strict.is_empty() => Err(Status::bad_request(format!(
                "error strict decoding YAML: {}",
                strict.texts().join(", ")
            ))),
            FieldValidation::Warn => {
                strict.texts().iter().for_each(|text| self.request.warn(text.as_str()));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn set_type(&self, object: &mut Value) {
        if object.api_version().is_empty() {
            object.set_at(
                &["apiVersion"],
                self.def.group_version(self.version()).to_string().into(),
            );
        }
        if object.kind().is_empty() {
            object.set_at(&["kind"], self.def.names.kind.as_str().into());
        }
    }

    fn fit(&self, object: &mut Value, strict: &mut StrictErrors) -> Result<(), json::DecodeError> {
        let schema = self.def.versions.get(self.version()).map(|version| &version.schema);
        if let Some(shape) = schema.and_then(|schema| schema.shape.as_ref()) {
            shape.fit(object, strict)?;
        } else {
            shape_object_meta(object, strict)?;
        }
        if let Some(compiled) = schema.and_then(|schema| schema.compiled.as_ref()) {
            compiled.prune(object).iter().for_each(|path| strict.unknown(path));
            compiled.default(object);
        }
        drop_empty_metadata(object);
        Ok(())
    }
}

/// Every member of metadata is optional in Go: what is empty is not there.
fn drop_empty_metadata(object: &mut Value) {
    if object.meta().is_some() {
        object.meta_mut().retain(|_, value| match value {
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(members) => !members.is_empty(),
            _ => true,
        });
    }
}

fn invalid_patch(document: &str, why: &str) -> Status {
    let error = FieldError::invalid(&Path::new("patch"), &document.into(), why);
    Status::invalid("", "", "", &[error])
}
