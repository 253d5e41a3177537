//! Who gets what answer, and what nobody can talk the server into.

use std::sync::Arc;

use apiserver::{Refusal, ServiceApi, ServiceRoute, Services, StackOptions};
use async_trait::async_trait;
use http::request::Parts;
use machinery::user::User;
use permit::{Cluster, Scope};
use registry::Surface;
use serde_json::json;

use crate::world::{CONSUMER, Rights, Setup, TestSurface, World};

#[tokio::test(start_paused = true)]
async fn law_5_what_exists_and_what_does_not_look_alike_from_outside() {
    let world = World::new().await;
    let widget = json!({"metadata": {"name": "secret"}, "spec": {"size": 1}});
    world.put(CONSUMER, "example.io", "widgets", "default", widget).await;
    let path = |name: &str| format!("/clusters/{CONSUMER}/apis/example.io/v1alpha1/namespaces/default/widgets/{name}");
    let pairs = [
        // An object that is there, and one that is not.
        (path("secret"), path("absent")),
        // A resource that is served, and one that is not.
        (
            format!("/clusters/{CONSUMER}/apis/example.io/v1alpha1/widgets"),
            "/clusters/root/apis/x.io/v1/absents".into(),
        ),
        // A cluster that is there, and ones that are not.
        (
            "/clusters/root/api/v1/namespaces".into(),
            "/clusters/nosuch/api/v1/namespaces".into(),
        ),
        (
            "/clusters/root:private/api/v1/namespaces".into(),
            "/clusters/root:private:nosuch/api/v1/namespaces".into(),
        ),
    ];
    for who in ["user-2", "(no credentials)"] {
        let mut client = world.client(who).await;
        for (there, absent) in &pairs {
            let (there, absent) = (client.get(there).await, client.get(absent).await);
            assert_eq!(
                (there.code, absent.code),
                (403, 403),
                "{} {}",
                there.text(),
                absent.text()
            );
            let blind = |text: String| {
                text.replace("absents.x.io", "widgets.example.io")
                    .replace("x.io", "example.io")
                    .replace("absents", "widgets")
                    .replace("absent", "secret")
            };
            assert_eq!(blind(absent.text()), there.text());
        }
    }
    // Those who may read hear the truth.
    let mut admin = world.client("kcp-admin").await;
    assert_eq!(admin.get(&path("absent")).await.code, 404);
    assert_eq!(admin.get(&path("secret")).await.code, 200);
    // user-1 may read workspaces of root: there, and not elsewhere, it may hear of missing ones.
    let mut reader = world.client("user-1").await;
    assert_eq!(reader.get("/clusters/root:nosuch/api/v1/namespaces").await.code, 404);
    assert_eq!(
        reader.get("/clusters/root:private:nosuch/api/v1/namespaces").await.code,
        403
    );
}

