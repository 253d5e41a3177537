//! The administrators' tokens and the kubeconfig that holds them (kcp's facts, G.1, K.2).

use std::path::Path;

use anyhow::{Context, Result, bail};
use api::keys::identity;
use api::kubeconfig::{AdminKubeconfig, token_of};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use env::Env;
use machinery::user::{AUTHENTICATED, MASTERS, User};
use sha2::{Digest, Sha256};

use crate::options::StartOptions;

/// Tokens and whom they stand for. Never logged: no `Debug`.
pub struct AdminTokens {
    pub shard_admin: String,
    pub kcp_admin: String,
    pub user: Option<String>,
}

// === impl AdminTokens ===

impl AdminTokens {
    /// shard-admin's token outlives the process: the kubeconfig has it, the token store its hash. The others are new.
    pub fn prepare(env: &Env, options: &StartOptions) -> Result<Self> {
        let shard_admin = match &options.authentication_admin_token_path {
            // Nobody is told of it, and nobody can use it.
            None if options.writes_nothing() => random_token(env),
            None => {
                let store = options.root_directory.join(".admin-token-store");
                persistent_token(env, &options.kubeconfig_file(), &store)?
            }
            Some(store) => persistent_token(env, &options.kubeconfig_file(), store)?,
        };
        let user = options.batteries().user.then(|| random_token(env));
        Ok(Self {
            shard_admin,
            kcp_admin: random_token(env),
            user,
        })
    }

    /// (token, user), for the authenticator.
    pub fn table(&self) -> Vec<(String, User)> {
        let mut table = vec![
            (
                self.shard_admin.clone(),
                User::new(identity::SHARD_ADMIN, &[MASTERS, AUTHENTICATED]),
            ),
            (
                self.kcp_admin.clone(),
                User::new(identity::KCP_ADMIN, &[identity::KCP_ADMIN_GROUP, AUTHENTICATED]),
            ),
        ];
        if let Some(token) = &self.user {
            table.push((token.clone(), User::new(identity::USER, &[AUTHENTICATED])));
        }
        table
    }

    /// `server`: scheme, host and port.
    pub fn kubeconfig(&self, server: &str, ca_pem: &str) -> String {
        let config = AdminKubeconfig {
            server: server.to_owned(),
            ca_data: STANDARD.encode(ca_pem),
            kcp_admin_token: self.kcp_admin.clone(),
            shard_admin_token: self.shard_admin.clone(),
            user_token: self.user.clone(),
        };
        machinery::yaml::encode(&config.to_value())
    }
}

fn persistent_token(env: &Env, kubeconfig: &Path, store: &Path) -> Result<String> {
    let known = env
        .disk
        .read(store)
        .ok()
        .map(|hash| String::from_utf8_lossy(&hash).trim().to_owned());
    let old = env
        .disk
        .read(kubeconfig)
        .ok()
        .and_then(|text| machinery::yaml::decode_value(&text).ok());
    let old = old
        .as_ref()
        .and_then(|config| token_of(config, identity::SHARD_ADMIN))
        .map(str::to_owned);
    match (known, old) {
        (Some(known), Some(token)) if known == hash_of(&token) => Ok(token),
        (Some(_), Some(_)) => bail!(
            "admin token in file {0} is not valid anymore. Remove file {0} and restart kcp",
            kubeconfig.display()
        ),
        _ => {
            let token = random_token(env);
            env.disk
                .write_atomic(store, hash_of(&token).as_bytes())
                .with_context(|| format!("writing {}", store.display()))?;
            Ok(token)
        }
    }
}

fn random_token(env: &Env) -> String {
    let mut random = [0; 16];
    env.rng.fill(&mut random);
    machinery::ids::uid(random)
}

fn hash_of(token: &str) -> String {
    Sha256::digest(token.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
