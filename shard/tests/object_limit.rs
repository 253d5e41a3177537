//! How many objects a cluster may have.

use std::sync::Arc;
use std::time::Duration;

use api::bootstrap::{Batteries, RootOptions, ShardUrls};
use api::keys::{annotation, cluster, group};
use clap::Parser;
use controllers::ShardInfo;
use env::Env;
use env::simulated::SimOptions;
use kv::model::ModelKv;
use machinery::object::ObjectExt;
use machinery::options::{DeleteOptions, GetOptions, WriteOptions};
use machinery::status::{Result, Status};
use machinery::user::{MASTERS, User};
use permit::{Cluster, Permit, Scope};
use plan::ResourceRef;
use registry::{Backend, Item, Request, Resolved, Subresource, Target};
use serde_json::{Value, json};
use shard::account_signer::AccountSigner;
use shard::effects::system_request;
use shard::options::StartOptions;
use shard::shard::{Shard, ShardOptions};

const LIMIT: i64 = 30;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    start: StartOptions,
}

struct World {
    env: Env,
    shard: Shard,
}

fn options(env: &Env) -> ShardOptions {
    let line = Line::parse_from(["kcp", "--root-directory", "/kcp"]);
    let url = "https://kcp.test:6443".to_owned();
    ShardOptions {
        info: ShardInfo {
            name: "root".to_owned(),
            external_url: url.clone(),
            virtual_workspace_url: url.clone(),
            ca_pem: "pem".to_owned(),
        },
        urls: ShardUrls {
            base: url.clone(),
            external: url.clone(),
            virtual_workspace: url,
        },
        root: RootOptions {
            batteries: Batteries::default(),
            home_creator_groups: Vec::new(),
        },
        cache_apis: false,
        object_limit: LIMIT,
        prefix: "/registry".to_owned(),
        compaction: Duration::ZERO,
        always_allowed_paths: Vec::new(),
        exclusive_store: true,
        run_controllers: true,
        holder: "test".to_owned(),
        accounts: AccountSigner::open(env, &line.start).expect("a key is made"),
        neighbourhood: None,
    }
}

// === impl World ===

impl World {
    async fn new() -> Self {
        let (env, _host) = Env::simulated(1, SimOptions::default());
        let shard = Shard::start(&env, Arc::new(ModelKv::new(&env)), options(&env))
            .await
            .unwrap();
        shard.wait_for_root().await;
        Self { env, shard }
    }

    /// Of a user, not of the server itself, to whom no limit applies.
    fn request(&self, of: &Cluster) -> Request {
        let user = Arc::new(User::new("test", &[MASTERS]));
        Request {
            trusted: false,
            ..system_request(Permit::internal(Scope::One(of.clone())), user, "test", Vec::new())
        }
    }

