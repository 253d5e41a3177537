//! Fills Secrets of type `kubernetes.io/service-account-token`, and deletes them with their account (Kubernetes'
//! `serviceaccount-token`).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use machinery::object::ObjectExt;
use machinery::selector::LabelSelector;
use permit::{Cluster, Scope};
use plan::{Context, Controller, Effect, Key, Plan, ResourceRef, Seen, Trigger, View};
use serde_json::{Value, json};

use crate::{ShardInfo, refs};

/// Signs the tokens that Secrets hold. For the plan it is a function: the same claims, a token that is as good.
pub trait AccountTokens: Send + Sync {
    /// `None`: it cannot be signed now.
    fn sign(&self, account: &Account<'_>, secret: &str) -> Option<String>;
}

/// Whom a token is for.
pub struct Account<'a> {
    pub cluster: &'a Cluster,
    pub namespace: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
}

pub struct TokenSecrets {
    shard: Arc<ShardInfo>,
    tokens: Arc<dyn AccountTokens>,
}

const TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

// === impl TokenSecrets ===

impl TokenSecrets {
    pub fn new(shard: Arc<ShardInfo>, tokens: Arc<dyn AccountTokens>) -> Self {
        Self { shard, tokens }
    }

    /// What the Secret should be, if it is not yet. `None` of a token: signing failed.
    fn filled(&self, secret: &Value, account: &Account<'_>) -> Option<Value> {
        let mut want = secret.clone();
        want.set_annotation(ACCOUNT_UID, account.uid);
        want.set_at(&["data", "ca.crt"], json!(STANDARD.encode(&self.shard.ca_pem)));
        let has = |member: &str| !secret.str_at(&["data", member]).unwrap_or_default().is_empty();
        if !has("namespace") {
            want.set_at(&["data", "namespace"], json!(STANDARD.encode(account.namespace)));
        }
        if !has("token") {
            let token = self.tokens.sign(account, secret.name())?;
            want.set_at(&["data", "token"], json!(STANDARD.encode(token)));
        }
        Some(want)
    }
}

impl Controller for TokenSecrets {
    fn name(&self) -> &'static str {
        "serviceaccount-token"
    }

    fn watches(&self) -> Vec<ResourceRef> {
        vec![refs::secrets(), refs::service_accounts()]
    }

    fn keys(&self, trigger: &Trigger<'_>, view: &dyn View) -> Vec<Key> {
        if trigger.cluster.is_system() {
            return Vec::new();
        }
        let key = |name: &str| Key::new(trigger.cluster, trigger.namespace, name);
        if *trigger.resource == refs::secrets() {
            return trigger.new.map(|_| key(trigger.name)).into_iter().collect();
        }
        // An account that comes, and one that goes; changes of it concern no token.
        if trigger.old.is_some() == trigger.new.is_some() {
            return Vec::new();
        }
        let secrets = view.list(
            &refs::secrets(),
            &Scope::One(trigger.cluster.clone()),
            trigger.namespace,
            &LabelSelector::everything(),
        );
        let of_account =
            |secret: &&Arc<Value>| is_token(secret) && secret.annotation(ACCOUNT_NAME) == Some(trigger.name);
        secrets
            .iter()
            .filter(of_account)
            .map(|secret| key(secret.name()))
            .collect()
    }

    fn plan(&self, key: &Key, view: &dyn View, _: &Context) -> Plan {
        let of = refs::secrets().object(&key.cluster, &key.namespace, &key.name);
        let Seen::Found(secret) = view.get(&of) else {
            return Plan::done();
        };
        if !is_token(&secret) || secret.deletion_timestamp().is_some() {
            return Plan::done();
        }
        let name = secret.annotation(ACCOUNT_NAME).unwrap_or_default();
        let meant = secret.annotation(ACCOUNT_UID).unwrap_or_default();
        let account = refs::service_accounts().object(&key.cluster, &key.namespace, name);
        let account = match view.get(&account) {
            Seen::Found(account) if meant.is_empty() || account.uid() == meant => account,
            Seen::Unknown => return Plan::need(account),
            // The account that is meant is gone, and with it what its token was good for.
            Seen::Found(_) | Seen::Absent => {
                return Plan::effect(Effect::Delete {
                    of,
                    uid: secret.uid().to_owned(),
                    resource_version: Some(secret.resource_version().to_owned()),
                });
            }
        };
        let account = Account {
            cluster: &key.cluster,
            namespace: &key.namespace,
            name,
            uid: account.uid(),
        };
        match self.filled(&secret, &account) {
            None => Plan::retry("the token cannot be signed"),
            Some(want) if want == *secret => Plan::done(),
            Some(object) => Plan::effect(Effect::Update { of, object }),
        }
    }
}

