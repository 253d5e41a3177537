//! Virtual workspaces: filtered views over many logical clusters, below `/services/<view>/…` (kcp's facts, F).
//!
//! A view is no server of its own. It says which APIs a path means ([`View::route`]): a `Surface` (what exists here), an
//! authorizer (who may, and by which labels the objects are narrowed), and where needed a `Backend` (what is different
//! about reads and writes). Stages, handlers and storage are those of every other request, so a view cannot do less or
//! more than they do: a write through a view is the consumer's write, a server-side apply stays one.
//!
//! Invariants
//! - Nothing is kept: what a view needs is asked of the [`Shard`] when a request comes. Definitions are the shard's, shared
//!   by content.
//! - What a view hides is hidden by the permit's selector, which storage applies to reads, watches and writes alike; no
//!   view filters what storage has already handed out.
//! - Paths name clusters by their names; a workspace path (`root:org`) is no view's (403).
//! - Deny when in doubt: a resource that is neither exported nor claimed comes with a selector that matches nothing.
//!
//! Read next: [`Shard`] (what a view may ask), [`View`], then a view: [`ApiExports`], [`Lifecycle`], [`ApiResourceSchemas`].
#![forbid(unsafe_code)]

mod apiexport;
mod apiresourceschema;
mod common;
mod initializing;
mod lifecycle;
pub mod program;
mod shard;
mod surface;
mod terminating;
#[cfg(test)]
mod testing;
mod view;

use std::sync::Arc;

use apiserver::{Refusal, ServiceRoute, Services};
use async_trait::async_trait;
use http::request::Parts;
use machinery::user::User;

pub use apiexport::ApiExports;
pub use apiresourceschema::ApiResourceSchemas;
pub use common::{CommonDefinitions, definition_of_schema, exported_schema};
pub use initializing::initializing_workspaces;
pub use lifecycle::Lifecycle;
pub use shard::{ClusterContent, DefinitionOf, Shard};
pub use surface::Nothing;
pub use terminating::terminating_workspaces;
pub use view::{Call, View, split_clusters, split_segment};

/// The views of a shard. Serves `/services/…` of its [`apiserver::Stack`].
pub struct VirtualWorkspaces {
    views: Vec<Box<dyn View>>,
}

// === impl VirtualWorkspaces ===

impl VirtualWorkspaces {
    /// kcp's own views.
    pub fn new(shard: &Arc<dyn Shard>) -> Self {
        let views: Vec<Box<dyn View>> = vec![
            Box::new(ApiExports::new(shard.clone())),
            Box::new(ApiResourceSchemas::new(shard.clone())),
            Box::new(initializing_workspaces(shard.clone())),
            Box::new(terminating_workspaces(shard.clone())),
        ];
        Self { views }
    }

    /// With one more.
    #[must_use]
    pub fn with(mut self, view: Box<dyn View>) -> Self {
        self.views.push(view);
        self
    }
}

#[async_trait]
impl Services for VirtualWorkspaces {
    async fn route(&self, user: &Arc<User>, path: &str, request: &Parts) -> ServiceRoute {
        let below = path.strip_prefix("/services/").and_then(split_segment);
        let Some((name, rest)) = below else {
            return ServiceRoute::Unknown;
        };
        let Some(view) = self.views.iter().find(|view| view.name() == name) else {
            return ServiceRoute::Unknown;
        };
        let call = Call::new(user, path, rest, request);
        match view.route(&call).await {
            Ok(route) => route,
            Err(refusal) => ServiceRoute::Refused(refusal),
        }
    }

    fn names(&self) -> Vec<&'static str> {
        self.views.iter().map(|view| view.name()).collect()
    }
}

/// The result of routing: a refusal is the answer.
type Routed = Result<ServiceRoute, Refusal>;
