use machinery::object::ObjectExt;
use serde_json::{Value, json};
use storage::ResourceKey;

use crate::testing::{Answer, CONSUMER, IDENTITY, OTHER, PROVIDER, World, logical_cluster};

const ADMIN: &str = "kcp-admin;system:kcp:admin";
const APPLY: &str = "application/apply-patch+yaml";
const MERGE: &str = "application/merge-patch+json";

fn schema(plural: &str, kind: &str, scope: &str) -> Value {
    json!({
        "apiVersion": "apis.kcp.io/v1alpha1", "kind": "APIResourceSchema",
        "metadata": {"name": format!("today.{plural}.example.io"), "uid": format!("uid-{plural}")},
        "spec": {
            "group": "example.io", "scope": scope,
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")},
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true,
                "schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {
                        "size": {"type": "integer"}, "colour": {"type": "string", "default": "red"}}},
                    "status": {"type": "object", "properties": {"phase": {"type": "string"}}},
                }},
                "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}},
            }],
        },
    })
}

fn export() -> Value {
    json!({
        "apiVersion": "apis.kcp.io/v1alpha2", "kind": "APIExport", "metadata": {"name": "example.io"},
        "spec": {
            "resources": [
                {"group": "example.io", "name": "widgets", "schema": "today.widgets.example.io", "storage": {"crd": {}}},
                {"group": "example.io", "name": "gadgets", "schema": "today.gadgets.example.io", "storage": {"crd": {}}},
            ],
            "permissionClaims": [
                {"group": "", "resource": "configmaps", "verbs": ["get", "list", "watch", "create", "update", "patch"]},
                {"group": "", "resource": "secrets", "verbs": ["*"]},
                {"group": "", "resource": "serviceaccounts", "verbs": ["get", "list"]},
            ],
        },
        "status": {"identityHash": IDENTITY},
    })
}

fn binding(selector: Value) -> Value {
    let exported = export()["spec"]["permissionClaims"].clone();
    let claim = |resource: &str, verbs: Value, state: &str| json!({"group": "", "resource": resource, "verbs": verbs, "state": state, "selector": selector});
    json!({
        "apiVersion": "apis.kcp.io/v1alpha2", "kind": "APIBinding",
        "metadata": {"name": "example", "labels": {
            "internal.apis.kcp.io/export": api::hashes::export_label(PROVIDER, "example.io")}},
        "spec": {
            "reference": {"export": {"name": "example.io", "path": "root:golden:provider"}},
            "permissionClaims": [
                claim("configmaps", json!(["get", "list", "watch", "create", "update", "patch", "deletecollection"]), "Accepted"),
                claim("secrets", json!(["*"]), "Rejected"),
                claim("serviceaccounts", json!(["*"]), "Accepted"),
            ],
        },
        "status": {
            "apiExportClusterName": PROVIDER, "phase": "Bound",
            "boundResources": [
                {"group": "example.io", "resource": "widgets", "schema": {"identityHash": IDENTITY}},
                {"group": "example.io", "resource": "gadgets", "schema": {"identityHash": IDENTITY}},
            ],
            "exportPermissionClaims": exported,
        },
    })
}

fn widget(name: &str) -> Value {
    json!({"apiVersion": "example.io/v1alpha1", "kind": "Widget", "metadata": {"name": name, "namespace": "default"},
           "spec": {"size": 1}})
}

fn config_map(name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default", "labels": labels}})
}

fn path(rest: &str) -> String {
    format!("/services/apiexport/{PROVIDER}/example.io/clusters/{rest}")
}

fn in_consumer(rest: &str) -> String {
    path(&format!("{CONSUMER}/{rest}"))
}

/// An export with two consumers. `kcp-admin` may everything, `provider` has the export's content.
async fn world() -> World {
    world_with(json!({"matchAll": true})).await
}

