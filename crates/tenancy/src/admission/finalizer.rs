//! Finalizers that guard a deletion: put on by the server, taken off by the privileged alone (facts I.4, I.11).

use api::keys::{self, finalizer};
use machinery::object::ObjectExt;
use machinery::status::Status;
use machinery::user::MASTERS;

use super::Review;

fn guarded(review: &Review<'_>) -> Option<&'static str> {
    if !review.is_write() || !review.is_main() {
        return None;
    }
    match (review.group, review.resource) {
        (keys::group::CORE, "logicalclusters") => Some(finalizer::LOGICAL_CLUSTER_DELETION),
        (keys::group::APIS, "apibindings") => Some(finalizer::API_BINDING),
        _ => None,
    }
}

pub(super) fn mutate(review: &mut Review<'_>) {
    let Some(name) = guarded(review) else { return };
    let Some(object) = review.object.as_deref_mut() else {
        return;
    };
    if object.deletion_timestamp().is_none() {
        object.add_finalizer(name);
    }
}

pub(super) fn validate(review: &Review<'_>) -> Result<(), Status> {
    let Some(name) = guarded(review) else { return Ok(()) };
    let object = review.object();
    if object.has_finalizer(name) {
        return Ok(());
    }
    if object.deletion_timestamp().is_none() {
        return Err(review.forbidden(format!("finalizer {name} is required")));
    }
    let had = review.old.is_some_and(|old| old.has_finalizer(name));
    if had && !review.trusted && !review.user.in_group(MASTERS) {
        return Err(review.forbidden(format!("removing the finalizer {name} is forbidden")));
    }
    Ok(())
}
