//! PathAnnotation: exports, bindings and types carry the canonical path of their cluster (facts I.23).

use api::keys::{self, annotation};
use machinery::object::ObjectExt;
use machinery::status::Status;

use super::{Review, World};

fn concerns(review: &Review<'_>) -> bool {
    if !review.is_write() || !review.is_main() || review.is(keys::group::CORE, "logicalclusters") {
        return false;
    }
    let kind = matches!(
        (review.group, review.resource),
        (keys::group::APIS, "apiexports" | "apibindings")
            | (keys::group::CACHE, "clustercachedresources")
            | (keys::group::TENANCY, "workspacetypes")
    );
    kind || review.object().annotation(annotation::PATH).is_some()
}

fn canonical(review: &Review<'_>, world: &dyn World) -> Result<Option<String>, Status> {
    let Some(lc) = world.logical_cluster(review.cluster) else {
        if review.is(keys::group::APIS, "apibindings") || review.trusted {
            return Ok(None);
        }
        let why = "logicalclusters.core.kcp.io \"cluster\" not found";
        return Err(review.forbidden(format!("cannot get this workspace: {why}")));
    };
    let path = lc
        .annotation(annotation::PATH)
        .filter(|p| !p.is_empty())
        .unwrap_or(review.cluster.as_str());
    Ok(Some(path.to_owned()))
}

pub(super) fn mutate(review: &mut Review<'_>, world: &dyn World) -> Result<(), Status> {
    if !concerns(review) {
        return Ok(());
    }
    let path = canonical(review, world)?;
    if let (Some(object), Some(path)) = (review.object.as_deref_mut(), path)
        && object.annotation(annotation::PATH) != Some(&path)
    {
        object.set_annotation(annotation::PATH, &path);
    }
    Ok(())
}

pub(super) fn validate(review: &Review<'_>, world: &dyn World) -> Result<(), Status> {
    if !concerns(review) {
        return Ok(());
    }
    let Some(path) = canonical(review, world)? else {
        return Ok(());
    };
    let found = review.object().annotation(annotation::PATH).unwrap_or_default();
    if found == path {
        return Ok(());
    }
    let name = review.object_name();
    Err(review.forbidden(format!(
        "annotation for {name}, \"kcp.io/path\" must match canonical path {path:?}, but got {found:?}"
    )))
}
