//! The objects of a resource, which are in the shard: every operation is a request to its API.
//!
//! What the view has decided goes with it (`fabric::Delegation`): who acts, and the permit's selector, which the shard's storage
//! applies.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use compact_str::CompactString;
use fabric::upstream::{Answer, UpstreamBody};
use fabric::{DELEGATION_HEADER, Delegation, Lane, Upstream, UpstreamError};
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use machinery::json;
use machinery::object::{GroupVersionKind, ObjectExt};
use machinery::options::{DeleteOptions, FieldValidation, GetOptions, ListOptions, WriteOptions};
use machinery::status::{Result, Status};
use machinery::strict::StrictErrors;
use permit::Verb;
use registry::{Backend, EventStream, Item, ItemList, Outcome, Patch, Request, Target};
use serde_json::Value;

use super::parameters::{Parameters, delegated, delete_body, path};
use super::remote::unavailable;
use super::watch::Events;
use crate::DefinitionOf;

/// See the module.
pub struct Objects {
    upstream: Upstream,
    of: DefinitionOf,
}

/// A request to the shard.
struct Asked<'a> {
    method: Method,
    path: String,
    /// Media type and body.
    body: Option<(&'static str, &'a Value)>,
    lane: Lane,
}

/// Of one whole answer. (Kubernetes has no limit; a page of a list has.)
const ANSWER_BYTES_MAX: usize = 1 << 30;

const JSON: &str = "application/json";

// === impl Objects ===

impl Objects {
    pub fn new(upstream: Upstream, of: DefinitionOf) -> Self {
        Self { upstream, of }
    }

    async fn send(&self, request: &Request, target: &Target, asked: Asked<'_>) -> Result<Response<Answer>> {
        let group_resource = target.resolved.def.group_resource();
        let permit = &request.permit;
        let creates = permit.check(
            Verb::Create,
            &group_resource.group,
            &group_resource.resource,
            permit.scope(),
        );
        let delegation = Delegation {
            user: (*request.user).clone(),
            decided: true,
            creates: creates.is_ok(),
            selector: permit.selector().clone(),
            definition: delegated(&self.of),
            flow: self.flow(request).to_string(),
        };
        let delegation = delegation.encode();
        let build = || {
            let mut builder = http::Request::builder()
                .method(asked.method.clone())
                .uri(&asked.path)
                .header(ACCEPT, JSON)
                .header(DELEGATION_HEADER, &delegation);
            if let Ok(agent) = HeaderValue::from_str(&request.agent) {
                // Whose fields they are, where no manager is named.
                builder = builder.header(USER_AGENT, agent);
            }
            if let Some((kind, _)) = asked.body {
                builder = builder.header(CONTENT_TYPE, kind);
            }
            let body = body(asked.body.map(|(_, body)| body));
            builder.body(body).map_err(Status::internal)
        };
        let mut response = self.upstream.send(asked.lane, build()?).await;
        // A connection that had died unnoticed: reading again does no harm.
        if matches!(response, Err(UpstreamError::Lost { .. })) && asked.method == Method::GET {
            response = self.upstream.send(asked.lane, build()?).await;
        }
        let response = response.map_err(|error| unavailable(&error.to_string()))?;
        take_warnings(response.headers(), request);
        Ok(response)
    }

    async fn exchange(&self, request: &Request, target: &Target, asked: Asked<'_>) -> Result<(StatusCode, Value)> {
        let response = self.send(request, target, asked).await?;
        read(response).await
    }