    fn target(&self, resource: &ResourceRef, namespace: &str, name: &str) -> Target {
        let def = self
            .shard
            .catalog
            .definition(resource, &Cluster::well_known(cluster::ROOT))
            .unwrap();
        let version = def.storage_version;
        Target {
            resolved: Resolved { def, version },
            subresource: Subresource::Main,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    async fn put(&self, of: &Cluster, resource: &str, name: &str) -> Result<()> {
        let target = self.target(&ResourceRef::new("", resource), "default", "");
        let mut object = json!({"apiVersion": "v1", "metadata": {"name": name, "namespace": "default"}});
        object["kind"] = json!(target.resolved.def.names.kind);
        if resource == "events" {
            object["involvedObject"] = json!({"namespace": "default"});
        }
        let options = WriteOptions::default();
        self.shard
            .registry
            .create(&self.request(of), &target, object, &options)
            .await
            .map(drop)
    }

    async fn put_until_refused(&self, of: &Cluster, prefix: &str) -> (i64, Status) {
        for count in 0..2 * LIMIT {
            if let Err(status) = self.put(of, "configmaps", &format!("{prefix}-{count}")).await {
                return (count, status);
            }
        }
        panic!("nothing is refused");
    }

    async fn logical_cluster(&self, of: &Cluster) -> Value {
        let target = self.target(&ResourceRef::new(group::CORE, "logicalclusters"), "", "cluster");
        let options = GetOptions::default();
        match self
            .shard
            .registry
            .get(&self.request(of), &target, &options)
            .await
            .unwrap()
        {
            Item::Stored(entry) => entry.to_value(),
            Item::Built(object) => Value::clone(&object),
        }
    }

    async fn set_limit(&self, of: &Cluster, limit: &str) {
        let target = self.target(&ResourceRef::new(group::CORE, "logicalclusters"), "", "cluster");
        let patch =
            registry::Patch::Merge(json!({"metadata": {"annotations": {annotation::MAX_TOTAL_OBJECTS: limit}}}));
        let options = WriteOptions::default();
        self.shard
            .registry
            .patch(&self.request(of), &target, patch, &options)
            .await
            .unwrap();
    }

    /// A workspace below root, once it is ready.
    async fn workspace(&self, name: &str) -> Cluster {
        let root = Cluster::well_known(cluster::ROOT);
        let workspaces = ResourceRef::new(group::TENANCY, "workspaces");
        let object = json!({"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "Workspace", "metadata": {"name": name},
            "spec": {"type": {"name": "universal", "path": "root"}}});
        let options = WriteOptions::default();
        let (request, target) = (self.request(&root), self.target(&workspaces, "", ""));
        let created = self.shard.registry.create(&request, &target, object, &options).await;
        created.unwrap();
        loop {
            self.env.clock.sleep(Duration::from_millis(20)).await;
            let target = self.target(&workspaces, "", name);
            let found = self
                .shard
                .registry
                .get(&self.request(&root), &target, &GetOptions::default())
                .await;
            let object = match found.unwrap() {
                Item::Stored(entry) => entry.to_value(),
                Item::Built(object) => Value::clone(&object),
            };
            if object.str_at(&["status", "phase"]) == Some("Ready") {
                return Cluster::parse(object.str_at(&["spec", "cluster"]).unwrap()).unwrap();
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn beyond_the_limit_of_its_cluster_nothing_is_made_until_something_is_deleted() {
    let world = World::new().await;
    let (of, other) = (world.workspace("a").await, world.workspace("b").await);
    world.put(&of, "configmaps", "first").await.unwrap();
    let (_, refused) = world.put_until_refused(&of, "a").await;
    let count: usize = world.shard.store.objects_in(&of).iter().map(|(_, count)| count).sum();
    assert_eq!(count, usize::try_from(LIMIT).unwrap());
    let why = format!("logical cluster \"{of}\" has reached its total object count limit (30/30 objects)");
    assert!(refused.code == 403 && refused.message.contains(&why), "{refused}");
    world.put(&of, "events", "why").await.unwrap();
    world.put(&other, "configmaps", "x").await.unwrap();
    world
        .put(&Cluster::well_known(cluster::ROOT), "configmaps", "x")
        .await
        .unwrap();

    let options = DeleteOptions::default();
    world.put(&of, "configmaps", "late").await.unwrap_err();
    let target = world.target(&ResourceRef::new("", "events"), "default", "why");
    world
        .shard
        .registry
        .delete(&world.request(&of), &target, &options)
        .await
        .unwrap();
    world.put(&of, "configmaps", "late").await.unwrap_err();
    let target = world.target(&ResourceRef::new("", "configmaps"), "default", "first");
    world
        .shard
        .registry
        .delete(&world.request(&of), &target, &options)
        .await
        .unwrap();
    world.put(&of, "configmaps", "late").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_said_of_a_cluster_counts_before_what_is_said_of_all() {
    let world = World::new().await;
    let of = world.workspace("a").await;
    world.put_until_refused(&of, "a").await;
    world.set_limit(&of, "35").await;
    assert_eq!(
        world
            .logical_cluster(&of)
            .await
            .annotation(annotation::MAX_TOTAL_OBJECTS),
        Some("35")
    );
    let (more, refused) = world.put_until_refused(&of, "b").await;
    assert!(
        more == 5 && refused.message.contains("(35/35 objects)"),
        "{more} {refused}"
    );
    world.set_limit(&of, "0").await;
    world.put(&of, "configmaps", "unlimited").await.unwrap();
}
