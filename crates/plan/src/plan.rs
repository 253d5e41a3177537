//! The types of [`crate::Controller`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use machinery::object::{GroupResource, ObjectExt};
use machinery::selector::LabelSelector;
use permit::{Cluster, Scope};
use serde_json::Value;

/// What a controller works on. Usually an object; `namespace` and `name` are empty when it is a whole cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub cluster: Cluster,
    pub namespace: String,
    pub name: String,
}

/// A resource as plans name it; the driver knows where its objects live. `identity` picks one export's objects of a bound
/// resource; without it, the resource as the server itself serves or binds it (the root's exports).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceRef {
    pub group: Arc<str>,
    pub resource: Arc<str>,
    pub identity: Option<Arc<str>>,
}

/// One object, anywhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    pub resource: ResourceRef,
    pub cluster: Cluster,
    pub namespace: String,
    pub name: String,
    /// The shard that it is on or is to be made on, where that is known better than from the cluster: nobody has heard of a
    /// cluster that does not exist yet.
    pub shard: Option<Arc<str>>,
}

/// A shard, as far as the choice of one for something new goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// Base of the URLs that what it holds is announced by.
    pub external_url: String,
    /// Nobody has said that nothing new is to be put there.
    pub is_schedulable: bool,
    /// It answers its peers. The shard that asks always does.
    pub is_live: bool,
    /// How many clusters it holds.
    pub load: usize,
}

/// What a plan may read: the objects of this shard as the log has them, and what it asked for by `needs`.
pub trait View {
    /// The object in its storage version, with resourceVersion.
    fn get(&self, object: &ObjectRef) -> Seen;
    /// Whether an object is certain not to be there; without reading what is in it.
    fn is_absent(&self, object: &ObjectRef) -> bool {
        self.get(object) == Seen::Absent
    }
    fn list(&self, resource: &ResourceRef, scope: &Scope, namespace: &str, labels: &LabelSelector) -> Vec<Arc<Value>>;
    /// What `list` would answer, as far as it can be told without reading the objects.
    fn outline(&self, resource: &ResourceRef, cluster: &Cluster, namespace: &str) -> Vec<Outline> {
        let scope = Scope::One(cluster.clone());
        let objects = self.list(resource, &scope, namespace, &LabelSelector::everything());
        objects
            .iter()
            .map(|object| Outline {
                of: resource.object(cluster, object.namespace(), object.name()),
                uid: object.uid().to_owned(),
                resource_version: object.resource_version().to_owned(),
                is_terminating: object.deletion_timestamp().is_some(),
                is_held: !object.finalizers().is_empty() || object.at(&["spec", "finalizers"]).is_some(),
            })
            .collect()
    }
    /// Whether `list` would answer anything; stops at the first.
    fn any(&self, resource: &ResourceRef, scope: &Scope, namespace: &str, labels: &LabelSelector) -> bool {
        !self.list(resource, scope, namespace, labels).is_empty()
    }
    /// Objects of a cluster that name an owner of this uid.
    fn dependants(&self, cluster: &Cluster, uid: &str) -> Vec<(ObjectRef, Arc<Value>)>;
    fn has_dependants(&self, cluster: &Cluster, uid: &str) -> bool {
        !self.dependants(cluster, uid).is_empty()
    }
    /// Objects left in a cluster by resource, everything included: (resource, count), sorted.
    fn contents(&self, cluster: &Cluster) -> Vec<(ResourceRef, usize)>;
    /// The resources served in a cluster with what plans need of their definitions.
    fn served(&self, cluster: &Cluster) -> Vec<Served>;
    /// Whether this shard is the authority for a cluster, as far as it knows.
    fn is_here(&self, _cluster: &Cluster) -> bool {
        true
    }
    /// All shards that are registered, by name.
    fn members(&self) -> Vec<Member> {
        Vec::new()
    }
}

/// An object from outside: what it takes to delete it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    pub of: ObjectRef,
    pub uid: String,
    pub resource_version: String,
    /// `metadata.deletionTimestamp` is set.
    pub is_terminating: bool,
    /// May have finalizers: what is not held is gone once it is deleted.
    pub is_held: bool,
}

/// A resource that a cluster serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    pub resource: ResourceRef,
    pub version: String,
    pub kind: String,
    pub namespaced: bool,
    pub bound: bool,
}

/// Outcome of a look-up.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// Shared with everybody who looks at this version of the object.
    Found(Arc<Value>),
    Absent,
    /// Not on this shard (or not known to be). Whatever the plan comes to, it is not carried out: the object is fetched, and
    /// the plan runs again with it.
    Unknown,
}

/// What is to be done. Applied in order; a failure ends the run and the key is tried again with back-off.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// An existing object of that name is a success if `adopt`, else a retry.
    Create { of: ObjectRef, object: Value, adopt: bool },
    /// Writes the whole object, status included (it carries uid and resourceVersion, so a stale plan conflicts).
    Update { of: ObjectRef, object: Value },
    /// Deletes if uid (and resourceVersion, if given) are still these; absent is a success.
    Delete {
        of: ObjectRef,
        uid: String,
        resource_version: Option<String>,
    },
    /// The same as the garbage collector does it: what the object's finalizers ask for, of its dependants, stays asked for.
    Collect {
        of: ObjectRef,
        uid: String,
        resource_version: Option<String>,
    },
    /// Takes away an object of a cluster that is being deleted, if resourceVersion is still this: one that nobody holds, or
    /// only the plan's own finalizer, whose work the plan has seen done. Those next to each other go in any order.
    Remove { of: ObjectRef, resource_version: String },
    /// Writes an object as it is (empty patch), so that admission sets what it derives. Those next to each other are all tried,
    /// whichever fails.
    Touch { of: ObjectRef },
    /// Removes an object of a cluster that does not exist any more, finalizers or not.
    Purge { of: ObjectRef },
}

