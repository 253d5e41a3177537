//! What etcd's errors mean.

use crate::{Error, MAX_TXN_BYTES, Revision};

/// gRPC's code for a server that cannot be reached or has no leader.
const UNAVAILABLE: i32 = 14;

/// Why a call failed, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// etcd said no; nothing happened.
    Refused(Error),
    /// The request did not reach etcd, or was turned away before anything was done with it.
    NotSent(String),
    /// The request was sent; what became of it is open.
    Unknown(String),
}

// === impl Failure ===

impl Failure {
    pub(super) fn into_read_error(self) -> Error {
        match self {
            Failure::Refused(error) => error,
            Failure::NotSent(text) | Failure::Unknown(text) => Error::Unavailable(text),
        }
    }

    pub(super) fn into_write_error(self) -> Error {
        match self {
            Failure::Refused(error) => error,
            Failure::NotSent(text) => Error::Unavailable(text),
            Failure::Unknown(text) => Error::UnknownOutcome(text),
        }
    }

    /// The texts are those of etcd's `rpctypes`; gRPC's codes are too coarse.
    fn of_status(code: i32, text: &str) -> Failure {
        let unknown = Revision(0);
        let refused = |text: &str| -> Option<Error> {
            Some(match text.strip_prefix("etcdserver: ")? {
                "mvcc: required revision has been compacted" => Error::Compacted { at: unknown },
                "mvcc: required revision is a future revision" => Error::FutureRevision {
                    asked: unknown,
                    current: unknown,
                },
                "mvcc: database space exceeded" => Error::Full,
                "request is too large" | "too many operations in txn request" => Error::TooLarge {
                    size: 0,
                    limit: MAX_TXN_BYTES,
                },
                "requested lease not found" => Error::LeaseNotFound,
                "key is not provided" => Error::Invalid("a key is empty"),
                "duplicate key given in txn request" => Error::Invalid("a key is written twice"),
                "permission denied" | "user name is empty" => {
                    Error::Unsupported(format!("etcd refuses access: {text}"))
                }
                "corrupt cluster" => Error::Corrupt("etcd reports a corrupt cluster".to_owned()),
                _ => return None,
            })
        };
        if let Some(error) = refused(text) {
            return Failure::Refused(error);
        }
        // Turned away at the door: by a member without a leader, or one with too much to do.
        let at_door = ["etcdserver: no leader", "etcdserver: too many requests"];
        // hyper's and tonic's words for a connection that was not made.
        let unconnected = [
            "tcp connect error",
            "dns error",
            "client error (Connect)",
            "tls handshake",
        ];
        let not_sent =
            at_door.contains(&text) || (code == UNAVAILABLE && unconnected.iter().any(|word| text.contains(word)));
        match not_sent {
            true => Failure::NotSent(text.to_owned()),
            false => Failure::Unknown(text.to_owned()),
        }
    }
}

impl From<etcd_client::Error> for Failure {
    fn from(error: etcd_client::Error) -> Failure {
        match &error {
            etcd_client::Error::GRpcStatus(status) => {
                // The causes of a failed connection stand in the sources only.
                let mut text = status.message().to_owned();
                let mut source = std::error::Error::source(status);
                while let Some(cause) = source {
                    text = format!("{text}: {cause}");
                    source = cause.source();
                }
                Failure::of_status(i32::from(status.code()), &text)
            }
            etcd_client::Error::InvalidArgs(text) | etcd_client::Error::EndpointError(text) => {
                Failure::Refused(Error::Unavailable(text.clone()))
            }
            // The client's words for a keep-alive that was answered with no time left.
            etcd_client::Error::LeaseKeepAliveError(text) if text == "lease not found" => {
                Failure::Refused(Error::LeaseNotFound)
            }
            other => Failure::Unknown(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_certainly_was_not_done_is_called_so() {
        let sent = |text| Failure::of_status(UNAVAILABLE, text).into_write_error();
        assert!(matches!(sent("etcdserver: leader changed"), Error::UnknownOutcome(_)));
        assert!(matches!(
            sent("etcdserver: request timed out"),
            Error::UnknownOutcome(_)
        ));
        assert!(matches!(
            sent("transport error: connection reset"),
            Error::UnknownOutcome(_)
        ));
        assert!(matches!(sent("etcdserver: no leader"), Error::Unavailable(_)));
        assert!(matches!(
            sent("transport error: tcp connect error: refused"),
            Error::Unavailable(_)
        ));
        assert_eq!(sent("etcdserver: mvcc: database space exceeded"), Error::Full);
        let read = Failure::of_status(UNAVAILABLE, "etcdserver: leader changed").into_read_error();
        assert!(matches!(read, Error::Unavailable(_)));
    }
}
