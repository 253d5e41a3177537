//! A watch: a place in history. It holds nothing but what it read last, however slow its reader is.

use super::Shared;
use super::recent::After;
use crate::{Batch, Error, Revision, Watch, WatchItem};
use async_trait::async_trait;
use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes that one read of history brings in.
const HISTORY_BYTES: usize = 1 << 20;

pub(super) struct EmbeddedWatch {
    shared: Arc<Shared>,
    delivered: Revision,
    /// Read from the log, not yet delivered.
    ahead: VecDeque<Arc<Batch>>,
    announced: bool,
}

// === impl EmbeddedWatch ===

impl EmbeddedWatch {
    pub(super) fn new(shared: Arc<Shared>, from: Revision) -> Result<EmbeddedWatch, Error> {
        let compacted = shared.index.read().compacted();
        match from < compacted {
            true => Err(Error::Compacted { at: compacted }),
            false => Ok(EmbeddedWatch {
                shared,
                delivered: from,
                ahead: VecDeque::new(),
                announced: false,
            }),
        }
    }

    fn deliver(&mut self, batch: Arc<Batch>) -> Result<WatchItem, Error> {
        self.delivered = batch.revision;
        Ok(WatchItem::Batch(batch))
    }

    async fn read_ahead(&mut self) -> Result<(), Error> {
        let (after, until) = (self.delivered, self.shared.index.read().revision());
        let batches = self
            .shared
            .read_log(move |log| log.history(after, until, HISTORY_BYTES))
            .await?;
        // Compaction removes rows only after it has moved this point, so what was read is complete if it still lies before.
        let compacted = self.shared.index.read().compacted();
        if self.delivered < compacted {
            return Err(Error::Compacted { at: compacted });
        }
        if batches.is_empty() {
            // Revision 1 has no changes, nor has one whose only change was a deletion that compaction removed.
            self.delivered = until;
        }
        self.ahead = batches.into();
        Ok(())
    }
}

#[async_trait]
impl Watch for EmbeddedWatch {
    async fn next(&mut self) -> Result<WatchItem, Error> {
        loop {
            self.shared.check_open()?;
            if let Some(batch) = self.ahead.pop_front() {
                return self.deliver(batch);
            }
            let (published, seen) = self.shared.published.get();
            let after = self.shared.recent.read().after(self.delivered);
            match after {
                After::Batch(batch) => return self.deliver(batch),
                After::TooOld => self.read_ahead().await?,
                After::Nothing if !self.announced && self.delivered <= published => {
                    self.announced = true;
                    return Ok(WatchItem::Progress(published));
                }
                After::Nothing => self.shared.published.changed(seen).await,
            }
        }
    }
}
