//! The `format` keyword: which formats Kubernetes knows (kube-openapi `strfmt`), and what they accept.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use super::pattern::Pattern;
use super::structural::Kind;
use crate::cel::{time, url};

/// A format that is enforced. Unknown ones, and ones that do not go with the type, are ignored as upstream does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Int32,
    Int64,
    Float,
    Double,
    BsonObjectId,
    Uri,
    Email,
    Hostname,
    Ipv4,
    Ipv6,
    Cidr,
    Mac,
    Uuid,
    Uuid3,
    Uuid4,
    Uuid5,
    Isbn,
    Isbn10,
    Isbn13,
    CreditCard,
    Ssn,
    HexColor,
    RgbColor,
    Byte,
    Password,
    Date,
    Duration,
    DateTime,
    ShortName,
    LongName,
}

static HOSTNAME: LazyLock<Pattern> = LazyLock::new(|| {
    Pattern::new(
        r"^([a-zA-Z0-9\p{S}\p{L}]((-?[a-zA-Z0-9\p{S}\p{L}]{0,62})?)|([a-zA-Z0-9\p{S}\p{L}](([a-zA-Z0-9\-\p{S}\p{L}]{0,61}[a-zA-Z0-9\p{S}\p{L}])?)(\.)){1,}([a-zA-Z\p{L}]){2,63})$",
    )
});
static CREDIT_CARD: LazyLock<Pattern> = LazyLock::new(|| {
    Pattern::new(
        r"^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35\d{3})\d{11})$",
    )
});
static RGB: LazyLock<Pattern> = LazyLock::new(|| {
    let octet = r"\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*";
    Pattern::new(&format!(r"^rgb\({octet},{octet},{octet}\)$"))
});
static SSN: LazyLock<Pattern> = LazyLock::new(|| Pattern::new(r"^\d{3}[- ]?\d{2}[- ]?\d{4}$"));

// === impl Format ===

impl Format {
    /// The format as far as it is enforced for a type.
    pub fn of(name: &str, kind: Kind, int_or_string: bool) -> Option<Self> {
        match kind {
            _ if name.is_empty() => None,
            Kind::Unset | Kind::String => Self::text(&name.replace('-', "")),
            _ if int_or_string => Self::text(&name.replace('-', "")),
            Kind::Integer => [Self::Int32, Self::Int64]
                .into_iter()
                .find(|format| format.name() == name),
            Kind::Number => [Self::Float, Self::Double]
                .into_iter()
                .find(|format| format.name() == name),
            Kind::Object | Kind::Array | Kind::Boolean => None,
        }
    }

    fn text(name: &str) -> Option<Self> {
        Some(match name {
            "bsonobjectid" => Self::BsonObjectId,
            "uri" => Self::Uri,
            "email" => Self::Email,
            "hostname" => Self::Hostname,
            "ipv4" => Self::Ipv4,
            "ipv6" => Self::Ipv6,
            "cidr" => Self::Cidr,
            "mac" => Self::Mac,
            "uuid" => Self::Uuid,
            "uuid3" => Self::Uuid3,
            "uuid4" => Self::Uuid4,
            "uuid5" => Self::Uuid5,
            "isbn" => Self::Isbn,
            "isbn10" => Self::Isbn10,
            "isbn13" => Self::Isbn13,
            "creditcard" => Self::CreditCard,
            "ssn" => Self::Ssn,
            "hexcolor" => Self::HexColor,
            "rgbcolor" => Self::RgbColor,
            "byte" => Self::Byte,
            "password" => Self::Password,
            "date" => Self::Date,
            "duration" => Self::Duration,
            "datetime" => Self::DateTime,
            "k8sshortname" => Self::ShortName,
            "k8slongname" => Self::LongName,
            _ => return None,
        })
    }

