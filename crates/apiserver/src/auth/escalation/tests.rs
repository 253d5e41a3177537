use machinery::user::AUTHENTICATED;
use permit::Permit;
use registry::builtin::{BuiltinResource, builtin_defs};
use registry::{Names, Request, ResourceDef};
use serde_json::json;

use super::*;
use crate::auth::testing::{Listed, one};

/// joe may get and list pods; there is one ClusterRole.
struct Rules;

impl RuleSource for Rules {
    fn rules(&self, user: &User, _cluster: &Cluster, _namespace: &str) -> Vec<Rule> {
        match user.name.as_str() {
            "joe" => rules(json!([{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}])),
            "admin" => everything().to_vec(),
            _ => Vec::new(),
        }
    }

    fn role_rules(&self, _cluster: &Cluster, namespace: &str, name: &str) -> Option<Vec<Rule>> {
        let secrets = json!([{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["secrets"]}]);
        (namespace.is_empty() && name == "secret-reader").then(|| rules(secrets))
    }
}

fn rules(list: Value) -> Vec<Rule> {
    rules_of(&json!({ "rules": list }))
}

fn def(plural: &str) -> Arc<ResourceDef> {
    let resource = BuiltinResource {
        group: GROUP.to_owned(),
        version: "v1".to_owned(),
        names: Names {
            plural: plural.to_owned(),
            kind: "Kind".to_owned(),
            ..Names::default()
        },
        ..BuiltinResource::default()
    };
    builtin_defs(&[resource], &json!({})).remove(0)
}

struct Write<'a> {
    user: User,
    trusted: bool,
    plural: &'a str,
    old: Option<Value>,
    allowed: Vec<&'static str>,
}

impl Write<'_> {
    async fn of(self, mut object: Value) -> Result<()> {
        let plugin = Escalation::new(Arc::new(Rules), Arc::new(Listed(self.allowed)));
        let def = def(self.plural);
        let mut request = Request::new(Permit::internal(one("root")), Arc::new(self.user), "test");
        request.trusted = self.trusted;
        let cluster = Cluster::well_known("root");
        let attributes = Attributes {
            request: &request,
            verb: if self.old.is_some() { Verb::Update } else { Verb::Create },
            def: &def,
            version: 0,
            subresource: Subresource::Main,
            cluster: &cluster,
            namespace: "",
            name: "x",
            object: Some(&mut object),
            old: self.old.as_ref(),
            dry_run: false,
        };
        plugin.validate(&attributes).await
    }
}

fn by(name: &str) -> Write<'static> {
    Write {
        user: User::new(name, &["dev", AUTHENTICATED]),
        trusted: false,
        plural: "clusterroles",
        old: None,
        allowed: Vec::new(),
    }
}

fn role(verbs: &[&str], resource: &str) -> Value {
    json!({"metadata": {"name": "x"}, "rules": [{"verbs": verbs, "apiGroups": [""], "resources": [resource]}]})
}

fn binding(name: &str) -> Value {
    json!({"roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": name}})
}

#[tokio::test]
async fn roles_grant_no_more_than_their_writer_has() {
    assert!(by("joe").of(role(&["get"], "pods")).await.is_ok());
    let status = by("joe")
        .of(role(&["get", "delete", "create"], "pods"))
        .await
        .unwrap_err();
    assert_eq!(
        status.message,
        "clusterroles.rbac.authorization.k8s.io \"x\" is forbidden: user \"joe\" (groups=[\"dev\" \
         \"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], \
         Resources:[\"pods\"], Verbs:[\"delete\" \"create\"]}"
    );
    assert_eq!(status.code, 403);
}

#[tokio::test]
async fn who_may_escalate_may_write_any_role() {
    let free = Write {
        allowed: vec!["joe escalate clusterroles"],
        ..by("joe")
    };
    assert!(free.of(role(&["*"], "secrets")).await.is_ok());
}

#[tokio::test]
async fn the_server_and_masters_are_exempt() {
    let server = Write {
        trusted: true,
        ..by("nobody")
    };
    assert!(server.of(role(&["*"], "*")).await.is_ok());
    let masters = Write {
        user: User::new("root", &[MASTERS]),
        ..by("")
    };
    assert!(masters.of(role(&["*"], "*")).await.is_ok());
}

#[tokio::test]
async fn bindings_grant_what_their_role_says() {
    let bind = || Write {
        plural: "clusterrolebindings",
        ..by("joe")
    };
    let status = bind().of(binding("secret-reader")).await.unwrap_err();
    assert!(
        status
            .message
            .ends_with("{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"list\"]}")
    );
    let status = bind().of(binding("absent")).await.unwrap_err();
    assert_eq!(
        status.message,
        "clusterroles.rbac.authorization.k8s.io \"absent\" not found"
    );
    let allowed = Write {
        allowed: vec!["joe bind clusterroles secret-reader"],
        ..bind()
    };
    assert!(allowed.of(binding("secret-reader")).await.is_ok());
    let admin = Write {
        user: User::new("admin", &[]),
        ..bind()
    };
    assert!(admin.of(binding("secret-reader")).await.is_ok());
}

#[tokio::test]
async fn aggregation_is_for_who_has_everything() {
    let mut aggregated = role(&["get"], "pods");
    aggregated["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]});
    let status = by("joe").of(aggregated.clone()).await.unwrap_err();
    assert!(
        status
            .message
            .ends_with("must have cluster-admin privileges to use the aggregationRule")
    );
    assert!(by("admin").of(aggregated.clone()).await.is_ok());
    let ungated = Write {
        old: Some(aggregated),
        ..by("joe")
    };
    assert!(ungated.of(role(&["get"], "pods")).await.is_err());
}

#[tokio::test]
async fn collecting_garbage_grants_nothing() {
    let old = role(&["*"], "secrets");
    let mut new = old.clone();
    new["metadata"]["finalizers"] = json!(["x"]);
    let update = || Write {
        old: Some(old.clone()),
        ..by("joe")
    };
    assert!(update().of(new.clone()).await.is_ok());
    new["metadata"]["labels"] = json!({"a": "b"});
    assert!(update().of(new).await.is_err());
}
