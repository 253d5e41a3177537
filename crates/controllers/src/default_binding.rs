//! kcp-apibinder-initializer: owner of the initializer `system:apibindings`, makes the default bindings of a workspace's
//! type and waits for them; for types that maintain their bindings, keeps them (kcp's facts, D.7).

use std::collections::BTreeSet;
use std::sync::Arc;

use api::keys::{self, condition, initializer, object};
use api::types::default_binding;
use api::{conditions, conditions::Severity, hashes};
use machinery::object::ObjectExt;
use machinery::selector::LabelSelector;
use permit::{Cluster, Scope};
use plan::{Context, Controller, Effect, Key, Labelled, ObjectRef, Plan, ResourceRef, Seen, Trigger, View};
use serde_json::Value;
use tenancy::types::{self, DefaultBinding, TypeRef, TypeSource};

use crate::refs;
use crate::universal::{has_initializer, without_initializer};
use crate::workspace::Types;

pub struct DefaultBindings;

impl Controller for DefaultBindings {
    fn name(&self) -> &'static str {
        "kcp-apibinder-initializer"
    }

    fn watches(&self) -> Vec<ResourceRef> {
        vec![refs::logical_clusters(), refs::bindings(), refs::exports()]
    }

    fn keys(&self, trigger: &Trigger<'_>, view: &dyn View) -> Vec<Key> {
        let label = hashes::initializer_label(initializer::API_BINDINGS);
        let of = refs::logical_clusters().object(trigger.cluster, "", object::LOGICAL_CLUSTER);
        if *trigger.resource == refs::logical_clusters() {
            let waits = trigger.new.is_some_and(|new| new.label(&label.key).is_some());
            return if waits {
                vec![Key::of_cluster(trigger.cluster)]
            } else {
                Vec::new()
            };
        }
        if *trigger.resource == refs::bindings() {
            let waits = view
                .get(&of)
                .found()
                .is_some_and(|lc| has_initializer(&lc, initializer::API_BINDINGS) || trigger.new.is_none());
            return if waits {
                vec![Key::of_cluster(trigger.cluster)]
            } else {
                Vec::new()
            };
        }
        if trigger.old.is_some() {
            // Bindings that a type maintains accept what their export claims, whenever that changes.
            let claims = |export: Option<&dyn Labelled>| {
                export.and_then(|e| e.parse().at(&["spec", "permissionClaims"]).cloned())
            };
            let changed = trigger.new.is_some() && claims(trigger.old) != claims(trigger.new);
            let consumers = changed.then(|| crate::binding::consumers(view, trigger.cluster, trigger.name));
            let clusters = consumers.into_iter().flatten().map(|key| Key::of_cluster(&key.cluster));
            return clusters.collect();
        }
        // A new export may be what somebody waits for.
        let waiting = LabelSelector::of(vec![machinery::selector::Requirement::equals(
            &*label.key,
            &*label.value,
        )]);
        view.list(&refs::logical_clusters(), &Scope::All, "", &waiting)
            .iter()
            .filter_map(|lc| Cluster::parse(lc.annotation(keys::annotation::CLUSTER)?).ok())
            .map(|cluster| Key::of_cluster(&cluster))
            .collect()
    }

    fn plan(&self, key: &Key, view: &dyn View, context: &Context) -> Plan {
        let of = refs::logical_clusters().object(&key.cluster, "", object::LOGICAL_CLUSTER);
        let Seen::Found(lc) = view.get(&of) else {
            return Plan::done();
        };
        if lc.deletion_timestamp().is_some() {
            return Plan::done();
        }
        let initializing = has_initializer(&lc, initializer::API_BINDINGS);
        let wanted = match wanted_bindings(&lc, view) {
            Ok(wanted) => wanted,
            Err(why) if initializing => {
                let reason = condition::reason::WORKSPACE_TYPES_INVALID;
                return report(of, &lc, reason, Severity::Error, &why, context);
            }
            Err(_) => return Plan::done(),
        };
        if initializing {
            initialize(key, of, &lc, &wanted, view, context)
        } else {
            maintain(key, &wanted, view)
        }
    }
}

fn wanted_bindings(lc: &Value, view: &dyn View) -> Result<Vec<DefaultBinding>, String> {
    let recorded = lc.annotation(keys::annotation::WORKSPACE_TYPE).unwrap_or_default();
    let Some(reference) = TypeRef::parse(recorded) else {
        return Ok(Vec::new());
    };
    let source = Types { view };
    let concrete = source.workspace_type(&reference.path, &reference.name).ok_or_else(|| {
        format!(
            "error getting WorkspaceType {}|{}: not found",
            reference.path, reference.name
        )
    })?;
    let aliases = types::aliases(&source, &concrete)
        .map_err(|why| format!("error resolving transitive set of workspace types: {why}"))?;
    Ok(types::default_bindings(&aliases))
}

