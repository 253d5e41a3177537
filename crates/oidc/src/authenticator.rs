//! Tokens of issuers as credentials.

use apiserver::auth::jwt::Unverified;
use apiserver::auth::{Authenticator, Credentials, Now, now, refused};
use async_trait::async_trait;
use env::Env;
use machinery::status::Result;
use machinery::user::User;
use serde_json::Value;

use crate::claims;
use crate::client::Clients;
use crate::config::{ConfigError, JwtAuthenticator};
use crate::issuer::Issuer;
use crate::key_set::Algorithm;

/// Knows users by tokens of one issuer.
pub struct Oidc {
    config: JwtAuthenticator,
    issuer: Issuer,
    now: Now,
}

/// A token that is not valid yet is taken so many seconds early, as Kubernetes does.
const EARLY_SECONDS: f64 = 300.0;
/// The one issuer that names itself in two ways.
const GOOGLE: (&str, &str) = ("accounts.google.com", "https://accounts.google.com");

// === impl Oidc ===

impl Oidc {
    /// # Errors
    /// When the CAs by which the issuer is to be known cannot be had.
    pub fn new(env: &Env, config: JwtAuthenticator) -> Result<Self, ConfigError> {
        Self::among(&Clients::new(env), config)
    }

    /// One of several: what they have alike is held once.
    ///
    /// # Errors
    /// As of [`Oidc::new`].
    pub fn among(clients: &Clients, config: JwtAuthenticator) -> Result<Self, ConfigError> {
        let client = clients.get(config.authorities.as_deref());
        let client = client.map_err(|why| ConfigError::new("issuer.certificateAuthority", why))?;
        let env = clients.env();
        let issuer = Issuer::new(env, client, config.issuer.clone(), config.discovery.clone());
        Ok(Self {
            config,
            issuer,
            now: now(&env.clock),
        })
    }

    /// Who has this token. `None`: it is of somebody else.
    pub async fn verify(&self, token: &str) -> Result<Option<User>> {
        let Some(parsed) = Unverified::parse(token) else {
            return Ok(None);
        };
        let named = parsed.claim("iss").unwrap_or_default();
        let named = if named == GOOGLE.0 { GOOGLE.1 } else { named };
        if named != self.issuer.url() {
            return Ok(None);
        }
        let user = self
            .user(&parsed)
            .await
            .map_err(|why| refused(format!("oidc: {why}")))?;
        Ok(Some(user))
    }

    async fn user(&self, token: &Unverified<'_>) -> std::result::Result<User, String> {
        if token.is_extended() {
            return Err("verify token: it has extensions that are not understood".to_owned());
        }
        let algorithm = self.algorithm(token).map_err(|why| format!("verify token: {why}"))?;
        // What is cheap and needs nobody comes first: an issuer is not asked about tokens that are good for nothing.
        self.check_audience(&token.claims)?;
        self.check_time(&token.claims)?;
        let verified = self.issuer.verify(token, algorithm).await;
        verified.map_err(|why| format!("verify token: {why}"))?;
        claims::user(&self.config, &token.claims)
    }

    /// One of those that this issuer is configured to use.
    fn algorithm(&self, token: &Unverified<'_>) -> std::result::Result<Algorithm, String> {
        let said = token.parameter("alg").and_then(Algorithm::of_name);
        let accepted = said.filter(|algorithm| self.config.algorithms.contains(algorithm));
        accepted.ok_or_else(|| "token is signed with an unsupported algorithm".to_owned())
    }

    fn check_audience(&self, claims: &Value) -> std::result::Result<(), String> {
        let is_wanted = |said: &str| self.config.audiences.iter().any(|own| own == said);
        let is_ours = match claims.get("aud") {
            Some(Value::String(one)) => is_wanted(one),
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).any(is_wanted),
            _ => false,
        };
        match is_ours {
            true => Ok(()),
            false => Err("verify token: it is for another audience".to_owned()),
        }
    }

    fn check_time(&self, claims: &Value) -> std::result::Result<(), String> {
        let now = (self.now)() as f64;
        let time = |name: &str| claims.get(name).and_then(Value::as_f64);
        // One without an end has none that could be waited for.
        if time("exp").is_none_or(|end| end < now) {
            return Err("verify token: token is expired".to_owned());
        }
        match claims.get("nbf").filter(|begin| !begin.is_null()) {
            Some(begin) if begin.as_f64().is_none_or(|begin| now + EARLY_SECONDS < begin) => {
                Err("verify token: token is not valid yet".to_owned())
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Authenticator for Oidc {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<User>> {
        match credentials.bearer_token {
            Some(token) => self.verify(token).await,
            None => Ok(None),
        }
    }
}
