//! A client that is faster than kubectl: HTTP/2 with a token, one connection, dialled again when it is gone, as client-go has
//! it. For load, and for saying exactly what was answered, and when.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// One server, as one user.
pub struct Client {
    port: u16,
    tls: Arc<ClientConfig>,
    headers: Vec<(&'static str, String)>,
    connection: tokio::sync::Mutex<Option<SendRequest<Full<Bytes>>>>,
}

/// What was answered.
#[derive(Clone, Debug)]
pub struct Reply {
    pub code: u16,
    pub body: Bytes,
}

/// Why there was no answer.
#[derive(Clone, Debug)]
pub enum Broken {
    /// Nothing within the client's own time.
    Silent,
    /// The connection could not be made, or went.
    Cut(String),
}

/// Events as they come.
pub struct Watching {
    body: Incoming,
    buffer: Vec<u8>,
}

// === impl Client ===

impl Client {
    /// For the server at `port` of this machine, whose CA is in a file.
    pub fn new(port: u16, ca: &Path, token: &str) -> Self {
        let _already_set = rustls::crypto::ring::default_provider().install_default();
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca).expect("the CA can be read") {
            roots
                .add(certificate.expect("the CA is PEM"))
                .expect("the CA can be used");
        }
        let mut tls = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Self {
            port,
            tls: Arc::new(tls),
            headers: vec![("authorization", format!("Bearer {token}"))],
            connection: tokio::sync::Mutex::default(),
        }
    }

    /// The same with another token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        self.with_headers(vec![("authorization", format!("Bearer {token}"))])
    }

    /// The same user, who asks for another one.
    #[must_use]
    pub fn acting_as(&self, user: &str) -> Self {
        let mut headers = self.headers.clone();
        headers.push(("impersonate-user", user.to_owned()));
        headers.push(("impersonate-group", "system:authenticated".to_owned()));
        self.with_headers(headers)
    }

    fn with_headers(&self, headers: Vec<(&'static str, String)>) -> Self {
        Self {
            port: self.port,
            tls: self.tls.clone(),
            headers,
            connection: tokio::sync::Mutex::default(),
        }
    }

    pub async fn get(&self, path: &str, within: Duration) -> Result<Reply, Broken> {
        self.send(Method::GET, path, None, within).await
    }

    /// One request and its whole answer, within a time.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        within: Duration,
    ) -> Result<Reply, Broken> {
        let exchanging = async {
            let response = self.request(method, path, body).await?;
            let code = response.status().as_u16();
            let body = response.into_body().collect().await.map_err(|error| cut(&error))?;
            Ok(Reply {
                code,
                body: body.to_bytes(),
            })
        };
        match tokio::time::timeout(within, exchanging).await {
            Ok(answered) => answered,
            Err(_) => {
                // As good as dead.
                self.connection.lock().await.take();
                Err(Broken::Silent)
            }
        }
    }

    /// A watch, once its head is there: 200, or the whole refusal.
    pub async fn watch(&self, path: &str, within: Duration) -> Result<Result<Watching, Reply>, Broken> {
        let beginning = async {
            let response = self.request(Method::GET, path, None).await?;
            let code = response.status().as_u16();
            let body = response.into_body();
            if code == 200 {
                return Ok(Ok(Watching {
                    body,
                    buffer: Vec::new(),
                }));
            }
            let body = body.collect().await.map_err(|error| cut(&error))?.to_bytes();
            Ok(Err(Reply { code, body }))
        };
        match tokio::time::timeout(within, beginning).await {
            Ok(begun) => begun,
            Err(_) => {
                self.connection.lock().await.take();
                Err(Broken::Silent)
            }
        }
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<http::Response<Incoming>, Broken> {
        let uri = format!("https://localhost:{}{path}", self.port);
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .version(http::Version::HTTP_2)
            .header(ACCEPT, "application/json");
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        debug_assert!(self.headers.iter().any(|(name, _)| *name == AUTHORIZATION.as_str()));
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let bytes: Bytes = body.map(|body| body.to_string().into()).unwrap_or_default();
        let mut request = request.body(Full::new(bytes)).expect("a request");
        loop {
            let mut sender = self.sender().await?;
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(response),
                // The connection went before it took the request, as servers that end do it.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(cut(error.error())),
                },
            }
        }
    }

    async fn sender(&self) -> Result<SendRequest<Full<Bytes>>, Broken> {
        let mut connection = self.connection.lock().await;
        if let Some(sender) = connection.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let stream = TcpStream::connect(("127.0.0.1", self.port))
            .await
            .map_err(|error| cut(&error))?;
        // A request is written in more pieces than one: with Nagle's algorithm every one waits for a delayed acknowledgement.
        stream.set_nodelay(true).map_err(|error| cut(&error))?;
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = TlsConnector::from(self.tls.clone())
            .connect(name, stream)
            .await
            .map_err(|error| cut(&error))?;
        let (sender, running) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_connection_window_size(16 << 20)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| cut(&error))?;
        tokio::spawn(running);
        *connection = Some(sender.clone());
        Ok(sender)
    }
}

fn cut(error: &dyn std::error::Error) -> Broken {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(deeper) = source {
        text.push_str(&format!(": {deeper}"));
        source = deeper.source();
    }
    Broken::Cut(text)
}

// === impl Reply ===

impl Reply {
    pub fn is_ok(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

// === impl Watching ===

impl Watching {
    /// The next event. `None`: the stream is over; how it ended is the error.
    pub async fn next(&mut self) -> Result<Option<Value>, Broken> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(Some(serde_json::from_slice(&line).expect("events are JSON")));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(cut(&error)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}
