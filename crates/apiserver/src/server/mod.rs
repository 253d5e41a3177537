//! Listening, TLS, HTTP/1 and HTTP/2, limits, and going down without cutting anybody off.

mod connection;
mod gather;
mod tls;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use env::{Accepted, Env, Listener, Stream};
use http::{Request, Response};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use telemetry::Metrics;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::body::{Body, RequestBody};
use crate::lifecycle::{Lifecycle, Phase};
use crate::server::connection::Executor;
use crate::server::gather::{Gathered, Wire};
pub use connection::{Connection, Timer};
pub use tls::{Tls, TlsError, TlsFiles, TlsMaterial};

/// What answers requests. Implemented by [`crate::Stack`]; a binary may put something in front of it.
pub trait Service: Send + Sync + 'static {
    fn serve(
        &self,
        request: Request<RequestBody>,
        connection: &Connection,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// Limits of a server. The defaults are for the open internet.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// What exceeds it is closed at once.
    pub connections_max: usize,
    pub handshake_timeout: Duration,
    /// Also how long an HTTP/1 connection may be idle.
    pub header_timeout: Duration,
    pub header_bytes_max: u32,
    pub headers_max: usize,
    pub streams_per_connection_max: u32,
    /// HTTP/2 connections without traffic are pinged after this time, and closed without an answer to it.
    pub ping_interval: Duration,
    pub ping_timeout: Duration,
    /// How long readiness fails before the doors close.
    pub shutdown_delay: Duration,
    /// How long requests in flight may take after that.
    pub shutdown_timeout: Duration,
}

/// A listening server. Cheap to clone.
pub struct Server<S> {
    inner: Arc<Inner<S>>,
}

struct Inner<S> {
    env: Env,
    options: ServerOptions,
    service: Arc<S>,
    tls: Option<Arc<Tls>>,
    lifecycle: Lifecycle,
    metrics: Arc<Metrics>,
    http: auto::Builder<Executor>,
    /// One permit per connection.
    seats: Arc<Semaphore>,
}

// === impl ServerOptions ===

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(90),
            header_bytes_max: 128 * 1024,
            headers_max: 256,
            streams_per_connection_max: 250,
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(15),
            shutdown_delay: Duration::ZERO,
            shutdown_timeout: Duration::from_secs(60),
        }
    }
}

// === impl Server ===

impl<S> Clone for Server<S> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
        }
    }
}

impl<S: Service> Server<S> {
    /// Without `tls` every stream is plain HTTP: behind a terminating proxy, or in a simulation.
    pub fn new(
        env: Env,
        options: ServerOptions,
        service: Arc<S>,
        tls: Option<Arc<Tls>>,
        lifecycle: Lifecycle,
        metrics: Arc<Metrics>,
    ) -> Self {
        let http = builder(&env, &options);
        let seats = Arc::new(Semaphore::new(options.connections_max.min(Semaphore::MAX_PERMITS)));
        Self {
            inner: Arc::new(Inner {
                env,
                options,
                service,
                tls,
                lifecycle,
                metrics,
                http,
                seats,
            }),
        }
    }

    pub fn lifecycle(&self) -> &Lifecycle {
        &self.inner.lifecycle
    }

    /// Accepts until [`Phase::Closing`], then returns when every connection has ended or the time for that is over.
    pub async fn run(&self, listener: Box<dyn Listener>) {
        loop {
            tokio::select! {
                biased;
                () = self.inner.lifecycle.reached(Phase::Closing) => break,
                accepted = listener.accept() => self.accepted(accepted).await,
            }
        }
        drop(listener);
        let all = u32::try_from(self.inner.options.connections_max).unwrap_or(u32::MAX);
        let ended = self.inner.seats.acquire_many(all);
        if self
            .inner
            .env
            .clock
            .timeout(self.inner.options.shutdown_timeout, ended)
            .await
            .is_err()
        {
            tracing::warn!("cutting connections that did not end in time");
        }
        self.inner.lifecycle.advance(Phase::Closed);
    }

