use serde_json::{Value, json};

use crate::testing::{CONSUMER, OTHER, PROVIDER, World, logical_cluster};

fn schema(name: &str) -> Value {
    json!({"apiVersion": "apis.kcp.io/v1alpha1", "kind": "APIResourceSchema", "metadata": {"name": name}, "spec": {}})
}

async fn world() -> World {
    let world = World::new().await;
    for cluster in [PROVIDER, CONSUMER, OTHER] {
        world
            .put(cluster, "logicalclusters.core.kcp.io", logical_cluster("Ready"))
            .await;
    }
    for name in [
        "b.widgets.example.io",
        "a.gadgets.example.io",
        "unbound.things.example.io",
    ] {
        world
            .put(PROVIDER, "apiresourceschemas.apis.kcp.io", schema(name))
            .await;
    }
    let resources = json!([{"group": "example.io", "name": "widgets", "schema": "b.widgets.example.io"},
                           {"group": "example.io", "name": "gadgets", "schema": "a.gadgets.example.io"}]);
    world
        .put(
            PROVIDER,
            "apiexports.apis.kcp.io",
            json!({"metadata": {"name": "e"}, "spec": {"resources": resources}}),
        )
        .await;
    world
        .put(
            CONSUMER,
            "apibindings.apis.kcp.io",
            json!({
                "metadata": {"name": "b"}, "spec": {"reference": {"export": {"name": "e", "path": "root:p"}}},
                "status": {"phase": "Bound", "apiExportClusterName": PROVIDER},
            }),
        )
        .await;
    let rule = json!({"verbs": ["get"], "apiGroups": ["apis.kcp.io"], "resources": ["apibindings"]});
    world.grant("reader", CONSUMER, rule.clone());
    world.grant("reader", OTHER, rule);
    world
}

fn path(rest: &str) -> String {
    format!("/services/apiresourceschema/{CONSUMER}{rest}/apis/apis.kcp.io/v1alpha1/apiresourceschemas")
}

#[tokio::test(start_paused = true)]
async fn shows_the_schemas_of_bound_exports() {
    let world = world().await;
    let expected = [
        format!("{PROVIDER}/a.gadgets.example.io"),
        format!("{PROVIDER}/b.widgets.example.io"),
    ];
    for rest in ["", "/clusters/*", &format!("/clusters/{CONSUMER}")] {
        assert_eq!(world.get("reader", &path(rest)).await.items(), expected, "{rest}");
    }
    assert_eq!(
        world
            .get("reader", &format!("{}/a.gadgets.example.io", path("")))
            .await
            .status,
        200
    );
    assert_eq!(
        world
            .get("reader", &format!("{}/unbound.things.example.io", path("")))
            .await
            .status,
        404
    );
    let selected = world
        .get(
            "reader",
            &format!("{}?fieldSelector=metadata.name=b.widgets.example.io", path("")),
        )
        .await;
    assert_eq!(selected.items(), [expected[1].clone()]);
    assert!(
        world
            .get("reader", &path("").replace(CONSUMER, OTHER))
            .await
            .items()
            .is_empty()
    );
    let discovery = world
        .get("reader", path("").trim_end_matches("/apiresourceschemas"))
        .await
        .json();
    assert_eq!(discovery["resources"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(start_paused = true)]
async fn another_cluster_is_no_path_of_this_view() {
    let world = world().await;
    let answer = world.get("reader", &path(&format!("/clusters/{OTHER}"))).await;
    assert_eq!(answer.status, 403);
    assert!(
        answer
            .message()
            .ends_with("Path not resolved to a valid virtual workspace")
    );
}

#[tokio::test(start_paused = true)]
async fn is_read_only_and_for_readers_of_bindings() {
    let world = world().await;
    assert_eq!(world.get("stranger", &path("")).await.status, 403);
    let made = world.send("reader", "POST", &path(""), "", schema("x.y.z")).await;
    assert_eq!(made.status, 403);
    assert!(made.message().ends_with("access denied"));
    let mut watch = world.watch("reader", &format!("{}?watch=1", path(""))).await;
    assert_eq!(watch.next().await, None, "kcp: an empty stream that ends");
}
