//! What the server sets in metadata, whatever a client sent.

use std::collections::BTreeSet;

use env::Rng;
use machinery::ids;
use machinery::object::ObjectExt;
use machinery::status::{Result, Status};
use serde_json::Value;

use crate::Request;

/// kcp: the cluster of every object, set from its key (C.6).
pub(super) const CLUSTER_ANNOTATION: &str = "kcp.io/cluster";

/// Members that clients do not set on a new object.
const SYSTEM_FIELDS: [&str; 6] = [
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "generation",
];

/// Makes the metadata of a new object.
pub(super) fn begin_object(object: &mut Value, rng: &Rng, now: &str) {
    let meta = object.meta_mut();
    for field in SYSTEM_FIELDS {
        meta.remove(field);
    }
    let mut random = [0; 16];
    rng.fill(&mut random);
    meta.insert("uid".to_owned(), ids::uid(random).into());
    meta.insert("creationTimestamp".to_owned(), now.into());
    object.remove_annotation(CLUSTER_ANNOTATION);
}

/// A name from `generateName`, if there is one and no name.
pub(super) fn generated_name(object: &Value, rng: &Rng) -> Option<String> {
    let base = object
        .str_at(&["metadata", "generateName"])
        .filter(|base| !base.is_empty())?;
    if !object.name().is_empty() {
        return None;
    }
    let mut random = [0; 5];
    rng.fill(&mut random);
    Some(ids::generate_name(base, random))
}

pub(super) fn set(object: &mut Value, field: &str, value: impl Into<Value>) {
    object.meta_mut().insert(field.to_owned(), value.into());
}

/// The body's namespace is the request's, or absent; the body of a cluster-scoped object loses its.
pub(super) fn settle_namespace(object: &mut Value, namespace: &str) -> Result<()> {
    match object.namespace() {
        same if same == namespace => Ok(()),
        "" => {
            set(object, "namespace", namespace);
            Ok(())
        }
        _ if namespace.is_empty() => {
            object.meta_mut().remove("namespace");
            Ok(())
        }
        _ => Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        )),
    }
}

/// What an update cannot change is what it was.
pub(super) fn keep_system_fields(object: &mut Value, old: &Value) {
    let Some(held) = old.meta() else { return };
    let meta = object.meta_mut();
    if meta.get("uid").is_none_or(|uid| uid == "") {
        restore(meta, held, "uid");
    }
    if held.contains_key("creationTimestamp") {
        restore(meta, held, "creationTimestamp");
    }
    if held.contains_key("deletionTimestamp") {
        restore(meta, held, "deletionTimestamp");
    }
    if !meta.contains_key("deletionGracePeriodSeconds") {
        restore(meta, held, "deletionGracePeriodSeconds");
    }
}

/// The cluster's annotation is neither written nor owned by anybody: it is there before ownership is looked at.
pub(super) fn keep_cluster(object: &mut Value, old: &Value) {
    match old.annotation(CLUSTER_ANNOTATION) {
        Some(cluster) if object.annotation(CLUSTER_ANNOTATION) == Some(cluster) => {}
        Some(cluster) => object.set_annotation(CLUSTER_ANNOTATION, cluster),
        None => drop(object.remove_annotation(CLUSTER_ANNOTATION)),
    }
}

/// `generation` is the server's to count.
pub(super) fn keep_generation(object: &mut Value, old: &Value) {
    let generation = old.meta().and_then(|held| held.get("generation"));
    match generation {
        Some(generation) => set(object, "generation", generation.clone()),
        None => drop(object.meta_mut().remove("generation")),
    }
}

fn restore(meta: &mut serde_json::Map<String, Value>, held: &serde_json::Map<String, Value>, field: &str) {
    if let Some(value) = held.get(field) {
        meta.insert(field.to_owned(), value.clone());
    }
}

/// Marks an object as being deleted. False if it was already.
pub(super) fn mark_deleting(object: &mut Value, now: &str, with_grace: bool) -> bool {
    let first = object.deletion_timestamp().is_none();
    if first {
        if object.generation() > 0 {
            let next = object.generation() + 1;
            set(object, "generation", next);
        }
        set(object, "deletionTimestamp", now);
    }
    if with_grace {
        set(object, "deletionGracePeriodSeconds", 0);
    }
    first
}

/// Drops owner references that repeat a uid, with a warning.
pub(super) fn dedup_owners(object: &mut Value, request: &Request, after_admission: bool) {
    let Some(Value::Array(owners)) = object.meta().and_then(|meta| meta.get("ownerReferences")) else {
        return;
    };
    let uid = |owner: &Value| owner.str_at(&["uid"]).unwrap_or_default().to_owned();
    // Upstream compares whole references; equal ones have equal uids.
    let mut kept: Vec<Value> = Vec::new();
    let mut repeated: Vec<String> = Vec::new();
    let (mut seen, mut told) = (BTreeSet::new(), BTreeSet::new());
    for owner in owners {
        if seen.insert(owner.to_string()) {
            kept.push(owner.clone());
        } else if told.insert(uid(owner)) {
            repeated.push(uid(owner));
        }
    }
    if repeated.is_empty() {
        return;
    }
    let when = if after_admission {
        " after mutating admission happens"
    } else {
        ""
    };
    request.warn(format!(
        ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and may \
         reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
        repeated.join(", ")
    ));
    set(object, "ownerReferences", kept);
}
