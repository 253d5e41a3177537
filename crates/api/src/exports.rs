//! The APIs that kcp itself offers by APIExport from the root workspace (A.1).

use std::sync::LazyLock;

use serde_json::Value;

use crate::describe::describe_schema;

static SCHEMAS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let mut schemas: Vec<Value> = crate::data::parse("apiresourceschemas.json");
    for schema in &mut schemas {
        let group = schema["spec"]["group"].as_str().unwrap_or_default().to_owned();
        let kind = schema["spec"]["names"]["kind"].as_str().unwrap_or_default().to_owned();
        for version in schema["spec"]["versions"].as_array_mut().into_iter().flatten() {
            describe_schema(&mut version["schema"], &group, &kind);
        }
    }
    schemas
});

static EXPORTS: LazyLock<Vec<Value>> = LazyLock::new(|| crate::data::parse("apiexports.json"));

/// The twelve APIResourceSchemas of root, `apis.kcp.io/v1alpha1`, sorted by name. Two of them no export names: cachedobjects
/// and logicalclusters.
pub fn schemas() -> &'static [Value] {
    &SCHEMAS
}

/// The five APIExports of root, `apis.kcp.io/v1alpha2`, sorted by name, without `spec.identity` and status, which a
/// controller fills (E.1).
pub fn exports() -> &'static [Value] {
    &EXPORTS
}

/// The schema of a name.
pub fn schema(name: &str) -> Option<&'static Value> {
    SCHEMAS.iter().find(|schema| schema["metadata"]["name"] == name)
}

/// The schema that an export of root pins for a resource.
pub fn exported_schema(group: &str, plural: &str) -> Option<&'static Value> {
    let resources = EXPORTS
        .iter()
        .filter_map(|export| export["spec"]["resources"].as_array())
        .flatten();
    let mut fitting = resources.filter(|r| r["group"] == group && r["name"] == plural);
    schema(fitting.next()?["schema"].as_str()?)
}