    /// As messages print it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Float => "float",
            Self::Double => "double",
            Self::BsonObjectId => "bsonobjectid",
            Self::Uri => "uri",
            Self::Email => "email",
            Self::Hostname => "hostname",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Cidr => "cidr",
            Self::Mac => "mac",
            Self::Uuid => "uuid",
            Self::Uuid3 => "uuid3",
            Self::Uuid4 => "uuid4",
            Self::Uuid5 => "uuid5",
            Self::Isbn => "isbn",
            Self::Isbn10 => "isbn10",
            Self::Isbn13 => "isbn13",
            Self::CreditCard => "creditcard",
            Self::Ssn => "ssn",
            Self::HexColor => "hexcolor",
            Self::RgbColor => "rgbcolor",
            Self::Byte => "byte",
            Self::Password => "password",
            Self::Date => "date",
            Self::Duration => "duration",
            Self::DateTime => "date-time",
            Self::ShortName => "k8s-short-name",
            Self::LongName => "k8s-long-name",
        }
    }

    /// Whether a string is of the format. Number formats accept every string: they say nothing of strings.
    pub fn accepts(self, text: &str) -> bool {
        match self {
            Self::Int32 | Self::Int64 | Self::Float | Self::Double | Self::Password => true,
            Self::BsonObjectId => text.len() == 24 && text.bytes().all(|b| b.is_ascii_hexdigit()),
            Self::Uri => url::Url::parse(text).is_some(),
            Self::Email => is_email(text),
            Self::Hostname => is_hostname(text),
            Self::Ipv4 => text.contains('.') && is_ip(text),
            Self::Ipv6 => text.contains(':') && is_ip(text),
            Self::Cidr => is_cidr(text),
            Self::Mac => is_mac(text),
            Self::Uuid => is_uuid(text, None),
            Self::Uuid3 => is_uuid(text, Some(b'3')),
            Self::Uuid4 => is_uuid(text, Some(b'4')),
            Self::Uuid5 => is_uuid(text, Some(b'5')),
            Self::Isbn => is_isbn10(text) || is_isbn13(text),
            Self::Isbn10 => is_isbn10(text),
            Self::Isbn13 => is_isbn13(text),
            Self::CreditCard => is_credit_card(text),
            Self::Ssn => matches(&SSN, text),
            Self::HexColor => is_hex_color(text),
            Self::RgbColor => matches(&RGB, text),
            Self::Byte => is_base64(text),
            Self::Date => time::parse_date(text).is_some(),
            Self::Duration => time::parse_loose_duration(text).is_some(),
            Self::DateTime => is_date_time(text),
            Self::ShortName => is_short_name(text) && text.len() <= 63,
            Self::LongName => text.len() <= 253 && text.split('.').all(is_short_name),
        }
    }
}

fn matches(pattern: &Pattern, text: &str) -> bool {
    pattern.is_match(text).unwrap_or(false)
}

/// An address as Go parses it: IPv4 with leading zeros tolerated, IPv6 without a zone.
pub(crate) fn is_ip(text: &str) -> bool {
    text.parse::<Ipv6Addr>().is_ok() || parse_ipv4_sloppy(text).is_some()
}

fn parse_ipv4_sloppy(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<&str> = text.split('.').collect();
    let [a, b, c, d] = parts.as_slice() else { return None };
    let octet = |part: &str| {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let plain = part.trim_start_matches('0');
        let value = if plain.is_empty() { "0" } else { plain };
        digits.then(|| value.parse::<u8>().ok()).flatten()
    };
    Some(Ipv4Addr::new(octet(a)?, octet(b)?, octet(c)?, octet(d)?))
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    let max = if address.contains(':') { 128 } else { 32 };
    let digits = !bits.is_empty() && bits.len() <= 3 && bits.bytes().all(|b| b.is_ascii_digit());
    digits && is_ip(address) && bits.parse::<u32>().is_ok_and(|bits| bits <= max)
}

