//! The verbs of resources.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::request::Parts;
use http::{Response, StatusCode};
use machinery::json as text;
use machinery::object::{GroupVersionKind, ObjectExt};
use machinery::options::{self, DeleteOptions, GetOptions, IncludeObject, ListOptions, PatchKind, WriteOptions};
use machinery::protobuf;
use machinery::status::Status;
use machinery::strict::Warnings;
use permit::{Scope, Verb};
use registry::represent::{Form, ListBytes, Representation};
use registry::{Backend, Item, Outcome, Request, Subresource, Target};
use serde_json::{Value, json};

use super::input::{self, Decoded, PatchType};
use super::negotiate::{Format, Input, MEDIA_TYPES, Output, Transform, media_type};
use super::watch;
use crate::body::{Body, RequestBody};
use crate::record::Record;
use crate::refusal::{Refusal, Result};
use crate::stack::Stack;
use crate::stage::PermittedResource;

/// A request to a backend, ready to be made.
pub(super) struct Call<'a> {
    pub stack: &'a Stack,
    parts: &'a Parts,
    /// Decoded parameters of the URL.
    query: Vec<(String, String)>,
    output: Output,
    backend: Arc<dyn Backend>,
    pub request: Request,
    pub target: Target,
    verb: Verb,
    /// The permit's, for what is shown differently over all clusters.
    scope: Scope,
}

const WARNING: HeaderName = HeaderName::from_static("warning");

/// Answers one request.
pub(super) async fn serve(
    stack: &Stack,
    permitted: PermittedResource<'_>,
    parts: &Parts,
    body: RequestBody,
    record: &mut Record,
) -> Result<Response<Body>> {
    let mut call = Call::new(stack, permitted, parts)?;
    let outcome = match call.verb {
        Verb::Get => call.get().await,
        Verb::List => call.list().await,
        Verb::Watch => call.watch(record).await,
        _ => {
            let held = body.read(stack.options.body_bytes_max, &stack.bodies).await?;
            let body = held.bytes.clone();
            if stack.audit.wants_body(record, parts) {
                record.request_body = Some(body.clone());
            }
            match call.verb {
                Verb::Create => call.create(body).await,
                Verb::Update => call.update(body).await,
                Verb::Patch => call.patch(body).await,
                Verb::Delete => call.delete(body).await,
                _ => call.delete_collection(body).await,
            }
        }
    };
    let mut response = outcome.unwrap_or_else(|refusal| {
        record.refusal = Some(refusal.clone());
        refusal.into_response()
    });
    call.put_warnings(&mut response);
    Ok(response)
}

// === impl Call ===

impl<'a> Call<'a> {
    fn new(stack: &'a Stack, permitted: PermittedResource<'_>, parts: &'a Parts) -> Result<Self> {
        let PermittedResource {
            api,
            info,
            query,
            verb,
            scope,
            resolved,
            permit,
        } = permitted;
        let output = Output::negotiate(parts, &query)?;
        let def = resolved.def.clone();
        let subresource: Subresource = info.subresource.parse().map_err(|()| Status::no_such_resource())?;
        if subresource != Subresource::Main && !super::discovery::serves(&def, resolved.version, subresource, verb) {
            return Err(Refusal::from(Status::no_such_resource()));
        }
        let agent = parts
            .headers
            .get(USER_AGENT)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let mut request = Request::new(permit, api.user, options::field_manager("", agent));
        let deep = stack.options.deep_review_header.as_ref();
        request.deep = deep.is_some_and(|name| parts.headers.get(name).is_some_and(|value| value == "true"));
        if let Some(warning) = deprecation(&def, resolved.version) {
            request.warn(warning);
        }
        let backend = api.surface.backend(&resolved);
        // The name of a field selector is the authorizer's; the selector itself goes to the backend.
        let name = if info.is_named {
            info.name.into_owned()
        } else {
            String::new()
        };
        let namespace = if def.namespaced {
            info.namespace.to_owned()
        } else {
            String::new()
        };
        let target = Target {
            resolved,
            subresource,
            namespace,
            name,
        };
        let query = query
            .pairs()
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        Ok(Self {
            stack,
            parts,
            query,
            output,
            backend,
            request,
            target,
            verb,
            scope,
        })
    }

