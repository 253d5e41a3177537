//! Events: kept for an hour, stored as core/v1, shown as core/v1 and events.k8s.io/v1.

use machinery::field::{FieldError, Path};
use machinery::names;
use machinery::object::{GroupVersion, ObjectExt};
use machinery::status::Result;
use serde_json::Value;

use crate::{Converter, Strategy, StrategyContext};

const TTL_SECONDS: u64 = 3600;
const TEXT_CHARS_MAX: usize = 128;
const NOTE_CHARS_MAX: usize = 1024;

/// The members whose names differ: (core/v1, events.k8s.io/v1).
const RENAMED: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

pub struct Events;

/// Renames members between the two groups' events.
pub struct EventConverter;

// === impl Converter for EventConverter ===

impl Converter for EventConverter {
    fn convert(&self, object: &mut Value, to: &GroupVersion) -> Result<()> {
        let to_core = to.group.is_empty();
        if let Value::Object(members) = object {
            for (core, new) in RENAMED {
                let (from, to) = if to_core { (new, core) } else { (core, new) };
                if let Some(value) = members.remove(from) {
                    members.insert(to.to_owned(), value);
                }
            }
            members.insert("apiVersion".to_owned(), to.to_string().into());
        }
        Ok(())
    }
}

// === impl Strategy for Events ===

impl Strategy for Events {
    fn validate(&self, ctx: &StrategyContext<'_>, object: &Value) -> Vec<FieldError> {
        let event = as_core(ctx, object);
        let mut errors = validate_legacy(&event);
        if !ctx.def.group.is_empty() {
            errors.extend(validate_series(&event));
            errors.extend(validate_strictly(&event));
        }
        errors
    }

    fn validate_update(&self, ctx: &StrategyContext<'_>, object: &Value, old: &Value) -> Vec<FieldError> {
        let (event, old) = (as_core(ctx, object), as_core(ctx, old));
        let mut errors = validate_legacy(&event);
        if ctx.def.group.is_empty() {
            return errors;
        }
        if event.get("series") != old.get("series") {
            errors.extend(validate_series(&event));
        }
        errors.extend(validate_fixed(&event, &old));
        errors
    }

    fn allows_create_on_update(&self) -> bool {
        true
    }

    fn selectable_fields(&self) -> &'static [(&'static str, &'static [&'static str])] {
        &[
            ("involvedObject.kind", &["involvedObject", "kind"]),
            ("involvedObject.namespace", &["involvedObject", "namespace"]),
            ("involvedObject.name", &["involvedObject", "name"]),
            ("involvedObject.uid", &["involvedObject", "uid"]),
            ("involvedObject.apiVersion", &["involvedObject", "apiVersion"]),
            ("involvedObject.resourceVersion", &["involvedObject", "resourceVersion"]),
            ("involvedObject.fieldPath", &["involvedObject", "fieldPath"]),
            ("regarding.kind", &["involvedObject", "kind"]),
            ("regarding.namespace", &["involvedObject", "namespace"]),
            ("regarding.name", &["involvedObject", "name"]),
            ("regarding.uid", &["involvedObject", "uid"]),
            ("regarding.apiVersion", &["involvedObject", "apiVersion"]),
            ("regarding.resourceVersion", &["involvedObject", "resourceVersion"]),
            ("regarding.fieldPath", &["involvedObject", "fieldPath"]),
            ("reason", &["reason"]),
            ("reportingComponent", &["reportingComponent"]),
            ("reportingController", &["reportingComponent"]),
            ("source", &["source", "component"]),
            ("type", &["type"]),
        ]
    }

    fn ttl_seconds(&self) -> Option<u64> {
        Some(TTL_SECONDS)
    }

    fn is_garbage_collected(&self) -> bool {
        false
    }
}

fn as_core(ctx: &StrategyContext<'_>, object: &Value) -> Value {
    let mut event = object.clone();
    if !ctx.def.group.is_empty() {
        // Renaming cannot fail.
        let _infallible = EventConverter.convert(&mut event, &GroupVersion::new("", "v1"));
    }
    event
}

fn text<'a>(event: &'a Value, field: &str) -> &'a str {
    event.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn is_unset(event: &Value, field: &str) -> bool {
    event.get(field).is_none_or(|value| value.is_null() || value == "")
}

