//! From the log to the queues: a projection that hands events over without holding the log up.
//!
//! Bounded: whoever cannot follow looks at every object instead, as after taking the lease. While nobody listens (the lease is
//! another's, or the store is being opened) nothing is kept.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use storage::{Applied, Entry, ObjectKey, Projection, ResourceKey};
use tokio::sync::Notify;

/// Bytes of objects that waiting events may hold.
const WAITING_BYTES_MAX: usize = 16 << 20;

/// One event for the dispatcher. Holds entries that the caches hold anyway.
pub(crate) struct Event {
    pub resource: ResourceKey,
    pub key: ObjectKey,
    pub old: Option<Arc<Entry>>,
    pub new: Option<Arc<Entry>>,
}

/// What waits for the dispatcher.
pub(crate) enum Waiting {
    Events(VecDeque<Event>),
    /// There were too many: nobody knows which any more.
    Missed,
}

/// Collects the log's events until the driver dispatches them. Register it as a projection of the store.
#[derive(Default)]
pub struct EventFeed {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Default)]
struct State {
    events: VecDeque<Event>,
    bytes: usize,
    is_listened_to: bool,
    missed: bool,
}

// === impl EventFeed ===

impl EventFeed {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Collects from now on.
    pub(crate) fn listen(&self) {
        *self.state.lock() = State {
            is_listened_to: true,
            ..State::default()
        };
    }

    /// Nobody listens any more.
    pub(crate) fn leave(&self) {
        *self.state.lock() = State::default();
    }

    pub(crate) fn drain(&self) -> Waiting {
        let mut state = self.state.lock();
        state.bytes = 0;
        if std::mem::take(&mut state.missed) {
            return Waiting::Missed;
        }
        Waiting::Events(std::mem::take(&mut state.events))
    }

    pub(crate) async fn wait(&self) {
        self.arrived.notified().await;
    }

    pub(crate) fn is_empty(&self) -> bool {
        let state = self.state.lock();
        state.events.is_empty() && !state.missed
    }

    fn push(&self, event: Event) {
        let len = |entry: &Option<Arc<Entry>>| entry.as_ref().map_or(0, |entry| entry.own_len());
        let mut state = self.state.lock();
        if !state.is_listened_to || state.missed {
            return;
        }
        state.bytes += size_of::<Event>() + len(&event.old) + len(&event.new);
        if state.bytes > WAITING_BYTES_MAX {
            tracing::warn!(
                events = state.events.len(),
                "the controllers cannot follow: they will look at every object"
            );
            state.missed = true;
            state.events = VecDeque::new();
        } else {
            state.events.push_back(event);
        }
    }
}

impl Projection for EventFeed {
    fn apply(&self, change: &Applied<'_>) {
        self.push(Event {
            resource: change.resource.clone(),
            key: change.key.clone(),
            old: change.old.cloned(),
            new: change.new.cloned(),
        });
        self.arrived.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use permit::Cluster;

    use super::*;

    fn event(name: &str) -> Event {
        Event {
            resource: ResourceKey::builtin("", "configmaps"),
            key: ObjectKey::new(Cluster::well_known("root"), "default", name),
            old: None,
            new: None,
        }
    }

    #[test]
    fn nothing_is_kept_for_nobody() {
        let feed = EventFeed::new();
        feed.push(event("a"));
        assert!(feed.is_empty());
        feed.listen();
        feed.push(event("a"));
        assert!(!feed.is_empty());
        feed.leave();
        assert!(feed.is_empty());
    }

    #[test]
    fn too_many_events_are_missed_as_a_whole_and_once() {
        let feed = EventFeed::new();
        feed.listen();
        for _ in 0..=WAITING_BYTES_MAX / size_of::<Event>() {
            feed.push(event("a"));
        }
        assert_eq!(feed.state.lock().events.capacity(), 0, "their memory is given back");
        assert!(matches!(feed.drain(), Waiting::Missed));
        feed.push(event("b"));
        assert!(matches!(feed.drain(), Waiting::Events(events) if events.len() == 1));
    }
}
