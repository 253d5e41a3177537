//! The worst cost of an expression, from the limits a schema sets (cel-go's and Kubernetes' static estimate).
//!
//! Where upstream knows a size, so does this; where upstream gives up and takes the largest number there is, this takes
//! one: an expression is never refused that upstream accepts. The cost limit of each run holds anyway.

use std::rc::Rc;

use super::expr::{Arithmetic, Compare, Expr, Fold, FoldKind};
use super::library::Cost;
use crate::schema::format::Format;
use crate::schema::structural::{Kind, Schema};

/// A request can be no larger, in bytes.
const REQUEST_BYTES_MAX: u64 = 3 * 1024 * 1024;

/// What is known of a value: the schema it comes from, or its size.
#[derive(Clone, Debug)]
enum Shape<'s> {
    Schema(&'s Schema),
    /// A key of a map of the object. Upstream takes it for empty.
    Key,
    Sized(u64),
    List(Rc<Shape<'s>>, u64),
    Unknown,
}

struct Estimate<'s> {
    this: &'s Schema,
    locals: Vec<Shape<'s>>,
}

/// The most an expression can cost on one value of the schema.
pub(super) fn max_cost(expr: &Expr, schema: &Schema) -> u64 {
    Estimate {
        this: schema,
        locals: Vec::new(),
    }
    .cost(expr)
    .0
}

/// How often a value of the schema can be in one object at most, where no limit above it says.
pub fn repetitions_max(schema: &Schema) -> u64 {
    REQUEST_BYTES_MAX / (bytes_min(schema) + 1)
}

/// The fewest bytes a value takes as JSON.
fn bytes_min(schema: &Schema) -> u64 {
    match schema.kind {
        _ if schema.int_or_string => 1,
        Kind::String => match schema.format() {
            Some(Format::Duration) => 3,
            Some(Format::Date) => 12,
            Some(Format::DateTime) => 21,
            _ => 2,
        },
        Kind::Boolean => 4,
        Kind::Integer | Kind::Number => 1,
        Kind::Object if schema.additional_schema().is_none() => {
            let required = schema
                .values
                .as_ref()
                .map(|values| &*values.required)
                .unwrap_or_default();
            let members = required.iter().filter_map(|name| Some((name, schema.property(name)?)));
            let sizes = members
                .filter(|(_, property)| property.default.is_none())
                .map(|(name, property)| name.len() as u64 + bytes_min(property) + 4);
            2 + sizes.sum::<u64>()
        }
        Kind::Unset | Kind::Object | Kind::Array => 2,
    }
}

/// The largest size a value can have: characters, items, members.
fn size_max(schema: &Schema) -> u64 {
    let text = REQUEST_BYTES_MAX - 2;
    match schema.kind {
        _ if schema.int_or_string => schema.max_length().map_or(text, |max| max.saturating_mul(4)),
        Kind::String => match (schema.format(), schema.max_length()) {
            (Some(Format::Duration | Format::DateTime), _) => 32,
            (Some(Format::Date), _) => 12,
            (Some(Format::Byte), Some(max)) => max,
            (_, Some(max)) => max.saturating_mul(4),
            (_, None) => longest_allowed(schema).unwrap_or(text),
        },
        Kind::Array => schema.max_items().unwrap_or_else(|| {
            let item = schema.items.as_deref().map_or(1, bytes_min);
            (REQUEST_BYTES_MAX - 2) / (item + 1)
        }),
        Kind::Object => match schema.additional_schema() {
            Some(member) => schema
                .max_properties()
                .unwrap_or_else(|| (REQUEST_BYTES_MAX - 2) / (bytes_min(member) + 6)),
            None => 0,
        },
        Kind::Unset | Kind::Boolean | Kind::Integer | Kind::Number => 0,
    }
}

fn longest_allowed(schema: &Schema) -> Option<u64> {
    let allowed = &schema.values.as_ref()?.allowed;
    allowed
        .iter()
        .filter_map(|value| value.as_str())
        .map(|text| text.len() as u64)
        .max()
}

/// A part of a size, rounded up.
fn scaled(size: u64, tenths: u64) -> u64 {
    size.saturating_mul(tenths).div_ceil(10)
}

// === impl Shape ===

