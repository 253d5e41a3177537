//! The way of a request from a client to a server: handed over, or by HTTP/2 over the simulated network.

use apiserver::{Connection, RequestBody, Timer};
use bytes::Bytes;
use env::Env;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;

use crate::client::Site;

/// How a client's requests reach the server.
pub enum Link {
    /// As values: cheap, and the server's tasks end where a connection would.
    Direct,
    /// Over a connection that is made when it is needed.
    Network {
        address: String,
        sender: Option<http2::SendRequest<Full<Bytes>>>,
    },
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing was sent.
    Down,
    Lost,
}

/// The beginning of an answer; its body follows in parts.
pub struct Head {
    pub code: u16,
    pub parts: mpsc::UnboundedReceiver<Bytes>,
    /// Dropping an answer ends what brings it.
    task: env::Task<()>,
}

/// hyper's tasks, by the seam.
#[derive(Clone)]
struct Executor(env::Spawn);

// === impl Link ===

impl Link {
    pub fn to(address: &str) -> Self {
        Self::Network {
            address: address.to_owned(),
            sender: None,
        }
    }

    /// Sends a request. Cancelling it cuts the request off.
    pub async fn send(&mut self, site: &Site, request: Request<Bytes>) -> Result<Head, Failure> {
        match self {
            Self::Direct => direct(site, request).await,
            Self::Network { address, sender } => network(address, sender, site, request).await,
        }
    }
}

/// Aborts what runs on the server when the client goes away.
struct Aborts<T>(env::Task<T>);

impl<T> Drop for Aborts<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn direct(site: &Site, request: Request<Bytes>) -> Result<Head, Failure> {
    let server = site.server().ok_or(Failure::Down)?;
    let stack = server.stack.clone();
    let handle = async move {
        let connection = Connection::plain("10.0.0.9:1234");
        let response = stack.handle(request.map(RequestBody::Full), &connection).await;
        (response.status().as_u16(), response.into_body())
    };
    // A task of the server's host: it ends with the server.
    let mut handled = Aborts(server.env.spawn.spawn("request", handle));
    let (code, body) = (&mut handled.0).await.map_err(|_| Failure::Lost)?;
    Ok(Head::new(code, body, &server.env))
}

async fn network(
    address: &str,
    sender: &mut Option<http2::SendRequest<Full<Bytes>>>,
    site: &Site,
    mut request: Request<Bytes>,
) -> Result<Head, Failure> {
    if sender.as_ref().is_none_or(http2::SendRequest::is_closed) {
        *sender = Some(dial(address, site).await.ok_or(Failure::Down)?);
    }
    let Some(connection) = sender else {
        return Err(Failure::Down);
    };
    if connection.ready().await.is_err() {
        *sender = None;
        return Err(Failure::Down);
    }
    let url = format!("http://{address}{}", request.uri());
    *request.uri_mut() = url.parse().map_err(|_| Failure::Down)?;
    match connection.send_request(request.map(Full::new)).await {
        Ok(response) => {
            let code = response.status().as_u16();
            Ok(Head::new(code, response.into_body(), site.env()))
        }
        Err(_) => {
            *sender = None;
            Err(Failure::Lost)
        }
    }
}

async fn dial(address: &str, site: &Site) -> Option<http2::SendRequest<Full<Bytes>>> {
    let env = site.env();
    let stream = env.net.dial(address).await.ok()?;
    let mut builder = http2::Builder::new(Executor(env.spawn.clone()));
    builder
        .timer(Timer(env.clock.clone()))
        // As client-go does, so that a server that is gone without a word is noticed.
        .keep_alive_interval(std::time::Duration::from_secs(30))
        .keep_alive_timeout(std::time::Duration::from_secs(15));
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.ok()?;
    let serve = async move {
        // Its end is told to those who use it.
        let _ended = connection.await;
    };
    env.spawn.spawn("connection", serve).detach();
    Some(sender)
}

// === impl Head ===

impl Head {
    fn new<B>(code: u16, mut body: B, env: &Env) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Send,
    {
        let (sender, parts) = mpsc::unbounded_channel();
        let bring = async move {
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else {
                    // The channel's end alone would look like the end of the body.
                    let _nobody_reads = sender.send(Bytes::new());
                    return;
                };
                if let Ok(data) = frame.into_data()
                    && !data.is_empty()
                    && sender.send(data).is_err()
                {
                    return;
                }
            }
        };
        Self {
            code,
            parts,
            task: env.spawn.spawn("answer", bring),
        }
    }

    /// The whole body; none if it was cut off.
    pub async fn whole(mut self) -> Option<Bytes> {
        let mut whole = bytes::BytesMut::new();
        while let Some(part) = self.parts.recv().await {
            if part.is_empty() {
                return None;
            }
            whole.extend_from_slice(&part);
        }
        Some(whole.freeze())
    }
}

impl Drop for Head {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl Executor ===

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn("http2", future).detach();
    }
}
