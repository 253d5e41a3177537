//! The content of waiting clusters: the request goes to the shard as it came, for the user that the view says.

use apiserver::auth::rbac::Rule;
use apiserver::stage::RequestInfo;
use apiserver::{Body, Forwarder, Query};
use async_trait::async_trait;
use bytes::Bytes;
use fabric::{DELEGATION_HEADER, Delegation, Lane, Upstream};
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_TYPE, HeaderName, IF_NONE_MATCH, TRANSFER_ENCODING, USER_AGENT,
};
use http::request::Parts;
use http::{Method, Request, Response};
use machinery::selector::LabelSelector;
use machinery::status::Status;
use permit::Verb;

use super::objects::whole;
use super::parameters::encoded_path;
use super::remote::unavailable;
use crate::ClusterContent;
use crate::lifecycle::access;

/// See the module.
pub struct Content {
    upstream: Upstream,
    content: ClusterContent,
}

/// What of a request is the client's to say to an API.
const PASSED_ON: [HeaderName; 5] = [ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, IF_NONE_MATCH, USER_AGENT];

// === impl Content ===

impl Content {
    pub fn new(upstream: Upstream, content: ClusterContent) -> Self {
        Self { upstream, content }
    }

    /// Whether the rules allow to make what the request turns out to find missing.
    fn creates(&self, request: &Parts) -> bool {
        let Some(rules) = &self.content.rules else { return true };
        let query = Query::new(request.uri.query().unwrap_or_default());
        let Ok(info) = RequestInfo::parse(&request.method, &self.content.path, &query) else {
            return false;
        };
        let mut access = access(&info);
        access.verb = Verb::Create.as_str().to_owned();
        allows(rules, &access)
    }
}

fn allows(rules: &[Rule], access: &permit::Access) -> bool {
    rules.iter().any(|rule| rule.allows(access))
}

#[async_trait]
impl Forwarder for Content {
    async fn forward(&self, request: &Parts, body: Bytes) -> Result<Response<Body>, Status> {
        let content = &self.content;
        let delegation = Delegation {
            user: (*content.user).clone(),
            decided: false,
            creates: self.creates(request),
            selector: LabelSelector::everything(),
            definition: fabric::delegation::DelegatedDefinition::Own,
            flow: content.flow.to_string(),
        };
        let query = request.uri.query().map_or(String::new(), |query| format!("?{query}"));
        let path = format!("/clusters/{}{}{query}", content.cluster, encoded_path(&content.path));
        let mut builder = Request::builder()
            .method(request.method.clone())
            .uri(path)
            .header(DELEGATION_HEADER, delegation.encode());
        for name in PASSED_ON {
            for value in request.headers.get_all(&name) {
                builder = builder.header(&name, value);
            }
        }
        let sent = builder.body(whole(body)).map_err(Status::internal)?;
        let response = self.upstream.send(lane(request), sent).await;
        let mut response = response.map_err(|error| unavailable(&error.to_string()))?;
        for of_connection in [CONNECTION, TRANSFER_ENCODING] {
            response.headers_mut().remove(of_connection);
        }
        Ok(response.map(Body::foreign))
    }
}

fn lane(request: &Parts) -> Lane {
    let query = Query::new(request.uri.query().unwrap_or_default());
    let is_watch = query.is_true("watch") || request.uri.path().contains("/watch/");
    match is_watch && request.method == Method::GET {
        true => Lane::Long,
        false => Lane::Short,
    }
}
