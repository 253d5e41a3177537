//! How often clients may ask for what no index knows.
//!
//! What a proxy knows of costs no shard anything but the request itself. What it does not know costs a question: of a path to the
//! shard of its nearest ancestor, of a name to every shard (`fabric`'s `names`). Whoever finds something was right to ask, and it is known from
//! then on; whoever finds nothing has guessed, and may do so only so often: each user, and all together, because users cost nothing where service
//! accounts can be made. Beyond that the answer is 429, which clients of Kubernetes take for "again in a moment".
//!
//! Bounded: users share a fixed number of buckets, by a hash that nobody outside can work out.

use std::hash::{DefaultHasher, Hasher};
use std::time::Duration;

use env::Env;
use parking_lot::Mutex;

/// See the module.
pub struct Guesses {
    env: Env,
    seed: [u64; 2],
    users: Vec<Mutex<Bucket>>,
    all: Mutex<Bucket>,
}

/// A question that may turn out to be a guess.
pub struct Guess<'a> {
    guesses: &'a Guesses,
    user: &'a Mutex<Bucket>,
}

struct Bucket {
    tokens: f64,
    /// When they were counted, on the monotonic clock.
    at: Duration,
}

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy)]
struct Rate {
    per_second: f64,
    burst: f64,
}

const BUCKETS: usize = 256;
/// More than who waits for something by asking for it again and again, in some loops at a time.
const OF_ONE: Rate = Rate {
    per_second: 100.0,
    burst: 200.0,
};
const OF_ALL: Rate = Rate {
    per_second: 1000.0,
    burst: 2000.0,
};

// === impl Guesses ===

impl Guesses {
    pub fn new(env: &Env) -> Self {
        let at = env.clock.monotonic();
        let full = |rate: Rate| Mutex::new(Bucket { tokens: rate.burst, at });
        Self {
            env: env.clone(),
            seed: [env.rng.next_u64(), env.rng.next_u64()],
            users: (0..BUCKETS).map(|_| full(OF_ONE)).collect(),
            all: full(OF_ALL),
        }
    }

    /// `None`: not now.
    pub fn take(&self, user: &str) -> Option<Guess<'_>> {
        let now = self.env.clock.monotonic();
        let user = self.users.get(self.bucket_of(user))?;
        if !user.lock().take(now, OF_ONE) {
            return None;
        }
        if !self.all.lock().take(now, OF_ALL) {
            user.lock().give_back(OF_ONE);
            return None;
        }
        Some(Guess { guesses: self, user })
    }

    fn bucket_of(&self, user: &str) -> usize {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed[0]);
        hasher.write_u64(self.seed[1]);
        hasher.write(user.as_bytes());
        usize::try_from(hasher.finish() % BUCKETS as u64).unwrap_or_default()
    }
}

// === impl Guess ===

impl Guess<'_> {
    /// It was none: something was found.
    pub fn was_right(self) {
        self.user.lock().give_back(OF_ONE);
        self.guesses.all.lock().give_back(OF_ALL);
    }
}

// === impl Bucket ===

impl Bucket {
    fn take(&mut self, now: Duration, rate: Rate) -> bool {
        let since = now.saturating_sub(self.at).as_secs_f64();
        self.at = now;
        self.tokens = since.mul_add(rate.per_second, self.tokens).min(rate.burst);
        let is_any = self.tokens >= 1.0;
        if is_any {
            self.tokens -= 1.0;
        }
        is_any
    }

    fn give_back(&mut self, rate: Rate) {
        self.tokens = (self.tokens + 1.0).min(rate.burst);
    }
}

#[cfg(test)]
mod tests {
    use env::simulated::SimOptions;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_guesses_waits_and_nobody_else_does() {
        let (env, _host) = Env::simulated(1, SimOptions::default());
        let guesses = Guesses::new(&env);
        let got = |user: &str| (0..1000).filter(|_| guesses.take(user).is_some()).count();
        assert_eq!(got("mallory"), 200);
        assert!(guesses.take("jane").is_some());
        env.clock.sleep(Duration::from_secs(1)).await;
        assert_eq!(got("mallory"), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_something_may_go_on() {
        let (env, _host) = Env::simulated(1, SimOptions::default());
        let guesses = Guesses::new(&env);
        for _ in 0..5000 {
            guesses.take("jane").expect("it was always right").was_right();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_users_guess_no_more_than_all_may() {
        let (env, _host) = Env::simulated(1, SimOptions::default());
        let guesses = Guesses::new(&env);
        let users = (0..10_000).map(|at| format!("system:serviceaccount:default:{at}"));
        assert_eq!(users.filter(|user| guesses.take(user).is_some()).count(), 2000);
    }
}
