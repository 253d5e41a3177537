//! Roles and ClusterRoles.

use machinery::field::{FieldError, Path};
use machinery::names::{self, NameFn};
use serde_json::Value;

use crate::{Strategy, StrategyContext};

pub struct Roles {
    pub namespaced: bool,
}

// === impl Strategy for Roles ===

impl Strategy for Roles {
    /// RBAC names are path segments: `system:controller:x` is one.
    fn name_rule(&self) -> NameFn {
        names::path_segment_name
    }

    fn validate(&self, _ctx: &StrategyContext<'_>, object: &Value) -> Vec<FieldError> {
        let rules = object.get("rules").and_then(Value::as_array);
        let path = Path::new("rules");
        let rules = rules.into_iter().flatten().enumerate();
        rules
            .flat_map(|(index, rule)| validate_rule(rule, self.namespaced, &path.index(index)))
            .collect()
    }

    fn validate_update(&self, ctx: &StrategyContext<'_>, object: &Value, _old: &Value) -> Vec<FieldError> {
        self.validate(ctx, object)
    }
}

fn count(rule: &Value, field: &str) -> usize {
    rule.get(field).and_then(Value::as_array).map_or(0, Vec::len)
}

fn validate_rule(rule: &Value, namespaced: bool, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if count(rule, "verbs") == 0 {
        errors.push(FieldError::required(
            &path.child("verbs"),
            "verbs must contain at least one value",
        ));
    }
    let (groups, resources) = (count(rule, "apiGroups"), count(rule, "resources"));
    let resource_names = count(rule, "resourceNames");
    if count(rule, "nonResourceURLs") > 0 {
        let path = path.child("nonResourceURLs");
        let urls = rule.get("nonResourceURLs").cloned().unwrap_or_default();
        if namespaced {
            errors.push(FieldError::invalid(
                &path,
                &urls,
                "namespaced rules cannot apply to non-resource URLs",
            ));
        }
        if groups > 0 || resources > 0 || resource_names > 0 {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            errors.push(FieldError::invalid(&path, &urls, why));
        }
        return errors;
    }
    if groups == 0 {
        errors.push(FieldError::required(
            &path.child("apiGroups"),
            "resource rules must supply at least one api group",
        ));
    }
    if resources == 0 {
        errors.push(FieldError::required(
            &path.child("resources"),
            "resource rules must supply at least one resource",
        ));
    }
    if resource_names > 0 && resources > 1 {
        let why = "resource names cannot apply to multiple resources";
        errors.push(FieldError::required(&path.child("resourceNames"), why));
    }
    errors
}
