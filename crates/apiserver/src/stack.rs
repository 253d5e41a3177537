//! What a server is made of, and the way of a request through it.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use env::Env;
use futures_util::FutureExt as _;
use http::header::{CACHE_CONTROL, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response};
use machinery::status::{Reason, Status};
use machinery::time::parse_go_duration;
use machinery::user::MASTERS;
use permit::Scope;
use registry::{Origin, ResourceDef, Surface};
use serde_json::Value;
use telemetry::{Gauge, Metrics};
use tracing::Instrument as _;

use crate::audit::{Answer, Audit, Times};
use crate::auth::service_account::in_cluster_path;
use crate::auth::{Authenticator, Resolver, SharedAuthorizer};
use crate::body::{Body, BodyBudget, HeldBody, RequestBody};
use crate::handler;
use crate::handler::{Definitions, Documents};
use crate::health::Health;
use crate::lifecycle::Lifecycle;
use crate::record::{AuditIds, Record};
use crate::refusal::{Refusal, Result};
use crate::server::{Connection, Service};
use crate::services::{Delegates, ServiceApi, ServiceRoute, Services};
use crate::stage::fairness::{Fairness, FairnessOptions, Flow, Seat};
use crate::stage::{Authenticated, Impersonator, Load, Permitted, Resolved, Target, decode_path};
use crate::version::VersionInfo;

/// What a binary fills in.
pub struct StackConfig {
    pub env: Env,
    pub options: StackOptions,
    pub resolver: Arc<dyn Resolver>,
    /// Asked in this order.
    pub authenticators: Vec<Arc<dyn Authenticator>>,
    pub impersonator: Option<Arc<dyn Impersonator>>,
    pub authorizer: SharedAuthorizer,
    pub surface: Arc<dyn Surface>,
    /// OpenAPI v3 components of the compiled-in kinds, by name.
    pub definitions: Arc<Value>,
    /// `/services/…`.
    pub services: Option<Arc<dyn Services>>,
    /// Components that serve this server's objects elsewhere.
    pub delegates: Option<Arc<dyn Delegates>>,
    /// Clusters served at other URLs.
    pub mounts: Option<Arc<dyn Mounts>>,
    pub fairness: FairnessOptions,
    pub audit: Audit,
    pub health: Health,
    pub lifecycle: Lifecycle,
    pub metrics: Arc<Metrics>,
}

#[derive(Clone, Debug)]
pub struct StackOptions {
    /// Kubernetes' limit: 3 MiB.
    pub body_bytes_max: usize,
    /// For everything but watches' streams. `?timeout=` may shorten it.
    pub request_timeout: Duration,
    /// A watch without `timeoutSeconds` ends at a random time between this and its double.
    pub watch_timeout_min: Duration,
    /// Requests without credentials are made by `system:anonymous`.
    pub anonymous: bool,
    /// The cluster that stands for the whole server: `/metrics` is authorized there, and who may do everything there hears
    /// which clusters do not exist.
    pub metrics_scope: Option<Scope>,
    /// Groups that no tenant can define resources of: theirs have label values of their own in metrics when bound.
    pub own_groups: &'static [&'static str],
    /// Shown in discovery as the server's address: `host:port`.
    pub external_address: String,
    pub version: VersionInfo,
    /// Bytes of all request bodies that are held at once.
    pub bodies_bytes_max: usize,
    /// Further documents, by path (`/openid/v1/jwks`); who may read them is the authorizer's to say.
    pub pages: BTreeMap<String, Page>,
    /// Bytes of discovery and OpenAPI documents that are kept.
    pub documents_bytes_max: usize,
    /// With the value `true`: asks for reviews to be deep, see [`registry::Request::deep`].
    pub deep_review_header: Option<HeaderName>,
    /// Requests without a cluster go to the one that their service account's token names.
    pub in_cluster_clients: bool,
    /// Annotation of audit events that names the cluster.
    pub cluster_annotation: Option<&'static str>,
}

/// A document that is always the same.
#[derive(Clone, Debug)]
pub struct Page {
    pub content_type: HeaderValue,
    pub body: Bytes,
}

