//! CEL as Kubernetes' validation rules use it: parser, checker against a schema, evaluator.
//!
//! An expression is compiled once per schema ([`Program::compile`]) and run often ([`Program::run`]). Running looks at the
//! validated object in place: what an expression does not touch is never visited. Work is counted in cel-go's cost units,
//! and stops at a limit: evaluation is bounded without a clock, and the same on every machine.
//!
//! Invariants
//! - A program is immutable and shared between threads; a run keeps all its state on its own stack.
//! - Neither compiling nor running panics, whatever the expression or the object.
//! - The result depends on expression, schema and values alone. Maps are walked in key order.
//!
//! Not here: the `authorizer` variable (rules of CRDs have none), named time zones (they need a database).
//!
//! Read next: [`syntax`], [`lower`], [`eval`], [`library`].

mod estimate;
mod eval;
mod expr;
mod fold;
mod foreign;
mod free;
mod library;
mod lower;
mod network;
mod quantity;
mod semver;
mod syntax;
pub(crate) mod time;
mod token;
mod types;
pub(crate) mod url;
mod value;

pub mod escape;

pub use estimate::repetitions_max;
pub use free::{Free, Yield};
use serde_json::Value;

use crate::schema::structural::Schema;

/// Upstream's limit of one evaluation, in cost units.
pub const CALL_COST_MAX: u64 = 1_000_000;
/// Upstream's limit for all rules of one object, in cost units.
pub const OBJECT_COST_MAX: u64 = 10_000_000;

/// Upstream's limit of a rule's estimated cost, in cost units.
pub const RULE_ESTIMATE_MAX: u64 = 10_000_000;
/// Upstream's limit of the estimated cost of all rules of a schema together, in cost units.
pub const SCHEMA_ESTIMATE_MAX: u64 = 100_000_000;

/// Where and why an expression does not compile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    /// Byte offset in the source; none if the whole expression is meant.
    pub at: Option<usize>,
    pub message: String,
}

/// Why an evaluation has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// An error of the expression: `no such key: x`, `no such overload`, `division by zero`…
    Error(String),
    /// The cost limit was reached.
    Budget,
}

/// What an expression is to yield.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Bool,
    Text,
}

/// What an expression yields.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Bool(bool),
    Text(String),
    /// Something else, by its type's name; only where static types did not tell.
    Other(&'static str),
}

/// The variables' type: `self` and `oldSelf` are values of the schema.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'s> {
    pub schema: &'s Schema,
    /// The schema is of a whole object.
    pub root: bool,
    /// `oldSelf` is an optional.
    pub optional_old: bool,
}

/// A compiled expression.
#[derive(Debug)]
pub struct Program {
    expr: expr::Expr,
    uses_old: bool,
    optional_old: bool,
}

/// The values of one run.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    pub schema: &'a Schema,
    pub root: bool,
    pub this: &'a Value,
    pub old: Option<&'a Value>,
}

// === impl Program ===

impl Program {
    /// Compiles, with types checked as far as the schema tells them. The error is what upstream puts behind
    /// `compilation failed: `, or that the result is of the wrong type.
    pub fn compile(source: &str, scope: Scope<'_>, wanted: Wanted) -> Result<Self, CompileError> {
        let lowered = lower::lower(&syntax::parse(source)?, scope, wanted)?;
        Ok(Self {
            expr: lowered.expr,
            uses_old: lowered.uses_old,
            optional_old: scope.optional_old,
        })
    }

    /// Whether the expression names `oldSelf`.
    pub fn uses_old(&self) -> bool {
        self.uses_old
    }

    /// The most a run can cost on a value of the schema it was compiled for, as far as its limits tell.
    pub fn max_cost(&self, schema: &Schema) -> u64 {
        estimate::max_cost(&self.expr, schema)
    }

    /// Runs with at most `limit` units of cost; answers the result and the cost.
    pub fn run(&self, input: Input<'_>, limit: u64) -> (Result<Outcome, Failure>, u64) {
        eval::run(&self.expr, input, self.optional_old, limit)
    }
}

// === impl CompileError ===

impl CompileError {
    pub(crate) fn new(at: usize, message: impl Into<String>) -> Self {
        Self {
            at: Some(at),
            message: message.into(),
        }
    }

    /// As Kubernetes reports it: `compilation failed: ` and what cel-go prints (position, message, the line, a caret under
    /// the place); the message alone where the whole expression is meant.
    pub fn detail(&self, source: &str) -> String {
        let Some(at) = self.at else { return self.message.clone() };
        let before = source.get(..at.min(source.len())).unwrap_or(source);
        let line = before.matches('\n').count();
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
        let text = source.lines().nth(line).unwrap_or_default();
        let dots = ".".repeat(column);
        let (line, place) = (line + 1, column + 1);
        format!(
            "compilation failed: ERROR: <input>:{line}:{place}: {}\n | {text}\n | {dots}^",
            self.message
        )
    }
}

// === impl Failure ===

impl Failure {
    pub(crate) fn error(message: impl Into<String>) -> Self {
        Self::Error(message.into())
    }

    pub(crate) fn no_overload() -> Self {
        Self::error("no such overload")
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Error(message) => f.write_str(message),
            Self::Budget => f.write_str("operation cancelled: actual cost limit exceeded"),
        }
    }
}

#[cfg(test)]
mod tests;
