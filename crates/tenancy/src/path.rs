//! Workspace paths: `root:org:team`, or a cluster name followed by workspace names.

use std::fmt;

use permit::Cluster;

/// A path that follows kcp's grammar (its facts, C.2). Never empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkspacePath(String);

#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid cluster: {0:?} does not match the regex")]
pub struct PathParseError(pub String);

// === impl WorkspacePath ===

impl WorkspacePath {
    /// `^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(:[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`, or anything that begins `system:` and
    /// is a cluster name.
    pub fn parse(text: &str) -> Result<Self, PathParseError> {
        let ok = if text.starts_with("system:") {
            Cluster::parse(text).is_ok()
        } else {
            !text.is_empty() && text.len() <= 4096 && text.split(':').all(is_segment)
        };
        if ok {
            Ok(Self(text.to_owned()))
        } else {
            Err(PathParseError(text.to_owned()))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of a cluster, if the path is one segment (or a system cluster).
    pub fn as_cluster(&self) -> Option<Cluster> {
        if self.0.contains(':') && !self.0.starts_with("system:") {
            return None;
        }
        Cluster::parse(&self.0).ok()
    }

    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split(':')
    }

    /// The path without its last segment.
    pub fn parent(&self) -> Option<WorkspacePath> {
        let (parent, _) = self.0.rsplit_once(':')?;
        Some(Self(parent.to_owned()))
    }

    /// The last segment.
    pub fn base(&self) -> &str {
        self.0.rsplit(':').next().unwrap_or_default()
    }

    #[must_use]
    pub fn join(&self, name: &str) -> WorkspacePath {
        Self(format!("{}:{name}", self.0))
    }
}

/// `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`: also the grammar of a Workspace's name.
pub fn is_segment(segment: &str) -> bool {
    let bytes = segment.as_bytes();
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=63).contains(&bytes.len())
        && alnum(bytes[0])
        && alnum(bytes[bytes.len() - 1])
        && bytes.iter().all(|&b| alnum(b) || b == b'-')
}

impl fmt::Display for WorkspacePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_grammar() {
        for good in ["root", "root:org", "r:a-b:c9", "2x8kq0c7v4n1m5za:child", "system:admin"] {
            assert!(WorkspacePath::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "", ":", "root:", ":root", "Root", "root::a", "root:-a", "root:a_", "*", "a b", "system:",
        ] {
            assert!(WorkspacePath::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_single_segments_are_names() {
        assert!(WorkspacePath::parse("root").unwrap().as_cluster().is_some());
        assert!(WorkspacePath::parse("system:admin").unwrap().as_cluster().is_some());
        assert!(WorkspacePath::parse("root:org").unwrap().as_cluster().is_none());
    }

    #[test]
    fn parents_end_at_the_first_segment() {
        let path = WorkspacePath::parse("root:org:team").unwrap();
        assert_eq!(path.parent().unwrap().as_str(), "root:org");
        assert_eq!(path.base(), "team");
        assert!(WorkspacePath::parse("root").unwrap().parent().is_none());
    }
}
