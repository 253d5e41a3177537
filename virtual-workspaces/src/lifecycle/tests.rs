use machinery::object::ObjectExt;
use serde_json::{Value, json};
use storage::ResourceKey;

use crate::testing::{Answer, CONSUMER, OTHER, PROVIDER, World, logical_cluster};

const ADMIN: &str = "kcp-admin;system:kcp:admin";
const MERGE: &str = "application/merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";

fn who() -> String {
    format!("{PROVIDER}:init")
}

fn initializing(rest: &str) -> String {
    format!("/services/initializingworkspaces/{}/clusters/{rest}", who())
}

fn own(cluster: &str) -> String {
    initializing(&format!("{cluster}/apis/core.kcp.io/v1alpha1/logicalclusters/cluster"))
}

fn waiting(entries: &[&str]) -> Value {
    let mut object = logical_cluster("Initializing");
    object["status"]["initializers"] = json!(entries);
    object["status"]["terminators"] = json!([who()]);
    object["status"]["URL"] = json!("https://host/clusters/x");
    object["spec"] = json!({"createdBy": {"username": "creator", "groups": ["team"]}});
    for entry in entries {
        let label = api::hashes::initializer_label(entry);
        object.set_label(&label.key, &label.value);
    }
    let label = api::hashes::terminator_label(&who());
    object.set_label(&label.key, &label.value);
    object
}

fn workspace_type(spec: Value) -> Value {
    json!({"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "WorkspaceType", "metadata": {"name": "init"}, "spec": spec})
}

/// CONSUMER waits for `init` and another initializer, OTHER is ready. `init` may act as the initializer.
async fn world() -> World {
    let world = World::new().await;
    world
        .put(PROVIDER, "logicalclusters.core.kcp.io", logical_cluster("Ready"))
        .await;
    world
        .put(
            CONSUMER,
            "logicalclusters.core.kcp.io",
            waiting(&[&who(), "root:universal"]),
        )
        .await;
    world
        .put(OTHER, "logicalclusters.core.kcp.io", logical_cluster("Ready"))
        .await;
    put_type(&world, json!({"initializer": true})).await;
    for verb in ["initialize", "terminate"] {
        let rule = json!({"verbs": [verb], "apiGroups": ["tenancy.kcp.io"], "resources": ["workspacetypes"],
                          "resourceNames": ["init"]});
        world.grant("init", PROVIDER, rule);
    }
    world.grant(
        "system:kcp:admin",
        "system:admin",
        json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}),
    );
    world
}

async fn put_type(world: &World, spec: Value) {
    world
        .put_at(
            &ResourceKey::custom("tenancy.kcp.io", "workspacetypes"),
            PROVIDER,
            workspace_type(spec),
        )
        .await;
}

fn plain(answer: &Answer) -> (u16, &str) {
    assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    (answer.status.as_u16(), answer.body.as_str())
}

#[tokio::test(start_paused = true)]
async fn lists_and_watches_what_waits() {
    let world = world().await;
    let list = initializing("*/apis/core.kcp.io/v1alpha1/logicalclusters");
    assert_eq!(world.get("init", &list).await.items(), [format!("{CONSUMER}/cluster")]);
    assert_eq!(world.get("stranger", &list).await.status, 403);
    let discovery = world
        .get("init", &initializing("*/apis/core.kcp.io/v1alpha1"))
        .await
        .json();
    assert_eq!(discovery["resources"][0]["name"], "logicalclusters");
    let unknown = list.replace(":init", ":other");
    assert!(
        world.get(ADMIN, &unknown).await.items().is_empty(),
        "no error, nothing waits"
    );
    let mut watch = world.watch("init", &format!("{list}?watch=1")).await;
    assert_eq!(watch.next().await.expect("what is there")["type"], "ADDED");
    let mut done = waiting(&["root:universal"]);
    done["metadata"]["uid"] = json!("0b29018c");
    world.put(CONSUMER, "logicalclusters.core.kcp.io", done).await;
    assert_eq!(watch.next().await.expect("it waits no longer")["type"], "DELETED");
}

