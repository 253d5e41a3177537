//! kcp-workspace: schedules a Workspace to a shard, makes its logical cluster, mirrors its life, and takes it away again
//! (kcp's facts, D.3, D.4, D.9).

use std::sync::Arc;
use std::time::Duration;

use api::keys::{annotation, condition, finalizer, label, phase::workspace as phase};
use api::types::{NewLogicalCluster, reduced_owner};
use api::{conditions, conditions::Severity, hashes, keys};
use machinery::object::ObjectExt;
use machinery::selector::LabelSelector;
use permit::{Cluster, Scope};
use plan::{Context, Controller, Effect, Key, Member, ObjectRef, Plan, ResourceRef, Seen, Trigger, View};
use serde_json::{Value, json};
use tenancy::types;

use crate::{ShardInfo, founding, logical_cluster, refs, scheduling};

mod abandoned;

/// How long a fresh LogicalCluster may be out of sight before the Workspace says so.
const DISAPPEARED_AFTER_SECONDS: i64 = 60;

/// How often a deletion on another shard is looked at. One that ends while nobody listens there, as the shard is lost, is never
/// told: whoever is told everything anew hears of what there is, and the Workspace is still Ready, as nobody waits in.
const LOOKS_AGAIN: Duration = Duration::from_secs(10);

/// Phases in which a Workspace waits for something of a shard.
const UNSETTLED: [&str; 5] = [
    phase::SCHEDULING,
    phase::INITIALIZING,
    phase::UNAVAILABLE,
    phase::TERMINATING,
    phase::DELETING,
];

pub struct Workspaces {
    shard: Arc<ShardInfo>,
}

/// One run: the object as it is to be, and what was seen with it.
struct Run<'a> {
    shard: &'a ShardInfo,
    view: &'a dyn View,
    context: &'a Context,
    of: ObjectRef,
    seen: Arc<Value>,
    want: Value,
}

// === impl Workspaces ===

impl Workspaces {
    pub fn new(shard: Arc<ShardInfo>) -> Self {
        Self { shard }
    }
}

impl Controller for Workspaces {
    fn name(&self) -> &'static str {
        "kcp-workspace"
    }

    fn watches(&self) -> Vec<ResourceRef> {
        vec![refs::workspaces(), refs::logical_clusters(), refs::shards()]
    }

    fn keys(&self, trigger: &Trigger<'_>, view: &dyn View) -> Vec<Key> {
        if *trigger.resource == refs::workspaces() {
            return trigger
                .new
                .map(|_| Key::new(trigger.cluster, "", trigger.name))
                .into_iter()
                .collect();
        }
        if *trigger.resource == refs::logical_clusters() {
            let object = trigger.new.or(trigger.old).map(plan::Labelled::parse);
            return object.as_deref().and_then(owner_key).into_iter().collect();
        }
        // A shard came, went or changed: whoever waits for one is looked at again.
        let mut keys = Vec::new();
        for phase in UNSETTLED {
            let waiting = LabelSelector::of(vec![machinery::selector::Requirement::equals(label::PHASE, phase)]);
            for workspace in view.list(&refs::workspaces(), &Scope::All, "", &waiting) {
                let cluster = workspace
                    .annotation(annotation::CLUSTER)
                    .and_then(|c| Cluster::parse(c).ok());
                keys.extend(cluster.map(|cluster| Key::new(&cluster, "", workspace.name())));
            }
        }
        keys
    }

    fn plan(&self, key: &Key, view: &dyn View, context: &Context) -> Plan {
        let of = refs::workspaces().object(&key.cluster, "", &key.name);
        let Seen::Found(seen) = view.get(&of) else {
            return Plan::done();
        };
        let want = Value::clone(&seen);
        let run = Run {
            shard: &self.shard,
            view,
            context,
            of,
            seen,
            want,
        };
        if run.seen.deletion_timestamp().is_some() {
            run.delete()
        } else {
            run.live()
        }
    }
}

/// The Workspace that a LogicalCluster belongs to.
fn owner_key(logical_cluster: &Value) -> Option<Key> {
    let owner = logical_cluster.at(&["spec", "owner"])?;
    if owner.str_at(&["resource"]) != Some("workspaces") {
        return None;
    }
    let cluster = Cluster::parse(owner.str_at(&["cluster"])?).ok()?;
    Some(Key::new(&cluster, "", owner.str_at(&["name"])?))
}

