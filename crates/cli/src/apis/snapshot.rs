//! `crd snapshot`: an APIResourceSchema from a CustomResourceDefinition, without a server.

use std::io::Read;
use std::path::Path;

use anyhow::{anyhow, bail};
use machinery::object::ObjectExt;
use serde_json::{Map, Value, json};

use crate::output::Console;

/// Converts the CRDs of a file.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// `-` is standard input.
    pub file: String,
    /// Stands before the CRD's name, so that schemas of one resource tell apart: `v240102`.
    pub prefix: String,
    pub format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Yaml,
}

// === impl Snapshot ===

impl Snapshot {
    pub fn run(&self, console: &Console, disk: &dyn env::Disk) -> anyhow::Result<()> {
        let mut text = String::new();
        if self.file == "-" {
            std::io::stdin().read_to_string(&mut text)?;
        } else {
            let read = disk.read(Path::new(&self.file));
            let read = read.map_err(|why| anyhow!("error opening {}: {why}", self.file))?;
            text = String::from_utf8(read)?;
        }
        for document in documents(&text) {
            let crd = machinery::yaml::decode_either(document.as_bytes())?.value;
            let schema = schema_of(&crd, &self.prefix)?;
            console.say(match self.format {
                Format::Json => schema.to_string(),
                Format::Yaml => machinery::yaml::encode(&schema),
            })?;
            console.say("---")?;
        }
        Ok(())
    }
}

/// The documents of a YAML stream that have content.
fn documents(text: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    for line in text.lines() {
        if line == "---" || line.starts_with("--- ") {
            all.push(String::new());
        } else if let Some(current) = all.last_mut() {
            current.push_str(line);
            current.push('\n');
        }
    }
    let content = |document: &String| {
        document
            .lines()
            .any(|l| !l.trim().is_empty() && !l.trim_start().starts_with('#'))
    };
    all.retain(content);
    all
}

/// The schema, named `<prefix>.<name of the CRD>`.
fn schema_of(crd: &Value, prefix: &str) -> anyhow::Result<Value> {
    if crd.kind() != "CustomResourceDefinition" || crd.api_version() != "apiextensions.k8s.io/v1" {
        bail!("unexpected type for CRD {}, {}", crd.api_version(), crd.kind());
    }
    let name = format!("{prefix}.{}", crd.name());
    if let Some(wrong) = machinery::names::dns1123_subdomain(&name).first() {
        bail!("error converting CRD: metadata.name: Invalid value: {name:?}: {wrong}");
    }
    let empty = Vec::new();
    let versions = crd
        .at(&["spec", "versions"])
        .and_then(Value::as_array)
        .unwrap_or(&empty);
    let conversion = crd
        .at(&["spec", "conversion"])
        .filter(|conversion| !conversion.is_null());
    if versions.len() > 1 && conversion.is_none() {
        bail!(
            "error converting CRD: multiple versions specified for {} but no conversion strategy",
            crd.name()
        );
    }
    let mut spec = Map::new();
    if let Some(conversion) = conversion {
        let converted = conversion_of(conversion).map_err(|why| anyhow!("error converting CRD: {why}"))?;
        spec.insert("conversion".to_owned(), converted);
    }
    for member in ["group", "names", "scope"] {
        if let Some(value) = crd.at(&["spec", member]) {
            spec.insert(member.to_owned(), value.clone());
        }
    }
    let versions = versions.iter().map(version_of).collect();
    spec.insert("versions".to_owned(), Value::Array(versions));
    Ok(json!({
        "apiVersion": "apis.kcp.io/v1alpha1",
        "kind": "APIResourceSchema",
        "metadata": {"name": name},
        "spec": spec,
    }))
}

/// A schema stands in its version without the wrapper `openAPIV3Schema`.
fn version_of(version: &Value) -> Value {
    let mut out = Map::new();
    let kept = [
        "name",
        "served",
        "storage",
        "deprecated",
        "deprecationWarning",
        "additionalPrinterColumns",
        "selectableFields",
    ];
    for member in kept {
        if let Some(value) = version.get(member) {
            out.insert(member.to_owned(), value.clone());
        }
    }
    let schema = version.at(&["schema", "openAPIV3Schema"]);
    out.insert("schema".to_owned(), schema.cloned().unwrap_or(Value::Null));
    let subresources = version.get("subresources").filter(|value| !value.is_null());
    out.insert(
        "subresources".to_owned(),
        subresources.cloned().unwrap_or_else(|| json!({})),
    );
    Value::Object(out)
}

/// Webhooks are called by URL only: a service would be one of the provider's workspace.
fn conversion_of(conversion: &Value) -> Result<Value, &'static str> {
    let strategy = conversion.str_at(&["strategy"]).unwrap_or_default();
    let mut out = json!({"strategy": strategy});
    if strategy != "Webhook" {
        return Ok(out);
    }
    let webhook = |member: &str| conversion.at(&["webhook", member]).filter(|value| !value.is_null());
    if let Some(versions) = webhook("conversionReviewVersions") {
        out.set_at(&["webhook", "conversionReviewVersions"], versions.clone());
    }
    if let Some(client) = webhook("clientConfig") {
        if client.get("service").is_some_and(|service| !service.is_null()) {
            return Err("webhooks that refer to services are not supported, please use URL instead");
        }
        let url = client.str_at(&["url"]).ok_or("webhooks URL must be set")?;
        out.set_at(&["webhook", "clientConfig", "url"], json!(url));
        if let Some(bundle) = client.get("caBundle") {
            out.set_at(&["webhook", "clientConfig", "caBundle"], bundle.clone());
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRD: &str = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.e.io}\n\
                       spec:\n  group: e.io\n  scope: Namespaced\n  names: {plural: things, kind: Thing}\n  versions:\n\
                       \x20 - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}\n";

    #[test]
    fn a_crd_becomes_a_schema() {
        let crd = machinery::yaml::decode_value(CRD.as_bytes()).expect("valid");
        let schema = schema_of(&crd, "v1").expect("converts");
        assert_eq!(schema.name(), "v1.things.e.io");
        let version = &schema["spec"]["versions"][0];
        assert_eq!(version["schema"], json!({"type": "object"}));
        assert_eq!(version["subresources"], json!({}));
        assert!(schema["spec"].get("conversion").is_none());
        assert!(schema_of(&crd, "V_").is_err());
    }

    #[test]
    fn refuses_webhooks_of_services_and_versions_without_conversion() {
        let mut crd = machinery::yaml::decode_value(CRD.as_bytes()).expect("valid");
        crd.set_at(
            &["spec", "conversion"],
            json!({"strategy": "Webhook", "webhook": {"clientConfig": {"service": {}}}}),
        );
        assert!(schema_of(&crd, "v1").is_err_and(|why| why.to_string().contains("services are not supported")));
        crd.remove_at(&["spec", "conversion"]);
        let one = crd["spec"]["versions"][0].clone();
        crd.set_at(&["spec", "versions"], json!([one.clone(), one]));
        assert!(schema_of(&crd, "v1").is_err_and(|why| why.to_string().contains("no conversion strategy")));
    }

    #[test]
    fn a_stream_has_the_documents_with_content() {
        assert_eq!(documents("---\n# none\n---\na: 1\n---\nb: 2\n"), ["a: 1\n", "b: 2\n"]);
    }
}
