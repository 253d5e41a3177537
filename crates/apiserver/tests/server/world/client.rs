//! An HTTP client over one stream.

use bytes::Bytes;
use env::Env;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};

pub struct Client {
    sender: Sender,
    token: Option<String>,
}

enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

#[derive(Clone)]
struct Tasks(env::Spawn);

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn("client", future).detach();
    }
}

impl Client {
    pub async fn http1<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, env: &Env) -> Self {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        env.spawn
            .spawn("client", async move { drop(connection.await) })
            .detach();
        Self {
            sender: Sender::One(sender),
            token: None,
        }
    }

    pub async fn http2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, env: &Env) -> Self {
        let builder = http2::Builder::new(Tasks(env.spawn.clone()))
            .timer(TokioTimer::new())
            .clone();
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        env.spawn
            .spawn("client", async move { drop(connection.await) })
            .detach();
        Self {
            sender: Sender::Two(sender),
            token: None,
        }
    }

    /// Another stream of the same HTTP/2 connection.
    pub fn stream(&self) -> Self {
        let Sender::Two(sender) = &self.sender else {
            panic!("HTTP/1 has one stream")
        };
        Self {
            sender: Sender::Two(sender.clone()),
            token: self.token.clone(),
        }
    }

    /// The names that the recordings use.
    #[must_use]
    pub fn acting_as(mut self, who: &str) -> Self {
        self.token = match who {
            "" | "(no credentials)" => None,
            who => Some(who.split(' ').next().unwrap_or_default().to_owned()),
        };
        self
    }

    /// Sends a request, returns the head of the answer and its body as it comes.
    pub async fn send(&mut self, mut request: Request<Full<Bytes>>) -> http::Response<hyper::body::Incoming> {
        if let Some(token) = &self.token
            && !request.headers().contains_key("authorization")
        {
            request
                .headers_mut()
                .insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        match &mut self.sender {
            Sender::One(sender) => {
                request.headers_mut().insert("host", "localhost".parse().unwrap());
                sender.send_request(request).await.unwrap()
            }
            Sender::Two(sender) => {
                let uri = format!("https://localhost{}", request.uri());
                *request.uri_mut() = uri.parse().unwrap();
                sender.send_request(request).await.unwrap()
            }
        }
    }

    pub async fn call(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let mut builder = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let response = self.send(builder.body(Full::new(body.into())).unwrap()).await;
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            code: head.status.as_u16(),
            headers: head.headers,
            body,
        }
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.call("GET", path, &[], "").await
    }

    pub async fn post(&mut self, path: &str, body: Value) -> Answer {
        self.call(
            Method::POST.as_str(),
            path,
            &[("content-type", "application/json")],
            body.to_string(),
        )
        .await
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map(|value| value.to_str().unwrap())
            .unwrap_or_default()
    }
}
