//! WorkspaceTypes: reserved names, paths in references, permission to bind the default exports (facts I.6, I.12, I.19).

use api::keys;
use machinery::field::{FieldError, Path};
use machinery::object::ObjectExt;
use machinery::status::Status;
use permit::Verb;
use serde_json::{Value, json};

use super::binding::bind_check;
use super::{AccessCheck, Review, World};

fn concerns(review: &Review<'_>) -> bool {
    review.is(keys::group::TENANCY, "workspacetypes") && review.is_write() && review.is_main()
}

pub(super) fn check_name(review: &Review<'_>) -> Result<(), Status> {
    let name = review.object_name();
    if concerns(review) && review.verb == Verb::Create && ["any", "system"].contains(&name) {
        let error = FieldError::invalid(&Path::new("metadata").child("name"), &json!(name), "name is reserved");
        return Err(review.forbidden(error));
    }
    Ok(())
}

pub(super) fn validate(review: &Review<'_>, world: &dyn World, checks: &mut Vec<AccessCheck>) -> Result<(), Status> {
    if !concerns(review) {
        return Ok(());
    }
    let object = review.object();
    if review.verb == Verb::Create && object.name() == "root" && review.cluster.as_str() != keys::cluster::ROOT {
        return Err(review.forbidden("root workspace type can only be created in root cluster"));
    }
    let default_child = object.at(&["spec", "defaultChildWorkspaceType"]);
    if default_child.is_some_and(|t| t.str_at(&["path"]).is_none_or(str::is_empty)) {
        return Err(review.forbidden(".spec.defaultChildWorkspaceType.path must be set"));
    }
    for limit in ["limitAllowedChildren", "limitAllowedParents"] {
        let types = object.at(&["spec", limit, "types"]).and_then(Value::as_array);
        for (index, reference) in types.into_iter().flatten().enumerate() {
            if reference.str_at(&["path"]).is_none_or(str::is_empty) {
                return Err(review.forbidden(format!(".spec.{limit}.types[{index}].path must be set")));
            }
        }
    }
    if !review.is_system_privileged() {
        check_bindings(review, world, object, checks);
    }
    Ok(())
}

/// Every default binding that this write adds needs the right to bind.
fn check_bindings(review: &Review<'_>, world: &dyn World, object: &Value, checks: &mut Vec<AccessCheck>) {
    let bindings = |object: &Value| -> Vec<Value> {
        object
            .at(&["spec", "defaultAPIBindings"])
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let before = review.old.map(bindings).unwrap_or_default();
    for binding in bindings(object).iter().filter(|binding| !before.contains(binding)) {
        let path = binding.str_at(&["path"]).unwrap_or_default();
        let export = binding.str_at(&["export"]).unwrap_or_default();
        checks.push(bind_check(
            review,
            world,
            path,
            export,
            "create or update WorkspaceType",
        ));
    }
}
