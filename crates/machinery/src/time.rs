//! Times on the wire. Inside, a time is nanoseconds since 1970 (UTC), as the clock gives it.

use jiff::Timestamp;

use crate::text::quote;

const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// Why a time or a duration could not be read, in Go's words.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct TimeError(pub String);

/// `metav1.Time`: whole seconds, `2026-11-22T17:01:10Z`.
pub fn format_seconds(unix_nanos: i128) -> String {
    let seconds = timestamp(unix_nanos).as_second();
    Timestamp::from_second(seconds)
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .to_string()
}

/// `metav1.MicroTime`: always six decimals, `2026-11-22T17:01:10.000000Z`.
pub fn format_micros(unix_nanos: i128) -> String {
    format!("{:.6}", timestamp(unix_nanos))
}

/// Any RFC 3339 time, fractions and offsets included, to nanoseconds since 1970.
pub fn parse_rfc3339(text: &str) -> Result<i128, TimeError> {
    // jiff also reads other ISO 8601 shapes; Go's layout wants these bytes here.
    let bytes = text.as_bytes();
    let digits = |from: usize, to: usize| {
        bytes
            .get(from..to)
            .is_some_and(|part| part.iter().all(u8::is_ascii_digit))
    };
    let is = |at: usize, byte: u8| bytes.get(at) == Some(&byte);
    let shaped = digits(0, 4)
        && is(4, b'-')
        && digits(5, 7)
        && is(7, b'-')
        && digits(8, 10)
        && is(10, b'T')
        && digits(11, 13)
        && is(13, b':')
        && digits(14, 16)
        && is(16, b':')
        && digits(17, 19)
        && zone_ok(text.get(19..).unwrap_or_default());
    let parsed = if shaped { text.parse::<Timestamp>().ok() } else { None };
    parsed.map(Timestamp::as_nanosecond).ok_or_else(|| {
        let (found, wanted) = if !digits(0, 4) {
            (text, "2006")
        } else {
            (text.get(4..).unwrap_or_default(), "-")
        };
        TimeError(format!(
            "parsing time {} as \"2006-01-02T15:04:05Z07:00\": cannot parse {} as {}",
            quote(text),
            quote(found),
            quote(wanted)
        ))
    })
}

/// `[.digits](Z|±hh:mm)`
fn zone_ok(rest: &str) -> bool {
    let rest = match rest.strip_prefix('.') {
        Some(fraction) => {
            let end = fraction
                .find(|char: char| !char.is_ascii_digit())
                .unwrap_or(fraction.len());
            if !(1..=9).contains(&end) {
                return false;
            }
            fraction.get(end..).unwrap_or_default()
        }
        None => rest,
    };
    match rest.as_bytes() {
        b"Z" => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => [h1, h2, m1, m2].iter().all(|byte| byte.is_ascii_digit()),
        _ => false,
    }
}

/// A time that has passed, as kubectl and printers show ages: `5s`, `2m30s`, `3h`, `2d4h`, `1y20d`.
pub fn human_duration(nanos: i128) -> String {
    // A small lead is clock skew between servers; anything more is a wrong clock and is shown as such.
    let seconds = nanos / NANOS_PER_SECOND;
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    if seconds < 0 {
        return "0s".to_owned();
    }
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let (days, years) = (hours / 24, hours / 24 / 365);
    let pair = |first: i128, unit: char, second: i128, smaller: char| {
        if second == 0 {
            format!("{first}{unit}")
        } else {
            format!("{first}{unit}{second}{smaller}")
        }
    };
    if seconds < 120 {
        format!("{seconds}s")
    } else if minutes < 10 {
        pair(minutes, 'm', seconds % 60, 's')
    } else if minutes < 180 {
        format!("{minutes}m")
    } else if hours < 8 {
        pair(hours, 'h', minutes % 60, 'm')
    } else if hours < 48 {
        format!("{hours}h")
    } else if hours < 192 {
        pair(days, 'd', hours % 24, 'h')
    } else if hours < 24 * 365 * 2 {
        format!("{days}d")
    } else if hours < 24 * 365 * 8 {
        pair(years, 'y', days % 365, 'd')
    } else {
        format!("{years}y")
    }
}

