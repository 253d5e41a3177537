//! kcp's admission rules (crate `tenancy`) as a plugin of the registry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use apiserver::auth::SharedAuthorizer;
use async_trait::async_trait;
use controller::{Fetched, Remote as _};
use machinery::status::Result;
use parking_lot::Mutex;
use permit::{Access, Cluster, Scope, Verb};
use plan::ResourceRef;
use registry::{Admission, Attributes};
use serde_json::Value;
use tenancy::admission::{AccessCheck, Review, World};
use tenancy::types::TypeSource;

use crate::facts::ShardFacts;
use crate::remote::OtherShards;

pub struct TenancyAdmission {
    facts: Arc<ShardFacts>,
    authorizer: SharedAuthorizer,
    others: Arc<OtherShards>,
}

/// The facts of this shard, and what was fetched for one request: types that other shards hold, and where paths lead.
struct Known<'a> {
    facts: &'a ShardFacts,
    fetched: &'a Fetches,
    /// What was looked for in vain.
    missed: Mutex<Missed>,
}

/// Answers of other shards.
#[derive(Default)]
struct Fetches {
    /// By cluster and name; `None`: there is no such type.
    types: BTreeMap<(Cluster, String), Option<Arc<Value>>>,
    /// Where paths lead; `None`: nowhere.
    paths: BTreeMap<String, Option<Cluster>>,
}

#[derive(Default)]
struct Missed {
    types: BTreeSet<(Cluster, String)>,
    paths: BTreeSet<String>,
}

/// What rules can do without while a shard does not answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    /// Where a path leads.
    Place,
}

/// Types that lead to each other, one fetched after the other.
const FETCHES_MAX: usize = 32;

// === impl TenancyAdmission ===

impl TenancyAdmission {
    pub fn new(facts: Arc<ShardFacts>, authorizer: SharedAuthorizer, others: Arc<OtherShards>) -> Self {
        Self {
            facts,
            authorizer,
            others,
        }
    }

    /// Runs rules until they lack nothing that another shard has. Without other shards they run once.
    ///
    /// # Errors
    /// A shard does not say what it has, unless `without` takes that for nothing.
    async fn knowing<T>(&self, without: Without, mut rules: impl FnMut(&Known<'_>) -> T) -> Result<T> {
        let mut fetched = Fetches::default();
        loop {
            let (outcome, missed) = {
                let known = Known {
                    facts: &self.facts,
                    fetched: &fetched,
                    missed: Mutex::default(),
                };
                let outcome = rules(&known);
                (outcome, known.missed.into_inner())
            };
            let mut types = missed.types;
            types.retain(|(of, _)| self.others.holds(of));
            let is_anything_missed = self.others.is_anybody() && !(types.is_empty() && missed.paths.is_empty());
            if !is_anything_missed || fetched.types.len() > FETCHES_MAX {
                return Ok(outcome);
            }
            for path in missed.paths {
                let found = match self.others.cluster_at(&path).await {
                    Err(_) if without == Without::Place => None,
                    found => found?,
                };
                fetched.paths.insert(path, found);
            }
            for (of, name) in types {
                let types = ResourceRef::new(api::keys::group::TENANCY, "workspacetypes");
                let found = match self.others.fetch(&types.object(&of, "", &name)).await? {
                    Fetched::Object(object) => Some(object),
                    Fetched::Absent => None,
                };
                fetched.types.insert((of, name), found);
            }
        }
    }

    /// Asks, in the cluster that is named, whether the user may; as a component asks, which skips whether the user may
    /// enter that cluster.
    async fn require(&self, attributes: &Attributes<'_>, check: AccessCheck) -> Result<()> {
        let Some(cluster) = check.cluster else {
            return Err(check.denied);
        };
        let access = Access {
            scope: Some(Scope::One(cluster)),
            verb: check.verb.to_owned(),
            is_resource: true,
            group: check.group.to_owned(),
            version: "*".to_owned(),
            resource: check.resource.to_owned(),
            name: check.name,
            deep: true,
            ..Access::default()
        };
        let user = &attributes.request.user;
        if self.authorizer.authorize(user, &access).await.is_allowed() {
            return Ok(());
        }
        // What is allowed in a cluster of another shard is what that shard says.
        match self.others.allow(user, &access).await? {
            true => Ok(()),
            false => Err(check.denied),
        }
    }

    /// Most writes are of kinds that no rule looks at twice.
    fn has_rules(&self, attributes: &Attributes<'_>) -> bool {
        let group = &*attributes.def.group;
        group.ends_with(".kcp.io")
            || group == api::keys::group::APIEXTENSIONS
            || self.facts.definitions.has_claims(attributes.cluster)
    }
}

// === impl Known ===

impl TypeSource for Known<'_> {
    fn workspace_type(&self, path: &str, name: &str) -> Option<Arc<Value>> {
        if let Some(found) = self.facts.workspace_type(path, name) {
            return Some(found);
        }
        let key = (Cluster::parse(path).ok()?, name.to_owned());
        if let Some(fetched) = self.fetched.types.get(&key) {
            return fetched.clone();
        }
        self.missed.lock().types.insert(key);
        None
    }
}