/// The stages and handlers of a server. Serves requests by [`Service`].
pub struct Stack {
    pub env: Env,
    pub options: StackOptions,
    pub(crate) resolver: Arc<dyn Resolver>,
    pub(crate) authenticators: Vec<Arc<dyn Authenticator>>,
    pub(crate) impersonator: Option<Arc<dyn Impersonator>>,
    pub(crate) authorizer: SharedAuthorizer,
    pub(crate) surface: Arc<dyn Surface>,
    pub(crate) services: Option<Arc<dyn Services>>,
    pub(crate) delegates: Option<Arc<dyn Delegates>>,
    pub(crate) mounts: Option<Arc<dyn Mounts>>,
    pub(crate) fairness: Fairness,
    pub(crate) audit: Audit,
    pub health: Health,
    pub lifecycle: Lifecycle,
    pub metrics: Arc<Metrics>,
    pub(crate) documents: Documents,
    pub(crate) bodies: BodyBudget,
    pub(crate) definitions: Arc<Definitions>,
    audit_ids: AuditIds,
}

/// A request that is being worked on: counted, and perhaps on a seat.
struct Turn {
    _seat: Option<Seat>,
    in_flight: Gauge,
}

/// Serves requests for clusters that are mounted from elsewhere.
#[async_trait]
pub trait Mounts: Send + Sync {
    /// `url` is the mount's, `path` what stands behind the cluster in the request's. Authorization is the other end's.
    async fn forward(&self, url: &str, path: &str, request: Request<RequestBody>) -> Result<Response<Body>, Status>;
}

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
const FLOW_SCHEMA: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const PRIORITY_LEVEL: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache, private");
const EMPTY: HeaderValue = HeaderValue::from_static("");

// === impl StackOptions ===

impl Default for StackOptions {
    fn default() -> Self {
        Self {
            body_bytes_max: 3 * 1024 * 1024,
            request_timeout: Duration::from_secs(60),
            watch_timeout_min: Duration::from_secs(1800),
            anonymous: true,
            metrics_scope: None,
            own_groups: &[],
            external_address: "localhost:6443".to_owned(),
            version: VersionInfo::default(),
            bodies_bytes_max: 512 * 1024 * 1024,
            pages: BTreeMap::new(),
            documents_bytes_max: 64 * 1024 * 1024,
            deep_review_header: None,
            in_cluster_clients: false,
            cluster_annotation: None,
        }
    }
}

// === impl Stack ===

impl Stack {
    pub fn new(config: StackConfig) -> Arc<Self> {
        let fairness = Fairness::new(config.fairness, &config.env.clock, &config.metrics);
        Arc::new(Self {
            resolver: config.resolver,
            authenticators: config.authenticators,
            impersonator: config.impersonator,
            authorizer: config.authorizer,
            surface: config.surface,
            services: config.services,
            delegates: config.delegates,
            mounts: config.mounts,
            fairness,
            audit: config.audit,
            health: config.health,
            lifecycle: config.lifecycle,
            metrics: config.metrics,
            documents: Documents::new(config.options.documents_bytes_max),
            bodies: BodyBudget::new(config.options.bodies_bytes_max),
            definitions: Arc::new(Definitions::new(config.definitions)),
            audit_ids: AuditIds::new(&config.env.rng),
            options: config.options,
            env: config.env,
        })
    }

    /// Requests that are worked on now and count against the limits.
    pub fn seats_used(&self) -> usize {
        self.fairness.used()
    }

    /// Bytes of request bodies that are held, whole or as far as they have come.
    pub fn bodies_bytes(&self) -> usize {
        self.bodies.used()
    }

    /// Answers a request. Never fails and never hangs: whatever goes wrong becomes an answer.
    pub async fn handle(&self, request: Request<RequestBody>, connection: &Connection) -> Response<Body> {
        let begun = self.env.clock.monotonic();
        let received = self.env.clock.now();
        let (parts, body) = request.into_parts();
        let mut record = Record::new(self.audit_ids.of(&parts.headers));
        let span = self.span(&parts, &record);
        let outcome = self
            .bounded(&parts, body, connection, &mut record)
            .instrument(span)
            .await;
        let (mut response, refusal) = match outcome {
            Ok(response) => (response, None),
            Err(refusal) => (refusal.clone().into_response(), Some(refusal)),
        };
        self.put_headers(&mut response, &record);
        let took = self.env.clock.monotonic().saturating_sub(begun);
        self.observe(&response, &record, took);
        tracing::debug!(
            method = %parts.method,
            path = parts.uri.path(),
            code = response.status().as_u16(),
            user = record.user.as_ref().map_or("", |user| user.name.as_str()),
            audit_id = record.audit_id.to_str().unwrap_or_default(),
            took_us = took.as_micros(),
            "request"
        );
        if self.audit.is_on() {
            let status = match refusal.as_ref().or(record.refusal.as_ref()) {
                Some(Refusal::Status(status) | Refusal::Forbidden(status)) => Some(&**status),
                _ => None,
            };
            let answer = Answer {
                code: response.status().as_u16(),
                status,
            };
            let times = Times {
                received,
                now: self.env.clock.now(),
            };
            self.audit.answered(&record, &parts, connection, &times, answer).await;
        }
        if parts.method == Method::HEAD {
            handler::drop_body(&mut response);
        }
        response
    }

