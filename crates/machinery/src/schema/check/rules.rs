//! Checks of `x-kubernetes-validations`: their texts, that they compile, that they are not too costly.

use std::sync::Arc;

use serde_json::Value;

use super::props::{Checks, Context};
use super::{Props, text_value};
use crate::cel::{RULE_ESTIMATE_MAX, SCHEMA_ESTIMATE_MAX, repetitions_max};
use crate::field::{FieldError, FieldErrorKind, Path};
use crate::schema::field_path;
use crate::schema::rules::{RuleCheck, check_rule};
use crate::schema::structural::{RuleText, Schema};

const KEYWORD: &str = "x-kubernetes-validations";
const REASONS: [&str; 4] = [
    "FieldValueDuplicate",
    "FieldValueForbidden",
    "FieldValueInvalid",
    "FieldValueRequired",
];
/// How many of the most expensive rules are named when all together cost too much.
const NAMED_MAX: usize = 4;

/// What all rules of a schema may cost together.
#[derive(Default)]
pub(super) struct Expense {
    total: u64,
    /// The most expensive first.
    highest: Vec<(Path, u64)>,
}

// === impl Expense ===

impl Expense {
    fn add(&mut self, path: &Path, cost: u64) {
        self.total = self.total.saturating_add(cost);
        if cost >= SCHEMA_ESTIMATE_MAX / 100 {
            self.highest.push((path.clone(), cost));
            self.highest.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
            self.highest.truncate(NAMED_MAX);
        }
    }

    /// The errors if the total is too high; `path` is the schema's.
    pub fn errors(&self, path: &Path) -> Vec<FieldError> {
        if self.total <= SCHEMA_ESTIMATE_MAX {
            return Vec::new();
        }
        let detail = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
        let named = self.highest.iter().map(|(path, _)| FieldError::forbidden(path, detail));
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        let text = exceeds(what, self.total, SCHEMA_ESTIMATE_MAX);
        named.chain([FieldError::forbidden(path, text)]).collect()
    }
}

fn exceeds(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and \
         maxLength where arrays, maps, and strings are declared)"
    )
}

// === impl Checks ===

impl Checks {
    /// `before`: how many errors of schema there were when the node was entered.
    pub(super) fn rules(
        &mut self,
        json: &Value,
        schema: Props<'_>,
        root: bool,
        path: &Path,
        context: &Context,
        before: usize,
    ) {
        let Some(list) = schema.get(KEYWORD).and_then(Value::as_array) else {
            return;
        };
        let parsed = self.pool.parse(json);
        let rules = || parsed.rules.iter().enumerate();
        for ((index, rule), raw) in rules().zip(list) {
            self.rule_text(raw, rule, &parsed, &path.child(KEYWORD).index(index));
        }
        // Rules against a schema with errors of its own would yield errors that tell nothing.
        if self.schema.len() > before || !context.rules {
            return;
        }
        for (index, rule) in rules() {
            let check = check_rule(rule, &parsed, root || schema.embedded());
            let path = path.child(KEYWORD).index(index);
            self.cost(&check, &parsed, &path, context);
            self.compiled(rule, check, &path, context);
        }
    }

    fn rule_text(&mut self, raw: &Value, rule: &RuleText, schema: &Arc<Schema>, path: &Path) {
        let text = |name: &str| raw.get(name).and_then(Value::as_str).unwrap_or_default();
        let blank = |name: &str| !text(name).is_empty() && text(name).trim().is_empty();
        let broken = |text: &str| text.contains(['\n', '\r']);
        let invalid = |name: &str, why: &str| FieldError::invalid(&path.child(name), &text_value(text(name)), why);
        let required = |name: &str, why: &str| FieldError::required(&path.child(name), why);
        let (trimmed, message) = (rule.rule.trim(), text("message").trim());
        let mut errors = Vec::new();
        if trimmed.is_empty() {
            errors.push(required("rule", "rule is not specified"));
        } else if blank("message") {
            errors.push(invalid("message", "must be non-empty if specified"));
        } else if broken(message) {
            errors.push(invalid("message", "must not contain line breaks"));
        } else if broken(trimmed) && message.is_empty() {
            errors.push(required(
                "message",
                "message must be specified if rule contains line breaks",
            ));
        }
        if blank("messageExpression") {
            errors.push(required(
                "messageExpression",
                "messageExpression must be non-empty if specified",
            ));
        }
        if let Some(reason) = rule.reason.as_deref().filter(|reason| !REASONS.contains(reason)) {
            errors.push(FieldError::not_supported(
                &path.child("reason"),
                &text_value(reason),
                &REASONS,
            ));
        }
        if blank("fieldPath") {
            errors.push(invalid("fieldPath", "must be non-empty if specified"));
        }
        if broken(text("fieldPath")) {
            errors.push(invalid("fieldPath", "must not contain line breaks"));
        }
        if !text("fieldPath").is_empty() && field_path::normalize(text("fieldPath"), schema).is_err() {
            errors.push(invalid("fieldPath", "must be a valid path"));
        }
        self.schema.extend(errors);
    }

    fn cost(&mut self, check: &RuleCheck, schema: &Schema, path: &Path, context: &Context) {
        let times = context.cardinality.unwrap_or_else(|| repetitions_max(schema));
        let rule_cost = check.rule_cost.saturating_mul(times);
        for (name, what, cost) in [
            ("rule", "estimated rule cost", rule_cost),
            (
                "messageExpression",
                "estimated messageExpression cost",
                check.message_cost,
            ),
        ] {
            let at = path.child(name);
            if cost > RULE_ESTIMATE_MAX {
                self.rules
                    .push(FieldError::forbidden(&at, exceeds(what, cost, RULE_ESTIMATE_MAX)));
            }
            self.expense.add(&at, cost);
        }
    }

    fn compiled(&mut self, rule: &RuleText, check: RuleCheck, path: &Path, context: &Context) {
        let invalid = |name: &str, detail| {
            FieldError::new(FieldErrorKind::Invalid, &path.child(name), Some(go_rule(rule)), detail)
        };
        self.rules.extend(check.rule_error.map(|error| invalid("rule", error)));
        self.rules
            .extend(check.message_error.map(|error| invalid("messageExpression", error)));
        if check.uses_old {
            if let Some(place) = &context.uncorrelatable {
                let detail =
                    format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {place}");
                let at = path.child("rule");
                self.rules
                    .push(FieldError::invalid(&at, &text_value(&rule.rule), detail));
            }
        } else if let Some(optional) = rule.optional_old_self {
            let detail = "may not be set if oldSelf is not used in rule";
            let at = path.child("optionalOldSelf");
            self.rules
                .push(FieldError::invalid(&at, &Value::Bool(optional), detail));
        }
    }
}

/// A rule as Go prints the struct it is decoded to.
fn go_rule(rule: &RuleText) -> String {
    let text = |text: &Option<Box<str>>| go_json(text.as_deref().unwrap_or_default());
    let reason = rule.reason.as_deref().map_or("null".to_owned(), go_json);
    let optional = rule
        .optional_old_self
        .map_or("null".to_owned(), |optional| optional.to_string());
    format!(
        r#"{{"Rule":{},"Message":{},"MessageExpression":{},"Reason":{reason},"FieldPath":{},"OptionalOldSelf":{optional}}}"#,
        go_json(&rule.rule),
        text(&rule.message),
        text(&rule.message_expression),
        text(&rule.field_path)
    )
}

/// A JSON string as Go's encoder writes it.
fn go_json(text: &str) -> String {
    let plain = Value::String(text.to_owned()).to_string();
    plain
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
}
