//! APIExport and APIBinding between apis.kcp.io v1alpha1 and v1alpha2 (A.12). v1alpha2 is what is stored.
//!
//! What one version cannot say of the other is kept in annotations (`apis.v1alpha2.kcp.io/…`), so that an object goes there
//! and back unchanged. A member of a wrong type is left as it is: the schema of the version that results refuses it, with a
//! path, which is a better answer than a failed conversion.

mod binding;
mod claim;
mod export;

use machinery::object::{GroupVersion, ObjectExt};
use machinery::status::{Reason, Status};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::keys::{api_version, group};

/// A conversion that cannot be made. Answered as kcp does: 500 without a reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to convert {from} {kind} to {to}: {why}")]
pub struct ConvertError {
    /// Version converted from, e.g. `v1alpha1`.
    pub from: String,
    pub to: String,
    pub kind: String,
    pub why: String,
}

/// Whether objects of this group and kind are converted by [`convert`].
pub fn converts(group: &str, kind: &str) -> bool {
    group == group::APIS && matches!(kind, "APIExport" | "APIBinding")
}

/// The object in another version of its group, `v1alpha1` or `v1alpha2`. Other kinds and versions than those of this module
/// change their `apiVersion` alone, as CRDs with strategy None do.
pub fn convert(mut object: Value, to_version: &str) -> Result<Value, ConvertError> {
    let from = GroupVersion::parse(object.api_version());
    if from.version == to_version {
        return Ok(object);
    }
    let to = GroupVersion::new(from.group.as_str(), to_version).to_string();
    let done = match (object.kind(), from.to_string().as_str(), to.as_str()) {
        ("APIExport", api_version::APIS_V1ALPHA1, api_version::APIS_V1ALPHA2) => export::to_v1alpha2(&mut object),
        ("APIExport", api_version::APIS_V1ALPHA2, api_version::APIS_V1ALPHA1) => export::to_v1alpha1(&mut object),
        ("APIBinding", api_version::APIS_V1ALPHA1, api_version::APIS_V1ALPHA2) => binding::to_v1alpha2(&mut object),
        ("APIBinding", api_version::APIS_V1ALPHA2, api_version::APIS_V1ALPHA1) => binding::to_v1alpha1(&mut object),
        _ => Ok(()),
    };
    if let Err(why) = done {
        let kind = object.kind().to_owned();
        return Err(ConvertError {
            from: from.version,
            to: to_version.to_owned(),
            kind,
            why,
        });
    }
    object.set_at(&["apiVersion"], Value::String(to));
    Ok(object)
}

/// The list at a path, if it is one and each item has the members' types.
fn read_list<T: DeserializeOwned>(object: &Value, path: &[&str]) -> Option<Vec<T>> {
    serde_json::from_value(object.at(path)?.clone()).ok()
}

fn write_list<T: Serialize>(object: &mut Value, path: &[&str], list: &[T]) {
    object.set_at(path, serde_json::json!(list));
}

/// Keeps a list in an annotation, as Go prints it. An empty list is not kept.
fn keep<T: Serialize>(object: &mut Value, key: &str, list: &[T]) {
    if !list.is_empty() {
        // Structs of strings, lists and maps with string keys always serialize.
        let text = serde_json::to_string(list).unwrap_or_default();
        object.set_annotation(key, &text);
    }
}

/// Takes a list out of an annotation. `what` is for the error text.
fn take<T: DeserializeOwned>(object: &mut Value, key: &str, what: &str) -> Result<Vec<T>, String> {
    let Some(text) = object.annotation(key) else {
        return Ok(Vec::new());
    };
    // Go reads `null` as an empty list.
    let list: Option<Vec<T>> =
        serde_json::from_str(text).map_err(|error| format!("failed to decode {what} from JSON: {error}"))?;
    object.remove_annotation(key);
    Ok(list.unwrap_or_default())
}

// === impl ConvertError ===

impl From<ConvertError> for Status {
    fn from(error: ConvertError) -> Self {
        Status::new(500, Reason::Unknown, error.to_string())
    }
}

#[cfg(test)]
mod tests;
