//! CertificateSigningRequests: what users ask for is fixed; status and approval have endpoints of their own.

use machinery::field::{FieldError, Path};
use machinery::names::{self, NameFn};
use machinery::object::ObjectExt;
use serde_json::{Value, json};

use crate::shape::unbase64;
use crate::strategy::keep;
use crate::{Strategy, StrategyContext, Subresource, VersionDef};

/// Conditions that only `/approval` sets.
const APPROVAL: [&str; 2] = ["Approved", "Denied"];
/// The signer that may not be asked for in v1.
const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
const DURATION_SECONDS_MIN: i64 = 600;

pub struct SigningRequests;

// === impl Strategy for SigningRequests ===

impl Strategy for SigningRequests {
    /// The asker is recorded, whatever the body says.
    fn prepare_for_create(&self, ctx: &StrategyContext<'_>, object: &mut Value) {
        object.remove_at(&["status"]);
        for field in ["username", "uid", "groups", "extra"] {
            object.remove_at(&["spec", field]);
        }
        let user = ctx.user;
        object.set_at(&["spec", "username"], user.name.as_str().into());
        if !user.uid.is_empty() {
            object.set_at(&["spec", "uid"], user.uid.as_str().into());
        }
        if !user.groups.is_empty() {
            object.set_at(&["spec", "groups"], json!(user.groups));
        }
        if !user.extra.is_empty() {
            object.set_at(&["spec", "extra"], json!(user.extra));
        }
    }

    fn prepare_for_update(&self, ctx: &StrategyContext<'_>, object: &mut Value, old: &Value) {
        keep(object, old, &["spec"]);
        match ctx.subresource {
            Subresource::Status => {
                let conditions = merged_conditions(object, old, false);
                set_conditions(object, conditions, ctx.now);
            }
            Subresource::Approval => {
                let conditions = merged_conditions(object, old, true);
                keep(object, old, &["status"]);
                set_conditions(object, conditions, ctx.now);
            }
            _ => keep(object, old, &["status"]),
        }
    }

    fn name_rule(&self) -> NameFn {
        names::path_segment_name
    }

    fn validate(&self, _ctx: &StrategyContext<'_>, object: &Value) -> Vec<FieldError> {
        let path = Path::new("spec");
        let mut errors = Vec::new();
        let request = object.str_at(&["spec", "request"]).unwrap_or_default();
        if let Err(why) = check_request(request) {
            errors.push(FieldError::invalid(&path.child("request"), &request.into(), why));
        }
        errors.extend(validate_usages(object, &path.child("usages")));
        errors.extend(validate_signer(object, &path.child("signerName")));
        let seconds = object.at(&["spec", "expirationSeconds"]).and_then(Value::as_i64);
        if let Some(seconds) = seconds.filter(|n| *n < DURATION_SECONDS_MIN) {
            let why = format!("may not specify a duration less than {DURATION_SECONDS_MIN} seconds (10 minutes)");
            errors.push(FieldError::invalid(
                &path.child("expirationSeconds"),
                &seconds.into(),
                why,
            ));
        }
        errors
    }

    fn validate_update(&self, ctx: &StrategyContext<'_>, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = validate_conditions(object);
        let certificate = |of: &Value| of.str_at(&["status", "certificate"]).unwrap_or_default().to_owned();
        if ctx.subresource == Subresource::Status {
            let (new, old) = (certificate(object), certificate(old));
            if !old.is_empty() && new != old {
                let path = Path::new("status").child("certificate");
                errors.push(FieldError::forbidden(
                    &path,
                    "updates may not modify the issued certificate",
                ));
            }
        }
        errors
    }

    fn reset_fields(&self, _version: &VersionDef, subresource: Subresource) -> &'static [&'static [&'static str]] {
        match subresource {
            Subresource::Status => &[&["spec"]],
            Subresource::Approval => &[&["spec"], &["status", "certificate"]],
            _ => &[&["spec"], &["status"]],
        }
    }

    fn selectable_fields(&self) -> &'static [(&'static str, &'static [&'static str])] {
        &[("spec.signerName", &["spec", "signerName"])]
    }
}

