//! A suite for stores of objects over any [`Kv`], and what its tests are written with.
//!
//! Each function of [`suite`] takes a [`Bench`] over an empty store and panics when a rule is broken.

use std::future::Future;
use std::sync::Arc;

use env::Env;
use kv::Kv;
use machinery::selector::{LabelSelector, Requirement};
use permit::{Cluster, Permit, Scope};
use serde_json::{Value, json};

use crate::{
    Change, Consistency, Entry, EventKind, FenceAction, IndexSpec, ListRequest, ListResult, ObjectKey, Projection,
    ResourceKey, StorageError, Store, StoreOptions, WatchItem, WatchRequest, WatchStart, Watcher, Write,
};

pub mod suite;

/// An empty store of keys, and how stores of objects are opened over it.
#[derive(Clone)]
pub struct Bench {
    pub env: Env,
    pub kv: Arc<dyn Kv>,
}

/// A store of objects, and short ways to use it, with the rights of an internal component.
#[derive(Clone)]
pub struct Hand {
    pub store: Store,
    pub resource: ResourceKey,
}

/// What a watch showed: kind, `cluster/namespace/name`, revision.
pub type Seen = (EventKind, String, u64);

// === impl Bench ===

impl Bench {
    pub fn new(env: &Env, kv: Arc<dyn Kv>) -> Self {
        Self { env: env.clone(), kv }
    }

    /// Opens the store with the options of the suite: one indexed label, no compaction by itself.
    pub async fn open(&self) -> Hand {
        self.open_with(|_| {}, Vec::new()).await
    }

    pub async fn open_with(
        &self,
        adapt: impl FnOnce(&mut StoreOptions),
        projections: Vec<Arc<dyn Projection>>,
    ) -> Hand {
        let index = IndexSpec {
            group: String::new(),
            resource: "configmaps".to_owned(),
            label_key_prefix: "claimed.example.io/".to_owned(),
        };
        let mut options = StoreOptions {
            indexes: vec![index],
            compaction_period: std::time::Duration::ZERO,
            load_page: 7,
            ..StoreOptions::default()
        };
        adapt(&mut options);
        let store = Store::open(self.env.clone(), Arc::clone(&self.kv), options, projections)
            .await
            .expect("store opens");
        Hand {
            store,
            resource: ResourceKey::builtin("", "configmaps"),
        }
    }
}

// === impl Hand ===

impl Hand {
    /// Another resource of the same store.
    pub fn of(&self, resource: ResourceKey) -> Self {
        Self {
            store: self.store.clone(),
            resource,
        }
    }

    pub async fn write(&self, key: &ObjectKey, change: Change, fence: FenceAction) -> Result<Arc<Entry>, StorageError> {
        let write = Write {
            key: key.clone(),
            change,
            fence,
            guards: Vec::new(),
            ttl: None,
        };
        self.store.write(&everything(), &self.resource, write).await
    }

    /// Brings a cluster into being, with an object named `cluster`.
    pub async fn open_cluster(&self, name: &str) -> Cluster {
        let key = object_key(name, "", "cluster");
        let opener = self.of(ResourceKey::builtin("core.example.io", "clusters"));
        let made = opener
            .write(&key, Change::Create(object(&key, &[], "")), FenceAction::Open)
            .await;
        made.expect("a cluster is opened");
        cluster(name)
    }

    pub async fn close_cluster(&self, name: &str) {
        let key = object_key(name, "", "cluster");
        let closer = self.of(ResourceKey::builtin("core.example.io", "clusters"));
        let expected = closer.get(&key).await.expect("the cluster is there").revision();
        closer
            .write(&key, Change::Delete { expected }, FenceAction::Close)
            .await
            .expect("a cluster is closed");
    }

    pub async fn create(
        &self,
        key: &ObjectKey,
        labels: &[(&str, &str)],
        data: &str,
    ) -> Result<Arc<Entry>, StorageError> {
        self.write(key, Change::Create(object(key, labels, data)), FenceAction::Hold)
            .await
    }

