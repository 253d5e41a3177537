//! Users of OpenID Connect issuers, at one server and through the front-proxy.

use std::time::{Duration, Instant};

use e2e::{Client, Server};
use env::Env;
use http::Method;
use oidc::testing::{TestIssuer, TestKey, compact};
use ring::hmac;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const AUDIENCE: &str = "kcp";
const WITHIN: Duration = Duration::from_secs(20);

/// An issuer in this process, and what servers are told of it.
struct Users {
    runtime: Runtime,
    issuer: TestIssuer,
    directory: TempDir,
}

// === impl Users ===

impl Users {
    fn new() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let issuer = runtime.block_on(TestIssuer::start(&Env::real(), "localhost", 0));
        let directory = TempDir::new().expect("a directory");
        std::fs::write(directory.path().join("ca.crt"), &issuer.ca).expect("a file");
        Self {
            runtime,
            issuer,
            directory,
        }
    }

    fn flags(&self) -> Vec<String> {
        vec![
            format!("--oidc-issuer-url={}", self.issuer.url),
            format!("--oidc-client-id={AUDIENCE}"),
            format!("--oidc-ca-file={}", self.directory.path().join("ca.crt").display()),
            "--oidc-username-prefix=oidc:".to_owned(),
            "--oidc-groups-claim=groups".to_owned(),
            "--oidc-signing-algs=RS256,ES256".to_owned(),
        ]
    }

    fn claims(&self, user: &str, groups: &Value) -> Value {
        let now = Env::real().clock.now().as_secs();
        let mut claims = self.issuer.claims(now, user, AUDIENCE);
        claims["groups"] = groups.clone();
        claims
    }

    /// Who the server says this is, or its code.
    fn who(&self, server: &Server, token: &str) -> Result<Value, u16> {
        self.who_in(server, "root", token)
    }

    /// The same in a workspace.
    fn who_in(&self, server: &Server, workspace: &str, token: &str) -> Result<Value, u16> {
        let client = self.client(server, token);
        let path = &format!("/clusters/{workspace}/apis/authentication.k8s.io/v1/selfsubjectreviews");
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
        let asked = client.send(Method::POST, path, Some(&review), WITHIN);
        let reply = self.runtime.block_on(asked).expect("an answer");
        match reply.code {
            201 => Ok(reply.json()["status"]["userInfo"].clone()),
            code => Err(code),
        }
    }

    fn client(&self, server: &Server, token: &str) -> Client {
        let ca = server.directory().join("test-ca.crt");
        if !ca.exists() {
            let query = "config view --raw -o jsonpath={.clusters[0].cluster.certificate-authority-data}";
            let encoded = server.kubectl().run(query).ok();
            let engine = base64::engine::general_purpose::STANDARD;
            let pem = base64::Engine::decode(&engine, encoded.trim()).expect("base64");
            std::fs::write(&ca, pem).expect("a file");
        }
        Client::new(server.port(), &ca, token)
    }
}

