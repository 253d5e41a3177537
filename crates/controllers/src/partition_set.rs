//! kcp-topology-partitionset: one Partition for each combination of the dimensions' label values that Shards have (kcp's
//! facts, A.14, H.5).
//!
//! What differs from kcp, to the good of the slices that name a Partition: its name does not depend on chance, so that one that
//! is deleted comes back under the name that slices know; and one whose selector does not fit any more is mended, not replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::conditions::{self, Severity};
use api::keys::{annotation, api_version, condition, group};
use machinery::ids;
use machinery::names::dns1123_subdomain;
use machinery::object::{GroupVersion, ObjectExt};
use machinery::selector::LabelSelector;
use permit::{Cluster, Scope};
use plan::{Context, Controller, Effect, Key, Member, ObjectRef, Plan, ResourceRef, Seen, Trigger, View};
use serde_json::{Value, json};
use sha2::{Digest, Sha224};

use crate::refs;

/// One object of a tenant becomes as many as there are combinations, which is as many as there are Shards at most.
pub const PARTITIONS_MAX: usize = 500;
/// The longest `generateName` but for its dash, as kcp cuts it.
const BASE_MAX: usize = 252;
const KIND: &str = "PartitionSet";

pub struct PartitionSets {
    own_shard: String,
}

/// The labels that the Shards of one Partition have.
type Combination = BTreeMap<String, String>;

/// A requirement of a selector: key, operator, values.
type Expression = (String, String, Vec<String>);

/// One run: the set as it is to be, and what was seen with it.
struct Run<'a> {
    key: &'a Key,
    view: &'a dyn View,
    context: &'a Context,
    of: ObjectRef,
    seen: Arc<Value>,
    want: Value,
}

// === impl PartitionSets ===

impl PartitionSets {
    pub fn new(own_shard: &str) -> Self {
        Self {
            own_shard: own_shard.to_owned(),
        }
    }
}

impl Controller for PartitionSets {
    fn name(&self) -> &'static str {
        "kcp-topology-partitionset"
    }

    fn watches(&self) -> Vec<ResourceRef> {
        vec![refs::partition_sets(), refs::partitions(), refs::shards()]
    }

    fn keys(&self, trigger: &Trigger<'_>, view: &dyn View) -> Vec<Key> {
        if *trigger.resource == refs::partition_sets() {
            let key = |_| Key::new(trigger.cluster, "", trigger.name);
            return trigger.new.map(key).into_iter().collect();
        }
        if *trigger.resource == refs::partitions() {
            // The old one's as well: an owner may have been taken off.
            let seen = [trigger.old, trigger.new].into_iter().flatten();
            let sets = seen
                .filter(|partition| partition.is_owned())
                .flat_map(|partition| owners(&partition.parse()));
            return sets.map(|(name, _)| Key::new(trigger.cluster, "", &name)).collect();
        }
        if !are_labels_news(trigger) {
            return Vec::new();
        }
        let sets = view.list(&refs::partition_sets(), &Scope::All, "", &LabelSelector::everything());
        let key = |set: &Arc<Value>| {
            let cluster = Cluster::parse(set.annotation(annotation::CLUSTER)?).ok()?;
            Some(Key::new(&cluster, "", set.name()))
        };
        sets.iter().filter_map(key).collect()
    }

    fn plan(&self, key: &Key, view: &dyn View, context: &Context) -> Plan {
        let of = refs::partition_sets().object(&key.cluster, "", &key.name);
        let Seen::Found(seen) = view.get(&of) else {
            return Plan::done();
        };
        if seen.deletion_timestamp().is_some() {
            // Partitions made now would keep a deletion in the foreground from ever ending.
            return Plan::done();
        }
        let members = view.members();
        if !members.iter().any(|member| member.name == self.own_shard) {
            // Whoever does not know itself has not been told of the others either: on that, nothing is to be deleted.
            return Plan::done();
        }
        let want = Value::clone(&seen);
        let run = Run {
            key,
            view,
            context,
            of,
            seen,
            want,
        };
        run.plan(&members)
    }
}

/// Shards change for many reasons, and all sets of the shard are looked at.
pub(crate) fn are_labels_news(trigger: &Trigger<'_>) -> bool {
    match (trigger.old, trigger.new) {
        (Some(old), Some(new)) => old.parse().at(&["metadata", "labels"]) != new.parse().at(&["metadata", "labels"]),
        _ => true,
    }
}

/// The PartitionSets, as name and uid, that an object names as its owners.
fn owners(object: &Value) -> Vec<(String, String)> {
    let references = object.at(&["metadata", "ownerReferences"]).and_then(Value::as_array);
    let is_set = |owner: &&Value| {
        let version = GroupVersion::parse(owner.str_at(&["apiVersion"]).unwrap_or_default());
        owner.str_at(&["kind"]) == Some(KIND) && &*version.group == group::TOPOLOGY
    };
    let text = |owner: &Value, member: &str| owner.str_at(&[member]).unwrap_or_default().to_owned();
    let sets = references.into_iter().flatten().filter(is_set);
    sets.map(|owner| (text(owner, "name"), text(owner, "uid"))).collect()
}

