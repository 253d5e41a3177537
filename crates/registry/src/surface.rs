//! Which resources exist where.

use std::sync::Arc;

use machinery::status::Result;
use permit::Scope;

use crate::{Backend, ResourceDef};

/// A resource in one of its served versions.
#[derive(Clone)]
pub struct Resolved {
    pub def: Arc<ResourceDef>,
    /// Index into `def.versions`.
    pub version: usize,
}

/// The APIs of clusters: the server's own, or a view's.
///
/// Look-ups are on the hot path of every request: no allocation per cluster, no parsing.
pub trait Surface: Send + Sync {
    /// `None`: no such resource here (404). `identity` is the part after `:` of the resource segment, if any.
    /// Errors: 503 for a resource whose definition is known to exist but is not to be had.
    fn resolve(
        &self,
        scope: &Scope,
        group: &str,
        version: &str,
        resource: &str,
        identity: Option<&str>,
    ) -> Result<Option<Resolved>>;

    /// Everything that discovery and OpenAPI of the scope show, in discovery's order.
    fn resources(&self, scope: &Scope) -> Vec<Arc<ResourceDef>>;

    /// Where the objects of a resource of this surface are.
    fn backend(&self, resolved: &Resolved) -> Arc<dyn Backend>;

    /// Changes whenever `resources(scope)` may have changed: documents built from it are cached by this value and shared
    /// by all scopes of equal content.
    fn content_key(&self, scope: &Scope) -> [u8; 32];
}
