//! Webhook configurations and admission policies.

use std::sync::Arc;

use machinery::field::{FieldError, Path};
use machinery::names;
use machinery::object::ObjectExt;
use serde_json::{Value, json};

use super::Plain;
use crate::strategy::{bump_generation_on_spec_change, keep};
use crate::{Strategy, StrategyContext, Subresource, VersionDef};

/// ValidatingWebhookConfigurations and MutatingWebhookConfigurations.
struct Webhooks {
    mutating: bool,
}

/// Policies and their bindings: objects of a spec with a generation.
struct Policies {
    /// Policies with a status subresource.
    status: bool,
    binding: bool,
    mutating: bool,
}

pub(super) fn strategy_for(resource: &str) -> Arc<dyn Strategy> {
    let policies = |status, binding, mutating| {
        Arc::new(Policies {
            status,
            binding,
            mutating,
        })
    };
    match resource {
        "validatingwebhookconfigurations" => Arc::new(Webhooks { mutating: false }),
        "mutatingwebhookconfigurations" => Arc::new(Webhooks { mutating: true }),
        "validatingadmissionpolicies" => policies(true, false, false),
        "validatingadmissionpolicybindings" => policies(false, true, false),
        "mutatingadmissionpolicies" => policies(false, false, true),
        "mutatingadmissionpolicybindings" => policies(false, true, true),
        _ => Arc::new(Plain),
    }
}

// === impl Strategy for Webhooks ===

impl Strategy for Webhooks {
    fn default(&self, _ctx: &StrategyContext<'_>, object: &mut Value) {
        let Some(Value::Array(hooks)) = object.get_mut("webhooks") else {
            return;
        };
        for hook in hooks.iter_mut().filter(|hook| hook.is_object()) {
            default_match(hook);
            set_absent(hook, "timeoutSeconds", json!(10));
            if self.mutating {
                set_absent(hook, "reinvocationPolicy", json!("Never"));
            }
            if let Some(service) = hook.get_mut("clientConfig").and_then(|c| c.get_mut("service")) {
                set_absent(service, "port", json!(443));
            }
            if let Some(Value::Array(rules)) = hook.get_mut("rules") {
                rules.iter_mut().for_each(|rule| set_absent(rule, "scope", json!("*")));
            }
        }
    }

    fn prepare_for_create(&self, _ctx: &StrategyContext<'_>, object: &mut Value) {
        object.meta_mut().insert("generation".to_owned(), 1.into());
    }

    fn prepare_for_update(&self, _ctx: &StrategyContext<'_>, object: &mut Value, old: &Value) {
        if object.get("webhooks") != old.get("webhooks") {
            object
                .meta_mut()
                .insert("generation".to_owned(), (old.generation() + 1).into());
        }
    }

    fn validate(&self, _ctx: &StrategyContext<'_>, object: &Value) -> Vec<FieldError> {
        let hooks = object
            .get("webhooks")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let mut errors = Vec::new();
        for (index, hook) in hooks.iter().enumerate() {
            let path = Path::new("webhooks").index(index);
            errors.extend(self.validate_hook(hook, &path));
            let name = hook.str_at(&["name"]).unwrap_or_default();
            let taken = hooks.iter().take(index).any(|h| h.str_at(&["name"]) == Some(name));
            if !name.is_empty() && taken {
                errors.push(FieldError::duplicate(&path.child("name"), &name.into()));
            }
        }
        errors
    }

    fn validate_update(&self, ctx: &StrategyContext<'_>, object: &Value, _old: &Value) -> Vec<FieldError> {
        self.validate(ctx, object)
    }
}

// === impl Webhooks ===

