//! This process: its `process_*` metrics, and being asked to end.

use std::path::Path;

use env::Env;
use telemetry::Metrics;
use telemetry::metrics::process_samples;

/// What Linux runs on wherever this server does.
const PAGE_BYTES: f64 = 4096.0;

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

/// Returns when the process is asked to end: by SIGTERM, Ctrl-C, or the end of standard input where that counts.
///
/// # Errors
/// If the system does not let signals be listened for.
pub async fn asked_to_end(until_stdin_closes: bool) -> std::io::Result<()> {
    use std::os::fd::AsFd as _;

    use tokio::io::AsyncReadExt;
    use tokio::signal::unix::{SignalKind, signal};
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
