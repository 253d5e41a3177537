//! Connections.

mod real;

use async_trait::async_trait;
pub use real::RealNet;
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};

/// How long dialling may take before it fails with `TimedOut`.
pub const DIAL_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// A connection's two directions.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for T {}

/// A network. Addresses are `host:port`.
#[async_trait]
pub trait Net: Send + Sync + 'static {
    /// Listens; port 0 asks for a free one.
    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>>;
    /// Connects, within [`DIAL_TIMEOUT`].
    async fn dial(&self, address: &str) -> io::Result<Box<dyn Stream>>;
}

/// Something that accepts connections until it is dropped.
#[async_trait]
pub trait Listener: Send + Sync + 'static {
    /// The next connection. Cancel safe.
    async fn accept(&self) -> io::Result<Accepted>;
    /// Where it listens, with the port it got.
    fn address(&self) -> String;
}

/// A connection that someone else opened.
pub struct Accepted {
    /// The connection.
    pub stream: Box<dyn Stream>,
    /// The address it came from.
    pub peer: String,
}

impl std::fmt::Debug for Accepted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Accepted({})", self.peer)
    }
}
