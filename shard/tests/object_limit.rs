//! How many objects a cluster may have.

mod settings;

use std::sync::Arc;
use std::time::Duration;

use api::keys::{annotation, cluster, group};
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
use shard::effects::system_request;
use shard::shard::{Shard, ShardOptions};

const LIMIT: i64 = 30;

struct World {
    env: Env,
    shard: Shard,
}

// === impl World ===

impl World {
    async fn new() -> Self {
        let (env, _host) = Env::simulated(1, SimOptions::default());
        let options = ShardOptions {
            object_limit: LIMIT,
            ..settings::shard_options(&env, "https://kcp.test:6443", &settings::start_options("root"))
        };
        let shard = Shard::start(&env, Arc::new(ModelKv::new(&env)), options).await.unwrap();
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

    async fn delete(&self, of: &Cluster, resource: &str, name: &str) {
        let target = self.target(&ResourceRef::new("", resource), "default", name);
        let (request, options) = (self.request(of), DeleteOptions::default());
        let deleted = self.shard.registry.delete(&request, &target, &options).await;
        deleted.unwrap();
    }

    /// A cluster-scoped object.
    async fn get(&self, of: &Cluster, resource: &ResourceRef, name: &str) -> Value {
        let (request, target) = (self.request(of), self.target(resource, "", name));
        let found = self.shard.registry.get(&request, &target, &GetOptions::default()).await;
        match found.unwrap() {
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
            let object = self.get(&root, &workspaces, name).await;
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

    world.put(&of, "configmaps", "late").await.unwrap_err();
    world.delete(&of, "events", "why").await;
    world.put(&of, "configmaps", "late").await.unwrap_err();
    world.delete(&of, "configmaps", "first").await;
    world.put(&of, "configmaps", "late").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_said_of_a_cluster_counts_before_what_is_said_of_all() {
    let world = World::new().await;
    let of = world.workspace("a").await;
    world.put_until_refused(&of, "a").await;
    world.set_limit(&of, "35").await;
    let object = world
        .get(&of, &ResourceRef::new(group::CORE, "logicalclusters"), "cluster")
        .await;
    assert_eq!(object.annotation(annotation::MAX_TOTAL_OBJECTS), Some("35"));
    let (more, refused) = world.put_until_refused(&of, "b").await;
    assert!(
        more == 5 && refused.message.contains("(35/35 objects)"),
        "{more} {refused}"
    );
    world.set_limit(&of, "0").await;
    world.put(&of, "configmaps", "unlimited").await.unwrap();
}
