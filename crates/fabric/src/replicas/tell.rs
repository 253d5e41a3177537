//! Telling the cache server: a shard's side, for as long as the shard runs.
//!
//! Nothing waits for it. What a shard holds is told from its log when the other end has room; one that is dead, frozen or cut off
//! costs an attempt now and then, and is told what it has missed, or everything, when it is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use env::Env;
use futures_util::{StreamExt as _, stream};
use tokio::sync::oneshot;
use tonic::Status;

use super::follow::{BACKOFF_MAX, BACKOFF_MIN};
use crate::serve::Source;
use crate::upstream::{Lane, Upstream};
use crate::wire::cache_client::CacheClient;
use crate::wire::{ReplicateBatch, ReplicateWatchRequest};

/// Tells one cache server what a shard has for others to keep. Made once, then [`run`](Self::run).
pub struct Telling {
    pub env: Env,
    /// The shard that tells.
    pub shard: String,
    pub source: Arc<dyn Source>,
    pub cache: Upstream,
}

/// A server without this service, such as another shard, is asked again at times: it may be replaced.
const BACKOFF_NO_CACHE: Duration = Duration::from_secs(60);

// === impl Telling ===

impl Telling {
    /// Never returns.
    pub async fn run(self) {
        let mut backoff = BACKOFF_MIN;
        // Said once: one that is away for days is tried all the time.
        let mut said = None;
        let anew = Arc::new(AtomicBool::new(false));
        loop {
            let mut advanced = false;
            let ended = self.tell(&mut advanced, &anew).await;
            let status = ended.err().unwrap_or_else(|| Status::unavailable("the stream ended"));
            if advanced {
                (backoff, said) = (BACKOFF_MIN, None);
            }
            if status.code() == tonic::Code::Unimplemented {
                backoff = BACKOFF_NO_CACHE;
            }
            let address = self.cache.address();
            match said.replace(status.code()) == Some(status.code()) {
                true => tracing::debug!(address, %status, "the cache server is not told"),
                false => tracing::warn!(address, %status, "the cache server is not told"),
            }
            self.env.clock.sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// `anew`: what came after the position that the other end has cannot be told any more, as the last stream showed.
    async fn tell(&self, advanced: &mut bool, anew: &Arc<AtomicBool>) -> Result<(), Status> {
        let (begin, position) = oneshot::channel();
        let mut client = CacheClient::new(self.cache.calls(Lane::Long));
        let mut answers = client.tell(self.batches(position, anew.clone())).await?.into_inner();
        let Some(first) = answers.message().await? else {
            return Ok(());
        };
        // Gone only if the stream is, which its answers say.
        let _gone = begin.send(first);
        while answers.message().await?.is_some() {
            *advanced = true;
        }
        Ok(())
    }

    /// The shard's name; then, from where the other end says, what there is.
    fn batches(
        &self,
        position: oneshot::Receiver<ReplicateWatchRequest>,
        anew: Arc<AtomicBool>,
    ) -> impl futures_util::Stream<Item = ReplicateBatch> + Send + 'static {
        let hello = ReplicateBatch {
            shard: self.shard.clone(),
            ..ReplicateBatch::default()
        };
        let (source, begins_anew) = (self.source.clone(), anew.clone());
        let told = async move {
            let position = position.await.unwrap_or_default();
            let position = match begins_anew.swap(false, Ordering::Relaxed) {
                true => ReplicateWatchRequest::default(),
                false => position,
            };
            match source.replicate(position).await {
                Ok(batches) => batches,
                Err(status) => Box::pin(stream::once(async { Err(status) })),
            }
        };
        // What cannot be told from here on ends the stream. The other end hears no more than that, and would ask for the same.
        let told = stream::once(told).flatten().map(move |batch| {
            let is_over = |status: &Status| status.code() == tonic::Code::Aborted;
            batch.inspect_err(|status| {
                if is_over(status) {
                    anew.store(true, Ordering::Relaxed);
                }
            })
        });
        let told = told.take_while(|batch| std::future::ready(batch.is_ok()));
        stream::once(async { hello }).chain(told.filter_map(|batch| std::future::ready(batch.ok())))
    }
}
