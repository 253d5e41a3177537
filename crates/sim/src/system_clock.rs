//! The operating system's clock, for libraries that know of no seam: on a thread that simulates, simulated time.
//!
//! hyper dates answers by it (`Date`), and h2 remembers for a second by it which streams were reset. On a machine that was slow for a
//! moment other bytes went over the simulated network, and the rest of the run was another one. The standard library asks the C
//! library's `clock_gettime`; a program that has a function of this name itself is asked instead, which is what is done here.
//!
//! Invariant: a thread that simulates reads no time but the simulated, whoever reads it.
//! Invariant: on other threads, and of other clocks (CPU time), the kernel's answer is given.
#![expect(unsafe_code, reason = "a function of the C library can be answered by nothing else")]

use std::cell::Cell;
use std::time::Duration;

use env::Clock;
use env::simulated::SimOptions;
use libc::{CLOCK_MONOTONIC, CLOCK_REALTIME, c_int, clockid_t, timespec};

/// When a simulation began.
#[derive(Clone)]
pub struct Began {
    /// Of the runtime.
    clock: Clock,
    monotonic: Duration,
}

/// This thread simulates, until it is dropped.
pub struct Simulating {
    before: Option<Began>,
}

thread_local! {
    static BEGAN: Cell<Option<Began>> = const { Cell::new(None) };
}

// === impl Began ===

impl Began {
    /// Within the simulation's runtime.
    pub fn now() -> Self {
        Self {
            clock: Clock::real(),
            monotonic: kernels(CLOCK_MONOTONIC).unwrap_or_default(),
        }
    }

    fn time(&self, clock: clockid_t) -> Option<Duration> {
        let base = match clock {
            CLOCK_MONOTONIC => self.monotonic,
            // Of hosts whose clocks nobody has moved.
            CLOCK_REALTIME => Duration::from_nanos(SimOptions::default().start.as_nanos().unsigned_abs()),
            _ => return None,
        };
        Some(base + self.clock.monotonic())
    }
}

// === impl Simulating ===

impl Simulating {
    /// From now on, as in a simulation that began then.
    pub fn since(began: Began) -> Self {
        Self {
            before: BEGAN.replace(Some(began)),
        }
    }
}

impl Drop for Simulating {
    fn drop(&mut self) {
        BEGAN.set(self.before.take());
    }
}

/// Called by the standard library for `Instant::now()` and `SystemTime::now()`.
///
/// # Safety
/// As the C library's: `time` may be written to.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    // SAFETY: the caller's promise.
    let told = unsafe { ask_the_kernel(clock, time) };
    if told == 0
        && let Some(simulated) = simulated(clock)
    {
        // SAFETY: the same.
        unsafe { *time = simulated };
    }
    told
}

/// # Safety
/// `time` may be written to.
unsafe fn ask_the_kernel(clock: clockid_t, time: *mut timespec) -> c_int {
    // SAFETY: these are the call's arguments.
    let told = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) };
    c_int::try_from(told).unwrap_or(-1)
}

fn kernels(clock: clockid_t) -> Option<Duration> {
    let mut time = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it is this function's own.
    let told = unsafe { ask_the_kernel(clock, &raw mut time) };
    let whole = Duration::from_secs(time.tv_sec.unsigned_abs());
    (told == 0).then_some(whole + Duration::from_nanos(time.tv_nsec.unsigned_abs()))
}

fn simulated(clock: clockid_t) -> Option<timespec> {
    // Taken, so that tokio, asked here, would be answered by the kernel, should it ask again.
    let began = BEGAN.try_with(Cell::take).ok().flatten()?;
    let time = began.time(clock);
    BEGAN.set(Some(began));
    let time = time?;
    Some(timespec {
        tv_sec: time.as_secs().try_into().ok()?,
        tv_nsec: time.subsec_nanos().into(),
    })
}
