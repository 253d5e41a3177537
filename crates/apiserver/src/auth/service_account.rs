//! Tokens of service accounts: made, verified, and what others need to verify them.
//!
//! Follows Kubernetes' `pkg/serviceaccount` with kcp's addition: a token names the logical cluster of its account. A bound
//! token is good as long as its account (and Secret) live and its time lasts; a legacy one as long as its Secret holds it.

mod claims;
mod der;
pub mod discovery;
mod in_cluster;
mod issuer;
mod key;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use machinery::object::ObjectExt;
use machinery::status::{Result, Status};
use machinery::time::parse_rfc3339;
use machinery::user::User;
use parking_lot::Mutex;
use permit::Cluster;
use serde_json::Value;

pub use claims::{AccountRef, LEGACY_ISSUER, ObjectRef, account_groups, account_user_name, split_account_user_name};
pub use in_cluster::{claimed_cluster, in_cluster_path};
pub use issuer::{Issued, TokenIssuer};
pub use key::{Algorithm, KeyError, PublicKey, SigningKey};

use super::chain::intersection;
use super::jwt::Unverified;
use super::{Audienced, Authenticator, CREDENTIAL_ID, Credentials, Now, hash_token, refused};

/// Where accounts and their Secrets are, whichever shard has them.
#[async_trait]
pub trait AccountSource: Send + Sync {
    /// `None`: there is none. Errors: it cannot be known now.
    async fn service_account(&self, cluster: &Cluster, namespace: &str, name: &str) -> Result<Option<Arc<Value>>>;
    async fn secret(&self, cluster: &Cluster, namespace: &str, name: &str) -> Result<Option<Arc<Value>>>;
}

/// Knows users by tokens of service accounts.
pub struct ServiceAccountTokens {
    options: ServiceAccountOptions,
    keys: Vec<PublicKey>,
    source: Arc<dyn AccountSource>,
    now: Now,
    /// Hashes of tokens whose signature holds: that stays so, whatever becomes of the account.
    signed: Mutex<BTreeSet<[u8; 32]>>,
}

#[derive(Clone, Debug)]
pub struct ServiceAccountOptions {
    /// Issuers that are accepted. (The first is the one that this server is.)
    pub issuers: Vec<String>,
    /// What this server is called by tokens; tokens without audiences are for these.
    pub audiences: Vec<String>,
    /// Legacy tokens hold only as long as their Secret holds them.
    pub lookup: bool,
    /// Key of `extra` under which users carry the cluster of their account; empty: they do not.
    pub cluster_extra: String,
    /// Key of `extra` by which users are confined to it (`cluster:<name>`); empty: they are not.
    pub scopes_extra: String,
}

/// The clocks of two servers may differ by so much.
const LEEWAY_SECONDS: i64 = 60;
const SIGNED_MAX: usize = 16_384;

// === impl ServiceAccountTokens ===

impl ServiceAccountTokens {
    pub fn new(options: ServiceAccountOptions, keys: Vec<PublicKey>, source: Arc<dyn AccountSource>, now: Now) -> Self {
        Self {
            options,
            keys,
            source,
            now,
            signed: Mutex::default(),
        }
    }

    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// Who has this token, and for which of the `wanted` audiences. `None`: no token of ours.
    pub async fn verify(&self, token: &str, wanted: &[String]) -> Result<Option<Audienced>> {
        let Some(parsed) = Unverified::parse(token) else {
            return Ok(None);
        };
        let issuer = parsed.claim("iss").unwrap_or_default();
        let is_legacy = issuer == LEGACY_ISSUER;
        if !is_legacy && !self.options.issuers.iter().any(|own| own == issuer) {
            return Ok(None);
        }
        self.check_signature(token, &parsed)?;
        let audiences = self.check_audiences(&parsed.claims, wanted)?;
        let account = match is_legacy {
            true => self.check_legacy(token, &parsed.claims).await?,
            false => self.check_bound(&parsed.claims).await?,
        };
        let user = self.user(&account, parsed.claim("jti"));
        Ok(Some(Audienced {
            user,
            audiences: Some(audiences),
        }))
    }

    fn check_signature(&self, token: &str, parsed: &Unverified<'_>) -> Result<()> {
        let hash = hash_token(token);
        if self.signed.lock().contains(&hash) {
            return Ok(());
        }
        if !parsed.is_signed_by(&self.keys) {
            return Err(refused("invalid signature"));
        }
        let mut signed = self.signed.lock();
        if signed.len() >= SIGNED_MAX {
            signed.clear();
        }
        signed.insert(hash);
        Ok(())
    }

    fn check_audiences(&self, claims: &Value, wanted: &[String]) -> Result<Vec<String>> {
        let own = &self.options.audiences;
        let offered = match claims::audiences(claims) {
            none if none.is_empty() => own.clone(),
            some => some,
        };
        let wanted = if wanted.is_empty() { own.as_slice() } else { wanted };
        let common = intersection(wanted, &offered);
        if common.is_empty() && !own.is_empty() {
            let text = format!(
                "token audiences {} is invalid for the target audiences {}",
                quoted(&offered),
                quoted(wanted)
            );
            return Err(refused(text));
        }
        Ok(common)
    }

