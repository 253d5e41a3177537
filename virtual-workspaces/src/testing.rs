//! What the tests share: a shard over the model store, whose facts are the objects that a test has put there, behind the
//! stages and handlers of a real server.

use std::sync::{Arc, Mutex, OnceLock, Weak};

use api::keys::group;
use apiserver::auth::rbac::Rule;
use apiserver::auth::{Authenticator, Authorizer, Credentials, Resolution, Resolver, Rules};
use apiserver::{Audit, Connection, Health, Lifecycle, RequestBody, ServiceRoute, Stack, StackConfig, StackOptions};
use async_trait::async_trait;
use env::Env;
use env::simulated::SimOptions;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use kv::model::ModelKv;
use machinery::object::ObjectExt;
use machinery::selector::LabelSelector;
use machinery::status::{Result, Status};
use machinery::user::User;
use permit::{Access, Cluster, Decision, Permit, Scope, Verb};
use registry::{
    Admission, AdmissionChain, Attributes, Backend, DefinitionCache, Registry, Resolved, ResourceDef, Surface,
};
use serde_json::{Value, json};
use storage::{Change, FenceAction, ObjectKey, ResourceKey, Store, StoreOptions, Write};
use tenancy::authz::{self, BoundFrom, Facts};
use tenancy::{ClusterFacts, ClusterIndex};

use crate::{
    ClusterContent, CommonDefinitions, DefinitionOf, Shard, VirtualWorkspaces, definition_of_schema, exported_schema,
};

pub const PROVIDER: &str = "n9le6n7u073ogu2k";
pub const CONSUMER: &str = "1t154gf6dl1jm360";
pub const OTHER: &str = "2x8kq0c7v4n1m5za";
pub const IDENTITY: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// A server with the views.
pub struct World {
    pub shard: Arc<TestShard>,
    stack: Arc<Stack>,
    env: Env,
}

pub struct TestShard {
    me: Weak<TestShard>,
    pub store: Store,
    registry: Registry,
    common: CommonDefinitions,
    cache: DefinitionCache,
    /// User or group, cluster, rule.
    grants: Mutex<Vec<(String, String, Rule)>>,
    /// Who acted in the last write that admission saw.
    pub actor: Arc<Mutex<Option<User>>>,
}

/// An answer.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

struct Labels {
    store: OnceLock<Store>,
    actor: Arc<Mutex<Option<User>>>,
}

/// The server's own APIs, the same in all clusters, and its chain of authorizers over the grants of the test.
struct Own(Arc<TestShard>);

struct Header;

/// Names only.
struct ByName;

// === impl World ===

impl World {
    pub async fn new() -> Self {
        let (env, _host) = Env::simulated(1, SimOptions::default());
        let kv = Arc::new(ModelKv::new(&env));
        let unfenced = ["root", PROVIDER, CONSUMER, OTHER].map(str::to_owned).to_vec();
        let options = StoreOptions {
            unfenced,
            ..StoreOptions::default()
        };
        let store = Store::open(env.clone(), kv, options, Vec::new())
            .await
            .expect("an empty store opens");
        let actor = Arc::new(Mutex::new(None));
        let labels = Arc::new(Labels {
            store: OnceLock::from(store.clone()),
            actor: actor.clone(),
        });
        let registry = Registry::new(store.clone(), env.clone(), AdmissionChain::new(vec![labels]));
        let cache = DefinitionCache::default();
        let common = CommonDefinitions::new(&cache);
        let grants = Mutex::default();
        let me = |me: &Weak<TestShard>| TestShard {
            me: me.clone(),
            store,
            registry,
            common,
            cache,
            grants,
            actor,
        };
        let shard = Arc::new_cyclic(me);
        let lifecycle = Lifecycle::new();
        let of_views: Arc<dyn Shard> = shard.clone();
        let stack = Stack::new(StackConfig {
            env: env.clone(),
            options: StackOptions::default(),
            resolver: Arc::new(ByName),
            authenticators: vec![Arc::new(Header)],
            impersonator: None,
            authorizer: Arc::new(Own(shard.clone())),
            surface: Arc::new(Own(shard.clone())),
            services: Some(Arc::new(VirtualWorkspaces::new(&of_views))),
            delegates: None,
            mounts: None,
            fairness: Default::default(),
            audit: Audit::none(),
            health: Health::new(lifecycle.clone()),
            lifecycle,
            metrics: telemetry::Metrics::new(),
            definitions: Arc::default(),
        });
        Self { shard, stack, env }
    }

