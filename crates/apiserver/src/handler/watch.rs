//! Watches: a stream of lines, each an event.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use env::Clock;
use futures_util::Stream;
use http::Response;
use http::header::CONTENT_TYPE;
use machinery::options::ListOptions;
use registry::represent::{Representation, WatchState};
use registry::{EventStream, WatchEvent};
use telemetry::RequestSeries;

use crate::body::Body;
use crate::lifecycle::{Lifecycle, Phase};
use crate::record::Record;
use crate::refusal::APPLICATION_JSON;
use crate::stack::Stack;

/// Events that are there already go out together, up to this size; then the connection is flushed.
const BATCH_BYTES: usize = 64 * 1024;

/// How long before the end a last bookmark is sent.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

/// A watch on its way to the client.
struct Watch {
    events: Box<dyn EventStream>,
    representation: Representation,
    state: WatchState,
    clock: Clock,
    /// When the last bookmark is due and when the stream ends, on the monotonic clock.
    last_bookmark: Option<Duration>,
    deadline: Duration,
    /// Ready at the next of the two.
    timer: Pin<Box<dyn Future<Output = ()> + Send>>,
    lifecycle: Lifecycle,
    /// Ready when the server closes.
    closing: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Whom `timer` and `closing` wake, and the phase in which they were asked: nobody asks them again at every event.
    waiting: Option<(Waker, Phase)>,
    running: Running,
}

/// Counts a watch while it runs.
struct Running(Arc<RequestSeries>);

/// Answers with the events of a stream. `?timeoutSeconds=` says when it ends; without it, a random time does, so that the
/// watches of a restarted server do not all end together.
pub(super) fn respond(
    stack: &Stack,
    events: Box<dyn EventStream>,
    representation: Representation,
    options: &ListOptions,
    record: &Record,
) -> Response<Body> {
    let min = stack.options.watch_timeout_min;
    let asked = options
        .timeout_seconds
        .and_then(|seconds| u64::try_from(seconds).ok())
        .filter(|seconds| *seconds > 0);
    let length = match asked {
        Some(seconds) => Duration::from_secs(seconds.min(u64::from(u32::MAX))),
        None => {
            let spread = u64::try_from(min.as_millis()).unwrap_or(u64::MAX).max(1);
            min + Duration::from_millis(stack.env.rng.next_u64() % spread)
        }
    };
    let clock = stack.env.clock.clone();
    let deadline = clock.monotonic() + length;
    let last_bookmark =
        (options.allow_watch_bookmarks && length > LAST_BOOKMARK).then(|| deadline.saturating_sub(LAST_BOOKMARK));
    let series = stack.metrics.requests.series(&record.labels(|def| stack.is_known(def)));
    let watch = Watch {
        events,
        representation,
        state: WatchState::new(),
        timer: sleep_until(&clock, last_bookmark.unwrap_or(deadline)),
        closing: closing(&stack.lifecycle),
        waiting: None,
        lifecycle: stack.lifecycle.clone(),
        clock,
        last_bookmark,
        deadline,
        running: Running::new(series),
    };
    let mut response = Response::new(Body::stream(watch));
    response.headers_mut().insert(CONTENT_TYPE, APPLICATION_JSON);
    response
}

fn sleep_until(clock: &Clock, moment: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let clock = clock.clone();
    Box::pin(async move { clock.sleep_until(moment).await })
}

fn closing(lifecycle: &Lifecycle) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let lifecycle = lifecycle.clone();
    Box::pin(async move { lifecycle.reached(Phase::Closing).await })
}

// === impl Watch ===

impl Stream for Watch {
    type Item = Bytes;

    /// The next lines; `None` ends the stream.
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let watch = &mut *self;
        loop {
            // Events come first, so that a busy watch polls nothing else; its end is looked at here instead.
            let (phase, now) = (watch.lifecycle.phase(), watch.clock.monotonic());
            if phase >= Phase::Closing || now >= watch.deadline {
                return Poll::Ready(None);
            }
            let event = match watch.events.poll_next(cx) {
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(event)) => event,
                Poll::Pending => {
                    if now < watch.last_bookmark.unwrap_or(watch.deadline) && watch.is_waiting(cx.waker(), phase) {
                        return Poll::Pending;
                    }
                    if watch.closing.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(None);
                    }
                    if watch.timer.as_mut().poll(cx).is_pending() {
                        watch.waiting = Some((cx.waker().clone(), phase));
                        return Poll::Pending;
                    }
                    // The bookmark comes first; without one due, this is the end.
                    if watch.last_bookmark.take().is_none() {
                        return Poll::Ready(None);
                    }
                    watch.timer = sleep_until(&watch.clock, watch.deadline);
                    watch.waiting = None;
                    WatchEvent::Bookmark {
                        revision: watch.events.revision(),
                        initial_end: false,
                    }
                }
            };
            let first = watch.line(&event);
            let lines = watch.gather(first);
            if !lines.is_empty() {
                return Poll::Ready(Some(lines));
            }
        }
    }
}

impl Watch {
    /// Whether this waker will be woken when time has come. Every change of the phase uses a wake-up up.
    fn is_waiting(&self, waker: &Waker, phase: Phase) -> bool {
        let waiting = self.waiting.as_ref();
        waiting.is_some_and(|(waiting, asked)| *asked == phase && waiting.will_wake(waker))
    }

    /// Adds what is there already. A single event goes out as the bytes that all its watchers share.
    fn gather(&mut self, first: Bytes) -> Bytes {
        let mut gathered = BytesMut::new();
        while first.len() + gathered.len() < BATCH_BYTES
            && let Some(event) = self.events.ready()
        {
            let line = self.line(&event);
            if gathered.is_empty() {
                gathered.reserve(first.len() + line.len());
                gathered.extend_from_slice(&first);
            }
            gathered.extend_from_slice(&line);
        }
        if gathered.is_empty() { first } else { gathered.freeze() }
    }

    fn line(&mut self, event: &WatchEvent) -> Bytes {
        let line = self
            .representation
            .watch_line(event, self.events.logged(), &mut self.state);
        let counted = &self.running.0;
        counted.watch_events.inc();
        // Exact up to 2^53.
        counted.watch_event_sizes.observe(line.len() as f64);
        line
    }
}

// === impl Running ===

impl Running {
    fn new(series: Arc<RequestSeries>) -> Self {
        series.long_running.inc();
        Self(series)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.long_running.dec();
    }
}
