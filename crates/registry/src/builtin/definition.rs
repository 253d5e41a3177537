//! CustomResourceDefinitions.

use machinery::field::{FieldError, Path};
use machinery::names;
use machinery::object::ObjectExt;
use serde_json::{Value, json};

use crate::strategy::{bump_generation_on_spec_change, keep};
use crate::{Strategy, StrategyContext, Subresource, VersionDef};

mod version;

/// Holds a deleted CRD until its instances are gone.
pub const CLEANUP_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";
const APPROVED: &str = "api-approved.kubernetes.io";

pub struct Definitions;

// === impl Strategy for Definitions ===

impl Strategy for Definitions {
    fn default(&self, _ctx: &StrategyContext<'_>, object: &mut Value) {
        let kind = object.str_at(&["spec", "names", "kind"]).unwrap_or_default().to_owned();
        let empty =
            |object: &Value, field: &str| object.str_at(&["spec", "names", field]).unwrap_or_default().is_empty();
        if !kind.is_empty() && empty(object, "singular") {
            object.set_at(&["spec", "names", "singular"], kind.to_lowercase().into());
        }
        if !kind.is_empty() && empty(object, "listKind") {
            object.set_at(&["spec", "names", "listKind"], format!("{kind}List").into());
        }
        if object.get("spec").is_some_and(Value::is_object) && object.at(&["spec", "conversion"]).is_none() {
            object.set_at(&["spec", "conversion"], json!({"strategy": "None"}));
        }
    }

    fn prepare_for_create(&self, _ctx: &StrategyContext<'_>, object: &mut Value) {
        object.meta_mut().insert("generation".to_owned(), 1.into());
        object.set_at(&["status"], empty_status());
        store_version(object);
    }

    fn prepare_for_update(&self, ctx: &StrategyContext<'_>, object: &mut Value, old: &Value) {
        if ctx.subresource == Subresource::Status {
            keep(object, old, &["spec"]);
            return;
        }
        keep(object, old, &["status"]);
        bump_generation_on_spec_change(object, old);
        store_version(object);
    }

    fn validate(&self, ctx: &StrategyContext<'_>, object: &Value) -> Vec<FieldError> {
        let spec = object.get("spec").cloned().unwrap_or_default();
        // In system clusters a definition may stand for a schema of many clusters, under a name of its own.
        let mut errors = if ctx.cluster.is_system() {
            Vec::new()
        } else {
            validate_own_name(object)
        };
        errors.extend(validate_spec(&spec, None));
        errors.extend(validate_stored_versions(object));
        errors.extend(validate_approval(object, None));
        errors.extend(validate_preserve(object, None));
        errors
    }

    fn validate_update(&self, ctx: &StrategyContext<'_>, object: &Value, old: &Value) -> Vec<FieldError> {
        if ctx.subresource == Subresource::Status {
            return Vec::new();
        }
        let (spec, old_spec) = (object.get("spec").cloned().unwrap_or_default(), old.get("spec"));
        let mut errors = validate_spec(&spec, old_spec);
        let established = is_established(old);
        let fixed: [(&[&str], bool); 4] = [
            (&["scope"], established),
            (&["names", "kind"], established),
            (&["group"], true),
            (&["names", "plural"], true),
        ];
        for (field, _) in fixed.into_iter().filter(|(_, applies)| *applies) {
            let before = old_spec.and_then(|spec| spec.at(field));
            if spec.at(field) != before {
                let path = field.iter().fold(Path::new("spec"), |path, member| path.child(member));
                let value = spec.at(field).cloned().unwrap_or_else(|| "".into());
                errors.push(FieldError::invalid(&path, &value, "field is immutable"));
            }
        }
        errors.extend(validate_stored_versions(object));
        errors.extend(validate_approval(object, Some(old)));
        errors.extend(validate_preserve(object, Some(old)));
        errors
    }

    fn allows_unconditional_update(&self) -> bool {
        false
    }

    fn reset_fields(&self, _version: &VersionDef, subresource: Subresource) -> &'static [&'static [&'static str]] {
        match subresource {
            Subresource::Status => &[&["metadata"], &["spec"]],
            _ => &[&["status"]],
        }
    }

    /// Instances go first: the cleanup finalizer holds the definition until they are gone.
    fn begin_deletion(&self, ctx: &StrategyContext<'_>, object: &mut Value) {
        object.add_finalizer(CLEANUP_FINALIZER);
        let condition = json!({
            "type": "Terminating", "status": "True", "reason": "InstanceDeletionPending",
            "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
            "lastTransitionTime": ctx.now,
        });
        let mut list = object
            .at(&["status", "conditions"])
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        match list.iter_mut().find(|c| c.str_at(&["type"]) == Some("Terminating")) {
            Some(old) => *old = condition,
            None => list.push(condition),
        }
        object.set_at(&["status", "conditions"], list.into());
    }
}

fn empty_status() -> Value {
    json!({"conditions": [], "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": []})
}

