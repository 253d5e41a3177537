//! The scale subresource of custom resources: `autoscaling/v1` Scale over the members that the definition names.

use std::sync::Arc;

use machinery::object::ObjectExt;
use machinery::options::WriteOptions;
use machinery::status::{Result, Status};
use permit::Verb;
use serde_json::{Value, json};

use super::change::Change;
use super::operation::Operation;
use super::{Registry, meta};
use crate::{Item, Outcome, Request, ResourceDef, Scale, Target};

/// The Scale of a stored object.
pub(super) fn of_item(item: &Item, target: &Target) -> Result<Item> {
    let object = match item {
        Item::Stored(entry) => {
            let mut object = entry.to_value();
            target.resolved.def.to_version(&mut object, target.resolved.version)?;
            object
        }
        Item::Built(object) => Value::clone(object),
    };
    let shown = scale_of(&object, paths(target)?)?;
    Ok(Item::Built(Arc::new(shown)))
}

/// PUT or patch of a Scale: only its replicas count.
pub(super) async fn update(
    registry: &Registry,
    request: &Request,
    target: &Target,
    change: Change,
    options: &WriteOptions,
) -> Result<Outcome> {
    let verb = if change.is_put() { Verb::Update } else { Verb::Patch };
    let op = Operation::new(registry, request, target, verb, options.dry_run)?;
    op.check_key(&target.name)?;
    change.check_identity(&op)?;
    let paths = paths(target)?;
    let make = |old: Option<&Value>| {
        let old = old.ok_or_else(|| Status::not_found(&op.of(), &target.name))?;
        let scale = changed_scale(&change, &scale_of(old, paths)?)?;
        let replicas = scale.at(&["spec", "replicas"]).cloned().unwrap_or_else(|| 0.into());
        check_replicas(&replicas, &target.name)?;
        let mut object = old.clone();
        object.set_at(&members(&paths.spec_replicas_path), replicas);
        match scale.resource_version() {
            "" => {}
            version => meta::set(&mut object, "resourceVersion", version),
        }
        op.own_fields(&options.field_manager, Some(old), &mut object);
        Ok(object)
    };
    let outcome = op.update_with(&make, false).await?;
    Ok(Outcome {
        item: of_item(&outcome.item, target)?,
        ..outcome
    })
}

fn paths(target: &Target) -> Result<&Scale> {
    let def: &ResourceDef = &target.resolved.def;
    let version = def.versions.get(target.resolved.version);
    version
        .and_then(|version| version.scale.as_ref())
        .ok_or_else(Status::no_such_resource)
}

fn members(path: &str) -> Vec<&str> {
    path.trim_start_matches('.').split('.').collect()
}

fn scale_of(object: &Value, paths: &Scale) -> Result<Value> {
    let Some(replicas) = object.at(&members(&paths.spec_replicas_path)).and_then(Value::as_i64) else {
        let path = paths.spec_replicas_path.as_str();
        return Err(Status::internal(format!(
            "the spec replicas field {path:?} does not exist"
        )));
    };
    let current = object
        .at(&members(&paths.status_replicas_path))
        .and_then(Value::as_i64)
        .unwrap_or_default();
    let mut scale = json!({
        "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {},
        "spec": {"replicas": replicas}, "status": {"replicas": current},
    });
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object.meta().and_then(|meta| meta.get(field)) {
            meta::set(&mut scale, field, value.clone());
        }
    }
    let selector = paths
        .label_selector_path
        .as_deref()
        .and_then(|path| object.str_at(&members(path)));
    if let Some(selector) = selector.filter(|selector| !selector.is_empty()) {
        scale.set_at(&["status", "selector"], selector.into());
    }
    Ok(scale)
}

fn changed_scale(change: &Change, scale: &Value) -> Result<Value> {
    match change {
        Change::Put(body) => Ok(body.clone()),
        Change::Json(patch) => Ok(patch.apply(scale)?),
        Change::Merge(patch) | Change::Strategic(patch) => {
            let mut scale = scale.clone();
            machinery::patch::merge::apply(&mut scale, patch);
            Ok(scale)
        }
        Change::Apply(config) => {
            let mut scale = scale.clone();
            scale.set_at(
                &["spec", "replicas"],
                config.at(&["spec", "replicas"]).cloned().unwrap_or_default(),
            );
            Ok(scale)
        }
    }
}

fn check_replicas(replicas: &Value, name: &str) -> Result<()> {
    use machinery::field::{FieldError, Path};
    let path = Path::new("spec").child("replicas");
    let error = match replicas.as_i64() {
        Some(count) if count < 0 => FieldError::invalid(&path, replicas, "must be greater than or equal to 0"),
        Some(_) => return Ok(()),
        None => FieldError::invalid(&path, replicas, "must be an integer"),
    };
    Err(Status::invalid("autoscaling", "Scale", name, &[error]))
}