    fn options(&self) -> options::Query<'_> {
        options::Query(&self.query)
    }

    async fn get(&self) -> Result<Response<Body>> {
        let item = self
            .backend
            .get(&self.request, &self.target, &GetOptions::parse(self.options()))
            .await?;
        self.show(StatusCode::OK, &item)
    }

    async fn list(&self) -> Result<Response<Body>> {
        let options = ListOptions::parse(self.options(), false)?;
        let representation = self.representation()?;
        let list = self.backend.list(&self.request, &self.target, &options).await?;
        let def = &self.target.resolved.def;
        // Tenants may make any number of resources: theirs share one series.
        let of = match self.stack.is_known(def) {
            true => [&*def.group, "", def.names.plural.as_str()],
            false => ["custom", "", "custom"],
        };
        self.stack.metrics.cache_lists.with(&of).inc();
        match representation.list_bytes(list)? {
            ListBytes::Chunks(chunks) if self.output.format == Format::Json => {
                let len = chunks.bytes_left();
                Ok(self.response(StatusCode::OK, Body::chunks(chunks, len)))
            }
            bytes => self.respond(StatusCode::OK, bytes.into_whole()),
        }
    }

    async fn watch(&self, record: &Record) -> Result<Response<Body>> {
        // Only JSON has a form for streams.
        if self.output.format == Format::Yaml {
            return Err(Refusal::from(Status::not_acceptable(&["application/json"])));
        }
        let mut options = ListOptions::parse(self.options(), true)?;
        if !self.target.name.is_empty() {
            options.select_name(&self.target.name)?;
        }
        let representation = self.representation()?;
        let stream = self.backend.watch(&self.request, &self.target, &options).await?;
        Ok(watch::respond(self.stack, stream, representation, &options, record))
    }

    async fn create(&mut self, body: Bytes) -> Result<Response<Body>> {
        let input = self.input()?;
        let options = WriteOptions::create(self.options())?;
        let object = self.object(input, &body, &options)?;
        let outcome = self
            .backend
            .create(&self.request, &self.target, object, &options)
            .await?;
        self.show(StatusCode::CREATED, &outcome.item)
    }

    async fn update(&mut self, body: Bytes) -> Result<Response<Body>> {
        let input = self.input()?;
        let options = WriteOptions::update(self.options())?;
        let object = self.object(input, &body, &options)?;
        let outcome = self
            .backend
            .update(&self.request, &self.target, object, &options)
            .await?;
        self.show(written(&outcome), &outcome.item)
    }

    async fn patch(&mut self, body: Bytes) -> Result<Response<Body>> {
        let kind = PatchType::negotiate(self.parts, &self.target.resolved.def)?;
        let of_options = if kind == PatchType::Apply {
            PatchKind::Apply
        } else {
            PatchKind::Other
        };
        let options = WriteOptions::patch(self.options(), of_options)?;
        let (patch, duplicates) = kind.read(&body)?;
        self.request.duplicates = duplicates;
        let outcome = self.backend.patch(&self.request, &self.target, patch, &options).await?;
        self.show(written(&outcome), &outcome.item)
    }

    async fn delete(&self, body: Bytes) -> Result<Response<Body>> {
        let options = self.delete_options(&body)?;
        let outcome = self.backend.delete(&self.request, &self.target, &options).await?;
        if outcome.gone {
            return self.respond_value(StatusCode::OK, self.deleted(&outcome.item)?);
        }
        // Kubernetes: "accepted" only where a client of old asked for cascading and the object stays for now.
        let code = match options.orphan_dependents {
            Some(false) => StatusCode::ACCEPTED,
            _ => StatusCode::OK,
        };
        self.show(code, &outcome.item)
    }

    async fn delete_collection(&self, body: Bytes) -> Result<Response<Body>> {
        let list = ListOptions::parse(self.options(), false)?;
        let options = self.delete_options(&body)?;
        let representation = self.representation()?;
        let deleted = self
            .backend
            .delete_collection(&self.request, &self.target, &list, &options)
            .await?;
        self.respond(StatusCode::OK, representation.list(&deleted)?)
    }

    /// The object of a create or update.
    fn object(&mut self, input: Input, body: &[u8], options: &WriteOptions) -> Result<Value> {
        let expected = self.expected_kind();
        let def = &self.target.resolved.def;
        let Decoded {
            value,
            duplicates,
            strict,
        } = match self.target.subresource {
            // These have kinds of their own; what may be in them is the registry's to say.
            Subresource::Scale | Subresource::Token => Decoded::read(input, body, &expected)
                .map_err(|error| text::unrecognized(&expected.kind, &error, body))?,
            _ => input::object(input, body, def, &expected)?,
        };
        let mut warnings = Vec::new();
        input::check_strict(&strict, options.field_validation, &expected, &mut warnings)?;
        warnings.into_iter().for_each(|warning| self.request.warn(warning));
        self.request.duplicates = duplicates;
        Ok(value)
    }

    /// How the object of a create or update is written. Custom resources have no protobuf form, as in Kubernetes.
    fn input(&self) -> Result<Input> {
        let input = Input::negotiate(self.parts)?;
        let own_kind = matches!(self.target.subresource, Subresource::Scale | Subresource::Token);
        let is_known = (own_kind || !self.target.resolved.def.is_custom()) && protobuf::knows(&self.expected_kind());
        if input == Input::Protobuf && !is_known {
            return Err(Refusal::from(Status::unsupported_media_type(&MEDIA_TYPES)));
        }
        Ok(input)
    }

    fn expected_kind(&self) -> GroupVersionKind {
        match self.target.subresource {
            Subresource::Scale => GroupVersionKind::new("autoscaling", "v1", "Scale"),
            Subresource::Token => GroupVersionKind::new("authentication.k8s.io", "v1", "TokenRequest"),
            _ => self
                .target
                .resolved
                .def
                .group_version_kind(self.target.resolved.version),
        }
    }

    fn delete_options(&self, body: &[u8]) -> Result<DeleteOptions> {
        if body.is_empty() {
            return Ok(DeleteOptions::parse(self.options(), None)?);
        }
        // Of every group: in protobuf even stock clients of custom resources send them.
        let expected = GroupVersionKind::new("", "v1", "DeleteOptions");
        let value = Decoded::read(Input::negotiate(self.parts)?, body, &expected)
            .map_err(|error| Status::bad_request(error.to_string()))?
            .value;
        if !matches!(value.kind(), "" | "DeleteOptions") && media_type(self.parts) == protobuf::MEDIA_TYPE {
            return Err(Refusal::from(Status::bad_request(
                "the body is not DeleteOptions in protobuf",
            )));
        }
        Ok(DeleteOptions::parse(self.options(), Some(&value))?)
    }

    /// The Status of a deletion that is done.
    fn deleted(&self, item: &Item) -> Result<Value> {
        let def = &self.target.resolved.def;
        let uid = match item {
            Item::Stored(entry) => entry.uid().to_owned(),
            Item::Built(object) => object.uid().to_owned(),
        };
        let mut details = json!({ "name": self.target.name, "kind": def.names.plural });
        for (name, value) in [("group", &*def.group), ("uid", &uid)] {
            if !value.is_empty() {
                details[name] = value.into();
            }
        }
        Ok(json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details }))
    }

    fn representation(&self) -> Result<Representation> {
        let form = match self.output.transform {
            // Scales and tokens are kinds of their own, which the resource's columns do not fit.
            _ if matches!(self.target.subresource, Subresource::Scale | Subresource::Token) => Form::Whole,
            None => Form::Whole,
            Some(Transform::Metadata(version)) => Form::Metadata(version),
            Some(Transform::Table(version)) => {
                let include = IncludeObject::parse(self.options())?;
                Form::Table { version, include }
            }
        };
        let now = i128::from(self.stack.env.clock.now().as_nanos());
        let representation = Representation::new(self.target.resolved.clone(), form, now);
        // kcp: what of all clusters is shown as metadata alone says what it was.
        Ok(match (&self.scope, form) {
            (Scope::All, Form::Metadata(_)) => representation.naming_original(),
            _ => representation,
        })
    }

    fn show(&self, code: StatusCode, item: &Item) -> Result<Response<Body>> {
        let object = self.representation()?.object(item)?;
        self.respond(code, object)
    }

    fn respond_value(&self, code: StatusCode, value: Value) -> Result<Response<Body>> {
        self.respond(code, value.to_string().into_bytes())
    }

    /// `json` in the format that was agreed on.
    fn respond(&self, code: StatusCode, json: Vec<u8>) -> Result<Response<Body>> {
        let body = formatted(json, self.output.format)?;
        Ok(self.response(code, Body::full(body)))
    }

    fn response(&self, code: StatusCode, body: Body) -> Response<Body> {
        let mut response = Response::new(body);
        *response.status_mut() = code;
        let headers = response.headers_mut();
        // The stack and hyper add theirs: one allocation for all.
        headers.reserve(10);
        headers.insert(CONTENT_TYPE, self.output.format.content_type());
        response
    }

    fn put_warnings(&self, response: &mut Response<Body>) {
        let texts = std::mem::take(&mut *self.request.warnings.lock());
        if texts.is_empty() {
            return;
        }
        let mut warnings = Warnings::default();
        texts.into_iter().for_each(|text| warnings.add(text));
        for header in warnings.headers() {
            if let Ok(value) = HeaderValue::try_from(header) {
                response.headers_mut().append(WARNING, value);
            }
        }
    }
}

fn written(outcome: &Outcome) -> StatusCode {
    if outcome.created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    }
}

/// JSON as it is, or rewritten for people.
pub(super) fn formatted(json: Vec<u8>, format: Format) -> Result<Bytes> {
    let tree = || text::decode_value(&json).map_err(|error| Refusal::from(Status::internal(error)));
    Ok(match format {
        Format::Json => json.into(),
        Format::Pretty => serde_json::to_vec_pretty(&tree()?).unwrap_or(json).into(),
        Format::Yaml => machinery::yaml::encode(&tree()?).into(),
    })
}

/// What is said of a version that is on its way out.
fn deprecation(def: &registry::ResourceDef, version: usize) -> Option<String> {
    let version = def.versions.get(version).filter(|version| version.deprecated)?;
    Some(version.deprecation_warning.clone().unwrap_or_else(|| {
        let name = registry_group_version(&def.group, &version.name);
        format!("{name} {} is deprecated", def.names.kind)
    }))
}

fn registry_group_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}
