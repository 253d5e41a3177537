use std::convert::Infallible;

use env::simulated::SimOptions;
use http_body_util::Full;
use hyper::service::service_fn;

use super::*;

/// A server whose answers have as many bytes as the path says.
async fn serve(env: &Env) -> String {
    let listener = env.net.listen(":80").await.unwrap();
    let address = listener.address();
    let spawn = env.spawn.clone();
    let serving = async move {
        while let Ok(accepted) = listener.accept().await {
            let answer = |request: Request<Incoming>| async move {
                let len = request.uri().path().trim_start_matches('/').parse().unwrap_or(0);
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(vec![b'x'; len]))))
            };
            let connection = hyper::server::conn::http2::Builder::new(Executor(spawn.clone()))
                .serve_connection(TokioIo::new(accepted.stream), service_fn(answer));
            spawn
                .spawn("test connection", async move { drop(connection.await) })
                .detach();
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

#[test]
fn who_has_a_certificate_speaks_tls_alone() {
    let identity = crate::Identity::default();
    let tls = identity.tls().unwrap();
    assert!(Endpoint::from_url("http://shard:80", Some(tls.clone())).is_err());
    assert!(Endpoint::from_url("https://shard", Some(tls)).is_ok());
    assert_eq!(Endpoint::from_url("http://shard", None).unwrap().address, "shard:80");
}
