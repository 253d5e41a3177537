//! The answering side: gRPC calls of peers, on the port where everything else is served, told apart by their path and content type.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use apiserver::auth::{Authenticator, Credentials};
use apiserver::{Body, Connection, Lifecycle, Phase, RequestBody};
use async_trait::async_trait;
use futures_util::{Stream, StreamExt as _};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response};
use machinery::user::MASTERS;
use tonic::{Status, Streaming};
use tower_service::Service as _;

use crate::names::NAMES_MAX;
use crate::replicas::{MESSAGE_MAX, Positions, Receiving};
use crate::wire::cache_server::{Cache, CacheServer};
use crate::wire::index_server::{Index, IndexServer};
use crate::wire::lookup_server::{Lookup, LookupServer};
use crate::wire::replicate_server::{Replicate, ReplicateServer};
use crate::wire::views_server::{Views, ViewsServer};
use crate::wire::{
    AllowsRequest, AllowsResponse, AuthenticateRequest, AuthenticateResponse, FindRequest, FindResponse, IndexBatch,
    IndexWatchRequest, LocateRequest, LocateResponse, ReplicateBatch, ReplicateWatchRequest, ResolveRequest,
    ResolveResponse,
};

/// A stream of batches, ended by an error that tells the peer to begin again.
pub type Batches<T = IndexBatch> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What a shard tells its peers.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// See `Index.Watch`.
    async fn watch(&self, request: IndexWatchRequest) -> Result<Batches, Status>;
    /// See `Lookup.Resolve`.
    async fn resolve(&self, request: ResolveRequest) -> Result<ResolveResponse, Status>;
    /// See `Lookup.Locate`.
    async fn locate(&self, request: LocateRequest) -> Result<LocateResponse, Status>;
    /// See `Replicate.Watch`.
    async fn replicate(&self, request: ReplicateWatchRequest) -> Result<Batches<ReplicateBatch>, Status>;
}

/// What a shard answers to the process that has its virtual workspaces.
#[async_trait]
pub trait ViewSource: Send + Sync + 'static {
    /// See `Views.Find`.
    async fn find(&self, request: FindRequest) -> Result<FindResponse, Status>;
    /// See `Views.Allows`.
    async fn allows(&self, request: AllowsRequest) -> Result<AllowsResponse, Status>;
    /// See `Views.Authenticate`.
    async fn authenticate(&self, request: AuthenticateRequest) -> Result<AuthenticateResponse, Status>;
}

/// Answers calls of peers: a shard's, or a cache server's.
pub struct Fabric {
    source: Option<Arc<dyn Source>>,
    views: Option<Arc<dyn ViewSource>>,
    cache: Option<Kept>,
    certificates: Arc<dyn Authenticator>,
    lifecycle: Lifecycle,
}

struct Served {
    source: Arc<dyn Source>,
    lifecycle: Lifecycle,
}

struct ServedViews(Arc<dyn ViewSource>);

#[derive(Clone)]
struct Kept {
    receiving: Arc<Receiving>,
    lifecycle: Lifecycle,
}

/// What the paths of all services begin with. No path of the API does.
const SERVICES: &str = "/kcp.";

// === impl Fabric ===

impl Fabric {
    /// `certificates` knows the users of client certificates: peers are those of group `system:masters`, as the component
    /// certificates of kcp's charts are. No other credential makes a peer. Streams end with the `lifecycle`: peers hear at once
    /// that this shard is going, and it does not wait for them.
    pub fn new(source: Arc<dyn Source>, certificates: Arc<dyn Authenticator>, lifecycle: Lifecycle) -> Self {
        Self {
            source: Some(source),
            views: None,
            cache: None,
            certificates,
            lifecycle,
        }
    }

    /// Of a cache server. Peers are known as shards know them. Streams end with the `lifecycle`: it does not wait for shards.
    pub fn of_cache(receiving: Arc<Receiving>, certificates: Arc<dyn Authenticator>, lifecycle: Lifecycle) -> Self {
        Self {
            source: None,
            views: None,
            cache: Some(Kept {
                receiving,
                lifecycle: lifecycle.clone(),
            }),
            certificates,
            lifecycle,
        }
    }

    /// With answers for views that run elsewhere.
    #[must_use]
    pub fn with_views(mut self, views: Arc<dyn ViewSource>) -> Self {
        self.views = Some(views);
        self
    }

    /// Whether a request is a call: everything else is the API's, whose errors are a Status whatever a client says that it
    /// sends.
    pub fn is_call(path: &str, headers: &HeaderMap) -> bool {
        let kind = headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
        path.starts_with(SERVICES) && kind.is_some_and(|kind| kind.starts_with(b"application/grpc"))
    }

