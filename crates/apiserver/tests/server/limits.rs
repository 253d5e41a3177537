//! Bad input, too much of it, and too many at once.

use std::time::Duration;

use apiserver::ServerOptions;
use apiserver::stage::FairnessOptions;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{CONSUMER, Setup, World};

async fn raw(world: &World, bytes: &[u8]) -> String {
    let mut stream = world.pipe();
    // The server may have said enough before all is sent.
    drop(stream.write_all(bytes).await);
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    drop(world.env.clock.timeout(Duration::from_secs(300), read).await);
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(start_paused = true)]
async fn malformed_requests_are_answered_and_leave_the_server_as_it_was() {
    let world = World::new().await;
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(300 * 1024));
    let header = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "a".repeat(300 * 1024));
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "x: y\r\n".repeat(1000));
    for (bytes, code) in [
        ("GARBAGE\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nbad header\r\n\r\n", "400"),
        ("GET / HTTP/9.9\r\n\r\n", "400"),
        (long.as_str(), "431"),
        (header.as_str(), "431"),
        (many.as_str(), "431"),
        (
            "POST /clusters/root/api/v1/namespaces HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
            "400",
        ),
        ("GET /clusters/%ff/api HTTP/1.1\r\nhost: x\r\n\r\n", "400"),
        ("OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", "403"),
        (
            "CONNECT example.org:443 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
            "4",
        ),
    ] {
        let answer = raw(&world, bytes.as_bytes()).await;
        let shown: String = bytes.chars().take(60).collect();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {code}")) || answer.is_empty() && code == "400",
            "{shown}: {answer}"
        );
    }
    // An HTTP/2 preface with rubbish behind it.
    raw(
        &world,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    )
    .await;
    assert_eq!(
        world
            .client("kcp-admin")
            .await
            .get("/clusters/root/api/v1/namespaces")
            .await
            .code,
        200
    );
    assert_eq!(world.env.spawn.panics().0, 0);
}

#[tokio::test(start_paused = true)]
async fn law_8_bad_bodies_are_a_status() {
    let world = World::new().await;
    let path = format!("/clusters/{CONSUMER}/api/v1/namespaces/default/configmaps");
    let deep = "[".repeat(100_000);
    let bodies = [
        "",
        "null",
        "[]",
        "5",
        "\"x\"",
        "{",
        "{\"metadata\":5}",
        "{\"kind\":7}",
        "\u{0}",
        "{\"a\":1}x",
        &deep,
    ];
    for mut client in [world.client("kcp-admin").await, world.http1("kcp-admin").await] {
        for kind in ["application/json", "application/yaml"] {
            for body in bodies {
                let answer = client
                    .call("POST", &path, &[("content-type", kind)], body.to_owned())
                    .await;
                assert!(
                    (400..500).contains(&answer.code),
                    "{kind} {:.20}: {} {}",
                    body,
                    answer.code,
                    answer.text()
                );
                assert_eq!(answer.json()["kind"], "Status");
            }
        }
        for (kind, body) in [
            ("application/json-patch+json", "{}"),
            ("application/json-patch+json", "[{\"op\":\"fly\"}]"),
            ("application/merge-patch+json", "[]"),
            ("application/merge-patch+json", "{"),
            ("application/apply-patch+yaml", ":"),
            ("application/strategic-merge-patch+json", "\"x\""),
        ] {
            let query = "?fieldManager=m";
            let target = format!("/clusters/{CONSUMER}/api/v1/namespaces/default{query}")
                .replace("default?", "default/configmaps/none?");
            let answer = client.call("PATCH", &target, &[("content-type", kind)], body).await;
            assert!(
                (400..500).contains(&answer.code),
                "{kind} {body}: {} {}",
                answer.code,
                answer.text()
            );
            assert_eq!(answer.json()["kind"], "Status");
        }
    }
    assert_eq!(world.env.spawn.panics().0, 0);
}

