//! Who takes the controllers' lease, and when.
#![allow(missing_docs)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use controller::{Lease, LeaseOptions};
use env::Env;
use env::simulated::{Crash, Host, SimOptions, World};
use kv::model::ModelKv;
use kv::{Error, Guard, Kv, LeaseId, Op, RangeRequest, RangeResponse, Revision, Status, Txn, TxnOutcome, Watch};
use parking_lot::Mutex;

const TTL: Duration = Duration::from_secs(15);
/// How often who waits looks again.
const LOOK: Duration = Duration::from_secs(1);
const IDENTITY: &str = "identity";

/// A store, and a machine beside it that processes with the lease run on.
struct Scene {
    world: World,
    kv: Arc<Overtaking>,
    host: Host,
}

/// A store in which somebody else may be faster.
struct Overtaking {
    inner: ModelKv,
    /// Comes right before the next transaction.
    faster: Mutex<Option<Txn>>,
}

#[async_trait]
impl Kv for Overtaking {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        self.inner.range(request).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, Error> {
        let faster = self.faster.lock().take();
        if let Some(faster) = faster {
            self.inner.txn(faster).await?;
        }
        self.inner.txn(txn).await
    }

    async fn watch(&self, from: Revision) -> Result<Box<dyn Watch>, Error> {
        self.inner.watch(from).await
    }

