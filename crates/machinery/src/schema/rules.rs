//! `x-kubernetes-validations`: the rules of a schema, compiled once, and their evaluation on an object.
//!
//! The tree of rules has a node only where rules are or where the way to them leads: what has no rules is not visited.

use std::sync::Arc;

use serde_json::Value;

use super::correlate::{OldItems, unchanged};
use super::field_path;
use super::structural::{Kind, Name, RuleText, Schema};
use super::validate::go_render;
use crate::cel::{CALL_COST_MAX, Failure, Input, OBJECT_COST_MAX, Outcome, Program, Scope, Wanted};
use crate::field::{FieldError, FieldErrorKind, Path};
use crate::text::quote;

/// Longer results of a `messageExpression` are ignored.
const MESSAGE_BYTES_MAX: usize = 5 * 1024;

/// The rules of a schema and of what is below it.
#[derive(Debug)]
pub struct Rules {
    schema: Arc<Schema>,
    root: bool,
    rules: Box<[Rule]>,
    properties: Box<[(Name, Rules)]>,
    items: Option<Box<Rules>>,
    additional: Option<Box<Rules>>,
}

#[derive(Debug)]
struct Rule {
    text: RuleText,
    /// None for an empty rule. A rule that does not compile is refused at creation; should one be met nevertheless, its
    /// error is reported whenever it would be evaluated.
    program: Option<Result<Program, String>>,
    message: Option<Program>,
    /// `fieldPath` as a Go path.
    path: Option<String>,
}

/// What a node of an object was before, for ratcheting: problems of what did not change are let pass.
#[derive(Clone, Copy, Default)]
struct Ratchet<'a> {
    current: Option<&'a Value>,
    nearest: Option<Pair<'a>>,
}

/// A value, what it was, and its schema.
#[derive(Clone, Copy)]
struct Pair<'a> {
    new: &'a Value,
    old: &'a Value,
    schema: &'a Schema,
}

/// The state of one evaluation.
struct Run {
    budget: u64,
    errors: Vec<FieldError>,
    /// The budget is spent or a limit was hit: nothing is evaluated any more.
    over: bool,
}

/// A value on the way through an object.
#[derive(Clone, Copy)]
struct Visit<'a> {
    value: &'a Value,
    old: Option<&'a Value>,
    ratchet: Ratchet<'a>,
}

// === impl Rules ===

impl Rules {
    /// Compiles the rules of a schema; none if it has none. `root`: the schema is of a whole object.
    pub fn compile(schema: &Arc<Schema>, root: bool) -> Option<Self> {
        if !schema.has_rules {
            return None;
        }
        let child = |schema: &Arc<Schema>| Self::compile(schema, schema.embedded);
        let properties: Vec<(Name, Self)> = schema
            .properties
            .iter()
            // Properties without a type are invisible to rules.
            .filter(|(_, property)| property.kind != Kind::Unset || property.int_or_string)
            .filter_map(|(name, property)| Some((Arc::clone(name), child(property)?)))
            .collect();
        let rules: Vec<Rule> = schema
            .rules
            .iter()
            .map(|text| Rule::compile(text, schema, root))
            .collect();
        let items = schema.items.as_ref().and_then(child).map(Box::new);
        let additional = schema.additional_schema().and_then(child).map(Box::new);
        let empty = rules.is_empty() && properties.is_empty() && items.is_none() && additional.is_none();
        (!empty).then(|| Self {
            schema: Arc::clone(schema),
            root,
            rules: rules.into(),
            properties: properties.into(),
            items,
            additional,
        })
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        let below = self
            .properties
            .iter()
            .map(|(_, rules)| rules)
            .chain(self.items.as_deref());
        self.rules.len() + below.chain(self.additional.as_deref()).map(Self::len).sum::<usize>()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The property's part of the rules.
    pub fn property(&self, name: &str) -> Option<&Self> {
        let index = self.properties.binary_search_by(|(have, _)| (**have).cmp(name)).ok()?;
        self.properties.get(index).map(|(_, rules)| rules)
    }

    /// Evaluates the rules on a value that is valid otherwise. Rules with `oldSelf` run only where an old value is.
    pub fn evaluate(&self, value: &Value, old: Option<&Value>, path: &Path) -> Vec<FieldError> {
        let mut run = Run {
            budget: OBJECT_COST_MAX,
            errors: Vec::new(),
            over: false,
        };
        let ratchet = Ratchet {
            current: old,
            nearest: None,
        };
        self.visit(Visit { value, old, ratchet }, path, &mut run);
        run.errors
    }

    fn visit<'a>(&'a self, visit: Visit<'a>, path: &Path, run: &mut Run) {
        if visit.value.is_null() || run.over {
            return;
        }
        for rule in &self.rules {
            if run.over {
                return;
            }
            self.rule(rule, visit, path, run);
        }
        match visit.value {
            Value::Array(items) => self.visit_items(items, visit, path, run),
            Value::Object(members) => {
                if let Some(additional) = &self.additional {
                    for (name, value) in members {
                        additional.visit(visit.member(name, value, &self.schema), &path.key(name), run);
                    }
                }
                for (name, rules) in &self.properties {
                    if let Some(value) = members.get(&**name) {
                        rules.visit(visit.member(name, value, &self.schema), &path.child(name), run);
                    }
                }
            }
            _ => {}
        }
    }

