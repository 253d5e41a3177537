//! What a workspace costs in writes and in objects parsed, from nothing to Ready and back to nothing: figures that do not
//! depend on the machine. A change that makes them larger says why.

mod counting;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use api::keys::{annotation, cluster, group};
use env::Env;
use env::simulated::SimOptions;
use kv::model::ModelKv;
use machinery::object::ObjectExt;
use machinery::options::{DeleteOptions, GetOptions, WriteOptions};
use machinery::user::{MASTERS, User};
use permit::{Cluster, Permit, Scope};
use plan::ResourceRef;
use registry::{Backend, Item, Request, Resolved, Subresource, Target};
use serde_json::{Value, json};
use shard::effects::system_request;
use shard::shard::Shard;

/// Transactions of the store from the client's create to Ready: the client's, the schedule, the LogicalCluster, three of its
/// content (the last with the LogicalCluster itself), the Workspace again.
const WRITES_MAX: u64 = 7;
/// Objects parsed meanwhile, by all projections, triggers and plans together; 14 versions of objects are written.
const PARSES_MAX: u64 = 36;
/// Transactions from the client's delete until the last key is gone: the client's, the LogicalCluster's mark, two of its
/// content (the last with the LogicalCluster itself), the Workspace.
const DELETION_WRITES_MAX: u64 = 5;
/// Objects parsed meanwhile.
const DELETION_PARSES_MAX: u64 = 30;

/// What may stay of a workspace that is gone: capacity of tables.
const LEFT_BYTES_MAX: isize = 100;

struct World {
    env: Env,
    kv: Arc<ModelKv>,
    shard: Shard,
}

// === impl World ===

impl World {
    async fn new() -> Self {
        let (env, _host) = Env::simulated(1, SimOptions::default());
        let kv = Arc::new(ModelKv::new(&env));
        let options = settings::shard_options(&env, "https://kcp.test:6443", &settings::start_options("root"));
        let shard = Shard::start(&env, kv.clone(), options).await.unwrap();
        shard.wait_for_root().await;
        let world = Self { env, kv, shard };
        world.settle().await;
        world
    }

    /// Until no controller has anything to do.
    async fn settle(&self) {
        let driver = self.shard.driver.clone().unwrap();
        let mut quiet = 0;
        while quiet < 3 {
            self.env.clock.sleep(Duration::from_millis(20)).await;
            quiet = if driver.is_idle() { quiet + 1 } else { 0 };
        }
    }

    fn request(&self) -> Request {
        Self::request_in(&Cluster::well_known(cluster::ROOT))
    }

    fn request_in(cluster: &Cluster) -> Request {
        let user = Arc::new(User::new("test", &[MASTERS]));
        system_request(Permit::internal(Scope::One(cluster.clone())), user, "test", Vec::new())
    }

    fn config_maps(&self, name: &str) -> Target {
        let config_maps = ResourceRef::new("", "configmaps");
        let def = self
            .shard
            .catalog
            .definition(&config_maps, &Cluster::well_known(cluster::ROOT));
        Target {
            resolved: Resolved {
                def: def.unwrap(),
                version: 0,
            },
            subresource: Subresource::Main,
            namespace: "default".to_owned(),
            name: name.to_owned(),
        }
    }

    async fn put(&self, cluster: &Cluster, object: Value) {
        let (request, target, options) = (Self::request_in(cluster), self.config_maps(""), WriteOptions::default());
        self.shard
            .registry
            .create(&request, &target, object, &options)
            .await
            .unwrap();
    }

    /// Takes the finalizers off a ConfigMap.
    async fn put_away(&self, cluster: &Cluster, name: &str) {
        let (request, target, options) = (
            Self::request_in(cluster),
            self.config_maps(name),
            WriteOptions::default(),
        );
        let patch = registry::Patch::Merge(json!({"metadata": {"finalizers": null}}));
        self.shard
            .registry
            .patch(&request, &target, patch, &options)
            .await
            .unwrap();
        self.settle().await;
    }

