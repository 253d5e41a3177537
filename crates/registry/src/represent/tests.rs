use machinery::options::{IncludeObject, ListOptions};
use machinery::table::MetaVersion;
use serde_json::{Value, json};

use super::*;
use crate::testing::{At, Fixture, config_map, widget};
use crate::{Backend, EventStream, Patch};

fn shown(f: &Fixture, at: &At, form: Form) -> Representation {
    Representation::new(at.target.resolved.clone(), form, f.env.clock.now().as_nanos().into())
}

fn parse(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(bytes)))
}

#[tokio::test(start_paused = true)]
async fn items_of_typed_lists_do_not_say_what_they_are() {
    let f = Fixture::new().await;
    let at = f.at("configmaps", "default", "");
    f.create(&at, config_map("a")).await.unwrap();
    f.create(&at, config_map("b")).await.unwrap();
    let list = f
        .registry
        .list(&f.request(), &at.target, &ListOptions::default())
        .await
        .unwrap();
    let shown_list = parse(&shown(&f, &at, Form::Whole).list(&list).unwrap());
    assert_eq!(shown_list["kind"], "ConfigMapList");
    assert_eq!(
        shown_list["metadata"],
        json!({"resourceVersion": list.revision.to_string()})
    );
    let items = shown_list["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    assert!(
        items
            .iter()
            .all(|item| item.get("kind").is_none() && item.get("apiVersion").is_none())
    );
    assert_eq!(items[1]["metadata"]["name"], "b");

    let at = f.at("widgets.example.io", "default", "");
    f.create(&at, widget("w")).await.unwrap();
    let list = f
        .registry
        .list(&f.request(), &at.target, &ListOptions::default())
        .await
        .unwrap();
    let shown_list = parse(&shown(&f, &at, Form::Whole).list(&list).unwrap());
    assert_eq!(shown_list["items"][0]["kind"], "Widget");
    assert_eq!(shown_list["metadata"]["continue"], "");
    let old = at.version(1);
    let shown_list = parse(&shown(&f, &old, Form::Whole).list(&list).unwrap());
    assert_eq!(shown_list["apiVersion"], "example.io/v1beta1");
    assert_eq!(shown_list["items"][0]["apiVersion"], "example.io/v1beta1");
    let empty = ItemList {
        items: Vec::new(),
        revision: 7,
        continue_token: None,
        remaining: None,
    };
    assert_eq!(
        parse(&shown(&f, &at, Form::Whole).list(&empty).unwrap())["items"],
        json!([])
    );
}

