//! From the log to the queues: a projection that hands events over without holding the log up.
//!
//! What is handed over can be found: a change is told before the caches have it, and waits until they do. A plan that ran in
//! between would decide on what was before, and nothing would make it run again.
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

/// What leads into a feed from another store, whose events become visible on their own.
struct Branch {
    feed: Arc<EventFeed>,
    coming: Mutex<Events>,
}

#[derive(Default)]
struct State {
    events: Events,
    /// What is not visible yet, whether anybody listens or not: who begins to listen looks at what is visible.
    coming: Events,
    is_listened_to: bool,
}

#[derive(Default)]
struct Events {
    list: VecDeque<Event>,
    bytes: usize,
    /// There were too many.
    missed: bool,
}

// === impl EventFeed ===

impl EventFeed {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Collects from now on.
    pub(crate) fn listen(&self) {
        let mut state = self.state.lock();
        state.events = Events::default();
        state.is_listened_to = true;
    }

    /// Nobody listens any more.
    pub(crate) fn leave(&self) {
        let mut state = self.state.lock();
        state.events = Events::default();
        state.is_listened_to = false;
    }

    pub(crate) fn drain(&self) -> Waiting {
        match std::mem::take(&mut self.state.lock().events) {
            Events { missed: true, .. } => Waiting::Missed,
            Events { list, .. } => Waiting::Events(list),
        }
    }

    pub(crate) async fn wait(&self) {
        self.arrived.notified().await;
    }

    /// Somebody listens, and has heard everything.
    pub(crate) fn is_told(&self) -> bool {
        let state = self.state.lock();
        state.is_listened_to && state.events.is_empty() && state.coming.is_empty()
    }

    /// For a further store. Its objects are looked for by their resources' names, whatever their keys are there.
    pub fn branch(self: &Arc<Self>) -> Arc<dyn Projection> {
        Arc::new(Branch {
            feed: Arc::clone(self),
            coming: Mutex::default(),
        })
    }

    fn push(&self, event: Event) {
        self.state.lock().coming.push(event);
    }

    fn hand_over(&self, mut state: parking_lot::MutexGuard<'_, State>, coming: Events) {
        if !state.is_listened_to || coming.is_empty() {
            return;
        }
        let followed = !state.events.missed;
        state.events.append(coming);
        if followed && state.events.missed {
            tracing::warn!("the controllers cannot follow: they will look at every object");
        }
        drop(state);
        self.arrived.notify_one();
    }
}

// === impl Events ===

impl Events {
    fn is_empty(&self) -> bool {
        self.list.is_empty() && !self.missed
    }

    fn push(&mut self, event: Event) {
        let len = |entry: &Option<Arc<Entry>>| entry.as_ref().map_or(0, |entry| entry.own_len());
        self.bytes += size_of::<Event>() + len(&event.old) + len(&event.new);
        if self.missed || self.bytes > WAITING_BYTES_MAX {
            self.miss();
        } else {
            self.list.push_back(event);
        }
    }

    fn append(&mut self, mut later: Self) {
        self.bytes += later.bytes;
        if self.missed || later.missed || self.bytes > WAITING_BYTES_MAX {
            self.miss();
        } else {
            self.list.append(&mut later.list);
        }
    }

    fn miss(&mut self) {
        self.missed = true;
        self.list = VecDeque::new();
    }
}

impl Projection for EventFeed {
    fn apply(&self, change: &Applied<'_>) {
        self.push(event_of(change));
    }

    fn visible(&self) {
        let mut state = self.state.lock();
        let coming = std::mem::take(&mut state.coming);
        self.hand_over(state, coming);
    }
}

impl Projection for Branch {
    fn apply(&self, change: &Applied<'_>) {
        self.coming.lock().push(event_of(change));
    }

    fn visible(&self) {
        let coming = std::mem::take(&mut *self.coming.lock());
        self.feed.hand_over(self.feed.state.lock(), coming);
    }
}

fn event_of(change: &Applied<'_>) -> Event {
    Event {
        resource: change.resource.clone(),
        key: change.key.clone(),
        old: change.old.cloned(),
        new: change.new.cloned(),
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

    fn names(waiting: Waiting) -> Vec<String> {
        match waiting {
            Waiting::Events(events) => events.iter().map(|event| event.key.name.to_string()).collect(),
            Waiting::Missed => vec!["missed".to_owned()],
        }
    }

    #[test]
    fn what_is_not_visible_yet_is_not_handed_over() {
        let feed = EventFeed::new();
        feed.listen();
        feed.push(event("a"));
        assert!(names(feed.drain()).is_empty());
        assert!(!feed.is_told(), "but it is not idle either");
        feed.visible();
        assert_eq!(names(feed.drain()), ["a"]);
        assert!(feed.is_told());
    }

    #[test]
    fn who_begins_to_listen_hears_of_what_becomes_visible_afterwards() {
        let feed = EventFeed::new();
        feed.push(event("a"));
        feed.listen();
        feed.visible();
        assert_eq!(names(feed.drain()), ["a"]);
    }

    #[test]
    fn nothing_is_kept_for_nobody() {
        let feed = EventFeed::new();
        feed.push(event("a"));
        feed.visible();
        assert!(!feed.is_told(), "nobody listens");
        feed.listen();
        assert!(feed.is_told());
        feed.push(event("a"));
        feed.visible();
        assert!(!feed.is_told());
        feed.leave();
        feed.listen();
        assert!(feed.is_told());
    }

    #[test]
    fn too_many_events_are_missed_as_a_whole_and_once() {
        let feed = EventFeed::new();
        feed.listen();
        for _ in 0..=WAITING_BYTES_MAX / size_of::<Event>() {
            feed.push(event("a"));
        }
        assert_eq!(
            feed.state.lock().coming.list.capacity(),
            0,
            "their memory is given back"
        );
        feed.visible();
        assert_eq!(names(feed.drain()), ["missed"]);
        for _ in 0..=WAITING_BYTES_MAX / size_of::<Event>() {
            feed.push(event("a"));
            feed.visible();
        }
        assert_eq!(names(feed.drain()), ["missed"], "one by one, too");
        feed.push(event("b"));
        feed.visible();
        assert_eq!(names(feed.drain()), ["b"]);
    }
}
