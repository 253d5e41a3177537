//! Virtual workspaces that run as a process of their own: what they ask, and what they do on behalf of their users.
//!
//! Such a process decides as the views within a shard do, by facts that it asks for here ([`ViewAnswers`]), and then makes the
//! request for the objects with what it has decided ([`Delegated`]): who acts, which labels narrow it, which definition is
//! meant. From there on it is served as a request to a view within the shard is.

use std::sync::Arc;

use ::fabric::delegation::{self, DelegatedDefinition};
use ::fabric::serve::ViewSource;
use ::fabric::wire::find_request::What;
use ::fabric::wire::{
    AllowsRequest, AllowsResponse, AuthenticateRequest, AuthenticateResponse, FindRequest, FindResponse, Named,
};
use ::fabric::{DELEGATION_HEADER, Delegation};
use apiserver::auth::{Authenticator, Authorizer, Credentials, Rules};
use apiserver::{Connection, Delegates, Refusal, ServiceApi};
use async_trait::async_trait;
use compact_str::CompactString;
use http::HeaderMap;
use http::request::Parts;
use machinery::selector::LabelSelector;
use machinery::status::{Result, Status};
use machinery::user::{AUTHENTICATED, MASTERS, User};
use permit::{Access, Cluster, Decision, Scope, Verb};
use registry::{Backend, Resolved, ResourceDef, Surface};
use serde_json::Value;
use virtual_workspaces::{DefinitionOf, Shard as _};

use crate::views::ShardViews;

/// Serves what components ask for on behalf of users.
pub struct Delegated {
    pub views: Arc<ShardViews>,
    /// Users of client certificates; no other credential makes a component.
    pub clients: Arc<dyn Authenticator>,
}

/// Answers what views elsewhere ask.
pub struct ViewAnswers {
    pub views: Arc<ShardViews>,
    /// Who has a token, asked in this order.
    pub tokens: Vec<Arc<dyn Authenticator>>,
}

/// The server's own APIs, but that the names of resources mean what the view says.
struct Meant {
    views: Arc<ShardViews>,
    of: DefinitionOf,
}

/// The view has decided.
struct Decided {
    selector: LabelSelector,
    creates: bool,
}

/// The shard decides; making what is not there is up to the view, too.
struct Checked {
    inner: Arc<dyn Authorizer>,
    creates: bool,
}

// === impl Delegated ===

#[async_trait]
impl Delegates for Delegated {
    async fn route(
        &self,
        sender: &Arc<User>,
        scope: &Scope,
        below: &str,
        request: &Parts,
        connection: &Connection,
    ) -> Result<Option<ServiceApi>, Refusal> {
        let mut headers = request.headers.get_all(&DELEGATION_HEADER).iter();
        let Some(header) = headers.next() else { return Ok(None) };
        if !sender.in_group(MASTERS) || !self.is_component(connection).await {
            let of = machinery::object::GroupResource::new("", "");
            let why = "speaking for others is for components of the control plane";
            return Err(Refusal::from(Status::forbidden(&of, "", why)));
        }
        let delegation = Delegation::decode(header).filter(|_| headers.next().is_none());
        let unclear = || Refusal::from(Status::bad_request("what this request is on behalf of cannot be read"));
        let delegation = delegation.ok_or_else(unclear)?;
        let of = read_definition(&delegation.definition).ok_or_else(unclear)?;
        let surface: Arc<dyn Surface> = match of {
            None => self.views.surface.clone(),
            Some(of) => Arc::new(Meant {
                views: self.views.clone(),
                of,
            }),
        };
        let authorizer: Arc<dyn Authorizer> = match delegation.decided {
            true => Arc::new(Decided {
                selector: delegation.selector,
                creates: delegation.creates,
            }),
            false => Arc::new(Checked {
                inner: self.views.authorizer.clone(),
                creates: delegation.creates,
            }),
        };
        Ok(Some(ServiceApi {
            surface,
            scope: scope.clone(),
            path: below.to_owned(),
            authorizer: Some(authorizer),
            user: Some(Arc::new(delegation.user)),
            flow: CompactString::from(delegation.flow),
        }))
    }
}

impl Delegated {
    /// Whoever holds the connection, not somebody it names.
    async fn is_component(&self, connection: &Connection) -> bool {
        let none = HeaderMap::new();
        let credentials = Credentials {
            peer_certificates: &connection.certificates,
            bearer_token: None,
            headers: &none,
            scope: None,
        };
        let user = self.clients.authenticate(&credentials).await;
        user.ok().flatten().is_some_and(|user| user.in_group(MASTERS))
    }
}

/// `None`: it names no cluster. `Some(None)`: the cluster's own.
fn read_definition(given: &DelegatedDefinition) -> Option<Option<DefinitionOf>> {
    Some(match given {
        DelegatedDefinition::Own => None,
        DelegatedDefinition::Common => Some(DefinitionOf::Common),
        DelegatedDefinition::Identity(hash) => Some(DefinitionOf::Identity(hash.clone())),
        DelegatedDefinition::Schema {
            cluster,
            schema,
            identity,
        } => Some(DefinitionOf::Schema {
            cluster: Cluster::parse(cluster).ok()?,
            schema: schema.clone(),
            identity: identity.clone(),
        }),
    })
}

// === impl Meant ===

