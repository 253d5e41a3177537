use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::auth::testing::at;

const NOW: i64 = 1_700_000_000;

/// Objects by `kind/cluster/namespace/name`.
#[derive(Default)]
struct Objects(Mutex<BTreeMap<String, Arc<Value>>>);

#[async_trait]
impl AccountSource for Objects {
    async fn service_account(&self, cluster: &Cluster, namespace: &str, name: &str) -> Result<Option<Arc<Value>>> {
        Ok(self.0.lock().get(&format!("sa/{cluster}/{namespace}/{name}")).cloned())
    }

    async fn secret(&self, cluster: &Cluster, namespace: &str, name: &str) -> Result<Option<Arc<Value>>> {
        Ok(self
            .0
            .lock()
            .get(&format!("secret/{cluster}/{namespace}/{name}"))
            .cloned())
    }
}

impl Objects {
    fn put(&self, key: &str, object: Value) {
        self.0.lock().insert(key.to_owned(), Arc::new(object));
    }
}

struct World {
    objects: Arc<Objects>,
    issuer: TokenIssuer,
}

const ROBOT: &str = "sa/abc/default/robot";

impl World {
    fn new() -> Self {
        let key = SigningKey::from_pem(include_bytes!("testdata/ec-sec1.pem")).unwrap();
        let objects = Arc::new(Objects::default());
        objects.put(ROBOT, json!({"metadata": {"name": "robot", "uid": "u-1"}}));
        let issuer = TokenIssuer::new("https://here", key, env::Rng::seeded(1), at(NOW));
        Self { objects, issuer }
    }

    fn tokens(&self, now: i64) -> ServiceAccountTokens {
        let options = ServiceAccountOptions {
            issuers: vec!["https://here".to_owned()],
            audiences: vec!["https://here".to_owned()],
            lookup: true,
            cluster_extra: "x.io/cluster".to_owned(),
            scopes_extra: "x.io/scopes".to_owned(),
        };
        let keys = vec![self.issuer.key().public().clone()];
        ServiceAccountTokens::new(options, keys, self.objects.clone(), at(now))
    }

    fn token(&self, secret: Option<&ObjectRef>, audience: &str) -> String {
        self.issuer
            .issue(&robot(), secret, &[audience.to_owned()], 600)
            .unwrap()
            .token
    }

    async fn refusal(&self, token: &str, now: i64) -> String {
        self.tokens(now).verify(token, &[]).await.unwrap_err().message
    }
}

fn robot() -> AccountRef {
    AccountRef {
        cluster: "abc".to_owned(),
        namespace: "default".to_owned(),
        name: "robot".to_owned(),
        uid: "u-1".to_owned(),
    }
}

#[tokio::test]
async fn a_token_is_its_account_in_its_cluster() {
    let world = World::new();
    let found = world
        .tokens(NOW)
        .verify(&world.token(None, "https://here"), &[])
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.user.name, "system:serviceaccount:default:robot");
    assert_eq!(found.user.uid, "u-1");
    assert_eq!(
        found.user.groups,
        ["system:serviceaccounts", "system:serviceaccounts:default"]
    );
    assert_eq!(found.user.extra["x.io/cluster"], ["abc"]);
    assert_eq!(found.user.extra["x.io/scopes"], ["cluster:abc"]);
    assert!(found.user.extra[CREDENTIAL_ID][0].starts_with("JTI="));
    assert_eq!(found.audiences, Some(vec!["https://here".to_owned()]));
}

#[tokio::test]
async fn a_token_has_its_time() {
    let world = World::new();
    let token = world.token(None, "https://here");
    assert!(world.tokens(NOW + 600).verify(&token, &[]).await.is_ok());
    assert_eq!(
        world.refusal(&token, NOW + 661).await,
        "service account token has expired"
    );
    assert_eq!(
        world.refusal(&token, NOW - 61).await,
        "service account token is not valid yet"
    );
}

#[tokio::test]
async fn a_token_ends_with_its_account() {
    let world = World::new();
    let token = world.token(None, "https://here");
    world.objects.put(ROBOT, json!({"metadata": {"uid": "u-2"}}));
    assert_eq!(
        world.refusal(&token, NOW).await,
        "service account UID (u-2) does not match claim (u-1)"
    );
    world.objects.put(
        ROBOT,
        json!({"metadata": {"uid": "u-1", "deletionTimestamp": "2020-01-01T00:00:00Z"}}),
    );
    assert_eq!(
        world.refusal(&token, NOW).await,
        "service account default/robot has been deleted"
    );
    world.objects.0.lock().clear();
    assert_eq!(world.refusal(&token, NOW).await, "serviceaccounts \"robot\" not found");
}

#[tokio::test]
async fn a_token_ends_with_its_secret() {
    let world = World::new();
    let secret = ObjectRef {
        name: "s".to_owned(),
        uid: "u-3".to_owned(),
    };
    let token = world.token(Some(&secret), "https://here");
    assert_eq!(
        world.refusal(&token, NOW).await,
        "service account token has been invalidated"
    );
    world
        .objects
        .put("secret/abc/default/s", json!({"metadata": {"uid": "u-3"}}));
    assert!(world.tokens(NOW).verify(&token, &[]).await.unwrap().is_some());
    world
        .objects
        .put("secret/abc/default/s", json!({"metadata": {"uid": "u-4"}}));
    assert!(world.refusal(&token, NOW).await.contains("does not match"));
}

#[tokio::test]
async fn a_legacy_token_is_what_its_secret_holds() {
    let world = World::new();
    let token = world.issuer.issue_legacy(&robot(), "s").unwrap();
    assert_eq!(world.refusal(&token, NOW).await, "Token has been invalidated");
    world.objects.put(
        "secret/abc/default/s",
        json!({"data": {"token": STANDARD.encode("other")}}),
    );
    assert_eq!(world.refusal(&token, NOW).await, "Token does not match server's copy");
    world.objects.put(
        "secret/abc/default/s",
        json!({"data": {"token": STANDARD.encode(&token)}}),
    );
    let found = world
        .tokens(NOW + 1_000_000_000)
        .verify(&token, &[])
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.user.name, "system:serviceaccount:default:robot");
}

#[tokio::test]
async fn a_token_for_others_is_not_for_us() {
    let world = World::new();
    let token = world.token(None, "vault");
    assert_eq!(
        world.refusal(&token, NOW).await,
        "token audiences [\"vault\"] is invalid for the target audiences [\"https://here\"]"
    );
    let found = world
        .tokens(NOW)
        .verify(&token, &["vault".to_owned()])
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.audiences, Some(vec!["vault".to_owned()]));
}

#[tokio::test]
async fn foreign_tokens_are_no_concern_of_ours() {
    let world = World::new();
    let (key, _) = SigningKey::generate().unwrap();
    let there = TokenIssuer::new("https://there", key, env::Rng::seeded(2), at(NOW));
    let token = there.issue(&robot(), None, &[], 600).unwrap().token;
    assert_eq!(world.tokens(NOW).verify(&token, &[]).await.unwrap(), None);
    assert_eq!(world.tokens(NOW).verify("opaque", &[]).await.unwrap(), None);
    let (key, _) = SigningKey::generate().unwrap();
    let liar = TokenIssuer::new("https://here", key, env::Rng::seeded(3), at(NOW));
    let token = liar
        .issue(&robot(), None, &["https://here".to_owned()], 600)
        .unwrap()
        .token;
    assert_eq!(world.refusal(&token, NOW).await, "invalid signature");
}
