//! WorkspaceNamespaceLifecycle: no objects in missing or terminating namespaces; some namespaces are immortal while their
//! logical cluster lives (facts I.1).

use api::keys::namespace::{DEFAULT, KUBE_PUBLIC, KUBE_SYSTEM};
use machinery::object::{GroupResource, ObjectExt};
use machinery::status::{Cause, Status};
use permit::Verb;

use super::{Review, World};

pub(super) fn check(review: &Review<'_>, world: &dyn World) -> Result<(), Status> {
    let is_namespace = review.is("", "namespaces");
    if is_namespace && review.verb == Verb::Delete && [DEFAULT, KUBE_SYSTEM, KUBE_PUBLIC].contains(&review.name) {
        let dying = world
            .logical_cluster(review.cluster)
            .is_some_and(|lc| lc.deletion_timestamp().is_some());
        if !dying {
            return Err(review.forbidden("this namespace may not be deleted"));
        }
    }
    let reviews_access = review.group == "authorization.k8s.io";
    if is_namespace || review.namespace.is_empty() || review.verb != Verb::Create || reviews_access {
        return Ok(());
    }
    let Some(terminates) = world.namespace_terminates(review.cluster, review.namespace) else {
        return Err(Status::not_found(
            &GroupResource::new("", "namespaces"),
            review.namespace,
        ));
    };
    if !terminates {
        return Ok(());
    }
    let why = format!(
        "unable to create new content in namespace {} because it is being terminated",
        review.namespace
    );
    let cause = Cause {
        reason: "NamespaceTerminating".to_owned(),
        message: format!("namespace {} is being terminated", review.namespace),
        field: "metadata.namespace".to_owned(),
    };
    Err(review.forbidden(why).with_cause(cause))
}
