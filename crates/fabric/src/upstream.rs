//! Connections to another server of kcp: HTTP/2 over TLS, as many as its streams need, gone when the server is.
//!
//! Short requests and long streams (watches) go over different connections, so that a slow reader of one holds up none of
//! the others. A peer that does not answer pings is as good as dead: its requests fail within the ping's time, new ones at
//! once for a moment after a failure, and the next one tries again.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use apiserver::Timer;
use bytes::Bytes;
use env::{Env, Stream};
use http::{Request, Response, Uri};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio_rustls::TlsConnector;

use crate::client_tls::ClientTls;

/// A request's body.
pub type UpstreamBody = UnsyncBoxBody<Bytes, io::Error>;

/// Where a server is, and how it is known.
#[derive(Clone)]
pub struct Endpoint {
    /// `host:port`.
    pub address: String,
    /// `None`: without TLS, in simulations.
    pub tls: Option<Arc<ClientTls>>,
}

/// Limits of one upstream.
#[derive(Clone, Debug)]
pub struct UpstreamOptions {
    /// Dialling and the TLS handshake together, of a server that is not known to live.
    pub connect_timeout: Duration,
    /// Streams in use keep their connection pinged.
    pub ping_interval: Duration,
    pub ping_timeout: Duration,
    /// How long after a failure to connect requests fail at once.
    pub backoff: Duration,
    /// Streams of one connection, below what servers allow.
    pub streams_max: usize,
    /// Connections of one lane.
    pub connections_max: usize,
}

/// What kind of request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    Short,
    /// Watches and other streams without end.
    Long,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("{address} cannot be reached: {reason}")]
    Unreachable { address: String, reason: String },
    #[error("{address} has no room for another stream")]
    Full { address: String },
    /// The request may or may not have been worked on.
    #[error("{address} went away while it was asked: {reason}")]
    Lost { address: String, reason: String },
}

/// Whether a server is known to live by something else than the connections that are asked for.
pub type Life = Arc<dyn Fn() -> bool + Send + Sync>;

/// Cheap to clone.
#[derive(Clone)]
pub struct Upstream {
    inner: Arc<Inner>,
}

struct Inner {
    env: Env,
    endpoint: Endpoint,
    options: UpstreamOptions,
    life: Option<Life>,
    lanes: [Mutex<Vec<Connection>>; 2],
    /// One dials at a time; who waits uses what the first one got.
    dialing: [tokio::sync::Mutex<()>; 2],
    failed: Mutex<Option<Failure>>,
}

struct Failure {
    /// On the monotonic clock.
    until: Duration,
    reason: String,
}

#[derive(Clone)]
struct Connection {
    sender: SendRequest<UpstreamBody>,
    /// What it was made with.
    tls: Option<Arc<ClientConfig>>,
    streams: Arc<AtomicUsize>,
}

/// A stream in use, until it is dropped.
struct Taken {
    sender: SendRequest<UpstreamBody>,
    place: Place,
}

/// An answer's body, which holds its place on the connection.
pub struct Answer {
    body: Incoming,
    _place: Place,
}

/// One of a connection's streams, given back when dropped.
struct Place(Arc<AtomicUsize>);

/// What a gRPC client speaks over.
#[derive(Clone)]
pub struct Calls {
    upstream: Upstream,
    lane: Lane,
}

#[derive(Clone)]
struct Executor(env::Spawn);

/// Bytes of one answer that wait for a slow reader.
const STREAM_WINDOW: u32 = 256 * 1024;

/// Dialling a server that lives; so long do servers wait for a handshake.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(10);
/// How often it is looked whether it still does.
const LIFE_PERIOD: Duration = Duration::from_millis(20);

// === impl UpstreamOptions ===

impl Default for UpstreamOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_millis(800),
            // Together with a moment to say so below a second: that is how long what is lost may take to be known. A process
            // that runs answers a ping in milliseconds; the timeout is what it may be held up by its machine.
            ping_interval: Duration::from_millis(200),
            ping_timeout: Duration::from_millis(750),
            backoff: Duration::from_millis(200),
            streams_max: 200,
            connections_max: 64,
        }
    }
}

// === impl Endpoint ===

impl Endpoint {
    /// From a URL: `https://host:port`; what follows the authority is ignored.
    ///
    /// # Errors
    /// In one sentence, if it is none.
    pub fn from_url(url: &str, tls: Option<Arc<ClientTls>>) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|error| format!("{url:?} is no URL: {error}"))?;
        let authority = uri.authority().ok_or_else(|| format!("{url:?} names no host"))?;
        let port = match (authority.port_u16(), uri.scheme_str()) {
            (Some(port), _) => port,
            (None, Some("http")) => 80,
            (None, _) => 443,
        };
        if tls.is_some() && uri.scheme_str() == Some("http") {
            // Whoever sits in between could say that it is any shard, and would be told who asks.
            return Err(format!("{url:?} is not https"));
        }
        Ok(Self {
            address: format!("{}:{port}", authority.host()),
            tls,
        })
    }
}

