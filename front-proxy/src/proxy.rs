//! The way of a request through the proxy: who asks, where it leads, on to there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use apiserver::auth::service_account::in_cluster_path;
use apiserver::auth::{Authenticator, Credentials};
use apiserver::stage::{decode_path, split_cluster};
use apiserver::{Body, BodyBudget, Connection, Health, Lifecycle, Phase, Query, Refusal, RequestBody, Service};
use bytes::Bytes;
use env::Env;
use fabric::peers::{not_available, too_many, unreachable};
use fabric::upstream::{Answer, UpstreamBody};
use fabric::{
    ClientTls, Destination, Endpoint, Lane, Lost, PROXY_HEADER, Peers, ShardId, Upstream, UpstreamError,
    UpstreamOptions,
};
use http::header::{AUTHORIZATION, FORWARDED, HOST, HeaderName};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Full};
use machinery::status::{Reason, Status};
use machinery::user::User;
use parking_lot::RwLock;
use tenancy::WorkspacePath;

use crate::guesses::Guesses;
use crate::identity::{GroupFilter, IdentityHeaders};
use crate::mapping::Mappings;
use crate::review::reviewed;
use crate::start::ProxyMetrics;
use crate::workspace_users::WorkspaceUsers;

#[cfg(test)]
mod tests;

/// What a proxy is made of.
pub struct Proxy {
    pub env: Env,
    pub peers: Arc<Peers>,
    pub mappings: Mappings,
    /// By number of the mapping: as whom the proxy goes there. That of `/clusters/` serves all shards.
    pub identities: Vec<Arc<ClientTls>>,
    pub authenticators: Vec<Arc<dyn Authenticator>>,
    /// Users of workspaces' own issuers: the feature WorkspaceAuthentication.
    pub workspace_users: Option<WorkspaceUsers>,
    pub groups: GroupFilter,
    pub options: UpstreamOptions,
    /// Whether workspaces may lead to servers of tenants' choice: the feature WorkspaceMounts.
    pub mounts: bool,
    pub health: Health,
    pub lifecycle: Lifecycle,
    pub metrics: ProxyMetrics,
    /// Connections that requests are forwarded over, by (mapping, URL).
    pub upstreams: RwLock<BTreeMap<(usize, String), Upstream>>,
    pub bodies: BodyBudget,
    pub guesses: Guesses,
}

/// Where a request goes.
struct Way {
    mapping: usize,
    url: String,
    /// Who can answer as well, if that one cannot.
    others: Vec<String>,
    path: String,
    /// Whether a shard answers, not a mapping's server or a mount.
    is_to_shard: bool,
    /// What was resolved, if a shard is to say whether it is so.
    resolved: Option<(permit::Cluster, ShardId)>,
}

/// What is told of a request to whoever answers it.
struct Forwarded {
    method: Method,
    query: Option<String>,
    headers: HeaderMap,
    body: Option<Bytes>,
    lane: Lane,
    /// How long the head of its answer may take. What comes behind it, a watch's events say, may take any time.
    head_timeout: Duration,
}

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Kubernetes' limit of a request's body.
const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Kubernetes' limit of a request, and what a server needs to say itself that it is over.
const REQUEST_SECONDS_MAX: u64 = 60;
const GRACE: Duration = Duration::from_secs(2);
/// Servers that connections are kept to. Mounts are as many as tenants like.
const UPSTREAMS_MAX: usize = 1024;
/// How long root may take to say who may read metrics.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(2);
/// Shards that are asked in turn to refuse what none of them holds, as long as they cannot be reached.
const REFUSERS_MAX: usize = 2;
/// Proxies that a request may have come through.
const FORWARDS_MAX: usize = 16;

type Answered<T> = Result<T, Refusal>;

// === impl Proxy ===

impl Service for Proxy {
    async fn serve(&self, request: Request<RequestBody>, connection: &Connection) -> Response<Body> {
        let begun = self.env.clock.monotonic();
        let method = request.method().clone();
        let response = match self.handle(request, connection).await {
            Ok(response) => response,
            Err(refusal) => refusal.into_response(),
        };
        let took = self.env.clock.monotonic().saturating_sub(begun);
        self.metrics.answered(&method, response.status(), took);
        response
    }
}

