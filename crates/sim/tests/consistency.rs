//! What proxies promise whatever their index has heard: who has seen that a workspace is Ready gets in through any of them, and
//! who has seen that it is gone finds nothing there.

use std::time::Duration;

use env::simulated::SimOptions;
use serde_json::{Value, json};
use sim::client::{Answer, Client, Outcome};
use sim::image::WORKSPACES;
use sim::plane::image::PlaneImage;
use sim::plane::tellings::Deaf;
use sim::plane::{Flaw, PROXIES, Plane};
use sim::run::runtime;
use sim::server::ServerOptions;
use sim::tenant::{CONFIGMAPS, list_url_of};

/// What the index streams to proxies do meanwhile.
#[derive(Clone, Copy, Debug)]
enum Streams {
    Paused,
    Delayed,
    /// The same, and whatever else goes over the network takes long, too: pings are answered in time, just so.
    PausedAndSlow,
}

/// One way.
const SLOW: Duration = Duration::from_millis(250);

/// A tenant whose home is on root, with a connection to each proxy.
struct Tenant<'a> {
    plane: &'a Plane,
    clients: Vec<Client>,
}

impl Tenant<'_> {
    async fn call(&mut self, proxy: usize, method: &str, path: &str, body: &Value) -> Answer {
        match self.clients[proxy].call(method, path, body).await {
            Outcome::Answered(answer) => answer,
            other => panic!("{method} {path} through {}: {other:?}", PROXIES[proxy]),
        }
    }

    /// Makes a workspace on a shard, and waits until somebody has seen it Ready; its cluster.
    async fn make(&mut self, parent: &str, name: &str, shard: &str) -> String {
        let url = format!("/clusters/{parent}{WORKSPACES}");
        let workspace = json!({
            "apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "Workspace", "metadata": {"name": name},
            "spec": {"location": {"selector": {"matchLabels": {"name": shard}}}},
        });
        let made = self.call(0, "POST", &url, &workspace).await;
        assert_eq!(made.code, 201, "{}", made.body);
        for _ in 0..3000 {
            let seen = self.call(0, "GET", &format!("{url}/{name}"), &Value::Null).await.body;
            if seen["status"]["phase"] == "Ready" {
                return seen["spec"]["cluster"].as_str().unwrap_or_default().to_owned();
            }
            self.plane.site.sleep_ms(5).await;
        }
        panic!("{parent}:{name} is never Ready");
    }

    /// Deletes a workspace, and waits until somebody has seen that it is gone.
    async fn delete(&mut self, parent: &str, name: &str) {
        let url = format!("/clusters/{parent}{WORKSPACES}/{name}");
        assert_eq!(self.call(1, "DELETE", &url, &Value::Null).await.code, 200);
        for _ in 0..3000 {
            if self.call(1, "GET", &url, &Value::Null).await.code == 404 {
                return;
            }
            self.plane.site.sleep_ms(5).await;
        }
        panic!("{parent}:{name} is never gone");
    }

    /// The first request through each proxy succeeds.
    async fn enters(&mut self, path: &str, when: &str) {
        for (proxy, name) in PROXIES.iter().enumerate() {
            let answer = self
                .call(proxy, "GET", &list_url_of(path, CONFIGMAPS), &Value::Null)
                .await;
            assert_eq!(answer.code, 200, "{when}: {path} through {name}: {}", answer.body);
        }
    }

    /// Every proxy answers as for what never was.
    async fn finds_nothing(&mut self, segment: &str, never: &str, when: &str) {
        for (proxy, name) in PROXIES.iter().enumerate() {
            let mut told = Vec::new();
            for segment in [segment, never] {
                let answer = self
                    .call(proxy, "GET", &list_url_of(segment, CONFIGMAPS), &Value::Null)
                    .await;
                told.push((answer.code, answer.body.to_string().replace(segment, "<place>")));
            }
            assert_eq!(told[0], told[1], "{when}: {segment} through {name}");
            assert!(told[0].0 >= 400, "{when}: {segment} through {name}");
        }
    }
}

