//! From steps to values.

use std::cmp::Ordering;

use serde_json::Value;

use super::{Comparison, Filter, Operand, Step};

/// Values that a path may gather at once: `..` again and again grows without end otherwise.
const FOUND_MAX: usize = 100_000;

pub(super) fn find<'a>(steps: &[Step], from: &'a Value, root: &'a Value) -> Vec<&'a Value> {
    let mut here = vec![from];
    for step in steps {
        let mut next = Vec::new();
        for value in here {
            apply(step, value, root, &mut next);
            if next.len() > FOUND_MAX {
                return Vec::new();
            }
        }
        here = next;
    }
    here
}

fn apply<'a>(step: &Step, value: &'a Value, root: &'a Value, found: &mut Vec<&'a Value>) {
    match (step, value) {
        (Step::Field(name), Value::Object(members)) => found.extend(members.get(name)),
        (Step::Index(index), Value::Array(items)) => {
            found.extend(position(*index, items.len()).and_then(|at| items.get(at)));
        }
        (Step::Slice { start, end, step }, Value::Array(items)) => {
            let bound = |at: Option<i64>, default: usize| match at {
                None => default,
                Some(at) if at < 0 => items
                    .len()
                    .saturating_sub(usize::try_from(at.unsigned_abs()).unwrap_or(usize::MAX)),
                Some(at) => usize::try_from(at).unwrap_or(usize::MAX).min(items.len()),
            };
            let (start, end) = (bound(*start, 0), bound(*end, items.len()));
            let step = usize::try_from(*step).unwrap_or(1).max(1);
            found.extend(items.get(start..end).unwrap_or_default().iter().step_by(step));
        }
        (Step::Wildcard, Value::Array(items)) => found.extend(items),
        (Step::Wildcard, Value::Object(members)) => found.extend(members.values()),
        (Step::Recursive, value) => descend(value, found),
        (Step::Union(steps), value) => steps.iter().for_each(|step| apply(step, value, root, found)),
        (Step::Filter(filter), Value::Array(items)) => {
            found.extend(items.iter().filter(|item| holds(filter, item, root)));
        }
        _ => {}
    }
}

fn position(index: i64, length: usize) -> Option<usize> {
    let from_end = usize::try_from(index.unsigned_abs()).ok()?;
    if index < 0 {
        length.checked_sub(from_end)
    } else {
        Some(from_end)
    }
}

fn descend<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    if found.len() > FOUND_MAX {
        return;
    }
    found.push(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| descend(item, found)),
        Value::Object(members) => members.values().for_each(|member| descend(member, found)),
        _ => {}
    }
}

fn holds<'a>(filter: &'a Filter, item: &'a Value, root: &'a Value) -> bool {
    match filter {
        Filter::Exists(operand) => resolve(operand, item, root).is_some(),
        Filter::Compare(left, comparison, right) => match (resolve(left, item, root), resolve(right, item, root)) {
            (Some(left), Some(right)) => compare(left, *comparison, right),
            _ => false,
        },
    }
}

fn resolve<'a>(operand: &'a Operand, item: &'a Value, root: &'a Value) -> Option<&'a Value> {
    match operand {
        Operand::Item(steps) => find(steps, item, root).into_iter().next(),
        Operand::Root(steps) => find(steps, root, root).into_iter().next(),
        Operand::Literal(value) => Some(value),
    }
}

fn compare(left: &Value, comparison: Comparison, right: &Value) -> bool {
    let order = match (left, right) {
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            _ => left
                .as_f64()
                .zip(right.as_f64())
                .and_then(|(left, right)| left.partial_cmp(&right)),
        },
        (left, right) if left == right => Some(Ordering::Equal),
        _ => None,
    };
    match (comparison, order) {
        (Comparison::NotEqual, order) => order != Some(Ordering::Equal),
        (_, None) => false,
        (Comparison::Equal, Some(order)) => order.is_eq(),
        (Comparison::Less, Some(order)) => order.is_lt(),
        (Comparison::LessOrEqual, Some(order)) => order.is_le(),
        (Comparison::Greater, Some(order)) => order.is_gt(),
        (Comparison::GreaterOrEqual, Some(order)) => order.is_ge(),
    }
}
