//! `process_*` metrics of this process.

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