    /// Cluster, resource (`widgets.example.io`) and object.
    pub async fn put(&self, cluster: &str, resource: &str, object: Value) {
        let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
        let key = match self.shard.common(group, plural) {
            Some(def) => def.store.clone(),
            None => ResourceKey::identity(group, plural, IDENTITY),
        };
        self.put_at(&key, cluster, object).await;
    }

    pub async fn put_at(&self, resource: &ResourceKey, cluster: &str, mut object: Value) {
        let cluster = Cluster::parse(cluster).expect("a cluster");
        object.set_annotation("kcp.io/cluster", cluster.as_str());
        let key = ObjectKey::new(cluster.clone(), object.namespace(), object.name());
        let permit = Permit::internal(Scope::One(cluster));
        let change = match self.shard.store.peek(&permit, resource, &key) {
            Some(entry) => Change::Update {
                object,
                expected: entry.revision(),
            },
            None => Change::Create(object),
        };
        let write = Write {
            key,
            change,
            fence: FenceAction::Hold,
            guards: Vec::new(),
            ttl: None,
        };
        self.shard.store.write(&permit, resource, write).await.expect("written");
    }

    /// Gives a user or group rights in a cluster.
    pub fn grant(&self, subject: &str, cluster: &str, rule: Value) {
        let rule = serde_json::from_value(rule).expect("a rule");
        self.shard
            .grants
            .lock()
            .unwrap()
            .push((subject.to_owned(), cluster.to_owned(), rule));
    }

    pub async fn get(&self, user: &str, path: &str) -> Answer {
        self.send(user, "GET", path, "", Value::Null).await
    }

    pub async fn send(&self, user: &str, method: &str, path: &str, kind: &str, body: Value) -> Answer {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let request = self
            .request(user, method, path, kind)
            .body(RequestBody::Full(body.into()));
        let response = self
            .stack
            .handle(request.expect("a request"), &Connection::plain("10.0.0.1:1"))
            .await;
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        Answer {
            status: head.status,
            headers: head.headers,
            body: String::from_utf8(body.to_vec()).expect("text"),
        }
    }

    /// The first events of a watch.
    pub async fn watch(&self, user: &str, path: &str) -> Watch {
        let request = self
            .request(user, "GET", path, "")
            .body(RequestBody::Full(Default::default()));
        let response = self
            .stack
            .handle(request.expect("a request"), &Connection::plain("10.0.0.1:1"))
            .await;
        assert_eq!(response.status(), 200);
        Watch {
            body: response.into_body(),
            buffer: String::new(),
            env: self.env.clone(),
        }
    }

    fn request(&self, user: &str, method: &str, path: &str, kind: &str) -> http::request::Builder {
        let kind = if kind.is_empty() { "application/json" } else { kind };
        let builder = Request::builder().method(method).uri(path).header("content-type", kind);
        builder.header("x-user", user).header("user-agent", "tester/1")
    }
}

/// A watch's stream.
pub struct Watch {
    body: apiserver::Body,
    buffer: String,
    env: Env,
}

impl Watch {
    /// `None`: the stream has ended, or nothing came in a second.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((line, rest)) = self.buffer.split_once('\n') {
                let event = serde_json::from_str(line).expect("an event");
                self.buffer = rest.to_owned();
                return Some(event);
            }
            let second = std::time::Duration::from_secs(1);
            let frame = self.env.clock.timeout(second, self.body.frame()).await.ok()??;
            let bytes = frame.expect("a frame").into_data().ok()?;
            self.buffer.push_str(std::str::from_utf8(&bytes).expect("text"));
        }
    }
}

// === impl Answer ===

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }

    pub fn message(&self) -> String {
        self.json().str_at(&["message"]).unwrap_or_default().to_owned()
    }

    /// Names of the items of a list, with their clusters.
    pub fn items(&self) -> Vec<String> {
        assert_eq!(self.status, 200, "{}", self.body);
        let list = self.json();
        let items = list["items"].as_array().expect("a list");
        items
            .iter()
            .map(|o| format!("{}/{}", o.annotation("kcp.io/cluster").unwrap_or_default(), o.name()))
            .collect()
    }
}

// === impl TestShard ===

