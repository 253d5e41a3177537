use std::collections::BTreeMap;

use machinery::user::AUTHENTICATED;
use serde_json::json;

use super::*;

/// A world of literals: logical clusters and types by `path:name`.
#[derive(Default)]
struct Literals {
    clusters: BTreeMap<String, Value>,
    types: BTreeMap<String, Value>,
    namespaces: Vec<Value>,
}

impl TypeSource for Literals {
    fn workspace_type(&self, path: &str, name: &str) -> Option<Arc<Value>> {
        self.types.get(&format!("{path}:{name}")).cloned().map(Arc::new)
    }
}

impl World for Literals {
    fn logical_cluster(&self, cluster: &Cluster) -> Option<Arc<Value>> {
        self.clusters.get(cluster.as_str()).cloned().map(Arc::new)
    }

    fn export(&self, _: &Cluster, _: &str, _: &str) -> Option<Arc<Value>> {
        None
    }

    fn cluster_at(&self, path: &str) -> Option<Cluster> {
        (path == "root").then(|| Cluster::well_known("root"))
    }

    fn bindings(&self, _: &Cluster) -> Vec<Arc<Value>> {
        Vec::new()
    }

    fn bindings_with_claims(&self, _: &Cluster) -> Vec<Arc<Value>> {
        Vec::new()
    }

    fn namespace_terminates(&self, _: &Cluster, name: &str) -> Option<bool> {
        let namespace = self.namespaces.iter().find(|n| n.name() == name)?;
        Some(namespace.deletion_timestamp().is_some())
    }
}

fn world() -> Literals {
    let mut world = Literals::default();
    let lc = json!({"metadata": {"annotations": {"internal.tenancy.kcp.io/type": "root:root"}}});
    world.clusters.insert("root".to_owned(), lc);
    for (name, spec) in [
        (
            "root",
            json!({"defaultChildWorkspaceType": {"name": "universal", "path": "root"}}),
        ),
        ("universal", json!({"initializer": true})),
        ("home", json!({"limitAllowedParents": {"none": true}})),
    ] {
        let annotations = json!({"kcp.io/path": "root", "kcp.io/cluster": "root"});
        let object = json!({"metadata": {"name": name, "annotations": annotations}, "spec": spec});
        world.types.insert(format!("root:{name}"), object);
    }
    let annotations = json!({"kcp.io/path": "root:team", "kcp.io/cluster": "2abc"});
    let object = json!({"metadata": {"name": "foo", "annotations": annotations}, "spec": {}});
    world.types.insert("2abc:foo".to_owned(), object);
    world
}

struct Asked {
    cluster: Cluster,
    user: User,
    resource: (&'static str, &'static str),
    subresource: &'static str,
}

fn ask(group: &'static str, resource: &'static str) -> Asked {
    Asked {
        cluster: Cluster::well_known("root"),
        user: User::new("alice", &[AUTHENTICATED]),
        resource: (group, resource),
        subresource: "",
    }
}

impl Asked {
    fn run(&self, verb: Verb, object: Option<&mut Value>, old: Option<&Value>) -> Result<Vec<AccessCheck>, Status> {
        let name = object
            .as_deref()
            .map(|o| o.name().to_owned())
            .unwrap_or_else(|| "x".to_owned());
        let mut review = Review {
            verb,
            group: self.resource.0,
            resource: self.resource.1,
            version: "v1alpha1",
            subresource: self.subresource,
            cluster: &self.cluster,
            namespace: "",
            name: &name,
            user: &self.user,
            trusted: false,
            object,
            settled: None,
            old,
        };
        mutate(&mut review, &world())?;
        validate(&review, &world())
    }
}

fn workspace(spec: Value) -> Value {
    json!({"metadata": {"name": "y"}, "spec": spec})
}

#[test]
fn workspace_gets_the_parents_default_type_and_its_owner() {
    let mut object = workspace(json!({}));
    let checks = ask("tenancy.kcp.io", "workspaces")
        .run(Verb::Create, Some(&mut object), None)
        .unwrap();
    assert_eq!(object["spec"]["type"], json!({"name": "universal", "path": "root"}));
    assert_eq!(
        object.annotation(keys_owner()).unwrap(),
        r#"{"groups":["system:authenticated"],"username":"alice"}"#
    );
    assert_eq!(checks.len(), 1);
    assert_eq!((checks[0].verb, checks[0].name.as_str()), ("use", "universal"));
}

fn keys_owner() -> &'static str {
    api::keys::annotation::OWNER
}

