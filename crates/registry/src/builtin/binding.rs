//! RoleBindings and ClusterRoleBindings.

use machinery::field::{FieldError, Path};
use machinery::names::{self, NameFn};
use machinery::object::ObjectExt;
use serde_json::{Value, json};

use crate::{Strategy, StrategyContext};

const GROUP: &str = "rbac.authorization.k8s.io";

pub struct Bindings {
    pub namespaced: bool,
}

// === impl Strategy for Bindings ===

impl Strategy for Bindings {
    /// Users and groups belong to RBAC's group, as does the role, unless said otherwise.
    fn default(&self, _ctx: &StrategyContext<'_>, object: &mut Value) {
        if object.get("roleRef").is_some_and(Value::is_object)
            && object.str_at(&["roleRef", "apiGroup"]).unwrap_or_default().is_empty()
        {
            object.set_at(&["roleRef", "apiGroup"], GROUP.into());
        }
        let Some(Value::Array(subjects)) = object.get_mut("subjects") else {
            return;
        };
        for subject in subjects {
            let personal = matches!(subject.str_at(&["kind"]), Some("User" | "Group"));
            if personal && subject.str_at(&["apiGroup"]).unwrap_or_default().is_empty() {
                subject.set_at(&["apiGroup"], GROUP.into());
            }
        }
    }

    fn name_rule(&self) -> NameFn {
        names::path_segment_name
    }

    fn validate(&self, _ctx: &StrategyContext<'_>, object: &Value) -> Vec<FieldError> {
        let mut errors = self.validate_role(object);
        let subjects = object.get("subjects").and_then(Value::as_array);
        for (index, subject) in subjects.into_iter().flatten().enumerate() {
            errors.extend(self.validate_subject(subject, &Path::new("subjects").index(index)));
        }
        errors
    }

    fn validate_update(&self, ctx: &StrategyContext<'_>, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(ctx, object);
        if object.get("roleRef") != old.get("roleRef") {
            let part = |field: &str| object.str_at(&["roleRef", field]).unwrap_or_default().to_owned();
            // Printed from Kubernetes' internal type, whose members have no JSON names.
            let shown = json!({"APIGroup": part("apiGroup"), "Kind": part("kind"), "Name": part("name")});
            errors.push(FieldError::invalid(
                &Path::new("roleRef"),
                &shown,
                "cannot change roleRef",
            ));
        }
        errors
    }
}

// === impl Bindings ===

impl Bindings {
    fn validate_role(&self, object: &Value) -> Vec<FieldError> {
        let path = Path::new("roleRef");
        let part = |field: &str| object.str_at(&["roleRef", field]).unwrap_or_default();
        let kinds: &[&str] = if self.namespaced {
            &["Role", "ClusterRole"]
        } else {
            &["ClusterRole"]
        };
        let mut errors = Vec::new();
        if part("apiGroup") != GROUP {
            errors.push(FieldError::not_supported(
                &path.child("apiGroup"),
                &part("apiGroup").into(),
                &[GROUP],
            ));
        }
        if !kinds.contains(&part("kind")) {
            errors.push(FieldError::not_supported(
                &path.child("kind"),
                &part("kind").into(),
                kinds,
            ));
        }
        let (name, path) = (part("name"), path.child("name"));
        if name.is_empty() {
            errors.push(FieldError::required(&path, ""));
        }
        errors.extend(invalid_names(&path, name, names::path_segment));
        errors
    }

    fn validate_subject(&self, subject: &Value, path: &Path) -> Vec<FieldError> {
        let part = |field: &str| subject.str_at(&[field]).unwrap_or_default();
        let (name, group) = (part("name"), part("apiGroup"));
        let mut errors = Vec::new();
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        }
        match part("kind") {
            "ServiceAccount" => {
                errors.extend(invalid_names(&path.child("name"), name, names::dns1123_subdomain));
                if !group.is_empty() {
                    errors.push(FieldError::not_supported(&path.child("apiGroup"), &group.into(), &[""]));
                }
                if !self.namespaced && part("namespace").is_empty() {
                    errors.push(FieldError::required(&path.child("namespace"), ""));
                }
            }
            kind @ ("User" | "Group") => {
                if name.is_empty() {
                    let why = format!("{} name cannot be empty", kind.to_lowercase());
                    errors.push(FieldError::invalid(&path.child("name"), &name.into(), why));
                }
                if group != GROUP {
                    errors.push(FieldError::not_supported(
                        &path.child("apiGroup"),
                        &group.into(),
                        &[GROUP],
                    ));
                }
            }
            kind => {
                let kinds = ["ServiceAccount", "User", "Group"];
                errors.push(FieldError::not_supported(&path.child("kind"), &kind.into(), &kinds));
            }
        }
        errors
    }
}

fn invalid_names(path: &Path, name: &str, check: fn(&str) -> Vec<String>) -> Vec<FieldError> {
    if name.is_empty() {
        return Vec::new();
    }
    check(name)
        .into_iter()
        .map(|why| FieldError::invalid(path, &name.into(), why))
        .collect()
}
