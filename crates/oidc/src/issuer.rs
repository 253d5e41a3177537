//! The keys of an issuer: fetched when a token first needs them, and again when none of them fits.

use std::sync::Arc;
use std::time::Duration;

use apiserver::auth::jwt::Unverified;
use env::Env;
use futures_util::FutureExt as _;
use futures_util::future::Shared;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::client::Client;
use crate::key_set::{Algorithm, KeySet};

/// Cheap to clone.
#[derive(Clone)]
pub struct Issuer {
    inner: Arc<Inner>,
}

struct Inner {
    env: Env,
    client: Client,
    /// As tokens name it, too.
    url: String,
    /// Where its configuration is, if not at the usual place below `url`.
    discovery: Option<String>,
    state: Mutex<State>,
}

/// Times are of the monotonic clock.
#[derive(Default)]
struct State {
    /// The last that were got.
    keys: Option<Arc<KeySet>>,
    got: Duration,
    /// Attempts that have ended.
    ended: u64,
    /// When the next one may begin.
    next: Duration,
    /// Why the last attempt failed, if it did.
    failure: Option<String>,
    running: Option<Running>,
    /// Requests that wait for an attempt.
    waiting: usize,
}

/// Completes when the attempt has ended.
type Running = Shared<oneshot::Receiver<()>>;

/// What to wait for.
enum Wait {
    Attempt(Running),
    Moment(Duration),
}

/// Counts a request among the waiting ones until it is dropped.
struct Waiting<'a>(&'a Inner);

/// Between attempts: tokens that nobody has signed are cheap to make.
const PAUSE: Duration = Duration::from_secs(1);
/// Keys that are in use are looked up again after so long: what an issuer withdraws is not believed for ever.
const REFRESH: Duration = Duration::from_secs(600);
pub(crate) const WAITING_MAX: usize = 1000;
const CONFIGURATION_PATH: &str = "/.well-known/openid-configuration";

// === impl Issuer ===

impl Issuer {
    pub fn new(env: &Env, client: Client, url: String, discovery: Option<String>) -> Self {
        Self {
            inner: Arc::new(Inner {
                env: env.clone(),
                client,
                url,
                discovery,
                state: Mutex::default(),
            }),
        }
    }

    pub fn url(&self) -> &str {
        &self.inner.url
    }

    /// Whether this issuer has signed it, by this algorithm. Errors say why that is not known or not so.
    pub async fn verify(&self, token: &Unverified<'_>, algorithm: Algorithm) -> Result<(), String> {
        let (known, seen) = self.known();
        if known.is_some_and(|keys| keys.verifies(token, algorithm)) {
            return Ok(());
        }
        let keys = self.newer(seen).await?;
        match keys.verifies(token, algorithm) {
            true => Ok(()),
            false => Err("failed to verify signature: no key of the issuer has made it".to_owned()),
        }
    }

    /// The keys, and how many attempts were made to get them. Keys that are old are asked for again meanwhile.
    fn known(&self) -> (Option<Arc<KeySet>>, u64) {
        let now = self.inner.env.clock.monotonic();
        let mut state = self.inner.state.lock();
        if state.keys.is_some() && now >= state.got + REFRESH && now >= state.next && state.attempt().is_none() {
            // It runs without being waited for.
            drop(self.begin(&mut state));
        }
        (state.keys.clone(), state.ended)
    }

    /// The keys after an attempt that had not ended when `seen` had.
    async fn newer(&self, seen: u64) -> Result<Arc<KeySet>, String> {
        let _waiting = Waiting::new(&self.inner)?;
        loop {
            let wait = {
                let mut state = self.inner.state.lock();
                let now = self.inner.env.clock.monotonic();
                match state.attempt() {
                    _ if state.ended > seen => return state.outcome(),
                    Some(running) => Wait::Attempt(running),
                    None if now >= state.next => Wait::Attempt(self.begin(&mut state)),
                    // Whoever could not be reached a moment ago is not asked by everybody in turn.
                    None if state.failure.is_some() => return state.outcome(),
                    None => Wait::Moment(state.next),
                }
            };
            match wait {
                // An attempt that was lost has not ended: another one begins.
                Wait::Attempt(running) => drop(running.await),
                Wait::Moment(moment) => self.inner.env.clock.sleep_until(moment).await,
            }
        }
    }

