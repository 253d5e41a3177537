//! The flags, as Kubernetes' (`--oidc-*`, `--authentication-config`).

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use apiserver::auth::Authenticator;
use clap::Args;
use env::Env;

use crate::authenticator::Oidc;
use crate::client::Clients;
use crate::config::{JwtAuthenticator, Mapping, Rule, check_url};
use crate::configuration::AuthenticationFile;
use crate::key_set::Algorithm;

/// Users by tokens of OpenID Connect issuers
#[derive(Args, Clone, Debug, Default)]
pub struct OidcOptions {
    /// URL of an OpenID Connect issuer (https) whose tokens are accepted
    #[arg(long, value_name = "URL", default_value = "")]
    pub oidc_issuer_url: String,
    /// What this server is called by the issuer's tokens: one of their audiences
    #[arg(long, value_name = "ID", default_value = "")]
    pub oidc_client_id: String,
    /// CAs that the issuer is known by; default: the system's
    #[arg(long, value_name = "FILE")]
    pub oidc_ca_file: Option<PathBuf>,
    /// Claim that names the user
    #[arg(long, value_name = "CLAIM", default_value = "sub")]
    pub oidc_username_claim: String,
    /// What stands before users' names; -: nothing; default: the issuer's URL and #, but for the claim email nothing
    #[arg(long, value_name = "PREFIX", default_value = "", allow_hyphen_values = true)]
    pub oidc_username_prefix: String,
    /// Claim that names the groups: a text or a list of texts
    #[arg(long, value_name = "CLAIM", default_value = "")]
    pub oidc_groups_claim: String,
    /// What stands before groups' names
    #[arg(long, value_name = "PREFIX", default_value = "")]
    pub oidc_groups_prefix: String,
    /// Algorithms that tokens may be signed by
    #[arg(long, value_delimiter = ',', value_name = "NAMES", default_value = "RS256")]
    pub oidc_signing_algs: Vec<String>,
    /// Claims that tokens must have: name=value, comma separated or given several times
    #[arg(long, value_delimiter = ',', value_name = "NAME=VALUE", action = clap::ArgAction::Append)]
    pub oidc_required_claim: Vec<String>,
    /// File of issuers (AuthenticationConfiguration of apiserver.config.k8s.io), instead of the other flags
    #[arg(long, value_name = "FILE")]
    pub authentication_config: Option<PathBuf>,
}

/// What the flags come to.
#[derive(Default)]
pub struct Issuers {
    pub authenticators: Vec<Arc<dyn Authenticator>>,
    /// Whether requests without credentials are `system:anonymous`, if a file says so.
    pub anonymous: Option<bool>,
}

// === impl OidcOptions ===

impl OidcOptions {
    /// Whether any is given.
    pub fn is_given(&self) -> bool {
        self.has_flags() || self.authentication_config.is_some()
    }

    fn has_flags(&self) -> bool {
        let texts = [
            &self.oidc_issuer_url,
            &self.oidc_client_id,
            &self.oidc_username_prefix,
            &self.oidc_groups_claim,
            &self.oidc_groups_prefix,
        ];
        texts.iter().any(|text| !text.is_empty())
            || self.oidc_ca_file.is_some()
            || self.oidc_username_claim != "sub"
            || self.oidc_signing_algs != ["RS256"]
            || !self.oidc_required_claim.is_empty()
    }