fn versions(spec: &Value) -> &[Value] {
    spec.get("versions")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

fn is_true(value: &Value, field: &str) -> bool {
    value.get(field) == Some(&Value::Bool(true))
}

fn is_established(object: &Value) -> bool {
    let list = object.at(&["status", "conditions"]).and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .any(|c| c.str_at(&["type"]) == Some("Established") && c.str_at(&["status"]) == Some("True"))
}

/// `status.storedVersions` grows by the storage version; only an administrator takes versions out.
fn store_version(object: &mut Value) {
    let Some(spec) = object.get("spec") else { return };
    let Some(name) = versions(spec)
        .iter()
        .find(|v| is_true(v, "storage"))
        .and_then(|v| v.get("name"))
        .cloned()
    else {
        return;
    };
    let mut list = object
        .at(&["status", "storedVersions"])
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    if !list.contains(&name) {
        list.push(name);
        object.set_at(&["status", "storedVersions"], list.into());
    }
}

fn validate_own_name(object: &Value) -> Vec<FieldError> {
    let part = |path: &[&str]| object.str_at(path).unwrap_or_default();
    let group = match part(&["spec", "group"]) {
        // kcp: kinds of the core group are `<plural>.core`.
        "" => "core",
        group => group,
    };
    if object.name() == format!("{}.{group}", part(&["spec", "names", "plural"])) {
        return Vec::new();
    }
    let path = Path::new("metadata").child("name");
    vec![FieldError::invalid(
        &path,
        &object.name().into(),
        "must be spec.names.plural+\".\"+spec.group",
    )]
}

fn validate_spec(spec: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let path = Path::new("spec");
    let mut errors = Vec::new();
    let group = spec.str_at(&["group"]).unwrap_or_default();
    // kcp takes core and dotless groups: it has no pods or deployments of its own.
    let texts = if group.is_empty() {
        Vec::new()
    } else {
        names::dns1123_subdomain(group)
    };
    if !texts.is_empty() {
        errors.push(FieldError::invalid(
            &path.child("group"),
            &group.into(),
            texts.join(","),
        ));
    }
    match spec.str_at(&["scope"]).unwrap_or_default() {
        "" => errors.push(FieldError::required(&path.child("scope"), "")),
        "Cluster" | "Namespaced" => {}
        scope => {
            let known = ["Cluster", "Namespaced"];
            errors.push(FieldError::not_supported(&path.child("scope"), &scope.into(), &known));
        }
    }
    for (index, version) in versions(spec).iter().enumerate() {
        if version.at(&["schema", "openAPIV3Schema"]).is_none() {
            let path = path
                .child("versions")
                .index(index)
                .child("schema")
                .child("openAPIV3Schema");
            errors.push(FieldError::required(&path, ""));
        }
    }
    errors.extend(validate_versions(spec, old, &path.child("versions")));
    errors.extend(validate_names(spec, &path.child("names")));
    errors.extend(validate_conversion(spec, &path.child("conversion")));
    errors
}

fn validate_versions(spec: &Value, old: Option<&Value>, path: &Path) -> Vec<FieldError> {
    let list = versions(spec);
    let mut errors = Vec::new();
    for (index, version) in list.iter().enumerate() {
        let name = version.str_at(&["name"]).unwrap_or_default();
        let before = old
            .map(versions)
            .unwrap_or_default()
            .iter()
            .find(|v| v.str_at(&["name"]) == Some(name));
        let path = path.index(index);
        let texts = names::dns1035_label(name);
        if !texts.is_empty() {
            errors.push(FieldError::invalid(&path.child("name"), &name.into(), texts.join(",")));
        }
        errors.extend(version::validate(version, before, &path));
    }
    let shown = Value::Array(list.to_vec());
    let mut unique: Vec<_> = list.iter().map(|v| v.str_at(&["name"]).unwrap_or_default()).collect();
    unique.sort_unstable();
    unique.dedup();
    if unique.len() != list.len() {
        errors.push(FieldError::invalid(path, &shown, "must contain unique version names"));
    }
    if list.iter().filter(|v| is_true(v, "storage")).count() != 1 {
        let why = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid(path, &shown, why));
    }
    errors
}

fn validate_names(spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let part = |field: &str| spec.str_at(&["names", field]).unwrap_or_default();
    for field in ["plural", "singular", "kind", "listKind"] {
        if part(field).is_empty() {
            errors.push(FieldError::required(&path.child(field), ""));
        }
    }
    let mut label = |path: Path, text: &str, shown: &str, prefix: &str| {
        let texts = names::dns1035_label(text);
        if !text.is_empty() && !texts.is_empty() {
            errors.push(FieldError::invalid(
                &path,
                &shown.into(),
                format!("{prefix}{}", texts.join(",")),
            ));
        }
    };
    for field in ["plural", "singular"] {
        label(path.child(field), part(field), part(field), "");
    }
    for field in ["kind", "listKind"] {
        let lower = part(field).to_lowercase();
        label(
            path.child(field),
            &lower,
            part(field),
            "may have mixed case, but should otherwise match: ",
        );
    }
    for field in ["shortNames", "categories"] {
        let list = spec.at(&["names", field]).and_then(Value::as_array);
        for (index, text) in list.into_iter().flatten().enumerate() {
            let text = text.as_str().unwrap_or_default();
            label(path.child(field).index(index), text, text, "");
        }
    }
    if !part("kind").is_empty() && part("kind") == part("listKind") {
        let why = "kind and listKind may not be the same";
        errors.push(FieldError::invalid(
            &path.child("listKind"),
            &part("listKind").into(),
            why,
        ));
    }
    errors
}

