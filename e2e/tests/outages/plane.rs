//! Three shards, two front-proxies, what lies on them, and how one of them is lost and comes back.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::{Client, Etcd, SecondProxy, Server};
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

pub const SHARDS: [&str; 3] = ["root", "shard-1", "shard-2"];
/// Workspaces directly below root, one on each shard; all others are below one of them.
pub const TEAMS: [&str; 3] = ["root:team-0", "root:team-1", "root:team-2"];
/// Long enough for anything on a busy machine.
pub const BOUND: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(20);
/// Workspaces that are made at a time.
const AT_ONCE: usize = 24;

/// The processes. Dropping it ends them.
pub struct Plane {
    server: Server,
    second: SecondProxy,
    token: String,
    /// One for each shard, or none.
    _etcds: Vec<Etcd>,
}

/// What shards keep their objects in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stores {
    Embedded,
    /// One for each shard.
    Etcd,
}

/// A process that can be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Shard(usize),
    Proxy(usize),
    /// One that nobody's requests go through: the file of its process id.
    Other(String),
}

/// How it is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Killed,
    Frozen,
    /// Asked to end.
    Ended,
}

/// A workspace that load goes to.
#[derive(Clone, Debug)]
pub struct Place {
    pub path: String,
    pub cluster: String,
}

// === impl Stores ===

impl Stores {
    pub const ALL: [Self; 2] = [Self::Embedded, Self::Etcd];

    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Etcd => "etcd",
        }
    }
}

// === impl Plane ===

impl Plane {
    pub fn start(stores: Stores) -> Self {
        let (mut server, etcds) = match stores {
            Stores::Embedded => (Server::up(3, &[]), Vec::new()),
            Stores::Etcd => {
                let etcds: Vec<Etcd> = SHARDS.iter().map(|_| Etcd::start()).collect();
                (Server::up_on(&etcds), etcds)
            }
        };
        let second = SecondProxy::start(&server);
        let tokens = std::fs::read_to_string(server.directory().join("pki/tokens.csv")).expect("the tokens");
        let token = tokens.split(',').next().expect("a token").to_owned();
        let at_second = server.kubectl().at(format!("https://127.0.0.1:{}", second.port));
        server.wait_until("the second proxy is ready", |_| {
            at_second.run("get --raw /readyz").succeeded()
        });
        Self {
            server,
            second,
            token,
            _etcds: etcds,
        }
    }

    /// The administrator at a proxy.
    pub fn client(&self, proxy: usize) -> Client {
        let port = [self.server.port(), self.second.port][proxy];
        Client::new(port, &self.server.directory().join("pki/server-ca.crt"), &self.token)
    }

    /// All processes, whatever `kcp up` starts.
    pub fn parts(&self) -> Vec<Part> {
        let mut parts = vec![Part::Proxy(1)];
        let mut files = Vec::new();
        pid_files(self.server.directory(), &mut files);
        for file in files {
            let name = file.strip_prefix(self.server.directory()).expect("it is below");
            let name = name.with_extension("").display().to_string();
            let shard = name
                .strip_suffix("/kcp")
                .and_then(|name| SHARDS.iter().position(|shard| *shard == name));
            parts.push(match (shard, &*name) {
                (Some(shard), _) => Part::Shard(shard),
                (None, "front-proxy") => Part::Proxy(0),
                (None, _) => Part::Other(name),
            });
        }
        parts.sort_by_key(|part| format!("{part:?}"));
        parts
    }

    fn process_id(&self, part: &Part) -> u32 {
        match part {
            Part::Shard(shard) => self.server.process_id(&format!("{}/kcp", SHARDS[*shard])),
            Part::Proxy(0) => self.server.process_id("front-proxy"),
            Part::Proxy(_) => self.second.process_id(),
            Part::Other(name) => self.server.process_id(name),
        }
    }

    /// Takes a process away; who would start it again waits for [`Plane::relieve`].
    pub fn strike(&self, part: &Part, fault: Fault) {
        let id = self.process_id(part);
        match fault {
            Fault::Frozen => signal(id, "STOP"),
            Fault::Killed => {
                self.server.pause();
                signal(id, "KILL");
            }
            Fault::Ended => {
                self.server.pause();
                signal(id, "TERM");
            }
        }
    }