impl Webhooks {
    fn validate_hook(&self, hook: &Value, path: &Path) -> Vec<FieldError> {
        let mut errors = validate_hook_name(hook, &path.child("name"));
        let rules = hook.get("rules").and_then(Value::as_array);
        for (index, rule) in rules.into_iter().flatten().enumerate() {
            errors.extend(validate_rule(rule, &path.child("rules").index(index)));
        }
        errors.extend(validate_choice(hook, "failurePolicy", &["Fail", "Ignore"], path));
        errors.extend(validate_choice(hook, "matchPolicy", &["Equivalent", "Exact"], path));
        if self.mutating {
            errors.extend(validate_choice(
                hook,
                "reinvocationPolicy",
                &["IfNeeded", "Never"],
                path,
            ));
        }
        if hook.get("sideEffects").is_none() {
            errors.push(FieldError::required(
                &path.child("sideEffects"),
                "must specify one of None, NoneOnDryRun",
            ));
        }
        errors.extend(validate_choice(hook, "sideEffects", &["None", "NoneOnDryRun"], path));
        let seconds = hook.get("timeoutSeconds").and_then(Value::as_i64);
        if let Some(seconds) = seconds.filter(|n| !(1..=30).contains(n)) {
            let why = "the timeout value must be between 1 and 30 seconds";
            errors.push(FieldError::invalid(&path.child("timeoutSeconds"), &seconds.into(), why));
        }
        let client = |field: &str| hook.at(&["clientConfig", field]).is_some();
        if client("url") == client("service") {
            let why = "exactly one of url or service is required";
            errors.push(FieldError::required(&path.child("clientConfig"), why));
        }
        errors.extend(validate_review_versions(hook, &path.child("admissionReviewVersions")));
        errors
    }
}

// === impl Strategy for Policies ===

impl Strategy for Policies {
    fn default(&self, _ctx: &StrategyContext<'_>, object: &mut Value) {
        let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else {
            return;
        };
        if self.binding {
            if let Some(resources) = spec.get_mut("matchResources").filter(|r| r.is_object()) {
                default_resources(resources);
            }
            return;
        }
        set_absent(spec, "failurePolicy", json!("Fail"));
        if let Some(resources) = spec.get_mut("matchConstraints").filter(|r| r.is_object()) {
            default_resources(resources);
        }
    }

    fn prepare_for_create(&self, _ctx: &StrategyContext<'_>, object: &mut Value) {
        if self.status {
            object.remove_at(&["status"]);
        }
        object.meta_mut().insert("generation".to_owned(), 1.into());
    }

    fn prepare_for_update(&self, ctx: &StrategyContext<'_>, object: &mut Value, old: &Value) {
        if ctx.subresource == Subresource::Status {
            keep(object, old, &["spec"]);
            return;
        }
        if self.status {
            keep(object, old, &["status"]);
        }
        bump_generation_on_spec_change(object, old);
    }

    fn validate(&self, _ctx: &StrategyContext<'_>, object: &Value) -> Vec<FieldError> {
        let spec = object.get("spec").cloned().unwrap_or_default();
        let path = Path::new("spec");
        if self.binding {
            self.validate_binding(&spec, &path)
        } else {
            self.validate_policy(&spec, &path)
        }
    }

    fn validate_update(&self, ctx: &StrategyContext<'_>, object: &Value, _old: &Value) -> Vec<FieldError> {
        if ctx.subresource == Subresource::Status {
            Vec::new()
        } else {
            self.validate(ctx, object)
        }
    }

    fn reset_fields(&self, _version: &VersionDef, subresource: Subresource) -> &'static [&'static [&'static str]] {
        match (self.status, subresource) {
            (true, Subresource::Status) => &[&["spec"]],
            (true, _) => &[&["status"]],
            (false, _) => &[],
        }
    }
}

// === impl Policies ===

