//! Columns of built-in resources (Kubernetes `pkg/printers/internalversion`).

use std::collections::BTreeSet;

use serde_json::Value;

use super::Column;
use super::cell::{age, created_at};
use crate::object::ObjectExt;
use crate::time;

type Print = fn(&Value, i128) -> Vec<Value>;

/// Columns and cells of a resource; `None` where Kubernetes has none of its own.
pub(super) fn printer(group: &str, resource: &str) -> Option<(Vec<Column>, Print)> {
    Some(match (group, resource) {
        ("", "namespaces") => (columns(&[("Status", "string", "Phase of the namespace.")]), namespace),
        ("", "configmaps") => (columns(&[("Data", "string", "Number of keys.")]), config_map),
        ("", "secrets") => (
            columns(&[
                ("Type", "string", "Type of the secret."),
                ("Data", "string", "Number of keys."),
            ]),
            secret,
        ),
        ("", "serviceaccounts") => (
            columns(&[("Secrets", "string", "Number of secrets that it lists.")]),
            service_account,
        ),
        ("", "resourcequotas") => (
            columns(&[
                (
                    "Request",
                    "string",
                    "Used and hard amounts of what is requested or counted.",
                ),
                ("Limit", "string", "Used and hard amounts of limits."),
            ]),
            resource_quota,
        ),
        ("" | "events.k8s.io", "events") => (event_columns(), event),
        ("rbac.authorization.k8s.io", "roles" | "clusterroles") => (super::created_at_columns(), created),
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => (binding_columns(), binding),
        ("coordination.k8s.io", "leases") => (columns(&[("Holder", "string", "Who holds the lease.")]), lease),
        ("certificates.k8s.io", "certificatesigningrequests") => (request_columns(), signing_request),
        ("admissionregistration.k8s.io", "validatingwebhookconfigurations" | "mutatingwebhookconfigurations") => {
            (columns(&[("Webhooks", "integer", "Number of webhooks.")]), webhooks)
        }
        ("admissionregistration.k8s.io", "validatingadmissionpolicies") => (
            columns(&[
                ("Validations", "integer", "Number of validations."),
                ("ParamKind", "string", "Kind of its parameters."),
            ]),
            validating_policy,
        ),
        ("admissionregistration.k8s.io", "mutatingadmissionpolicies") => (
            columns(&[
                ("Mutations", "integer", "Number of mutations."),
                ("ParamKind", "string", "Kind of its parameters."),
            ]),
            mutating_policy,
        ),
        ("admissionregistration.k8s.io", "validatingadmissionpolicybindings" | "mutatingadmissionpolicybindings") => (
            columns(&[
                ("PolicyName", "string", "Policy that is bound."),
                ("ParamRef", "string", "Parameters that it is bound with."),
            ]),
            policy_binding,
        ),
        _ => return None,
    })
}

// === columns ===

/// Name, the given ones, age.
fn columns(given: &[(&str, &str, &str)]) -> Vec<Column> {
    let mut columns = vec![Column::name()];
    columns.extend(
        given
            .iter()
            .map(|(name, kind, description)| Column::new(name, kind, description)),
    );
    columns.push(Column::new("Age", "string", "Time since the object was created."));
    columns
}

fn event_columns() -> Vec<Column> {
    let column = |name, description| Column::new(name, "string", description);
    vec![
        column("Last Seen", "Time since the event was last seen."),
        column("Type", "Type of the event."),
        column("Reason", "Why it happened, in one word."),
        column("Object", "What it is about."),
        column("Subobject", "Part of the object that it is about.").wide(),
        column("Source", "Who reported it.").wide(),
        column("Message", "What happened."),
        column("First Seen", "Time since the event was first seen.").wide(),
        column("Count", "How often it was seen.").wide(),
        Column {
            format: "name".to_owned(),
            ..column("Name", "Name of the event.").wide()
        },
    ]
}

fn binding_columns() -> Vec<Column> {
    let mut columns = columns(&[("Role", "string", "Role that is bound.")]);
    columns.push(Column::new("Users", "string", "Users that it is bound to.").wide());
    columns.push(Column::new("Groups", "string", "Groups that it is bound to.").wide());
    columns.push(Column::new("ServiceAccounts", "string", "Service accounts that it is bound to.").wide());
    columns
}