impl<'s> Shape<'s> {
    fn size(&self) -> u64 {
        match self {
            Self::Schema(schema) => size_max(schema),
            Self::Key => 0,
            Self::Sized(size) | Self::List(_, size) => *size,
            Self::Unknown => 1,
        }
    }

    fn member(&self, name: &str) -> Self {
        match self {
            Self::Schema(schema) => schema.member(name).map_or(Self::Unknown, |member| Self::Schema(member)),
            _ => Self::Unknown,
        }
    }

    /// An item of a list, a value of a map.
    fn entry(&self) -> Self {
        match self {
            Self::Schema(schema) => match (schema.items.as_deref(), schema.additional_schema()) {
                (Some(item), _) => Self::Schema(item),
                (None, Some(member)) => Self::Schema(member),
                (None, None) => Self::Unknown,
            },
            Self::List(item, _) => item.as_ref().clone(),
            _ => Self::Unknown,
        }
    }

    /// What a macro with one variable goes over: items of a list, keys of a map.
    fn walked(&self) -> Self {
        match self {
            Self::Schema(schema) if schema.kind == Kind::Object => Self::Key,
            other => other.entry(),
        }
    }
}

// === impl Estimate ===

impl<'s> Estimate<'s> {
    fn cost(&mut self, expr: &Expr) -> (u64, Shape<'s>) {
        let scalar = Shape::Sized(1);
        match expr {
            Expr::Null | Expr::Bool(_) | Expr::Int(_) | Expr::Uint(_) | Expr::Double(_) | Expr::Type(_) => (0, scalar),
            Expr::Text(text) => (0, Shape::Sized(text.chars().count() as u64)),
            Expr::Bytes(bytes) => (0, Shape::Sized(bytes.len() as u64)),
            Expr::This | Expr::Old => (1, Shape::Schema(self.this)),
            Expr::Local(slot) => (1, self.locals.get(*slot).cloned().unwrap_or(Shape::Unknown)),
            Expr::Select(select) => {
                let (cost, shape) = self.cost(&select.operand);
                if select.test {
                    return (cost, scalar);
                }
                (cost.saturating_add(1), shape.member(&select.name))
            }
            Expr::Index { operand, index, .. } => {
                let ((cost, shape), (at, _)) = (self.cost(operand), self.cost(index));
                (cost.saturating_add(at).saturating_add(1), shape.entry())
            }
            Expr::Call(call) => self.call(call.cost, &call.args),
            Expr::Not(operand) | Expr::Negate(operand) => (self.cost(operand).0.saturating_add(1), scalar),
            Expr::Arithmetic { sign, left, right } => self.arithmetic(*sign, left, right),
            Expr::Compare { sign, left, right } => {
                let ((left, a), (right, b)) = (self.cost(left), self.cost(right));
                let sized = matches!(sign, Compare::Equal | Compare::NotEqual);
                let own = scaled(a.size().min(b.size()), 1).max(u64::from(!sized));
                (left.saturating_add(right).saturating_add(own), scalar)
            }
            Expr::In { item, list } => {
                let ((item, _), (list, shape)) = (self.cost(item), self.cost(list));
                (item.saturating_add(list).saturating_add(shape.size()), scalar)
            }
            Expr::All(parts) | Expr::Any(parts) => (self.sum(parts.iter()), scalar),
            Expr::Choice(parts) => {
                let [condition, yes, no] = &**parts;
                let (asked, (yes, a), (no, b)) = (self.cost(condition).0, self.cost(yes), self.cost(no));
                (
                    asked.saturating_add(yes.max(no)),
                    if a.size() >= b.size() { a } else { b },
                )
            }
            Expr::List(items) => self.list(items),
            Expr::Map(entries) => {
                let members = entries.iter().flat_map(|(key, value, _)| [key, value]);
                (self.sum(members).saturating_add(30), Shape::Sized(entries.len() as u64))
            }
            Expr::Fold(fold) => self.fold(fold),
            Expr::Bind { value, body }
            | Expr::OptionalMap {
                operand: value, body, ..
            } => {
                let (value, shape) = self.cost(value);
                self.locals.push(shape);
                let (body, shape) = self.cost(body);
                self.locals.pop();
                // As cel-go: a bind is a comprehension over a list it makes.
                (value.saturating_add(body).saturating_add(10), shape)
            }
        }
    }

