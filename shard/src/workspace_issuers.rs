//! Users of workspaces' own issuers: a WorkspaceType names WorkspaceAuthenticationConfigurations beside it, and who they know is
//! known in the workspaces of that type, each time as a user of that workspace alone (feature WorkspaceAuthentication).
//!
//! Whoever makes such a type chooses whom this server asks for keys, and how its users are called. So they are nobody of the
//! system: its names are refused, its groups and what kcp itself says about users (`extra`) are taken off, and they are confined to
//! the workspace that they come to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apiserver::auth::{Authenticator, Credentials, refused};
use async_trait::async_trait;
use controllers::refs;
use env::Env;
use machinery::object::ObjectExt;
use machinery::status::{Result, Status};
use machinery::user::User;
use oidc::{Clients, JwtAuthenticator, Oidc};
use parking_lot::Mutex;
use permit::{Cluster, Scope};
use serde_json::Value;
use tenancy::effective::{CLUSTER_NAME, SCOPES};
use tenancy::types::TypeSource as _;

use crate::accounts::Accounts;
use crate::facts::ShardFacts;

/// By the cluster of the request.
pub struct WorkspaceIssuers {
    env: Env,
    facts: Arc<ShardFacts>,
    objects: Arc<Accounts>,
    clients: Clients,
    /// Issuers of the server's own tokens.
    disallowed: Vec<String>,
    known: Mutex<Known>,
}

/// Issuers of configurations that tokens came for, by their cluster and name.
#[derive(Default)]
struct Known(BTreeMap<(Cluster, String), Configuration>);

/// A configuration as it was.
struct Configuration {
    spec: Value,
    issuers: Arc<[Oidc]>,
    /// On the monotonic clock.
    used: Duration,
}

/// Issuers hold keys: of more configurations than these the one that was not used for longest is forgotten.
const KNOWN_MAX: usize = 1024;
/// Of one configuration, as many as Kubernetes allows in one file.
const ISSUERS_MAX: usize = 64;
/// Of all issuers together. Proxies wait a little longer.
const WITHIN: Duration = Duration::from_secs(10);
const SYSTEM: &str = "system:";
/// What kcp says about users stands under such keys.
const OWN_EXTRA: &str = "kcp.io";

// === impl WorkspaceIssuers ===

impl WorkspaceIssuers {
    pub fn new(env: &Env, facts: Arc<ShardFacts>, objects: Arc<Accounts>, disallowed: Vec<String>) -> Self {
        Self {
            env: env.clone(),
            facts,
            objects,
            clients: Clients::new(env),
            disallowed,
            known: Mutex::default(),
        }
    }

    /// The cluster and the names of the configurations that a cluster's type names.
    fn configurations(&self, of: &Cluster) -> Option<(Cluster, Vec<String>)> {
        let recorded = self.facts.index.read().cluster(of)?.workspace_type.clone()?;
        let (path, name) = recorded.rsplit_once(':')?;
        let of_type = self.facts.workspace_type(path, name)?;
        let named = of_type.at(&["spec", "authenticationConfigurations"])?.as_array()?;
        let names = named.iter().filter_map(|entry| entry.str_at(&["name"]));
        Some((
            tenancy::types::cluster_of(&of_type)?,
            names.map(str::to_owned).collect(),
        ))
    }

    async fn issuers(&self, of: &Cluster, name: &str) -> Result<Arc<[Oidc]>> {
        let resource = refs::workspace_authentication_configurations();
        let Some(configuration) = self.objects.find(resource, of, "", name).await? else {
            return Ok(Arc::new([]));
        };
        let spec = configuration.get("spec").unwrap_or(&Value::Null);
        let key = (of.clone(), name.to_owned());
        let now = self.env.clock.monotonic();
        if let Some(issuers) = self.known.lock().find(&key, spec, now) {
            return Ok(issuers);
        }
        let issuers = made(&self.clients, &self.disallowed, spec, of, name);
        self.known.lock().put(key, spec.clone(), issuers.clone(), now);
        Ok(issuers)
    }

