//! Fourth stage: whether it may be. The only file that makes a [`Permit`] of a decision.

use std::sync::Arc;

use http::request::Parts;
use machinery::object::GroupResource;
use machinery::selector::LabelSelector;
use machinery::status::Status;
use machinery::user::{MASTERS, User};
use permit::{Access, Decision, Permit, Resources, Scope, Verb, Verbs};
use registry::{Origin, Surface};
use storage::Segment;

use super::resolved::{Missing, Place, missing_object};
use super::{Authenticated, RequestInfo, ResourceInfo, Target};
use crate::auth::SharedAuthorizer;
use crate::query::Query;
use crate::record::Record;
use crate::refusal::{Refusal, Result};
use crate::services::ServiceApi;
use crate::stack::Stack;

/// The APIs that a request is about: the server's own in a cluster, or a service's.
#[derive(Clone)]
pub struct Api {
    pub surface: Arc<dyn Surface>,
    pub authorizer: SharedAuthorizer,
    pub scope: Option<Scope>,
    pub user: Arc<User>,
    /// Of a virtual service.
    pub is_service: bool,
}

/// A request that was allowed.
pub enum Permitted<'r> {
    Resource(PermittedResource<'r>),
    Path(PermittedPath<'r>),
}

/// Access to objects. Carries the permit without which storage does nothing.
pub struct PermittedResource<'r> {
    pub api: Api,
    pub info: ResourceInfo<'r>,
    pub query: Query<'r>,
    pub verb: Verb,
    pub scope: Scope,
    pub resolved: registry::Resolved,
    pub permit: Permit,
}

/// Access to a URL that is not a resource: discovery, OpenAPI, health, metrics.
pub struct PermittedPath<'r> {
    pub api: Api,
    /// Below the cluster.
    pub path: &'r str,
    pub query: Query<'r>,
    pub has_cluster: bool,
}

/// kcp says no more than this of its reasons; they are in the audit log.
const ACCESS_DENIED: &str = "access denied";

// === impl Permitted ===

impl<'r> Permitted<'r> {
    /// Of the server's own APIs.
    pub async fn new(request: Authenticated<'r>, stack: &Stack, parts: &Parts, record: &mut Record) -> Result<Self> {
        let is_health = request.is_health();
        let Authenticated { target, place, user } = request;
        let (scope, has_cluster) = match place {
            Place::Scope(scope) => (Some(scope), true),
            // The server's health is the same below every cluster, be it there or not.
            Place::Missing(_) if is_health => (None, false),
            Place::Missing(missing) => {
                return Err(refuse_missing(&target, stack, &user, missing).await);
            }
            Place::Nowhere | Place::Service | Place::Mount(_) => (None, false),
        };
        let api = Api {
            surface: stack.surface.clone(),
            authorizer: stack.authorizer.clone(),
            scope,
            user,
            is_service: false,
        };
        api.permit(target, has_cluster, stack, parts, record).await
    }

    /// Of a service's. `path` is `service.path`.
    pub async fn in_service(
        request: Authenticated<'r>,
        service: &ServiceApi,
        path: &'r str,
        stack: &Stack,
        parts: &Parts,
        record: &mut Record,
    ) -> Result<Self> {
        let target = request.target.within(&parts.method, path)?;
        let api = Api {
            surface: service.surface.clone(),
            authorizer: service.authorizer.clone().unwrap_or_else(|| stack.authorizer.clone()),
            scope: Some(service.scope.clone()),
            user: service.user.clone().unwrap_or(request.user),
            is_service: true,
        };
        record.scope = Some(service.scope.clone());
        api.permit(target, true, stack, parts, record).await
    }
}

// === impl Api ===

