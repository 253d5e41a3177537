//! LogicalClusters: who may make and unmake them, how phases and initializers may move (facts I.8, D.9).

use api::keys::{self, annotation, phase};
use machinery::field::{FieldError, Path};
use machinery::object::ObjectExt;
use machinery::status::Status;
use permit::Verb;
use serde_json::Value;

use super::Review;
use crate::authz::KCP_ADMIN;

fn concerns(review: &Review<'_>) -> bool {
    review.is(keys::group::CORE, "logicalclusters")
}

fn phase_of(object: &Value) -> &str {
    object.str_at(&["status", "phase"]).unwrap_or_default()
}

fn list<'a>(object: &'a Value, section: &str, member: &str) -> Vec<&'a str> {
    let items = object.at(&[section, member]).and_then(Value::as_array);
    items.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// On the transition to Initializing the status starts with what the spec says; the server itself may have done part of it.
pub(super) fn mutate(review: &mut Review<'_>) {
    if !concerns(review) || review.verb != Verb::Update || review.trusted {
        return;
    }
    let Some(old) = review.old else { return };
    let Some(object) = review.object.as_deref_mut() else {
        return;
    };
    if phase_of(object) != phase::workspace::INITIALIZING || phase_of(old) == phase::workspace::INITIALIZING {
        return;
    }
    for member in ["initializers", "terminators"] {
        if let Some(value) = object.at(&["spec", member]).cloned() {
            object.set_at(&["status", member], value);
        }
    }
}

pub(super) fn validate(review: &Review<'_>) -> Result<(), Status> {
    if !concerns(review) || review.is_lifecycle_privileged() {
        return Ok(());
    }
    match (review.verb, review.old) {
        (Verb::Create, _) => Err(review.forbidden("LogicalCluster cannot be created")),
        (Verb::Delete, Some(old)) => {
            let deletable = old.at(&["spec", "directlyDeletable"]).and_then(Value::as_bool) == Some(true);
            if deletable {
                Ok(())
            } else {
                Err(review.forbidden("LogicalCluster cannot be deleted"))
            }
        }
        (Verb::Delete, None) => Err(review.forbidden("LogicalCluster cannot be deleted")),
        (_, Some(old)) => validate_update(review, old),
        _ => Ok(()),
    }
}

/// What others trust a cluster to be: exports and types are found by its path, what it serves by its bindings. kcp lets the
/// cluster's own administrators change it. Groups that are required may be added by them, but not taken away.
const IDENTITY: &[&str] = &[
    annotation::PATH,
    annotation::WORKSPACE_TYPE,
    annotation::SHARD,
    annotation::RESOURCE_BINDINGS,
];

fn validate_update(review: &Review<'_>, old: &Value) -> Result<(), Status> {
    let new = review.object();
    if old.at(&["spec", "createdBy"]) != new.at(&["spec", "createdBy"]) {
        let value = new.at(&["spec", "createdBy"]).cloned().unwrap_or_default();
        let error = FieldError::invalid(&Path::new("spec").child("createdBy"), &value, "field is immutable");
        return Err(review.forbidden(error));
    }
    if old.at(&["spec", "owner"]) != new.at(&["spec", "owner"]) {
        return Err(review.forbidden("spec.owner is immutable"));
    }
    let changed = |key: &&&str| old.annotation(key) != new.annotation(key);
    let gate = Some(&annotation::REQUIRED_GROUPS).filter(|key| old.annotation(key).is_some());
    if let Some(key) = IDENTITY.iter().chain(gate).find(changed) {
        return Err(review.forbidden(format!("metadata.annotations[{key}] is immutable")));
    }
    // Those who are limited by it are its administrators. kcp means to reserve it, and does not.
    let limit = |object: &Value| object.annotation(annotation::MAX_TOTAL_OBJECTS).map(str::to_owned);
    if limit(old) != limit(new) && !review.user.in_group(KCP_ADMIN) {
        let text = format!(
            "modification of reserved annotation: {:?}",
            annotation::MAX_TOTAL_OBJECTS
        );
        return Err(review.forbidden(text));
    }
    if list(old, "spec", "initializers") != list(new, "spec", "initializers") {
        return Err(review.forbidden("spec.initializers is immutable"));
    }
    let (from, to) = (phase_of(old), phase_of(new));
    let (had, has) = (list(old, "status", "initializers"), list(new, "status", "initializers"));
    let entering = from != phase::workspace::INITIALIZING && to == phase::workspace::INITIALIZING;
    if entering && has != list(new, "spec", "initializers") {
        return Err(review.forbidden("status.initializers do not equal spec.initializers"));
    }
    if !entering && to == phase::workspace::INITIALIZING && has.iter().any(|i| !had.contains(i)) {
        return Err(review.forbidden("status.initializers must not grow"));
    }
    let past = |phase: &str| ordinal(phase) > ordinal(phase::workspace::INITIALIZING);
    if past(from) && past(to) && had != has {
        return Err(review.forbidden("status.initializers is immutable after initialization"));
    }
    if from == phase::workspace::INITIALIZING && past(to) && !has.is_empty() {
        return Err(review.forbidden("status.initializers is not empty"));
    }
    if from != to && ordinal(to) < ordinal(from) {
        return Err(review.forbidden(format!("cannot transition from {from:?} to {to:?}")));
    }
    let inactive = |object: &Value| object.annotation(annotation::INACTIVE) == Some("true");
    if inactive(new) && !inactive(old) && to != phase::workspace::READY {
        let text = format!("LogicalCluster can only be marked inactive in phase \"Ready\", but is in phase {to:?}");
        return Err(review.forbidden(text));
    }
    Ok(())
}

/// Users move phases forward only as far as Ready; what comes after is the server's.
fn ordinal(phase: &str) -> u8 {
    match phase {
        "" => 1,
        phase::workspace::SCHEDULING => 2,
        phase::workspace::INITIALIZING => 3,
        phase::workspace::READY => 4,
        _ => 0,
    }
}
