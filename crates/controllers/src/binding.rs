//! kcp-apibinding: makes the resources of an export available in the cluster of a binding (kcp's facts, E.4, E.5, E.7).
//!
//! What is bound is a pointer: each schema is held once on the shard, as a CRD in `system:bound-crds` named by the schema's
//! uid, so that a bound API works while every other process is down.

mod conflict;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::conditions::{self, Severity};
use api::hashes;
use api::keys::{self, annotation, condition, label, phase};
use api::types::{Holder, ResourceLocks, bound_crd, bound_crd_name, resource_key};
use machinery::object::ObjectExt;
use machinery::selector::{LabelSelector, Requirement};
use permit::{Cluster, Scope};
use plan::{Context, Controller, Effect, Key, ObjectRef, Plan, ResourceRef, Seen, Trigger, View};
use serde_json::{Value, json};
use tenancy::{claims, types};

use crate::founding::is_unfounded;
use crate::refs;

/// How often a binding that waits for something without events is looked at.
const RETRY: std::time::Duration = std::time::Duration::from_secs(5);

/// How soon one whose claims are being applied is looked at again: labels make events of other resources. Grows to [`RETRY`]
/// with the time that it takes, as every look lists what is claimed.
const LABELLING: std::time::Duration = std::time::Duration::from_millis(100);

pub struct Bindings;

struct Run<'a> {
    view: &'a dyn View,
    context: &'a Context,
    key: &'a Key,
    of: ObjectRef,
    seen: Arc<Value>,
    want: Value,
    effects: Vec<Effect>,
    /// Come back after this time.
    again: Option<std::time::Duration>,
    /// The LogicalCluster of a cluster that is being founded: it takes its names here, and somebody else writes it.
    founding: Option<Value>,
}

/// A binding that is made bound.
pub(crate) struct BoundAtOnce {
    /// Schemas that the shard does not hold yet, then the binding.
    pub effects: Vec<Effect>,
    /// API groups of what it binds.
    pub groups: BTreeSet<String>,
}

/// Why a binding cannot go on: (condition, reason, severity, text).
struct Blocked(&'static str, &'static str, Severity, String);

// === impl Bindings ===

impl Controller for Bindings {
    fn name(&self) -> &'static str {
        keys::field_manager::API_BINDING
    }

    fn watches(&self) -> Vec<ResourceRef> {
        vec![
            refs::bindings(),
            refs::exports(),
            refs::schemas(),
            refs::crds(),
            refs::logical_clusters(),
        ]
    }

    fn keys(&self, trigger: &Trigger<'_>, view: &dyn View) -> Vec<Key> {
        if *trigger.resource == refs::bindings() {
            if trigger.new.is_some() {
                return vec![Key::new(trigger.cluster, "", trigger.name)];
            }
            // Its names are free: others of the cluster may take them.
            return bindings_in(view, trigger.cluster, is_unbound);
        }
        if *trigger.resource == refs::exports() {
            let export = trigger.new.or(trigger.old).map(plan::Labelled::parse);
            return export.map_or_else(Vec::new, |export| referring(view, trigger.cluster, &export));
        }
        if *trigger.resource == refs::schemas() {
            if trigger.old.is_some() {
                return Vec::new();
            }
            let all = LabelSelector::everything();
            let exports = view.list(&refs::exports(), &Scope::One(trigger.cluster.clone()), "", &all);
            let names = |export: &Value| {
                resources(export)
                    .iter()
                    .any(|r| r.str_at(&["schema"]) == Some(trigger.name))
            };
            let concerned = exports.iter().filter(|export| names(export));
            return concerned
                .flat_map(|export| referring(view, trigger.cluster, export))
                .collect();
        }
        if *trigger.resource == refs::logical_clusters() {
            // Its locks were set up.
            let locks = |o: Option<&dyn plan::Labelled>| {
                o.map(plan::Labelled::parse)
                    .is_some_and(|lc| lc.annotation(annotation::RESOURCE_BINDINGS).is_some())
            };
            let set_up = trigger.new.is_some() && locks(trigger.new) && !locks(trigger.old);
            return if set_up {
                bindings_in(view, trigger.cluster, is_unbound)
            } else {
                Vec::new()
            };
        }
        if trigger.new.is_none() {
            bindings_in(view, trigger.cluster, is_unbound)
        } else {
            Vec::new()
        }
    }

    fn plan(&self, key: &Key, view: &dyn View, context: &Context) -> Plan {
        let of = refs::bindings().object(&key.cluster, "", &key.name);
        let Seen::Found(seen) = view.get(&of) else {
            return Plan::done();
        };
        if seen.deletion_timestamp().is_some() {
            return Plan::done();
        }
        // Its turn comes when the lock map is set up.
        if is_unbound(&seen) && lc_of(view, key).is_some_and(|lc| is_unfounded(&lc)) {
            return Plan::done();
        }
        Run::new(seen, of, key, view, context).reconcile()
    }
}

