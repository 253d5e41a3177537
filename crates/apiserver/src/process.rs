//! This process: its `process_*` metrics, the pages its memory is made of, and being asked to end.

use std::path::Path;
use std::time::Duration;

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

/// From this much resident memory on, huge pages are worth what they waste. Little more than an idle shard has: a store that
/// is being filled pays for each small page.
const LARGE_BYTES: f64 = 48.0 * 1024.0 * 1024.0;

/// How often a small process looks at its size.
const SIZE_PERIOD: Duration = Duration::from_millis(500);

/// Keeps this process on small pages. The allocator asks for huge ones, of which a small server fills a part: an idle shard
/// takes half as much again. To be called before anything else allocates. Without effect where the system does not know of it.
pub fn no_huge_pages() {
    #[cfg(target_os = "linux")]
    let _where_known = rustix::thread::disable_transparent_huge_pages(true);
}

/// Takes [`no_huge_pages`] back when the process has grown: over much memory, small pages cost each request time.
pub async fn huge_pages_when_large(env: &Env) {
    loop {
        env.clock.sleep(SIZE_PERIOD).await;
        let statm = env.disk.read(Path::new("/proc/self/statm")).unwrap_or_default();
        if resident_bytes(&String::from_utf8_lossy(&statm)) >= LARGE_BYTES {
            #[cfg(target_os = "linux")]
            let _where_known = rustix::thread::disable_transparent_huge_pages(false);
            return;
        }
    }
}

/// From `/proc/self/statm`; none where that cannot be read.
fn resident_bytes(statm: &str) -> f64 {
    let pages = statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse::<f64>().ok());
    pages.unwrap_or_default() * PAGE_BYTES
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_number_is_what_is_resident() {
        assert_eq!(resident_bytes("300000 9700 4600 5100 0 16000 0\n"), 9700.0 * 4096.0);
        assert_eq!(resident_bytes(""), 0.0);
        assert_eq!(resident_bytes("300000 many"), 0.0);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test(start_paused = true)]
    async fn huge_pages_come_back_when_the_process_is_large() {
        let (env, _host) = Env::simulated(1, env::simulated::SimOptions::default());
        let are_off = || rustix::thread::transparent_huge_pages_are_disabled().unwrap();
        let statm = Path::new("/proc/self/statm");
        env.disk.create_dir_all(Path::new("/proc/self")).unwrap();
        env.disk.write_atomic(statm, b"300000 9700 4600").unwrap();
        no_huge_pages();
        let mut growing = Box::pin(huge_pages_when_large(&env));
        assert!(env.clock.timeout(10 * SIZE_PERIOD, growing.as_mut()).await.is_err());
        assert!(are_off());
        env.disk.write_atomic(statm, b"300000 40000 4600").unwrap();
        growing.await;
        assert!(!are_off());
    }
}
