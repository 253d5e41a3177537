//! Identities are what the server has established itself, whatever a request says of its sender.

use rcgen::{DnType, ExtendedKeyUsagePurpose};
use serde_json::json;

use crate::world::{Authority, Client, Identity, WORLD, World, eventually};

/// What a request may say of its sender.
const FORGED: &[(&str, &str)] = &[
    ("x-remote-user", "alice"),
    ("x-remote-group", "system:masters"),
    ("x-remote-extra-authentication.kcp.io%2fscopes", "cluster:root"),
];

async fn me(who: &Client, world: &World, headers: &[(&str, &str)]) -> (u16, String) {
    // Everybody who is somebody may ask; the answer names the sender in its refusal elsewhere.
    let path = format!("/clusters/{}/api/v1/namespaces/default/secrets", world.alpha);
    let answer = who.call("GET", &path, headers, "").await;
    let text = answer.text();
    let named = text.split("User \\\"").nth(1).and_then(|rest| rest.split('\\').next());
    (answer.code, named.unwrap_or_default().to_owned())
}

#[test]
fn identity_headers_are_only_believed_from_a_proxy_with_a_certificate() {
    let world = &*WORLD;
    let named = |name: &'static str| [(DnType::CommonName, name)];
    let proxy = world.proxies.client(&named("front-proxy"));
    let misnamed = world.proxies.client(&named("somebody"));
    let user = world.clients.client(&named("mallory"));
    let foreign = Authority::new("proxies").client(&named("front-proxy"));
    world.run(async {
        let with = |identity: Option<&Identity>| world.client(identity, &[]);
        assert_eq!(
            me(&with(None), world, FORGED).await,
            (403, "system:anonymous".to_owned())
        );
        assert_eq!(
            me(&world.person("mallory"), world, FORGED).await,
            (403, "mallory".to_owned())
        );
        assert_eq!(me(&with(Some(&user)), world, FORGED).await, (403, "mallory".to_owned()));
        assert_eq!(me(&world.impostor(), world, FORGED).await.0, 401);
        assert_eq!(me(&with(Some(&misnamed)), world, FORGED).await.0, 401);
        assert_eq!(me(&with(Some(&foreign)), world, FORGED).await.0, 401);
        // The proxy itself is nobody without the headers, and whom they name with them.
        assert_eq!(me(&with(Some(&proxy)), world, &[]).await.0, 401);
        assert_eq!(me(&with(Some(&proxy)), world, &FORGED[..1]).await.0, 200);
        let mallory = [("x-remote-user", "mallory")];
        assert_eq!(
            me(&with(Some(&proxy)), world, &mallory).await,
            (403, "mallory".to_owned())
        );
    });
}

#[test]
fn certificates_that_do_not_hold_are_401() {
    let world = &*WORLD;
    let alice = [(DnType::CommonName, "alice")];
    let masters = [(DnType::CommonName, "x"), (DnType::OrganizationName, "system:masters")];
    let good = world.clients.client(&alice);
    let expired = world
        .clients
        .sign(&alice, 2001..2002, ExtendedKeyUsagePurpose::ClientAuth);
    let early = world
        .clients
        .sign(&alice, 2800..2900, ExtendedKeyUsagePurpose::ClientAuth);
    let serving = world
        .clients
        .sign(&alice, 2020..2900, ExtendedKeyUsagePurpose::ServerAuth);
    let foreign = Authority::new("clients").client(&masters);
    world.run(async {
        assert_eq!(me(&world.client(Some(&good), &[]), world, &[]).await.0, 200);
        for (what, identity) in [
            ("expired", &expired),
            ("not yet valid", &early),
            ("for servers", &serving),
            ("of another authority", &foreign),
        ] {
            let who = world.client(Some(identity), &[]);
            let answer = who.get("/clusters/root/api").await;
            assert_eq!(
                (answer.code, answer.reason()),
                (401, "Unauthorized".to_owned()),
                "{what}"
            );
            // Another credential of the same request may hold.
            let who = world.client(Some(identity), &[("authorization", "Bearer mallory-token")]);
            assert_eq!(me(&who, world, &[]).await, (403, "mallory".to_owned()), "{what}");
        }
    });
}