    /// The request as a trace shows it, below the span that the client names.
    fn span(&self, parts: &Parts, record: &Record) -> tracing::Span {
        if !telemetry::trace::is_exporting() {
            return tracing::Span::none();
        }
        let span = tracing::info_span!(
            "request",
            otel.name = %parts.method,
            otel.kind = "server",
            http.request.method = %parts.method,
            audit_id = record.audit_id.to_str().unwrap_or_default(),
        );
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        telemetry::trace::adopt(&span, header("traceparent"), header("tracestate"));
        span
    }

    async fn bounded(
        &self,
        parts: &Parts,
        body: RequestBody,
        connection: &Connection,
        record: &mut Record,
    ) -> Result<Response<Body>> {
        let bound = request_timeout(parts, self.options.request_timeout)?;
        // Boxed: the stages' state is some kilobytes, and every layer around it would move it once more.
        let route = Box::pin(self.route(parts, body, connection, record));
        let route = AssertUnwindSafe(route).catch_unwind();
        match self.env.clock.timeout(bound, route).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => {
                tracing::error!(path = parts.uri.path(), "a request made the server panic");
                Err(Refusal::from(Status::internal(
                    "the server could not finish this request, see its log",
                )))
            }
            Err(_) => {
                let text = "Timeout: request did not complete within the allotted timeout";
                Err(Refusal::from(Status::new(504, Reason::Timeout, text)))
            }
        }
    }

    /// The stages, in order.
    async fn route(
        &self,
        parts: &Parts,
        body: RequestBody,
        connection: &Connection,
        record: &mut Record,
    ) -> Result<Response<Body>> {
        let mut path = decode_path(parts.uri.path())?;
        if self.options.in_cluster_clients
            && let Some(meant) = in_cluster_path(&path, &parts.headers)
        {
            path = meant.into();
        }
        let target = Target::parse(parts, &path)?;
        handler::note_target(&target, record);
        handler::refuse_shard_paths(&target)?;
        // The URL says which cluster; whether it exists is not told yet.
        let resolved = Resolved::new(target, &*self.resolver, false, self.mounts.is_some())?;
        if let (Some(key), Some(Scope::One(cluster))) = (self.options.cluster_annotation, resolved.scope()) {
            record.annotations.push((key.to_owned(), cluster.to_string()));
        }
        // Who asks, after impersonation.
        let request = Authenticated::new(resolved, self, parts, connection, record).await?;
        if self.audit.is_on() {
            let now = self.env.clock.now();
            let times = Times { received: now, now };
            self.audit.received(record, parts, connection, &times).await;
        }
        if request.is_mounted() {
            return self.forward(&request, parts, body).await;
        }
        if request.is_service() {
            return self.serve_service(request, parts, body, record).await;
        }
        if let (Some(delegates), Some(scope)) = (&self.delegates, request.scope()) {
            let asked = delegates.route(request.user(), scope, request.path(), parts, connection);
            if let Some(service) = asked.await? {
                record.impersonated.clone_from(&service.user);
                // A component takes no seats of its own, but those of whom it speaks for.
                let load = request.load_of(service.user.as_deref().unwrap_or(request.user()));
                return self.serve_api(request, &service, load, parts, body, record).await;
            }
        }
        let (flow, load) = (request.flow(), request.load());
        // Whether it may; only now is there a permit.
        let request = Permitted::new(request, self, parts, record).await?;
        // A turn, so that no cluster takes the server from the others; given back when the answer is made. After
        // authorization: those who may do nothing in a cluster must not wait in its line.
        let held = self.take_in(&parts.method, body).await?;
        let _turn = self.turn(flow, load).await?;
        handler::serve(self, request, parts, held.again(), record).await
    }

    async fn serve_service(
        &self,
        request: Authenticated<'_>,
        parts: &Parts,
        body: RequestBody,
        record: &mut Record,
    ) -> Result<Response<Body>> {
        let path = request.path().to_owned();
        let route = match &self.services {
            Some(services) => services.route(request.user(), &path, parts).await,
            None => ServiceRoute::Unknown,
        };
        let service: Box<ServiceApi> = match route {
            ServiceRoute::Api(service) => service,
            ServiceRoute::Elsewhere(elsewhere) => {
                let held = self.take_in(&parts.method, body).await?;
                let _turn = self.turn(elsewhere.flow, request.load()).await?;
                return Ok(elsewhere.forwarder.forward(parts, held.bytes.clone()).await?);
            }
            ServiceRoute::Refused(refusal) => return Err(refusal),
            ServiceRoute::Unknown if request.user().in_group(MASTERS) => return Err(Refusal::no_such_path()),
            ServiceRoute::Unknown => {
                return Err(request.forbidden("Path not resolved to a valid virtual workspace"));
            }
        };
        let load = request.load();
        self.serve_api(request, &service, load, parts, body, record).await
    }

    async fn serve_api(
        &self,
        request: Authenticated<'_>,
        service: &ServiceApi,
        load: Load,
        parts: &Parts,
        body: RequestBody,
        record: &mut Record,
    ) -> Result<Response<Body>> {
        let request = Permitted::in_service(request, service, &service.path, self, parts, record).await?;
        let held = self.take_in(&parts.method, body).await?;
        let _turn = self.turn(service.flow.clone(), load).await?;
        handler::serve(self, request, parts, held.again(), record).await
    }

    /// The whole body, before the turn. Bodies that are not read share the window of their HTTP/2 connection: a few that
    /// wait for a seat would stop all others of it. And who sends slowly must not sit on a seat meanwhile.
    async fn take_in(&self, method: &Method, body: RequestBody) -> Result<HeldBody<'_>> {
        let body = match *method {
            // Nothing reads it; dropped, its part of the window is given back.
            Method::GET | Method::HEAD | Method::OPTIONS => RequestBody::Full(Bytes::new()),
            _ => body,
        };
        Ok(body.read(self.options.body_bytes_max, &self.bodies).await?)
    }

    async fn turn(&self, flow: Flow, load: Load) -> Result<Turn> {
        let seat = match load {
            Load::Exempt { .. } => None,
            Load::ReadOnly => self.fairness.seat(flow, false).await?,
            Load::Mutating => self.fairness.seat(flow, true).await?,
        };
        let in_flight = match load {
            Load::Mutating | Load::Exempt { mutating: true } => self.metrics.in_flight_mutating.clone(),
            Load::ReadOnly | Load::Exempt { mutating: false } => self.metrics.in_flight_read_only.clone(),
        };
        in_flight.inc();
        Ok(Turn { _seat: seat, in_flight })
    }

    async fn forward(&self, request: &Authenticated<'_>, parts: &Parts, body: RequestBody) -> Result<Response<Body>> {
        let (Some(mounts), Some(url)) = (&self.mounts, request.mount()) else {
            return Err(Refusal::from(Status::service_unavailable("mounts are not served here")));
        };
        let forwarded = Request::from_parts(parts.clone(), body);
        Ok(mounts.forward(url, request.path(), forwarded).await?)
    }

    fn put_headers(&self, response: &mut Response<Body>, record: &Record) {
        let headers = response.headers_mut();
        headers.insert(AUDIT_ID, record.audit_id.clone());
        headers.entry(CACHE_CONTROL).or_insert(NO_CACHE);
        headers.insert(FLOW_SCHEMA, EMPTY);
        headers.insert(PRIORITY_LEVEL, EMPTY);
    }

    fn observe(&self, response: &Response<Body>, record: &Record, took: Duration) {
        let labels = record.labels(|def| self.is_known(def));
        let series = self.metrics.requests.series(&labels);
        let code = response.status().as_u16();
        match record.is_watch {
            true => series.started(code),
            false => series.answered(code, took, response.body().len()),
        }
    }

    /// Whether a resource has label values of its own: tenants may make any number of the others.
    pub(crate) fn is_known(&self, def: &ResourceDef) -> bool {
        match def.origin {
            Origin::Builtin | Origin::System => true,
            Origin::Bound => self.options.own_groups.contains(&&*def.group),
            Origin::Local => false,
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.in_flight.dec();
    }
}

impl Service for Stack {
    async fn serve(&self, request: Request<RequestBody>, connection: &Connection) -> Response<Body> {
        self.handle(request, connection).await
    }
}

/// `?timeout=` of the URL; what is absent, 0 or too long is the server's own.
fn request_timeout(parts: &Parts, max: Duration) -> Result<Duration> {
    let query = crate::query::Query::new(parts.uri.query().unwrap_or_default());
    let Some(text) = query.get("timeout").filter(|text| !text.is_empty()) else {
        return Ok(max);
    };
    let nanos = parse_go_duration(&text)
        .map_err(|error| Status::bad_request(format!("invalid timeout specified in the request URL - {error}")))?;
    let asked = Duration::from_nanos(u64::try_from(nanos).unwrap_or_default());
    Ok(if asked.is_zero() || asked > max { max } else { asked })
}
