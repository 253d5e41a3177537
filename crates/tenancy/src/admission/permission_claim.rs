//! Claim labels: every object that an accepted claim covers carries the label of its export, so that the export's view
//! can select it (facts E.7, I.22). Clients can neither set nor keep them: the label follows the claims.

use api::keys::{self, label};
use machinery::field::{FieldError, Path};
use machinery::object::ObjectExt;
use machinery::status::Status;
use serde_json::Value;

use super::{Review, World};
use crate::claims::{labels_for, labels_for_binding};

fn concerns(review: &Review<'_>) -> bool {
    review.is_write() && review.is_main() && !review.cluster.is_system()
}

fn wanted(review: &Review<'_>, world: &dyn World) -> Vec<(String, String)> {
    let bindings = world.bindings_with_claims(review.cluster);
    match review.is(keys::group::APIS, "apibindings") {
        true => labels_for_binding(&bindings, review.object()),
        false => labels_for(&bindings, review.group, review.resource, review.object()),
    }
}

fn carried(object: &Value) -> Vec<(String, String)> {
    let labels = object.at(&["metadata", "labels"]).and_then(Value::as_object);
    labels
        .into_iter()
        .flatten()
        .filter(|(key, _)| key.starts_with(label::CLAIM_PREFIX))
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect()
}

pub(super) fn mutate(review: &mut Review<'_>, world: &dyn World) {
    if !concerns(review) {
        return;
    }
    let wanted = wanted(review, world);
    let Some(object) = review.object.as_deref_mut() else {
        return;
    };
    for (key, _) in carried(object) {
        if !wanted.iter().any(|(k, _)| *k == key) {
            object.remove_label(&key);
        }
    }
    for (key, value) in &wanted {
        object.set_label(key, value);
    }
}

pub(super) fn validate(review: &Review<'_>, world: &dyn World) -> Result<(), Status> {
    if !concerns(review) {
        return Ok(());
    }
    let wanted = wanted(review, world);
    let carried = carried(review.object());
    let path = |key: &str| Path::new("metadata").child("labels").key(key);
    let mut errors = Vec::new();
    for (key, value) in &carried {
        match wanted.iter().find(|(k, _)| k == key) {
            None => errors.push(FieldError::invalid(
                &path(key),
                &Value::from(value.as_str()),
                "must not be set",
            )),
            Some((_, right)) if right != value => {
                let detail = format!("must be {right:?}");
                errors.push(FieldError::invalid(&path(key), &Value::from(value.as_str()), detail));
            }
            Some(_) => {}
        }
    }
    for (key, right) in wanted.iter().filter(|(key, _)| !carried.iter().any(|(k, _)| k == key)) {
        errors.push(FieldError::invalid(
            &path(key),
            &Value::from(""),
            format!("must be {right:?}"),
        ));
    }
    review.forbidden_list(&errors)
}