#[test]
fn nobody_becomes_somebody_else_without_the_right_to() {
    let world = &*WORLD;
    let become_master = [("impersonate-user", "x"), ("impersonate-group", "system:masters")];
    let become_alice = [("impersonate-user", "alice")];
    let account = [("impersonate-user", "system:serviceaccount:default:default")];
    let half = [("impersonate-group", "system:masters")];
    let extra = [
        ("impersonate-user", "mallory"),
        ("impersonate-extra-authentication.kcp.io%2fscopes", "cluster:root"),
    ];
    let warrant = [
        ("impersonate-user", "mallory"),
        (
            "impersonate-extra-authorization.kcp.io%2fwarrant",
            r#"{"user":"x","groups":["system:masters"]}"#,
        ),
    ];
    world.run(async {
        for name in ["mallory", "bob", "carol"] {
            let who = world.person(name);
            for headers in [&become_master[..], &become_alice, &account, &extra, &warrant] {
                let (code, named) = me(&who, world, headers).await;
                assert_eq!(code, 403, "{name} {headers:?}: {named}");
            }
            assert!(matches!(me(&who, world, &half).await.0, 400 | 403 | 500), "{name}");
        }
        assert_eq!(
            me(&world.anonymous(), world, &become_alice).await,
            (403, "system:anonymous".to_owned())
        );
        assert_eq!(me(&world.impostor(), world, &become_alice).await.0, 401);
        // An administrator of a workspace may, within it; not become one of the masters, and not elsewhere.
        let alice = world.person("alice");
        assert_eq!(
            me(&alice, world, &[("impersonate-user", "mallory")]).await,
            (403, "mallory".to_owned())
        );
        assert_eq!(me(&alice, world, &become_master).await.0, 403);
        let elsewhere = format!("/clusters/{}/api/v1/namespaces/default/secrets", world.beta);
        let answer = alice.call("GET", &elsewhere, &[("impersonate-user", "bob")], "").await;
        assert_eq!(answer.code, 403, "{}", answer.text());
        // A warrant, which makes its bearer an administrator, is never taken from a request of a tenant.
        let (code, _) = me(&alice, world, &warrant).await;
        let beta = alice.call("GET", &elsewhere, &warrant, "").await;
        assert_eq!(beta.code, 403, "in alpha: {code}; {}", beta.text());
    });
}

#[test]
fn impersonation_does_not_tell_whether_a_cluster_exists() {
    let world = &*WORLD;
    world.run(async {
        for who in [world.person("mallory"), world.person("bob"), world.anonymous()] {
            for headers in [
                [("impersonate-user", "alice")],
                [("impersonate-group", "system:masters")],
            ] {
                let ask = async |cluster: &str| {
                    let path = format!("/clusters/{cluster}/api/v1/namespaces/default/configmaps/there");
                    who.call("GET", &path, &headers, "").await.seen()
                };
                assert_eq!(ask("root:alpha").await, ask("root:gamma").await, "{headers:?}");
                assert_eq!(
                    ask(&world.alpha).await,
                    ask(&"z".repeat(world.alpha.len())).await,
                    "{headers:?}"
                );
            }
        }
    });
}

#[test]
fn tokens_of_one_workspace_are_good_for_nothing_in_another() {
    let world = &*WORLD;
    world.run(async {
        let path = format!("/clusters/{}/api/v1/namespaces/default/serviceaccounts", world.beta);
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}});
        world.master.create(&path, &account).await;
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
        let token = world.master.create(&format!("{path}/robot/token"), &request).await;
        let bearer = format!("Bearer {}", token["status"]["token"].as_str().unwrap());
        let robot = world.client(None, &[("authorization", &bearer)]);
        let (code, named) = me(&robot, world, &[]).await;
        assert_eq!(code, 403, "{named}");
        // One letter of the signature changed.
        let mut forged = bearer.clone();
        let last = forged.pop().unwrap();
        let other = forged.pop().unwrap();
        forged.push(if other == 'A' { 'B' } else { 'A' });
        forged.push(last);
        let forged = world.client(None, &[("authorization", &forged)]);
        assert_eq!(me(&forged, world, &[]).await.0, 401);
    });
}

#[test]
fn a_workspace_does_not_choose_whose_cluster_it_is() {
    let world = &*WORLD;
    world.run(async {
        let alice = world.person("alice");
        let workspaces = "/clusters/root:alpha/apis/tenancy.kcp.io/v1alpha1/workspaces";
        let home = api::hashes::home_cluster_name("dave");
        let taken = ["system:admin", "root", home.as_str(), world.beta.as_str()];
        for (index, cluster) in taken.into_iter().enumerate() {
            let name = format!("usurper-{index}");
            let body = json!({
                "apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "Workspace",
                "metadata": {"name": name, "annotations": {
                    "internal.tenancy.kcp.io/cluster": cluster, "internal.tenancy.kcp.io/abandoned": "nowhere/x",
                }},
                "spec": {"type": {"name": "universal", "path": "root"}},
            });
            assert_eq!(alice.send("POST", workspaces, &body).await.code, 201);
            let path = format!("{workspaces}/{name}");
            let ready = eventually("the workspace is ready", async || {
                let seen = alice.get(&path).await.json();
                (seen["status"]["phase"] == "Ready").then_some(seen)
            })
            .await;
            assert_ne!(ready["spec"]["cluster"], cluster);
            assert_eq!(
                ready["metadata"]["annotations"]["internal.tenancy.kcp.io/cluster"],
                ready["spec"]["cluster"]
            );
        }
        let bindings = "/clusters/system:admin/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/workspace-admin";
        assert_eq!(world.master.get(bindings).await.code, 404);
        let secrets = format!("/clusters/{}/api/v1/secrets", world.beta);
        assert_eq!(alice.get(&secrets).await.code, 403);
    });
}