    fn target(&self, name: &str) -> Target {
        let workspaces = ResourceRef::new(group::TENANCY, "workspaces");
        let def = self
            .shard
            .catalog
            .definition(&workspaces, &Cluster::well_known(cluster::ROOT));
        let def = def.unwrap();
        let version = def.storage_version;
        Target {
            resolved: Resolved { def, version },
            subresource: Subresource::Main,
            namespace: String::new(),
            name: name.to_owned(),
        }
    }

    async fn create(&self, name: &str) {
        self.create_in(&Cluster::well_known(cluster::ROOT), name).await;
    }

    async fn create_in(&self, cluster: &Cluster, name: &str) {
        let object = json!({"apiVersion": "tenancy.kcp.io/v1alpha1", "kind": "Workspace", "metadata": {"name": name,
            "annotations": {annotation::OWNER: "{\"username\":\"alice\"}"}},
            "spec": {"type": {"name": "universal", "path": "root"}}});
        let (request, target, options) = (Self::request_in(cluster), self.target(""), WriteOptions::default());
        let created = self.shard.registry.create(&request, &target, object, &options).await;
        created.unwrap();
        self.settle().await;
    }

    async fn delete(&self, name: &str) {
        let (request, target, options) = (self.request(), self.target(name), DeleteOptions::default());
        self.shard.registry.delete(&request, &target, &options).await.unwrap();
        self.settle().await;
    }

    async fn workspace(&self, name: &str) -> Value {
        let (request, target, options) = (self.request(), self.target(name), GetOptions::default());
        match self.shard.registry.get(&request, &target, &options).await.unwrap() {
            Item::Stored(entry) => entry.to_value(),
            Item::Built(object) => Value::clone(&object),
        }
    }

    async fn keys(&self) -> usize {
        let all = kv::RangeRequest::prefix("/registry");
        kv::Kv::range(&*self.kv, all).await.unwrap().kvs.len()
    }

    /// What changed since a revision, a line for each transaction: for whoever wonders about the counts.
    async fn transactions(&self, after: u64) -> Vec<String> {
        let mut watch = kv::Kv::watch(&*self.kv, kv::Revision(after + 1)).await.unwrap();
        let mut lines = Vec::new();
        while let kv::WatchItem::Batch(batch) = watch.next().await.unwrap() {
            let sign = |event: &kv::Event| {
                if matches!(event, kv::Event::Put { .. }) {
                    '+'
                } else {
                    '-'
                }
            };
            let name = |event: &kv::Event| format!("{}{}", sign(event), String::from_utf8_lossy(event.key()));
            lines.push(batch.events.iter().map(name).collect::<Vec<_>>().join(" "));
        }
        lines
    }

    /// Transactions of the store and parsed objects so far.
    fn spent(&self) -> (u64, u64) {
        (self.shard.store.revision(), self.shard.store.stats().parses)
    }
}

#[tokio::test(start_paused = true)]
async fn a_workspace_takes_few_writes_and_few_parses() {
    let world = World::new().await;
    world.create("first").await;
    let (keys, before) = (world.keys().await, world.spent());
    world.create("second").await;
    let after = world.spent();
    let workspace = world.workspace("second").await;
    assert_eq!(workspace.str_at(&["status", "phase"]), Some("Ready"), "{workspace:#}");
    // The Workspace, ten objects in its cluster, and the cluster's fence.
    assert_eq!(world.keys().await - keys, 12);
    let (writes, parses) = (after.0 - before.0, after.1 - before.1);
    println!("{writes} writes, {parses} parses");
    assert!(writes <= WRITES_MAX, "{writes} transactions for a workspace");
    assert!(parses <= PARSES_MAX, "{parses} objects parsed for a workspace");
}