impl World for Known<'_> {
    fn logical_cluster(&self, of: &Cluster) -> Option<Arc<Value>> {
        self.facts.logical_cluster(of)
    }

    fn export(&self, from: &Cluster, path: &str, name: &str) -> Option<Arc<Value>> {
        self.facts.export(from, path, name)
    }

    fn cluster_at(&self, path: &str) -> Option<Cluster> {
        if let Some(found) = self.facts.cluster_at(path) {
            return Some(found);
        }
        if let Some(asked) = self.fetched.paths.get(path) {
            return asked.clone();
        }
        self.missed.lock().paths.insert(path.to_owned());
        None
    }

    fn bindings(&self, of: &Cluster) -> Vec<Arc<Value>> {
        World::bindings(self.facts, of)
    }

    fn bindings_with_claims(&self, of: &Cluster) -> Vec<Arc<Value>> {
        self.facts.bindings_with_claims(of)
    }

    fn namespace_terminates(&self, of: &Cluster, name: &str) -> Option<bool> {
        self.facts.namespace_terminates(of, name)
    }
}

fn review<'a>(attributes: &'a Attributes<'_>, object: Option<&'a mut Value>, settled: Option<&'a Value>) -> Review<'a> {
    let version = attributes.def.versions.get(attributes.version);
    Review {
        verb: match attributes.verb {
            Verb::Create | Verb::Delete => attributes.verb,
            Verb::DeleteCollection => Verb::Delete,
            _ => Verb::Update,
        },
        group: &attributes.def.group,
        resource: &attributes.def.names.plural,
        version: version.map(|v| v.name.as_str()).unwrap_or_default(),
        subresource: attributes.subresource.as_str(),
        cluster: attributes.cluster,
        namespace: attributes.namespace,
        name: attributes.name,
        user: &attributes.request.user,
        trusted: attributes.request.trusted,
        object,
        settled,
        old: attributes.old,
    }
}

