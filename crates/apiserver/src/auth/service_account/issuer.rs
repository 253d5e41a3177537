//! Tokens made.

use env::Rng;
use machinery::status::{Result, Status};
use serde_json::Value;

use super::claims::{AccountRef, ObjectRef};
use super::key::SigningKey;
use crate::auth::Now;
use crate::auth::jwt;

/// Makes tokens of service accounts.
pub struct TokenIssuer {
    /// `iss` of bound tokens.
    issuer: String,
    key: SigningKey,
    rng: Rng,
    now: Now,
}

/// A bound token.
pub struct Issued {
    pub token: String,
    /// `jti`.
    pub id: String,
    /// Unix seconds.
    pub issued_at: i64,
    pub expires_at: i64,
}

// === impl TokenIssuer ===

impl TokenIssuer {
    pub fn new(issuer: impl Into<String>, key: SigningKey, rng: Rng, now: Now) -> Self {
        Self {
            issuer: issuer.into(),
            key,
            rng,
            now,
        }
    }

    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// A token for `seconds` from now, bound to the account and, if one is given, to a Secret.
    pub fn issue(
        &self,
        account: &AccountRef,
        secret: Option<&ObjectRef>,
        audiences: &[String],
        seconds: i64,
    ) -> Result<Issued> {
        let issued_at = (self.now)();
        let expires_at = issued_at.saturating_add(seconds);
        let mut random = [0; 16];
        self.rng.fill(&mut random);
        let id = machinery::ids::uid(random);
        let mut claims = account.bound_claims(secret);
        claims["iss"] = self.issuer.as_str().into();
        claims["aud"] = audiences.into();
        claims["exp"] = expires_at.into();
        claims["iat"] = issued_at.into();
        claims["nbf"] = issued_at.into();
        claims["jti"] = id.as_str().into();
        Ok(Issued {
            token: self.sign(&claims)?,
            id,
            issued_at,
            expires_at,
        })
    }

    /// The token that a Secret of type `kubernetes.io/service-account-token` holds: without audiences, without end.
    pub fn issue_legacy(&self, account: &AccountRef, secret: &str) -> Result<String> {
        self.sign(&account.legacy_claims(secret))
    }

    fn sign(&self, claims: &Value) -> Result<String> {
        jwt::sign(claims, &self.key).ok_or_else(|| Status::internal("failed to generate token"))
    }
}