async fn world_with(selector: Value) -> World {
    let world = World::new().await;
    for cluster in [PROVIDER, CONSUMER, OTHER] {
        world
            .put(cluster, "logicalclusters.core.kcp.io", logical_cluster("Ready"))
            .await;
    }
    world
        .put(
            PROVIDER,
            "apiresourceschemas.apis.kcp.io",
            schema("widgets", "Widget", "Namespaced"),
        )
        .await;
    world
        .put(
            PROVIDER,
            "apiresourceschemas.apis.kcp.io",
            schema("gadgets", "Gadget", "Cluster"),
        )
        .await;
    world.put(PROVIDER, "apiexports.apis.kcp.io", export()).await;
    for cluster in [CONSUMER, OTHER] {
        world
            .put(cluster, "apibindings.apis.kcp.io", binding(selector.clone()))
            .await;
    }
    world.grant(
        "system:kcp:admin",
        "system:admin",
        json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}),
    );
    let content = json!({"verbs": ["*"], "apiGroups": ["apis.kcp.io"], "resources": ["apiexports/content"],
                         "resourceNames": ["example.io"]});
    world.grant("provider", PROVIDER, content);
    world
}

fn assert_forbidden(answer: &Answer, text: &str) {
    assert_eq!((answer.status.as_u16(), answer.message().as_str()), (403, text));
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
}

