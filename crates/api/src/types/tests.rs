use machinery::object::ObjectExt;
use machinery::user::User;
use serde_json::{Value, json};

use super::*;
use crate::keys::{annotation, label};

fn recorded(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Without what storage and admission add.
fn as_made(mut object: Value) -> Value {
    for member in [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "finalizers",
    ] {
        object.remove_at(&["metadata", member]);
    }
    object.remove_annotation(annotation::CLUSTER);
    object
}

/// An object of a fresh workspace of type universal, as kcp made it.
fn fresh(kind: &str, name: &str) -> Value {
    let all = recorded(include_str!("../../tests/golden/fresh-universal.json"));
    let found = all
        .as_array()
        .unwrap()
        .iter()
        .find(|o| o.kind() == kind && o.name() == name)
        .unwrap();
    as_made(found.clone())
}

fn universal() -> Vec<String> {
    vec![initializer_name("root", "universal"), "system:apibindings".to_owned()]
}

#[test]
fn bound_crds_look_as_kcps() {
    let schema = recorded(include_str!("../../tests/golden/apiresourceschema.json"));
    let mut expected = as_made(recorded(include_str!("../../tests/golden/bound-crd.json")));
    expected.remove_at(&["status"]);
    assert_eq!(bound_crd(&schema).unwrap(), expected);
}

#[test]
fn bound_crds_keep_conversion_and_naming() {
    let webhook = json!({"clientConfig": {"url": "https://c", "caBundle": "AA=="}, "conversionReviewVersions": ["v1"]});
    let mut schema = json!({
        "metadata": {"name": "v1.things.g.k8s.io", "uid": "u", "annotations": {annotation::API_APPROVED: "https://pr"}},
        "spec": {
            "group": "g.k8s.io", "scope": "Cluster", "nameValidation": "PathSegmentName",
            "versions": [{"name": "v1", "schema": {}}, {"name": "v2", "schema": {}}],
            "conversion": {"strategy": "Webhook", "webhook": webhook},
        },
    });
    let crd = bound_crd(&schema).unwrap();
    assert_eq!(
        crd["spec"]["conversion"],
        json!({"strategy": "Webhook", "webhook": webhook})
    );
    assert_eq!(crd.annotation(annotation::API_APPROVED), Some("https://pr"));
    assert_eq!(crd.annotation(annotation::VALIDATE_NAME), Some("path-segment"));
    schema.remove_at(&["spec", "conversion"]);
    let error = bound_crd(&schema).unwrap_err().to_string();
    assert_eq!(
        error,
        "multiple versions specified for v1.things.g.k8s.io but no conversion strategy"
    );
}

#[test]
fn logical_clusters_are_made_as_kcp_does() {
    let mut workspace = recorded(include_str!("../../tests/golden/workspace-ready.json"));
    let created = recorded(include_str!("../../tests/golden/logicalcluster-created.json"));
    workspace.set_annotation(annotation::OWNER, created.annotation(annotation::OWNER).unwrap());
    let made = NewLogicalCluster {
        workspace: &workspace,
        shard: "root",
        path: "root:fresh",
        initializers: universal(),
        terminators: vec![],
    };
    let mut expected = as_made(created);
    expected.remove_at(&["status"]);
    assert_eq!(made.to_value(), expected);
}

#[test]
fn unreadable_owners_create_nothing() {
    let mut workspace = recorded(include_str!("../../tests/golden/workspace-ready.json"));
    workspace.set_annotation(annotation::OWNER, "{");
    let made = NewLogicalCluster {
        workspace: &workspace,
        shard: "s",
        path: "p",
        initializers: vec![],
        terminators: vec![],
    };
    assert_eq!(made.to_value().at(&["spec", "createdBy"]), None);
    assert_eq!(reduced_owner("{"), None);
    assert_eq!(
        reduced_owner(r#"{"username":"u","uid":"1","groups":["g"]}"#).unwrap(),
        r#"{"username":"u"}"#
    );
}

#[test]
fn home_clusters_are_made_as_kcp_does() {
    let recorded = recorded(include_str!("../../tests/golden/home-logicalcluster.json"));
    let mut user = User::new("user-3", &["team-3", "system:authenticated"]);
    user.uid = "3333-3333-3333-3333".to_owned();
    let home = HomeCluster {
        user: &user,
        shard: "root",
        initializers: universal(),
        terminators: vec![],
    };
    assert_eq!(Some(home.cluster().as_str()), recorded.annotation(annotation::CLUSTER));
    let made = home.to_value();
    assert_eq!(made["spec"], recorded["spec"]);
    for key in [annotation::WORKSPACE_TYPE, annotation::SHARD, annotation::PATH] {
        assert_eq!(made.annotation(key), recorded.annotation(key), "{key}");
    }
}

#[test]
fn home_workspaces_are_shown_as_kcp_does() {
    let cluster = recorded(include_str!("../../tests/golden/home-logicalcluster.json"));
    assert_eq!(
        home_workspace(&cluster),
        recorded(include_str!("../../tests/golden/home-workspace.json"))
    );
}

#[test]
fn fresh_workspaces_are_filled_as_kcp_does() {
    for name in ["default", "kube-system"] {
        assert_eq!(namespace(name), fresh("Namespace", name));
    }
    assert_eq!(default_service_account("default"), fresh("ServiceAccount", "default"));
    assert_eq!(
        workspace_admin("kcp-admin"),
        fresh("ClusterRoleBinding", "workspace-admin")
    );
}

#[test]
fn default_bindings_are_made_as_kcp_does() {
    let export = crate::exports::exports()
        .iter()
        .find(|e| e.name() == "tenancy.kcp.io")
        .unwrap();
    let of = DefaultBinding {
        cluster: "nhsassutqnpzx947",
        export_path: "root",
        export,
    };
    let made = default_binding(of);
    let mut expected = fresh("APIBinding", made.name());
    assert!(expected.remove_label(label::EXPORT));
    expected["metadata"]
        .as_object_mut()
        .unwrap()
        .retain(|key, _| key == "name");
    expected.remove_at(&["status"]);
    assert_eq!(made, expected);
}

#[test]
fn default_bindings_accept_every_claim() {
    let export = json!({
        "metadata": {"name": "e"},
        "spec": {"permissionClaims": [
            {"resource": "configmaps", "verbs": ["get"], "defaultSelector": {"matchLabels": {"a": "b"}}},
            {"group": "g.io", "resource": "things", "verbs": ["*"], "identityHash": "h"},
        ]},
    });
    let claims = &default_binding(DefaultBinding {
        cluster: "c",
        export_path: "root:p",
        export: &export,
    })["spec"]["permissionClaims"];
    assert_eq!(claims[0]["selector"], json!({"matchLabels": {"a": "b"}}));
    assert_eq!(claims[1]["selector"], json!({"matchAll": true}));
    assert!(
        claims
            .as_array()
            .unwrap()
            .iter()
            .all(|claim| claim["state"] == "Accepted")
    );
}

#[test]
fn endpoint_slices_look_as_kcps() {
    let export = recorded(include_str!("../../tests/golden/apiexport-v1alpha2.json"));
    let mut expected = as_made(recorded(include_str!(
        "../../tests/golden/apiexportendpointslice-without-consumers.json"
    )));
    expected.remove_at(&["status"]);
    assert_eq!(default_endpoint_slice(&export), expected);

    let with = recorded(include_str!(
        "../../tests/golden/apiexportendpointslice-with-consumer.json"
    ));
    let url = apiexport_url("https://HOST:PORT/", "n9le6n7u073ogu2k", "example.io");
    assert_eq!(with["status"]["endpoints"][0]["url"], url);
    assert_eq!(
        lifecycle_url("https://HOST:PORT", Lifecycle::Terminating, "root", "home"),
        "https://HOST:PORT/services/terminatingworkspaces/root:home"
    );
    assert_eq!(
        replication_url("https://h", "c", "s"),
        "https://h/services/replication/c/s"
    );
}

#[test]
fn identities_come_back_from_their_secret() {
    let key = identity_key(&[7; 32]);
    assert_eq!(key.len(), 43);
    let secret = identity_secret("example.io", &key);
    assert_eq!(secret_key(&secret), Some(key.into_bytes()));
    assert_eq!(secret_key(&json!({"data": {"key": "%"}})), None);
    assert_eq!(secret_key(&json!({})), None);
}

#[test]
fn locks_read_and_write_as_kcp_does() {
    let cluster = recorded(include_str!("../../tests/golden/provider-logicalcluster.json"));
    let locks = ResourceLocks::read(&cluster).unwrap();
    assert_eq!(
        locks.0["workspaces.tenancy.kcp.io"],
        Holder::of_binding("tenancy.kcp.io-1n8dy")
    );
    assert_eq!(
        locks.to_text(),
        cluster.annotation(annotation::RESOURCE_BINDINGS).unwrap()
    );
    assert_eq!(ResourceLocks::read(&json!({})), None);
    assert_eq!(resource_key("", "configmaps"), "configmaps");
}

#[test]
fn names_that_others_hold_stay_theirs() {
    let now = "2026-11-22T17:00:00Z";
    let (early, late) = ("2026-11-22T16:59:59Z".to_owned(), "2026-11-22T17:00:01Z".to_owned());
    let waiting = |expiry: &String| Holder {
        expiry: Some(expiry.clone()),
        ..Holder::of_crd()
    };
    let mut locks = ResourceLocks::default();
    for (key, holder) in [
        ("mine.io", Holder::of_binding("b")),
        ("theirs.io", Holder::of_binding("other")),
        ("crd.io", Holder::of_crd()),
        ("late.io", waiting(&late)),
        ("early.io", waiting(&early)),
        ("made.io", waiting(&early)),
    ] {
        locks.0.insert(key.to_owned(), holder);
    }
    let keys: Vec<String> = [
        "free.io",
        "mine.io",
        "theirs.io",
        "crd.io",
        "late.io",
        "early.io",
        "made.io",
    ]
    .iter()
    .map(|key| (*key).to_owned())
    .collect();
    let held = locks.take_for_binding("b", &keys, now, |key| key == "made.io");
    assert_eq!(
        held.keys().collect::<Vec<_>>(),
        ["crd.io", "late.io", "made.io", "theirs.io"]
    );
    for key in ["free.io", "mine.io", "early.io"] {
        assert_eq!(locks.0[key], Holder::of_binding("b"), "{key}");
    }
    assert_eq!(locks.0["theirs.io"], Holder::of_binding("other"));
}