/// What a run of `plan` comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Objects to fetch before the plan can be made, beside those that were looked for in vain. If not empty, `effects` must
    /// be.
    pub needs: Vec<ObjectRef>,
    pub effects: Vec<Effect>,
    /// Run again after this time, whatever happens.
    pub requeue: Option<Duration>,
    /// What that time grows to, in proportion to how long the runs of the key have asked for it without a break.
    pub requeue_max: Option<Duration>,
    /// Why nothing can be done now; logged, retried with back-off.
    pub error: Option<String>,
}

/// What a plan gets besides the view.
#[derive(Clone, Debug)]
pub struct Context {
    /// Seconds since the epoch and the same in RFC 3339.
    pub now_seconds: i64,
    pub now: String,
    /// 32 random bytes, new at each run.
    pub seed: [u8; 32],
}

/// An event that may concern a controller.
pub struct Trigger<'a> {
    pub resource: &'a ResourceRef,
    pub cluster: &'a Cluster,
    pub namespace: &'a str,
    pub name: &'a str,
    /// Absent before creation and after deletion.
    pub old: Option<&'a dyn Labelled>,
    pub new: Option<&'a dyn Labelled>,
}

/// Cheap properties of an object that triggers may look at without parsing it; `parse` gives the rest.
pub trait Labelled {
    fn label(&self, key: &str) -> Option<String>;
    /// `metadata.deletionTimestamp` is set.
    fn is_terminating(&self) -> bool;
    /// `metadata.ownerReferences` may be there.
    fn is_owned(&self) -> bool;
    fn uid(&self) -> String;
    fn parse(&self) -> Arc<Value>;
}

/// A controller. Level-triggered and idempotent: a run depends on the view alone, never on which event led to it.
pub trait Controller: Send + Sync {
    /// Name in leases, metrics, logs and as default field manager, e.g. `kcp-apibinding`.
    fn name(&self) -> &'static str;

    /// Resources whose events can concern it.
    fn watches(&self) -> Vec<ResourceRef>;

    /// The keys that an event concerns. Called for every event of `watches`, on the log's path: cheap. `view` serves
    /// look-ups of referring objects.
    fn keys(&self, trigger: &Trigger<'_>, view: &dyn View) -> Vec<Key>;

    fn plan(&self, key: &Key, view: &dyn View, context: &Context) -> Plan;

    /// Whether it adds to objects of other shards what only this one knows. All others leave them alone: a plan does not even
    /// see the objects of its own key's cluster, if that is on another shard.
    fn spans_shards(&self) -> bool {
        false
    }

    /// Keys to run periodically, whatever happens; most have none.
    fn resync(&self, _view: &dyn View) -> Vec<Key> {
        Vec::new()
    }
}

// === impl names ===

impl ResourceRef {
    pub fn new(group: &str, resource: &str) -> Self {
        Self {
            group: group.into(),
            resource: resource.into(),
            identity: None,
        }
    }

    #[must_use]
    pub fn with_identity(mut self, hash: &str) -> Self {
        self.identity = Some(hash.into());
        self
    }

    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(&*self.group, &*self.resource)
    }

    pub fn object(&self, cluster: &Cluster, namespace: &str, name: &str) -> ObjectRef {
        ObjectRef {
            resource: self.clone(),
            cluster: cluster.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            shard: None,
        }
    }
}

impl ObjectRef {
    /// The same object, on a shard.
    #[must_use]
    pub fn on(mut self, shard: &str) -> Self {
        self.shard = Some(shard.into());
        self
    }
}

impl Key {
    pub fn new(cluster: &Cluster, namespace: &str, name: &str) -> Self {
        Self {
            cluster: cluster.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    pub fn of_cluster(cluster: &Cluster) -> Self {
        Self::new(cluster, "", "")
    }
}

impl Outline {
    /// Without further ado: nobody gets to see it marked first.
    pub fn remove(self) -> Effect {
        Effect::Remove {
            of: self.of,
            resource_version: self.resource_version,
        }
    }

    /// In a cluster that is being deleted: what nobody holds goes at once.
    pub fn let_go(self) -> Option<Effect> {
        if self.is_held {
            self.delete()
        } else {
            Some(self.remove())
        }
    }

    /// `None` if it is being deleted already.
    pub fn delete(self) -> Option<Effect> {
        (!self.is_terminating).then_some(Effect::Delete {
            of: self.of,
            uid: self.uid,
            resource_version: None,
        })
    }
}

impl Seen {
    pub fn found(self) -> Option<Arc<Value>> {
        match self {
            Self::Found(object) => Some(object),
            Self::Absent | Self::Unknown => None,
        }
    }
}

impl Plan {
    pub fn done() -> Self {
        Self::default()
    }

    pub fn effect(effect: Effect) -> Self {
        Self {
            effects: vec![effect],
            ..Self::default()
        }
    }

    pub fn need(object: ObjectRef) -> Self {
        Self {
            needs: vec![object],
            ..Self::default()
        }
    }

    pub fn retry(why: impl Into<String>) -> Self {
        Self {
            error: Some(why.into()),
            ..Self::default()
        }
    }

    pub fn after(time: Duration) -> Self {
        Self {
            requeue: Some(time),
            ..Self::default()
        }
    }
}