#[tokio::test(start_paused = true)]
async fn discovery_is_the_same_for_every_cluster() {
    let world = world().await;
    for cluster in ["*", CONSUMER, PROVIDER, "nosuch"] {
        let groups = world.get("provider", &path(&format!("{cluster}/apis"))).await.json();
        let names: Vec<&str> = groups["groups"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|g| g.str_at(&["name"]))
            .collect();
        assert_eq!(names, ["apis.kcp.io", "example.io"]);
        let list = world
            .get("provider", &path(&format!("{cluster}/apis/example.io/v1alpha1")))
            .await
            .json();
        let names: Vec<&str> = list["resources"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|r| r.str_at(&["name"]))
            .collect();
        assert_eq!(
            names,
            ["gadgets", "gadgets/status", "widgets", "widgets/status"],
            "no scale here"
        );
        let core = world.get("provider", &path(&format!("{cluster}/api/v1"))).await.json();
        let names: Vec<&str> = core["resources"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|r| r.str_at(&["name"]))
            .collect();
        assert_eq!(
            names,
            ["configmaps", "secrets", "serviceaccounts"],
            "nor tokens of accounts"
        );
        for version in ["v1alpha1", "v1alpha2"] {
            let bindings = world
                .get("provider", &path(&format!("{cluster}/apis/apis.kcp.io/{version}")))
                .await
                .json();
            let resources = bindings["resources"].as_array().unwrap();
            assert_eq!(resources.len(), 1);
            let mut verbs: Vec<&str> = resources[0]["verbs"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(Value::as_str)
                .collect();
            verbs.sort_unstable();
            assert_eq!(verbs, ["get", "list", "watch"]);
        }
    }
    assert_eq!(world.get("stranger", &path("*/apis")).await.status, 403);
}

#[tokio::test(start_paused = true)]
async fn lists_all_consumers_at_once() {
    let world = world().await;
    for (cluster, name) in [(OTHER, "b"), (CONSUMER, "a")] {
        world.put(cluster, "widgets.example.io", widget(name)).await;
    }
    let foreign = ResourceKey::identity("example.io", "widgets", &"b".repeat(64));
    world.put_at(&foreign, OTHER, widget("foreign")).await;
    let list = world.get("provider", &path("*/apis/example.io/v1alpha1/widgets")).await;
    assert_eq!(list.items(), [format!("{CONSUMER}/a"), format!("{OTHER}/b")]);
    let revision: u64 = list
        .json()
        .str_at(&["metadata", "resourceVersion"])
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(revision, world.shard.store.revision());
    let one = world
        .get("provider", &path(&format!("{OTHER}/apis/example.io/v1alpha1/widgets")))
        .await;
    assert_eq!(one.items(), [format!("{OTHER}/b")]);
}

#[tokio::test(start_paused = true)]
async fn one_stream_carries_the_changes_of_all_consumers() {
    let world = world().await;
    let list = world
        .get("provider", &path("*/apis/example.io/v1alpha1/widgets"))
        .await
        .json();
    let from = list.str_at(&["metadata", "resourceVersion"]).unwrap().to_owned();
    for cluster in [CONSUMER, OTHER] {
        world.put(cluster, "widgets.example.io", widget("w")).await;
    }
    let url = path(&format!(
        "*/apis/example.io/v1alpha1/widgets?watch=1&resourceVersion={from}"
    ));
    let mut watch = world.watch("provider", &url).await;
    for cluster in [CONSUMER, OTHER] {
        let event = watch.next().await.expect("an event");
        assert_eq!(event["type"], "ADDED");
        assert_eq!(event["object"].annotation("kcp.io/cluster"), Some(cluster));
    }
}

#[tokio::test(start_paused = true)]
async fn claimed_objects_are_seen_by_their_label() {
    let world = world().await;
    let key = api::hashes::claim_label_key(PROVIDER, "example.io");
    let value = api::hashes::claim_label_value("", "configmaps", "");
    world
        .put(CONSUMER, "configmaps", config_map("seen", json!({key.clone(): value})))
        .await;
    world.put(CONSUMER, "configmaps", config_map("hidden", json!({}))).await;
    world
        .put(CONSUMER, "configmaps", config_map("forged", json!({key: "other"})))
        .await;
    for list in [path("*/api/v1/configmaps"), in_consumer("api/v1/configmaps")] {
        assert_eq!(world.get("provider", &list).await.items(), [format!("{CONSUMER}/seen")]);
    }
    let one = |name: &str| in_consumer(&format!("api/v1/namespaces/default/configmaps/{name}"));
    assert_eq!(world.get("provider", &one("seen")).await.status, 200);
    let hidden = world.get("provider", &one("hidden")).await;
    assert_eq!(hidden.message(), "configmaps \"hidden\" not found");
    let patched = world
        .send("provider", "PATCH", &one("hidden"), MERGE, json!({"data": {"a": "b"}}))
        .await;
    assert_eq!(patched.status, 404, "what is hidden cannot be written");
}

#[tokio::test(start_paused = true)]
async fn a_claim_must_be_accepted_with_the_verb_on_both_sides() {
    let world = world().await;
    let rejected = world.get(ADMIN, &in_consumer("api/v1/secrets")).await;
    let text = "secrets is forbidden: User \"kcp-admin\" cannot list resource \"secrets\" in API group \"\" at the cluster \
                scope: access denied";
    assert_forbidden(&rejected, text);
    assert!(world.get(ADMIN, &path("*/api/v1/secrets")).await.items().is_empty());
    let delete = in_consumer("api/v1/namespaces/default/configmaps/kube-root-ca.crt");
    let text = "configmaps \"kube-root-ca.crt\" is forbidden: User \"kcp-admin\" cannot delete resource \"configmaps\" in \
                API group \"\" in the namespace \"default\": access denied";
    assert_forbidden(&world.send(ADMIN, "DELETE", &delete, "", Value::Null).await, text);
    // `*` of one side is not what the other side lists.
    assert_eq!(
        world.get(ADMIN, &in_consumer("api/v1/serviceaccounts")).await.status,
        403
    );
    let collection = in_consumer("api/v1/namespaces/default/configmaps");
    assert_eq!(
        world.send(ADMIN, "DELETE", &collection, "", Value::Null).await.status,
        403
    );
}

#[tokio::test(start_paused = true)]
async fn refuses_clusters_without_binding_and_users_without_content() {
    let world = world().await;
    let unbound = world
        .get(ADMIN, &path(&format!("{PROVIDER}/apis/example.io/v1alpha1/widgets")))
        .await;
    let denied = |user: &str| {
        format!(
            "widgets.example.io is forbidden: User {user:?} cannot list resource \"widgets\" in API group \"example.io\" at \
             the cluster scope: access denied"
        )
    };
    assert_forbidden(&unbound, &denied("kcp-admin"));
    let stranger = world.get("user-2", &path("*/apis/example.io/v1alpha1/widgets")).await;
    assert_forbidden(&stranger, &denied("user-2"));
    assert_eq!(
        world
            .get("user-2", &in_consumer("apis/example.io/v1alpha1/widgets"))
            .await
            .status,
        403
    );
}

#[tokio::test(start_paused = true)]
async fn an_unknown_export_is_plain_for_those_who_may_know() {
    let world = world().await;
    let url = format!("/services/apiexport/{PROVIDER}/nope/clusters/*/apis");
    let answer = world.get(ADMIN, &url).await;
    assert_eq!(answer.status, 500);
    let why = "API export not found: apiexport.apis.kcp.io \"nope\" not found";
    assert_eq!(answer.body, format!("Internal Server Error: {url:?}: {why}\n"));
    assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(world.get("user-2", &url).await.status, 403);
    assert_eq!(
        world
            .get(ADMIN, "/services/apiexport/nosuch/example.io/clusters/*/apis")
            .await
            .status,
        403
    );
}

#[tokio::test(start_paused = true)]
async fn paths_are_no_names() {
    let world = world().await;
    for url in [
        path("root:golden:consumer/apis"),
        "/services/nope".to_owned(),
        "/services/apiexport/x".to_owned(),
    ] {
        let text = format!(
            "forbidden: User \"kcp-admin\" cannot get path {url:?}: Path not resolved to a valid virtual \
                            workspace"
        );
        assert_forbidden(&world.get(ADMIN, &url).await, &text);
        let masters = world.get("shard-admin;system:masters", &url).await;
        assert_eq!(
            (masters.status.as_u16(), masters.body.as_str()),
            (404, "404 page not found\n")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn over_all_clusters_there_are_no_namespaces_and_no_single_objects() {
    let world = world().await;
    let namespaced = world.get(ADMIN, &path("*/api/v1/namespaces/default/configmaps")).await;
    let text = "cross-cluster LIST and WATCH are required to be cross-namespace, not scoped to namespace default";
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": text, "code": 400});
    assert_eq!((namespaced.status.as_u16(), namespaced.json()), (400, status));
    let unclaimed = world.get(ADMIN, &path("*/api/v1/namespaces")).await;
    assert_eq!(
        (unclaimed.status.as_u16(), unclaimed.body.as_str()),
        (404, "404 page not found\n")
    );
    assert_eq!(world.get(ADMIN, &in_consumer("api/v1/namespaces")).await.status, 403);
    let single = world
        .get(ADMIN, &path("*/apis/example.io/v1alpha1/namespaces/default/widgets/w"))
        .await;
    assert_eq!(
        (single.status.as_u16(), single.message().as_str()),
        (404, "the server could not find the requested resource")
    );
}

#[tokio::test(start_paused = true)]
async fn bindings_to_the_export_can_be_read() {
    let world = world().await;
    let mut foreign = binding(json!({"matchAll": true}));
    foreign["metadata"] = json!({"name": "foreign", "labels": {"internal.apis.kcp.io/export": "another"}});
    world.put(OTHER, "apibindings.apis.kcp.io", foreign).await;
    let list = world
        .get("provider", &path("*/apis/apis.kcp.io/v1alpha2/apibindings"))
        .await;
    assert_eq!(
        list.items(),
        [format!("{CONSUMER}/example"), format!("{OTHER}/example")]
    );
    let one = in_consumer("apis/apis.kcp.io/v1alpha2/apibindings/example");
    assert_eq!(world.get("provider", &one).await.status, 200);
    assert_eq!(world.get("provider", &format!("{one}/status")).await.status, 403);
    let text = "apibindings.apis.kcp.io \"example\" is forbidden: User \"kcp-admin\" cannot delete resource \"apibindings\" in \
                API group \"apis.kcp.io\" at the cluster scope: access denied";
    assert_forbidden(&world.send(ADMIN, "DELETE", &one, "", Value::Null).await, text);
}

#[tokio::test(start_paused = true)]
async fn writes_by_a_claim_get_its_labels() {
    let world = world_with(json!({"matchLabels": {"app": "x"}})).await;
    let url = in_consumer("api/v1/namespaces/default/configmaps");
    let made = world
        .send("provider", "POST", &url, "", config_map("a", json!({})))
        .await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(made.json().label("app"), Some("x"));
    let key = api::hashes::claim_label_key(PROVIDER, "example.io");
    assert!(made.json().label(&key).is_some());
    let other = world
        .send("provider", "POST", &url, "", config_map("b", json!({"app": "y"})))
        .await;
    assert_eq!(
        other.message(),
        "configmaps \"b\" is forbidden: protected label app must have value x"
    );
    let patch = json!({"metadata": {"labels": {"app": null}}, "data": {"k": "v"}});
    let patched = world.send("provider", "PATCH", &format!("{url}/a"), MERGE, patch).await;
    assert_eq!((patched.status.as_u16(), patched.json().label("app")), (200, Some("x")));
    let away = world
        .send(
            "provider",
            "PATCH",
            &format!("{url}/a"),
            MERGE,
            json!({"metadata": {"labels": null}}),
        )
        .await;
    assert_eq!(away.status, 403, "an object cannot be written out of the claim");
    let applied = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": "v"}});
    let applied = world
        .send("provider", "PATCH", &format!("{url}/c?fieldManager=p"), APPLY, applied)
        .await;
    assert_eq!(
        (applied.status.as_u16(), applied.json().label("app")),
        (201, Some("x")),
        "{}",
        applied.body
    );
}

#[tokio::test(start_paused = true)]
async fn apply_stays_an_apply() {
    let world = world().await;
    let url = in_consumer("apis/example.io/v1alpha1/namespaces/default/widgets/ssa?fieldManager=a");
    let config = |size: u64| json!({"apiVersion": "example.io/v1alpha1", "kind": "Widget", "metadata": {"name": "ssa"}, "spec": {"size": size}});
    let made = world.send(ADMIN, "PATCH", &url, APPLY, config(1)).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let managed = &made.json()["metadata"]["managedFields"][0];
    assert_eq!(
        (&managed["manager"], &managed["operation"]),
        (&json!("a"), &json!("Apply"))
    );
    let again = world.send(ADMIN, "PATCH", &url, APPLY, config(2)).await;
    assert_eq!(
        (again.status.as_u16(), &again.json()["spec"]["size"]),
        (200, &json!(2)),
        "no conflict with oneself"
    );
    let conflict = world
        .send(ADMIN, "PATCH", &url.replace("=a", "=b"), APPLY, config(3))
        .await;
    assert_eq!(conflict.status, 409);
}

#[tokio::test(start_paused = true)]
async fn who_may_patch_content_may_not_create_it_by_apply() {
    let world = world().await;
    let rule = json!({"verbs": ["patch"], "apiGroups": ["apis.kcp.io"], "resources": ["apiexports/content"]});
    world.grant("patcher", PROVIDER, rule);
    let url = in_consumer("apis/example.io/v1alpha1/namespaces/default/widgets/w?fieldManager=a");
    let config = json!({"apiVersion": "example.io/v1alpha1", "kind": "Widget", "metadata": {"name": "w"}});
    assert_eq!(
        world.send("patcher", "PATCH", &url, APPLY, config.clone()).await.status,
        403
    );
    assert_eq!(
        world
            .send("provider", "PATCH", &url, APPLY, config.clone())
            .await
            .status,
        201
    );
    assert_eq!(world.send("patcher", "PATCH", &url, APPLY, config).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn own_resources_take_all_verbs_and_status() {
    let world = world().await;
    let url = in_consumer("apis/example.io/v1alpha1/namespaces/default/widgets");
    let made = world.send("provider", "POST", &url, "", widget("w")).await;
    assert_eq!(
        (made.status.as_u16(), &made.json()["spec"]["colour"]),
        (201, &json!("red")),
        "{}",
        made.body
    );
    assert_eq!(made.json()["metadata"]["managedFields"][0]["manager"], "tester");
    let one = format!("{url}/w");
    let status = json!({"status": {"phase": "Done"}, "spec": {"size": 9}});
    let patched = world
        .send("provider", "PATCH", &format!("{one}/status"), MERGE, status)
        .await;
    let object = patched.json();
    assert_eq!(
        (&object["status"]["phase"], &object["spec"]["size"]),
        (&json!("Done"), &json!(1))
    );
    assert_eq!(world.get("provider", &format!("{one}/scale")).await.status, 404);
    let token = in_consumer("api/v1/namespaces/default/serviceaccounts/default/token");
    assert_eq!(world.send("provider", "POST", &token, "", json!({})).await.status, 404);
    assert_eq!(
        world.send("provider", "DELETE", &one, "", Value::Null).await.status,
        200
    );
    assert!(world.get("provider", &url).await.items().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_provider_acts_with_a_warrant_for_one_cluster() {
    let world = world().await;
    let url = in_consumer("apis/example.io/v1alpha1/namespaces/default/widgets");
    world.send("provider", "POST", &url, "", widget("w")).await;
    let actor = world.shard.actor.lock().unwrap().clone().expect("a write");
    assert_eq!(actor.name, "provider");
    let warrant: Value = serde_json::from_str(&actor.extra["authorization.kcp.io/warrant"][0]).unwrap();
    assert_eq!(
        warrant,
        json!({"user": "system:serviceaccount:default:rest", "groups": ["system:kcp:admin"],
               "extra": {"authentication.kcp.io/cluster-name": [CONSUMER]}})
    );
}

#[tokio::test(start_paused = true)]
async fn inactive_clusters_are_closed_here_too() {
    let world = world().await;
    let mut cluster = logical_cluster("Inactive");
    cluster.set_annotation("core.kcp.io/inactive", "true");
    world.put(CONSUMER, "logicalclusters.core.kcp.io", cluster).await;
    let answer = world
        .get("provider", &in_consumer("apis/example.io/v1alpha1/widgets"))
        .await;
    let text = format!("logicalclusters.core.kcp.io {CONSUMER:?} is forbidden: logical cluster is marked inactive");
    assert_eq!((answer.status.as_u16(), answer.message()), (403, text));
}

#[tokio::test(start_paused = true)]
async fn the_policy_of_a_claimed_export_must_agree() {
    let world = world().await;
    let hash = "b".repeat(64);
    world
        .put("root", "logicalclusters.core.kcp.io", logical_cluster("Ready"))
        .await;
    world
        .put("root", "apiresourceschemas.apis.kcp.io", {
            let mut foreign = schema("widgets", "Widget", "Namespaced");
            foreign["metadata"] = json!({"name": "v1.things.other.io", "uid": "uid-things"});
            foreign["spec"]["group"] = json!("other.io");
            foreign["spec"]["names"] =
                json!({"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"});
            foreign
        })
        .await;
    world.put("root", "apiexports.apis.kcp.io", json!({
        "apiVersion": "apis.kcp.io/v1alpha2", "kind": "APIExport", "metadata": {"name": "other.io"},
        "spec": {"resources": [{"group": "other.io", "name": "things", "schema": "v1.things.other.io", "storage": {"crd": {}}}],
                 "maximalPermissionPolicy": {"local": {}}},
        "status": {"identityHash": hash},
    }))
    .await;
    let claim = json!({"group": "other.io", "resource": "things", "identityHash": hash, "verbs": ["list"]});
    let mut claiming = export();
    claiming["spec"]["permissionClaims"].as_array_mut().unwrap().push(claim);
    world.put(PROVIDER, "apiexports.apis.kcp.io", claiming).await;
    let url = path("*/apis/other.io/v1alpha1/things");
    assert_eq!(world.get("provider", &url).await.status, 403);
    let rule = json!({"verbs": ["list"], "apiGroups": ["other.io"], "resources": ["things"]});
    world.grant("apis.kcp.io:binding:provider", "root", rule);
    assert!(world.get("provider", &url).await.items().is_empty());
    let key = api::hashes::claim_label_key(PROVIDER, "example.io");
    let labels = json!({key: api::hashes::claim_label_value("other.io", "things", &hash)});
    let thing = json!({"apiVersion": "other.io/v1alpha1", "kind": "Thing",
                       "metadata": {"name": "t", "namespace": "default", "labels": labels}});
    world
        .put_at(&ResourceKey::identity("other.io", "things", &hash), OTHER, thing)
        .await;
    assert_eq!(world.get("provider", &url).await.items(), [format!("{OTHER}/t")]);
}

#[tokio::test(start_paused = true)]
async fn events_are_claimed_in_both_groups() {
    let world = world().await;
    let mut claiming = export();
    let claim = json!({"group": "", "resource": "events", "verbs": ["list"]});
    claiming["spec"]["permissionClaims"].as_array_mut().unwrap().push(claim);
    world.put(PROVIDER, "apiexports.apis.kcp.io", claiming).await;
    let key = api::hashes::claim_label_key(PROVIDER, "example.io");
    let labels = json!({key: api::hashes::claim_label_value("", "events", "")});
    let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "default", "labels": labels},
                       "involvedObject": {}});
    world.put(CONSUMER, "events", event).await;
    for url in [path("*/api/v1/events"), path("*/apis/events.k8s.io/v1/events")] {
        assert_eq!(
            world.get("provider", &url).await.items(),
            [format!("{CONSUMER}/e")],
            "{url}"
        );
    }
}
