//! Many watches, and watches that nobody reads.

use std::time::{Duration, Instant};

use e2e::Client;
use futures_util::future::{join_all, try_join_all};
use http::Method;
use serde_json::{Value, json};

use crate::WORLD;
use crate::world::{BOUND, create, eventually};

/// Streams that one connection has at most, as servers of Kubernetes have it.
const STREAMS: usize = 200;
const WATCHES: usize = 1000;

fn maps(namespace: &str) -> String {
    format!("/clusters/root:alpha/api/v1/namespaces/{namespace}/configmaps")
}

fn map(name: &str, text: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"text": text}})
}

async fn namespace(who: &Client, name: &str) {
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    create(who, "/clusters/root:alpha/api/v1/namespaces", &body).await;
}

fn name_of(event: &Value) -> String {
    event["object"]["metadata"]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn a_thousand_idle_watches_hold_up_no_request_and_hear_of_what_happens() {
    WORLD.run(async {
        let alice = WORLD.person("alice");
        namespace(&alice, "idle").await;
        let url = format!("{}?watch=true", maps("idle"));
        let connections: Vec<Client> = (0..WATCHES / STREAMS).map(|_| WORLD.person("alice")).collect();
        let mut watches = Vec::new();
        for client in &connections {
            // One connection after the other: a busy machine that does not answer a ping within a second counts as lost.
            let opening = (0..STREAMS).map(|_| {
                let url = &url;
                eventually("the watch is let in", async move || {
                    client.watch(url, BOUND).await.ok()?.ok()
                })
            });
            watches.extend(join_all(opening).await);
        }
        assert_eq!(watches.len(), WATCHES);

        // Through the same proxy, over the connections of the watches and over others.
        let object = create(&alice, &maps("default"), &map("beside-idle", "x")).await;
        let one = format!("{}/{}", maps("default"), object["metadata"]["name"].as_str().unwrap());
        let mut longest = Duration::ZERO;
        for at in 0..500 {
            let client = if at % 2 == 0 {
                &alice
            } else {
                &connections[at % connections.len()]
            };
            let begun = Instant::now();
            let answer = client.get(&one, BOUND).await.unwrap();
            assert_eq!(answer.code, 200, "{}", answer.json());
            longest = longest.max(begun.elapsed());
        }
        eprintln!("500 gets beside {WATCHES} watches, the longest {longest:?}");
        assert!(longest < Duration::from_secs(5), "{longest:?}");

        create(&alice, &maps("idle"), &map("news", "x")).await;
        let hearing = watches.iter_mut().map(|watch| async {
            loop {
                match tokio::time::timeout(BOUND, watch.next()).await {
                    Ok(Ok(Some(event))) if name_of(&event) == "news" => return Ok(()),
                    Ok(Ok(Some(_))) => {}
                    other => return Err(format!("{other:?}")),
                }
            }
        });
        try_join_all(hearing).await.unwrap();
    });
}

/// Of one proxy's watches of the same objects some are never read, more of them than fit one connection's window were it that of one
/// stream. The others hear of everything at once, and requests are answered.
#[test]
fn who_does_not_read_a_watch_holds_up_nobody_else() {
    const OBJECTS: usize = 60;
    const BYTES: usize = 100_000;
    WORLD.run(async {
        let alice = WORLD.person("alice");
        namespace(&alice, "slow").await;
        let url = format!("{}?watch=true", maps("slow"));
        // Clients give a stream 64 KiB to 2 MiB and wait; and one does not even look at its connection.
        let slow = WORLD.person("alice");
        let mut unread = Vec::new();
        for _ in 0..20 {
            unread.push(slow.watch(&url, BOUND).await.unwrap().expect("it is let in"));
        }
        let mut deaf = WORLD.connect().await;
        let line = format!("GET {url} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer alice-token\r\n\r\n");
        tokio::io::AsyncWriteExt::write_all(&mut deaf, line.as_bytes())
            .await
            .unwrap();

        let reader = WORLD.person("alice");
        let mut read = reader.watch(&url, BOUND).await.unwrap().expect("it is let in");
        let text = "x".repeat(BYTES);
        let mut longest = Duration::ZERO;
        for at in 0..OBJECTS {
            let name = format!("map-{at}");
            let begun = Instant::now();
            create(&alice, &maps("slow"), &map(&name, &text)).await;
            loop {
                let event = tokio::time::timeout(BOUND, read.next()).await;
                let event = event.unwrap_or_else(|_| panic!("{name} is not told")).unwrap().unwrap();
                if name_of(&event) == name {
                    break;
                }
            }
            let got = alice
                .send(Method::GET, &format!("{}/{name}", maps("slow")), None, BOUND)
                .await;
            assert_eq!(got.unwrap().code, 200);
            longest = longest.max(begun.elapsed());
        }
        eprintln!("{OBJECTS} objects of {BYTES} bytes beside watches that nobody reads, the longest took {longest:?}");
        assert!(longest < Duration::from_secs(10), "{longest:?}");
        drop((unread, deaf));
    });
}