/// A request's future is moved several times until it runs: what is rare and large in it has a box of its own.
impl Proxy {
    async fn handle(&self, request: Request<RequestBody>, connection: &Connection) -> Answered<Response<Body>> {
        let (parts, body) = request.into_parts();
        let decoded = decode_path(parts.uri.path())?;
        let path = match in_cluster_path(&decoded, &parts.headers) {
            Some(path) => path,
            None => decoded.into_owned(),
        };
        if let Some(endpoint) = own_endpoint(&path) {
            return Box::pin(self.own(endpoint, &parts, connection)).await;
        }
        let Some((mapping, mapped, cluster)) = self.mappings.find(&path) else {
            return Err(Refusal::no_such_path());
        };
        let place = cluster.or_else(|| split_cluster(&path).map(|(segment, _)| segment));
        let user = self.authenticate_at(place, &parts.headers, connection).await?;
        let way = match split_cluster(&path) {
            // All clusters of all shards are nobody's business (kcp's facts, H.1).
            Some(("*", _)) => return Err(Refusal::Forbidden(Box::new(all_clusters(&user, &parts)))),
            Some((segment, below)) if path.starts_with(crate::mapping::CLUSTERS) => {
                self.way_to_cluster(mapping, segment, below, &user).await?
            }
            _ => {
                let segment = cluster.or_else(|| cluster_within(&path));
                self.check_cluster(segment, &user).await?;
                Way {
                    mapping,
                    url: mapped.backend.clone(),
                    others: Vec::new(),
                    path: path.clone(),
                    is_to_shard: false,
                    resolved: None,
                }
            }
        };
        let headers = self.headers(&parts, connection, &user, &way, &mapped.headers)?;
        let (lane, head_timeout) = (lane_of(&parts), head_timeout(&parts));
        let body = match is_bodiless(&parts) {
            true => None,
            false => Some(body.read(BODY_BYTES_MAX, &self.bodies).await?),
        };
        let forwarded = Forwarded {
            method: parts.method,
            query: parts.uri.query().map(str::to_owned),
            headers,
            body: body.as_ref().map(|body| body.bytes.clone()),
            lane,
            head_timeout,
        };
        self.forward(way, &forwarded, &path).await
    }

    /// Sends a request on. Where the index was behind, the shards are asked, once.
    async fn forward(&self, way: Way, forwarded: &Forwarded, path: &str) -> Answered<Response<Body>> {
        let response = self.send(&way, forwarded).await?;
        let Some((cluster, shard)) = way
            .resolved
            .filter(|_| response.status() == StatusCode::MISDIRECTED_REQUEST)
        else {
            return Ok(self.finished(forwarded.lane, response));
        };
        self.peers.routes.forget(&cluster, shard);
        Box::pin(self.forward_anew(way.mapping, forwarded, path)).await
    }

    async fn forward_anew(&self, mapping: usize, forwarded: &Forwarded, path: &str) -> Answered<Response<Body>> {
        let Some((segment, below)) = split_cluster(path) else {
            return Err(Refusal::no_such_path());
        };
        let found = match parse_path(segment) {
            Some(path) => self.peers.resolve_anew(&path).await,
            None => Err(Lost::Unknown(None)),
        };
        let way = self.way(mapping, segment, below, found)?;
        let response = self.send(&way, forwarded).await?;
        match response.status() {
            // Gone again, or an index that contradicts its own shard: the client may ask once more.
            StatusCode::MISDIRECTED_REQUEST => {
                Err(unreachable("it says that it does not hold what it was told").into())
            }
            _ => Ok(self.finished(forwarded.lane, response)),
        }
    }

    async fn way_to_cluster(&self, mapping: usize, segment: &str, below: &str, user: &User) -> Answered<Way> {
        let found = match parse_path(segment) {
            Some(path) => self.find(&path, user).await,
            None => Err(Lost::Unknown(None)),
        };
        self.way(mapping, segment, below, found)
    }

    /// Where a path leads. For what the index does not know shards are asked, and by one user only so often in vain.
    async fn find(&self, path: &WorkspacePath, user: &User) -> Result<Destination, Lost> {
        if let Some(known) = self.peers.known(path) {
            return known;
        }
        let Some(guess) = self.guesses.take(&user.name) else {
            self.metrics.looked_up("limited");
            return Err(Lost::Refused(too_many()));
        };
        let found = Box::pin(self.peers.look_for(path)).await;
        match &found {
            Ok(_) | Err(Lost::Unavailable) => {
                guess.was_right();
                self.metrics.looked_up("found");
            }
            Err(Lost::Unknown(_)) => self.metrics.looked_up("unknown"),
            Err(Lost::Refused(_)) => self.metrics.looked_up("refused"),
        }
        found
    }