    fn visit_items<'a>(&'a self, items: &'a [Value], visit: Visit<'a>, path: &Path, run: &mut Run) {
        let Some(rules) = &self.items else { return };
        let olds = |old: Option<&'a Value>| OldItems::new(old?.as_array()?, &self.schema);
        let (old_items, ratchet_items) = (olds(visit.old), olds(visit.ratchet.current));
        for (index, item) in items.iter().enumerate() {
            let old = old_items.as_ref().and_then(|olds| olds.get(item));
            let ratchet = visit
                .ratchet
                .step(visit.value, &self.schema, |_| ratchet_items.as_ref()?.get(item));
            rules.visit(
                Visit {
                    value: item,
                    old,
                    ratchet,
                },
                &path.index(index),
                run,
            );
        }
    }

    fn rule(&self, rule: &Rule, visit: Visit<'_>, path: &Path, run: &mut Run) {
        let kind = || Some(quote(self.schema.kind.name()));
        let invalid = |detail: String| FieldError::new(FieldErrorKind::Invalid, path, kind(), detail);
        let program = match &rule.program {
            None => return,
            Some(Err(error)) => {
                run.errors.push(invalid(format!("rule compile error: {error}")));
                return;
            }
            Some(Ok(program)) => program,
        };
        // A null old value counts as none.
        let old = visit.old.filter(|old| !old.is_null());
        if program.uses_old() && old.is_none() && rule.text.optional_old_self != Some(true) {
            return;
        }
        if run.budget == 0 {
            run.stop(invalid(OUT_OF_BUDGET.to_owned()));
            return;
        }
        let input = Input {
            schema: &self.schema,
            root: self.root,
            this: visit.value,
            old,
        };
        let (answer, cost) = program.run(input, CALL_COST_MAX);
        if cost > run.budget {
            run.stop(invalid(OUT_OF_BUDGET.to_owned()));
            return;
        }
        run.budget -= cost;
        let shown = rule.text.shown();
        match answer {
            Ok(Outcome::Bool(true)) => {}
            Ok(_) => self.failed(rule, input, visit, path, run),
            Err(Failure::Budget) => run.stop(invalid(format!(
                "'{}': no further validation rules will be run due to call cost exceeds limit for rule: {shown}",
                Failure::Budget
            ))),
            Err(Failure::Error(error)) if error.starts_with("no such overload") => run.errors.push(invalid(format!(
                "'{error}': call arguments did not match a supported operator, function or macro signature for rule: {shown}"
            ))),
            Err(Failure::Error(error)) => run.errors.push(invalid(format!("{error} evaluating rule: {shown}"))),
        }
    }

    /// Reports a rule that evaluated to false.
    fn failed(&self, rule: &Rule, input: Input<'_>, visit: Visit<'_>, path: &Path, run: &mut Run) {
        let ratcheted = !rule.uses_old() && visit.ratchet.holds(visit.value, &self.schema);
        let path = match &rule.path {
            Some(below) => path.child(below),
            None => path.clone(),
        };
        let detail = match rule.message_of(input, run) {
            Ok(detail) => detail,
            Err(detail) => {
                let error = FieldError::new(
                    FieldErrorKind::Invalid,
                    &path,
                    Some(quote(self.schema.kind.name())),
                    detail,
                );
                run.over = true;
                run.errors.extend((!ratcheted).then_some(error));
                return;
            }
        };
        if ratcheted {
            return;
        }
        // Objects and lists are not printed.
        let shown = !matches!(self.schema.kind, Kind::Object | Kind::Array);
        let value = shown.then(|| go_render(visit.value));
        run.errors.push(match rule.text.reason.as_deref() {
            Some("FieldValueForbidden") => FieldError::forbidden(&path, detail),
            Some("FieldValueRequired") => FieldError::required(&path, detail),
            Some("FieldValueDuplicate") => FieldError::new(FieldErrorKind::Duplicate, &path, value, ""),
            _ => FieldError::new(FieldErrorKind::Invalid, &path, value, detail),
        });
    }
}

const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

// === impl Rule ===

impl Rule {
    fn compile(text: &RuleText, schema: &Arc<Schema>, root: bool) -> Self {
        let scope = Scope {
            schema,
            root,
            optional_old: text.optional_old_self == Some(true),
        };
        let program = (!text.rule.trim().is_empty()).then(|| {
            let compiled = Program::compile(&text.rule, scope, Wanted::Bool);
            compiled.map_err(|error| error.detail(&text.rule))
        });
        let message = text.message_expression.as_ref();
        let message = message.and_then(|source| Program::compile(source, scope, Wanted::Text).ok());
        let path = text
            .field_path
            .as_ref()
            .and_then(|path| field_path::normalize(path, schema).ok());
        Self {
            text: text.clone(),
            program,
            message,
            path: path.filter(|path| !path.is_empty()),
        }
    }

