//! Semantic versions, strict or normalized.

use std::cmp::Ordering;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Semver {
    pub major: u64,
    pub minor: u64,
    pub patch: u64,
    pre: Vec<String>,
}

// === impl Semver ===

impl Semver {
    /// `normalize` accepts a leading `v`, missing minor and patch numbers, and leading zeros.
    pub fn parse(text: &str, normalize: bool) -> Option<Self> {
        let text = if normalize {
            text.strip_prefix('v').unwrap_or(text)
        } else {
            text
        };
        let (text, build) = match text.split_once('+') {
            Some((text, build)) => (text, Some(build)),
            None => (text, None),
        };
        let (core, pre) = match text.split_once('-') {
            Some((core, pre)) => (core, Some(pre)),
            None => (text, None),
        };
        let mut parts: Vec<&str> = core.split('.').collect();
        while normalize && parts.len() < 3 && pre.is_none() && build.is_none() {
            parts.push("0");
        }
        let [major, minor, patch] = parts.as_slice() else {
            return None;
        };
        let number = |part: &str| {
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            let leading = part.len() > 1 && part.starts_with('0') && !normalize;
            if digits && !leading { part.parse().ok() } else { None }
        };
        let identifiers = |list: &str| {
            list.split('.')
                .all(|part| !part.is_empty() && part.bytes().all(is_identifier))
        };
        let numeric_leading =
            |part: &str| part.len() > 1 && part.starts_with('0') && part.bytes().all(|b| b.is_ascii_digit());
        if pre.is_some_and(|pre| !identifiers(pre) || pre.split('.').any(numeric_leading)) {
            return None;
        }
        if build.is_some_and(|build| !identifiers(build)) {
            return None;
        }
        let pre = pre
            .map(|pre| pre.split('.').map(str::to_owned).collect())
            .unwrap_or_default();
        Some(Self {
            major: number(major)?,
            minor: number(minor)?,
            patch: number(patch)?,
            pre,
        })
    }

    pub fn compare(&self, other: &Self) -> Ordering {
        let core = (self.major, self.minor, self.patch).cmp(&(other.major, other.minor, other.patch));
        core.then_with(|| match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let pairs = self.pre.iter().zip(&other.pre).map(|(a, b)| compare_identifier(a, b));
                pairs
                    .fold(Ordering::Equal, Ordering::then)
                    .then(self.pre.len().cmp(&other.pre.len()))
            }
        })
    }
}

fn is_identifier(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

/// Numbers before words, numbers by value.
fn compare_identifier(a: &str, b: &str) -> Ordering {
    match (a.parse::<u64>(), b.parse::<u64>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => a.cmp(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_versions() {
        let version = |text| Semver::parse(text, false).unwrap();
        assert!(version("1.2.3").compare(&version("1.10.0")).is_lt());
        assert!(version("1.0.0-alpha.2").compare(&version("1.0.0-alpha.10")).is_lt());
        assert!(version("1.0.0-rc").compare(&version("1.0.0")).is_lt());
        assert!(Semver::parse("v1.0", false).is_none());
        assert!(Semver::parse("01.0.0", false).is_none());
        assert_eq!(Semver::parse("v1.02", true).unwrap().minor, 2);
    }
}
