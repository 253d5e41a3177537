//! Where a server is between start and end.

use std::pin::pin;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The order in which a server goes down: a client that follows readiness never meets a closed door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Serving,
    /// `/readyz` fails; everything is still served, new connections too.
    Draining,
    /// No new connections, GOAWAY on the open ones, watches end, requests in flight are finished.
    Closing,
    /// What is still open is cut.
    Closed,
}

/// The phase of a server, shared by its listener, its connections and its watches.
#[derive(Clone, Debug)]
pub struct Lifecycle(Arc<Inner>);

/// Who waits is woken in the order of waiting. (tokio's watch channel picks an order by chance, which no simulation repeats.)
#[derive(Debug)]
struct Inner {
    phase: Mutex<Phase>,
    advanced: Notify,
}

// === impl Lifecycle ===

impl Lifecycle {
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            phase: Mutex::new(Phase::Serving),
            advanced: Notify::new(),
        }))
    }

    pub fn phase(&self) -> Phase {
        *self.0.phase.lock()
    }

    /// Goes on to a phase; never back.
    pub fn advance(&self, to: Phase) {
        {
            let mut phase = self.0.phase.lock();
            if to <= *phase {
                return;
            }
            *phase = to;
        }
        self.0.advanced.notify_waiters();
    }

    /// Returns when the phase is `phase` or later. Cancel safe.
    pub async fn reached(&self, phase: Phase) {
        loop {
            let mut advanced = pin!(self.0.advanced.notified());
            // Waiting before looking: what advances in between is not missed.
            advanced.as_mut().enable();
            if self.phase() >= phase {
                return;
            }
            advanced.await;
        }
    }
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn phases_only_go_forward() {
        let lifecycle = Lifecycle::new();
        lifecycle.reached(Phase::Serving).await;
        lifecycle.advance(Phase::Closing);
        lifecycle.advance(Phase::Draining);
        assert_eq!(lifecycle.phase(), Phase::Closing);
        lifecycle.clone().reached(Phase::Draining).await;
    }
}