// === impl Upstream ===

impl Upstream {
    pub fn new(env: Env, endpoint: Endpoint, options: UpstreamOptions) -> Self {
        Self::with_life(env, endpoint, options, None)
    }

    /// Of a server that somebody keeps an eye on: while it is known to live, a handshake may take long. Each of its steps waits
    /// for a processor at both ends, on a busy machine longer than the answer to a ping does.
    pub fn watched(env: Env, endpoint: Endpoint, options: UpstreamOptions, life: Life) -> Self {
        Self::with_life(env, endpoint, options, Some(life))
    }

    fn with_life(env: Env, endpoint: Endpoint, options: UpstreamOptions, life: Option<Life>) -> Self {
        Self {
            inner: Arc::new(Inner {
                env,
                endpoint,
                options,
                life,
                lanes: Default::default(),
                dialing: Default::default(),
                failed: Mutex::new(None),
            }),
        }
    }

    /// gRPC over this upstream's connections.
    pub fn calls(&self, lane: Lane) -> Calls {
        Calls {
            upstream: self.clone(),
            lane,
        }
    }

    pub fn address(&self) -> &str {
        &self.inner.endpoint.address
    }

    /// Sends a request; returns with the head of the answer. `request`'s URI is a path.
    ///
    /// # Errors
    /// [`UpstreamError::Lost`] if it may have been worked on, the others if not.
    pub async fn send(&self, lane: Lane, request: Request<UpstreamBody>) -> Result<Response<Answer>, UpstreamError> {
        let mut request = self.inner.absolute(request)?;
        loop {
            let mut taken = self.take(lane).await?;
            match taken.sender.try_send_request(request).await {
                Ok(response) => {
                    return Ok(response.map(|body| Answer {
                        body,
                        _place: taken.place,
                    }));
                }
                Err(mut error) => match error.take_message() {
                    // The connection went before it took the request: another one may be alive.
                    Some(unsent) => request = unsent,
                    None => return Err(self.inner.lost(&error.into_error())),
                },
            }
        }
    }

    /// A stream on a connection that is alive as far as anybody knows.
    async fn take(&self, lane: Lane) -> Result<Taken, UpstreamError> {
        let inner = &self.inner;
        if let Some(taken) = inner.pick(lane) {
            return Ok(taken);
        }
        let _turn = inner.dialing[lane as usize].lock().await;
        if let Some(taken) = inner.pick(lane) {
            return Ok(taken);
        }
        inner.check_backoff()?;
        if inner.lanes[lane as usize].lock().len() >= inner.options.connections_max {
            return Err(UpstreamError::Full {
                address: inner.endpoint.address.clone(),
            });
        }
        let connection = inner.connect().await.inspect_err(|error| inner.remember(error))?;
        *inner.failed.lock() = None;
        let taken = connection.take();
        inner.lanes[lane as usize].lock().push(connection);
        Ok(taken)
    }
}

// === impl Inner ===

