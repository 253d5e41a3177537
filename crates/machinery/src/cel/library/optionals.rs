//! Optional values.

use super::{Cost, Give, Overload, Want, arg, global, member};
use crate::cel::Failure;
use crate::cel::value::Val;

const ONE: &[Want] = &[Want::Optional];

pub(super) const TABLE: &[Overload] = &[
    global("optional.of", &[Want::Any], Give::OptionalOfFirst, Cost::One, |args| {
        Ok(Val::some(arg(args, 0)?.clone()))
    }),
    global("optional.none", &[], Give::OptionalOfDyn, Cost::One, |_| {
        Ok(Val::Optional(None))
    }),
    global(
        "optional.ofNonZeroValue",
        &[Want::Any],
        Give::OptionalOfFirst,
        Cost::One,
        |args| {
            let value = arg(args, 0)?;
            Ok(if is_zero(value) {
                Val::Optional(None)
            } else {
                Val::some(value.clone())
            })
        },
    ),
    member("hasValue", ONE, Give::Bool, Cost::One, |args| {
        Ok(Val::Bool(held(args)?.is_some()))
    }),
    member("value", ONE, Give::Held, Cost::One, |args| {
        held(args)?.ok_or_else(|| Failure::error("optional.none() dereference"))
    }),
    member("orValue", &[Want::Optional, Want::Any], Give::Held, Cost::One, |args| {
        Ok(held(args)?.unwrap_or(arg(args, 1)?.clone()))
    }),
    member("or", &[Want::Optional, Want::Optional], Give::Same, Cost::One, |args| {
        arg(args, if held(args)?.is_some() { 0 } else { 1 }).cloned()
    }),
];

fn held<'a>(args: &[Val<'a>]) -> Result<Option<Val<'a>>, Failure> {
    match arg(args, 0)? {
        Val::Optional(inner) => Ok(inner.as_deref().cloned()),
        _ => Err(Failure::no_overload()),
    }
}

fn is_zero(value: &Val<'_>) -> bool {
    match value {
        Val::Null | Val::Bool(false) | Val::Int(0) | Val::Uint(0) | Val::Duration(0) => true,
        Val::Double(number) => *number == 0.0,
        other => other.size() == Some(0),
    }
}
