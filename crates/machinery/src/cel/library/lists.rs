//! Functions of lists: Kubernetes' library, cel-go's list and set extensions.

use std::cmp::Ordering;

use super::{Cost, Give, Overload, Want, arg, global, int_arg, member};
use crate::cel::Failure;
use crate::cel::value::Val;

const L: &[Want] = &[Want::List];
const LL: &[Want] = &[Want::List, Want::List];
const LA: &[Want] = &[Want::List, Want::Any];
/// More items than this are not made by one call.
const RANGE_MAX: i64 = 1_000_000;

pub(super) const TABLE: &[Overload] = &[
    member("isSorted", L, Give::Bool, Cost::Items, is_sorted),
    member("sum", L, Give::Item, Cost::Items, sum),
    member("min", L, Give::Item, Cost::Items, |args| {
        extreme(args, Ordering::Less, "min")
    }),
    member("max", L, Give::Item, Cost::Items, |args| {
        extreme(args, Ordering::Greater, "max")
    }),
    member("indexOf", LA, Give::Int, Cost::Items, |args| {
        let wanted = arg(args, 1)?;
        let items = arg(args, 0)?.items()?;
        Ok(Val::Int(
            items
                .iter()
                .position(|item| item.equals(wanted))
                .map_or(-1, |at| at as i64),
        ))
    }),
    member("lastIndexOf", LA, Give::Int, Cost::Items, |args| {
        let wanted = arg(args, 1)?;
        let items = arg(args, 0)?.items()?;
        Ok(Val::Int(
            items
                .iter()
                .rposition(|item| item.equals(wanted))
                .map_or(-1, |at| at as i64),
        ))
    }),
    member("includes", LA, Give::Bool, Cost::Items, |args| {
        let wanted = arg(args, 1)?;
        Ok(Val::Bool(arg(args, 0)?.items()?.iter().any(|item| item.equals(wanted))))
    }),
    global("sets.contains", LL, Give::Bool, Cost::Cross, |args| {
        Ok(Val::Bool(contains_all(
            &arg(args, 0)?.items()?,
            &arg(args, 1)?.items()?,
        )))
    }),
    global("sets.equivalent", LL, Give::Bool, Cost::Cross, |args| {
        let (a, b) = (arg(args, 0)?.items()?, arg(args, 1)?.items()?);
        Ok(Val::Bool(contains_all(&a, &b) && contains_all(&b, &a)))
    }),
    global("sets.intersects", LL, Give::Bool, Cost::Cross, |args| {
        let (a, b) = (arg(args, 0)?.items()?, arg(args, 1)?.items()?);
        Ok(Val::Bool(a.iter().any(|item| b.iter().any(|other| item.equals(other)))))
    }),
    member(
        "slice",
        &[Want::List, Want::Int, Want::Int],
        Give::Same,
        Cost::Items,
        slice,
    ),
    Overload {
        spare: 1,
        ..member("flatten", &[Want::List, Want::Int], Give::Dyn, Cost::Items, flatten)
    },
    member("sort", L, Give::Same, Cost::Items, sort),
    member("distinct", L, Give::Same, Cost::Items, distinct),
    member("reverse", L, Give::Same, Cost::Items, |args| {
        Ok(Val::list(arg(args, 0)?.items()?.into_iter().rev().collect()))
    }),
    member("first", L, Give::OptionalOfItem, Cost::One, |args| at_end(args, |_| 0)),
    member("last", L, Give::OptionalOfItem, Cost::One, |args| {
        at_end(args, |len| len.saturating_sub(1))
    }),
    global("lists.range", &[Want::Int], Give::ListOfInt, Cost::Range, |args| {
        let count = int_arg(args, 0)?;
        if count > RANGE_MAX {
            return Err(Failure::Budget);
        }
        Ok(Val::list((0..count.max(0)).map(Val::Int).collect()))
    }),
];

fn at_end<'a>(args: &[Val<'a>], at: fn(usize) -> usize) -> Result<Val<'a>, Failure> {
    let list = arg(args, 0)?;
    let len = list
        .size()
        .filter(|_| list.is_list())
        .ok_or_else(Failure::no_overload)?;
    list.nth(at(len))
        .map_or(Ok(Val::Optional(None)), |item| item.map(Val::some))
}