    async fn write(
        &self,
        request: &Request,
        target: &Target,
        method: Method,
        body: (&'static str, &Value),
        options: &WriteOptions,
    ) -> Result<Outcome> {
        let path = format!(
            "{}{}",
            path(request.permit.scope(), target),
            Parameters::of_write(options)
        );
        let asked = Asked {
            method,
            path,
            body: Some(body),
            lane: Lane::Short,
        };
        let (code, object) = self.exchange(request, target, asked).await?;
        Ok(Outcome {
            item: Item::Built(Arc::new(object)),
            created: code == StatusCode::CREATED,
            gone: false,
        })
    }

    /// The provider's, where it is known; else the user's.
    fn flow(&self, request: &Request) -> CompactString {
        match &self.of {
            DefinitionOf::Schema { cluster, .. } => CompactString::from(cluster.as_str()),
            DefinitionOf::Common | DefinitionOf::Identity(_) => format!("user:{}", request.user.name).into(),
        }
    }
}

#[async_trait]
impl Backend for Objects {
    async fn get(&self, request: &Request, target: &Target, options: &GetOptions) -> Result<Item> {
        let mut parameters = Parameters::default();
        if !options.resource_version.is_empty() {
            parameters.put("resourceVersion", &options.resource_version);
        }
        let asked = Asked {
            method: Method::GET,
            path: format!("{}{parameters}", path(request.permit.scope(), target)),
            body: None,
            lane: Lane::Short,
        };
        let (_, object) = self.exchange(request, target, asked).await?;
        Ok(Item::Built(Arc::new(object)))
    }

    async fn list(&self, request: &Request, target: &Target, options: &ListOptions) -> Result<ItemList> {
        if options.label_selector.is_nothing() {
            return Err(Status::internal("a selector of nothing has no text"));
        }
        let parameters = Parameters::of_list(options, false);
        let asked = Asked {
            method: Method::GET,
            path: format!("{}{parameters}", path(request.permit.scope(), target)),
            body: None,
            lane: Lane::Short,
        };
        let (_, list) = self.exchange(request, target, asked).await?;
        read_list(list)
    }

    async fn watch(&self, request: &Request, target: &Target, options: &ListOptions) -> Result<Box<dyn EventStream>> {
        let parameters = Parameters::of_list(options, true);
        // One object is chosen by the field selector, which the handler has set.
        let collection = Target {
            name: String::new(),
            ..target.clone()
        };
        let asked = Asked {
            method: Method::GET,
            path: format!("{}{parameters}", path(request.permit.scope(), &collection)),
            body: None,
            lane: Lane::Long,
        };
        let response = self.send(request, target, asked).await?;
        if !response.status().is_success() {
            let (_, unexpected) = read(response).await?;
            return Err(Status::internal(format!("a watch was answered with {unexpected}")));
        }
        Ok(Box::new(Events::new(
            response.into_body(),
            options.allow_watch_bookmarks,
        )))
    }

