//! Naming conflicts between a schema to be bound and what the cluster serves already (kcp's facts, E.5).

use api::keys;
use machinery::object::ObjectExt;
use machinery::selector::LabelSelector;
use permit::{Cluster, Scope};
use plan::{Key, View};
use serde_json::Value;

use super::bound_resources;
use crate::refs;

/// The text of the first conflict, if any.
pub(super) fn find(view: &dyn View, key: &Key, schema: &Value) -> Option<String> {
    let scope = Scope::One(key.cluster.clone());
    let bound_crds = Cluster::well_known(keys::cluster::BOUND_CRDS);
    for binding in view.list(&refs::bindings(), &scope, "", &LabelSelector::everything()) {
        if binding.name() == key.name {
            continue;
        }
        for bound in bound_resources(&binding) {
            let uid = bound.str_at(&["schema", "UID"]).unwrap_or_default();
            let Some(crd) = view.get(&refs::crds().object(&bound_crds, "", uid)).found() else {
                continue;
            };
            if let Some(detail) = clash(schema, &crd) {
                return Some(format!(
                    "naming conflict with APIBinding {:?} {}: {detail}",
                    binding.name(),
                    bound_to(&binding)
                ));
            }
        }
    }
    for crd in view.list(&refs::crds(), &scope, "", &LabelSelector::everything()) {
        if let Some(detail) = clash(schema, &crd) {
            return Some(format!(
                "naming conflict with CustomResourceDefinition {:?}: {detail}",
                crd.name()
            ));
        }
    }
    None
}

fn bound_to(binding: &Value) -> String {
    let member = |name: &str| {
        binding
            .str_at(&["spec", "reference", "export", name])
            .unwrap_or_default()
    };
    match member("path") {
        "" => format!("bound to local APIExport {:?}", member("name")),
        path => format!("bound to APIExport {path}:{}", member("name")),
    }
}

/// Only resources of the same group clash. The same plural in the same group is what the lock map decides.
fn clash(schema: &Value, crd: &Value) -> Option<String> {
    if schema.str_at(&["spec", "group"]) != crd.str_at(&["spec", "group"]) {
        return None;
    }
    let ours = |member: &str| schema.str_at(&["spec", "names", member]).unwrap_or_default();
    let accepted = crd
        .at(&["status", "acceptedNames"])
        .or_else(|| crd.at(&["spec", "names"]))?;
    let theirs = |member: &str| accepted.str_at(&[member]).unwrap_or_default();
    let short = crate::workspace::names(accepted.get("shortNames"));
    let taken = |name: &str| {
        !name.is_empty() && (name == theirs("plural") || name == theirs("singular") || short.contains(&name))
    };
    for member in ["plural", "singular"] {
        if taken(ours(member)) {
            return Some(format!("spec.names.{member}={} is forbidden", ours(member)));
        }
    }
    let our_short = crate::workspace::names(schema.at(&["spec", "names", "shortNames"]));
    if our_short.iter().any(|name| taken(name)) {
        return Some(format!("spec.names.shortNames=[{}] is forbidden", our_short.join(" ")));
    }
    for member in ["kind", "listKind"] {
        if [theirs("kind"), theirs("listKind")].contains(&ours(member)) {
            return Some(format!("spec.names.{member}={} is forbidden", ours(member)));
        }
    }
    None
}
