use machinery::object::ObjectExt;
use machinery::options::WriteOptions;
use serde_json::json;

use crate::testing::{Fixture, config_map, refusal, widget};
use crate::{Backend, Patch, Subresource};

#[tokio::test(start_paused = true)]
async fn an_update_that_changes_nothing_keeps_the_version() {
    let f = Fixture::new().await;
    let at = f.at("configmaps", "default", "a");
    let made = f.create(&at, config_map("a")).await.unwrap();
    let same = f.update(&at, made.clone()).await.unwrap();
    assert_eq!(same, made);
    // Neither does one that leaves out what the server has set.
    let same = f.update(&at, config_map("a")).await.unwrap();
    assert_eq!(same.resource_version(), made.resource_version());
    let same = f.patch(&at, Patch::Merge(json!({"data": {"k": "v"}}))).await.unwrap();
    assert_eq!(same.resource_version(), made.resource_version());
}

#[tokio::test(start_paused = true)]
async fn a_stale_version_conflicts() {
    let f = Fixture::new().await;
    let at = f.at("configmaps", "default", "a");
    let mut first = f.create(&at, config_map("a")).await.unwrap();
    first["data"]["k"] = json!("1");
    let second = f.update(&at, first.clone()).await.unwrap();
    first["data"]["k"] = json!("2");
    let text = "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to \
                the latest version and try again";
    assert_eq!(refusal(f.update(&at, first).await), (409, text.to_owned()));
    assert_eq!(f.get(&at).await.unwrap(), second);
}

#[tokio::test(start_paused = true)]
async fn custom_resources_need_a_version_for_update() {
    let f = Fixture::new().await;
    let at = f.at("widgets.example.io", "default", "w");
    f.create(&at, widget("w")).await.unwrap();
    let text = "widgets.example.io \"w\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update";
    assert_eq!(refusal(f.update(&at, widget("w")).await), (422, text.to_owned()));
}

#[tokio::test(start_paused = true)]
async fn identity_in_the_body_must_be_the_urls() {
    let f = Fixture::new().await;
    let at = f.at("configmaps", "default", "a");
    f.create(&at, config_map("a")).await.unwrap();
    let (code, text) = refusal(f.update(&at, config_map("b")).await);
    assert_eq!(
        (code, text.as_str()),
        (400, "the name of the object (b) does not match the name on the URL (a)")
    );
    let (code, text) = refusal(f.update(&at, json!({"data": {}})).await);
    assert_eq!(code, 400);
    assert_eq!(
        text,
        "the name of the object (a based on URL) was undeterminable: name must be provided"
    );
    let mut other = config_map("a");
    other["metadata"]["uid"] = json!("another");
    let (code, text) = refusal(f.update(&at, other).await);
    assert_eq!(code, 409);
    assert!(
        text.contains("Precondition failed: UID in precondition: another, UID in object meta: "),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn times_and_deletion_marks_cannot_be_changed() {
    let f = Fixture::new().await;
    let at = f.at("configmaps", "default", "a");
    let made = f.create(&at, config_map("a")).await.unwrap();
    let mut body = made.clone();
    body["metadata"]["creationTimestamp"] = json!("2001-01-01T00:00:00Z");
    body["metadata"]["annotations"] = json!({"kcp.io/cluster": "elsewhere"});
    assert_eq!(f.update(&at, body).await.unwrap(), made);
}

#[tokio::test(start_paused = true)]
async fn put_of_an_absent_object_is_404_but_for_kinds_that_allow_it() {
    let f = Fixture::new().await;
    let at = f.at("configmaps", "default", "a");
    assert_eq!(
        refusal(f.update(&at, config_map("a")).await),
        (404, "configmaps \"a\" not found".to_owned())
    );
    let lease = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "me"}});
    let at = f.at("leases.coordination.k8s.io", "default", "l");
    let outcome = f
        .registry
        .update(&f.request(), &at.target, lease, &WriteOptions::default())
        .await
        .unwrap();
    assert!(outcome.created);
    assert_eq!(f.get(&at).await.unwrap()["spec"]["holderIdentity"], "me");
}