impl Policies {
    fn validate_binding(&self, spec: &Value, path: &Path) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let policy = spec.str_at(&["policyName"]).unwrap_or_default();
        if policy.is_empty() {
            errors.push(FieldError::required(&path.child("policyName"), ""));
        }
        if self.mutating {
            return errors;
        }
        let path = path.child("validationActions");
        let actions = spec
            .get("validationActions")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        if actions.is_empty() {
            errors.push(FieldError::required(
                &path,
                "at least one validation action is required",
            ));
        }
        let known = ["Audit", "Deny", "Warn"];
        for (index, action) in actions.iter().enumerate() {
            if !known.contains(&action.as_str().unwrap_or_default()) {
                errors.push(FieldError::not_supported(&path.index(index), action, &known));
            }
            if actions.iter().take(index).any(|before| before == action) {
                errors.push(FieldError::duplicate(&path.index(index), action));
            }
        }
        if actions.iter().any(|a| a == "Deny") && actions.iter().any(|a| a == "Warn") {
            let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API \
                       response and headers serves no purpose)";
            errors.push(FieldError::invalid(&path, &Value::Array(actions.to_vec()), why));
        }
        errors
    }

    fn validate_policy(&self, spec: &Value, path: &Path) -> Vec<FieldError> {
        let mut errors = validate_choice(spec, "failurePolicy", &["Fail", "Ignore"], path);
        let count = |field: &str| spec.get(field).and_then(Value::as_array).map_or(0, Vec::len);
        if self.mutating && count("mutations") == 0 {
            errors.push(FieldError::required(
                &path.child("mutations"),
                "mutations must contain at least one item",
            ));
        }
        if !self.mutating && count("validations") == 0 && count("auditAnnotations") == 0 {
            let why = "validations or auditAnnotations must be specified";
            errors.push(FieldError::required(&path.child("validations"), why));
        }
        let validations = spec.get("validations").and_then(Value::as_array);
        for (index, validation) in validations.into_iter().flatten().enumerate() {
            if validation.str_at(&["expression"]).unwrap_or_default().trim().is_empty() {
                let path = path.child("validations").index(index).child("expression");
                errors.push(FieldError::required(&path, "expression is not specified"));
            }
        }
        let constraints = path.child("matchConstraints");
        let Some(resources) = spec.get("matchConstraints").filter(|r| r.is_object()) else {
            errors.push(FieldError::required(&constraints, ""));
            return errors;
        };
        let rules = resources.get("resourceRules").and_then(Value::as_array);
        if rules.is_none_or(Vec::is_empty) {
            errors.push(FieldError::required(&constraints.child("resourceRules"), ""));
        }
        for (index, rule) in rules.into_iter().flatten().enumerate() {
            errors.extend(validate_rule(rule, &constraints.child("resourceRules").index(index)));
        }
        errors
    }
}

fn set_absent(object: &mut Value, field: &str, value: Value) {
    if object.get(field).is_none_or(Value::is_null) {
        object.set_at(&[field], value);
    }
}

fn default_match(hook: &mut Value) {
    set_absent(hook, "failurePolicy", json!("Fail"));
    set_absent(hook, "matchPolicy", json!("Equivalent"));
    set_absent(hook, "namespaceSelector", json!({}));
    set_absent(hook, "objectSelector", json!({}));
}

fn default_resources(resources: &mut Value) {
    set_absent(resources, "matchPolicy", json!("Equivalent"));
    set_absent(resources, "namespaceSelector", json!({}));
    set_absent(resources, "objectSelector", json!({}));
    for field in ["resourceRules", "excludeResourceRules"] {
        if let Some(Value::Array(rules)) = resources.get_mut(field) {
            rules.iter_mut().for_each(|rule| set_absent(rule, "scope", json!("*")));
        }
    }
}

fn validate_choice(value: &Value, field: &str, known: &[&str], path: &Path) -> Vec<FieldError> {
    match value.str_at(&[field]) {
        Some(choice) if !known.contains(&choice) => {
            vec![FieldError::not_supported(&path.child(field), &choice.into(), known)]
        }
        _ => Vec::new(),
    }
}

