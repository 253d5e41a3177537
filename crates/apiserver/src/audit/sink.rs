//! Lines to a file, behind a bounded queue.

use std::sync::Arc;

use env::{DiskFile, Env};
use telemetry::Metrics;
use tokio::sync::{mpsc, oneshot};

use super::{AuditFile, rotation};

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
    pub(super) fn start(env: &Env, file: AuditFile, metrics: &Arc<Metrics>) -> Self {
        let (lines, queue) = mpsc::channel(QUEUE);
        env.spawn
            .spawn("audit-log", write(env.clone(), file, metrics.clone(), queue))
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

async fn write(env: Env, place: AuditFile, metrics: Arc<Metrics>, mut queue: mpsc::Receiver<Line>) {
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
        let (disk, place, open) = (env.disk.clone(), place.clone(), file.take());
        let now = env.clock.now().as_nanos();
        // A file that failed is opened again: its disk may have been full, or the file moved away.
        let written = env.spawn.blocking(move || {
            let file = match open {
                Some(file) => file,
                None => disk.open(&place.path)?,
            };
            let file = match rotation::is_due(&place, file.len()?, batch.len()) {
                false => file,
                true => {
                    drop(file);
                    rotation::rotate(&*disk, &place, now.into())?;
                    disk.open(&place.path)?
                }
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_full_makes_way_and_old_ones_go() {
        let (env, _host) = Env::simulated(1, env::simulated::SimOptions::default());
        let directory = Path::new("/audit");
        env.disk.create_dir_all(directory).unwrap();
        let file = AuditFile {
            path: directory.join("audit.log"),
            bytes_max: 25,
            backups_max: 2,
            age_max: Duration::from_secs(3600),
        };
        let sink = Sink::start(&env, file, &Metrics::new());
        let texts = || {
            let names = env.disk.list(directory).unwrap();
            let read = |name: &String| String::from_utf8(env.disk.read(&directory.join(name)).unwrap()).unwrap();
            names.iter().map(read).collect::<Vec<String>>()
        };
        for number in 0..8 {
            sink.write(format!("event-{number:03}")).await;
            env.clock.sleep(Duration::from_secs(1)).await;
        }
        // Two lines of ten bytes a file; the first file is gone.
        assert_eq!(
            texts(),
            [
                "event-002\nevent-003\n",
                "event-004\nevent-005\n",
                "event-006\nevent-007\n"
            ]
        );
        env.clock.sleep(Duration::from_secs(7200)).await;
        sink.write("event-008".to_owned()).await;
        assert_eq!(
            texts(),
            ["event-006\nevent-007\n", "event-008\n"],
            "what was begun long ago is kept since it was ended just now"
        );
    }
}