fn is_unbound(binding: &Value) -> bool {
    !conditions::is_true(binding, condition::BINDING_UP_TO_DATE)
}

fn bindings_in(view: &dyn View, cluster: &Cluster, wanted: fn(&Value) -> bool) -> Vec<Key> {
    let all = view.list(
        &refs::bindings(),
        &Scope::One(cluster.clone()),
        "",
        &LabelSelector::everything(),
    );
    all.iter()
        .filter(|b| wanted(b))
        .map(|b| Key::new(cluster, "", b.name()))
        .collect()
}

/// Bindings of an export, and those that were made when nobody here knew yet what its path leads to.
fn referring(view: &dyn View, cluster: &Cluster, export: &Value) -> Vec<Key> {
    let mut keys = consumers(view, cluster, export.name());
    let path = types::path_of(export);
    if !path.is_empty() && path != cluster.as_str() {
        keys.extend(labelled(view, &hashes::export_label(path, export.name())));
    }
    keys
}

/// Bindings of an export, on this shard.
pub(crate) fn consumers(view: &dyn View, cluster: &Cluster, export: &str) -> Vec<Key> {
    labelled(view, &hashes::export_label(cluster.as_str(), export))
}

fn labelled(view: &dyn View, export: &str) -> Vec<Key> {
    let exported = Requirement::equals(label::EXPORT, export);
    view.list(&refs::bindings(), &Scope::All, "", &LabelSelector::of(vec![exported]))
        .iter()
        .filter_map(|b| {
            Some(Key::new(
                &Cluster::parse(b.annotation(annotation::CLUSTER)?).ok()?,
                "",
                b.name(),
            ))
        })
        .collect()
}

/// An export by the path or name of its cluster; an empty path is `own`.
pub(crate) fn find_export(view: &dyn View, own: &Cluster, path: &str, name: &str) -> Option<Arc<Value>> {
    if name.is_empty() {
        return None;
    }
    let direct = if path.is_empty() {
        Some(own.clone())
    } else {
        Cluster::parse(path).ok()
    };
    if let Some(found) = direct.and_then(|cluster| view.get(&refs::exports().object(&cluster, "", name)).found()) {
        return Some(found);
    }
    let all = view.list(&refs::exports(), &Scope::All, "", &LabelSelector::everything());
    all.into_iter()
        .find(|export| export.name() == name && !path.is_empty() && types::path_of(export) == path)
}

fn resources(export: &Value) -> Vec<&Value> {
    export
        .at(&["spec", "resources"])
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .collect()
}

/// Who holds which names of a cluster that has no lock map yet.
pub(crate) fn initial_locks(view: &dyn View, cluster: &Cluster) -> ResourceLocks {
    let mut locks = ResourceLocks::default();
    let (scope, all) = (Scope::One(cluster.clone()), LabelSelector::everything());
    for crd in view.list(&refs::crds(), &scope, "", &all) {
        if is_established(&crd) {
            locks.0.insert(crd_key(&crd), Holder::of_crd());
        }
    }
    for binding in view.list(&refs::bindings(), &scope, "", &all) {
        for bound in bound_resources(&binding) {
            let member = |name: &str| bound.str_at(&[name]).unwrap_or_default();
            let key = resource_key(member("group"), member("resource"));
            locks.0.insert(key, Holder::of_binding(binding.name()));
        }
    }
    locks
}