    fn way(&self, mapping: usize, segment: &str, below: &str, found: Result<Destination, Lost>) -> Answered<Way> {
        match found {
            Ok(Destination::Cluster { cluster, shard }) => {
                let url = self.peers.url(shard);
                let url = url.ok_or_else(|| unreachable("its shard was not reached yet"))?;
                let path = format!("/clusters/{cluster}{below}");
                let resolved = Some((cluster, shard));
                Ok(Way {
                    mapping,
                    url,
                    others: Vec::new(),
                    path,
                    is_to_shard: true,
                    resolved,
                })
            }
            Ok(Destination::Mount { .. }) if !self.mounts => {
                Err(Status::not_implemented("mounted workspaces are not served through this proxy").into())
            }
            // Names behind a mount mean nothing, as in kcp.
            Ok(Destination::Mount { url, .. }) => {
                let base = url.parse::<Uri>().map_err(|_| unreachable("a mount's URL is none"))?;
                Ok(Way {
                    mapping,
                    path: format!("{}{below}", base.path().trim_end_matches('/')),
                    url,
                    others: Vec::new(),
                    is_to_shard: false,
                    resolved: None,
                })
            }
            Err(Lost::Unavailable) => Err(not_available().into()),
            Err(Lost::Refused(status)) => Err(status.into()),
            // Who said that a workspace has no such child knows who may hear of that, and others do not: which of them refuses
            // must not be chance. What nobody was asked for any shard refuses, as it refuses anybody without access.
            Err(Lost::Unknown(asked)) => {
                let refusers = asked.map_or_else(|| self.peers.reached(), |shard| vec![shard]);
                let refusers = refusers.into_iter();
                let mut urls = refusers.filter_map(|shard| self.peers.url(shard)).take(REFUSERS_MAX);
                let url = urls.next().ok_or_else(|| unreachable("no shard was reached yet"))?;
                Ok(Way {
                    mapping,
                    url,
                    others: urls.collect(),
                    path: format!("/clusters/{segment}{below}"),
                    is_to_shard: true,
                    resolved: None,
                })
            }
        }
    }

    /// A cluster in a path that is not a cluster's own must exist, as kcp has it; who asks is known already.
    async fn check_cluster(&self, segment: Option<&str>, user: &User) -> Answered<()> {
        let Some(path) = segment.filter(|segment| *segment != "*").and_then(parse_path) else {
            return Ok(());
        };
        match self.find(&path, user).await {
            Err(Lost::Unavailable) => Err(not_available().into()),
            Err(Lost::Refused(status)) => Err(status.into()),
            // Views refuse what they do not know, and look the same to everybody.
            Ok(_) | Err(Lost::Unknown(_)) => Ok(()),
        }
    }

    /// The same, or somebody who is known in the workspace that the path names, and there alone.
    async fn authenticate_at(
        &self,
        place: Option<&str>,
        headers: &HeaderMap,
        connection: &Connection,
    ) -> Answered<User> {
        let unknown = match self.authenticate(headers, connection).await {
            Ok(user) => return Ok(user),
            Err(unknown) => unknown,
        };
        match (&self.workspace_users, bearer_token(headers), place) {
            (Some(users), Some(token), Some(place)) => users.user(&token, place).await?.ok_or(unknown),
            _ => Err(unknown),
        }
    }

    /// Somebody, or 401: a request without a user would be taken for the proxy's own by whoever knows its certificate.
    async fn authenticate(&self, headers: &HeaderMap, connection: &Connection) -> Answered<User> {
        let token = bearer_token(headers);
        let credentials = Credentials {
            peer_certificates: &connection.certificates,
            bearer_token: token.as_deref(),
            headers,
            scope: None,
        };
        let mut unknown = Status::unauthorized();
        for authenticator in &self.authenticators {
            match authenticator.authenticate(&credentials).await {
                Ok(Some(user)) => return Ok(user),
                // Who has to know cannot be asked: that is not the client's fault.
                Err(status) if status.code >= 500 => unknown = status,
                Ok(None) | Err(_) => {}
            }
        }
        Err(unknown.into())
    }

    fn headers(
        &self,
        parts: &Parts,
        connection: &Connection,
        user: &User,
        way: &Way,
        names: &IdentityHeaders,
    ) -> Answered<HeaderMap> {
        if parts.headers.get_all(FORWARDED_FOR).iter().count() >= FORWARDS_MAX {
            return Err(Status::bad_request("the request was forwarded too often: a mount may lead to itself").into());
        }
        let mut headers = parts.headers.clone();
        names.strip(&mut headers);
        headers.remove(HOST);
        headers.remove(FORWARDED);
        if let Ok(peer) = HeaderValue::from_str(connection.peer_address()) {
            headers.append(FORWARDED_FOR, peer);
        }
        let mut groups = user.groups.clone();
        if !way.is_to_shard {
            // A shard adds it itself; a mapping's server may know users by what it is told alone.
            groups.push(machinery::user::AUTHENTICATED.to_owned());
        }
        let groups = self.groups.apply(&groups);
        names
            .tell(user, &groups, &mut headers)
            .ok_or_else(Status::unauthorized)?;
        Ok(headers)
    }

