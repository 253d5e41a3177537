//! The compiled-in kinds of Kubernetes that a control plane serves: one file a kind, each with the rules and the texts of
//! its upstream strategy. What a kind looks like (its OpenAPI definition) is data and comes from outside, see [`table`].

mod admission;
mod binding;
mod certificate;
mod configmap;
mod definition;
mod event;
mod lease;
mod namespace;
mod quota;
mod role;
mod secret;
mod serviceaccount;
mod table;

use std::sync::Arc;

pub use table::{BuiltinResource, builtin_defs};

use crate::Strategy;

#[cfg(test)]
mod tests;

/// A kind without rules of its own.
pub struct Plain;

impl Strategy for Plain {}

/// The rules of a compiled-in kind; [`Plain`] for what has none.
pub fn strategy_for(group: &str, resource: &str) -> Arc<dyn Strategy> {
    match (group, resource) {
        ("", "namespaces") => Arc::new(namespace::Namespaces),
        ("", "configmaps") => Arc::new(configmap::ConfigMaps),
        ("", "secrets") => Arc::new(secret::Secrets),
        ("", "serviceaccounts") => Arc::new(serviceaccount::ServiceAccounts),
        ("", "resourcequotas") => Arc::new(quota::ResourceQuotas),
        ("" | "events.k8s.io", "events") => Arc::new(event::Events),
        ("coordination.k8s.io", "leases") => Arc::new(lease::Leases),
        ("rbac.authorization.k8s.io", "roles") => Arc::new(role::Roles { namespaced: true }),
        ("rbac.authorization.k8s.io", "clusterroles") => Arc::new(role::Roles { namespaced: false }),
        ("rbac.authorization.k8s.io", "rolebindings") => Arc::new(binding::Bindings { namespaced: true }),
        ("rbac.authorization.k8s.io", "clusterrolebindings") => Arc::new(binding::Bindings { namespaced: false }),
        ("apiextensions.k8s.io", "customresourcedefinitions") => Arc::new(definition::Definitions),
        ("certificates.k8s.io", "certificatesigningrequests") => Arc::new(certificate::SigningRequests),
        ("admissionregistration.k8s.io", resource) => admission::strategy_for(resource),
        _ => Arc::new(Plain),
    }
}

/// How objects of a shared store read in this group: events.k8s.io shows core's events.
pub fn converter_for(group: &str, resource: &str) -> Option<Arc<dyn crate::Converter>> {
    match (group, resource) {
        ("events.k8s.io", "events") => Some(Arc::new(event::EventConverter)),
        _ => None,
    }
}
