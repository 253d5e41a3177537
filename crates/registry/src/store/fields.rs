//! Field selectors.

use std::borrow::Cow;
use std::sync::Arc;

use machinery::object::ObjectExt;
use machinery::selector::FieldSelector;
use machinery::status::Result;
use serde_json::Value;
use storage::{Entry, FieldPredicate};

use crate::{ResourceDef, VersionDef};

const NAME: &str = "metadata.name";
const NAMESPACE: &str = "metadata.namespace";

/// What a field selector comes to: the parts that are keys, and a predicate for the rest.
#[derive(Default)]
pub(super) struct FieldFilter {
    /// `metadata.name=x`: at most one object a namespace.
    pub name: Option<String>,
    /// `metadata.namespace=x`, where the request does not name one.
    pub namespace: Option<String>,
    pub predicate: Option<FieldPredicate>,
}

/// Reads a selector for a resource; 400 for a field that it cannot be selected by.
pub(super) fn field_filter(selector: &FieldSelector, def: &ResourceDef, version: usize) -> Result<FieldFilter> {
    if selector.is_everything() {
        return Ok(FieldFilter::default());
    }
    let paths = selectable(def, version);
    let known: Vec<&str> = paths.iter().map(|(name, _)| name.as_str()).collect();
    selector.check_supported(&known)?;
    let exact = |field: &str| {
        selector
            .exact(field)
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
    };
    let selector = selector.clone();
    let needs_body = selector
        .terms()
        .iter()
        .any(|term| term.field != NAME && term.field != NAMESPACE);
    let predicate = move |entry: &Entry| {
        let object = if needs_body { entry.to_value() } else { Value::Null };
        selector.matches(|field| match field {
            NAME => Some(Cow::Borrowed(entry.name())),
            NAMESPACE => Some(Cow::Borrowed(entry.namespace())),
            _ => {
                let (_, path) = paths.iter().find(|(name, _)| name == field)?;
                let members: Vec<&str> = path.iter().map(String::as_str).collect();
                object.at(&members).map(|value| Cow::Owned(text(value)))
            }
        })
    };
    Ok(FieldFilter {
        name: exact(NAME),
        namespace: exact(NAMESPACE),
        predicate: Some(Arc::new(predicate)),
    })
}

/// What may be selected by, with the members on the way to it in the stored object.
fn selectable(def: &ResourceDef, version: usize) -> Vec<(String, Vec<String>)> {
    let compiled = def.strategy.selectable_fields().iter();
    let compiled = compiled.map(|(name, path)| ((*name).to_owned(), path.iter().map(|m| (*m).to_owned()).collect()));
    let declared = def
        .versions
        .get(version)
        .map(|v: &VersionDef| v.selectable_fields.as_slice())
        .unwrap_or_default();
    let declared = declared.iter().map(|path| {
        let name = path.trim_start_matches('.');
        (name.to_owned(), name.split('.').map(str::to_owned).collect())
    });
    compiled.chain(declared).collect()
}

/// As Go prints it.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
