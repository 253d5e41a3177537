//! Parts of instants and durations.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

use super::{Cost, Give, Native, Overload, Want, arg, member, text_arg};
use crate::cel::Failure;
use crate::cel::time::parse_offset;
use crate::cel::value::Val;

const AT: &[Want] = &[Want::Timestamp, Want::Text];
const SPAN: &[Want] = &[Want::Duration];

/// Of an instant; the zone may be left out.
const fn part(name: &'static str, native: Native) -> Overload {
    Overload {
        name,
        member: true,
        args: AT,
        spare: 1,
        gives: Give::Int,
        cost: Cost::One,
        native,
    }
}

pub(super) const TABLE: &[Overload] = &[
    part("getFullYear", |args| civil(args).map(|at| Val::Int(at.year().into()))),
    part("getMonth", |args| {
        civil(args).map(|at| Val::Int(i64::from(at.month()) - 1))
    }),
    part("getDate", |args| civil(args).map(|at| Val::Int(at.day().into()))),
    part("getDayOfMonth", |args| {
        civil(args).map(|at| Val::Int(i64::from(at.day()) - 1))
    }),
    part("getDayOfWeek", |args| {
        civil(args).map(|at| Val::Int(at.weekday().to_sunday_zero_offset().into()))
    }),
    part("getDayOfYear", |args| {
        civil(args).map(|at| Val::Int(i64::from(at.date().day_of_year()) - 1))
    }),
    part("getHours", |args| civil(args).map(|at| Val::Int(at.hour().into()))),
    part("getMinutes", |args| civil(args).map(|at| Val::Int(at.minute().into()))),
    part("getSeconds", |args| civil(args).map(|at| Val::Int(at.second().into()))),
    part("getMilliseconds", |args| {
        civil(args).map(|at| Val::Int(i64::from(at.subsec_nanosecond()) / 1_000_000))
    }),
    member("getHours", SPAN, Give::Int, Cost::One, |args| {
        civil_or_span(args, 3600 * 1_000_000_000)
    }),
    member("getMinutes", SPAN, Give::Int, Cost::One, |args| {
        civil_or_span(args, 60 * 1_000_000_000)
    }),
    member("getSeconds", SPAN, Give::Int, Cost::One, |args| {
        civil_or_span(args, 1_000_000_000)
    }),
    member("getMilliseconds", SPAN, Give::Int, Cost::One, |args| {
        civil_or_span(args, 1_000_000)
    }),
];

fn civil(args: &[Val<'_>]) -> Result<DateTime, Failure> {
    let at: Timestamp = match arg(args, 0)? {
        Val::Timestamp(at) => *at,
        _ => return Err(Failure::no_overload()),
    };
    let zone = if args.len() > 1 { text_arg(args, 1)? } else { "UTC" };
    let unknown = || Failure::error(format!("unknown time zone {zone}"));
    let seconds = parse_offset(zone)
        .and_then(|seconds| i32::try_from(seconds).ok())
        .ok_or_else(unknown)?;
    let offset = Offset::from_seconds(seconds).map_err(|_| unknown())?;
    Ok(at.to_zoned(TimeZone::fixed(offset)).datetime())
}

/// A duration in whole units.
fn civil_or_span<'a>(args: &[Val<'a>], unit: i64) -> Result<Val<'a>, Failure> {
    match arg(args, 0)? {
        Val::Duration(nanos) => Ok(Val::Int(nanos / unit)),
        _ => Err(Failure::no_overload()),
    }
}
