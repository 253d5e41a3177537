//! Two shards in one simulated world: what one offers is bound and used on the other, also while the one is gone.

mod settings;

use std::sync::Arc;
use std::time::Duration;

use ::fabric::serve::Fabric;
use api::keys::{annotation, cluster, group};
use apiserver::auth::service_account::AccountSource;
use apiserver::auth::{Authenticator, Credentials};
use apiserver::{Audit, Body, Connection, Health, Lifecycle, RequestBody, Server, ServerOptions, Service, Stack};
use async_trait::async_trait;
use env::Env;
use env::simulated::{SimOptions, World};
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request as HttpRequest, Response};
use kv::model::ModelKv;
use machinery::object::ObjectExt;
use machinery::options::{DeleteOptions, GetOptions, WriteOptions};
use machinery::selector::LabelSelector;
use machinery::status::Status;
use machinery::user::{MASTERS, User};
use permit::{Cluster, Permit, Scope};
use plan::ResourceRef;
use registry::{Backend, Item, Request, Resolved, Subresource, Target};
use serde_json::{Value, json};
use shard::account_signer::AccountSigner;
use shard::accounts::Accounts;
use shard::admin::AdminTokens;
use shard::authentication::Authentication;
use shard::effects::system_request;
use shard::fabric::ShardSource;
use shard::neighbours::Neighbourhood;
use shard::options::StartOptions;
use shard::shard::{Shard, ShardOptions};
use shard::stack::StackParts;
use telemetry::Metrics;

const PORT: u16 = 7000;

/// A shard, and where its peers reach it.
struct Site {
    env: Env,
    shard: Shard,
    server: Server<Peers>,
}

/// Every connection of this world is a component's.
struct Peers {
    fabric: Fabric,
    stack: Arc<Stack>,
}
struct Component;

#[async_trait]
impl Authenticator for Component {
    async fn authenticate(&self, _: &Credentials<'_>) -> machinery::status::Result<Option<User>> {
        Ok(Some(User::new("shard", &[MASTERS])))
    }
}

impl Service for Peers {
    async fn serve(&self, mut request: HttpRequest<RequestBody>, connection: &Connection) -> Response<Body> {
        if Fabric::is_call(request.uri().path(), request.headers()) {
            return self.fabric.serve(request, connection).await;
        }
        let component = HeaderValue::from_static("Bearer shard-admin");
        request.headers_mut().insert(AUTHORIZATION, component);
        self.stack.serve(request, connection).await
    }
}

// === impl Site ===

impl Site {
    async fn start(env: &Env, name: &str, kv: &Arc<ModelKv>) -> Self {
        let start = settings::start_options(name);
        let options = ShardOptions {
            holder: format!("{name}-{}", env.rng.next_u64()),
            neighbourhood: Some(Neighbourhood {
                tls: None,
                root: (name != "root").then(|| format!("http://root:{PORT}")),
            }),
            ..settings::shard_options(env, &format!("http://{name}:{PORT}"), &start)
        };
        let shard = Shard::start(env, kv.clone(), options).await.unwrap();
        shard.wait_for_root().await;
        let fabric = Fabric::new(
            Arc::new(ShardSource::new(&shard)),
            Arc::new(Component),
            Lifecycle::new(),
        );
        let stack = stack(env, &shard, &start);
        let server = Server::new(
            env.clone(),
            ServerOptions::default(),
            Arc::new(Peers { fabric, stack }),
            None,
            Lifecycle::new(),
            Metrics::new(),
        );
        let listener = env.net.listen(&format!("{name}:{PORT}")).await.unwrap();
        let accepting = server.clone();
        let serving = async move { accepting.run(listener).await };
        env.spawn.spawn("server", serving).detach();
        Self {
            env: env.clone(),
            shard,
            server,
        }
    }

    /// Nothing of it is left behind that follows others or holds its store.
    async fn stop(self) {
        self.server.shutdown().await;
        self.shard.stop().await;
        let replicas = Arc::downgrade(&self.shard.replicas);
        let env = self.env.clone();
        drop(self);
        // What was aborted goes at its next turn.
        env.clock.sleep(Duration::from_secs(1)).await;
        assert_eq!(replicas.strong_count(), 0, "somebody still follows");
    }

    /// A workspace on this shard. Which parent it has does not matter here.
    fn is_here(&self, cluster: &Cluster) -> bool {
        self.shard.facts.is_here(cluster)
    }