fn request_columns() -> Vec<Column> {
    let column = |name, description| Column::new(name, "string", description);
    vec![
        Column::name(),
        column("Age", "Time since the object was created."),
        column("SignerName", "Signer that is asked."),
        column("Requestor", "User who asks."),
        column("RequestedDuration", "How long the certificate is to be valid."),
        column("Condition", "What has become of the request."),
    ]
}

// === cells ===

fn name(object: &Value) -> Value {
    Value::from(object.name())
}

fn text<'a>(object: &'a Value, path: &[&str]) -> &'a str {
    object.str_at(path).unwrap_or_default()
}

/// Members of a map or items of a list.
fn count(object: &Value, path: &[&str]) -> usize {
    match object.at(path) {
        Some(Value::Array(items)) => items.len(),
        Some(Value::Object(members)) => members.len(),
        _ => 0,
    }
}

fn items<'a>(object: &'a Value, path: &[&str]) -> &'a [Value] {
    object.at(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn namespace(object: &Value, now: i128) -> Vec<Value> {
    vec![
        name(object),
        text(object, &["status", "phase"]).into(),
        age(object, now),
    ]
}

fn config_map(object: &Value, now: i128) -> Vec<Value> {
    vec![
        name(object),
        (count(object, &["data"]) + count(object, &["binaryData"])).into(),
        age(object, now),
    ]
}

fn secret(object: &Value, now: i128) -> Vec<Value> {
    vec![
        name(object),
        text(object, &["type"]).into(),
        count(object, &["data"]).into(),
        age(object, now),
    ]
}

fn service_account(object: &Value, now: i128) -> Vec<Value> {
    vec![name(object), count(object, &["secrets"]).into(), age(object, now)]
}

fn lease(object: &Value, now: i128) -> Vec<Value> {
    vec![
        name(object),
        text(object, &["spec", "holderIdentity"]).into(),
        age(object, now),
    ]
}

fn webhooks(object: &Value, now: i128) -> Vec<Value> {
    vec![name(object), count(object, &["webhooks"]).into(), age(object, now)]
}

fn created(object: &Value, _now: i128) -> Vec<Value> {
    vec![name(object), created_at(object)]
}

fn resource_quota(object: &Value, now: i128) -> Vec<Value> {
    let hard = object.at(&["status", "hard"]).and_then(Value::as_object);
    let resources: BTreeSet<&str> = hard
        .into_iter()
        .flat_map(|hard| hard.keys())
        .map(String::as_str)
        .collect();
    let amount = |of: &str, resource: &str| match object.at(&["status", of, resource]) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => "0".to_owned(),
    };
    let (limits, requests): (Vec<&str>, Vec<&str>) =
        resources.into_iter().partition(|name| name.starts_with("limits."));
    let column = |resources: Vec<&str>| {
        let parts: Vec<String> = resources
            .into_iter()
            .map(|resource| format!("{resource}: {}/{}", amount("used", resource), amount("hard", resource)))
            .collect();
        Value::from(parts.join(", "))
    };
    vec![name(object), column(requests), column(limits), age(object, now)]
}

/// Reads both forms of an event: `v1` and `events.k8s.io/v1` name the same things differently.
fn event(object: &Value, now: i128) -> Vec<Value> {
    let either = |paths: &[&[&str]]| {
        let found = paths
            .iter()
            .map(|path| text(object, path))
            .find(|text| !text.is_empty());
        found.unwrap_or_default().to_owned()
    };
    let since = |text: &str| time::age(Some(text), now);
    let first = since(&either(&[
        &["firstTimestamp"],
        &["deprecatedFirstTimestamp"],
        &["eventTime"],
    ]));
    let last = match either(&[
        &["series", "lastObservedTime"],
        &["lastTimestamp"],
        &["deprecatedLastTimestamp"],
    ]) {
        empty if empty.is_empty() => first.clone(),
        given => since(&given),
    };
    let number = |path: &[&str]| object.at(path).and_then(Value::as_i64).filter(|count| *count > 0);
    let seen = number(&["series", "count"])
        .or(number(&["count"]))
        .or(number(&["deprecatedCount"]))
        .unwrap_or(1);
    let kind = either(&[&["involvedObject", "kind"], &["regarding", "kind"]]).to_lowercase();
    let about = match either(&[&["involvedObject", "name"], &["regarding", "name"]]) {
        unnamed if unnamed.is_empty() => kind,
        named => format!("{kind}/{named}"),
    };
    let component = either(&[
        &["source", "component"],
        &["deprecatedSource", "component"],
        &["reportingController"],
        &["reportingComponent"],
    ]);
    let source = match either(&[
        &["source", "host"],
        &["deprecatedSource", "host"],
        &["reportingInstance"],
    ]) {
        nowhere if nowhere.is_empty() => component,
        host => format!("{component}, {host}"),
    };
    vec![
        last.into(),
        text(object, &["type"]).into(),
        text(object, &["reason"]).into(),
        about.into(),
        either(&[&["involvedObject", "fieldPath"], &["regarding", "fieldPath"]]).into(),
        source.into(),
        either(&[&["message"], &["note"]]).trim().into(),
        first.into(),
        seen.into(),
        name(object),
    ]
}