fn lc_of(view: &dyn View, key: &Key) -> Option<Arc<Value>> {
    let of = refs::logical_clusters().object(&key.cluster, "", keys::object::LOGICAL_CLUSTER);
    view.get(&of).found()
}

/// A new binding as it is once it is bound. `lc` takes its names. `None` if something is in the way, which is for the
/// binding itself to say.
pub(crate) fn bound_at_once(
    binding: Value,
    lc: &mut Value,
    key: &Key,
    view: &dyn View,
    context: &Context,
) -> Option<BoundAtOnce> {
    let key = Key::new(&key.cluster, "", binding.name());
    let of = refs::bindings().object(&key.cluster, "", &key.name);
    let mut run = Run::new(Arc::new(binding), of, &key, view, context);
    run.founding = Some(lc.clone());
    run.bind().ok()?;
    *lc = run.founding.take()?;
    let summary = [condition::API_EXPORT_VALID, condition::INITIAL_BINDING_COMPLETED];
    conditions::set_summary(&mut run.want, &summary, &context.now);
    let group = |bound: &Value| bound.str_at(&["group"]).unwrap_or_default().to_owned();
    let groups = bound_resources(&run.want).into_iter().map(group).collect();
    let mut effects = run.effects;
    effects.push(Effect::Create {
        of: run.of,
        object: run.want,
        adopt: true,
    });
    Some(BoundAtOnce { effects, groups })
}

// === impl Run ===

impl<'a> Run<'a> {
    fn new(seen: Arc<Value>, of: ObjectRef, key: &'a Key, view: &'a dyn View, context: &'a Context) -> Self {
        Self {
            view,
            context,
            key,
            of,
            want: Value::clone(&seen),
            seen,
            effects: Vec::new(),
            again: None,
            founding: None,
        }
    }
}

