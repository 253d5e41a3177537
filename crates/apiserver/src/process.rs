//! This process: what its tasks run on, the memory that its threads keep, its `process_*` metrics, and being asked to end.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use env::Env;
use telemetry::Metrics;
use telemetry::metrics::process_samples;
use tokio::runtime::{Builder, Runtime};

/// A busy thread has nothing to do for a moment thousands of times a second; it gives back its memory this often, a few thousandths
/// of its time. What it does at the end of a load takes longer than that, so that the last of it is given back, too.
const BETWEEN_GIVING_BACK: Duration = Duration::from_millis(100);

/// What Linux runs on wherever this server does.
const PAGE_BYTES: f64 = 4096.0;

thread_local! {
    /// When this thread last gave memory back, after [`env::Clock::monotonic`].
    static GAVE_BACK: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// The runtime of a program: tokio's, on as many threads as there are processors. A thread without work gives back what the
/// allocator keeps for it ([`allocator::give_back`]), at most ten times a second.
///
/// # Errors
/// If the system refuses threads or what they wait with.
pub fn runtime(env: &Env) -> std::io::Result<Runtime> {
    let clock = env.clock.clone();
    Builder::new_multi_thread()
        .enable_all()
        .on_thread_park(move || {
            let now = clock.monotonic();
            if now.saturating_sub(GAVE_BACK.get()) >= BETWEEN_GIVING_BACK {
                GAVE_BACK.set(now);
                allocator::give_back();
            }
        })
        .build()
}

/// Adds memory, CPU time and open files of this process to `/metrics`. Where there is no `/proc` (simulations) what cannot
/// be read is left out.
pub fn add_process_metrics(env: &Env, metrics: &Metrics) {
    let disk = env.disk.clone();
    let started = env.clock.now().as_millis() as f64 / 1000.0;
    metrics.registry.add_computed(move || {
        let read = |path: &str| {
            let bytes = disk.read(Path::new(path)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let open_files = disk.list(Path::new("/proc/self/fd")).map_or(0, |entries| entries.len());
        process_samples(
            &read("/proc/self/stat"),
            &read("/proc/self/limits"),
            open_files,
            started,
            PAGE_BYTES,
        )
    });
}

/// Returns when the process is asked to end: by SIGTERM, Ctrl-C, or the end of standard input where that counts. Who waits for
/// that has started, so what this thread keeps from doing so is given back first.
///
/// # Errors
/// If the system does not let signals be listened for.
pub async fn asked_to_end(until_stdin_closes: bool) -> std::io::Result<()> {
    use std::os::fd::AsFd as _;

    use tokio::io::AsyncReadExt;
    use tokio::signal::unix::{SignalKind, signal};
    allocator::give_back();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let closed = async {
        if !until_stdin_closes {
            std::future::pending::<()>().await;
        }
        // A pipe is waited for as a socket is. A thread that sits in a read, as tokio's standard input has one, would keep the
        // process from ending before whoever holds the other end.
        let own = std::io::stdin().as_fd().try_clone_to_owned();
        let Ok(mut input) = own.and_then(tokio::net::unix::pipe::Receiver::from_owned_fd) else {
            tracing::warn!("standard input is no pipe: its end is not waited for");
            return std::future::pending().await;
        };
        let mut ignored = [0; 64];
        while matches!(input.read(&mut ignored).await, Ok(read) if read > 0) {}
    };
    tokio::select! {
        biased;
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = closed => {}
    }
    Ok(())
}
