//! A watch of everything below the prefix.

use super::failure::Failure;
use super::{RETRY_DELAY, Shared, convert};
use crate::{Error, Revision, Watch, WatchItem};
use async_trait::async_trait;
use etcd_client::{WatchResponse, WatchStream};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Events usually come by themselves within this time after a revision was read.
const PROGRESS_DELAY: Duration = Duration::from_millis(2);
/// How often progress is asked for while it does not come.
const PROGRESS_PERIOD: Duration = Duration::from_millis(100);

pub(super) struct EtcdWatch {
    shared: Arc<Shared>,
    wanted: tokio::sync::watch::Receiver<Revision>,
    closed: tokio::sync::watch::Receiver<bool>,
    state: State,
    delivered: Revision,
    ready: VecDeque<WatchItem>,
}

enum State {
    /// To be opened at this time, where it was.
    Broken { until: Duration },
    Open {
        stream: WatchStream,
        /// When to ask for progress; none: everything wanted has come.
        ask: Option<Duration>,
    },
    /// Nothing more will come.
    Ended(Error),
}

/// What happened first.
enum Step {
    Answer(Result<Option<WatchResponse>, etcd_client::Error>),
    Wanted,
    Ask,
    Closed,
}

// === impl EtcdWatch ===

impl EtcdWatch {
    pub(super) fn new(shared: Arc<Shared>, from: Revision) -> EtcdWatch {
        let (wanted, closed) = (shared.wanted.subscribe(), shared.closed.subscribe());
        let state = State::Broken { until: Duration::ZERO };
        EtcdWatch {
            shared,
            wanted,
            closed,
            state,
            delivered: from,
            ready: VecDeque::new(),
        }
    }

    fn now(&self) -> Duration {
        self.shared.env.clock.monotonic()
    }

    async fn open(&mut self, until: Duration) -> Result<(), Error> {
        let (key, options) = self.shared.prefix.watch(self.delivered);
        let mut client = self.shared.client.watch_client().max_decoding_message_size(usize::MAX);
        let clock = self.shared.env.clock.clone();
        let opening = async {
            clock.sleep_until(until).await;
            clock
                .timeout(self.shared.timeout, client.watch(key, Some(options)))
                .await
        };
        let opened = tokio::select! {
            biased;
            opened = opening => opened,
            _ = self.closed.wait_for(|closed| *closed) => return Err(Error::Closed),
        };
        match opened {
            Ok(Ok(stream)) => self.state = State::Open { stream, ask: None },
            Ok(Err(error)) => self.broken(error.into())?,
            Err(_) => self.broken(Failure::Unknown("etcd did not answer in time".to_owned()))?,
        }
        Ok(())
    }

    /// What breaks a connection is mended; what etcd refuses is final.
    fn broken(&mut self, failure: Failure) -> Result<(), Error> {
        if let Failure::Refused(error) = failure {
            return Err(error);
        }
        tracing::debug!(?failure, "a watch of etcd broke and is resumed");
        self.state = State::Broken {
            until: self.now() + RETRY_DELAY,
        };
        Ok(())
    }

    async fn step(&mut self) -> Step {
        let clock = self.shared.env.clock.clone();
        let State::Open { stream, ask } = &mut self.state else {
            return Step::Closed;
        };
        let asking = async {
            match *ask {
                Some(moment) => clock.sleep_until(moment).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = self.closed.wait_for(|closed| *closed) => Step::Closed,
            answer = stream.message() => Step::Answer(answer),
            Ok(()) = self.wanted.changed() => Step::Wanted,
            () = asking => Step::Ask,
        }
    }

    fn take(&mut self, answer: WatchResponse) -> Result<(), Error> {
        if answer.compact_revision() > 0 {
            return Err(Error::Compacted {
                at: Revision(convert::to_u64(answer.compact_revision())),
            });
        }
        if answer.canceled() {
            return self.broken(Failure::Unknown(answer.cancel_reason().to_owned()));
        }
        let revision = convert::revision(answer.header())?;
        if answer.created() {
            // The first answer promises nothing, but tells how far the watch has to get.
            self.shared.want(revision);
            self.plan(PROGRESS_DELAY);
            return Ok(());
        }
        if answer.events().is_empty() {
            if revision >= self.delivered {
                self.delivered = revision;
                self.ready.push_back(WatchItem::Progress(revision));
            }
        } else {
            let batches = self.shared.prefix.batches(answer.events(), self.delivered)?;
            self.delivered = batches.last().map_or(self.delivered, |batch| batch.revision);
            self.ready.extend(batches.into_iter().map(WatchItem::Batch));
        }
        self.plan(PROGRESS_DELAY);
        Ok(())
    }

    /// Asks for progress after a while if something wanted is still missing. Also at the very start, so that a reader
    /// learns that there is nothing to wait for.
    fn plan(&mut self, delay: Duration) {
        let wanted = *self.wanted.borrow_and_update();
        let (missing, moment) = (self.delivered < wanted, self.now() + delay);
        if let State::Open { ask, .. } = &mut self.state {
            *ask = missing.then(|| ask.unwrap_or(moment));
        }
    }

    async fn ask_for_progress(&mut self) -> Result<(), Error> {
        let next = self.now() + PROGRESS_PERIOD;
        let State::Open { stream, ask } = &mut self.state else {
            return Ok(());
        };
        *ask = Some(next);
        match stream.request_progress().await {
            Ok(()) => Ok(()),
            Err(error) => self.broken(error.into()),
        }
    }

    async fn advance(&mut self) -> Result<(), Error> {
        match &self.state {
            State::Ended(error) => return Err(error.clone()),
            State::Broken { until } => return self.open(*until).await,
            State::Open { .. } => {}
        }
        match self.step().await {
            Step::Answer(Ok(Some(answer))) => self.take(answer),
            Step::Answer(Ok(None)) => self.broken(Failure::Unknown("the stream ended".to_owned())),
            Step::Answer(Err(error)) => self.broken(error.into()),
            Step::Wanted => {
                self.plan(PROGRESS_DELAY);
                Ok(())
            }
            Step::Ask => self.ask_for_progress().await,
            Step::Closed => Err(Error::Closed),
        }
    }
}

#[async_trait]
impl Watch for EtcdWatch {
    async fn next(&mut self) -> Result<WatchItem, Error> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(item);
            }
            if let Err(error) = self.advance().await {
                self.state = State::Ended(error.clone());
                return Err(error);
            }
        }
    }
}
