use machinery::user::{AUTHENTICATED, MASTERS, User};
use permit::{Access, Cluster, Decision, Permit, Scope};
use registry::builtin::{BuiltinResource, builtin_defs};
use registry::{Names, Resolved, Subresource};

use super::*;
use crate::auth::service_account::{AccountSource, ServiceAccountOptions, ServiceAccountTokens, SigningKey};
use crate::auth::testing::{Listed, at, one};
use crate::auth::{Authenticator, Authorizer, Rules, TokenIssuer, TokenTable};

const NOW: i64 = 1_700_000_000;

fn target(group: &str, plural: &str, kind: &str, subresource: Subresource) -> Target {
    let resource = BuiltinResource {
        group: group.to_owned(),
        version: "v1".to_owned(),
        names: Names {
            plural: plural.to_owned(),
            kind: kind.to_owned(),
            ..Names::default()
        },
        ..BuiltinResource::default()
    };
    let def = builtin_defs(&[resource], &json!({})).remove(0);
    Target {
        resolved: Resolved { def, version: 0 },
        subresource,
        namespace: String::new(),
        name: String::new(),
    }
}

fn joe() -> User {
    User::new("joe", &[AUTHENTICATED])
}

fn request(user: User) -> Request {
    Request::new(Permit::internal(one("root")), Arc::new(user), "test")
}

fn value(outcome: Outcome) -> Value {
    match outcome.item {
        Item::Built(object) => Value::clone(&object),
        Item::Stored(_) => panic!("reviews are not stored"),
    }
}

fn backend(authorizer: impl Authorizer + 'static) -> ReviewBackend {
    let mut table = TokenTable::new();
    table.insert("secret", User::new("jane", &["dev"]));
    let members: Vec<Arc<dyn Authenticator>> = vec![Arc::new(table)];
    let chain = Chain::new(members, vec!["https://here".to_owned()], false);
    ReviewBackend::new(Arc::new(authorizer), Some(Arc::new(chain)), at(NOW))
}

async fn ask(request: &Request, kind: &str, body: Value) -> Result<Value> {
    ask_of(
        backend(Listed(vec!["joe get pods", "jane get secrets", "joe get /metrics"])),
        request,
        kind,
        body,
    )
    .await
}

async fn ask_of(backend: ReviewBackend, request: &Request, kind: &str, body: Value) -> Result<Value> {
    let plural = format!("{}s", kind.to_lowercase());
    let known = ReviewBackend::RESOURCES.into_iter().find(|(_, name)| *name == plural);
    let mut target = target(known.unwrap().0, &plural, kind, Subresource::Main);
    if kind.starts_with("Local") {
        target.namespace = "default".to_owned();
    }
    let options = WriteOptions::create(machinery::options::Query(&[])).unwrap();
    Ok(value(backend.create(request, &target, body, &options).await?))
}

#[tokio::test]
async fn says_what_others_may() {
    let spec = json!({"user": "jane", "resourceAttributes": {"verb": "get", "resource": "secrets"}});
    let answer = ask(&request(joe()), "SubjectAccessReview", json!({"spec": spec}))
        .await
        .unwrap();
    assert_eq!(answer["kind"], "SubjectAccessReview");
    assert_eq!(answer["apiVersion"], "authorization.k8s.io/v1");
    assert_eq!(answer["spec"], spec);
    assert_eq!(answer["status"], json!({"allowed": true, "reason": "access granted"}));
    let spec = json!({"user": "jane", "resourceAttributes": {"verb": "list", "resource": "secrets"}});
    let answer = ask(&request(joe()), "SubjectAccessReview", json!({"spec": spec}))
        .await
        .unwrap();
    assert_eq!(answer["status"], json!({"allowed": false, "reason": "access denied"}));
}

#[tokio::test]
async fn says_what_the_sender_may() {
    let pods = json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
    assert_eq!(
        ask(&request(joe()), "SelfSubjectAccessReview", pods).await.unwrap()["status"]["allowed"],
        true
    );
    let path = json!({"spec": {"nonResourceAttributes": {"verb": "get", "path": "/metrics"}}});
    assert_eq!(
        ask(&request(joe()), "SelfSubjectAccessReview", path).await.unwrap()["status"]["allowed"],
        true
    );
}

