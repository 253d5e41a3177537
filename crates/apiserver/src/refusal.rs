//! Answers other than success: the one place where errors become responses.

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use http::{HeaderMap, Response, StatusCode};
use machinery::status::Status;

use crate::body::Body;

/// Why a request is not answered as it asked. Everything inside the APIs is a `Status` (law 8).
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    Status(Box<Status>),
    /// A refusal by the authorizer: as `Status`, and browsers are told not to guess.
    Forbidden(Box<Status>),
    /// What Kubernetes answers in plain text: paths outside its APIs, health checks.
    Plain {
        code: StatusCode,
        text: String,
        retry_after: Option<u32>,
    },
    /// 301 to another URL of this server.
    Moved(String),
}

pub type Result<T, E = Refusal> = std::result::Result<T, E>;

pub(crate) const APPLICATION_JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const TEXT_PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const X_CONTENT_TYPE_OPTIONS: HeaderName = HeaderName::from_static("x-content-type-options");

// === impl Refusal ===

impl Refusal {
    /// `404 page not found`: no such URL.
    pub fn no_such_path() -> Self {
        Self::plain(StatusCode::NOT_FOUND, "404 page not found")
    }

    /// Text and a newline.
    pub fn plain(code: StatusCode, text: impl Into<String>) -> Self {
        Self::Plain {
            code,
            text: text.into(),
            retry_after: None,
        }
    }

    pub fn code(&self) -> u16 {
        match self {
            Self::Status(status) | Self::Forbidden(status) => status.code,
            Self::Plain { code, .. } => code.as_u16(),
            Self::Moved(_) => 301,
        }
    }

    pub fn into_response(self) -> Response<Body> {
        match self {
            Self::Status(status) => status_response(&status),
            Self::Forbidden(status) => {
                let mut response = status_response(&status);
                response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
                response
            }
            Self::Plain {
                code,
                mut text,
                retry_after,
            } => {
                text.push('\n');
                let mut response = Response::new(Body::full(text));
                *response.status_mut() = code;
                let headers = response.headers_mut();
                headers.insert(CONTENT_TYPE, TEXT_PLAIN);
                headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
                set_retry_after(headers, retry_after.unwrap_or_default());
                response
            }
            Self::Moved(location) => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
                if let Ok(location) = HeaderValue::try_from(location) {
                    response.headers_mut().insert(LOCATION, location);
                }
                response
            }
        }
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

/// A failure as JSON, whatever the client accepts: so does Kubernetes where nothing else was agreed on.
pub(crate) fn status_response(status: &Status) -> Response<Body> {
    let mut response = Response::new(Body::full(status.to_json()));
    *response.status_mut() = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, APPLICATION_JSON);
    set_retry_after(headers, status.retry_after_seconds());
    response
}

fn set_retry_after(headers: &mut HeaderMap, seconds: u32) {
    if seconds > 0 {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overload_says_when_to_come_back() {
        let response = Refusal::from(Status::too_many_requests("busy", 3)).into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "3");
    }

    #[test]
    fn plain_texts_end_in_a_newline_and_are_not_sniffed() {
        let response = Refusal::no_such_path().into_response();
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
        assert_eq!(response.into_body().into_whole().ok().unwrap(), "404 page not found\n");
    }
}
