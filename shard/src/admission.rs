//! kcp's admission rules (crate `tenancy`) as a plugin of the registry.

use std::sync::Arc;

use apiserver::auth::SharedAuthorizer;
use async_trait::async_trait;
use machinery::status::Result;
use permit::{Access, Scope, Verb};
use registry::{Admission, Attributes};
use serde_json::Value;
use tenancy::admission::{AccessCheck, Review};

use crate::facts::ShardFacts;

pub struct TenancyAdmission {
    facts: Arc<ShardFacts>,
    authorizer: SharedAuthorizer,
}

// === impl TenancyAdmission ===

impl TenancyAdmission {
    pub fn new(facts: Arc<ShardFacts>, authorizer: SharedAuthorizer) -> Self {
        Self { facts, authorizer }
    }

    /// Asks, in the cluster that is named, whether the user may; as a component asks, which skips whether the user may
    /// enter that cluster.
    async fn require(&self, attributes: &Attributes<'_>, check: AccessCheck) -> Result<()> {
        let Some(cluster) = check.cluster else {
            return Err(check.denied);
        };
        let access = Access {
            scope: Some(Scope::One(cluster)),
            verb: check.verb.to_owned(),
            is_resource: true,
            group: check.group.to_owned(),
            version: "*".to_owned(),
            resource: check.resource.to_owned(),
            name: check.name,
            deep: true,
            ..Access::default()
        };
        let decision = self.authorizer.authorize(&attributes.request.user, &access).await;
        if decision.is_allowed() {
            Ok(())
        } else {
            Err(check.denied)
        }
    }

    /// Most writes are of kinds that no rule looks at twice.
    fn has_rules(&self, attributes: &Attributes<'_>) -> bool {
        let group = &*attributes.def.group;
        group.ends_with(".kcp.io")
            || group == api::keys::group::APIEXTENSIONS
            || self.facts.definitions.has_claims(attributes.cluster)
    }
}

fn review<'a>(attributes: &'a Attributes<'_>, object: Option<&'a mut Value>, settled: Option<&'a Value>) -> Review<'a> {
    let version = attributes.def.versions.get(attributes.version);
    Review {
        verb: match attributes.verb {
            Verb::Create | Verb::Delete => attributes.verb,
            Verb::DeleteCollection => Verb::Delete,
            _ => Verb::Update,
        },
        group: &attributes.def.group,
        resource: &attributes.def.names.plural,
        version: version.map(|v| v.name.as_str()).unwrap_or_default(),
        subresource: attributes.subresource.as_str(),
        cluster: attributes.cluster,
        namespace: attributes.namespace,
        name: attributes.name,
        user: &attributes.request.user,
        trusted: attributes.request.trusted,
        object,
        settled,
        old: attributes.old,
    }
}

#[async_trait]
impl Admission for TenancyAdmission {
    fn name(&self) -> &'static str {
        "tenancy"
    }

    async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<()> {
        let object = attributes.object.take();
        let Some(object) = object else {
            return tenancy::admission::mutate(&mut review(attributes, None, None), &*self.facts);
        };
        let outcome = tenancy::admission::mutate(&mut review(attributes, Some(&mut *object), None), &*self.facts);
        attributes.object = Some(object);
        outcome
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<()> {
        if !self.has_rules(attributes) {
            return Ok(());
        }
        let settled = attributes.object.as_deref();
        let checks = tenancy::admission::validate(&review(attributes, None, settled), &*self.facts)?;
        for check in checks {
            self.require(attributes, check).await?;
        }
        Ok(())
    }
}