    /// Until something holds; the clock is the world's.
    async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        for _ in 0..3000 {
            if holds() {
                return;
            }
            self.env.clock.sleep(Duration::from_millis(20)).await;
        }
        panic!("in a minute it is never so that {what}");
    }

    fn target(&self, of: &Cluster, resource: &ResourceRef, name: &str) -> Target {
        let def = self
            .shard
            .catalog
            .definition(resource, of)
            .expect("the resource is served");
        let version = def.storage_version;
        Target {
            resolved: Resolved { def, version },
            subresource: Subresource::Main,
            namespace: String::new(),
            name: name.to_owned(),
        }
    }

    async fn create_as(
        &self,
        user: &str,
        of: &Cluster,
        resource: &ResourceRef,
        object: Value,
    ) -> Result<Value, Status> {
        let (user, permit) = (Arc::new(User::new(user, &[])), Permit::internal(Scope::One(of.clone())));
        let request = match user.name.as_str() {
            "system" => system_request(permit, Arc::new(User::new("system", &[MASTERS])), "test", Vec::new()),
            _ => Request::new(permit, user, "test"),
        };
        let target = self.target(of, resource, "");
        let created = self
            .shard
            .registry
            .create(&request, &target, object, &WriteOptions::default())
            .await?;
        Ok(shown(created.item))
    }

    async fn create(&self, of: &Cluster, resource: &ResourceRef, object: Value) -> Value {
        self.create_as("system", of, resource, object).await.unwrap()
    }

    async fn get(&self, of: &Cluster, resource: &ResourceRef, name: &str) -> Option<Value> {
        let permit = Permit::internal(Scope::One(of.clone()));
        let request = Request::new(permit, Arc::new(User::new("system", &[MASTERS])), "test");
        let target = self.target(of, resource, name);
        let found = self.shard.registry.get(&request, &target, &GetOptions::default()).await;
        found.ok().map(shown)
    }

    async fn delete(&self, of: &Cluster, resource: &ResourceRef, name: &str) {
        let permit = Permit::internal(Scope::One(of.clone()));
        let user = Arc::new(User::new("system", &[MASTERS]));
        let request = system_request(permit, user, "test", Vec::new());
        let target = self.target(of, resource, name);
        self.shard
            .registry
            .delete(&request, &target, &DeleteOptions::default())
            .await
            .unwrap();
    }

    /// Writes an object again, as somebody who looks anew when others were first.
    async fn edit(&self, of: &Cluster, resource: &ResourceRef, name: &str, edit: impl Fn(&mut Value)) {
        let permit = Permit::internal(Scope::One(of.clone()));
        let request = system_request(permit, Arc::new(User::new("system", &[MASTERS])), "test", Vec::new());
        let target = self.target(of, resource, name);
        loop {
            let mut object = self.get(of, resource, name).await.unwrap();
            edit(&mut object);
            let written = self
                .shard
                .registry
                .update(&request, &target, object, &WriteOptions::default())
                .await;
            match written {
                Err(status) if status.is_conflict() => {}
                other => return other.map(drop).unwrap(),
            }
        }
    }

    /// Objects of a cluster, by the log of this shard.
    fn all(&self, of: &Cluster, resource: &ResourceRef) -> Vec<Value> {
        let (permit, scope) = (Permit::internal(Scope::All), Scope::One(of.clone()));
        let key = self.target(of, resource, "").resolved.def.store.clone();
        let everything = LabelSelector::everything();
        let found = self.shard.store.peek_list(&permit, &key, &scope, "", &everything);
        found.iter().map(|entry| entry.to_value()).collect()
    }

    /// (name, region), by region.
    fn partitions(&self, of: &Cluster) -> Vec<(String, String)> {
        let region = |p: &Value| {
            p.str_at(&["spec", "selector", "matchLabels", "region"])
                .map(str::to_owned)
        };
        let found = self.all(of, &partitions());
        let mut found: Vec<_> = found
            .iter()
            .map(|p| (p.name().to_owned(), region(p).unwrap_or_default()))
            .collect();
        found.sort_by(|one, other| one.1.cmp(&other.1));
        found
    }

    async fn until_regions(&self, of: &Cluster, regions: &[&str]) -> Vec<(String, String)> {
        let are_there = || {
            self.partitions(of)
                .iter()
                .map(|(_, region)| region.as_str())
                .eq(regions.iter().copied())
        };
        self.until(&format!("there are partitions of {regions:?}"), are_there)
            .await;
        self.partitions(of)
    }

    /// The hosts that a slice announces, and whether its partition is valid.
    fn announced(&self, of: &Cluster, slice: &str) -> (Vec<String>, bool) {
        let found = self.all(of, &slices()).into_iter().find(|found| found.name() == slice);
        let Some(found) = found else { return (Vec::new(), false) };
        let endpoints = found.at(&["status", "endpoints"]).and_then(Value::as_array);
        let urls = endpoints
            .into_iter()
            .flatten()
            .filter_map(|endpoint| endpoint.str_at(&["url"]));
        let host = |url: &str| {
            url.trim_start_matches("http://")
                .split(':')
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        let is_valid = api::conditions::is_true(&found, api::keys::condition::PARTITION_VALID);
        (urls.map(host).collect(), is_valid)
    }

    async fn until_announced(&self, of: &Cluster, slice: &str, hosts: &[&str], is_valid: bool) {
        let is_so = || {
            let (found, valid) = self.announced(of, slice);
            found == hosts && valid == is_valid
        };
        self.until(&format!("slice {slice} announces {hosts:?}"), is_so).await;
    }

    /// A ready workspace on a shard, made in a cluster of this one.
    async fn workspace(&self, parent: &Cluster, name: &str, on: &Site) -> Cluster {
        let object = json!({"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "Workspace", "metadata": {"name": name,
            "annotations": {annotation::OWNER: "{\"username\":\"alice\"}"}},
            "spec": {"type": {"name": "universal", "path": "root"},
                "location": {"selector": {"matchLabels": {"name": on.shard.name}}}}});
        self.create(parent, &workspaces(), object).await;
        let mut last = Value::Null;
        for _ in 0..3000 {
            last = self.get(parent, &workspaces(), name).await.unwrap();
            if last.str_at(&["status", "phase"]) == Some("Ready") {
                let made = Cluster::parse(last.str_at(&["spec", "cluster"]).unwrap()).unwrap();
                assert!(on.is_here(&made));
                return made;
            }
            self.env.clock.sleep(Duration::from_millis(20)).await;
        }
        panic!("workspace {name} never gets ready: {last:#}");
    }

    /// An export of widgets that alice may bind.
    async fn offer(&self, provider: &Cluster) {
        self.create(provider, &schemas(), schema()).await;
        let export = json!({"apiVersion": "apis.kcp.io/v1alpha2", "kind": "APIExport", "metadata": {"name": "widgets"},
            "spec": {"resources": [{"group": "acme.io", "name": "widgets", "schema": "v1.widgets.acme.io",
                "storage": {"crd": {}}}]}});
        self.create(provider, &exports(), export).await;
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": "binder"}, "rules": [{"apiGroups": ["apis.kcp.io"], "resources": ["apiexports"],
            "resourceNames": ["widgets"], "verbs": ["bind"]}]});
        self.create(provider, &roles(), role).await;
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "binder"}, "subjects": [{"kind": "User", "name": "alice",
            "apiGroup": "rbac.authorization.k8s.io"}],
            "roleRef": {"kind": "ClusterRole", "name": "binder", "apiGroup": "rbac.authorization.k8s.io"}});
        self.create(provider, &role_bindings(), binding).await;
    }

    /// Binds widgets, and waits until they are served.
    async fn bind(&self, consumer: &Cluster, path: &str) {
        self.create_as("alice", consumer, &bindings(), binding(path))
            .await
            .unwrap();
        let served = || {
            self.shard
                .definitions
                .bound(consumer, "acme.io", "widgets")
                .is_some_and(|def| def.is_ok())
        };
        self.until("widgets are served", served).await;
        let widget = json!({"apiVersion": "acme.io/v1", "kind": "Widget", "metadata": {"name": "w"}});
        self.create(consumer, &widgets(), widget).await;
    }

    fn knows_export(&self, provider: &Cluster) -> bool {
        let found = self.shard.replicas.get(group::APIS, "apiexports", provider, "widgets");
        found.is_some_and(|export| export.str_at(&["status", "identityHash"]).is_some())
    }
}

