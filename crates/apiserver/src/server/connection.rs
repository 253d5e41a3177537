//! What is known of a connection, whatever is asked over it.

use std::future::Future;
use std::sync::Arc;

use env::Spawn;
use rustls_pki_types::CertificateDer;

/// The other end.
#[derive(Clone, Debug)]
pub struct Connection {
    /// `address:port`.
    pub peer: String,
    /// Client certificate chain (DER), leaf first, verified against the server's client CAs. Empty without one.
    pub certificates: Arc<[CertificateDer<'static>]>,
    /// A client certificate was presented that no client CA has signed, or that is not valid now. The handshake goes on, as
    /// Kubernetes' does: other credentials of the request may hold.
    pub certificate_refused: bool,
}

/// hyper's tasks, by the seam.
#[derive(Clone)]
pub(crate) struct Executor(pub(crate) Spawn);

// === impl Connection ===

impl Connection {
    pub fn plain(peer: impl Into<String>) -> Self {
        Self {
            peer: peer.into(),
            certificates: Arc::new([]),
            certificate_refused: false,
        }
    }

    /// The peer's address without its port.
    pub fn peer_address(&self) -> &str {
        let address = self
            .peer
            .rsplit_once(':')
            .map_or(self.peer.as_str(), |(address, _)| address);
        address.trim_start_matches('[').trim_end_matches(']')
    }
}

// === impl Executor ===

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn("http2-stream", future).detach();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_has_no_port() {
        assert_eq!(Connection::plain("10.0.0.1:443").peer_address(), "10.0.0.1");
        assert_eq!(Connection::plain("[::1]:443").peer_address(), "::1");
        assert_eq!(Connection::plain("pipe").peer_address(), "pipe");
    }
}