fn validate_hook_name(hook: &Value, path: &Path) -> Vec<FieldError> {
    let name = hook.str_at(&["name"]).unwrap_or_default();
    if name.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let texts = names::dns1123_subdomain(name);
    if !texts.is_empty() {
        return vec![FieldError::invalid(path, &name.into(), texts.join(","))];
    }
    if name.split('.').count() < 3 {
        let why = "should be a domain with at least three segments separated by dots";
        return vec![FieldError::invalid(path, &name.into(), why)];
    }
    Vec::new()
}

fn texts<'a>(value: &'a Value, field: &str) -> Vec<&'a str> {
    value
        .get(field)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

fn validate_rule(rule: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let operations = texts(rule, "operations");
    let at = path.child("operations");
    if operations.is_empty() {
        errors.push(FieldError::required(&at, ""));
    }
    if operations.len() > 1 && operations.contains(&"*") {
        let why = "if '*' is present, must not specify other operations";
        errors.push(FieldError::invalid(&at, &json!(operations), why));
    }
    let known = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
    for (index, operation) in operations.iter().enumerate() {
        if !known.contains(operation) {
            errors.push(FieldError::not_supported(
                &at.index(index),
                &(*operation).into(),
                &known,
            ));
        }
    }
    for (field, what) in [("apiGroups", "API groups"), ("apiVersions", "API versions")] {
        let list = texts(rule, field);
        let at = path.child(field);
        if list.is_empty() {
            errors.push(FieldError::required(&at, ""));
        }
        if list.len() > 1 && list.contains(&"*") {
            let why = format!("if '*' is present, must not specify other {what}");
            errors.push(FieldError::invalid(&at, &json!(list), why));
        }
    }
    errors.extend(validate_resources(&texts(rule, "resources"), &path.child("resources")));
    errors.extend(validate_choice(rule, "scope", &["*", "Cluster", "Namespaced"], path));
    errors
}

fn validate_resources(resources: &[&str], path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if resources.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    for (index, text) in resources.iter().enumerate() {
        if text.is_empty() {
            errors.push(FieldError::required(&path.index(index), ""));
        }
        let Some((resource, sub)) = text.split_once('/') else {
            continue;
        };
        let before = |form: String| resources.iter().take(index).any(|other| **other == *form);
        if before(format!("{resource}/*")) {
            let why = format!("if '{resource}/*' is present, must not specify {text}");
            errors.push(FieldError::invalid(&path.index(index), &(*text).into(), why));
        }
        if before(format!("*/{sub}")) {
            let why = format!("if '*/{sub}' is present, must not specify {text}");
            errors.push(FieldError::invalid(&path.index(index), &(*text).into(), why));
        }
    }
    if resources.len() > 1 && resources.contains(&"*/*") {
        let why = "if '*/*' is present, must not specify other resources";
        errors.push(FieldError::invalid(path, &json!(resources), why));
    }
    let plain = resources.iter().any(|text| *text != "*" && !text.contains('/'));
    if resources.contains(&"*") && plain {
        let why = "if '*' is present, must not specify other resources without subresources";
        errors.push(FieldError::invalid(path, &json!(resources), why));
    }
    errors
}

fn validate_review_versions(hook: &Value, path: &Path) -> Vec<FieldError> {
    let versions = texts(hook, "admissionReviewVersions");
    if versions.is_empty() {
        return vec![FieldError::required(path, "must specify one of v1, v1beta1")];
    }
    let mut errors = Vec::new();
    for (index, version) in versions.iter().enumerate() {
        if versions.iter().take(index).any(|before| before == version) {
            errors.push(FieldError::invalid(
                &path.index(index),
                &(*version).into(),
                "duplicate version",
            ));
            continue;
        }
        for why in names::dns1035_label(version) {
            errors.push(FieldError::invalid(&path.index(index), &(*version).into(), why));
        }
    }
    if !versions.iter().any(|v| *v == "v1" || *v == "v1beta1") {
        let why = "must include at least one of v1, v1beta1";
        errors.push(FieldError::invalid(path, &json!(versions), why));
    }
    errors
}