#[tokio::test(start_paused = true)]
async fn the_servers_own_initializers_are_for_masters() {
    let world = world().await;
    let list =
        "/services/initializingworkspaces/system:apibindings/clusters/*/apis/core.kcp.io/v1alpha1/logicalclusters";
    assert_eq!(world.get(ADMIN, list).await.status, 403);
    assert_eq!(world.get("root;system:masters", list).await.status, 200);
    let paths = list.replace("system:apibindings", "root:org:type");
    assert_eq!(
        world.get(ADMIN, &paths).await.status,
        403,
        "types are named by their cluster's name"
    );
}

#[tokio::test(start_paused = true)]
async fn one_cluster_can_only_be_got() {
    let world = world().await;
    assert_eq!(world.get("init", &own(CONSUMER)).await.json().name(), "cluster");
    assert_eq!(world.get("init", &own(OTHER)).await.status, 404, "does not wait");
    let list = world
        .get(
            "init",
            &initializing(&format!("{CONSUMER}/apis/core.kcp.io/v1alpha1/logicalclusters")),
        )
        .await;
    let text = "list is not supported on resources of kind \"logicalclusters.core.kcp.io\"";
    assert_eq!((list.status.as_u16(), list.message().as_str()), (405, text));
    assert!(!list.headers.contains_key("x-content-type-options"));
    assert_eq!(
        world
            .send("init", "PATCH", &own(CONSUMER), MERGE, json!({}))
            .await
            .status,
        405
    );
    assert_eq!(
        world
            .send("init", "DELETE", &own(CONSUMER), "", Value::Null)
            .await
            .status,
        405
    );
}

#[tokio::test(start_paused = true)]
async fn only_the_own_entry_can_be_removed() {
    let world = world().await;
    let status = format!("{}/status", own(CONSUMER));
    let patch = |initializers: Value| json!({"status": {"initializers": initializers}});
    for wrong in [
        json!([]),
        json!([who()]),
        json!([who(), "root:universal", "more:more"]),
        json!(["x:y"]),
    ] {
        let refused = world.send("init", "PATCH", &status, MERGE, patch(wrong.clone())).await;
        let list = serde_json::to_string(&wrong).unwrap();
        let text = format!(
            "LogicalCluster.tenancy.kcp.io \"cluster\" is invalid: status.initializers: Invalid value: {list}: only removing \
             the \"{}\" initializer is supported",
            who()
        );
        assert_eq!((refused.status.as_u16(), refused.message()), (422, text));
    }
    let mut sent = patch(json!(["root:universal"]));
    sent["status"]["phase"] = json!("Ready");
    sent["status"]["URL"] = json!("https://evil");
    sent["status"]["terminators"] = json!([]);
    sent["spec"] = json!({"createdBy": {"username": "evil"}});
    let done = world.send("init", "PATCH", &status, MERGE, sent).await;
    assert_eq!(done.status, 200, "{}", done.body);
    let mut expected = waiting(&[&who(), "root:universal"]);
    expected["status"]["initializers"] = json!(["root:universal"]);
    let object = done.json();
    assert_eq!(
        (&object["status"], &object["spec"]),
        (&expected["status"], &expected["spec"]),
        "nothing else is written"
    );
}