impl Inner {
    /// HTTP/2 wants scheme and authority.
    fn absolute(&self, mut request: Request<UpstreamBody>) -> Result<Request<UpstreamBody>, UpstreamError> {
        let scheme = if self.endpoint.tls.is_some() { "https" } else { "http" };
        let path = request
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str())
            .to_owned();
        let uri = Uri::builder()
            .scheme(scheme)
            .authority(self.endpoint.address.as_str())
            .path_and_query(path)
            .build()
            .map_err(|error| self.unreachable(&error))?;
        *request.uri_mut() = uri;
        *request.version_mut() = http::Version::HTTP_2;
        Ok(request)
    }

    /// The connection with the fewest streams, if one has room. The dead are taken out, and those of an earlier certificate, which
    /// end with their last stream.
    fn pick(&self, lane: Lane) -> Option<Taken> {
        let now = self.endpoint.tls.as_ref().map(|tls| tls.config());
        let mut connections = self.lanes[lane as usize].lock();
        connections.retain(|connection| !connection.sender.is_closed() && connection.is_made_with(now.as_ref()));
        let load = |connection: &&Connection| connection.streams.load(Ordering::Relaxed);
        let best = connections.iter().min_by_key(load)?;
        (load(&best) < self.options.streams_max).then(|| best.take())
    }

    fn check_backoff(&self) -> Result<(), UpstreamError> {
        let failed = self.failed.lock();
        match &*failed {
            Some(failure) if self.env.clock.monotonic() < failure.until => Err(UpstreamError::Unreachable {
                address: self.endpoint.address.clone(),
                reason: failure.reason.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn remember(&self, error: &UpstreamError) {
        if let UpstreamError::Unreachable { reason, .. } = error {
            *self.failed.lock() = Some(Failure {
                until: self.env.clock.monotonic() + self.options.backoff,
                reason: reason.clone(),
            });
        }
    }

    async fn connect(&self) -> Result<Connection, UpstreamError> {
        let clock = &self.env.clock;
        let end = clock.monotonic() + CONNECT_TIMEOUT_MAX;
        // Rare, and tens of kilobytes: every request's future would have room for it, and be moved with it.
        let mut dialing = Box::pin(self.dial());
        let mut bound = self.options.connect_timeout;
        loop {
            match clock.timeout(bound, &mut dialing).await {
                Ok(connected) => return connected.map_err(|error| self.unreachable(&error)),
                Err(_) if clock.monotonic() < end && self.is_known_to_live() => bound = LIFE_PERIOD,
                Err(_) => return Err(self.unreachable(&"it does not answer")),
            }
        }
    }

    fn is_known_to_live(&self) -> bool {
        self.life.as_ref().is_some_and(|lives| lives())
    }

    async fn dial(&self) -> io::Result<Connection> {
        let stream = self.env.net.dial(&self.endpoint.address).await?;
        let Some(tls) = self.endpoint.tls.as_ref().map(|tls| tls.config()) else {
            return self.handshake(stream, None).await;
        };
        let host = self.endpoint.address.rsplit_once(':').map_or("", |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        let stream = TlsConnector::from(tls.clone()).connect(name, stream).await?;
        self.handshake(stream, Some(tls)).await
    }

    async fn handshake(&self, stream: impl Stream, tls: Option<Arc<ClientConfig>>) -> io::Result<Connection> {
        let (sender, connection) = http2::Builder::new(Executor(self.env.spawn.clone()))
            .timer(Timer(self.env.clock.clone()))
            .keep_alive_interval(self.options.ping_interval)
            .keep_alive_timeout(self.options.ping_timeout)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(connection_window(self.options.streams_max))
            .max_header_list_size(256 * 1024)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let address = self.endpoint.address.clone();
        let running = async move {
            if let Err(error) = connection.await {
                tracing::debug!(address, %error, "a connection to a peer ended");
            }
        };
        self.env.spawn.spawn("upstream", running).detach();
        Ok(Connection {
            sender,
            tls,
            streams: Arc::default(),
        })
    }

    fn unreachable(&self, reason: &dyn std::fmt::Display) -> UpstreamError {
        UpstreamError::Unreachable {
            address: self.endpoint.address.clone(),
            reason: reason.to_string(),
        }
    }

    fn lost(&self, error: &hyper::Error) -> UpstreamError {
        UpstreamError::Lost {
            address: self.endpoint.address.clone(),
            reason: error.to_string(),
        }
    }
}

/// Room for all streams of a connection at once: were there less, a few clients that do not read would hold up all others.
fn connection_window(streams_max: usize) -> u32 {
    const LARGEST: u32 = (1 << 31) - 1;
    let streams = u32::try_from(streams_max).unwrap_or(u32::MAX);
    STREAM_WINDOW.saturating_mul(streams).min(LARGEST)
}

// === impl Connection ===

impl Connection {
    fn is_made_with(&self, config: Option<&Arc<ClientConfig>>) -> bool {
        match (&self.tls, config) {
            (Some(made), Some(now)) => Arc::ptr_eq(made, now),
            _ => true,
        }
    }

    fn take(&self) -> Taken {
        self.streams.fetch_add(1, Ordering::Relaxed);
        Taken {
            sender: self.sender.clone(),
            place: Place(self.streams.clone()),
        }
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Answer ===

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

// === impl Calls ===

impl tower_service::Service<Request<tonic::body::Body>> for Calls {
    type Response = Response<Answer>;
    type Error = UpstreamError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, UpstreamError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), UpstreamError>> {
        // What is in the way is told by the call: callers have a time for it.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        let Self { upstream, lane } = self.clone();
        let request = request.map(|body| body.map_err(io::Error::other).boxed_unsync());
        Box::pin(async move { upstream.send(lane, request).await })
    }
}

// === impl Executor ===

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn("upstream-stream", future).detach();
    }
}

#[cfg(test)]
mod tests;
