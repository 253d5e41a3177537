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
///
/// It is over at the second look: hyper asks whether a ping's time is up before it reads, and in between it is read. Who was
/// held up himself waits a moment longer, since so may the answer have been.
struct Sleep {
    clock: Clock,
    /// None: over.
    sleeping: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
    end: Duration,
    /// How often it has waited longer.
    moments: u8,
}

/// Who looks this much later than he wanted to was held up.
const LATE: Duration = Duration::from_millis(50);
/// What is on its way gets this long.
const MOMENT: Duration = Duration::from_millis(250);
/// Who is always late has to find out, too.
const MOMENTS_MAX: u8 = 4;

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
        Box::pin(Sleep::new(self.0.clone(), duration, 0))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep(deadline.saturating_duration_since(self.now()))
    }

    fn now(&self) -> Instant {
        self.0.instant()
    }
}

// === impl Sleep ===

impl Sleep {
    fn new(clock: Clock, duration: Duration, moments: u8) -> Self {
        let end = clock.monotonic() + duration;
        let sleeping = clock.clone();
        Self {
            clock,
            sleeping: Some(Box::pin(async move { sleeping.sleep_until(end).await })),
            end,
            moments,
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(sleeping) = self.sleeping.as_mut() else {
            return Poll::Ready(());
        };
        if sleeping.as_mut().poll(context).is_ready() {
            let is_late = self.clock.monotonic() > self.end + LATE;
            match is_late && self.moments < MOMENTS_MAX {
                true => *self = Self::new(self.clock.clone(), MOMENT, self.moments + 1),
                false => self.sleeping = None,
            }
            context.waker().wake_by_ref();
        }
        Poll::Pending
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
    async fn what_has_come_in_is_read_before_time_is_up() {
        use hyper::rt::Timer as _;
        for (held_up, wanted) in [(0, 1_000), (20, 1_000), (500, 1_750)] {
            let clock = Clock::real();
            let mut timer = Timer(clock.clone()).sleep(Duration::from_secs(1));
            tokio::time::advance(Duration::from_millis(1_000 + held_up)).await;
            let mut looks = 0;
            std::future::poll_fn(|context| {
                looks += 1;
                timer.as_mut().poll(context)
            })
            .await;
            assert!(looks >= 2, "{looks} looks");
            let took = clock.monotonic().as_millis();
            assert!(
                (wanted..wanted + 25).contains(&took),
                "{took} ms, held up for {held_up}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_always_late_finds_out_that_time_is_up() {
        use hyper::rt::Timer as _;
        let mut timer = Timer(Clock::real()).sleep(Duration::from_secs(1));
        let mut looks = 0;
        let looking = async {
            while futures_util::poll!(timer.as_mut()).is_pending() {
                looks += 1;
                tokio::time::advance(Duration::from_millis(1_000)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), looking).await.unwrap();
        assert!(looks <= usize::from(MOMENTS_MAX) + 4, "{looks} looks");
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
