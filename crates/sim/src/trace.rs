//! What happened, as a hash of everything and as the last lines in words.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

/// Lines that are kept to be shown when a run fails.
const LINES_MAX: usize = 120;

/// Notes of everything that clients asked and got, and of every fault. Cheap to clone; clones share the notes.
#[derive(Clone)]
pub struct Trace(Arc<Mutex<Inner>>);

struct Inner {
    hash: u64,
    lines: VecDeque<String>,
    /// `KCP_SIM_TRACE` is set: every line is shown at once.
    aloud: bool,
}

// === impl Trace ===

impl Default for Trace {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Inner {
            // FNV-1a.
            hash: 0xcbf2_9ce4_8422_2325,
            lines: VecDeque::new(),
            aloud: std::env::var_os("KCP_SIM_TRACE").is_some(),
        })))
    }
}

impl Trace {
    /// Notes one line.
    pub fn note(&self, at: Duration, who: &str, what: fmt::Arguments<'_>) {
        let line = format!("{:>10.4} {who}: {what}", at.as_secs_f64());
        let mut inner = self.0.lock();
        for byte in line.bytes() {
            inner.hash = (inner.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if inner.aloud {
            eprintln!("{line}");
        }
        if inner.lines.len() == LINES_MAX {
            inner.lines.pop_front();
        }
        inner.lines.push_back(line);
    }

    /// Of every line so far.
    pub fn hash(&self) -> u64 {
        self.0.lock().hash
    }

    /// The last lines, and those before them that speak of `about`.
    pub fn tail(&self) -> String {
        let inner = self.0.lock();
        inner.lines.iter().map(|line| format!("{line}\n")).collect()
    }
}
