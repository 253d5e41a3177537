//! An HTTP client for one person: HTTP/1.1 over TLS, one connection, opened again when the server has closed it.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Headers are sent as they are given, credentials among them.
pub struct Client {
    address: String,
    tls: Arc<ClientConfig>,
    headers: Vec<(String, String)>,
    sender: tokio::sync::Mutex<Option<SendRequest<Full<Bytes>>>>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

// === impl Client ===

impl Client {
    pub fn new(address: &str, tls: Arc<ClientConfig>, headers: &[(&str, &str)]) -> Self {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self {
            address: address.to_owned(),
            tls,
            headers: headers.iter().map(own).collect(),
            sender: tokio::sync::Mutex::default(),
        }
    }

    /// A fresh connection; the handshake may be refused.
    pub async fn connect(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(&self.address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(self.tls.clone()).connect(name, stream).await
    }

    async fn sender(&self) -> SendRequest<Full<Bytes>> {
        if let Some(mut sender) = self.sender.lock().await.take()
            && sender.ready().await.is_ok()
        {
            return sender;
        }
        let stream = self.connect().await.expect("the server accepts connections");
        let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("HTTP/1.1 is spoken");
        tokio::spawn(async move { drop(connection.await) });
        sender
    }

    pub async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("a request");
        let mut sender = self.sender().await;
        let response = sender.send_request(request).await;
        let (head, body) = response
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
            .into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        *self.sender.lock().await = Some(sender);
        Answer {
            code: head.status.as_u16(),
            headers: head.headers,
            body,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], "").await
    }

    pub async fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        let kind = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        self.call(method, path, &[("content-type", kind)], body.to_string())
            .await
    }

    /// Creates an object, which must succeed.
    pub async fn create(&self, path: &str, body: &Value) -> Value {
        let answer = self.send("POST", path, body).await;
        assert_eq!(answer.code, 201, "{path}: {}", answer.text());
        answer.json()
    }
}

// === impl Answer ===

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether it is a failure in the form of the APIs, which says the same code.
    pub fn is_status(&self) -> bool {
        let status: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        status["kind"] == "Status" && status["code"] == self.code
    }

    pub fn reason(&self) -> String {
        self.json()["reason"].as_str().unwrap_or_default().to_owned()
    }

    /// Everything that the sender learns, but for what differs between any two answers.
    pub fn seen(&self) -> String {
        let mut headers: Vec<String> = self
            .headers
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "date" | "audit-id"))
            .map(|(name, value)| format!("{name}: {value:?}"))
            .collect();
        headers.sort();
        format!("{}\n{}\n\n{}", self.code, headers.join("\n"), self.text())
    }
}
