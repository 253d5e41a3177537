//! `metav1.Status`: every error an API answers. Made here and nowhere else, so that reason, code and text agree.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::field::FieldError;
use crate::object::GroupResource;
use crate::text::quote;

/// Machine-readable reason. `Unknown` is the empty string on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    #[serde(rename = "")]
    Unknown,
    Unauthorized,
    Forbidden,
    NotFound,
    AlreadyExists,
    Conflict,
    Gone,
    Invalid,
    ServerTimeout,
    Timeout,
    TooManyRequests,
    BadRequest,
    MethodNotAllowed,
    NotAcceptable,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    InternalError,
    Expired,
    ServiceUnavailable,
}

/// A failure as an API answers it. Also the error type of everything between the handlers and storage.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    pub code: u16,
    pub reason: Reason,
    pub message: String,
    pub details: Option<Box<Details>>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Details {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The resource for most reasons; the Kind for `Invalid`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    #[serde(default, rename = "retryAfterSeconds", skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
    /// Where an expired list can go on: `metadata.continue` of the answer, not part of its details.
    #[serde(skip)]
    pub continue_token: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cause {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

pub type Result<T, E = Status> = std::result::Result<T, E>;

// === impl Status ===

impl Status {
    pub fn new(code: u16, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
        }
    }

    fn about(code: u16, reason: Reason, of: &GroupResource, name: &str, message: String) -> Self {
        let details = Details {
            name: name.to_owned(),
            group: of.group.clone(),
            kind: of.resource.clone(),
            ..Details::default()
        };
        Self {
            code,
            reason,
            message,
            details: Some(Box::new(details)),
        }
    }

    pub fn not_found(of: &GroupResource, name: &str) -> Self {
        Self::about(
            404,
            Reason::NotFound,
            of,
            name,
            format!("{of} {} not found", quote(name)),
        )
    }

    /// The resource type itself is unknown: `the server could not find the requested resource`.
    pub fn no_such_resource() -> Self {
        Self {
            details: Some(Box::default()),
            ..Self::new(
                404,
                Reason::NotFound,
                "the server could not find the requested resource",
            )
        }
    }

    pub fn already_exists(of: &GroupResource, name: &str) -> Self {
        Self::about(
            409,
            Reason::AlreadyExists,
            of,
            name,
            format!("{of} {} already exists", quote(name)),
        )
    }

    /// After eight names made from `generateName` were all taken.
    pub fn generate_name_conflict(of: &GroupResource, name: &str) -> Self {
        let text = format!(
            "{of} {} already exists, the server was not able to generate a unique name for the object",
            quote(name)
        );
        Self::about(409, Reason::AlreadyExists, of, name, text).retry_after(1)
    }

    pub fn conflict(of: &GroupResource, name: &str, why: &str) -> Self {
        let text = format!("Operation cannot be fulfilled on {of} {}: {why}", quote(name));
        Self::about(409, Reason::Conflict, of, name, text)
    }

    /// The conflict of a stale resourceVersion.
    pub fn modified(of: &GroupResource, name: &str) -> Self {
        Self::conflict(
            of,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// Server-side apply's conflict; causes name managers and fields.
    pub fn apply_conflict(message: impl Into<String>, causes: Vec<Cause>) -> Self {
        let details = Details {
            causes,
            ..Details::default()
        };
        Self {
            details: Some(Box::new(details)),
            ..Self::new(409, Reason::Conflict, message)
        }
    }

    /// `configmaps "x" is forbidden: why`.
    pub fn forbidden(of: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        let text = match (of.resource.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{of} is forbidden: {why}"),
            (false, false) => format!("{of} {} is forbidden: {why}", quote(name)),
        };
        Self::about(403, Reason::Forbidden, of, name, text)
    }

    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        // Each text once in the message, as Kubernetes aggregates them; all of them among the causes.
        let mut seen = BTreeSet::new();
        let texts = errors.iter().map(FieldError::to_string);
        let texts: Vec<String> = texts.filter(|text| seen.insert(text.clone())).collect();
        let list = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let kind_group = if group.is_empty() {
            kind.to_owned()
        } else {
            format!("{kind}.{group}")
        };
        let causes = errors
            .iter()
            .map(|error| Cause {
                reason: error.kind.cause().to_owned(),
                message: error.body(),
                field: if error.field.is_empty() {
                    "<nil>".to_owned()
                } else {
                    error.field.clone()
                },
            })
            .collect();
        let details = Details {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: kind.to_owned(),
            causes,
            ..Details::default()
        };
        let message = format!("{kind_group} {} is invalid: {list}", quote(name));
        Self {
            code: 422,
            reason: Reason::Invalid,
            message,
            details: Some(Box::new(details)),
        }
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, Reason::BadRequest, message)
    }

    pub fn unauthorized() -> Self {
        Self::new(401, Reason::Unauthorized, "Unauthorized")
    }

    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, Reason::Expired, message)
    }

    pub fn method_not_allowed(of: &GroupResource, verb: &str) -> Self {
        let text = format!("{verb} is not supported on resources of kind \"{of}\"");
        Self::about(405, Reason::MethodNotAllowed, of, "", text)
    }

    pub fn not_acceptable(supported: &[&str]) -> Self {
        let text = format!("only the following media types are accepted: {}", supported.join(", "));
        Self::new(406, Reason::NotAcceptable, text)
    }

    pub fn unsupported_media_type(supported: &[&str]) -> Self {
        let text = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            supported.join(", ")
        );
        Self::new(415, Reason::UnsupportedMediaType, text)
    }

    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(413, Reason::RequestEntityTooLarge, message)
    }

    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::new(429, Reason::TooManyRequests, message).retry_after(retry_after_seconds)
    }

    /// Something that is the server's own fault. The text is for the client; log the cause where it is handled.
    pub fn internal(why: impl fmt::Display) -> Self {
        let message = format!("Internal error occurred: {why}");
        let cause = Cause {
            message: why.to_string(),
            ..Cause::default()
        };
        let details = Details {
            causes: vec![cause],
            ..Details::default()
        };
        Self {
            details: Some(Box::new(details)),
            ..Self::new(500, Reason::InternalError, message)
        }
    }

    pub fn service_unavailable(message: impl Into<String>) -> Self {
        Self::new(503, Reason::ServiceUnavailable, message)
    }

    pub fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(501, Reason::Unknown, message)
    }

    pub fn timeout(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::new(504, Reason::Timeout, message).retry_after(retry_after_seconds)
    }

    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.details_mut().retry_after_seconds = seconds;
        self
    }

    #[must_use]
    pub fn with_cause(mut self, cause: Cause) -> Self {
        self.details_mut().causes.push(cause);
        self
    }

    pub fn details_mut(&mut self) -> &mut Details {
        self.details.get_or_insert_default()
    }

    pub fn retry_after_seconds(&self) -> u32 {
        self.details.as_ref().map_or(0, |d| d.retry_after_seconds)
    }

    pub fn is(&self, reason: Reason) -> bool {
        self.reason == reason
    }

    pub fn is_not_found(&self) -> bool {
        self.is(Reason::NotFound)
    }

    pub fn is_conflict(&self) -> bool {
        self.is(Reason::Conflict)
    }

    pub fn is_already_exists(&self) -> bool {
        self.is(Reason::AlreadyExists)
    }

    /// Reads a failure that another server answered; `None` for what is no failed `Status`. Unknown reasons are kept as
    /// unknown.
    pub fn from_value(value: &Value) -> Option<Self> {
        if value.get("kind")? != "Status" || value.get("status").is_some_and(|status| status == "Success") {
            return None;
        }
        let part = |name: &str| value.get(name).cloned().unwrap_or_default();
        let mut details: Option<Box<Details>> = serde_json::from_value(part("details")).unwrap_or_default();
        if let Some(token) = value.pointer("/metadata/continue").and_then(Value::as_str) {
            details.get_or_insert_default().continue_token = token.to_owned();
        }
        Some(Self {
            code: value
                .get("code")
                .and_then(Value::as_u64)
                .and_then(|code| u16::try_from(code).ok())
                .unwrap_or(500),
            reason: serde_json::from_value(part("reason")).unwrap_or(Reason::Unknown),
            message: value
                .get("message")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            details,
        })
    }

    /// An expired list that can go on at another revision.
    #[must_use]
    pub fn with_continue(mut self, token: String) -> Self {
        self.details_mut().continue_token = token;
        self
    }

    pub fn continue_token(&self) -> &str {
        self.details
            .as_ref()
            .map_or("", |details| details.continue_token.as_str())
    }

    /// The wire form.
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self.wire()).unwrap_or_default()
    }

    /// The body, as Kubernetes prints it: one line, members in Kubernetes' order.
    pub fn to_json(&self) -> Vec<u8> {
        let mut body = serde_json::to_vec(&self.wire()).unwrap_or_default();
        body.push(b'\n');
        body
    }

    fn wire(&self) -> Wire<'_> {
        let token = self.continue_token();
        // Details that only carry the token are none.
        let details = self.details.as_deref().filter(|details| {
            token.is_empty()
                || **details
                    != Details {
                        continue_token: token.to_owned(),
                        ..Details::default()
                    }
        });
        Wire {
            kind: "Status",
            api_version: "v1",
            metadata: WireMeta { token },
            status: "Failure",
            message: &self.message,
            reason: (self.reason != Reason::Unknown).then_some(self.reason),
            details,
            code: self.code,
        }
    }
}

