//! Builders and readers of the objects that controllers write, so that each is made in one place, as kcp makes it.
//!
//! They hold no state and know no rules of when; that is the controllers' business. Builders leave out what storage sets
//! (uid, resourceVersion, times, `kcp.io/cluster`) and what admission adds on every write (finalizers, `kcp.io/path`, the export
//! label), unless said otherwise.

mod binding;
mod bound_crd;
mod content;
mod endpoint;
mod home;
mod identity;
mod lock;
mod logical_cluster;

pub use binding::{DefaultBinding, default_binding};
pub use bound_crd::{BoundCrdError, bound_crd, bound_crd_name};
pub use content::{default_service_account, namespace, root_ca_config_map, workspace_admin};
pub use endpoint::{Lifecycle, apiexport_url, default_endpoint_slice, lifecycle_url, replication_url};
pub use home::{HomeCluster, home_workspace};
pub use identity::{identity_key, identity_secret, secret_key};
pub use lock::{Holder, ResourceLocks, resource_key};
pub use logical_cluster::{NewLogicalCluster, created_by, initializer_name, reduced_owner};

#[cfg(test)]
mod tests;
