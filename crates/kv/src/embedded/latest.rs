//! A value that changes, and who waits for that: woken in the order in which they began to wait.
//!
//! (tokio's watch channel spreads who waits over several queues, by chance, and no simulation repeats that: who reads first after the
//! log was opened anew is who meets the next fault of the disk.)

use parking_lot::Mutex;
use tokio::sync::Notify;

pub(super) struct Latest<T> {
    state: Mutex<State<T>>,
    changed: Notify,
}

struct State<T> {
    value: T,
    version: u64,
}

/// How much of the changes somebody knows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen(u64);

// === impl Latest ===

impl<T: Clone> Latest<T> {
    pub(super) fn new(value: T) -> Self {
        Self {
            state: Mutex::new(State { value, version: 0 }),
            changed: Notify::new(),
        }
    }

    pub(super) fn get(&self) -> (T, Seen) {
        let state = self.state.lock();
        (state.value.clone(), Seen(state.version))
    }

    /// A change, even to what it was before.
    pub(super) fn set(&self, value: T) {
        let old = {
            let mut state = self.state.lock();
            state.version += 1;
            std::mem::replace(&mut state.value, value)
        };
        self.changed.notify_waiters();
        drop(old);
    }

    /// What is behind the value has changed.
    pub(super) fn touch(&self) {
        self.state.lock().version += 1;
        self.changed.notify_waiters();
    }

    /// Returns once it is not what was seen. Cancel safe.
    pub(super) async fn changed(&self, seen: Seen) {
        loop {
            // Made before looking: it hears of what changes in between.
            let changed = self.changed.notified();
            if self.state.lock().version != seen.0 {
                return;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn who_waits_is_woken_in_the_order_of_waiting() {
        let (latest, woken) = (Arc::new(Latest::new(0)), Arc::new(Mutex::new(Vec::new())));
        let wait = |number: usize| {
            let (latest, woken) = (latest.clone(), woken.clone());
            tokio::spawn(async move {
                let (_, seen) = latest.get();
                latest.changed(seen).await;
                woken.lock().push((number, latest.get().0));
            })
        };
        let waiting: Vec<_> = (0..32).map(wait).collect();
        tokio::task::yield_now().await;
        latest.set(1);
        for waiting in waiting {
            waiting.await.unwrap();
        }
        let expected: Vec<_> = (0..32).map(|number| (number, 1)).collect();
        assert_eq!(*woken.lock(), expected);
    }

    #[tokio::test]
    async fn what_has_changed_since_is_not_waited_for() {
        let latest = Latest::new("one");
        let (_, seen) = latest.get();
        latest.set("one");
        latest.changed(seen).await;
        let (_, seen) = latest.get();
        latest.touch();
        latest.changed(seen).await;
    }
}
