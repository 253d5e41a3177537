//! Admission: rules that look beyond the object itself. Mutating first, then validating, each in the chain's order.

use std::sync::Arc;

use async_trait::async_trait;
use machinery::status::Result;
use permit::{Cluster, Verb};
use serde_json::Value;

use crate::{Request, ResourceDef, Subresource};

/// One request as admission sees it.
pub struct Attributes<'a> {
    pub request: &'a Request,
    /// Create, Update (patches too) or Delete.
    pub verb: Verb,
    pub def: &'a ResourceDef,
    pub version: usize,
    pub subresource: Subresource,
    pub cluster: &'a Cluster,
    /// Empty for cluster-scoped objects.
    pub namespace: &'a str,
    /// May be empty on create with generateName.
    pub name: &'a str,
    /// Absent for deletes.
    pub object: Option<&'a mut Value>,
    /// Absent for creates.
    pub old: Option<&'a Value>,
    pub dry_run: bool,
}

#[async_trait]
pub trait Admission: Send + Sync {
    /// Name in metrics and logs.
    fn name(&self) -> &'static str;

    /// May change `attributes.object`.
    async fn admit(&self, _attributes: &mut Attributes<'_>) -> Result<()> {
        Ok(())
    }

    /// Sees the object as it would be stored.
    async fn validate(&self, _attributes: &Attributes<'_>) -> Result<()> {
        Ok(())
    }
}

/// The plugins of a server, in order.
#[derive(Clone, Default)]
pub struct AdmissionChain {
    plugins: Arc<[Arc<dyn Admission>]>,
}

// === impl AdmissionChain ===

impl AdmissionChain {
    pub fn new(plugins: Vec<Arc<dyn Admission>>) -> Self {
        Self {
            plugins: plugins.into(),
        }
    }

    pub async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<()> {
        for plugin in self.plugins.iter() {
            plugin.admit(attributes).await?;
        }
        Ok(())
    }

    pub async fn validate(&self, attributes: &Attributes<'_>) -> Result<()> {
        for plugin in self.plugins.iter() {
            plugin.validate(attributes).await?;
        }
        Ok(())
    }
}
