//! `apiexport`: what a provider sees of its consumers (kcp's facts, F.2).
//!
//! `/services/apiexport/<export's cluster>/<export>/clusters/<* or a consumer>/…` shows the objects of the export's own
//! resources, the objects of other resources that its claims label, and the bindings to it: over all clusters of this shard
//! for lists and watches, in one cluster for everything that the consumer's binding allows.

mod authorizer;
mod claim;
mod content;
mod export;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use apiserver::stage::ResourceInfo;
use apiserver::{Refusal, ServiceApi, ServiceRoute};
use async_trait::async_trait;
use compact_str::CompactString;
use http::StatusCode;
use machinery::status::Result;
use machinery::user::{MASTERS, User};
use permit::{Cluster, Scope, Verb, Verbs};
use registry::{Backend, Resolved, ResourceDef, Surface};
use serde_json::json;
use storage::Segment;
use tenancy::authz::KCP_ADMIN;
use tenancy::effective::{CLUSTER_NAME, WARRANT};

use crate::surface::{Nothing, content_key, resolved, shown};
use crate::view::{plain_cluster, refuse_what_views_lack, split_clusters, split_segment};
use crate::{Call, DefinitionOf, Routed, Shard, View};
use authorizer::ExportAuthorizer;
use content::Content;
use export::{Export, Subject};

/// The view `apiexport`.
pub struct ApiExports {
    shard: Arc<dyn Shard>,
}

/// The APIs of one export, for one request.
struct ExportSurface {
    shard: Arc<dyn Shard>,
    export: Arc<Export>,
    /// Of the one resource that the request is about, or of all if it is about none.
    definitions: Vec<Definition>,
}

/// What a name stands for here.
struct Definition {
    group: String,
    resource: String,
    /// As the request gives it.
    identity: Option<String>,
    of: DefinitionOf,
    def: Arc<ResourceDef>,
}

/// Service account of the warrant that gives the provider the power of an administrator for one call, while the audit log
/// and the objects show who it was. (The name is kcp's; there is no such account.)
const WARRANTED_ACCOUNT: &str = "system:serviceaccount:default:rest";

const READ_ONLY: [Verb; 3] = [Verb::Get, Verb::List, Verb::Watch];

// === impl ApiExports ===

impl ApiExports {
    pub fn new(shard: Arc<dyn Shard>) -> Self {
        Self { shard }
    }

    /// An export that is not there. Said in plain text, as kcp says it, to those who might see its content; to others it is
    /// as forbidden as one that is.
    async fn missing(&self, call: &Call<'_>, cluster: &str, name: &str, scope: Scope, below: &str) -> Routed {
        let may_know = match plain_cluster(cluster) {
            Some(cluster) if self.shard.cluster(&cluster).await?.is_some() => {
                let verb = call.info(below)?.verb.to_owned();
                self.shard
                    .allows(call.user, &authorizer::content_access(&cluster, name, verb))
                    .await?
            }
            Some(_) => call.user.in_group(MASTERS),
            None => call.user.in_group(MASTERS) || call.user.in_group(KCP_ADMIN),
        };
        if !may_know {
            return Ok(call.denied(scope, below));
        }
        let path = call.path;
        let why = format!("API export not found: apiexport.apis.kcp.io {name:?} not found");
        let text = format!("Internal Server Error: {path:?}: {why}");
        Err(Refusal::plain(StatusCode::INTERNAL_SERVER_ERROR, text))
    }
}

#[async_trait]
impl View for ApiExports {
    fn name(&self) -> &'static str {
        "apiexport"
    }

    async fn route(&self, call: &Call<'_>) -> Routed {
        let split = || {
            let (cluster, rest) = split_segment(call.rest)?;
            let (name, rest) = split_segment(rest)?;
            let (scope, below) = split_clusters(rest)?;
            Some((cluster, name, scope, below))
        };
        let Some((cluster, name, scope, below)) = split() else {
            return Ok(ServiceRoute::Unknown);
        };
        let export = match plain_cluster(cluster) {
            Some(cluster) => Export::find(&*self.shard, &cluster, name).await?,
            None => None,
        };
        let Some(export) = export.map(Arc::new) else {
            return self.missing(call, cluster, name, scope, below).await;
        };
        let info = call.info(below)?;
        if let Err(refusal) = refuse_what_views_lack(&info, &scope) {
            // Why not is for those who may see the content: to others the export is as absent as any other.
            let content = authorizer::content_access(&export.cluster, &export.name, info.verb.to_owned());
            return match self.shard.allows(call.user, &content).await? {
                true => Err(refusal),
                false => Ok(call.denied(scope, below)),
            };
        }
        let authorizer = ExportAuthorizer {
            shard: self.shard.clone(),
            user: call.user.clone(),
            export: export.clone(),
        };
        let surface = ExportSurface::new(&self.shard, &export, info.resource.as_ref()).await?;
        let user = match &scope {
            Scope::One(cluster) => Some(warranted(call.user, cluster)),
            // Over all clusters the request only reads, and no cluster has a say.
            Scope::All => None,
        };
        Ok(ServiceRoute::Api(Box::new(ServiceApi {
            // The provider's share of the seats, not its consumers'.
            flow: CompactString::from(export.cluster.as_str()),
            surface: Arc::new(surface),
            scope,
            path: below.to_owned(),
            authorizer: Some(Arc::new(authorizer)),
            user,
        })))
    }
}

