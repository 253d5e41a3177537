//! Permission claims of both versions, with the member order and omissions of kcp's encoding: they end up as text in
//! annotations, which clients compare.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// A v1alpha1 claim, of an export or (with `state`) of a binding.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct OldClaim {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    pub resource: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    #[serde(
        rename = "resourceSelector",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "or_null"
    )]
    pub resource_selector: Vec<Value>,
    #[serde(rename = "identityHash", skip_serializing_if = "String::is_empty")]
    pub identity_hash: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// A v1alpha2 claim, of an export, or (with `selector` and `state`) of a binding.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct NewClaim {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    pub resource: String,
    #[serde(deserialize_with = "or_null")]
    pub verbs: Vec<String>,
    #[serde(rename = "identityHash", skip_serializing_if = "String::is_empty")]
    pub identity_hash: String,
    #[serde(rename = "defaultSelector", skip_serializing_if = "Option::is_none")]
    pub default_selector: Option<Selector>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// Which objects a v1alpha2 claim is about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Selector {
    #[serde(
        rename = "matchLabels",
        skip_serializing_if = "Map::is_empty",
        deserialize_with = "or_null"
    )]
    pub match_labels: Map<String, Value>,
    #[serde(
        rename = "matchExpressions",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "or_null"
    )]
    pub match_expressions: Vec<Value>,
    #[serde(rename = "matchAll", skip_serializing_if = "std::ops::Not::not")]
    pub match_all: bool,
}

/// What claims of both versions are matched by.
pub(super) trait Claim {
    fn identity(&self) -> (&str, &str, &str);
}

/// Runs `restore` on each of `claims` with the kept claim of the same group, resource and identity.
pub(super) fn restore<C: Claim, K: Claim>(claims: &mut [C], kept: &[K], mut restore: impl FnMut(&mut C, &K)) {
    for kept in kept {
        for claim in claims.iter_mut().filter(|claim| claim.identity() == kept.identity()) {
            restore(claim, kept);
        }
    }
}

/// Go writes an absent list as `null`, and reads it as an empty one.
fn or_null<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

// === impl OldClaim ===

impl Claim for OldClaim {
    fn identity(&self) -> (&str, &str, &str) {
        (&self.group, &self.resource, &self.identity_hash)
    }
}

impl OldClaim {
    /// As an export says it: without verbs, which are filled in afterwards.
    pub fn to_export_claim(&self) -> NewClaim {
        NewClaim {
            group: self.group.clone(),
            resource: self.resource.clone(),
            identity_hash: self.identity_hash.clone(),
            ..NewClaim::default()
        }
    }

    /// As a binding says it.
    pub fn to_binding_claim(&self) -> NewClaim {
        let selector = Selector {
            match_all: self.all,
            ..Selector::default()
        };
        NewClaim {
            selector: Some(selector),
            state: self.state.clone(),
            ..self.to_export_claim()
        }
    }
}

// === impl NewClaim ===

impl Claim for NewClaim {
    fn identity(&self) -> (&str, &str, &str) {
        (&self.group, &self.resource, &self.identity_hash)
    }
}

impl NewClaim {
    /// `all` and `resourceSelector` are of a binding; those of an export come from an annotation, if at all.
    pub fn to_old(&self) -> OldClaim {
        OldClaim {
            group: self.group.clone(),
            resource: self.resource.clone(),
            all: self.matches_all(),
            resource_selector: Vec::new(),
            identity_hash: self.identity_hash.clone(),
            state: self.state.clone(),
        }
    }

    /// v1alpha1 knows of no verbs; what it says means all.
    pub fn has_all_verbs(&self) -> bool {
        self.verbs == ["*"]
    }

    pub fn matches_all(&self) -> bool {
        self.selector.as_ref().is_some_and(|selector| selector.match_all)
    }

    pub fn default_verbs(&mut self) {
        if self.verbs.is_empty() {
            self.verbs = vec!["*".to_owned()];
        }
    }

    /// A claim that selects by name in v1alpha1 has always meant all objects.
    pub fn default_selector(&mut self) {
        let selector = self.selector.get_or_insert_default();
        if selector.match_labels.is_empty() && selector.match_expressions.is_empty() {
            selector.match_all = true;
        }
    }
}
