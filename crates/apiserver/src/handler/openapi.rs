//! `/openapi/…`.

use http::Response;
use http::request::Parts;

use crate::body::Body;
use crate::refusal::{Refusal, Result};
use crate::stack::Stack;
use crate::stage::PermittedPath;

pub(super) async fn respond(
    _stack: &Stack,
    _request: &PermittedPath<'_>,
    _parts: &Parts,
    _rest: &str,
) -> Result<Response<Body>> {
    Err(Refusal::no_such_path())
}
