//! Who may do what: the reviews of authorization.k8s.io.

use std::collections::BTreeMap;

use machinery::field::{FieldError, Path};
use machinery::object::ObjectExt;
use machinery::selector::{FieldSelector, LabelSelector};
use machinery::status::{Result, Status};
use machinery::user::{MASTERS, User};
use permit::{Access, Decision};
use registry::Request;
use serde_json::{Value, json};

use crate::auth::Authorizer;

const GROUP: &str = "authorization.k8s.io";

/// A question, and who is asked.
pub(super) struct Asked<'a> {
    pub request: &'a Request,
    /// Of the URL.
    pub namespace: &'a str,
    pub authorizer: &'a dyn Authorizer,
}

// === impl Asked ===

impl Asked<'_> {
    /// SubjectAccessReview.
    pub async fn subject(&self, review: Value) -> Result<Value> {
        let mut errors = subject_errors(&review);
        errors.extend(metadata_error(&review, &[], "must be empty"));
        refuse(&errors)?;
        // On behalf of a component that has let somebody in by rules of its own. Never about reviews themselves.
        let is_deep = self.request.deep && self.request.user.in_group(MASTERS);
        let user = subject_of(&review);
        self.decide(review, &user, is_deep).await
    }

    /// LocalSubjectAccessReview: of one namespace, so that its admins may ask.
    pub async fn local_subject(&self, review: Value) -> Result<Value> {
        let mut errors = subject_errors(&review);
        errors.extend(metadata_error(
            &review,
            &["namespace"],
            "must be empty except for namespace",
        ));
        let namespace = match review.namespace() {
            "" => self.namespace,
            own => own,
        };
        let asked = review
            .str_at(&["spec", "resourceAttributes", "namespace"])
            .unwrap_or_default();
        if review.at(&["spec", "resourceAttributes"]).is_some() && asked != namespace {
            let path = Path::new("spec.resourceAttributes.namespace");
            errors.push(FieldError::invalid(
                &path,
                &asked.into(),
                "must match metadata.namespace",
            ));
        }
        if let Some(attributes) = non_resource(&review) {
            let path = Path::new("spec.nonResourceAttributes");
            errors.push(FieldError::invalid(
                &path,
                &attributes,
                "disallowed on this kind of request",
            ));
        }
        refuse(&errors)?;
        if namespace != self.namespace {
            let text = format!(
                "spec.resourceAttributes.namespace must match namespace: {}",
                self.namespace
            );
            return Err(Status::bad_request(text));
        }
        let user = subject_of(&review);
        self.decide(review, &user, false).await
    }

    /// SelfSubjectAccessReview.
    pub async fn own(&self, review: Value) -> Result<Value> {
        let mut errors = attribute_errors(&review);
        errors.extend(metadata_error(&review, &[], "must be empty"));
        refuse(&errors)?;
        self.decide(review, &self.request.user, false).await
    }

    /// SelfSubjectRulesReview.
    pub async fn own_rules(&self, mut review: Value) -> Result<Value> {
        let namespace = review.str_at(&["spec", "namespace"]).unwrap_or_default();
        if namespace.is_empty() {
            return Err(Status::bad_request("no namespace on request"));
        }
        let scope = self.request.permit.scope();
        let rules = self.authorizer.rules(&self.request.user, scope, namespace).await;
        let mut status = json!({
            "resourceRules": rules.resource,
            "nonResourceRules": rules.non_resource,
            "incomplete": rules.incomplete,
        });
        if !rules.evaluation_error.is_empty() {
            status["evaluationError"] = rules.evaluation_error.into();
        }
        // Kubernetes answers with a new object, which does not repeat the question.
        review.set_at(&["metadata"], json!({}));
        review.set_at(&["spec"], json!({}));
        review.set_at(&["status"], status);
        Ok(review)
    }

    async fn decide(&self, mut review: Value, user: &User, is_deep: bool) -> Result<Value> {
        let mut access = access_of(&review);
        access.scope = Some(self.request.permit.scope().clone());
        access.deep = is_deep && access.group != GROUP;
        let decision = self.authorizer.authorize(user, &access).await;
        // As kcp says it: the real reasons are in the audit log.
        let mut status = match decision {
            Decision::Allow { .. } => json!({"allowed": true, "reason": "access granted"}),
            Decision::Deny { .. } => json!({"allowed": false, "denied": true, "reason": "access denied"}),
            Decision::NoOpinion { .. } | Decision::Unavailable { .. } => {
                json!({"allowed": false, "reason": "access denied"})
            }
        };
        let ignored = ignored_selectors(&review);
        if !ignored.is_empty() {
            status["evaluationError"] = ignored.join("; ").into();
        }
        review.set_at(&["status"], status);
        Ok(review)
    }
}

fn refuse(errors: &[FieldError]) -> Result<()> {
    match errors {
        [] => Ok(()),
        // Kubernetes names no kind here: its internal objects have none.
        some => Err(Status::invalid(GROUP, "", "", some)),
    }
}

