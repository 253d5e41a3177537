//! Durations and instants as Go and strfmt read and print them.

use jiff::Timestamp;
use jiff::civil::Date;

const NANOS_PER_SECOND: i64 = 1_000_000_000;
/// The loose units of Scala durations: accepted by prefix.
const LOOSE_UNITS: [(&[&str], i64); 8] = [
    (&["ns", "nano"], 1),
    (&["us", "µs", "micro"], 1_000),
    (&["ms", "milli"], 1_000_000),
    (&["s", "sec"], NANOS_PER_SECOND),
    (&["m", "min"], 60 * NANOS_PER_SECOND),
    (&["h", "hr", "hour"], 3600 * NANOS_PER_SECOND),
    (&["d", "day"], 86_400 * NANOS_PER_SECOND),
    (&["w", "wk", "week"], 7 * 86_400 * NANOS_PER_SECOND),
];

/// `2006-01-02`, in that very form.
pub fn parse_date(text: &str) -> Option<Date> {
    let bytes = text.as_bytes();
    let shaped = bytes.len() == 10
        && bytes.iter().enumerate().all(|(index, b)| {
            if matches!(index, 4 | 7) {
                *b == b'-'
            } else {
                b.is_ascii_digit()
            }
        });
    if !shaped {
        return None;
    }
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i16>().ok();
    Date::new(
        number(0, 4)?,
        i8::try_from(number(5, 7)?).ok()?,
        i8::try_from(number(8, 10)?).ok()?,
    )
    .ok()
}

/// Whether lower-case text is the part of an RFC 3339 date-time after the `t`.
pub fn is_clock(text: &str) -> bool {
    let bytes = text.as_bytes();
    let two = |from: usize, max: &str| {
        text.get(from..from + 2)
            .is_some_and(|part| part.bytes().all(|b| b.is_ascii_digit()) && part <= max)
    };
    let colons = bytes.get(2) == Some(&b':') && bytes.get(5) == Some(&b':');
    if !colons || !two(0, "23") || !two(3, "59") || !two(6, "59") {
        return false;
    }
    let Some(rest) = text.get(8..) else { return false };
    let zone_at = rest
        .char_indices()
        .skip(1)
        .find(|(_, c)| !c.is_ascii_digit())
        .map(|(index, _)| index);
    let starts_zone = rest.starts_with(['z', '+', '-']);
    let zone = match zone_at {
        _ if starts_zone => rest,
        Some(at) if at > 1 => rest.get(at..).unwrap_or_default(),
        _ => return false,
    };
    let offset = |zone: &str| {
        let digits = zone
            .bytes()
            .enumerate()
            .skip(1)
            .all(|(i, b)| if i == 3 { b == b':' } else { b.is_ascii_digit() });
        zone.len() == 6 && zone.starts_with(['+', '-']) && digits
    };
    zone == "z" || offset(zone)
}

/// Go's `time.ParseDuration`, in nanoseconds.
pub fn parse_duration(text: &str) -> Option<i64> {
    crate::time::parse_go_duration(text).ok()
}

/// strfmt's durations: Go's, else Scala's (`22 ns`, `3 days`).
pub fn parse_loose_duration(text: &str) -> Option<i64> {
    if let Some(nanos) = parse_duration(text) {
        return Some(nanos);
    }
    let mut total: Option<i64> = None;
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        rest = rest.get(start..)?;
        let number_end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(number_end);
        let tail = tail.trim_start();
        let unit_end = tail
            .find(|c: char| !c.is_ascii_alphabetic() && c != 'µ')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let unit = unit.to_lowercase();
        let count: i64 = number.parse().ok()?;
        for (names, nanos) in LOOSE_UNITS {
            let by_prefix = names.last().is_some_and(|last| unit.starts_with(last));
            if by_prefix || names.contains(&unit.as_str()) {
                total = Some(total.unwrap_or_default().wrapping_add(count.wrapping_mul(nanos)));
                break;
            }
        }
        rest = tail;
    }
    total
}

/// A duration as CEL prints it: seconds with a fraction, `1.5s`.
pub fn format_duration(nanos: i64) -> String {
    let (sign, nanos) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
    let (seconds, fraction) = (nanos / NANOS_PER_SECOND as u64, nanos % NANOS_PER_SECOND as u64);
    if fraction == 0 {
        return format!("{sign}{seconds}s");
    }
    let digits = format!("{fraction:09}");
    format!("{sign}{seconds}.{}s", digits.trim_end_matches('0'))
}

/// An RFC 3339 instant.
pub fn parse_timestamp(text: &str) -> Option<Timestamp> {
    let lower = text.to_ascii_lowercase();
    let (date, clock) = lower.split_once('t')?;
    parse_date(date)?;
    if !is_clock(clock) {
        return None;
    }
    lower.to_ascii_uppercase().parse().ok()
}

/// Seconds east of UTC of a zone given as `UTC`, `` or `+hh:mm`. Named zones need a database, which is not here.
pub fn parse_offset(zone: &str) -> Option<i64> {
    if matches!(zone, "" | "UTC" | "Z") {
        return Some(0);
    }
    let (sign, rest) = match zone.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, zone.strip_prefix('+').unwrap_or(zone)),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    ((0..=23).contains(&hours) && (0..=59).contains(&minutes)).then_some(sign * (hours * 3600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations_as_go() {
        assert_eq!(parse_duration("1h2m3.5s"), Some(3_723_500_000_000));
        assert_eq!(parse_duration("-1.5ms"), Some(-1_500_000));
        assert_eq!(parse_duration("0"), Some(0));
        assert_eq!(parse_duration("1"), None);
        assert_eq!(parse_duration(""), None);
        assert_eq!(parse_duration("9999999h"), None);
        assert_eq!(parse_loose_duration("3 days"), Some(3 * 86_400 * NANOS_PER_SECOND));
        assert_eq!(format_duration(1_500_000_000), "1.5s");
    }

    #[test]
    fn reads_instants() {
        assert!(parse_timestamp("2024-01-02T03:04:05.678+01:00").is_some());
        assert!(parse_timestamp("2024-01-02").is_none());
        assert_eq!(parse_offset("-01:30"), Some(-5400));
        assert_eq!(parse_offset("Europe/Berlin"), None);
    }
}
