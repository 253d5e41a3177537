use machinery::object::ObjectExt;
use machinery::options::{GetOptions, ListOptions, VersionMatch, WriteOptions};
use machinery::selector::FieldSelector;
use serde_json::json;

use crate::testing::{Fixture, config_map, refusal, widget};
use crate::{Backend, Patch, WatchEvent};

fn by_field(text: &str) -> ListOptions {
    ListOptions {
        field_selector: FieldSelector::parse(text).unwrap(),
        ..ListOptions::default()
    }
}

#[tokio::test(start_paused = true)]
async fn field_selectors_of_kinds_and_definitions() {
    let f = Fixture::new().await;
    let secrets = f.at("secrets", "default", "");
    f.create(&secrets, json!({"metadata": {"name": "plain"}}))
        .await
        .unwrap();
    let tls =
        json!({"metadata": {"name": "tls"}, "type": "kubernetes.io/tls", "stringData": {"tls.crt": "", "tls.key": ""}});
    f.create(&secrets, tls).await.unwrap();
    assert_eq!(
        f.list(&secrets, &by_field("type=kubernetes.io/tls")).await.unwrap(),
        ["tls"]
    );
    assert_eq!(
        f.list(&secrets, &by_field("type!=kubernetes.io/tls")).await.unwrap(),
        ["plain"]
    );
    assert_eq!(
        f.list(&secrets, &by_field("metadata.name=plain")).await.unwrap(),
        ["plain"]
    );
    assert!(
        f.list(&secrets, &by_field("metadata.name=none"))
            .await
            .unwrap()
            .is_empty()
    );

    let at = f.at("widgets.example.io", "default", "");
    f.create(&at, widget("red")).await.unwrap();
    let mut blue = widget("blue");
    blue["spec"]["colour"] = json!("blue");
    f.create(&at, blue).await.unwrap();
    assert_eq!(f.list(&at, &by_field("spec.colour=blue")).await.unwrap(), ["blue"]);
    let refused = f.list(&at, &by_field("spec.size=1")).await;
    assert_eq!(
        refusal(refused),
        (400, "field label not supported: spec.size".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn pages_go_on_at_their_revision() {
    let f = Fixture::new().await;
    let at = f.at("configmaps", "default", "");
    for n in 0..5 {
        f.create(&at, config_map(&format!("c{n}"))).await.unwrap();
    }
    let page = |token: String| ListOptions {
        limit: 2,
        continue_token: token,
        ..ListOptions::default()
    };
    let first = f
        .registry
        .list(&f.request(), &at.target, &page(String::new()))
        .await
        .unwrap();
    assert_eq!((first.items.len(), first.remaining), (2, Some(3)));
    f.delete(&at.named("c3")).await.unwrap();
    let second = f
        .registry
        .list(&f.request(), &at.target, &page(first.continue_token.unwrap()))
        .await
        .unwrap();
    assert_eq!(second.revision, first.revision);
    let names: Vec<_> = second
        .items
        .iter()
        .map(|item| f.value(&at, item).name().to_owned())
        .collect();
    assert_eq!(names, ["c2", "c3"]);
    let (code, text) = refusal(f.registry.list(&f.request(), &at.target, &page("abc".to_owned())).await);
    assert_eq!(code, 400);
    assert!(
        text.starts_with("invalid continue token: continue key is not valid"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn versions_of_the_future_time_out() {
    let f = Fixture::new().await;
    let at = f.at("configmaps", "default", "a");
    f.create(&at, config_map("a")).await.unwrap();
    let options = ListOptions {
        resource_version: "99999999".to_owned(),
        resource_version_match: Some(VersionMatch::NotOlderThan),
        ..ListOptions::default()
    };
    let status = f.registry.list(&f.request(), &at.target, &options).await.err().unwrap();
    assert_eq!(status.code, 504);
    assert!(
        status
            .message
            .starts_with("Timeout: Too large resource version: 99999999, current: ")
    );
    let details = status.details.unwrap();
    assert_eq!(
        (details.causes[0].reason.as_str(), details.retry_after_seconds),
        ("ResourceVersionTooLarge", 1)
    );
    let get = GetOptions {
        resource_version: "99999999".to_owned(),
    };
    assert_eq!(
        f.registry.get(&f.request(), &at.target, &get).await.err().unwrap().code,
        504
    );
}

#[tokio::test(start_paused = true)]
async fn exact_lists_of_compacted_revisions_are_expired() {
    let f = Fixture::new().await;
    let at = f.at("configmaps", "default", "a");
    f.create(&at, config_map("a")).await.unwrap();
    for n in 0..3 {
        f.patch(&at, Patch::Merge(json!({"data": {"k": n.to_string()}})))
            .await
            .unwrap();
    }
    f.registry
        .store()
        .compact_to(f.registry.store().revision())
        .await
        .unwrap();
    let options = ListOptions {
        resource_version: "2".to_owned(),
        resource_version_match: Some(VersionMatch::Exact),
        ..ListOptions::default()
    };
    let refused = f.registry.list(&f.request(), &at.target, &options).await;
    assert_eq!(
        refusal(refused),
        (410, "The resourceVersion for the provided list is too old.".to_owned())
    );

    let mut watch = ListOptions {
        resource_version: "2".to_owned(),
        watch: true,
        ..ListOptions::default()
    };
    watch.allow_watch_bookmarks = true;
    let mut stream = f.registry.watch(&f.request(), &at.target, &watch).await.unwrap();
    let Some(WatchEvent::Failed(status)) = stream.next().await else {
        panic!("an error event")
    };
    assert_eq!(status.code, 410);
    assert!(
        status.message.starts_with("too old resource version: 2 ("),
        "{}",
        status.message
    );
}

#[tokio::test(start_paused = true)]
async fn watches_show_the_present_then_what_comes() {
    let f = Fixture::new().await;
    let at = f.at("configmaps", "default", "");
    f.create(&at, config_map("a")).await.unwrap();
    let options = ListOptions {
        watch: true,
        send_initial_events: Some(true),
        allow_watch_bookmarks: true,
        resource_version_match: Some(VersionMatch::NotOlderThan),
        ..ListOptions::default()
    };
    let mut stream = f.registry.watch(&f.request(), &at.target, &options).await.unwrap();
    let Some(WatchEvent::Added(item)) = stream.next().await else {
        panic!("the present object")
    };
    assert_eq!(f.value(&at, &item).name(), "a");
    let Some(WatchEvent::Bookmark { initial_end: true, .. }) = stream.next().await else {
        panic!("the end of the present")
    };
    f.patch(&at.named("a"), Patch::Merge(json!({"data": {"k": "2"}})))
        .await
        .unwrap();
    let Some(WatchEvent::Modified(_)) = stream.next().await else {
        panic!("a change")
    };
    f.delete(&at.named("a")).await.unwrap();
    let Some(WatchEvent::Deleted { item, revision }) = stream.next().await else {
        panic!("a deletion")
    };
    assert_eq!(f.value(&at, &item).resource_version(), revision.to_string());
}

#[tokio::test(start_paused = true)]
async fn both_groups_show_the_same_events() {
    let f = Fixture::new().await;
    let core = f.at("events", "default", "");
    let new = f.at("events.events.k8s.io", "default", "");
    let body = json!({
        "metadata": {"name": "e1"}, "regarding": {"kind": "Pod", "namespace": "default", "name": "p"},
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "example.io/c", "reportingInstance": "i",
        "action": "Act", "reason": "Because", "note": "hello", "type": "Normal",
    });
    let made = f.create(&new, body).await.unwrap();
    assert_eq!(
        (made.api_version(), &made["note"]),
        ("events.k8s.io/v1", &json!("hello"))
    );
    let shown = f.get(&core.named("e1")).await.unwrap();
    assert_eq!((shown.api_version(), &shown["message"]), ("v1", &json!("hello")));
    assert_eq!(shown["involvedObject"]["name"], "p");
    assert_eq!(f.list(&new, &by_field("regarding.name=p")).await.unwrap(), ["e1"]);
    assert_eq!(
        f.list(&core, &by_field("involvedObject.name=p,reason=Because"))
            .await
            .unwrap(),
        ["e1"]
    );
    let again = f.update(&new.named("e1"), made.clone()).await.unwrap();
    assert_eq!(again.resource_version(), made.resource_version());
}

#[tokio::test(start_paused = true)]
async fn a_permit_for_one_group_of_events_does_not_open_the_other() {
    let f = Fixture::new().await;
    let new = f.at("events.events.k8s.io", "default", "x");
    let mut request = f.request();
    request.permit = permit::Permit::granted(
        permit::Scope::One(f.cluster.clone()),
        permit::Resources::One(machinery::object::GroupResource::new("", "events")),
        permit::Verbs::ALL,
        machinery::selector::LabelSelector::everything(),
    );
    let status = f
        .registry
        .get(&request, &new.target, &GetOptions::default())
        .await
        .err()
        .unwrap();
    assert_eq!(status.code, 403);
    let options = WriteOptions::default();
    let refused = f
        .registry
        .update(&request, &new.target, json!({"metadata": {"name": "x"}}), &options)
        .await;
    assert_eq!(refusal(refused).0, 403);
}