    fn uses_old(&self) -> bool {
        matches!(&self.program, Some(Ok(program)) if program.uses_old())
    }

    /// The message for a failed rule; the error ends the evaluation.
    fn message_of(&self, input: Input<'_>, run: &mut Run) -> Result<String, String> {
        let default = || match &self.text.message {
            Some(message) => message.trim().to_owned(),
            None => format!("failed rule: {}", self.text.shown()),
        };
        let (Some(program), Some(source)) = (&self.message, &self.text.message_expression) else {
            return Ok(default());
        };
        let (answer, cost) = program.run(input, CALL_COST_MAX);
        if cost > run.budget {
            let what = "messageExpression evaluation failed due to running out of cost budget";
            return Err(format!("{what}, no further validation rules will be run"));
        }
        run.budget -= cost;
        match answer {
            Err(Failure::Budget) => Err(format!(
                "no further validation rules will be run due to call cost exceeds limit for messageExpression: {}",
                quote(source)
            )),
            Ok(Outcome::Text(text)) => {
                let text = text.trim();
                let usable = !text.is_empty() && !text.contains('\n') && text.len() <= MESSAGE_BYTES_MAX;
                Ok(if usable { text.to_owned() } else { default() })
            }
            _ => Ok(default()),
        }
    }
}

// === impl RuleText ===

impl RuleText {
    /// What stands for the rule in errors of its evaluation.
    fn shown(&self) -> &str {
        self.message.as_deref().unwrap_or(&self.rule).trim()
    }
}

// === impl Visit ===

impl<'a> Visit<'a> {
    /// Members correlate by name, in granular and in atomic maps.
    fn member(self, name: &str, value: &'a Value, schema: &'a Schema) -> Self {
        let old = self.old.and_then(|old| old.get(name));
        let hidden = self.ratchet.nearest.is_none() && matches!(name, "apiVersion" | "kind");
        let ratchet = if hidden && self.ratchet.current.is_some() {
            Ratchet::default()
        } else {
            self.ratchet.step(self.value, schema, |before| before.get(name))
        };
        Self { value, old, ratchet }
    }
}

// === impl Ratchet ===

impl<'a> Ratchet<'a> {
    /// One level down from a node whose value is `new`.
    fn step(self, new: &'a Value, schema: &'a Schema, down: impl FnOnce(&'a Value) -> Option<&'a Value>) -> Self {
        match self.current {
            None => self,
            Some(old) => Self {
                current: down(old),
                nearest: Some(Pair { new, old, schema }),
            },
        }
    }

    /// Whether a node, or its nearest ancestor that correlates, is what it was.
    fn holds(self, value: &Value, schema: &Schema) -> bool {
        match (self.current, self.nearest) {
            (Some(old), _) => unchanged(value, old, schema),
            (None, Some(pair)) => unchanged(pair.new, pair.old, pair.schema),
            (None, None) => false,
        }
    }
}

// === impl Run ===

impl Run {
    fn stop(&mut self, error: FieldError) {
        self.errors.push(error);
        self.over = true;
    }
}

/// What does not compile among the rules of one node, for the checks at creation.
pub(super) struct RuleCheck {
    pub rule_error: Option<String>,
    pub message_error: Option<String>,
    pub uses_old: bool,
    /// Estimates of one run.
    pub rule_cost: u64,
    pub message_cost: u64,
}

pub(super) fn check_rule(text: &RuleText, schema: &Arc<Schema>, root: bool) -> RuleCheck {
    let scope = Scope {
        schema,
        root,
        optional_old: text.optional_old_self == Some(true),
    };
    let mut check = RuleCheck {
        rule_error: None,
        message_error: None,
        uses_old: false,
        rule_cost: 0,
        message_cost: 0,
    };
    if text.rule.trim().is_empty() {
        return check;
    }
    match Program::compile(&text.rule, scope, Wanted::Bool) {
        Ok(program) => {
            check.uses_old = program.uses_old();
            check.rule_cost = program.max_cost(schema);
        }
        Err(error) => {
            check.rule_error = Some(error.detail(&text.rule));
            return check;
        }
    }
    if let Some(source) = &text.message_expression {
        match Program::compile(source, scope, Wanted::Text) {
            Ok(program) => check.message_cost = program.max_cost(schema),
            Err(error) => {
                let detail = error.detail(source);
                check.message_error = Some(if error.at.is_some() {
                    format!("messageExpression {detail}")
                } else {
                    detail
                });
            }
        }
    }
    check
}

#[cfg(test)]
mod tests;
