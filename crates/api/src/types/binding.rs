//! The APIBinding that initialization makes for a default binding of a type (D.7).

use machinery::object::ObjectExt;
use serde_json::{Value, json};

use crate::hashes::default_binding_name;
use crate::keys::{api_version, phase};

/// A default binding, resolved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DefaultBinding<'a> {
    /// Name of the logical cluster that binds.
    pub cluster: &'a str,
    /// Path of the export's cluster: the type's `path`, or the *name* of the type's own cluster where there is none.
    pub export_path: &'a str,
    /// The APIExport, in v1alpha2.
    pub export: &'a Value,
}

/// The binding, with all claims of the export accepted. A claim grants what its `defaultSelector` selects, or everything.
pub fn default_binding(of: DefaultBinding<'_>) -> Value {
    let name = of.export.name();
    let mut spec = json!({"reference": {"export": {"name": name, "path": of.export_path}}});
    let claims = of.export.at(&["spec", "permissionClaims"]).and_then(Value::as_array);
    let accepted: Vec<Value> = claims.into_iter().flatten().map(accepted).collect();
    if !accepted.is_empty() {
        spec["permissionClaims"] = Value::Array(accepted);
    }
    json!({
        "apiVersion": api_version::APIS_V1ALPHA2,
        "kind": "APIBinding",
        "metadata": {"name": default_binding_name(of.cluster, of.export_path, name)},
        "spec": spec,
    })
}

fn accepted(claim: &Value) -> Value {
    let mut out = claim.clone();
    // As bindings are stored.
    out.remove_at(&["defaultSelector"]);
    if out.str_at(&["identityHash"]) == Some("") {
        out.remove_at(&["identityHash"]);
    }
    let selector = claim.get("defaultSelector").filter(|selector| selector.is_object());
    out.set_at(
        &["selector"],
        selector.cloned().unwrap_or_else(|| json!({"matchAll": true})),
    );
    out.set_at(&["state"], json!(phase::claim::ACCEPTED));
    out
}