// === impl Run ===

impl Run<'_> {
    fn live(mut self) -> Plan {
        if self.want.at(&["spec", "mount"]).is_some() {
            self.set_phase_label();
            return self.finish(Vec::new(), None);
        }
        if self.want.str_at(&["spec", "cluster"]).is_none_or(str::is_empty) {
            return self.schedule();
        }
        self.follow()
    }

    /// Chooses shard and name, commits them, then makes the logical cluster. The name is written down before anything of
    /// that name exists, so a crash in between leaves nothing behind.
    fn schedule(mut self) -> Plan {
        if self.want.str_at(&["status", "phase"]).is_none_or(str::is_empty) {
            self.want.set_at(&["status", "phase"], json!(phase::SCHEDULING));
        }
        let shard = match self.choose_shard() {
            Ok(shard) => shard,
            Err(why) => return self.unschedulable(&why),
        };
        let Some((cluster, is_new)) = self.choose_cluster() else {
            return Plan::need(self.logical_cluster_ref());
        };
        self.want.set_annotation(annotation::SHARD, &shard.name);
        self.want
            .set_annotation(annotation::SHARD_HASH, &hashes::shard_hash(&shard.name));
        self.want
            .set_annotation(annotation::SCHEDULED_CLUSTER, cluster.as_str());
        self.want.add_finalizer(finalizer::LOGICAL_CLUSTER);
        match shard.labels.get(label::REGION) {
            Some(region) => self.want.set_label(label::REGION, region),
            None => _ = self.want.remove_label(label::REGION),
        }
        self.set_phase_label();
        // A name that was made up just now is nobody's: its shard need not be asked.
        let seen = match is_new {
            true => Seen::Absent,
            false => self.view.get(&self.logical_cluster_ref()),
        };
        match seen {
            Seen::Unknown => Plan::need(self.logical_cluster_ref()),
            Seen::Absent => match self.new_logical_cluster() {
                Ok(object) => {
                    let of = self.logical_cluster_ref();
                    let create = Effect::Create {
                        of,
                        object,
                        adopt: false,
                    };
                    self.finish(vec![create], None)
                }
                Err(why) => Plan {
                    error: Some(why),
                    ..self.finish(Vec::new(), None)
                },
            },
            // It comes back with the first that is to be mirrored: most often all is done by then.
            Seen::Found(lc) if founding::is_unfounded(&lc) => self.finish(Vec::new(), None),
            Seen::Found(_) => {
                let external = match shard.external_url.as_str() {
                    "" => &self.shard.external_url,
                    external => external,
                };
                let url = format!("{}/clusters/{}", external.trim_end_matches('/'), self.path());
                self.want.set_at(&["spec", "URL"], json!(url));
                self.want.set_at(&["spec", "cluster"], json!(cluster.as_str()));
                self.follow()
            }
        }
    }

    /// The shard written down earlier, or one of those that fit: also when that one is lost before anything was seen of what
    /// it was to hold. A loss is known a moment late, and what is made in that moment must not wait for the shard's return.
    fn choose_shard(&mut self) -> Result<Member, String> {
        let members = self.view.members();
        let selector = self.want.at(&["spec", "location", "selector"]);
        let Some(name) = self.want.annotation(annotation::SHARD) else {
            return scheduling::choose(members, selector, &self.context.seed);
        };
        let why = match scheduling::chosen(members.clone(), name) {
            Ok(chosen) => return Ok(chosen),
            Err(why) => why,
        };
        let another = scheduling::choose(members, selector, &self.context.seed).map_err(|_| why)?;
        self.abandon();
        Ok(another)
    }

    /// The name written down earlier, unless somebody else's cluster has it; and whether it is a new one. `None`: must be
    /// fetched first.
    fn choose_cluster(&self) -> Option<(Cluster, bool)> {
        let fresh = || Some((Cluster::parse(&hashes::cluster_name(&self.context.seed)).ok()?, true));
        let Some(chosen) = self
            .want
            .annotation(annotation::SCHEDULED_CLUSTER)
            .and_then(|c| Cluster::parse(c).ok())
            .filter(|c| !c.is_system() && c.as_str() != keys::cluster::ROOT)
        else {
            return fresh();
        };
        match self.view.get(&self.logical_cluster_ref()) {
            Seen::Unknown => None,
            Seen::Found(object) if object.str_at(&["spec", "owner", "uid"]) != Some(self.seen.uid()) => fresh(),
            Seen::Found(_) | Seen::Absent => Some((chosen, false)),
        }
    }

    /// The shard that holds the logical cluster, if it is another one that does not answer.
    fn dead_shard(&self) -> Option<String> {
        let name = self.elsewhere()?;
        let members = self.view.members();
        let is_live = members.iter().any(|member| member.name == name && member.is_live);
        (!is_live).then(|| format!("shard {name:?} cannot be reached"))
    }

    fn unschedulable(mut self, why: &str) -> Plan {
        self.want.set_at(&["status", "phase"], json!(phase::UNAVAILABLE));
        let now = &self.context.now;
        let reason = condition::reason::UNSCHEDULABLE;
        conditions::mark_false(
            &mut self.want,
            condition::WORKSPACE_SCHEDULED,
            reason,
            Severity::Error,
            why,
            now,
        );
        self.set_phase_label();
        self.finish(Vec::new(), None)
    }

    /// Once it has a cluster: mirror the LogicalCluster.
    fn follow(mut self) -> Plan {
        if let Some(why) = self.dead_shard() {
            return self.wait_for_shard(&why);
        }
        let of = self.logical_cluster_ref();
        let logical_cluster = match self.view.get(&of) {
            Seen::Unknown => return Plan::need(of),
            Seen::Absent => None,
            Seen::Found(object) => Some(object),
        };
        let now = self.context.now.clone();
        conditions::mark_true(&mut self.want, condition::WORKSPACE_SCHEDULED, &now);
        let phase_now = self.want.str_at(&["status", "phase"]).unwrap_or_default().to_owned();
        let initializing = matches!(phase_now.as_str(), "" | phase::SCHEDULING | phase::INITIALIZING)
            || (phase_now == phase::UNAVAILABLE && !conditions::is_true(&self.want, condition::WORKSPACE_INITIALIZED));
        let mut requeue = None;
        if initializing {
            requeue = self.initialize(logical_cluster.as_deref());
        }
        if let Some(object) = &logical_cluster {
            mirror_list(object, &mut self.want, "terminators");
        }
        self.settle_phase(initializing);
        self.reduce_owner();
        self.set_phase_label();
        if self.want.str_at(&["status", "phase"]) != Some(phase::READY) {
            return self.finish(Vec::new(), requeue);
        }
        match self.sweep() {
            Ok(effects) => {
                let again = self.sweeps_again().or(requeue);
                self.finish(effects, again)
            }
            Err(fetching) => fetching,
        }
    }

    /// What is Ready stays so; who waits reads for what. When the shard is back, the key is due again.
    fn wait_for_shard(mut self, why: &str) -> Plan {
        if !conditions::is_true(&self.want, condition::WORKSPACE_INITIALIZED) {
            let (kind, reason) = (condition::WORKSPACE_INITIALIZED, condition::reason::SHARD_UNAVAILABLE);
            let now = &self.context.now;
            conditions::mark_false(&mut self.want, kind, reason, Severity::Warning, why, now);
        }
        self.set_phase_label();
        let again = self.sweeps_again();
        self.finish(Vec::new(), again)
    }

    fn initialize(&mut self, logical_cluster: Option<&Value>) -> Option<Duration> {
        let now = self.context.now.clone();
        let kind = condition::WORKSPACE_INITIALIZED;
        let reason = condition::reason::INITIALIZER_EXISTS;
        self.want.set_at(&["status", "phase"], json!(phase::INITIALIZING));
        let Some(object) = logical_cluster else {
            let gone = condition::reason::WORKSPACE_DISAPPEARED;
            let text = format!("LogicalCluster {} not found", self.cluster_name());
            let age = self.age_seconds();
            if age < DISAPPEARED_AFTER_SECONDS {
                return Some(Duration::from_secs(1));
            }
            conditions::mark_false(&mut self.want, kind, gone, Severity::Error, &text, &now);
            return None;
        };
        mirror_list(object, &mut self.want, "initializers");
        if object.str_at(&["status", "phase"]) == Some(phase::READY) {
            conditions::mark_true(&mut self.want, kind, &now);
            self.want.set_at(&["status", "phase"], json!(phase::READY));
            return None;
        }
        let left = names(object.at(&["status", "initializers"]));
        let text = if left.is_empty() {
            String::new()
        } else {
            format!("Initializers still exist: {}", left.join(", "))
        };
        conditions::mark_false(&mut self.want, kind, reason, Severity::Info, &text, &now);
        None
    }

    /// Any `Workspace*` condition that is False makes it Unavailable; none, Ready (facts D.4).
    fn settle_phase(&mut self, initializing: bool) {
        let ready = self.want.str_at(&["status", "phase"]) == Some(phase::READY);
        if initializing && !ready {
            return;
        }
        let broken = conditions::all(&self.want)
            .iter()
            .any(|c| c.kind.starts_with("Workspace") && c.status == conditions::ConditionStatus::False);
        let phase = if broken { phase::UNAVAILABLE } else { phase::READY };
        self.want.set_at(&["status", "phase"], json!(phase));
    }

    /// Ready workspaces keep only the owner's name.
    fn reduce_owner(&mut self) {
        if self.want.str_at(&["status", "phase"]) == Some(phase::READY) {
            reduce_owner(&mut self.want);
        }
    }

    fn set_phase_label(&mut self) {
        let phase = self.want.str_at(&["status", "phase"]).unwrap_or_default().to_owned();
        if !phase.is_empty() {
            self.want.set_label(label::PHASE, &phase);
        }
    }

    fn delete(mut self) -> Plan {
        if self.seen.finalizers() != [finalizer::LOGICAL_CLUSTER] {
            return Plan::done();
        }
        let swept = match self.sweep() {
            Ok(effects) => effects,
            Err(fetching) => return fetching,
        };
        let again = self.sweeps_again();
        if again.is_some() {
            // Its name is not free before it is gone from everywhere.
            return self.finish(swept, again);
        }
        let of = self.logical_cluster_ref();
        if self.cluster().is_none() {
            return self.release();
        }
        if let Some(why) = self.dead_shard() {
            return self.delete_later(&why);
        }
        let object = match self.view.get(&of) {
            Seen::Unknown => return Plan::need(of),
            Seen::Absent => return self.release(),
            Seen::Found(object) => object,
        };
        if object.str_at(&["spec", "owner", "uid"]) != Some(self.seen.uid()) {
            return self.release();
        }
        let mut effects = Vec::new();
        if object.deletion_timestamp().is_none() {
            effects.push(Effect::Delete {
                of,
                uid: object.uid().to_owned(),
                resource_version: None,
            });
        } else if logical_cluster::is_closing(&object) {
            self.mirror_deletion(&object);
        }
        let again = self.elsewhere().map(|_| LOOKS_AGAIN);
        self.finish(effects, again)
    }

    fn mirror_deletion(&mut self, object: &Value) {
        let now = self.context.now.clone();
        conditions::mirror(object, &mut self.want, condition::WORKSPACE_CONTENT_DELETED, &now);
        mirror_list(object, &mut self.want, "terminators");
        let terminating = !names(object.at(&["status", "terminators"])).is_empty();
        self.leave_ready(if terminating {
            phase::TERMINATING
        } else {
            phase::DELETING
        });
    }

    /// One deleted in another phase than Ready keeps that to the end.
    fn leave_ready(&mut self, phase: &str) {
        let from_ready = [phase::READY, phase::TERMINATING, phase::DELETING];
        let phase_now = self.want.str_at(&["status", "phase"]).unwrap_or_default();
        if from_ready.contains(&phase_now) {
            self.want.set_at(&["status", "phase"], json!(phase));
            self.set_phase_label();
        }
    }

    /// Nobody knows what the shard still holds of it: its name is not free before that is gone.
    fn delete_later(mut self, why: &str) -> Plan {
        let (kind, reason) = (
            condition::WORKSPACE_CONTENT_DELETED,
            condition::reason::SHARD_UNAVAILABLE,
        );
        let now = &self.context.now;
        conditions::mark_false(&mut self.want, kind, reason, Severity::Warning, why, now);
        self.leave_ready(phase::DELETING);
        self.finish(Vec::new(), None)
    }

    fn release(mut self) -> Plan {
        self.want.remove_finalizer(finalizer::LOGICAL_CLUSTER);
        self.finish(Vec::new(), None)
    }

    fn new_logical_cluster(&self) -> Result<Value, String> {
        let reference = types::TypeRef::read(self.want.at(&["spec", "type"])).ok_or("spec.type is not set")?;
        let source = Types { view: self.view };
        let concrete = types::TypeSource::workspace_type(&source, &reference.path, &reference.name)
            .ok_or_else(|| format!("workspacetypes.tenancy.kcp.io {:?} not found", reference.to_string()))?;
        let aliases = types::aliases(&source, &concrete)?;
        let (initializers, terminators) = (types::initializers(&aliases), types::terminators(&aliases));
        let object = NewLogicalCluster {
            workspace: &self.want,
            shard: self.want.annotation(annotation::SHARD).unwrap_or_default(),
            path: &self.path(),
            initializers,
            terminators,
        };
        Ok(object.to_value())
    }

    /// The canonical path: the parent's and the name.
    fn path(&self) -> String {
        let parent = refs::logical_clusters().object(&self.of.cluster, "", keys::object::LOGICAL_CLUSTER);
        let recorded = self.view.get(&parent).found();
        let path = recorded
            .as_ref()
            .and_then(|lc| lc.annotation(annotation::PATH))
            .filter(|p| !p.is_empty());
        format!("{}:{}", path.unwrap_or(self.of.cluster.as_str()), self.seen.name())
    }

    fn cluster_name(&self) -> &str {
        let spec = self.want.str_at(&["spec", "cluster"]).filter(|c| !c.is_empty());
        spec.or_else(|| self.want.annotation(annotation::SCHEDULED_CLUSTER))
            .unwrap_or_default()
    }

    fn cluster(&self) -> Option<Cluster> {
        Cluster::parse(self.cluster_name()).ok()
    }

    fn logical_cluster_ref(&self) -> ObjectRef {
        let nowhere = || Cluster::well_known("system:nowhere");
        let cluster = self.cluster().unwrap_or_else(nowhere);
        let of = refs::logical_clusters().object(&cluster, "", keys::object::LOGICAL_CLUSTER);
        match self.elsewhere() {
            Some(shard) => of.on(shard),
            None => of,
        }
    }

    /// The shard that holds its cluster, if that is another one.
    fn elsewhere(&self) -> Option<&str> {
        let shard = self.want.annotation(annotation::SHARD)?;
        (shard != self.shard.name && !shard.is_empty()).then_some(shard)
    }

    fn age_seconds(&self) -> i64 {
        let created = self.seen.str_at(&["metadata", "creationTimestamp"]).unwrap_or_default();
        machinery::time::parse_rfc3339(created)
            .map(|nanos| self.context.now_seconds - i64::try_from(nanos / 1_000_000_000).unwrap_or_default())
            .unwrap_or_default()
    }

    fn differs(&self) -> bool {
        *self.seen != self.want
    }

    fn finish(self, mut effects: Vec<Effect>, requeue: Option<Duration>) -> Plan {
        if self.differs() {
            effects.insert(
                0,
                Effect::Update {
                    of: self.of,
                    object: self.want,
                },
            );
        }
        Plan {
            effects,
            requeue,
            ..Plan::default()
        }
    }
}

