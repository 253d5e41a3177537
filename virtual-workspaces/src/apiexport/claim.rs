//! Labels that an accepted claim asks for: objects written through it get them (kcp's facts, E.7).

use machinery::object::{GroupResource, ObjectExt};
use machinery::status::{Result, Status};
use registry::Patch;
use serde_json::{Map, Value, json};
use tenancy::claims::selects;

/// A claim as the consumer accepted it, for one resource.
pub(super) struct Accepted {
    pub of: GroupResource,
    /// The entry of the binding's `spec.permissionClaims`.
    pub claim: Value,
}

// === impl Accepted ===

impl Accepted {
    /// Makes a new or replaced object one that the claim covers.
    pub fn fit(&self, object: &mut Value) -> Result<()> {
        self.inject(object)?;
        if selects(&self.claim, object) {
            return Ok(());
        }
        Err(Status::forbidden(
            &self.of,
            object.name(),
            "object does not match required labels",
        ))
    }

    fn inject(&self, object: &mut Value) -> Result<()> {
        for (key, value) in self.labels() {
            match object.label(key) {
                None => object.set_label(key, value),
                Some(found) if found == value => {}
                Some(_) => return Err(self.protected(object.name(), key, value)),
            }
        }
        Ok(())
    }

    /// Keeps a patch from taking the labels away. What else it may do to them is seen by storage: an object that leaves the
    /// claim's view is not written.
    pub fn fit_patch(&self, patch: Patch, name: &str) -> Result<Patch> {
        Ok(match patch {
            Patch::Json(patch) => Patch::Json(patch),
            Patch::Merge(patch) => Patch::Merge(self.keep(patch, name)?),
            Patch::Strategic(patch) => Patch::Strategic(self.keep(patch, name)?),
            // The applied configuration is the whole of what this manager wants, and may be the beginning of the object.
            Patch::Apply(mut config) => {
                self.inject(&mut config)?;
                Patch::Apply(config)
            }
        })
    }

    /// Labels that a merged patch sets or removes.
    fn keep(&self, mut patch: Value, name: &str) -> Result<Value> {
        let Some(labels) = patch.get_mut("metadata").and_then(|meta| meta.get_mut("labels")) else {
            return Ok(patch);
        };
        let Some(members) = labels.as_object_mut() else {
            return Ok(patch);
        };
        for (key, value) in self.labels() {
            match members.get(key) {
                None => {}
                Some(found) if found == value => {}
                // Removed: injected again, as into any object without it.
                Some(Value::Null) => drop(members.insert(key.to_owned(), json!(value))),
                Some(_) => return Err(self.protected(name, key, value)),
            }
        }
        Ok(patch)
    }

    fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        let labels: Option<&Map<String, Value>> =
            self.claim.at(&["selector", "matchLabels"]).and_then(Value::as_object);
        labels
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
    }

    fn protected(&self, name: &str, key: &str, value: &str) -> Status {
        Status::forbidden(&self.of, name, format!("protected label {key} must have value {value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(selector: Value) -> Accepted {
        Accepted {
            of: GroupResource::new("", "configmaps"),
            claim: json!({ "selector": selector }),
        }
    }

    #[test]
    fn labels_are_injected_and_protected() {
        let claim = accepted(json!({"matchLabels": {"app": "x"}}));
        let mut object = json!({"metadata": {"name": "a"}});
        claim.fit(&mut object).unwrap();
        assert_eq!(object.label("app"), Some("x"));
        let mut other = json!({"metadata": {"name": "a", "labels": {"app": "y"}}});
        let refused = claim.fit(&mut other).unwrap_err();
        assert_eq!(
            refused.message,
            "configmaps \"a\" is forbidden: protected label app must have value x"
        );
        assert_eq!(refused.code, 403);
    }

    #[test]
    fn expressions_are_only_checked() {
        let claim = accepted(json!({"matchExpressions": [{"key": "app", "operator": "Exists"}]}));
        let refused = claim.fit(&mut json!({"metadata": {"name": "a"}})).unwrap_err();
        assert_eq!(
            refused.message,
            "configmaps \"a\" is forbidden: object does not match required labels"
        );
        assert!(
            claim
                .fit(&mut json!({"metadata": {"name": "a", "labels": {"app": "z"}}}))
                .is_ok()
        );
    }

    #[test]
    fn patches_cannot_remove_what_is_required() {
        let claim = accepted(json!({"matchLabels": {"app": "x"}}));
        let patch = claim.fit_patch(
            Patch::Merge(json!({"metadata": {"labels": {"app": null, "b": "c"}}})),
            "a",
        );
        let Ok(Patch::Merge(patch)) = patch else {
            panic!("a merge patch stays one")
        };
        assert_eq!(patch, json!({"metadata": {"labels": {"app": "x", "b": "c"}}}));
        let patch = Patch::Merge(json!({"metadata": {"labels": {"app": "y"}}}));
        assert_eq!(claim.fit_patch(patch, "a").unwrap_err().code, 403);
    }
}