#[tokio::test(start_paused = true)]
async fn lists_are_written_chunk_by_chunk_where_objects_are_shown_as_stored() {
    let f = Fixture::new().await;
    for resource in ["configmaps", "widgets.example.io"] {
        let at = f.at(resource, "default", "");
        for count in [0, 1, 60] {
            for n in 0..count {
                let name = format!("n{n}");
                let mut object = if resource == "configmaps" {
                    config_map(&name)
                } else {
                    widget(&name)
                };
                object["metadata"]["annotations"] = json!({"filler": "x".repeat(3000)});
                let _there_already = f.create(&at, object).await;
            }
            let (request, options) = (f.request(), ListOptions::default());
            let list = f.registry.list(&request, &at.target, &options).await.unwrap();
            assert_eq!(list.items.len(), count);
            let whole = shown(&f, &at, Form::Whole);
            let expected = whole.list(&list).unwrap();
            let ListBytes::Chunks(mut chunks) = whole.list_bytes(list.clone()).unwrap() else {
                panic!("{resource} are shown as they are stored");
            };
            let (announced, mut got, mut made) = (chunks.bytes_left(), Vec::new(), 0);
            while let Some(chunk) = chunks.next() {
                // With the head of its frame it is one TLS record.
                assert!(chunk.len() + 9 <= 16 * 1024, "a chunk of {} bytes", chunk.len());
                got.extend_from_slice(&chunk);
                assert_eq!(chunks.bytes_left(), announced - got.len() as u64);
                made += 1;
            }
            assert_eq!(
                String::from_utf8(got).unwrap(),
                String::from_utf8(expected.clone()).unwrap()
            );
            assert_eq!((announced, made > 1), (expected.len() as u64, count == 60));
            // What is not shown as it is stored is made at once, in the same words.
            let partial = shown(&f, &at, Form::Metadata(MetaVersion::V1));
            let bytes = partial.list_bytes(list.clone()).unwrap();
            assert!(matches!(bytes, ListBytes::Whole(_)));
            assert_eq!(bytes.into_whole(), partial.list(&list).unwrap());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn metadata_alone_is_cut_out_of_the_bytes() {
    let f = Fixture::new().await;
    let at = f.at("configmaps", "default", "");
    let mut body = config_map("a");
    body["metadata"]["annotations"] = json!({"tricky": "}\"]{\\"});
    let made = f.create(&at, body).await.unwrap();
    let item = f
        .registry
        .get(&f.request(), &at.named("a").target, &Default::default())
        .await
        .unwrap();
    let form = Form::Metadata(MetaVersion::V1);
    let partial = parse(&shown(&f, &at, form).object(&item).unwrap());
    assert_eq!(partial["kind"], "PartialObjectMetadata");
    assert_eq!(partial["apiVersion"], "meta.k8s.io/v1");
    assert_eq!(partial["metadata"], made["metadata"]);
    let original = parse(&shown(&f, &at, form).naming_original().object(&item).unwrap());
    assert_eq!(original["metadata"]["annotations"]["kcp.io/original-api-version"], "v1");
    let list = f
        .registry
        .list(&f.request(), &at.target, &ListOptions::default())
        .await
        .unwrap();
    let partial = parse(&shown(&f, &at, form).list(&list).unwrap());
    assert_eq!(partial["kind"], "PartialObjectMetadataList");
    assert_eq!(partial["items"][0]["metadata"]["name"], "a");
}

#[tokio::test(start_paused = true)]
async fn tables_have_the_definitions_columns() {
    let f = Fixture::new().await;
    let at = f.at("widgets.example.io", "default", "");
    f.create(&at, widget("w")).await.unwrap();
    let form = Form::Table {
        version: MetaVersion::V1,
        include: IncludeObject::Metadata,
    };
    let list = f
        .registry
        .list(&f.request(), &at.target, &ListOptions::default())
        .await
        .unwrap();
    let table = parse(&shown(&f, &at, form).list(&list).unwrap());
    assert_eq!(table["kind"], "Table");
    assert_eq!(table["columnDefinitions"][1]["name"], "Size");
    assert_eq!(table["rows"][0]["cells"], json!(["w", 1]));
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let one = parse(&shown(&f, &at, form).object(&list.items[0]).unwrap());
    assert_eq!(one["rows"], table["rows"]);
    let none = f
        .registry
        .list(
            &f.request(),
            &f.at("widgets.example.io", "none", "").target,
            &ListOptions::default(),
        )
        .await;
    assert_eq!(
        parse(&shown(&f, &at, form).list(&none.unwrap()).unwrap())["rows"],
        json!([])
    );
}

#[tokio::test(start_paused = true)]
async fn watch_lines_are_made_once_for_all_watchers() {
    let f = Fixture::new().await;
    let at = f.at("configmaps", "default", "");
    let made = f.create(&at, config_map("a")).await.unwrap();
    let options = ListOptions {
        watch: true,
        resource_version: made["metadata"]["resourceVersion"].as_str().unwrap().to_owned(),
        ..ListOptions::default()
    };
    let mut one = f.registry.watch(&f.request(), &at.target, &options).await.unwrap();
    let mut two = f.registry.watch(&f.request(), &at.target, &options).await.unwrap();
    f.patch(&at.named("a"), Patch::Merge(json!({"data": {"k": "2"}})))
        .await
        .unwrap();
    let representation = shown(&f, &at, Form::Whole);
    let mut lines = Vec::new();
    for stream in [&mut one, &mut two] {
        let event = stream.next().await.unwrap();
        lines.push(representation.watch_line(&event, stream.logged(), &mut WatchState::new()));
    }
    assert_eq!(lines[0].as_ptr(), lines[1].as_ptr(), "the same bytes");
    assert!(lines[0].ends_with(b"}\n"));
    let event = parse(&lines[0]);
    assert_eq!(
        (&event["type"], &event["object"]["data"]["k"]),
        (&json!("MODIFIED"), &json!("2"))
    );
    assert_eq!(event["object"]["kind"], "ConfigMap");
}

#[tokio::test(start_paused = true)]
async fn tables_of_a_watch_have_columns_once() {
    let f = Fixture::new().await;
    let at = f.at("configmaps", "default", "");
    f.create(&at, config_map("a")).await.unwrap();
    f.create(&at, config_map("b")).await.unwrap();
    let options = ListOptions {
        watch: true,
        send_initial_events: Some(true),
        ..ListOptions::default()
    };
    let mut stream: Box<dyn EventStream> = f.registry.watch(&f.request(), &at.target, &options).await.unwrap();
    let form = Form::Table {
        version: MetaVersion::V1,
        include: IncludeObject::None,
    };
    let (representation, mut state) = (shown(&f, &at, form), WatchState::new());
    let mut columns = Vec::new();
    for _ in 0..2 {
        let event = stream.next().await.unwrap();
        let line = representation.watch_line(&event, stream.logged(), &mut state);
        columns.push(parse(&line)["object"]["columnDefinitions"].is_array());
    }
    assert_eq!(columns, [true, false]);
}

#[tokio::test(start_paused = true)]
async fn bookmarks_and_errors_are_lines_too() {
    let f = Fixture::new().await;
    let at = f.at("widgets.example.io", "default", "");
    let representation = shown(&f, &at, Form::Whole);
    let mut state = WatchState::new();
    let end = representation.watch_line(
        &WatchEvent::Bookmark {
            revision: 9,
            initial_end: true,
        },
        None,
        &mut state,
    );
    assert_eq!(
        parse(&end),
        json!({"type": "BOOKMARK", "object": {"kind": "Widget", "apiVersion": "example.io/v1", "metadata": {
            "resourceVersion": "9", "annotations": {"k8s.io/initial-events-end": "true"}
        }}})
    );
    let status = machinery::status::Status::expired("too old resource version: 5 (9)");
    let error = parse(&representation.watch_line(&WatchEvent::Failed(status), None, &mut state));
    assert_eq!(
        (&error["type"], &error["object"]["code"]),
        (&json!("ERROR"), &json!(410))
    );
}
