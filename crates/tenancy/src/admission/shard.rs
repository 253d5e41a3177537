//! Shards: the URLs default to the base URL (facts I.5).

use api::keys;
use machinery::object::ObjectExt;
use machinery::status::{Reason, Status};
use serde_json::json;

use super::Review;

pub(super) fn mutate(review: &mut Review<'_>) -> Result<(), Status> {
    if !review.is(keys::group::CORE, "shards") || !review.is_write() || !review.is_main() {
        return Ok(());
    }
    let Some(object) = review.object.as_deref_mut() else {
        return Ok(());
    };
    let base = object.str_at(&["spec", "baseURL"]).unwrap_or_default().to_owned();
    if base.is_empty() {
        // Recorded so from kcp: a plain 500 without reason.
        return Err(Status::new(500, Reason::Unknown, "spec.baseURL is required"));
    }
    for member in ["externalURL", "virtualWorkspaceURL"] {
        if object.str_at(&["spec", member]).is_none_or(str::is_empty) {
            object.set_at(&["spec", member], json!(base));
        }
    }
    Ok(())
}