#[tokio::test(start_paused = true)]
async fn the_cost_of_a_workspace_does_not_grow_with_their_number() {
    let world = World::new().await;
    for round in 0..40 {
        world.create(&format!("w{round}")).await;
    }
    let before = world.spent();
    world.create("last").await;
    let after = world.spent();
    assert!(after.0 - before.0 <= WRITES_MAX, "{} transactions", after.0 - before.0);
    assert!(
        after.1 - before.1 <= PARSES_MAX,
        "{} objects parsed",
        after.1 - before.1
    );
}

#[tokio::test(start_paused = true)]
async fn a_deleted_workspace_leaves_no_key_and_takes_few_writes() {
    let world = World::new().await;
    let keys = world.keys().await;
    world.create("w").await;
    let before = world.spent();
    world.delete("w").await;
    let after = world.spent();
    assert_eq!(world.keys().await, keys);
    let (writes, parses) = (after.0 - before.0, after.1 - before.1);
    println!("{writes} writes, {parses} parses");
    let transactions = world.transactions(before.0).await;
    transactions.iter().for_each(|line| println!("{line}"));
    assert!(writes <= DELETION_WRITES_MAX, "{writes} transactions");
    assert!(parses <= DELETION_PARSES_MAX, "{parses} objects parsed");
    transactions.iter().for_each(|line| assert_one_object_a_resource(line));
}

/// So that a watch can resume between any two events.
fn assert_one_object_a_resource(transaction: &str) {
    let resource = |key: &str| key[1..].splitn(5, '/').skip(1).take(3).collect::<Vec<_>>().join("/");
    let mut seen = std::collections::BTreeSet::new();
    for key in transaction.split(' ') {
        assert!(seen.insert(resource(key)), "{transaction}");
    }
}

/// A tree, with content in every workspace, of which some is held by a finalizer for a while.
#[tokio::test(start_paused = true)]
async fn a_deleted_tree_leaves_no_key_once_nobody_holds_anything() {
    let world = World::new().await;
    let keys = world.keys().await;
    world.create("top").await;
    let top = world.workspace("top").await;
    let top = Cluster::parse(top.str_at(&["spec", "cluster"]).unwrap()).unwrap();
    let config_map = |name: &str, finalizers: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "finalizers": finalizers}});
    for child in ["a", "b", "c"] {
        world.create_in(&top, child).await;
    }
    for number in 0..40 {
        world.put(&top, config_map(&format!("c{number}"), json!([]))).await;
    }
    world.put(&top, config_map("held", json!(["example.io/keep"]))).await;
    let before = world.spent();
    world.delete("top").await;
    let seen = world.workspace("top").await;
    assert_eq!(
        seen.str_at(&["status", "phase"]),
        Some("Deleting"),
        "it takes longer, and says so"
    );
    world.put_away(&top, "held").await;
    assert_eq!(world.keys().await, keys);
    for line in world.transactions(before.0).await {
        assert_one_object_a_resource(&line);
    }
}

/// Once history is compacted, a workspace that is gone costs nothing.
#[tokio::test(start_paused = true)]
async fn deleted_workspaces_leave_no_bytes() {
    let world = World::new().await;
    let round = async |name: &str, count: usize| {
        for number in 0..count {
            world.create(&format!("{name}{number}")).await;
        }
        for number in 0..count {
            world.delete(&format!("{name}{number}")).await;
        }
        world.env.clock.sleep(Duration::from_secs(120)).await;
        world
            .shard
            .store
            .compact_to(world.shard.store.revision())
            .await
            .unwrap();
        world.settle().await;
        counting::live()
    };
    let few = round("few", 50).await;
    let many = round("many", 300).await;
    let again = round("again", 300).await;
    println!("{few} bytes live after 50, {many} after 300, {again} after 300 more");
    assert!(many - few < 300 * LEFT_BYTES_MAX, "{} bytes each", (many - few) / 300);
    assert!(
        again - many < 300 * LEFT_BYTES_MAX,
        "{} bytes each",
        (again - many) / 300
    );
}
