//! Workspaces: defaulting of type and owner, who may set what, use of types and their limits (facts D.2).

use std::sync::Arc;

use api::keys::{self, annotation, verb};
use machinery::object::{GroupResource, ObjectExt};
use machinery::status::Status;
use permit::Verb;
use serde_json::{Value, json};

use super::{AccessCheck, Review, World};
use crate::types::{TypeRef, aliases, check_limits, cluster_of, path_of};

fn concerns(review: &Review<'_>) -> bool {
    review.is(keys::group::TENANCY, "workspaces") && review.is_main()
}

/// What the scheduler decided: which cluster of which shard is made, with all rights in it for the workspace's owner.
const DECIDED: &[&str] = &[
    annotation::SCHEDULED_CLUSTER,
    annotation::SHARD,
    annotation::SHARD_HASH,
    annotation::ABANDONED,
];

/// What is decided when the workspace is made.
const SETTLED: &[&str] = &[annotation::OWNER, annotation::REQUIRED_GROUPS];

/// Leaves to the scheduler what is the scheduler's: whoever could write it would name a cluster that is not theirs, and own it
/// (kcp lets users write it). Undone rather than refused, so that a manifest taken from a live workspace can be applied again.
fn keep_decided(review: &mut Review<'_>) {
    if !review.is(keys::group::TENANCY, "workspaces") || !review.is_write() || review.is_system_privileged() {
        return;
    }
    let old = review.old;
    let Some(object) = review.object.as_deref_mut() else {
        return;
    };
    let settled = SETTLED.iter().filter(|_| old.is_some());
    for key in DECIDED.iter().chain(settled) {
        match old.and_then(|old| old.annotation(key)) {
            Some(decided) if object.annotation(key) == Some(decided) => {}
            Some(decided) => object.set_annotation(key, decided),
            None => _ = object.remove_annotation(key),
        }
    }
}

pub(super) fn mutate(review: &mut Review<'_>, world: &dyn World) -> Result<(), Status> {
    keep_decided(review);
    if !concerns(review) || review.verb != Verb::Create {
        return Ok(());
    }
    require_shape(review)?;
    set_owner(review);
    inherit_required_groups(review, world);
    if review.object().at(&["spec", "mount"]).is_some() {
        return Ok(());
    }
    let reference = requested_type(review, world)?;
    let object = found_type(review, world, &reference)?;
    let Some(workspace) = review.object.as_deref_mut() else {
        return Ok(());
    };
    // A path that was asked for stays as it was said, the name of a cluster too, as in kcp.
    let path = match reference.path.is_empty() {
        true => path_of(&object).to_owned(),
        false => reference.path.clone(),
    };
    workspace.set_at(&["spec", "type"], json!({"name": object.name(), "path": path}));
    let labels = object
        .at(&["spec", "additionalWorkspaceLabels"])
        .and_then(Value::as_object);
    for (key, value) in labels.into_iter().flatten() {
        if workspace.label(key).is_none() {
            workspace.set_label(key, value.as_str().unwrap_or_default());
        }
    }
    Ok(())
}

/// kcp answers a body of the wrong shape with a 500 (its defect, facts L.2.30); nothing depends on that, so it is a 400.
fn require_shape(review: &Review<'_>) -> Result<(), Status> {
    for path in [
        &["spec"][..],
        &["spec", "type"],
        &["spec", "mount"],
        &["spec", "mount", "ref"],
    ] {
        if review.object().at(path).is_some_and(|v| !v.is_object() && !v.is_null()) {
            return Err(Status::bad_request(format!(
                "Workspace in version \"v1alpha1\" cannot be handled as a Workspace: .{} must be an object",
                path.join(".")
            )));
        }
    }
    Ok(())
}

/// The owner is who asks; only the privileged may name another.
fn set_owner(review: &mut Review<'_>) {
    if review.is_system_privileged() {
        return;
    }
    let user = json!(review.user).to_string();
    if let Some(object) = review.object.as_deref_mut() {
        object.set_annotation(annotation::OWNER, &user);
    }
}