fn stack(env: &Env, shard: &Shard, start: &StartOptions) -> Arc<Stack> {
    let tokens = AdminTokens {
        shard_admin: "shard-admin".to_owned(),
        kcp_admin: "kcp-admin".to_owned(),
        user: None,
    };
    let signer = AccountSigner::open(env, start).unwrap();
    let lifecycle = Lifecycle::new();
    let parts = StackParts {
        authentication: Authentication::new(env, start, &tokens, &signer, shard).unwrap(),
        run_virtual_workspaces: true,
        home_workspaces: false,
        audit: Audit::none(),
        health: Health::new(lifecycle.clone()),
        lifecycle,
        metrics: Metrics::new(),
        anonymous: true,
        external_address: "kcp.example:6443".to_owned(),
        issuer: start.service_account_issuer.clone(),
        jwks_uri: start.service_account_jwks_uri.clone(),
    };
    shard::stack::build(shard, parts)
}

fn shown(item: Item) -> Value {
    match item {
        Item::Stored(entry) => entry.to_value(),
        Item::Built(object) => Value::clone(&object),
    }
}

fn workspaces() -> ResourceRef {
    ResourceRef::new(group::TENANCY, "workspaces")
}

fn schemas() -> ResourceRef {
    ResourceRef::new(group::APIS, "apiresourceschemas")
}

