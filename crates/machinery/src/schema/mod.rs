//! Schemas of custom resources, as Kubernetes' apiextensions treats them: parse, check, prune, default, validate, publish.
//!
//! [`CompiledSchema`] is what a resource is served with. It is built from one version's `openAPIV3Schema` and is to be kept
//! by the schema's content ([`content_key`]): hundreds of clusters with the same API share one. [`Pool`] shares equal parts
//! even among different schemas.
//!
//! Invariants
//! - Everything here is a function of schema and value; nothing panics on either.
//! - Order of work on a request is Kubernetes': prune, default, validate the metadata (not here), validate values, embedded
//!   resources, uniqueness in lists, rules. Rules do not run on an object whose shape is wrong.
//! - Texts, kinds and paths of errors are upstream's. Where upstream's order is random (Go maps), ours is by name.
//!
//! Read next: [`structural`], [`validate`], [`rules`], [`check`], [`openapi`].

pub mod check;
pub mod correlate;
pub mod default;
pub mod embedded;
pub mod field_path;
pub mod format;
pub mod list_type;
mod number;
pub mod openapi;
pub mod pattern;
pub mod prune;
pub mod rules;
pub mod structural;
pub(crate) mod text;
pub mod validate;

use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};

pub use check::check_schema;
pub use structural::{Pool, Schema};

use crate::field::{FieldError, FieldErrorKind, Path};
use rules::Rules;

/// A schema ready to serve: immutable, shared between threads.
#[derive(Debug)]
pub struct CompiledSchema {
    pub structural: Arc<Schema>,
    /// Compiled `x-kubernetes-validations`; none if the schema has none.
    pub cel: Option<Rules>,
}

// === impl CompiledSchema ===

impl CompiledSchema {
    /// Compiles an `openAPIV3Schema`. Never fails: a schema is checked where it enters ([`check_schema`]).
    pub fn new(schema: &Value) -> Self {
        Self::with_pool(schema, &mut Pool::default())
    }

    /// As [`Self::new`], sharing nodes with all other schemas of the pool.
    pub fn with_pool(schema: &Value, pool: &mut Pool) -> Self {
        let structural = pool.parse(schema);
        let cel = Rules::compile(&structural, true);
        Self { structural, cel }
    }

    /// Removes what the schema does not know; returns its paths, sorted: `spec.list[0].x`.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        prune::prune_object(object, &self.structural)
    }

    /// Sets defaults and drops nulls that may not be.
    pub fn default(&self, object: &mut Value) {
        default::apply_defaults(object, &self.structural);
    }

    /// Validates an object; with `old`, as an update: unchanged parts are not held against it, transition rules run.
    /// `path` is put before all paths; the root path for objects.
    pub fn validate(&self, object: &Value, old: Option<&Value>, path: &Path) -> Vec<FieldError> {
        self.validate_after(Vec::new(), object, old, path)
    }

    /// As [`Self::validate`], with what was found before (metadata) in front. Among that, as among what is found here,
    /// errors of shape keep the rules from running, which the last error then says.
    pub fn validate_after(
        &self,
        mut errors: Vec<FieldError>,
        object: &Value,
        old: Option<&Value>,
        path: &Path,
    ) -> Vec<FieldError> {
        errors.extend(validate::validate_value(object, old, &self.structural, path));
        errors.extend(embedded::check_embedded(object, &self.structural, path));
        self.lists_and_rules(errors, object, old, path)
    }

    /// Validates an update through the `status` subresource: only `status` is held against the schema, lists and rules
    /// of the whole object are.
    pub fn validate_status_after(
        &self,
        mut errors: Vec<FieldError>,
        object: &Value,
        old: &Value,
        path: &Path,
    ) -> Vec<FieldError> {
        if let (Some(status), Some(schema)) = (object.get("status"), self.structural.property("status")) {
            let old_status = old.get("status");
            errors.extend(validate::validate_value(
                status,
                old_status,
                schema,
                &path.child("status"),
            ));
        }
        self.lists_and_rules(errors, object, Some(old), path)
    }

    fn lists_and_rules(
        &self,
        mut errors: Vec<FieldError>,
        object: &Value,
        old: Option<&Value>,
        path: &Path,
    ) -> Vec<FieldError> {
        let duplicates = list_type::check_lists(object, &self.structural, path);
        // Duplicates that were there before do not hinder an update.
        let tolerated = !duplicates.is_empty()
            && old.is_some_and(|old| !list_type::check_lists(old, &self.structural, path).is_empty());
        if !tolerated {
            errors.extend(duplicates);
        }
        let Some(rules) = &self.cel else { return errors };
        if errors.iter().any(is_blocking) {
            errors.push(FieldError::new(
                FieldErrorKind::Invalid,
                &Path::root(),
                Some("null".to_owned()),
                "some validation rules were not checked because the object was invalid; \
                 correct the existing errors to complete validation",
            ));
            return errors;
        }
        errors.extend(rules.evaluate(object, old, path));
        errors
    }
}

/// Errors of shape: rules may rely on it.
fn is_blocking(error: &FieldError) -> bool {
    use FieldErrorKind::{NotSupported, Required, TooLong, TooMany, TypeInvalid};
    matches!(error.kind, NotSupported | Required | TooLong | TooMany | TypeInvalid)
}

/// A hash of a schema's content, the same whatever the order of members: the key to share compiled schemas by.
pub fn content_key(schema: &Value) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hash_value(schema, &mut hasher);
    hasher.finalize().into()
}

fn hash_value(value: &Value, hasher: &mut Sha256) {
    match value {
        Value::Object(members) => {
            // Sorted explicitly: the key must not depend on how the map keeps its members.
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by_key(|(name, _)| name.as_str());
            hasher.update([b'{']);
            hasher.update((sorted.len() as u64).to_le_bytes());
            for (name, member) in sorted {
                hasher.update((name.len() as u64).to_le_bytes());
                hasher.update(name.as_bytes());
                hash_value(member, hasher);
            }
        }
        Value::Array(items) => {
            hasher.update([b'[']);
            hasher.update((items.len() as u64).to_le_bytes());
            items.iter().for_each(|item| hash_value(item, hasher));
        }
        Value::String(text) => {
            hasher.update([b'"']);
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        scalar => {
            hasher.update([b'#']);
            let text = scalar.to_string();
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