#[tokio::test(start_paused = true)]
async fn law_5_credentials_that_do_not_hold_are_401_everywhere() {
    let world = World::new().await;
    let mut client = world.client("").await;
    for path in [
        "/clusters/root/api/v1/namespaces",
        "/clusters/nosuch/api",
        "/clusters/root:nope/api",
        "/version",
        "/services/x",
        "/livez",
        "/metrics",
    ] {
        for forged in ["Bearer forged", "Bearer  ", "bearer x"] {
            let answer = client.call("GET", path, &[("authorization", forged)], "").await;
            let expected = if forged.trim() == "Bearer" {
                [401, 403, 200, 404]
            } else {
                [401; 4]
            };
            assert!(expected.contains(&answer.code), "{path} {forged}: {}", answer.text());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn law_5_forged_identity_headers_are_ignored() {
    let world = World::new().await;
    let mut client = world.client("").await;
    let forged = [
        ("x-remote-user", "shard-admin"),
        ("x-remote-group", "system:masters"),
        ("x-remote-extra-authentication.kcp.io%2fscopes", "cluster:root"),
        ("x-kubernetes-cluster", "root"),
        ("x-kcp-internal-deep-subjectaccessreview", "true"),
    ];
    let answer = client
        .call("GET", "/clusters/root/api/v1/namespaces", &forged, "")
        .await;
    assert_eq!(answer.code, 403);
    assert!(answer.text().contains("system:anonymous"), "{}", answer.text());
    let answer = client.call("GET", "/api/v1/namespaces", &forged, "").await;
    assert_eq!(answer.code, 403, "a header names no cluster");
}

#[tokio::test(start_paused = true)]
async fn impersonation_is_authorized_before_anything_else() {
    let world = World::new().await;
    let path = format!("/clusters/{CONSUMER}/api/v1/configmaps");
    let mut masters = world.client("shard-admin").await;
    assert_eq!(
        masters
            .call("GET", &path, &[("impersonate-user", "user-1")], "")
            .await
            .code,
        200
    );
    let refused = masters
        .call(
            "GET",
            "/clusters/root/api/v1/namespaces",
            &[("impersonate-user", "user-1")],
            "",
        )
        .await;
    assert!(refused.text().contains("User \\\"user-1\\\""), "{}", refused.text());
    let mut user = world.client("user-1").await;
    assert_eq!(
        user.call("GET", &path, &[("impersonate-user", "kcp-admin")], "")
            .await
            .code,
        403
    );
}

#[tokio::test(start_paused = true)]
async fn routing_answers_are_plain_and_only_for_the_known() {
    let world = World::new().await;
    let mut user = world.client("user-2").await;
    let answer = user.get("/clusters/root:elsewhere/api").await;
    assert_eq!((answer.code, answer.header("retry-after")), (429, "1"));
    assert_eq!(answer.text(), "Not found on this shard\n");
    assert_eq!(
        world.client("").await.get("/clusters/root:elsewhere/api").await.code,
        403
    );
    // Without a way to forward there, that something is mounted is for those who may see it.
    assert_eq!(user.get("/clusters/root:mounted/api").await.code, 403);
    let mut admin = world.client("kcp-admin").await;
    assert_eq!(admin.get("/clusters/root:mounted/api").await.code, 503);
}

#[tokio::test(start_paused = true)]
async fn law_5_what_is_not_available_is_absent_for_who_may_not_use_it() {
    let world = World::new().await;
    for (who, code) in [("user-1", 503), ("kcp-admin", 503), ("user-2", 403), ("", 403)] {
        let mut client = world.client(who).await;
        let maps = "/api/v1/namespaces/default/configmaps/x";
        let there = client.get(&format!("/clusters/root:closed{maps}")).await;
        assert_eq!(there.code, code, "{who}: {}", there.text());
        if code == 403 {
            let absent = client.get(&format!("/clusters/root:absent{maps}")).await;
            assert_eq!((there.code, there.text()), (absent.code, absent.text()), "{who}");
        }
        // Health is the server's, wherever it is asked for.
        for cluster in ["root:closed", "root:absent", "root"] {
            assert_eq!(
                client.get(&format!("/clusters/{cluster}/livez")).await.code,
                200,
                "{who}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn paths_outside_the_apis() {
    let world = World::new().await;
    let mut admin = world.client("kcp-admin").await;
    let index = admin.get("/clusters/root/").await.json();
    let paths: Vec<&str> = index["paths"]
        .as_array()
        .unwrap()
        .iter()
        .map(|path| path.as_str().unwrap())
        .collect();
    for expected in [
        "/api/v1",
        "/apis/example.io",
        "/apis/example.io/v1alpha1",
        "/livez/ping",
        "/openapi/v3",
        "/version",
    ] {
        assert!(paths.contains(&expected), "{expected} in {paths:?}");
    }
    let version = admin.get("/clusters/root/version").await.json();
    assert!(
        version["gitVersion"].as_str().unwrap().starts_with("v1.36.0+kcp-v"),
        "{version}"
    );
    for path in ["/livez", "/readyz", "/healthz", "/clusters/root/livez"] {
        let answer = world.client("").await.get(path).await;
        assert_eq!((answer.code, answer.text().as_str()), (200, "ok"), "{path}");
    }
    let metrics = admin.get("/metrics").await;
    assert_eq!(metrics.code, 200, "{}", metrics.text());
    assert!(
        metrics.text().contains("apiserver_request_total{verb=\"GET\""),
        "{}",
        metrics.text()
    );
    assert_eq!(world.client("user-1").await.get("/metrics").await.code, 403);
    assert_eq!(admin.call("POST", "/clusters/root/version", &[], "").await.code, 405);
}

#[tokio::test(start_paused = true)]
async fn tenant_defined_resources_share_their_labels() {
    let world = World::new().await;
    let mut admin = world.client("kcp-admin").await;
    admin
        .get(&format!("/clusters/{CONSUMER}/apis/example.io/v1alpha1/widgets"))
        .await;
    admin.get("/clusters/root/api/v1/configmaps").await;
    admin.get("/clusters/root/apis/evil.io/v1/made-up-by-client").await;
    let text = world.metrics.registry.encode();
    assert!(
        text.contains("resource=\"tenant-defined\"") && text.contains("resource=\"configmaps\""),
        "{text}"
    );
    // Lists from memory are counted, too, those of what tenants define together.
    assert!(
        text.contains(r#"apiserver_cache_list_total{group="custom",index="",resource="custom"}"#),
        "{text}"
    );
    for leaked in ["widgets", "example.io", CONSUMER, "made-up", "evil.io", "kcp-admin"] {
        assert!(!text.contains(leaked), "{leaked} in {text}");
    }
}

/// One service, `/services/view/<name>/clusters/<cluster>/…`: the same APIs for everybody.
struct Views {
    surface: Arc<TestSurface>,
}

#[async_trait]
impl Services for Views {
    async fn route(&self, user: &Arc<User>, path: &str, _request: &Parts) -> ServiceRoute {
        let Some(rest) = path.strip_prefix("/services/view/clusters/") else {
            return ServiceRoute::Unknown;
        };
        let (cluster, below) = rest.split_once('/').unwrap_or((rest, ""));
        if user.name == "user-2" {
            return ServiceRoute::Refused(Refusal::plain(http::StatusCode::FORBIDDEN, "not for you"));
        }
        ServiceRoute::Api(Box::new(ServiceApi {
            surface: self.surface.clone() as Arc<dyn Surface>,
            scope: Scope::One(Cluster::parse(cluster).unwrap()),
            path: format!("/{below}"),
            authorizer: Some(Arc::new(Rights)),
            user: Some(Arc::new(User::new("kcp-admin", &[]))),
            flow: "view".into(),
        }))
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_is_the_same_way_with_another_surface() {
    let inner = World::new().await;
    inner
        .put(
            "root",
            "",
            "configmaps",
            "default",
            json!({"metadata": {"name": "c"}, "data": {"k": "v"}}),
        )
        .await;
    let services: Arc<dyn Services> = Arc::new(Views {
        surface: inner.surface.clone(),
    });
    let world = World::with(Setup {
        services: Some(services),
        ..Setup::default()
    })
    .await;
    let mut user = world.client("user-1").await;
    for prefix in ["", "/clusters/anything"] {
        let path = format!("{prefix}/services/view/clusters/root/api/v1/namespaces/default/configmaps/c");
        let answer = user.get(&path).await;
        assert_eq!(
            (answer.code, &answer.json()["data"]["k"]),
            (200, &json!("v")),
            "{}",
            answer.text()
        );
    }
    // What is written through a view has its body.
    let written = user
        .post(
            "/services/view/clusters/root/api/v1/namespaces/default/configmaps",
            json!({"metadata": {"name": "written"}}),
        )
        .await;
    assert_eq!(written.code, 201, "{}", written.text());
    assert_eq!(
        user.get("/services/view/clusters/root/apis").await.json()["kind"],
        "APIGroupList"
    );
    assert_eq!(
        user.get("/services/view/clusters/nosuch/apis").await.code,
        403,
        "its authorizer decides"
    );
    let answer = world
        .client("user-2")
        .await
        .get("/services/view/clusters/root/apis")
        .await;
    assert_eq!((answer.code, answer.text().as_str()), (403, "not for you\n"));
}

#[tokio::test(start_paused = true)]
async fn the_audit_log_tells_who_did_what() {
    let path = std::path::PathBuf::from("audit.log");
    let world = World::with(Setup {
        audit: Some(path.clone()),
        options: StackOptions {
            cluster_annotation: Some("cluster"),
            ..Setup::default().options
        },
        ..Setup::default()
    })
    .await;
    let target = format!("/clusters/{CONSUMER}/api/v1/namespaces/default/configmaps");
    let mut masters = world.client("shard-admin").await;
    let headers = [
        ("impersonate-user", "kcp-admin"),
        ("content-type", "application/json"),
        ("audit-id", "mine"),
    ];
    assert_eq!(
        masters
            .call("POST", &target, &headers, r#"{"metadata":{"name":"c"}}"#)
            .await
            .code,
        201
    );
    assert_eq!(
        world
            .client("user-1")
            .await
            .get(&format!("{target}/nope?x=y"))
            .await
            .code,
        404
    );
    assert_eq!(world.client("").await.get("/clusters/root/version").await.code, 403);
    // Who has the answer finds the event: nothing is waited for.
    let text = String::from_utf8(world.env.disk.read(&path).unwrap()).unwrap();
    let events = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let (received, answered): (Vec<serde_json::Value>, Vec<_>) =
        events.partition(|event: &serde_json::Value| event["stage"] == "RequestReceived");
    let first = &received[0];
    assert_eq!(
        (received.len(), &first["auditID"], first.get("responseStatus")),
        (3, &json!("mine"), None)
    );
    assert_eq!(first["annotations"]["cluster"], CONSUMER);
    let [made, missed, refused] = <[serde_json::Value; 3]>::try_from(answered).unwrap();
    assert_eq!(made["annotations"]["cluster"], CONSUMER);
    assert_eq!(
        (&made["kind"], &made["apiVersion"], &made["auditID"]),
        (&json!("Event"), &json!("audit.k8s.io/v1"), &json!("mine"))
    );
    assert_eq!(
        (&made["verb"], &made["level"], &made["stage"]),
        (&json!("create"), &json!("Request"), &json!("ResponseComplete"))
    );
    assert_eq!(
        (&made["user"]["username"], &made["impersonatedUser"]["username"]),
        (&json!("shard-admin"), &json!("kcp-admin"))
    );
    assert_eq!(
        made["objectRef"],
        json!({"resource": "configmaps", "namespace": "default", "apiVersion": "v1"})
    );
    assert_eq!(
        (
            &made["requestObject"]["metadata"]["name"],
            &made["responseStatus"]["code"]
        ),
        (&json!("c"), &json!(201))
    );
    assert_eq!(made["sourceIPs"], json!(["10.0.0.9"]));
    assert_eq!(made["annotations"]["authorization.k8s.io/decision"], "allow");
    assert_eq!(missed["requestURI"], format!("{target}/nope?x=y"));
    assert_eq!(
        (&missed["responseStatus"]["reason"], &missed["objectRef"]["name"]),
        (&json!("NotFound"), &json!("nope"))
    );
    assert_eq!(
        (
            &refused["annotations"]["authorization.k8s.io/decision"],
            &refused["verb"]
        ),
        (&json!("forbid"), &json!("get"))
    );
    assert_eq!(refused["user"]["username"], "system:anonymous");
}