    /// Goes down in order; returns when [`Server::run`] may have returned.
    pub async fn shutdown(&self) {
        self.inner.lifecycle.advance(Phase::Draining);
        self.inner.env.clock.sleep(self.inner.options.shutdown_delay).await;
        self.inner.lifecycle.advance(Phase::Closing);
        self.inner.lifecycle.reached(Phase::Closed).await;
    }

    async fn accepted(&self, accepted: io::Result<Accepted>) {
        let accepted = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, mostly: it passes when connections end.
                tracing::warn!(%error, "a connection could not be accepted");
                self.inner.env.clock.sleep(Duration::from_millis(50)).await;
                return;
            }
        };
        let Ok(seat) = self.inner.seats.clone().try_acquire_owned() else {
            tracing::warn!(peer = accepted.peer, "too many connections");
            return;
        };
        let server = self.clone();
        self.inner
            .env
            .spawn
            .spawn("connection", async move { server.handshake(accepted, seat).await })
            .detach();
    }

    async fn handshake(&self, accepted: Accepted, _seat: OwnedSemaphorePermit) {
        let Accepted { stream, peer } = accepted;
        let Some(tls) = &self.inner.tls else {
            return self.serve_connection(stream, Connection::plain(peer)).await;
        };
        let shaken = self
            .inner
            .env
            .clock
            .timeout(self.inner.options.handshake_timeout, tls.accept(stream, peer))
            .await;
        match shaken {
            Ok(Ok((stream, connection))) => self.serve(Wire::tls(stream), connection).await,
            Ok(Err(error)) => {
                self.inner.metrics.tls_handshake_errors.inc();
                tracing::debug!(%error, "TLS handshake failed");
            }
            Err(_) => self.inner.metrics.tls_handshake_errors.inc(),
        }
    }

    /// Speaks HTTP on a stream until it ends. For streams that were not accepted by [`Server::run`], too: those of a
    /// simulation, or pipes within a process.
    pub async fn serve_connection<I: Stream>(&self, stream: I, connection: Connection) {
        self.serve(Wire::Plain(stream), connection).await;
    }

    async fn serve<I: Stream>(&self, wire: Wire<I>, connection: Connection) {
        let inner = &self.inner;
        let connection = Arc::new(connection);
        let service = service_fn(|request: Request<hyper::body::Incoming>| {
            let (service, connection) = (inner.service.clone(), connection.clone());
            async move { Ok::<_, Infallible>(service.serve(request.map(RequestBody::Incoming), &connection).await) }
        });
        inner.metrics.connections.inc();
        let stream = Gathered::new(wire);
        let mut http = std::pin::pin!(inner.http.serve_connection(TokioIo::new(stream.clone()), service));
        let running = async {
            tokio::select! {
                biased;
                outcome = http.as_mut() => return outcome,
                () = inner.lifecycle.reached(Phase::Closing) => http.as_mut().graceful_shutdown(),
            }
            tokio::select! {
                biased;
                outcome = http.as_mut() => outcome,
                () = inner.lifecycle.reached(Phase::Closed) => Ok(()),
            }
        };
        let outcome = stream.turns(running).await;
        inner.metrics.connections.dec();
        if let Err(error) = outcome {
            tracing::debug!(peer = connection.peer, %error, "connection ended");
        }
    }
}

fn builder(env: &Env, options: &ServerOptions) -> auto::Builder<Executor> {
    let mut http = auto::Builder::new(Executor(env.spawn.clone()));
    http.http1()
        .timer(Timer(env.clock.clone()))
        .header_read_timeout(options.header_timeout)
        .max_headers(options.headers_max)
        .max_buf_size((options.header_bytes_max as usize).max(64 * 1024));
    http.http2()
        .timer(Timer(env.clock.clone()))
        .max_concurrent_streams(options.streams_per_connection_max)
        .max_header_list_size(options.header_bytes_max)
        // Kubernetes' stream window, and Go's of connections: what an unread connection can make the server hold.
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .keep_alive_interval(options.ping_interval)
        .keep_alive_timeout(options.ping_timeout);
    http
}
