//! CustomResourceDefinitions: kcp's own annotations and groups are reserved (facts I.17, I.18), and so are the groups of its own APIs.

use api::keys;
use machinery::object::ObjectExt;
use machinery::status::Status;
use serde_json::Value;

use super::Review;

pub(super) fn validate(review: &Review<'_>) -> Result<(), Status> {
    let concerns = review.is(keys::group::APIEXTENSIONS, "customresourcedefinitions");
    if !concerns || !review.is_write() || !review.is_main() {
        return Ok(());
    }
    let object = review.object();
    if review.cluster.as_str() != keys::cluster::BOUND_CRDS {
        let annotations = object.at(&["metadata", "annotations"]).and_then(Value::as_object);
        for key in annotations.into_iter().flatten().map(|(key, _)| key) {
            let domain = key.split('/').next().unwrap_or_default();
            if key.contains('/') && (domain == keys::group::APIS || domain.ends_with(".apis.kcp.io")) {
                return Err(review.forbidden(format!("{key} is a reserved annotation")));
            }
        }
    }
    let group = object.str_at(&["spec", "group"]).unwrap_or_default();
    // kcp reserves apis.kcp.io alone. A tenant's own `workspaces.tenancy.kcp.io` would be one name for two things to
    // whatever follows the tree by it, and kcp's own clients could use it for nothing.
    let is_own = keys::group::OWN.contains(&group) || group.ends_with(keys::group::APIS);
    if !review.cluster.is_system() && is_own {
        return Err(review.forbidden(format!("{group} is a reserved group")));
    }
    Ok(())
}
