//! Expressions over one variable without a schema, as Kubernetes has them outside of CRDs: `claims` of a token, `user`.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::LazyLock;

use serde_json::Value;

use super::expr::Expr;
use super::syntax::{self, Node, Tree};
use super::types::Ty;
use super::value::Val;
use super::{CompileError, Failure, Input, eval, lower};
use crate::schema::structural::Schema;

/// A compiled expression over one map of anything.
#[derive(Debug)]
pub struct Free {
    expr: Expr,
    fields: BTreeSet<String>,
}

/// What such an expression yields.
#[derive(Clone, Debug, PartialEq)]
pub enum Yield {
    Null,
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    /// Something else, by its type's name.
    Other(&'static str),
}

/// Nothing of the object is typed.
static UNTYPED: LazyLock<Schema> = LazyLock::new(Schema::default);

// === impl Free ===

impl Free {
    /// Compiles an expression over the variable of this name.
    ///
    /// # Errors
    /// Where and why it does not compile.
    pub fn compile(source: &str, variable: &str) -> Result<Self, CompileError> {
        let tree = syntax::parse(source)?;
        let mut fields = BTreeSet::new();
        look_at(&tree, variable, &mut fields)?;
        let ty = Ty::Map(Rc::new(Ty::Text), Rc::new(Ty::Dyn));
        let expr = lower::lower_over(&tree, variable, ty)?;
        Ok(Self { expr, fields })
    }

    /// Members of the variable that are selected by name (`claims.email`, `claims.?email`).
    pub fn fields(&self) -> &BTreeSet<String> {
        &self.fields
    }

    /// Runs with at most `limit` units of cost.
    ///
    /// # Errors
    /// Why there is no result.
    pub fn run(&self, value: &Value, limit: u64) -> Result<Yield, Failure> {
        let input = Input {
            schema: &UNTYPED,
            root: false,
            this: value,
            old: None,
        };
        let variable = Val::of(value, None, false)?;
        eval::run_over(&self.expr, input, variable, limit)
    }
}

/// Collects the fields; refuses what only rules of schemas have.
fn look_at(tree: &Tree, variable: &str, fields: &mut BTreeSet<String>) -> Result<(), CompileError> {
    let mut children: Vec<&Tree> = Vec::new();
    match &tree.node {
        Node::Ident(name) if name == "self" || name == "oldSelf" => return Err(lower::undeclared(name, tree.at)),
        Node::Select { operand, field, .. } => {
            if matches!(&operand.node, Node::Ident(name) if name == variable) {
                fields.insert(field.clone());
            }
            children.push(operand);
        }
        Node::Index { operand, index, .. } => children.extend([&**operand, &**index]),
        Node::Call { target, args, .. } => {
            children.extend(target.as_deref());
            children.extend(args);
        }
        Node::Unary { operand, .. } => children.push(operand),
        Node::Binary { left, right, .. } => children.extend([&**left, &**right]),
        Node::All(parts) | Node::Any(parts) => children.extend(parts),
        Node::Choice { condition, yes, no } => children.extend([&**condition, &**yes, &**no]),
        Node::List(items) => children.extend(items.iter().map(|(item, _)| item)),
        Node::Map(entries) => children.extend(entries.iter().flat_map(|(key, value, _)| [key, value])),
        _ => {}
    }
    children
        .into_iter()
        .try_for_each(|child| look_at(child, variable, fields))
}

// === impl Yield ===

impl From<Val<'_>> for Yield {
    fn from(value: Val<'_>) -> Self {
        match &value {
            Val::Null => Self::Null,
            Val::Bool(value) => Self::Bool(*value),
            Val::Text(text) => Self::Text(text.as_str().to_owned()),
            list if list.is_list() => {
                let texts = list.items().ok().and_then(|items| {
                    let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
                    texts.collect::<Option<Vec<_>>>()
                });
                texts.map_or(Self::Other("list"), Self::Texts)
            }
            other => Self::Other(other.type_name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(source: &str) -> Result<Yield, String> {
        let claims = json!({
            "sub": "jane", "n": 1.0, "ok": true, "groups": ["a", "b"], "deep": {"x": {"y": "z"}}, "a.b": "dotted",
        });
        let program = Free::compile(source, "claims").map_err(|error| error.message)?;
        program.run(&claims, 1_000_000).map_err(|failure| failure.to_string())
    }

    #[test]
    fn members_of_anything_are_seen() {
        assert_eq!(run("claims.sub + ':x'"), Ok(Yield::Text("jane:x".to_owned())));
        assert_eq!(run("claims.deep.x.y"), Ok(Yield::Text("z".to_owned())));
        assert_eq!(run("claims['a.b']"), Ok(Yield::Text("dotted".to_owned())));
        assert_eq!(run("claims.a__dot__b"), Ok(Yield::Text("dotted".to_owned())));
        assert_eq!(run("claims.n == 1"), Ok(Yield::Bool(true)));
        assert_eq!(run("has(claims.nope)"), Ok(Yield::Bool(false)));
        assert_eq!(run("claims.?nope.orValue('d')"), Ok(Yield::Text("d".to_owned())));
        let texts = |items: &[&str]| Ok(Yield::Texts(items.iter().map(|item| (*item).to_owned()).collect()));
        assert_eq!(run("claims.groups.map(g, 'x:' + g)"), texts(&["x:a", "x:b"]));
        assert_eq!(run("claims.groups"), texts(&["a", "b"]));
        assert_eq!(run("['x']"), texts(&["x"]));
        assert_eq!(run("[1]"), Ok(Yield::Other("list")));
        assert_eq!(run("claims.ok ? claims.sub : ''"), Ok(Yield::Text("jane".to_owned())));
        assert_eq!(run("claims.nope"), Err("no such key: nope".to_owned()));
    }

    #[test]
    fn only_the_one_variable_is_declared() {
        for source in ["self.sub", "user.username", "claims.all(x, oldSelf == x)", "claims."] {
            assert!(run(source).is_err(), "{source}");
        }
    }

    #[test]
    fn fields_are_known() {
        let source = "claims.?email.orValue('') == 'x' || [claims.email_verified].exists(x, x == claims['other'])";
        let program = Free::compile(source, "claims").unwrap();
        assert_eq!(program.fields().iter().collect::<Vec<_>>(), ["email", "email_verified"]);
    }
}
