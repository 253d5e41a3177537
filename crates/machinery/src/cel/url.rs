//! URLs as Go's `url.ParseRequestURI` reads them: absolute, or an absolute path.

/// A parsed URL; parts as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub scheme: String,
    /// With the port.
    pub host: String,
    pub path: String,
    pub query: String,
}

// === impl Url ===

impl Url {
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || text.bytes().any(|b| b < 0x20 || b == 0x7f) {
            return None;
        }
        if text == "*" {
            return Some(Self {
                scheme: String::new(),
                host: String::new(),
                path: text.into(),
                query: String::new(),
            });
        }
        let (scheme, rest) = split_scheme(text)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        if !rest.starts_with('/') {
            // Opaque, e.g. `mailto:a@b`: fine with a scheme only.
            let opaque = Self {
                scheme: scheme.into(),
                host: String::new(),
                path: String::new(),
                query: query.into(),
            };
            return (!scheme.is_empty()).then_some(opaque);
        }
        let (host, path) = match rest.strip_prefix("//") {
            Some(after) if !scheme.is_empty() => {
                let end = after.find('/').unwrap_or(after.len());
                let (authority, path) = after.split_at(end);
                (host_of(authority)?, path)
            }
            _ => ("", rest),
        };
        escapes_valid(path).then(|| Self {
            scheme: scheme.to_ascii_lowercase(),
            host: host.into(),
            path: path.into(),
            query: query.into(),
        })
    }

    /// The host without port and brackets.
    pub fn hostname(&self) -> &str {
        match self.host.strip_prefix('[') {
            Some(rest) => rest.split_once(']').map_or(rest, |(inner, _)| inner),
            None => self.host.rsplit_once(':').map_or(self.host.as_str(), |(name, _)| name),
        }
    }

    pub fn port(&self) -> &str {
        let after = self.host.rsplit_once(']').map_or(self.host.as_str(), |(_, rest)| rest);
        after.rsplit_once(':').map_or("", |(_, port)| port)
    }

    /// The path with what may not stand in one percent-encoded.
    pub fn escaped_path(&self) -> String {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@!'()*[]%".contains(&b);
        let mut out = String::with_capacity(self.path.len());
        for byte in self.path.bytes() {
            if plain(byte) {
                out.push(char::from(byte))
            } else {
                out.push_str(&format!("%{byte:02X}"))
            }
        }
        out
    }

    /// The decoded query: keys in order of their first appearance, pairs that do not decode left out.
    pub fn query_pairs(&self) -> Vec<(String, String)> {
        let pairs = self
            .query
            .split('&')
            .filter(|pair| !pair.is_empty() && !pair.contains(';'));
        pairs
            .filter_map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                Some((unescape_query(key)?, unescape_query(value)?))
            })
            .collect()
    }
}

/// Scheme (`""` if there is none) and rest; none if the text starts with a colon.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    for (index, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if index > 0 => {}
            ':' => {
                return (index > 0).then(|| {
                    (
                        text.get(..index).unwrap_or_default(),
                        text.get(index + 1..).unwrap_or_default(),
                    )
                });
            }
            _ => break,
        }
    }
    Some(("", text))
}

fn host_of(authority: &str) -> Option<&str> {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let port_text = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.1,
        None => host.rfind(':').map_or("", |at| host.get(at..).unwrap_or_default()),
    };
    let port_valid = port_text.is_empty()
        || port_text
            .strip_prefix(':')
            .is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    let plain = |b: u8| b >= 0x80 || b.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"%".contains(&b);
    (port_valid && host.bytes().all(plain) && escapes_valid(host)).then_some(host)
}

/// Every `%` is followed by two hexadecimal digits.
fn escapes_valid(text: &str) -> bool {
    let bytes = text.as_bytes();
    let hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    bytes
        .iter()
        .enumerate()
        .filter(|(_, b)| **b == b'%')
        .all(|(at, _)| hex(at + 1) && hex(at + 2))
}

fn unescape_query(text: &str) -> Option<String> {
    if !escapes_valid(text) {
        return None;
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digit = |b: u8| char::from(b).to_digit(16).unwrap_or_default() as u8;
                let (high, low) = (bytes.next()?, bytes.next()?);
                out.push(digit(high) * 16 + digit(low));
            }
            other => out.push(other),
        }
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_urls_apart() {
        let url = Url::parse("https://u:p@example.com:8080/a%20b/c?x=1&x=2&y=a+b").unwrap();
        assert_eq!(
            (url.scheme.as_str(), url.hostname(), url.port()),
            ("https", "example.com", "8080")
        );
        assert_eq!(url.escaped_path(), "/a%20b/c");
        assert_eq!(url.query_pairs().len(), 3);
        let v6 = Url::parse("http://[::1]:80/").unwrap();
        assert_eq!((v6.hostname(), v6.port()), ("::1", "80"));
        assert!(Url::parse("../relative").is_none());
        assert!(Url::parse("https://a:b/").is_none());
        assert!(Url::parse("https://a b/").is_none());
        assert!(Url::parse("/p%zz").is_none());
    }
}