    async fn send(&self, way: &Way, forwarded: &Forwarded) -> Answered<Response<Answer>> {
        let mut answered = self.send_to(&way.url, way, forwarded).await;
        for other in &way.others {
            match answered {
                Err(refusal) if refusal.code() == 503 => answered = self.send_to(other, way, forwarded).await,
                answered => return answered,
            }
        }
        answered
    }

    async fn send_to(&self, url: &str, way: &Way, forwarded: &Forwarded) -> Answered<Response<Answer>> {
        let upstream = self.upstream(way.mapping, url)?;
        let mut request = Request::new(body_of(forwarded.body.clone()));
        *request.method_mut() = forwarded.method.clone();
        *request.uri_mut() = uri(&way.path, forwarded.query.as_deref())?;
        *request.headers_mut() = forwarded.headers.clone();
        if way.resolved.is_some() {
            request
                .headers_mut()
                .insert(PROXY_HEADER, HeaderValue::from_static("1"));
        }
        let sending = upstream.send(forwarded.lane, request);
        let Ok(sent) = self.env.clock.timeout(forwarded.head_timeout, sending).await else {
            tracing::info!(address = upstream.address(), "a forwarded request is not answered");
            return Err(Status::timeout("the shard that serves this workspace did not answer in time", 1).into());
        };
        let response = sent.map_err(|error| -> Refusal {
            tracing::info!(%error, "a request could not be forwarded");
            match error {
                UpstreamError::Full { .. } => Status::too_many_requests("too many requests are forwarded", 1).into(),
                error => unreachable(&error.to_string()).into(),
            }
        })?;
        if way.is_to_shard && response.status() == StatusCode::UNAUTHORIZED {
            // Users are known by now: whom the shard does not know is this proxy, whose certificate has run out, say.
            tracing::warn!(
                address = upstream.address(),
                "a shard does not accept this proxy's certificate"
            );
            return Err(unreachable("it does not know this proxy").into());
        }
        Ok(response)
    }

    /// An answer on its way to the client.
    fn finished<B>(&self, lane: Lane, response: Response<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (mut parts, body) = response.into_parts();
        parts.headers.remove(http::header::CONNECTION);
        parts.version = http::Version::HTTP_11;
        let lifecycle = self.lifecycle.clone();
        let body = match lane {
            Lane::Short => Body::foreign(body),
            // No end of this process could be waited for otherwise.
            Lane::Long => Body::foreign_until(body, async move { lifecycle.reached(Phase::Closing).await }),
        };
        Response::from_parts(parts, body)
    }

    /// Connections to a server, made by the first who needs them.
    fn upstream(&self, mapping: usize, url: &str) -> Answered<Upstream> {
        let key = (mapping, url.to_owned());
        if let Some(upstream) = self.upstreams.read().get(&key) {
            return Ok(upstream.clone());
        }
        let endpoint = Endpoint::from_url(url, self.identities.get(mapping).cloned());
        let endpoint = endpoint.map_err(|why| unreachable(&why))?;
        let (peers, at) = (self.peers.clone(), url.to_owned());
        let life = Arc::new(move || peers.is_live_at(&at));
        let new = Upstream::watched(self.env.clone(), endpoint, self.options.clone(), life);
        let mut upstreams = self.upstreams.write();
        if upstreams.len() >= UPSTREAMS_MAX {
            // Requests under way have what they need; who comes next dials again.
            upstreams.clear();
        }
        Ok(upstreams.entry(key).or_insert(new).clone())
    }

    async fn own(&self, endpoint: &str, parts: &Parts, connection: &Connection) -> Answered<Response<Body>> {
        if endpoint != "metrics" {
            let query = Query::new(parts.uri.query().unwrap_or_default());
            return self.health.respond(endpoint, &query).await;
        }
        let user = self.authenticate(&parts.headers, connection).await?;
        match self.may_read_metrics(&user).await? {
            true => Ok(self.metrics.page(&self.peers)),
            false => Err(Refusal::plain(StatusCode::FORBIDDEN, "Forbidden")),
        }
    }

