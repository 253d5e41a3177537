//! The virtual workspaces' own program shows what the shard would show, to the same people, in the same words; and nobody
//! but it speaks for others.

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use fabric::Delegation;
use fabric::delegation::DelegatedDefinition;
use machinery::selector::LabelSelector;
use machinery::user::User;
use rcgen::DnType;
use serde_json::{Value, json};
use virtual_workspaces::program::Running;

use crate::existence::VIEWS;
use crate::world::{Answer, Client, Findings, WORLD, World, eventually};

/// A shard with views inside, and the same ones beside it; alpha provides, beta consumes.
struct Beside {
    world: World,
    program: Running,
    /// What one test writes, another one would read.
    turn: Mutex<()>,
}

/// Who comes. Alice owns the export, bob what is consumed.
const PEOPLE: [&str; 8] = ["master", "alice", "bob", "mallory", "carol", "dave", "no-such", ""];

/// By which components say whom they speak for (`fabric::DELEGATION_HEADER`).
const HEADER: &str = "x-kcp-fabric-delegation";

const EXPORT: &str = "/services/apiexport/{alpha}/widgets";

static BESIDE: LazyLock<Beside> = LazyLock::new(Beside::start);

// === impl Beside ===

impl Beside {
    fn start() -> Self {
        let world = World::start();
        world.run(consume(&world));
        let program = world.start_views();
        Self {
            world,
            program,
            turn: Mutex::default(),
        }
    }

    /// The same person at the shard and at the program.
    fn both(&self, name: &str) -> [Client; 2] {
        let here = |address: &str| match name {
            "" => self.world.client_at(address, None, &[]),
            name => self.world.person_at(address, name),
        };
        [here(&self.world.running.address), here(&self.program.address)]
    }

    fn path(&self, path: &str) -> String {
        let path = path
            .replace("{alpha}", &self.world.alpha)
            .replace("{beta}", &self.world.beta);
        path.replace("{cluster}", &self.world.alpha).replace("{type}", "typed")
    }
}

/// Beta binds alpha's export, and accepts its claim on ConfigMaps; there are objects of both.
async fn consume(world: &World) {
    let (master, alpha, beta) = (&world.master, &world.alpha, &world.beta);
    let export = format!("/clusters/{alpha}/apis/apis.kcp.io/v1alpha2/apiexports/widgets");
    let claims = json!([{"group": "", "resource": "configmaps", "verbs": ["*"]}]);
    let patched = master
        .send("PATCH", &export, &json!({"spec": {"permissionClaims": claims}}))
        .await;
    assert_eq!(patched.code, 200, "{}", patched.text());
    let bindings = format!("/clusters/{beta}/apis/apis.kcp.io/v1alpha2/apibindings");
    let binding = json!({"apiVersion": "apis.kcp.io/v1alpha2", "kind": "APIBinding", "metadata": {"name": "widgets"},
        "spec": {"reference": {"export": {"path": alpha, "name": "widgets"}}, "permissionClaims": [
            {"group": "", "resource": "configmaps", "verbs": ["*"], "state": "Accepted", "selector": {"matchAll": true}}]}});
    master.create(&bindings, &binding).await;
    let maps = format!("/services/apiexport/{alpha}/widgets/clusters/{beta}/api/v1/configmaps");
    eventually("the claim is applied", async || {
        let bound = master.get(&format!("{bindings}/widgets")).await.json();
        let seen = master.get(&maps).await;
        let has_some = seen.code == 200 && seen.json()["items"].as_array().is_some_and(|items| !items.is_empty());
        (bound["status"]["phase"] == "Bound" && has_some).then_some(())
    })
    .await;
    let widgets = format!("/clusters/{beta}/apis/example.io/v1/namespaces/default/widgets");
    for name in ["one", "two"] {
        master.create(&widgets, &widget(name)).await;
    }
}

