//! Seats: how many requests are worked on at once, shared fairly between clusters.
//!
//! Requests belong to flows (a cluster, or a user where no single cluster is meant). A flow's virtual time grows by the
//! seat time it uses; a free seat goes to the waiting flow with the least, and no flow may hold all seats. So a tenant that
//! asks for ten times its share waits for itself. Flows exist while they have requests: an idle cluster costs nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use env::Clock;
use machinery::status::Status;
use parking_lot::Mutex;
use telemetry::Metrics;
use tokio::sync::oneshot;

/// Who shares a turn: a cluster's name, or `user:` and a user's.
pub type Flow = CompactString;

/// Limits of one kind of request.
#[derive(Clone, Debug)]
pub struct SeatOptions {
    /// Requests worked on at once. 0: no limit.
    pub seats: usize,
    /// Of them for one flow at most.
    pub flow_seats: usize,
    /// Requests of one flow that may wait.
    pub flow_queue: usize,
    /// Requests that may wait in all.
    pub queue: usize,
    /// How long a request waits before it is refused.
    pub wait_max: Duration,
}

/// `read_only` and `mutating` requests have seats of their own: writes wait for the disk, reads for the processor.
#[derive(Clone, Debug)]
pub struct FairnessOptions {
    pub read_only: SeatOptions,
    pub mutating: SeatOptions,
}

pub struct Fairness {
    read_only: Arc<Pool>,
    mutating: Arc<Pool>,
}

/// The right to be worked on; given back when dropped.
pub struct Seat {
    pool: Arc<Pool>,
    flow: Flow,
    since: Duration,
}

struct Pool {
    options: SeatOptions,
    clock: Clock,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    used: usize,
    waiting: usize,
    /// Virtual time of the last flow that got a seat: newcomers begin here.
    now: u64,
    flows: BTreeMap<Flow, FlowState>,
    /// Flows that have requests waiting and may have another seat, by virtual time.
    ready: BTreeSet<(u64, Flow)>,
    next_id: u64,
}

#[derive(Default)]
struct FlowState {
    /// Microseconds of seat time, from where the flow began.
    time: u64,
    seats: usize,
    waiting: VecDeque<Waiter>,
}

struct Waiter {
    id: u64,
    grant: oneshot::Sender<()>,
}

/// A request in the queue. Dropped before its turn it leaves the queue; dropped after, it gives the seat back.
struct Turn {
    pool: Arc<Pool>,
    flow: Flow,
    id: u64,
    granted: oneshot::Receiver<()>,
    is_taken: bool,
}

/// What a request is charged beforehand, so that many short ones count, too.
const CHARGE_MIN_MICROS: u64 = 20;

// === impl FairnessOptions ===

impl FairnessOptions {
    /// From Kubernetes' `--max-requests-inflight` and `--max-mutating-requests-inflight`.
    pub fn new(read_only: usize, mutating: usize) -> Self {
        Self {
            read_only: SeatOptions::new(read_only),
            mutating: SeatOptions::new(mutating),
        }
    }
}

impl Default for FairnessOptions {
    fn default() -> Self {
        Self::new(400, 200)
    }
}

// === impl SeatOptions ===

impl SeatOptions {
    /// Half of the seats for one flow: the rest is there at once for who comes next.
    pub fn new(seats: usize) -> Self {
        Self {
            seats,
            flow_seats: seats.div_ceil(2),
            flow_queue: 256,
            queue: 8192,
            wait_max: Duration::from_secs(15),
        }
    }
}

// === impl Fairness ===

impl Fairness {
    pub fn new(options: FairnessOptions, clock: &Clock, metrics: &Arc<Metrics>) -> Self {
        let pool = |options| {
            let (clock, metrics) = (clock.clone(), metrics.clone());
            Arc::new(Pool {
                options,
                clock,
                metrics,
                state: Mutex::default(),
            })
        };
        Self {
            read_only: pool(options.read_only),
            mutating: pool(options.mutating),
        }
    }

    /// Waits for a seat. `None`: there is no limit. Errors: 429.
    pub async fn seat(&self, flow: Flow, mutating: bool) -> Result<Option<Seat>, Status> {
        let pool = if mutating { &self.mutating } else { &self.read_only };
        if pool.options.seats == 0 {
            return Ok(None);
        }
        pool.clone().seat(flow).await.map(Some)
    }

    /// Seats that are taken.
    pub fn used(&self) -> usize {
        self.read_only.state.lock().used + self.mutating.state.lock().used
    }

    /// Flows that exist now: those with requests.
    pub fn flows(&self) -> usize {
        self.read_only.state.lock().flows.len() + self.mutating.state.lock().flows.len()
    }
}

// === impl Pool ===

