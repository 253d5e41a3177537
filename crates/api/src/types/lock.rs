//! Who holds which resource name in a logical cluster: the annotation `internal.apis.kcp.io/resource-bindings` of its
//! LogicalCluster (E.5).

use std::collections::BTreeMap;

use machinery::object::ObjectExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::keys::annotation;

/// The whole annotation: [`resource_key`] to holder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResourceLocks(pub BTreeMap<String, Holder>);

/// Who holds a resource name. Of `binding` and `crd` one is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Name of the APIBinding.
    #[serde(default, rename = "n", skip_serializing_if = "String::is_empty")]
    pub binding: String,
    /// A CustomResourceDefinition of the cluster.
    #[serde(default, rename = "c", skip_serializing_if = "std::ops::Not::not")]
    pub crd: bool,
    /// RFC 3339; until when the name is kept for a CRD that does not exist yet.
    #[serde(default, rename = "e", skip_serializing_if = "Option::is_none")]
    pub expiry: Option<String>,
}

/// `<plural>.<group>`, in the core group the plural alone.
pub fn resource_key(group: &str, plural: &str) -> String {
    if group.is_empty() {
        plural.to_owned()
    } else {
        format!("{plural}.{group}")
    }
}

// === impl ResourceLocks ===

impl ResourceLocks {
    /// Of a LogicalCluster. `None` without the annotation (the cluster is not ready for bindings), or if it cannot be read.
    pub fn read(logical_cluster: &Value) -> Option<Self> {
        serde_json::from_str(logical_cluster.annotation(annotation::RESOURCE_BINDINGS)?).ok()
    }

    /// The annotation's value.
    pub fn to_text(&self) -> String {
        // A map with string keys always serializes.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Takes the names for a binding. Answers those that others hold, with their holders, and takes the rest. A name kept for
    /// a CRD is free once the time is over, if there is no such CRD (`crd_exists`). `now` is RFC 3339 in UTC and whole
    /// seconds, as the expiry.
    pub fn take_for_binding(
        &mut self,
        binding: &str,
        keys: &[String],
        now: &str,
        crd_exists: impl Fn(&str) -> bool,
    ) -> BTreeMap<String, Holder> {
        let mut held = BTreeMap::new();
        for key in keys {
            match self.0.get(key) {
                Some(holder) if !holder.gives_way(binding, now, || crd_exists(key)) => {
                    held.insert(key.clone(), holder.clone());
                }
                _ => {
                    self.0.insert(key.clone(), Holder::of_binding(binding));
                }
            }
        }
        held
    }
}

// === impl Holder ===

impl Holder {
    pub fn of_binding(name: &str) -> Self {
        Self {
            binding: name.to_owned(),
            ..Self::default()
        }
    }

    pub fn of_crd() -> Self {
        Self {
            crd: true,
            ..Self::default()
        }
    }

    fn gives_way(&self, binding: &str, now: &str, crd_exists: impl Fn() -> bool) -> bool {
        if !self.crd {
            return self.binding == binding;
        }
        self.expiry.as_deref().is_some_and(|expiry| expiry < now) && !crd_exists()
    }
}