#[tokio::test(start_paused = true)]
async fn puts_and_json_patches_remove_the_entry_too() {
    let world = world().await;
    let status = format!("{}/status", own(CONSUMER));
    let operations = json!([
        {"op": "test", "path": "/status/initializers/0", "value": who()},
        {"op": "remove", "path": "/status/initializers/0"},
    ]);
    let done = world.send("init", "PATCH", &status, JSON_PATCH, operations).await;
    assert_eq!(
        (done.status.as_u16(), &done.json()["status"]["initializers"]),
        (200, &json!(["root:universal"]))
    );
    world
        .put(CONSUMER, "logicalclusters.core.kcp.io", waiting(&[&who()]))
        .await;
    let mut object = world.get("init", &own(CONSUMER)).await.json();
    object["status"].as_object_mut().unwrap().remove("initializers");
    let done = world.send("init", "PUT", &status, "", object.clone()).await;
    assert_eq!(
        (done.status.as_u16(), done.json()["status"].get("initializers")),
        (200, None),
        "{}",
        done.body
    );
    let late = world.send("init", "PUT", &status, "", object).await;
    assert_eq!(late.status, 409, "{}", late.body);
}

#[tokio::test(start_paused = true)]
async fn content_is_for_clusters_that_wait() {
    let world = world().await;
    let namespaces = |cluster: &str| initializing(&format!("{cluster}/api/v1/namespaces"));
    let text = format!("initializer {:?} cannot access this workspace\n", who());
    assert_eq!(
        plain(&world.get("init", &namespaces(OTHER)).await),
        (403, text.as_str())
    );
    let text = "error getting logicalcluster nosuch|cluster: logicalcluster.core.kcp.io \"cluster\" not found\n";
    assert_eq!(plain(&world.get("init", &namespaces("nosuch")).await), (500, text));
    // Once nobody waits for it a cluster is soon gone, which who terminated it is told as what it is.
    let gone = format!(
        "/services/terminatingworkspaces/{}/clusters/nosuch/api/v1/namespaces",
        who()
    );
    assert_eq!(plain(&world.get("init", &gone).await), (404, text));
    let stranger = world.get("stranger", &namespaces(CONSUMER)).await;
    assert_eq!(stranger.status, 403);
    assert!(stranger.message().ends_with("access denied"));
}

#[tokio::test(start_paused = true)]
async fn content_is_accessed_as_the_creator() {
    let world = world().await;
    let url = initializing(&format!("{CONSUMER}/api/v1/namespaces"));
    assert_eq!(
        world.get("init", &url).await.status,
        403,
        "the creator has no rights there either"
    );
    world.grant("team", CONSUMER, json!({"verbs": ["access"], "nonResourceURLs": ["/"]}));
    world.grant(
        "team",
        CONSUMER,
        json!({"verbs": ["*"], "apiGroups": [""], "resources": ["namespaces", "configmaps"]}),
    );
    assert!(world.get("init", &url).await.items().is_empty());
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    let maps = initializing(&format!("{CONSUMER}/api/v1/namespaces/default/configmaps"));
    assert_eq!(world.send("init", "POST", &maps, "", map).await.status, 201);
    assert_eq!(
        world
            .shard
            .actor
            .lock()
            .unwrap()
            .as_ref()
            .map(|user| user.name.clone())
            .as_deref(),
        Some("creator")
    );
}

#[tokio::test(start_paused = true)]
async fn rules_of_the_type_replace_the_creator() {
    let world = world().await;
    let rule = json!({"verbs": ["create"], "apiGroups": [""], "resources": ["configmaps"]});
    put_type(&world, json!({"initializer": true, "initializerPermissions": [rule]})).await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    let maps = initializing(&format!("{CONSUMER}/api/v1/namespaces/default/configmaps"));
    let made = world.send("init", "POST", &maps, "", map).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let actor = world.shard.actor.lock().unwrap().clone().expect("a write");
    assert_eq!(actor.name, "init");
    assert_eq!(actor.groups[0], format!("system:kcp:initializer:{}", who()));
    let denied = world.get("init", &format!("{maps}/a")).await;
    let text = format!(
        "initializer {:?} denied by initializerPermissions: no rule allows get on core/configmaps (a) in namespace default\n",
        who()
    );
    assert_eq!(plain(&denied), (403, text.as_str()));
}

