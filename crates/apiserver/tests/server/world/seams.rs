//! What a binary would fill in, small.

use std::sync::Arc;

use apiserver::auth::{Authenticator, Authorizer, Credentials, Resolution, Resolver, Rules};
use apiserver::stage::Impersonator;
use async_trait::async_trait;
use http::HeaderMap;
use machinery::object::GroupResource;
use machinery::status::{Result, Status};
use machinery::user::{AUTHENTICATED, MASTERS, User};
use parking_lot::Mutex;
use permit::{Access, Cluster, Decision, Scope};
use registry::{Backend, Registry, Resolved, ResourceDef, Surface};

pub struct TestResolver;
pub struct Tokens;
pub struct Impersonation;

/// kcp-admin may do everything in real clusters, masters everywhere, user-1 reads ConfigMaps of the consumer's cluster and
/// nothing else, anonymous sees health.
pub struct Rights;

pub struct TestSurface {
    defs: Vec<Arc<ResourceDef>>,
    registry: Arc<Registry>,
    /// Instead of the registry, where a test has put one.
    other: Mutex<Option<Arc<dyn Backend>>>,
}

impl Resolver for TestResolver {
    fn resolve(&self, segment: &str, _is_peer: bool) -> Resolution {
        let missing = || Status::not_found(&GroupResource::new("tenancy.kcp.io", "workspaces"), segment);
        match segment {
            "*" => Resolution::All,
            "root:elsewhere" => Resolution::Refused(Status::too_many_requests("Not found on this shard", 1)),
            "root:mounted" => Resolution::Mount {
                url: "https://elsewhere".to_owned(),
            },
            "root:closed" => Resolution::Unavailable {
                status: Status::service_unavailable("Not available."),
                cluster: Some(Cluster::well_known(super::CONSUMER)),
            },
            "root:golden" => Resolution::Cluster(Cluster::well_known("golden")),
            "root:private" => Resolution::Cluster(Cluster::well_known("private")),
            _ if segment.contains(':') && !segment.starts_with("system:") => Resolution::Refused(missing()),
            _ => match Cluster::parse(segment) {
                Ok(cluster) => Resolution::Cluster(cluster),
                Err(_) => Resolution::Refused(Status::bad_request(format!(
                    "invalid cluster: {segment:?} does not match the regex"
                ))),
            },
        }
    }
}

#[async_trait]
impl Authenticator for Tokens {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<User>> {
        Ok(match credentials.bearer_token {
            Some("kcp-admin") => Some(User::new("kcp-admin", &["system:kcp:admin"])),
            Some("shard-admin") => Some(User::new("shard-admin", &[MASTERS])),
            Some(name @ ("user-1" | "user-2")) => Some(User::new(name, &[])),
            Some(_) => return Err(Status::unauthorized()),
            None => None,
        })
    }
}

#[async_trait]
impl Impersonator for Impersonation {
    async fn impersonate(
        &self,
        user: &User,
        headers: &HeaderMap,
        _access: &Access,
        _authorizer: &dyn Authorizer,
    ) -> Result<Option<User>, Status> {
        let Some(name) = headers.get("impersonate-user").and_then(|name| name.to_str().ok()) else {
            return Ok(None);
        };
        match user.in_group(MASTERS) {
            true => Ok(Some(User::new(name, &[AUTHENTICATED]))),
            false => Err(Status::forbidden(&GroupResource::new("", "users"), name, "no")),
        }
    }
}

#[async_trait]
impl Authorizer for Rights {
    async fn authorize(&self, user: &User, access: &Access) -> Decision {
        if user.in_group(MASTERS) || matches!(access.path.as_str(), "/livez" | "/readyz" | "/healthz") {
            return Decision::allow("always");
        }
        let Some(Scope::One(cluster)) = &access.scope else {
            return Decision::no_opinion("no cluster");
        };
        let known = matches!(cluster.as_str(), "root" | "private" | super::CONSUMER);
        let reads_config = super::CONSUMER == cluster.as_str()
            && access.resource == "configmaps"
            && matches!(access.verb.as_str(), "get" | "list" | "watch");
        let reads_workspaces = cluster.as_str() == "root" && access.resource == "workspaces" && access.verb == "get";
        match user.name.as_str() {
            "kcp-admin" if known && !cluster.is_system() => Decision::allow("admin"),
            "user-1" if reads_config || reads_workspaces => Decision::allow("reader"),
            _ => Decision::no_opinion("no rule"),
        }
    }

    async fn rules(&self, _user: &User, _scope: &Scope, _namespace: &str) -> Rules {
        Rules::default()
    }
}

impl TestSurface {
    pub fn new(defs: Vec<Arc<ResourceDef>>, registry: Registry) -> Self {
        Self {
            defs,
            registry: Arc::new(registry),
            other: Mutex::default(),
        }
    }

    /// All objects are this backend's from now on.
    pub fn serve_from(&self, backend: Arc<dyn Backend>) {
        *self.other.lock() = Some(backend);
    }

    pub fn def(&self, group: &str, plural: &str) -> Arc<ResourceDef> {
        let found = self
            .defs
            .iter()
            .find(|def| &*def.group == group && def.names.plural == plural);
        found.expect("a known resource").clone()
    }
}

impl Surface for TestSurface {
    fn resolve(
        &self,
        _scope: &Scope,
        group: &str,
        version: &str,
        resource: &str,
        identity: Option<&str>,
    ) -> Result<Option<Resolved>> {
        let found = self
            .defs
            .iter()
            .find(|def| &*def.group == group && def.names.plural == resource);
        let resolved = found.and_then(|def| {
            Some(Resolved {
                def: def.clone(),
                version: def.served_version(version)?,
            })
        });
        Ok(resolved.filter(|_| identity.is_none()))
    }

    fn resources(&self, _scope: &Scope) -> Vec<Arc<ResourceDef>> {
        self.defs.clone()
    }

    fn backend(&self, _resolved: &Resolved) -> Arc<dyn Backend> {
        self.other.lock().clone().unwrap_or_else(|| self.registry.clone())
    }

    fn content_key(&self, _scope: &Scope) -> [u8; 32] {
        [7; 32]
    }
}
