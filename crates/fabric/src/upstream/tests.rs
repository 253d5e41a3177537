use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use env::simulated::{Host, SimOptions};
use http_body_util::Full;
use hyper::service::service_fn;

use super::*;

/// What freezes a server: what it has open stays open, and nothing of it goes on.
#[derive(Default)]
struct Freeze {
    is_frozen: AtomicBool,
    /// Of what would go on.
    held: Mutex<Vec<Waker>>,
}

// === impl Freeze ===

impl Freeze {
    fn begin(&self) {
        self.is_frozen.store(true, Ordering::Relaxed);
    }

    fn end(&self) {
        self.is_frozen.store(false, Ordering::Relaxed);
        self.held.lock().drain(..).for_each(Waker::wake);
    }

    fn poll(&self, cx: &mut Context<'_>, held: impl FnOnce(&mut Context<'_>) -> Poll<()>) -> Poll<()> {
        if !self.is_frozen.load(Ordering::Relaxed) {
            return held(cx);
        }
        self.held.lock().push(cx.waker().clone());
        Poll::Pending
    }
}

/// A server whose answers have as many bytes as the path says.
async fn serve(env: &Env) -> String {
    serve_with(env, Arc::default()).await
}

/// The same, unless it is frozen.
async fn serve_with(env: &Env, freeze: Arc<Freeze>) -> String {
    let listener = env.net.listen(":80").await.unwrap();
    let address = listener.address();
    let spawn = env.spawn.clone();
    let serving = async move {
        while let Ok(accepted) = listener.accept().await {
            let answer = |request: Request<Incoming>| async move {
                if request.uri().path() == "/never" {
                    std::future::pending::<()>().await;
                }
                let len = request.uri().path().trim_start_matches('/').parse().unwrap_or(0);
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(vec![b'x'; len]))))
            };
            let connection = hyper::server::conn::http2::Builder::new(Executor(spawn.clone()))
                .serve_connection(TokioIo::new(accepted.stream), service_fn(answer));
            let (freeze, mut connection) = (freeze.clone(), Box::pin(connection));
            let running = std::future::poll_fn(move |cx| freeze.poll(cx, |cx| connection.as_mut().poll(cx).map(drop)));
            spawn.spawn("test connection", running).detach();
        }
    };
    env.spawn.spawn("test server", serving).detach();
    address
}

fn get(path: &str) -> Request<UpstreamBody> {
    let body = http_body_util::Empty::new().map_err(|never: Infallible| match never {});
    Request::get(path).body(body.boxed_unsync()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn readers_that_do_not_read_hold_up_nobody() {
    let (env, _host) = Env::simulated(7, SimOptions::default());
    let endpoint = Endpoint {
        address: serve(&env).await,
        tls: None,
    };
    let upstream = Upstream::new(env.clone(), endpoint, UpstreamOptions::default());
    let mut unread = Vec::new();
    for _ in 0..100 {
        unread.push(upstream.send(Lane::Short, get("/2000000")).await.unwrap());
    }
    let small = async {
        let answer = upstream.send(Lane::Short, get("/1000")).await.unwrap();
        answer.into_body().collect().await.unwrap().to_bytes().len()
    };
    let waited = env.clock.timeout(Duration::from_secs(60), small).await;
    assert_eq!(waited.expect("it is answered"), 1000);
    assert_eq!(
        upstream.inner.lanes[Lane::Short as usize].lock().len(),
        1,
        "over the same connection"
    );
}

/// A server that can be frozen, and who asks it.
async fn freezable() -> (Env, Host, Arc<Freeze>, Upstream) {
    let (env, host) = Env::simulated(7, SimOptions::default());
    let freeze = Arc::new(Freeze::default());
    let endpoint = Endpoint {
        address: serve_with(&env, freeze.clone()).await,
        tls: None,
    };
    let upstream = Upstream::new(env.clone(), endpoint, UpstreamOptions::default());
    (env, host, freeze, upstream)
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_of_a_frozen_server_fails_within_a_second() {
    for has_streams in [false, true] {
        let (env, _host, freeze, upstream) = freezable().await;
        upstream.send(Lane::Short, get("/1")).await.unwrap();
        let ask = |path: &'static str| {
            let (upstream, clock) = (upstream.clone(), env.clock.clone());
            let (taking, taken) = tokio::sync::oneshot::channel();
            let asking = async move {
                let begun = clock.monotonic();
                let failed = upstream.send(Lane::Short, get(path)).await.is_err();
                _ = taking.send((failed, clock.monotonic() - begun));
            };
            env.spawn.spawn("asking", asking).detach();
            taken
        };
        let open = has_streams.then(|| ask("/never"));
        // Just before the loss pings were answered.
        env.clock.sleep(Duration::from_millis(3_333)).await;
        freeze.begin();
        let lost = env.clock.monotonic();
        let mut asked = Vec::new();
        for _ in 0..60 {
            asked.push(ask("/1"));
            env.clock.sleep(Duration::from_millis(50)).await;
        }
        for taken in asked {
            let (failed, took) = taken.await.unwrap();
            assert!(failed && took < Duration::from_secs(1), "{failed} after {took:?}");
        }
        if let Some(open) = open {
            let (failed, took) = open.await.unwrap();
            let since = took.saturating_sub(lost);
            assert!(failed && since < Duration::from_secs(1), "{failed} after {since:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_held_up_for_half_a_second_is_not_lost() {
    let (env, _host, freeze, upstream) = freezable().await;
    for _ in 0..20 {
        freeze.begin();
        let asking = upstream.send(Lane::Short, get("/1"));
        let going_on = async {
            env.clock.sleep(Duration::from_millis(500)).await;
            freeze.end();
        };
        let (answered, ()) = tokio::join!(asking, going_on);
        assert!(answered.is_ok(), "{:?}", answered.err());
    }
}

/// The machine stops while a ping is answered: when it goes on, the answer is there, and its time is up.
#[tokio::test(start_paused = true)]
async fn who_is_held_up_himself_takes_nobody_for_lost() {
    for at in 0..60 {
        let (env, _host, _freeze, upstream) = freezable().await;
        upstream.send(Lane::Short, get("/1")).await.unwrap();
        let asking = upstream.clone();
        let open = env.spawn.spawn("asking", async move {
            asking.send(Lane::Short, get("/never")).await.is_err()
        });
        env.clock.sleep(Duration::from_micros(195_000 + 250 * at)).await;
        tokio::time::advance(Duration::from_secs(2)).await;
        let ended = env.clock.timeout(Duration::from_millis(100), open.join()).await;
        assert!(ended.is_err(), "lost in the attempt {at}");
    }
}

/// Everything that asks another server has this within.
#[tokio::test(start_paused = true)]
async fn a_request_has_no_room_for_a_handshake() {
    let (env, _host) = Env::simulated(7, SimOptions::default());
    let endpoint = Endpoint {
        address: "nobody:80".to_owned(),
        tls: None,
    };
    let upstream = Upstream::new(env, endpoint, UpstreamOptions::default());
    let bytes = size_of_val(&upstream.send(Lane::Short, get("/")));
    assert!(bytes <= 2 * 1024, "{bytes} bytes");
}

#[test]
fn who_has_a_certificate_speaks_tls_alone() {
    let identity = crate::Identity::default();
    let tls = identity.tls().unwrap();
    assert!(Endpoint::from_url("http://shard:80", Some(tls.clone())).is_err());
    assert!(Endpoint::from_url("https://shard", Some(tls)).is_ok());
    assert_eq!(Endpoint::from_url("http://shard", None).unwrap().address, "shard:80");
}
