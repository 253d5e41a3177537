//! Requests to a server, and its answers as objects or failures worded the way client-go words them.

use std::sync::Arc;
use std::time::Duration;

use env::Clock;
use machinery::object::{GroupResource, ObjectExt};
use machinery::status::{Reason, Status};
use serde_json::Value;

use crate::path::WorkspacePath;

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// `GET`, `POST`, `PUT`.
    pub method: &'static str,
    /// From the root of the server, with the query: `/clusters/root/api`.
    pub path: String,
    pub body: Option<Value>,
}

/// What came back, whatever it means.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    pub code: u16,
    pub body: Vec<u8>,
    /// Seconds of the header `Retry-After`.
    pub retry_after: Option<u64>,
}

/// What carries requests. The error is a text for the user: no connection, no trust.
#[async_trait::async_trait]
pub trait Server: Send + Sync {
    async fn send(&self, request: &Request) -> Result<Answer, String>;
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    #[error("{}", .0.message)]
    Refused(Box<Status>),
    #[error("{0}")]
    Unreachable(String),
}

/// Calls on resources of workspaces. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    server: Arc<dyn Server>,
    clock: Clock,
    retries: u32,
}

/// A resource as its URL names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource<'a> {
    pub group: &'a str,
    pub version: &'a str,
    pub plural: &'a str,
}

/// client-go gives up after this many answers that ask to come again.
const RETRIES: u32 = 10;

// === impl CallError ===

impl CallError {
    fn is(&self, reason: Reason) -> bool {
        matches!(self, Self::Refused(status) if status.is(reason))
    }

    pub fn is_not_found(&self) -> bool {
        self.is(Reason::NotFound)
    }

    pub fn is_forbidden(&self) -> bool {
        self.is(Reason::Forbidden)
    }

    pub fn is_already_exists(&self) -> bool {
        self.is(Reason::AlreadyExists)
    }
}

// === impl Client ===

impl Client {
    pub fn new(server: Arc<dyn Server>, clock: Clock) -> Self {
        let retries = RETRIES;
        Self { server, clock, retries }
    }

    /// For which "come again" is an answer.
    pub fn without_retries(self) -> Self {
        Self { retries: 0, ..self }
    }

    /// A path below a workspace that is no resource: `/api`.
    pub async fn raw(&self, workspace: &WorkspacePath, path: &str) -> Result<Value, CallError> {
        let path = format!("/clusters/{workspace}{path}");
        self.call("GET", path, None, None).await
    }

    /// A page of the server that is no object: `/metrics`.
    pub async fn text(&self, path: &str) -> Result<String, CallError> {
        let request = Request {
            method: "GET",
            path: path.to_owned(),
            body: None,
        };
        let answer = self.server.send(&request).await.map_err(CallError::Unreachable)?;
        match answer.code {
            200 => Ok(String::from_utf8_lossy(&answer.body).into_owned()),
            _ => Err(CallError::Refused(Box::new(generic("GET", &answer, None)))),
        }
    }

    pub async fn get(&self, workspace: &WorkspacePath, of: Resource<'_>, name: &str) -> Result<Value, CallError> {
        let path = format!("{}/{name}", of.path(workspace));
        self.call("GET", path, None, Some((of, name))).await
    }

    /// The items of a list.
    pub async fn list(&self, workspace: &WorkspacePath, of: Resource<'_>) -> Result<Vec<Value>, CallError> {
        let mut list = self.call("GET", of.path(workspace), None, Some((of, ""))).await?;
        match list.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok(items),
            _ => Ok(Vec::new()),
        }
    }

    pub async fn create(&self, workspace: &WorkspacePath, of: Resource<'_>, new: Value) -> Result<Value, CallError> {
        self.call("POST", of.path(workspace), Some(new), Some((of, ""))).await
    }

    /// Replaces the object of the same name.
    pub async fn update(&self, workspace: &WorkspacePath, of: Resource<'_>, new: Value) -> Result<Value, CallError> {
        let name = new.name().to_owned();
        let path = format!("{}/{name}", of.path(workspace));
        self.call("PUT", path, Some(new), Some((of, &name))).await
    }

    async fn call(
        &self,
        method: &'static str,
        path: String,
        body: Option<Value>,
        of: Option<(Resource<'_>, &str)>,
    ) -> Result<Value, CallError> {
        let request = Request { method, path, body };
        let mut tries = 0;
        loop {
            let answer = self.server.send(&request).await.map_err(CallError::Unreachable)?;
            match answer.retry_after {
                // "Not yet, not here": a home workspace in the making, another shard.
                Some(seconds) if tries < self.retries && (answer.code == 429 || answer.code >= 500) => {
                    tries += 1;
                    self.clock.sleep(Duration::from_secs(seconds)).await;
                }
                _ => return read(method, answer, of),
            }
        }
    }
}

