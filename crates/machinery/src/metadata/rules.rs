//! Validation of `metadata` on create and update.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::field::{FieldError, FieldErrorKind, Path};
use crate::names::{self, NameFn};
use crate::object::{GroupVersion, ObjectExt};
use crate::text;

/// All annotations of an object together, keys and values.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
const FIELD_MANAGER_BYTES_MAX: usize = 128;
const SUBRESOURCE_BYTES_MAX: usize = 256;

/// Checks `metadata` of an object about to be created (after its name has been generated), or of any object.
pub fn validate_object_meta(object: &Value, namespaced: bool, name_fn: NameFn) -> Vec<FieldError> {
    let path = Path::new("metadata");
    let mut errors = Vec::new();
    let generate_name = object.str_at(&["metadata", "generateName"]).unwrap_or_default();
    if !generate_name.is_empty() {
        let at = path.child("generateName");
        errors.extend(
            name_fn(generate_name, true)
                .iter()
                .map(|why| invalid(&at, generate_name, why)),
        );
    }
    let at = path.child("name");
    if object.name().is_empty() {
        errors.push(FieldError::required(&at, "name or generateName is required"));
    } else {
        errors.extend(
            name_fn(object.name(), false)
                .iter()
                .map(|why| invalid(&at, object.name(), why)),
        );
    }
    let at = path.child("namespace");
    match (namespaced, object.namespace()) {
        (true, "") => errors.push(FieldError::required(&at, "")),
        (true, namespace) => {
            errors.extend(
                names::label_name(namespace, false)
                    .iter()
                    .map(|why| invalid(&at, namespace, why)),
            );
        }
        (false, "") => {}
        (false, _) => errors.push(FieldError::forbidden(&at, "not allowed on this type")),
    }
    errors.extend(nonnegative_generation(object));
    let none = Map::new();
    let meta = object.meta().unwrap_or(&none);
    errors.extend(check_labels(meta.get("labels"), &path.child("labels")));
    errors.extend(check_annotations(meta.get("annotations"), &path.child("annotations")));
    errors.extend(check_owners(
        meta.get("ownerReferences"),
        &path.child("ownerReferences"),
    ));
    errors.extend(check_finalizers(object, &path.child("finalizers")));
    errors.extend(check_managed_fields(
        meta.get("managedFields"),
        &path.child("managedFields"),
    ));
    errors
}

/// Checks `metadata` of an update against what is stored; both are complete objects.
pub fn validate_object_meta_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let path = Path::new("metadata");
    let none = Map::new();
    let (new_meta, old_meta) = (new.meta().unwrap_or(&none), old.meta().unwrap_or(&none));
    let mut errors = Vec::new();
    if old.deletion_timestamp().is_some() {
        errors.extend(check_no_new_finalizers(new, old, &path.child("finalizers")));
    }
    if new.resource_version().is_empty() {
        errors.push(invalid(
            &path.child("resourceVersion"),
            "",
            "must be specified for an update",
        ));
    }
    errors.extend(nonnegative_generation(new));
    if new.generation() < old.generation() {
        let at = path.child("generation");
        errors.push(FieldError::invalid(
            &at,
            &json!(new.generation()),
            "must not be decremented",
        ));
    }
    for name in ["name", "namespace", "uid"] {
        let text = |meta: &Map<String, Value>| meta.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (new, old) = (text(new_meta), text(old_meta));
        if new != old {
            errors.push(invalid(&path.child(name), &new, "field is immutable"));
        }
    }
    for name in ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let (new, old) = (
            new_meta.get(name).unwrap_or(&Value::Null),
            old_meta.get(name).unwrap_or(&Value::Null),
        );
        if new != old {
            errors.push(FieldError::invalid(&path.child(name), new, "field is immutable"));
        }
    }
    errors.extend(check_labels(new_meta.get("labels"), &path.child("labels")));
    errors.extend(check_annotations(
        new_meta.get("annotations"),
        &path.child("annotations"),
    ));
    errors.extend(check_owners(
        new_meta.get("ownerReferences"),
        &path.child("ownerReferences"),
    ));
    errors.extend(check_managed_fields(
        new_meta.get("managedFields"),
        &path.child("managedFields"),
    ));
    errors
}

/// What an update without resourceVersion gets where the kind does not allow unconditional ones.
pub fn version_required() -> FieldError {
    let at = Path::new("metadata").child("resourceVersion");
    FieldError::new(
        FieldErrorKind::Invalid,
        &at,
        Some("0".to_owned()),
        "must be specified for an update",
    )
}

