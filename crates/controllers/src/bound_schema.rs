//! kcp-crdcleanup: schemas that no binding of the shard points to any more go, after a time in which somebody may come
//! back (kcp's facts, E.6).

use api::{hashes, keys};
use machinery::object::ObjectExt;
use machinery::selector::{LabelSelector, Requirement};
use permit::{Cluster, Scope};
use plan::{Context, Controller, Effect, Key, Plan, ResourceRef, Seen, Trigger, View};
use serde_json::Value;

use crate::binding::bound_resources;
use crate::refs;

/// A younger one may be about to be bound.
const AGE_SECONDS_MIN: i64 = 30 * 60;

pub struct BoundSchemas;

impl Controller for BoundSchemas {
    fn name(&self) -> &'static str {
        "kcp-crdcleanup"
    }

    fn watches(&self) -> Vec<ResourceRef> {
        vec![refs::bindings()]
    }

    fn keys(&self, trigger: &Trigger<'_>, _: &dyn View) -> Vec<Key> {
        let (None, Some(old)) = (trigger.new, trigger.old) else {
            return Vec::new();
        };
        let bound_crds = Cluster::well_known(keys::cluster::BOUND_CRDS);
        let binding = old.parse();
        let uids = bound_resources(&binding)
            .into_iter()
            .filter_map(|b| b.str_at(&["schema", "UID"]).map(str::to_owned));
        uids.map(|uid| Key::new(&bound_crds, "", &uid)).collect()
    }

    fn plan(&self, key: &Key, view: &dyn View, context: &Context) -> Plan {
        let of = refs::crds().object(&key.cluster, "", &key.name);
        let Seen::Found(crd) = view.get(&of) else {
            return Plan::done();
        };
        let created = crd.str_at(&["metadata", "creationTimestamp"]).unwrap_or_default();
        let created = machinery::time::parse_rfc3339(created).unwrap_or_default() / 1_000_000_000;
        let age = context.now_seconds - i64::try_from(created).unwrap_or_default();
        if age < AGE_SECONDS_MIN {
            let left = u64::try_from(AGE_SECONDS_MIN - age).unwrap_or_default();
            return Plan::after(std::time::Duration::from_secs(left + 1));
        }
        if is_exported_and_consumed(&crd, &key.name, view) {
            return Plan::done();
        }
        let all = view.list(&refs::bindings(), &Scope::All, "", &LabelSelector::everything());
        let used = all.iter().any(|b| {
            bound_resources(b)
                .iter()
                .any(|r| r.str_at(&["schema", "UID"]) == Some(&key.name))
        });
        if used {
            return Plan::done();
        }
        Plan::effect(Effect::Delete {
            of,
            uid: crd.uid().to_owned(),
            resource_version: Some(crd.resource_version().to_owned()),
        })
    }

    fn resync(&self, view: &dyn View) -> Vec<Key> {
        let bound_crds = Cluster::well_known(keys::cluster::BOUND_CRDS);
        let all = view.list(
            &refs::crds(),
            &Scope::One(bound_crds.clone()),
            "",
            &LabelSelector::everything(),
        );
        all.iter().map(|crd| Key::new(&bound_crds, "", crd.name())).collect()
    }
}

/// The common case, told without reading all bindings: an export that has the schema still has consumers.
fn is_exported_and_consumed(crd: &Value, uid: &str, view: &dyn View) -> bool {
    let home = crd
        .annotation(keys::annotation::SCHEMA_CLUSTER)
        .and_then(|c| Cluster::parse(c).ok());
    let (Some(home), Some(name)) = (home, crd.annotation(keys::annotation::SCHEMA_NAME)) else {
        return false;
    };
    let schema = view.get(&refs::schemas().object(&home, "", name)).found();
    if schema.is_none_or(|schema| schema.uid() != uid) {
        return false;
    }
    let exports = view.list(
        &refs::exports(),
        &Scope::One(home.clone()),
        "",
        &LabelSelector::everything(),
    );
    exports.iter().any(|export| {
        let resources = export.at(&["spec", "resources"]).and_then(Value::as_array);
        let has_it = resources
            .into_iter()
            .flatten()
            .any(|r| r.str_at(&["schema"]) == Some(name));
        let label = hashes::export_label(home.as_str(), export.name());
        let exported = LabelSelector::of(vec![Requirement::equals(keys::label::EXPORT, label)]);
        has_it && view.any(&refs::bindings(), &Scope::All, "", &exported)
    })
}