/// Types as the view has them.
pub(crate) struct Types<'a> {
    pub view: &'a dyn View,
}

impl types::TypeSource for Types<'_> {
    fn workspace_type(&self, path: &str, name: &str) -> Option<Arc<Value>> {
        let direct = Cluster::parse(path)
            .ok()
            .map(|cluster| refs::workspace_types().object(&cluster, "", name));
        if let Some(found) = direct.and_then(|of| self.view.get(&of).found()) {
            return Some(found);
        }
        let all = self
            .view
            .list(&refs::workspace_types(), &Scope::All, "", &LabelSelector::everything());
        all.into_iter()
            .find(|object| object.name() == name && types::path_of(object) == path)
    }
}

/// `{"username": …}` is what stays of the owner annotation; one that cannot be read goes.
pub(crate) fn reduce_owner(object: &mut Value) {
    let Some(text) = object.annotation(annotation::OWNER).map(str::to_owned) else {
        return;
    };
    match reduced_owner(&text) {
        Some(reduced) => object.set_annotation(annotation::OWNER, &reduced),
        None => _ = object.remove_annotation(annotation::OWNER),
    }
}

pub(crate) fn names(list: Option<&Value>) -> Vec<&str> {
    list.and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// Copies a list of the status; an empty one is left out.
fn mirror_list(from: &Value, to: &mut Value, member: &str) {
    let list = names(from.at(&["status", member]));
    if list.is_empty() {
        to.remove_at(&["status", member]);
    } else {
        to.set_at(&["status", member], json!(list));
    }
}

#[cfg(test)]
mod tests;
