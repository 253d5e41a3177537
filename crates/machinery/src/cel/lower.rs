//! From names to meaning: variables, macros, functions and static types, as far as the schema tells them.

use std::rc::Rc;
use std::sync::Arc;

use super::expr::{Arithmetic, Call, Compare, Expr, Fold, FoldKind, Select};
use super::library::{self, Overload};
use super::syntax::{Node, Tree};
use super::types::Ty;
use super::{CompileError, Scope, Wanted, escape};
use crate::schema::pattern::{self, Pattern};

/// A lowered expression.
pub(super) struct Lowered {
    pub expr: Expr,
    pub uses_old: bool,
}

struct Lowering<'s> {
    this: Ty<'s>,
    old: Ty<'s>,
    locals: Vec<(String, Ty<'s>)>,
    uses_old: bool,
}

type Typed<'s> = Result<(Expr, Ty<'s>), CompileError>;

pub(super) fn lower(tree: &Tree, scope: Scope<'_>, wanted: Wanted) -> Result<Lowered, CompileError> {
    let this = Ty::of(scope.schema, scope.root).unwrap_or(Ty::Dyn);
    let old = if scope.optional_old {
        Ty::Optional(Rc::new(this.clone()))
    } else {
        this.clone()
    };
    let mut lowering = Lowering {
        this,
        old,
        locals: Vec::new(),
        uses_old: false,
    };
    let (expr, ty) = lowering.tree(tree)?;
    let (fits, message) = match wanted {
        Wanted::Bool => (ty.fits(&Ty::Bool), "cel expression must evaluate to a bool"),
        Wanted::Text => (ty.fits(&Ty::Text), "messageExpression must evaluate to a string"),
    };
    if !fits {
        return Err(CompileError {
            at: None,
            message: message.to_owned(),
        });
    }
    Ok(Lowered {
        expr,
        uses_old: lowering.uses_old,
    })
}

/// An expression over one variable, which is the first local: nothing else is declared.
pub(super) fn lower_over(tree: &Tree, variable: &str, ty: Ty<'static>) -> Result<Expr, CompileError> {
    let mut lowering = Lowering {
        this: Ty::Dyn,
        old: Ty::Dyn,
        locals: vec![(variable.to_owned(), ty)],
        uses_old: false,
    };
    Ok(lowering.tree(tree)?.0)
}

// === impl Lowering ===

