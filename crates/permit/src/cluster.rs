//! The name of a logical cluster, and sets of them.

use std::fmt;

use compact_str::CompactString;

/// The name (not the path) of a logical cluster: `root`, `2x8kq0c7v4n1m5za`, `system:admin`.
///
/// 24 bytes, inline for the names that the server makes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cluster(CompactString);

/// Clusters that an access covers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    One(Cluster),
    /// Every cluster of this shard: `/clusters/*`.
    All,
}

#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid cluster name {0:?}")]
pub struct ClusterParseError(pub String);

// === impl Cluster ===

impl Cluster {
    /// `^[a-z0-9][a-z0-9-]{0,61}[a-z0-9]$`, or `system:` and up to 63 characters of `[a-z0-9:-]`. (kcp's facts, C.2.)
    pub fn parse(name: &str) -> Result<Self, ClusterParseError> {
        let ok = match name.strip_prefix("system:") {
            Some(rest) => {
                (1..=63).contains(&rest.len())
                    && rest
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b':')
            }
            None => is_plain_name(name),
        };
        if ok {
            Ok(Self(CompactString::new(name)))
        } else {
            Err(ClusterParseError(name.to_owned()))
        }
    }

    /// For names known at compile time.
    ///
    /// # Panics
    /// If it is no cluster name, which the first test that runs the line shows.
    pub fn well_known(name: &'static str) -> Self {
        Self::parse(name).expect("a well-known cluster name is valid")
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `system:…`: clusters that only the privileged may enter and that no tenant owns.
    pub fn is_system(&self) -> bool {
        self.0.starts_with("system:")
    }
}

fn is_plain_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (2..=63).contains(&bytes.len())
        && alnum(bytes[0])
        && alnum(bytes[bytes.len() - 1])
        && bytes.iter().all(|&b| alnum(b) || b == b'-')
}

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Cluster {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

// === impl Scope ===

impl Scope {
    pub fn covers(&self, other: &Scope) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (Self::One(mine), Self::One(theirs)) => mine == theirs,
            (Self::One(_), Self::All) => false,
        }
    }

    pub fn contains(&self, cluster: &Cluster) -> bool {
        match self {
            Self::All => true,
            Self::One(mine) => mine == cluster,
        }
    }

    pub fn cluster(&self) -> Option<&Cluster> {
        match self {
            Self::All => None,
            Self::One(cluster) => Some(cluster),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::One(cluster) => cluster.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_grammar() {
        for good in ["root", "2x8kq0c7v4n1m5za", "a-b", "system:admin", "system:cache:server"] {
            assert!(Cluster::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "", "a", "-a", "a-", "A", "root:org", "*", "system:", "a/b", "a\u{0}b", "é",
        ] {
            assert!(Cluster::parse(bad).is_err(), "{bad}");
        }
        assert!(Cluster::parse(&"a".repeat(64)).is_err());
    }
}