impl Api {
    async fn permit<'r>(
        self,
        target: Target<'r>,
        has_cluster: bool,
        stack: &Stack,
        parts: &Parts,
        record: &mut Record,
    ) -> Result<Permitted<'r>> {
        record.scope.clone_from(&self.scope);
        let mut access = target.access(self.scope.clone());
        if !has_cluster && target.path.trim_end_matches('/') == "/metrics" {
            access.scope.clone_from(&stack.options.metrics_scope);
        }
        let resolved = self.resolve(&target.info);
        if let Ok(Some(resolved)) = &resolved {
            record.resolved(resolved);
            if let Segment::Identity(hash) = &resolved.def.store.segment {
                access.identity = Some(hash.to_string());
            }
        }
        let selector = self.authorize(&access, stack, record).await?;
        let Target { path, info, query, .. } = target;
        let Some(info) = info.resource else {
            return Ok(Permitted::Path(PermittedPath {
                api: self,
                path,
                query,
                has_cluster,
            }));
        };
        let scope = match &self.scope {
            Some(scope) => scope.clone(),
            // kcp's text; only system:masters get here.
            None => return Err(Refusal::from(Status::internal("no cluster found in the context"))),
        };
        let verb = checked_verb(&info, &scope)?;
        let Some(resolved) = resolved? else {
            return Err(self.no_such_resource(&info, &scope));
        };
        check_method(&info, verb, &resolved, parts)?;
        let mut creates = false;
        if may_create(verb, &resolved, parts) {
            access.verb = Verb::Create.as_str().to_owned();
            creates = self.authorizer.authorize(&self.user, &access).await.is_allowed();
        }
        let verbs = implied_verbs(verb, creates);
        let resources = Resources::One(resolved.def.group_resource());
        let permit = Permit::granted(scope.clone(), resources, verbs, selector);
        Ok(Permitted::Resource(PermittedResource {
            api: self,
            info,
            query,
            verb,
            scope,
            resolved,
            permit,
        }))
    }

    fn resolve(&self, info: &RequestInfo<'_>) -> Result<Option<registry::Resolved>> {
        let (Some(info), Some(scope)) = (&info.resource, &self.scope) else {
            return Ok(None);
        };
        Ok(self
            .surface
            .resolve(scope, info.group, info.version, info.resource, info.identity)?)
    }

    async fn authorize(&self, access: &Access, stack: &Stack, record: &mut Record) -> Result<LabelSelector> {
        let decision = match stack.audit.wants_annotations() {
            true => {
                self.authorizer
                    .authorize_noting(&self.user, access, &mut record.annotations)
                    .await
            }
            false => self.authorizer.authorize(&self.user, access).await,
        };
        record.decided(&decision);
        match decision {
            Decision::Allow { selector, .. } => Ok(selector),
            Decision::Unavailable { reason } => Err(Refusal::from(Status::service_unavailable(reason))),
            Decision::Deny { .. } | Decision::NoOpinion { .. } => Err(forbidden(&self.user, access, ACCESS_DENIED)),
        }
    }

    /// Kubernetes' own groups answer with a Status, unknown and custom ones in plain text, and so does every group of a
    /// service.
    fn no_such_resource(&self, info: &ResourceInfo<'_>, scope: &Scope) -> Refusal {
        if self.is_service {
            return Refusal::no_such_path();
        }
        let is_builtin = |def: &Arc<registry::ResourceDef>| def.origin == Origin::Builtin && *def.group == *info.group;
        match info.group.is_empty() || self.surface.resources(scope).iter().any(is_builtin) {
            true => Refusal::from(Status::no_such_resource()),
            false => Refusal::no_such_path(),
        }
    }
}

/// Across clusters one lists and watches; no verb, no method.
fn checked_verb(info: &ResourceInfo<'_>, scope: &Scope) -> Result<Verb> {
    let Some(verb) = info.verb else {
        let text = "the server does not allow this method on the requested resource";
        return Err(Refusal::from(Status::new(
            405,
            machinery::status::Reason::MethodNotAllowed,
            text,
        )));
    };
    if *scope == Scope::All && !matches!(verb, Verb::List | Verb::Watch) {
        let mut status = Status::method_not_allowed(&info.group_resource(), verb.as_str());
        status.message.push_str(" in the `*` logical cluster");
        return Err(Refusal::from(status));
    }
    Ok(verb)
}

fn check_method(info: &ResourceInfo<'_>, verb: Verb, resolved: &registry::Resolved, parts: &Parts) -> Result<()> {
    let def = &resolved.def;
    if info.has_more {
        return Err(Refusal::from(Status::no_such_resource()));
    }
    if !info.is_named && matches!(verb, Verb::Update | Verb::Patch) {
        return Err(Refusal::from(Status::bad_request("name must be provided")));
    }
    let creates_named = verb == Verb::Create && info.is_named && info.subresource.is_empty();
    if !def.verbs.contains(verb) && info.subresource.is_empty() || creates_named {
        return Err(Refusal::from(Status::method_not_allowed(
            &def.group_resource(),
            verb.as_str(),
        )));
    }
    for (what, text) in [("Name", &*info.name), ("Namespace", info.namespace)] {
        if let Some(why) = super::path_segment_error(text) {
            let text = format!("{what} parameter invalid: {text:?}: {why}");
            return Err(Refusal::from(Status::bad_request(text)));
        }
    }
    // A namespace in the URL of a cluster-scoped resource, or none where one object of a namespaced one is meant.
    let namespaced = !info.namespace.is_empty();
    let fits = match def.namespaced {
        true => namespaced || !info.is_named && matches!(verb, Verb::List | Verb::Watch),
        false => !namespaced || def.group.is_empty() && def.names.plural == "namespaces",
    };
    if fits {
        return Ok(());
    }
    tracing::debug!(path = parts.uri.path(), "the URL's scope is not the resource's");
    Err(match (def.namespaced, verb) {
        (true, Verb::Create) => Refusal::from(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        )),
        _ => Refusal::from(Status::no_such_resource()),
    })
}