impl Run<'_> {
    fn reconcile(mut self) -> Plan {
        let now = self.context.now.clone();
        if self.want.str_at(&["status", "phase"]).is_none_or(str::is_empty) {
            self.want.set_at(&["status", "phase"], json!(phase::binding::BINDING));
        }
        let outcome = self.bind();
        let blocked = outcome.is_err();
        if let Err(Blocked(kind, reason, severity, text)) = outcome {
            conditions::mark_false(&mut self.want, kind, reason, severity, &text, &now);
            let initial = !conditions::is_true(&self.want, condition::INITIAL_BINDING_COMPLETED);
            if kind == condition::BINDING_UP_TO_DATE && initial {
                let initial = condition::INITIAL_BINDING_COMPLETED;
                conditions::mark_false(&mut self.want, initial, reason, severity, &text, &now);
            }
        }
        let summary = [condition::API_EXPORT_VALID, condition::INITIAL_BINDING_COMPLETED];
        conditions::set_summary(&mut self.want, &summary, &now);
        if self.want != *self.seen {
            self.effects.push(Effect::Update {
                of: self.of.clone(),
                object: self.want.clone(),
            });
        }
        let requeue = self.again.or((blocked && self.effects.is_empty()).then_some(RETRY));
        Plan {
            effects: self.effects,
            requeue,
            requeue_max: self.again.map(|_| RETRY),
            ..Plan::default()
        }
    }

    fn bind(&mut self) -> Result<(), Blocked> {
        let export = self.export()?;
        self.apply_claims(&export);
        let invalid = |reason, severity, text| Blocked(condition::API_EXPORT_VALID, reason, severity, text);
        let Some(export_cluster) = types::cluster_of(&export) else {
            return Err(invalid(
                condition::reason::INTERNAL_ERROR,
                Severity::Error,
                "the export has no cluster".to_owned(),
            ));
        };
        let hash = export
            .str_at(&["status", "identityHash"])
            .unwrap_or_default()
            .to_owned();
        if hash.is_empty() {
            let shown = self.shown(&export_cluster);
            let text = format!("APIExport {shown}|{} is missing status.identityHash", export.name());
            return Err(invalid(
                condition::reason::MISSING_IDENTITY_HASH,
                Severity::Warning,
                text,
            ));
        }
        self.want
            .set_at(&["status", "apiExportClusterName"], json!(export_cluster.as_str()));
        let schemas = self.schemas(&export, &export_cluster)?;
        conditions::mark_true(&mut self.want, condition::API_EXPORT_VALID, &self.context.now);
        let held = self.take_names(&schemas)?;
        for schema in schemas.iter().filter(|s| !held.contains_key(&key_of(s))) {
            self.check_conflicts(schema)?;
            self.bind_schema(schema, &hash)?;
        }
        if !held.is_empty() {
            return Err(held_by_others(&held));
        }
        conditions::mark_true(&mut self.want, condition::INITIAL_BINDING_COMPLETED, &self.context.now);
        conditions::mark_true(&mut self.want, condition::BINDING_UP_TO_DATE, &self.context.now);
        self.want.set_at(&["status", "phase"], json!(phase::binding::BOUND));
        Ok(())
    }

    fn export(&self) -> Result<Arc<Value>, Blocked> {
        let reference = |member: &str| {
            self.seen
                .str_at(&["spec", "reference", "export", member])
                .unwrap_or_default()
        };
        let (path, name) = (reference("path"), reference("name"));
        let kind = condition::API_EXPORT_VALID;
        if name.is_empty() {
            let reason = condition::reason::API_EXPORT_INVALID_REFERENCE;
            return Err(Blocked(
                kind,
                reason,
                Severity::Error,
                "Missing APIExport reference".to_owned(),
            ));
        }
        find_export(self.view, &self.key.cluster, path, name).ok_or_else(|| {
            let shown = if path.is_empty() {
                self.key.cluster.as_str()
            } else {
                path
            };
            let reason = condition::reason::API_EXPORT_NOT_FOUND;
            Blocked(
                kind,
                reason,
                Severity::Error,
                format!("APIExport {shown}|{name} not found"),
            )
        })
    }

    fn shown(&self, export_cluster: &Cluster) -> String {
        let path = self
            .seen
            .str_at(&["spec", "reference", "export", "path"])
            .filter(|p| !p.is_empty());
        path.unwrap_or(export_cluster.as_str()).to_owned()
    }

    /// The schemas of the export's resources, as far as they are stored as objects.
    fn schemas(&self, export: &Value, cluster: &Cluster) -> Result<Vec<Arc<Value>>, Blocked> {
        let stored = |r: &&Value| r.at(&["storage", "virtual"]).is_none();
        let mut out = Vec::new();
        for resource in resources(export).into_iter().filter(stored) {
            let name = resource.str_at(&["schema"]).unwrap_or_default();
            match self.view.get(&refs::schemas().object(cluster, "", name)) {
                Seen::Found(schema) => out.push(schema),
                Seen::Absent | Seen::Unknown => {
                    let text = format!(
                        "Invalid APIExport. Please contact the APIExport owner to resolve: APIResourceSchema {name:?} not found"
                    );
                    let reason = condition::reason::INTERNAL_ERROR;
                    return Err(Blocked(condition::API_EXPORT_VALID, reason, Severity::Error, text));
                }
            }
        }
        Ok(out)
    }

    /// Takes the resource names in the cluster's lock map; answers those that others hold.
    fn take_names(&mut self, schemas: &[Arc<Value>]) -> Result<BTreeMap<String, Holder>, Blocked> {
        if let Some(mut lc) = self.founding.take() {
            let held = self.lock_names(&mut lc, schemas);
            self.founding = Some(lc);
            return Ok(held);
        }
        let Some(seen) = lc_of(self.view, self.key) else {
            let reason = condition::reason::LOGICAL_CLUSTER_NOT_FOUND;
            let text = "logicalclusters.core.kcp.io \"cluster\" not found".to_owned();
            return Err(Blocked(
                condition::INITIAL_BINDING_COMPLETED,
                reason,
                Severity::Error,
                text,
            ));
        };
        // Bound in founding: its names are in the lock map that is written last.
        if is_unfounded(&seen) {
            return Ok(BTreeMap::new());
        }
        let mut lc = Value::clone(&seen);
        let held = self.lock_names(&mut lc, schemas);
        if lc.annotation(annotation::RESOURCE_BINDINGS) != seen.annotation(annotation::RESOURCE_BINDINGS) {
            let of = refs::logical_clusters().object(&self.key.cluster, "", keys::object::LOGICAL_CLUSTER);
            self.effects.push(Effect::Update { of, object: lc });
        }
        Ok(held)
    }

    /// Whoever comes first sets the map up: established CRDs hold their names (facts E.5).
    fn lock_names(&self, lc: &mut Value, schemas: &[Arc<Value>]) -> BTreeMap<String, Holder> {
        let mut locks = ResourceLocks::read(lc).unwrap_or_else(|| initial_locks(self.view, &self.key.cluster));
        let names: Vec<String> = schemas.iter().map(|schema| key_of(schema)).collect();
        let crd_exists = |key: &str| !self.view.is_absent(&refs::crds().object(&self.key.cluster, "", key));
        let held = locks.take_for_binding(&self.key.name, &names, &self.context.now, crd_exists);
        lc.set_annotation(annotation::RESOURCE_BINDINGS, &locks.to_text());
        held
    }

    fn check_conflicts(&self, schema: &Value) -> Result<(), Blocked> {
        let Some(text) = conflict::find(self.view, self.key, schema) else {
            return Ok(());
        };
        let text = format!("Unable to bind APIs: {text}");
        Err(Blocked(
            condition::BINDING_UP_TO_DATE,
            condition::reason::NAMING_CONFLICTS,
            Severity::Error,
            text,
        ))
    }

    /// Makes sure that the shard holds the schema, and points to it.
    fn bind_schema(&mut self, schema: &Value, identity_hash: &str) -> Result<(), Blocked> {
        let blocked = |reason, text| Blocked(condition::BINDING_UP_TO_DATE, reason, Severity::Error, text);
        let of = refs::crds().object(
            &Cluster::well_known(keys::cluster::BOUND_CRDS),
            "",
            bound_crd_name(schema),
        );
        let stored_versions = match self.view.get(&of) {
            Seen::Found(crd) if crd.deletion_timestamp().is_some() => {
                let text = format!("Waiting for API(s) to be established: {}", schema.name());
                return Err(Blocked(
                    condition::BINDING_UP_TO_DATE,
                    condition::reason::WAITING_FOR_ESTABLISHED,
                    Severity::Info,
                    text,
                ));
            }
            Seen::Found(crd) => crd.at(&["status", "storedVersions"]).cloned().unwrap_or_default(),
            Seen::Absent | Seen::Unknown => {
                let crd = bound_crd(schema)
                    .map_err(|why| blocked(condition::reason::API_RESOURCE_SCHEMA_INVALID, why.to_string()))?;
                let crd = crate::crd::established(crd, &self.context.now);
                let versions = crd.at(&["status", "storedVersions"]).cloned().unwrap_or_default();
                self.effects.push(Effect::Create {
                    of,
                    object: crd,
                    adopt: true,
                });
                versions
            }
        };
        let entry = json!({
            "group": schema.str_at(&["spec", "group"]).unwrap_or_default(),
            "resource": schema.str_at(&["spec", "names", "plural"]).unwrap_or_default(),
            "schema": {"name": schema.name(), "UID": schema.uid(), "identityHash": identity_hash},
            "storageVersions": stored_versions,
        });
        replace_bound(&mut self.want, entry);
        Ok(())
    }

    /// Records the export's claims and which of them are in force (facts E.7).
    fn apply_claims(&mut self, export: &Value) {
        let exported = export
            .at(&["spec", "permissionClaims"])
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        set_list(&mut self.want, "exportPermissionClaims", exported);
        self.judge_claims(export);
        // Whoever reads that claims are applied may count on the labels: the claims' controller is still at it.
        if self.is_labelling(export) {
            self.again = Some(LABELLING);
            return;
        }
        let in_force: Vec<Value> = claims::in_force(&self.want)
            .into_iter()
            .map(|claim| {
                let mut applied = claim.clone();
                applied.remove_at(&["state"]);
                applied
            })
            .collect();
        set_list(&mut self.want, "appliedPermissionClaims", in_force);
        conditions::mark_true(&mut self.want, condition::PERMISSION_CLAIMS_APPLIED, &self.context.now);
    }

    /// Objects that are covered by claims of this binding do not show it yet, or others still do.
    fn is_labelling(&self, export: &Value) -> bool {
        let claimed: Vec<claims::ClaimKey> = claims::in_force(&self.want)
            .into_iter()
            .map(claims::ClaimKey::read)
            .collect();
        if claimed.is_empty() {
            return false;
        }
        let scope = Scope::One(self.key.cluster.clone());
        let all = LabelSelector::everything();
        let mut bindings = self.view.list(&refs::bindings(), &scope, "", &all);
        bindings.retain(|binding| binding.name() != self.key.name);
        let mut own = self.want.clone();
        if let Some(home) = types::cluster_of(export) {
            own.set_at(&["status", "apiExportClusterName"], json!(home.as_str()));
        }
        bindings.push(Arc::new(own));
        let is_wrong = |claim: &claims::ClaimKey, object: &Value| {
            let is_binding = claim.group == keys::group::APIS && claim.resource == "apibindings";
            let mut wanted = match is_binding {
                true => claims::labels_for_binding(&bindings, object),
                false => claims::labels_for(&bindings, &claim.group, &claim.resource, object),
            };
            wanted.sort();
            crate::claim_label::carried(object) != wanted
        };
        claimed.iter().any(|claim| {
            let mut resource = ResourceRef::new(&claim.group, &claim.resource);
            if !claim.identity_hash.is_empty() {
                resource = resource.with_identity(&claim.identity_hash);
            }
            let objects = self.view.list(&resource, &scope, "", &all);
            objects.iter().any(|object| is_wrong(claim, object))
        })
    }

    fn judge_claims(&mut self, export: &Value) {
        let now = self.context.now.clone();
        let kind = condition::PERMISSION_CLAIMS_VALID;
        let made: Vec<&Value> = export
            .at(&["spec", "permissionClaims"])
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .collect();
        let unexpected: Vec<String> = claims::accepted(&self.want)
            .map(claims::ClaimKey::read)
            .filter(|key| !made.iter().any(|m| claims::ClaimKey::read(m) == *key))
            .map(|k| {
                format!(
                    "unexpected/invalid claim for {}.{} (identity {:?})",
                    k.resource, k.group, k.identity_hash
                )
            })
            .collect();
        let mismatched = mismatches(&self.want, &made);
        if !mismatched.is_empty() {
            let shown = mismatched.len().min(5);
            let text = format!(
                "{} permission claim(s) have mismatched verbs or selectors (showing first {shown}): {}",
                mismatched.len(),
                mismatched[..shown].join(", ")
            );
            let reason = condition::reason::PERMISSION_CLAIMS_MISMATCH;
            conditions::mark_false(&mut self.want, kind, reason, Severity::Warning, &text, &now);
        } else if !unexpected.is_empty() {
            let shown = unexpected.len().min(10);
            let text = format!(
                "{} unexpected and/or invalid permission claims (showing first {shown}): {}",
                unexpected.len(),
                unexpected[..shown].join(", ")
            );
            let reason = condition::reason::INVALID_PERMISSION_CLAIMS;
            conditions::mark_false(&mut self.want, kind, reason, Severity::Error, &text, &now);
        } else {
            conditions::mark_true(&mut self.want, kind, &now);
        }
    }
}

