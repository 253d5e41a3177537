//! Watches as clients see them: lines, bookmarks, ends.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use machinery::options::{DeleteOptions, GetOptions, ListOptions, WriteOptions};
use machinery::status::{Result, Status};
use registry::{Backend, EventStream, Item, ItemList, Outcome, Patch, Target, WatchEvent};
use serde_json::{Value, json};

use crate::world::{CONSUMER, Client, World};

/// An open watch.
struct Watch {
    body: Incoming,
    lines: String,
}

impl Watch {
    async fn open(client: &mut Client, path: &str, accept: &str) -> Self {
        let request = Request::builder()
            .uri(path)
            .header("accept", accept)
            .body(Full::<Bytes>::default())
            .unwrap();
        let response = client.send(request).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/json");
        assert!(!response.headers().contains_key("content-length"));
        Self {
            body: response.into_body(),
            lines: String::new(),
        }
    }

    /// The next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((line, rest)) = self.lines.split_once('\n') {
                let event = serde_json::from_str(line).unwrap();
                self.lines = rest.to_owned();
                return Some(event);
            }
            let frame = self.body.frame().await?.unwrap();
            self.lines
                .push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
        }
    }
}

fn config_maps() -> String {
    format!("/clusters/{CONSUMER}/api/v1/namespaces/default/configmaps")
}

fn told(event: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&event["type"]), text(&event["object"]["metadata"]["name"]))
}