fn strings(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn subject_of(review: &Value) -> User {
    let spec = |name: &str| review.at(&["spec", name]);
    let text = |name: &str| spec(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let extra = spec("extra").and_then(Value::as_object).into_iter().flatten();
    let extra: BTreeMap<_, _> = extra
        .map(|(key, values)| (key.clone(), strings(Some(values))))
        .collect();
    User {
        name: text("user"),
        uid: text("uid"),
        groups: strings(spec("groups")),
        extra,
    }
}

fn access_of(review: &Value) -> Access {
    if let Some(attributes) = review.at(&["spec", "resourceAttributes"]) {
        let text = |name: &str| attributes.str_at(&[name]).unwrap_or_default().to_owned();
        return Access {
            verb: text("verb"),
            is_resource: true,
            group: text("group"),
            version: match text("version") {
                none if none.is_empty() => "*".to_owned(),
                version => version,
            },
            resource: text("resource"),
            subresource: text("subresource"),
            namespace: text("namespace"),
            name: text("name"),
            ..Access::default()
        };
    }
    let text = |name: &str| {
        review
            .str_at(&["spec", "nonResourceAttributes", name])
            .unwrap_or_default()
    };
    Access {
        verb: text("verb").to_owned(),
        path: text("path").to_owned(),
        ..Access::default()
    }
}

/// As Go prints its internal structure, which has no JSON names.
fn non_resource(review: &Value) -> Option<Value> {
    let attributes = review
        .at(&["spec", "nonResourceAttributes"])
        .filter(|value| !value.is_null())?;
    let text = |name: &str| attributes.str_at(&[name]).unwrap_or_default();
    Some(json!({"Path": text("path"), "Verb": text("verb")}))
}

fn attribute_errors(review: &Value) -> Vec<FieldError> {
    let spec = Path::new("spec");
    let resource = review
        .at(&["spec", "resourceAttributes"])
        .filter(|value| !value.is_null());
    let mut errors = Vec::new();
    match (resource, non_resource(review)) {
        (Some(_), Some(attributes)) => {
            let why = "cannot be specified in combination with resourceAttributes";
            errors.push(FieldError::invalid(
                &spec.child("nonResourceAttributes"),
                &attributes,
                why,
            ));
        }
        (None, None) => {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            errors.push(FieldError::invalid(
                &spec.child("resourceAttributes"),
                &Value::Null,
                why,
            ));
        }
        _ => {}
    }
    for name in ["fieldSelector", "labelSelector"] {
        let Some(selector) = resource
            .and_then(|resource| resource.get(name))
            .filter(|value| value.is_object())
        else {
            continue;
        };
        let path = spec.child("resourceAttributes").child(name);
        let raw = selector.str_at(&["rawSelector"]).unwrap_or_default();
        let has_requirements = selector
            .get("requirements")
            .and_then(Value::as_array)
            .is_some_and(|list| !list.is_empty());
        if !raw.is_empty() && has_requirements {
            let why = "may not specified at the same time as requirements";
            errors.push(FieldError::invalid(&path.child("rawSelector"), &raw.into(), why));
        }
        if raw.is_empty() && !has_requirements {
            let why = format!("when {path} is specified, requirements or rawSelector is required");
            errors.push(FieldError::required(&path.child("requirements"), why));
        }
    }
    errors
}

fn subject_errors(review: &Value) -> Vec<FieldError> {
    let mut errors = attribute_errors(review);
    let user = subject_of(review);
    if user.name.is_empty() && user.groups.is_empty() {
        let path = Path::new("spec").child("user");
        errors.push(FieldError::invalid(
            &path,
            &"".into(),
            "at least one of user or group must be specified",
        ));
    }
    errors
}

/// Reviews are not objects: they have no names, labels or the like.
fn metadata_error(review: &Value, allowed: &[&str], why: &str) -> Option<FieldError> {
    let is_set = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => true,
    };
    let meta = review.meta()?;
    let mut others = meta.iter().filter(|(name, value)| {
        let name = name.as_str();
        name != "managedFields" && !allowed.contains(&name) && is_set(value)
    });
    others.next()?;
    let value = Value::Object(meta.clone());
    Some(FieldError::invalid(&Path::new("metadata"), &value, why))
}

/// Selectors narrow what is asked; those that cannot be read are left out, which asks for more.
fn ignored_selectors(review: &Value) -> Vec<String> {
    let raw = |name: &str| {
        review
            .str_at(&["spec", "resourceAttributes", name, "rawSelector"])
            .unwrap_or_default()
    };
    let unread = [
        ("fieldSelector", FieldSelector::parse(raw("fieldSelector")).is_err()),
        ("labelSelector", LabelSelector::parse(raw("labelSelector")).is_err()),
    ];
    let unread = unread.into_iter().filter(|(_, unread)| *unread);
    unread
        .map(|(name, _)| format!("spec.resourceAttributes.{name} ignored due to parse error"))
        .collect()
}
