//! Watches: cursors into a resource's log.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use env::Clock;
use permit::{Permit, Verb};

use crate::event::{Event, EventKind};
use crate::filter::{Filter, may};
use crate::interest::{Place, Wake};
use crate::objects::Objects;
use crate::resource::Resource;
use crate::store::Shared;
use crate::{Entry, ResourceKey, StorageError, Store, WatchRequest, WatchStart};

/// What a watcher sees next.
#[derive(Debug)]
pub enum WatchItem {
    Event(WatchEvent),
    /// Everything up to this revision was seen. `initial_end` marks the end of the initial events.
    Bookmark {
        revision: u64,
        initial_end: bool,
    },
    /// What should come next has left the log. `oldest` is the oldest revision from which a watch can still begin. Nothing
    /// follows.
    Expired {
        oldest: u64,
    },
}

/// An object that came into a watcher's view, changed in it, or left it.
#[derive(Debug)]
pub struct WatchEvent {
    pub kind: EventKind,
    /// The object, with the event's revision; for `Deleted` its last state in the view.
    pub entry: Arc<Entry>,
    /// The event in the log; none for initial events.
    event: Option<Arc<Event>>,
}

/// A cursor into the log of one resource. Holds no events; dropping it ends the watch.
pub struct Watcher {
    shared: Arc<Shared>,
    resource: Arc<Resource>,
    filter: Filter,
    registration: Registration,
    /// Sequence number of the next event to look at.
    next: u64,
    /// Whether there may be events to look at before the next wake-up.
    is_reading: bool,
    /// Events up to this revision are not shown.
    after: u64,
    /// Everything up to this revision was looked at.
    seen: u64,
    /// Initial events, last first.
    initial: Vec<Arc<Entry>>,
    /// A bookmark is due when the initial events are through.
    initial_bookmark: bool,
    has_expired: bool,
    bookmarks: Option<Bookmarks>,
}

struct Bookmarks {
    period: Duration,
    /// On the monotonic clock.
    due: Duration,
    /// Ready when one is due, once somebody waits for it.
    timer: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

/// A place in the table of those who wait; left when dropped.
struct Registration {
    shared: Arc<Shared>,
    resource: Arc<Resource>,
    place: Place,
    id: u64,
    wake: Arc<Wake>,
}

// === impl Store ===

impl Store {
    /// Begins a watch. The resource need not have objects yet.
    pub async fn watch(
        &self,
        permit: &Permit,
        resource: &ResourceKey,
        request: &WatchRequest,
    ) -> Result<Watcher, StorageError> {
        // Deletion of a whole collection, for instance, gives no right to look on.
        may(permit, Verb::Watch, &[], resource, &request.scope)?;
        if let WatchStart::Initial { consistency, .. } = request.start {
            self.shared.fresh(consistency).await?;
        }
        if self.shared.closing.is_closed() {
            return Err(StorageError::Unavailable("the store is closed".into()));
        }
        let (labels, fields) = (&request.labels, request.fields.clone());
        let filter = Filter::new(
            permit,
            &request.scope,
            &request.namespace,
            &request.name,
            labels,
            fields,
        );
        let registration = Registration::new(&self.shared, resource, filter.place());
        let bookmarks = request.bookmarks.then(|| {
            let period = self.shared.options.bookmark_period;
            Bookmarks {
                period,
                due: self.shared.env.clock.monotonic() + period,
                timer: None,
            }
        });
        let mut watcher = Watcher {
            shared: Arc::clone(&self.shared),
            resource: Arc::clone(&registration.resource),
            filter,
            registration,
            next: 0,
            is_reading: false,
            after: 0,
            seen: 0,
            initial: Vec::new(),
            initial_bookmark: false,
            has_expired: false,
            bookmarks,
        };
        watcher.start(request.start);
        Ok(watcher)
    }
}

// === impl Watcher ===

impl Watcher {
    /// Registered already: whatever is appended from here on is noticed.
    fn start(&mut self, start: WatchStart) {
        match start {
            WatchStart::After(revision) => {
                self.after = revision;
                // Nobody marks what was there before; the others begin where the marks do.
                self.is_reading = true;
                match self.resource.ring.read().after(revision) {
                    Some(sequence) => self.next = sequence,
                    None => self.has_expired = true,
                }
            }
            WatchStart::Now => {
                // What is appended between these two is taken for older than now: it is not shown, and not announced either.
                self.after = self.shared.visible();
                self.next = self.resource.ring.read().end();
            }
            WatchStart::Initial { bookmark, .. } => {
                let visible = self.shared.visible();
                let objects = self.resource.objects.read();
                self.after = visible.max(objects.latest);
                self.initial = self.snapshot(&objects);
                self.next = self.resource.ring.read().after(self.after).unwrap_or_default();
                self.initial_bookmark = bookmark;
            }
        }
        self.seen = self.after;
    }

