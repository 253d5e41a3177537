//! Strategic merge patch: a merge patch that knows lists which merge by a key, and directives for what merging cannot say.
//!
//! `$patch: replace|delete` in a map; `$patch: delete|replace` in an item of a merging list; `$deleteFromPrimitiveList/x`
//! removes scalars from list `x`; `$setElementOrder/x` orders it; `$retainKeys` drops the members it does not name. Which
//! lists merge, and by what, stands in the type ([`crate::apply::typemap`]).

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::json::unprocessable;
use crate::apply::ObjectType;
use crate::apply::typemap::{Definitions, PatchMeta, Strategy, TypeRef};
use crate::status::{Reason, Status};

mod directives;
mod lists;

/// Why a patch could not be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StrategicError {
    /// A directive is malformed: 400.
    #[error("{0}")]
    Format(&'static str),
    #[error("lists of lists are not supported")]
    ListOfLists,
    /// The patch contradicts the object or its type.
    #[error("{0}")]
    Other(String),
}

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList";
const ELEMENT_ORDER: &str = "$setElementOrder";

type Outcome<T> = Result<T, StrategicError>;
type Members = Map<String, Value>;

struct Merger<'a> {
    definitions: &'a Definitions,
}

/// What the type says of a member: its type, if known, and how to patch it.
struct Known<'a> {
    ty: Option<&'a TypeRef>,
    patch: PatchMeta,
}

/// The patched object.
pub fn apply(object: &Value, patch: &Members, types: &ObjectType) -> Outcome<Value> {
    let original = object.as_object().cloned().unwrap_or_default();
    let merger = Merger {
        definitions: types.definitions(),
    };
    Ok(Value::Object(merger.map(
        original,
        patch.clone(),
        Some(types.root()),
    )?))
}

// === impl StrategicError ===

impl From<StrategicError> for Status {
    fn from(error: StrategicError) -> Self {
        match error {
            StrategicError::Format(text) => Status::bad_request(text),
            StrategicError::ListOfLists => unprocessable(),
            StrategicError::Other(text) => Status::new(500, Reason::Unknown, text),
        }
    }
}

// === impl Merger ===

impl<'a> Merger<'a> {
    fn known(&self, ty: Option<&'a TypeRef>, name: &str) -> Known<'a> {
        let map = ty.and_then(|ty| self.definitions.resolve(ty).map);
        match map.and_then(|map| map.field(name)) {
            Some(field) => Known {
                ty: Some(&field.ty),
                patch: field.patch.clone(),
            },
            None => Known {
                ty: map.and_then(|map| map.element.as_ref()),
                patch: PatchMeta::default(),
            },
        }
    }

    /// The type of a list's items.
    fn items(&self, ty: Option<&'a TypeRef>) -> Option<&'a TypeRef> {
        ty.and_then(|ty| self.definitions.resolve(ty).list)
            .map(|list| &list.element)
    }

    fn map(&self, mut original: Members, mut patch: Members, ty: Option<&'a TypeRef>) -> Outcome<Members> {
        match patch.remove(DIRECTIVE) {
            None => {}
            Some(Value::String(directive)) if directive == "merge" => {}
            Some(Value::String(directive)) if directive == "replace" => return Ok(patch),
            Some(Value::String(directive)) if directive == "delete" => return Ok(Members::new()),
            Some(other) => return Err(directives::unknown(&other, &patch)),
        }
        directives::retain_keys(&mut original, &mut patch)?;
        self.ordered_lists(&mut original, &mut patch, ty)?;
        for (name, change) in patch {
            match name.strip_prefix(DELETE_FROM_LIST) {
                Some(list) => {
                    let list = list.strip_prefix('/').ok_or(directives::BAD_PRIMITIVE_LIST)?;
                    self.delete_from(&mut original, list, &change)?;
                }
                None => self.member(&mut original, name, change, ty)?,
            }
        }
        Ok(original)
    }

    fn member(&self, original: &mut Members, name: String, change: Value, ty: Option<&'a TypeRef>) -> Outcome<()> {
        let known = self.known(ty, &name);
        let merged = match (original.remove(&name), change) {
            (_, Value::Null) => None,
            (Some(Value::Object(_)), Value::Object(change)) if known.patch.strategy == Strategy::Replace => {
                Some(Value::Object(change))
            }
            (Some(Value::Object(here)), Value::Object(change)) => {
                Some(Value::Object(self.map(here, change, known.ty)?))
            }
            (Some(Value::Array(here)), Value::Array(change)) if known.patch.strategy == Strategy::Merge => Some(
                Value::Array(self.merge_lists(here, change, known.ty, known.patch.merge_key.as_deref())?),
            ),
            (Some(Value::Array(_)), change @ Value::Array(_)) => Some(change),
            (_, change) => directives::settled(change),
        };
        if let Some(merged) = merged {
            original.insert(name, merged);
        }
        Ok(())
    }

    fn delete_from(&self, original: &mut Members, name: &str, change: &Value) -> Outcome<()> {
        match (original.get_mut(name), change) {
            (_, Value::Null) => drop(original.remove(name)),
            (Some(Value::Array(items)), Value::Array(gone)) => {
                if !items.is_empty() || !gone.is_empty() {
                    lists::check_elements(&[items, gone])?;
                }
                let gone: BTreeSet<String> = gone.iter().map(Value::to_string).collect();
                items.retain(|item| !gone.contains(&item.to_string()));
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