    /// The same flags for a program that is started with them.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        let texts = [
            ("oidc-issuer-url", &self.oidc_issuer_url, ""),
            ("oidc-client-id", &self.oidc_client_id, ""),
            ("oidc-username-claim", &self.oidc_username_claim, "sub"),
            ("oidc-username-prefix", &self.oidc_username_prefix, ""),
            ("oidc-groups-claim", &self.oidc_groups_claim, ""),
            ("oidc-groups-prefix", &self.oidc_groups_prefix, ""),
            ("oidc-signing-algs", &self.oidc_signing_algs.join(","), "RS256"),
        ];
        for (flag, value, default) in texts {
            if value != default {
                arguments.push(format!("--{flag}={value}"));
            }
        }
        for claim in &self.oidc_required_claim {
            arguments.push(format!("--oidc-required-claim={claim}"));
        }
        for (flag, file) in [
            ("oidc-ca-file", &self.oidc_ca_file),
            ("authentication-config", &self.authentication_config),
        ] {
            arguments.extend(file.iter().map(|file| format!("--{flag}={}", file.display())));
        }
        arguments
    }

    /// What does not fit together, in one sentence. Files are not looked at.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self) -> Result<(), String> {
        if self.has_flags() && self.authentication_config.is_some() {
            return Err("authentication-config file and oidc-* flags are mutually exclusive".to_owned());
        }
        if !self.has_flags() {
            return Ok(());
        }
        if self.oidc_issuer_url.is_empty() || self.oidc_client_id.is_empty() {
            return Err(
                "oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set"
                    .to_owned(),
            );
        }
        if self.oidc_username_claim.is_empty() {
            return Err("--oidc-username-claim must not be empty".to_owned());
        }
        check_url(&self.oidc_issuer_url).map_err(|why| format!("--oidc-issuer-url: {why}"))?;
        self.algorithms()?;
        self.required_claims().map(drop)
    }

    fn algorithms(&self) -> Result<Vec<Algorithm>, String> {
        let read = |name: &String| {
            Algorithm::of_name(name).ok_or_else(|| {
                let known = Algorithm::ALL.map(Algorithm::name).join(", ");
                format!("--oidc-signing-algs: unsupported signing alg: {name:?} (there are {known})")
            })
        };
        self.oidc_signing_algs.iter().map(read).collect()
    }

    fn required_claims(&self) -> Result<Vec<Rule>, String> {
        let read = |entry: &String| {
            let (claim, required) = entry
                .split_once('=')
                .ok_or_else(|| format!("--oidc-required-claim: {entry} must be formatted as key=value"))?;
            Ok(Rule::Claim {
                claim: claim.to_owned(),
                required: required.to_owned(),
            })
        };
        self.oidc_required_claim.iter().map(read).collect()
    }

    /// The issuer of the flags.
    pub(crate) fn issuer(&self, env: &Env) -> Result<JwtAuthenticator> {
        let said = |wrong: String| anyhow::anyhow!(wrong);
        let prefix = match self.oidc_username_prefix.as_str() {
            "-" => String::new(),
            // Addresses name one person wherever they come from; other names are the issuer's own.
            "" if self.oidc_username_claim == "email" => String::new(),
            "" => format!("{}#", self.oidc_issuer_url),
            given => given.to_owned(),
        };
        let groups = (!self.oidc_groups_claim.is_empty()).then(|| Mapping::Claim {
            claim: self.oidc_groups_claim.clone(),
            prefix: self.oidc_groups_prefix.clone(),
        });
        let read = |file: &PathBuf| {
            env.disk
                .read(file)
                .with_context(|| format!("reading {}", file.display()))
        };
        Ok(JwtAuthenticator {
            issuer: self.oidc_issuer_url.clone(),
            discovery: None,
            authorities: self.oidc_ca_file.as_ref().map(read).transpose()?,
            audiences: vec![self.oidc_client_id.clone()],
            algorithms: self.algorithms().map_err(said)?,
            username: Mapping::Claim {
                claim: self.oidc_username_claim.clone(),
                prefix,
            },
            groups,
            uid: None,
            extra: Vec::new(),
            rules: self.required_claims().map_err(said)?,
            user_rules: Vec::new(),
        })
    }

    /// What is configured. `disallowed`: issuers of the server's own tokens.
    ///
    /// # Errors
    /// When a file cannot be read or says what is not understood.
    pub fn issuers(&self, env: &Env, disallowed: &[String]) -> Result<Issuers> {
        self.validate().map_err(|why| anyhow::anyhow!(why))?;
        let file = match &self.authentication_config {
            Some(path) => {
                let place = || format!("--authentication-config {}", path.display());
                let text = env.disk.read(path).with_context(place)?;
                AuthenticationFile::parse(&text, disallowed).with_context(place)?
            }
            None if self.has_flags() => AuthenticationFile {
                issuers: vec![self.issuer(env)?],
                anonymous: None,
            },
            None => AuthenticationFile::default(),
        };
        let mut found = Issuers {
            anonymous: file.anonymous,
            ..Issuers::default()
        };
        let clients = Clients::new(env);
        for config in file.issuers {
            if disallowed.contains(&config.issuer) {
                bail!("--oidc-issuer-url: {} issues this server's own tokens", config.issuer);
            }
            let url = config.issuer.clone();
            let issuer = Oidc::among(&clients, config).with_context(|| format!("the issuer {url}"))?;
            found.authenticators.push(Arc::new(issuer));
        }
        Ok(found)
    }
}