#[tokio::test]
async fn refuses_questions_that_are_none() {
    let why = async |kind: &str, body: Value| ask(&request(joe()), kind, body).await.unwrap_err();
    let status = why(
        "SubjectAccessReview",
        json!({"spec": {"resourceAttributes": {"verb": "get"}}}),
    )
    .await;
    assert_eq!(
        status.message,
        ".authorization.k8s.io \"\" is invalid: spec.user: Invalid value: \"\": at least one of user or group must be \
         specified"
    );
    assert_eq!(status.code, 422);
    let status = why("SelfSubjectAccessReview", json!({})).await;
    assert!(
        status
            .message
            .contains("exactly one of nonResourceAttributes or resourceAttributes must be specified")
    );
    let named = json!({"metadata": {"name": "x"}, "spec": {"resourceAttributes": {}}});
    assert!(
        why("SelfSubjectAccessReview", named)
            .await
            .message
            .contains("metadata: Invalid value")
    );
    assert_eq!(
        why("SelfSubjectRulesReview", json!({})).await.message,
        "no namespace on request"
    );
    let status = why("TokenReview", json!({})).await;
    assert_eq!(status.message, "token is required for TokenReview in authentication");
}

#[tokio::test]
async fn local_reviews_are_of_their_namespace() {
    let spec = |namespace: &str| {
        let attributes = json!({"verb": "get", "resource": "secrets", "namespace": namespace});
        json!({"spec": {"user": "jane", "resourceAttributes": attributes}})
    };
    let answer = ask(&request(joe()), "LocalSubjectAccessReview", spec("default"))
        .await
        .unwrap();
    assert_eq!(answer["status"]["allowed"], true);
    let status = ask(&request(joe()), "LocalSubjectAccessReview", spec("other"))
        .await
        .unwrap_err();
    assert!(
        status.message.contains("must match metadata.namespace"),
        "{}",
        status.message
    );
}

/// Allows what is asked deeply, and only that.
struct Deep;

#[async_trait]
impl Authorizer for Deep {
    async fn authorize(&self, _user: &User, access: &Access) -> Decision {
        match access.deep {
            true => Decision::allow(""),
            false => Decision::deny(""),
        }
    }

    async fn rules(&self, _user: &User, _scope: &Scope, _namespace: &str) -> Rules {
        Rules::default()
    }
}

#[tokio::test]
async fn only_masters_ask_deeply() {
    let allowed = async |user: User, deep: bool, group: &str| {
        let mut request = request(user);
        request.deep = deep;
        let attributes = json!({"verb": "bind", "group": group, "resource": "things"});
        let body = json!({"spec": {"user": "jane", "resourceAttributes": attributes}});
        let answer = ask_of(backend(Deep), &request, "SubjectAccessReview", body)
            .await
            .unwrap();
        answer["status"]["allowed"] == true
    };
    let masters = || User::new("root", &[MASTERS]);
    assert!(allowed(masters(), true, "x.io").await);
    assert!(!allowed(masters(), false, "x.io").await);
    assert!(!allowed(masters(), true, "authorization.k8s.io").await);
    assert!(!allowed(joe(), true, "x.io").await);
}

#[tokio::test]
async fn unreadable_selectors_are_left_out() {
    let attributes = json!({"verb": "get", "resource": "pods", "labelSelector": {"rawSelector": "a in ("}});
    let body = json!({"spec": {"resourceAttributes": attributes}});
    let answer = ask(&request(joe()), "SelfSubjectAccessReview", body).await.unwrap();
    let why = "spec.resourceAttributes.labelSelector ignored due to parse error";
    assert_eq!(answer["status"]["evaluationError"], why);
}

#[tokio::test]
async fn rules_and_user_of_the_sender() {
    let body = json!({"spec": {"namespace": "default"}});
    let answer = ask(&request(joe()), "SelfSubjectRulesReview", body).await.unwrap();
    assert_eq!(answer["spec"], json!({}));
    assert_eq!(
        answer["status"]["resourceRules"][0]["resources"],
        json!(["joe", "default"])
    );
    assert_eq!(answer["status"]["incomplete"], false);
    let answer = ask(&request(joe()), "SelfSubjectReview", json!({})).await.unwrap();
    assert_eq!(answer["metadata"]["creationTimestamp"], "2023-11-14T22:13:20Z");
    assert_eq!(
        answer["status"]["userInfo"],
        json!({"username": "joe", "groups": [AUTHENTICATED]})
    );
}

#[tokio::test]
async fn tokens_are_reviewed() {
    let review = async |spec: Value| {
        ask(&request(joe()), "TokenReview", json!({ "spec": spec }))
            .await
            .unwrap()
    };
    let answer = review(json!({"token": "secret"})).await;
    let user = json!({"username": "jane", "groups": ["dev", AUTHENTICATED]});
    let expected = json!({"authenticated": true, "user": user, "audiences": ["https://here"]});
    assert_eq!(answer["status"], expected);
    let answer = review(json!({"token": "wrong"})).await;
    assert_eq!(answer["status"], json!({"user": {}, "error": "invalid bearer token"}));
    let answer = review(json!({"token": "secret", "audiences": ["vault"]})).await;
    assert!(answer["status"].get("authenticated").is_none());
}

