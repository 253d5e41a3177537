//! Lines to a file, behind a bounded queue.

use std::path::PathBuf;
use std::sync::Arc;

use env::{DiskFile, Env};
use telemetry::Metrics;
use tokio::sync::mpsc;

/// Takes lines without waiting.
pub(super) struct Sink {
    lines: mpsc::Sender<String>,
    metrics: Arc<Metrics>,
}

/// Lines that may wait for the disk.
const QUEUE: usize = 8192;

/// What is written at once at most.
const BATCH_BYTES: usize = 1024 * 1024;

// === impl Sink ===

impl Sink {
    /// The writer ends, after its last line, when the sink is dropped.
    pub(super) fn start(env: &Env, path: PathBuf, metrics: &Arc<Metrics>) -> Self {
        let (lines, queue) = mpsc::channel(QUEUE);
        env.spawn
            .spawn("audit-log", write(env.clone(), path, metrics.clone(), queue))
            .detach();
        Self {
            lines,
            metrics: metrics.clone(),
        }
    }

    pub(super) fn send(&self, line: String) {
        match self.lines.try_send(line) {
            Ok(()) => self.metrics.audit_events.inc(),
            Err(_) => self.metrics.audit_errors.inc(),
        }
    }
}

async fn write(env: Env, path: PathBuf, metrics: Arc<Metrics>, mut queue: mpsc::Receiver<String>) {
    let mut file: Option<Box<dyn DiskFile>> = None;
    while let Some(line) = queue.recv().await {
        let mut batch = line.into_bytes();
        batch.push(b'\n');
        let mut lines = 1;
        while batch.len() < BATCH_BYTES
            && let Ok(line) = queue.try_recv()
        {
            batch.extend_from_slice(line.as_bytes());
            batch.push(b'\n');
            lines += 1;
        }
        let (disk, path, open) = (env.disk.clone(), path.clone(), file.take());
        // A file that failed is opened again: its disk may have been full, or the file moved away.
        let written = env.spawn.blocking(move || {
            let file = match open {
                Some(file) => file,
                None => disk.open(&path)?,
            };
            file.write_at(file.len()?, &batch)?;
            Ok::<_, std::io::Error>(file)
        });
        match written.await {
            Ok(open) => file = Some(open),
            Err(error) => {
                metrics.audit_errors.add(lines);
                tracing::error!(%error, lines, "audit events were lost");
            }
        }
    }
}
