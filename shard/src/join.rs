//! How a shard that is not root joins the control plane: it learns the identities of root's exports, has its Shard object
//! written in root, and keeps both kinds of knowledge, with the list of the other shards, in its own store, so that it
//! starts again with root down (kcp's facts, H.2, H.4).
//!
//! A name belongs to one store. The Shard object says which, and how often that was started: another store of the same name is
//! refused, and so is the same one put back to an earlier state, which has forgotten what others rely on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ::fabric::wire::ShardEntry;
use ::fabric::{Endpoint, Upstream, UpstreamOptions};
use api::bootstrap::ShardUrls;
use api::keys::{annotation, cluster, group, namespace, object};
use env::Env;
use http::{Method, StatusCode};
use machinery::object::ObjectExt;
use machinery::status::{Result, Status};
use permit::Cluster;
use plan::{ObjectRef, ResourceRef};
use serde_json::{Value, json};
use storage::ResourceKey;

use crate::bootstrap::overlaid;
use crate::effects::ShardEffects;
use crate::facts::{ShardFacts, logical_clusters_key};
use crate::neighbours::{Neighbourhood, Neighbours};
use crate::remote::{exchange, failure};

const MANAGER: &str = "kcp";
/// kcp's name.
const IDENTITIES: &str = "apiexport-identity-cache";
const REGISTRATION: &str = "shard-registration";
const KNOWN_SHARDS: &str = "known-shards";
const STARTS: &str = "starts";

const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// Of one request to root.
const TIMEOUT: Duration = Duration::from_secs(3);

/// A shard on its way into a control plane.
pub struct Joining {
    env: Env,
    name: String,
    urls: ShardUrls,
    effects: Arc<ShardEffects>,
    facts: Arc<ShardFacts>,
    root: Upstream,
}

/// Why a shard is not registered.
#[derive(Debug)]
pub enum Unregistered {
    /// Root cannot be asked now.
    Later(Status),
    /// It must not be: in one sentence, with what to do.
    Refused(String),
}

/// What a store is to root.
struct Store {
    uid: String,
    /// Of the starts before this one.
    starts: u64,
}

// === impl Joining ===

impl Joining {
    pub fn new(
        env: &Env,
        name: &str,
        urls: &ShardUrls,
        neighbourhood: &Neighbourhood,
        effects: Arc<ShardEffects>,
        facts: Arc<ShardFacts>,
    ) -> std::result::Result<Self, String> {
        let url = neighbourhood.root.as_deref().unwrap_or_default();
        let endpoint = Endpoint::from_url(url, neighbourhood.tls.clone())?;
        Ok(Self {
            env: env.clone(),
            name: name.to_owned(),
            urls: urls.clone(),
            effects,
            facts,
            root: Upstream::new(env.clone(), endpoint, UpstreamOptions::default()),
        })
    }