// === impl Resource ===

impl Resource<'_> {
    pub const WORKSPACES: Resource<'static> = Resource {
        group: "tenancy.kcp.io",
        version: "v1alpha1",
        plural: "workspaces",
    };
    pub const LOGICAL_CLUSTERS: Resource<'static> = Resource {
        group: "core.kcp.io",
        version: "v1alpha1",
        plural: "logicalclusters",
    };

    pub fn api_version(&self) -> String {
        format!("{}/{}", self.group, self.version)
    }

    fn path(&self, workspace: &WorkspacePath) -> String {
        // The parent of a single segment is empty, and its URL as of Go's path.Join has one slash.
        let cluster = if workspace.is_empty() {
            String::new()
        } else {
            format!("/{workspace}")
        };
        format!(
            "/clusters{cluster}/apis/{}/{}/{}",
            self.group, self.version, self.plural
        )
    }
}

fn read(method: &str, answer: Answer, of: Option<(Resource<'_>, &str)>) -> Result<Value, CallError> {
    let parsed = serde_json::from_slice::<Value>(&answer.body);
    if (200..300).contains(&answer.code) {
        return parsed.map_err(|why| CallError::Unreachable(format!("the server's answer is no JSON: {why}")));
    }
    let status = parsed.ok().as_ref().and_then(Status::from_value);
    let status = status.unwrap_or_else(|| generic(method, &answer, of));
    Err(CallError::Refused(Box::new(status)))
}

/// A failure that is no Status (a proxy's page, a plain 404), in client-go's words.
fn generic(method: &str, answer: &Answer, of: Option<(Resource<'_>, &str)>) -> Status {
    let said = String::from_utf8_lossy(&answer.body).trim().to_owned();
    let (reason, text) = match answer.code {
        400 => (
            Reason::BadRequest,
            "the server rejected our request for an unknown reason".into(),
        ),
        401 => (
            Reason::Unauthorized,
            "the server has asked for the client to provide credentials".into(),
        ),
        403 => (Reason::Forbidden, said),
        404 => (
            Reason::NotFound,
            "the server could not find the requested resource".into(),
        ),
        405 => (
            Reason::MethodNotAllowed,
            "the server does not allow this method on the requested resource".into(),
        ),
        409 if method == "POST" => (Reason::AlreadyExists, "the server reported a conflict".into()),
        409 => (Reason::Conflict, "the server reported a conflict".into()),
        429 => (
            Reason::TooManyRequests,
            "the server has received too many requests and has asked us to try again later".into(),
        ),
        503 => (
            Reason::ServiceUnavailable,
            "the server is currently unable to handle the request".into(),
        ),
        504 => (
            Reason::Timeout,
            "the server was unable to return a response in the time allotted, but may still be processing the request"
                .into(),
        ),
        code if code >= 500 => (
            Reason::InternalError,
            format!(
                "an error on the server ({}) has prevented the request from succeeding",
                machinery::text::quote(&said)
            ),
        ),
        code => (
            Reason::Unknown,
            format!("the server responded with the status code {code}"),
        ),
    };
    let suffix = of.map(|(of, name)| {
        let resource = GroupResource::new(of.group, of.plural);
        let name = if name.is_empty() {
            String::new()
        } else {
            format!(" {name}")
        };
        format!(" ({} {resource}{name})", method.to_lowercase())
    });
    Status::new(answer.code, reason, text + &suffix.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16, body: &str, of: Option<(Resource<'_>, &str)>) -> String {
        let body = body.as_bytes().to_vec();
        let answer = Answer {
            code,
            body,
            retry_after: None,
        };
        read("GET", answer, of).expect_err("a failure").to_string()
    }

    #[test]
    fn plain_answers_are_worded_as_client_go_words_them() {
        assert_eq!(
            refused(404, "404 page not found", None),
            "the server could not find the requested resource"
        );
        assert_eq!(
            refused(404, "", Some((Resource::WORKSPACES, "x"))),
            "the server could not find the requested resource (get workspaces.tenancy.kcp.io x)"
        );
        assert_eq!(
            refused(502, "bad", None),
            "an error on the server (\"bad\") has prevented the request from succeeding"
        );
    }

    #[test]
    fn a_status_speaks_for_itself() {
        let body = r#"{"kind":"Status","status":"Failure","reason":"NotFound","message":"nope","code":404}"#;
        assert_eq!(refused(404, body, None), "nope");
    }

    #[test]
    fn an_empty_parent_leaves_one_slash() {
        let path = Resource::WORKSPACES.path(&WorkspacePath::default());
        assert_eq!(path, "/clusters/apis/tenancy.kcp.io/v1alpha1/workspaces");
    }
}