/// Keys and values of a map of labels.
pub fn check_labels(labels: Option<&Value>, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, value) in strings(labels) {
        errors.extend(names::qualified_name(key).iter().map(|why| invalid(path, key, why)));
        errors.extend(names::label_value(value).iter().map(|why| invalid(path, value, why)));
    }
    errors
}

/// Keys of a map of annotations (their case does not matter), and its size.
pub fn check_annotations(annotations: Option<&Value>, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut bytes = 0;
    for (key, value) in strings(annotations) {
        bytes += key.len() + value.len();
        errors.extend(
            names::qualified_name(&key.to_lowercase())
                .iter()
                .map(|why| invalid(path, key, why)),
        );
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        errors.push(FieldError::too_long(path, ANNOTATIONS_BYTES_MAX));
    }
    errors
}

/// The name of a field manager: at most 128 bytes, printable.
pub fn check_field_manager(manager: &str, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if manager.len() > FIELD_MANAGER_BYTES_MAX {
        errors.push(FieldError::too_long(path, FIELD_MANAGER_BYTES_MAX));
    }
    for (position, char) in manager.char_indices().filter(|(_, char)| !text::is_print(*char)) {
        let why = format!("invalid character U+{:04X} (at position {position})", u32::from(char));
        errors.push(invalid(path, manager, &why));
    }
    errors
}

fn nonnegative_generation(object: &Value) -> Option<FieldError> {
    let at = Path::new("metadata").child("generation");
    let generation = object.generation();
    (generation < 0).then(|| FieldError::invalid(&at, &json!(generation), "must be greater than or equal to 0"))
}

/// How many references too many with `controller: true` are reported one by one.
const CONTROLLER_CONFLICTS_MAX: usize = 10;

fn check_owners(owners: Option<&Value>, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut controller: Option<String> = None;
    let mut conflicts = 0;
    for (index, owner) in items(owners).iter().enumerate() {
        let at = path.index(index);
        let text = |name: &str| owner.get(name).and_then(Value::as_str).unwrap_or_default();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        if api_version.is_empty() {
            errors.push(FieldError::required(&at.child("apiVersion"), "must not be empty"));
        } else if api_version.matches('/').count() > 1 || GroupVersion::parse(api_version).version.is_empty() {
            let why = "must be <group>/<version> or <version>";
            errors.push(invalid(&at.child("apiVersion"), api_version, why));
        }
        for name in ["kind", "name", "uid"] {
            if text(name).is_empty() {
                errors.push(FieldError::required(&at.child(name), "must not be empty"));
            }
        }
        if api_version == "v1" && kind == "Event" {
            let why = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(FieldError::new(
                FieldErrorKind::Invalid,
                &at,
                Some(owner_text(owner)),
                why,
            ));
        }
        if owner.get("controller") == Some(&Value::Bool(true)) {
            let name = format!("{kind}/{}", text("name"));
            match &controller {
                None => controller = Some(name),
                // Each shows all owners: what is said of a few is enough for many.
                Some(_) if conflicts >= CONTROLLER_CONFLICTS_MAX => {}
                Some(first) => {
                    conflicts += 1;
                    let owners: Vec<String> = items(owners).iter().map(owner_text).collect();
                    let why = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {name}"
                    );
                    let value = Some(format!("[{}]", owners.join(",")));
                    errors.push(FieldError::new(FieldErrorKind::Invalid, path, value, why));
                }
            }
        }
    }
    errors
}

/// An owner reference as JSON, members in the order of Kubernetes' type.
fn owner_text(owner: &Value) -> String {
    let order = ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];
    let members: Vec<String> = order
        .iter()
        .filter_map(|name| owner.get(name).map(|value| format!("\"{name}\":{value}")))
        .collect();
    format!("{{{}}}", members.join(","))
}

fn check_finalizers(object: &Value, path: &Path) -> Vec<FieldError> {
    let finalizers = object.finalizers();
    let mut errors = Vec::new();
    for name in &finalizers {
        errors.extend(names::qualified_name(name).iter().map(|why| invalid(path, name, why)));
    }
    if finalizers.contains(&"orphan") && finalizers.contains(&"foregroundDeletion") {
        let why = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid(path, &json!(finalizers), why));
    }
    errors
}

fn check_no_new_finalizers(new: &Value, old: &Value, path: &Path) -> Option<FieldError> {
    let old: BTreeSet<&str> = old.finalizers().into_iter().collect();
    let extra: BTreeSet<&str> = new
        .finalizers()
        .into_iter()
        .filter(|name| !old.contains(name))
        .collect();
    (!extra.is_empty()).then(|| {
        let list = text::go_strings(extra);
        let why = format!("no new finalizers can be added if the object is being deleted, found new finalizers {list}");
        FieldError::forbidden(path, why)
    })
}