fn initialize(
    key: &Key,
    of: ObjectRef,
    lc: &Value,
    wanted: &[DefaultBinding],
    view: &dyn View,
    context: &Context,
) -> Plan {
    let (mut effects, mut missing, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
    for binding in wanted {
        let at = place(key, binding);
        match view.get(&at) {
            Seen::Found(found) if is_bound(&found) => {}
            Seen::Found(_) => waiting.push(at.name),
            Seen::Absent | Seen::Unknown => match export(key, view, binding) {
                Some(found) => effects.push(Effect::Create {
                    of: at,
                    object: body(key, binding, &found),
                    adopt: true,
                }),
                None => missing.push(format!("{}:{}", binding.path, binding.export)),
            },
        }
    }
    if !effects.is_empty() {
        return Plan {
            effects,
            ..Plan::default()
        };
    }
    if !missing.is_empty() {
        let text =
            "encountered errors: unable to complete initialization: unable to find at least 1 APIExport".to_owned();
        let text = format!("{text} ({})", missing.join(", "));
        return report(
            of,
            lc,
            condition::reason::API_BINDING_ERRORS,
            Severity::Error,
            &text,
            context,
        );
    }
    if !waiting.is_empty() {
        let text = format!("APIBinding(s) not yet fully bound: {}", waiting.join(", "));
        return report(
            of,
            lc,
            condition::reason::WAITING_ON_API_BINDINGS,
            Severity::Info,
            &text,
            context,
        );
    }
    let mut done = without_initializer(lc.clone(), initializer::API_BINDINGS);
    conditions::remove(&mut done, condition::API_BINDINGS_INITIALIZED);
    Plan::effect(Effect::Update { of, object: done })
}

/// Re-makes bindings that a maintaining type lost; what their spec says is the type's business.
fn maintain(key: &Key, wanted: &[DefaultBinding], view: &dyn View) -> Plan {
    let mut effects = Vec::new();
    for binding in wanted.iter().filter(|b| b.maintained) {
        let at = place(key, binding);
        let Some(found) = export(key, view, binding) else {
            continue;
        };
        let fresh = body(key, binding, &found);
        match view.get(&at) {
            Seen::Absent => effects.push(Effect::Create {
                of: at,
                object: fresh,
                adopt: true,
            }),
            Seen::Found(seen) if seen.get("spec") != fresh.get("spec") && seen.deletion_timestamp().is_none() => {
                let mut want = Value::clone(&seen);
                want.set_at(&["spec"], fresh.get("spec").cloned().unwrap_or_default());
                effects.push(Effect::Update { of: at, object: want });
            }
            _ => {}
        }
    }
    Plan {
        effects,
        ..Plan::default()
    }
}

fn place(key: &Key, binding: &DefaultBinding) -> ObjectRef {
    let name = hashes::default_binding_name(key.cluster.as_str(), &binding.path, &binding.export);
    refs::bindings().object(&key.cluster, "", &name)
}

fn is_bound(binding: &Value) -> bool {
    let claims_applied = tenancy::claims::accepted(binding).next().is_none()
        || conditions::is_true(binding, condition::PERMISSION_CLAIMS_APPLIED);
    conditions::is_true(binding, condition::INITIAL_BINDING_COMPLETED) && claims_applied
}

/// The bindings of a fresh cluster as they are once they are bound; `lc` takes the names. `None` if something is in the way:
/// then they are made one after the other, and say themselves what it is.
pub(crate) fn bound_at_once(key: &Key, lc: &mut Value, view: &dyn View, context: &Context) -> Option<Vec<Effect>> {
    let wanted = wanted_bindings(lc, view).ok()?;
    let (mut effects, mut groups) = (Vec::new(), BTreeSet::new());
    let mut founded = lc.clone();
    for binding in &wanted {
        match view.get(&place(key, binding)) {
            Seen::Found(found) if is_bound(&found) => continue,
            Seen::Found(_) | Seen::Unknown => return None,
            Seen::Absent => {}
        }
        let object = body(key, binding, &*export(key, view, binding)?);
        // Whoever reads that claims are applied counts on the labels, which other objects get first.
        if tenancy::claims::accepted(&object).next().is_some() {
            return None;
        }
        let bound = crate::binding::bound_at_once(object, &mut founded, key, view, context)?;
        // Conflicts of names are within one group, and are looked for among what is stored.
        if bound.groups.iter().any(|group| !groups.insert(group.clone())) {
            return None;
        }
        effects.extend(bound.effects);
    }
    *lc = founded;
    Some(effects)
}

/// The export by the path or name of its cluster.
fn export(key: &Key, view: &dyn View, binding: &DefaultBinding) -> Option<Arc<Value>> {
    crate::binding::find_export(view, &key.cluster, &binding.path, &binding.export)
}

/// Accepts every claim of the export, with its default selector.
fn body(key: &Key, binding: &DefaultBinding, export: &Value) -> Value {
    default_binding(api::types::DefaultBinding {
        cluster: key.cluster.as_str(),
        export_path: &binding.path,
        export,
    })
}

fn report(of: ObjectRef, lc: &Value, reason: &str, severity: Severity, text: &str, context: &Context) -> Plan {
    let mut want = lc.clone();
    conditions::mark_false(
        &mut want,
        condition::API_BINDINGS_INITIALIZED,
        reason,
        severity,
        text,
        &context.now,
    );
    // Waiting is the normal course of a second; it is worth a write only when it lasts.
    let worth_it = severity != Severity::Info || conditions::get(lc, condition::API_BINDINGS_INITIALIZED).is_some();
    if want == *lc || !worth_it {
        return Plan::done();
    }
    Plan::effect(Effect::Update { of, object: want })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{Event, Literals, cluster};

    fn world() -> Literals {
        let mut world = Literals::default();
        let lc = json!({"metadata": {"name": "cluster", "annotations": {"internal.tenancy.kcp.io/type": "root:universal"}},
            "status": {"phase": "Initializing", "initializers": ["system:apibindings"]}});
        world.put(&refs::logical_clusters(), "abc", lc);
        let universal = json!({"metadata": {"name": "universal", "annotations": {"kcp.io/path": "root"}},
            "spec": {"defaultAPIBindings": [{"path": "root", "export": "tenancy.kcp.io"}]}});
        world.put(&refs::workspace_types(), "root", universal);
        world
    }

    fn lc(world: &Literals) -> Value {
        world
            .object(&refs::logical_clusters(), "abc", "", "cluster")
            .unwrap()
            .clone()
    }

    #[test]
    fn a_missing_export_is_reported_and_blocks() {
        let mut world = world();
        world.settle(&DefaultBindings, &Key::of_cluster(&cluster("abc")));
        let condition = conditions::get(&lc(&world), condition::API_BINDINGS_INITIALIZED).unwrap();
        assert_eq!(condition.reason, "APIBindingErrors");
        assert!(has_initializer(&lc(&world), initializer::API_BINDINGS));
    }

    #[test]
    fn leaves_when_every_binding_is_complete() {
        let mut world = world();
        world.put(
            &refs::exports(),
            "root",
            json!({"metadata": {"name": "tenancy.kcp.io"}, "spec": {}}),
        );
        let key = Key::of_cluster(&cluster("abc"));
        world.settle(&DefaultBindings, &key);
        let mut binding = world
            .objects
            .values()
            .find(|o| o.kind() == "APIBinding")
            .unwrap()
            .clone();
        assert!(binding.name().starts_with("tenancy.kcp.io-"));
        assert!(has_initializer(&lc(&world), initializer::API_BINDINGS));
        conditions::mark_true(
            &mut binding,
            condition::INITIAL_BINDING_COMPLETED,
            "2023-11-14T22:13:20Z",
        );
        world.put(&refs::bindings(), "abc", binding);
        world.settle(&DefaultBindings, &key);
        assert!(!has_initializer(&lc(&world), initializer::API_BINDINGS));
    }

    #[test]
    fn consumers_hear_of_claims_that_their_export_makes_later() {
        let mut world = world();
        let label = hashes::export_label("root", "tenancy.kcp.io");
        let binding = json!({"metadata": {"name": "b", "labels": {keys::label::EXPORT: label}}});
        world.put(&refs::bindings(), "abc", binding);
        let export = |claims: Value| {
            Event(json!({"metadata": {"name": "tenancy.kcp.io"}, "spec": {"permissionClaims": claims}}))
        };
        let (old, new) = (export(json!([])), export(json!([{"group": "", "resource": "secrets"}])));
        let resource = refs::exports();
        let root = cluster("root");
        let keys = |old: &Event, new: &Event| {
            let trigger = Trigger {
                resource: &resource,
                cluster: &root,
                namespace: "",
                name: "tenancy.kcp.io",
                old: Some(old),
                new: Some(new),
            };
            DefaultBindings.keys(&trigger, &world)
        };
        assert_eq!(keys(&old, &new), [Key::of_cluster(&cluster("abc"))]);
        assert!(keys(&new, &new).is_empty());
    }
}