impl<'s> Lowering<'s> {
    fn tree(&mut self, tree: &Tree) -> Typed<'s> {
        Ok(match &tree.node {
            Node::Null => (Expr::Null, Ty::Null),
            Node::Bool(value) => (Expr::Bool(*value), Ty::Bool),
            Node::Int(value) => (Expr::Int(*value), Ty::Int),
            Node::Uint(value) => (Expr::Uint(*value), Ty::Uint),
            Node::Double(value) => (Expr::Double(*value), Ty::Double),
            Node::Text(text) => (Expr::Text(text.as_str().into()), Ty::Text),
            Node::Bytes(bytes) => (Expr::Bytes(bytes.as_slice().into()), Ty::Bytes),
            Node::Ident(name) => return self.ident(name, tree.at),
            Node::Select {
                operand,
                field,
                optional,
            } => return self.select(operand, field, *optional, false, tree.at),
            Node::Index {
                operand,
                index,
                optional,
            } => return self.index(operand, index, *optional, tree.at),
            Node::Call { function, target, args } => return self.call(function, target.as_deref(), args, tree.at),
            Node::Unary { sign, operand } => return self.unary(sign, operand, tree.at),
            Node::Binary { sign, left, right } => return self.binary(sign, left, right, tree.at),
            Node::All(parts) => (Expr::All(self.booleans(parts, "_&&_", tree.at)?), Ty::Bool),
            Node::Any(parts) => (Expr::Any(self.booleans(parts, "_||_", tree.at)?), Ty::Bool),
            Node::Choice { condition, yes, no } => {
                let (condition, asked) = self.tree(condition)?;
                let ((yes, left), (no, right)) = (self.tree(yes)?, self.tree(no)?);
                if !asked.fits(&Ty::Bool) || !left.fits(&right) {
                    return Err(no_overload("_?_:_", &[asked, left, right], None, tree.at));
                }
                (Expr::Choice(Box::new([condition, yes, no])), left.join(right))
            }
            Node::List(items) => return self.list(items),
            Node::Map(entries) => return self.map(entries),
        })
    }

    fn booleans(&mut self, parts: &[Tree], name: &str, at: usize) -> Result<Box<[Expr]>, CompileError> {
        let mut out = Vec::with_capacity(parts.len());
        for part in parts {
            let (expr, ty) = self.tree(part)?;
            if !ty.fits(&Ty::Bool) {
                return Err(no_overload(name, &[ty, Ty::Bool], None, at));
            }
            out.push(expr);
        }
        Ok(out.into())
    }

    fn local(&self, name: &str) -> Option<(Expr, Ty<'s>)> {
        let slot = self.locals.iter().rposition(|(have, _)| have == name)?;
        self.locals.get(slot).map(|(_, ty)| (Expr::Local(slot), ty.clone()))
    }

    fn ident(&mut self, name: &str, at: usize) -> Typed<'s> {
        if let Some(local) = self.local(name) {
            return Ok(local);
        }
        let type_name = match name {
            "self" => return Ok((Expr::This, self.this.clone())),
            "oldSelf" => {
                self.uses_old = true;
                return Ok((Expr::Old, self.old.clone()));
            }
            "bool" => "bool",
            "int" => "int",
            "uint" => "uint",
            "double" => "double",
            "string" => "string",
            "bytes" => "bytes",
            "list" => "list",
            "map" => "map",
            "null_type" => "null_type",
            "type" => "type",
            "optional_type" => "optional_type",
            _ => return Err(undeclared(name, at)),
        };
        Ok((Expr::Type(type_name), Ty::Type))
    }

    fn select(&mut self, operand: &Tree, field: &str, optional: bool, test: bool, at: usize) -> Typed<'s> {
        if let Some(name) = qualified(operand).map(|prefix| format!("{prefix}.{field}")) {
            let known = [
                "google.protobuf.Timestamp",
                "google.protobuf.Duration",
                "net.IP",
                "net.CIDR",
            ];
            let shadowed = name.split('.').next().is_some_and(|first| self.local(first).is_some());
            if let Some(known) = known.into_iter().find(|known| *known == name && !shadowed) {
                return Ok((Expr::Type(known), Ty::Type));
            }
        }
        let (operand, ty) = self.tree(operand)?;
        let (inner, wrapped) = match &ty {
            Ty::Optional(inner) => (inner.as_ref().clone(), true),
            _ => (ty.clone(), optional),
        };
        let name = escape::unescape(field).unwrap_or_else(|| field.to_owned());
        let found = match &inner {
            Ty::Dyn => Ty::Dyn,
            Ty::Map(_, value) => value.as_ref().clone(),
            Ty::Object(..) => {
                let exact = escape::escape(&name).as_deref() == Some(field);
                let found = inner.field(&name).filter(|_| exact);
                found.ok_or_else(|| CompileError::new(at, format!("undefined field '{field}'")))?
            }
            other => {
                let message = format!("type '{}' does not support field selection", other.name());
                return Err(CompileError::new(at, message));
            }
        };
        let raw = (name != field).then(|| field.into());
        let expr = Expr::Select(Box::new(Select {
            operand,
            name: name.into(),
            raw,
            test,
            optional,
        }));
        Ok((
            expr,
            match (test, wrapped) {
                (true, _) => Ty::Bool,
                (false, true) => Ty::Optional(Rc::new(found)),
                (false, false) => found,
            },
        ))
    }

    fn index(&mut self, operand: &Tree, index: &Tree, optional: bool, at: usize) -> Typed<'s> {
        let ((operand, ty), (index, key)) = (self.tree(operand)?, self.tree(index)?);
        let (inner, wrapped) = match &ty {
            Ty::Optional(inner) => (inner.as_ref().clone(), true),
            _ => (ty.clone(), optional),
        };
        let found = match &inner {
            Ty::Dyn => Ty::Dyn,
            Ty::List(item) if key.fits(&Ty::Int) => item.as_ref().clone(),
            Ty::Map(keys, value) if key.fits(keys) => value.as_ref().clone(),
            _ => return Err(no_overload("_[_]", &[ty, key], None, at)),
        };
        let expr = Expr::Index {
            operand: operand.into(),
            index: index.into(),
            optional,
        };
        Ok((expr, if wrapped { Ty::Optional(Rc::new(found)) } else { found }))
    }

    fn unary(&mut self, sign: &str, operand: &Tree, at: usize) -> Typed<'s> {
        let (operand, ty) = self.tree(operand)?;
        match (sign, &ty) {
            ("!", Ty::Bool | Ty::Dyn) => Ok((Expr::Not(operand.into()), Ty::Bool)),
            ("-", Ty::Int | Ty::Double | Ty::Dyn) => Ok((Expr::Negate(operand.into()), ty)),
            _ => Err(no_overload(&format!("{sign}_"), &[ty], None, at)),
        }
    }

    fn binary(&mut self, sign: &str, left: &Tree, right: &Tree, at: usize) -> Typed<'s> {
        let ((left, a), (right, b)) = (self.tree(left)?, self.tree(right)?);
        let (left, right) = (Box::new(left), Box::new(right));
        let compare = match sign {
            "==" => Some(Compare::Equal),
            "!=" => Some(Compare::NotEqual),
            "<" => Some(Compare::Less),
            "<=" => Some(Compare::LessOrEqual),
            ">" => Some(Compare::Greater),
            ">=" => Some(Compare::GreaterOrEqual),
            _ => None,
        };
        let refused = || no_overload(&format!("_{sign}_"), &[a.clone(), b.clone()], None, at);
        if let Some(sign) = compare {
            let equality = matches!(sign, Compare::Equal | Compare::NotEqual);
            let fits = if equality { a.fits(&b) } else { ordered(&a, &b) };
            return if fits {
                Ok((Expr::Compare { sign, left, right }, Ty::Bool))
            } else {
                Err(refused())
            };
        }
        if sign == "in" {
            let fits = match &b {
                Ty::Dyn => true,
                Ty::List(item) => a.fits(item),
                Ty::Map(key, _) => a.fits(key),
                _ => false,
            };
            let refused = || no_overload("@in", &[a.clone(), b.clone()], None, at);
            return if fits {
                Ok((
                    Expr::In {
                        item: left,
                        list: right,
                    },
                    Ty::Bool,
                ))
            } else {
                Err(refused())
            };
        }
        let sign = match sign {
            "+" => Arithmetic::Add,
            "-" => Arithmetic::Subtract,
            "*" => Arithmetic::Multiply,
            "/" => Arithmetic::Divide,
            _ => Arithmetic::Remainder,
        };
        let ty = arithmetic_type(sign, &a, &b).ok_or_else(refused)?;
        Ok((Expr::Arithmetic { sign, left, right }, ty))
    }

    fn list(&mut self, items: &[(Tree, bool)]) -> Typed<'s> {
        let mut out = Vec::with_capacity(items.len());
        let mut item_type: Option<Ty<'s>> = None;
        for (item, optional) in items {
            let (expr, ty) = self.tree(item)?;
            let ty = match ty {
                Ty::Optional(inner) if *optional => inner.as_ref().clone(),
                ty => ty,
            };
            item_type = Some(item_type.map_or(ty.clone(), |have| have.join(ty)));
            out.push((expr, *optional));
        }
        Ok((Expr::List(out.into()), Ty::List(Rc::new(item_type.unwrap_or(Ty::Dyn)))))
    }

    fn map(&mut self, entries: &[(Tree, Tree, bool)]) -> Typed<'s> {
        let mut out = Vec::with_capacity(entries.len());
        let mut types: Option<(Ty<'s>, Ty<'s>)> = None;
        for (key, value, optional) in entries {
            let ((key, key_type), (value, value_type)) = (self.tree(key)?, self.tree(value)?);
            let value_type = match value_type {
                Ty::Optional(inner) if *optional => inner.as_ref().clone(),
                ty => ty,
            };
            types = Some(match types {
                None => (key_type, value_type),
                Some((keys, values)) => (keys.join(key_type), values.join(value_type)),
            });
            out.push((key, value, *optional));
        }
        let (keys, values) = types.unwrap_or((Ty::Dyn, Ty::Dyn));
        Ok((Expr::Map(out.into()), Ty::Map(Rc::new(keys), Rc::new(values))))
    }

    fn call(&mut self, name: &str, target: Option<&Tree>, args: &[Tree], at: usize) -> Typed<'s> {
        if let Some(done) = self.macro_call(name, target, args, at) {
            return done;
        }
        let full = target.and_then(qualified).map(|prefix| format!("{prefix}.{name}"));
        let namespaced = full.filter(|full| {
            let first = full.split('.').next().unwrap_or_default();
            self.local(first).is_none() && library::is_namespaced(full)
        });
        let (name, receiver) = match &namespaced {
            Some(full) => (full.as_str(), None),
            None => (name, target),
        };
        let mut exprs = Vec::with_capacity(args.len() + 1);
        let mut types = Vec::with_capacity(args.len() + 1);
        for tree in receiver.into_iter().chain(args) {
            let (expr, ty) = self.tree(tree)?;
            exprs.push(expr);
            types.push(ty);
        }
        let all = library::overloads(name, receiver.is_some());
        if all.is_empty() {
            return Err(undeclared(name, at));
        }
        let fitting: Vec<&Overload> = all.into_iter().filter(|overload| overload.accepts(&types)).collect();
        let Some(first) = fitting.first() else {
            return Err(no_overload(name, &types, receiver.is_some().then_some(()), at));
        };
        let ty = fitting
            .iter()
            .map(|overload| overload.result(&types))
            .reduce(Ty::join)
            .unwrap_or(Ty::Dyn);
        let pattern = literal_pattern(name, &exprs, at)?;
        let call = Call {
            native: first.native,
            cost: first.cost,
            args: exprs.into(),
            pattern,
        };
        Ok((Expr::Call(Box::new(call)), ty))
    }

    /// The macros; none if the call is none.
    fn macro_call(&mut self, name: &str, target: Option<&Tree>, args: &[Tree], at: usize) -> Option<Typed<'s>> {
        match (name, target, args) {
            ("has", None, [arg]) => Some(match &arg.node {
                Node::Select {
                    operand,
                    field,
                    optional: false,
                } => self.select(operand, field, false, true, arg.at),
                _ => Err(CompileError::new(arg.at, "invalid argument to has() macro")),
            }),
            (
                "bind",
                Some(Tree {
                    node: Node::Ident(namespace),
                    ..
                }),
                [name, value, body],
            ) if namespace == "cel" => Some(self.bind(name, value, body)),
            ("optMap" | "optFlatMap", Some(target), [variable, body]) => {
                Some(self.optional_map(target, variable, body, name == "optFlatMap", at))
            }
            ("all" | "exists" | "exists_one" | "existsOne", Some(target), [variable, body]) => {
                Some(self.fold(name, target, &[variable], Some(body), None, at))
            }
            ("all" | "exists" | "exists_one" | "existsOne", Some(target), [first, second, body]) => {
                Some(self.fold(name, target, &[first, second], Some(body), None, at))
            }
            ("filter", Some(target), [variable, test]) => {
                Some(self.fold(name, target, &[variable], Some(test), None, at))
            }
            ("map", Some(target), [variable, body]) => Some(self.fold(name, target, &[variable], None, Some(body), at)),
            ("map", Some(target), [variable, test, body]) => {
                Some(self.fold(name, target, &[variable], Some(test), Some(body), at))
            }
            ("sortBy", Some(target), [variable, body]) => {
                Some(self.fold(name, target, &[variable], None, Some(body), at))
            }
            ("transformList" | "transformMap" | "transformMapEntry", Some(target), [first, second, body]) => {
                Some(self.fold(name, target, &[first, second], None, Some(body), at))
            }
            ("transformList" | "transformMap" | "transformMapEntry", Some(target), [first, second, test, body]) => {
                Some(self.fold(name, target, &[first, second], Some(test), Some(body), at))
            }
            _ => None,
        }
    }

    fn bind(&mut self, name: &Tree, value: &Tree, body: &Tree) -> Typed<'s> {
        let name = variable(name)?;
        let (value, ty) = self.tree(value)?;
        self.locals.push((name, ty));
        let lowered = self.tree(body);
        self.locals.pop();
        let (body, ty) = lowered?;
        Ok((
            Expr::Bind {
                value: value.into(),
                body: body.into(),
            },
            ty,
        ))
    }

    fn optional_map(&mut self, target: &Tree, name: &Tree, body: &Tree, flat: bool, at: usize) -> Typed<'s> {
        let name = variable(name)?;
        let (operand, ty) = self.tree(target)?;
        let inner = match &ty {
            Ty::Optional(inner) => inner.as_ref().clone(),
            Ty::Dyn => Ty::Dyn,
            _ => return Err(no_overload("optMap", &[ty], None, at)),
        };
        self.locals.push((name, inner));
        let lowered = self.tree(body);
        self.locals.pop();
        let (body, result) = lowered?;
        let ty = if flat { result } else { Ty::Optional(Rc::new(result)) };
        Ok((
            Expr::OptionalMap {
                operand: operand.into(),
                body: body.into(),
                flat,
            },
            ty,
        ))
    }

    fn fold(
        &mut self,
        name: &str,
        target: &Tree,
        variables: &[&Tree],
        test: Option<&Tree>,
        body: Option<&Tree>,
        at: usize,
    ) -> Typed<'s> {
        let names: Result<Vec<String>, CompileError> = variables.iter().map(|tree| variable(tree)).collect();
        let names = names?;
        let (range, range_type) = self.tree(target)?;
        let (first, second) = match &range_type {
            Ty::Dyn => (Ty::Dyn, Ty::Dyn),
            Ty::List(item) => (Ty::Int, item.as_ref().clone()),
            Ty::Map(key, value) if names.len() == 2 => (key.as_ref().clone(), value.as_ref().clone()),
            Ty::Map(key, _) => (Ty::Int, key.as_ref().clone()),
            other => {
                let message = format!(
                    "expression of type '{}' cannot be range of a comprehension (must be list, map, or dynamic)",
                    other.name()
                );
                return Err(CompileError::new(target.at, message));
            }
        };
        let depth = self.locals.len();
        let types = if names.len() == 2 {
            vec![first.clone(), second.clone()]
        } else {
            vec![second.clone()]
        };
        self.locals.extend(names.iter().cloned().zip(types));
        let lowered = self.fold_parts(test, body, at);
        self.locals.truncate(depth);
        let (filter, body, body_type) = lowered?;
        let pair = names.len() == 2;
        let (kind, ty) = match name {
            "all" => (FoldKind::All, Ty::Bool),
            "exists" => (FoldKind::Exists, Ty::Bool),
            "exists_one" | "existsOne" => (FoldKind::ExistsOne, Ty::Bool),
            "filter" => (FoldKind::List, Ty::List(Rc::new(second))),
            "sortBy" => (FoldKind::SortBy, range_type),
            "transformMap" => {
                let values = Rc::new(body_type.unwrap_or(Ty::Dyn));
                (FoldKind::Map, Ty::Map(Rc::new(first), values))
            }
            "transformMapEntry" => (FoldKind::Entries, body_type.unwrap_or(Ty::Dyn)),
            _ => (FoldKind::List, Ty::List(Rc::new(body_type.unwrap_or(Ty::Dyn)))),
        };
        Ok((
            Expr::Fold(Box::new(Fold {
                range,
                kind,
                pair,
                filter,
                body,
            })),
            ty,
        ))
    }

    #[expect(
        clippy::type_complexity,
        reason = "the two parts of a fold and the type of the second"
    )]
    fn fold_parts(
        &mut self,
        test: Option<&Tree>,
        body: Option<&Tree>,
        at: usize,
    ) -> Result<(Option<Expr>, Option<Expr>, Option<Ty<'s>>), CompileError> {
        let filter = match test {
            None => None,
            Some(test) => {
                let (expr, ty) = self.tree(test)?;
                if !ty.fits(&Ty::Bool) {
                    let message = format!("expected type 'bool' but found '{}'", ty.name());
                    return Err(CompileError::new(if test.at > 0 { test.at } else { at }, message));
                }
                Some(expr)
            }
        };
        let Some(body) = body else {
            return Ok((filter, None, None));
        };
        let (body, ty) = self.tree(body)?;
        Ok((filter, Some(body), Some(ty)))
    }
}