fn is_mac(text: &str) -> bool {
    let hex = |part: &str, len: usize| part.len() == len && part.bytes().all(|b| b.is_ascii_hexdigit());
    let groups = |separator: char, len: usize, counts: [usize; 3]| {
        let parts: Vec<&str> = text.split(separator).collect();
        counts.contains(&parts.len()) && parts.iter().all(|part| hex(part, len))
    };
    groups(':', 2, [6, 8, 20]) || groups('-', 2, [6, 8, 20]) || groups('.', 4, [3, 4, 10])
}

/// 8-4-4-4-12 hexadecimal digits, each dash optional.
fn is_uuid(text: &str, version: Option<u8>) -> bool {
    let mut digits = [0_u8; 32];
    let mut count = 0;
    for byte in text.bytes() {
        match byte {
            b'-' if [8, 12, 16, 20].contains(&count) && !dashed_twice(text) => {}
            _ if byte.is_ascii_hexdigit() => match digits.get_mut(count) {
                Some(slot) => {
                    *slot = byte.to_ascii_lowercase();
                    count += 1;
                }
                None => return false,
            },
            _ => return false,
        }
    }
    let right_version = version.is_none_or(|version| digits[12] == version);
    let right_variant = matches!(version, None | Some(b'3')) || matches!(digits[16], b'8' | b'9' | b'a' | b'b');
    count == 32 && right_version && right_variant
}

fn dashed_twice(text: &str) -> bool {
    text.contains("--")
}

fn is_hostname(text: &str) -> bool {
    text.len() <= 255 && text.split('.').all(|label| label.len() <= 63) && matches(&HOSTNAME, text)
}

/// An RFC 5322 address as Go's `mail.ParseAddress` reads it, with or without a display name.
fn is_email(text: &str) -> bool {
    let text = text.trim();
    let address = match text.rsplit_once('<') {
        Some((_, rest)) => match rest.strip_suffix('>') {
            Some(address) => address.trim(),
            None => return false,
        },
        None => text,
    };
    let Some((local, domain)) = address.rsplit_once('@') else {
        return false;
    };
    let atext = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || !c.is_ascii();
    let dot_atom = |part: &str| part.split('.').all(|atom| !atom.is_empty() && atom.chars().all(atext));
    let quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
    let literal = domain
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(is_ip);
    (dot_atom(local) || quoted) && (dot_atom(domain) || literal)
}

fn is_isbn10(text: &str) -> bool {
    let plain: Vec<char> = text.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
    let digit = |(index, c): (usize, &char)| match c {
        'X' if index == 9 => Some(10),
        _ => c.to_digit(10),
    };
    let digits: Option<Vec<u32>> = plain.iter().enumerate().map(digit).collect();
    digits.is_some_and(|digits| digits.len() == 10 && (1..=10).zip(&digits).map(|(n, d)| n * d).sum::<u32>() % 11 == 0)
}

fn is_isbn13(text: &str) -> bool {
    let digits: Option<Vec<u32>> = text
        .chars()
        .filter(|c| !matches!(c, ' ' | '-'))
        .map(|c| c.to_digit(10))
        .collect();
    let weights = [1, 3].into_iter().cycle();
    digits.is_some_and(|digits| digits.len() == 13 && weights.zip(&digits).map(|(w, d)| w * d).sum::<u32>() % 10 == 0)
}

fn is_credit_card(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(index, byte)| {
            let digit = u32::from(byte - b'0') * if index % 2 == 1 { 2 } else { 1 };
            if digit > 9 { digit - 9 } else { digit }
        })
        .sum();
    matches(&CREDIT_CARD, &digits) && sum.is_multiple_of(10)
}

fn is_hex_color(text: &str) -> bool {
    let digits = text.strip_prefix('#').unwrap_or(text);
    matches!(digits.len(), 3 | 6) && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Standard alphabet with padding; the empty string is refused, as upstream's pattern does.
fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let padding = text.len() - body.len();
    let alphabet = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
    !text.is_empty() && text.len().is_multiple_of(4) && padding <= 2 && body.bytes().all(alphabet)
}