/// Accepted claims whose verbs or selector differ from what the export asks for.
fn mismatches(binding: &Value, made: &[&Value]) -> Vec<String> {
    let verbs = |claim: &Value| -> Vec<String> {
        let mut verbs: Vec<String> = crate::workspace::names(claim.get("verbs"))
            .into_iter()
            .map(str::to_owned)
            .collect();
        verbs.sort();
        verbs
    };
    let mut out = Vec::new();
    for accepted in claims::accepted(binding) {
        let key = claims::ClaimKey::read(accepted);
        let Some(exported) = made.iter().find(|m| claims::ClaimKey::read(m) == key) else {
            continue;
        };
        let (ours, theirs) = (verbs(accepted), verbs(exported));
        let wild = ours.iter().chain(&theirs).any(|v| v == "*");
        let mut why = Vec::new();
        if !wild && ours != theirs {
            why.push(format!(
                "verbs: accepted [{}], exported [{}]",
                ours.join(" "),
                theirs.join(" ")
            ));
        }
        if exported
            .get("defaultSelector")
            .is_some_and(|default| accepted.get("selector") != Some(default))
        {
            why.push("selector differs from defaultSelector".to_owned());
        }
        if !why.is_empty() {
            out.push(format!("{}.{} ({})", key.resource, key.group, why.join("; ")));
        }
    }
    out
}