/// All the ways in which a token can be good or bad, at whatever server.
fn tokens_are_judged(users: &Users, server: &Server) {
    let (rsa, ec) = (TestKey::rsa("1", 0), TestKey::ec("2"));
    users.issuer.publish(&[&rsa, &ec]);
    let claims = users.claims("jane", &json!(["staff", "system:masters"]));

    // Its issuer is down: the server serves, tokens are refused, and hold as soon as it is back.
    users.issuer.set_down(true);
    assert_eq!(users.who(server, &rsa.token(&claims)), Err(401));
    server.kubectl().run("get --raw /readyz").ok();
    users.issuer.set_down(false);
    let begun = Instant::now();
    let me = loop {
        match users.who(server, &rsa.token(&claims)) {
            Ok(me) => break me,
            Err(code) => assert_eq!((code, begun.elapsed() < WITHIN), (401, true)),
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    assert_eq!(me["username"], "oidc:jane");
    let groups = me["groups"].as_array().expect("groups");
    assert!(
        groups.contains(&json!("staff")) && groups.contains(&json!("system:authenticated")),
        "{me}"
    );
    assert_eq!(
        users.who(server, &ec.token(&claims)).expect("known")["username"],
        "oidc:jane"
    );
    let one = users.claims("jane", &json!("staff"));
    let me = users.who(server, &ec.token(&one)).expect("known");
    assert!(
        me["groups"]
            .as_array()
            .is_some_and(|groups| groups.contains(&json!("staff"))),
        "{me}"
    );

    let with = |name: &str, value: Value| {
        let mut changed = claims.clone();
        changed[name] = value;
        changed
    };
    let now = Env::real().clock.now().as_secs();
    for wrong in [
        with("aud", json!("other")),
        with("exp", json!(now - 10)),
        with("nbf", json!(now + 3600)),
        with("iss", json!("https://other")),
        with("sub", json!(7)),
        with("groups", json!({"a": 1})),
    ] {
        assert_eq!(users.who(server, &rsa.token(&wrong)), Err(401), "{wrong}");
    }
    assert_eq!(users.who(server, &TestKey::rsa("1", 1).token(&claims)), Err(401));
    for algorithm in ["none", "None"] {
        let header = json!({"alg": algorithm, "kid": "1"});
        assert_eq!(users.who(server, &compact(&header, &claims, |_| Vec::new())), Err(401));
    }
    let secret = hmac::Key::new(hmac::HMAC_SHA256, &rsa.public_bytes());
    let header = json!({"alg": "HS256", "kid": "1"});
    let forged = compact(&header, &claims, |message| {
        hmac::sign(&secret, message).as_ref().to_vec()
    });
    assert_eq!(users.who(server, &forged), Err(401));

    // The issuer takes another key.
    let next = TestKey::rsa("3", 1);
    assert_eq!(users.who(server, &next.token(&claims)), Err(401));
    users.issuer.publish(&[&next]);
    assert_eq!(
        users.who(server, &next.token(&claims)).expect("known")["username"],
        "oidc:jane"
    );
    assert_eq!(users.who(server, &rsa.token(&claims)), Err(401));
}

/// Whoever may read everything of the root workspace, by group.
fn readers(group: &str) -> String {
    let role = |kind: &str, name: &str| {
        format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {{name: {kind}}}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: '{name}'}}\n\
             subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: Group, name: '{group}'}}]\n"
        )
    };
    format!(
        "{}---\n{}",
        role("staff-in", "system:kcp:workspace:access"),
        role("staff-reads", "cluster-admin")
    )
}

