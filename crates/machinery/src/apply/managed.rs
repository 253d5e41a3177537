//! The two operations every write is one of: [`update`] after the new object is known, [`apply`] to make the new object.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::conflict;
use super::element::same;
use super::entries::Entries;
use super::lastapplied;
use super::ownership::{self, Applied, OwnershipError};
use super::validate::validate;
use super::versions::Versions;
use super::{FieldSet, ObjectType};
use crate::object::{GroupVersion, ObjectExt as _};
use crate::status::{Reason, Status};

/// Who writes, when, in which version of what.
#[derive(Clone, Copy)]
pub struct ManagedCtx<'a> {
    /// The field manager; `""` is recorded as `unknown`.
    pub manager: &'a str,
    /// `""` for the resource itself.
    pub subresource: &'a str,
    /// The version of the request. All objects passed are in this version.
    pub api_version: &'a str,
    pub kind: &'a str,
    /// RFC 3339 in UTC, whole seconds: what `time` of a changed entry becomes.
    pub now: &'a str,
    pub types: &'a ObjectType,
    /// What this endpoint does not write (`status` of the resource itself; `metadata` and `spec` of its status).
    pub reset_fields: Option<&'a FieldSet>,
    /// The other versions served, if there are any.
    pub versions: Option<&'a dyn Versions>,
}

// === impl ManagedCtx ===

impl<'a> ManagedCtx<'a> {
    pub(super) fn manager_or_unknown(&self) -> &'a str {
        if self.manager.is_empty() {
            "unknown"
        } else {
            self.manager
        }
    }

    pub(super) fn types_of(&self, api_version: &str) -> Option<&'a ObjectType> {
        if api_version == self.api_version {
            Some(self.types)
        } else {
            self.versions?.types(api_version)
        }
    }

    pub(super) fn reset_of(&self, api_version: &str) -> Option<&'a FieldSet> {
        if api_version == self.api_version {
            self.reset_fields
        } else {
            self.versions?.reset_fields(api_version)
        }
    }

    /// The object in a version; itself if it is in it.
    pub(super) fn convert<'v>(&self, object: &'v Value, api_version: &str) -> Option<Cow<'v, Value>> {
        match object.api_version() {
            "" => Some(Cow::Borrowed(object)),
            here if here == api_version => Some(Cow::Borrowed(object)),
            _ => self.versions?.convert(object, api_version),
        }
    }
}

/// Sets `metadata.managedFields` of an object about to be created (no live one) or updated, by PUT or by any patch but apply.
///
/// Sent managed fields are taken, unless they cannot be read or are none: then the live ones go on. `[]` and `[{}]` clear
/// them. On a subresource only the live ones count. Where ownership cannot be computed, the live ones stay.
pub fn update(live: Option<&Value>, new: &mut Value, ctx: &ManagedCtx<'_>) {
    let sent = new
        .meta()
        .and_then(|meta| meta.get("managedFields"))
        .filter(|list| !list.is_null());
    let held = live.and_then(managed_fields);
    let untouched = sent.is_some() && sent == held;
    if !untouched && ctx.subresource.is_empty() && sent.is_some_and(clears) && live.is_some() {
        new.meta_mut().remove("managedFields");
        return;
    }
    let nothing = Value::Object(Map::new());
    let before = live.unwrap_or(&nothing);
    if held.is_none() && live.is_some() && (sent.is_none() || !ctx.subresource.is_empty()) {
        // Nobody tracked it so far: that begins with the first apply.
        if sent.is_some() {
            new.meta_mut().remove("managedFields");
        }
        return;
    }
    let changes = ownership::compared(ctx.types, before, new, ctx.reset_fields);
    if changes.as_ref().is_ok_and(|changes| changes.is_empty()) && (untouched || sent.is_none()) {
        restore(new, held, untouched);
        return;
    }
    let sent = new.meta_mut().remove("managedFields").filter(|list| !list.is_null());
    let computed = changes.map_err(OwnershipError::from).and_then(|changes| {
        let Some(mut entries) = source(sent, held, live.is_some(), ctx) else {
            return Ok(None);
        };
        ownership::write(&mut entries, before, new, &changes, ctx, ctx.manager)?;
        Ok(entries.encode())
    });
    match computed {
        Ok(None) => {}
        Ok(Some(list)) => drop(new.meta_mut().insert("managedFields".to_owned(), list)),
        Err(_) => restore(new, held, false),
    }
}

/// The managers to start from; `None` if the object is not tracked.
fn source(sent: Option<Value>, held: Option<&Value>, exists: bool, ctx: &ManagedCtx<'_>) -> Option<Entries> {
    let mine = match sent {
        Some(Value::Array(list)) if ctx.subresource.is_empty() && !clears_list(&list) => Entries::decode(list).ok(),
        _ => None,
    };
    let entries = mine.filter(|entries| !entries.is_empty()).or_else(|| {
        let list = held.and_then(Value::as_array)?;
        Entries::decode(list.clone()).ok()
    });
    let entries = entries.unwrap_or_default();
    (!exists || !entries.is_empty()).then_some(entries)
}

fn restore(new: &mut Value, held: Option<&Value>, untouched: bool) {
    if untouched {
        return;
    }
    match held {
        Some(held) => drop(new.meta_mut().insert("managedFields".to_owned(), held.clone())),
        None => drop(new.meta_mut().remove("managedFields")),
    }
}

