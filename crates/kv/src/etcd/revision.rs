//! The store's revision, read once for all who ask at the same time.

use super::{Shared, convert};
use crate::{Error, Revision};
use etcd_client::GetOptions;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Linearizable reads of the revision. Whoever asks while one is under way waits for the next: that one began later, so
/// it sees every write that was finished before the question.
pub(super) struct Revisions {
    shared: Arc<Shared>,
    queue: Arc<Mutex<Queue>>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<oneshot::Sender<Result<Revision, Error>>>,
    is_reading: bool,
}

// === impl Revisions ===

impl Revisions {
    pub(super) fn new(shared: Arc<Shared>) -> Revisions {
        Revisions {
            shared,
            queue: Arc::default(),
        }
    }

    pub(super) async fn read(&self) -> Result<Revision, Error> {
        self.shared.check_open()?;
        let (answer, answered) = oneshot::channel();
        let begins = {
            let mut queue = self.queue.lock();
            queue.waiting.push(answer);
            !std::mem::replace(&mut queue.is_reading, true)
        };
        if begins {
            let reading = read_for_all(self.shared.clone(), self.queue.clone());
            self.shared.env.spawn.spawn("etcd-revision", reading).detach();
        }
        answered.await.unwrap_or(Err(Error::Closed))
    }
}

async fn read_for_all(shared: Arc<Shared>, queue: Arc<Mutex<Queue>>) {
    loop {
        let waiting = {
            let mut queue = queue.lock();
            queue.is_reading = !queue.waiting.is_empty();
            std::mem::take(&mut queue.waiting)
        };
        if waiting.is_empty() {
            return;
        }
        let revision = read(&shared).await;
        if let Ok(revision) = revision {
            shared.want(revision);
        }
        waiting
            .into_iter()
            .for_each(|answer| drop(answer.send(revision.clone())));
    }
}

async fn read(shared: &Shared) -> Result<Revision, Error> {
    // Any key will do, whether it exists or not: the header has the revision.
    let key = shared.prefix.key(&[0]);
    let read = || {
        let (mut client, key) = (shared.kv_client(), key.clone());
        async move { client.get(key, Some(GetOptions::new().with_count_only())).await }
    };
    convert::revision(shared.read(read).await?.header())
}

// === impl Shared ===

impl Shared {
    /// Every watch has to get to this revision.
    pub(super) fn want(&self, revision: Revision) {
        self.wanted.send_if_modified(|wanted| {
            let is_newer = revision > *wanted;
            *wanted = revision.max(*wanted);
            is_newer
        });
    }
}
