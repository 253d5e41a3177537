//! What can go wrong between a handler and the store. The registry turns it into a Status, knowing resource and name.

use std::sync::Arc;

use permit::OutsidePermit;

#[derive(Debug, Clone, thiserror::Error)]
pub enum StorageError {
    #[error("not found")]
    NotFound,
    #[error("already exists")]
    AlreadyExists,
    /// The object is not at the expected revision any more, or a further guard of the write does not hold.
    #[error("modified since it was read")]
    Conflict,
    /// The cluster's fence changed: it was deleted, sealed or never opened.
    #[error("the logical cluster is closed")]
    Fenced,
    /// What was asked for has been compacted or fell out of the log. `oldest` is the oldest revision still served.
    #[error("revision is too old (oldest is {oldest})")]
    Expired { oldest: u64 },
    /// A continue token's revision was compacted; `resume` continues inconsistently at the newest revision.
    #[error("continue token is too old")]
    ContinueExpired { resume: String },
    /// A revision from the future was asked for and did not come within the wait.
    #[error("revision {asked} is ahead of {current}")]
    TooLargeRevision { asked: u64, current: u64 },
    #[error("invalid continue token")]
    InvalidContinue,
    #[error(transparent)]
    OutsidePermit(#[from] OutsidePermit),
    /// The request is larger than the store takes.
    #[error("request is too large")]
    TooLarge,
    /// What was to be written is nothing that is stored, whatever the store's state: it would be refused again.
    #[error("not to be stored: {0}")]
    Unstorable(Arc<str>),
    /// The store has no space: writes are refused, reads served.
    #[error("the store is full")]
    Full,
    #[error("the store is unavailable: {0}")]
    Unavailable(Arc<str>),
    #[error("the store did not answer in time")]
    Timeout,
    /// The write may or may not have happened.
    #[error("the outcome of the write is unknown")]
    UnknownOutcome,
    #[error("the store is corrupt: {0}")]
    Corrupt(Arc<str>),
}

// === impl StorageError ===

impl From<kv::Error> for StorageError {
    fn from(error: kv::Error) -> Self {
        use kv::Error;
        match error {
            Error::Compacted { at } => Self::Expired { oldest: at.0 },
            Error::FutureRevision { asked, current } => Self::TooLargeRevision {
                asked: asked.0,
                current: current.0,
            },
            Error::TooLarge { .. } => Self::TooLarge,
            Error::Full => Self::Full,
            Error::Timeout => Self::Timeout,
            Error::UnknownOutcome(_) => Self::UnknownOutcome,
            Error::Corrupt(why) => Self::Corrupt(why.into()),
            error @ (Error::Unavailable(_)
            | Error::Unsupported(_)
            | Error::InUse(_)
            | Error::LeaseNotFound
            | Error::Invalid(_)
            | Error::Closed) => Self::Unavailable(error.to_string().into()),
        }
    }
}
