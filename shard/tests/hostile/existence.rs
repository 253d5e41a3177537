//! Who may not know whether something exists cannot find out: status, headers and body are the same either way.

use crate::world::{Answer, Client, Findings, WORLD, World};

/// A route of the server: a method, a path below a cluster (`{object}` is a name), and a body.
pub struct Route {
    pub method: &'static str,
    pub path: &'static str,
    body: &'static str,
}

/// What is asked for, where it exists and where it does not. The texts are of one length.
struct Pair {
    existing: String,
    absent: String,
}

const fn get(path: &'static str) -> Route {
    Route {
        method: "GET",
        path,
        body: "",
    }
}

const fn write(method: &'static str, path: &'static str, body: &'static str) -> Route {
    Route { method, path, body }
}

const MAP: &str = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"there"}}"#;

/// Every kind of route that a cluster has, with every verb.
const ROUTES: &[Route] = &[
    get("/"),
    get("/api"),
    get("/api/v1"),
    get("/api/v9"),
    get("/apis"),
    get("/apis/apis.kcp.io"),
    get("/apis/apis.kcp.io/v1alpha2"),
    get("/apis/none.example.io"),
    get("/apis/none.example.io/v1"),
    get("/openapi/v2"),
    get("/openapi/v3"),
    get("/openapi/v3/api/v1"),
    get("/openapi/v3/apis/apis.kcp.io/v1alpha2"),
    get("/version"),
    get("/logs"),
    get("/logs/x"),
    get("/debug/pprof"),
    get("/debug/pprof/profile"),
    get("/no/such/path"),
    get("/.well-known/openid-configuration"),
    get("/api/v1/namespaces"),
    get("/api/v1/namespaces/default"),
    get("/api/v1/configmaps"),
    get("/api/v1/namespaces/default/configmaps"),
    get("/api/v1/namespaces/default/configmaps?watch=true&timeoutSeconds=1"),
    get("/api/v1/namespaces/default/configmaps?limit=nonsense"),
    get("/api/v1/namespaces/default/configmaps?labelSelector=a%20b%20c"),
    get("/api/v1/namespaces/default/configmaps?resourceVersion=nonsense"),
    get("/api/v1/watch/namespaces/default/configmaps"),
    get("/api/v1/namespaces/default/configmaps/there"),
    get("/api/v1/namespaces/default/configmaps/there/status"),
    get("/api/v1/namespaces/default/configmaps/there/scale"),
    get("/api/v1/namespaces/default/configmaps/there/none"),
    get("/api/v1/namespaces/default/configmaps/there/status/more"),
    get("/api/v1/namespaces/default/nothings/there"),
    get("/apis/core.kcp.io/v1alpha1/logicalclusters/cluster"),
    get("/apis/tenancy.kcp.io/v1alpha1/workspaces"),
    get("/apis/tenancy.kcp.io/v1alpha1/workspaces/child"),
    get("/apis/apis.kcp.io/v1alpha2/apiexports/widgets"),
    get("/apis/apis.kcp.io/v1alpha2/apiexports/widgets/status"),
    get("/apis/example.io/v1/widgets"),
    write("HEAD", "/api/v1/namespaces/default/configmaps/there", ""),
    write("OPTIONS", "/api/v1/namespaces/default/configmaps/there", ""),
    write("POST", "/api/v1/namespaces/default/configmaps", MAP),
    write("POST", "/api/v1/namespaces/default/configmaps", "{no json"),
    write("POST", "/api/v1/namespaces/default/configmaps/there", MAP),
    write("POST", "/api/v1/namespaces/default/serviceaccounts/default/token", "{}"),
    write("PUT", "/api/v1/namespaces/default/configmaps/there", MAP),
    write("PUT", "/api/v1/namespaces/default/finalize", "{}"),
    write("PUT", "/api/v1/namespaces/default/configmaps", MAP),
    write("PATCH", "/api/v1/namespaces/default/configmaps/there", "{}"),
    write("PATCH", "/apis/apis.kcp.io/v1alpha2/apiexports/widgets/status", "{}"),
    write("DELETE", "/api/v1/namespaces/default/configmaps/there", ""),
    write("DELETE", "/api/v1/namespaces/default/configmaps", ""),
    write("DELETE", "/apis/tenancy.kcp.io/v1alpha1/workspaces/child", ""),
    write("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "{}"),
    write("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", "{}"),
    write("POST", "/apis/authentication.k8s.io/v1/tokenreviews", "{}"),
    write("POST", "/api", ""),
    write("DELETE", "/version", ""),
];

/// The same to everybody, in any cluster and none.
const OPEN: &[&str] = &[
    "/healthz",
    "/livez",
    "/readyz",
    "/readyz?verbose",
    "/livez/ping",
    "/readyz/none",
];

/// What is not of a cluster; `{cluster}` and `{export}` are part of a pair.
pub const VIEWS: &[Route] = &[
    get("/services/apiexport/{cluster}/{export}/clusters/*/apis"),
    get("/services/apiexport/{cluster}/{export}/clusters/*/openapi/v3"),
    get("/services/apiexport/{cluster}/{export}/clusters/*/apis/example.io/v1/widgets"),
    get("/services/apiexport/{cluster}/{export}/clusters/*/apis/example.io/v1/widgets?watch=true&timeoutSeconds=1"),
    get("/services/apiexport/{cluster}/{export}/clusters/*/apis/example.io/v1/namespaces/default/widgets/one"),
    get("/services/apiexport/{cluster}/{export}/clusters/*/apis/example.io/v1/namespaces/default/widgets/one/scale"),
    get("/services/apiexport/{cluster}/{export}/clusters/root/api/v1/namespaces/default/configmaps/one"),
    get("/services/apiexport/{cluster}/{export}/clusters/root/api/v1/namespaces/default/configmaps/one/none"),
    write(
        "POST",
        "/services/apiexport/{cluster}/{export}/clusters/*/api/v1/namespaces/default/configmaps",
        MAP,
    ),
    get("/services/apiexport/{cluster}/{export}"),
    get("/services/apiexport/{cluster}/{export}/clusters"),
    get("/services/apiexport/{cluster}/{export}/apis"),
    get("/services/initializingworkspaces/{cluster}:{type}/clusters/*/apis/core.kcp.io/v1alpha1/logicalclusters"),
    get(
        "/services/initializingworkspaces/{cluster}:{type}/clusters/{cluster}/apis/core.kcp.io/v1alpha1/logicalclusters/cluster",
    ),
    get("/services/initializingworkspaces/{cluster}:{type}/clusters/{cluster}/api/v1/namespaces"),
    get(
        "/services/initializingworkspaces/{cluster}:{type}/clusters/{cluster}/api/v1/namespaces/default/configmaps/there/none",
    ),
    get("/services/terminatingworkspaces/{cluster}:{type}/clusters/*/apis/core.kcp.io/v1alpha1/logicalclusters"),
    get("/services/terminatingworkspaces/{cluster}:{type}/clusters/{cluster}/api/v1/namespaces"),
    get("/services/apiresourceschema/{cluster}/apis/apis.kcp.io/v1alpha1/apiresourceschemas"),
    get(
        "/services/apiresourceschema/{cluster}/clusters/*/apis/apis.kcp.io/v1alpha1/apiresourceschemas/today.widgets.example.io",
    ),
    get("/services/apiresourceschema/{cluster}/clusters/*/apis/apis.kcp.io/v1alpha1/apiresourceschemas/a/status"),
    get("/services/apiresourceschema/{cluster}/api"),
];

// === impl Route ===

impl Route {
    pub async fn ask(&self, who: &Client, path: &str) -> Answer {
        let headers: &[(&str, &str)] = match self.method {
            "PATCH" => &[("content-type", "application/merge-patch+json")],
            "POST" | "PUT" => &[("content-type", "application/json")],
            _ => &[],
        };
        who.call(self.method, path, headers, self.body).await
    }
}

// === impl Pair ===

impl Pair {
    fn new(existing: impl Into<String>, absent: impl Into<String>) -> Self {
        let (existing, absent) = (existing.into(), absent.into());
        assert_eq!(existing.len(), absent.len(), "lengths are seen in headers");
        Self { existing, absent }
    }

    /// Two answers differ in nothing but what the sender typed.
    fn compare(&self, findings: &mut Findings, what: &str, existing: &Answer, absent: &Answer) {
        let shown = absent.seen().replace(&self.absent, &self.existing);
        if existing.seen() != shown {
            let (there, not) = (&self.existing, &self.absent);
            findings.add(format!(
                "{what}: {there} exists, {not} does not:\n{}\n--\n{shown}\n",
                existing.seen()
            ));
        }
    }
}

/// Workspaces of root, which everybody who is somebody may list, as in kcp.
fn in_root() -> Vec<Pair> {
    vec![
        Pair::new("root:alpha", "root:gamma"),
        Pair::new("root:alpha:child", "root:gamma:child"),
    ]
}

/// Clusters that alice has, and such as nobody has, by name and by path.
fn clusters(world: &World) -> Vec<Pair> {
    let absent = |name: &str| "z".repeat(name.len());
    vec![
        Pair::new(world.alpha.clone(), absent(&world.alpha)),
        Pair::new("root:alpha:child", "root:alpha:abode"),
        Pair::new("root:alpha:child:none", "root:alpha:abode:none"),
        Pair::new(format!("{}:child", world.alpha), format!("{}:abode", world.alpha)),
    ]
}

/// Those to whom alpha is none of their business.
fn outsiders(world: &World) -> Vec<(&'static str, Client)> {
    vec![
        ("a stranger", world.person("mallory")),
        ("a neighbour", world.person("bob")),
        ("anonymous", world.anonymous()),
    ]
}

#[test]
fn law_5_outsiders_cannot_tell_existing_clusters_from_absent_ones() {
    let world = &*WORLD;
    world.run(async {
        let mut findings = Findings::default();
        for (name, who) in outsiders(world) {
            let anonymous = if name == "anonymous" { in_root() } else { Vec::new() };
            for pair in clusters(world).into_iter().chain(anonymous) {
                for route in ROUTES {
                    let existing = route
                        .ask(&who, &format!("/clusters/{}{}", pair.existing, route.path))
                        .await;
                    let absent = route
                        .ask(&who, &format!("/clusters/{}{}", pair.absent, route.path))
                        .await;
                    let what = format!("{name}: {} {}", route.method, route.path);
                    findings.expect_code(&what, &existing, 403);
                    pair.compare(&mut findings, &what, &existing, &absent);
                }
                for path in OPEN {
                    let existing = who.get(&format!("/clusters/{}{path}", pair.existing)).await;
                    let absent = who.get(&format!("/clusters/{}{path}", pair.absent)).await;
                    pair.compare(&mut findings, &format!("{name}: {path}"), &existing, &absent);
                }
            }
        }
        findings.none();
    });
}

#[test]
fn law_5_outsiders_cannot_tell_existing_objects_from_absent_ones() {
    let world = &*WORLD;
    let pairs = [
        ("/api/v1/namespaces/default/configmaps/{}", Pair::new("there", "wrong")),
        (
            "/api/v1/namespaces/{}/configmaps/there",
            Pair::new("default", "absence"),
        ),
        (
            "/apis/apis.kcp.io/v1alpha2/{}/widgets",
            Pair::new("apiexports", "apinothing"),
        ),
        ("/apis/{}/v1alpha2/apiexports", Pair::new("apis.kcp.io", "none.kcp.io")),
        (
            "/apis/tenancy.kcp.io/v1alpha1/workspaces/{}",
            Pair::new("child", "abode"),
        ),
    ];
    world.run(async {
        let mut findings = Findings::default();
        for (name, who) in outsiders(world) {
            for (path, pair) in &pairs {
                for method in ["GET", "DELETE", "PUT", "PATCH", "POST"] {
                    let at = |text: &str| format!("/clusters/{}{}", world.alpha, path.replace("{}", text));
                    let ask = async |text| who.send(method, &at(text), &serde_json::json!({})).await;
                    let (existing, absent) = (ask(&pair.existing).await, ask(&pair.absent).await);
                    let what = format!("{name}: {method} {path}");
                    findings.expect_code(&what, &existing, 403);
                    pair.compare(&mut findings, &what, &existing, &absent);
                }
            }
        }
        findings.none();
    });
}

#[test]
fn law_5_views_do_not_tell_which_exports_and_types_there_are() {
    let world = &*WORLD;
    let no_cluster = "z".repeat(world.alpha.len());
    world.run(async {
        let mut findings = Findings::default();
        for (name, who) in outsiders(world) {
            for route in VIEWS {
                let ask = async |cluster: &str, export: &str, of_type: &str| {
                    let path = route.path.replace("{cluster}", cluster);
                    let path = path.replace("{export}", export).replace("{type}", of_type);
                    route.ask(&who, &path).await
                };
                let existing = ask(&world.alpha, "widgets", "typed").await;
                findings.expect_code(&format!("{name}: {}", route.path), &existing, 403);
                for (cluster, export, of_type) in [
                    (no_cluster.as_str(), "widgets", "typed"),
                    (&*world.alpha, "gadgets", "typed"),
                    (&*world.alpha, "widgets", "blank"),
                ] {
                    let absent = ask(cluster, export, of_type).await;
                    let shown = absent.seen().replace(cluster, &world.alpha).replace(export, "widgets");
                    let shown = shown.replace(of_type, "typed");
                    if existing.seen() != shown {
                        let what = format!("{name}: {} with {cluster} {export} {of_type}", route.path);
                        findings.add(format!("{what}:\n{}\n--\n{shown}\n", existing.seen()));
                    }
                }
            }
        }
        findings.none();
    });
}

#[test]
fn credentials_that_do_not_hold_are_401_whatever_is_asked_for() {
    let world = &*WORLD;
    let who = world.impostor();
    world.run(async {
        let mut first: Option<Answer> = None;
        let mut check = |what: String, answer: Answer| {
            assert_eq!(answer.code, 401, "{what}: {}", answer.text());
            let first = first.get_or_insert_with(|| {
                assert_eq!(answer.reason(), "Unauthorized");
                Answer {
                    code: answer.code,
                    headers: answer.headers.clone(),
                    body: answer.body.clone(),
                }
            });
            if !what.starts_with("HEAD") {
                assert_eq!(first.seen(), answer.seen(), "{what}");
            }
        };
        for pair in clusters(world).into_iter().chain(in_root()) {
            for cluster in [&pair.existing, &pair.absent] {
                for route in ROUTES {
                    let path = format!("/clusters/{cluster}{}", route.path);
                    check(format!("{} {path}", route.method), route.ask(&who, &path).await);
                }
            }
        }
        for route in VIEWS.iter().chain(ROUTES) {
            check(
                format!("{} {}", route.method, route.path),
                route.ask(&who, route.path).await,
            );
        }
        for path in [
            "/metrics",
            "/services",
            "/services/",
            "/services/none/x",
            "/clusters/*/api/v1/configmaps",
        ] {
            check(format!("GET {path}"), who.get(path).await);
        }
    });
}

#[test]
fn outside_of_clusters_only_masters_find_anything() {
    let world = &*WORLD;
    world.run(async {
        let mut findings = Findings::default();
        let mut all: Vec<&str> = ROUTES.iter().map(|route| route.path).collect();
        all.extend([
            "/metrics",
            "/services",
            "/services/none",
            "/clusters/*/api/v1/configmaps",
            "/clusters/*/apis",
        ]);
        for (name, who) in outsiders(world) {
            for path in &all {
                let answer = who.get(path).await;
                findings.expect_code(&format!("{name}: {path}"), &answer, 403);
            }
        }
        // Who may read in one cluster may not read in all, nor where there is none.
        let alice = world.person("alice");
        for path in [
            "/clusters/*/api/v1/configmaps",
            "/api/v1/configmaps",
            "/metrics",
            "/clusters/system:admin/api",
        ] {
            assert_eq!(alice.get(path).await.code, 403, "{path}");
        }
        assert_eq!(world.master.get("/clusters/*/api/v1/configmaps").await.code, 200);
        findings.none();
    });
}

#[test]
fn not_found_is_for_those_who_may_read_there() {
    let world = &*WORLD;
    world.run(async {
        let mut findings = Findings::default();
        let (alice, bob) = (world.person("alice"), world.person("bob"));
        let (carol, dave) = (world.person("carol"), world.person("dave"));
        let at = |path: &str| format!("/clusters/root:alpha{path}");
        for (path, for_alice, for_carol) in [
            ("/api/v1/namespaces/default/configmaps/there", 200, 200),
            ("/api/v1/namespaces/default/configmaps/wrong", 404, 404),
            ("/api/v1/namespaces/absence/configmaps/wrong", 404, 404),
            ("/api/v1/namespaces/default/secrets/wrong", 404, 403),
            ("/apis/none.example.io/v1/things", 404, 403),
            ("/apis/none.example.io/v1", 404, 404),
            ("/no/such/path", 404, 403),
            ("/logs/x", 404, 403),
            ("/debug/pprof", 404, 403),
        ] {
            findings.expect_code(&format!("alice {path}"), &alice.get(&at(path)).await, for_alice);
            findings.expect_code(&format!("carol {path}"), &carol.get(&at(path)).await, for_carol);
        }
        // Below alpha alice may see which workspaces there are; beside it she may not.
        assert_eq!(alice.get("/clusters/root:alpha:abode/api").await.code, 404);
        assert_eq!(bob.get("/clusters/root:alpha:abode/api").await.code, 403);
        // Root's are for all users, and for nobody else.
        assert_eq!(alice.get("/clusters/root:gamma/api").await.code, 404);
        assert_eq!(world.anonymous().get("/clusters/root:gamma/api").await.code, 403);
        // Who may see one name may not hear of others: dave may see workspaces of alpha that are called "deep".
        for path in ["root:alpha:child:deep", "root:alpha:abode:deep"] {
            assert_eq!(dave.get(&format!("/clusters/{path}/api")).await.code, 403, "{path}");
        }
        assert_eq!(dave.get("/clusters/root:alpha:deep/api").await.code, 404);
        assert_eq!(carol.get("/clusters/root:alpha:abode/api").await.code, 403);
        let answer = world.master.get("/clusters/root:gamma/api").await;
        assert_eq!((answer.code, answer.reason()), (404, "NotFound".to_owned()));
        findings.none();
    });
}
