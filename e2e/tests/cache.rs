//! The cache server of a control plane: what shards offer is read there, by components alone, and nobody waits for it.

use e2e::{Kubectl, Server};
use serde_json::Value;

const OFFER: &str = "apiVersion: apis.kcp.io/v1alpha1
kind: APIResourceSchema
metadata: {name: today.widgets.example.io}
spec:
  group: example.io
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList}
  scope: Namespaced
  versions:
  - {name: v1alpha1, served: true, storage: true, schema: {type: object}}
---
apiVersion: apis.kcp.io/v1alpha2
kind: APIExport
metadata: {name: example.io}
spec:
  resources: [{name: widgets, group: example.io, schema: today.widgets.example.io, storage: {crd: {}}}]
";

const EXPORTS: &str = "apis/apis.kcp.io/v1alpha2/apiexports";

/// A provider's workspace on the second shard, with an export.
struct Provider {
    kubectl: Kubectl,
    cluster: String,
}

fn provider(server: &Server) -> Provider {
    let kubectl = server.create_workspace_on("shard-1", "root", "provider");
    kubectl.create(OFFER).ok();
    kubectl
        .run("wait --for=condition=IdentityValid apiexport/example.io --timeout=60s")
        .ok();
    let asked = "get workspace provider -o jsonpath={.spec.cluster}";
    let cluster = server.kubectl().run(asked).ok();
    Provider { kubectl, cluster }
}

fn raw(path: &str) -> String {
    format!("get --raw /services/cache/shards/{path}")
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn what_a_shard_offers_is_read_at_the_cache_server() {
    let mut server = Server::up(2, &[]);
    let Provider { kubectl, cluster } = provider(&server);
    let cache = server.cache();
    let one = raw(&format!("shard-1/clusters/{cluster}/{EXPORTS}/example.io"));
    let own = format!("get --raw /clusters/{cluster}/{EXPORTS}/example.io");

    // The same object, but for what says where it is from.
    let origin = "cache.kcp.io/original-resource-version";
    server.wait_until("the replica is as new as the original", |_| {
        let replica = cache.run(&one);
        let version = kubectl
            .run("get apiexport example.io -o jsonpath={.metadata.resourceVersion}")
            .ok();
        replica.succeeded() && parsed(&replica.output)["metadata"]["annotations"][origin] == *version
    });
    let (mut replica, mut original) = (parsed(&cache.run(&one).ok()), parsed(&server.kubectl().run(&own).ok()));
    let annotations = replica["metadata"]["annotations"].as_object_mut().expect("annotations");
    assert_eq!(annotations.remove("kcp.io/shard").expect("the shard"), "shard-1");
    let uid = annotations.remove("cache.kcp.io/original-resource-UID");
    assert_eq!(uid.as_ref(), Some(&original["metadata"]["uid"]));
    annotations.remove(origin);
    for object in [&mut replica, &mut original] {
        object["metadata"]["resourceVersion"] = Value::Null;
    }
    assert_eq!(replica, original);

    // One list over all shards: root's own exports are there, too. It can be watched from there on.
    let all = raw(&format!("*/clusters/*/{EXPORTS}"));
    let list = cache.run(&all).ok();
    assert!(
        list.contains("\"example.io\"") && list.contains("\"tenancy.kcp.io\""),
        "{list}"
    );
    let elsewhere = cache.run(&raw(&format!("root/clusters/*/{EXPORTS}"))).ok();
    assert!(!elsewhere.contains("\"example.io\"") && elsewhere.contains("\"tenancy.kcp.io\""));
    let from = parsed(&list)["metadata"]["resourceVersion"]
        .as_str()
        .expect("a version")
        .to_owned();
    kubectl.run("label apiexport example.io colour=red").ok();
    server.wait_until("the update is there", |_| {
        cache.run(&one).output.contains("\"colour\":\"red\"")
    });
    kubectl.run("delete apiexport example.io --timeout=60s").ok();
    server.wait_until("the deletion is there", |_| cache.run(&one).errors.contains("NotFound"));
    let events = cache
        .run(&format!("{all}?watch=true&resourceVersion={from}&timeoutSeconds=1"))
        .ok();
    let events: Vec<Value> = events.lines().map(parsed).collect();
    let kinds: Vec<&str> = events
        .iter()
        .filter(|event| event["object"]["metadata"]["name"] == "example.io")
        .filter_map(|event| event["type"].as_str())
        .collect();
    assert!(
        kinds.starts_with(&["MODIFIED"]) && kinds.ends_with(&["DELETED"]),
        "{kinds:?}"
    );
    assert!(
        cache
            .run("get --raw /metrics")
            .ok()
            .contains("kcp_cache_shard_telling{shard=\"shard-1\"} 1")
    );

    // Nobody but components: not the administrator's token, no certificate of another CA, no certificate at all.
    let administrator = server.kubectl().at(server.cache_url());
    let foreign = [("client-certificate", "crt"), ("client-key", "key")];
    let foreign = foreign.map(|(flag, end)| (flag, server.file(&format!("pki/front-proxy-requestheader.{end}"))));
    let foreigner = cache.with_flags(&foreign);
    for path in [&*all, "get --raw /metrics", "get --raw /version"] {
        for who in [&administrator, &foreigner] {
            let why = who.run(path).refused();
            assert!(why.contains("orbidden"), "{path}: {why}");
        }
    }
    assert!(
        server.kubectl().run(&all).refused().contains("orbidden"),
        "it is not behind the front-proxy"
    );
}

#[test]
fn shards_go_on_without_the_cache_server_and_it_catches_up() {
    const BINDING: &str = "apiVersion: apis.kcp.io/v1alpha2
kind: APIBinding
metadata: {name: example}
spec: {reference: {export: {path: 'root:provider', name: example.io}}}
";
    let mut server = Server::up(2, &[]);
    let Provider { kubectl, cluster } = provider(&server);
    let cache = server.cache();
    let exports = raw(&format!("*/clusters/{cluster}/{EXPORTS}"));
    server.wait_until("the export is known", |_| {
        cache.run(&exports).output.contains("\"example.io\"")
    });

    // Frozen: bindings over shards are made, and the provider goes on.
    server.signal("cache-server", "STOP");
    let consumer = server.create_workspace_on("root", "root", "consumer");
    consumer.create(BINDING).ok();
    consumer
        .run("wait --for=condition=Ready apibinding/example --timeout=60s")
        .ok();
    consumer
        .run_with(
            &["create", "-f", "-"],
            "apiVersion: example.io/v1alpha1\nkind: Widget\nmetadata: {name: x, namespace: default}\n",
        )
        .ok();
    let second = OFFER.split("---\n").nth(1).expect("the export");
    kubectl
        .create(&second.replace("name: example.io}", "name: second.io}"))
        .ok();

    // Killed: it is started again on its store, and told what it has missed.
    server.signal("cache-server", "KILL");
    server.wait_until("what it has missed is there", |_| {
        cache.run(&exports).output.contains("\"second.io\"")
    });
    server.signal("cache-server", "KILL");
    kubectl.run("delete apiexport second.io --timeout=60s").ok();
    server.wait_until("what is gone is not", |_| {
        let answer = cache.run(&exports);
        answer.succeeded() && !answer.output.contains("\"second.io\"") && answer.output.contains("\"example.io\"")
    });

    // Asked to end, it ends as it should.
    server.signal("cache-server", "TERM");
    server.wait_until("it ended well and is there again", |server| {
        let said = server.said();
        said.contains("cache-server ended with exit status: 0") && cache.run(&exports).succeeded()
    });
}