    /// Last first, so that taking the next one is cheap.
    fn snapshot(&self, objects: &Objects) -> Vec<Arc<Entry>> {
        if self.filter.is_nothing() {
            return Vec::new();
        }
        let span = self.filter.span();
        let matches = |entry: &&Arc<Entry>| self.filter.matches_key_and_labels(entry);
        let mut entries: Vec<Arc<Entry>> = match self.filter.indexed_label(&self.resource.indexed) {
            Some(label) => objects.labelled(label, &span).filter(matches).cloned().collect(),
            None => objects.range(&span).filter(matches).cloned().collect(),
        };
        entries.reverse();
        entries
    }

    /// What comes next; `None` when the watch is over. Cancel safe.
    pub async fn next(&mut self) -> Option<WatchItem> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`Watcher::next`], without a future for each item.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<WatchItem>> {
        if let Some(item) = self.ready() {
            return Poll::Ready(Some(item));
        }
        self.registration.wake.register(cx.waker());
        // What came before the waker was there woke nobody.
        if let Some(item) = self.ready() {
            return Poll::Ready(Some(item));
        }
        if self.is_over() {
            return Poll::Ready(None);
        }
        if let Some(bookmarks) = &mut self.bookmarks {
            ready!(bookmarks.poll_due(&self.shared.env.clock, cx));
            return Poll::Ready(Some(self.periodic_bookmark()));
        }
        Poll::Pending
    }

    /// What is there without waiting, if anything: writers flush when there is nothing.
    pub fn ready(&mut self) -> Option<WatchItem> {
        while !self.is_over() {
            if let Some(entry) = self.initial.pop() {
                if self.filter.fields.as_ref().is_none_or(|fields| fields(&entry)) {
                    return Some(WatchItem::Event(WatchEvent {
                        kind: EventKind::Added,
                        entry,
                        event: None,
                    }));
                }
                continue;
            }
            if std::mem::take(&mut self.initial_bookmark) {
                return Some(WatchItem::Bookmark {
                    revision: self.after,
                    initial_end: true,
                });
            }
            if self.has_expired {
                return Some(self.expire());
            }
            if !self.is_reading && !self.wakes_up() {
                return None;
            }
            match self.read() {
                Ok(Some(event)) => {
                    if let Some(event) = self.view(event) {
                        return Some(WatchItem::Event(event));
                    }
                }
                Ok(None) => self.is_reading = false,
                Err(()) => self.has_expired = true,
            }
        }
        None
    }

    /// Whether an event that may match has come. If not, nothing up to `seen` was missed.
    fn wakes_up(&mut self) -> bool {
        // Read first: an event is marked before its revision is visible.
        let visible = self.shared.visible();
        match self.registration.wake.take() {
            Some(sequence) => {
                self.next = self.next.max(sequence);
                self.is_reading = true;
            }
            None => self.seen = self.seen.max(visible),
        }
        self.is_reading
    }

    /// The next event of the resource, if there is one; an error if it has left the log. Looks for one more in the same turn:
    /// what is appended later marks the watcher.
    fn read(&mut self) -> Result<Option<Arc<Event>>, ()> {
        let ring = self.resource.ring.read();
        if self.next < ring.start() {
            return Err(());
        }
        let event = ring.get(self.next).cloned();
        if event.is_some() {
            self.next += 1;
            self.is_reading = ring.get(self.next).is_some();
        }
        Ok(event)
    }

