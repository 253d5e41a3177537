//! The content of a waiting cluster: the server's own APIs, for its creator, or for the caller by the rules of the type.

use std::sync::Arc;

use apiserver::Refusal;
use apiserver::auth::rbac::Rule;
use apiserver::auth::{Authorizer, Rules, SharedAuthorizer};
use apiserver::stage::{RequestInfo, ResourceInfo};
use async_trait::async_trait;
use compact_str::CompactString;
use http::StatusCode;
use machinery::object::ObjectExt;
use machinery::user::User;
use permit::{Access, Cluster, Decision, Scope};
use serde_json::Value;

use super::authorizer::may_act;
use super::{Lifecycle, Who};
use crate::{Call, ClusterContent, Routed};

/// The rules of a type, before the server's own authorizer, which lets who has passed them do everything: a request may
/// turn out to be more than its URL says (an apply that creates).
pub(crate) struct Ruled {
    pub rules: Vec<Rule>,
    pub inner: SharedAuthorizer,
}

// === impl Lifecycle ===

impl Lifecycle {
    /// Plain texts, as kcp's proxy gives them, for whatever is in the way.
    pub(super) async fn content(
        &self,
        call: &Call<'_>,
        who: &Who,
        cluster: &Cluster,
        info: &RequestInfo<'_>,
    ) -> Routed {
        let (role, scope) = (self.role, Scope::One(cluster.clone()));
        if !may_act(&*self.shard, role, call.user, who).await? {
            return Ok(call.denied(scope, info.path));
        }
        let noun = role.noun;
        let plain = |code, text: String| Err(Refusal::plain(code, text));
        let Some(logical_cluster) = self.shard.logical_cluster(cluster).await? else {
            let text = "logicalcluster.core.kcp.io \"cluster\" not found";
            let text = format!("error getting logicalcluster {cluster}|cluster: {text}");
            // Whose last terminator was taken off is soon no more: that is no error of anybody's.
            let code = match noun {
                "terminator" => StatusCode::NOT_FOUND,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            return plain(code, text);
        };
        let waits = role.entries(&logical_cluster).contains(&who.text.as_str());
        if !waits || !(role.is_open)(&logical_cluster) {
            let text = format!("{noun} {:?} cannot access this workspace", who.text);
            return plain(StatusCode::FORBIDDEN, text);
        }
        let (user, rules) = match self.rules(who).await? {
            Some(rules) => {
                if let Some(why) = refused_by(&rules, info) {
                    let text = format!("{noun} {:?} denied by {}: {why}", who.text, role.permissions);
                    return plain(StatusCode::FORBIDDEN, text);
                }
                // The content authorizer knows by the group that the rules have been applied.
                let mut user = (**call.user).clone();
                user.groups.insert(0, format!("{}{}", role.group_prefix, who.text));
                (user, Some(rules))
            }
            None => match creator(&logical_cluster) {
                Some(user) => (user, None),
                None => {
                    let text = format!("LogicalCluster {cluster}|cluster had no createdBy recorded");
                    return plain(StatusCode::INTERNAL_SERVER_ERROR, text);
                }
            },
        };
        Ok(self.shard.content(ClusterContent {
            cluster: cluster.clone(),
            path: info.path.to_owned(),
            user: Arc::new(user),
            rules,
            flow: CompactString::from(cluster.as_str()),
        }))
    }

    /// The rules of the type, if it has any. 503 if the type is not to be had: to act as the creator instead would give
    /// away what the type's owner may have withheld.
    async fn rules(&self, who: &Who) -> Result<Option<Vec<Rule>>, Refusal> {
        let Some(cluster) = &who.cluster else {
            return Ok(None);
        };
        let (noun, name) = (self.role.noun, &who.type_name);
        let unavailable = |why: String| {
            let text = format!(
                "{noun} {:?}: WorkspaceType not found in local or cached indexer; refusing to fall back to owner \
                 impersonation: {why}",
                who.text
            );
            Refusal::plain(StatusCode::SERVICE_UNAVAILABLE, text)
        };
        let found = self.shard.workspace_type(cluster, name).await?;
        let found = found.ok_or_else(|| unavailable(format!("workspacetypes.tenancy.kcp.io {name:?} not found")))?;
        let rules = found.at(&["spec", self.role.permissions]).and_then(Value::as_array);
        let Some(rules) = rules.filter(|rules| !rules.is_empty()) else {
            return Ok(None);
        };
        let read = |rule: &Value| serde_json::from_value(rule.clone()).map_err(|error| unavailable(error.to_string()));
        rules.iter().map(read).collect::<Result<Vec<Rule>, Refusal>>().map(Some)
    }
}

// === impl Ruled ===

#[async_trait]
impl Authorizer for Ruled {
    async fn authorize(&self, user: &User, access: &Access) -> Decision {
        match self.rules.iter().any(|rule| rule.allows(access)) {
            true => self.inner.authorize(user, access).await,
            false => Decision::deny("no rule of the workspace type allows this"),
        }
    }

    async fn rules(&self, _: &User, _: &Scope, _: &str) -> Rules {
        Rules::default()
    }
}

fn creator(logical_cluster: &Value) -> Option<User> {
    let created_by = logical_cluster.at(&["spec", "createdBy"])?;
    serde_json::from_value(created_by.clone()).ok()
}

/// What a request asks for, as rules are compared with it.
pub(crate) fn access(info: &RequestInfo<'_>) -> Access {
    match &info.resource {
        None => Access {
            verb: info.verb.to_owned(),
            path: info.path.to_owned(),
            ..Access::default()
        },
        Some(resource) => Access {
            verb: info.verb.to_owned(),
            is_resource: true,
            group: resource.group.to_owned(),
            version: resource.version.to_owned(),
            resource: resource.resource.to_owned(),
            subresource: resource.subresource.to_owned(),
            namespace: resource.namespace.to_owned(),
            name: resource.name.clone().into_owned(),
            ..Access::default()
        },
    }
}

/// Why no rule allows a request; `None` if one does.
fn refused_by(rules: &[Rule], info: &RequestInfo<'_>) -> Option<String> {
    let access = access(info);
    if rules.iter().any(|rule| rule.allows(&access)) {
        return None;
    }
    let what = info.resource.as_ref().map_or(info.path.to_owned(), described);
    Some(format!("no rule allows {} on {what}", access.verb))
}

/// `core/configmaps/status (name) in namespace ns`
fn described(resource: &ResourceInfo<'_>) -> String {
    let group = if resource.group.is_empty() {
        "core"
    } else {
        resource.group
    };
    let mut text = format!("{group}/{}", resource.resource);
    if !resource.subresource.is_empty() {
        text.push('/');
        text.push_str(resource.subresource);
    }
    if !resource.name.is_empty() {
        text.push_str(&format!(" ({})", resource.name));
    }
    if !resource.namespace.is_empty() {
        text.push_str(&format!(" in namespace {}", resource.namespace));
    }
    text
}