fn exports() -> ResourceRef {
    ResourceRef::new(group::APIS, "apiexports")
}

fn slices() -> ResourceRef {
    ResourceRef::new(group::APIS, "apiexportendpointslices")
}

fn shards() -> ResourceRef {
    ResourceRef::new(group::CORE, "shards")
}

fn partitions() -> ResourceRef {
    ResourceRef::new(group::TOPOLOGY, "partitions")
}

fn partition_sets() -> ResourceRef {
    ResourceRef::new(group::TOPOLOGY, "partitionsets")
}

fn by_region(name: &str) -> Value {
    json!({"apiVersion": "topology.kcp.io/v1alpha1", "kind": "PartitionSet", "metadata": {"name": name},
        "spec": {"dimensions": ["region"]}})
}

fn slice(name: &str, partition: &str) -> Value {
    json!({"apiVersion": "apis.kcp.io/v1alpha1", "kind": "APIExportEndpointSlice", "metadata": {"name": name},
        "spec": {"export": {"name": "widgets"}, "partition": partition}})
}

fn bindings() -> ResourceRef {
    ResourceRef::new(group::APIS, "apibindings")
}

fn widgets() -> ResourceRef {
    ResourceRef::new("acme.io", "widgets")
}

fn roles() -> ResourceRef {
    ResourceRef::new("rbac.authorization.k8s.io", "clusterroles")
}

fn role_bindings() -> ResourceRef {
    ResourceRef::new("rbac.authorization.k8s.io", "clusterrolebindings")
}