struct Accounts;

#[async_trait]
impl AccountSource for Accounts {
    async fn service_account(&self, _: &Cluster, namespace: &str, name: &str) -> Result<Option<Arc<Value>>> {
        let robot = json!({"metadata": {"uid": "u-1"}});
        Ok((namespace == "default" && name == "robot").then(|| Arc::new(robot)))
    }

    async fn secret(&self, _: &Cluster, _: &str, name: &str) -> Result<Option<Arc<Value>>> {
        Ok((name == "s").then(|| Arc::new(json!({"metadata": {"uid": "u-2"}}))))
    }
}

async fn token_for(request: &Request, name: &str, body: Value) -> Result<Value> {
    let key = SigningKey::from_pem(include_bytes!("../service_account/testdata/ec-sec1.pem")).unwrap();
    let issuer = Arc::new(TokenIssuer::new("https://here", key, env::Rng::seeded(1), at(NOW)));
    let audiences = vec!["https://here".to_owned()];
    let inner = Arc::new(backend(Deep));
    let accounts = AccountBackend::new(inner, Arc::new(Accounts), issuer, audiences, Some(86_400));
    let mut target = target("", "serviceaccounts", "ServiceAccount", Subresource::Token);
    target.namespace = "default".to_owned();
    target.name = name.to_owned();
    let options = WriteOptions::create(machinery::options::Query(&[])).unwrap();
    Ok(value(accounts.create(request, &target, body, &options).await?))
}

#[tokio::test]
async fn accounts_get_tokens() {
    let answer = token_for(&request(joe()), "robot", json!({})).await.unwrap();
    assert_eq!(answer["kind"], "TokenRequest");
    let metadata = json!({"name": "robot", "namespace": "default", "creationTimestamp": "2023-11-14T22:13:20Z"});
    assert_eq!(answer["metadata"], metadata);
    let spec = json!({"audiences": ["https://here"], "expirationSeconds": 3600, "boundObjectRef": null});
    assert_eq!(answer["spec"], spec);
    assert_eq!(answer["status"]["expirationTimestamp"], "2023-11-14T23:13:20Z");
    let key = SigningKey::from_pem(include_bytes!("../service_account/testdata/ec-sec1.pem")).unwrap();
    let options = ServiceAccountOptions {
        issuers: vec!["https://here".to_owned()],
        audiences: vec!["https://here".to_owned()],
        lookup: true,
        cluster_extra: String::new(),
        scopes_extra: String::new(),
    };
    let tokens = ServiceAccountTokens::new(options, vec![key.public().clone()], Arc::new(Accounts), at(NOW));
    let token = answer["status"]["token"].as_str().unwrap();
    let found = tokens.verify(token, &[]).await.unwrap().unwrap();
    assert_eq!(found.user.name, "system:serviceaccount:default:robot");
}

#[tokio::test]
async fn token_requests_have_their_limits() {
    let asked = |seconds: i64| json!({"spec": {"expirationSeconds": seconds}});
    let status = token_for(&request(joe()), "robot", asked(60)).await.unwrap_err();
    assert_eq!(
        status.message,
        "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 60: may not specify a \
         duration less than 10 minutes"
    );
    let request = request(joe());
    let answer = token_for(&request, "robot", asked(100_000)).await.unwrap();
    assert_eq!(answer["spec"]["expirationSeconds"], 86_400);
    let warning = "requested expiration of 100000 seconds shortened to 86400 seconds";
    assert_eq!(*request.warnings.lock(), [warning]);
    let status = token_for(&request, "absent", json!({})).await.unwrap_err();
    assert_eq!(status.message, "serviceaccounts \"absent\" not found");
    assert!(
        token_for(&request, "robot", json!({"spec": {"audiences": 1}}))
            .await
            .is_err()
    );
    assert!(
        token_for(&request, "robot", json!({"metadata": {"name": "other"}}))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn tokens_are_bound_to_secrets_alone() {
    let bound = |reference: Value| json!({"spec": {"boundObjectRef": reference}});
    let request = request(joe());
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "name": "s"});
    let answer = token_for(&request, "robot", bound(secret.clone())).await.unwrap();
    assert_eq!(answer["spec"]["boundObjectRef"], secret);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "name": "p"});
    let status = token_for(&request, "robot", bound(pod)).await.unwrap_err();
    assert_eq!(status.message, "cannot bind token to object of type /v1, Kind=Pod");
    let recreated = json!({"apiVersion": "v1", "kind": "Secret", "name": "s", "uid": "u-0"});
    assert_eq!(
        token_for(&request, "robot", bound(recreated)).await.unwrap_err().code,
        409
    );
}