#[tokio::test(start_paused = true)]
async fn law_8_bad_parameters_are_a_status() {
    let world = World::new().await;
    let mut client = world.client("kcp-admin").await;
    let path = format!("/clusters/{CONSUMER}/apis/example.io/v1alpha1/namespaces/default/widgets");
    for (query, code) in [
        ("labelSelector=%3D%3D", 400),
        ("labelSelector=%ff", 400),
        ("fieldSelector=spec.nope=1", 400),
        ("limit=x", 400),
        ("continue=!!!", 400),
        ("timeoutSeconds=x&watch=1", 400),
        ("resourceVersion=-1", 400),
        ("resourceVersionMatch=Exact", 422),
        ("timeout=soon", 400),
        ("watch=1&sendInitialEvents=true", 422),
    ] {
        let answer = client.get(&format!("{path}?{query}")).await;
        assert_eq!(
            (answer.code, &answer.json()["kind"]),
            (code, &json!("Status")),
            "{query}: {}",
            answer.text()
        );
    }
    let timeout = client.get(&format!("{path}?timeout=soon")).await;
    assert!(
        timeout
            .text()
            .contains("invalid timeout specified in the request URL - "),
        "{}",
        timeout.text()
    );
    for name in [".", "..", "a%25b"] {
        let answer = client.get(&format!("{path}/{name}")).await;
        assert!(matches!(answer.code, 400 | 404), "{name}: {}", answer.text());
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_are_bounded() {
    let world = World::new().await;
    let path = format!("/clusters/{CONSUMER}/api/v1/namespaces/default/configmaps");
    for mut client in [world.client("kcp-admin").await, world.http1("kcp-admin").await] {
        let body = json!({"metadata": {"name": "big"}, "data": {"k": "x".repeat(3 * 1024 * 1024)}}).to_string();
        let answer = client
            .call("POST", &path, &[("content-type", "application/json")], body)
            .await;
        assert_eq!(answer.code, 413);
        assert_eq!(answer.json()["message"], "Request entity too large: limit is 3145728");
        assert_eq!(answer.json()["reason"], "RequestEntityTooLarge");
    }
    // Claimed, not sent.
    let claimed = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer kcp-admin\r\ncontent-length: 99999999999\r\n\r\n{{"
    );
    assert!(raw(&world, claimed.as_bytes()).await.starts_with("HTTP/1.1 413"));
}

#[tokio::test(start_paused = true)]
async fn law_8_nothing_hangs() {
    let world = World::new().await;
    // A body that never comes.
    let mut stream = world.pipe();
    let head = format!(
        "POST /clusters/{CONSUMER}/api/v1/namespaces/default/configmaps?timeout=2s HTTP/1.1\r\nhost: x\r\n\
         authorization: Bearer kcp-admin\r\ncontent-length: 100\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let begun = world.env.clock.monotonic();
    let read = stream.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    assert!(answer.contains("\"reason\":\"Timeout\""), "{answer}");
    assert!(world.env.clock.monotonic() - begun < Duration::from_secs(3));
    // A head that never comes.
    let mut idle = world.pipe();
    idle.write_all(b"GET / HT").await.unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn law_8_overload_is_429_with_retry_after() {
    let mut fairness = FairnessOptions::new(1, 1);
    // There is no seat for writes to be had.
    fairness.mutating.flow_seats = 0;
    let world = World::with(Setup {
        fairness,
        server: ServerOptions::default(),
        ..Setup::default()
    })
    .await;
    let path = format!("/clusters/{CONSUMER}/api/v1/namespaces/default/configmaps");
    // A request waits for 15 seconds.
    let mut client = world.client("kcp-admin").await;
    let answer = client.post(&path, json!({"metadata": {"name": "a"}})).await;
    assert_eq!(
        (answer.code, answer.header("retry-after")),
        (429, "1"),
        "{}",
        answer.text()
    );
    assert_eq!(answer.json()["reason"], "TooManyRequests");
    // Reads have seats of their own, masters and health need none.
    assert_eq!(client.get(&path).await.code, 200);
    let mut masters = world.client("shard-admin").await;
    assert_eq!(masters.post(&path, json!({"metadata": {"name": "b"}})).await.code, 201);
    assert_eq!(client.get("/livez").await.code, 200);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_slow_to_come_takes_no_seat() {
    let world = World::with(Setup {
        fairness: FairnessOptions::new(1, 1),
        ..Setup::default()
    })
    .await;
    let path = format!("/clusters/{CONSUMER}/api/v1/namespaces/default/configmaps");
    let mut slow = world.pipe();
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer kcp-admin\r\ncontent-length: 100\r\n\r\n");
    slow.write_all(head.as_bytes()).await.unwrap();
    world.env.clock.sleep(Duration::from_secs(1)).await;
    let begun = world.env.clock.monotonic();
    let mut client = world.client("kcp-admin").await;
    let answer = client.post(&path, json!({"metadata": {"name": "a"}})).await;
    assert_eq!(answer.code, 201, "{}", answer.text());
    assert!(world.env.clock.monotonic() - begun < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn bodies_of_requests_that_wait_do_not_stop_others_of_their_connection() {
    let mut fairness = FairnessOptions::new(1, 1);
    fairness.mutating.flow_seats = 0;
    fairness.read_only.flow_seats = 0;
    let world = World::with(Setup {
        fairness,
        ..Setup::default()
    })
    .await;
    let path = format!("/clusters/{CONSUMER}/api/v1/namespaces/default/configmaps");
    let config = |name: &str| json!({"metadata": {"name": name}, "data": {"k": "x".repeat(250 * 1024)}}).to_string();
    let client = world.client("").await;
    // More than the connection's window, half of it with reads, which have no use for a body.
    for index in 0..16 {
        let (mut stream, path, body) = (client.stream().acting_as("kcp-admin"), path.clone(), config("waits"));
        let method = if index % 2 == 0 { "POST" } else { "GET" };
        let call = async move {
            let waited = stream.call(method, &path, &[("content-type", "application/json")], body);
            assert_eq!(waited.await.code, 429);
        };
        world.env.spawn.spawn("waiting", call).detach();
    }
    world.env.clock.sleep(Duration::from_secs(1)).await;
    let begun = world.env.clock.monotonic();
    let mut masters = client.stream().acting_as("shard-admin");
    let kind = [("content-type", "application/json")];
    let answer = masters.call("POST", &path, &kind, config("passes")).await;
    assert_eq!(answer.code, 201, "{}", answer.text());
    assert!(world.env.clock.monotonic() - begun < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_request_in_work_is_small_until_it_is_worked_on() {
    let world = World::new().await;
    let request = http::Request::new(apiserver::RequestBody::Full(bytes::Bytes::new()));
    let connection = apiserver::Connection::plain("pipe");
    // Every layer of hyper and tokio moves this future once.
    let future = world.stack.handle(request, &connection);
    assert!(size_of_val(&future) <= 3 * 1024, "{} bytes", size_of_val(&future));
    assert_eq!(future.await.status(), 403);
}