    async fn revision(&self) -> Result<Revision, Error> {
        self.inner.revision().await
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.inner.compact(revision).await
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId, Error> {
        self.inner.lease_grant(ttl).await
    }

    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<(), Error> {
        self.inner.lease_keep_alive(lease).await
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), Error> {
        self.inner.lease_revoke(lease).await
    }

    async fn status(&self) -> Result<Status, Error> {
        self.inner.status().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

// === impl Scene ===

impl Scene {
    fn new() -> Self {
        let world = World::new(1, SimOptions::default());
        let kv = Arc::new(Overtaking {
            inner: ModelKv::new(&world.host("store").env()),
            faster: Mutex::default(),
        });
        let host = world.host("machine");
        Self { world, kv, host }
    }

    /// One more process on a machine.
    fn process(&self, env: &Env, holder: &str, identity_file: Option<&str>) -> (Arc<Lease>, env::Task<()>) {
        let options = LeaseOptions {
            key: "/lease".to_owned(),
            holder: holder.to_owned(),
            identity_file: identity_file.map(PathBuf::from),
            ttl: TTL,
        };
        Lease::acquire(env, self.kv.clone(), options)
    }

    /// How long it takes until a process has it.
    async fn waits(&self, lease: &Lease) -> Duration {
        let clock = self.world.host("store").env().clock;
        let begun = clock.monotonic();
        lease.wait_held().await;
        clock.monotonic() - begun
    }

    async fn pass(&self, time: Duration) {
        self.world.host("store").env().clock.sleep(time).await;
    }

    async fn writes(&self, guard: Guard) -> bool {
        let write = Txn {
            guards: vec![guard],
            ops: vec![Op::put("/object", "written")],
        };
        matches!(self.kv.txn(write).await.unwrap(), TxnOutcome::Committed(_))
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_started_again_takes_over_from_the_dead_one_at_once() {
    for how in [Crash::Process, Crash::Power] {
        let scene = Scene::new();
        let (first, _competing) = scene.process(&scene.host.env(), "first", Some(IDENTITY));
        let dead = first.wait_held().await;
        assert!(scene.writes(dead.clone()).await);
        scene.host.crash(how);

        let (second, _competing) = scene.process(&scene.host.env(), "second", Some(IDENTITY));
        assert!(scene.waits(&second).await < LOOK, "{how:?}");
        // What the dead one had under way is too late.
        assert!(!scene.writes(dead).await);
        let guard = second.guard().unwrap();
        assert!(scene.writes(guard.clone()).await);
        // The end of the dead one's time changes nothing.
        scene.pass(TTL * 4).await;
        assert_eq!(second.guard(), Some(guard));
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_else_comes_waits_until_the_dead_ones_time_is_over() {
    for (file, other) in [
        (Some(IDENTITY), None),
        (Some(IDENTITY), Some("another-directory/identity")),
        (None, None),
        (None, Some(IDENTITY)),
    ] {
        let scene = Scene::new();
        let (first, _competing) = scene.process(&scene.host.env(), "first", file);
        first.wait_held().await;
        scene.host.crash(Crash::Process);
        let (second, _competing) = scene.process(&scene.host.env(), "second", other);
        let waited = scene.waits(&second).await;
        assert!(
            waited > TTL - LOOK && waited < TTL + LOOK * 2,
            "{file:?} {other:?} {waited:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_process_on_one_directory_waits_as_long_as_the_first_is_not_dead() {
    let scene = Scene::new();
    let env = scene.host.env();
    let (first, competing) = scene.process(&env, "first", Some(IDENTITY));
    let stopped = first.wait_held().await;
    let (second, _competing) = scene.process(&env, "second", Some(IDENTITY));
    scene.pass(TTL * 4).await;
    assert!(first.is_held() && !second.is_held());

    // Stopped: nothing of it runs, and its file is open.
    competing.abort();
    let waited = scene.waits(&second).await;
    assert!(waited > TTL - TTL / 3 - LOOK, "{waited:?}");
    assert!(!scene.writes(stopped).await);
}

#[tokio::test(start_paused = true)]
async fn a_second_process_on_one_directory_takes_over_once_the_first_is_dead() {
    let scene = Scene::new();
    let env = scene.host.env();
    let (first, competing) = scene.process(&env, "first", Some(IDENTITY));
    first.wait_held().await;
    let (second, _competing) = scene.process(&env, "second", Some(IDENTITY));
    scene.pass(TTL).await;
    assert!(!second.is_held());
    // Dead: its file is closed.
    competing.abort();
    let _ended = competing.join().await;
    drop(first);
    assert!(scene.waits(&second).await <= LOOK);
}

#[tokio::test(start_paused = true)]
async fn two_with_one_identity_do_not_take_from_each_other_for_ever() {
    let scene = Scene::new();
    let env = scene.host.env();
    let (first, _competing) = scene.process(&env, "first", Some(IDENTITY));
    let before = first.wait_held().await;
    let other = scene.world.host("copy").env();
    let name = env.disk.read(Path::new(IDENTITY)).unwrap();
    other.disk.write_atomic(Path::new(IDENTITY), &name).unwrap();

    let (second, _competing) = scene.process(&other, "second", Some(IDENTITY));
    assert!(scene.waits(&second).await < LOOK);
    assert!(!scene.writes(before).await);
    let guard = second.guard();
    // Who was taken from hears of it, and waits from then on.
    scene.pass(TTL / 3 + LOOK).await;
    assert!(!first.is_held());
    scene.pass(TTL * 4).await;
    assert_eq!((first.guard(), second.guard()), (None, guard));
}

#[tokio::test(start_paused = true)]
async fn what_a_process_has_itself_without_knowing_is_not_waited_for() {
    let scene = Scene::new();
    for before in ["here", "here/0123456789abcdef0123456789abcdef"] {
        // As by a transaction whose answer was lost.
        let id = scene.kv.lease_grant(TTL * 100).await.unwrap();
        let put = Op::Put {
            key: "/lease".into(),
            value: before.into(),
            lease: Some(id),
        };
        scene.kv.txn(Txn::unguarded(vec![put])).await.unwrap();
        let (lease, _competing) = scene.process(&scene.host.env(), "here", None);
        assert!(scene.waits(&lease).await < LOOK);
        lease.release().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_has_taken_meanwhile_is_not_taken_from_him() {
    let scene = Scene::new();
    let (first, _competing) = scene.process(&scene.host.env(), "first", Some(IDENTITY));
    first.wait_held().await;
    scene.host.crash(Crash::Process);
    let other = Txn::unguarded(vec![Op::put("/lease", "another")]);
    *scene.kv.faster.lock() = Some(other);
    let (second, _competing) = scene.process(&scene.host.env(), "second", Some(IDENTITY));
    scene.pass(TTL * 4).await;
    assert!(scene.kv.faster.lock().is_none() && !second.is_held());
    let found = scene.kv.get("/lease".into()).await.unwrap().unwrap();
    assert_eq!(found.value, "another");
}
