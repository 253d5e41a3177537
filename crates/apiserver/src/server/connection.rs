//! What is known of a connection, whatever is asked over it; hyper's tasks and timers, by the seams.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use env::{Clock, Spawn};
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

/// hyper's timers, by the seam: pings, and heads that do not come.
#[derive(Clone, Debug)]
pub struct Timer(pub Clock);

/// Over, it is over as often as it is asked: hyper looks again at the timer of a connection that was idle when it ran out.
struct Sleep(Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>);

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

// === impl Timer ===

impl hyper::rt::Timer for Timer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        let clock = self.0.clone();
        Box::pin(Sleep(Some(Box::pin(async move { clock.sleep(duration).await }))))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep(deadline.saturating_duration_since(self.now()))
    }

    fn now(&self) -> Instant {
        self.0.instant()
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let is_over = self
            .0
            .as_mut()
            .is_none_or(|sleeping| sleeping.as_mut().poll(context).is_ready());
        if !is_over {
            return Poll::Pending;
        }
        self.0 = None;
        Poll::Ready(())
    }
}

impl hyper::rt::Sleep for Sleep {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_has_no_port() {
        assert_eq!(Connection::plain("10.0.0.1:443").peer_address(), "10.0.0.1");
        assert_eq!(Connection::plain("[::1]:443").peer_address(), "::1");
        assert_eq!(Connection::plain("pipe").peer_address(), "pipe");
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_ran_out_may_be_asked_again() {
        use hyper::rt::Timer as _;
        let mut timer = Timer(Clock::real()).sleep(Duration::from_secs(1));
        timer.as_mut().await;
        timer.as_mut().await;
    }

    #[tokio::test(start_paused = true)]
    async fn timers_follow_the_clock() {
        use hyper::rt::Timer as _;
        let clock = Clock::real();
        let timer = Timer(clock.clone());
        let deadline = timer.now() + Duration::from_secs(90);
        timer.sleep_until(deadline).await;
        assert!(clock.monotonic() >= Duration::from_secs(90) && timer.now() >= deadline);
    }
}