    /// Waits until a process that was asked to end has ended; how long that took.
    pub fn wait_for_end(&self, part: &Part) -> Duration {
        let begun = Instant::now();
        let stat = format!("/proc/{}/stat", self.process_id(part));
        // Its parent does not wait for it now: Z.
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(begun.elapsed() < BOUND, "{part:?} does not end");
            std::thread::sleep(INTERVAL);
        }
        begun.elapsed()
    }

    /// Lets it run again, or whoever starts it.
    pub fn relieve(&mut self, part: &Part, fault: Fault) {
        match fault {
            Fault::Frozen => signal(self.process_id(part), "CONT"),
            Fault::Killed | Fault::Ended => {
                self.server.go_on();
                if *part == Part::Proxy(1) {
                    self.second.start_again();
                }
            }
        }
    }

    /// What every process has said last, for failures.
    pub fn last_words(&self) -> String {
        let mut text = String::new();
        for file in [
            "front-proxy.log",
            "second-proxy.log",
            "root/kcp.log",
            "shard-1/kcp.log",
            "shard-2/kcp.log",
        ] {
            let log = std::fs::read_to_string(self.server.directory().join(file)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(40)..].join("\n");
            text.push_str(&format!("--- {file}\n{last}\n"));
        }
        text
    }
}

fn pid_files(below: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(below).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            pid_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "pid") {
            found.push(path);
        }
    }
}

fn signal(id: u32, name: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &id.to_string()])
        .status();
    assert!(sent.is_ok_and(|status| status.success()), "the signal can be sent");
}

/// Workspaces, evenly: of every shard's a third lie below each of the teams. By shard.
pub async fn furnish(client: &Arc<Client>, count: usize) -> Vec<Vec<Place>> {
    let mut places = vec![Vec::new(); SHARDS.len()];
    for (team, shard) in TEAMS.iter().zip(SHARDS) {
        let (parent, name) = team.rsplit_once(':').expect("a path");
        make(client, parent, name, Some(shard)).await;
    }
    for (team, number) in TEAMS.iter().zip(0..) {
        provide(client, team, number).await;
    }
    let mut making = JoinSet::new();
    for number in 0..count {
        if making.len() >= AT_ONCE {
            collect(making.join_next().await, &mut places);
        }
        let client = client.clone();
        making.spawn(async move {
            let shard = number % SHARDS.len();
            let team = TEAMS[number / SHARDS.len() % TEAMS.len()];
            let cluster = make(&client, team, &format!("w-{number}"), Some(SHARDS[shard]))
                .await
                .cluster;
            let path = format!("{team}:w-{number}");
            (shard, Place { path, cluster })
        });
    }
    while let Some(made) = making.join_next().await {
        collect(Some(made), &mut places);
    }
    for places in &mut places {
        places.sort_by(|a, b| a.path.cmp(&b.path));
        people(client, &places[0]).await;
    }
    places
}

fn collect(made: Option<Result<(usize, Place), tokio::task::JoinError>>, places: &mut [Vec<Place>]) {
    let (shard, place) = made.expect("one was begun").expect("nothing panicked");
    places[shard].push(place);
}

/// A workspace that was made.
pub struct Made {
    pub cluster: String,
    pub shard: String,
    pub took: Duration,
}

/// Makes a workspace, and waits until it is Ready. Panics if it is not within [`BOUND`].
pub async fn make(client: &Client, parent: &str, name: &str, shard: Option<&str>) -> Made {
    let begun = Instant::now();
    let of = format!("/clusters/{parent}/apis/tenancy.kcp.io/v1alpha1/workspaces");
    let spec = match shard {
        Some(shard) => json!({"location": {"selector": {"matchLabels": {"name": shard}}}}),
        None => json!({}),
    };
    let workspace = json!({
        "apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "Workspace", "metadata": {"name": name}, "spec": spec,
    });
    create(client, &of, &workspace).await;
    let ready = until(client, &format!("{of}/{name}"), |workspace| {
        workspace["status"]["phase"] == "Ready"
    })
    .await;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Made {
        cluster: text(&ready["spec"]["cluster"]),
        shard: text(&ready["metadata"]["annotations"]["core.kcp.io/shard"]),
        took: begun.elapsed(),
    }
}

