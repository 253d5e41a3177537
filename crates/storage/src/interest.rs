//! Who waits for what: the table that an event wakes watchers by.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;

use futures_util::task::AtomicWaker;

use crate::Entry;
use crate::key::behind;

/// The watchers of one resource. An event looks at four places (all, its cluster, its namespace, its name), and in each at
/// the label values that are waited for; what else is registered costs it nothing.
#[derive(Default)]
pub(crate) struct Interest {
    /// By the prefix of the object's path.
    places: BTreeMap<Box<[u8]>, Waiting>,
    count: usize,
    next_id: u64,
}

/// By the order of registration.
type Wakes = BTreeMap<u64, Arc<Wake>>;

#[derive(Default)]
struct Waiting {
    any: Wakes,
    /// Label key, then value: watchers that ask for equality.
    labelled: BTreeMap<Box<str>, BTreeMap<Box<str>, Wakes>>,
}

/// What a watcher registers for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// `""`, `cluster/`, `cluster/namespace/` or a whole path.
    pub prefix: Box<[u8]>,
    pub label: Option<(Box<str>, Box<str>)>,
}

/// How an event reaches a watcher.
#[derive(Default)]
pub(crate) struct Wake {
    /// One more than the sequence number of the first matching event since the watcher looked; 0 if there was none.
    pending: AtomicU64,
    ended: AtomicBool,
    waker: AtomicWaker,
}

// === impl Interest ===

impl Interest {
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn register(&mut self, place: &Place, wake: &Arc<Wake>) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.count += 1;
        let waiting = self.places.entry(place.prefix.clone()).or_default();
        let list = match &place.label {
            None => &mut waiting.any,
            Some((key, value)) => waiting
                .labelled
                .entry(key.clone())
                .or_default()
                .entry(value.clone())
                .or_default(),
        };
        list.insert(id, Arc::clone(wake));
        id
    }

    pub(crate) fn unregister(&mut self, place: &Place, id: u64) {
        let Some(waiting) = self.places.get_mut(&place.prefix) else {
            return;
        };
        let removed = match &place.label {
            None => waiting.any.remove(&id),
            Some((key, value)) => waiting.unregister_labelled(key, value, id),
        };
        self.count -= usize::from(removed.is_some());
        if waiting.any.is_empty() && waiting.labelled.is_empty() {
            self.places.remove(&place.prefix);
        }
    }

    /// Marks the watchers that the event may match, and appends those to be notified to `wakes`.
    pub(crate) fn mark(
        &self,
        sequence: u64,
        new: Option<&Entry>,
        previous: Option<&Entry>,
        wakes: &mut Vec<Arc<Wake>>,
    ) {
        if self.count == 0 {
            return;
        }
        let Some(entry) = new.or(previous) else { return };
        let path = entry.path();
        let cluster = entry.cluster_len() + 1;
        let namespace = if entry.namespace_len() == 0 {
            0
        } else {
            cluster + entry.namespace_len() + 1
        };
        for len in [
            Some(0),
            Some(cluster),
            (namespace > 0).then_some(namespace),
            Some(path.len()),
        ] {
            let Some(prefix) = len.and_then(|len| path.get(..len)) else {
                continue;
            };
            if let Some(waiting) = self.places.get(prefix) {
                waiting.mark(sequence, new, previous, wakes);
            }
        }
    }

    /// Marks every watcher, because something was missed.
    pub(crate) fn mark_all(&self, wakes: &mut Vec<Arc<Wake>>) {
        for waiting in self.places.values() {
            wakes.extend(waiting.all().filter(|wake| wake.mark(0)).cloned());
        }
    }

    /// Ends the watchers over all clusters.
    pub(crate) fn end_wide(&self) {
        if let Some(waiting) = self.places.get(&b""[..]) {
            waiting.all().for_each(|wake| wake.end());
        }
    }

    /// Ends the watchers of whatever is under `prefix`; they see their end at the next look.
    pub(crate) fn end(&self, prefix: &[u8]) {
        let end = behind(prefix);
        for (place, waiting) in self
            .places
            .range::<[u8], _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded))
        {
            if !end.is_empty() && **place >= *end {
                break;
            }
            waiting.all().for_each(|wake| wake.end());
        }
    }
}

impl Waiting {
    fn all(&self) -> impl Iterator<Item = &Arc<Wake>> {
        let labelled = self
            .labelled
            .values()
            .flat_map(BTreeMap::values)
            .flat_map(BTreeMap::values);
        self.any.values().chain(labelled)
    }

    fn unregister_labelled(&mut self, key: &str, value: &str, id: u64) -> Option<Arc<Wake>> {
        let values = self.labelled.get_mut(key)?;
        let list = values.get_mut(value)?;
        let removed = list.remove(&id);
        if list.is_empty() {
            values.remove(value);
        }
        if values.is_empty() {
            self.labelled.remove(key);
        }
        removed
    }

    fn mark(&self, sequence: u64, new: Option<&Entry>, previous: Option<&Entry>, wakes: &mut Vec<Arc<Wake>>) {
        let mut mark = |list: &Wakes| {
            wakes.extend(list.values().filter(|wake| wake.mark(sequence)).cloned());
        };
        mark(&self.any);
        if self.labelled.is_empty() {
            return;
        }
        // The labels are walked, not the keys waited for: each of those would look through all labels, under the lock of
        // the whole resource. Who waits for a label that stays is marked once, the second time does nothing.
        for entry in [new, previous].into_iter().flatten() {
            for (key, value) in entry.labels() {
                if let Some(list) = self.labelled.get(key).and_then(|values| values.get(value)) {
                    mark(list);
                }
            }
        }
    }
}

// === impl Wake ===

impl Wake {
    /// True if the watcher is to be notified: it has no older event to look at.
    fn mark(&self, sequence: u64) -> bool {
        self.pending
            .compare_exchange(0, sequence + 1, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// The sequence number of the first matching event since the last call.
    pub(crate) fn take(&self) -> Option<u64> {
        self.pending.swap(0, Ordering::AcqRel).checked_sub(1)
    }

    pub(crate) fn has_pending(&self) -> bool {
        self.pending.load(Ordering::Acquire) != 0
    }

    pub(crate) fn notify(&self) {
        self.waker.wake();
    }

    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Who is woken next. What was marked before is not told again: the caller looks once more after this.
    pub(crate) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }
}
