//! TokenReview: whose token this is.

use machinery::object::ObjectExt;
use machinery::status::{Result, Status};
use permit::Scope;
use serde_json::{Value, json};

use crate::auth::{Audienced, Chain};

pub(super) async fn answer(tokens: Option<&Chain>, scope: &Scope, mut review: Value) -> Result<Value> {
    let token = review.str_at(&["spec", "token"]).unwrap_or_default();
    if token.is_empty() {
        return Err(Status::bad_request(
            "token is required for TokenReview in authentication",
        ));
    }
    let Some(tokens) = tokens else {
        review.set_at(&["status"], json!({"user": {}}));
        return Ok(review);
    };
    let audiences = review
        .at(&["spec", "audiences"])
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let asked: Vec<String> = audiences.filter_map(Value::as_str).map(str::to_owned).collect();
    let wanted = if asked.is_empty() {
        tokens.audiences()
    } else {
        asked.as_slice()
    };
    let status = match tokens.review(token, wanted, Some(scope)).await {
        Ok(Audienced { user, audiences }) => {
            let mut status = json!({"authenticated": true, "user": user});
            if let Some(audiences) = audiences.filter(|list| !list.is_empty()) {
                status["audiences"] = audiences.into();
            }
            status
        }
        Err(why) => json!({"user": {}, "error": why.message}),
    };
    review.set_at(&["status"], status);
    Ok(review)
}