    /// The identities of root's exports: as they were kept, or as root says, however long that takes.
    pub async fn identities(&self) -> BTreeMap<String, String> {
        let kept = self.kept(IDENTITIES);
        let is_whole = api::exports::exports()
            .iter()
            .all(|export| kept.contains_key(export.name()));
        if is_whole {
            return kept;
        }
        let mut backoff = BACKOFF_MIN;
        loop {
            match self.root_identities().await {
                Ok(identities) => return identities,
                Err(why) => tracing::warn!(
                    shard = self.name,
                    "root does not tell its exports' identities yet: {why}"
                ),
            }
            self.env.clock.sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    async fn root_identities(&self) -> Result<BTreeMap<String, String>> {
        let mut identities = BTreeMap::new();
        for export in api::exports::exports() {
            let name = export.name();
            let path = format!("/clusters/root/apis/{}/v1alpha2/apiexports/{name}", group::APIS);
            let found = self.ask(Method::GET, &path, None).await?;
            let hash = found
                .str_at(&["status", "identityHash"])
                .filter(|hash| !hash.is_empty());
            let Some(hash) = hash else {
                return Err(Status::service_unavailable(format!(
                    "export {name} has no identity yet"
                )));
            };
            identities.insert(name.to_owned(), hash.to_owned());
        }
        Ok(identities)
    }

    /// Keeps the identities for starts without root.
    pub async fn keep_identities(&self, identities: &BTreeMap<String, String>) -> Result<()> {
        self.keep(IDENTITIES, identities).await
    }

    /// One more start, and then the registration: waited for the first time, afterwards tried once. `false`: root could not
    /// be asked, and [`Joining::register_later`] is to go on.
    ///
    /// # Errors
    /// If the shard is refused, or its own store fails.
    pub async fn register_at_start(&self) -> Result<bool> {
        let store = self.store()?;
        let started = store.starts + 1;
        let mut backoff = BACKOFF_MIN;
        loop {
            match self.register(&store, started).await {
                Ok(()) => break,
                Err(Unregistered::Refused(why)) => return Err(Status::internal(why)),
                // One that was registered once goes on with what it knows.
                Err(Unregistered::Later(why)) if store.starts > 0 => {
                    tracing::warn!(shard = self.name, "root does not register this shard yet: {why}");
                    return Ok(false);
                }
                Err(Unregistered::Later(why)) => {
                    tracing::warn!(shard = self.name, "root does not register this shard yet: {why}");
                }
            }
            self.env.clock.sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
        Ok(true)
    }

    /// Until root has answered. Why, if it refuses.
    pub async fn register_later(&self) -> std::result::Result<(), String> {
        let mut backoff = BACKOFF_MIN;
        loop {
            let store = self.store().map_err(|status| status.to_string())?;
            match self.register(&store, store.starts + 1).await {
                Ok(()) => return Ok(()),
                Err(Unregistered::Refused(why)) => return Err(why),
                Err(Unregistered::Later(why)) => tracing::debug!("root does not register this shard yet: {why}"),
            }
            self.env.clock.sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    async fn register(&self, store: &Store, started: u64) -> std::result::Result<(), Unregistered> {
        let identities = self.root_identities().await.map_err(Unregistered::Later)?;
        let kept = self.kept(IDENTITIES);
        if identities
            .iter()
            .any(|(name, hash)| kept.get(name).is_some_and(|kept| kept != hash))
        {
            return Err(Unregistered::Refused(format!(
                "shard {:?} belongs to another control plane: the exports of this root have other identities; start it \
                 with an empty root directory, or with the right --root-shard-kubeconfig-file",
                self.name
            )));
        }
        let of = format!("/clusters/root/apis/{}/v1alpha1/shards", group::CORE);
        let named = format!("{of}/{}", self.name);
        let later = Unregistered::Later;
        let mut wanted = api::bootstrap::shard_object(&self.name, &self.urls);
        wanted.set_annotation(annotation::SHARD_STORE, &store.uid);
        wanted.set_annotation(annotation::SHARD_STARTS, &started.to_string());
        // Written down here first: an answer that is lost must not make this store look older than it is.
        let starts = BTreeMap::from([(STARTS.to_owned(), started.to_string())]);
        match self.ask(Method::GET, &named, None).await {
            Ok(found) => {
                check(&self.name, &found, store).map_err(Unregistered::Refused)?;
                self.keep(REGISTRATION, &starts).await.map_err(later)?;
                let object = overlaid(found, &wanted);
                self.ask(Method::PUT, &named, Some(&object)).await.map_err(later)?;
            }
            Err(status) if status.is_not_found() => {
                self.keep(REGISTRATION, &starts).await.map_err(later)?;
                self.ask(Method::POST, &of, Some(&wanted)).await.map_err(later)?;
            }
            Err(status) => return Err(later(status)),
        }
        tracing::info!(shard = self.name, "registered with root");
        Ok(())
    }

    fn store(&self) -> Result<Store> {
        let system = system_shard();
        let own = self
            .facts
            .object(&logical_clusters_key(), &system, "", object::LOGICAL_CLUSTER);
        let own = own.ok_or_else(|| Status::internal("the store has no cluster system:shard"))?;
        let starts = self.kept(REGISTRATION);
        Ok(Store {
            uid: own.uid().to_owned(),
            starts: starts
                .get(STARTS)
                .and_then(|text| text.parse().ok())
                .unwrap_or_default(),
        })
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let asking = exchange(&self.root, method, path, body);
        let (code, answer): (StatusCode, Value) = match self.env.clock.timeout(TIMEOUT, asking).await {
            Ok(answered) => answered?,
            Err(_) => return Err(Status::timeout("root does not answer", 1)),
        };
        match failure(code, &answer) {
            Some(status) => Err(status),
            None => Ok(answer),
        }
    }

    fn kept(&self, name: &str) -> BTreeMap<String, String> {
        kept(&self.facts, name)
    }

    async fn keep(&self, name: &str, data: &BTreeMap<String, String>) -> Result<()> {
        keep(&self.facts, &self.effects, name, data).await
    }
}

/// Whether a store may have the name that a Shard object stands for.
fn check(name: &str, shard: &Value, store: &Store) -> std::result::Result<(), String> {
    let at = shard.str_at(&["spec", "baseURL"]).unwrap_or_default();
    let Some(uid) = shard.annotation(annotation::SHARD_STORE) else {
        // Made by an operator beforehand.
        return Ok(());
    };
    if uid != store.uid {
        return Err(format!(
            "another shard is registered as {name:?} (at {at}), with another store: start this one with another \
             --shard-name, or delete that Shard object first if its shard is gone for good"
        ));
    }
    let starts: u64 = shard
        .annotation(annotation::SHARD_STARTS)
        .and_then(|text| text.parse().ok())
        .unwrap_or_default();
    if starts > store.starts {
        return Err(format!(
            "the store of shard {name:?} is an old one: it was started {} times, the registered one {starts} times; put \
             the newest store back, or delete the Shard object if what is missing is given up",
            store.starts
        ));
    }
    Ok(())
}

/// The other shards, as they were known when this one ran last.
pub fn known_shards(facts: &ShardFacts) -> Vec<ShardEntry> {
    let entry = |(name, text): (String, String)| {
        let shard: Value = serde_json::from_str(&text).ok()?;
        Some(crate::neighbours::shard_entry(&name, Some(&shard)))
    };
    kept(facts, KNOWN_SHARDS).into_iter().filter_map(entry).collect()
}

/// Writes the other shards down whenever they change. Never returns.
pub async fn remember_shards(neighbours: Arc<Neighbours>, facts: Arc<ShardFacts>, effects: Arc<ShardEffects>) {
    loop {
        neighbours.changed().await;
        let known = neighbours
            .known()
            .into_iter()
            .map(|(name, entry)| (name, remembered(entry)));
        let known: BTreeMap<String, String> = known.collect();
        if known.is_empty() || known == kept(&facts, KNOWN_SHARDS) {
            continue;
        }
        if let Err(status) = keep(&facts, &effects, KNOWN_SHARDS, &known).await {
            tracing::warn!("the list of shards cannot be kept: {status}");
        }
    }
}

/// A Shard object with what is known of it.
fn remembered(entry: ShardEntry) -> String {
    let labels: BTreeMap<String, String> = entry.labels.into_iter().collect();
    let mut shard = json!({
        "metadata": {"name": entry.name, "labels": labels},
        "spec": {
            "baseURL": entry.base_url,
            "externalURL": entry.external_url,
            "virtualWorkspaceURL": entry.virtual_workspace_url,
        },
    });
    if entry.unschedulable {
        shard.set_annotation(annotation::UNSCHEDULABLE, "true");
    }
    shard.to_string()
}

fn kept(facts: &ShardFacts, name: &str) -> BTreeMap<String, String> {
    let maps = ResourceKey::builtin("", "configmaps");
    let Some(map) = facts.object(&maps, &system_shard(), namespace::DEFAULT, name) else {
        return BTreeMap::new();
    };
    let data = map.at(&["data"]).and_then(Value::as_object);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    data.into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), text(value)))
        .collect()
}

async fn keep(facts: &ShardFacts, effects: &ShardEffects, name: &str, data: &BTreeMap<String, String>) -> Result<()> {
    let maps = ResourceKey::builtin("", "configmaps");
    let of = config_map(name);
    match facts.object(&maps, &system_shard(), namespace::DEFAULT, name) {
        Some(found) if found.at(&["data"]) == Some(&json!(data)) => Ok(()),
        Some(found) => {
            let mut map = Arc::unwrap_or_clone(found);
            map.set_at(&["data"], json!(data));
            effects.replace(&of, map, MANAGER, Vec::new()).await
        }
        None => {
            let map = json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": name, "namespace": namespace::DEFAULT},
                "data": data,
            });
            effects.create(&of, map, MANAGER, Vec::new()).await.map(drop)
        }
    }
}