fn validate_legacy(event: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let about = event.str_at(&["involvedObject", "namespace"]).unwrap_or_default();
    let namespace = event.namespace();
    let old_style = is_unset(event, "eventTime");
    let agrees = match (about.is_empty(), old_style) {
        (true, true) => namespace.is_empty() || namespace == "default",
        (true, false) => namespace == "default" || namespace == "kube-system",
        (false, true) => namespace == about,
        (false, false) => true,
    };
    if !agrees {
        let path = Path::new("involvedObject").child("namespace");
        errors.push(FieldError::invalid(
            &path,
            &about.into(),
            "does not match event.namespace",
        ));
    }
    if !old_style {
        errors.extend(validate_texts(event));
    }
    let texts = names::dns1123_subdomain(namespace);
    errors.extend(
        texts
            .into_iter()
            .map(|why| FieldError::invalid(&Path::new("namespace"), &namespace.into(), why)),
    );
    errors
}

fn validate_texts(event: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    // Named as the internal type names it.
    let controller = (Path::new("reportingController"), text(event, "reportingComponent"));
    if controller.1.is_empty() {
        errors.push(FieldError::required(&controller.0, ""));
    }
    let texts = names::qualified_name(controller.1);
    errors.extend(
        texts
            .into_iter()
            .map(|why| FieldError::invalid(&controller.0, &controller.1.into(), why)),
    );
    for field in ["reportingInstance", "action", "reason"] {
        let (path, value) = (Path::new(field), text(event, field));
        if value.is_empty() {
            errors.push(FieldError::required(&path, ""));
        }
        if value.len() > TEXT_CHARS_MAX {
            let why = format!("can have at most {TEXT_CHARS_MAX} characters");
            errors.push(FieldError::invalid(&path, &"".into(), why));
        }
    }
    if text(event, "message").len() > NOTE_CHARS_MAX {
        let why = format!("can have at most {NOTE_CHARS_MAX} characters");
        errors.push(FieldError::invalid(&Path::new("message"), &"".into(), why));
    }
    errors
}

fn validate_series(event: &Value) -> Vec<FieldError> {
    let Some(series) = event.get("series").filter(|series| series.is_object()) else {
        return Vec::new();
    };
    let mut errors = Vec::new();
    if series.get("count").and_then(Value::as_i64).unwrap_or_default() < 2 {
        errors.push(FieldError::invalid(
            &Path::new("series.count"),
            &"".into(),
            "should be at least 2",
        ));
    }
    if is_unset(series, "lastObservedTime") {
        errors.push(FieldError::required(&Path::new("series.lastObservedTime"), ""));
    }
    errors
}

/// What the newer group demands of a new event beyond core.
fn validate_strictly(event: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if is_unset(event, "eventTime") {
        errors.push(FieldError::required(&Path::new("eventTime"), ""));
    }
    let kind = text(event, "type");
    if kind != "Normal" && kind != "Warning" {
        let why = format!("has invalid value: {kind}");
        errors.push(FieldError::invalid(&Path::new("type"), &"".into(), why));
    }
    let counted = event.get("count").and_then(Value::as_i64).unwrap_or_default() != 0;
    let sourced = !event.str_at(&["source", "component"]).unwrap_or_default().is_empty()
        || !event.str_at(&["source", "host"]).unwrap_or_default().is_empty();
    let set = [
        ("firstTimestamp", !is_unset(event, "firstTimestamp")),
        ("lastTimestamp", !is_unset(event, "lastTimestamp")),
        ("count", counted),
        ("source", sourced),
    ];
    for (field, _) in set.into_iter().filter(|(_, set)| *set) {
        errors.push(FieldError::invalid(&Path::new(field), &"".into(), "needs to be unset"));
    }
    errors
}

/// Through the newer group only the series of an event changes.
fn validate_fixed(event: &Value, old: &Value) -> Vec<FieldError> {
    const FIXED: [(&str, &str); 13] = [
        ("involvedObject", "involvedObject"),
        ("reason", "reason"),
        ("message", "message"),
        ("source", "source"),
        ("firstTimestamp", "firstTimestamp"),
        ("lastTimestamp", "lastTimestamp"),
        ("count", "count"),
        ("type", "type"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        ("reportingComponent", "reportingController"),
        ("reportingInstance", "reportingInstance"),
    ];
    let changed = FIXED.iter().filter(|(field, _)| event.get(*field) != old.get(*field));
    changed
        .map(|(field, shown)| {
            let value = event.get(*field).cloned().unwrap_or_default();
            FieldError::invalid(&Path::new(shown), &value, "field is immutable")
        })
        .collect()
}