#[tokio::test(start_paused = true)]
async fn events_are_lines_over_both_protocols() {
    let world = World::new().await;
    let mut writer = world.client("kcp-admin").await;
    writer.post(&config_maps(), json!({"metadata": {"name": "old"}})).await;
    for mut client in [world.client("user-1").await, world.http1("user-1").await] {
        let mut watch = Watch::open(&mut client, &format!("{}?watch=1", config_maps()), "").await;
        assert_eq!(told(&watch.next().await.unwrap()), ("ADDED".into(), "old".into()));
        writer.post(&config_maps(), json!({"metadata": {"name": "new"}})).await;
        let added = watch.next().await.unwrap();
        assert_eq!(told(&added), ("ADDED".into(), "new".into()));
        assert_eq!(
            (&added["object"]["kind"], &added["object"]["apiVersion"]),
            (&json!("ConfigMap"), &json!("v1"))
        );
        let merge = [("content-type", "application/merge-patch+json")];
        let named = format!("{}/new", config_maps());
        writer.call("PATCH", &named, &merge, r#"{"data":{"k":"v"}}"#).await;
        assert_eq!(told(&watch.next().await.unwrap()), ("MODIFIED".into(), "new".into()));
        writer.call("DELETE", &named, &[], "").await;
        let deleted = watch.next().await.unwrap();
        assert_eq!(told(&deleted), ("DELETED".into(), "new".into()));
        let version = |event: &Value| {
            event["object"]["metadata"]["resourceVersion"]
                .as_str()
                .unwrap()
                .parse::<u64>()
                .unwrap()
        };
        assert!(version(&deleted) > version(&added), "the deletion's own revision");
    }
}

#[tokio::test(start_paused = true)]
async fn bookmarks_mark_the_start_and_come_before_the_end() {
    let world = World::new().await;
    let mut client = world.client("user-1").await;
    world
        .put(
            CONSUMER,
            "",
            "configmaps",
            "default",
            json!({"metadata": {"name": "a"}}),
        )
        .await;
    let query = "watch=1&timeoutSeconds=30&allowWatchBookmarks=true&sendInitialEvents=true\
        &resourceVersionMatch=NotOlderThan";
    let begun = world.env.clock.monotonic();
    let mut watch = Watch::open(&mut client, &format!("{}?{query}", config_maps()), "").await;
    assert_eq!(told(&watch.next().await.unwrap()), ("ADDED".into(), "a".into()));
    let mark = watch.next().await.unwrap();
    assert_eq!(mark["type"], "BOOKMARK");
    assert_eq!(
        mark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
    let mut last = Value::Null;
    let mut at = Duration::ZERO;
    while let Some(event) = watch.next().await {
        (last, at) = (event, world.env.clock.monotonic() - begun);
    }
    assert_eq!(last["type"], "BOOKMARK");
    assert_eq!(
        (&last["object"]["kind"], &last["object"]["metadata"]["annotations"]),
        (&json!("ConfigMap"), &Value::Null)
    );
    assert_eq!(at.as_secs(), 28, "two seconds before the end");
    assert_eq!((world.env.clock.monotonic() - begun).as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_watch_without_a_timeout_ends_between_half_an_hour_and_an_hour() {
    let world = World::new().await;
    let mut client = world.client("user-1").await;
    let begun = world.env.clock.monotonic();
    let mut watch = Watch::open(&mut client, &format!("{}?watch=1", config_maps()), "").await;
    assert_eq!(watch.next().await, None);
    let took = world.env.clock.monotonic() - begun;
    assert!((1800..3600).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_a_table_names_its_columns_once() {
    let world = World::new().await;
    let mut client = world.client("user-1").await;
    for name in ["a", "b"] {
        world
            .put(
                CONSUMER,
                "",
                "configmaps",
                "default",
                json!({"metadata": {"name": name}}),
            )
            .await;
    }
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let mut watch = Watch::open(&mut client, &format!("{}?watch=1", config_maps()), accept).await;
    let (first, second) = (watch.next().await.unwrap(), watch.next().await.unwrap());
    assert_eq!(first["object"]["kind"], "Table");
    assert!(!first["object"]["columnDefinitions"].as_array().unwrap().is_empty());
    assert!(
        second["object"]["columnDefinitions"]
            .as_array()
            .is_none_or(Vec::is_empty)
    );
    assert_eq!(second["object"]["rows"][0]["cells"][0], "b");
}

#[tokio::test(start_paused = true)]
async fn one_object_is_watched_by_the_old_path_too() {
    let world = World::new().await;
    let mut client = world.client("user-1").await;
    for name in ["a", "b"] {
        world
            .put(
                CONSUMER,
                "",
                "configmaps",
                "default",
                json!({"metadata": {"name": name}}),
            )
            .await;
    }
    let path = format!("/clusters/{CONSUMER}/api/v1/watch/namespaces/default/configmaps/b?timeoutSeconds=1");
    let mut watch = Watch::open(&mut client, &path, "").await;
    assert_eq!(told(&watch.next().await.unwrap()), ("ADDED".into(), "b".into()));
    assert_eq!(watch.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_running_watch_is_counted_and_holds_no_seat() {
    let world = World::new().await;
    let mut client = world.client("user-1").await;
    let watch = Watch::open(&mut client, &format!("{}?watch=1", config_maps()), "").await;
    assert_eq!(world.stack.seats_used(), 0);
    let gauge = |world: &World| {
        let text = world.metrics.registry.encode();
        let line = text
            .lines()
            .find(|line| line.starts_with("apiserver_longrunning_requests{"))
            .unwrap()
            .to_owned();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!(gauge(&world), "1");
    drop(watch);
    world.until(|| gauge(&world) == "0").await;
}

/// Every watch begins too late; nothing else is served. Counts the watches that were dropped.
struct TooLate;

struct Ending(Option<WatchEvent>);

impl EventStream for Ending {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<WatchEvent>> {
        Poll::Ready(self.0.take())
    }

    fn ready(&mut self) -> Option<WatchEvent> {
        self.0.take()
    }

    fn revision(&mut self) -> u64 {
        7
    }
}

#[async_trait]
impl Backend for TooLate {
    async fn get(&self, _: &registry::Request, _: &Target, _: &GetOptions) -> Result<Item> {
        panic!("a defect of the backend")
    }

    async fn list(&self, _: &registry::Request, _: &Target, _: &ListOptions) -> Result<ItemList> {
        std::future::pending().await
    }

    async fn watch(&self, _: &registry::Request, _: &Target, _: &ListOptions) -> Result<Box<dyn EventStream>> {
        let status = Status::expired("too old resource version: 5 (44894)");
        Ok(Box::new(Ending(Some(WatchEvent::Failed(status)))))
    }

    async fn create(&self, _: &registry::Request, _: &Target, _: Value, _: &WriteOptions) -> Result<Outcome> {
        Err(Status::service_unavailable("no"))
    }

    async fn update(&self, _: &registry::Request, _: &Target, _: Value, _: &WriteOptions) -> Result<Outcome> {
        Err(Status::service_unavailable("no"))
    }

    async fn patch(&self, _: &registry::Request, _: &Target, _: Patch, _: &WriteOptions) -> Result<Outcome> {
        Err(Status::service_unavailable("no"))
    }

    async fn delete(&self, _: &registry::Request, _: &Target, _: &DeleteOptions) -> Result<Outcome> {
        Err(Status::service_unavailable("no"))
    }

    async fn delete_collection(
        &self,
        _: &registry::Request,
        _: &Target,
        _: &ListOptions,
        _: &DeleteOptions,
    ) -> Result<ItemList> {
        Err(Status::service_unavailable("no"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_too_long_ago_is_told_so_within_the_stream() {
    let world = World::new().await;
    world.surface.serve_from(Arc::new(TooLate));
    let mut client = world.client("user-1").await;
    let mut watch = Watch::open(&mut client, &format!("{}?watch=1&resourceVersion=5", config_maps()), "").await;
    let expected = json!({"type": "ERROR", "object": {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "too old resource version: 5 (44894)", "reason": "Expired", "code": 410,
    }});
    assert_eq!(watch.next().await, Some(expected));
    assert_eq!(watch.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn law_8_a_backend_that_panics_or_hangs_is_answered_for() {
    let world = World::new().await;
    world.surface.serve_from(Arc::new(TooLate));
    let mut client = world.client("user-1").await;
    let panicked = client.get(&format!("{}/x", config_maps())).await;
    assert_eq!(
        (panicked.code, &panicked.json()["reason"]),
        (500, &json!("InternalError"))
    );
    let begun = world.env.clock.monotonic();
    let hung = client.get(&config_maps()).await;
    assert_eq!((hung.code, &hung.json()["reason"]), (504, &json!("Timeout")));
    assert_eq!((world.env.clock.monotonic() - begun).as_secs(), 60);
    assert_eq!(world.stack.seats_used(), 0);
    world
        .put(
            CONSUMER,
            "",
            "configmaps",
            "default",
            json!({"metadata": {"name": "a"}}),
        )
        .await;
    assert_eq!(client.get("/livez").await.code, 200);
}