impl Surface for Meant {
    fn resolve(
        &self,
        _: &Scope,
        group: &str,
        version: &str,
        resource: &str,
        _: Option<&str>,
    ) -> Result<Option<Resolved>> {
        let def = self.views.known(group, resource, &self.of);
        Ok(def.and_then(|def| {
            Some(Resolved {
                version: def.served_version(version)?,
                def,
            })
        }))
    }

    /// Discovery is the view's.
    fn resources(&self, _: &Scope) -> Vec<Arc<ResourceDef>> {
        Vec::new()
    }

    fn backend(&self, resolved: &Resolved) -> Arc<dyn Backend> {
        self.views.surface.backend(resolved)
    }

    fn content_key(&self, _: &Scope) -> [u8; 32] {
        [0; 32]
    }
}

// === impl Decided ===

#[async_trait]
impl Authorizer for Decided {
    async fn authorize(&self, _: &User, access: &Access) -> Decision {
        // Asked a second time of what the request's own verb does not say.
        match access.is_resource && (self.creates || access.verb != Verb::Create.as_str()) {
            true => Decision::Allow {
                reason: "access granted".to_owned(),
                selector: self.selector.clone(),
            },
            false => Decision::deny("the view does not allow it"),
        }
    }

    async fn rules(&self, _: &User, _: &Scope, _: &str) -> Rules {
        Rules::default()
    }
}

// === impl Checked ===

#[async_trait]
impl Authorizer for Checked {
    async fn authorize(&self, user: &User, access: &Access) -> Decision {
        match self.creates || access.verb != Verb::Create.as_str() {
            true => self.inner.authorize(user, access).await,
            false => Decision::deny("the view does not allow it"),
        }
    }

    async fn rules(&self, _: &User, _: &Scope, _: &str) -> Rules {
        Rules::default()
    }
}

// === impl ViewAnswers ===

#[async_trait]
impl ViewSource for ViewAnswers {
    async fn find(&self, request: FindRequest) -> Result<FindResponse, tonic::Status> {
        let what = request.what.ok_or_else(|| wrong("nothing is asked for"))?;
        let found = self.find_objects(what).await.map_err(failed)?;
        let objects = found.ok_or_else(|| wrong("no cluster is named"))?;
        Ok(FindResponse {
            objects: objects.iter().map(|object| object.to_string().into_bytes()).collect(),
            revision: self.views.revision(),
        })
    }

    async fn allows(&self, request: AllowsRequest) -> Result<AllowsResponse, tonic::Status> {
        let user = delegation::user(request.user.ok_or_else(|| wrong("no user is named"))?);
        let scope = match request.cluster.as_str() {
            "" => None,
            "*" => Some(Scope::All),
            name => Some(Scope::One(parse(name)?)),
        };
        let access = Access {
            scope,
            verb: request.verb,
            is_resource: !request.is_path,
            group: request.group,
            version: request.version,
            resource: request.resource,
            subresource: request.subresource,
            namespace: request.namespace,
            name: request.name,
            path: request.path,
            identity: Some(request.identity).filter(|identity| !identity.is_empty()),
            deep: request.deep,
        };
        let allowed = self.views.allows(&user, &access).await.map_err(failed)?;
        Ok(AllowsResponse { allowed })
    }

    async fn authenticate(&self, request: AuthenticateRequest) -> Result<AuthenticateResponse, tonic::Status> {
        let none = HeaderMap::new();
        let credentials = Credentials {
            peer_certificates: &[],
            bearer_token: Some(&request.token),
            headers: &none,
            scope: None,
        };
        for member in &self.tokens {
            if let Ok(Some(mut user)) = member.authenticate(&credentials).await {
                if !user.in_group(AUTHENTICATED) {
                    user.groups.push(AUTHENTICATED.to_owned());
                }
                return Ok(AuthenticateResponse {
                    user: Some(delegation::sender(&user)),
                });
            }
        }
        Ok(AuthenticateResponse { user: None })
    }
}

impl ViewAnswers {
    /// `None`: what names a cluster does not.
    async fn find_objects(&self, what: What) -> Result<Option<Vec<Value>>> {
        let views = &self.views;
        let cluster = |name: &str| Cluster::parse(name).ok();
        let named = |Named { cluster: of, name }: Named| Some((cluster(&of)?, name));
        let found = match what {
            What::Export(asked) => match named(asked) {
                Some((of, name)) => views.export(&of, &name).await?.into_iter().collect(),
                None => return Ok(None),
            },
            What::Schema(asked) => match named(asked) {
                Some((of, name)) => views.schema(&of, &name).await?.into_iter().collect(),
                None => return Ok(None),
            },
            What::WorkspaceType(asked) => match named(asked) {
                Some((of, name)) => views.workspace_type(&of, &name).await?.into_iter().collect(),
                None => return Ok(None),
            },
            What::Identity(hash) => views.exports_by_identity(&hash).await?,
            What::BindingsOf(of) => match cluster(&of) {
                Some(of) => views.bindings(&of).await?,
                None => return Ok(None),
            },
            What::LogicalCluster(of) => match cluster(&of) {
                Some(of) => views.logical_cluster(&of).await?.into_iter().collect(),
                None => return Ok(None),
            },
        };
        Ok(Some(found))
    }
}

fn parse(name: &str) -> Result<Cluster, tonic::Status> {
    Cluster::parse(name).map_err(|error| wrong(&error.to_string()))
}

fn wrong(why: &str) -> tonic::Status {
    tonic::Status::invalid_argument(why)
}

fn failed(status: Status) -> tonic::Status {
    tonic::Status::unavailable(status.message)
}