/// The dotted name a tree of selections spells, e.g. `optional` or `google.protobuf`.
fn qualified(tree: &Tree) -> Option<String> {
    match &tree.node {
        Node::Ident(name) => Some(name.clone()),
        Node::Select {
            operand,
            field,
            optional: false,
        } => Some(format!("{}.{field}", qualified(operand)?)),
        _ => None,
    }
}

fn variable(tree: &Tree) -> Result<String, CompileError> {
    match &tree.node {
        Node::Ident(name) => Ok(name.clone()),
        _ => Err(CompileError::new(tree.at, "argument must be a simple name")),
    }
}

pub(super) fn undeclared(name: &str, at: usize) -> CompileError {
    CompileError::new(at, format!("undeclared reference to '{name}' (in container '')"))
}

fn no_overload(name: &str, types: &[Ty<'_>], receiver: Option<()>, at: usize) -> CompileError {
    let names: Vec<String> = types.iter().map(Ty::name).collect();
    let shown = match (receiver, names.split_first()) {
        (Some(()), Some((first, rest))) => format!("{first}.({})", rest.join(", ")),
        _ => format!("({})", names.join(", ")),
    };
    CompileError::new(
        at,
        format!("found no matching overload for '{name}' applied to '{shown}'"),
    )
}

fn ordered(a: &Ty<'_>, b: &Ty<'_>) -> bool {
    let number = |ty: &Ty<'_>| matches!(ty, Ty::Int | Ty::Uint | Ty::Double);
    let orderable = |ty: &Ty<'_>| {
        matches!(
            ty,
            Ty::Dyn | Ty::Bool | Ty::Text | Ty::Bytes | Ty::Duration | Ty::Timestamp
        ) || number(ty)
    };
    orderable(a) && orderable(b) && (a.fits(b) || (number(a) && number(b)))
}