fn check_managed_fields(entries: Option<&Value>, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, entry) in items(entries).iter().enumerate() {
        let at = path.index(index);
        let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
        match text("operation") {
            "" => errors.push(FieldError::required(&at.child("operation"), "must not be empty")),
            "Apply" | "Update" => {}
            other => {
                errors.push(FieldError::not_supported(
                    &at.child("operation"),
                    &json!(other),
                    &["Apply", "Update"],
                ));
            }
        }
        if !matches!(text("fieldsType"), "" | "FieldsV1") {
            errors.push(invalid(
                &at.child("fieldsType"),
                text("fieldsType"),
                "must be `FieldsV1`",
            ));
        }
        errors.extend(check_field_manager(text("manager"), &at.child("manager")));
        if text("subresource").len() > SUBRESOURCE_BYTES_MAX {
            errors.push(FieldError::too_long(&at.child("subresource"), SUBRESOURCE_BYTES_MAX));
        }
    }
    errors
}

fn invalid(path: &Path, value: &str, why: &str) -> FieldError {
    FieldError::new(FieldErrorKind::Invalid, path, Some(text::quote(value)), why)
}

fn items(list: Option<&Value>) -> &[Value] {
    list.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn strings(map: Option<&Value>) -> impl Iterator<Item = (&String, &str)> {
    let members = map.and_then(Value::as_object).into_iter().flatten();
    members.map(|(key, value)| (key, value.as_str().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{path_segment_name, subdomain_name};

    fn texts(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(FieldError::to_string).collect()
    }

    fn with_meta(meta: Value) -> Value {
        json!({"metadata": meta})
    }

    #[test]
    fn a_name_is_required() {
        let errors = validate_object_meta(&json!({}), false, subdomain_name);
        assert_eq!(
            texts(&errors),
            ["metadata.name: Required value: name or generateName is required"]
        );
    }

    #[test]
    fn namespace_belongs_to_namespaced_kinds_only() {
        let check =
            |meta: Value, namespaced| texts(&validate_object_meta(&with_meta(meta), namespaced, path_segment_name));
        assert_eq!(
            check(json!({"name": "a"}), true),
            ["metadata.namespace: Required value"]
        );
        assert_eq!(
            check(json!({"name": "a", "namespace": "b"}), false),
            ["metadata.namespace: Forbidden: not allowed on this type"]
        );
        assert!(check(json!({"name": "a", "namespace": "A"}), true)[0].contains("a lowercase RFC 1123 label"));
        assert!(check(json!({"name": "a", "namespace": "b"}), true).is_empty());
    }

    #[test]
    fn labels_annotations_and_finalizers_are_checked() {
        let object = with_meta(json!({
            "name": "a", "generation": -1,
            "labels": {"-": "ok", "b": "not ok"},
            "annotations": {"Upper.COM/ok": "any thing", "a b": ""},
            "finalizers": ["orphan", "foregroundDeletion", "a/b/c"],
        }));
        let errors = texts(&validate_object_meta(&object, false, subdomain_name));
        assert_eq!(
            errors[0],
            "metadata.generation: Invalid value: -1: must be greater than or equal to 0"
        );
        assert!(errors[1].starts_with("metadata.labels: Invalid value: \"-\": name part must consist of"));
        assert!(errors[2].starts_with("metadata.labels: Invalid value: \"not ok\": a valid label must be"));
        assert!(errors[3].starts_with("metadata.annotations: Invalid value: \"a b\": name part"));
        assert!(errors[4].starts_with("metadata.finalizers: Invalid value: \"a/b/c\": a valid label key"));
        assert_eq!(
            errors[5],
            "metadata.finalizers: Invalid value: [\"orphan\",\"foregroundDeletion\",\"a/b/c\"]: finalizer orphan and \
             foregroundDeletion cannot be both set"
        );
        assert_eq!(errors.len(), 6);
    }

    #[test]
    fn annotations_have_a_total_size() {
        let object = with_meta(json!({"name": "a", "annotations": {"k": "x".repeat(ANNOTATIONS_BYTES_MAX)}}));
        let errors = texts(&validate_object_meta(&object, false, subdomain_name));
        assert_eq!(
            errors,
            ["metadata.annotations: Too long: may not be more than 262144 bytes"]
        );
    }

    #[test]
    fn a_thousand_controllers_are_not_reported_a_thousand_times() {
        let owner = |n: usize| json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": n.to_string(), "controller": true});
        let report = |count: usize| {
            let owners = json!((0..count).map(owner).collect::<Vec<_>>());
            check_owners(Some(&owners), &Path::new("metadata").child("ownerReferences"))
        };
        assert_eq!((report(1).len(), report(3).len()), (0, 2), "as Kubernetes");
        assert_eq!(report(1000).len(), CONTROLLER_CONFLICTS_MAX);
    }

    #[test]
    fn owner_references_are_complete_and_have_one_controller() {
        let owner =
            |name: &str| json!({"apiVersion": "g/v1", "kind": "K", "name": name, "uid": "u", "controller": true});
        let object = with_meta(json!({"name": "a", "ownerReferences": [owner("x"), owner("y")]}));
        let errors = texts(&validate_object_meta(&object, false, subdomain_name));
        assert_eq!(errors.len(), 1);
        assert!(
            errors[0].starts_with("metadata.ownerReferences: Invalid value: [{\"apiVersion\":\"g/v1\",\"kind\":\"K\",")
        );
        assert!(errors[0].ends_with("Found \"true\" in references for K/x and K/y"));

        let object = with_meta(
            json!({"name": "a", "ownerReferences": [{"apiVersion": "a/b/c"}, {"apiVersion": "v1", "kind": "Event", "name": "e", "uid": "u"}]}),
        );
        assert_eq!(
            texts(&validate_object_meta(&object, false, subdomain_name)),
            [
                "metadata.ownerReferences[0].apiVersion: Invalid value: \"a/b/c\": must be <group>/<version> or <version>",
                "metadata.ownerReferences[0].kind: Required value: must not be empty",
                "metadata.ownerReferences[0].name: Required value: must not be empty",
                "metadata.ownerReferences[0].uid: Required value: must not be empty",
                "metadata.ownerReferences[1]: Invalid value: {\"apiVersion\":\"v1\",\"kind\":\"Event\",\"name\":\"e\",\"uid\":\"u\"}: \
                 /v1, Kind=Event is disallowed from being an owner",
            ]
        );
    }

    #[test]
    fn managed_fields_have_a_known_operation() {
        let object = with_meta(
            json!({"name": "a", "managedFields": [{}, {"operation": "X", "fieldsType": "Y", "manager": "a\u{7}"}]}),
        );
        assert_eq!(
            texts(&validate_object_meta(&object, false, subdomain_name)),
            [
                "metadata.managedFields[0].operation: Required value: must not be empty",
                "metadata.managedFields[1].operation: Unsupported value: \"X\": supported values: \"Apply\", \"Update\"",
                "metadata.managedFields[1].fieldsType: Invalid value: \"Y\": must be `FieldsV1`",
                "metadata.managedFields[1].manager: Invalid value: \"a\\a\": invalid character U+0007 (at position 1)",
            ]
        );
    }

    #[test]
    fn identity_is_immutable() {
        let old = with_meta(
            json!({"name": "a", "uid": "1", "resourceVersion": "1", "generation": 2, "creationTimestamp": "2026-01-01T00:00:00Z"}),
        );
        let new = with_meta(json!({"name": "b", "uid": "1", "generation": 1}));
        assert_eq!(
            texts(&validate_object_meta_update(&new, &old)),
            [
                "metadata.resourceVersion: Invalid value: \"\": must be specified for an update",
                "metadata.generation: Invalid value: 1: must not be decremented",
                "metadata.name: Invalid value: \"b\": field is immutable",
                "metadata.creationTimestamp: Invalid value: null: field is immutable",
            ]
        );
        assert!(validate_object_meta_update(&old, &old).is_empty());
        assert_eq!(
            version_required().to_string(),
            "metadata.resourceVersion: Invalid value: 0: must be specified for an update"
        );
    }

    #[test]
    fn no_finalizer_is_added_to_a_dying_object() {
        let old = with_meta(
            json!({"name": "a", "resourceVersion": "1", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a/b"]}),
        );
        let mut new = old.clone();
        new["metadata"]["finalizers"] = json!(["z/y", "a/b", "c/d"]);
        assert_eq!(
            texts(&validate_object_meta_update(&new, &old)),
            [
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new \
              finalizers []string{\"c/d\", \"z/y\"}"
            ]
        );
        new["metadata"]["finalizers"] = json!([]);
        assert!(validate_object_meta_update(&new, &old).is_empty());
    }
}