impl TestShard {
    pub fn common(&self, group: &str, resource: &str) -> Option<Arc<ResourceDef>> {
        self.common.find(group, resource)
    }

    fn read(&self, group: &str, resource: &str, cluster: &Cluster, name: &str) -> Option<Value> {
        let def = self.common(group, resource);
        let key = def.map_or_else(|| ResourceKey::custom(group, resource), |def| def.store.clone());
        read(&self.store, &key, cluster, name)
    }

    fn of_schema(&self, cluster: &Cluster, schema: &str, identity: &str) -> Option<Arc<ResourceDef>> {
        let schema = self.read(group::APIS, "apiresourceschemas", cluster, schema)?;
        Some(self.cache.definition(&definition_of_schema(&schema, identity)?))
    }

    fn chain(&self, user: &User, access: &Access) -> bool {
        authz::authorize(user, access, &[], self).allowed
    }
}

fn read(store: &Store, resource: &ResourceKey, cluster: &Cluster, name: &str) -> Option<Value> {
    let permit = Permit::internal(Scope::One(cluster.clone()));
    let entry = store.peek(&permit, resource, &ObjectKey::new(cluster.clone(), "", name))?;
    Some(entry.to_value())
}

fn list(store: &Store, resource: &ResourceKey, scope: &Scope) -> Vec<Value> {
    let permit = Permit::internal(scope.clone());
    let entries = store.peek_list(&permit, resource, scope, "", &LabelSelector::everything());
    entries.iter().map(|entry| entry.to_value()).collect()
}

impl Facts for TestShard {
    fn cluster(&self, cluster: &Cluster) -> Option<ClusterFacts> {
        let object = self.read(group::CORE, "logicalclusters", cluster, "cluster")?;
        let mut index = ClusterIndex::default();
        index.apply_logical_cluster(cluster, Some(&object));
        index.cluster(cluster).cloned()
    }

    fn rbac_allows(&self, user: &User, access: &Access, bindings_in: &Cluster) -> bool {
        let is_subject = |subject: &str| subject == user.name || user.in_group(subject);
        let grants = self.grants.lock().unwrap();
        grants
            .iter()
            .any(|(who, at, rule)| is_subject(who) && at == bindings_in.as_str() && rule.allows(access))
    }

    fn bound_from(&self, _: &Cluster, _: &str, _: &str) -> Option<BoundFrom> {
        None
    }
}

#[async_trait]
impl Shard for TestShard {
    async fn export(&self, cluster: &Cluster, name: &str) -> Result<Option<Value>> {
        Ok(self.read(group::APIS, "apiexports", cluster, name))
    }

    async fn exports_by_identity(&self, hash: &str) -> Result<Vec<Value>> {
        let key = ResourceKey::custom(group::APIS, "apiexports");
        let all = list(&self.store, &key, &Scope::All).into_iter();
        Ok(all
            .filter(|export| export.str_at(&["status", "identityHash"]) == Some(hash))
            .collect())
    }

    async fn definition(&self, group: &str, resource: &str, of: &DefinitionOf) -> Result<Option<Arc<ResourceDef>>> {
        let hash = match of {
            DefinitionOf::Common => return Ok(self.common(group, resource)),
            DefinitionOf::Schema {
                cluster,
                schema,
                identity,
            } => return Ok(self.of_schema(cluster, schema, identity)),
            DefinitionOf::Identity(hash) => hash,
        };
        let exports = self.exports_by_identity(hash).await?;
        Ok(exports.iter().find_map(|export| {
            let (home, schema) = exported_schema(export, group, resource)?;
            self.of_schema(&home, schema, hash)
        }))
    }

    async fn bindings(&self, cluster: &Cluster) -> Result<Vec<Value>> {
        let key = ResourceKey::custom(group::APIS, "apibindings");
        Ok(list(&self.store, &key, &Scope::One(cluster.clone())))
    }

    async fn schema(&self, cluster: &Cluster, name: &str) -> Result<Option<Value>> {
        Ok(self.read(group::APIS, "apiresourceschemas", cluster, name))
    }

    async fn cluster(&self, cluster: &Cluster) -> Result<Option<ClusterFacts>> {
        Ok(Facts::cluster(self, cluster))
    }

    async fn logical_cluster(&self, cluster: &Cluster) -> Result<Option<Value>> {
        Ok(self.read(group::CORE, "logicalclusters", cluster, "cluster"))
    }

