//! A view made of literals, and a loop that carries effects out on it, for the controllers' tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use machinery::object::ObjectExt;
use machinery::selector::LabelSelector;
use permit::{Cluster, Scope};
use plan::{Context, Controller, Effect, Key, Member, ObjectRef, Plan, ResourceRef, Seen, Served, View};
use serde_json::{Value, json};

#[derive(Default)]
pub(crate) struct Literals {
    pub objects: BTreeMap<ObjectRef, Value>,
    pub served: Vec<Served>,
    pub counter: u64,
    /// Shards that do not answer.
    pub dead: BTreeSet<String>,
    /// Clusters of other shards, of which something was told.
    pub elsewhere: BTreeSet<Cluster>,
    /// What has to be fetched: others' objects.
    pub foreign: BTreeSet<ObjectRef>,
}

pub(crate) fn cluster(name: &str) -> Cluster {
    Cluster::parse(name).unwrap()
}

pub(crate) fn context() -> Context {
    Context {
        now_seconds: 1_700_000_000,
        now: "2023-11-14T22:13:20Z".to_owned(),
        seed: [7; 32],
    }
}

impl Literals {
    pub fn put(&mut self, resource: &ResourceRef, in_cluster: &str, mut object: Value) {
        let of = resource.object(&cluster(in_cluster), object.namespace(), object.name());
        self.counter += 1;
        object.set_at(&["metadata", "resourceVersion"], json!(self.counter.to_string()));
        if object.uid().is_empty() {
            object.set_at(&["metadata", "uid"], json!(format!("uid-{}", self.counter)));
        }
        object.set_annotation("kcp.io/cluster", in_cluster);
        self.objects.insert(of, object);
    }

    pub fn object(&self, resource: &ResourceRef, in_cluster: &str, namespace: &str, name: &str) -> Option<&Value> {
        self.objects
            .get(&resource.object(&cluster(in_cluster), namespace, name))
    }

    /// Carries effects out as the registry would, finalizers included.
    pub fn carry_out(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Create { of, object, .. } => {
                    if !self.objects.contains_key(&anywhere(of)) {
                        self.put(&of.resource, of.cluster.as_str(), object.clone());
                    }
                }
                Effect::Update { of, object } => {
                    let dying = object.deletion_timestamp().is_some() && object.finalizers().is_empty();
                    if dying {
                        self.objects.remove(of);
                    } else {
                        self.put(&of.resource, of.cluster.as_str(), object.clone());
                    }
                }
                Effect::Delete { of, .. } | Effect::Collect { of, .. } => {
                    let Some(mut object) = self.objects.remove(&anywhere(of)) else {
                        continue;
                    };
                    if matches!(effect, Effect::Delete { .. }) {
                        object.remove_finalizer(crate::garbage::FOREGROUND);
                        object.remove_finalizer(crate::garbage::ORPHAN);
                    }
                    if !object.finalizers().is_empty() {
                        object.set_at(&["metadata", "deletionTimestamp"], json!(context().now));
                        self.put(&of.resource, of.cluster.as_str(), object);
                    }
                }
                Effect::Remove { of, resource_version } => {
                    if self
                        .objects
                        .get(of)
                        .is_some_and(|o| o.resource_version() == resource_version)
                    {
                        self.objects.remove(of);
                    }
                }
                Effect::Purge { of } => _ = self.objects.remove(of),
                Effect::Touch { .. } => {}
            }
        }
    }

    /// Runs a controller for a key until it has nothing more to do.
    pub fn settle(&mut self, controller: &dyn Controller, key: &Key) -> Plan {
        for _ in 0..20 {
            let plan = controller.plan(key, self, &context());
            if plan.effects.is_empty() {
                return plan;
            }
            self.carry_out(&plan.effects);
        }
        panic!("{} does not settle", controller.name());
    }
}

/// Objects are kept without the shard that a plan says they are on.
fn anywhere(object: &ObjectRef) -> ObjectRef {
    ObjectRef {
        shard: None,
        ..object.clone()
    }
}

impl View for Literals {
    fn get(&self, object: &ObjectRef) -> Seen {
        if self.foreign.contains(object) {
            return Seen::Unknown;
        }
        self.objects
            .get(&anywhere(object))
            .map_or(Seen::Absent, |value| Seen::Found(Arc::new(value.clone())))
    }

    fn list(&self, resource: &ResourceRef, scope: &Scope, namespace: &str, labels: &LabelSelector) -> Vec<Arc<Value>> {
        self.objects
            .iter()
            .filter(|(of, value)| {
                of.resource == *resource
                    && scope.contains(&of.cluster)
                    && (namespace.is_empty() || of.namespace == namespace)
                    && labels.matches(|key| value.label(key))
            })
            .map(|(_, value)| Arc::new(value.clone()))
            .collect()
    }

    fn dependants(&self, cluster: &Cluster, uid: &str) -> Vec<(ObjectRef, Arc<Value>)> {
        let owned = |object: &Value| {
            let references = object.at(&["metadata", "ownerReferences"]).and_then(Value::as_array);
            references
                .into_iter()
                .flatten()
                .any(|r| r.str_at(&["uid"]) == Some(uid))
        };
        let here = self
            .objects
            .iter()
            .filter(|(of, object)| of.cluster == *cluster && owned(object));
        here.map(|(of, object)| (of.clone(), Arc::new(object.clone())))
            .collect()
    }

    fn contents(&self, cluster: &Cluster) -> Vec<(ResourceRef, usize)> {
        let mut counts: BTreeMap<ResourceRef, usize> = BTreeMap::new();
        for of in self.objects.keys().filter(|of| of.cluster == *cluster) {
            *counts.entry(of.resource.clone()).or_default() += 1;
        }
        counts.into_iter().collect()
    }

    fn served(&self, _: &Cluster) -> Vec<Served> {
        self.served.clone()
    }

    /// As the Shard objects in root say.
    fn is_here(&self, cluster: &Cluster) -> bool {
        !self.elsewhere.contains(cluster)
    }

    fn members(&self) -> Vec<Member> {
        let all = LabelSelector::everything();
        let shards = self.list(&crate::refs::shards(), &Scope::One(cluster("root")), "", &all);
        let labels = |shard: &Value| {
            let labels = shard.at(&["metadata", "labels"]).and_then(Value::as_object);
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            labels
                .into_iter()
                .flatten()
                .map(|(k, v)| (k.clone(), text(v)))
                .collect()
        };
        let member = |shard: &Arc<Value>| Member {
            name: shard.name().to_owned(),
            labels: labels(shard),
            external_url: shard.str_at(&["spec", "externalURL"]).unwrap_or_default().to_owned(),
            is_schedulable: shard.annotation(api::keys::annotation::UNSCHEDULABLE).is_none(),
            is_live: !self.dead.contains(shard.name()),
            load: 0,
        };
        shards.iter().map(member).collect()
    }
}

/// An object as triggers see it.
pub(crate) struct Event(pub Value);

impl plan::Labelled for Event {
    fn label(&self, key: &str) -> Option<String> {
        ObjectExt::label(&self.0, key).map(str::to_owned)
    }

    fn is_terminating(&self) -> bool {
        self.0.deletion_timestamp().is_some()
    }

    fn is_owned(&self) -> bool {
        self.0.at(&["metadata", "ownerReferences"]).is_some()
    }

    fn uid(&self) -> String {
        ObjectExt::uid(&self.0).to_owned()
    }

    fn parse(&self) -> Arc<Value> {
        Arc::new(self.0.clone())
    }
}