fn contains_all(list: &[Val<'_>], wanted: &[Val<'_>]) -> bool {
    wanted.iter().all(|item| list.iter().any(|other| other.equals(item)))
}

fn is_sorted<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Failure> {
    let items = arg(args, 0)?.items()?;
    for pair in items.windows(2) {
        let [a, b] = pair else { continue };
        if a.compare(b).ok_or_else(Failure::no_overload)?.is_gt() {
            return Ok(Val::Bool(false));
        }
    }
    Ok(Val::Bool(true))
}

fn sum<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Failure> {
    let overflow = || Failure::error("integer overflow");
    let items = arg(args, 0)?.items()?;
    let mut items = items.into_iter();
    let Some(first) = items.next() else {
        return Ok(Val::Int(0));
    };
    items.try_fold(first, |total, item| match (total, item) {
        (Val::Int(a), Val::Int(b)) => a.checked_add(b).map(Val::Int).ok_or_else(overflow),
        (Val::Uint(a), Val::Uint(b)) => a.checked_add(b).map(Val::Uint).ok_or_else(overflow),
        (Val::Double(a), Val::Double(b)) => Ok(Val::Double(a + b)),
        (Val::Duration(a), Val::Duration(b)) => a.checked_add(b).map(Val::Duration).ok_or_else(overflow),
        _ => Err(Failure::no_overload()),
    })
}

fn extreme<'a>(args: &[Val<'a>], better: Ordering, name: &str) -> Result<Val<'a>, Failure> {
    let mut best: Option<Val<'a>> = None;
    for item in arg(args, 0)?.items()? {
        let wins = match &best {
            None => true,
            Some(best) => item.compare(best).ok_or_else(Failure::no_overload)? == better,
        };
        if wins {
            best = Some(item);
        }
    }
    best.ok_or_else(|| Failure::error(format!("{name} called on empty list")))
}

fn slice<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Failure> {
    let items = arg(args, 0)?.items()?;
    let (start, end) = (int_arg(args, 1)?, int_arg(args, 2)?);
    let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
    match range.and_then(|(start, end)| items.get(start..end)) {
        Some(part) => Ok(Val::list(part.to_vec())),
        None => Err(Failure::error(format!(
            "cannot slice({start}, {end}), list is length {}",
            items.len()
        ))),
    }
}

fn flatten<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Failure> {
    let depth = super::spare_int(args, 1)?.unwrap_or(1);
    if depth < 0 {
        return Err(Failure::error("level must be non-negative"));
    }
    let mut out = Vec::new();
    flatten_into(&arg(args, 0)?.items()?, depth, &mut out)?;
    Ok(Val::list(out))
}

fn flatten_into<'a>(items: &[Val<'a>], depth: i64, out: &mut Vec<Val<'a>>) -> Result<(), Failure> {
    for item in items {
        if i64::try_from(out.len()).is_ok_and(|len| len > RANGE_MAX) {
            return Err(Failure::Budget);
        }
        if depth > 0 && item.is_list() {
            flatten_into(&item.items()?, depth - 1, out)?
        } else {
            out.push(item.clone())
        }
    }
    Ok(())
}

fn sort<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Failure> {
    let mut items = arg(args, 0)?.items()?;
    if items
        .windows(2)
        .any(|pair| matches!(pair, [a, b] if a.compare(b).is_none()))
    {
        return Err(Failure::error("list elements must have the same type"));
    }
    items.sort_by(|a, b| a.compare(b).unwrap_or(Ordering::Equal));
    Ok(Val::list(items))
}

fn distinct<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Failure> {
    let items = arg(args, 0)?.items()?;
    if items.len() > 5_000 {
        // Each item is compared with each: beyond this the cost model would not hold.
        return Err(Failure::Budget);
    }
    let mut out: Vec<Val<'a>> = Vec::new();
    for item in items {
        if !out.iter().any(|have| have.equals(&item)) {
            out.push(item);
        }
    }
    Ok(Val::list(out))
}