    async fn workspace_type(&self, cluster: &Cluster, name: &str) -> Result<Option<Value>> {
        Ok(self.read(group::TENANCY, "workspacetypes", cluster, name))
    }

    async fn allows(&self, user: &User, access: &Access) -> Result<bool> {
        assert!(access.deep, "a view's reviews are deep");
        Ok(self.chain(user, access))
    }

    fn backend(&self, _: &Resolved, _: &DefinitionOf) -> Arc<dyn Backend> {
        Arc::new(self.registry.clone())
    }

    fn content(&self, content: ClusterContent) -> ServiceRoute {
        let own = Arc::new(Own(self.me.upgrade().expect("the shard is there")));
        content.served(own.clone(), own)
    }

    fn revision(&self) -> u64 {
        self.store.revision()
    }
}

impl Surface for Own {
    fn resolve(
        &self,
        _: &Scope,
        group: &str,
        version: &str,
        resource: &str,
        _: Option<&str>,
    ) -> Result<Option<Resolved>> {
        let def = self.0.common(group, resource);
        Ok(def.and_then(|def| crate::surface::resolved(def, version)))
    }

    fn resources(&self, _: &Scope) -> Vec<Arc<ResourceDef>> {
        self.0.common.all().cloned().collect()
    }

    fn backend(&self, _: &Resolved) -> Arc<dyn Backend> {
        Arc::new(self.0.registry.clone())
    }

    fn content_key(&self, _: &Scope) -> [u8; 32] {
        [0; 32]
    }
}

#[async_trait]
impl Authorizer for Own {
    async fn authorize(&self, user: &User, access: &Access) -> Decision {
        match self.0.chain(user, access) {
            true => Decision::allow(""),
            false => Decision::no_opinion(""),
        }
    }

    async fn rules(&self, _: &User, _: &Scope, _: &str) -> Rules {
        Rules::default()
    }
}

/// `alice;group,group`: who sends, believed.
#[async_trait]
impl Authenticator for Header {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<User>> {
        let Some(text) = credentials.headers.get("x-user").and_then(|value| value.to_str().ok()) else {
            return Ok(None);
        };
        let (name, groups) = text.split_once(';').unwrap_or((text, ""));
        let groups: Vec<&str> = groups.split(',').filter(|group| !group.is_empty()).collect();
        Ok(Some(User::new(name, &groups)))
    }
}

impl Resolver for ByName {
    fn resolve(&self, segment: &str, _: bool) -> Resolution {
        match Cluster::parse(segment) {
            Ok(cluster) => Resolution::Cluster(cluster),
            Err(error) => Resolution::Refused(Status::bad_request(error.to_string())),
        }
    }
}

/// Labels of claims, as admission keeps them.
#[async_trait]
impl Admission for Labels {
    fn name(&self) -> &'static str {
        "labels"
    }

    async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<()> {
        *self.actor.lock().unwrap() = Some((*attributes.request.user).clone());
        let (Some(store), true) = (self.store.get(), attributes.verb != Verb::Delete) else {
            return Ok(());
        };
        let key = ResourceKey::custom(group::APIS, "apibindings");
        let bindings = list(store, &key, &Scope::One(attributes.cluster.clone()));
        let bindings: Vec<Arc<Value>> = bindings.into_iter().map(Arc::new).collect();
        let (group, plural) = (attributes.def.group.clone(), attributes.def.names.plural.clone());
        let Some(object) = attributes.object.as_deref_mut() else {
            return Ok(());
        };
        let wanted = tenancy::claims::labels_for(&bindings, &group, &plural, object);
        let carried: Vec<String> = object
            .at(&["metadata", "labels"])
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(key, _)| key.clone())
            .filter(|key| key.starts_with(api::keys::label::CLAIM_PREFIX))
            .collect();
        for key in &carried {
            object.remove_label(key);
        }
        wanted.iter().for_each(|(key, value)| object.set_label(key, value));
        Ok(())
    }
}

/// A LogicalCluster in a phase.
pub fn logical_cluster(phase: &str) -> Value {
    json!({
        "apiVersion": "core.kcp.io/v1alpha1", "kind": "LogicalCluster",
        "metadata": {"name": "cluster", "uid": "0b29018c", "creationTimestamp": "2026-11-22T16:59:01Z",
                     "labels": {"tenancy.kcp.io/phase": phase}},
        "spec": {},
        "status": {"phase": phase},
    })
}
