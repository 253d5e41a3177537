//! Who closes or deletes a workspace cuts off who looks into it, and nobody else.

use machinery::selector::LabelSelector;
use permit::{Cluster, Permit, Scope};
use serde_json::json;
use storage::{EventKind, ResourceKey, WatchItem, WatchRequest, WatchStart, Watcher};

use crate::world::{World, eventually};

async fn watch(world: &World, resource: &ResourceKey, scope: Scope) -> Watcher {
    let request = WatchRequest {
        scope: scope.clone(),
        namespace: String::new(),
        name: String::new(),
        labels: LabelSelector::everything(),
        fields: None,
        start: WatchStart::Now,
        bookmarks: false,
    };
    let permit = Permit::internal(scope);
    world
        .running
        .shard
        .store
        .watch(&permit, resource, &request)
        .await
        .expect("watched")
}

/// Whether the watch came to its end, after what is shown until then.
async fn has_ended(watcher: &mut Watcher) -> bool {
    loop {
        match watcher.next().await {
            Some(WatchItem::Event(_) | WatchItem::Bookmark { .. }) => {}
            Some(WatchItem::Expired { .. }) => return false,
            None => return true,
        }
    }
}

/// Whether the object of a cluster was shown as deleted.
async fn sees_deleted(watcher: &mut Watcher, cluster: &str) -> bool {
    while let Some(item) = watcher.next().await {
        if let WatchItem::Event(event) = item
            && event.kind == EventKind::Deleted
            && event.entry.cluster_name() == cluster
        {
            return true;
        }
    }
    false
}

#[test]
fn a_deleted_workspace_ends_its_own_watches_and_wildcards_see_it_go() {
    let world = World::start();
    world.run(async {
        let cluster = world.workspace("root", "gone").await;
        let own = || Scope::One(Cluster::parse(&cluster).expect("a name"));
        let accounts = ResourceKey::builtin("", "serviceaccounts");
        let clusters = ResourceKey::custom("core.kcp.io", "logicalclusters");
        let mut inside = watch(&world, &accounts, own()).await;
        let mut itself = watch(&world, &clusters, own()).await;
        let mut all = watch(&world, &accounts, Scope::All).await;
        let path = "/clusters/root/apis/tenancy.kcp.io/v1alpha1/workspaces/gone";
        world.master.send("DELETE", path, &json!({})).await;
        assert!(has_ended(&mut inside).await);
        assert!(sees_deleted(&mut itself, &cluster).await);
        assert!(sees_deleted(&mut all, &cluster).await);
    });
}

#[test]
fn an_inactive_workspace_ends_wildcards_too() {
    let world = World::start();
    world.run(async {
        let cluster = world.workspace("root", "closed").await;
        let maps = ResourceKey::builtin("", "configmaps");
        let scope = Scope::One(Cluster::parse(&cluster).expect("a name"));
        let (mut inside, mut all) = (
            watch(&world, &maps, scope).await,
            watch(&world, &maps, Scope::All).await,
        );
        let path = format!("/clusters/{cluster}/apis/core.kcp.io/v1alpha1/logicalclusters/cluster");
        eventually("marked inactive", async || {
            let mut object = world.master.get(&path).await.json();
            object["metadata"]["annotations"]["core.kcp.io/inactive"] = json!("true");
            (world.master.send("PUT", &path, &object).await.code == 200).then_some(())
        })
        .await;
        assert!(has_ended(&mut inside).await && has_ended(&mut all).await);
    });
}
