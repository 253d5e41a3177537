//! What happened to one object at one revision, as the log holds it.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::Entry;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    Added,
    Modified,
    Deleted,
}

/// A change of one object. Whatever its readers make of it (an encoding for a watch) is kept here and goes with it.
pub struct Event {
    revision: u64,
    new: Option<Arc<Entry>>,
    previous: Option<Arc<Entry>>,
    /// The previous object at this event's revision: what those see whose selector it leaves, or from whom it is deleted.
    departed: OnceLock<Arc<Entry>>,
    encodings: Memo,
    /// What of the log's budget is this event's; [`RELEASED`] once it has left the log.
    charged: AtomicI64,
    /// Bytes held by all events of the log.
    held: Arc<AtomicI64>,
}

/// An append-only list of encodings, each made by its first reader.
#[derive(Default)]
struct Memo {
    first: OnceLock<Box<Encoding>>,
}

struct Encoding {
    id: (EventKind, u32),
    bytes: Bytes,
    next: OnceLock<Box<Encoding>>,
}

const RELEASED: i64 = i64::MIN;

/// Bytes an event costs besides the entries' bodies.
const EVENT_LEN: usize = size_of::<Event>() + 3 * size_of::<usize>();

// === impl Event ===

impl Event {
    /// One of `new` and `previous` is there. `held` is charged with what this event alone may keep in memory: both versions
    /// leave the cache with later events.
    pub(crate) fn new(
        revision: u64,
        new: Option<Arc<Entry>>,
        previous: Option<Arc<Entry>>,
        held: Arc<AtomicI64>,
    ) -> Self {
        let len = |entry: &Option<Arc<Entry>>| entry.as_ref().map_or(0, |entry| entry.own_len());
        let charged = signed(EVENT_LEN + len(&new) + len(&previous));
        held.fetch_add(charged, Ordering::Relaxed);
        let (departed, encodings) = (OnceLock::new(), Memo::default());
        Self {
            revision,
            new,
            previous,
            departed,
            encodings,
            charged: AtomicI64::new(charged),
            held,
        }
    }

    /// Gives its part of the budget back. Called when it leaves the log; slow readers may hold it longer.
    pub(crate) fn release(&self) {
        let charged = self.charged.swap(RELEASED, Ordering::Relaxed);
        if charged != RELEASED {
            self.held.fetch_sub(charged, Ordering::Relaxed);
        }
    }

    fn charge(&self, len: usize) {
        let add = |charged: i64| (charged != RELEASED).then(|| charged.saturating_add(signed(len)));
        if self
            .charged
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .is_ok()
        {
            self.held.fetch_add(signed(len), Ordering::Relaxed);
        }
    }

    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub fn kind(&self) -> EventKind {
        match (&self.new, &self.previous) {
            (Some(_), None) => EventKind::Added,
            (Some(_), Some(_)) => EventKind::Modified,
            (None, _) => EventKind::Deleted,
        }
    }

    /// Absent for deletions.
    pub fn new_entry(&self) -> Option<&Arc<Entry>> {
        self.new.as_ref()
    }

    /// Absent for creations.
    pub fn previous(&self) -> Option<&Arc<Entry>> {
        self.previous.as_ref()
    }

    /// The entry that tells which object it is about.
    pub(crate) fn subject(&self) -> Option<&Arc<Entry>> {
        self.new.as_ref().or(self.previous.as_ref())
    }

    /// The previous object with this event's revision (Kubernetes: deletions carry the revision of the deletion).
    pub fn departed(&self) -> Option<&Arc<Entry>> {
        let previous = self.previous.as_ref()?;
        Some(
            self.departed
                .get_or_init(|| Arc::new(previous.at_revision(self.revision))),
        )
    }

    /// The encoding `representation` of this event shown as `kind`; `make` runs for its first reader only.
    pub fn encoded(&self, kind: EventKind, representation: u32, make: impl FnOnce() -> Bytes) -> Bytes {
        let id = (kind, representation);
        let mut make = Some(make);
        let mut place = &self.encodings.first;
        loop {
            let encoding = place.get_or_init(|| {
                // Only this call can have left `make` behind: a call that initialises returns below.
                let bytes = make.take().map(|make| make()).unwrap_or_default();
                self.charge(bytes.len() + size_of::<Encoding>());
                Box::new(Encoding {
                    id,
                    bytes,
                    next: OnceLock::new(),
                })
            });
            if encoding.id == id {
                return encoding.bytes.clone();
            }
            place = &encoding.next;
        }
    }
}

fn signed(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}@{} {:?}", self.kind(), self.revision, self.subject())
    }
}