    fn sum<'e>(&mut self, parts: impl Iterator<Item = &'e Expr>) -> u64 {
        parts.fold(0, |sum, part| sum.saturating_add(self.cost(part).0))
    }

    fn list(&mut self, items: &[(Expr, bool)]) -> (u64, Shape<'s>) {
        let mut cost = 10_u64;
        let mut largest: Option<Shape<'s>> = None;
        for (item, _) in items {
            let (own, shape) = self.cost(item);
            cost = cost.saturating_add(own);
            largest = Some(match largest {
                Some(have) if have.size() >= shape.size() => have,
                _ => shape,
            });
        }
        (
            cost,
            Shape::List(Rc::new(largest.unwrap_or(Shape::Unknown)), items.len() as u64),
        )
    }

    fn arithmetic(&mut self, sign: Arithmetic, left: &Expr, right: &Expr) -> (u64, Shape<'s>) {
        let ((left, a), (right, b)) = (self.cost(left), self.cost(right));
        let size = a.size().saturating_add(b.size());
        let (own, shape) = match (sign, &a) {
            (Arithmetic::Add, Shape::List(item, _)) => (1, Shape::List(Rc::clone(item), size)),
            (Arithmetic::Add, _) => (scaled(size, 1).max(1), Shape::Sized(size)),
            _ => (1, Shape::Sized(1)),
        };
        (left.saturating_add(right).saturating_add(own), shape)
    }

    fn call(&mut self, cost: Cost, args: &[Expr]) -> (u64, Shape<'s>) {
        let parts: Vec<(u64, Shape<'s>)> = args.iter().map(|arg| self.cost(arg)).collect();
        let sum = parts.iter().fold(0_u64, |sum, (cost, _)| sum.saturating_add(*cost));
        let size = |at: usize| parts.get(at).map_or(1, |(_, shape)| shape.size());
        let first = size(0);
        let (own, shape) = match cost {
            Cost::One | Cost::Count | Cost::Copy | Cost::Range => (1, Shape::Unknown),
            Cost::Scan => (scaled(first, 1), Shape::Sized(first)),
            Cost::Rewrite | Cost::Replace => (scaled(first, 2), Shape::List(Rc::new(Shape::Sized(first)), first)),
            Cost::Join | Cost::Format => (scaled(first, 2), Shape::Sized(first)),
            Cost::Search => (scaled(first, 1).saturating_mul(scaled(size(1), 1)), Shape::Sized(1)),
            Cost::Pattern => {
                let states = size(1).div_ceil(4);
                (
                    scaled(first.saturating_add(1), 1).saturating_mul(states),
                    Shape::Sized(first),
                )
            }
            Cost::Items => (first, parts.first().map_or(Shape::Unknown, |(_, shape)| shape.clone())),
            Cost::Cross => (first.saturating_mul(size(1)), Shape::Sized(1)),
        };
        (sum.saturating_add(own), shape)
    }

    fn fold(&mut self, fold: &Fold) -> (u64, Shape<'s>) {
        let (range_cost, range) = self.cost(&fold.range);
        let depth = self.locals.len();
        if fold.pair {
            self.locals.push(Shape::Key);
            self.locals.push(range.entry());
        } else {
            self.locals.push(range.walked());
        }
        let filter = fold.filter.as_ref().map_or(0, |filter| self.cost(filter).0);
        let body = fold.body.as_ref().map(|body| self.cost(body));
        self.locals.truncate(depth);
        let body_cost = body.as_ref().map_or(0, |(cost, _)| *cost);
        // What the loop itself costs in cel-go: its condition, the accumulator, the step.
        let (start, step) = match fold.kind {
            FoldKind::All | FoldKind::Exists => (1, 3),
            FoldKind::ExistsOne => (2, 2),
            FoldKind::List | FoldKind::Map | FoldKind::Entries | FoldKind::SortBy => (11, 12),
        };
        let each = filter.saturating_add(body_cost).saturating_add(step);
        let cost = range_cost
            .saturating_add(start)
            .saturating_add(range.size().saturating_mul(each));
        let shape = match fold.kind {
            FoldKind::List => {
                let item = body.map_or_else(|| range.walked(), |(_, shape)| shape);
                Shape::List(Rc::new(item), range.size())
            }
            FoldKind::SortBy => range,
            _ => Shape::Sized(1),
        };
        (cost, shape)
    }
}