#[tokio::test(start_paused = true)]
async fn patches_of_all_kinds() {
    let f = Fixture::new().await;
    let at = f.at("configmaps", "default", "a");
    f.create(&at, config_map("a")).await.unwrap();
    let merged = f
        .patch(&at, Patch::Merge(json!({"data": {"l": "w", "k": null}})))
        .await
        .unwrap();
    assert_eq!(merged["data"], json!({"l": "w"}));
    let json_patch = json!([{"op": "add", "path": "/data/m", "value": "x"}, {"op": "remove", "path": "/data/l"}]);
    let patched = f.patch(&at, Patch::Json(json_patch)).await.unwrap();
    assert_eq!(patched["data"], json!({"m": "x"}));
    let strategic = json!({"metadata": {"finalizers": ["example.io/b"]}});
    let patched = f.patch(&at, Patch::Strategic(strategic)).await.unwrap();
    assert_eq!(patched.finalizers(), ["example.io/b"]);
    let strategic = json!({"metadata": {"finalizers": ["example.io/c"]}});
    let patched = f.patch(&at, Patch::Strategic(strategic)).await.unwrap();
    assert_eq!(patched.finalizers().len(), 2, "finalizers are a merging list");

    let failed = json!([{"op": "test", "path": "/data/m", "value": "y"}]);
    let (code, text) = refusal(f.patch(&at, Patch::Json(failed)).await);
    assert_eq!(
        (code, text.as_str()),
        (422, "the server rejected our request due to an error in our request")
    );
    let (code, text) = refusal(f.patch(&at.named("nope"), Patch::Merge(json!({}))).await);
    assert_eq!((code, text.as_str()), (404, "configmaps \"nope\" not found"));
}

#[tokio::test(start_paused = true)]
async fn custom_resources_take_no_strategic_patch() {
    let f = Fixture::new().await;
    let at = f.at("widgets.example.io", "default", "w");
    f.create(&at, widget("w")).await.unwrap();
    let (code, text) = refusal(f.patch(&at, Patch::Strategic(json!({}))).await);
    assert_eq!(code, 415);
    assert_eq!(
        text,
        "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, \
         application/merge-patch+json, application/apply-patch+yaml, application/apply-patch+yaml"
    );
}

#[tokio::test(start_paused = true)]
async fn a_patch_with_a_version_conflicts_when_it_is_stale() {
    let f = Fixture::new().await;
    let at = f.at("configmaps", "default", "a");
    let made = f.create(&at, config_map("a")).await.unwrap();
    f.patch(&at, Patch::Merge(json!({"data": {"k": "2"}}))).await.unwrap();
    let stale = json!({"metadata": {"resourceVersion": made.resource_version()}, "data": {"k": "3"}});
    assert_eq!(refusal(f.patch(&at, Patch::Merge(stale)).await).0, 409);
}

