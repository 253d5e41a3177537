//! What the views of initializers and terminators have in common: the LogicalClusters that wait for one, one's own entry in
//! their status, and the content of a waiting cluster (kcp's facts, F.3 and F.4).
//!
//! `/services/<view>/<who>/clusters/*/apis/core.kcp.io/v1alpha1/logicalclusters` lists and watches; in one cluster the
//! LogicalCluster can be read and the entry removed by its status; every other path there is the cluster's content, as the
//! server itself serves it, for another user.

mod authorizer;
mod content;
mod entry;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use api::hashes::Label;
use api::keys::{group, label};
use apiserver::stage::RequestInfo;
use apiserver::{Refusal, ServiceApi, ServiceRoute};
use async_trait::async_trait;
use compact_str::CompactString;
use machinery::selector::{LabelSelector, Requirement};
use machinery::status::Status;
use machinery::user::{MASTERS, User};
use permit::{Cluster, Scope, Verb, Verbs};
use registry::Resolved;
use serde_json::Value;

use crate::surface::{Single, shown};
use crate::view::{plain_cluster, refuse_what_views_lack, split_clusters, split_segment};
use crate::{Call, DefinitionOf, Routed, Shard, View};
use authorizer::{EntryAuthorizer, may_act};
pub(crate) use content::{Ruled, access};
use entry::OwnEntry;

/// A view of waiting clusters.
pub struct Lifecycle {
    shard: Arc<dyn Shard>,
    role: &'static Role,
}

/// How the views differ.
pub(crate) struct Role {
    pub view: &'static str,
    /// `initializer`
    pub noun: &'static str,
    /// Member of status: `initializers`.
    pub entries: &'static str,
    /// On workspacetypes.
    pub verb: &'static str,
    /// Member of the type's spec: rules for content.
    pub permissions: &'static str,
    /// Group of who has passed those rules.
    pub group_prefix: &'static str,
    pub label: fn(&str) -> Label,
    /// Of the clusters that are shown.
    pub phase: &'static str,
    /// Whether content may be accessed.
    pub is_open: fn(&Value) -> bool,
    /// Group in the 422 for other changes of status.
    pub error_group: &'static str,
    /// Discovery in one cluster shows the view's own resource instead of the content's.
    pub owns_discovery: bool,
}

/// An initializer or terminator: `<type's cluster>:<type's name>`, or `system:<name>` of the server's own controllers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    /// As it stands in status.
    pub text: String,
    /// `None`: the server's own, which no type stands for.
    pub cluster: Option<Cluster>,
    pub type_name: String,
}

const RESOURCE: &str = "logicalclusters";

// === impl Role ===

impl Role {
    pub fn entries<'a>(&self, logical_cluster: &'a Value) -> Vec<&'a str> {
        entry::entries(logical_cluster, self.entries)
    }

    /// Which LogicalClusters are seen. The label of the entry comes last: it is what watchers wait at.
    fn selector(&self, who: &Who) -> LabelSelector {
        let Label { key, value } = (self.label)(&who.text);
        LabelSelector::of(vec![
            Requirement::equals(label::PHASE, self.phase),
            Requirement::equals(key, value),
        ])
    }
}

// === impl Who ===

impl Who {
    /// For the server's masters whatever stands there is somebody, whom nothing waits for.
    fn of(text: &str, user: &User) -> Option<Self> {
        let anybody = || Self {
            text: text.to_owned(),
            cluster: None,
            type_name: text.to_owned(),
        };
        Self::parse(text).or_else(|| user.in_group(MASTERS).then(anybody))
    }

    /// `None`: no such thing can be.
    fn parse(text: &str) -> Option<Self> {
        let (cluster, type_name) = text.rsplit_once(':')?;
        let cluster = match cluster {
            "system" => None,
            cluster => Some(plain_cluster(cluster)?),
        };
        let (text, type_name) = (text.to_owned(), type_name.to_owned());
        (!type_name.is_empty()).then_some(Self {
            text,
            cluster,
            type_name,
        })
    }
}

// === impl Lifecycle ===

impl Lifecycle {
    pub(crate) fn new(shard: Arc<dyn Shard>, role: &'static Role) -> Self {
        Self { shard, role }
    }

    /// The LogicalClusters themselves.
    async fn own(&self, call: &Call<'_>, who: Who, scope: Scope, below: &str) -> Routed {
        let of = DefinitionOf::Common;
        let Some(def) = self.shard.definition(group::CORE, RESOURCE, &of).await? else {
            return Err(Refusal::from(Status::service_unavailable(
                "logicalclusters are not served yet",
            )));
        };
        let resolved = Resolved {
            def: def.clone(),
            version: def.storage_version,
        };
        let inner = self.shard.backend(&resolved, &of);
        let flow = flow(&who);
        let backend = OwnEntry {
            inner,
            role: self.role,
            who: who.clone(),
        };
        let surface = Single {
            shown: shown(&def, Verbs::of(&[Verb::Get, Verb::List, Verb::Watch]), true),
            def,
            backend: Arc::new(backend),
        };
        let authorizer = EntryAuthorizer {
            shard: self.shard.clone(),
            role: self.role,
            user: call.user.clone(),
            who,
        };
        Ok(ServiceRoute::Api(Box::new(ServiceApi {
            surface: Arc::new(surface),
            scope,
            path: below.to_owned(),
            authorizer: Some(Arc::new(authorizer)),
            user: None,
            flow,
        })))
    }

    fn is_own(&self, info: &RequestInfo<'_>) -> bool {
        match &info.resource {
            Some(resource) => resource.group == group::CORE && resource.resource == RESOURCE,
            None => self.role.owns_discovery && !matches!(info.path, "/" | "/healthz"),
        }
    }
}

#[async_trait]
impl View for Lifecycle {
    fn name(&self) -> &'static str {
        self.role.view
    }

    async fn route(&self, call: &Call<'_>) -> Routed {
        let split = || {
            let (who, rest) = split_segment(call.rest)?;
            let (scope, below) = split_clusters(rest)?;
            Some((who, scope, below))
        };
        let Some((who, scope, below)) = split() else {
            return Ok(ServiceRoute::Unknown);
        };
        let Some(who) = Who::of(who, call.user) else {
            return Ok(call.denied(scope, below));
        };
        let info = call.info(below)?;
        match &scope {
            Scope::One(cluster) if !self.is_own(&info) => self.content(call, &who, cluster, &info).await,
            Scope::One(_) | Scope::All => {
                if let Err(refusal) = refuse_what_views_lack(&info, &scope) {
                    return match may_act(&*self.shard, self.role, call.user, &who).await? {
                        true => Err(refusal),
                        false => Ok(call.denied(scope, below)),
                    };
                }
                self.own(call, who, scope, below).await
            }
        }
    }
}

/// Whose share of the seats: that of the type's owner.
fn flow(who: &Who) -> CompactString {
    CompactString::from(who.cluster.as_ref().map_or("system", Cluster::as_str))
}
