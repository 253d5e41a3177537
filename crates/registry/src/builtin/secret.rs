//! Secrets: `stringData`, the keys that each type requires, immutability of type and data.

use machinery::field::{FieldError, Path};
use machinery::object::ObjectExt;
use serde_json::{Map, Value};

use super::configmap::{SIZE_BYTES_MAX, decoded_len, members, validate_immutable, validate_key};
use crate::shape::{base64_text, unbase64};
use crate::{Strategy, StrategyContext};

const REDACTED: &str = "<secret contents redacted>";
const SERVICE_ACCOUNT_TOKEN: &str = "kubernetes.io/service-account-token";
const SERVICE_ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";

pub struct Secrets;

// === impl Strategy for Secrets ===

impl Strategy for Secrets {
    /// `stringData` is write-only: it becomes `data` while decoding, so its writer owns `data`.
    fn default(&self, _ctx: &StrategyContext<'_>, object: &mut Value) {
        if let Some(Value::Object(texts)) = object.remove_at(&["stringData"]) {
            merge_texts(object, texts);
        }
        if object.str_at(&["type"]).unwrap_or_default().is_empty() {
            object.set_at(&["type"], "Opaque".into());
        }
    }

    fn prepare_for_update(&self, _ctx: &StrategyContext<'_>, object: &mut Value, old: &Value) {
        // Kubernetes takes an update without a type for one that keeps it.
        if object.str_at(&["type"]).unwrap_or_default().is_empty()
            && let Some(kind) = old.get("type")
        {
            object.set_at(&["type"], kind.clone());
        }
    }

    fn validate(&self, _ctx: &StrategyContext<'_>, object: &Value) -> Vec<FieldError> {
        let path = Path::new("data");
        let mut errors = Vec::new();
        let mut total = 0;
        for (key, value) in members(object, "data") {
            errors.extend(validate_key(&path.key(key), key));
            total += decoded_len(value);
        }
        if total > SIZE_BYTES_MAX {
            errors.push(FieldError::too_long(&path, SIZE_BYTES_MAX));
        }
        errors.extend(validate_type(object, &path));
        errors
    }

    fn validate_update(&self, ctx: &StrategyContext<'_>, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if object.get("type") != old.get("type") {
            let kind = object.get("type").cloned().unwrap_or_else(|| "".into());
            errors.push(FieldError::invalid(&Path::new("type"), &kind, "field is immutable"));
        }
        errors.extend(validate_immutable(object, old, &["data"]));
        errors.extend(self.validate(ctx, object));
        errors
    }

    fn selectable_fields(&self) -> &'static [(&'static str, &'static [&'static str])] {
        &[("type", &["type"])]
    }
}

fn merge_texts(object: &mut Value, texts: Map<String, Value>) {
    if texts.is_empty() {
        return;
    }
    for (key, value) in texts {
        let text = value.as_str().unwrap_or_default();
        object.set_at(&["data", &key], base64_text(text.as_bytes()).into());
    }
}

fn has(object: &Value, key: &str) -> bool {
    object.at(&["data", key]).is_some()
}

fn is_empty(object: &Value, key: &str) -> bool {
    object.str_at(&["data", key]).unwrap_or_default().is_empty()
}

fn validate_type(object: &Value, path: &Path) -> Vec<FieldError> {
    let required = |key: &str| vec![FieldError::required(&path.key(key), "")];
    match object.str_at(&["type"]).unwrap_or_default() {
        SERVICE_ACCOUNT_TOKEN if object.annotation(SERVICE_ACCOUNT_NAME).unwrap_or_default().is_empty() => {
            let path = Path::new("metadata").child("annotations").key(SERVICE_ACCOUNT_NAME);
            vec![FieldError::required(&path, "")]
        }
        "kubernetes.io/dockercfg" => validate_json(object, path, ".dockercfg"),
        "kubernetes.io/dockerconfigjson" => validate_json(object, path, ".dockerconfigjson"),
        "kubernetes.io/basic-auth" if !has(object, "username") && !has(object, "password") => {
            [required("username"), required("password")].concat()
        }
        "kubernetes.io/ssh-auth" if is_empty(object, "ssh-privatekey") => required("ssh-privatekey"),
        "kubernetes.io/tls" => {
            let absent = ["tls.crt", "tls.key"].into_iter().filter(|key| !has(object, key));
            absent.flat_map(required).collect()
        }
        _ => Vec::new(),
    }
}

fn validate_json(object: &Value, path: &Path, key: &str) -> Vec<FieldError> {
    let path = path.key(key);
    let Some(text) = object.str_at(&["data", key]) else {
        return vec![FieldError::required(&path, "")];
    };
    let bytes = unbase64(text).unwrap_or_default();
    let why = match machinery::json::decode_value(&bytes) {
        Ok(Value::Object(_) | Value::Null) => return Vec::new(),
        Ok(_) => "json: cannot unmarshal into Go value of type map[string]interface {}".to_owned(),
        Err(error) => error.to_string(),
    };
    vec![FieldError::invalid(&path, &REDACTED.into(), why)]
}