fn schema() -> Value {
    json!({"apiVersion": "apis.kcp.io/v1alpha1", "kind": "APIResourceSchema", "metadata": {"name": "v1.widgets.acme.io"},
        "spec": {"group": "acme.io", "scope": "Cluster", "names": {"plural": "widgets", "singular": "widget",
            "kind": "Widget", "listKind": "WidgetList"}, "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"type": "object", "properties": {"spec": {"type": "object"}}}}]}})
}

fn binding(path: &str) -> Value {
    json!({"apiVersion": "apis.kcp.io/v1alpha2", "kind": "APIBinding", "metadata": {"name": "widgets"},
        "spec": {"reference": {"export": {"path": path, "name": "widgets"}}}})
}

/// Two hosts, each with a store.
struct Pair {
    world: World,
    a: Env,
    b: Env,
    stores: (Arc<ModelKv>, Arc<ModelKv>),
}

// === impl Pair ===

impl Pair {
    fn new() -> Self {
        let world = World::new(1, SimOptions::default());
        let (a, b) = (world.host("root").env(), world.host("b").env());
        let stores = (Arc::new(ModelKv::new(&a)), Arc::new(ModelKv::new(&b)));
        Self { world, a, b, stores }
    }

    async fn start_a(&self) -> Site {
        Site::start(&self.a, "root", &self.stores.0).await
    }

    async fn start_b(&self) -> Site {
        Site::start(&self.b, "b", &self.stores.1).await
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_shard_offers_is_bound_on_the_other_while_the_one_is_gone_too() {
    let pair = Pair::new();
    let (a, b) = (pair.start_a().await, pair.start_b().await);
    let root = Cluster::well_known(cluster::ROOT);
    let provider = a.workspace(&root, "provider", &a).await;
    a.offer(&provider).await;
    let consumer = a.workspace(&root, "consumer", &b).await;
    b.until("the export is known", || b.knows_export(&provider)).await;
    let may_bind = || {
        b.shard
            .replicas
            .get("rbac.authorization.k8s.io", "clusterrolebindings", &provider, "binder")
    };
    b.until("who may bind is known", || may_bind().is_some()).await;

    let refused = b
        .create_as("mallory", &consumer, &bindings(), binding("root:provider"))
        .await;
    let refused = refused.unwrap_err();
    assert_eq!(
        (
            refused.code,
            refused
                .message
                .contains("no permission to bind to export root:provider:widgets")
        ),
        (403, true)
    );
    b.bind(&consumer, "root:provider").await;

    // B says at the provider's slice where its consumers are seen.
    let url = format!("http://b:{PORT}/services/apiexport/{provider}/widgets");
    let announced = async || {
        let slice = a.get(&provider, &slices(), "widgets").await?;
        Some(slice.at(&["status", "endpoints"])? == &json!([{"url": url}]))
    };
    for _ in 0..3000 {
        if announced().await == Some(true) {
            break;
        }
        a.env.clock.sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(announced().await, Some(true));

    // B's own objects are B's alone.
    let permit = Permit::internal(Scope::All);
    let all = LabelSelector::everything();
    let own = b
        .shard
        .store
        .peek_list(&permit, &shard::facts::exports_key(), &Scope::All, "", &all);
    assert!(own.iter().all(|export| export.cluster_name() != provider.as_str()));
    assert!(b.shard.store.objects_in(&provider).is_empty());
    // Nothing of a workspace that offers nothing is anywhere else.
    for resource in ["logicalclusters", "clusterrolebindings"] {
        for group in [group::CORE, "rbac.authorization.k8s.io"] {
            let told = a
                .shard
                .replicas
                .list(group, resource, &Scope::One(consumer.clone()), &all);
            assert!(told.is_empty(), "{told:?}");
        }
    }

    // A dies, and B starts anew: it serves what was bound, and binds to what is known.
    pair.world.network().partition("root", "b");
    a.stop().await;
    b.stop().await;
    let b = pair.start_b().await;
    assert!(!b.shard.following.as_ref().unwrap().is_told("root"));
    assert!(b.get(&consumer, &widgets(), "w").await.is_some());
    let another = b.workspace(&consumer, "another", &b).await;
    let refused = b
        .create_as("mallory", &another, &bindings(), binding("root:provider"))
        .await;
    assert_eq!(refused.unwrap_err().code, 403);
    b.bind(&another, provider.as_str()).await;

    // A comes back without the export.
    let a = pair.start_a().await;
    a.delete(&provider, &exports(), "widgets").await;
    pair.world.network().heal();
    b.until("the export is forgotten", || !b.knows_export(&provider)).await;
    assert!(
        b.get(&consumer, &widgets(), "w").await.is_some(),
        "what is bound goes on being served"
    );
}

#[tokio::test(start_paused = true)]
async fn a_policy_of_the_provider_holds_on_the_other_shard() {
    let pair = Pair::new();
    let (a, b) = (pair.start_a().await, pair.start_b().await);
    let root = Cluster::well_known(cluster::ROOT);
    let provider = a.workspace(&root, "provider", &a).await;
    a.offer(&provider).await;
    let mut export = a.get(&provider, &exports(), "widgets").await.unwrap();
    b.until("the export is known", || b.knows_export(&provider)).await;
    let consumer = a.workspace(&root, "consumer", &b).await;
    let binder = || {
        b.shard
            .replicas
            .get("rbac.authorization.k8s.io", "clusterrolebindings", &provider, "binder")
    };
    b.until("who may bind is known", || binder().is_some()).await;
    b.bind(&consumer, "root:provider").await;

    let alice = User::new("alice", &["system:authenticated"]);
    let access = |verb: &str| permit::Access {
        scope: Some(Scope::One(consumer.clone())),
        verb: verb.to_owned(),
        is_resource: true,
        group: "acme.io".to_owned(),
        version: "v1".to_owned(),
        resource: "widgets".to_owned(),
        ..permit::Access::default()
    };
    let may = async |verb: &str| b.shard.authorizer.authorize(&alice, &access(verb)).await.is_allowed();
    assert!(may("list").await && may("create").await, "its owner may everything");

    let permit = Permit::internal(Scope::One(provider.clone()));
    let request = system_request(permit, Arc::new(User::new("system", &[MASTERS])), "test", Vec::new());
    export = a.get(&provider, &exports(), "widgets").await.unwrap_or(export);
    export.set_at(&["spec", "maximalPermissionPolicy"], json!({"local": {}}));
    let target = a.target(&provider, &exports(), "widgets");
    a.shard
        .registry
        .update(&request, &target, export, &WriteOptions::default())
        .await
        .unwrap();
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "limits"}, "rules": [{"apiGroups": ["acme.io"], "resources": ["widgets"], "verbs": ["list"]}]});
    a.create(&provider, &roles(), role).await;
    let limits = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "limits"}, "subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io",
        "name": "apis.kcp.io:binding:system:authenticated"}],
        "roleRef": {"kind": "ClusterRole", "name": "limits", "apiGroup": "rbac.authorization.k8s.io"}});
    a.create(&provider, &role_bindings(), limits).await;
    let told = || {
        b.shard
            .replicas
            .get("rbac.authorization.k8s.io", "clusterroles", &provider, "limits")
    };
    b.until("the policy is known", || {
        told().is_some() && b.shard.facts.foreign.has_policy(&provider, "widgets")
    })
    .await;
    b.until("its binding is known", || {
        b.shard
            .replicas
            .get("rbac.authorization.k8s.io", "clusterrolebindings", &provider, "limits")
            .is_some()
    })
    .await;
    assert!(
        may("list").await && !may("create").await,
        "no more than the provider lets"
    );
}

