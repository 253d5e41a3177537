//! What depends on what: `kubectl kcp shards`, and the metrics that say the same.

use e2e::Server;
use serde_json::{Value, json};

const EXPORT: &str = "apiVersion: apis.kcp.io/v1alpha1
kind: APIResourceSchema
metadata: {name: today.widgets.example.io}
spec:
  group: example.io
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList}
  scope: Namespaced
  versions: [{name: v1, served: true, storage: true, schema: {type: object}}]
---
apiVersion: apis.kcp.io/v1alpha2
kind: APIExport
metadata: {name: example.io}
spec:
  resources: [{name: widgets, group: example.io, schema: today.widgets.example.io, storage: {crd: {}}}]
";

const BINDING: &str = "apiVersion: apis.kcp.io/v1alpha2
kind: APIBinding
metadata: {name: example}
spec: {reference: {export: {path: 'root:provider', name: example.io}}}
";

/// What is said of a shard.
fn shard(server: &Server, name: &str) -> Value {
    let said = server.kubectl_kcp(&["shards", name, "-o", "json"]);
    serde_json::from_str(&said).expect("it is JSON")
}

/// A series of root's own metrics.
fn metric(server: &Server, series: &str) -> Option<f64> {
    let component = server.kubectl().with_kubeconfig(server.file("component.kubeconfig"));
    let page = component.run("get --raw /metrics").ok();
    let line = page.lines().find_map(|line| line.strip_prefix(series))?;
    line.trim().parse().ok()
}

#[test]
fn operators_see_what_would_be_lost_with_a_shard() {
    let mut server = Server::up(2, &[]);
    let provider = server.create_workspace_on("shard-1", "root", "provider");
    provider.create(EXPORT).ok();
    let consumer = server.create_workspace_on("root", "root", "consumer");
    server.wait_until("the export is bound", |_| {
        consumer.create(BINDING);
        consumer
            .run("wait --for=condition=Ready apibinding/example --timeout=5s")
            .succeeded()
    });

    // One binding on root is to an export of the other; one workspace of root lies there.
    server.wait_until("each shard has told what stands on it", |server| {
        let (root, other) = (shard(server, "root"), shard(server, "shard-1"));
        other["neededBy"] == json!({"root": {"apiBindings": 1, "workspaces": 0}})
            && root["neededBy"]["shard-1"]["workspaces"] == 1
            && root["neededBy"]["shard-1"]["apiBindings"].as_u64() > Some(0)
    });
    let other = shard(&server, "shard-1");
    assert_eq!(
        (&other["reachable"], &other["schedulable"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(
        (&other["logicalClusters"], &other["apiExports"]),
        (&json!(1), &json!(1))
    );
    let series = "kcp_apibinding_export_shard_count{shard=\"root\",export_shard=\"shard-1\"}";
    assert_eq!(metric(&server, series), Some(1.0));
    eprintln!("{}", server.kubectl_kcp(&["shards"]));
    eprintln!("{}", server.kubectl_kcp(&["shards", "shard-1"]));

    let named = |server: &Server| {
        let said = server.kubectl_kcp(&["shards", "shard-1", "--names", "-o", "json"]);
        let said: Value = serde_json::from_str(&said).expect("it is JSON");
        let items = said["names"]["items"].as_array().expect("there is a list").clone();
        let names = items
            .iter()
            .map(|item| format!("{} {}:{}", item["kind"], item["in"], item["name"]));
        (
            names.map(|name| name.replace('"', "")).collect::<Vec<_>>(),
            said["names"]["unseen"].clone(),
        )
    };
    let (names, unseen) = named(&server);
    let expected = [
        "Workspace root:provider",
        "APIExport root:provider:example.io",
        "APIBinding root:consumer:example",
    ];
    assert_eq!((names, unseen), (expected.map(str::to_owned).to_vec(), json!([])));

    // It is said of one that is lost, too, and that it is.
    server.signal("shard-1/kcp", "STOP");
    server.wait_until("it is known to be away", |server| {
        shard(server, "shard-1")["reachable"] == false
    });
    assert_eq!(shard(&server, "shard-1")["neededBy"], other["neededBy"]);
    let table = server.kubectl_kcp(&["shards"]);
    assert!(table.contains("root (1 binding)"), "{table}");
    let lost = server.kubectl_kcp(&["shards", "shard-1"]);
    assert!(lost.contains("LOST WITH IT") && lost.contains("503"), "{lost}");
    let (names, unseen) = named(&server);
    assert_eq!(names, [expected[0], expected[2]]);
    assert_eq!(unseen[0]["in"], "root:provider");
    server.signal("shard-1/kcp", "CONT");
    server.wait_until("it is back", |server| shard(server, "shard-1")["reachable"] == true);
}
