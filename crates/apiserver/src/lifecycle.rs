//! Where a server is between start and end.

use std::sync::Arc;

use tokio::sync::watch;

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
pub struct Lifecycle {
    phase: Arc<watch::Sender<Phase>>,
}

// === impl Lifecycle ===

impl Lifecycle {
    pub fn new() -> Self {
        Self {
            phase: Arc::new(watch::Sender::new(Phase::Serving)),
        }
    }

    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Goes on to a phase; never back.
    pub fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let later = to > *phase;
            if later {
                *phase = to;
            }
            later
        });
    }

    /// Returns when the phase is `phase` or later. Cancel safe.
    pub async fn reached(&self, phase: Phase) {
        let mut phases = self.phase.subscribe();
        // The sender lives as long as `self`.
        let _ = phases.wait_for(|now| *now >= phase).await;
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
