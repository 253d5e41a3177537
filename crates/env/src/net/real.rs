//! TCP.

use super::{Accepted, DIAL_TIMEOUT, Listener, Net, Stream};
use async_trait::async_trait;
use std::io;
use tokio::net::{TcpListener, TcpStream};

/// The operating system's TCP. Every connection has `TCP_NODELAY` set: requests are small and wait for their answers.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealNet;

struct RealListener {
    inner: TcpListener,
    address: String,
}

// === impl RealNet ===

#[async_trait]
impl Net for RealNet {
    async fn listen(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        let inner = TcpListener::bind(address).await?;
        let address = inner.local_addr()?.to_string();
        Ok(Box::new(RealListener { inner, address }))
    }

    async fn dial(&self, address: &str) -> io::Result<Box<dyn Stream>> {
        let connecting = tokio::time::timeout(DIAL_TIMEOUT, TcpStream::connect(address));
        let stream = connecting
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}

// === impl RealListener ===

#[async_trait]
impl Listener for RealListener {
    async fn accept(&self) -> io::Result<Accepted> {
        let (stream, peer) = self.inner.accept().await?;
        stream.set_nodelay(true)?;
        Ok(Accepted {
            stream: Box::new(stream),
            peer: peer.to_string(),
        })
    }

    fn address(&self) -> String {
        self.address.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn carries_bytes_both_ways() {
        let listener = RealNet.listen("127.0.0.1:0").await.unwrap();
        let address = listener.address();
        let (mut near, accepted) = tokio::try_join!(RealNet.dial(&address), listener.accept()).unwrap();
        let mut far = accepted.stream;
        near.write_all(b"ping").await.unwrap();
        let mut out = [0; 4];
        far.read_exact(&mut out).await.unwrap();
        assert_eq!(&out, b"ping");
        drop(far);
        assert_eq!(near.read(&mut out).await.unwrap(), 0);
    }
}