#[async_trait]
impl Admission for TenancyAdmission {
    fn name(&self) -> &'static str {
        "tenancy"
    }

    async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<()> {
        let object = attributes.object.take();
        let Some(object) = object else {
            return tenancy::admission::mutate(&mut review(attributes, None, None), &*self.facts);
        };
        // A second run begins with the object as it came.
        let is_typed = self.others.is_anybody() && &*attributes.def.group == api::keys::group::TENANCY;
        let original = is_typed.then(|| object.clone());
        let mut is_first = true;
        // The label of an export, which is all that a path is looked up for here, is made of the path where it leads nowhere yet:
        // what is there already must be written while a shard is away, its last finalizer removed.
        let without = match attributes.old {
            Some(_) => Without::Place,
            None => Without::Nothing,
        };
        let outcome = self
            .knowing(without, |known| {
                if !std::mem::take(&mut is_first)
                    && let Some(original) = &original
                {
                    object.clone_from(original);
                }
                tenancy::admission::mutate(&mut review(attributes, Some(&mut *object), None), known)
            })
            .await;
        attributes.object = Some(object);
        outcome?
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<()> {
        if !self.has_rules(attributes) {
            return Ok(());
        }
        let settled = attributes.object.as_deref();
        let reviewed = review(attributes, None, settled);
        let checks = self
            .knowing(Without::Nothing, |known| tenancy::admission::validate(&reviewed, known))
            .await??;
        for check in checks {
            self.require(attributes, check).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ::fabric::wire::index_entry::Entry;
    use ::fabric::wire::{ClusterEntry, IndexBatch, IndexEntry};
    use apiserver::auth::{Authorizer, Decision, Rules};
    use env::Env;
    use env::simulated::SimOptions;
    use machinery::user::User;

    use super::*;
    use crate::catalog::ShardCatalog;
    use crate::definitions::Definitions;
    use crate::neighbours::{Neighbourhood, Neighbours, ROOT_SHARD};
    use crate::owners::OwnerIndex;

    /// Allows nobody anything.
    struct Strict;

    #[async_trait]
    impl Authorizer for Strict {
        async fn authorize(&self, _: &User, _: &Access) -> Decision {
            Decision::no_opinion("")
        }

        async fn rules(&self, _: &User, _: &Scope, _: &str) -> Rules {
            Rules::default()
        }
    }

    /// A shard `beta` whose root shard cannot be reached.
    fn beside_nobody(env: &Env) -> (TenancyAdmission, Arc<Neighbours>) {
        let definitions = Definitions::new();
        let facts = ShardFacts::new(definitions.clone());
        let neighbours = Neighbours::new(env, "beta", facts.clone());
        let neighbourhood = Neighbourhood {
            tls: None,
            root: Some("http://root:7000".to_owned()),
        };
        neighbours.follow(env, &neighbourhood).detach();
        let owners = Arc::new(OwnerIndex::default());
        let catalog = ShardCatalog::new(definitions, owners, neighbours.clone(), facts.clone());
        let others = OtherShards::new(env, neighbours.clone(), catalog);
        let admission = TenancyAdmission::new(facts, Arc::new(Strict), others);
        (admission, neighbours)
    }

    /// The root shard tells what it holds.
    fn tell(neighbours: &Neighbours, held: &[&str]) {
        let routes = &neighbours.peers().unwrap().routes;
        let entry = |name: &&str| IndexEntry {
            entry: Some(Entry::Cluster(ClusterEntry {
                name: (*name).to_owned(),
                epoch: 1,
                ..ClusterEntry::default()
            })),
        };
        let batch = IndexBatch {
            shard: ROOT_SHARD.to_owned(),
            begins_anew: true,
            complete: true,
            revision: 1,
            entries: held.iter().map(entry).collect(),
            ..IndexBatch::default()
        };
        routes.apply(routes.find_shard(ROOT_SHARD).unwrap(), &batch);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_shard_does_not_say_is_nobodys_lack_of_rights() {
        let (env, _host) = Env::simulated(1, SimOptions::default());
        let (admission, neighbours) = beside_nobody(&env);
        let ask = async |without, path: &'static str| admission.knowing(without, |known| known.cluster_at(path)).await;
        for path in ["root:org", "nobodys"] {
            assert_eq!(ask(Without::Nothing, path).await.unwrap_err().code, 503, "{path}");
            assert_eq!(ask(Without::Place, path).await, Ok(None), "{path}");
        }
        // An outage is not remembered, and what is said is.
        tell(&neighbours, &["root"]);
        assert_eq!(ask(Without::Nothing, "nobodys").await, Ok(None));
        tell(&neighbours, &["root", "nobodys"]);
        assert_eq!(ask(Without::Nothing, "nobodys").await, Ok(None));
        env.clock.sleep(Duration::from_secs(1)).await;
        let found = Cluster::parse("nobodys").ok();
        assert_eq!(ask(Without::Nothing, "nobodys").await, Ok(found));
        neighbours.detach();
    }

    #[tokio::test(start_paused = true)]
    async fn the_root_shard_knows_what_nobody_holds_when_all_others_have_said() {
        let (env, _host) = Env::simulated(1, SimOptions::default());
        let neighbours = Neighbours::new(&env, ROOT_SHARD, ShardFacts::new(Definitions::new()));
        let neighbourhood = Neighbourhood { tls: None, root: None };
        neighbours.follow(&env, &neighbourhood).detach();
        let peers = neighbours.peers().unwrap();
        assert!(peers.is_everything_told(), "there is nobody else");
        neighbours.introduce(&::fabric::wire::ShardEntry {
            name: "beta".to_owned(),
            ..::fabric::wire::ShardEntry::default()
        });
        assert!(!peers.is_everything_told());
        let beta = peers.routes.find_shard("beta").unwrap();
        let told = IndexBatch {
            begins_anew: true,
            complete: true,
            ..IndexBatch::default()
        };
        peers.routes.apply(beta, &told);
        assert!(peers.is_everything_told());
        neighbours.detach();
    }
}