fn arithmetic_type<'s>(sign: Arithmetic, a: &Ty<'s>, b: &Ty<'s>) -> Option<Ty<'s>> {
    use Arithmetic::{Add, Remainder, Subtract};
    Some(match (a, b) {
        (Ty::Int, Ty::Int) => Ty::Int,
        (Ty::Uint, Ty::Uint) => Ty::Uint,
        (Ty::Double, Ty::Double) if sign != Remainder => Ty::Double,
        (Ty::Text, Ty::Text) if sign == Add => Ty::Text,
        (Ty::Bytes, Ty::Bytes) if sign == Add => Ty::Bytes,
        (Ty::List(x), Ty::List(y)) if sign == Add && x.fits(y) => a.clone().join(b.clone()),
        (Ty::Duration, Ty::Duration) if matches!(sign, Add | Subtract) => Ty::Duration,
        (Ty::Timestamp, Ty::Duration) if matches!(sign, Add | Subtract) => Ty::Timestamp,
        (Ty::Duration, Ty::Timestamp) if sign == Add => Ty::Timestamp,
        (Ty::Timestamp, Ty::Timestamp) if sign == Subtract => Ty::Duration,
        (Ty::Dyn, Ty::Dyn) => Ty::Dyn,
        // One side is known: the result is of its type where it may stand on both sides.
        (Ty::Dyn, known) | (known, Ty::Dyn) => match known {
            Ty::Int | Ty::Uint | Ty::Double => known.clone(),
            Ty::Text | Ty::Bytes | Ty::List(_) if sign == Add => known.clone(),
            Ty::Duration | Ty::Timestamp if matches!(sign, Add | Subtract) => Ty::Dyn,
            _ => return None,
        },
        _ => return None,
    })
}

/// A literal pattern is compiled with the expression: a bad one refuses it.
fn literal_pattern(name: &str, args: &[Expr], at: usize) -> Result<Option<Arc<Pattern>>, CompileError> {
    let ("matches", [_, Expr::Text(source)]) = (name, args) else {
        return Ok(None);
    };
    pattern::compile(source).map_err(|error| CompileError::new(at, error))?;
    Ok(Some(Arc::new(Pattern::new(source))))
}
