//! Where a server is between start and end.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

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
    /// A [`Phase`] as a number. Every event of every watch looks at it.
    phase: AtomicU8,
    advanced: Notify,
}

// === impl Lifecycle ===

impl Lifecycle {
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            phase: AtomicU8::new(Phase::Serving as u8),
            advanced: Notify::new(),
        }))
    }

    pub fn phase(&self) -> Phase {
        match self.0.phase.load(Ordering::Acquire) {
            0 => Phase::Serving,
            1 => Phase::Draining,
            2 => Phase::Closing,
            _ => Phase::Closed,
        }
    }

    /// Goes on to a phase; never back.
    pub fn advance(&self, to: Phase) {
        if self.0.phase.fetch_max(to as u8, Ordering::AcqRel) < to as u8 {
            self.0.advanced.notify_waiters();
        }
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