    /// Asks the issuer in a task of its own: clients that go away take nothing with them.
    fn begin(&self, state: &mut State) -> Running {
        let (ended, running) = oneshot::channel();
        let running = running.shared();
        state.running = Some(running.clone());
        let inner = self.inner.clone();
        let attempt = async move {
            let outcome = inner.fetch().await;
            inner.end(outcome);
            // Nobody may be waiting any more.
            let _nobody = ended.send(());
        };
        self.inner.env.spawn.spawn("issuer-keys", attempt).detach();
        running
    }
}

// === impl Inner ===

impl Inner {
    async fn fetch(&self) -> Result<KeySet, String> {
        let place = match &self.discovery {
            Some(place) => place.clone(),
            None => format!(
                "{}{CONFIGURATION_PATH}",
                self.url.strip_suffix('/').unwrap_or(&self.url)
            ),
        };
        let configuration = self.client.get(&place).await.map_err(|error| error.to_string())?;
        let text = |name: &str| configuration.get(name).and_then(Value::as_str).unwrap_or_default();
        // Otherwise who serves there could be made to vouch for somebody else's users.
        if text("issuer") != self.url {
            let (url, said) = (&self.url, text("issuer"));
            return Err(format!(
                "issuer did not match the issuer returned by provider, expected {url:?} got {said:?}"
            ));
        }
        let place = text("jwks_uri");
        let document = self.client.get(place).await.map_err(|error| error.to_string())?;
        KeySet::parse(&document).ok_or_else(|| format!("{place}: its answer is no key set"))
    }

    fn end(&self, outcome: Result<KeySet, String>) {
        let now = self.env.clock.monotonic();
        let mut state = self.state.lock();
        state.running = None;
        state.ended += 1;
        state.next = now + PAUSE;
        match outcome {
            Ok(keys) => {
                tracing::debug!(issuer = self.url, keys = keys.len(), "an issuer has told its keys");
                state.keys = Some(Arc::new(keys));
                state.got = now;
                state.failure = None;
            }
            Err(why) => {
                // Said once, and again when something else is wrong.
                if state.failure.as_ref() != Some(&why) {
                    tracing::warn!(issuer = self.url, why, "the keys of an issuer cannot be had");
                }
                state.failure = Some(why);
            }
        }
    }
}

// === impl State ===

impl State {
    /// The one that runs. What was lost (its task has panicked) will not end: who waited for it would find it ready for ever.
    fn attempt(&self) -> Option<Running> {
        let is_lost = |running: &&Running| matches!(running.peek(), Some(Err(_)));
        self.running.as_ref().filter(|running| !is_lost(running)).cloned()
    }

    /// Of the last attempt. One that failed leaves the keys, and says nothing of others.
    fn outcome(&self) -> Result<Arc<KeySet>, String> {
        match (&self.keys, &self.failure) {
            (_, Some(why)) => Err(format!("the issuer's keys cannot be had: {why}")),
            (Some(keys), None) => Ok(keys.clone()),
            (None, None) => Err("authenticator not initialized".to_owned()),
        }
    }
}

// === impl Waiting ===

impl<'a> Waiting<'a> {
    fn new(inner: &'a Inner) -> Result<Self, String> {
        let mut state = inner.state.lock();
        if state.waiting >= WAITING_MAX {
            return Err("too many tokens wait for the issuer's keys".to_owned());
        }
        state.waiting += 1;
        Ok(Self(inner))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.waiting = state.waiting.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestIssuer;
    use env::simulated::{SimOptions, World};

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_was_lost_is_not_waited_for() {
        let world = World::new(1, SimOptions::default());
        let hosts = [world.host("issuer"), world.host("server")];
        let known = TestIssuer::start(&hosts[0].env(), "issuer", 443).await;
        let env = hosts[1].env();
        let client = Client::new(&env, known.ca.as_bytes()).unwrap();
        let issuer = Issuer::new(&env, client, known.url.clone(), None);
        let (lost, running) = oneshot::channel();
        drop(lost);
        let running = running.shared();
        assert!(running.clone().await.is_err());
        issuer.inner.state.lock().running = Some(running);
        let keys = issuer.newer(0).await;
        assert!(keys.is_ok(), "{keys:?}");
    }
}
