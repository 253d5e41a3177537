//! kcp's admission rules (its facts, section I), each a file of pure functions.
//!
//! A rule sees one request ([`Review`]) and the [`World`]; it may change the object (mutating pass), refuse, or name
//! accesses that somebody must have ([`AccessCheck`]), which the server then asks its authorizer. Refusals are 403 with
//! kcp's texts.

mod binding;
mod crd;
mod export;
mod finalizer;
mod logical_cluster;
mod namespace;
mod path;
mod permission_claim;
mod schema;
mod shard;
mod workspace;
mod workspace_type;

use std::fmt;
use std::sync::Arc;

use machinery::object::{GroupResource, ObjectExt};
use machinery::status::Status;
use machinery::user::{MASTERS, User};
use permit::{Cluster, Verb};
use serde_json::Value;

use crate::authz::{BOOTSTRAPPER, EXTERNAL_LOGICAL_CLUSTER_ADMIN, LOGICAL_CLUSTER_ADMIN};
use crate::types::TypeSource;

/// One request as the rules see it.
pub struct Review<'a> {
    /// Create, Update or Delete.
    pub verb: Verb,
    pub group: &'a str,
    pub resource: &'a str,
    /// Version of the request, before conversion.
    pub version: &'a str,
    /// Empty for the main resource.
    pub subresource: &'a str,
    pub cluster: &'a Cluster,
    pub namespace: &'a str,
    pub name: &'a str,
    pub user: &'a User,
    /// The server's own components: checks of users do not apply.
    pub trusted: bool,
    /// In the mutating pass.
    pub object: Option<&'a mut Value>,
    /// In the validating pass: as it would be stored.
    pub settled: Option<&'a Value>,
    pub old: Option<&'a Value>,
}

/// What rules ask of the shard's caches.
pub trait World: TypeSource {
    fn logical_cluster(&self, cluster: &Cluster) -> Option<Arc<Value>>;
    /// By the path or name of its cluster; an empty path is `from`.
    fn export(&self, from: &Cluster, path: &str, name: &str) -> Option<Arc<Value>>;
    /// The cluster that a path (or name) stands for.
    fn cluster_at(&self, path: &str) -> Option<Cluster>;
    fn bindings(&self, cluster: &Cluster) -> Vec<Arc<Value>>;
    /// The binding in the cluster that a resource of this name is claimed by, if any: only those with accepted claims.
    fn bindings_with_claims(&self, cluster: &Cluster) -> Vec<Arc<Value>>;
    /// Whether a namespace is being terminated; `None`: there is none of that name. Asked for every object that is created.
    fn namespace_terminates(&self, cluster: &Cluster, name: &str) -> Option<bool>;
}

/// An access that `user` must have in another cluster; asked as a deep SubjectAccessReview.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessCheck {
    /// `None`: the cluster does not exist, so the answer is no.
    pub cluster: Option<Cluster>,
    pub verb: &'static str,
    pub group: &'static str,
    pub resource: &'static str,
    pub name: String,
    /// What is answered when the user does not have it.
    pub denied: Status,
}

/// The mutating pass.
pub fn mutate(review: &mut Review<'_>, world: &dyn World) -> Result<(), Status> {
    namespace::check(review, world)?;
    workspace::mutate(review, world)?;
    finalizer::mutate(review);
    shard::mutate(review)?;
    logical_cluster::mutate(review);
    binding::mutate(review, world);
    workspace_type::check_name(review)?;
    permission_claim::mutate(review, world);
    path::mutate(review, world)
}

/// The validating pass. The accesses returned are to be checked in order; the first that is missing is the answer.
pub fn validate(review: &Review<'_>, world: &dyn World) -> Result<Vec<AccessCheck>, Status> {
    let mut checks = Vec::new();
    schema::validate(review)?;
    workspace::validate(review, world, &mut checks)?;
    finalizer::validate(review)?;
    workspace_type::validate(review, world, &mut checks)?;
    logical_cluster::validate(review)?;
    export::validate(review)?;
    binding::validate(review, world, &mut checks)?;
    crd::validate(review)?;
    permission_claim::validate(review, world)?;
    path::validate(review, world)?;
    Ok(checks)
}

// === impl Review ===

impl Review<'_> {
    fn is(&self, group: &str, resource: &str) -> bool {
        self.group == group && self.resource == resource
    }

    fn is_main(&self) -> bool {
        self.subresource.is_empty()
    }

    fn is_write(&self) -> bool {
        matches!(self.verb, Verb::Create | Verb::Update)
    }

    fn object(&self) -> &Value {
        const NULL: &Value = &Value::Null;
        self.object.as_deref().or(self.settled).unwrap_or(NULL)
    }

    /// Members of system:masters and the server itself.
    fn is_system_privileged(&self) -> bool {
        self.trusted || self.user.in_group(MASTERS)
    }

    /// Who may make and unmake logical clusters.
    fn is_lifecycle_privileged(&self) -> bool {
        let groups = [LOGICAL_CLUSTER_ADMIN, EXTERNAL_LOGICAL_CLUSTER_ADMIN, BOOTSTRAPPER];
        self.is_system_privileged() || groups.iter().any(|group| self.user.in_group(group))
    }

    fn object_name(&self) -> &str {
        if self.name.is_empty() {
            self.object().name()
        } else {
            self.name
        }
    }

    /// `workspaces.tenancy.kcp.io "x" is forbidden: why`.
    fn forbidden(&self, why: impl fmt::Display) -> Status {
        Status::forbidden(&GroupResource::new(self.group, self.resource), self.object_name(), why)
    }

    /// A list of field errors as kcp wraps it: space separated, in brackets.
    fn forbidden_list(&self, errors: &[machinery::field::FieldError]) -> Result<(), Status> {
        if errors.is_empty() {
            return Ok(());
        }
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Err(self.forbidden(format!("[{}]", texts.join(" "))))
    }
}

#[cfg(test)]
mod tests;