#[tokio::test(start_paused = true)]
async fn who_binds_at_once_is_not_refused_for_what_is_still_on_its_way() {
    let pair = Pair::new();
    let (a, b) = (pair.start_a().await, pair.start_b().await);
    let root = Cluster::well_known(cluster::ROOT);
    let provider = a.workspace(&root, "provider", &a).await;
    let consumer = a.workspace(&root, "consumer", &b).await;
    a.offer(&provider).await;
    let binder = b
        .shard
        .replicas
        .get("rbac.authorization.k8s.io", "clusterrolebindings", &provider, "binder");
    assert!(binder.is_none(), "it is on its way");
    let refused = b
        .create_as("mallory", &consumer, &bindings(), binding("root:provider"))
        .await;
    assert_eq!(refused.unwrap_err().code, 403);
    let nowhere = b
        .create_as("alice", &consumer, &bindings(), binding("root:nowhere"))
        .await;
    assert_eq!(nowhere.unwrap_err().code, 403);
    b.bind(&consumer, "root:provider").await;
}

#[tokio::test(start_paused = true)]
async fn partitions_follow_the_labels_of_shards_and_slices_announce_what_they_select() {
    let pair = Pair::new();
    let (a, b) = (pair.start_a().await, pair.start_b().await);
    let root = Cluster::well_known(cluster::ROOT);
    let label = async |shard: &str, region: &str| {
        let edit = |object: &mut Value| object.set_at(&["metadata", "labels", "region"], json!(region));
        a.edit(&root, &shards(), shard, edit).await;
    };
    label("b", "east").await;
    // Shards are root's; whoever asks for partitions is on another one.
    let provider = a.workspace(&root, "provider", &b).await;
    b.offer(&provider).await;
    b.create(&provider, &partition_sets(), by_region("set")).await;
    b.until_regions(&provider, &["east"]).await;
    label("root", "west").await;
    let made = b.until_regions(&provider, &["east", "west"]).await;
    let (east, west) = (made[0].0.clone(), made[1].0.clone());
    let counted = || {
        let set = &b.all(&provider, &partition_sets())[0];
        api::conditions::is_true(set, "PartitionsReady") && set.at(&["status", "count"]) == Some(&json!(2))
    };
    b.until("the set says so", counted).await;

    // Each slice announces where its own part is served.
    b.create(&provider, &slices(), slice("east", &east)).await;
    b.create(&provider, &slices(), slice("west", &west)).await;
    let (near, far) = (
        a.workspace(&root, "near", &b).await,
        a.workspace(&root, "far", &a).await,
    );
    b.bind(&near, "root:provider").await;
    a.bind(&far, "root:provider").await;
    b.until_announced(&provider, "east", &["b"], true).await;
    b.until_announced(&provider, "west", &["root"], true).await;
    b.until("the slice without a partition announces both", || {
        b.announced(&provider, "widgets").0.len() == 2
    })
    .await;

    // A partition that is deleted comes back under its name, and what it selects is announced again.
    b.delete(&provider, &partitions(), &west).await;
    b.until_announced(&provider, "west", &["root"], true).await;
    assert_eq!(b.until_regions(&provider, &["east", "west"]).await, made);

    // A shard that goes to another region takes its partition with it.
    label("root", "east").await;
    b.until_regions(&provider, &["east"]).await;
    b.until_announced(&provider, "west", &[], false).await;
    b.until_announced(&provider, "east", &["b", "root"], true).await;
    label("root", "west").await;
    b.until_announced(&provider, "west", &["root"], true).await;

    // Without root all of it is still known, to a shard that starts anew, too; what admins have said of it stays.
    a.stop().await;
    b.stop().await;
    let b = pair.start_b().await;
    b.create(&provider, &partition_sets(), by_region("later")).await;
    b.until("a further set is served", || b.partitions(&provider).len() == 4)
        .await;
    assert!(made.iter().all(|partition| b.partitions(&provider).contains(partition)));
    b.until_announced(&provider, "west", &["root"], true).await;
    let a = pair.start_a().await;
    let is_back = || b.shard.following.as_ref().unwrap().is_told("root");
    b.until("root is there again", is_back).await;
    let region = |name: &str| {
        let found = a.all(&root, &shards()).into_iter().find(|shard| shard.name() == name);
        found.and_then(|shard| shard.label("region").map(str::to_owned))
    };
    assert_eq!(
        (region("root").as_deref(), region("b").as_deref()),
        (Some("west"), Some("east"))
    );
    assert!(made.iter().all(|partition| b.partitions(&provider).contains(partition)));
    b.delete(&provider, &partition_sets(), "set").await;
    b.until("its partitions go with a set", || b.partitions(&provider).len() == 2)
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_fresh_shard_is_ready_when_root_has_told_it_what_it_binds() {
    let pair = Pair::new();
    let _a = pair.start_a().await;
    let begun = pair.b.clock.monotonic();
    let b = pair.start_b().await;
    let took = pair.b.clock.monotonic().saturating_sub(begun);
    let own = Cluster::well_known(cluster::SYSTEM_SHARD);
    assert!(b.shard.definitions.bound(&own, group::TENANCY, "workspaces").is_some());
    // Less than any look that no event has led to (`RETRY` of the bindings' controller).
    assert!(took < Duration::from_secs(2), "it took {took:?}");
    // Nobody has ever said that there is no such export: it was not known yet.
    let permit = Permit::internal(Scope::One(own));
    let all = LabelSelector::everything();
    let key = shard::facts::bindings_key();
    for binding in b.shard.store.peek_list(&permit, &key, &Scope::All, "", &all) {
        let tree = binding.to_value();
        let conditions = tree.at(&["status", "conditions"]).and_then(Value::as_array).unwrap();
        let ready = conditions.iter().find(|c| c["type"] == "Ready").unwrap();
        assert_eq!(ready["status"], "True", "{tree:#}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_binding_that_is_there_before_its_export_is_bound_when_that_comes() {
    let pair = Pair::new();
    let (a, b) = (pair.start_a().await, pair.start_b().await);
    let root = Cluster::well_known(cluster::ROOT);
    let consumer = a.workspace(&root, "consumer", &b).await;
    // Not even the workspace is there: nobody can say what the path leads to.
    b.create(&consumer, &bindings(), binding("root:provider")).await;
    let blocked = async || {
        let found = b.get(&consumer, &bindings(), "widgets").await?;
        let conditions = found.at(&["status", "conditions"])?.as_array()?.clone();
        Some(conditions.iter().any(|c| c["reason"] == "APIExportNotFound"))
    };
    while blocked().await != Some(true) {
        b.env.clock.sleep(Duration::from_millis(20)).await;
    }

    let provider = a.workspace(&root, "provider", &a).await;
    a.offer(&provider).await;
    let begun = b.env.clock.monotonic();
    let served = || b.shard.definitions.bound(&consumer, "acme.io", "widgets").is_some();
    b.until("widgets are served", served).await;
    let took = b.env.clock.monotonic().saturating_sub(begun);
    assert!(took < Duration::from_secs(2), "it took {took:?}");
    // It counts as a consumer now, and the provider hears where it is seen.
    a.until_announced(&provider, "widgets", &["b"], true).await;
}

#[tokio::test(start_paused = true)]
async fn a_partition_set_that_could_select_nothing_sensible_is_refused() {
    let pair = Pair::new();
    let a = pair.start_a().await;
    let team = a.workspace(&Cluster::well_known(cluster::ROOT), "team", &a).await;
    let ask = async |selector: Value| {
        let mut set = by_region("set");
        set.set_at(&["spec", "shardSelector"], selector);
        a.create_as("alice", &team, &partition_sets(), set).await
    };
    let expression = |key: &str, operator: &str, values: Value| {
        let mut expression = json!({"key": key, "operator": operator});
        if !values.is_null() {
            expression.set_at(&["values"], values);
        }
        json!({"matchExpressions": [expression]})
    };
    let many: Vec<Value> = (0..11)
        .map(|n| json!({"key": format!("k{n}"), "operator": "Exists"}))
        .collect();
    for wrong in [
        expression(&format!("region/{}", "1".repeat(70)), "NotIn", json!(["a"])),
        expression("-region", "Exists", Value::Null),
        expression("region", "NotIn", json!(["a", "_A"])),
        expression("region", "NotIn", json!(["a".repeat(64)])),
        expression("region", "Like", json!(["a"])),
        expression("region", "DoesNotExist", json!(["a"])),
        expression("region", "In", json!([])),
        json!({"matchLabels": {"1_2/aaa": "value"}}),
        json!({"matchLabels": {"region": "a%b"}}),
        json!({ "matchExpressions": many }),
    ] {
        let refused = ask(wrong.clone()).await.unwrap_err();
        assert_eq!(refused.code, 422, "{wrong}: {}", refused.message);
    }
    for right in [
        expression("example/region", "In", json!(["a", "B_c.d"])),
        expression("region", "Exists", Value::Null),
        json!({"matchLabels": {"example/region": "a"}}),
    ] {
        ask(right.clone())
            .await
            .unwrap_or_else(|why| panic!("{right}: {}", why.message));
        a.delete(&team, &partition_sets(), "set").await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_is_known_on_every_shard_as_long_as_it_exists() {
    let pair = Pair::new();
    let (a, b) = (pair.start_a().await, pair.start_b().await);
    let root = Cluster::well_known(cluster::ROOT);
    let provider = a.workspace(&root, "provider", &a).await;
    let near = a.workspace(&root, "near", &b).await;
    let robot = |of: &Cluster| ResourceRef::new("", "serviceaccounts").object(of, "default", "robot");
    let object =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot", "namespace": "default"}});
    let accounts = Accounts::new(&b.env, b.shard.facts.clone(), b.shard.others.clone());
    let uid = async |of: &Cluster, name: &str| {
        let found = accounts.service_account(of, "default", name).await?;
        Ok::<_, Status>(found.map(|account| account.uid().to_owned()))
    };
    assert_eq!(uid(&provider, "robot").await.unwrap(), None, "it is not there yet");
    for (site, of) in [(&a, &provider), (&b, &near)] {
        let created = site
            .shard
            .effects
            .create(&robot(of), object.clone(), "test", Vec::new())
            .await;
        assert!(created.unwrap());
    }
    assert_eq!(uid(&provider, "robot").await.unwrap(), None, "for a moment");
    b.env.clock.sleep(Duration::from_secs(2)).await;
    let known = uid(&provider, "robot").await.unwrap();
    assert!(known.is_some());
    assert!(
        uid(&near, "robot")
            .await
            .unwrap()
            .is_some_and(|near| Some(near) != known)
    );
    let nowhere = Cluster::parse("nowhere").unwrap();
    assert_eq!(uid(&nowhere, "robot").await.unwrap(), None);
    assert_eq!(uid(&provider, "../../secrets/robot").await.unwrap(), None);

    // Gone there is gone here, a moment later; another one of that name is another one.
    let target = Target {
        namespace: "default".to_owned(),
        ..a.target(&provider, &ResourceRef::new("", "serviceaccounts"), "robot")
    };
    let permit = Permit::internal(Scope::One(provider.clone()));
    let request = system_request(permit, Arc::new(User::new("system", &[MASTERS])), "test", Vec::new());
    let deleted = a
        .shard
        .registry
        .delete(&request, &target, &DeleteOptions::default())
        .await;
    deleted.unwrap();
    b.env.clock.sleep(Duration::from_secs(11)).await;
    assert_eq!(uid(&provider, "robot").await.unwrap(), None);
    let created = a
        .shard
        .effects
        .create(&robot(&provider), object, "test", Vec::new())
        .await;
    assert!(created.unwrap());
    b.env.clock.sleep(Duration::from_secs(2)).await;
    let again = uid(&provider, "robot").await.unwrap();
    assert!(again.is_some() && again != known);

    // Whose shard does not answer is neither known nor unknown, once what was known is old; one's own always is.
    pair.world.network().partition("root", "b");
    b.env.clock.sleep(Duration::from_secs(11)).await;
    assert_eq!(uid(&provider, "robot").await.unwrap_err().code, 503);
    assert!(uid(&near, "robot").await.unwrap().is_some());
    pair.world.network().heal();
    for _ in 0..3000 {
        if uid(&provider, "robot").await.is_ok_and(|found| found == again) {
            return;
        }
        b.env.clock.sleep(Duration::from_millis(20)).await;
    }
    panic!("it is never known again");
}
