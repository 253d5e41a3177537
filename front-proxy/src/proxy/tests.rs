use std::convert::Infallible;
use std::time::Duration;

use apiserver::Lifecycle;
use async_trait::async_trait;
use env::simulated::SimOptions;
use fabric::Routes;
use fabric::wire::index_entry::Entry;
use fabric::wire::{ClusterEntry, IndexBatch, IndexEntry, WorkspaceEntry};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::*;

mod lost;
mod names;
mod sizes;

/// Everybody is jane.
struct Jane;

#[async_trait]
impl Authenticator for Jane {
    async fn authenticate(&self, _: &Credentials<'_>) -> machinery::status::Result<Option<User>> {
        Ok(Some(User::new("jane", &[])))
    }
}

/// Whom nobody can know now.
struct Nobody;

#[async_trait]
impl Authenticator for Nobody {
    async fn authenticate(&self, _: &Credentials<'_>) -> machinery::status::Result<Option<User>> {
        Err(unreachable("a shard"))
    }
}

fn proxy(env: &Env, mapping: &str, authenticators: Vec<Arc<dyn Authenticator>>) -> Proxy {
    let options = UpstreamOptions::default();
    Proxy {
        peers: Peers::new(env, Arc::new(Routes::new([1, 2])), None, options.clone()),
        mappings: Mappings::parse(mapping.as_bytes()).unwrap(),
        identities: Vec::new(),
        authenticators,
        workspace_users: None,
        groups: GroupFilter::default(),
        options,
        mounts: true,
        health: Health::new(Lifecycle::new()),
        lifecycle: Lifecycle::new(),
        metrics: ProxyMetrics::default(),
        upstreams: RwLock::default(),
        bodies: BodyBudget::new(1024),
        guesses: Guesses::new(env),
        env: env.clone(),
    }
}

/// A server that answers with the path it was asked for and who asked, and paths with `silent` never.
async fn server(env: &Env) -> String {
    let listener = env.net.listen(":80").await.unwrap();
    let address = listener.address();
    let spawn = env.spawn.clone();
    let serving = async move {
        while let Ok(accepted) = listener.accept().await {
            let answer = |request: Request<hyper::body::Incoming>| async move {
                let path = request.uri().path().to_owned();
                if path.contains("silent") {
                    std::future::pending::<()>().await;
                }
                let told = |name: &str| {
                    let values = request.headers().get_all(name).into_iter();
                    values
                        .map(|value| value.to_str().unwrap_or_default())
                        .collect::<Vec<_>>()
                        .join(",")
                };
                let text = format!("{path} {} {}", told("x-remote-user"), told("x-remote-group"));
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text))))
            };
            let executor = hyper_util::rt::TokioExecutor::new();
            let connection = hyper::server::conn::http2::Builder::new(executor)
                .serve_connection(TokioIo::new(accepted.stream), service_fn(answer));
            let serving = async move { drop(connection.await) };
            spawn.spawn("test connection", serving).detach();
        }
    };
    env.spawn.spawn("test server", serving).detach();
    address
}