fn widget(name: &str) -> Value {
    json!({"apiVersion": "example.io/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {}})
}

/// What is told, but for what differs between two requests one after the other.
fn told(answer: &Answer) -> String {
    let kind = answer.headers.get("content-type").cloned();
    let warnings: Vec<_> = answer.headers.get_all("warning").iter().collect();
    let lines = answer.text().lines().map(told_line).collect::<Vec<_>>();
    let body = lines.join("\n");
    format!("{} {kind:?} {warnings:?}\n{body}", answer.code)
}

/// A document, or an event of a watch.
fn told_line(line: &str) -> String {
    let Ok(mut body) = serde_json::from_str::<Value>(line) else {
        return line.to_owned();
    };
    let kind = body["kind"].as_str().unwrap_or_default();
    if kind.ends_with("List") || kind == "Table" {
        body["metadata"]["resourceVersion"] = Value::Null;
    }
    body.to_string()
}

#[test]
fn everybody_reads_the_same_at_the_program_as_at_the_shard() {
    let beside = &*BESIDE;
    let _turn = beside.turn.lock().unwrap_or_else(PoisonError::into_inner);
    let mut paths: Vec<String> = VIEWS
        .iter()
        .filter(|route| route.method == "GET")
        .map(|route| route.path.replace("{export}", "widgets"))
        .collect();
    let more = [
        "/clusters/{beta}/api",
        "/clusters/{beta}/apis",
        "/clusters/{beta}/apis/example.io/v1",
        "/clusters/{beta}/api/v1",
        "/clusters/{beta}/openapi/v3",
        "/clusters/{beta}/openapi/v3/apis/example.io/v1",
        "/clusters/{beta}/apis/example.io/v1/widgets",
        "/clusters/{beta}/apis/example.io/v1/widgets?limit=1",
        "/clusters/{beta}/apis/example.io/v1/widgets?labelSelector=a%20in%20(b,c)",
        "/clusters/{beta}/apis/example.io/v1/widgets?fieldSelector=metadata.name%3Done",
        "/clusters/{beta}/apis/example.io/v1/widgets?fieldSelector=none%3Done",
        "/clusters/{beta}/apis/example.io/v1/widgets?resourceVersion=99999999",
        "/clusters/{beta}/apis/example.io/v1/widgets?continue=x",
        "/clusters/{beta}/apis/example.io/v1/namespaces/default/widgets/one",
        "/clusters/{beta}/apis/example.io/v1/namespaces/default/widgets/none",
        "/clusters/{beta}/apis/example.io/v2/namespaces/default/widgets/one",
        "/clusters/{beta}/apis/example.io/v1/namespaces/default/gadgets",
        "/clusters/{beta}/api/v1/configmaps",
        "/clusters/{beta}/api/v1/namespaces/default/configmaps/kube-root-ca.crt",
        "/clusters/{beta}/api/v1/namespaces/default/secrets",
        "/clusters/{beta}/apis/apis.kcp.io/v1alpha2/apibindings",
        "/clusters/{alpha}/apis/example.io/v1/widgets",
        "/clusters/none/apis/example.io/v1/widgets",
        "/clusters/*/apis/example.io/v1/widgets",
        "/clusters/*/api/v1/configmaps",
        "/clusters/*/api/v1/secrets",
        "/clusters/*/apis/example.io/v1/namespaces/default/widgets",
    ];
    paths.extend(more.map(|path| format!("{EXPORT}{path}")));
    paths.extend(["/services/none", "/services/apiexport/none/widgets/clusters/*/api"].map(str::to_owned));
    beside.world.run(async {
        let mut findings = Findings::default();
        for name in PEOPLE {
            let [inside, beside_it] = beside.both(name);
            for path in &paths {
                let path = beside.path(path);
                let (expected, answer) = (told(&inside.get(&path).await), told(&beside_it.get(&path).await));
                if expected != answer {
                    findings.add(format!("{name} GET {path}:\n{expected}\n--\n{answer}\n"));
                }
            }
            // As a table, which is made where it is asked for.
            let accept = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
            let path = beside.path(&format!("{EXPORT}/clusters/*/apis/example.io/v1/widgets"));
            let expected = inside.call("GET", &path, &accept, "").await;
            let answer = beside_it.call("GET", &path, &accept, "").await;
            let cut = |answer: &Answer| told(answer).chars().take(200).collect::<String>();
            if cut(&expected) != cut(&answer) {
                findings.add(format!("{name} table: {} -- {}", expected.text(), answer.text()));
            }
        }
        findings.none();
    });
}

/// Method, path below the consumer, media type, body; `{name}` is another one at each of both.
const WRITES: &[(&str, &str, &str, &str)] = &[
    (
        "POST",
        "/apis/example.io/v1/namespaces/default/widgets",
        "application/json",
        r#"{"apiVersion":"example.io/v1","kind":"Widget","metadata":{"name":"{name}"},"spec":{}}"#,
    ),
    (
        "POST",
        "/apis/example.io/v1/namespaces/default/widgets",
        "application/json",
        r#"{"apiVersion":"example.io/v1","kind":"Widget","metadata":{"name":"{name}"},"spec":{}}"#,
    ),
    (
        "POST",
        "/apis/example.io/v1/namespaces/default/widgets?fieldValidation=Strict",
        "application/json",
        r#"{"apiVersion":"example.io/v1","kind":"Widget","metadata":{"name":"x"},"none":1}"#,
    ),
    (
        "POST",
        "/apis/example.io/v1/namespaces/default/widgets?fieldValidation=Strict",
        "application/json",
        r#"{"apiVersion":"example.io/v1","kind":"Widget","metadata":{"name":"x"},"spec":{},"spec":{}}"#,
    ),
    (
        "POST",
        "/apis/example.io/v1/namespaces/default/widgets?dryRun=All",
        "application/json",
        r#"{"apiVersion":"example.io/v1","kind":"Widget","metadata":{"name":"x"},"none":1}"#,
    ),
    (
        "POST",
        "/apis/example.io/v1/namespaces/none/widgets",
        "application/json",
        r#"{"apiVersion":"example.io/v1","kind":"Widget","metadata":{"name":"x"}}"#,
    ),
    (
        "POST",
        "/apis/example.io/v1/namespaces/default/widgets",
        "application/json",
        "{",
    ),
    (
        "PATCH",
        "/apis/example.io/v1/namespaces/default/widgets/{name}",
        "application/merge-patch+json",
        r#"{"metadata":{"labels":{"a":"b"}}}"#,
    ),
    (
        "PATCH",
        "/apis/example.io/v1/namespaces/default/widgets/{name}",
        "application/json-patch+json",
        r#"[{"op":"add","path":"/metadata/annotations","value":{"c":"d"}}]"#,
    ),
    (
        "PATCH",
        "/apis/example.io/v1/namespaces/default/widgets/{name}-2?fieldManager=me",
        "application/apply-patch+yaml",
        r#"{"apiVersion":"example.io/v1","kind":"Widget","metadata":{"name":"{name}-2"}}"#,
    ),
    (
        "PATCH",
        "/apis/example.io/v1/namespaces/default/widgets/none",
        "application/merge-patch+json",
        "{}",
    ),
    (
        "PUT",
        "/apis/example.io/v1/namespaces/default/widgets/{name}",
        "application/json",
        r#"{"apiVersion":"example.io/v1","kind":"Widget","metadata":{"name":"{name}","resourceVersion":"1"},"spec":{}}"#,
    ),
    (
        "DELETE",
        "/apis/example.io/v1/namespaces/default/widgets/{name}?dryRun=All",
        "application/json",
        "",
    ),
    (
        "DELETE",
        "/apis/example.io/v1/namespaces/default/widgets/{name}",
        "application/json",
        r#"{"preconditions":{"uid":"wrong"}}"#,
    ),
    (
        "DELETE",
        "/apis/example.io/v1/namespaces/default/widgets/{name}",
        "application/json",
        "",
    ),
    (
        "DELETE",
        "/apis/example.io/v1/namespaces/default/widgets/{name}",
        "application/json",
        "",
    ),
    (
        "DELETE",
        "/apis/example.io/v1/namespaces/default/widgets?fieldSelector=metadata.name%3D{name}-2",
        "application/json",
        "",
    ),
    (
        "POST",
        "/api/v1/namespaces/default/configmaps",
        "application/json",
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"{name}"},"data":{"k":"v"}}"#,
    ),
    (
        "PATCH",
        "/api/v1/namespaces/default/configmaps/{name}",
        "application/strategic-merge-patch+json",
        r#"{"data":{"l":"w"}}"#,
    ),
    (
        "PATCH",
        "/api/v1/namespaces/default/configmaps/{name}-2?fieldManager=me",
        "application/apply-patch+yaml",
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"{name}-2"}}"#,
    ),
    (
        "DELETE",
        "/api/v1/namespaces/default/configmaps/{name}",
        "application/json",
        "",
    ),
    (
        "DELETE",
        "/api/v1/namespaces/default/configmaps/{name}-2",
        "application/json",
        "",
    ),
    (
        "POST",
        "/api/v1/namespaces/default/secrets",
        "application/json",
        r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"{name}"}}"#,
    ),
    (
        "PATCH",
        "/apis/apis.kcp.io/v1alpha2/apibindings/widgets",
        "application/merge-patch+json",
        "{}",
    ),
];