// === impl Run ===

impl Run<'_> {
    fn plan(mut self, members: &[Member]) -> Plan {
        let selector = match self.seen.at(&["spec", "shardSelector"]).filter(|s| !s.is_null()) {
            None => LabelSelector::everything(),
            some => match LabelSelector::from_json(some) {
                Ok(selector) => selector,
                Err(why) => return self.invalid(&why.to_string()),
            },
        };
        self.mark(condition::PARTITION_SET_VALID, None);
        let combinations = self.combinations(members, &selector);
        let owned = self.owned();
        if combinations.len() > PARTITIONS_MAX {
            return self.too_many(combinations.len(), owned.len());
        }
        self.count(combinations.len());
        let Some(effects) = self.effects(combinations, owned) else {
            return Plan::retry("no name is left for a partition");
        };
        self.mark(condition::PARTITIONS_READY, None);
        self.finish(effects)
    }

    fn invalid(mut self, why: &str) -> Plan {
        let reason = condition::reason::INVALID_SELECTOR;
        self.mark(condition::PARTITION_SET_VALID, Some((reason, why)));
        let reason = condition::reason::ERROR_GENERATING_PARTITIONS;
        self.mark(condition::PARTITIONS_READY, Some((reason, "")));
        self.finish(Vec::new())
    }

    /// Those that there are stay as they are.
    fn too_many(mut self, asked: usize, owned: usize) -> Plan {
        let why = format!(
            "the selected Shards have {asked} combinations of these labels, and a PartitionSet makes {PARTITIONS_MAX} \
             Partitions at most: select fewer Shards, or dimensions with fewer values"
        );
        self.count(owned);
        let reason = condition::reason::ERROR_GENERATING_PARTITIONS;
        self.mark(condition::PARTITIONS_READY, Some((reason, &why)));
        self.finish(Vec::new())
    }

    fn mark(&mut self, kind: &str, wrong: Option<(&str, &str)>) {
        let now = &self.context.now;
        match wrong {
            None => conditions::mark_true(&mut self.want, kind, now),
            Some((reason, why)) => conditions::mark_false(&mut self.want, kind, reason, Severity::Error, why, now),
        };
    }

    /// None is left out, as kcp's encoding has it.
    fn count(&mut self, partitions: usize) {
        match partitions {
            0 => _ = self.want.remove_at(&["status", "count"]),
            some => self.want.set_at(&["status", "count"], json!(some)),
        }
    }

    fn finish(self, mut effects: Vec<Effect>) -> Plan {
        if self.want != *self.seen {
            effects.push(Effect::Update {
                of: self.of,
                object: self.want,
            });
        }
        Plan {
            effects,
            ..Plan::default()
        }
    }

    fn dimensions(&self) -> BTreeSet<&str> {
        let listed = self.seen.at(&["spec", "dimensions"]).and_then(Value::as_array);
        listed.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// What there is of the labels that count. A Shard without one of them is in no Partition.
    fn combinations(&self, members: &[Member], selector: &LabelSelector) -> BTreeSet<Combination> {
        let fixed = labels_of(self.seen.at(&["spec", "shardSelector"]));
        let mut counting = self.dimensions();
        counting.extend(fixed.keys().map(String::as_str));
        if counting.is_empty() {
            return BTreeSet::new();
        }
        let selected = members
            .iter()
            .filter(|member| selector.matches(|key| member.labels.get(key).map(String::as_str)));
        let labels = |member: &Member| -> Option<Combination> {
            let label = |key: &&str| Some(((*key).to_owned(), member.labels.get(*key)?.clone()));
            counting.iter().map(label).collect()
        };
        selected.filter_map(labels).collect()
    }

    /// The Partitions that are this set's, by name.
    fn owned(&self) -> BTreeMap<String, Arc<Value>> {
        let dependants = self.view.dependants(&self.key.cluster, self.seen.uid());
        let partitions = refs::partitions();
        let is_ours = |object: &Value| owners(object).iter().any(|(_, uid)| uid == self.seen.uid());
        dependants
            .into_iter()
            .filter(|(of, object)| of.resource == partitions && is_ours(object))
            .map(|(of, object)| (of.name, object))
            .collect()
    }

    /// `None`: all names that were thought of are somebody else's; others come with the next seed.
    fn effects(&self, mut missing: BTreeSet<Combination>, owned: BTreeMap<String, Arc<Value>>) -> Option<Vec<Effect>> {
        let expressions = expressions_of(self.seen.at(&["spec", "shardSelector"]));
        let wanted = missing.clone();
        let mut unfit = BTreeMap::new();
        for (name, partition) in owned {
            let selector = partition.at(&["spec", "selector"]);
            let labels = labels_of(selector);
            if expressions_of(selector) == expressions && wanted.contains(&labels) {
                missing.remove(&labels);
            } else {
                unfit.insert(name, partition);
            }
        }
        let (mut made, mut taken) = (Vec::new(), BTreeSet::new());
        for combination in missing {
            let name = self.name(&combination, &unfit, &taken)?;
            made.push(self.make(&name, &combination, unfit.remove(&name)));
            taken.insert(name);
        }
        let mut effects: Vec<Effect> = unfit
            .iter()
            .filter_map(|(name, object)| self.delete(name, object))
            .collect();
        effects.extend(made);
        Some(effects)
    }

    fn delete(&self, name: &str, partition: &Value) -> Option<Effect> {
        let is_going = partition.deletion_timestamp().is_some();
        (!is_going).then(|| Effect::Delete {
            of: refs::partitions().object(&self.key.cluster, "", name),
            uid: partition.uid().to_owned(),
            resource_version: None,
        })
    }

    fn make(&self, name: &str, combination: &Combination, unfit: Option<Arc<Value>>) -> Effect {
        let of = refs::partitions().object(&self.key.cluster, "", name);
        let mut selector = json!({"matchLabels": combination});
        let expressions = self.seen.at(&["spec", "shardSelector", "matchExpressions"]);
        if let Some(expressions) = expressions.filter(|list| list.as_array().is_some_and(|list| !list.is_empty())) {
            selector.set_at(&["matchExpressions"], expressions.clone());
        }
        if let Some(unfit) = unfit {
            let mut object = Arc::unwrap_or_clone(unfit);
            object.set_at(&["spec", "selector"], selector);
            return Effect::Update { of, object };
        }
        let owner = json!({"apiVersion": api_version::TOPOLOGY_V1ALPHA1, "kind": KIND, "name": self.key.name, "uid": self.seen.uid(),
            "controller": true, "blockOwnerDeletion": true});
        let object = json!({"apiVersion": api_version::TOPOLOGY_V1ALPHA1, "kind": "Partition",
            "metadata": {"name": name, "generateName": self.base(combination), "ownerReferences": [owner]},
            "spec": {"selector": selector}});
        Effect::Create {
            of,
            object,
            adopt: false,
        }
    }

    /// One that does not change as long as the set lives, unless somebody else has it.
    fn name(
        &self,
        combination: &Combination,
        unfit: &BTreeMap<String, Arc<Value>>,
        taken: &BTreeSet<String>,
    ) -> Option<String> {
        let base = self.base(combination);
        let of = |name: &str| refs::partitions().object(&self.key.cluster, "", name);
        let is_free =
            |name: &String| !taken.contains(name) && (unfit.contains_key(name) || self.view.is_absent(&of(name)));
        let seeds = self
            .context
            .seed
            .chunks_exact(5)
            .filter_map(|seed| seed.try_into().ok());
        std::iter::once(self.fixed_bytes(combination))
            .chain(seeds)
            .map(|bytes| ids::generate_name(&base, bytes))
            .find(is_free)
    }

    fn fixed_bytes(&self, combination: &Combination) -> [u8; 5] {
        let mut digest = Sha224::new();
        digest.update(self.seen.uid());
        for (key, value) in combination {
            // Neither has one of these.
            digest.update(format!("+{key}={value}"));
        }
        let mut bytes = [0; 5];
        bytes
            .iter_mut()
            .zip(digest.finalize())
            .for_each(|(byte, of)| *byte = of);
        bytes
    }

    /// What the names of a combination's Partitions begin with: values of dimensions, as far as names may have them.
    fn base(&self, combination: &Combination) -> String {
        let values = self.dimensions().into_iter().filter_map(|key| combination.get(key));
        let base = values.fold(self.key.name.clone(), |base, value| {
            format!("{base}-{}", value.to_ascii_lowercase())
        });
        let base: String = base.chars().take(BASE_MAX).chain(['-']).collect();
        if dns1123_subdomain(&ids::generate_name(&base, [0; 5])).is_empty() {
            return base;
        }
        // Values have underscores, and dots where no name has them.
        let fitting = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        base.chars().map(fitting).collect()
    }
}

fn labels_of(selector: Option<&Value>) -> Combination {
    let labels = selector.and_then(|selector| selector.at(&["matchLabels"])?.as_object());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    labels
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), text(value)))
        .collect()
}

/// To be compared: no list and an empty one are the same.
fn expressions_of(selector: Option<&Value>) -> Vec<Expression> {
    let list = selector.and_then(|selector| selector.at(&["matchExpressions"])?.as_array());
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let expression = |of: &Value| {
        let values = of.get("values").and_then(Value::as_array).into_iter().flatten();
        let values = values.map(|value| text(Some(value))).collect();
        (text(of.get("key")), text(of.get("operator")), values)
    };
    list.into_iter().flatten().map(expression).collect()
}

#[cfg(test)]
mod tests;