/// Creates an object. Panics if that is refused.
pub async fn create(client: &Client, of: &str, object: &Value) -> Value {
    let answered = client.send(Method::POST, of, Some(object), BOUND).await;
    let reply = answered.unwrap_or_else(|broken| panic!("POST {of}: {broken:?}"));
    assert!(reply.is_ok(), "POST {of}: {} {}", reply.code, reply.json());
    reply.json()
}

/// Waits until an object is as it should be. Panics if it is not within [`BOUND`].
pub async fn until(client: &Client, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let reply = client.get(path, BOUND).await;
        let reply = reply.unwrap_or_else(|broken| panic!("GET {path}: {broken:?}"));
        assert!(reply.is_ok(), "GET {path}: {} {}", reply.code, reply.json());
        let object = reply.json();
        if holds(&object) {
            return object;
        }
        assert!(begun.elapsed() < BOUND, "not within {BOUND:?}: {path} is {object}");
        tokio::time::sleep(INTERVAL).await;
    }
}

/// An export of a team: `things` of a group of its own.
async fn provide(client: &Client, team: &str, number: usize) {
    let group = export_name(number);
    let schema = json!({
        "apiVersion": "apis.kcp.io/v1alpha1", "kind": "APIResourceSchema",
        "metadata": {"name": format!("v1.things.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"type": "object",
                "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}}],
        },
    });
    let export = json!({
        "apiVersion": "apis.kcp.io/v1alpha2", "kind": "APIExport", "metadata": {"name": group},
        "spec": {"resources": [{"name": "things", "group": group, "schema": format!("v1.things.{group}"),
            "storage": {"crd": {}}}]},
    });
    let of = format!("/clusters/{team}/apis/apis.kcp.io");
    create(client, &format!("{of}/v1alpha1/apiresourceschemas"), &schema).await;
    create(client, &format!("{of}/v1alpha2/apiexports"), &export).await;
    let valid = |export: &Value| has_condition(export, "IdentityValid");
    until(client, &format!("{of}/v1alpha2/apiexports/{group}"), valid).await;
    bind(client, team, number).await;
}

pub fn export_name(number: usize) -> String {
    format!("team-{number}.example.io")
}

/// Binds an export in a workspace, waits until its API is served, and makes an object of it.
pub async fn bind(client: &Client, place: &str, number: usize) {
    let group = export_name(number);
    let binding = json!({
        "apiVersion": "apis.kcp.io/v1alpha2", "kind": "APIBinding", "metadata": {"name": group},
        "spec": {"reference": {"export": {"path": TEAMS[number], "name": group}}},
    });
    let of = format!("/clusters/{place}/apis/apis.kcp.io/v1alpha2/apibindings");
    create(client, &of, &binding).await;
    until(client, &format!("{of}/{group}"), |binding| {
        has_condition(binding, "Ready")
    })
    .await;
    let thing = json!({
        "apiVersion": format!("{group}/v1"), "kind": "Thing", "metadata": {"name": "one"}, "spec": {"size": 1},
    });
    create(
        client,
        &format!("/clusters/{place}/apis/{group}/v1/namespaces/default/things"),
        &thing,
    )
    .await;
}

fn has_condition(object: &Value, kind: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == kind && condition["status"] == "True")
}

/// Jane may read there, and the account `robot`.
async fn people(client: &Client, place: &Place) {
    let rbac = format!("/clusters/{}/apis/rbac.authorization.k8s.io/v1", place.path);
    let accounts = format!("/clusters/{}/api/v1/namespaces/default/serviceaccounts", place.path);
    create(client, &accounts, &json!({"metadata": {"name": "robot"}})).await;
    let role = json!({
        "metadata": {"name": "reader"},
        "rules": [
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]},
            {"nonResourceURLs": ["/"], "verbs": ["access"]},
        ],
    });
    create(client, &format!("{rbac}/clusterroles"), &role).await;
    let binding = json!({
        "metadata": {"name": "readers"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"},
        "subjects": [
            {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"},
            {"kind": "ServiceAccount", "name": "robot", "namespace": "default"},
        ],
    });
    create(client, &format!("{rbac}/clusterrolebindings"), &binding).await;
}

/// A token of the account `robot` of a workspace.
pub async fn token(client: &Client, place: &Place) -> String {
    let path = format!(
        "/clusters/{}/api/v1/namespaces/default/serviceaccounts/robot/token",
        place.path
    );
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let answer = create(client, &path, &request).await;
    answer["status"]["token"].as_str().expect("a token").to_owned()
}
