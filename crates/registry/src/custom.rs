//! Custom resources: everything that is particular to one is in its schema.

use machinery::field::{FieldError, Path};
use machinery::names::{self, NameFn};
use machinery::object::ObjectExt;
use serde_json::Value;

use crate::strategy::same_but;
use crate::{ResourceDef, Scale, Strategy, StrategyContext, Subresource, VersionDef, rules};

/// The strategy of every custom resource.
#[derive(Clone, Copy, Debug, Default)]
pub struct CustomResources {
    /// kcp's `nameValidation: PathSegmentName`: names need only fit into a URL.
    pub path_segment_names: bool,
    /// The objects are what clusters are: see [`Strategy::fences_cluster`].
    pub fences_cluster: bool,
}

// === impl Strategy for CustomResources ===

impl Strategy for CustomResources {
    /// With a status subresource nobody writes status but through it.
    fn prepare_for_create(&self, ctx: &StrategyContext<'_>, object: &mut Value) {
        if version(ctx).is_some_and(|v| v.status) {
            object.remove_at(&["status"]);
        }
        object.meta_mut().insert("generation".to_owned(), 1.into());
    }

    fn prepare_for_update(&self, ctx: &StrategyContext<'_>, object: &mut Value, old: &Value) {
        if ctx.subresource == Subresource::Status {
            take_status_only(object, old);
            return;
        }
        if version(ctx).is_some_and(|v| v.status) {
            match old.get("status") {
                Some(status) => object.set_at(&["status"], status.clone()),
                None => drop(object.remove_at(&["status"])),
            }
        }
        if !same_but(object, old, &["metadata"]) {
            object
                .meta_mut()
                .insert("generation".to_owned(), (old.generation() + 1).into());
        }
    }

    fn name_rule(&self) -> NameFn {
        if self.path_segment_names {
            names::path_segment_name
        } else {
            names::subdomain_name
        }
    }

    fn validate_after(
        &self,
        ctx: &StrategyContext<'_>,
        mut errors: Vec<FieldError>,
        object: &Value,
        old: Option<&Value>,
    ) -> Vec<FieldError> {
        let Some(version) = version(ctx) else { return errors };
        let on_status = ctx.subresource == Subresource::Status;
        // Upstream puts these after the schema's; nothing tells an object that is wrong in both.
        errors.extend(validate_scale(object, version, !on_status));
        match (&version.schema.compiled, old) {
            (None, _) => errors,
            (Some(schema), Some(old)) if on_status => schema.validate_status_after(errors, object, old, &Path::root()),
            (Some(schema), old) => schema.validate_after(errors, object, old, &Path::root()),
        }
    }

    fn fences_cluster(&self) -> bool {
        self.fences_cluster
    }

    fn warnings(&self, _ctx: &StrategyContext<'_>, object: &Value, old: Option<&Value>) -> Vec<String> {
        rules::finalizer_warnings(object, old)
    }

    fn allows_unconditional_update(&self) -> bool {
        false
    }

    fn reset_fields(&self, version: &VersionDef, subresource: Subresource) -> &'static [&'static [&'static str]] {
        match subresource {
            Subresource::Status => &[&["metadata"], &["spec"]],
            _ if version.status => &[&["status"]],
            _ => &[],
        }
    }
}

fn version<'a>(ctx: &StrategyContext<'a>) -> Option<&'a VersionDef> {
    let def: &'a ResourceDef = ctx.def;
    def.versions.get(ctx.version)
}

/// What `/status` stores: the old object with the new status and the new ownership of fields.
fn take_status_only(object: &mut Value, old: &Value) {
    let status = object.remove_at(&["status"]);
    let managed = object.remove_at(&["metadata", "managedFields"]);
    let resource_version = object.remove_at(&["metadata", "resourceVersion"]);
    *object = old.clone();
    match status {
        Some(status) => object.set_at(&["status"], status),
        None => drop(object.remove_at(&["status"])),
    }
    for (field, value) in [("managedFields", managed), ("resourceVersion", resource_version)] {
        match value {
            Some(value) => drop(object.meta_mut().insert(field.to_owned(), value)),
            None => drop(object.meta_mut().remove(field)),
        }
    }
}

/// The replica counts that `/scale` would show must be ones.
fn validate_scale(object: &Value, version: &VersionDef, with_spec: bool) -> Vec<FieldError> {
    let Some(Scale {
        spec_replicas_path,
        status_replicas_path,
        ..
    }) = &version.scale
    else {
        return Vec::new();
    };
    let paths = [(with_spec, spec_replicas_path), (true, status_replicas_path)];
    paths
        .into_iter()
        .filter(|(wanted, _)| *wanted)
        .filter_map(|(_, path)| validate_replicas(object, path))
        .collect()
}

fn validate_replicas(object: &Value, json_path: &str) -> Option<FieldError> {
    let members: Vec<&str> = json_path.trim_start_matches('.').split('.').collect();
    let value = object.at(&members)?;
    let path = Path::new(json_path);
    let Some(count) = value.as_i64() else {
        let why = format!(
            "{} accessor error: {value} is of the wrong type, expected int64",
            members.join(".")
        );
        return Some(FieldError::invalid(&path, &0.into(), why));
    };
    let why = match count {
        i64::MIN..=-1 => "should be a non-negative integer".to_owned(),
        0..=2_147_483_647 => return None,
        _ => format!("should be less than or equal to {}", i32::MAX),
    };
    Some(FieldError::invalid(&path, &count.into(), why))
}
