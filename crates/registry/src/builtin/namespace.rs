//! Namespaces: finalized by their own `spec.finalizers`, not by metadata's alone.

use machinery::field::{FieldError, Path};
use machinery::names::{self, NameFn};
use machinery::object::ObjectExt;
use serde_json::{Value, json};

use crate::strategy::keep;
use crate::{Strategy, StrategyContext, Subresource, VersionDef, rules};

/// The finalizer that every namespace is born with; the namespace controller removes it by `/finalize`.
const FINALIZER: &str = "kubernetes";
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

pub struct Namespaces;

fn finalizers(object: &Value) -> Vec<Value> {
    object
        .at(&["spec", "finalizers"])
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default()
}

// === impl Strategy for Namespaces ===

impl Strategy for Namespaces {
    fn default(&self, _ctx: &StrategyContext<'_>, object: &mut Value) {
        let name = object.name().to_owned();
        if !name.is_empty() {
            object.set_label(NAME_LABEL, &name);
        }
    }

    fn prepare_for_create(&self, _ctx: &StrategyContext<'_>, object: &mut Value) {
        object.set_at(&["status"], json!({"phase": "Active"}));
        let mut list = finalizers(object);
        if !list.iter().any(|f| f == FINALIZER) {
            list.push(FINALIZER.into());
            object.set_at(&["spec", "finalizers"], list.into());
        }
        // The label of a generated name: defaulting ran before the name was there.
        let name = object.name().to_owned();
        object.set_label(NAME_LABEL, &name);
    }

    fn prepare_for_update(&self, ctx: &StrategyContext<'_>, object: &mut Value, old: &Value) {
        if ctx.subresource != Subresource::Finalize {
            keep(object, old, &["spec", "finalizers"]);
        }
        if ctx.subresource != Subresource::Status {
            keep(object, old, &["status"]);
        }
    }

    fn name_rule(&self) -> NameFn {
        names::label_name
    }

    fn validate(&self, _ctx: &StrategyContext<'_>, object: &Value) -> Vec<FieldError> {
        validate_finalizers(object, |path, _| path.clone())
    }

    fn validate_update(&self, ctx: &StrategyContext<'_>, object: &Value, _old: &Value) -> Vec<FieldError> {
        match ctx.subresource {
            Subresource::Finalize => validate_finalizers(object, Path::index),
            Subresource::Status => validate_phase(object),
            _ => Vec::new(),
        }
    }

    fn reset_fields(&self, _version: &VersionDef, subresource: Subresource) -> &'static [&'static [&'static str]] {
        match subresource {
            Subresource::Status => &[&["spec"]],
            _ => &[&["status"]],
        }
    }

    fn selectable_fields(&self) -> &'static [(&'static str, &'static [&'static str])] {
        &[("status.phase", &["status", "phase"]), ("name", &["metadata", "name"])]
    }

    fn holds_deletion(&self, object: &Value) -> bool {
        !finalizers(object).is_empty()
    }

    fn begin_deletion(&self, _ctx: &StrategyContext<'_>, object: &mut Value) {
        object.set_at(&["status", "phase"], "Terminating".into());
    }

    fn marks_grace(&self) -> bool {
        false
    }
}

fn validate_finalizers(object: &Value, at: impl Fn(&Path, usize) -> Path) -> Vec<FieldError> {
    let path = Path::new("spec").child("finalizers");
    let list = finalizers(object);
    let texts = list
        .iter()
        .enumerate()
        .filter_map(|(index, f)| Some((index, f.as_str()?)));
    texts
        .flat_map(|(index, text)| rules::check_finalizer_name(text, &at(&path, index)))
        .collect()
}

fn validate_phase(object: &Value) -> Vec<FieldError> {
    let path = Path::new("status").child("phase");
    let phase = object.str_at(&["status", "phase"]).unwrap_or_default();
    let wrong = match object.deletion_timestamp() {
        None if phase != "Active" => "may only be 'Active' if `deletionTimestamp` is empty",
        Some(_) if phase != "Terminating" => "may only be 'Terminating' if `deletionTimestamp` is not empty",
        _ => return Vec::new(),
    };
    vec![FieldError::invalid(&path, &phase.into(), wrong)]
}