    async fn create(
        &self,
        request: &Request,
        target: &Target,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Outcome> {
        check_repeated(request, target, &object, options.field_validation)?;
        self.write(request, target, Method::POST, (JSON, &object), options)
            .await
    }

    async fn update(
        &self,
        request: &Request,
        target: &Target,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Outcome> {
        check_repeated(request, target, &object, options.field_validation)?;
        self.write(request, target, Method::PUT, (JSON, &object), options).await
    }

    async fn patch(&self, request: &Request, target: &Target, patch: Patch, options: &WriteOptions) -> Result<Outcome> {
        let (kind, body) = match &patch {
            Patch::Json(body) => ("application/json-patch+json", body),
            Patch::Merge(body) => ("application/merge-patch+json", body),
            Patch::Strategic(body) => ("application/strategic-merge-patch+json", body),
            Patch::Apply(body) => ("application/apply-patch+yaml", body),
        };
        check_repeated(request, target, body, options.field_validation)?;
        self.write(request, target, Method::PATCH, (kind, body), options).await
    }

    async fn delete(&self, request: &Request, target: &Target, options: &DeleteOptions) -> Result<Outcome> {
        let body = delete_body(options);
        let asked = Asked {
            method: Method::DELETE,
            path: path(request.permit.scope(), target),
            body: Some((JSON, &body)),
            lane: Lane::Short,
        };
        let (_, answer) = self.exchange(request, target, asked).await?;
        let gone = answer.kind() == "Status";
        let object = match gone {
            // All that is said of what is gone.
            true => serde_json::json!({ "metadata": {
                "name": target.name, "uid": answer.str_at(&["details", "uid"]).unwrap_or_default(),
            }}),
            false => answer,
        };
        Ok(Outcome {
            item: Item::Built(Arc::new(object)),
            created: false,
            gone,
        })
    }

    async fn delete_collection(
        &self,
        request: &Request,
        target: &Target,
        list: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<ItemList> {
        let body = delete_body(options);
        let parameters = Parameters::of_list(list, false);
        let asked = Asked {
            method: Method::DELETE,
            path: format!("{}{parameters}", path(request.permit.scope(), target)),
            body: Some((JSON, &body)),
            lane: Lane::Short,
        };
        let (_, answer) = self.exchange(request, target, asked).await?;
        read_list(answer)
    }
}

/// The whole of an answer; a refusal is an error.
async fn read(response: Response<Answer>) -> Result<(StatusCode, Value)> {
    let (parts, body) = response.into_parts();
    let lost = |error: Box<dyn std::error::Error + Send + Sync>| unavailable(&error.to_string());
    let bytes = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(lost)?;
    let bytes = bytes.to_bytes();
    if !parts.status.is_success() {
        return Err(refusal(parts.status, &bytes));
    }
    let object = json::decode_stored(&bytes);
    let object = object.map_err(|error| unavailable(&format!("the shard answers what cannot be read: {error}")))?;
    Ok((parts.status, object))
}

/// Why the shard refuses, in its words.
fn refusal(code: StatusCode, bytes: &Bytes) -> Status {
    let said = json::decode_value(bytes).ok();
    if let Some(status) = said.as_ref().and_then(Status::from_value) {
        return status;
    }
    match code.as_u16() {
        404 => Status::no_such_resource(),
        429 => Status::too_many_requests("the shard that holds it has too much to do", 1),
        code => unavailable(&format!("the shard that holds it answers {code}")),
    }
}

fn read_list(mut list: Value) -> Result<ItemList> {
    let text = |path: &[&str]| list.str_at(path).unwrap_or_default().to_owned();
    let revision = text(&["metadata", "resourceVersion"]).parse().unwrap_or_default();
    let token = text(&["metadata", "continue"]);
    let remaining = list.at(&["metadata", "remainingItemCount"]).and_then(Value::as_u64);
    let items = match list.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => items,
        Some(Value::Null) => Vec::new(),
        _ => return Err(unavailable("the shard answers what is no list")),
    };
    Ok(ItemList {
        items: items.into_iter().map(|item| Item::Built(Arc::new(item))).collect(),
        revision,
        continue_token: Some(token).filter(|token| !token.is_empty()),
        remaining,
    })
}

/// Members that were there more than once are not in what is sent on: what is to be said of them is said here.
fn check_repeated(request: &Request, target: &Target, object: &Value, validation: FieldValidation) -> Result<()> {
    let mut strict = StrictErrors::default();
    request.duplicates.iter().for_each(|path| strict.duplicate(path));
    match validation {
        FieldValidation::Strict if !strict.is_empty() => {
            let kind = &target.resolved.def.names.kind;
            Err(json::unhandled(&GroupVersionKind::of(object), kind, &strict))
        }
        FieldValidation::Warn => {
            strict.texts().iter().for_each(|text| request.warn(text.as_str()));
            Ok(())
        }
        FieldValidation::Strict | FieldValidation::Ignore => Ok(()),
    }
}

/// `299 - "text"`, as Kubernetes' servers say it.
fn take_warnings(headers: &HeaderMap, request: &Request) {
    let texts: VecDeque<&str> = headers
        .get_all("warning")
        .iter()
        .filter_map(|value| value.to_str().ok()?.strip_prefix("299 - \"")?.strip_suffix('"'))
        .collect();
    for text in texts {
        request.warn(text.replace("\\\"", "\"").replace("\\\\", "\\"));
    }
}

pub fn body(value: Option<&Value>) -> UpstreamBody {
    let bytes: Bytes = value.map(|body| body.to_string().into()).unwrap_or_default();
    whole(bytes)
}

pub fn whole(bytes: Bytes) -> UpstreamBody {
    Full::new(bytes)
        .map_err(|never| -> io::Error { match never {} })
        .boxed_unsync()
}