/// An object without what is its own: when it was made, and as the how manyeth.
fn likeness(answer: &Answer, name: &str) -> String {
    let mut text = told(answer).replace(name, "{name}");
    if let Ok(mut object) = serde_json::from_slice::<Value>(&answer.body) {
        strip(&mut object);
        text = format!(
            "{} {:?}\n{object}",
            answer.code,
            answer.headers.get_all("warning").iter().collect::<Vec<_>>()
        );
        text = text.replace(name, "{name}");
    }
    text
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(members) => {
            // Where it says which uid it has instead.
            if members.get("reason").is_some_and(|reason| reason == "Conflict") {
                members.remove("message");
            }
            for member in ["uid", "resourceVersion", "creationTimestamp", "time"] {
                members.remove(member);
            }
            members.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

#[test]
fn everybody_writes_the_same_at_the_program_as_at_the_shard() {
    let beside = &*BESIDE;
    let _turn = beside.turn.lock().unwrap_or_else(PoisonError::into_inner);
    beside.world.run(async {
        let mut findings = Findings::default();
        for person in PEOPLE {
            let both = beside.both(person);
            for (method, path, kind, body) in WRITES {
                let mut seen = Vec::new();
                for (who, name) in both
                    .iter()
                    .zip([format!("{person}0-inside"), format!("{person}0-beside")])
                {
                    let path = beside
                        .path(&format!("{EXPORT}/clusters/{{beta}}{path}"))
                        .replace("{name}", &name);
                    let headers = [("content-type", *kind), ("user-agent", "tester/1")];
                    let answer = who.call(method, &path, &headers, body.replace("{name}", &name)).await;
                    seen.push(likeness(&answer, &name));
                }
                if seen[0] != seen[1] {
                    findings.add(format!(
                        "{person} {method} {path} {body}:\n{}\n--\n{}\n",
                        seen[0], seen[1]
                    ));
                }
            }
        }
        findings.none();
    });
}

#[test]
fn a_watch_at_the_program_tells_what_the_shards_does() {
    let beside = &*BESIDE;
    let _turn = beside.turn.lock().unwrap_or_else(PoisonError::into_inner);
    let world = &beside.world;
    world.run(async {
        let alice = [beside.both("alice"), beside.both("alice")];
        let widgets = beside.path(&format!("{EXPORT}/clusters/*/apis/example.io/v1/widgets"));
        let watch = format!("{widgets}?watch=true&timeoutSeconds=4&allowWatchBookmarks=true&resourceVersion=");
        let begin = alice[0][0].get(&widgets).await.json();
        let watch = format!("{watch}{}", begin["metadata"]["resourceVersion"].as_str().unwrap());
        let writing = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let all = beside.path("/clusters/{beta}/apis/example.io/v1/namespaces/default/widgets");
            world.master.create(&all, &widget("watched")).await;
            let one = format!("{all}/watched");
            world
                .master
                .send("PATCH", &one, &json!({"metadata": {"labels": {"x": "y"}}}))
                .await;
            world.master.call("DELETE", &one, &[], "").await;
        };
        let (inside, beside_it, ()) = tokio::join!(alice[0][0].get(&watch), alice[1][1].get(&watch), writing);
        let events = |answer: &Answer| {
            let text = answer.text();
            let events = text.lines().map(|line| serde_json::from_str(line).expect("an event"));
            // Where a last bookmark stands depends on what else goes on.
            let events: Vec<Value> = events.filter(|event: &Value| event["type"] != "BOOKMARK").collect();
            events
        };
        let kinds: Vec<Value> = events(&inside).iter().map(|event| event["type"].clone()).collect();
        assert!(
            kinds.ends_with(&["ADDED".into(), "MODIFIED".into(), "DELETED".into()]),
            "{kinds:?}"
        );
        assert_eq!(events(&inside), events(&beside_it));
    });
}

#[test]
fn only_components_speak_for_others() {
    let world = &*WORLD;
    let delegation = Delegation {
        user: User::new("alice", &[]),
        decided: true,
        creates: true,
        selector: LabelSelector::everything(),
        definition: DelegatedDefinition::Common,
        flow: String::new(),
    };
    let (name, value) = (HEADER, delegation.encode());
    let said = [(name, value.to_str().unwrap())];
    let common = |name: &'static str| (DnType::CommonName, name);
    let masters = (DnType::OrganizationName, "system:masters");
    let component = world.clients.client(&[common("component"), masters.clone()]);
    let user = world.clients.client(&[common("mallory")]);
    let proxy = world.proxies.client(&[common("front-proxy")]);
    let path = format!("/clusters/{}/api/v1/namespaces/default/secrets", world.alpha);
    world.run(async {
        let ask = async |who: &Client, more: &[(&str, &str)]| {
            let headers: Vec<(&str, &str)> = said.iter().chain(more).copied().collect();
            who.call("GET", &path, &headers, "").await
        };
        assert_eq!(ask(&world.client(Some(&component), &[]), &[]).await.code, 200);
        let mut findings = Findings::default();
        for (name, who) in [
            ("mallory", world.person("mallory")),
            ("alice", world.person("alice")),
            ("a master by token", world.person("master")),
            ("anonymous", world.anonymous()),
            ("mallory's certificate", world.client(Some(&user), &[])),
        ] {
            findings.expect_code(name, &ask(&who, &[]).await, 403);
        }
        // Whom a proxy speaks for is no component, even if it is called a master.
        let through = world.client(Some(&proxy), &[]);
        for named in ["mallory", "master"] {
            let headers = [("x-remote-user", named), ("x-remote-group", "system:masters")];
            findings.expect_code("through a proxy", &ask(&through, &headers).await, 403);
        }
        // What cannot be read is not taken for anything.
        let who = world.client(Some(&component), &[]);
        let answer = who.call("GET", &path, &[(name, "x")], "").await;
        findings.expect_code("half a delegation", &answer, 400);
        let answer = who.call("GET", &path, &[said[0], said[0]], "").await;
        findings.expect_code("two delegations", &answer, 400);
        findings.none();
    });
}

#[test]
fn a_delegation_gives_no_more_than_it_says() {
    let world = &*WORLD;
    let masters = (DnType::OrganizationName, "system:masters");
    let component = world.clients.client(&[(DnType::CommonName, "component"), masters]);
    let who = world.client(Some(&component), &[]);
    let maps = format!("/clusters/{}/api/v1/namespaces/default/configmaps", world.alpha);
    world.run(async {
        let ask = async |method: &str, path: &str, delegation: &Delegation, body: &str| {
            let value = delegation.encode();
            let headers = [
                (HEADER, value.to_str().unwrap()),
                ("content-type", "application/apply-patch+yaml"),
            ];
            who.call(method, path, &headers, body.to_owned()).await
        };
        let whole = Delegation {
            user: User::new("mallory", &[]),
            decided: true,
            creates: false,
            selector: LabelSelector::everything(),
            definition: DelegatedDefinition::Common,
            flow: String::new(),
        };
        let there = format!("{maps}/there");
        assert_eq!(ask("GET", &there, &whole, "").await.code, 200);
        // What the selector leaves out is not there.
        for selector in [LabelSelector::nothing(), LabelSelector::parse("a=b").unwrap()] {
            let narrow = Delegation {
                selector,
                ..whole.clone()
            };
            assert_eq!(ask("GET", &there, &narrow, "").await.code, 404);
            let list = ask("GET", &maps, &narrow, "").await.json();
            assert_eq!(list["items"], json!([]));
            assert_eq!(ask("DELETE", &there, &narrow, "").await.code, 404);
        }
        // An apply does not make what is not there.
        let new = format!("{maps}/new?fieldManager=me");
        let body = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"new"}}"#;
        assert_eq!(ask("PATCH", &new, &whole, body).await.code, 403);
        // Where the shard is to decide, it decides about the user, not about the component.
        let checked = Delegation {
            decided: false,
            definition: DelegatedDefinition::Own,
            creates: true,
            ..whole.clone()
        };
        assert_eq!(ask("GET", &there, &checked, "").await.code, 403);
        let alice = Delegation {
            user: User::new("alice", &["system:authenticated"]),
            ..checked
        };
        assert_eq!(ask("GET", &there, &alice, "").await.code, 200);
    });
}