/// The age of a timestamp as a printer shows it: `<unknown>` where there is none.
pub fn age(timestamp: Option<&str>, now_unix_nanos: i128) -> String {
    match timestamp {
        None | Some("") => "<unknown>".to_owned(),
        Some(text) => {
            parse_rfc3339(text).map_or_else(|_| "<invalid>".to_owned(), |then| human_duration(now_unix_nanos - then))
        }
    }
}

/// A Go duration (`1h30m`, `250ms`, `-1.5s`, `0`) in nanoseconds.
pub fn parse_go_duration(text: &str) -> Result<i64, TimeError> {
    let fail = |why: &str| TimeError(format!("time: {why} {}", quote(text)));
    let invalid = || fail("invalid duration");
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (whole, after) = rest.split_at(rest.find(|char: char| !char.is_ascii_digit()).unwrap_or(rest.len()));
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(after.find(|char: char| !char.is_ascii_digit()).unwrap_or(after.len())),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let (unit, after) = after.split_at(
            after
                .find(|char: char| char == '.' || char.is_ascii_digit())
                .unwrap_or(after.len()),
        );
        let scale: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => NANOS_PER_SECOND,
            "m" => 60 * NANOS_PER_SECOND,
            "h" => 3600 * NANOS_PER_SECOND,
            "" => return Err(fail("missing unit in duration")),
            other => {
                return Err(TimeError(format!(
                    "time: unknown unit {} in duration {}",
                    quote(other),
                    quote(text)
                )));
            }
        };
        let whole: i128 = if whole.is_empty() {
            0
        } else {
            whole.parse().map_err(|_| invalid())?
        };
        // Digits beyond the nineteenth are below a nanosecond of any unit.
        let fraction = fraction.get(..fraction.len().min(19)).unwrap_or_default();
        let divisor = 10_i128.pow(u32::try_from(fraction.len()).unwrap_or(0));
        let part: i128 = if fraction.is_empty() {
            0
        } else {
            fraction.parse().map_err(|_| invalid())?
        };
        let nanos = whole.checked_mul(scale).map(|whole| whole + part * scale / divisor);
        total = nanos.and_then(|nanos| total.checked_add(nanos)).ok_or_else(invalid)?;
        rest = after;
    }
    let total = if negative { -total } else { total };
    i64::try_from(total).map_err(|_| invalid())
}

/// A duration as Go prints it: `1h30m0s`, `250ms`, `0s`.
pub fn format_go_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let total = nanos.unsigned_abs();
    let decimal = |scale: u64| {
        let (whole, part) = (total / scale, total % scale);
        let width = scale.ilog10() as usize;
        let digits = format!("{part:0width$}");
        let digits = if width == 0 { "" } else { digits.trim_end_matches('0') };
        if digits.is_empty() {
            whole.to_string()
        } else {
            format!("{whole}.{digits}")
        }
    };
    match total {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{total}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", decimal(1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", decimal(1_000_000)),
        _ => {
            let minutes = total / 60_000_000_000;
            let rest = total % 60_000_000_000;
            let (whole, part) = (rest / 1_000_000_000, rest % 1_000_000_000);
            let digits = format!("{part:09}");
            let digits = digits.trim_end_matches('0');
            let seconds = if digits.is_empty() {
                format!("{whole}s")
            } else {
                format!("{whole}.{digits}s")
            };
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}"),
            }
        }
    }
}

