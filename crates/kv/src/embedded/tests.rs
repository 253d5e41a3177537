//! The suite, then what is the embedded store's own: restarts, power losses, full disks.

use super::*;
use crate::testing::suite::Subject;
use env::simulated::{Host, SimOptions};

fn simulated(seed: u64) -> (Env, Host) {
    Env::simulated(seed, SimOptions::default())
}

fn options() -> EmbeddedOptions {
    EmbeddedOptions {
        reserve_bytes: 0,
        ..EmbeddedOptions::new("kv")
    }
}

async fn embedded() -> Subject {
    let (env, host) = simulated(1);
    let kv = EmbeddedKv::open(&env, options()).await.expect("opens");
    Subject {
        kv: Arc::new(kv),
        env,
        keep: Box::new(host),
    }
}

mod suite {
    crate::kv_suite!(tokio::test(start_paused = true), super::embedded());
}

/// Small budgets: everything comes from the log instead of from memory.
mod suite_without_memory {
    use super::*;

    async fn embedded() -> Subject {
        let (env, host) = simulated(2);
        let options = EmbeddedOptions {
            cache_bytes: 0,
            recent_bytes: 1,
            journal_bytes: 0,
            ..options()
        };
        let kv = EmbeddedKv::open(&env, options).await.expect("opens");
        Subject {
            kv: Arc::new(kv),
            env,
            keep: Box::new(host),
        }
    }

    crate::kv_suite!(tokio::test(start_paused = true), embedded());
}

/// The journal is taken over after every few commits, and what is in it is read from it.
mod suite_with_a_small_journal {
    use super::*;

    async fn embedded() -> Subject {
        let (env, host) = simulated(3);
        let options = EmbeddedOptions {
            recent_bytes: 1,
            journal_bytes: 1000,
            ..options()
        };
        let kv = EmbeddedKv::open(&env, options).await.expect("opens");
        Subject {
            kv: Arc::new(kv),
            env,
            keep: Box::new(host),
        }
    }

    crate::kv_suite!(tokio::test(start_paused = true), embedded());
}

/// The real disk and threads.
mod suite_on_disk {
    use super::*;

    async fn embedded() -> Subject {
        let (env, dir) = (Env::real(), tempfile::tempdir().expect("a directory"));
        let kv = EmbeddedKv::open(&env, EmbeddedOptions::new(dir.path()))
            .await
            .expect("opens");
        Subject {
            kv: Arc::new(kv),
            env,
            keep: Box::new(dir),
        }
    }

    crate::kv_suite!(tokio::test(flavor = "multi_thread"), embedded());
}

mod durability;
mod faults;
mod journal;
