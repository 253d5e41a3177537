//! The log of the shard: per resource a ring of events, all of them together within one budget of bytes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;

use crate::event::Event;
use crate::resource::Resource;

/// The events of one resource, oldest first.
#[derive(Default)]
pub(crate) struct Ring {
    events: VecDeque<Arc<Event>>,
    /// Sequence number of the oldest event, or of the next one while there is none.
    base: u64,
    /// Every event after this revision is here.
    floor: u64,
}

/// The order of all resources' events, by which the oldest leave.
pub(crate) struct Log {
    order: Mutex<Order>,
    held: Arc<AtomicI64>,
    budget: i64,
}

struct Order {
    /// The resource of each event, oldest first.
    resources: VecDeque<Arc<Resource>>,
    /// No ring is known to hold anything at or below this revision.
    floor: u64,
}

// === impl Ring ===

impl Ring {
    pub(crate) fn starting_at(floor: u64) -> Self {
        Self {
            floor,
            ..Self::default()
        }
    }

    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Sequence number of the oldest event still here.
    pub(crate) fn start(&self) -> u64 {
        self.base
    }

    /// Sequence number that the next event gets.
    pub(crate) fn end(&self) -> u64 {
        self.base + self.events.len() as u64
    }

    pub(crate) fn get(&self, sequence: u64) -> Option<&Arc<Event>> {
        let index = sequence.checked_sub(self.base)?;
        self.events.get(usize::try_from(index).ok()?)
    }

    /// Sequence number of the first event after `revision`; `None` if some of those have left.
    pub(crate) fn after(&self, revision: u64) -> Option<u64> {
        let index = self.events.partition_point(|event| event.revision() <= revision);
        (revision >= self.floor).then(|| self.base + index as u64)
    }

    pub(crate) fn events_after(&self, revision: u64) -> impl Iterator<Item = &Arc<Event>> {
        let index = self.events.partition_point(|event| event.revision() <= revision);
        self.events.range(index..)
    }

    fn push(&mut self, event: Arc<Event>) -> u64 {
        self.events.push_back(event);
        self.end() - 1
    }

    fn pop(&mut self) -> Option<Arc<Event>> {
        let event = self.events.pop_front()?;
        event.release();
        self.base += 1;
        self.floor = self.floor.max(event.revision());
        if self.events.len() < self.events.capacity() / 4 {
            self.events.shrink_to(self.events.len() * 2);
        }
        Some(event)
    }

    /// Forgets everything up to `floor`, known or not: whoever stands before it has missed something. The sequence skips a
    /// number, so that those who had seen everything notice too.
    fn cut(&mut self, floor: u64) {
        self.events.drain(..).for_each(|event| {
            event.release();
            self.base += 1;
        });
        self.events.shrink_to_fit();
        self.base += 1;
        self.floor = self.floor.max(floor);
    }
}

// === impl Log ===

impl Log {
    pub(crate) fn new(budget_bytes: usize) -> Self {
        let order = Order {
            resources: VecDeque::new(),
            floor: 0,
        };
        let budget = i64::try_from(budget_bytes).unwrap_or(i64::MAX);
        Self {
            order: Mutex::new(order),
            held: Arc::default(),
            budget,
        }
    }

    /// What new events charge.
    pub(crate) fn held(&self) -> &Arc<AtomicI64> {
        &self.held
    }

    pub(crate) fn held_bytes(&self) -> u64 {
        u64::try_from(self.held.load(Ordering::Relaxed)).unwrap_or(0)
    }

    pub(crate) fn len(&self) -> usize {
        self.order.lock().resources.len()
    }

    /// From where a ring that starts now is complete.
    pub(crate) fn floor(&self) -> u64 {
        self.order.lock().floor
    }

    /// Appends an event, newer than all before it, and returns its sequence number.
    pub(crate) fn append(&self, resource: &Arc<Resource>, event: Arc<Event>) -> u64 {
        let mut order = self.order.lock();
        let sequence = resource.ring.write().push(event);
        order.resources.push_back(Arc::clone(resource));
        while self.held.load(Ordering::Relaxed) > self.budget && order.pop().is_some() {}
        sequence
    }

    /// Forgets the events up to `revision`, and what is above the budget.
    pub(crate) fn trim(&self, revision: u64) {
        let mut order = self.order.lock();
        let is_old = |resource: &Arc<Resource>| {
            resource
                .ring
                .read()
                .events
                .front()
                .is_some_and(|event| event.revision() <= revision)
        };
        while order.resources.front().is_some_and(is_old) || self.held.load(Ordering::Relaxed) > self.budget {
            if order.pop().is_none() {
                break;
            }
        }
        if order.resources.len() < order.resources.capacity() / 4 {
            let len = order.resources.len();
            order.resources.shrink_to(len * 2);
        }
    }

    /// Forgets everything: there is a gap in what was seen up to `revision`.
    pub(crate) fn cut(&self, resources: &[Arc<Resource>], revision: u64) {
        let mut order = self.order.lock();
        order.resources.clear();
        order.floor = order.floor.max(revision);
        resources
            .iter()
            .for_each(|resource| resource.ring.write().cut(revision));
    }
}

impl Order {
    fn pop(&mut self) -> Option<()> {
        let resource = self.resources.pop_front()?;
        if let Some(event) = resource.ring.write().pop() {
            self.floor = self.floor.max(event.revision());
        }
        Some(())
    }
}