    pub async fn update(
        &self,
        key: &ObjectKey,
        labels: &[(&str, &str)],
        data: &str,
        expected: u64,
    ) -> Result<Arc<Entry>, StorageError> {
        self.write(
            key,
            Change::Update {
                object: object(key, labels, data),
                expected,
            },
            FenceAction::Hold,
        )
        .await
    }

    pub async fn delete(&self, key: &ObjectKey, expected: u64) -> Result<Arc<Entry>, StorageError> {
        self.write(key, Change::Delete { expected }, FenceAction::Hold).await
    }

    pub async fn get(&self, key: &ObjectKey) -> Result<Arc<Entry>, StorageError> {
        self.store
            .get(&everything(), &self.resource, key, Consistency::Latest)
            .await
    }

    pub async fn list(&self, request: &ListRequest) -> Result<ListResult, StorageError> {
        self.store.list(&everything(), &self.resource, request).await
    }

    pub async fn watch(&self, request: &WatchRequest) -> Watcher {
        self.store
            .watch(&everything(), &self.resource, request)
            .await
            .expect("a watch begins")
    }
}

// === impl values ===

pub fn everything() -> Permit {
    Permit::internal(Scope::All)
}

pub fn cluster(name: &str) -> Cluster {
    Cluster::parse(name).expect("a test's cluster name is valid")
}

pub fn object_key(cluster_name: &str, namespace: &str, name: &str) -> ObjectKey {
    ObjectKey::new(cluster(cluster_name), namespace, name)
}

/// A ConfigMap with labels, and `data` as its one value.
pub fn object(key: &ObjectKey, labels: &[(&str, &str)], data: &str) -> Value {
    let labels: serde_json::Map<String, Value> = labels.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect();
    let mut object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": key.name.as_str(), "uid": format!("uid-{}", key.name)},
        "data": {"value": data},
    });
    if !labels.is_empty() {
        object["metadata"]["labels"] = Value::Object(labels);
    }
    if !key.namespace.is_empty() {
        object["metadata"]["namespace"] = json!(key.namespace.as_str());
    }
    object
}

pub fn labelled(key: &str, value: &str) -> LabelSelector {
    LabelSelector::of(vec![Requirement::equals(key, value)])
}

/// All objects in a scope, at the newest revision.
pub fn list_of(scope: Scope) -> ListRequest {
    ListRequest {
        scope,
        namespace: String::new(),
        labels: LabelSelector::everything(),
        fields: None,
        limit: 0,
        continue_token: None,
        consistency: Consistency::Latest,
    }
}

pub fn watch_of(scope: Scope, start: WatchStart) -> WatchRequest {
    WatchRequest {
        scope,
        namespace: String::new(),
        name: String::new(),
        labels: LabelSelector::everything(),
        fields: None,
        start,
        bookmarks: false,
    }
}

pub fn path(entry: &Entry) -> String {
    entry.key().to_string()
}

pub fn paths(list: &ListResult) -> Vec<String> {
    list.items.iter().map(|entry| path(entry)).collect()
}

/// What a watch shows next.
///
/// # Panics
/// If it is no event.
pub async fn next_event(watcher: &mut Watcher) -> Seen {
    match watcher.next().await {
        Some(WatchItem::Event(event)) => (event.kind, path(&event.entry), event.revision()),
        other => panic!("an event was expected, not {other:?}"),
    }
}

/// The items that are ready, which must be events.
pub fn ready_events(watcher: &mut Watcher) -> Vec<Seen> {
    std::iter::from_fn(|| watcher.ready())
        .map(|item| match item {
            WatchItem::Event(event) => (event.kind, path(&event.entry), event.revision()),
            other => panic!("an event was expected, not {other:?}"),
        })
        .collect()
}

/// All pages of a list.
pub async fn all_pages<F, R>(mut request: ListRequest, mut list: F) -> Result<Vec<ListResult>, StorageError>
where
    F: FnMut(ListRequest) -> R,
    R: Future<Output = Result<ListResult, StorageError>>,
{
    let mut pages = Vec::new();
    loop {
        let page = list(request.clone()).await?;
        request.continue_token = page.continue_token.clone();
        pages.push(page);
        if request.continue_token.is_none() {
            return Ok(pages);
        }
    }
}
