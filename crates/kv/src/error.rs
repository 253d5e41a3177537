//! What a store can answer instead of a result.

use crate::Revision;

/// Why a call gave no result. Only [`Error::UnknownOutcome`] leaves open whether a write happened; after any other error
/// it did not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The revision asked for was compacted away; `at` is the oldest that can be read, where known.
    #[error("revision was compacted; the oldest kept is {at}")]
    Compacted {
        /// The oldest revision that can be read; 0 where the store did not say.
        at: Revision,
    },
    /// The revision asked for does not exist yet.
    #[error("revision {asked} is in the future; the store is at {current}")]
    FutureRevision {
        /// What was asked for.
        asked: Revision,
        /// The store's revision; 0 where the store did not say.
        current: Revision,
    },
    /// The transaction exceeds [`crate::MAX_TXN_BYTES`] or [`crate::MAX_TXN_OPS`].
    #[error("request is too large: {size} is more than {limit}")]
    TooLarge {
        /// Its size, in the unit of `limit`.
        size: usize,
        /// The limit: bytes or operations.
        limit: usize,
    },
    /// There is no space left: writes are refused, reads are served.
    #[error("the store has no space left")]
    Full,
    /// The store cannot answer now; the call may be repeated.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The call took too long and had no effect.
    #[error("the store did not answer in time")]
    Timeout,
    /// A write was sent but its fate is unknown: it may have happened, or may yet.
    #[error("the outcome of the write is unknown: {0}")]
    UnknownOutcome(String),
    /// What the store holds does not make sense.
    #[error("the store is corrupt: {0}")]
    Corrupt(String),
    /// The store was written by another, incompatible version of this software, or is a server that lacks what is needed.
    #[error("{0}")]
    Unsupported(String),
    /// Another process has the store open.
    #[error("the store {0} is in use by another process")]
    InUse(String),
    /// No such lease: never granted, revoked or expired.
    #[error("no such lease")]
    LeaseNotFound,
    /// The request makes no sense: an empty key, or a key written twice in one transaction.
    #[error("invalid request: {0}")]
    Invalid(&'static str),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}