fn inherit_required_groups(review: &mut Review<'_>, world: &dyn World) {
    if review.is_system_privileged() && review.object().annotation(annotation::REQUIRED_GROUPS).is_some() {
        return;
    }
    let parent = world.logical_cluster(review.cluster);
    let required = parent
        .as_ref()
        .and_then(|lc| lc.annotation(annotation::REQUIRED_GROUPS))
        .map(str::to_owned);
    let Some(object) = review.object.as_deref_mut() else {
        return;
    };
    match required {
        Some(groups) => object.set_annotation(annotation::REQUIRED_GROUPS, &groups),
        None => _ = object.remove_annotation(annotation::REQUIRED_GROUPS),
    }
}

/// The type asked for, or the parent's default child type.
fn requested_type(review: &Review<'_>, world: &dyn World) -> Result<TypeRef, Status> {
    let asked = TypeRef::read(review.object().at(&["spec", "type"])).filter(|t| !t.name.is_empty());
    if let Some(asked) = asked {
        return Ok(asked);
    }
    let parent = parent_type(review, world)?;
    let default = TypeRef::read(parent.at(&["spec", "defaultChildWorkspaceType"]));
    default.ok_or_else(|| {
        let parent = TypeRef::of(&parent);
        review.forbidden(format!(
            "spec.defaultChildWorkspaceType of workspace type {parent} must be set"
        ))
    })
}

/// The type of the workspace in which the request is made.
fn parent_type(review: &Review<'_>, world: &dyn World) -> Result<Arc<Value>, Status> {
    let lc = world.logical_cluster(review.cluster);
    let recorded = lc
        .as_ref()
        .and_then(|lc| lc.annotation(annotation::WORKSPACE_TYPE))
        .filter(|t| !t.is_empty());
    let Some(recorded) = recorded else {
        return Err(review.forbidden("annotation internal.tenancy.kcp.io/type on LogicalCluster must be set"));
    };
    let Some(reference) = TypeRef::parse(recorded) else {
        let text = "annotation internal.tenancy.kcp.io/type on LogicalCluster must be in the form of cluster:name";
        return Err(review.forbidden(text));
    };
    world.workspace_type(&reference.path, &reference.name).ok_or_else(|| {
        review.forbidden(format!(
            "parent type cannot be resolved: workspacetypes.tenancy.kcp.io {reference} not found"
        ))
    })
}

/// With a path: that type. Without: the nearest of this name on the way up, then root's.
fn found_type(review: &Review<'_>, world: &dyn World, reference: &TypeRef) -> Result<Arc<Value>, Status> {
    if !reference.path.is_empty() {
        return world
            .workspace_type(&reference.path, &reference.name)
            .ok_or_else(|| missing_type(review, reference));
    }
    let lc = world.logical_cluster(review.cluster);
    let path = lc
        .as_ref()
        .and_then(|lc| lc.annotation(annotation::PATH))
        .unwrap_or(review.cluster.as_str());
    let mut here = Some(path);
    while let Some(path) = here {
        if let Some(found) = world.workspace_type(path, &reference.name) {
            return Ok(found);
        }
        here = path.rsplit_once(':').map(|(parent, _)| parent);
    }
    world
        .workspace_type(keys::cluster::ROOT, &reference.name)
        .ok_or_else(|| review.forbidden(format!("workspace type {:?} cannot be resolved", reference.to_string())))
}

fn missing_type(review: &Review<'_>, reference: &TypeRef) -> Status {
    let inner = format!("workspacetypes.tenancy.kcp.io {:?} not found", reference.to_string());
    review.forbidden(format!("Internal error occurred: {inner}"))
}

