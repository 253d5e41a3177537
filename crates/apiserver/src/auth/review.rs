//! Kinds that are questions: nothing of them is stored, the answer is in the response's `status`.

mod access;
mod token_request;
mod token_review;

use std::sync::Arc;

use async_trait::async_trait;
use machinery::json;
use machinery::object::{GroupVersionKind, ObjectExt};
use machinery::options::{DeleteOptions, FieldValidation, GetOptions, ListOptions, WriteOptions};
use machinery::status::{Result, Status};
use machinery::strict::StrictErrors;
use machinery::time::format_seconds;
use permit::Verb;
use registry::{Backend, EventStream, Item, ItemList, Outcome, Patch, Request, Target};
use serde_json::{Value, json};

use super::{Chain, Now, SharedAuthorizer};

pub use token_request::AccountBackend;

/// Serves the kinds of authorization.k8s.io and authentication.k8s.io: a [`registry::Surface`] answers with it for their
/// resources.
pub struct ReviewBackend {
    authorizer: SharedAuthorizer,
    /// Whose tokens TokenReviews are about. `None`: nobody's.
    tokens: Option<Arc<Chain>>,
    now: Now,
}

// === impl ReviewBackend ===

impl ReviewBackend {
    pub fn new(authorizer: SharedAuthorizer, tokens: Option<Arc<Chain>>, now: Now) -> Self {
        Self {
            authorizer,
            tokens,
            now,
        }
    }

    /// The resources (group, plural) that it serves.
    pub const RESOURCES: [(&'static str, &'static str); 6] = [
        ("authorization.k8s.io", "subjectaccessreviews"),
        ("authorization.k8s.io", "localsubjectaccessreviews"),
        ("authorization.k8s.io", "selfsubjectaccessreviews"),
        ("authorization.k8s.io", "selfsubjectrulesreviews"),
        ("authentication.k8s.io", "selfsubjectreviews"),
        ("authentication.k8s.io", "tokenreviews"),
    ];

    async fn answer(&self, request: &Request, target: &Target, review: Value) -> Result<Value> {
        let asked = access::Asked {
            request,
            namespace: &target.namespace,
            authorizer: &*self.authorizer,
        };
        let def = &target.resolved.def;
        match (&*def.group, def.names.plural.as_str()) {
            ("authorization.k8s.io", "subjectaccessreviews") => asked.subject(review).await,
            ("authorization.k8s.io", "localsubjectaccessreviews") => asked.local_subject(review).await,
            ("authorization.k8s.io", "selfsubjectaccessreviews") => asked.own(review).await,
            ("authorization.k8s.io", "selfsubjectrulesreviews") => asked.own_rules(review).await,
            ("authentication.k8s.io", "selfsubjectreviews") => Ok(self.own_user(request, review)),
            ("authentication.k8s.io", "tokenreviews") => {
                token_review::answer(self.tokens.as_deref(), request.permit.scope(), review).await
            }
            _ => Err(Status::no_such_resource()),
        }
    }

    /// SelfSubjectReview: after impersonation.
    fn own_user(&self, request: &Request, mut review: Value) -> Value {
        let created = format_seconds(i128::from((self.now)()) * 1_000_000_000);
        review.set_at(&["metadata", "creationTimestamp"], created.into());
        let user = serde_json::to_value(&*request.user).unwrap_or_default();
        review.set_at(&["status"], json!({ "userInfo": user }));
        review
    }
}

#[async_trait]
impl Backend for ReviewBackend {
    async fn create(
        &self,
        request: &Request,
        target: &Target,
        mut object: Value,
        options: &WriteOptions,
    ) -> Result<Outcome> {
        conform(request, target, &mut object, options.field_validation)?;
        let answer = self.answer(request, target, object).await?;
        Ok(built(answer))
    }

    async fn get(&self, _request: &Request, target: &Target, _options: &GetOptions) -> Result<Item> {
        Err(unsupported(target, Verb::Get))
    }

    async fn list(&self, _request: &Request, target: &Target, _options: &ListOptions) -> Result<ItemList> {
        Err(unsupported(target, Verb::List))
    }

    async fn watch(&self, _request: &Request, target: &Target, _options: &ListOptions) -> Result<Box<dyn EventStream>> {
        Err(unsupported(target, Verb::Watch))
    }

    async fn update(&self, _: &Request, target: &Target, _: Value, _: &WriteOptions) -> Result<Outcome> {
        Err(unsupported(target, Verb::Update))
    }

    async fn patch(&self, _: &Request, target: &Target, _: Patch, _: &WriteOptions) -> Result<Outcome> {
        Err(unsupported(target, Verb::Patch))
    }

    async fn delete(&self, _request: &Request, target: &Target, _options: &DeleteOptions) -> Result<Outcome> {
        Err(unsupported(target, Verb::Delete))
    }

    async fn delete_collection(
        &self,
        _request: &Request,
        target: &Target,
        _list: &ListOptions,
        _options: &DeleteOptions,
    ) -> Result<ItemList> {
        Err(unsupported(target, Verb::DeleteCollection))
    }
}

fn unsupported(target: &Target, verb: Verb) -> Status {
    Status::method_not_allowed(&target.resolved.def.group_resource(), verb.as_str())
}

fn built(answer: Value) -> Outcome {
    Outcome {
        item: Item::Built(Arc::new(answer)),
        created: true,
        gone: false,
    }
}

/// The body as its Go type would have it; what does not belong is refused or warned of.
fn conform(request: &Request, target: &Target, object: &mut Value, validation: FieldValidation) -> Result<()> {
    if !object.is_object() {
        return Err(Status::bad_request("the object provided is not a JSON object"));
    }
    let (def, version) = (&target.resolved.def, target.resolved.version);
    let own = def.group_version_kind(version);
    object.set_at(&["apiVersion"], def.group_version(version).to_string().into());
    if object.kind().is_empty() {
        object.set_at(&["kind"], own.kind.as_str().into());
    }
    let found = GroupVersionKind::of(object);
    let refuse = |why: &dyn std::fmt::Display| json::unhandled(&found, &own.kind, why);
    let mut strict = StrictErrors::default();
    request.duplicates.iter().for_each(|path| strict.duplicate(path));
    let shape = def
        .versions
        .get(version)
        .and_then(|version| version.schema.shape.as_ref());
    if let Some(shape) = shape {
        shape.fit(object, &mut strict).map_err(|error| refuse(&error))?;
    }
    match validation {
        _ if strict.is_empty() => {}
        FieldValidation::Strict => return Err(refuse(&strict)),
        FieldValidation::Warn => strict.texts().iter().for_each(|text| request.warn(text.as_str())),
        FieldValidation::Ignore => {}
    }
    // Answers begin anew; and always have their parts, as Go's structures do.
    for part in ["metadata", "spec"] {
        if !object.get(part).is_some_and(Value::is_object) {
            object.set_at(&[part], json!({}));
        }
    }
    object.remove_at(&["status"]);
    Ok(())
}

#[cfg(test)]
mod tests;
