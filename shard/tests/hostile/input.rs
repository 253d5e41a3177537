//! Bad requests get a clear answer, and leave the server as it was.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{Client, Findings, WORLD, World, config_map, eventually};

fn maps(world: &World) -> String {
    format!("/clusters/{}/api/v1/namespaces/default/configmaps", world.alpha)
}

/// That a server still serves.
async fn goes_on(who: &Client, world: &World) {
    assert_eq!(who.get(&format!("{}/there", maps(world))).await.code, 200);
}

#[test]
fn bodies_that_do_not_fit_are_refused_with_a_status() {
    let world = &*WORLD;
    let huge = format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","data":{{"k":"{}"}}}}"#,
        "a".repeat(4 << 20)
    );
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let nested = format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{}}}"#,
        "{\"a\":".repeat(100_000)
    );
    let object = |rest: &str| format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"bad"}}{rest}}}"#);
    let unknown = object(r#","nonsense":1"#);
    let twice = object(r#","data":{"a":"1","a":"2"}"#);
    let json = "application/json";
    world.run(async {
        let mut findings = Findings::default();
        let alice = world.person("alice");
        for (what, kind, query, body, code) in [
            ("no body", json, "", "", 400),
            ("no JSON", json, "", "{no json", 400),
            ("half a document", json, "", &*object("")[..20].to_owned(), 400),
            ("not UTF-8 inside", json, "", "\u{0}\u{1}", 400),
            ("an array", json, "", "[]", 400),
            ("null", json, "", "null", 400),
            ("very deep", json, "", &deep, 400),
            ("very deep and cut off", json, "", &nested, 400),
            (
                "another kind",
                json,
                "",
                r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"bad"}}"#,
                400,
            ),
            ("another type of member", json, "", &object(r#","data":[1]"#), 400),
            (
                "another namespace",
                json,
                "",
                r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bad","namespace":"kube-system"}}"#,
                400,
            ),
            (
                "no name",
                json,
                "",
                r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{}}"#,
                422,
            ),
            (
                "a bad name",
                json,
                "",
                r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"../../etc"}}"#,
                422,
            ),
            ("an unknown member", json, "?fieldValidation=Strict", &unknown, 400),
            ("a member twice", json, "?fieldValidation=Strict", &twice, 400),
            (
                "an unknown strictness",
                json,
                "?fieldValidation=Sometimes",
                &object(""),
                422,
            ),
            ("an unknown dry run", json, "?dryRun=Some", &object(""), 422),
            ("a bad manager", json, "?fieldManager=%00", &object(""), 422),
            ("too much", json, "", &huge, 413),
            ("text", "text/plain", "", &object(""), 415),
            ("a form", "application/x-www-form-urlencoded", "", "a=b", 415),
            ("no content type that can be", "%%%", "", &object(""), 415),
            ("YAML that is none", "application/yaml", "", "\t- {", 400),
            (
                "protobuf that is none",
                "application/vnd.kubernetes.protobuf",
                "",
                "k8s\u{0}\u{7f}",
                400,
            ),
        ] {
            let path = format!("{}{query}", maps(world));
            let answer = alice
                .call("POST", &path, &[("content-type", kind)], body.to_owned())
                .await;
            if answer.code != code || !answer.is_status() {
                findings.add(format!("{what}: {} {}", answer.code, answer.text()));
            }
        }
        findings.expect_code("none was made", &alice.get(&format!("{}/bad", maps(world))).await, 404);
        goes_on(&alice, world).await;
        findings.none();
    });
}