fn config_map(name: &str) -> ObjectRef {
    ResourceRef::new("", "configmaps").object(&system_shard(), namespace::DEFAULT, name)
}

fn system_shard() -> Cluster {
    Cluster::well_known(cluster::SYSTEM_SHARD)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(uid: &str, starts: &str) -> Value {
        json!({
            "metadata": {"name": "beta", "annotations": {annotation::SHARD_STORE: uid, annotation::SHARD_STARTS: starts}},
            "spec": {"baseURL": "https://beta:6443"},
        })
    }

    fn store(uid: &str, starts: u64) -> Store {
        Store {
            uid: uid.to_owned(),
            starts,
        }
    }

    #[test]
    fn a_name_belongs_to_one_store() {
        assert!(check("beta", &shard("one", "3"), &store("one", 3)).is_ok());
        let why = check("beta", &shard("one", "3"), &store("two", 9)).unwrap_err();
        assert!(
            why.contains("another shard is registered as \"beta\" (at https://beta:6443)"),
            "{why}"
        );
        let by_hand = json!({"metadata": {"name": "beta"}, "spec": {}});
        assert!(check("beta", &by_hand, &store("one", 0)).is_ok());
    }

    #[test]
    fn a_store_put_back_to_an_earlier_state_is_refused() {
        let why = check("beta", &shard("one", "3"), &store("one", 2)).unwrap_err();
        assert!(why.contains("is an old one"), "{why}");
        // An answer of root that was lost leaves this one ahead.
        assert!(check("beta", &shard("one", "3"), &store("one", 4)).is_ok());
    }

    #[test]
    fn what_is_remembered_of_a_shard_is_all_that_scheduling_needs() {
        let entry = ShardEntry {
            name: "beta".to_owned(),
            gone: false,
            base_url: "https://beta:6443".to_owned(),
            virtual_workspace_url: "https://beta:6443".to_owned(),
            external_url: "https://front:6443".to_owned(),
            labels: [("region".to_owned(), "eu".to_owned())].into(),
            unschedulable: true,
        };
        let kept: Value = serde_json::from_str(&remembered(entry.clone())).unwrap();
        assert_eq!(crate::neighbours::shard_entry("beta", Some(&kept)), entry);
    }
}