/// Times beyond the years -9999…9999 are brought to the nearest that can be printed.
fn timestamp(unix_nanos: i128) -> Timestamp {
    Timestamp::from_nanosecond(unix_nanos).unwrap_or(if unix_nanos < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i128 = NANOS_PER_SECOND;

    #[test]
    fn times_print_in_utc() {
        let nanos = parse_rfc3339("2026-11-22T17:01:10.1234567+02:00").unwrap();
        assert_eq!(format_seconds(nanos), "2026-11-22T15:01:10Z");
        assert_eq!(format_micros(nanos), "2026-11-22T15:01:10.123456Z");
        assert_eq!(format_micros(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(format_seconds(-1), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn only_rfc3339_is_read() {
        for bad in [
            "",
            "x",
            "2026-11-22",
            "2026-11-22 17:01:10Z",
            "2026-11-22T17:01:10",
            "20261122T170110Z",
            "2026-13-22T17:01:10Z",
            "2026-11-22T17:01:10.Z",
            "2026-11-22T17:01:10+02",
            "2026-11-22T17:01:10Z[UTC]",
        ] {
            assert!(parse_rfc3339(bad).is_err(), "{bad}");
        }
        assert_eq!(
            parse_rfc3339("abc").unwrap_err().to_string(),
            "parsing time \"abc\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"abc\" as \"2006\""
        );
    }

    #[test]
    fn ages_are_as_kubectl_shows_them() {
        for (seconds, shown) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (149, "2m29s"),
            (600, "10m"),
            (3 * 3600 - 1, "179m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 61, "3h1m"),
            (8 * 3600 + 61, "8h"),
            (47 * 3600, "47h"),
            (48 * 3600, "2d"),
            (50 * 3600, "2d2h"),
            (8 * 86_400, "8d"),
            (729 * 86_400, "729d"),
            (730 * 86_400, "2y"),
            (735 * 86_400, "2y5d"),
            (8 * 365 * 86_400, "8y"),
        ] {
            assert_eq!(human_duration(seconds * SECOND), shown, "{seconds}");
        }
        let now = parse_rfc3339("2026-11-22T17:01:15Z").unwrap();
        assert_eq!(age(Some("2026-11-22T16:58:46Z"), now), "2m29s");
        assert_eq!(age(None, now), "<unknown>");
        assert_eq!(age(Some("soon"), now), "<invalid>");
    }

    #[test]
    fn go_durations_are_read() {
        for (text, nanos) in [
            ("0", 0),
            ("250ms", 250_000_000),
            ("1h30m", 5_400_000_000_000),
            ("-1.5s", -1_500_000_000),
            ("1m.5s", 60_500_000_000),
            ("+3µs", 3_000),
        ] {
            assert_eq!(parse_go_duration(text), Ok(nanos), "{text}");
        }
        for (text, why) in [
            ("", "time: invalid duration \"\""),
            ("5", "time: missing unit in duration \"5\""),
            ("5x", "time: unknown unit \"x\" in duration \"5x\""),
            ("abc", "time: invalid duration \"abc\""),
            ("99999999h", "time: invalid duration \"99999999h\""),
        ] {
            assert_eq!(parse_go_duration(text).unwrap_err().to_string(), why);
        }
    }

    #[test]
    fn go_durations_are_printed() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (250_000_000, "250ms"),
            (60_000_000_000, "1m0s"),
            (5_400_500_000_000, "1h30m0.5s"),
            (-1_000_000_000, "-1s"),
        ] {
            assert_eq!(format_go_duration(nanos), text);
        }
    }

    proptest! {
        #[test]
        fn durations_survive_a_round_trip(nanos in -i64::MAX..i64::MAX) {
            prop_assert_eq!(parse_go_duration(&format_go_duration(nanos)), Ok(nanos));
        }

        #[test]
        fn times_survive_a_round_trip(seconds in 0_i128..4_000_000_000, micros in 0_i128..1_000_000) {
            let nanos = seconds * SECOND + micros * 1_000;
            prop_assert_eq!(parse_rfc3339(&format_micros(nanos)), Ok(nanos));
            prop_assert_eq!(parse_rfc3339(&format_seconds(nanos)), Ok(seconds * SECOND));
        }

        #[test]
        fn never_panics(text in "[0-9TZ:.+hmsun-]{0,30}") {
            let _ = parse_rfc3339(&text);
            let _ = parse_go_duration(&text);
        }
    }
}