#[test]
fn a_shard_knows_users_of_its_issuer() {
    let users = Users::new();
    users.issuer.set_down(true);
    let flags = users.flags();
    let server = Server::start_with(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    tokens_are_judged(&users, &server);
}

#[test]
fn the_front_proxy_knows_users_of_its_issuer_and_drops_privileged_groups() {
    let users = Users::new();
    users.issuer.set_down(true);
    let flags = users.flags();
    let server = Server::up(1, &flags.iter().map(String::as_str).collect::<Vec<_>>());
    tokens_are_judged(&users, &server);

    let key = TestKey::ec("2");
    users.issuer.publish(&[&key]);
    let read = |groups: Value| {
        let token = key.token(&users.claims("jane", &groups));
        let client = users.client(&server, &token);
        let path = "/clusters/root/api/v1/namespaces/default/secrets";
        users
            .runtime
            .block_on(client.get(path, WITHIN))
            .expect("an answer")
            .code
    };
    let privileged = json!([
        "system:masters",
        "system:kcp:logical-cluster-admin",
        "system:kcp:initializer:x",
        "system:kcp:terminator:x"
    ]);
    assert_eq!(read(privileged.clone()), 403);
    let token = key.token(&users.claims("jane", &privileged));
    let me = users.who(&server, &token).expect("known");
    assert_eq!(me["groups"], json!(["system:authenticated"]));
    // What a group may that is nobody's privilege, its members may.
    assert_eq!(read(json!(["staff"])), 403);
    server.kubectl().apply(&readers("staff")).ok();
    assert_eq!(read(json!(["staff"])), 200);
}

/// A configuration that names the issuer, a type that names the configuration, and a workspace of the type.
fn workspace_with_issuer(users: &Users, server: &Server, shard: Option<&str>) {
    let configuration = json!({
        "apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "WorkspaceAuthenticationConfiguration",
        "metadata": {"name": "staff"},
        "spec": {"jwt": [{
            "issuer": {"url": users.issuer.url, "audiences": [AUDIENCE], "certificateAuthority": users.issuer.ca},
            "claimMappings": {
                "username": {"claim": "sub", "prefix": ""},
                "groups": {"claim": "groups", "prefix": ""},
                "extra": [
                    {"key": "authentication.kcp.io/scopes", "valueExpression": "['cluster:root']"},
                    {"key": "acme.io/desk", "valueExpression": "claims.desk"},
                ],
            },
        }]},
    });
    let of_type = json!({
        "apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "WorkspaceType", "metadata": {"name": "staffed"},
        "spec": {"extend": {"with": [{"name": "universal", "path": "root"}]},
                 "authenticationConfigurations": [{"name": "staff"}]},
    });
    let mut workspace = json!({
        "apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "Workspace", "metadata": {"name": "team"},
        "spec": {"type": {"name": "staffed", "path": "root"}},
    });
    if let Some(shard) = shard {
        workspace["spec"]["location"] = json!({"selector": {"matchLabels": {"name": shard}}});
    }
    for object in [configuration, of_type] {
        server.kubectl().create(&object.to_string()).ok();
    }
    let begun = Instant::now();
    // The type is new: who makes workspaces may not know it yet.
    while !server.kubectl().create(&workspace.to_string()).succeeded() {
        assert!(begun.elapsed() < WITHIN, "a workspace of the type can be made");
        std::thread::sleep(Duration::from_millis(100));
    }
    let ready = "wait --for=jsonpath={.status.phase}=Ready workspace/team --timeout=60s";
    server.kubectl().run(ready).ok();
    server.workspace("root:team").create(&readers("staff")).ok();
}

const GATE: &str = "--feature-gates=WorkspaceAuthentication=true";

#[test]
fn a_workspace_has_users_of_its_own_issuers() {
    users_of_workspaces_are_known_there_alone(&Server::start_with(&[GATE]), None);
}

/// The type and its configuration are on one shard, the workspace of the type on the other.
#[test]
fn the_front_proxy_knows_them_by_the_shard_that_holds_the_workspace() {
    users_of_workspaces_are_known_there_alone(&Server::up(2, &[GATE]), Some("shard-1"));
}

fn users_of_workspaces_are_known_there_alone(server: &Server, shard: Option<&str>) {
    let users = Users::new();
    let key = TestKey::ec("1");
    users.issuer.publish(&[&key]);
    workspace_with_issuer(&users, server, shard);
    server.create_workspace("root", "other");
    let claims = |user: &str, groups: Value| {
        let mut claims = users.claims(user, &groups);
        claims["desk"] = json!("d-1");
        claims
    };
    let jane = key.token(&claims("jane", json!(["staff", "system:masters", "system:kcp:admin"])));
    let me = users.who_in(server, "root:team", &jane).expect("known");
    let cluster = server
        .kubectl()
        .run("get workspace team -o jsonpath={.spec.cluster}")
        .ok();
    assert_eq!(
        (&me["username"], &me["groups"]),
        (&json!("jane"), &json!(["staff", "system:authenticated"]))
    );
    let extra = json!({
        "acme.io/desk": ["d-1"],
        "authentication.kcp.io/cluster-name": [cluster.trim()],
        "authentication.kcp.io/scopes": [format!("cluster:{}", cluster.trim())],
    });
    assert_eq!(me["extra"], extra);
    // She is nobody elsewhere, and nobody else's names are hers.
    for elsewhere in ["root", "root:other"] {
        assert_eq!(users.who_in(server, elsewhere, &jane), Err(401), "{elsewhere}");
    }
    let system = key.token(&claims("system:admin", json!([])));
    assert_eq!(users.who_in(server, "root:team", &system), Err(401));
    let forged = TestKey::ec("1").token(&claims("jane", json!(["staff"])));
    assert_eq!(users.who_in(server, "root:team", &forged), Err(401));
    // A review of her token says the same, where it is asked.
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "metadata": {"name": "x"}, "spec": {"token": jane}});
    let reviewed = |workspace: &str| {
        let arguments = ["create", "--validate=false", "-f", "-", "-o", "json"];
        let said = server
            .workspace(workspace)
            .run_with(&arguments, &review.to_string())
            .ok();
        let said: Value = serde_json::from_str(&said).expect("it is JSON");
        said["status"].clone()
    };
    assert_eq!(reviewed("root:team")["user"]["extra"], extra);
    assert_eq!(reviewed("root:other")["authenticated"], Value::Null);
    // Without its configuration the workspace has none of its users, once nobody believes what he was told before.
    server
        .kubectl()
        .run("delete workspaceauthenticationconfiguration staff")
        .ok();
    let begun = Instant::now();
    while users.who_in(server, "root:team", &jane) != Err(401) {
        assert!(begun.elapsed() < 2 * WITHIN, "she is not known any more");
        std::thread::sleep(Duration::from_millis(200));
    }
}
