//! Clients: what they send, how they lose connections, and what comes back.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use env::simulated::Faults;
use env::{Env, Rng};
use http::Request;
use parking_lot::Mutex;
use serde_json::Value;

use crate::link::{Failure, Head, Link};
use crate::server::{LISTEN, Server};
use crate::trace::Trace;

/// No answer may take longer: the server's own bound is 60 s.
const ANSWER_BOUND: Duration = Duration::from_secs(75);
/// No answer may be larger: lists are asked for in pages, and there are few objects.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// What all clients of a world share.
#[derive(Clone)]
pub struct Site(Arc<Shared>);

struct Shared {
    /// The clients' own machine.
    env: Env,
    server: Mutex<Option<Arc<Server>>>,
    drop_rate: Mutex<f64>,
    faults: Faults,
    trace: Trace,
    violations: Mutex<Vec<String>>,
    sent: Mutex<u64>,
    given_up: Mutex<bool>,
    /// Clients that are made now use the network.
    network: Mutex<bool>,
}

/// One user on one connection.
pub struct Client {
    pub site: Site,
    pub name: String,
    pub rng: Rng,
    token: String,
    link: Link,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Nobody listens: nothing was sent.
    Down,
    /// The connection ended before the answer was there.
    Lost,
    Answered(Answer),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub code: u16,
    pub body: Value,
}

/// A watch under way. Dropping it cuts the connection.
pub struct WatchStream {
    head: Head,
    buffer: BytesMut,
}

// === impl Site ===

impl Site {
    pub fn new(env: Env, faults: Faults, trace: Trace) -> Self {
        Self(Arc::new(Shared {
            env,
            server: Mutex::new(None),
            drop_rate: Mutex::new(0.0),
            faults,
            trace,
            violations: Mutex::default(),
            sent: Mutex::new(0),
            given_up: Mutex::new(false),
            network: Mutex::new(false),
        }))
    }

    pub fn server(&self) -> Option<Arc<Server>> {
        self.0.server.lock().clone()
    }

    pub fn set_server(&self, server: Option<Arc<Server>>) {
        *self.0.server.lock() = server;
    }

    /// Probability that a request loses its connection.
    pub fn set_drop_rate(&self, rate: f64) {
        *self.0.drop_rate.lock() = rate;
    }

    /// Clients that are made from now on speak HTTP/2 over the simulated network.
    pub fn use_network(&self) {
        *self.0.network.lock() = true;
    }

    /// The clients' machine.
    pub fn env(&self) -> &Env {
        &self.0.env
    }

    pub fn faults(&self) -> &Faults {
        &self.0.faults
    }

    /// Requests that were sent so far.
    pub fn sent(&self) -> u64 {
        *self.0.sent.lock()
    }

    pub fn note(&self, who: &str, what: std::fmt::Arguments<'_>) {
        self.0.trace.note(self.0.env.clock.monotonic(), who, what);
    }

    /// Something that may not be.
    pub fn violation(&self, who: &str, text: String) {
        self.note(who, format_args!("VIOLATION {text}"));
        self.0.violations.lock().push(format!("{who}: {text}"));
    }

    pub fn violations(&self) -> Vec<String> {
        self.0.violations.lock().clone()
    }

    /// There will be no server any more.
    pub fn give_up(&self) {
        *self.0.given_up.lock() = true;
    }

    pub fn has_given_up(&self) -> bool {
        *self.0.given_up.lock()
    }

    pub async fn sleep_ms(&self, millis: u64) {
        self.0.env.clock.sleep(Duration::from_millis(millis)).await;
    }
}

// === impl Client ===

impl Client {
    pub fn new(site: &Site, name: &str, token: &str, rng: Rng) -> Self {
        let link = match *site.0.network.lock() {
            true => Link::to(LISTEN),
            false => Link::Direct,
        };
        Self::over(link, site, name, token, rng)
    }

    /// Of the server at an address.
    pub fn at(address: &str, site: &Site, name: &str, token: &str, rng: Rng) -> Self {
        Self::over(Link::to(address), site, name, token, rng)
    }

    fn over(link: Link, site: &Site, name: &str, token: &str, rng: Rng) -> Self {
        Self {
            link,
            site: site.clone(),
            name: name.to_owned(),
            rng,
            token: token.to_owned(),
        }
    }

    fn request(&self, method: &str, path: &str, body: &Value) -> Request<Bytes> {
        let kind = match (method, path.contains("fieldManager=apply")) {
            ("PATCH", true) => "application/apply-patch+yaml",
            ("PATCH", false) => "application/merge-patch+json",
            _ => "application/json",
        };
        let bytes = if body.is_null() {
            Bytes::new()
        } else {
            Bytes::from(body.to_string())
        };
        Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", kind)
            .header("accept", "application/json")
            .body(bytes)
            .expect("a request of the workload is well formed")
    }

