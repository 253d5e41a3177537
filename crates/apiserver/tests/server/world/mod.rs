//! A whole server in memory: stages, handlers and registry over the model store; clients speak HTTP to it over pipes.

mod client;
mod seams;

use std::sync::Arc;
use std::time::Duration;

use apiserver::{
    Audit, Connection, Health, Lifecycle, Server, ServerOptions, Services, Stack, StackConfig, StackOptions, Tls,
};
use env::Env;
use env::simulated::{Host, SimOptions};
use kv::model::ModelKv;
use machinery::options::WriteOptions;
use machinery::user::User;
use permit::{Cluster, Permit, Scope, Verb, Verbs};
use registry::builtin::{BuiltinResource, builtin_defs};
use registry::{
    AdmissionChain, Backend, CustomDefinition, DefinitionCache, Names, Origin, Registry, Request, Resolved,
    ResourceDef, Subresource, Target,
};
use serde_json::{Value, json};
use storage::{Change, FenceAction, ObjectKey, ResourceKey, Store, StoreOptions, Write};
use telemetry::Metrics;

pub use client::Client;
pub use seams::{Rights, TestSurface};

/// The cluster of the recordings that has widgets.
pub const CONSUMER: &str = "1t154gf6dl1jm360";

pub struct World {
    pub env: Env,
    pub stack: Arc<Stack>,
    pub server: Server<Stack>,
    pub metrics: Arc<Metrics>,
    pub lifecycle: Lifecycle,
    pub registry: Registry,
    pub surface: Arc<TestSurface>,
    /// Of a simulated environment.
    _host: Option<Host>,
}

/// What a test changes of the usual.
pub struct Setup {
    pub options: StackOptions,
    pub server: ServerOptions,
    pub fairness: apiserver::stage::FairnessOptions,
    pub services: Option<Arc<dyn Services>>,
    pub audit: Option<std::path::PathBuf>,
}

// === impl Setup ===

impl Default for Setup {
    fn default() -> Self {
        Self {
            options: StackOptions {
                external_address: "HOST:PORT".to_owned(),
                metrics_scope: Some(Scope::One(Cluster::well_known("root"))),
                ..StackOptions::default()
            },
            server: ServerOptions::default(),
            fairness: Default::default(),
            services: None,
            audit: None,
        }
    }
}

// === impl World ===

impl World {
    pub async fn new() -> Self {
        Self::with(Setup::default()).await
    }

    /// Must be called with paused time.
    pub async fn with(setup: Setup) -> Self {
        let (env, host) = Env::simulated(7, SimOptions::default());
        let world = Self::on(env, None, setup).await;
        Self {
            _host: Some(host),
            ..world
        }
    }

    pub async fn on(env: Env, tls: Option<Arc<Tls>>, setup: Setup) -> Self {
        let kv = Arc::new(ModelKv::new(&env));
        let store = Store::open(env.clone(), kv, StoreOptions::default(), Vec::new())
            .await
            .expect("an empty store opens");
        let registry = Registry::new(store, env.clone(), AdmissionChain::new(Vec::new()));
        let surface = Arc::new(TestSurface::new(definitions_served(), registry.clone()));
        let (metrics, lifecycle) = (Metrics::new(), Lifecycle::new());
        let audit = match setup.audit {
            Some(path) => {
                let policy = apiserver::AuditPolicy::everything(apiserver::AuditLevel::Request);
                Audit::to_file(&env, path, apiserver::AuditMode::Blocking, policy, &metrics)
            }
            None => Audit::none(),
        };
        let stack = Stack::new(StackConfig {
            env: env.clone(),
            options: setup.options,
            resolver: Arc::new(seams::TestResolver),
            authenticators: vec![Arc::new(seams::Tokens)],
            impersonator: Some(Arc::new(seams::Impersonation)),
            authorizer: Arc::new(Rights),
            surface: surface.clone(),
            definitions: Arc::new(definitions()),
            services: setup.services,
            delegates: None,
            mounts: None,
            fairness: setup.fairness,
            audit,
            health: Health::new(lifecycle.clone()),
            lifecycle: lifecycle.clone(),
            metrics: metrics.clone(),
        });
        let server = Server::new(
            env.clone(),
            setup.server,
            stack.clone(),
            tls,
            lifecycle.clone(),
            metrics.clone(),
        );
        let world = Self {
            env,
            stack,
            server,
            metrics,
            lifecycle,
            registry,
            surface,
            _host: None,
        };
        for cluster in ["root", CONSUMER] {
            world.open(cluster).await;
            world
                .put(cluster, "", "namespaces", "", json!({"metadata": {"name": "default"}}))
                .await;
        }
        world
    }

    /// A client over HTTP/2, in the role that the recordings call it.
    pub async fn client(&self, who: &str) -> Client {
        Client::http2(self.pipe(), &self.env).await.acting_as(who)
    }

    pub async fn http1(&self, who: &str) -> Client {
        Client::http1(self.pipe(), &self.env).await.acting_as(who)
    }

    /// The client's end of a new connection.
    pub fn pipe(&self) -> tokio::io::DuplexStream {
        let (near, far) = tokio::io::duplex(256 * 1024);
        let server = self.server.clone();
        let serve = async move { server.serve_connection(far, Connection::plain("10.0.0.9:1234")).await };
        self.env.spawn.spawn("connection", serve).detach();
        near
    }

