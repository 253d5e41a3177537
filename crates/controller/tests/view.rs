//! What plans see of other shards' objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use controller::{Catalog, Holder, StoreView};
use env::Env;
use kv::model::ModelKv;
use machinery::selector::LabelSelector;
use permit::{Cluster, Scope};
use plan::{Member, ObjectRef, ResourceRef, Seen, Served, View};
use serde_json::{Value, json};
use storage::{ObjectKey, ResourceKey, Store, StoreOptions};

/// Cluster `far` is another shard's, which has told of one of its objects.
struct Told;

fn resource() -> ResourceRef {
    ResourceRef::new("example.io", "things")
}

fn far(name: &str) -> ObjectRef {
    resource().object(&Cluster::well_known("far"), "", name)
}

impl Catalog for Told {
    fn store_key(&self, of: &ResourceRef) -> Option<ResourceKey> {
        Some(ResourceKey::custom(&of.group, &of.resource))
    }

    fn resource_ref(&self, of: &ResourceKey) -> ResourceRef {
        ResourceRef::new(&of.group, &of.resource)
    }

    fn served(&self, _: &Cluster) -> Vec<Served> {
        Vec::new()
    }

    fn dependants(&self, _: &Cluster, _: &str) -> Vec<(ResourceKey, ObjectKey)> {
        Vec::new()
    }

    fn has_dependants(&self, _: &Cluster, _: &str) -> bool {
        false
    }

    fn holder(&self, cluster: &Cluster) -> Holder {
        match cluster.as_str() {
            "far" => Holder::Elsewhere,
            _ => Holder::Here,
        }
    }

    fn is_own_shard(&self, _: &str) -> bool {
        false
    }

    fn members(&self) -> Vec<Member> {
        Vec::new()
    }

    fn replica(&self, object: &ObjectRef) -> Option<Arc<Value>> {
        (*object == far("told")).then(|| Arc::new(json!("told")))
    }

    fn replicas(&self, _: &ResourceRef, scope: &Scope, _: &LabelSelector) -> Vec<Arc<Value>> {
        match scope.contains(&Cluster::well_known("far")) {
            true => vec![Arc::new(json!("told"))],
            false => Vec::new(),
        }
    }
}

#[tokio::test]
async fn what_was_told_is_seen_but_by_who_works_on_it() {
    let env = Env::real();
    let kv = Arc::new(ModelKv::new(&env));
    let store = Store::open(env, kv, StoreOptions::default(), Vec::new()).await.unwrap();
    let nothing = BTreeMap::new();
    let (far_cluster, near) = (Cluster::well_known("far"), Cluster::well_known("near"));
    let (theirs, all) = (Scope::One(far_cluster.clone()), LabelSelector::everything());

    let view = StoreView::new(&store, &Told, &nothing).of(&near);
    assert_eq!(view.get(&far("told")), Seen::Found(Arc::new(json!("told"))));
    assert!(!view.is_absent(&far("told")));
    assert_eq!(view.get(&far("untold")), Seen::Unknown, "it may be there all the same");
    assert_eq!(view.list(&resource(), &Scope::All, "", &all).len(), 1);
    assert!(view.any(&resource(), &theirs, "", &all));
    assert!(!view.is_here(&far_cluster) && view.is_here(&near));

    // Whoever plans for an object of the cluster must not take the copy for it.
    let view = StoreView::new(&store, &Told, &nothing).of(&far_cluster);
    assert_eq!(view.get(&far("told")), Seen::Unknown);
    assert!(view.list(&resource(), &theirs, "", &all).is_empty());
    assert!(!view.any(&resource(), &theirs, "", &all));
}