fn held_by_others(held: &BTreeMap<String, Holder>) -> Blocked {
    let texts: Vec<String> = held
        .iter()
        .map(|(key, h)| format!("{key}:{{{} {}}}", h.binding, h.crd))
        .collect();
    let text = format!(
        "Unable to bind APIs because they are bound by other APIBindings or CRDs: map[{}]",
        texts.join(" ")
    );
    Blocked(
        condition::BINDING_UP_TO_DATE,
        condition::reason::NAMING_CONFLICTS,
        Severity::Error,
        text,
    )
}

fn set_list(object: &mut Value, member: &str, list: Vec<Value>) {
    if list.is_empty() {
        object.remove_at(&["status", member]);
    } else {
        object.set_at(&["status", member], Value::Array(list));
    }
}

/// Puts an entry in the place of the one of its resource; a new one goes to the end. Stored versions only grow.
fn replace_bound(binding: &mut Value, mut entry: Value) {
    let mut list = bound_resources(binding).into_iter().cloned().collect::<Vec<_>>();
    let same =
        |other: &Value| other.get("group") == entry.get("group") && other.get("resource") == entry.get("resource");
    match list.iter().position(same) {
        Some(index) => {
            let mut versions: Vec<Value> = list[index]
                .at(&["storageVersions"])
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            for version in entry
                .at(&["storageVersions"])
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                if !versions.contains(version) {
                    versions.push(version.clone());
                }
            }
            entry.set_at(&["storageVersions"], Value::Array(versions));
            list[index] = entry;
        }
        None => list.push(entry),
    }
    binding.set_at(&["status", "boundResources"], Value::Array(list));
}

pub(crate) fn bound_resources(binding: &Value) -> Vec<&Value> {
    binding
        .at(&["status", "boundResources"])
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .collect()
}

fn key_of(schema: &Value) -> String {
    let group = schema.str_at(&["spec", "group"]).unwrap_or_default();
    resource_key(group, schema.str_at(&["spec", "names", "plural"]).unwrap_or_default())
}

pub(crate) fn crd_key(crd: &Value) -> String {
    key_of(crd)
}

pub(crate) fn is_established(crd: &Value) -> bool {
    conditions::is_true(crd, "Established")
}

#[cfg(test)]
mod tests;
