//! The key of service account tokens, as controllers and authentication share it.

use std::fmt;
use std::sync::Arc;

use anyhow::{Context, Result};
use apiserver::auth::TokenIssuer;
use apiserver::auth::service_account::{AccountRef, PublicKey, SigningKey};
use controllers::account_token::{Account, AccountTokens};
use env::Env;

use crate::options::StartOptions;
use crate::pki;

/// Makes tokens of service accounts. Its key is never shown.
#[derive(Clone)]
pub struct AccountSigner(Arc<TokenIssuer>);

// === impl AccountSigner ===

impl AccountSigner {
    /// With the key that the options name, or one of its own in the root directory, made at the first start.
    pub fn open(env: &Env, options: &StartOptions) -> Result<Self> {
        let given = options
            .service_account_signing_key_file
            .as_ref()
            .or(options.service_account_private_key_file.as_ref());
        let pem = match given {
            Some(file) => env
                .disk
                .read(file)
                .with_context(|| format!("reading {}", file.display()))?,
            None => pki::service_account_key(&*env.disk, &options.root_directory)?,
        };
        let key = SigningKey::from_pem(&pem).context("the key of service account tokens cannot be used")?;
        let now = apiserver::auth::now(&env.clock);
        let issuer = TokenIssuer::new(&options.service_account_issuer, key, env.rng.clone(), now);
        Ok(Self(Arc::new(issuer)))
    }

    pub fn issuer(&self) -> Arc<TokenIssuer> {
        self.0.clone()
    }

    pub fn public_key(&self) -> PublicKey {
        self.0.key().public().clone()
    }
}

impl AccountTokens for AccountSigner {
    fn sign(&self, account: &Account<'_>, secret: &str) -> Option<String> {
        let account = AccountRef {
            cluster: account.cluster.to_string(),
            namespace: account.namespace.to_owned(),
            name: account.name.to_owned(),
            uid: account.uid.to_owned(),
        };
        self.0.issue_legacy(&account, secret).ok()
    }
}

impl fmt::Debug for AccountSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccountSigner")
    }
}
