//! From the log to the queues: a projection that hands events over without holding the log up.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use storage::{Applied, Entry, ObjectKey, Projection, ResourceKey};
use tokio::sync::Notify;

/// One event for the dispatcher. Holds entries that the caches hold anyway.
pub(crate) struct Event {
    pub resource: ResourceKey,
    pub key: ObjectKey,
    pub old: Option<Arc<Entry>>,
    pub new: Option<Arc<Entry>>,
}

/// Collects the log's events until the driver dispatches them. Register it as a projection of the store.
#[derive(Default)]
pub struct EventFeed {
    events: Mutex<VecDeque<Event>>,
    arrived: Notify,
}

// === impl EventFeed ===

impl EventFeed {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn drain(&self) -> VecDeque<Event> {
        std::mem::take(&mut *self.events.lock())
    }

    pub(crate) async fn wait(&self) {
        self.arrived.notified().await;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.lock().is_empty()
    }
}

impl Projection for EventFeed {
    fn apply(&self, change: &Applied<'_>) {
        let event = Event {
            resource: change.resource.clone(),
            key: change.key.clone(),
            old: change.old.cloned(),
            new: change.new.cloned(),
        };
        self.events.lock().push_back(event);
        self.arrived.notify_one();
    }
}