fn is_token(secret: &Value) -> bool {
    secret.str_at(&["type"]) == Some(TYPE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Literals, cluster, context};

    struct Words;

    impl AccountTokens for Words {
        fn sign(&self, account: &Account<'_>, secret: &str) -> Option<String> {
            Some(format!("{}/{}/{}/{secret}", account.cluster, account.name, account.uid))
        }
    }

    fn controller() -> TokenSecrets {
        let shard = ShardInfo {
            name: "root".to_owned(),
            external_url: String::new(),
            virtual_workspace_url: String::new(),
            ca_pem: "CA".to_owned(),
        };
        TokenSecrets::new(Arc::new(shard), Arc::new(Words))
    }

    fn world(account: Option<&str>) -> Literals {
        let mut world = Literals::default();
        let secret = json!({"metadata": {"name": "s", "namespace": "n", "annotations": {ACCOUNT_NAME: "robot"}},
            "type": TYPE});
        world.put(&refs::secrets(), "abc", secret);
        if let Some(uid) = account {
            let account = json!({"metadata": {"name": "robot", "namespace": "n", "uid": uid}});
            world.put(&refs::service_accounts(), "abc", account);
        }
        world
    }

    fn key() -> Key {
        Key::new(&cluster("abc"), "n", "s")
    }

    #[test]
    fn a_secret_is_filled_once() {
        let mut world = world(Some("u1"));
        world.settle(&controller(), &key());
        let secret = world.object(&refs::secrets(), "abc", "n", "s").unwrap();
        let member = |name: &str| {
            let text = secret.str_at(&["data", name]).unwrap();
            String::from_utf8(STANDARD.decode(text).unwrap()).unwrap()
        };
        assert_eq!(member("token"), "abc/robot/u1/s");
        assert_eq!(member("namespace"), "n");
        assert_eq!(member("ca.crt"), "CA");
        assert_eq!(secret.annotation(ACCOUNT_UID), Some("u1"));
    }

    #[test]
    fn a_secret_without_its_account_goes() {
        let mut world = world(None);
        world.settle(&controller(), &key());
        assert!(world.object(&refs::secrets(), "abc", "n", "s").is_none());
    }

    #[test]
    fn a_later_account_of_the_same_name_has_no_use_of_the_secret() {
        let mut world = world(Some("u1"));
        world.settle(&controller(), &key());
        let account = json!({"metadata": {"name": "robot", "namespace": "n", "uid": "u2"}});
        world.put(&refs::service_accounts(), "abc", account);
        let plan = controller().plan(&key(), &world, &context());
        assert!(matches!(plan.effects.as_slice(), [Effect::Delete { .. }]), "{plan:?}");
    }

    #[test]
    fn other_secrets_are_left_alone() {
        let mut world = Literals::default();
        let secret = json!({"metadata": {"name": "s", "namespace": "n"}, "type": "Opaque"});
        world.put(&refs::secrets(), "abc", secret);
        assert_eq!(controller().plan(&key(), &world, &context()), Plan::done());
    }
}
