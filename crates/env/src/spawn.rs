//! Tasks.

use futures_util::FutureExt;
use parking_lot::Mutex;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

/// Starts tasks and blocking work. Cheap to clone.
#[derive(Clone)]
pub struct Spawn {
    group: Arc<Group>,
}

struct Group {
    panics: AtomicU64,
    last_panic: Mutex<Option<String>>,
    #[cfg(feature = "simulation")]
    simulated: Option<crate::simulated::Tasks>,
}

/// A started task, and a future of its end. Dropping it leaves the task running.
#[must_use = "call detach() to leave the task to itself"]
#[derive(Debug)]
pub struct Task<T> {
    name: &'static str,
    handle: tokio::task::JoinHandle<T>,
}

/// Why a task gave no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It was aborted, or its runtime ended.
    Aborted(&'static str),
    /// It panicked; [`Spawn::panics`] counts it and the panic hook has said where.
    Panicked(&'static str),
}

// === impl Spawn ===

impl Spawn {
    /// Tasks of the tokio runtime in whose context [`Spawn::spawn`] is called; its blocking threads for blocking work.
    pub fn real() -> Spawn {
        Spawn {
            group: Arc::new(Group {
                panics: AtomicU64::new(0),
                last_panic: Mutex::new(None),
                #[cfg(feature = "simulation")]
                simulated: None,
            }),
        }
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn simulated(tasks: crate::simulated::Tasks) -> Spawn {
        let (panics, last_panic) = (AtomicU64::new(0), Mutex::new(None));
        Spawn {
            group: Arc::new(Group {
                panics,
                last_panic,
                simulated: Some(tasks),
            }),
        }
    }

    /// Starts a task. Must be called inside a tokio runtime.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let group = self.group.clone();
        let handle = tokio::spawn(async move {
            match AssertUnwindSafe(future).catch_unwind().await {
                Ok(output) => output,
                Err(panic) => {
                    group.record(name, &*panic);
                    std::panic::resume_unwind(panic)
                }
            }
        });
        #[cfg(feature = "simulation")]
        if let Some(tasks) = &self.group.simulated {
            tasks.add(handle.abort_handle());
        }
        Task { name, handle }
    }

    /// Runs work that blocks (disk, heavy computation) where it does not hold up other tasks, and returns its result.
    /// The work runs to its end even if the returned future is dropped. Panics if the work panics.
    ///
    /// In simulation the work runs at once on the one thread, then the time that the simulated disk charged passes.
    pub async fn blocking<F, T>(&self, work: F) -> T
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        #[cfg(feature = "simulation")]
        if let Some(tasks) = &self.group.simulated {
            let output = work();
            tasks.pay_disk_time().await;
            return output;
        }
        match tokio::task::spawn_blocking(work).await {
            Ok(output) => output,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // Only a runtime that is shutting down cancels blocking work; this task is about to be dropped too.
            Err(_) => std::future::pending().await,
        }
    }

    /// How many tasks have panicked, and what the last of them said.
    pub fn panics(&self) -> (u64, Option<String>) {
        (
            self.group.panics.load(Ordering::Relaxed),
            self.group.last_panic.lock().clone(),
        )
    }
}

impl std::fmt::Debug for Spawn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Spawn")
    }
}

// === impl Group ===

impl Group {
    fn record(&self, name: &'static str, panic: &(dyn std::any::Any + Send)) {
        let text = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
            (Some(text), _) => (*text).to_owned(),
            (_, Some(text)) => text.clone(),
            _ => "a panic without a text".to_owned(),
        };
        self.panics.fetch_add(1, Ordering::Relaxed);
        *self.last_panic.lock() = Some(format!("{name}: {text}"));
    }
}

// === impl Task ===

impl<T> Task<T> {
    /// The name it was started with.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Asks the task to end at its next await. Join it to know that it has.
    pub fn abort(&self) {
        self.handle.abort();
    }

    /// True once the task has ended.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Waits for its end.
    pub async fn join(self) -> Result<T, Stopped> {
        self.await
    }

    /// Leaves the task running on its own.
    pub fn detach(self) {}
}

impl<T> Future for Task<T> {
    type Output = Result<T, Stopped>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let name = self.name;
        Pin::new(&mut self.handle).poll(cx).map(|result| {
            result.map_err(|error| match error.is_panic() {
                true => Stopped::Panicked(name),
                false => Stopped::Aborted(name),
            })
        })
    }
}

// === impl Stopped ===

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Stopped::Aborted(name) => write!(f, "task {name} was aborted"),
            Stopped::Panicked(name) => write!(f, "task {name} panicked"),
        }
    }
}

impl std::error::Error for Stopped {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn joins_and_aborts() {
        let spawn = Spawn::real();
        assert_eq!(spawn.spawn("seven", async { 7 }).join().await, Ok(7));
        let endless = spawn.spawn("endless", std::future::pending::<()>());
        endless.abort();
        assert_eq!(endless.join().await, Err(Stopped::Aborted("endless")));
    }

    #[tokio::test]
    async fn counts_panics() {
        let spawn = Spawn::real();
        let failed = spawn.spawn("failing", async { panic!("out of tea") });
        assert_eq!(failed.join().await, Err::<(), _>(Stopped::Panicked("failing")));
        assert_eq!(spawn.panics(), (1, Some("failing: out of tea".to_owned())));
    }

    #[tokio::test]
    async fn blocking_returns_the_result() {
        assert_eq!(Spawn::real().blocking(|| 1 + 1).await, 2);
    }
}