    async fn verify(&self, token: &str, of: &Cluster) -> Result<Option<User>> {
        let Some((place, names)) = self.configurations(of) else {
            return Ok(None);
        };
        let mut wrong: Option<Status> = None;
        for name in names {
            for issuer in self.issuers(&place, &name).await?.iter() {
                match issuer.verify(token).await {
                    Ok(Some(user)) => return confined(user, of).map(Some),
                    Ok(None) => {}
                    Err(status) => wrong = wrong.or(Some(status)),
                }
            }
        }
        wrong.map_or(Ok(None), Err)
    }
}

#[async_trait]
impl Authenticator for WorkspaceIssuers {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<User>> {
        match (credentials.bearer_token, credentials.scope) {
            (Some(token), Some(Scope::One(of))) => bounded(&self.env, self.verify(token, of)).await,
            _ => Ok(None),
        }
    }
}

// === impl Known ===

impl Known {
    /// None of a configuration that reads otherwise by now.
    fn find(&mut self, key: &(Cluster, String), spec: &Value, now: Duration) -> Option<Arc<[Oidc]>> {
        let known = self.0.get_mut(key).filter(|known| known.spec == *spec)?;
        known.used = now;
        Some(known.issuers.clone())
    }

    fn put(&mut self, key: (Cluster, String), spec: Value, issuers: Arc<[Oidc]>, now: Duration) {
        let used = now;
        self.0.insert(key, Configuration { spec, issuers, used });
        if self.0.len() > KNOWN_MAX {
            let oldest = self.0.iter().min_by_key(|(_, known)| known.used);
            let oldest = oldest.map(|(key, _)| key.clone());
            oldest.map(|key| self.0.remove(&key));
        }
    }
}

/// One that is wrong knows nobody, and the others do.
fn made(clients: &Clients, disallowed: &[String], spec: &Value, of: &Cluster, name: &str) -> Arc<[Oidc]> {
    let entries = spec.get("jwt").and_then(Value::as_array);
    let read = |entry: &Value| {
        let config = JwtAuthenticator::parse(entry, disallowed)?;
        Oidc::among(clients, config)
    };
    let issuer = |entry: &Value| match read(entry) {
        Ok(issuer) => Some(issuer),
        Err(why) => {
            tracing::info!(cluster = of.as_str(), name, %why, "an issuer of workspaces is not understood");
            None
        }
    };
    let entries = entries.into_iter().flatten().take(ISSUERS_MAX);
    entries.filter_map(issuer).collect()
}

/// What comes of asking, within the time that a request may take to be known: each issuer may take its own, and there are as many
/// as whoever made the type likes.
async fn bounded(env: &Env, asking: impl Future<Output = Result<Option<User>>>) -> Result<Option<User>> {
    let answer = env.clock.timeout(WITHIN, asking).await;
    answer.unwrap_or_else(|_| Err(refused("the issuers of the workspace did not answer in time")))
}

