//! The CustomResourceDefinitions that every logical cluster serves without a binding (A.1): kcp's own way of offering APIs,
//! the LogicalCluster, and cached resources. They are objects of the cluster `system:system-crds`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;

use crate::describe::describe_schema;

static CRDS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let mut crds: Vec<Value> = crate::data::parse("system-crds.json");
    for crd in &mut crds {
        let group = crd["spec"]["group"].as_str().unwrap_or_default().to_owned();
        let kind = crd["spec"]["names"]["kind"].as_str().unwrap_or_default().to_owned();
        for version in crd["spec"]["versions"].as_array_mut().into_iter().flatten() {
            describe_schema(&mut version["schema"]["openAPIV3Schema"], &group, &kind);
        }
    }
    crds
});

/// `<plural>.<group>` to hash.
static STORAGE_VERSION_HASHES: LazyLock<BTreeMap<String, String>> =
    LazyLock::new(|| crate::data::parse("storage-version-hashes.json"));

/// The eight of them, `apiextensions.k8s.io/v1`, without status, sorted by name.
pub fn crds() -> &'static [Value] {
    &CRDS
}

/// Whether the resource is one of them.
pub fn serves(group: &str, plural: &str) -> bool {
    CRDS.iter()
        .any(|crd| crd["spec"]["group"] == group && crd["spec"]["names"]["plural"] == plural)
}

/// `storageVersionHash` that kcp's discovery has for a resource of its own, system or exported from root. It is the same in
/// every cluster.
pub fn storage_version_hash(group: &str, plural: &str) -> Option<&'static str> {
    STORAGE_VERSION_HASHES
        .get(&format!("{plural}.{group}"))
        .map(String::as_str)
}