fn validate_conversion(spec: &Value, path: &Path) -> Vec<FieldError> {
    let Some(conversion) = spec.get("conversion") else {
        return Vec::new();
    };
    let hook_path = path.child("webhookClientConfig");
    let webhook = conversion.get("webhook");
    match conversion.str_at(&["strategy"]).unwrap_or_default() {
        "" => vec![FieldError::required(&path.child("strategy"), "")],
        "None" if webhook.is_some() => {
            vec![FieldError::forbidden(
                &hook_path,
                "should not be set when strategy is not set to Webhook",
            )]
        }
        "None" => Vec::new(),
        "Webhook" => {
            let mut errors = Vec::new();
            let client = webhook.and_then(|hook| hook.get("clientConfig"));
            match client {
                None => errors.push(FieldError::required(
                    &hook_path,
                    "required when strategy is set to Webhook",
                )),
                Some(client) if client.get("url").is_some() == client.get("service").is_some() => {
                    errors.push(FieldError::required(
                        &hook_path,
                        "exactly one of url or service is required",
                    ));
                }
                Some(_) => {}
            }
            let reviews = webhook
                .and_then(|hook| hook.get("conversionReviewVersions"))
                .and_then(Value::as_array);
            let path = path.child("conversionReviewVersions");
            match reviews.map(Vec::as_slice).unwrap_or_default() {
                [] => errors.push(FieldError::required(&path, "")),
                list if !list.iter().any(|v| v == "v1" || v == "v1beta1") => {
                    let why = "must include at least one of v1, v1beta1";
                    errors.push(FieldError::invalid(&path, &Value::Array(list.to_vec()), why));
                }
                _ => {}
            }
            errors
        }
        other => vec![FieldError::not_supported(
            &path.child("strategy"),
            &other.into(),
            &["None", "Webhook"],
        )],
    }
}

fn validate_stored_versions(object: &Value) -> Vec<FieldError> {
    let path = Path::new("status").child("storedVersions");
    let spec = object.get("spec").cloned().unwrap_or_default();
    let stored = object
        .at(&["status", "storedVersions"])
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let shown = Value::Array(stored.clone());
    if stored.is_empty() {
        return vec![FieldError::invalid(
            &path,
            &shown,
            "must have at least one stored version",
        )];
    }
    let mut errors = Vec::new();
    for (index, name) in stored.iter().enumerate() {
        if versions(&spec).iter().any(|v| v.get("name") == Some(name)) {
            continue;
        }
        let v = name.as_str().unwrap_or_default();
        let why = format!(
            "missing from spec.versions; {v} was previously a storage version, and must remain in spec.versions until a \
             storage migration ensures no data remains persisted in {v} and removes {v} from status.storedVersions"
        );
        errors.push(FieldError::invalid(&path.index(index), name, why));
    }
    errors
}

/// Groups of the Kubernetes community need a sign of its approval.
fn validate_approval(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let group = object.str_at(&["spec", "group"]).unwrap_or_default();
    let protected = ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|owner| group == *owner || group.ends_with(&format!(".{owner}")));
    if !protected || old.is_some_and(|old| approval(old) == approval(object)) {
        return Vec::new();
    }
    let path = Path::new("metadata").child("annotations").key(APPROVED);
    let see = "see https://github.com/kubernetes/enhancements/pull/1111";
    match approval(object) {
        Approval::Given => Vec::new(),
        Approval::Missing => {
            let why = format!("protected groups must have approval annotation {APPROVED:?}, {see}");
            vec![FieldError::required(&path, why)]
        }
        Approval::Invalid => {
            let why = format!(
                "protected groups must have approval annotation {APPROVED:?} with either a URL or a reason starting with \
                 \"unapproved\", {see}"
            );
            vec![FieldError::invalid(
                &path,
                &object.annotation(APPROVED).unwrap_or_default().into(),
                why,
            )]
        }
    }
}

#[derive(PartialEq, Eq)]
enum Approval {
    Given,
    Missing,
    Invalid,
}

fn approval(object: &Value) -> Approval {
    match object.annotation(APPROVED).unwrap_or_default() {
        "" => Approval::Missing,
        text if text.starts_with("unapproved") => Approval::Given,
        text if text.contains("://") => Approval::Given,
        _ => Approval::Invalid,
    }
}

fn validate_preserve(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    const FIELD: [&str; 2] = ["spec", "preserveUnknownFields"];
    let set = |object: &Value| object.at(&FIELD) == Some(&Value::Bool(true));
    if !set(object) || old.is_some_and(set) {
        return Vec::new();
    }
    let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
    vec![FieldError::invalid(
        &Path::new("spec").child("preserveUnknownFields"),
        &true.into(),
        why,
    )]
}
