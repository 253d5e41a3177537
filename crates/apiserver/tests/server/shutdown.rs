//! Going down without cutting anybody off.

use std::time::Duration;

use apiserver::{Phase, ServerOptions};
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{CONSUMER, Setup, World};

#[tokio::test(start_paused = true)]
async fn readiness_goes_first_then_watches_end_and_requests_are_finished() {
    let server = ServerOptions {
        shutdown_delay: Duration::from_secs(5),
        ..ServerOptions::default()
    };
    let world = World::with(Setup {
        server,
        ..Setup::default()
    })
    .await;
    let path = format!("/clusters/{CONSUMER}/api/v1/namespaces/default/configmaps");
    let mut client = world.client("kcp-admin").await;
    let request = Request::builder()
        .uri(format!("{path}?watch=1"))
        .body(Full::default())
        .unwrap();
    let watch = client.send(request).await.into_body();
    let (listener, server) = (world.env.net.listen("0.0.0.0:7").await.unwrap(), world.server.clone());
    let address = listener.address();
    let running = world
        .env
        .spawn
        .spawn("server", async move { server.run(listener).await });
    // A request whose body is half sent.
    let mut slow = world.env.net.dial(&address).await.unwrap();
    let body = json!({"metadata": {"name": "late"}}).to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer kcp-admin\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{}",
        body.len(),
        &body[..5]
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    world.until(|| world.stack.bodies_bytes() == 5).await;
    let server = world.server.clone();
    let down = world
        .env
        .spawn
        .spawn("shutdown", async move { server.shutdown().await });
    world.lifecycle.reached(Phase::Draining).await;
    // Not ready, but everything is served.
    assert_eq!(client.get("/readyz").await.code, 500);
    assert_eq!(client.get("/livez").await.code, 200);
    assert_eq!(client.get(&path).await.code, 200);
    world.lifecycle.reached(Phase::Closing).await;
    let rest = watch.collect().await.expect("the watch ends cleanly").to_bytes();
    assert!(rest.is_empty(), "{rest:?}");
    slow.write_all(&body.as_bytes()[5..]).await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    down.await.unwrap();
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_does_not_end_is_cut_in_bounded_time() {
    let server = ServerOptions {
        shutdown_timeout: Duration::from_secs(10),
        ..ServerOptions::default()
    };
    let world = World::with(Setup {
        server,
        ..Setup::default()
    })
    .await;
    let (listener, server) = (world.env.net.listen("0.0.0.0:7").await.unwrap(), world.server.clone());
    let address = listener.address();
    let running = world
        .env
        .spawn
        .spawn("server", async move { server.run(listener).await });
    let mut stuck = world.env.net.dial(&address).await.unwrap();
    let head = format!(
        "POST /clusters/{CONSUMER}/api/v1/namespaces HTTP/1.1\r\nhost: x\r\nauthorization: Bearer kcp-admin\r\n\
         content-length: 10\r\n\r\n{{"
    );
    stuck.write_all(head.as_bytes()).await.unwrap();
    world.until(|| world.stack.bodies_bytes() == 1).await;
    let begun = world.env.clock.monotonic();
    world.server.shutdown().await;
    running.await.unwrap();
    assert!((world.env.clock.monotonic() - begun) < Duration::from_secs(11));
}

#[tokio::test(start_paused = true)]
async fn connections_beyond_the_limit_are_closed_at_once() {
    let server = ServerOptions {
        connections_max: 1,
        ..ServerOptions::default()
    };
    let world = World::with(Setup {
        server,
        ..Setup::default()
    })
    .await;
    let (listener, server) = (world.env.net.listen("0.0.0.0:7").await.unwrap(), world.server.clone());
    let address = listener.address();
    world
        .env
        .spawn
        .spawn("server", async move { server.run(listener).await })
        .detach();
    let first = world.env.net.dial(&address).await.unwrap();
    world.until(|| world.metrics.connections.get() == 1).await;
    let mut second = world.env.net.dial(&address).await.unwrap();
    let mut rest = Vec::new();
    drop(second.read_to_end(&mut rest).await);
    assert!(rest.is_empty());
    drop(first);
    world.until(|| world.metrics.connections.get() == 0).await;
    let _third = world.env.net.dial(&address).await.unwrap();
    world.until(|| world.metrics.connections.get() == 1).await;
}