    /// Sends a request and waits for the answer, or for the connection's end.
    pub async fn call(&mut self, method: &str, path: &str, body: &Value) -> Outcome {
        let outcome = self.call_quietly(method, path, body).await;
        let text = match &outcome {
            Outcome::Down => "down".to_owned(),
            Outcome::Lost => "lost".to_owned(),
            Outcome::Answered(answer) => summary(answer),
        };
        self.site.note(&self.name, format_args!("{method} {path} -> {text}"));
        outcome
    }

    async fn call_quietly(&mut self, method: &str, path: &str, body: &Value) -> Outcome {
        let site = self.site.clone();
        site.sleep_ms(self.rng.below(3)).await;
        let drop_rate = *site.0.drop_rate.lock();
        let patience = match self.rng.chance(drop_rate) {
            true => Duration::from_millis(self.rng.below(12)),
            false => ANSWER_BOUND,
        };
        let request = self.request(method, path, body);
        let link = &mut self.link;
        let exchange = async {
            let head = link.send(&site, request).await?;
            let code = head.code;
            Ok((code, head.whole().await.ok_or(Failure::Lost)?))
        };
        let Ok(ended) = site.0.env.clock.timeout(patience, exchange).await else {
            *site.0.sent.lock() += 1;
            if patience == ANSWER_BOUND {
                let text = format!("{method} {path} was not answered within {ANSWER_BOUND:?}");
                site.violation(&self.name, text);
            } else {
                site.0.faults.count("connection/dropped");
            }
            return Outcome::Lost;
        };
        if ended != Err(Failure::Down) {
            *site.0.sent.lock() += 1;
        }
        let (code, bytes) = match ended {
            Ok(answer) => answer,
            Err(Failure::Lost) => return Outcome::Lost,
            Err(Failure::Down) => {
                site.sleep_ms(20 + self.rng.below(80)).await;
                return Outcome::Down;
            }
        };
        if self.rng.chance(drop_rate / 2.0) {
            site.0.faults.count("connection/dropped");
            return Outcome::Lost;
        }
        if bytes.len() > ANSWER_BYTES_MAX {
            let text = format!("{method} {path}: an answer of {} bytes", bytes.len());
            site.violation(&self.name, text);
        }
        // What the server's end has cut off is no answer.
        let Ok(body) = serde_json::from_slice(&bytes).or_else(|error| {
            if bytes.starts_with(b"{") {
                Err(error)
            } else {
                Ok(Value::Null)
            }
        }) else {
            return Outcome::Lost;
        };
        Outcome::Answered(Answer { code, body })
    }

    /// Begins a watch.
    pub async fn watch(&mut self, path: &str) -> Result<WatchStream, Outcome> {
        let site = self.site.clone();
        site.sleep_ms(self.rng.below(3)).await;
        let request = self.request("GET", path, &Value::Null);
        let sent = self.link.send(&site, request);
        let head = match site.0.env.clock.timeout(ANSWER_BOUND, sent).await {
            Ok(Ok(head)) => head,
            Ok(Err(Failure::Lost)) => return Err(Outcome::Lost),
            Ok(Err(Failure::Down)) => {
                site.sleep_ms(20 + self.rng.below(80)).await;
                return Err(Outcome::Down);
            }
            Err(_) => {
                site.violation(
                    &self.name,
                    format!("WATCH {path} did not begin within {ANSWER_BOUND:?}"),
                );
                return Err(Outcome::Lost);
            }
        };
        *site.0.sent.lock() += 1;
        if head.code != 200 {
            let code = head.code;
            let bytes = head.whole().await.unwrap_or_default();
            let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            let answer = Answer { code, body };
            site.note(&self.name, format_args!("WATCH {path} -> {}", summary(&answer)));
            return Err(Outcome::Answered(answer));
        }
        site.note(&self.name, format_args!("WATCH {path}"));
        Ok(WatchStream {
            head,
            buffer: BytesMut::new(),
        })
    }
}

fn summary(answer: &Answer) -> String {
    let body = &answer.body;
    let revision = body["metadata"]["resourceVersion"].as_str().unwrap_or("-");
    match answer.code {
        200..300 => format!("{} rv={revision}", answer.code),
        code => {
            let text = body["message"].as_str().unwrap_or_default();
            format!("{code} {}", text.get(..160).unwrap_or(text))
        }
    }
}

// === impl WatchStream ===

impl WatchStream {
    /// The next line; `None`: the stream has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                return serde_json::from_slice(&line).ok();
            }
            let part = self.head.parts.recv().await?;
            if part.is_empty() {
                return None;
            }
            self.buffer.extend_from_slice(&part);
        }
    }
}