fn binding(object: &Value, now: i128) -> Vec<Value> {
    let role = format!(
        "{}/{}",
        text(object, &["roleRef", "kind"]),
        text(object, &["roleRef", "name"])
    );
    let subjects = |kind: &str| {
        let of_kind = items(object, &["subjects"])
            .iter()
            .filter(|subject| subject.get("kind").is_some_and(|k| k == kind));
        let names: Vec<String> = of_kind
            .map(|subject| match kind {
                "ServiceAccount" => format!("{}/{}", text(subject, &["namespace"]), text(subject, &["name"])),
                _ => text(subject, &["name"]).to_owned(),
            })
            .collect();
        Value::from(names.join(", "))
    };
    vec![
        name(object),
        role.into(),
        age(object, now),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}

fn signing_request(object: &Value, now: i128) -> Vec<Value> {
    let has = |kind: &str| {
        items(object, &["status", "conditions"])
            .iter()
            .any(|condition| condition.get("type").is_some_and(|k| k == kind))
    };
    let mut condition = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    }
    .to_owned();
    if has("Failed") {
        condition.push_str(",Failed");
    }
    if !text(object, &["status", "certificate"]).is_empty() {
        condition.push_str(",Issued");
    }
    let seconds = object.at(&["spec", "expirationSeconds"]).and_then(Value::as_i64);
    let duration = seconds.map(|seconds| time::human_duration(i128::from(seconds) * 1_000_000_000));
    let signer = match text(object, &["spec", "signerName"]) {
        "" => "<none>",
        signer => signer,
    };
    vec![
        name(object),
        age(object, now),
        signer.into(),
        text(object, &["spec", "username"]).into(),
        duration.unwrap_or_else(|| "<none>".to_owned()).into(),
        condition.into(),
    ]
}

fn validating_policy(object: &Value, now: i128) -> Vec<Value> {
    vec![
        name(object),
        count(object, &["spec", "validations"]).into(),
        param_kind(object),
        age(object, now),
    ]
}

fn mutating_policy(object: &Value, now: i128) -> Vec<Value> {
    vec![
        name(object),
        count(object, &["spec", "mutations"]).into(),
        param_kind(object),
        age(object, now),
    ]
}

fn param_kind(object: &Value) -> Value {
    match object.at(&["spec", "paramKind"]).filter(|kind| kind.is_object()) {
        None => "<unset>".into(),
        Some(kind) => format!("{}/{}", text(kind, &["apiVersion"]), text(kind, &["kind"])).into(),
    }
}

fn policy_binding(object: &Value, now: i128) -> Vec<Value> {
    let param = object.at(&["spec", "paramRef"]).filter(|param| param.is_object());
    let shown = param.map(|param| match (text(param, &["namespace"]), text(param, &["name"])) {
        (_, "") => param
            .get("selector")
            .map_or_else(|| "<unset>".to_owned(), Value::to_string),
        ("", name) => name.to_owned(),
        (namespace, name) => format!("{namespace}/{name}"),
    });
    vec![
        name(object),
        text(object, &["spec", "policyName"]).into(),
        shown.unwrap_or_else(|| "<unset>".to_owned()).into(),
        age(object, now),
    ]
}