#[test]
fn workspace_refusals_have_kcps_texts() {
    let cases = [
        (
            json!({"type": {"name": "nope"}}),
            "workspace type \"nope\" cannot be resolved",
        ),
        (
            json!({"type": {"name": "nope", "path": "root"}}),
            "Internal error occurred: workspacetypes.tenancy.kcp.io \"root:nope\" not found",
        ),
        (
            json!({"type": {"name": "home", "path": "root"}}),
            "workspace type root:home cannot have any parent",
        ),
        (
            json!({"cluster": "foo"}),
            "spec.Cluster can only be set by system privileged users",
        ),
        (
            json!({"URL": "https://foo"}),
            "spec.URL can only be set by system privileged users",
        ),
        (
            json!({"mount": {"ref": {"apiVersion": "v1", "kind": "ConfigMap"}}}),
            "spec.mount.name must be set",
        ),
    ];
    for (spec, why) in cases {
        let error = ask("tenancy.kcp.io", "workspaces")
            .run(Verb::Create, Some(&mut workspace(spec)), None)
            .unwrap_err();
        assert_eq!(
            error.message,
            format!("workspaces.tenancy.kcp.io \"y\" is forbidden: {why}")
        );
        assert_eq!(error.code, 403);
    }
}

#[test]
fn owner_cannot_be_forged() {
    let mut object = workspace(json!({}));
    object.set_annotation(keys_owner(), r#"{"username":"mallory"}"#);
    ask("tenancy.kcp.io", "workspaces")
        .run(Verb::Create, Some(&mut object), None)
        .unwrap();
    assert!(object.annotation(keys_owner()).unwrap().contains("alice"));
}

const DECIDED: [&str; 4] = [
    "internal.tenancy.kcp.io/cluster",
    "core.kcp.io/shard",
    "internal.tenancy.kcp.io/shard",
    "internal.tenancy.kcp.io/abandoned",
];

#[test]
fn what_the_scheduler_decides_is_not_the_users_to_write() {
    let mut object = workspace(json!({}));
    DECIDED
        .iter()
        .for_each(|key| object.set_annotation(key, "system:admin"));
    let asked = ask("tenancy.kcp.io", "workspaces");
    asked.run(Verb::Create, Some(&mut object), None).unwrap();
    for key in DECIDED {
        assert_eq!(object.annotation(key), None, "{key} of a new one");
    }
    let settled = [keys_owner(), "authorization.kcp.io/required-groups"];
    let mut old = object.clone();
    for key in DECIDED.iter().chain(&settled) {
        old.set_annotation(key, "decided");
    }
    let mut new = object.clone();
    DECIDED.iter().for_each(|key| new.set_annotation(key, "system:admin"));
    settled.iter().for_each(|key| _ = new.remove_annotation(key));
    new.set_annotation("color", "blue");
    asked.run(Verb::Update, Some(&mut new), Some(&old)).unwrap();
    for key in DECIDED.iter().chain(&settled) {
        assert_eq!(new.annotation(key), Some("decided"), "{key} of one that is changed");
    }
    assert_eq!(new.annotation("color"), Some("blue"));
}

#[test]
fn what_others_trust_a_cluster_to_be_is_not_its_administrators_to_write() {
    let annotations = json!({
        "kcp.io/path": "root:a", "internal.tenancy.kcp.io/type": "root:universal", "core.kcp.io/shard": "root",
        "internal.apis.kcp.io/resource-bindings": "{}", "authorization.kcp.io/required-groups": "staff",
    });
    let old = json!({
        "metadata": {"name": "cluster", "annotations": annotations, "finalizers": ["core.kcp.io/logicalcluster-deletion"]},
        "spec": {"owner": {"uid": "1"}}, "status": {"phase": "Ready"},
    });
    let asked = ask("core.kcp.io", "logicalclusters");
    let refused = |mut new: Value| asked.run(Verb::Update, Some(&mut new), Some(&old)).unwrap_err().message;
    for key in annotations.as_object().unwrap().keys() {
        let mut changed = old.clone();
        changed.set_annotation(key, "root:provider");
        assert!(refused(changed).ends_with(&format!("metadata.annotations[{key}] is immutable")));
        let mut removed = old.clone();
        removed.remove_annotation(key);
        assert!(refused(removed).ends_with(&format!("metadata.annotations[{key}] is immutable")));
    }
    let mut owned = old.clone();
    owned["spec"]["owner"]["uid"] = json!("2");
    assert!(refused(owned).ends_with("spec.owner is immutable"));
    // A gate may be put up, not taken away; other annotations are the administrators'.
    let mut open = old.clone();
    open.remove_annotation("authorization.kcp.io/required-groups");
    let mut new = old.clone();
    new.set_annotation("core.kcp.io/inactive", "true");
    asked.run(Verb::Update, Some(&mut new), Some(&open)).unwrap();
}

#[test]
fn a_type_is_called_as_it_was_asked_for() {
    let mut object = workspace(json!({"type": {"name": "foo", "path": "2abc"}}));
    let asked = ask("tenancy.kcp.io", "workspaces");
    asked.run(Verb::Create, Some(&mut object), None).unwrap();
    assert_eq!(object["spec"]["type"], json!({"name": "foo", "path": "2abc"}));
}

#[test]
fn how_many_objects_a_cluster_may_have_is_not_its_administrators_to_say() {
    let old = json!({"metadata": {"name": "cluster", "annotations": {"core.kcp.io/max-total-objects": "40"}}, "status": {"phase": "Ready"}});
    let mut asked = ask("core.kcp.io", "logicalclusters");
    for limit in [None, Some("0")] {
        let mut new = old.clone();
        new.remove_annotation("core.kcp.io/max-total-objects");
        if let Some(limit) = limit {
            new.set_annotation("core.kcp.io/max-total-objects", limit);
        }
        asked.user = User::new("alice", &[AUTHENTICATED]);
        let error = asked.run(Verb::Update, Some(&mut new.clone()), Some(&old)).unwrap_err();
        assert!(
            error
                .message
                .ends_with("modification of reserved annotation: \"core.kcp.io/max-total-objects\"")
        );
        asked.user = User::new("kcp-admin", &["system:kcp:admin"]);
        asked.run(Verb::Update, Some(&mut new), Some(&old)).unwrap();
    }
}

#[test]
fn logical_clusters_are_not_made_by_hand() {
    let mut object = json!({"metadata": {"name": "cluster"}});
    let error = ask("core.kcp.io", "logicalclusters")
        .run(Verb::Create, Some(&mut object), None)
        .unwrap_err();
    assert_eq!(
        error.message,
        "logicalclusters.core.kcp.io \"cluster\" is forbidden: LogicalCluster cannot be created"
    );
}

#[test]
fn phases_do_not_go_back() {
    let old = json!({"metadata": {"name": "cluster", "finalizers": ["core.kcp.io/logicalcluster-deletion"]}, "status": {"phase": "Ready"}});
    let mut new = old.clone();
    new["status"]["phase"] = json!("Initializing");
    let mut asked = ask("core.kcp.io", "logicalclusters");
    asked.subresource = "status";
    let error = asked.run(Verb::Update, Some(&mut new), Some(&old)).unwrap_err();
    assert_eq!(
        error.message,
        "logicalclusters.core.kcp.io \"cluster\" is forbidden: cannot transition from \"Ready\" to \"Initializing\""
    );
}

#[test]
fn immortal_namespaces_live_as_long_as_their_cluster() {
    let old = json!({"metadata": {"name": "default"}});
    let mut asked = ask("", "namespaces");
    asked.cluster = Cluster::well_known("root");
    let name_is_default = |asked: &Asked| {
        let review = Review {
            verb: Verb::Delete,
            group: "",
            resource: "namespaces",
            version: "v1",
            subresource: "",
            cluster: &asked.cluster,
            namespace: "",
            name: "default",
            user: &asked.user,
            trusted: false,
            object: None,
            settled: None,
            old: Some(&old),
        };
        namespace::check(&review, &world())
    };
    let error = name_is_default(&asked).unwrap_err();
    assert_eq!(
        error.message,
        "namespaces \"default\" is forbidden: this namespace may not be deleted"
    );
}

#[test]
fn binding_needs_the_right_to_bind_and_unknown_paths_look_the_same() {
    let binding =
        |path: &str| json!({"metadata": {"name": "y"}, "spec": {"reference": {"export": {"name": "e", "path": path}}}});
    let asked = ask("apis.kcp.io", "apibindings");
    let known = asked.run(Verb::Create, Some(&mut binding("root")), None).unwrap();
    let unknown = asked.run(Verb::Create, Some(&mut binding("root:nope")), None).unwrap();
    assert!(known[0].cluster.is_some() && unknown[0].cluster.is_none());
    assert_eq!(
        unknown[0].denied.message,
        "apibindings.apis.kcp.io \"y\" is forbidden: unable to create APIBinding: no permission to bind to export root:nope:e"
    );
}

#[test]
fn a_binding_can_be_found_by_its_export_before_anybody_knows_where_that_is() {
    let label = |path: &str| {
        let mut binding =
            json!({"metadata": {"name": "y"}, "spec": {"reference": {"export": {"name": "e", "path": path}}}});
        ask("apis.kcp.io", "apibindings")
            .run(Verb::Create, Some(&mut binding), None)
            .unwrap();
        binding.label(api::keys::label::EXPORT).map(str::to_owned)
    };
    // By the name of the cluster, known or not; by the path, as long as that leads nowhere.
    for path in ["root", "abc", "root:nope"] {
        assert_eq!(label(path), Some(api::hashes::export_label(path, "e")), "{path}");
    }
}

#[test]
fn claims_need_a_selector() {
    let claim = json!({"group": "", "resource": "configmaps", "verbs": ["*"], "state": "Accepted"});
    let mut object = json!({"metadata": {"name": "y"}, "spec": {"reference": {"export": {"name": "e"}}, "permissionClaims": [claim]}});
    let error = ask("apis.kcp.io", "apibindings")
        .run(Verb::Create, Some(&mut object), None)
        .unwrap_err();
    assert_eq!(
        error.message,
        "apibindings.apis.kcp.io \"y\" is forbidden: [spec.permissionClaims[0].selector: Required value: \
         either one of matchAll, matchLabels, or matchExpressions must be set]"
    );
}

#[test]
fn forged_claim_labels_are_taken_off() {
    let mut object = json!({"metadata": {"name": "x", "labels": {"claimed.internal.apis.kcp.io/abc": "def"}}});
    ask("rbac.authorization.k8s.io", "clusterroles")
        .run(Verb::Create, Some(&mut object), None)
        .unwrap();
    assert!(object.label("claimed.internal.apis.kcp.io/abc").is_none());
}

#[test]
fn a_slice_of_an_export_that_is_not_there_is_refused_to_everybody() {
    let slice = || json!({"metadata": {"name": "s"}, "spec": {"export": {"path": "root:nowhere", "name": "e"}}});
    for groups in [AUTHENTICATED, MASTERS] {
        let asked = Asked {
            user: User::new("x", &[groups]),
            ..ask("apis.kcp.io", "apiexportendpointslices")
        };
        let error = asked.run(Verb::Create, Some(&mut slice()), None).unwrap_err();
        assert_eq!(error.code, 403);
        assert!(
            error.message.contains("no permission to bind to export root:nowhere:e"),
            "{}",
            error.message
        );
    }
}

#[test]
fn claims_without_an_identity_are_stored_without_one() {
    let mut binding = json!({"metadata": {"name": "b"}, "spec": {
        "reference": {"export": {"name": "e"}},
        "permissionClaims": [
            {"group": "", "resource": "secrets", "identityHash": "", "selector": {"matchAll": true}},
            {"group": "g", "resource": "r", "identityHash": "h", "selector": {"matchAll": true}}]}});
    let asked = ask("apis.kcp.io", "apibindings");
    asked.run(Verb::Create, Some(&mut binding), None).unwrap();
    let claims = binding.at(&["spec", "permissionClaims"]).unwrap();
    assert_eq!(
        (claims[0].get("identityHash"), claims[1].get("identityHash")),
        (None, Some(&json!("h")))
    );
}

#[test]
fn the_groups_of_kcps_own_apis_are_roots() {
    let crd = |group: &str| json!({"metadata": {"name": format!("shards.{group}")}, "spec": {"group": group}});
    let schema = |group: &str| {
        json!({"metadata": {"name": format!("v1.shards.{group}")}, "spec": {"group": group, "names": {"plural": "shards"},
            "versions": [{"name": "v1", "storage": true, "schema": {"type": "object"}}]}})
    };
    let tenant = |group, resource| Asked {
        cluster: Cluster::well_known("abc"),
        ..ask(group, resource)
    };
    let crds = tenant("apiextensions.k8s.io", "customresourcedefinitions");
    let schemas = tenant("apis.kcp.io", "apiresourceschemas");
    for group in ["core.kcp.io", "tenancy.kcp.io"] {
        let refused = crds.run(Verb::Create, Some(&mut crd(group)), None).unwrap_err();
        assert!(refused.message.contains("is a reserved group"), "{}", refused.message);
        let refused = schemas.run(Verb::Create, Some(&mut schema(group)), None).unwrap_err();
        assert!(refused.message.contains("is a reserved group"), "{}", refused.message);
        let root = ask("apis.kcp.io", "apiresourceschemas");
        assert_eq!(root.run(Verb::Create, Some(&mut schema(group)), None), Ok(Vec::new()));
    }
    assert!(crds.run(Verb::Create, Some(&mut crd("my.kcp.io")), None).is_ok());
}
