//! Who may present what: the authenticators of a shard in their order, impersonation, reviews and tokens of accounts.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use api::keys::cluster;
use apiserver::auth::rbac::Rule;
use apiserver::auth::service_account::{PublicKey, ServiceAccountOptions};
use apiserver::auth::{
    AccountBackend, Authenticator, CaBundle, Chain, ClientCertificates, Impersonation, RequestHeader,
    RequestHeaderOptions, ReviewBackend, RuleSource, ServiceAccountTokens, TokenTable,
};
use env::Env;
use machinery::user::User;
use permit::Cluster;
use registry::Backend;
use tenancy::effective::{CLUSTER_NAME, SCOPES};

use crate::account_signer::AccountSigner;
use crate::accounts::Accounts;
use crate::admin::AdminTokens;
use crate::facts::ShardFacts;
use crate::options::StartOptions;
use crate::shard::Shard;
use crate::workspace_issuers::WorkspaceIssuers;

/// The feature by which workspaces have issuers of their own.
const WORKSPACE_AUTHENTICATION: &str = "WorkspaceAuthentication";

/// What authentication adds to a server.
pub struct Authentication {
    pub authenticators: Vec<Arc<dyn Authenticator>>,
    pub impersonator: Arc<Impersonation>,
    /// Reviews of accesses, users and tokens.
    pub reviews: Arc<dyn Backend>,
    /// Service accounts, whose subresource makes tokens.
    pub accounts: Arc<dyn Backend>,
    /// What tokens of service accounts are verified with.
    pub keys: Vec<PublicKey>,
    pub components: Components,
    /// Requests without credentials are made by `system:anonymous`.
    pub anonymous: bool,
}

/// Certificates, as far as they make other components known.
#[derive(Clone, Default)]
pub struct Components {
    /// Users of client certificates: peers are among them.
    pub clients: Option<Arc<dyn Authenticator>>,
    /// Proxies that name the user in headers.
    pub proxies: Option<Arc<RequestHeader>>,
}

// === impl Authentication ===

impl Authentication {
    pub fn new(
        env: &Env,
        options: &StartOptions,
        tokens: &AdminTokens,
        signer: &AccountSigner,
        shard: &Shard,
    ) -> Result<Self> {
        let now = apiserver::auth::now(&env.clock);
        let mut keys = vec![signer.public_key()];
        for file in &options.service_account_key_file {
            let pem = read(env, file)?;
            keys.extend(PublicKey::all_from_pem(&pem).with_context(|| format!("reading {}", file.display()))?);
        }
        let audiences = options.api_audiences();
        let account_options = ServiceAccountOptions {
            issuers: vec![options.service_account_issuer.clone()],
            audiences: audiences.clone(),
            lookup: options.service_account_lookup,
            cluster_extra: CLUSTER_NAME.to_owned(),
            scopes_extra: SCOPES.to_owned(),
        };
        let source = Arc::new(Accounts::new(env, shard.facts.clone(), shard.others.clone()));
        let accounts = ServiceAccountTokens::new(account_options, keys.clone(), source.clone(), now.clone());
        let components = certificates(env, options)?;
        let mut members: Vec<Arc<dyn Authenticator>> = Vec::new();
        members.extend(components.proxies.clone().map(|proxies| proxies as _));
        members.extend(components.clients.clone());
        members.push(Arc::new(token_table(env, options, tokens)?));
        members.push(Arc::new(accounts));
        let issuers = options
            .oidc
            .issuers(env, std::slice::from_ref(&options.service_account_issuer))?;
        members.extend(issuers.authenticators);
        if options.has_gate(WORKSPACE_AUTHENTICATION) {
            let disallowed = vec![options.service_account_issuer.clone()];
            let of_workspaces = WorkspaceIssuers::new(env, shard.facts.clone(), source.clone(), disallowed);
            members.push(Arc::new(of_workspaces));
        }
        // Said twice, the stricter word counts.
        let anonymous = options.anonymous_auth && issuers.anonymous.unwrap_or(true);
        let chain = Arc::new(Chain::new(members.clone(), audiences.clone(), anonymous));
        let accounts = AccountBackend::new(shard.objects(), source, signer.issuer(), audiences, None);
        Ok(Self {
            authenticators: members,
            impersonator: Arc::new(Impersonation::new(virtual_workspaces::program::impersonation())),
            reviews: Arc::new(ReviewBackend::new(shard.authorizer.clone(), Some(chain), now)),
            accounts: Arc::new(accounts),
            keys,
            components,
            anonymous,
        })
    }
}

/// Client certificates, and proxies that name the user in headers.
fn certificates(env: &Env, options: &StartOptions) -> Result<Components> {
    let mut components = Components::default();
    let bundle = |file: &Path| -> Result<Arc<CaBundle>> {
        CaBundle::open(env, file).with_context(|| format!("reading {}", file.display()))
    };
    if let Some(file) = &options.requestheader_client_ca_file {
        let headers = RequestHeaderOptions {
            username_headers: options.requestheader_username_headers.clone(),
            group_headers: options.requestheader_group_headers.clone(),
            extra_header_prefixes: options.requestheader_extra_headers_prefix.clone(),
            allowed_names: options.requestheader_allowed_names.clone(),
            ..RequestHeaderOptions::default()
        };
        components.proxies = Some(Arc::new(RequestHeader::new(bundle(file)?, headers)));
    }
    if let Some(file) = &options.client_ca_file {
        components.clients = Some(Arc::new(ClientCertificates::new(bundle(file)?)));
    }
    Ok(components)
}

fn token_table(env: &Env, options: &StartOptions, tokens: &AdminTokens) -> Result<TokenTable> {
    let mut table = match &options.token_auth_file {
        None => TokenTable::new(),
        Some(file) => {
            let text = String::from_utf8_lossy(&read(env, file)?).into_owned();
            TokenTable::from_csv(&text).with_context(|| format!("reading {}", file.display()))?
        }
    };
    if options.batteries().admin {
        for (token, user) in tokens.table() {
            table.insert(&token, user);
        }
    }
    Ok(table)
}

fn read(env: &Env, file: &Path) -> Result<Vec<u8>> {
    env.disk
        .read(file)
        .with_context(|| format!("reading {}", file.display()))
}

/// Rules for escalation checks: those of the cluster and those that all clusters have.
impl RuleSource for ShardFacts {
    fn rules(&self, user: &User, of: &Cluster, namespace: &str) -> Vec<Rule> {
        let bootstrap = Cluster::well_known(cluster::SYSTEM_ADMIN);
        let mut rules = Vec::new();
        for user in tenancy::effective::effective_users(user, of) {
            rules.extend(self.rbac.rules(&user, &bootstrap, &bootstrap, namespace));
            rules.extend(self.rbac.rules(&user, of, &bootstrap, namespace));
        }
        rules
    }

    fn role_rules(&self, of: &Cluster, namespace: &str, name: &str) -> Option<Vec<Rule>> {
        self.rbac
            .role_rules(of, &Cluster::well_known(cluster::SYSTEM_ADMIN), namespace, name)
    }
}
