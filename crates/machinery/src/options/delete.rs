//! Options of deletes, from the body or the query.

use serde_json::Value;

use super::write::check_dry_run;
use super::{Query, invalid_options};
use crate::field::{FieldError, FieldErrorKind, Path};
use crate::status::Status;
use crate::text::quote;

/// What becomes of the objects owned by a deleted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PropagationPolicy {
    /// They lose the owner.
    Orphan,
    /// They are deleted afterwards.
    Background,
    /// They are deleted first.
    Foreground,
}

/// What must hold of the stored object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preconditions {
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

/// `DeleteOptions`, validated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Negative reads as 1, as in Kubernetes.
    pub grace_period_seconds: Option<i64>,
    pub preconditions: Preconditions,
    /// Deprecated form of `propagation_policy`; never both.
    pub orphan_dependents: Option<bool>,
    pub propagation_policy: Option<PropagationPolicy>,
    pub dry_run: bool,
}

/// What has been read but not validated.
#[derive(Default)]
struct Given {
    grace_period_seconds: Option<i64>,
    preconditions: Preconditions,
    orphan_dependents: Option<bool>,
    propagation_policy: Option<String>,
    dry_run: Vec<String>,
}

// === impl DeleteOptions ===

impl DeleteOptions {
    /// Reads and validates. As in Kubernetes, a body replaces the query altogether; `None` stands for an empty body.
    pub fn parse(query: Query<'_>, body: Option<&Value>) -> Result<Self, Status> {
        match body {
            Some(body) => Given::from_body(body)?.validate(),
            None => Given::from_query(query)?.validate(),
        }
    }
}

// === impl Given ===

impl Given {
    fn from_query(query: Query<'_>) -> Result<Self, Status> {
        let text = |name: &str| query.first(name).filter(|value| !value.is_empty()).map(str::to_owned);
        Ok(Self {
            grace_period_seconds: query.number("gracePeriodSeconds")?,
            preconditions: Preconditions {
                uid: text("uid"),
                resource_version: text("resourceVersion"),
            },
            orphan_dependents: query.flag("orphanDependents"),
            propagation_policy: query.first("propagationPolicy").map(str::to_owned),
            dry_run: query.all("dryRun").map(str::to_owned).collect(),
        })
    }

    fn from_body(body: &Value) -> Result<Self, Status> {
        let members = match body {
            Value::Object(members) => members,
            _ => {
                return Err(Status::bad_request(
                    "decoded object cannot be converted to DeleteOptions",
                ));
            }
        };
        if !matches!(
            members.get("kind").and_then(Value::as_str),
            None | Some("" | "DeleteOptions")
        ) {
            return Err(Status::bad_request(
                "decoded object cannot be converted to DeleteOptions",
            ));
        }
        let get = |name: &str| members.get(name).filter(|value| !value.is_null());
        let preconditions = match get("preconditions") {
            None => Preconditions::default(),
            Some(value @ Value::Object(_)) => Preconditions {
                uid: text(value.get("uid"), "Preconditions.preconditions.uid", "types.UID")?,
                resource_version: text(
                    value.get("resourceVersion"),
                    "Preconditions.preconditions.resourceVersion",
                    "string",
                )?,
            },
            Some(other) => return Err(wrong_type(other, "DeleteOptions.preconditions", "v1.Preconditions")),
        };
        let dry_run = match get("dryRun") {
            None => Vec::new(),
            Some(Value::Array(items)) => {
                let texts = items
                    .iter()
                    .map(|item| text(Some(item), "DeleteOptions.dryRun", "string"));
                texts
                    .map(|text| text.map(Option::unwrap_or_default))
                    .collect::<Result<_, _>>()?
            }
            Some(other) => return Err(wrong_type(other, "DeleteOptions.dryRun", "[]string")),
        };
        Ok(Self {
            grace_period_seconds: get("gracePeriodSeconds")
                .map(|value| {
                    value
                        .as_i64()
                        .ok_or_else(|| wrong_type(value, "DeleteOptions.gracePeriodSeconds", "int64"))
                })
                .transpose()?,
            preconditions,
            orphan_dependents: get("orphanDependents")
                .map(|value| {
                    value
                        .as_bool()
                        .ok_or_else(|| wrong_type(value, "DeleteOptions.orphanDependents", "bool"))
                })
                .transpose()?,
            propagation_policy: text(
                get("propagationPolicy"),
                "DeleteOptions.propagationPolicy",
                "v1.DeletionPropagation",
            )?,
            dry_run,
        })
    }

    fn validate(self) -> Result<DeleteOptions, Status> {
        let at = Path::new("propagationPolicy");
        let mut errors = Vec::new();
        let mut propagation_policy = None;
        if let Some(given) = &self.propagation_policy {
            if self.orphan_dependents.is_some() {
                let why = "orphanDependents and deletionPropagation cannot be both set";
                errors.push(FieldError::new(FieldErrorKind::Invalid, &at, Some(quote(given)), why));
            }
            propagation_policy = match given.as_str() {
                "Orphan" => Some(PropagationPolicy::Orphan),
                "Background" => Some(PropagationPolicy::Background),
                "Foreground" => Some(PropagationPolicy::Foreground),
                other => {
                    let supported = ["Foreground", "Background", "Orphan", "nil"];
                    errors.push(FieldError::not_supported(&at, &other.into(), &supported));
                    None
                }
            };
        }
        let dry_run: Vec<&str> = self.dry_run.iter().map(String::as_str).collect();
        errors.extend(check_dry_run(&dry_run));
        invalid_options("DeleteOptions", &errors)?;
        Ok(DeleteOptions {
            grace_period_seconds: self
                .grace_period_seconds
                .map(|seconds| if seconds < 0 { 1 } else { seconds }),
            preconditions: self.preconditions,
            orphan_dependents: self.orphan_dependents,
            propagation_policy,
            dry_run: !self.dry_run.is_empty(),
        })
    }
}

fn text(value: Option<&Value>, field: &str, go_type: &str) -> Result<Option<String>, Status> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(wrong_type(other, field, go_type)),
    }
}

fn wrong_type(value: &Value, field: &str, go_type: &str) -> Status {
    let found = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(number) if go_type == "int64" => format!("number {number}"),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    };
    Status::bad_request(format!(
        "json: cannot unmarshal {found} into Go struct field {field} of type {go_type}"
    ))
}
