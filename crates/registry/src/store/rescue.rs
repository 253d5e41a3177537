//! What storage says, in the words of Kubernetes.

use machinery::object::GroupResource;
use machinery::status::{Cause, Status};
use storage::StorageError;

const CONTINUE_EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. You can start a \
    new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
    results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or \
    deleted between the time the first chunk was returned and now may show up in the list.";

/// The answer to an error of storage about `name` of `of` (a name is absent for collections).
pub(super) fn rescue(error: StorageError, of: &GroupResource, name: &str) -> Status {
    match error {
        StorageError::NotFound => Status::not_found(of, name),
        StorageError::AlreadyExists => Status::already_exists(of, name),
        StorageError::Conflict => Status::modified(of, name),
        StorageError::Fenced => Status::forbidden(of, name, "the logical cluster is closed"),
        StorageError::Expired { .. } => Status::expired("The resourceVersion for the provided list is too old."),
        StorageError::ContinueExpired { resume } => Status::expired(CONTINUE_EXPIRED).with_continue(resume),
        StorageError::TooLargeRevision { asked, current } => too_large_version(asked, current),
        StorageError::InvalidContinue => Status::bad_request("invalid continue token: continue key is not valid"),
        StorageError::OutsidePermit(outside) => {
            // A defect: whoever made the permit and whoever made the access disagree.
            tracing::warn!(%outside, "an access outside its permit was refused");
            Status::forbidden(of, name, "access denied")
        }
        StorageError::TooLarge => Status::too_large("etcdserver: request is too large"),
        StorageError::Unstorable(why) => {
            // A defect: what is no object of its key is refused before.
            tracing::error!(%why, "an object could not be stored");
            Status::internal("the object cannot be stored")
        }
        StorageError::Full => {
            let text = "the store is full: writes are refused until space is freed or added; reads are served";
            Status::service_unavailable(text).retry_after(10)
        }
        StorageError::Unavailable(why) => {
            Status::service_unavailable(format!("the store is unavailable: {why}")).retry_after(1)
        }
        StorageError::Timeout => Status::timeout("Timeout: the store did not answer in time", 1),
        StorageError::UnknownOutcome => Status::timeout(
            "Timeout: the store did not confirm the write in time; it may have happened",
            0,
        ),
        StorageError::Corrupt(why) => {
            tracing::error!(%why, "the store is damaged");
            Status::internal("the store is damaged")
        }
    }
}

/// A watch from a revision that the log does not reach back to.
pub(super) fn too_old_version(asked: u64, oldest: u64) -> Status {
    Status::expired(format!(
        "too old resource version: {asked} ({})",
        oldest.saturating_sub(1)
    ))
}

fn too_large_version(asked: u64, current: u64) -> Status {
    let text = format!("Timeout: Too large resource version: {asked}, current: {current}");
    Status::timeout(text, 1).with_cause(Cause {
        reason: "ResourceVersionTooLarge".to_owned(),
        message: "Too large resource version".to_owned(),
        ..Cause::default()
    })
}
