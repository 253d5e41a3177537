//! Time. [`Timestamp`] is wall time, which may jump; durations are measured with [`Clock::monotonic`].

use std::future::Future;
use std::ops::{Add, AddAssign, Sub};
use std::sync::Arc;
#[cfg(feature = "simulation")]
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// A moment of wall time: nanoseconds since the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Timestamp(i64);

/// Wall and monotonic time of one host. Cheap to clone.
#[derive(Clone)]
pub struct Clock {
    source: Arc<Source>,
}

struct Source {
    started: tokio::time::Instant,
    wall: Wall,
}

enum Wall {
    System,
    /// Wall time is what it was at the start, plus what passed on tokio's clock, plus an offset that tests move.
    #[cfg(feature = "simulation")]
    Simulated {
        at_start: Timestamp,
        offset_nanos: AtomicI64,
    },
}

/// The bound of [`Clock::timeout`] was reached first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

/// Ticks at a period; see [`Clock::interval`].
pub struct Interval {
    inner: tokio::time::Interval,
}

// === impl Timestamp ===

impl Timestamp {
    /// The Unix epoch.
    pub const EPOCH: Timestamp = Timestamp(0);

    /// A moment from nanoseconds since the Unix epoch.
    pub const fn from_nanos(nanos: i64) -> Timestamp {
        Timestamp(nanos)
    }

    /// A moment from whole seconds since the Unix epoch.
    pub const fn from_secs(secs: i64) -> Timestamp {
        Timestamp(secs.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Microseconds since the Unix epoch, rounded down.
    pub const fn as_micros(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Milliseconds since the Unix epoch, rounded down.
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// The time since `earlier`; zero when `earlier` is later, as it can be after a jump of the clock.
    pub fn saturating_since(self, earlier: Timestamp) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;
    fn add(self, rhs: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(nanos(rhs)))
    }
}

impl AddAssign<Duration> for Timestamp {
    fn add_assign(&mut self, rhs: Duration) {
        *self = *self + rhs;
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Timestamp;
    fn sub(self, rhs: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(nanos(rhs)))
    }
}

impl Sub<Timestamp> for Timestamp {
    type Output = Duration;
    /// Saturates at zero, as [`Timestamp::saturating_since`].
    fn sub(self, rhs: Timestamp) -> Duration {
        self.saturating_since(rhs)
    }
}

impl From<std::time::SystemTime> for Timestamp {
    fn from(time: std::time::SystemTime) -> Timestamp {
        match time.duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => Timestamp(nanos(since)),
            Err(before) => Timestamp(nanos(before.duration()).saturating_neg()),
        }
    }
}

impl From<Timestamp> for std::time::SystemTime {
    fn from(time: Timestamp) -> std::time::SystemTime {
        let distance = Duration::from_nanos(time.0.unsigned_abs());
        match time.0 >= 0 {
            true => std::time::UNIX_EPOCH + distance,
            false => std::time::UNIX_EPOCH - distance,
        }
    }
}

// === impl Clock ===

impl Clock {
    /// The operating system's clock.
    pub fn real() -> Clock {
        Clock {
            source: Arc::new(Source {
                started: tokio::time::Instant::now(),
                wall: Wall::System,
            }),
        }
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn simulated(at_start: Timestamp) -> Clock {
        let wall = Wall::Simulated {
            at_start,
            offset_nanos: AtomicI64::new(0),
        };
        Clock {
            source: Arc::new(Source {
                started: tokio::time::Instant::now(),
                wall,
            }),
        }
    }

    /// Moves a simulated wall clock by a signed number of nanoseconds; monotonic time is untouched.
    #[cfg(feature = "simulation")]
    pub(crate) fn shift(&self, by_nanos: i64) {
        if let Wall::Simulated { offset_nanos, .. } = &self.source.wall {
            offset_nanos.fetch_add(by_nanos, Ordering::Relaxed);
        }
    }

    /// Wall time. It may jump in either direction between two calls.
    pub fn now(&self) -> Timestamp {
        match &self.source.wall {
            Wall::System => Timestamp::from(std::time::SystemTime::now()),
            #[cfg(feature = "simulation")]
            Wall::Simulated { at_start, offset_nanos } => {
                let base = *at_start + self.monotonic();
                Timestamp(base.0.saturating_add(offset_nanos.load(Ordering::Relaxed)))
            }
        }
    }

    /// The time since this clock was made. Never goes back.
    pub fn monotonic(&self) -> Duration {
        self.source.started.elapsed()
    }

    /// [`Clock::monotonic`] as the standard library's moment, for libraries that count in those.
    pub fn instant(&self) -> std::time::Instant {
        self.source.started.into_std() + self.monotonic()
    }

    /// Returns after `duration`.
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// Returns when [`Clock::monotonic`] has reached `moment`.
    pub async fn sleep_until(&self, moment: Duration) {
        tokio::time::sleep_until(self.source.started + moment).await;
    }

    /// The future's output, unless it takes longer than `bound`.
    pub async fn timeout<F: Future>(&self, bound: Duration, future: F) -> Result<F::Output, Elapsed> {
        tokio::time::timeout(bound, future).await.map_err(|_| Elapsed)
    }

    /// Ticks every `period`, for the first time one period from now. A late reader gets one tick, not the missed ones.
    pub fn interval(&self, period: Duration) -> Interval {
        let period = period.max(Duration::from_nanos(1));
        let mut inner = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
        inner.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Interval { inner }
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clock({:?})", self.now())
    }
}

// === impl Elapsed ===

impl std::fmt::Display for Elapsed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the time allowed has passed")
    }
}

impl std::error::Error for Elapsed {}

// === impl Interval ===

impl Interval {
    /// Returns at the next tick. Cancel safe.
    pub async fn tick(&mut self) {
        self.inner.tick().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        let early = Timestamp::from_secs(10);
        assert_eq!(early - Timestamp::from_secs(4), Duration::from_secs(6));
        assert_eq!(Timestamp::from_secs(4) - early, Duration::ZERO);
        assert_eq!((early + Duration::MAX).as_nanos(), i64::MAX);
        assert_eq!((Timestamp::from_nanos(-1)).as_secs(), -1);
    }

    #[test]
    fn round_trips_through_system_time() {
        for nanos in [-1_500_000_000, 0, 1_700_000_000_123_456_789] {
            let time = Timestamp::from_nanos(nanos);
            assert_eq!(Timestamp::from(std::time::SystemTime::from(time)), time);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn timeout_cuts_the_slower() {
        let clock = Clock::real();
        let slow = clock
            .timeout(Duration::from_secs(1), clock.sleep(Duration::from_secs(2)))
            .await;
        assert_eq!(slow, Err(Elapsed));
        assert_eq!(clock.timeout(Duration::from_secs(3), async { 7 }).await, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn interval_starts_one_period_from_now() {
        let clock = Clock::real();
        let mut interval = clock.interval(Duration::from_secs(5));
        interval.tick().await;
        assert_eq!(clock.monotonic().as_secs(), 5);
        interval.tick().await;
        assert_eq!(clock.monotonic().as_secs(), 10);
    }
}