    /// The event as this watcher sees it, if it does.
    fn view(&mut self, event: Arc<Event>) -> Option<WatchEvent> {
        if event.revision() <= self.after {
            return None;
        }
        let sees = |entry: Option<&Arc<Entry>>| entry.is_some_and(|entry| self.filter.matches(entry));
        let (kind, entry) = match (sees(event.previous()), sees(event.new_entry())) {
            (false, false) => (EventKind::Deleted, None),
            (false, true) => (EventKind::Added, event.new_entry()),
            (true, true) => (EventKind::Modified, event.new_entry()),
            // Kubernetes shows what leaves the selector as deleted, in its previous form, at the event's revision.
            (true, false) => (EventKind::Deleted, event.departed()),
        };
        let entry = entry.map(Arc::clone);
        self.seen = self.seen.max(event.revision());
        if self.shared.options.drops_event(event.revision()) {
            return None;
        }
        Some(WatchEvent {
            kind,
            entry: entry?,
            event: Some(event),
        })
    }

    fn expire(&mut self) -> WatchItem {
        self.registration.wake.end();
        WatchItem::Expired {
            oldest: self.resource.ring.read().floor(),
        }
    }

    fn is_over(&self) -> bool {
        self.registration.wake.is_ended() || self.shared.closing.is_closed()
    }

    fn periodic_bookmark(&mut self) -> WatchItem {
        if let Some(bookmarks) = &mut self.bookmarks {
            bookmarks.due = self.shared.env.clock.monotonic() + bookmarks.period;
            bookmarks.timer = None;
        }
        WatchItem::Bookmark {
            revision: self.revision(),
            initial_end: false,
        }
    }

    /// A bookmark out of turn: before the watch's deadline. `None` while initial events are outstanding.
    pub fn bookmark_now(&mut self) -> Option<WatchItem> {
        let is_initial = !self.initial.is_empty() || self.initial_bookmark;
        (!is_initial && !self.has_expired).then(|| self.periodic_bookmark())
    }

    /// The newest revision up to which this watcher was shown everything: where another watch can go on.
    pub fn revision(&mut self) -> u64 {
        if !self.is_reading && self.initial.is_empty() && !self.registration.wake.has_pending() {
            // As in `wakes_up`, but leaving the mark where it is.
            let visible = self.shared.visible();
            if !self.registration.wake.has_pending() {
                self.seen = self.seen.max(visible);
            }
        }
        self.seen
    }
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watcher({}@{})", self.resource.key, self.seen)
    }
}

// === impl Bookmarks ===

impl Bookmarks {
    fn poll_due(&mut self, clock: &Clock, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| {
            let (clock, due) = (clock.clone(), self.due);
            Box::pin(async move { clock.sleep_until(due).await })
        });
        timer.as_mut().poll(cx)
    }
}

// === impl WatchEvent ===

impl WatchEvent {
    /// The event's revision; an initial event has its object's.
    pub fn revision(&self) -> u64 {
        self.entry.revision()
    }

    /// The encoding `representation` of this event, made once for all watchers that see it as the same kind. The caller
    /// gives each representation a number of its own.
    pub fn encoded(&self, representation: u32, make: impl FnOnce(&Entry) -> Bytes) -> Bytes {
        match &self.event {
            Some(event) => event.encoded(self.kind, representation, || make(&self.entry)),
            None => make(&self.entry),
        }
    }
}

// === impl Registration ===

impl Registration {
    fn new(shared: &Arc<Shared>, resource: &ResourceKey, place: Place) -> Self {
        let wake = Arc::new(Wake::default());
        shared.watchers.fetch_add(1, Ordering::Relaxed);
        shared.catalog.ensure(resource, &shared.log, |resource| {
            let id = resource.interest.lock().register(&place, &wake);
            let (shared, resource) = (Arc::clone(shared), Arc::clone(resource));
            Self {
                shared,
                resource,
                id,
                place: place.clone(),
                wake: Arc::clone(&wake),
            }
        })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.resource.interest.lock().unregister(&self.place, self.id);
        self.shared.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}
