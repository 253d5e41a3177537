//! Reviews: what the proxy has shards judge, because they have the objects that decide.

use std::time::Duration;

use env::Env;
use fabric::peers::unreachable;
use fabric::{Lane, Upstream};
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use machinery::status::{Result, Status};
use serde_json::Value;

use crate::accounts::whole;
use crate::proxy::body_of;

/// The review with its status, as the shard answers it. `None`: it does not answer such ones there. `what` completes "a shard does
/// not say …" for whoever is told that it did not answer in time. Errors: 503.
pub(crate) async fn reviewed(
    env: &Env,
    upstream: Upstream,
    path: &str,
    review: &Value,
    within: Duration,
    what: &str,
) -> Result<Option<Value>> {
    let request = Request::post(path)
        .header(CONTENT_TYPE, "application/json")
        .body(body_of(Some(review.to_string().into())))
        .map_err(Status::internal)?;
    let asking = async {
        let response = upstream.send(Lane::Short, request).await;
        let response = response.map_err(|error| unreachable(&error.to_string()))?;
        match response.status() {
            StatusCode::CREATED => whole(response.into_body()).await.map(Some),
            status if status.is_client_error() => Ok(None),
            other => Err(unreachable(&format!("a shard says {other} instead of {what}"))),
        }
    };
    let answer = env.clock.timeout(within, asking).await;
    let answer = answer.map_err(|_| unreachable(&format!("a shard does not say {what}")))??;
    let read = |bytes: bytes::Bytes| {
        serde_json::from_slice(&bytes).map_err(|_| unreachable(&format!("a shard's answer is no review of {what}")))
    };
    answer.map(read).transpose()
}