#[tokio::test(start_paused = true)]
async fn two_writers_without_versions_both_succeed() {
    let f = Fixture::new().await;
    let at = f.at("configmaps", "default", "a");
    f.create(&at, config_map("a")).await.unwrap();
    let patch = |key: String| f.patch(&at, Patch::Merge(json!({"data": {key: "x"}})));
    let all = futures_util::future::join_all((0..6).map(|n| patch(format!("k{n}")))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    assert_eq!(f.get(&at).await.unwrap()["data"].as_object().unwrap().len(), 7);
}

#[tokio::test(start_paused = true)]
async fn of_two_writers_with_the_same_version_one_conflicts() {
    let f = Fixture::new().await;
    let at = f.at("configmaps", "default", "a");
    let made = f.create(&at, config_map("a")).await.unwrap();
    let write = |value: &str| {
        let mut body = made.clone();
        body["data"]["k"] = json!(value);
        f.update(&at, body)
    };
    let (one, two) = futures_util::future::join(write("1"), write("2")).await;
    let codes = [refusal(one).0, refusal(two).0];
    assert!(codes == [0, 409] || codes == [409, 0], "{codes:?}");
}

#[tokio::test(start_paused = true)]
async fn dry_run_of_an_update_stores_nothing() {
    let f = Fixture::new().await;
    let at = f.at("configmaps", "default", "a");
    let made = f.create(&at, config_map("a")).await.unwrap();
    let dry = WriteOptions {
        dry_run: true,
        ..WriteOptions::default()
    };
    let mut body = config_map("a");
    body["data"]["k"] = json!("other");
    let shown = f.registry.update(&f.request(), &at.target, body, &dry).await.unwrap();
    assert_eq!(f.value(&at, &shown.item)["data"]["k"], "other");
    assert_eq!(f.get(&at).await.unwrap(), made);
}

#[tokio::test(start_paused = true)]
async fn status_and_spec_keep_apart() {
    let f = Fixture::new().await;
    let at = f.at("widgets.example.io", "default", "w");
    let mut body = widget("w");
    body["status"] = json!({"phase": "Ready"});
    let made = f.create(&at, body).await.unwrap();
    assert!(made.get("status").is_none(), "create drops status");
    assert_eq!(made.generation(), 1);

    let mut both = made.clone();
    both["status"] = json!({"phase": "Ready"});
    both["spec"]["size"] = json!(7);
    both["metadata"]["labels"] = json!({"a": "b"});
    let status = f.update(&at.sub(Subresource::Status), both.clone()).await.unwrap();
    assert_eq!(status["status"], json!({"phase": "Ready"}));
    assert_eq!(
        (&status["spec"]["size"], status.generation(), status.label("a")),
        (&json!(1), 1, None)
    );
    let owners = status["metadata"]["managedFields"].as_array().unwrap();
    assert!(
        owners
            .iter()
            .any(|o| o["subresource"] == "status" && o["fieldsV1"]["f:status"].is_object())
    );

    both["metadata"]["resourceVersion"] = status["metadata"]["resourceVersion"].clone();
    both["status"] = json!({"phase": "Broken"});
    let spec = f.update(&at, both).await.unwrap();
    assert_eq!(
        (&spec["status"]["phase"], &spec["spec"]["size"]),
        (&json!("Ready"), &json!(7))
    );
    assert_eq!((spec.generation(), spec.label("a")), (2, Some("b")));

    let labelled = f
        .patch(&at, Patch::Merge(json!({"metadata": {"labels": {"c": "d"}}})))
        .await
        .unwrap();
    assert_eq!(labelled.generation(), 2, "metadata alone is no new generation");
}

#[tokio::test(start_paused = true)]
async fn wrong_patched_documents_are_422() {
    let f = Fixture::new().await;
    let at = f.at("configmaps", "default", "a");
    f.create(&at, config_map("a")).await.unwrap();
    let (code, text) = refusal(f.patch(&at, Patch::Merge(json!({"data": {"k": 1}}))).await);
    assert_eq!(code, 422);
    assert!(
        text.ends_with("json: cannot unmarshal number into Go struct field ConfigMap.data of type string"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn whole_writes_are_the_servers_own() {
    let f = Fixture::new().await;
    let at = f.at("widgets.example.io", "default", "w");
    let made = f.create(&at, widget("w")).await.unwrap();
    let mut both = made.clone();
    both["spec"]["size"] = json!(2);
    both["status"] = json!({"phase": "Ready"});
    let whole = at.sub(Subresource::Whole);
    let (code, _) = refusal(f.update(&whole, both.clone()).await);
    assert_eq!(code, 403);
    let mut request = f.request();
    request.trusted = true;
    let options = WriteOptions::default();
    let written = f
        .registry
        .update(&request, &whole.target, both.clone(), &options)
        .await
        .unwrap();
    let written = f.value(&at, &written.item);
    assert_eq!(
        (&written["status"], written.generation()),
        (&json!({"phase": "Ready"}), 2)
    );
    let owned = written["metadata"]["managedFields"].as_array().unwrap();
    let of = |subresource: Option<&str>| {
        let found = owned
            .iter()
            .find(|o| o.get("subresource").and_then(|s| s.as_str()) == subresource);
        found.map(|o| o["fieldsV1"].clone()).unwrap_or_default()
    };
    assert!(of(Some("status"))["f:status"].is_object() && of(Some("status")).get("f:spec").is_none());
    assert!(of(None)["f:spec"].is_object() && of(None).get("f:status").is_none());
    let again = f
        .registry
        .update(&request, &whole.target, written.clone(), &options)
        .await
        .unwrap();
    assert_eq!(
        f.value(&at, &again.item),
        written,
        "nothing changed, nothing is written"
    );
}