#[derive(Serialize)]
struct Wire<'a> {
    kind: &'static str,
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    metadata: WireMeta<'a>,
    status: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a Details>,
    code: u16,
}

#[derive(Serialize)]
struct WireMeta<'a> {
    #[serde(rename = "continue", skip_serializing_if = "str::is_empty")]
    token: &'a str,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Path;

    #[test]
    fn invalid_lists_each_cause() {
        let errors = [
            FieldError::required(&Path::new("a"), ""),
            FieldError::required(&Path::new("b"), ""),
        ];
        let status = Status::invalid("g.io", "Widget", "w", &errors);
        assert_eq!(
            status.message,
            r#"Widget.g.io "w" is invalid: [a: Required value, b: Required value]"#
        );
        assert_eq!(status.details.unwrap().causes.len(), 2);
    }

    #[test]
    fn unknown_reason_is_left_out() {
        let body = String::from_utf8(Status::new(500, Reason::Unknown, "x").to_json()).unwrap();
        assert_eq!(
            body,
            "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\"message\":\"x\",\"code\":500}\n"
        );
    }

    #[test]
    fn expired_lists_say_where_to_go_on() {
        let status = Status::expired("x").with_continue("token".to_owned());
        let body = String::from_utf8(status.to_json()).unwrap();
        assert!(body.contains("\"metadata\":{\"continue\":\"token\"}"), "{body}");
        assert!(!body.contains("details"), "{body}");
        assert!(
            String::from_utf8(Status::no_such_resource().to_json())
                .unwrap()
                .contains("\"details\":{}")
        );
    }

    #[test]
    fn answers_of_other_servers_read_back() {
        let of = GroupResource::new("g", "widgets");
        for status in [
            Status::not_found(&of, "w"),
            Status::no_such_resource(),
            Status::expired("x").with_continue("t".to_owned()),
            Status::internal("y").retry_after(3),
            Status::invalid("g", "Widget", "w", &[FieldError::required(&Path::new("a"), "")]),
            Status::not_implemented("z"),
        ] {
            assert_eq!(Status::from_value(&status.to_value()), Some(status));
        }
        assert_eq!(
            Status::from_value(&serde_json::json!({"kind": "Status", "status": "Success"})),
            None
        );
        assert_eq!(Status::from_value(&serde_json::json!({"kind": "Widget"})), None);
        let strange = serde_json::json!({"kind": "Status", "reason": "Strange", "code": 418, "message": "m"});
        assert_eq!(
            Status::from_value(&strange),
            Some(Status::new(418, Reason::Unknown, "m"))
        );
    }

    #[test]
    fn a_text_stands_once_in_the_message() {
        let path = Path::new("a");
        let errors = [
            FieldError::required(&path, ""),
            FieldError::required(&Path::new("b"), ""),
            FieldError::required(&path, ""),
        ];
        let status = Status::invalid("", "Widget", "w", &errors);
        assert_eq!(
            status.message,
            r#"Widget "w" is invalid: [a: Required value, b: Required value]"#
        );
        assert_eq!(status.details.unwrap().causes.len(), 3);
    }
}