    /// Brings a cluster into being.
    async fn open(&self, cluster: &str) {
        let cluster = Cluster::parse(cluster).unwrap();
        let object = json!({"apiVersion": "v1", "kind": "Opened", "metadata": {"name": "cluster"}});
        let write = Write {
            key: ObjectKey::new(cluster.clone(), "", "cluster"),
            change: Change::Create(object),
            fence: FenceAction::Open,
            guards: Vec::new(),
            ttl: None,
        };
        let permit = Permit::internal(Scope::One(cluster));
        let made = self
            .registry
            .store()
            .write(&permit, &ResourceKey::builtin("test", "opened"), write)
            .await;
        made.expect("a cluster is opened");
    }

    /// Makes an object past all stages.
    pub async fn put(&self, cluster: &str, group: &str, plural: &str, namespace: &str, object: Value) {
        let cluster = Cluster::parse(cluster).unwrap();
        let scope = Scope::One(cluster);
        let def = self.surface.def(group, plural);
        let permit = Permit::granted(
            scope,
            permit::Resources::One(def.group_resource()),
            Verbs::of(&[Verb::Create, Verb::Get]),
            machinery::selector::LabelSelector::everything(),
        );
        let request = Request::new(permit, Arc::new(User::new("setup", &["system:masters"])), "setup");
        let target = Target {
            resolved: Resolved { def, version: 0 },
            subresource: Subresource::Main,
            namespace: namespace.to_owned(),
            name: String::new(),
        };
        let made = self
            .registry
            .create(&request, &target, object, &WriteOptions::default())
            .await;
        if let Err(status) = made {
            panic!("{}", status.message);
        }
    }

    /// Lets everything else run until `done`.
    pub async fn until(&self, mut done: impl FnMut() -> bool) {
        for _ in 0..10_000 {
            if done() {
                return;
            }
            self.env.clock.sleep(Duration::from_millis(1)).await;
        }
        panic!("it did not come to pass");
    }
}

pub fn definitions() -> Value {
    let text = include_str!("../../../../api/data/builtin-definitions.json");
    serde_json::from_str(text).expect("the data file is JSON")
}

fn definitions_served() -> Vec<Arc<ResourceDef>> {
    let builtin = |plural: &str, singular: &str, kind: &str, namespaced: bool, short: &str| BuiltinResource {
        version: "v1".to_owned(),
        names: Names {
            plural: plural.to_owned(),
            singular: singular.to_owned(),
            kind: kind.to_owned(),
            list_kind: format!("{kind}List"),
            short_names: vec![short.to_owned()],
            categories: Vec::new(),
        },
        namespaced,
        verbs: [
            "create",
            "delete",
            "deletecollection",
            "get",
            "list",
            "patch",
            "update",
            "watch",
        ]
        .iter()
        .filter(|verb| namespaced || **verb != "deletecollection")
        .map(|verb| (*verb).to_owned())
        .collect(),
        subresources: if namespaced {
            Vec::new()
        } else {
            vec!["finalize".to_owned(), "status".to_owned()]
        },
        storage_version_hash: "BcsYVNKF43M=".to_owned(),
        definition: format!("io.k8s.api.core.v1.{kind}"),
        ..BuiltinResource::default()
    };
    let resources = [
        builtin("configmaps", "configmap", "ConfigMap", true, "cm"),
        builtin("namespaces", "namespace", "Namespace", false, "ns"),
    ];
    let mut defs = builtin_defs(&resources, &definitions());
    let cache = DefinitionCache::default();
    for (crd, origin) in [(widgets(), Origin::Local), (workspaces(), Origin::Bound)] {
        let definition = CustomDefinition::from_crd(&crd, origin).expect("a storage version");
        defs.push(cache.definition(&definition));
    }
    defs
}

fn widgets() -> Value {
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "colour": {"type": "string", "default": "red"},
            "size": {"type": "integer", "minimum": 1},
            "replicas": {"type": "integer"},
        }},
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
    }});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.io", "generation": 1, "annotations": {"kcp.io/cluster": CONSUMER}},
        "spec": {
            "group": "example.io", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList",
                      "shortNames": ["wd"]},
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
                },
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
            }],
        },
    })
}

fn workspaces() -> Value {
    let name = json!({"type": "string"});
    let schema = json!({"type": "object", "properties": {
        "metadata": {"type": "object", "properties": {
            "name": {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"},
        }},
        "spec": {
            "type": "object",
            "x-kubernetes-validations": [{"rule": "!has(self.type) || has(self.type.name)"}],
            "properties": {"type": {"type": "object", "properties": {"name": name, "path": name}}},
        },
    }});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "workspaces.tenancy.kcp.io", "generation": 1, "annotations": {"kcp.io/cluster": "root"}},
        "spec": {
            "group": "tenancy.kcp.io", "scope": "Cluster",
            "names": {"plural": "workspaces", "singular": "workspace", "kind": "Workspace", "listKind": "WorkspaceList",
                      "shortNames": ["ws"], "categories": ["kcp"]},
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                "subresources": {"status": {}},
            }],
        },
    })
}