fn disturb(plane: &Plane, streams: Streams) {
    if let Streams::PausedAndSlow = streams {
        plane.world.network().set_weather((SLOW, SLOW), 0.0, 0.0);
    }
    for shard in &plane.shards {
        match streams {
            Streams::Paused | Streams::PausedAndSlow => shard.tellings.pause(Deaf::Proxies),
            Streams::Delayed => shard.tellings.delay(Duration::from_millis(700)),
        }
    }
}

fn mend(plane: &Plane) {
    let latency = SimOptions::default().latency;
    plane.world.network().set_weather(latency, 0.0, 0.0);
    plane.shards.iter().for_each(|shard| shard.tellings.heal());
}

async fn come_and_go(image: &PlaneImage, streams: Streams, flaw: Option<Flaw>) {
    let plane = Plane::new(5, image, flaw, |_| ServerOptions::default());
    plane.serve().await.unwrap();
    let clients = plane.clients("ada", "ada");
    let mut ada = Tenant { plane: &plane, clients };
    let when = &format!("{streams:?}");

    disturb(&plane, streams);
    // Four levels, on alternating shards.
    ada.make("root:ada", "a", "beta").await;
    ada.enters("root:ada:a", when).await;
    ada.make("root:ada:a", "b", "root").await;
    ada.enters("root:ada:a:b", when).await;
    let first = ada.make("root:ada:a:b", "c", "beta").await;
    ada.enters("root:ada:a:b:c", when).await;

    // Every proxy has heard of all of it, and hears nothing of its end.
    mend(&plane);
    plane.settle().await.unwrap();
    disturb(&plane, streams);
    ada.delete("root:ada:a:b", "c").await;
    ada.finds_nothing("root:ada:a:b:c", "root:ada:a:b:nowhere", when).await;
    ada.finds_nothing(&first, "0nowhere0nowhere", when).await;
    // The same name again, on the other shard.
    let second = ada.make("root:ada:a:b", "c", "root").await;
    assert_ne!(first, second);
    ada.enters("root:ada:a:b:c", when).await;
    ada.finds_nothing(&first, "0nowhere0nowhere", when).await;
    // A whole tree goes.
    ada.delete("root:ada", "a").await;
    for path in ["root:ada:a", "root:ada:a:b", "root:ada:a:b:c"] {
        ada.finds_nothing(path, "root:ada:nowhere", when).await;
    }
    ada.finds_nothing(&second, "0nowhere0nowhere", when).await;
    mend(&plane);
    plane.settle().await.unwrap();
    assert_eq!(plane.site.violations(), Vec::<String>::new());
}

#[test]
fn proxies_that_hear_nothing_let_in_who_may_and_find_what_is_gone_nowhere() {
    let image = runtime().block_on(PlaneImage::make()).unwrap();
    runtime().block_on(come_and_go(&image, Streams::Paused, None));
}

#[test]
fn proxies_that_hear_late_let_in_who_may_and_find_what_is_gone_nowhere() {
    let image = runtime().block_on(PlaneImage::make()).unwrap();
    runtime().block_on(come_and_go(&image, Streams::Delayed, None));
}

/// Dialling a shard and asking it takes longer than what is lost may be waited for.
#[test]
fn proxies_wait_for_who_is_slow_and_knows() {
    let image = runtime().block_on(PlaneImage::make()).unwrap();
    runtime().block_on(come_and_go(&image, Streams::PausedAndSlow, None));
}

/// The first check is one: it fails where shards do not say that they do not hold what a proxy asks them for.
#[test]
#[should_panic(expected = "Paused: ")]
fn a_stale_route_that_is_kept_is_found() {
    let image = runtime().block_on(PlaneImage::make()).unwrap();
    runtime().block_on(come_and_go(&image, Streams::Paused, Some(Flaw::StaleRouteKept)));
}
