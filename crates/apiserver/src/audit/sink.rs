//! Lines to a file, behind a bounded queue.

use std::path::PathBuf;
use std::sync::Arc;

use env::{DiskFile, Env};
use telemetry::Metrics;
use tokio::sync::{mpsc, oneshot};

/// Takes lines without waiting.
pub(super) struct Sink {
    lines: mpsc::Sender<Line>,
    metrics: Arc<Metrics>,
}

/// A line, and who waits for it to be in the file.
struct Line {
    text: String,
    written: Option<oneshot::Sender<()>>,
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

    /// Without waiting.
    pub(super) fn send(&self, text: String) {
        match self.lines.try_send(Line { text, written: None }) {
            Ok(()) => self.metrics.audit_events.inc(),
            Err(_) => self.metrics.audit_errors.inc(),
        }
    }

    /// Returns when the line is in the file, or cannot be got there.
    pub(super) async fn write(&self, text: String) {
        let (sender, written) = oneshot::channel();
        let line = Line {
            text,
            written: Some(sender),
        };
        match self.lines.send(line).await {
            Ok(()) => self.metrics.audit_events.inc(),
            Err(_) => self.metrics.audit_errors.inc(),
        }
        // A sender that is dropped unused belongs to a line that failed; the writer has said so.
        let _in_file = written.await;
    }
}

async fn write(env: Env, path: PathBuf, metrics: Arc<Metrics>, mut queue: mpsc::Receiver<Line>) {
    let mut file: Option<Box<dyn DiskFile>> = None;
    while let Some(line) = queue.recv().await {
        let mut batch = line.text.into_bytes();
        batch.push(b'\n');
        let mut waiting = vec![line.written];
        let mut lines = 1;
        while batch.len() < BATCH_BYTES
            && let Ok(line) = queue.try_recv()
        {
            batch.extend_from_slice(line.text.as_bytes());
            batch.push(b'\n');
            waiting.push(line.written);
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
        for written in waiting.into_iter().flatten() {
            // Whoever gave up waiting is not concerned any more.
            let _ = written.send(());
        }
    }
}