#[tokio::test(start_paused = true)]
async fn a_rule_to_patch_is_none_to_create_by_apply() {
    let world = world().await;
    let put_rule = async |verbs: Value| {
        let rule = json!({"verbs": verbs, "apiGroups": [""], "resources": ["configmaps"]});
        put_type(&world, json!({"initializer": true, "initializerPermissions": [rule]})).await;
    };
    let url = initializing(&format!(
        "{CONSUMER}/api/v1/namespaces/default/configmaps/a?fieldManager=m"
    ));
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    for (verbs, code) in [(json!(["patch"]), 403), (json!(["patch", "create"]), 201)] {
        put_rule(verbs).await;
        let answer = world
            .send("init", "PATCH", &url, "application/apply-patch+yaml", map.clone())
            .await;
        assert_eq!(answer.status, code, "{}", answer.body);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_type_is_not_replaced_by_the_creator() {
    let world = world().await;
    let gone = format!("{PROVIDER}:gone");
    world
        .put(CONSUMER, "logicalclusters.core.kcp.io", waiting(&[&gone]))
        .await;
    let url = format!("/services/initializingworkspaces/{gone}/clusters/{CONSUMER}/api/v1/namespaces");
    let answer = world.get(ADMIN, &url).await;
    let text = format!(
        "initializer {gone:?}: WorkspaceType not found in local or cached indexer; refusing to fall back to owner \
         impersonation: workspacetypes.tenancy.kcp.io \"gone\" not found\n"
    );
    assert_eq!(plain(&answer), (503, text.as_str()));
    let mut nameless = waiting(&[&who()]);
    nameless["spec"] = json!({});
    world.put(CONSUMER, "logicalclusters.core.kcp.io", nameless).await;
    let answer = world
        .get("init", &initializing(&format!("{CONSUMER}/api/v1/namespaces")))
        .await;
    let text = format!("LogicalCluster {CONSUMER}|cluster had no createdBy recorded\n");
    assert_eq!(plain(&answer), (500, text.as_str()));
}

#[tokio::test(start_paused = true)]
async fn terminators_see_deleted_clusters() {
    let world = world().await;
    let list = format!(
        "/services/terminatingworkspaces/{}/clusters/*/apis/core.kcp.io/v1alpha1/logicalclusters",
        who()
    );
    assert!(
        world.get("init", &list).await.items().is_empty(),
        "waiting for initializers, not terminators"
    );
    let mut deleted = waiting(&[]);
    deleted["metadata"]["deletionTimestamp"] = json!("2026-11-22T16:59:06Z");
    deleted["metadata"]["finalizers"] = json!(["kcp.io/has-terminators"]);
    deleted["status"]["phase"] = json!("Terminating");
    deleted.set_label("tenancy.kcp.io/phase", "Terminating");
    world.put(CONSUMER, "logicalclusters.core.kcp.io", deleted).await;
    assert_eq!(world.get("init", &list).await.items(), [format!("{CONSUMER}/cluster")]);
    let one = list.replace('*', CONSUMER) + "/cluster/status";
    let refused = world
        .send("init", "PATCH", &one, MERGE, json!({"status": {"terminators": ["x"]}}))
        .await;
    let text = format!(
        "LogicalCluster.core.kcp.io \"cluster\" is invalid: status.terminators: Invalid value: [\"x\"]: only removing the \
         \"{}\" terminator is supported",
        who()
    );
    assert_eq!((refused.status.as_u16(), refused.message()), (422, text));
    let discovery = list.replace('*', CONSUMER).replace("/logicalclusters", "");
    assert_eq!(
        world.get("init", &discovery).await.json()["resources"][0]["name"],
        "logicalclusters"
    );
    let done = world
        .send("init", "PATCH", &one, MERGE, json!({"status": {"terminators": null}}))
        .await;
    assert_eq!(
        (done.status.as_u16(), done.json()["status"].get("terminators")),
        (200, None),
        "{}",
        done.body
    );
}