impl Pool {
    async fn seat(self: Arc<Self>, flow: Flow) -> Result<Seat, Status> {
        let turn = {
            let mut state = self.state.lock();
            if state.take(&flow, &self.options) {
                drop(state);
                let since = self.clock.monotonic();
                return Ok(Seat {
                    pool: self,
                    flow,
                    since,
                });
            }
            state.enqueue(&flow, &self.options)
        };
        let Some((id, granted)) = turn else {
            self.metrics.rejected.with(&["queue-full"]).inc();
            return Err(overloaded());
        };
        self.metrics.in_queue.inc();
        let mut turn = Turn {
            pool: self.clone(),
            flow: flow.clone(),
            id,
            granted,
            is_taken: false,
        };
        let outcome = self.clock.timeout(self.options.wait_max, &mut turn.granted).await;
        self.metrics.in_queue.dec();
        if !matches!(outcome, Ok(Ok(()))) {
            self.metrics.rejected.with(&["time-out"]).inc();
            return Err(overloaded());
        }
        turn.is_taken = true;
        let since = self.clock.monotonic();
        Ok(Seat {
            pool: self,
            flow,
            since,
        })
    }

    fn release(&self, flow: &Flow, used: Duration) {
        let mut state = self.state.lock();
        state.release(flow, u64::try_from(used.as_micros()).unwrap_or(u64::MAX), &self.options);
        state.dispatch(&self.options);
    }
}

fn overloaded() -> Status {
    Status::too_many_requests("too many requests, please try again later", 1)
}

// === impl State ===

impl State {
    /// Takes a free seat, unless others wait for one.
    fn take(&mut self, flow: &Flow, options: &SeatOptions) -> bool {
        if self.used >= options.seats || !self.ready.is_empty() {
            return false;
        }
        let now = self.now;
        let state = self.flows.entry(flow.clone()).or_insert_with(|| FlowState {
            time: now,
            ..FlowState::default()
        });
        if state.seats >= options.flow_seats || !state.waiting.is_empty() {
            return false;
        }
        state.seats += 1;
        state.time = state.time.max(now).saturating_add(CHARGE_MIN_MICROS);
        self.used += 1;
        true
    }

    fn enqueue(&mut self, flow: &Flow, options: &SeatOptions) -> Option<(u64, oneshot::Receiver<()>)> {
        let now = self.now;
        let full = self.waiting >= options.queue;
        let state = self.flows.entry(flow.clone()).or_insert_with(|| FlowState {
            time: now,
            ..FlowState::default()
        });
        if full || state.waiting.len() >= options.flow_queue {
            self.forget_idle(flow);
            return None;
        }
        let (grant, granted) = oneshot::channel();
        let id = self.next_id;
        self.next_id += 1;
        state.time = state.time.max(now);
        state.waiting.push_back(Waiter { id, grant });
        if state.waiting.len() == 1 && state.seats < options.flow_seats {
            self.ready.insert((state.time, flow.clone()));
        }
        self.waiting += 1;
        Some((id, granted))
    }

    /// Gives free seats to those who wait.
    fn dispatch(&mut self, options: &SeatOptions) {
        while self.used < options.seats {
            let Some((time, flow)) = self.ready.pop_first() else {
                return;
            };
            let Some(state) = self.flows.get_mut(&flow) else {
                continue;
            };
            let Some(waiter) = state.waiting.pop_front() else {
                continue;
            };
            self.now = self.now.max(time);
            self.waiting -= 1;
            state.seats += 1;
            state.time = state.time.saturating_add(CHARGE_MIN_MICROS);
            self.used += 1;
            if !state.waiting.is_empty() && state.seats < options.flow_seats {
                self.ready.insert((state.time, flow.clone()));
            }
            if waiter.grant.send(()).is_err() {
                // It went away in between; its place goes to the next.
                self.release(&flow, 0, options);
            }
        }
    }

    fn release(&mut self, flow: &Flow, micros: u64, options: &SeatOptions) {
        self.used -= 1;
        let Some(state) = self.flows.get_mut(flow) else { return };
        let was_ready = self.ready.remove(&(state.time, flow.clone()));
        state.seats -= 1;
        state.time = state.time.saturating_add(micros.saturating_sub(CHARGE_MIN_MICROS));
        if !state.waiting.is_empty() && (was_ready || state.seats < options.flow_seats) {
            self.ready.insert((state.time, flow.clone()));
        }
        self.forget_idle(flow);
    }

    /// Takes a request out of the queue; false if its turn has come.
    fn cancel(&mut self, flow: &Flow, id: u64) -> bool {
        let Some(state) = self.flows.get_mut(flow) else {
            return false;
        };
        let Some(at) = state.waiting.iter().position(|waiter| waiter.id == id) else {
            return false;
        };
        state.waiting.remove(at);
        self.waiting -= 1;
        if state.waiting.is_empty() {
            let key = (state.time, flow.clone());
            self.ready.remove(&key);
        }
        self.forget_idle(flow);
        true
    }

    fn forget_idle(&mut self, flow: &Flow) {
        if self
            .flows
            .get(flow)
            .is_some_and(|state| state.seats == 0 && state.waiting.is_empty())
        {
            self.flows.remove(flow);
        }
    }
}

// === impl Seat ===

impl Drop for Seat {
    fn drop(&mut self) {
        let used = self.pool.clock.monotonic().saturating_sub(self.since);
        self.pool.release(&self.flow, used);
    }
}

// === impl Turn ===

impl Drop for Turn {
    fn drop(&mut self) {
        if self.is_taken {
            return;
        }
        let cancelled = self.pool.state.lock().cancel(&self.flow, self.id);
        if !cancelled {
            self.pool.release(&self.flow, Duration::ZERO);
        }
    }
}

#[cfg(test)]
mod tests;