    /// Answers a call. Refusals are gRPC's, without a body.
    pub async fn serve(&self, request: Request<RequestBody>, connection: &Connection) -> Response<Body> {
        if let Err(status) = self.admit(connection).await {
            return refuse(&status);
        }
        let service = request.uri().path().split('/').nth(1).unwrap_or_default();
        let unknown = || refuse(&Status::unimplemented(format!("there is no service {service:?} here")));
        if let ("kcp.fabric.v1.Cache", Some(kept)) = (service, &self.cache) {
            let mut server = CacheServer::new(kept.clone()).max_decoding_message_size(MESSAGE_MAX);
            return answer(server.call(request).await);
        }
        let Some(source) = &self.source else { return unknown() };
        let source = Arc::new(Served {
            source: source.clone(),
            lifecycle: self.lifecycle.clone(),
        });
        let answered = match service {
            "kcp.fabric.v1.Index" => IndexServer::from_arc(source).call(request).await,
            "kcp.fabric.v1.Lookup" => LookupServer::from_arc(source).call(request).await,
            "kcp.fabric.v1.Replicate" => ReplicateServer::from_arc(source).call(request).await,
            "kcp.fabric.v1.Views" => match &self.views {
                Some(views) => {
                    let served = Arc::new(ServedViews(views.clone()));
                    ViewsServer::from_arc(served).call(request).await
                }
                None => return refuse(&Status::unimplemented("views are not asked for here")),
            },
            _ => return unknown(),
        };
        answer(answered)
    }

    async fn admit(&self, connection: &Connection) -> Result<(), Status> {
        let none = HeaderMap::new();
        let credentials = Credentials {
            peer_certificates: &connection.certificates,
            bearer_token: None,
            headers: &none,
            scope: None,
        };
        match self.certificates.authenticate(&credentials).await {
            Ok(Some(user)) if user.in_group(MASTERS) => Ok(()),
            Ok(Some(_)) => Err(Status::permission_denied("this is for components of the control plane")),
            Ok(None) | Err(_) => Err(Status::unauthenticated("a component's certificate is needed")),
        }
    }
}

fn answer(answered: Result<Response<tonic::body::Body>, Infallible>) -> Response<Body> {
    match answered {
        Ok(response) => response.map(Body::foreign),
        Err(impossible) => match impossible {},
    }
}

fn refuse(status: &Status) -> Response<Body> {
    let response: Response<()> = status.clone().into_http();
    response.map(|()| Body::empty())
}

impl Served {
    fn until_closing<T: Send + 'static>(&self, batches: Batches<T>) -> Batches<T> {
        let lifecycle = self.lifecycle.clone();
        Box::pin(batches.take_until(async move { lifecycle.reached(Phase::Closing).await }))
    }
}

#[async_trait]
impl Index for Served {
    type WatchStream = Batches;

    async fn watch(&self, request: tonic::Request<IndexWatchRequest>) -> Result<tonic::Response<Batches>, Status> {
        let batches = self.source.watch(request.into_inner()).await?;
        Ok(tonic::Response::new(self.until_closing(batches)))
    }
}

#[async_trait]
impl Lookup for Served {
    async fn resolve(
        &self,
        request: tonic::Request<ResolveRequest>,
    ) -> Result<tonic::Response<ResolveResponse>, Status> {
        Ok(tonic::Response::new(self.source.resolve(request.into_inner()).await?))
    }

    async fn locate(&self, request: tonic::Request<LocateRequest>) -> Result<tonic::Response<LocateResponse>, Status> {
        let request = request.into_inner();
        if request.clusters.len() > NAMES_MAX {
            return Err(Status::invalid_argument(format!("more than {NAMES_MAX} names")));
        }
        Ok(tonic::Response::new(self.source.locate(request).await?))
    }
}

#[async_trait]
impl Replicate for Served {
    type WatchStream = Batches<ReplicateBatch>;

    async fn watch(
        &self,
        request: tonic::Request<ReplicateWatchRequest>,
    ) -> Result<tonic::Response<Batches<ReplicateBatch>>, Status> {
        let batches = self.source.replicate(request.into_inner()).await?;
        Ok(tonic::Response::new(self.until_closing(batches)))
    }
}

#[async_trait]
impl Views for ServedViews {
    async fn find(&self, request: tonic::Request<FindRequest>) -> Result<tonic::Response<FindResponse>, Status> {
        Ok(tonic::Response::new(self.0.find(request.into_inner()).await?))
    }

    async fn allows(&self, request: tonic::Request<AllowsRequest>) -> Result<tonic::Response<AllowsResponse>, Status> {
        Ok(tonic::Response::new(self.0.allows(request.into_inner()).await?))
    }

    async fn authenticate(
        &self,
        request: tonic::Request<AuthenticateRequest>,
    ) -> Result<tonic::Response<AuthenticateResponse>, Status> {
        Ok(tonic::Response::new(self.0.authenticate(request.into_inner()).await?))
    }
}

#[async_trait]
impl Cache for Kept {
    type TellStream = Positions;