    /// Root's rules say who may, as on a shard.
    async fn may_read_metrics(&self, user: &User) -> Answered<bool> {
        if user.in_group(machinery::user::MASTERS) {
            return Ok(true);
        }
        let root = WorkspacePath::parse(api::keys::cluster::ROOT).map_err(Status::internal)?;
        let Ok(Destination::Cluster { shard, .. }) = self.peers.resolve(&root).await else {
            return Err(unreachable("root was not found").into());
        };
        let upstream = self.peers.upstream(shard).ok_or_else(|| unreachable("root's shard"))?;
        let mut groups = user.groups.clone();
        // As the shard would add it, were the user its own.
        groups.push(machinery::user::AUTHENTICATED.to_owned());
        let review = serde_json::json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": user.name, "groups": groups, "extra": user.extra,
                "nonResourceAttributes": {"path": "/metrics", "verb": "get"},
            },
        });
        let path = "/clusters/root/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let answer = reviewed(
            &self.env,
            upstream,
            path,
            &review,
            REVIEW_TIMEOUT,
            "who may read metrics",
        )
        .await?;
        let review = answer.unwrap_or_default();
        Ok(review["status"]["allowed"].as_bool().unwrap_or_default())
    }
}

/// kcp's text.
fn all_clusters(user: &User, parts: &Parts) -> Status {
    let name = &user.name;
    let verb = parts.method.as_str().to_ascii_lowercase();
    let path = parts.uri.path();
    let text = format!("forbidden: User {name:?} cannot {verb} path {path:?}: workspace access not permitted");
    Status::new(403, Reason::Forbidden, text)
}

/// The part behind `/` of the proxy's own paths.
fn own_endpoint(path: &str) -> Option<&str> {
    let path = path.strip_prefix('/')?;
    let first = path.split('/').next().unwrap_or_default();
    match first {
        "livez" | "readyz" => Some(path),
        "metrics" if path == first => Some(path),
        _ => None,
    }
}

/// A path as the URL's segment says it; `user:<name>` is that user's home.
fn parse_path(segment: &str) -> Option<WorkspacePath> {
    let Some(rest) = segment.strip_prefix("user:") else {
        return WorkspacePath::parse(segment).ok();
    };
    let (user, below) = rest.split_once(':').unwrap_or((rest, ""));
    let home = api::hashes::home_cluster_name(user);
    match below {
        "" => WorkspacePath::parse(&home).ok(),
        below => WorkspacePath::parse(&format!("{home}:{below}")).ok(),
    }
}

/// The segment behind the first `/clusters/` of a path.
fn cluster_within(path: &str) -> Option<&str> {
    let (_, rest) = path.split_once("/clusters/")?;
    rest.split('/').next().filter(|segment| !segment.is_empty())
}

fn bearer_token(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned())
}

fn lane_of(parts: &Parts) -> Lane {
    let query = Query::new(parts.uri.query().unwrap_or_default());
    match query.is_true("watch") || query.is_true("follow") || parts.uri.path().contains("/watch/") {
        true => Lane::Long,
        false => Lane::Short,
    }
}

/// A client's own limit (`timeout=`), within Kubernetes', and what a server needs to say itself that it is over.
fn head_timeout(parts: &Parts) -> Duration {
    let query = Query::new(parts.uri.query().unwrap_or_default());
    let asked = query
        .get("timeout")
        .and_then(|text| machinery::time::parse_go_duration(&text).ok());
    let asked = asked
        .and_then(|nanos| u64::try_from(nanos).ok())
        .filter(|nanos| *nanos > 0);
    let most = Duration::from_secs(REQUEST_SECONDS_MAX);
    asked.map_or(most, Duration::from_nanos).min(most) + GRACE
}

fn is_bodiless(parts: &Parts) -> bool {
    let length = parts.headers.get(http::header::CONTENT_LENGTH);
    let is_read = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
    is_read || length.is_some_and(|length| length.as_bytes() == b"0")
}

pub(crate) fn body_of(bytes: Option<Bytes>) -> UpstreamBody {
    let never = |never: std::convert::Infallible| match never {};
    match bytes {
        None => Empty::new().map_err(never).boxed_unsync(),
        Some(bytes) => Full::new(bytes).map_err(never).boxed_unsync(),
    }
}

/// The decoded path, encoded again for the wire.
fn uri(path: &str, query: Option<&str>) -> Answered<Uri> {
    use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
    const ENCODED: &AsciiSet = &CONTROLS
        .add(b' ')
        .add(b'"')
        .add(b'#')
        .add(b'%')
        .add(b'<')
        .add(b'>')
        .add(b'?')
        .add(b'`')
        .add(b'{')
        .add(b'}');
    let path = utf8_percent_encode(path, ENCODED);
    let text = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_string(),
    };
    text.parse()
        .map_err(|_| Status::bad_request("the path of the request cannot be forwarded").into())
}
