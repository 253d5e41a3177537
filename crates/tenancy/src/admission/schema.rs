//! APIResourceSchemas: the name, the group's rules, an immutable spec (facts I.2). What the schemas themselves must obey
//! is checked by the registry with the rules of CustomResourceDefinitions.

use api::keys::{self, annotation};
use machinery::field::{FieldError, Path};
use machinery::object::ObjectExt;
use machinery::status::Status;
use permit::Verb;
use serde_json::{Value, json};

use super::Review;

/// Groups without a dot that Kubernetes itself has.
const SHORT_GROUPS: &[&str] = &["apps", "batch", "extensions", "policy", "autoscaling"];

pub(super) fn validate(review: &Review<'_>) -> Result<(), Status> {
    if !review.is(keys::group::APIS, "apiresourceschemas") || !review.is_write() {
        return Ok(());
    }
    let object = review.object();
    if let (Verb::Update, Some(old)) = (review.verb, review.old) {
        if old.get("spec") != object.get("spec") {
            let spec = object.get("spec").cloned().unwrap_or_default();
            return review.forbidden_list(&[FieldError::invalid(&Path::new("spec"), &spec, "is immutable")]);
        }
        return Ok(());
    }
    let mut errors = name_errors(object);
    errors.extend(group_errors(object));
    let group = object.str_at(&["spec", "group"]).unwrap_or_default();
    // As for CustomResourceDefinitions: what root exports, nobody else does.
    if keys::group::OWN.contains(&group)
        && review.cluster.as_str() != keys::cluster::ROOT
        && !review.cluster.is_system()
    {
        let path = Path::new("spec").child("group");
        errors.push(FieldError::invalid(&path, &json!(group), "is a reserved group"));
    }
    errors.extend(version_errors(object));
    review.forbidden_list(&errors)
}

fn name_errors(object: &Value) -> Vec<FieldError> {
    let path = Path::new("metadata").child("name");
    let group = object.str_at(&["spec", "group"]).unwrap_or_default();
    let shown = if group.is_empty() {
        keys::group::CORE_IN_NAMES
    } else {
        group
    };
    let suffix = format!(
        ".{}.{shown}",
        object.str_at(&["spec", "names", "plural"]).unwrap_or_default()
    );
    let Some(prefix) = object.name().strip_suffix(&suffix) else {
        return vec![FieldError::invalid(
            &path,
            &json!(object.name()),
            format!("must end in {suffix}"),
        )];
    };
    let bytes = prefix.as_bytes();
    let tail = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    let ok = bytes.first().is_some_and(u8::is_ascii_lowercase)
        && bytes.iter().all(tail)
        && bytes.last().is_some_and(|b| *b != b'-');
    if ok {
        return Vec::new();
    }
    let detail = format!("must match ^[a-z]([-a-z0-9]*[a-z0-9])?$ in front of {suffix}");
    vec![FieldError::invalid(&path, &json!(object.name()), detail)]
}

fn group_errors(object: &Value) -> Vec<FieldError> {
    let group = object.str_at(&["spec", "group"]).unwrap_or_default();
    let path = Path::new("spec").child("group");
    let mut errors = Vec::new();
    if group == keys::group::CORE_IN_NAMES {
        errors.push(FieldError::invalid(
            &path,
            &json!(group),
            "must be empty string for the core group",
        ));
    } else if !group.is_empty() && !group.contains('.') && !SHORT_GROUPS.contains(&group) {
        errors.push(FieldError::invalid(
            &path,
            &json!(group),
            "should be a domain with at least one dot",
        ));
    }
    let protected = |domain: &str| group == domain || group.ends_with(&format!(".{domain}"));
    if protected("k8s.io") || protected("kubernetes.io") {
        errors.extend(approval_error(object.annotation(annotation::API_APPROVED)));
    }
    errors
}

/// The annotation holds a URL, or `unapproved…`.
fn approval_error(approval: Option<&str>) -> Option<FieldError> {
    const WHERE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";
    let path = Path::new("metadata").child("annotations").key(annotation::API_APPROVED);
    match approval {
        None | Some("") => {
            let text = format!(
                "protected groups must have approval annotation {:?}, {WHERE}",
                annotation::API_APPROVED
            );
            Some(FieldError::required(&path, text))
        }
        Some(text) if text.starts_with("unapproved") || text.contains("://") => None,
        Some(text) => {
            let detail = format!(
                "protected groups must have approval annotation {:?} with either a URL or a reason starting with \"unapproved\", {WHERE}",
                annotation::API_APPROVED
            );
            Some(FieldError::invalid(&path, &json!(text), detail))
        }
    }
}

fn version_errors(object: &Value) -> Vec<FieldError> {
    let path = Path::new("spec").child("versions");
    let versions = object
        .at(&["spec", "versions"])
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let mut errors = Vec::new();
    let mut names: Vec<&str> = versions.iter().filter_map(|v| v.str_at(&["name"])).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        errors.push(FieldError::invalid(
            &path,
            &Value::Array(versions.clone()),
            "must contain unique version names",
        ));
    }
    let stored = versions
        .iter()
        .filter(|v| v.get("storage").and_then(Value::as_bool) == Some(true))
        .count();
    if stored != 1 {
        let detail = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid(&path, &Value::Array(versions.clone()), detail));
    }
    for (index, version) in versions.iter().enumerate() {
        if version.get("schema").is_none_or(Value::is_null) {
            errors.push(FieldError::required(&path.index(index).child("schema"), ""));
        }
    }
    errors
}
