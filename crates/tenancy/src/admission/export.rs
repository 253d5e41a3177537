//! APIExports: claims name an identity unless built-in, schemas are named after their resource (facts I.9).

use api::builtin::is_claimable;
use api::keys;
use machinery::field::{FieldError, Path};
use machinery::object::ObjectExt;
use machinery::status::Status;
use serde_json::{Value, json};

use super::Review;

pub(super) fn validate(review: &Review<'_>) -> Result<(), Status> {
    if !review.is(keys::group::APIS, "apiexports") || !review.is_write() || !review.is_main() {
        return Ok(());
    }
    let object = review.object();
    let spec = Path::new("spec");
    let claims = object.at(&["spec", "permissionClaims"]).and_then(Value::as_array);
    for (index, claim) in claims.into_iter().flatten().enumerate() {
        let member = |name: &str| claim.str_at(&[name]).unwrap_or_default();
        let free = member("group") == keys::group::APIS || is_claimable(member("group"), member("resource"));
        if member("identityHash").is_empty() && !free {
            let path = spec.child("permissionClaims").index(index).child("identityHash");
            let detail = "identityHash is required for API types that are not built-in";
            return Err(review.forbidden(FieldError::invalid(&path, &json!(""), detail)));
        }
    }
    let resources = object.at(&["spec", "resources"]).and_then(Value::as_array);
    for (index, resource) in resources.into_iter().flatten().enumerate() {
        let member = |name: &str| resource.str_at(&[name]).unwrap_or_default();
        let group = if member("group").is_empty() {
            keys::group::CORE_IN_NAMES
        } else {
            member("group")
        };
        let suffix = format!(".{}.{group}", member("name"));
        if !member("schema").ends_with(&suffix) {
            let path = spec.child("resources").index(index).child("schema");
            let detail = format!("must end in {suffix}");
            return Err(review.forbidden(FieldError::invalid(&path, &json!(member("schema")), detail)));
        }
    }
    Ok(())
}