    async fn check_bound(&self, claims: &Value) -> Result<AccountRef> {
        let now = (self.now)();
        let time = |name: &str| claims.get(name).and_then(seconds);
        // Every token of ours has an end.
        if time("exp").is_none_or(|end| now.saturating_sub(LEEWAY_SECONDS) > end) {
            return Err(refused("service account token has expired"));
        }
        let begins = [time("nbf"), time("iat")];
        if begins
            .into_iter()
            .flatten()
            .any(|begin| now.saturating_add(LEEWAY_SECONDS) < begin)
        {
            return Err(refused("service account token is not valid yet"));
        }
        let (account, secret) = AccountRef::from_bound(claims).map_err(refused)?;
        let deleted_before = now.saturating_sub(LEEWAY_SECONDS);
        self.check_account(&account, deleted_before).await?;
        if let Some(secret) = secret {
            let cluster = cluster_of(&account)?;
            let found = self.source.secret(&cluster, &account.namespace, &secret.name).await?;
            let found = found.filter(|found| !is_deleted(found, deleted_before));
            let found = found.ok_or_else(|| refused("service account token has been invalidated"))?;
            if found.uid() != secret.uid {
                let (is, was) = (found.uid(), &secret.uid);
                let text = format!("secret UID ({is}) does not match service account secret ref claim ({was})");
                return Err(refused(text));
            }
        }
        Ok(account)
    }

    async fn check_legacy(&self, token: &str, claims: &Value) -> Result<AccountRef> {
        let (account, name) = AccountRef::from_legacy(claims).map_err(refused)?;
        if !self.options.lookup {
            return Ok(account);
        }
        let cluster = cluster_of(&account)?;
        let secret = self.source.secret(&cluster, &account.namespace, &name).await?;
        let secret = secret.filter(|secret| secret.deletion_timestamp().is_none());
        let secret = secret.ok_or_else(|| refused("Token has been invalidated"))?;
        let held = secret
            .str_at(&["data", "token"])
            .and_then(|text| STANDARD.decode(text).ok());
        if held.as_deref() != Some(token.as_bytes()) {
            return Err(refused("Token does not match server's copy"));
        }
        self.check_account(&account, i64::MAX).await?;
        Ok(account)
    }

    /// The account of this uid is there and was not deleted before that time.
    async fn check_account(&self, account: &AccountRef, deleted_before: i64) -> Result<()> {
        let (namespace, name) = (&account.namespace, &account.name);
        let found = self
            .source
            .service_account(&cluster_of(account)?, namespace, name)
            .await?;
        let Some(found) = found else {
            return Err(refused(format!("serviceaccounts {name:?} not found")));
        };
        if is_deleted(&found, deleted_before) {
            return Err(refused(format!("service account {namespace}/{name} has been deleted")));
        }
        if found.uid() != account.uid {
            let text = format!(
                "service account UID ({}) does not match claim ({})",
                found.uid(),
                account.uid
            );
            return Err(refused(text));
        }
        Ok(())
    }

    fn user(&self, account: &AccountRef, token_id: Option<&str>) -> User {
        let mut user = User {
            name: account.user_name(),
            uid: account.uid.clone(),
            groups: account_groups(&account.namespace),
            ..User::default()
        };
        let cluster = &account.cluster;
        let extras = [
            (&self.options.cluster_extra, cluster.clone()),
            (&self.options.scopes_extra, format!("cluster:{cluster}")),
        ];
        for (key, value) in extras {
            if !key.is_empty() {
                user.extra.insert(key.clone(), vec![value]);
            }
        }
        if let Some(id) = token_id {
            user.extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("JTI={id}")]);
        }
        user
    }
}

#[async_trait]
impl Authenticator for ServiceAccountTokens {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<User>> {
        let found = self.authenticate_for(credentials, &[]).await?;
        Ok(found.map(|found| found.user))
    }

    async fn authenticate_for(&self, credentials: &Credentials<'_>, wanted: &[String]) -> Result<Option<Audienced>> {
        match credentials.bearer_token {
            Some(token) => self.verify(token, wanted).await,
            None => Ok(None),
        }
    }
}

fn cluster_of(account: &AccountRef) -> Result<Cluster, Status> {
    Cluster::parse(&account.cluster).map_err(|error| refused(error.to_string()))
}

/// Times of tokens are numbers, maybe with a fraction.
fn seconds(claim: &Value) -> Option<i64> {
    claim.as_i64().or_else(|| claim.as_f64().map(|seconds| seconds as i64))
}

fn is_deleted(object: &Value, before: i64) -> bool {
    object.deletion_timestamp().is_some_and(|at| {
        let at = parse_rfc3339(at).map_or(i128::MIN, |nanos| nanos.div_euclid(1_000_000_000));
        at < i128::from(before)
    })
}

/// Go's `%q` of a list.
fn quoted(items: &[String]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| machinery::text::quote(item)).collect();
    format!("[{}]", quoted.join(" "))
}

#[cfg(test)]
mod tests;