fn conditions(object: &Value) -> &[Value] {
    object
        .at(&["status", "conditions"])
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

fn is_approval(condition: &Value) -> bool {
    condition.str_at(&["type"]).is_some_and(|kind| APPROVAL.contains(&kind))
}

/// `/status` keeps the approval conditions of old, `/approval` keeps all others.
fn merged_conditions(object: &Value, old: &Value, approving: bool) -> Vec<Value> {
    let kept = conditions(old).iter().filter(|c| is_approval(c) != approving);
    let taken = conditions(object).iter().filter(|c| is_approval(c) == approving);
    let mut list: Vec<Value> = if approving {
        kept.chain(taken).cloned().collect()
    } else {
        taken.chain(kept).cloned().collect()
    };
    for condition in &mut list {
        let before = conditions(old).iter().find(|c| c.get("type") == condition.get("type"));
        if let (true, Some(before)) = (condition.get("lastTransitionTime").is_none(), before)
            && before.get("status") == condition.get("status")
            && let Some(time) = before.get("lastTransitionTime")
        {
            condition.set_at(&["lastTransitionTime"], time.clone());
        }
    }
    list
}

fn set_conditions(object: &mut Value, mut list: Vec<Value>, now: &str) {
    for condition in &mut list {
        for field in ["lastUpdateTime", "lastTransitionTime"] {
            if condition.get(field).is_none_or(Value::is_null) {
                condition.set_at(&[field], now.into());
            }
        }
    }
    if list.is_empty() {
        object.remove_at(&["status", "conditions"]);
    } else {
        object.set_at(&["status", "conditions"], list.into());
    }
}

/// The outer form of a request; its signature is the signer's to check.
fn check_request(request: &str) -> Result<(), &'static str> {
    const WHY: &str = "PEM block type must be CERTIFICATE REQUEST";
    let bytes = unbase64(request).unwrap_or_default();
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    let body = text.split_once("-----BEGIN CERTIFICATE REQUEST-----").ok_or(WHY)?.1;
    let body = body.split_once("-----END CERTIFICATE REQUEST-----").ok_or(WHY)?.0;
    let body: String = body.split_whitespace().collect();
    match unbase64(&body) {
        // A DER sequence.
        Some(der) if der.first() == Some(&0x30) => Ok(()),
        _ => Err("asn1: structure error: malformed certificate request"),
    }
}

fn validate_usages(object: &Value, path: &Path) -> Vec<FieldError> {
    let usages = object
        .at(&["spec", "usages"])
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    if usages.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let mut errors = Vec::new();
    for (index, usage) in usages.iter().enumerate() {
        let text = usage.as_str().unwrap_or_default();
        if !USAGES.contains(&text) {
            errors.push(FieldError::not_supported(&path.index(index), usage, &USAGES));
        }
        if usages.iter().take(index).any(|before| before == usage) {
            errors.push(FieldError::duplicate(&path.index(index), usage));
        }
    }
    errors
}

fn validate_signer(object: &Value, path: &Path) -> Vec<FieldError> {
    let signer = object.str_at(&["spec", "signerName"]).unwrap_or_default();
    if signer.is_empty() {
        return vec![FieldError::required(path, "")];
    }
    let invalid = |why: &str| vec![FieldError::invalid(path, &signer.into(), why)];
    if signer == LEGACY_SIGNER {
        return invalid("the legacy signerName is not allowed via this API version");
    }
    match signer.split_once('/') {
        Some((domain, rest)) if domain.contains('.') && !rest.is_empty() => {
            let texts = names::dns1123_subdomain(domain);
            texts
                .into_iter()
                .map(|why| FieldError::invalid(path, &domain.into(), why))
                .collect()
        }
        _ => invalid("must be a fully qualified domain and path of the form 'example.com/signer-name'"),
    }
}

fn validate_conditions(object: &Value) -> Vec<FieldError> {
    let path = Path::new("status").child("conditions");
    let mut errors = Vec::new();
    for (index, condition) in conditions(object).iter().enumerate() {
        let kind = condition.str_at(&["type"]).unwrap_or_default();
        let path = path.index(index);
        if kind.is_empty() {
            errors.push(FieldError::required(&path.child("type"), ""));
        }
        let status = condition.str_at(&["status"]).unwrap_or_default();
        match status {
            "" => errors.push(FieldError::required(&path.child("status"), "")),
            "True" => {}
            "False" | "Unknown" if APPROVAL.contains(&kind) || kind == "Failed" => {
                errors.push(FieldError::not_supported(
                    &path.child("status"),
                    &status.into(),
                    &["True"],
                ));
            }
            "False" | "Unknown" => {}
            _ => {
                let known = ["True", "False", "Unknown"];
                errors.push(FieldError::not_supported(&path.child("status"), &status.into(), &known));
            }
        }
    }
    let has = |kind: &str| conditions(object).iter().any(|c| c.str_at(&["type"]) == Some(kind));
    if has("Approved") && has("Denied") {
        let why = "Approved and Denied conditions are mutually exclusive";
        errors.push(FieldError::invalid(&path, &"Denied".into(), why));
    }
    errors
}