async fn get(proxy: &Proxy, path: &str) -> (StatusCode, String) {
    let request = Request::get(path).body(RequestBody::Full(Bytes::new())).unwrap();
    let response = proxy.serve(request, &Connection::plain("client:1")).await;
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn a_proxy_that_can_know_nobody_forwards_nothing() {
    let env = Env::real();
    let proxy = proxy(&env, "- path: /clusters/", Vec::new());
    let mut headers = HeaderMap::new();
    headers.insert("x-remote-user", HeaderValue::from_static("somebody"));
    let refused = proxy.authenticate(&headers, &Connection::plain("client:1")).await;
    let response = refused.expect_err("nobody is known").into_response();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn who_cannot_be_known_now_is_told_to_come_back() {
    let env = Env::real();
    let mapping = "- path: /clusters/";
    let (status, body) = get(&proxy(&env, mapping, vec![Arc::new(Nobody)]), "/clusters/root/api").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    // Whoever else knows them is believed.
    let proxy = proxy(&env, mapping, vec![Arc::new(Nobody), Arc::new(Jane)]);
    let known = proxy
        .authenticate(&HeaderMap::new(), &Connection::plain("client:1"))
        .await;
    assert!(known.is_ok_and(|user| user.name == "jane"));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_costs_a_bounded_time() {
    let (env, _host) = Env::simulated(7, SimOptions::default());
    let mapping = format!("- path: /services/\n  backend: http://{}", server(&env).await);
    let proxy = proxy(&env, &mapping, vec![Arc::new(Jane)]);
    let begun = env.clock.monotonic();
    let (status, body) = get(&proxy, "/services/silent").await;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT, "{body}");
    assert!(body.contains("\"reason\":\"Timeout\""), "{body}");
    let took = env.clock.monotonic().saturating_sub(begun);
    assert!(
        took >= Duration::from_secs(60) && took < Duration::from_secs(64),
        "{took:?}"
    );
    // Who says how long it waits is not kept longer.
    let begun = env.clock.monotonic();
    let (status, _) = get(&proxy, "/services/silent?timeout=5s").await;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
    assert!(env.clock.monotonic().saturating_sub(begun) < Duration::from_secs(8));
    // Others go on, over the same connection.
    assert_eq!(
        get(&proxy, "/services/loud").await,
        (StatusCode::OK, "/services/loud jane system:authenticated".to_owned())
    );
}

fn mount_at(proxy: &Proxy, url: String) {
    let shard = proxy.peers.routes.shard("root").unwrap();
    let cluster = ClusterEntry {
        name: "root".to_owned(),
        epoch: 1,
        ..ClusterEntry::default()
    };
    let mount = WorkspaceEntry {
        parent: "root".to_owned(),
        name: "far".to_owned(),
        mount_url: url,
        ..WorkspaceEntry::default()
    };
    let entries = [Entry::Cluster(cluster), Entry::Workspace(mount)];
    let batch = IndexBatch {
        entries: entries
            .into_iter()
            .map(|entry| IndexEntry { entry: Some(entry) })
            .collect(),
        begins_anew: true,
        complete: true,
        ..IndexBatch::default()
    };
    proxy.peers.routes.apply(shard, &batch);
}

#[tokio::test(start_paused = true)]
async fn a_mount_leads_to_its_url() {
    let (env, _host) = Env::simulated(7, SimOptions::default());
    let mut proxy = proxy(&env, "- path: /clusters/", vec![Arc::new(Jane)]);
    mount_at(&proxy, format!("http://{}/base/", server(&env).await));
    for (path, seen) in [
        (
            "/clusters/root:far/api/v1/pods",
            "/base/api/v1/pods jane system:authenticated",
        ),
        ("/clusters/root:far", "/base/ jane system:authenticated"),
        // Names behind a mount mean nothing here.
        ("/clusters/root:far:below/api", "/base/api jane system:authenticated"),
    ] {
        assert_eq!(get(&proxy, path).await, (StatusCode::OK, seen.to_owned()), "{path}");
    }
    // A mount that leads in a circle ends.
    let mut request = Request::get("/clusters/root:far/api")
        .body(RequestBody::Full(Bytes::new()))
        .unwrap();
    for _ in 0..16 {
        request
            .headers_mut()
            .append(FORWARDED_FOR, HeaderValue::from_static("192.0.2.1"));
    }
    let circled = proxy.serve(request, &Connection::plain("client:1")).await;
    assert_eq!(circled.status(), StatusCode::BAD_REQUEST);
    // Where it leads is tenants' choice: only with the feature.
    proxy.mounts = false;
    assert_eq!(
        get(&proxy, "/clusters/root:far/api").await.0,
        StatusCode::NOT_IMPLEMENTED
    );
}

#[tokio::test(start_paused = true)]
async fn mounts_without_number_do_not_fill_the_memory() {
    let (env, _host) = Env::simulated(7, SimOptions::default());
    let proxy = proxy(&env, "- path: /clusters/", vec![Arc::new(Jane)]);
    for at in 0..2 * UPSTREAMS_MAX {
        assert!(proxy.upstream(0, &format!("http://host-{at}:80")).is_ok());
    }
    assert!(proxy.upstreams.read().len() <= UPSTREAMS_MAX);
}

#[test]
fn whatever_a_shard_takes_for_a_watch_goes_with_the_long_requests() {
    let lane = |uri: &str| {
        let (parts, ()) = Request::get(uri).body(()).expect("a request").into_parts();
        lane_of(&parts)
    };
    for yes in [
        "watch=true",
        "watch=True",
        "watch=T",
        "watch=t",
        "watch=1",
        "watch",
        "watch=",
        "a=b&follow=TRUE",
    ] {
        assert!(matches!(lane(&format!("/api/v1/pods?{yes}")), Lane::Long), "{yes}");
    }
    for no in ["watch=false", "watch=False", "watch=0", "limit=1", ""] {
        assert!(matches!(lane(&format!("/api/v1/pods?{no}")), Lane::Short), "{no}");
    }
    assert!(matches!(lane("/api/v1/watch/pods"), Lane::Long));
}
