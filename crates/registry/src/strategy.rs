//! What is particular to a resource: the rules of its compiled-in kind, or of custom resources in general.

use machinery::field::FieldError;
use machinery::user::User;
use permit::Cluster;
use serde_json::Value;

use crate::{ResourceDef, Subresource};

/// What a strategy may know. Strategies are pure.
pub struct StrategyContext<'a> {
    pub def: &'a ResourceDef,
    pub version: usize,
    pub subresource: Subresource,
    pub cluster: &'a Cluster,
    pub user: &'a User,
    /// RFC 3339, seconds.
    pub now: &'a str,
}

/// Follows Kubernetes' `rest.RESTCreateStrategy` and `RESTUpdateStrategy`.
pub trait Strategy: Send + Sync {
    /// Clears what clients may not set, sets what the server does. Before admission.
    fn prepare_for_create(&self, _ctx: &StrategyContext<'_>, _object: &mut Value) {}

    /// Keeps what an update may not change; bumps `generation` where the kind has one. Before admission.
    fn prepare_for_update(&self, _ctx: &StrategyContext<'_>, _object: &mut Value, _old: &Value) {}

    fn validate(&self, _ctx: &StrategyContext<'_>, _object: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    fn validate_update(&self, _ctx: &StrategyContext<'_>, _object: &Value, _old: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    /// An update without resourceVersion takes whatever is there.
    fn allows_unconditional_update(&self) -> bool {
        true
    }

    /// A PUT of an absent object creates it.
    fn allows_create_on_update(&self) -> bool {
        false
    }

    /// Fields that this subresource may not own (server-side apply's reset fields), as member paths.
    fn reset_fields(&self, _subresource: Subresource) -> &'static [&'static [&'static str]] {
        &[]
    }

    /// Values of the field selectors this kind supports beyond metadata.name and metadata.namespace.
    fn selectable_fields(&self) -> &'static [(&'static str, &'static [&'static str])] {
        &[]
    }

    /// Time to live in seconds, for kinds that expire (events).
    fn ttl_seconds(&self) -> Option<u64> {
        None
    }

    /// Finalizing a delete is held back although `metadata.finalizers` is empty (namespaces: `spec.finalizers`).
    fn holds_deletion(&self, _object: &Value) -> bool {
        false
    }
}