/// The caller with a warrant for one cluster (kcp's facts, F.2).
fn warranted(user: &User, cluster: &Cluster) -> Arc<User> {
    let mut extra = serde_json::Map::new();
    extra.insert(CLUSTER_NAME.to_owned(), json!([cluster.as_str()]));
    let warrant = json!({ "user": WARRANTED_ACCOUNT, "groups": [KCP_ADMIN], "extra": extra });
    let mut user = user.clone();
    user.extra
        .entry(WARRANT.to_owned())
        .or_default()
        .push(warrant.to_string());
    Arc::new(user)
}

// === impl ExportSurface ===

impl ExportSurface {
    /// Looks definitions up while there is time to wait.
    async fn new(shard: &Arc<dyn Shard>, export: &Arc<Export>, asked: Option<&ResourceInfo<'_>>) -> Result<Self> {
        let mut surface = Self {
            shard: shard.clone(),
            export: export.clone(),
            definitions: Vec::new(),
        };
        match asked {
            Some(info) => surface.add(info.group, info.resource, info.identity).await?,
            None => {
                for (group, resource) in export.names() {
                    surface.add(&group, &resource, None).await?;
                }
            }
        }
        Ok(surface)
    }

    async fn add(&mut self, group: &str, resource: &str, identity: Option<&str>) -> Result<()> {
        let export = &self.export;
        let of = match export.subject(group, resource, identity) {
            Subject::Own { schema } => DefinitionOf::Schema {
                cluster: export.cluster.clone(),
                schema: schema.to_owned(),
                identity: export.identity.clone(),
            },
            Subject::Claimed(claim) => match claim.stored_identity() {
                "" => DefinitionOf::Common,
                hash => DefinitionOf::Identity(hash.to_owned()),
            },
            Subject::Bindings => DefinitionOf::Common,
            Subject::Unknown => return Ok(()),
        };
        if let Some(def) = self.shard.definition(group, resource, &of).await? {
            self.definitions.push(Definition {
                group: group.to_owned(),
                resource: resource.to_owned(),
                identity: identity.map(str::to_owned),
                of,
                def,
            });
        }
        Ok(())
    }

    /// What a name stands for here.
    fn definition(&self, group: &str, resource: &str, identity: Option<&str>) -> Option<&Definition> {
        let is = |known: &&Definition| {
            known.group == group && known.resource == resource && known.identity.as_deref() == identity
        };
        self.definitions.iter().find(is)
    }
}

impl Surface for ExportSurface {
    fn resolve(
        &self,
        _: &Scope,
        group: &str,
        version: &str,
        resource: &str,
        identity: Option<&str>,
    ) -> Result<Option<Resolved>> {
        let found = self.definition(group, resource, identity);
        Ok(found.and_then(|found| resolved(found.def.clone(), version)))
    }

    /// The same for every scope, bound or not.
    fn resources(&self, _: &Scope) -> Vec<Arc<ResourceDef>> {
        let mut defs: Vec<Arc<ResourceDef>> = Vec::new();
        for (group, resource) in self.export.names() {
            let Some(Definition { def, .. }) = self.definition(&group, &resource, None) else {
                continue;
            };
            let is_readonly = matches!(self.export.subject(&group, &resource, None), Subject::Bindings);
            // The status of bindings and exports is the system's alone (kcp's facts, G.4).
            let is_closed = authorizer::has_closed_status(&group, &resource);
            let verbs = if is_readonly { Verbs::of(&READ_ONLY) } else { Verbs::ALL };
            defs.push(shown(def, verbs, !is_closed));
        }
        defs.sort_by(|a, b| (&a.group, &a.names.plural).cmp(&(&b.group, &b.names.plural)));
        defs
    }

    fn backend(&self, resolved: &Resolved) -> Arc<dyn Backend> {
        let def = &resolved.def;
        let identity = match &def.store.segment {
            Segment::Identity(hash) => Some(&**hash),
            Segment::Builtin | Segment::Custom => None,
        };
        let claim = match self.export.subject(&def.group, &def.names.plural, identity) {
            Subject::Claimed(claim) => Some(claim),
            Subject::Own { .. } | Subject::Bindings | Subject::Unknown => None,
        };
        let known = self.definitions.iter().find(|known| Arc::ptr_eq(&known.def, def));
        let Some(of) = known.map(|known| &known.of) else {
            return Arc::new(Nothing);
        };
        Arc::new(Content {
            inner: self.shard.backend(resolved, of),
            shard: self.shard.clone(),
            export: self.export.clone(),
            claim,
        })
    }

    fn content_key(&self, scope: &Scope) -> [u8; 32] {
        content_key(&self.resources(scope))
    }
}