fn is_date_time(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let Some((date, clock)) = lower.split_once('t') else {
        return false;
    };
    time::parse_date(date).is_some() && time::is_clock(clock)
}

fn is_short_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: Format, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(format.accepts(text), "{} should accept {text:?}", format.name());
        }
        for text in bad {
            assert!(!format.accepts(text), "{} should refuse {text:?}", format.name());
        }
    }

    #[test]
    fn accepts_what_kubernetes_accepts() {
        check(
            Format::Uri,
            &["https://a.b/c?d#e", "/path", "urn:x:y"],
            &["", "a b", "foo", "http://[::1"],
        );
        check(
            Format::Ipv4,
            &["1.2.3.4", "010.0.0.1", "::ffff:1.2.3.4"],
            &["1.2.3", "1.2.3.256", "::1"],
        );
        check(Format::Ipv6, &["::1", "fe80::1"], &["1.2.3.4", "fe80::1%eth0"]);
        check(
            Format::Cidr,
            &["10.0.0.0/8", "::/0"],
            &["10.0.0.0", "10.0.0.0/33", "x/8"],
        );
        check(
            Format::Mac,
            &["01:23:45:67:89:ab", "0123.4567.89ab"],
            &["01:23", "01-23:45-67-89-ab"],
        );
        check(
            Format::Uuid,
            &[
                "a8098c1a-f86e-11da-bd1a-00112444be1e",
                "A8098C1AF86E11DABD1A00112444BE1E",
            ],
            &[
                "",
                "a8098c1a-f86e",
                "a8098c1a--f86e-11da-bd1a-00112444be1e",
                "g8098c1a-f86e-11da-bd1a-00112444be1e",
            ],
        );
        check(
            Format::Uuid4,
            &["025b0d74-00a2-4048-bf57-227c5111bb34"],
            &["a8098c1a-f86e-11da-bd1a-00112444be1e"],
        );
        check(
            Format::Email,
            &["a@b.c", "N <a.b@c>", "\"x y\"@z"],
            &["a", "@b", "a@", "a b@c"],
        );
        check(
            Format::Hostname,
            &["a", "a-b.example.com", "1a"],
            &["", "-a", "a..b", "a_b"],
        );
        check(Format::Byte, &["YQ==", "YWJj"], &["", "YQ=", "Y Q="]);
        check(Format::Date, &["2024-02-29"], &["2023-02-29", "2024-1-1", "x"]);
        check(
            Format::DateTime,
            &["2024-02-29T10:11:12Z", "2024-02-29t10:11:12.5+02:00"],
            &["2024-02-29", "2024-02-29T25:00:00Z", "2024-02-29T10:11:12"],
        );
        check(Format::Duration, &["1h2m", "22 ns", "3 days", "0"], &["", "x", "1"]);
        check(Format::Isbn, &["0321751043", "978-0321751041"], &["0321751044"]);
        check(Format::CreditCard, &["4556-7375-8689-9855"], &["4556-7375-8689-9856"]);
        check(Format::HexColor, &["#fff", "A0b1C2"], &["#ffff"]);
        check(Format::RgbColor, &["rgb(255, 0,1)"], &["rgb(256,0,0)"]);
        check(Format::LongName, &["a.b-c"], &["a..b", "A"]);
    }

    #[test]
    fn ignores_formats_that_do_not_go_with_the_type() {
        assert_eq!(Format::of("int32", Kind::String, false), None);
        assert_eq!(Format::of("date-time", Kind::String, false), Some(Format::DateTime));
        assert_eq!(Format::of("int64", Kind::Integer, false), Some(Format::Int64));
        assert_eq!(Format::of("uint32", Kind::Integer, false), None);
        assert_eq!(Format::of("made-up", Kind::String, false), None);
    }
}
