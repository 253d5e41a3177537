//! Those who applied on the client's side before: kubectl's `last-applied-configuration`.
//!
//! Only the manager `kubectl` is treated so; whoever does not want it names another manager.

use serde_json::Value;

use super::FieldSet;
use super::compare::compare;
use super::conflict::Conflict;
use super::managed::ManagedCtx;
use super::mention::mention;
use super::validate::validate;
use crate::object::ObjectExt as _;

pub(super) const MANAGER: &str = "kubectl";
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The limit on all annotations of an object together.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

/// The conflicts that remain when those are forgiven which are about fields that client-side apply set and nobody changed
/// since. `None`: the annotation says nothing, all remain.
pub(super) fn unforgiven(live: &Value, conflicts: &[Conflict], ctx: &ManagedCtx<'_>) -> Option<Vec<Conflict>> {
    let unchanged = applied_and_unchanged(live, ctx)?;
    Some(
        conflicts
            .iter()
            .filter(|conflict| !unchanged.contains(&conflict.path))
            .cloned()
            .collect(),
    )
}

fn applied_and_unchanged(live: &Value, ctx: &ManagedCtx<'_>) -> Option<FieldSet> {
    let text = live.annotation(ANNOTATION).filter(|text| !text.is_empty())?;
    let last: Value = serde_json::from_str(text).ok()?;
    if last.api_version() != ctx.api_version || last.kind().is_empty() || validate(ctx.types, &last).is_err() {
        return None;
    }
    let mut set = mention(ctx.types, &last).ok()?;
    let since = compare(ctx.types, &last, live).ok()?;
    for changed in [&since.modified, &since.added, &since.removed] {
        set.subtract(changed);
    }
    Some(set)
}

/// Keeps an annotation that is there up to date with what is applied now.
pub(super) fn refresh(object: &mut Value, config: &Value) {
    if object.annotation(ANNOTATION).is_none_or(str::is_empty) {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = config
        .pointer_mut("/metadata/annotations")
        .and_then(Value::as_object_mut)
    {
        annotations.remove(ANNOTATION);
    }
    object.set_annotation(ANNOTATION, &encode(&config));
    let annotations = object
        .meta()
        .and_then(|meta| meta.get("annotations"))
        .and_then(Value::as_object);
    let bytes: usize = annotations
        .into_iter()
        .flatten()
        .map(|(key, value)| key.len() + value.as_str().map_or(0, str::len))
        .sum();
    if bytes > ANNOTATIONS_BYTES_MAX {
        object.remove_annotation(ANNOTATION);
    }
}

/// As Go's encoder writes it, with a final newline: kubectl compares the text.
fn encode(config: &Value) -> String {
    let mut out = String::new();
    for c in config.to_string().chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            other => out.push(other),
        }
    }
    out.push('\n');
    out
}