pub(super) fn validate(review: &Review<'_>, world: &dyn World, checks: &mut Vec<AccessCheck>) -> Result<(), Status> {
    if !review.is(keys::group::TENANCY, "workspaces") {
        return Ok(());
    }
    match (review.verb, review.old) {
        (Verb::Create, _) if review.is_main() => validate_create(review, world, checks),
        (Verb::Update, Some(old)) => validate_update(review, old),
        _ => Ok(()),
    }
}

fn validate_create(review: &Review<'_>, world: &dyn World, checks: &mut Vec<AccessCheck>) -> Result<(), Status> {
    let object = review.object();
    let set = |member: &str| object.str_at(&["spec", member]).is_some_and(|v| !v.is_empty());
    let privileged = review.is_system_privileged();
    if !privileged && set("cluster") {
        return Err(review.forbidden("spec.Cluster can only be set by system privileged users"));
    }
    if !privileged && set("URL") {
        return Err(review.forbidden("spec.URL can only be set by system privileged users"));
    }
    if let Some(mount) = object.at(&["spec", "mount"]) {
        return validate_mount(review, mount);
    }
    let Some(reference) = TypeRef::read(object.at(&["spec", "type"])) else {
        return Ok(());
    };
    let concrete = found_type(review, world, &reference)?;
    let child = aliases(world, &concrete).map_err(|why| review.forbidden(why))?;
    let parent = parent_type(review, world)?;
    let parent = aliases(world, &parent).map_err(|why| review.forbidden(why))?;
    if !privileged {
        checks.extend(child.iter().map(|alias| use_check(review, alias)));
    }
    check_limits(&parent, &child).map_err(|why| review.forbidden(why))
}

fn use_check(review: &Review<'_>, alias: &Value) -> AccessCheck {
    let which = TypeRef::of(alias);
    let why = format!("unable to use workspace type {which}: missing verb='use' permission on workspacetype");
    AccessCheck {
        cluster: cluster_of(alias),
        verb: verb::USE,
        group: keys::group::TENANCY,
        resource: "workspacetypes",
        name: alias.name().to_owned(),
        denied: review.forbidden(why),
    }
}

fn validate_mount(review: &Review<'_>, mount: &Value) -> Result<(), Status> {
    if review.object().at(&["spec", "type"]).is_some() && !review.is_system_privileged() {
        return Err(review.forbidden("spec.type cannot be set for mounted workspaces"));
    }
    for member in ["kind", "name", "apiVersion"] {
        if mount.str_at(&["ref", member]).is_none_or(str::is_empty) {
            return Err(review.forbidden(format!("spec.mount.{member} must be set")));
        }
    }
    Ok(())
}

fn validate_update(review: &Review<'_>, old: &Value) -> Result<(), Status> {
    let new = review.object();
    let privileged = review.is_system_privileged();
    let before = |member: &str| old.str_at(&["spec", member]).unwrap_or_default();
    let after = |member: &str| new.str_at(&["spec", member]).unwrap_or_default();
    if !before("cluster").is_empty() && after("cluster").is_empty() {
        return Err(review.forbidden("spec.cluster cannot be unset"));
    }
    if !privileged && before("cluster") != after("cluster") {
        return Err(review.forbidden("spec.cluster can only be changed by system privileged users"));
    }
    if !privileged && before("URL") != after("URL") {
        return Err(review.forbidden("spec.URL can only be changed by system privileged users"));
    }
    if old.at(&["spec", "type"]) != new.at(&["spec", "type"]) {
        return Err(review.forbidden("spec.type is immutable"));
    }
    let phase = |object: &Value| object.str_at(&["status", "phase"]).unwrap_or_default().to_owned();
    let becomes_ready = phase(old) != "Ready" && phase(new) == "Ready";
    if becomes_ready && new.at(&["spec", "mount"]).is_none() {
        for member in ["cluster", "URL"] {
            if after(member).is_empty() {
                let of = GroupResource::new(review.group, review.resource);
                return Err(Status::forbidden(
                    &of,
                    review.name,
                    format!("spec.{member} must be set for phase Ready"),
                ));
            }
        }
    }
    Ok(())
}
