//! Who holds a logical cluster of which nothing but the name is known.
//!
//! A path says whom to ask: the shard of the nearest ancestor that is known. A name says nothing, so all shards have to be asked;
//! and names that nobody holds must not turn each request into one to every shard. Names are gathered instead: a shard is asked
//! for all that wait for it, one question at a time and [`PACE`] apart, whoever asks for whatever.
//!
//! Nothing is remembered of what nobody holds: the next moment somebody may, and whoever has seen it Ready gets in. For the same
//! reason nobody shares the answer to a question that was asked before he came.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use env::Env;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use permit::Cluster;
use tokio::sync::{Semaphore, oneshot};

use crate::peers::LOOKUP_TIMEOUT;
use crate::routes::ShardId;
use crate::upstream::{Lane, Upstream};
use crate::wire::LocateRequest;
use crate::wire::lookup_client::LookupClient;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Names(Arc<Inner>);

struct Inner {
    env: Env,
    lines: Mutex<BTreeMap<ShardId, Line>>,
    /// Who waits: more are refused.
    turns: Semaphore,
}

/// Those who wait for one shard's answer, in the order in which they came.
struct Line {
    waiting: VecDeque<(Cluster, oneshot::Sender<Said>)>,
    /// The way there, as it was when somebody came last.
    upstream: Upstream,
    is_served: bool,
    /// No question before that, on the monotonic clock.
    next: Duration,
}

/// Names, with who waits for what is said of each.
type Question = BTreeMap<Cluster, Vec<oneshot::Sender<Said>>>;

/// What a shard says of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Held {
        epoch: u64,
    },
    NotHeld,
    /// It did not answer.
    Nothing,
}

/// What all of them say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Located {
    At {
        shard: ShardId,
        epoch: u64,
    },
    /// All have answered, and none holds it.
    Nowhere,
    /// Of those who have answered none holds it.
    Unsaid,
    /// Too many are looked for.
    Busy,
}

/// Names of one question.
pub const NAMES_MAX: usize = 256;
/// From one question to a shard to the next: 200 a second, for any number of names up to 50,000.
const PACE: Duration = Duration::from_millis(5);
/// Who waits at a time: four questions' worth, so that the last one waits for some 20 ms.
const WAITING_MAX: usize = 4 * NAMES_MAX;

// === impl Names ===

impl Names {
    pub fn new(env: &Env) -> Self {
        Self(Arc::new(Inner {
            env: env.clone(),
            lines: Mutex::default(),
            turns: Semaphore::new(WAITING_MAX),
        }))
    }

    /// Asks these shards. The first that holds it is believed; the others are not waited for.
    pub async fn locate(&self, cluster: &Cluster, shards: Vec<(ShardId, Upstream)>) -> Located {
        let Ok(_turn) = self.0.turns.try_acquire() else {
            return Located::Busy;
        };
        let ask = |(shard, upstream): (ShardId, Upstream)| {
            let answer = self.stand_in_line(shard, upstream, cluster);
            async move { (shard, answer.await.unwrap_or(Said::Nothing)) }
        };
        let mut answers: FuturesUnordered<_> = shards.into_iter().map(ask).collect();
        let mut located = Located::Nowhere;
        while let Some((shard, said)) = answers.next().await {
            match said {
                Said::Held { epoch } => return Located::At { shard, epoch },
                Said::NotHeld => {}
                Said::Nothing => located = Located::Unsaid,
            }
        }
        located
    }

    fn stand_in_line(&self, shard: ShardId, upstream: Upstream, cluster: &Cluster) -> oneshot::Receiver<Said> {
        let (sender, receiver) = oneshot::channel();
        let mut lines = self.0.lines.lock();
        let line = lines.entry(shard).or_insert_with(|| Line {
            waiting: VecDeque::new(),
            upstream: upstream.clone(),
            is_served: false,
            next: Duration::ZERO,
        });
        line.upstream = upstream;
        if line.waiting.len() >= WAITING_MAX {
            // Who has given up does not count, and there is room without them.
            line.waiting.retain(|(_, sender)| !sender.is_closed());
        }
        line.waiting.push_back((cluster.clone(), sender));
        if !std::mem::replace(&mut line.is_served, true) {
            let names = self.clone();
            let serving = async move { names.serve(shard).await };
            self.0.env.spawn.spawn("names", serving).detach();
        }
        receiver
    }

    /// Asks a shard until nobody waits for it any more.
    async fn serve(&self, shard: ShardId) {
        let clock = &self.0.env.clock;
        loop {
            let next = self.0.lines.lock().get(&shard).map_or(Duration::ZERO, |line| line.next);
            let wait = next.saturating_sub(clock.monotonic());
            if !wait.is_zero() {
                clock.sleep(wait).await;
            }
            let Some((upstream, question)) = self.take(shard) else {
                return;
            };
            let names = question.keys().map(Cluster::to_string).collect();
            let asking = ask(&upstream, names);
            let held = clock.timeout(LOOKUP_TIMEOUT, asking).await.ok().flatten();
            for (name, senders) in question {
                let said = match &held {
                    None => Said::Nothing,
                    Some(held) => held
                        .get(name.as_str())
                        .map_or(Said::NotHeld, |epoch| Said::Held { epoch: *epoch }),
                };
                for sender in senders {
                    // Who has gone does not need it.
                    let _gone = sender.send(said);
                }
            }
        }
    }

    /// What is asked next, with who waits for it.
    fn take(&self, shard: ShardId) -> Option<(Upstream, Question)> {
        let mut lines = self.0.lines.lock();
        let line = lines.get_mut(&shard)?;
        let mut question = Question::new();
        while question.len() < NAMES_MAX
            && let Some((name, sender)) = line.waiting.pop_front()
        {
            if !sender.is_closed() {
                question.entry(name).or_default().push(sender);
            }
        }
        if question.is_empty() {
            line.is_served = false;
            return None;
        }
        line.next = self.0.env.clock.monotonic() + PACE;
        Some((line.upstream.clone(), question))
    }
}

/// Which of the names a shard holds, with their epochs. `None`: it does not say.
async fn ask(upstream: &Upstream, clusters: Vec<String>) -> Option<BTreeMap<String, u64>> {
    let mut client = LookupClient::new(upstream.calls(Lane::Short));
    let answer = client.locate(LocateRequest { clusters }).await.ok()?.into_inner();
    let held = answer.held.into_iter();
    Some(held.map(|held| (held.cluster, held.epoch)).collect())
}