#[test]
fn without_its_shard_the_program_answers_503_within_a_second() {
    let world = &*WORLD;
    // One takes connections and says nothing, as a frozen process; at the other's port there is nobody.
    let frozen = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = |listener: &std::net::TcpListener| listener.local_addr().unwrap().port().to_string();
    let (frozen_port, gone_port) = (port(&frozen), port(&gone));
    drop(gone);
    for port in [frozen_port, gone_port] {
        let program = world.start_views_of(&port);
        world.run(async {
            let mut findings = Findings::default();
            let organization = (DnType::OrganizationName, "system:masters");
            let master = world.clients.client(&[(DnType::CommonName, "master"), organization]);
            for (name, who) in [
                ("a token", world.person_at(&program.address, "alice")),
                ("a certificate", world.client_at(&program.address, Some(&master), &[])),
                ("nobody", world.client_at(&program.address, None, &[])),
            ] {
                // As probes ask: whose a token is, nobody can say now.
                if name != "a token" {
                    assert_eq!(who.get("/livez").await.code, 200, "{name}");
                }
                for path in [
                    format!(
                        "/services/apiexport/{}/widgets/clusters/*/apis/example.io/v1/widgets",
                        world.alpha
                    ),
                    format!(
                        "/services/apiexport/{}/widgets/clusters/*/apis/example.io/v1/widgets?watch=true",
                        world.alpha
                    ),
                    format!(
                        "/services/initializingworkspaces/{}:typed/clusters/{}/api/v1/namespaces",
                        world.alpha, world.beta
                    ),
                    format!(
                        "/services/apiresourceschema/{}/apis/apis.kcp.io/v1alpha1/apiresourceschemas",
                        world.alpha
                    ),
                ] {
                    let began = std::time::Instant::now();
                    let answer = who.get(&path).await;
                    let took = began.elapsed();
                    findings.expect_code(&format!("{name} {path}"), &answer, 503);
                    // What a busy machine adds.
                    if took > Duration::from_secs(2) || !answer.is_status() {
                        findings.add(format!("{name} {path}: {took:?} {}", answer.text()));
                    }
                }
            }
            findings.none();
        });
    }
    drop(frozen);
}