#[test]
fn patches_that_do_not_fit_are_refused_with_a_status() {
    let world = &*WORLD;
    let many: String = (0..10_001)
        .map(|_| r#"{"op":"test","path":"/kind","value":"ConfigMap"},"#)
        .collect();
    let many = format!("[{}]", many.trim_end_matches(','));
    world.run(async {
        let mut findings = Findings::default();
        let alice = world.person("alice");
        let path = format!("{}/there", maps(world));
        let before = alice.get(&path).await.json();
        for (what, kind, body, code) in [
            ("no content type of patches", "application/json", "{}", 415),
            ("no patch", "application/json-patch+json", "{}", 400),
            ("too many operations", "application/json-patch+json", &*many, 413),
            (
                "an operation that fails",
                "application/json-patch+json",
                r#"[{"op":"remove","path":"/no/such"}]"#,
                422,
            ),
            (
                "an unknown operation",
                "application/json-patch+json",
                r#"[{"op":"explode","path":"/data"}]"#,
                422,
            ),
            ("no JSON", "application/merge-patch+json", "{", 400),
            ("an array", "application/merge-patch+json", "[]", 400),
            (
                "another name",
                "application/merge-patch+json",
                r#"{"metadata":{"name":"other"}}"#,
                422,
            ),
            (
                "no manager",
                "application/apply-patch+yaml",
                "apiVersion: v1\nkind: ConfigMap",
                422,
            ),
            ("no YAML", "application/apply-patch+yaml", "\t{", 422),
        ] {
            let answer = alice
                .call("PATCH", &path, &[("content-type", kind)], body.to_owned())
                .await;
            if answer.code != code || !answer.is_status() {
                findings.add(format!("{what}: {} {}", answer.code, answer.text()));
            }
        }
        assert_eq!(alice.get(&path).await.json(), before);
        findings.none();
    });
}

#[test]
fn what_was_read_long_ago_is_a_conflict_or_gone() {
    let world = &*WORLD;
    world.run(async {
        let mut findings = Findings::default();
        let alice = world.person("alice");
        let mut map = alice.create(&maps(world), &config_map("moved")).await;
        let path = format!("{}/moved", maps(world));
        map["data"]["k"] = "w".into();
        assert_eq!(alice.send("PUT", &path, &map).await.code, 200);
        let answer = alice.send("PUT", &path, &map).await;
        assert_eq!((answer.code, answer.reason()), (409, "Conflict".to_owned()));
        let other = json!({"preconditions": {"uid": "another"}});
        let answer = alice.send("DELETE", &path, &other).await;
        assert_eq!((answer.code, answer.reason()), (409, "Conflict".to_owned()));
        let answer = alice.send("POST", &maps(world), &config_map("moved")).await;
        assert_eq!((answer.code, answer.reason()), (409, "AlreadyExists".to_owned()));
        // What is compacted is gone, unless the log still has it: a watch may go on from there.
        let stored = world.running.shard.store.clone();
        stored.compact_to(stored.revision()).await.unwrap();
        for (query, code, reason) in [
            ("resourceVersion=1&resourceVersionMatch=Exact", 410, "Expired"),
            ("resourceVersion=99999999999&resourceVersionMatch=Exact", 504, "Timeout"),
            ("continue=nonsense", 400, "BadRequest"),
            ("resourceVersion=-1", 400, "BadRequest"),
        ] {
            let answer = alice.get(&format!("{}?{query}&timeoutSeconds=5", maps(world))).await;
            let text = answer.text();
            // A watch that is too old is told so in its stream.
            let gone = text.contains("\"code\":410") && code == 410;
            let told = answer.code == code && text.contains(reason);
            if !gone && !told {
                let text: String = text.chars().take(200).collect();
                findings.add(format!("{query}: {} {text}", answer.code));
            }
        }
        findings.none();
    });
}

#[test]
fn paths_that_are_none_are_refused_without_harm() {
    let world = &*WORLD;
    let long = format!("/clusters/root/{}", "a/".repeat(20_000));
    let long_cluster = format!("/clusters/{}/api", "a".repeat(20_000));
    let long_name = format!("{}/{}", maps(world), "a".repeat(20_000));
    let at = |rest: &str| format!("/clusters/{}{rest}", world.alpha);
    world.run(async {
        let mut findings = Findings::default();
        let (alice, mallory) = (world.person("alice"), world.person("mallory"));
        for (path, for_alice, for_mallory) in [
            (long.as_str(), 403, 403),
            (&long_cluster, 400, 400),
            (&long_name, 404, 403),
            (&at("//api/v1/configmaps"), 200, 403),
            (&at("/api/v1/namespaces//configmaps"), 404, 403),
            (&at("/api//v1/configmaps"), 404, 403),
            (&at("/api/v1/namespaces/default/configmaps/.."), 400, 403),
            (&at("/api/v1/namespaces/../configmaps/there"), 400, 403),
            (&at("/api/v1/namespaces/default/configmaps/%2e%2e"), 400, 403),
            (&at("/api/v1/namespaces/default/configmaps/a%2fb"), 404, 403),
            (&at("/api/v1/namespaces/default/configmaps/a%00b"), 400, 400),
            (&at("/api/v1/namespaces/default/configmaps/%ff"), 400, 400),
            (&at("/api/v1/watch"), 400, 400),
            (&at("/../root/api"), 404, 403),
            (&at("/%2e%2e/root/api"), 404, 403),
            ("/clusters/../api", 400, 400),
            ("/clusters/%2e%2e/api", 400, 400),
            ("/clusters//api", 403, 403),
            ("/clusters", 403, 403),
            ("/clusters/", 403, 403),
            ("/clusters/UPPER/api", 400, 400),
            ("/clusters/a b/api", 400, 400),
            ("/clusters/root:/api", 400, 400),
            ("/clusters/:root/api", 400, 400),
            ("/clusters/root::alpha/api", 400, 400),
            ("/clusters/*:alpha/api", 400, 400),
            ("/clusters/%2a/api/v1/configmaps", 403, 403),
            ("/clusters/*/api/v1/namespaces/default/configmaps/there", 403, 403),
            ("/clusters/system:admin/api/v1/configmaps", 403, 403),
            ("/clusters/system:system-crds/api", 403, 403),
            ("/clusters/system:/api", 400, 400),
            ("/clusters/root:alpha%2fchild/api", 404, 403),
            ("//clusters/root/api", 403, 403),
        ] {
            let path = path.replace(' ', "%20");
            let shown: String = path.chars().take(80).collect();
            let answer = alice.get(&path).await;
            if answer.code != for_alice {
                findings.add(format!("alice {shown}: {} {}", answer.code, answer.text()));
            }
            let answer = mallory.get(&path).await;
            if answer.code != for_mallory {
                findings.add(format!("mallory {shown}: {} {}", answer.code, answer.text()));
            }
        }
        goes_on(&alice, world).await;
        findings.none();
    });
}

/// Bytes as they are, to the end of the answer.
async fn raw(world: &World, bytes: &[u8]) -> String {
    let mut stream = world.anonymous().connect().await.unwrap();
    // The server may have said enough before all is sent.
    drop(stream.write_all(bytes).await);
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await;
    assert!(
        read.is_ok() || !answer.is_empty(),
        "the server says nothing and does not hang up"
    );
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn requests_that_are_no_http_are_answered_or_cut() {
    let world = &*WORLD;
    let header = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "a".repeat(300 << 10));
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "x: y\r\n".repeat(1000));
    world.run(async {
        for (bytes, code) in [
            ("GARBAGE\r\n\r\n", "400"),
            (&*header, "431"),
            (&*many, "431"),
            (
                "GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
                "400",
            ),
            (
                "GET / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: nonsense\r\nconnection: close\r\n\r\n",
                "400",
            ),
            (
                "GET /clusters/root/api HTTP/1.1\r\nhost: x\r\nx-remote-user\u{0}: root\r\nconnection: close\r\n\r\n",
                "400",
            ),
        ] {
            let answer = raw(world, bytes.as_bytes()).await;
            let shown: String = bytes.chars().take(60).collect();
            assert!(
                answer.is_empty() || answer.starts_with(&format!("HTTP/1.1 {code}")),
                "{shown}: {answer}"
            );
        }
        goes_on(&world.person("alice"), world).await;
    });
}

#[test]
fn objects_do_not_move_between_clusters() {
    let world = &*WORLD;
    world.run(async {
        // What an object says of its cluster is not believed.
        let alice = world.person("alice");
        let mut map = config_map("claims");
        map["metadata"]["annotations"] = json!({"kcp.io/cluster": world.beta});
        let made = alice.create(&maps(world), &map).await;
        assert_eq!(made["metadata"]["annotations"]["kcp.io/cluster"], world.alpha.as_str());
        let path = format!("/clusters/{}/api/v1/namespaces/default/configmaps/claims", world.beta);
        assert_eq!(world.master.get(&path).await.code, 404);
        let seen: Option<Value> = eventually("it is listed once over all clusters", async || {
            let all = world
                .master
                .get("/clusters/*/api/v1/configmaps?fieldSelector=metadata.name=claims")
                .await;
            let items = all.json()["items"].as_array().cloned().unwrap_or_default();
            (items.len() == 1).then(|| items.first().cloned())
        })
        .await;
        assert_eq!(
            seen.unwrap()["metadata"]["annotations"]["kcp.io/cluster"],
            world.alpha.as_str()
        );
    });
}
