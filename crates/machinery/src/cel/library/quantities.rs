//! Quantities and semantic versions.

use std::cmp::Ordering;

use super::{Cost, Give, Overload, Want, arg, global, member, text_arg};
use crate::cel::Failure;
use crate::cel::foreign::Foreign;
use crate::cel::quantity::Quantity;
use crate::cel::semver::Semver;
use crate::cel::value::Val;

const T: &[Want] = &[Want::Text];
const Q: &[Want] = &[Want::Foreign("kubernetes.Quantity")];
const QQ: &[Want] = &[
    Want::Foreign("kubernetes.Quantity"),
    Want::Foreign("kubernetes.Quantity"),
];
const QI: &[Want] = &[Want::Foreign("kubernetes.Quantity"), Want::Int];
const S: &[Want] = &[Want::Foreign("kubernetes.Semver")];
const SS: &[Want] = &[Want::Foreign("kubernetes.Semver"), Want::Foreign("kubernetes.Semver")];
const TB: &[Want] = &[Want::Text, Want::Bool];
const QUANTITY: Give = Give::Foreign("kubernetes.Quantity");

pub(super) const TABLE: &[Overload] = &[
    global("quantity", T, QUANTITY, Cost::Scan, |args| {
        Quantity::parse(text_arg(args, 0)?)
            .map(|value| Val::foreign(Foreign::Quantity(value)))
            .map_err(Failure::error)
    }),
    global("isQuantity", T, Give::Bool, Cost::Scan, |args| {
        Ok(Val::Bool(Quantity::parse(text_arg(args, 0)?).is_ok()))
    }),
    member("sign", Q, Give::Int, Cost::One, |args| {
        quantity(args, 0).map(|value| Val::Int(value.sign()))
    }),
    global("sign", Q, Give::Int, Cost::One, |args| {
        quantity(args, 0).map(|value| Val::Int(value.sign()))
    }),
    member("isInteger", Q, Give::Bool, Cost::One, |args| {
        quantity(args, 0).map(|value| Val::Bool(value.as_int().is_some()))
    }),
    member("asInteger", Q, Give::Int, Cost::One, |args| {
        let value = quantity(args, 0)?.as_int();
        value
            .map(Val::Int)
            .ok_or_else(|| Failure::error("cannot convert value to integer"))
    }),
    member("asApproximateFloat", Q, Give::Double, Cost::One, |args| {
        quantity(args, 0).map(|value| Val::Double(value.as_float()))
    }),
    member("add", QQ, QUANTITY, Cost::One, |args| add(args, false)),
    member("add", QI, QUANTITY, Cost::One, |args| add(args, false)),
    member("sub", QQ, QUANTITY, Cost::One, |args| add(args, true)),
    member("sub", QI, QUANTITY, Cost::One, |args| add(args, true)),
    member("isGreaterThan", QQ, Give::Bool, Cost::One, |args| {
        Ok(Val::Bool(compare(args)?.is_gt()))
    }),
    member("isGreaterThan", SS, Give::Bool, Cost::One, |args| {
        Ok(Val::Bool(compare(args)?.is_gt()))
    }),
    member("isLessThan", QQ, Give::Bool, Cost::One, |args| {
        Ok(Val::Bool(compare(args)?.is_lt()))
    }),
    member("isLessThan", SS, Give::Bool, Cost::One, |args| {
        Ok(Val::Bool(compare(args)?.is_lt()))
    }),
    member("compareTo", QQ, Give::Int, Cost::One, |args| {
        Ok(Val::Int(compare(args)? as i64))
    }),
    member("compareTo", SS, Give::Int, Cost::One, |args| {
        Ok(Val::Int(compare(args)? as i64))
    }),
    Overload {
        spare: 1,
        ..global("semver", TB, Give::Foreign("kubernetes.Semver"), Cost::Scan, |args| {
            let error = || Failure::error("invalid semantic version");
            parsed(args)?
                .map(|value| Val::foreign(Foreign::Semver(value)))
                .ok_or_else(error)
        })
    },
    Overload {
        spare: 1,
        ..global("isSemver", TB, Give::Bool, Cost::Scan, |args| {
            Ok(Val::Bool(parsed(args)?.is_some()))
        })
    },
    member("major", S, Give::Int, Cost::One, |args| {
        semver(args).map(|value| Val::Int(value.major as i64))
    }),
    member("minor", S, Give::Int, Cost::One, |args| {
        semver(args).map(|value| Val::Int(value.minor as i64))
    }),
    member("patch", S, Give::Int, Cost::One, |args| {
        semver(args).map(|value| Val::Int(value.patch as i64))
    }),
];

fn foreign<'b>(args: &'b [Val<'_>], at: usize) -> Result<&'b Foreign, Failure> {
    match arg(args, at)? {
        Val::Foreign(value) => Ok(value),
        _ => Err(Failure::no_overload()),
    }
}

fn quantity(args: &[Val<'_>], at: usize) -> Result<Quantity, Failure> {
    match foreign(args, at)? {
        Foreign::Quantity(value) => Ok(*value),
        _ => Err(Failure::no_overload()),
    }
}

fn semver<'b>(args: &'b [Val<'_>]) -> Result<&'b Semver, Failure> {
    match foreign(args, 0)? {
        Foreign::Semver(value) => Ok(value),
        _ => Err(Failure::no_overload()),
    }
}

fn compare(args: &[Val<'_>]) -> Result<Ordering, Failure> {
    match (foreign(args, 0)?, foreign(args, 1)?) {
        (Foreign::Quantity(a), Foreign::Quantity(b)) => Ok(a.compare(b)),
        (Foreign::Semver(a), Foreign::Semver(b)) => Ok(a.compare(b)),
        _ => Err(Failure::no_overload()),
    }
}

fn add<'a>(args: &[Val<'a>], negate: bool) -> Result<Val<'a>, Failure> {
    let other = match arg(args, 1)? {
        Val::Int(value) => Quantity::from_int(*value),
        _ => quantity(args, 1)?,
    };
    let sum = quantity(args, 0)?.add(&other, negate);
    sum.map(|value| Val::foreign(Foreign::Quantity(value)))
        .ok_or_else(|| Failure::error("quantity overflow"))
}

fn parsed(args: &[Val<'_>]) -> Result<Option<Semver>, Failure> {
    let normalize = match args.get(1) {
        None => false,
        Some(Val::Bool(value)) => *value,
        Some(_) => return Err(Failure::no_overload()),
    };
    Ok(Semver::parse(text_arg(args, 0)?, normalize))
}