fn managed_fields(object: &Value) -> Option<&Value> {
    object
        .meta()?
        .get("managedFields")
        .filter(|list| list.as_array().is_some_and(|list| !list.is_empty()))
}

fn clears(list: &Value) -> bool {
    list.as_array().is_some_and(|list| clears_list(list))
}

/// An empty list, or one empty entry.
fn clears_list(list: &[Value]) -> bool {
    match list {
        [] => true,
        [only] => only.as_object().is_some_and(|entry| {
            entry
                .values()
                .all(|value| value.is_null() || value.as_str().is_some_and(str::is_empty))
        }),
        _ => false,
    }
}

/// Server-side apply: the object that results from applying a configuration, with its managed fields.
///
/// No live object: it is created. Conflicts are a 409, unless forced. Not done here: defaulting and validating the result,
/// checking the name in the configuration against the request's.
pub fn apply(live: Option<&Value>, config: &Value, ctx: &ManagedCtx<'_>, force: bool) -> Result<Value, Status> {
    check(config, ctx)?;
    validate(ctx.types, config).map_err(|errors| {
        failed(format!(
            "failed to create typed patch object ({}): {errors}",
            title(config, ctx)
        ))
    })?;
    let created = serde_json::json!({"apiVersion": ctx.api_version, "kind": ctx.kind});
    let live = live.unwrap_or(&created);
    let list = managed_fields(live)
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let mut entries = Entries::decode(list).map_err(|why| failed(format!("failed to decode managed fields: {why}")))?;
    if entries.is_empty() {
        before_first_apply(&mut entries, live, ctx).map_err(|error| error_status(&error))?;
    }
    let applied = match ownership::apply(live, config, entries.clone(), ctx, force) {
        Err(OwnershipError::Conflicts(conflicts)) if ctx.manager == lastapplied::MANAGER => {
            match lastapplied::unforgiven(live, &conflicts, ctx) {
                Some(left) if left.is_empty() => ownership::apply(live, config, entries, ctx, true),
                left => Err(OwnershipError::Conflicts(left.unwrap_or(conflicts))),
            }
        }
        outcome => outcome,
    };
    let Applied { object, entries } = applied.map_err(|error| error_status(&error))?;
    let mut object = object.unwrap_or_else(|| live.clone());
    match entries.encode() {
        Some(list) => drop(object.meta_mut().insert("managedFields".to_owned(), list)),
        None => drop(object.meta_mut().remove("managedFields")),
    }
    if ctx.manager == lastapplied::MANAGER {
        lastapplied::refresh(&mut object, config);
    }
    Ok(object)
}

fn check(config: &Value, ctx: &ManagedCtx<'_>) -> Result<(), Status> {
    if config.api_version() != ctx.api_version || config.kind() != ctx.kind {
        let gv = GroupVersion::parse(config.api_version());
        let text = format!(
            "invalid object type: {}/{}, Kind={}",
            gv.group,
            gv.version,
            config.kind()
        );
        return Err(Status::bad_request(text));
    }
    if config
        .meta()
        .and_then(|meta| meta.get("managedFields"))
        .is_some_and(Value::is_array)
    {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    Ok(())
}

/// An object that was not tracked so far: all it has belongs to `before-first-apply`.
fn before_first_apply(entries: &mut Entries, live: &Value, ctx: &ManagedCtx<'_>) -> Result<(), OwnershipError> {
    let nothing = Value::Object(Map::new());
    let changes = ownership::compared(ctx.types, &nothing, live, ctx.reset_fields)?;
    ownership::write(entries, &nothing, live, &changes, ctx, "before-first-apply")
}

fn error_status(error: &OwnershipError) -> Status {
    match error {
        OwnershipError::Conflicts(conflicts) => conflict::status(conflicts),
        OwnershipError::Type(error) => failed(format!("failed to merge config: {error}")),
    }
}

/// Kubernetes answers what is no API error of its own with a bare 500.
fn failed(message: String) -> Status {
    Status::new(500, Reason::Unknown, message)
}

fn title(config: &Value, ctx: &ManagedCtx<'_>) -> String {
    let gv = GroupVersion::parse(ctx.api_version);
    format!(
        "{}/{}; {}/{}, Kind={}",
        config.namespace(),
        config.name(),
        gv.group,
        gv.version,
        ctx.kind
    )
}

/// Undoes new times if nothing else is new, so that a write that changes nothing stores nothing.
pub fn keep_times(live: &Value, new: &mut Value) {
    let (Some(Value::Array(old)), Some(Value::Array(list))) = (managed_fields(live), managed_fields(new)) else {
        return;
    };
    let timeless = |entry: &Value| {
        entry
            .as_object()
            .map(|entry| entry.iter().filter(|(key, _)| *key != "time").count())
    };
    let alike = old.len() == list.len()
        && old != list
        && old.iter().zip(list).all(|(old, new)| {
            timeless(old) == timeless(new)
                && old
                    .as_object()
                    .into_iter()
                    .flatten()
                    .all(|(key, value)| key == "time" || new.get(key) == Some(value))
        });
    if !alike {
        return;
    }
    let held = Value::Array(old.clone());
    let sent = new.meta_mut().insert("managedFields".to_owned(), held);
    if !same(live, new)
        && let Some(sent) = sent
    {
        new.meta_mut().insert("managedFields".to_owned(), sent);
    }
}

#[cfg(test)]
mod tests;
