//! Objects in and out: verbs, codes, representations, headers.

use serde_json::{Value, json};

use crate::world::{CONSUMER, World};

fn widgets() -> String {
    format!("/clusters/{CONSUMER}/apis/example.io/v1alpha1/namespaces/default/widgets")
}

fn config_maps() -> String {
    format!("/clusters/{CONSUMER}/api/v1/namespaces/default/configmaps")
}

#[tokio::test(start_paused = true)]
async fn the_life_of_an_object() {
    let world = World::new().await;
    for mut client in [world.client("kcp-admin").await, world.http1("kcp-admin").await] {
        let made = client
            .post(
                &widgets(),
                json!({"metadata": {"name": "w"}, "spec": {"size": 2, "replicas": 1}}),
            )
            .await;
        assert_eq!(
            (made.code, &made.json()["spec"]["colour"]),
            (201, &json!("red")),
            "{}",
            made.text()
        );
        let named = format!("{}/w", widgets());
        let got = client.get(&named).await;
        assert_eq!((got.code, got.json()), (200, made.json()));
        let mut changed = got.json();
        changed["spec"]["size"] = json!(3);
        let put = client
            .call(
                "PUT",
                &named,
                &[("content-type", "application/json")],
                changed.to_string(),
            )
            .await;
        assert_eq!(
            (put.code, &put.json()["metadata"]["generation"]),
            (200, &json!(2)),
            "{}",
            put.text()
        );
        let merge = [("content-type", "application/merge-patch+json")];
        let patched = client.call("PATCH", &named, &merge, r#"{"spec":{"size":4}}"#).await;
        assert_eq!((patched.code, &patched.json()["spec"]["size"]), (200, &json!(4)));
        let list = client.get(&widgets()).await.json();
        assert_eq!(
            (&list["kind"], list["items"].as_array().unwrap().len()),
            (&json!("WidgetList"), 1)
        );
        let scale = client.get(&format!("{named}/scale")).await;
        assert_eq!(
            (scale.code, &scale.json()["kind"]),
            (200, &json!("Scale")),
            "{}",
            scale.text()
        );
        assert_eq!(client.get(&format!("{named}/nope")).await.code, 404);
        let gone = client.call("DELETE", &named, &[], "").await;
        let uid = made.json()["metadata"]["uid"].clone();
        let details = json!({"name": "w", "group": "example.io", "kind": "widgets", "uid": uid});
        let expected =
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
        assert_eq!((gone.code, gone.json()), (200, expected));
        assert_eq!(client.get(&named).await.code, 404);
        assert_eq!(client.call("DELETE", &named, &[], "").await.code, 404);
    }
}

#[tokio::test(start_paused = true)]
async fn apply_creates_only_for_those_who_may_create() {
    let world = World::new().await;
    let mut client = world.client("kcp-admin").await;
    let body = "apiVersion: example.io/v1alpha1\nkind: Widget\nmetadata: {name: a}\nspec: {size: 1}\n";
    let apply = [("content-type", "application/apply-patch+yaml")];
    let path = format!("{}/a?fieldManager=m", widgets());
    assert_eq!(client.call("PATCH", &path, &apply, body).await.code, 201);
    assert_eq!(client.call("PATCH", &path, &apply, body).await.code, 200);
    let without = client.call("PATCH", &format!("{}/a", widgets()), &apply, body).await;
    assert_eq!(without.code, 422, "{}", without.text());
}

#[tokio::test(start_paused = true)]
async fn a_deletion_may_come_in_protobuf() {
    let world = World::new().await;
    let mut client = world.client("kcp-admin").await;
    client.post(&config_maps(), json!({"metadata": {"name": "c"}})).await;
    let named = format!("{}/c", config_maps());
    // DeleteOptions{preconditions: {uid: "x"}} as typed clients send it.
    let body = b"k8s\0\x0a\x13\x0a\x02v1\x12\x0dDeleteOptions\x12\x05\x12\x03\x0a\x01x";
    let kind = [("content-type", "application/vnd.kubernetes.protobuf")];
    let refused = client.call("DELETE", &named, &kind, body.to_vec()).await;
    assert_eq!(refused.code, 409, "{}", refused.text());
    let body = b"k8s\0\x0a\x13\x0a\x02v1\x12\x0dDeleteOptions\x12\x00";
    assert_eq!(client.call("DELETE", &named, &kind, body.to_vec()).await.code, 200);
    let other = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x00";
    assert_eq!(client.call("DELETE", &named, &kind, other.to_vec()).await.code, 400);
}

#[tokio::test(start_paused = true)]
async fn built_in_kinds_may_come_in_protobuf() {
    let world = World::new().await;
    let mut client = world.client("kcp-admin").await;
    let kind = [
        ("content-type", "application/vnd.kubernetes.protobuf"),
        ("accept", "application/vnd.kubernetes.protobuf,application/json"),
    ];
    // ConfigMap{metadata: {name: "p"}, data: {"k": "v"}}
    let body = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x0d\x0a\x03\x0a\x01p\x12\x06\x0a\x01k\x12\x01v";
    let made = client.call("POST", &config_maps(), &kind, body.to_vec()).await;
    assert_eq!(made.code, 201, "{}", made.text());
    assert_eq!(made.json()["data"], json!({"k": "v"}));
    let options = b"k8s\0\x0a\x13\x0a\x02v1\x12\x0dDeleteOptions\x12\x00";
    assert_eq!(
        client.call("POST", &config_maps(), &kind, options.to_vec()).await.code,
        400
    );
    let refused = client.call("POST", &widgets(), &kind, body.to_vec()).await;
    assert_eq!(
        (refused.code, &refused.json()["reason"]),
        (415, &json!("UnsupportedMediaType"))
    );
}

#[tokio::test(start_paused = true)]
async fn representations_are_negotiated() {
    let world = World::new().await;
    let mut client = world.client("kcp-admin").await;
    client
        .post(&widgets(), json!({"metadata": {"name": "w"}, "spec": {"size": 2}}))
        .await;
    let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,\
        application/json";
    let table = client.call("GET", &widgets(), &[("accept", kubectl)], "").await.json();
    assert_eq!(
        (&table["kind"], &table["apiVersion"]),
        (&json!("Table"), &json!("meta.k8s.io/v1"))
    );
    let columns: Vec<&Value> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["name"])
        .collect();
    assert_eq!(columns, ["Name", "Size"]);
    assert_eq!(table["rows"][0]["cells"], json!(["w", 2]));
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let partial = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
    let list = client.call("GET", &widgets(), &[("accept", partial)], "").await.json();
    assert_eq!(
        (&list["kind"], &list["items"][0]["spec"]),
        (&json!("PartialObjectMetadataList"), &Value::Null)
    );
    let named = format!("{}/w", widgets());
    let yaml = client.call("GET", &named, &[("accept", "application/yaml")], "").await;
    assert_eq!(yaml.header("content-type"), "application/yaml");
    assert!(
        yaml.text().contains("\nspec:\n  colour: red\n  size: 2\n"),
        "{}",
        yaml.text()
    );
    let pretty = client.get(&format!("{named}?pretty=true")).await;
    assert!(pretty.text().contains("\n  \"spec\": {"), "{}", pretty.text());
    let yaml = [("content-type", "application/yaml"), ("accept", "application/json")];
    let body = "apiVersion: example.io/v1alpha1\nkind: Widget\nmetadata:\n  name: of-yaml\nspec:\n  size: 7\n";
    let made = client.call("POST", &widgets(), &yaml, body).await;
    assert_eq!(
        (made.code, &made.json()["spec"]["size"]),
        (201, &json!(7)),
        "{}",
        made.text()
    );
}