/// What performing a verb takes of storage: writes read what they change, and some make what is not there.
fn implied_verbs(verb: Verb, creates: bool) -> Verbs {
    match verb {
        Verb::Update if creates => Verbs::of(&[Verb::Update, Verb::Create, Verb::Get]),
        Verb::Patch if creates => Verbs::of(&[Verb::Patch, Verb::Create, Verb::Get]),
        Verb::Get | Verb::List | Verb::Watch => Verbs::of(&[verb]),
        Verb::Create => Verbs::of(&[Verb::Create, Verb::Get]),
        Verb::Update => Verbs::of(&[Verb::Update, Verb::Get]),
        Verb::Patch => Verbs::of(&[Verb::Patch, Verb::Get]),
        Verb::Delete => Verbs::of(&[Verb::Delete, Verb::Get]),
        Verb::DeleteCollection => Verbs::of(&[Verb::DeleteCollection, Verb::Delete, Verb::List, Verb::Get]),
    }
}

/// Apply, and PUT of some kinds, make the object that is not there: for that one has to be allowed to create.
fn may_create(verb: Verb, resolved: &registry::Resolved, parts: &Parts) -> bool {
    match verb {
        Verb::Patch => {
            let kind = parts
                .headers
                .get(http::header::CONTENT_TYPE)
                .map(http::HeaderValue::as_bytes);
            kind.is_some_and(|kind| kind.starts_with(b"application/apply-patch"))
        }
        Verb::Update => resolved.def.strategy.allows_create_on_update(),
        _ => false,
    }
}

/// A cluster that is not here: said to those who may see clusters of that name, or use it, and to nobody else.
async fn refuse_missing(target: &Target<'_>, stack: &Stack, user: &User, missing: Missing) -> Refusal {
    let Missing {
        status,
        cluster,
        nearest,
    } = missing;
    if user.in_group(MASTERS) {
        return plain_if_elsewhere(status);
    }
    // "Not found on this shard" is for any client that has come to the wrong door; it has an identity at least.
    if status.code == 429 && !user.is_anonymous() {
        return plain_if_elsewhere(status);
    }
    let allowed = async |access: Access| stack.authorizer.authorize(user, &access).await.is_allowed();
    let access = |scope: &Scope, verb: &str, of: GroupResource, name: &str| Access {
        scope: Some(scope.clone()),
        verb: verb.to_owned(),
        is_resource: true,
        group: of.group,
        resource: of.resource,
        name: name.to_owned(),
        ..Access::default()
    };
    let mut may_know = false;
    if cluster.is_some() {
        may_know = allowed(target.access(cluster)).await;
    }
    if !may_know && let Some((scope, name)) = &nearest {
        let of = missing_object(&status);
        may_know = allowed(access(scope, Verb::Get.as_str(), of, name)).await;
    }
    if !may_know && let Some(scope) = &stack.options.metrics_scope {
        // Who may do everything in the cluster that stands for the server may know of all others.
        may_know = allowed(access(scope, "*", GroupResource::new("*", "*"), "")).await;
    }
    match may_know {
        true => plain_if_elsewhere(status),
        false => forbidden(user, &target.access(None), ACCESS_DENIED),
    }
}

/// kcp's routing answers are plain texts.
fn plain_if_elsewhere(status: Status) -> Refusal {
    match status.code {
        429 | 503 => Refusal::Plain {
            code: http::StatusCode::from_u16(status.code).unwrap_or(http::StatusCode::SERVICE_UNAVAILABLE),
            retry_after: Some(status.retry_after_seconds()),
            text: status.message,
        },
        _ => Refusal::from(status),
    }
}

/// 403 in Kubernetes' words.
pub(crate) fn forbidden(user: &User, access: &Access, reason: &str) -> Refusal {
    Refusal::Forbidden(Box::new(forbidden_status(user, access, reason)))
}

pub(crate) fn forbidden_status(user: &User, access: &Access, reason: &str) -> Status {
    let name = &user.name;
    let verb = &access.verb;
    let text = if access.is_resource {
        let resource = match access.subresource.is_empty() {
            true => access.resource.clone(),
            false => format!("{}/{}", access.resource, access.subresource),
        };
        let place = match access.namespace.is_empty() {
            true => "at the cluster scope".to_owned(),
            false => format!("in the namespace {:?}", access.namespace),
        };
        format!(
            "User {name:?} cannot {verb} resource {resource:?} in API group {:?} {place}",
            access.group
        )
    } else {
        format!("User {name:?} cannot {verb} path {:?}", access.path)
    };
    // Kubernetes keeps errors from looking like HTML.
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let of = GroupResource::new(access.group.as_str(), access.resource.as_str());
    Status::forbidden(&of, &access.name, format!("{text}: {reason}"))
}

// === impl Target ===

impl Target<'_> {
    /// What the authorizer is asked.
    pub(super) fn access(&self, scope: Option<Scope>) -> Access {
        let verb = self.info.verb.to_owned();
        match &self.info.resource {
            None => Access {
                scope,
                verb,
                path: self.path.to_owned(),
                ..Access::default()
            },
            Some(info) => Access {
                scope,
                verb,
                is_resource: true,
                group: info.group.to_owned(),
                version: info.version.to_owned(),
                resource: info.resource.to_owned(),
                subresource: info.subresource.to_owned(),
                namespace: info.namespace.to_owned(),
                name: info.name.clone().into_owned(),
                path: String::new(),
                identity: info.identity.map(str::to_owned),
                deep: false,
            },
        }
    }
}