/// The user as one of a workspace and of nothing else.
fn confined(mut user: User, of: &Cluster) -> Result<User> {
    if user.name.starts_with(SYSTEM) {
        return Err(refused("system usernames are not admitted"));
    }
    user.groups.retain(|group| !group.starts_with(SYSTEM));
    user.extra.retain(|key, _| !key.contains(OWN_EXTRA));
    user.extra.insert(SCOPES.to_owned(), vec![format!("cluster:{of}")]);
    user.extra.insert(CLUSTER_NAME.to_owned(), vec![of.to_string()]);
    Ok(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env() -> (env::simulated::World, env::simulated::Host) {
        let world = env::simulated::World::new(1, Default::default());
        let host = world.host("shard");
        (world, host)
    }

    fn authority() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::default().self_signed(&key).unwrap().pem()
    }

    fn entry(url: &str, ca: &str) -> Value {
        serde_json::json!({
            "issuer": {"url": url, "certificateAuthority": ca, "audiences": ["kcp"]},
            "claimMappings": {"username": {"claim": "sub", "prefix": ""}},
        })
    }

    #[tokio::test(start_paused = true)]
    async fn one_configuration_makes_so_many_issuers_at_most() {
        let (_world, host) = env();
        let env = host.env();
        let ca = authority();
        let entries = (0..100).map(|at| entry(&format!("https://issuer-{at}"), &ca));
        let spec = serde_json::json!({"jwt": entries.collect::<Vec<_>>()});
        let of = Cluster::parse("abc").unwrap();
        assert_eq!(made(&Clients::new(&env), &[], &spec, &of, "many").len(), ISSUERS_MAX);
    }

    #[test]
    fn issuers_of_a_configuration_that_has_changed_are_not_those_of_before() {
        let (mut known, key) = (Known::default(), (Cluster::parse("abc").unwrap(), "one".to_owned()));
        let spec = |url: &str| serde_json::json!({"jwt": [{"issuer": {"url": url}}]});
        known.put(key.clone(), spec("https://a"), Arc::new([]), Duration::ZERO);
        assert!(known.find(&key, &spec("https://a"), Duration::ZERO).is_some());
        assert!(known.find(&key, &spec("https://b"), Duration::ZERO).is_none());
        let other = (Cluster::parse("def").unwrap(), "one".to_owned());
        assert!(known.find(&other, &spec("https://a"), Duration::ZERO).is_none());
    }

    #[test]
    fn so_many_configurations_are_known_at_most_and_those_in_use_stay() {
        let mut known = Known::default();
        let key = |at: usize| (Cluster::parse("abc").unwrap(), format!("configuration-{at}"));
        let at = |at: usize| Duration::from_secs(at as u64);
        for number in 0..KNOWN_MAX + 5 {
            known.put(key(number), Value::Null, Arc::new([]), at(number));
            assert!(known.find(&key(0), &Value::Null, at(number)).is_some());
        }
        assert_eq!(known.0.len(), KNOWN_MAX);
        let forgotten: Vec<_> = (0..KNOWN_MAX + 5)
            .filter(|number| !known.0.contains_key(&key(*number)))
            .collect();
        assert_eq!(forgotten, [1, 2, 3, 4, 5]);
    }

    #[test]
    fn issuers_of_the_servers_own_tokens_are_nobody_elses() {
        let env = env().1.env();
        let spec = serde_json::json!({"jwt": [entry("https://own", &authority())]});
        let of = Cluster::parse("abc").unwrap();
        let made = |disallowed: &[String]| made(&Clients::new(&env), disallowed, &spec, &of, "one").len();
        assert_eq!(
            (made(&["https://own".to_owned()]), made(&["https://other".to_owned()])),
            (0, 1)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn issuers_that_do_not_answer_are_not_waited_for() {
        let (_world, host) = env();
        let env = host.env();
        let began = env.clock.monotonic();
        let refused = bounded(&env, std::future::pending()).await.unwrap_err();
        assert_eq!((refused.code, env.clock.monotonic() - began), (401, WITHIN));
    }

    #[test]
    fn users_of_workspaces_are_nobody_of_the_system() {
        let of = Cluster::parse("abc").unwrap();
        let mut user = User::new("jane", &["dev", "system:masters", "system:authenticated"]);
        for key in [
            SCOPES,
            CLUSTER_NAME,
            "authorization.kcp.io/warrant",
            "kcp.io/test",
            "acme.io/x",
        ] {
            user.extra.insert(key.to_owned(), vec!["cluster:other".to_owned()]);
        }
        let user = confined(user, &of).unwrap();
        assert_eq!(user.groups, ["dev"]);
        let extra: Vec<(&str, &str)> = user.extra.iter().map(|(key, values)| (&**key, &*values[0])).collect();
        assert_eq!(
            extra,
            [
                ("acme.io/x", "cluster:other"),
                (CLUSTER_NAME, "abc"),
                (SCOPES, "cluster:abc"),
            ]
        );
        for name in ["system:admin", "system:serviceaccount:default:x", "system:"] {
            assert!(confined(User::new(name, &[]), &of).is_err());
        }
    }
}
