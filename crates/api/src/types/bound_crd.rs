//! The CRD that stands for a bound schema in `system:bound-crds` (E.4). Bound or not, a schema has one per shard.

use machinery::object::ObjectExt;
use serde_json::{Map, Value, json};

use crate::keys::annotation;

/// A schema that no CRD can be made of. Admission refuses such schemas, so it came some other way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("multiple versions specified for {0} but no conversion strategy")]
pub struct BoundCrdError(pub String);

/// The CRD's name: the schema's uid.
pub fn bound_crd_name(schema: &Value) -> &str {
    schema.uid()
}

/// The CRD of an APIResourceSchema as read from storage (with uid and `kcp.io/cluster`).
pub fn bound_crd(schema: &Value) -> Result<Value, BoundCrdError> {
    let mut annotations = json!({
        annotation::BOUND_CRD: "",
        annotation::SCHEMA_CLUSTER: schema.annotation(annotation::CLUSTER).unwrap_or_default(),
        annotation::SCHEMA_NAME: schema.name(),
    });
    // CRDs of a protected group are refused without it.
    if let Some(approval) = schema.annotation(annotation::API_APPROVED) {
        annotations[annotation::API_APPROVED] = json!(approval);
    }
    if schema.str_at(&["spec", "nameValidation"]) == Some("PathSegmentName") {
        annotations[annotation::VALIDATE_NAME] = json!("path-segment");
    }
    let versions: Vec<Value> = schema
        .at(&["spec", "versions"])
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(version_of)
        .collect();
    let mut spec = Map::new();
    for member in ["group", "names", "scope"] {
        if let Some(value) = schema.at(&["spec", member]) {
            spec.insert(member.to_owned(), value.clone());
        }
    }
    spec.insert("conversion".to_owned(), conversion_of(schema, versions.len())?);
    spec.insert("versions".to_owned(), Value::Array(versions));
    Ok(json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": bound_crd_name(schema), "annotations": annotations},
        "spec": spec,
    }))
}

/// The same version, with the schema where a CRD has it.
fn version_of(version: &Value) -> Value {
    let mut out = version.clone();
    if let Some(schema) = version.get("schema") {
        out["schema"] = json!({"openAPIV3Schema": schema});
    }
    out
}

fn conversion_of(schema: &Value, versions: usize) -> Result<Value, BoundCrdError> {
    let conversion = schema.at(&["spec", "conversion"]);
    if versions < 2 {
        return Ok(json!({"strategy": "None"}));
    }
    let Some(conversion) = conversion else {
        return Err(BoundCrdError(schema.name().to_owned()));
    };
    let mut out = json!({"strategy": conversion.str_at(&["strategy"]).unwrap_or("None")});
    if out["strategy"] == "Webhook" {
        // Only URLs: there are no services to refer to.
        let mut client = json!({"url": conversion.str_at(&["webhook", "clientConfig", "url"]).unwrap_or_default()});
        if let Some(bundle) = conversion.at(&["webhook", "clientConfig", "caBundle"]) {
            client["caBundle"] = bundle.clone();
        }
        let versions = conversion
            .at(&["webhook", "conversionReviewVersions"])
            .cloned()
            .unwrap_or_else(|| json!([]));
        out["webhook"] = json!({"clientConfig": client, "conversionReviewVersions": versions});
    }
    Ok(out)
}