#[tokio::test(start_paused = true)]
async fn headers_are_those_of_kcp() {
    let world = World::new().await;
    let mut client = world.client("kcp-admin").await;
    client.post(&config_maps(), json!({"metadata": {"name": "c"}})).await;
    let named = format!("{}/c", config_maps());
    let got = client.get(&named).await;
    assert_eq!(got.header("audit-id").len(), 36);
    assert_eq!(got.header("cache-control"), "no-cache, private");
    assert_eq!(got.header("content-type"), "application/json");
    for empty in ["x-kubernetes-pf-flowschema-uid", "x-kubernetes-pf-prioritylevel-uid"] {
        assert_eq!(got.headers[empty], "");
    }
    assert_eq!(got.header("content-length"), got.body.len().to_string());
    assert!(got.headers.contains_key("date"));
    for mut client in [client, world.http1("kcp-admin").await] {
        let head = client.call("HEAD", &named, &[], "").await;
        assert_eq!(
            (head.code, head.body.len(), head.header("content-length")),
            (200, 0, got.header("content-length"))
        );
        let head = client.call("HEAD", &format!("{named}x"), &[], "").await;
        assert_eq!((head.code, head.body.len()), (404, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn large_answers_are_compressed_for_those_who_take_it() {
    let world = World::new().await;
    let mut client = world.client("kcp-admin").await;
    for index in 0..4 {
        let data = json!({"metadata": {"name": format!("c{index}")}, "data": {"k": "x".repeat(60_000)}});
        assert_eq!(client.post(&config_maps(), data).await.code, 201);
    }
    let plain = client.get(&config_maps()).await;
    let packed = client
        .call("GET", &config_maps(), &[("accept-encoding", "gzip")], "")
        .await;
    assert_eq!(
        (packed.header("content-encoding"), packed.header("vary")),
        ("gzip", "Accept-Encoding")
    );
    assert!(packed.body.len() * 10 < plain.body.len());
    let one = client
        .call(
            "GET",
            &format!("{}/c0", config_maps()),
            &[("accept-encoding", "gzip")],
            "",
        )
        .await;
    assert_eq!(one.header("content-encoding"), "");
}

#[tokio::test(start_paused = true)]
async fn strictness_is_the_clients_choice() {
    let world = World::new().await;
    let mut client = world.client("kcp-admin").await;
    let post = |mode: &str| format!("{}?dryRun=All&fieldValidation={mode}", widgets());
    let body = json!({"metadata": {"name": "w"}, "spec": {"size": 1, "nope": 1}});
    let warned = client.post(&post("Warn"), body.clone()).await;
    assert_eq!(
        (warned.code, warned.header("warning")),
        (201, r#"299 - "unknown field \"spec.nope\"""#)
    );
    assert_eq!(client.post(&post("Strict"), body.clone()).await.code, 400);
    let ignored = client.post(&post("Ignore"), body).await;
    assert_eq!((ignored.code, ignored.header("warning")), (201, ""));
    let yaml = [("content-type", "application/yaml")];
    let twice = "metadata: {name: w}\nspec:\n  size: 1\n  size: 2\n";
    assert_eq!(client.call("POST", &post("Strict"), &yaml, twice).await.code, 400);
    // The text has several lines, which no header can carry: Kubernetes drops such a warning, too.
    assert_eq!(client.call("POST", &post("Warn"), &yaml, twice).await.code, 201);
}

#[tokio::test(start_paused = true)]
async fn discovery_is_aggregated_for_both_roots() {
    let world = World::new().await;
    let mut client = world.client("kcp-admin").await;
    let kubectl = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
        application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
    let core = client
        .call("GET", "/clusters/root/api?timeout=32s", &[("accept", kubectl)], "")
        .await;
    assert_eq!(
        core.header("content-type"),
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    );
    assert_eq!(
        (core.header("vary"), core.header("cache-control")),
        ("Accept", "public")
    );
    let names = |body: &Value| -> Vec<String> {
        let resources = body["items"][0]["versions"][0]["resources"].as_array().unwrap();
        resources
            .iter()
            .map(|resource| resource["resource"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&core.json()), ["configmaps", "namespaces"]);
    let groups = client
        .call("GET", "/clusters/root/apis", &[("accept", kubectl)], "")
        .await;
    let items = groups.json()["items"].clone();
    assert_eq!(items[0]["metadata"]["name"], "example.io");
    assert_eq!(
        items[0]["versions"][0]["resources"][0]["subresources"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    let etag = groups.header("etag").to_owned();
    let again = client
        .call(
            "GET",
            "/clusters/root/apis",
            &[("accept", kubectl), ("if-none-match", &etag)],
            "",
        )
        .await;
    assert_eq!((again.code, again.body.len()), (304, 0));
}

#[tokio::test(start_paused = true)]
async fn discovery_has_the_forms_of_old() {
    let world = World::new().await;
    let mut client = world.client("kcp-admin").await;
    let api = client.get("/clusters/root/api").await.json();
    let address = json!([{"clientCIDR": "0.0.0.0/0", "serverAddress": "HOST:PORT"}]);
    assert_eq!(
        api,
        json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": address})
    );
    let core = client.get("/clusters/root/api/v1").await.json();
    assert!(core.get("apiVersion").is_none());
    let config_map = json!({
        "name": "configmaps", "singularName": "configmap", "namespaced": true, "kind": "ConfigMap",
        "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        "shortNames": ["cm"], "storageVersionHash": "BcsYVNKF43M=",
    });
    assert_eq!(core["resources"][0], config_map);
    let group = client.get("/clusters/root/apis/tenancy.kcp.io").await.json();
    assert_eq!(group["preferredVersion"]["groupVersion"], "tenancy.kcp.io/v1alpha1");
    let list = client.get("/clusters/root/apis/tenancy.kcp.io/v1alpha1").await.json();
    let verbs = [
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "create",
        "update",
        "watch",
    ];
    assert_eq!(list["resources"][0]["verbs"], json!(verbs));
    assert_eq!(list["resources"][1]["name"], "workspaces/status");
    assert_eq!(client.get("/clusters/root/apis/tenancy.kcp.io/v9").await.code, 404);
    let wildcard = world.client("shard-admin").await.get("/clusters/*/apis").await;
    assert_eq!(wildcard.json()["kind"], "APIGroupList");
}

#[tokio::test(start_paused = true)]
async fn openapi_tells_kubectl_what_it_asks() {
    let world = World::new().await;
    let mut client = world.client("kcp-admin").await;
    let index = client.get("/clusters/root/openapi/v3").await;
    let url = index.json()["paths"]["apis/example.io/v1alpha1"]["serverRelativeURL"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(url.starts_with("/openapi/v3/apis/example.io/v1alpha1?hash="), "{url}");
    let answer = client.get(&format!("/clusters/root{url}&timeout=32s")).await;
    assert_eq!(
        (answer.code, answer.header("cache-control")),
        (200, "public, immutable")
    );
    assert!(answer.header("expires").ends_with(" GMT"));
    let document = answer.json();
    let patch = &document["paths"]["/apis/example.io/v1alpha1/namespaces/{namespace}/widgets/{name}"]["patch"];
    let kind = json!({"group": "example.io", "kind": "Widget", "version": "v1alpha1"});
    assert_eq!(patch["x-kubernetes-group-version-kind"], kind);
    let parameters: Vec<&Value> = patch["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| &p["name"])
        .collect();
    assert_eq!(parameters, ["dryRun", "fieldManager", "fieldValidation", "force"]);
    let schema = &document["components"]["schemas"]["io.example.v1alpha1.Widget"];
    assert_eq!(schema["x-kubernetes-group-version-kind"], json!([kind]));
    assert_eq!(schema["properties"]["spec"]["properties"]["size"]["minimum"], 1);
    // What is referred to is there.
    let core = client.get("/clusters/root/openapi/v3/api/v1").await.json();
    for document in [&core, &document] {
        let text = document.to_string();
        for target in text.split("\"#/components/schemas/").skip(1) {
            let name = target.split('"').next().unwrap();
            assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
        }
    }
    assert!(core["components"]["schemas"]["io.k8s.api.core.v1.ConfigMap"]["properties"]["data"].is_object());
    let stale = client
        .get("/clusters/root/openapi/v3/apis/example.io/v1alpha1?hash=0")
        .await;
    assert_eq!((stale.code, stale.header("location")), (301, url.as_str()));
    assert_eq!(client.get("/clusters/root/openapi/v3/apis/nope/v1").await.code, 404);
    assert_eq!(client.get("/clusters/root/openapi/v2").await.code, 404);
    // Discovery describes itself, too; the groups of definitions do not have documents of their own.
    let index_of = |name: &str| {
        index.json()["paths"][name]["serverRelativeURL"]
            .as_str()
            .map(str::to_owned)
    };
    for (name, path) in [("api", "/api/"), ("version", "/version/")] {
        let url = format!("/clusters/root{}", index_of(name).unwrap());
        assert!(
            client.get(&url).await.json()["paths"][path]["get"].is_object(),
            "{name}"
        );
    }
    assert_eq!(index_of("apis/example.io"), None);
    assert_eq!(client.get("/clusters/root/openapi/v3/apis/example.io").await.code, 404);
    let etag = index.header("etag").to_owned();
    let again = client
        .call("GET", "/clusters/root/openapi/v3", &[("if-none-match", &etag)], "")
        .await;
    assert_eq!(again.code, 304);
}
