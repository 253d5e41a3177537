//! APIBindings and endpoint slices: the right to bind, the export label, the shape of claims (facts E.3, I.10, A.11).

use api::{hashes, keys};
use machinery::field::{FieldError, Path};
use machinery::object::ObjectExt;
use machinery::status::Status;
use permit::{Cluster, Verb};
use serde_json::Value;

use super::{AccessCheck, Review, World};

const EXPORT: &[&str] = &["spec", "reference", "export"];

fn is_binding(review: &Review<'_>) -> bool {
    review.is(keys::group::APIS, "apibindings")
}

fn reference(object: &Value) -> (&str, &str) {
    let member = |name: &str| object.at(EXPORT).and_then(|e| e.str_at(&[name])).unwrap_or_default();
    (member("path"), member("name"))
}

/// The label that makes the bindings of an export findable. Where nobody knows yet what a path leads to it is made of the path,
/// so that who waits for an export is found when the export comes (kcp has an index of references for that).
pub(super) fn mutate(review: &mut Review<'_>, world: &dyn World) {
    if !is_binding(review) || !review.is_write() || !review.is_main() {
        return;
    }
    let wanted = wanted_label(review, world);
    let Some(object) = review.object.as_deref_mut() else {
        return;
    };
    drop_empty_identities(object);
    match wanted {
        Some(label) => object.set_label(keys::label::EXPORT, &label),
        None => _ = object.remove_label(keys::label::EXPORT),
    }
}

/// As kcp stores claims: an empty hash is none. Items of a list correlate by keys that are there alone, so that the rule
/// "selector is immutable" speaks of claims with a hash only (facts A.11, I.28).
fn drop_empty_identities(object: &mut Value) {
    let claims = object
        .pointer_mut("/spec/permissionClaims")
        .and_then(Value::as_array_mut);
    for claim in claims.into_iter().flatten().filter_map(Value::as_object_mut) {
        if claim.get("identityHash").and_then(Value::as_str) == Some("") {
            claim.remove("identityHash");
        }
    }
}

fn wanted_label(review: &Review<'_>, world: &dyn World) -> Option<String> {
    let (path, name) = reference(review.object());
    if name.is_empty() {
        return None;
    }
    // A path of one segment is the name of a cluster, known here or not.
    let home = home_of(review, world, path, name);
    Some(hashes::export_label(home.as_ref().map_or(path, Cluster::as_str), name))
}

/// The cluster of an export. By the path that the export itself has recorded, where its workspaces are on other shards.
fn home_of(review: &Review<'_>, world: &dyn World, path: &str, name: &str) -> Option<Cluster> {
    if path.is_empty() {
        return Some(review.cluster.clone());
    }
    let export = world.export(review.cluster, path, name);
    let home = export.and_then(|export| crate::types::cluster_of(&export));
    home.or_else(|| world.cluster_at(path))
}

pub(super) fn validate(review: &Review<'_>, world: &dyn World, checks: &mut Vec<AccessCheck>) -> Result<(), Status> {
    if review.is(keys::group::APIS, "apiexportendpointslices") && review.is_write() && review.is_main() {
        return validate_slice(review, world, checks);
    }
    if !is_binding(review) || !review.is_write() {
        return Ok(());
    }
    let object = review.object();
    let phase = |object: &Value| object.str_at(&["status", "phase"]).unwrap_or_default().to_owned();
    if let Some(from) = review
        .old
        .map(phase)
        .filter(|from| !from.is_empty() && phase(object).is_empty())
    {
        return Err(review.forbidden(format!("cannot transition from {from:?} to \"\"")));
    }
    if !review.is_main() {
        return Ok(());
    }
    review.forbidden_list(&shape_errors(object))?;
    let changed = review.old.is_none_or(|old| reference(old) != reference(object));
    if changed && !review.is_system_privileged() {
        let (path, name) = reference(object);
        let verb = if review.verb == Verb::Create {
            "create"
        } else {
            "update"
        };
        checks.push(bind_check(review, world, path, name, &format!("{verb} APIBinding")));
    }
    Ok(())
}

/// An export that cannot be found is answered like a missing right, for everybody: kcp looks it up by its path first.
fn validate_slice(review: &Review<'_>, world: &dyn World, checks: &mut Vec<AccessCheck>) -> Result<(), Status> {
    let object = review.object();
    let member = |object: &Value, name: &str| object.str_at(&["spec", "export", name]).unwrap_or_default().to_owned();
    let (path, name) = (member(object, "path"), member(object, "name"));
    let changed = review
        .old
        .is_none_or(|old| (member(old, "path"), member(old, "name")) != (path.clone(), name.clone()));
    if !changed {
        return Ok(());
    }
    let check = bind_check(review, world, &path, &name, "create APIExportEndpointSlice");
    if !path.is_empty() && world.export(review.cluster, &path, &name).is_none() {
        return Err(check.denied);
    }
    if !review.is_system_privileged() {
        checks.push(check);
    }
    Ok(())
}

/// Verb `bind` on the export, in its own cluster. An unknown path is answered like a missing right.
pub(super) fn bind_check(review: &Review<'_>, world: &dyn World, path: &str, name: &str, doing: &str) -> AccessCheck {
    let cluster = home_of(review, world, path, name);
    let shown = if path.is_empty() { review.cluster.as_str() } else { path };
    AccessCheck {
        cluster,
        verb: keys::verb::BIND,
        group: keys::group::APIS,
        resource: "apiexports",
        name: name.to_owned(),
        denied: review.forbidden(format!(
            "unable to {doing}: no permission to bind to export {shown}:{name}"
        )),
    }
}

fn shape_errors(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = Path::new("spec");
    let export = spec.child("reference").child("export");
    match object.at(EXPORT) {
        None | Some(Value::Null) => errors.push(FieldError::required(&export, "")),
        Some(value) if value.str_at(&["name"]).is_none_or(str::is_empty) => {
            errors.push(FieldError::required(&export.child("name"), ""));
        }
        Some(_) => {}
    }
    let claims = object.at(&["spec", "permissionClaims"]).and_then(Value::as_array);
    for (index, claim) in claims.into_iter().flatten().enumerate() {
        let path = spec.child("permissionClaims").index(index).child("selector");
        errors.extend(selector_errors(&path, claim.get("selector")));
    }
    errors
}

fn selector_errors(path: &Path, selector: Option<&Value>) -> Vec<FieldError> {
    const NULL: &Value = &Value::Null;
    let selector = selector.unwrap_or(NULL);
    let all = selector.at(&["matchAll"]).and_then(Value::as_bool) == Some(true);
    let filled = |member: &str| match selector.get(member) {
        Some(Value::Object(map)) => !map.is_empty(),
        Some(Value::Array(list)) => !list.is_empty(),
        _ => false,
    };
    let (labels, expressions) = (filled("matchLabels"), filled("matchExpressions"));
    let mut errors = Vec::new();
    if all && labels {
        let detail = "matchLabels cannot be used with matchAll";
        errors.push(FieldError::invalid(&path.child("matchLabels"), selector, detail));
    }
    if all && expressions {
        let detail = "matchExpressions cannot be used with matchAll";
        errors.push(FieldError::invalid(&path.child("matchExpressions"), selector, detail));
    }
    if !all && !labels && !expressions {
        let detail = "either one of matchAll, matchLabels, or matchExpressions must be set";
        errors.push(FieldError::required(path, detail));
    }
    errors
}
