//! What tokens say of accounts.

use serde_json::{Value, json};

/// Issuer of tokens that a Secret holds and that never expire.
pub const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";

const PREFIX: &str = "system:serviceaccount:";
const GROUP: &str = "system:serviceaccounts";

/// A service account as tokens name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountRef {
    /// Its logical cluster.
    pub cluster: String,
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// An object whose end is the token's, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectRef {
    pub name: String,
    pub uid: String,
}

/// `system:serviceaccount:<namespace>:<name>`.
pub fn account_user_name(namespace: &str, name: &str) -> String {
    format!("{PREFIX}{namespace}:{name}")
}

/// The namespace and name in the user name of an account.
pub fn split_account_user_name(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(PREFIX)?.split_once(':')?;
    let is_valid =
        machinery::names::dns1123_label(namespace).is_empty() && machinery::names::dns1123_subdomain(name).is_empty();
    is_valid.then_some((namespace, name))
}

/// The groups of all accounts of a namespace.
pub fn account_groups(namespace: &str) -> Vec<String> {
    vec![GROUP.to_owned(), format!("{GROUP}:{namespace}")]
}

// === impl AccountRef ===

impl AccountRef {
    pub fn user_name(&self) -> String {
        account_user_name(&self.namespace, &self.name)
    }

    /// Claims of a bound token: `kubernetes.io` as kcp writes it.
    pub(super) fn bound_claims(&self, secret: Option<&ObjectRef>) -> Value {
        let mut private = json!({
            "clusterName": self.cluster,
            "namespace": self.namespace,
            "serviceaccount": {"name": self.name, "uid": self.uid},
        });
        if let Some(secret) = secret {
            private["secret"] = json!({"name": secret.name, "uid": secret.uid});
        }
        json!({"kubernetes.io": private, "sub": self.user_name()})
    }

    /// The account of a bound token, and the Secret that it is bound to. Errors name what is missing.
    pub(super) fn from_bound(claims: &Value) -> Result<(Self, Option<ObjectRef>), &'static str> {
        let private = claims.get("kubernetes.io").unwrap_or(&Value::Null);
        let object = |name: &str| {
            let part = |part: &str| text(private.get(name)?.get(part));
            Some(ObjectRef {
                name: part("name")?,
                uid: part("uid")?,
            })
        };
        // Objects that there are none of here: the token's end cannot be known.
        if ["pod", "node"]
            .iter()
            .any(|kind| private.get(*kind).is_some_and(|bound| !bound.is_null()))
        {
            return Err("service account token has been invalidated");
        }
        let bound = private.get("secret").filter(|secret| !secret.is_null());
        let secret = bound
            .map(|_| object("secret").ok_or("secret claim is invalid"))
            .transpose()?;
        let account = object("serviceaccount").ok_or("serviceaccount claim is missing")?;
        let account = Self {
            cluster: text(private.get("clusterName")).ok_or("clusterName claim is missing")?,
            namespace: text(private.get("namespace")).ok_or("namespace claim is missing")?,
            name: account.name,
            uid: account.uid,
        };
        Ok((account, secret))
    }

    /// Claims of a legacy token, which the Secret of this name holds.
    pub(super) fn legacy_claims(&self, secret: &str) -> Value {
        json!({
            "iss": LEGACY_ISSUER,
            "kubernetes.io/serviceaccount/clusterName": self.cluster,
            "kubernetes.io/serviceaccount/namespace": self.namespace,
            "kubernetes.io/serviceaccount/secret.name": secret,
            "kubernetes.io/serviceaccount/service-account.name": self.name,
            "kubernetes.io/serviceaccount/service-account.uid": self.uid,
            "sub": self.user_name(),
        })
    }

    /// The account of a legacy token, and the name of its Secret.
    pub(super) fn from_legacy(claims: &Value) -> Result<(Self, String), &'static str> {
        let private = |name: &str| text(claims.get(format!("kubernetes.io/serviceaccount/{name}")));
        let account = Self {
            cluster: private("clusterName").ok_or("clusterName claim is missing")?,
            namespace: private("namespace").ok_or("namespace claim is missing")?,
            name: private("service-account.name").ok_or("serviceAccountName claim is missing")?,
            uid: private("service-account.uid").ok_or("serviceAccountUID claim is missing")?,
        };
        let secret = private("secret.name").ok_or("secretName claim is missing")?;
        match claims.get("sub").and_then(Value::as_str) {
            Some(subject) if subject == account.user_name() => Ok((account, secret)),
            Some(_) => Err("sub claim is invalid"),
            None => Err("sub claim is missing"),
        }
    }
}

/// A claim that is there and says something.
fn text(claim: Option<&Value>) -> Option<String> {
    claim
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

/// `aud`: one or several.
pub(super) fn audiences(claims: &Value) -> Vec<String> {
    match claims.get("aud") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> AccountRef {
        AccountRef {
            cluster: "abc".to_owned(),
            namespace: "default".to_owned(),
            name: "robot".to_owned(),
            uid: "u-1".to_owned(),
        }
    }

    #[test]
    fn claims_say_what_they_were_made_of() {
        let secret = ObjectRef {
            name: "s".to_owned(),
            uid: "u-2".to_owned(),
        };
        let bound = account().bound_claims(Some(&secret));
        assert_eq!(bound.pointer("/kubernetes.io/clusterName").unwrap(), "abc");
        assert_eq!(AccountRef::from_bound(&bound).unwrap(), (account(), Some(secret)));
        assert_eq!(
            AccountRef::from_bound(&account().bound_claims(None)).unwrap(),
            (account(), None)
        );
        let legacy = account().legacy_claims("s");
        assert_eq!(AccountRef::from_legacy(&legacy).unwrap(), (account(), "s".to_owned()));
    }

    #[test]
    fn a_legacy_token_is_of_its_subject() {
        let mut claims = account().legacy_claims("s");
        claims["sub"] = "system:serviceaccount:default:other".into();
        assert_eq!(AccountRef::from_legacy(&claims).unwrap_err(), "sub claim is invalid");
        assert!(AccountRef::from_legacy(&json!({})).is_err());
    }

    #[test]
    fn a_token_bound_to_a_pod_holds_for_nothing() {
        let mut claims = account().bound_claims(None);
        claims["kubernetes.io"]["pod"] = json!({"name": "p", "uid": "u"});
        assert!(AccountRef::from_bound(&claims).is_err());
    }

    #[test]
    fn user_names_of_accounts_are_well_formed() {
        assert_eq!(
            split_account_user_name("system:serviceaccount:a:b.c"),
            Some(("a", "b.c"))
        );
        for other in [
            "jane",
            "system:serviceaccount:a",
            "system:serviceaccount:a:b:c",
            "system:serviceaccount:A:b",
        ] {
            assert_eq!(split_account_user_name(other), None, "{other}");
        }
    }
}