    async fn tell(
        &self,
        request: tonic::Request<Streaming<ReplicateBatch>>,
    ) -> Result<tonic::Response<Positions>, Status> {
        let positions = self.receiving.receive(request.into_inner()).await?;
        let lifecycle = self.lifecycle.clone();
        let closing = async move { lifecycle.reached(Phase::Closing).await };
        Ok(tonic::Response::new(Box::pin(positions.take_until(closing))))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use machinery::user::User;
    use tonic::Code;

    use super::*;

    /// Everybody is this user.
    struct Everybody(Option<User>);

    struct Silent;

    #[async_trait]
    impl Authenticator for Everybody {
        async fn authenticate(&self, _: &Credentials<'_>) -> machinery::status::Result<Option<User>> {
            Ok(self.0.clone())
        }
    }

    #[async_trait]
    impl Source for Silent {
        async fn watch(&self, _: IndexWatchRequest) -> Result<Batches, Status> {
            Err(Status::cancelled("reached"))
        }
        async fn resolve(&self, _: ResolveRequest) -> Result<ResolveResponse, Status> {
            Err(Status::cancelled("reached"))
        }
        async fn locate(&self, _: LocateRequest) -> Result<LocateResponse, Status> {
            Err(Status::cancelled("reached"))
        }
        async fn replicate(&self, _: ReplicateWatchRequest) -> Result<Batches<ReplicateBatch>, Status> {
            Err(Status::cancelled("reached"))
        }
    }

    #[async_trait]
    impl ViewSource for Silent {
        async fn find(&self, _: FindRequest) -> Result<FindResponse, Status> {
            Err(Status::cancelled("reached"))
        }
        async fn allows(&self, _: AllowsRequest) -> Result<AllowsResponse, Status> {
            Err(Status::cancelled("reached"))
        }
        async fn authenticate(&self, _: AuthenticateRequest) -> Result<AuthenticateResponse, Status> {
            Err(Status::cancelled("reached"))
        }
    }

    /// And what a component without anything to say is answered.
    const METHODS: [(&str, Code); 8] = [
        ("/kcp.fabric.v1.Index/Watch", Code::Cancelled),
        ("/kcp.fabric.v1.Lookup/Resolve", Code::Cancelled),
        ("/kcp.fabric.v1.Lookup/Locate", Code::Cancelled),
        ("/kcp.fabric.v1.Replicate/Watch", Code::Cancelled),
        ("/kcp.fabric.v1.Views/Find", Code::Cancelled),
        ("/kcp.fabric.v1.Views/Allows", Code::Cancelled),
        ("/kcp.fabric.v1.Views/Authenticate", Code::Cancelled),
        ("/kcp.fabric.v1.Cache/Tell", Code::InvalidArgument),
    ];

    async fn call(user: Option<User>, path: &str) -> Code {
        // An empty message.
        call_with(user, path, vec![0; 5]).await
    }

    async fn call_with(user: Option<User>, path: &str, message: Vec<u8>) -> Code {
        let certificates = Arc::new(Everybody(user));
        let fabric = match path.starts_with("/kcp.fabric.v1.Cache/") {
            true => {
                let (env, _host) = env::Env::simulated(1, env::simulated::SimOptions::default());
                let kv = Arc::new(kv::model::ModelKv::new(&env));
                let replicas = crate::Replicas::alone(&env, kv, storage::StoreOptions::default()).await;
                Fabric::of_cache(Receiving::new(replicas.unwrap()), certificates, Lifecycle::new())
            }
            false => Fabric::new(Arc::new(Silent), certificates, Lifecycle::new()).with_views(Arc::new(Silent)),
        };
        let body = RequestBody::Full(message.into());
        let request = Request::post(path)
            .header(CONTENT_TYPE, "application/grpc")
            .body(body)
            .unwrap();
        let answer = fabric.serve(request, &Connection::plain("peer:1")).await;
        Status::from_header_map(answer.headers()).map_or(Code::Ok, |status| status.code())
    }

    #[tokio::test]
    async fn every_method_is_for_components_alone() {
        for (method, reached) in METHODS {
            let stranger = User::new("stranger", &["system:authenticated"]);
            assert_eq!(call(Some(stranger), method).await, Code::PermissionDenied, "{method}");
            assert_eq!(call(None, method).await, Code::Unauthenticated, "{method}");
            let component = User::new("shard", &[MASTERS]);
            assert_eq!(call(Some(component), method).await, reached, "{method}");
        }
    }

    #[tokio::test]
    async fn a_question_has_a_bound() {
        for (names, expected) in [(NAMES_MAX, Code::Cancelled), (NAMES_MAX + 1, Code::InvalidArgument)] {
            // Field 1, a text of one byte, again and again.
            let message = [0x0a, 1, b'a'].repeat(names);
            let length = u32::try_from(message.len()).unwrap().to_be_bytes();
            let whole = [&[0], &length[..], &message].concat();
            let component = User::new("shard", &[MASTERS]);
            let code = call_with(Some(component), "/kcp.fabric.v1.Lookup/Locate", whole).await;
            assert_eq!(code, expected, "{names}");
        }
    }

    #[test]
    fn a_content_type_alone_makes_no_call() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        assert!(Fabric::is_call("/kcp.fabric.v1.Index/Watch", &headers));
        assert!(!Fabric::is_call("/clusters/root/api/v1/namespaces", &headers));
        assert!(!Fabric::is_call("/kcp.fabric.v1.Index/Watch", &HeaderMap::new()));
    }
}
